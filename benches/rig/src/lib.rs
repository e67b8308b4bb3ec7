//! The rig of `scripts/bench`: the servers that hexaFn is compared with, the sink that receives, the client that loads.
//!
//! The servers do the work of a job and nothing else: no signature, no deduplication, no retry, no configuration. They are
//! the floor of what the job costs with actix-web on this machine. Invariant: client, sink and bodies are the same for
//! both sides of a comparison.

pub mod fan;
pub mod histogram;
pub mod http;
pub mod raw;
pub mod request;

/// A result of the rig: it ends with the message of the first error.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Nanoseconds since 1970: the time stamp of an event, comparable between processes of one machine.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// The time stamp in a body or a frame: `"t":` and the 19 digits that nanoseconds since 1970 have until the year 2286.
pub fn stamp(bytes: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(bytes, b"\"t\":")? + 4;
    std::str::from_utf8(bytes.get(at..at + 19)?).ok()?.parse().ok()
}
