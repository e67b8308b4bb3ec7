//! What the service and a worker process say to each other, over one socket: frames of a kind, a head
//! ([postcard](https://postcard.jamesmunns.com/wire-format.html): both sides are the same program) and a tail (bytes as
//! they are).
//!
//! ```text
//! frame = length u32 LE (of what follows) | kind u8 | head length u32 LE | head | tail
//!
//! service -> worker   Load {language, name, file, settings} code     then, any number of times,
//!                     Call {ctx} event                               Answer {…} to each Ask
//! worker -> service   Ready {sandbox} | Failed {error}               to Load
//!                     Ask {kv or http}                               during a call
//!                     Done {…} output                                to Call
//! ```
//!
//! Calls may be sent ahead: the worker runs them one after the other, in their order, and says `Done` to each before it
//! looks at the next. So an `Ask` is always of the first call that has no `Done` yet, and a worker that ends hurts that one
//! alone.
//!
//! A second socket is the bell: a byte in it says that there is something to read, for several frames at once where calls
//! wait. Nothing depends on it but how soon they are read.

use std::fmt;
use std::io::{self, Read, Write};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Done, Emit, Error, HostError, HttpRequest, HttpResponse, Line, Output, Settings, Usage, Write as KvWrite};

/// The largest frame: an event at the door's largest size, twice over.
pub const MAX_FRAME: usize = 64 << 20;

/// The most parts of a kind in a head: as many as a function can be allowed calls to the host.
pub const MOST_PARTS: usize = 100_000;

/// Parts as long as they are not too many. One of two bytes takes 16 times as much memory once it is read.
pub(crate) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST_PARTS} parts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(part) = parts.next_element()? {
                if all.len() >= MOST_PARTS {
                    return Err(serde::de::Error::custom("too many parts"));
                }
                all.push(part);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(Few(PhantomData))
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame to a worker: its function.
    Load = 1,
    /// An event.
    Call = 2,
    /// What the host says to an `Ask`.
    Answer = 3,
    /// The function is compiled.
    Ready = 4,
    /// It cannot be.
    Failed = 5,
    /// The function wants something of the host.
    Ask = 6,
    /// A call is over.
    Done = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Load,
            2 => Self::Call,
            3 => Self::Answer,
            4 => Self::Ready,
            5 => Self::Failed,
            6 => Self::Ask,
            7 => Self::Done,
            _ => return None,
        })
    }
}

/// The head of [`Kind::Load`]; the tail is the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// `js`, `lua`, `wasm`.
    pub language: String,
    /// The function's name.
    pub name: String,
    /// Its file, for errors.
    pub file: String,
    /// Its limits and grants.
    pub settings: Settings,
    /// Whether it is compiled and then let go of: what [`Runtime::prove`](crate::Runtime::prove) does.
    pub prove: bool,
}

/// The head of [`Kind::Ready`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What confines the process, for people: `rlimits, seccomp, landlock`.
    pub sandbox: String,
}

/// The head of [`Kind::Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A value of the store.
    KvGet {
        /// The namespace.
        namespace: String,
        /// The key.
        key: String,
    },
    /// A request.
    Http(HttpRequest),
}

/// The head of [`Kind::Answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::KvGet`].
    Kv(Result<Option<String>, HostError>),
    /// To [`Ask::Http`].
    Http(Result<HttpResponse, HostError>),
}

/// The head of [`Kind::Done`]; the tail is the output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DoneHead {
    /// Why it failed.
    pub error: Option<Error>,
    /// Whether there is no output: the event was dropped.
    pub dropped: bool,
    /// What it emitted.
    #[serde(deserialize_with = "few")]
    pub emitted: Vec<Emit>,
    /// What it stored.
    #[serde(deserialize_with = "few")]
    pub writes: Vec<KvWrite>,
    /// What it used.
    pub usage: Usage,
    /// What it logged.
    #[serde(deserialize_with = "few")]
    pub logs: Vec<Line>,
    /// Whether it logged more.
    pub logs_cut: bool,
}

impl DoneHead {
    /// A call, as head and tail.
    pub fn of(done: Done) -> (Self, Box<[u8]>) {
        let Done { result, usage, logs, logs_cut } = done;
        let (error, Output { value, emitted, writes }) = match result {
            Ok(output) => (None, output),
            Err(error) => (Some(error), Output::default()),
        };
        let head = Self { error, dropped: value.is_none(), emitted, writes, usage, logs, logs_cut };
        (head, value.unwrap_or_default())
    }

    /// The call again.
    pub fn done(self, tail: Vec<u8>) -> Done {
        let Self { error, dropped, emitted, writes, usage, logs, logs_cut } = self;
        let result = match error {
            Some(error) => Err(error),
            None => Ok(Output { value: (!dropped).then(|| tail.into()), emitted, writes }),
        };
        Done { result, usage, logs, logs_cut }
    }
}

/// A frame as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    head: Vec<u8>,
    /// The bytes after the head.
    pub tail: Vec<u8>,
}

impl Frame {
    /// Its head.
    ///
    /// # Errors
    /// It is not what was expected.
    pub fn head<T: DeserializeOwned>(&self) -> io::Result<T> {
        let bad = |what: &dyn fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the head of a {:?} frame: {what}", self.kind))
        };
        match postcard::take_from_bytes(&self.head) {
            Ok((head, [])) => Ok(head),
            Ok((_, rest)) => Err(bad(&format!("{} bytes too many", rest.len()))),
            Err(error) => Err(bad(&error)),
        }
    }
}

/// Writes a frame in one piece.
///
/// # Errors
/// It is too large, or the other side is gone or does not read in time.
pub fn write(to: &mut impl Write, kind: Kind, head: &impl Serialize, tail: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(512 + tail.len());
    append(&mut frame, kind, head, tail)?;
    to.write_all(&frame)
}

/// Appends a frame to those that are written together.
///
/// # Errors
/// It is too large; nothing was appended.
pub fn append(frames: &mut Vec<u8>, kind: Kind, head: &impl Serialize, tail: &[u8]) -> io::Result<()> {
    let start = frames.len();
    frames.extend_from_slice(&[0; 9]);
    let written = postcard::to_io(head, &mut *frames).map(drop).map_err(io::Error::other);
    let head = frames.len() - start - 9;
    let length = 5 + head + tail.len();
    let written = written.and_then(|()| match length {
        ..=MAX_FRAME => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes are more than a worker takes at once ({MAX_FRAME})"),
        )),
    });
    if written.is_err() {
        frames.truncate(start);
        return written;
    }
    let le = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    frames[start..start + 4].copy_from_slice(&le(length));
    frames[start + 4] = kind as u8;
    frames[start + 5..start + 9].copy_from_slice(&le(head));
    frames.extend_from_slice(tail);
    Ok(())
}

/// Reads a frame; `None` at an orderly end.
///
/// # Errors
/// The bytes are none, the other side is gone within one, or it says nothing in time.
pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    read_within(from, MAX_FRAME)
}

/// Reads a frame of at most so many bytes: from a side that may have been taken over.
///
/// # Errors
/// Those of [`read`], and a longer frame.
pub fn read_within(from: &mut impl Read, most: usize) -> io::Result<Option<Frame>> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut start = [0; 4];
    let first = loop {
        match from.read(&mut start) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            first => break first?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut start[first..])?;
    let length = u32::from_le_bytes(start) as usize;
    if !(5..=most).contains(&length) {
        return Err(bad(format!("a frame of {length} bytes; 5 to {most} are possible")));
    }
    let mut rest = [0; 5];
    from.read_exact(&mut rest)?;
    let kind = Kind::of(rest[0]).ok_or_else(|| bad(format!("a frame of the unknown kind {}", rest[0])))?;
    let head_length = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
    let left = length - 5;
    if head_length > left {
        return Err(bad(format!("a head of {head_length} bytes in a frame with {left}")));
    }
    // Memory as bytes come, not as they are announced.
    let mut take = |n: usize| {
        let mut bytes = Vec::with_capacity(n.min(64 << 10));
        let got = from.by_ref().take(n as u64).read_to_end(&mut bytes)?;
        if got < n { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) } else { Ok(bytes) }
    };
    Ok(Some(Frame { kind, head: take(head_length)?, tail: take(left - head_length)? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        let load = Load {
            language: "js".into(),
            name: "f".into(),
            file: "f.js".into(),
            settings: Settings::default(),
            prove: false,
        };
        write(&mut bytes, Kind::Load, &load, b"code").unwrap();
        write(&mut bytes, Kind::Answer, &Answer::Kv(Err(HostError("no".into()))), b"").unwrap();
        let mut from = &bytes[..];
        let frame = read(&mut from).unwrap().unwrap();
        assert_eq!((frame.kind, frame.head::<Load>().unwrap(), &*frame.tail), (Kind::Load, load, &b"code"[..]));
        let frame = read(&mut from).unwrap().unwrap();
        assert_eq!(frame.head::<Answer>().unwrap(), Answer::Kv(Err(HostError("no".into()))));
        assert!(frame.head::<Load>().is_err());
        assert!(read(&mut from).unwrap().is_none());
    }

    #[test]
    fn every_cut_and_every_absurd_length_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Ready, &Ready { sandbox: "none".into() }, b"tail").unwrap();
        for end in 1..bytes.len() {
            assert!(read(&mut &bytes[..end]).is_err(), "{end}");
        }
        for (at, value) in [(0, 0xff), (3, 0xff), (4, 99), (5, 0xff), (8, 0xff), (0, 1)] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let read = read(&mut &damaged[..]);
            assert!(read.is_err() || read.is_ok_and(|f| f.is_some_and(|f| f.head::<Ready>().is_err())), "{at}");
        }
    }
}
