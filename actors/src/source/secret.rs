//! Secrets: read by reference only, wiped when dropped, never printed.
//!
//! The configuration names where a secret is (`env:NAME`, `file:path`); its text never stands in the configuration, so
//! that a configuration can be shown, logged and kept in version control.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// More than any key needs; a file beyond it is not a secret.
const MAX_BYTES: u64 = 16_384;

/// A secret's bytes. `Debug` prints `Secret(***)`; the memory is wiped on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for a key schedule; never for a message.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file that only its owner can read (mode 0600 or 0400), relative to the configuration's folder.
    File(PathBuf),
}

impl TryFrom<String> for SecretRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        // Whoever pastes the secret itself here must not find it in an error message or a log.
        let text = Zeroizing::new(text);
        let is_name = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match text.split_once(':') {
            Some(("env", name)) if is_name(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Ok(Self::File(path.into())),
            _ => Err(Error::NotAReference),
        }
    }
}

impl JsonSchema for SecretRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where the secret is, never the secret itself: an environment variable, or a file of mode 0600.",
            "pattern": r"^(env:[A-Za-z0-9_]+|file:.+)$",
            "examples": ["env:WEBHOOK_SECRET", "file:secrets/github"],
        })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration holds something else than a reference (perhaps the secret itself, so it is not repeated).
    #[error(
        "a secret is given by reference, \"env:NAME\" or \"file:path\", never by its text (the value is not shown here)"
    )]
    NotAReference,
    /// The variable is not set.
    #[error("the environment variable {0} is not set: export it before the start, for example `export {0}=…`")]
    Unset(String),
    /// The variable or file is empty.
    #[error("{0} is empty")]
    Empty(String),
    /// The file can be read by others.
    #[error("{path} has mode {mode:04o}, so others can read it: run `chmod 600 {path}`", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    /// Not a regular file, or too long for a secret.
    #[error("{path} is not a secret: {why}", path = .0.display(), why = .1)]
    NotASecret(PathBuf, &'static str),
    /// Not a file of the configuration folder: how, as the end of a sentence.
    #[error("{path} {why}; name a file in it", path = .0.display(), why = .1)]
    Outside(PathBuf, &'static str),
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where references are resolved. A trait, so that plain state is tested without an environment.
pub trait SecretSource {
    /// Reads the secret.
    fn read(&self, at: &SecretRef) -> Result<Secret, Error>;
}

/// The process's environment, and files below a folder (or absolute).
#[derive(Debug, Clone)]
pub struct Environment {
    /// The folder that relative paths start from: the configuration's.
    pub folder: PathBuf,
}

impl SecretSource for Environment {
    fn read(&self, at: &SecretRef) -> Result<Secret, Error> {
        let secret = match at {
            SecretRef::Env(name) => match std::env::var_os(name) {
                Some(value) => std::os::unix::ffi::OsStringExt::into_vec(value),
                None => return Err(Error::Unset(name.clone())),
            },
            SecretRef::File(path) => read_file(&self.folder.join(path))?,
        };
        if secret.is_empty() { Err(Error::Empty(at.to_string())) } else { Ok(Secret::new(secret)) }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    use std::os::unix::fs::PermissionsExt;
    let io = |source| Error::Io { path: path.to_owned(), source };
    // Looked at before opening, since opening a FIFO waits for its writer; and again on what was opened.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::NotASecret(path.to_owned(), "it is not a regular file"));
    }
    let file = std::fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Open(path.to_owned(), mode));
    }
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(Error::NotASecret(path.to_owned(), "it is longer than 16 KiB"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    // Editors end a file with a newline that is not part of the secret.
    let end = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
    Ok(bytes[..end].to_vec())
}

/// Fixed secrets, for tests and for the simulation of a sender.
#[derive(Debug, Default)]
pub struct Fixed(pub Vec<(SecretRef, Secret)>);

impl Fixed {
    /// Names one environment variable and its value.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((SecretRef::Env(name.to_owned()), Secret::new(value.as_bytes().to_vec())));
        self
    }
}

impl SecretSource for Fixed {
    fn read(&self, at: &SecretRef) -> Result<Secret, Error> {
        let found = self.0.iter().find(|(name, _)| name == at);
        found.map(|(_, secret)| secret.clone()).ok_or_else(|| Error::Unset(at.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn text_in_place_of_a_reference_is_refused_and_not_repeated() {
        for bad in ["hunter2-hunter2", "env:", "env:A B", "vault:x", "file:", ""] {
            let error = SecretRef::try_from(bad.to_owned()).unwrap_err().to_string();
            assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(SecretRef::try_from("env:A_1".to_owned()).unwrap(), SecretRef::Env("A_1".into()));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(***)");
    }

    #[test]
    fn files_are_private_regular_and_short() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment { folder: folder.path().to_owned() };
        let path = folder.path().join("s");
        let read = || environment.read(&SecretRef::File("s".into()));
        assert!(matches!(read(), Err(Error::Io { .. })));

        std::fs::write(&path, "the secret\r\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read().unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read().unwrap().expose(), b"the secret");

        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read(), Err(Error::Empty(_))));
        std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
        assert!(matches!(read(), Err(Error::NotASecret(..))));
        assert!(matches!(environment.read(&SecretRef::File(".".into())), Err(Error::NotASecret(..))));
    }
}
