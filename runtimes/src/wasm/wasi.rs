//! WASI preview 1 for commands, with nothing of the machine behind it: standard input is the event, standard output the
//! result, standard error the log. There are no files, no directories, no sockets, so most functions only say so.
//!
//! The crate `wasmtime-wasi` is not used: its synchronous `poll_oneoff` sleeps as long as the guest likes, beyond the
//! reach of the epoch deadline; it needs a Tokio runtime under each call; and it is of one engine. Numbers and layouts
//! are those of the witx of `wasi_snapshot_preview1`.

use std::time::Duration;

use super::host::{Call, Grant, Import, Memory, Range, Run, Stop, arity, write};
use crate::{Code, Error, Level};

/// The name of the module.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

// Numbers of errors that are given here.
const SUCCESS: i64 = 0;
const BADF: i64 = 8;
const INVAL: i64 = 28;
const NOSYS: i64 = 52;
const SPIPE: i64 = 70;

/// The most bytes that one write or read moves: POSIX allows less than was asked for, and the deadline is
/// looked at between calls.
pub(super) const CHUNK: usize = 64 << 10;
/// The most pieces of one `fd_write` or `fd_read`, as Linux has it.
const PIECES: usize = 1024;
/// The most subscriptions of one `poll_oneoff`.
const SUBSCRIPTIONS: usize = 64;
/// A line that is longer is logged in pieces.
const LINE: usize = 4 << 10;

const fn wasi(name: &'static str, params: &'static str, run: Run) -> Import {
    Import { module: MODULE, name, params, results: "i", grant: Grant::Nothing, run }
}

fn no_descriptor(_: &mut Call, _: &mut dyn Memory, _: &[i64]) -> Result<i64, Stop> {
    Ok(BADF)
}

fn no_such_thing(_: &mut Call, _: &mut dyn Memory, _: &[i64]) -> Result<i64, Stop> {
    Ok(NOSYS)
}

fn nothing_to_do(call: &mut Call, _: &mut dyn Memory, _: &[i64]) -> Result<i64, Stop> {
    if call.session.is_late() { Err(call.session.late().into()) } else { Ok(SUCCESS) }
}

/// All functions of preview 1.
pub(crate) static IMPORTS: [Import; 46] = [
    wasi("args_get", "ii", |_, _, _| Ok(SUCCESS)),
    wasi("args_sizes_get", "ii", |_, memory, args| no_strings(memory, args)),
    wasi("clock_res_get", "ii", clock_res),
    wasi("clock_time_get", "iIi", clock_time),
    wasi("environ_get", "ii", environ_get),
    wasi("environ_sizes_get", "ii", environ_sizes),
    wasi("fd_advise", "iIIi", no_descriptor),
    wasi("fd_allocate", "iII", no_descriptor),
    wasi("fd_close", "i", |_, _, args| Ok(if standard(args).is_some() { SUCCESS } else { BADF })),
    wasi("fd_datasync", "i", no_descriptor),
    wasi("fd_fdstat_get", "ii", fdstat),
    wasi("fd_fdstat_set_flags", "ii", no_descriptor),
    wasi("fd_fdstat_set_rights", "iII", no_descriptor),
    wasi("fd_filestat_get", "ii", filestat),
    wasi("fd_filestat_set_size", "iI", no_descriptor),
    wasi("fd_filestat_set_times", "iIIi", no_descriptor),
    wasi("fd_pread", "iiiIi", no_seeking),
    wasi("fd_prestat_dir_name", "iii", no_descriptor),
    wasi("fd_prestat_get", "ii", no_descriptor),
    wasi("fd_pwrite", "iiiIi", no_seeking),
    wasi("fd_read", "iiii", read),
    wasi("fd_readdir", "iiiIi", no_descriptor),
    wasi("fd_renumber", "ii", no_descriptor),
    wasi("fd_seek", "iIii", no_seeking),
    wasi("fd_sync", "i", no_descriptor),
    wasi("fd_tell", "ii", no_seeking),
    wasi("fd_write", "iiii", fd_write),
    wasi("path_create_directory", "iii", no_descriptor),
    wasi("path_filestat_get", "iiiii", no_descriptor),
    wasi("path_filestat_set_times", "iiiiIIi", no_descriptor),
    wasi("path_link", "iiiiiii", no_descriptor),
    wasi("path_open", "iiiiiIIii", no_descriptor),
    wasi("path_readlink", "iiiiii", no_descriptor),
    wasi("path_remove_directory", "iii", no_descriptor),
    wasi("path_rename", "iiiiii", no_descriptor),
    wasi("path_symlink", "iiiii", no_descriptor),
    wasi("path_unlink_file", "iii", no_descriptor),
    wasi("poll_oneoff", "iiii", poll),
    Import {
        module: MODULE,
        name: "proc_exit",
        params: "i",
        results: "",
        grant: Grant::Nothing,
        run: |_, _, args| Err(Stop::Exit(args.first().map_or(0, |&status| status as i32))),
    },
    wasi("proc_raise", "i", no_such_thing),
    wasi("random_get", "ii", random),
    wasi("sched_yield", "", nothing_to_do),
    wasi("sock_accept", "iii", no_descriptor),
    wasi("sock_recv", "iiiiii", no_descriptor),
    wasi("sock_send", "iiiii", no_descriptor),
    wasi("sock_shutdown", "ii", no_descriptor),
];

/// The descriptor, if it is one of the three that there are.
fn standard(args: &[i64]) -> Option<i64> {
    args.first().copied().filter(|fd| (0..=2).contains(fd))
}

fn no_strings(memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    for &at in args {
        put(memory, at, &0u32.to_le_bytes())?;
    }
    Ok(SUCCESS)
}

/// Writes a result of WASI.
fn put(memory: &mut dyn Memory, at: i64, bytes: &[u8]) -> Result<(), Stop> {
    Ok(write(memory, at as u32 as usize, bytes, "a result of WASI")?)
}

fn word(memory: &dyn Memory, at: usize, what: &str) -> Result<usize, Stop> {
    let bytes = Range { at, len: 4 }.bytes(memory, what, 4)?;
    Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

fn clock_res(_: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[id, at] = args else { return Err(arity()) };
    if !(0..=3).contains(&id) {
        return Ok(INVAL);
    }
    put(memory, at, &1_000_000u64.to_le_bytes())?;
    Ok(SUCCESS)
}

fn clock_time(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[id, _, at] = args else { return Err(arity()) };
    let millis = match id {
        0 => u64::try_from(call.session.now_ms()).unwrap_or_default(),
        // Time of the processor would tell more about the machine than a function needs.
        1..=3 => call.session.elapsed().as_millis() as u64,
        _ => return Ok(INVAL),
    };
    put(memory, at, &millis.saturating_mul(1_000_000).to_le_bytes())?;
    Ok(SUCCESS)
}

fn environ_sizes(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[count_at, size_at] = args else { return Err(arity()) };
    let env = &call.session.ctx().env;
    let size: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    put(memory, count_at, &(env.len() as u32).to_le_bytes())?;
    put(memory, size_at, &(size as u32).to_le_bytes())?;
    Ok(SUCCESS)
}

fn environ_get(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[mut pointers, mut texts] = args else { return Err(arity()) };
    for (name, value) in &call.session.ctx().env {
        let text = format!("{name}={value}\0");
        put(memory, pointers, &(texts as u32).to_le_bytes())?;
        put(memory, texts, text.as_bytes())?;
        pointers = pointers.wrapping_add(4);
        texts = texts.wrapping_add(text.len() as i64);
    }
    Ok(SUCCESS)
}

fn fdstat(_: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[fd, at] = args else { return Err(arity()) };
    if standard(args).is_none() {
        return Ok(BADF);
    }
    // fs_filetype: none of the known ones, which makes C libraries buffer; rights: fd_read (bit 1) or fd_write (bit 6).
    let mut stat = [0; 24];
    stat[8] = if fd == 0 { 1 << 1 } else { 1 << 6 };
    put(memory, at, &stat)?;
    Ok(SUCCESS)
}

fn filestat(_: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[_, at] = args else { return Err(arity()) };
    if standard(args).is_none() {
        return Ok(BADF);
    }
    put(memory, at, &[0; 64])?;
    Ok(SUCCESS)
}

fn no_seeking(_: &mut Call, _: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    Ok(if standard(args).is_some() { SPIPE } else { BADF })
}

/// The ranges of a vector of `iovec`.
fn pieces(memory: &dyn Memory, at: i64, count: i64) -> Result<Option<Vec<Range>>, Stop> {
    let count = count as u32 as usize;
    if count > PIECES {
        return Ok(None);
    }
    let first = at as u32 as usize;
    let piece = |i: usize| -> Result<Range, Stop> {
        let at = word(memory, first + i * 8, "a vector of buffers")?;
        let len = word(memory, first + i * 8 + 4, "a vector of buffers")?;
        Ok(Range { at, len })
    };
    (0..count).map(piece).collect::<Result<_, _>>().map(Some)
}

fn read(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[fd, at, count, read_at] = args else { return Err(arity()) };
    if fd != 0 {
        return Ok(BADF);
    }
    let Some(pieces) = pieces(memory, at, count)? else { return Ok(INVAL) };
    let start = call.read;
    for Range { at, len } in pieces {
        let left = call.input.get(call.read..).unwrap_or_default();
        let part = &left[..left.len().min(len)];
        write(memory, at, part, "a buffer of `fd_read`")?;
        call.read += part.len();
    }
    put(memory, read_at, &((call.read - start) as u32).to_le_bytes())?;
    nothing_to_do(call, memory, &[])
}

fn fd_write(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[fd, at, count, written_at] = args else { return Err(arity()) };
    if fd != 1 && fd != 2 {
        return Ok(BADF);
    }
    let Some(pieces) = pieces(memory, at, count)? else { return Ok(INVAL) };
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(piece.bytes(memory, "a buffer of `fd_write`", CHUNK - bytes.len())?);
    }
    print(call, if fd == 1 { Output::Result } else { Output::Error }, &bytes)?;
    put(memory, written_at, &(bytes.len() as u32).to_le_bytes())?;
    nothing_to_do(call, memory, &[])
}

/// Where a guest writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output: the result of a command, lines of the log of everything else.
    Result,
    /// Standard error.
    Error,
}

/// Takes what a guest writes.
///
/// # Errors
/// It is more than its limits allow.
pub(super) fn print(call: &mut Call, output: Output, bytes: &[u8]) -> Result<(), Error> {
    match (output, &mut call.stdout) {
        (Output::Result, Some(stdout)) => {
            let limit = call.session.settings().limits.output;
            if stdout.len() + bytes.len() > limit {
                return Err(Error::new(
                    Code::OutputTooLarge,
                    format!("it wrote more than {limit} bytes to standard output (`limits.output`)"),
                ));
            }
            stdout.extend(bytes);
        }
        (Output::Result, None) => lines(call, 0, Level::Info, bytes)?,
        (Output::Error, _) => {
            lines(call, 1, Level::Warn, bytes)?;
            call.complaint.extend(bytes);
            let more = call.complaint.len().saturating_sub(Error::LONGEST / 2);
            call.complaint.drain(..more);
        }
    }
    Ok(())
}

/// How much of a text ends with a whole character.
fn whole(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => text.len(),
    }
}

/// Logs what is complete of a stream, line by line.
fn lines(call: &mut Call, stream: usize, level: Level, bytes: &[u8]) -> Result<(), Error> {
    let Some(mut open) = call.lines.get_mut(stream).map(std::mem::take) else { return Ok(()) };
    for &byte in bytes {
        // A line that is too long is several, none of which ends within a character.
        if byte == b'\n' || open.len() >= LINE {
            let end = if byte == b'\n' { open.len() } else { whole(&open) };
            call.session.log(level, &String::from_utf8_lossy(&open[..end]))?;
            open.drain(..end);
        }
        if byte != b'\n' {
            open.push(byte);
        }
    }
    if let Some(kept) = call.lines.get_mut(stream) {
        *kept = open;
    }
    Ok(())
}

/// Logs the last lines, which no line feed ended. What is too much is not worth an error at the end.
pub(crate) fn finish(call: &mut Call) {
    for (stream, level) in [(0, Level::Info), (1, Level::Warn)] {
        if call.lines.get(stream).is_some_and(|open| !open.is_empty()) && lines(call, stream, level, b"\n").is_err() {
            return;
        }
    }
}

fn random(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[at, len] = args else { return Err(arity()) };
    let Range { at, len } = Range::new(at, len);
    if at + len > memory.size() {
        write(memory, at + len, &[0], "the buffer of `random_get`")?;
    }
    for start in (0..len).step_by(8) {
        let number = call.session.random().to_le_bytes();
        write(memory, at + start, &number[..(len - start).min(8)], "the buffer of `random_get`")?;
        // A buffer can be as large as the memory.
        if start % CHUNK == 0 && call.session.is_late() {
            return Err(call.session.late().into());
        }
    }
    Ok(SUCCESS)
}

/// Waits for clocks; the standard streams are always ready. Never longer than the deadline.
fn poll(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[subscriptions, events, count, count_at] = args else { return Err(arity()) };
    let count = count as u32 as usize;
    if count == 0 || count > SUBSCRIPTIONS {
        return Ok(INVAL);
    }
    // Of each: what the guest knows it by, its kind, and how long until it is ready (`None`: cannot be waited for).
    let mut waits = Vec::with_capacity(count);
    for i in 0..count {
        let at = subscriptions as u32 as usize + i * 48;
        let bytes = Range { at, len: 48 }.bytes(memory, "a subscription of `poll_oneoff`", 48)?;
        let number = |from: usize, len: usize| -> u64 {
            bytes.iter().skip(from).take(len).rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
        };
        let (kind, clock, timeout, absolute) = (number(8, 1), number(16, 4), number(24, 8), number(40, 2) & 1 == 1);
        let wait = match kind {
            0 if clock > 3 => None,
            0 if absolute && clock == 0 => {
                let now = u64::try_from(call.session.now_ms()).unwrap_or_default().saturating_mul(1_000_000);
                Some(Duration::from_nanos(timeout.saturating_sub(now)))
            }
            0 if absolute => Some(Duration::from_nanos(timeout).saturating_sub(call.session.elapsed())),
            0 => Some(Duration::from_nanos(timeout)),
            1 | 2 => Some(Duration::ZERO),
            _ => return Ok(INVAL),
        };
        waits.push((number(0, 8), kind, wait));
    }
    let shortest = waits.iter().map(|(_, _, wait)| wait.unwrap_or_default()).min().unwrap_or_default();
    std::thread::sleep(shortest.min(call.session.time_left()));
    if call.session.is_late() {
        return Err(call.session.late().into());
    }
    let mut ready = 0u32;
    for (userdata, kind, wait) in waits {
        if wait.is_some_and(|wait| wait > shortest) {
            continue;
        }
        let mut event = [0; 32];
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[8] = if wait.is_none() { INVAL as u8 } else { 0 };
        event[10] = kind as u8;
        put(memory, events.wrapping_add(i64::from(ready) * 32), &event)?;
        ready += 1;
    }
    put(memory, count_at, &ready.to_le_bytes())?;
    Ok(SUCCESS)
}
