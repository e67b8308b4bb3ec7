//! The service's end of the socket to a worker process: frames with a deadline, and an eye on how long the process keeps
//! the processor while they are waited for.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use rustix::process::Pid;
use serde::Serialize;

use crate::priority;
use crate::protocol::{self, Frame, Kind};

/// How often whoever waits for a process looks at the time, and at what the process does. Set once: a system call that
/// sets it for each read would cost more than the read.
const LOOK_EVERY: Duration = Duration::from_millis(10);
#[derive(Debug)]
pub(super) struct Socket {
    from: BufReader<Timed>,
    /// Frames that were not sent yet.
    unsent: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(LOOK_EVERY))?;
        let timed = Timed { stream, deadline: Instant::now(), pace: Pace::default() };
        Ok(Self { from: BufReader::with_capacity(64 << 10, timed), unsent: Vec::new() })
    }

    /// What the process at the other end does meanwhile is looked at.
    pub(super) fn watch(&mut self, process: u32) {
        self.from.get_mut().pace = Pace::of(process);
    }

    /// Until when the other side may take for what follows. Whoever sends a byte now and then gains nothing by it.
    pub(super) fn until(&mut self, deadline: Instant) {
        self.from.get_mut().deadline = deadline;
    }

    /// Appends a frame to what is sent next; gives its bytes.
    pub(super) fn append(&mut self, kind: Kind, head: &impl Serialize, tail: &[u8]) -> io::Result<usize> {
        let before = self.unsent.len();
        protocol::append(&mut self.unsent, kind, head, tail)?;
        Ok(self.unsent.len() - before)
    }

    /// Sends what was appended.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let sent = self.from.get_mut().write_all(&self.unsent);
        // What a large event took is given back.
        if self.unsent.capacity() > 256 << 10 {
            self.unsent = Vec::new();
        } else {
            self.unsent.clear();
        }
        sent
    }

    /// Whether more was received than was read so far.
    pub(super) fn has_more(&self) -> bool {
        !self.from.buffer().is_empty()
    }

    /// The next frame; `None` at an orderly end.
    pub(super) fn read(&mut self) -> io::Result<Option<Frame>> {
        protocol::read(&mut self.from)
    }

    /// What runs from here on is another call.
    pub(super) fn next_call(&mut self) {
        self.from.get_mut().pace.begin();
    }

    /// Whether the other side has closed it.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut stream = &self.from.get_ref().stream;
        let read = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 1]));
        matches!(read, Ok(0))
    }
}

/// The stream until a time.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    deadline: Instant,
    pace: Pace,
}

impl Timed {
    /// Tries, and tries again while the time lasts.
    fn within(&mut self, mut attempt: impl FnMut(&mut &UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match attempt(&mut &self.stream) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => self.pace.look(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.within(|stream| stream.read(bytes))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.within(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a process uses the processor during a call. One that keeps it (for 10 to 20 ms) is lowered in priority; where the
/// system lets us, it is raised again with the next call, else it stays where it is until it is replaced.
#[derive(Debug, Default)]
struct Pace {
    /// The process and the clock of its processor time; without them nothing is looked at.
    process: Option<(Pid, ClockId)>,
    /// Its processor time when it was last looked at within this call.
    seen: Option<Duration>,
    /// The priority that it was lowered from.
    lowered: Option<i32>,
}

impl Pace {
    fn of(process: u32) -> Self {
        let id = i32::try_from(process).ok().and_then(Pid::from_raw);
        let process = id.and_then(|id| {
            let clock = clock_getcpuclockid(nix::unistd::Pid::from_raw(id.as_raw_nonzero().get())).ok()?;
            Some((id, clock))
        });
        Self { process, seen: None, lowered: None }
    }

    /// It has said nothing for [`LOOK_EVERY`].
    fn look(&mut self) {
        let Some((process, clock)) = self.process else { return };
        if self.lowered.is_some() {
            return;
        }
        let Some(now) = clock_gettime(clock).ok().map(Duration::from) else { return };
        let kept = self.seen.replace(now).is_some_and(|then| now.saturating_sub(then) >= LOOK_EVERY / 2);
        if kept {
            self.lowered = priority::lower(process);
        }
    }

    fn begin(&mut self) {
        self.seen = None;
        if let (Some((process, _)), Some(own)) = (self.process, self.lowered)
            && priority::raise(process, own)
        {
            self.lowered = None;
        }
    }
}
