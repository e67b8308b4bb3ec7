//! What a command prints: results on the standard output, what is said beside them on the standard error. Nothing else in
//! this folder writes to either.
//!
//! A command whose output cannot be written comes to its own end all the same: whether it did what it was asked to do does
//! not depend on who reads of it. [`failed`] has what is said after that. What prints for ever ends when nothing is taken any
//! more ([`is_closed`]).

use std::io::{Error, ErrorKind, Result, Write};
use std::sync::OnceLock;

use super::Failure;

/// Why the standard output takes no more; a later line would hide that one is missing.
static OUT: OnceLock<Error> = OnceLock::new();
/// The same of the standard error.
static ERR: OnceLock<Error> = OnceLock::new();

/// Prints a line of a result.
pub fn say(line: impl AsRef<str>) {
    write(&OUT, std::io::stdout().lock(), &format!("{}\n", line.as_ref()));
}

/// Prints a result as it is.
pub fn exactly(text: &str) {
    write(&OUT, std::io::stdout().lock(), text);
}

/// Says a line to the person.
pub fn tell(line: impl AsRef<str>) {
    write(&ERR, std::io::stderr().lock(), &format!("{}\n", line.as_ref()));
}

/// Shows the help that was asked for, or how a command is written.
pub fn usage(said: &clap::Error) {
    note(if said.use_stderr() { &ERR } else { &OUT }, said.print());
}

fn write(lost: &OnceLock<Error>, mut to: impl Write, text: &str) {
    if lost.get().is_none() {
        note(lost, to.write_all(text.as_bytes()).and_then(|()| to.flush()));
    }
}

fn note(lost: &OnceLock<Error>, written: Result<()>) {
    if let Err(error) = written {
        // The first reason is the one that is told.
        lost.set(error).ok();
    }
}

/// Whether the standard output takes no more.
pub fn is_closed() -> bool {
    OUT.get().is_some()
}

/// That not all was written. A reader that has gone (`| head`) has what it wanted.
pub fn failed() -> Option<Failure> {
    let lost = [&OUT, &ERR].into_iter().filter_map(OnceLock::get).find(|e| e.kind() != ErrorKind::BrokenPipe);
    lost.map(|error| Failure::new(74, format!("the output cannot be written: {error}")))
}
