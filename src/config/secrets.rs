//! Secrets: found by reference, never written down. What stands in the configuration instead of a reference is masked
//! in every excerpt before anybody can render it.

use hexafn_actors::source::secret::{Environment, Error, Secret, SecretRef, SecretSource};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use zeroize::Zeroizing;

use super::codes;
use super::de::Skip;
use super::files::{self, Astray};
use super::problem::{Problem, Problems, Severity};
use super::texts::Texts;
use super::tree::{Node, Value};

/// Whether secrets must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretMode {
    /// They must: a service is started from this configuration.
    #[default]
    Required,
    /// Those that are absent are warnings: a configuration is checked on a machine that has none. What is built then
    /// refuses every request.
    Optional,
    /// Each is the same well-known text, whatever is there: for tests of the configuration, which sign for themselves.
    Sample,
}

/// The longest file that is read beside the configuration, such as a bundle of certificates, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What stands for every secret in a test: it fits every scheme (the example of the Standard Webhooks specification).
pub const SAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Where secrets and environment variables come from.
pub struct Vault {
    files: Environment,
    env: BTreeMap<String, String>,
    mode: SecretMode,
    referenced: BTreeSet<String>,
    read: Mutex<Sha256>,
}

impl Vault {
    /// Secrets of the environment `env`, and of files below `folder`.
    pub fn new(folder: PathBuf, env: BTreeMap<String, String>, mode: SecretMode) -> Self {
        let files = Environment { folder };
        Self { files, env, mode, referenced: BTreeSet::new(), read: Mutex::new(Sha256::new()) }
    }

    /// Remembers the variables that definitions refer to as secrets.
    pub fn learn(&mut self, node: &Node) {
        match &node.value {
            Value::String(text) => {
                if let Some(name) = text.strip_prefix("env:") {
                    self.referenced.insert(name.to_owned());
                }
            }
            Value::Array(items) => items.iter().for_each(|n| self.learn(n)),
            Value::Table(entries) => entries.iter().for_each(|e| self.learn(&e.node)),
            _ => {}
        }
    }

    /// Whether a definition refers to the variable as a secret.
    pub fn is_secret(&self, variable: &str) -> bool {
        self.referenced.contains(variable)
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// What is absent is an error or, where secrets are optional, a warning.
    pub fn absent(&self, problem: Problem) -> Problem {
        match self.mode {
            SecretMode::Required => problem,
            SecretMode::Optional | SecretMode::Sample => Problem { severity: Severity::Warning, ..problem },
        }
    }

    /// Checks every secret within `node`, which `who` names. What is not a reference is masked and reported; what
    /// cannot be read is reported.
    pub fn check(&self, node: &Node, who: &str, texts: &mut Texts, problems: &mut Problems) -> Found {
        let mut found = Found { well_formed: true, present: true, skip: Skip::new() };
        self.walk(node, "", who, texts, problems, &mut found);
        found
    }

    fn walk(&self, node: &Node, key: &str, who: &str, texts: &mut Texts, problems: &mut Problems, found: &mut Found) {
        match &node.value {
            Value::Table(entries) => {
                entries.iter().for_each(|e| self.walk(&e.node, &e.key, who, texts, problems, found));
            }
            Value::Array(items) => items.iter().for_each(|n| self.walk(n, key, who, texts, problems, found)),
            Value::String(text) => {
                let secret = holds_secret(key, text);
                match SecretRef::try_from(text.clone()) {
                    Ok(reference) if secret || is_reference(text) => {
                        self.resolve(&reference, node, who, problems, found);
                    }
                    Err(_) if secret => self.literal(node, key, who, texts, problems, found),
                    _ => {}
                }
            }
            _ if SECRET_KEYS.contains(&key) => self.literal(node, key, who, texts, problems, found),
            _ => {}
        }
    }

    fn literal(
        &self,
        node: &Node,
        key: &str,
        who: &str,
        texts: &mut Texts,
        problems: &mut Problems,
        found: &mut Found,
    ) {
        found.well_formed = false;
        found.skip.insert(node.span.start);
        texts.mask(node.span.clone());
        problems.push(
            Problem::error(&codes::SECRET_LITERAL, node.span.clone(), format!("`{key}` of {who} must be a reference"))
                .label("a secret is never written here (hidden)")
                .help(
                    "write \"env:NAME\" for an environment variable, or \"file:secrets/name\" for a file of mode 0600 in \
                     the configuration folder",
                )
                .help("what was written here may have been seen or committed: change it where it came from"),
        );
    }

    fn resolve(&self, reference: &SecretRef, node: &Node, who: &str, problems: &mut Problems, found: &mut Found) {
        let Err(error) = self.read(reference) else { return };
        let problem = |code, message: String| Problem::error(code, node.span.clone(), message);
        match error {
            Error::Unset(name) => {
                found.present = false;
                let message = format!("{who} needs the environment variable `{name}`, which is not set");
                let problem = problem(&codes::SECRET_MISSING, message)
                    .help(format!("set it before the start, e.g. `export {name}=\"$(openssl rand -hex 24)\"`"))
                    .help("or name a file of mode 0600 in the configuration folder: \"file:secrets/name\"");
                problems.push(self.absent(problem));
            }
            Error::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                found.present = false;
                let path = path.display();
                let message = format!("{who} needs the secret in {path}, which does not exist");
                let problem = problem(&codes::SECRET_MISSING, message).help(format!(
                    "make it: `mkdir -p \"$(dirname {path})\" && (umask 077; openssl rand -hex 24 > {path})`"
                ));
                problems.push(self.absent(problem));
            }
            other => {
                found.well_formed = false;
                problems.push(problem(&codes::SECRET_UNFIT, format!("the secret of {who} cannot be used: {other}")));
            }
        }
    }

    /// A mark of the secrets read since the last call, so that a rotated secret changes the fingerprint. Salted for this
    /// process: from the mark of a weak secret nobody can guess it offline.
    pub fn take_mark(&self) -> Vec<u8> {
        static SALT: OnceLock<u64> = OnceLock::new();
        let salt = SALT.get_or_init(|| std::collections::hash_map::RandomState::new().build_hasher().finish());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hash = std::mem::replace(&mut *read, Sha256::new());
        hash.update(salt.to_be_bytes());
        hash.finalize().to_vec()
    }
}

/// What was found of the secrets of a definition.
#[derive(Debug, Clone)]
pub struct Found {
    /// All are references to something that can be a secret.
    pub well_formed: bool,
    /// All are there.
    pub present: bool,
    /// The places of those that are not well formed, which have been reported.
    pub skip: Skip,
}

/// Settings that hold secrets and nothing else.
const SECRET_KEYS: [&str; 7] =
    ["secrets", "secret", "signing_secret", "password", "api_key", "access_token", "private_key"];
/// Headers that do.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

fn holds_secret(key: &str, text: &str) -> bool {
    // A template that takes the value from the event writes no secret down.
    let header = SECRET_HEADERS.contains(&key.to_ascii_lowercase().as_str()) && !text.contains('{');
    SECRET_KEYS.contains(&key) || header
}

/// `env:NAME` or `file:path`, and not a URL.
fn is_reference(text: &str) -> bool {
    (text.starts_with("env:") || text.starts_with("file:"))
        && !text.contains("://")
        && !text.contains(char::is_whitespace)
}

impl SecretSource for Vault {
    fn read(&self, at: &SecretRef) -> Result<Secret, Error> {
        if self.mode == SecretMode::Sample {
            return Ok(Secret::new(SAMPLE.into()));
        }
        let secret = match at {
            SecretRef::Env(name) => match self.env.get(name) {
                None => return Err(Error::Unset(name.clone())),
                Some(value) if value.is_empty() => return Err(Error::Empty(at.to_string())),
                Some(value) => Secret::new(value.clone().into_bytes()),
            },
            SecretRef::File(path) => {
                // Where a platform puts secrets is said in so many words: `file:/run/secrets/token`.
                if path.is_relative() {
                    files::within(&self.files.folder, path).map_err(|astray| match astray {
                        Astray::Leads(why) => Error::Outside(path.clone(), why),
                        Astray::Unread(source) => Error::Io { path: self.files.folder.join(path), source },
                    })?;
                }
                self.files.read(at)?
            }
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).update(Sha256::digest(secret.expose()));
        Ok(secret)
    }
}

impl hexafn_actors::target::Secrets for Vault {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        let at = SecretRef::try_from(reference.to_owned()).map_err(|e| e.to_string())?;
        let secret = self.read(&at).map_err(|e| e.to_string())?;
        let text = String::from_utf8(secret.expose().to_vec());
        text.map(Zeroizing::new).map_err(|_| format!("{at} is not UTF-8 text"))
    }

    fn pem(&self, reference: &str) -> Result<Option<Zeroizing<String>>, String> {
        if self.mode == SecretMode::Sample { Ok(None) } else { self.get(reference).map(Some) }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        use std::io::Read;
        let whole = files::within(&self.files.folder, std::path::Path::new(path)).map_err(|astray| match astray {
            Astray::Leads(why) => format!("`{path}` {why}; expected a file in it"),
            Astray::Unread(e) => format!("cannot read `{path}`: {e}"),
        })?;
        let open = || {
            if !whole.is_file() {
                return Err(std::io::Error::other("it is not a regular file"));
            }
            let mut bytes = Vec::new();
            std::fs::File::open(whole)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = open().map_err(|e| format!("cannot read `{path}`: {e}"))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("`{path}` is longer than 1 MiB"));
        }
        // A renewed certificate changes the target, like a rotated secret.
        self.read.lock().unwrap_or_else(PoisonError::into_inner).update(Sha256::digest(&bytes));
        Ok(bytes)
    }

    fn address(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if self.mode == SecretMode::Sample { Ok(Zeroizing::new(SAMPLE_ADDRESS.into())) } else { self.get(reference) }
    }
}

/// A sample that nobody is reached by (RFC 6761).
const SAMPLE_ADDRESS: &str = "https://sample.invalid/";

/// Secrets that a target was told.
pub type Remembered = Vec<Zeroizing<String>>;

/// The vault as one target sees it: what is absent is a sample where it may be, so that the rest of the target is
/// checked; and what was told is remembered, so that it can be masked where the receiver says it.
pub struct Told<'v> {
    vault: &'v Vault,
    secrets: Mutex<Remembered>,
}

impl<'v> Told<'v> {
    /// Nothing was told yet.
    pub fn new(vault: &'v Vault) -> Self {
        Self { vault, secrets: Mutex::new(Vec::new()) }
    }

    /// What was told.
    pub fn secrets(self) -> Remembered {
        self.secrets.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a secret is absent and may be.
    fn is_absent(&self, reference: &str) -> bool {
        let reads = || self.vault.read(&SecretRef::try_from(reference.to_owned()).ok()?).err();
        self.vault.mode == SecretMode::Optional
            && match reads() {
                Some(Error::Unset(_)) => true,
                Some(Error::Io { source, .. }) => source.kind() == std::io::ErrorKind::NotFound,
                _ => false,
            }
    }

    fn remember(&self, secret: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push(Zeroizing::new(secret.to_owned()));
    }
}

impl hexafn_actors::target::Secrets for Told<'_> {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if self.is_absent(reference) {
            return Ok(Zeroizing::new(SAMPLE.into()));
        }
        self.vault.get(reference).inspect(|secret| self.remember(secret))
    }

    fn pem(&self, reference: &str) -> Result<Option<Zeroizing<String>>, String> {
        if self.is_absent(reference) { Ok(None) } else { self.vault.pem(reference) }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.vault.file(path)
    }

    fn address(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if self.is_absent(reference) {
            return Ok(Zeroizing::new(SAMPLE_ADDRESS.into()));
        }
        self.vault.address(reference).inspect(|address| self.remember(address))
    }

    fn sent_as(&self, form: &str) {
        self.remember(form);
    }
}
