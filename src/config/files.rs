//! Files that definitions name, kept within the configuration's folder: no `..`, no absolute path, no symbolic link
//! that leads out. Who may write a definition must not thereby read the disk.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::codes;
use super::problem::Problem;
use super::texts::Span;

/// The longest text of a function, in bytes.
pub const MAX_FUNCTION: u64 = 256 << 10;
/// The longest module of a function, in bytes.
pub const MAX_MODULE: u64 = 16 << 20;

/// Texts that stand in for what is on disk: what an editor shows and has not saved, by path.
pub type Shown = BTreeMap<PathBuf, Arc<str>>;

/// The folder of a configuration.
#[derive(Debug, Clone, Copy)]
pub struct Root<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// Texts that stand in for its files.
    pub shown: &'a Shown,
}

/// Why a path is not that of a file in a folder.
#[derive(Debug)]
pub enum Astray {
    /// It leads out of the folder: how, as the end of a sentence that begins with the path.
    Leads(&'static str),
    /// The system does not find it.
    Unread(std::io::Error),
}

/// The path of what `name` is in the folder, with links followed.
///
/// # Errors
/// It is not in the folder, or not there.
pub fn within(dir: &Path, name: &Path) -> Result<PathBuf, Astray> {
    lies_below(name).map_err(Astray::Leads)?;
    let real = dir.join(name).canonicalize().map_err(Astray::Unread)?;
    if !real.starts_with(dir.canonicalize().map_err(Astray::Unread)?) {
        return Err(Astray::Leads("is a symbolic link out of the configuration folder"));
    }
    Ok(real)
}

/// What can be said of a path by its text alone.
fn lies_below(name: &Path) -> Result<(), &'static str> {
    if name.is_absolute() {
        return Err("is an absolute path");
    }
    if !name.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err("leads out of the configuration folder (`..`)");
    }
    Ok(())
}

/// Reads the text file `name` within the folder. `span` is where it is named, `who` names it to people.
pub fn read_within(root: Root<'_>, name: &str, span: &Span, who: &str) -> Result<(PathBuf, String), Box<Problem>> {
    let (full, bytes) = bytes_within(root, name, MAX_FUNCTION, span, who)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let message = format!("{who}: {} cannot be read: it is not UTF-8 at byte {at}", full.display());
        Problem::error(&codes::FUNCTION_FILE, span.clone(), message).boxed()
    })?;
    Ok((full, text))
}

/// Reads the file `name` within the folder, of `most` bytes at most.
pub fn bytes_within(
    root: Root<'_>,
    name: &str,
    most: u64,
    span: &Span,
    who: &str,
) -> Result<(PathBuf, Vec<u8>), Box<Problem>> {
    let (dir, path) = (root.dir, Path::new(name));
    let outside = |why: &str| {
        Problem::error(&codes::FILE_OUTSIDE, span.clone(), format!("{who}: `{name}` {why}"))
            .help("name a file within the configuration folder, relative to it, e.g. \"functions/summarize.hexa\"")
            .boxed()
    };
    lies_below(path).map_err(outside)?;
    let full = dir.join(path);
    let fail = |why: String| {
        Problem::error(&codes::FUNCTION_FILE, span.clone(), format!("{who}: {} cannot be read: {why}", full.display()))
    };
    if let Some(text) = root.shown.get(&full) {
        return Ok((full, text.as_bytes().to_vec()));
    }
    let real = within(dir, path).map_err(|astray| match astray {
        Astray::Leads(why) => outside(why),
        Astray::Unread(e) => {
            let problem = fail(e.to_string());
            match beside(&full) {
                Some(names) if e.kind() == std::io::ErrorKind::NotFound => {
                    problem.help(format!("that folder holds {}", super::de::list(&names))).boxed()
                }
                _ => problem.boxed(),
            }
        }
    })?;
    // Looked at before opening: opening a FIFO would wait for its writer.
    let meta = std::fs::metadata(&real).map_err(|e| fail(e.to_string()))?;
    if !meta.is_file() {
        return Err(fail("it is not a regular file".into()).boxed());
    }
    let file = std::fs::File::open(&real).map_err(|e| fail(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(fail(format!("it is larger than {most} bytes")).boxed());
    }
    Ok((full, bytes))
}

/// What lies beside a file that is not there.
fn beside(path: &Path) -> Option<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| [".hexa", ".js", ".lua", ".luau", ".wasm", ".wat"].iter().any(|end| n.ends_with(end)))
        .take(10)
        .collect();
    names.sort();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_stay_within_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("config");
        std::fs::create_dir_all(dir.join("functions")).unwrap();
        std::fs::write(temp.path().join("secret"), "x").unwrap();
        std::fs::write(dir.join("functions/a.hexa"), "1").unwrap();
        std::fs::write(dir.join("big.hexa"), vec![b' '; MAX_FUNCTION as usize + 1]).unwrap();
        std::fs::write(dir.join("latin.hexa"), b"\xe9").unwrap();
        std::os::unix::fs::symlink(temp.path().join("secret"), dir.join("link.hexa")).unwrap();
        std::os::unix::fs::symlink(dir.join("functions/a.hexa"), dir.join("inner.hexa")).unwrap();
        let shown = Shown::from([(dir.join("functions/a.hexa"), "2".into())]);
        let root = Root { dir: &dir, shown: &Shown::new() };
        let read = |name: &str| read_within(root, name, &(0..1), "function `f`");
        let edited = read_within(Root { shown: &shown, ..root }, "functions/a.hexa", &(0..1), "");
        assert_eq!(edited.unwrap().1, "2", "what an editor shows stands in for the file");
        assert_eq!(read("functions/a.hexa").unwrap().1, "1");
        assert_eq!(read("inner.hexa").unwrap().1, "1", "a link that stays within is fine");
        for (name, code) in [
            ("../secret", "HX1015"),
            ("functions/../../secret", "HX1015"),
            ("/etc/hostname", "HX1015"),
            ("link.hexa", "HX1015"),
            ("functions", "HX1016"),
            ("functions/b.hexa", "HX1016"),
            ("big.hexa", "HX1016"),
            ("latin.hexa", "HX1016"),
        ] {
            assert_eq!(read(name).unwrap_err().code, code, "{name}");
            let astray = within(&dir, Path::new(name)).is_err_and(|astray| matches!(astray, Astray::Leads(_)));
            assert_eq!(astray, code == "HX1015", "{name}");
        }
    }
}
