//! Opening a file inside its directory and nowhere else.
//!
//! A path may come from an event, so each step of it is opened by itself, relative to the step before and without
//! following symbolic links: between a check and its use there is no name that somebody could exchange. The directory
//! itself is the operator's word and may be a link.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::target::{Failure, FailureClass, Verdict};

/// The longest relative path, in bytes, and the most steps in it.
const MAX_PATH: usize = 1024;
const MAX_STEPS: usize = 16;
/// The longest name of a step: 255 is the limit of file systems, and a rotated file needs room for its time stamp.
const MAX_STEP: usize = 200;

/// A file that was opened, with the directory it is in.
#[derive(Debug)]
pub struct Opened {
    /// For reading and appending.
    pub file: File,
    /// The directory that holds it.
    pub dir: OwnedFd,
    /// Whether it was made just now.
    pub created: bool,
}

/// Why a path is refused; the event that gave it cannot be delivered.
pub fn check(path: &str) -> Result<Vec<&str>, String> {
    let shown = || path.chars().take(100).flat_map(char::escape_debug).collect::<String>();
    if path.is_empty() || path.len() > MAX_PATH {
        return Err(format!("a path of {} bytes; expected 1 to {MAX_PATH}", path.len()));
    }
    if path.starts_with('/') {
        return Err(format!("`{}` is absolute; paths are relative to the target's `directory`", shown()));
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Err(format!("`{}` holds a control character or a backslash", shown()));
    }
    let steps: Vec<&str> = path.split('/').collect();
    if steps.len() > MAX_STEPS {
        return Err(format!("`{}` has more than {MAX_STEPS} steps", shown()));
    }
    for step in &steps {
        if *step == ".." || *step == "." {
            return Err(format!("`{}` holds `{step}`; a path stays inside its directory", shown()));
        }
        if step.is_empty() || step.len() > MAX_STEP {
            return Err(format!("`{}` holds a name that is empty or longer than {MAX_STEP} bytes", shown()));
        }
    }
    Ok(steps)
}

/// Opens a file below `base` for appending, making directories and the file where they are missing. What was made is
/// synced into its directory, so that a line on disk has a file that is on disk.
pub fn open(base: &Path, steps: &[&str]) -> Result<Opened, Failure> {
    let (name, dirs) = steps.split_last().ok_or_else(|| refused("an empty path".into()))?;
    let shown = steps.join("/");
    let mut dir = open_base(base)?;
    for step in dirs {
        dir = open_dir(dir, step)?;
    }
    let flags =
        OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    // What exists is looked at before it is opened: opening a device may do something already.
    let (fd, created) = match fstatat(&dir, *name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
            if kind != SFlag::S_IFREG {
                return Err(refused(format!("`{shown}` is {}; expected a regular file", kind_name(kind))));
            }
            (openat(&dir, *name, flags, Mode::empty()), false)
        }
        Err(Errno::ENOENT) => {
            let mode = Mode::from_bits_truncate(0o640);
            (openat(&dir, *name, flags | OFlag::O_CREAT | OFlag::O_EXCL, mode), true)
        }
        Err(errno) => (Err(errno), false),
    };
    let file = File::from(fd.map_err(|errno| broken("opening", &shown, &errno.into()))?);
    let is_file = file.metadata().map_err(|e| broken("looking at", &shown, &e))?.is_file();
    if !is_file {
        return Err(refused(format!("`{shown}` is not a regular file")));
    }
    if created {
        sync_dir(&dir).map_err(|e| broken("syncing the directory of", &shown, &e))?;
    }
    Ok(Opened { file, dir, created })
}

/// Syncs a directory: its names are then on disk.
pub fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    nix::unistd::fsync(dir).map_err(io::Error::from)
}

/// An error of the file system: another attempt may succeed.
pub fn broken(doing: &str, name: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free space, or move the target's `directory`"
        }
        io::ErrorKind::PermissionDenied => "; give the user of hexaFn the right to write there",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is read-only",
        _ if error.raw_os_error() == Some(Errno::EMFILE as i32) => "; raise the limit of open files (`ulimit -n`)",
        _ => "",
    };
    Failure::new(FailureClass::Io, format!("{doing} `{}` failed: {error}{hint}", name.escape_debug()))
}

fn open_base(base: &Path) -> Result<OwnedFd, Failure> {
    let shown = base.display().to_string();
    std::fs::create_dir_all(base).map_err(|e| broken("making the directory", &shown, &e))?;
    let dir = File::open(base).map_err(|e| broken("opening the directory", &shown, &e))?;
    Ok(dir.into())
}

fn open_dir(parent: OwnedFd, step: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(&parent, step, flags, Mode::empty()) {
        Ok(dir) => return Ok(dir),
        Err(Errno::ENOENT) => {}
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            let message =
                format!("`{step}` is a symbolic link or no directory; to write behind a link, name it in `directory`");
            return Err(refused(message));
        }
        Err(errno) => return Err(broken("opening the directory", step, &errno.into())),
    }
    match mkdirat(&parent, step, Mode::from_bits_truncate(0o750)) {
        Ok(()) => sync_dir(&parent).map_err(|e| broken("syncing the directory of", step, &e))?,
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(broken("making the directory", step, &errno.into())),
    }
    openat(&parent, step, flags, Mode::empty()).map_err(|errno| broken("opening the directory", step, &errno.into()))
}

/// Something in the way that the operator can remove: worth another attempt.
fn refused(message: String) -> Failure {
    Failure::new(FailureClass::Refused, message)
}

/// A path that an event gave and that no attempt can use.
pub fn refused_path(message: &str) -> Failure {
    let message = format!("the `path` of the target for this event is refused: {message}");
    Failure::new(FailureClass::Refused, message).verdict(Verdict::DeadLetter)
}

fn kind_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_that_leave_are_refused() {
        for path in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
            "a\x1b",
            "..\\a",
            &"x".repeat(201),
            &"a/".repeat(600),
            "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q",
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
        for path in ["a", "a/b.jsonl", "..a", "a..", "...", ".hidden", "é/日本"] {
            assert!(check(path).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn directories_are_made_and_links_fifos_and_directories_refused() {
        let base = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        assert!(open(base.path(), &["a", "b", "f"]).unwrap().created);
        assert!(!open(base.path(), &["a", "b", "f"]).unwrap().created);

        symlink(outside.path(), base.path().join("link")).unwrap();
        symlink(outside.path().join("f"), base.path().join("a/link")).unwrap();
        nix::unistd::mkfifo(&base.path().join("fifo"), Mode::S_IRWXU).unwrap();
        let refusal = |steps: &[&str]| {
            let failure = open(base.path(), steps).unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused, "{failure:?}");
            failure.message
        };
        assert!(refusal(&["link", "f"]).contains("symbolic link"));
        assert!(refusal(&["a", "link"]).contains("symbolic link"));
        assert!(refusal(&["fifo"]).contains("a FIFO"));
        assert!(refusal(&["a"]).contains("a directory"));
        assert!(refusal(&["a", "b", "f", "g"]).contains("no directory"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was written outside");
    }

    #[test]
    fn a_device_is_refused() {
        assert!(open(Path::new("/dev"), &["null"]).unwrap_err().message.contains("a device"));
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics_or_leaves(path in "[a./\\\\\0~é ]{0,20}") {
            if let Ok(steps) = check(&path) {
                proptest::prop_assert!(steps.iter().all(|s| !matches!(*s, "" | "." | "..")));
                proptest::prop_assert!(Path::new(&path).is_relative());
            }
        }
    }
}
