//! The format of the data directory, in a file of its own that is read before anything else is touched.
//!
//! A version that does not know the format must not even look at the other files: the check of the write-ahead files
//! mends what it takes for torn. The file holds the number and a line feed, whatever else changes. It came with format 3; a
//! directory without it is of that or an earlier format, or new.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use crate::log::{Error, keys};

const NAME: &str = "log.format";
/// More than any number takes: what is longer is not read.
const LONGEST: u64 = 32;

/// Refuses a directory of a later format; makes any other one say that it is of this version's format from now on.
pub(super) fn claim(dir: &Path) -> Result<(), Error> {
    let path = dir.join(NAME);
    let failed = |what: &str, e: io::Error| {
        let full = e.kind() == ErrorKind::StorageFull;
        if full { Error::Full } else { Error::Open(format!("{what} {} failed ({e})", path.display()).into()) }
    };
    if let Some(text) = read(&path).map_err(|e| failed("reading", e))? {
        let found = text.trim().parse::<u32>().map_err(|_| {
            let (path, known) = (path.display(), keys::FORMAT);
            Error::Open(
                format!(
                    "{path} holds {text:?}, and not the number of a format. Restore it from a backup; when no version after \
                     this one has used the directory, write {known} into it"
                )
                .into(),
            )
        })?;
        match found.cmp(&keys::FORMAT) {
            Ordering::Greater => return Err(Error::Format { found, known: keys::FORMAT }),
            Ordering::Equal => return Ok(()),
            Ordering::Less => {}
        }
    }
    write(dir, &path).map_err(|e| failed("writing", e))
}

/// `None` where there is no such file.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// On disk before anything else of the format is, and never half: it is written beside and renamed.
fn write(dir: &Path, path: &Path) -> io::Result<()> {
    let beside = dir.join(format!("{NAME}.new"));
    let mut file = File::create(&beside)?;
    writeln!(file, "{}", keys::FORMAT)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()
}
