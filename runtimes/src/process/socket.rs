//! The service's end of the sockets to a worker process: frames with a deadline, and the bell.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::protocol::{self, Frame, Kind};

/// How often whoever waits for a process looks at the time. Set once: a system call that sets what is left for each read
/// would cost more than the read.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the bell is waited for before frames are: what a process has said before a call that keeps it from ringing is
/// then read without.
pub(super) const LISTEN: Duration = Duration::from_millis(1);

/// How many reads find what lies there already when the deadline is over: the service may have stood still meanwhile (a container
/// that was paused, a machine that is too busy), and that is not the function's fault. Bounded, or a side that goes on writing would
/// never be late.
const OVERDUE: u8 = 64;

#[derive(Debug)]
pub(super) struct Socket {
    from: BufReader<Timed>,
    bell: UnixStream,
    /// Whether it was not heard when it was waited for: it may have rung since, for what was read without.
    late: bool,
    /// Frames that were not sent yet.
    unsent: Vec<u8>,
    /// The most bytes of a frame of the other side.
    most: usize,
}

impl Socket {
    pub(super) fn new(stream: UnixStream, bell: UnixStream, most: usize) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(LOOK_EVERY))?;
        bell.set_nonblocking(true)?;
        let timed = Timed { stream, deadline: Instant::now(), overdue: 0 };
        Ok(Self { from: BufReader::with_capacity(64 << 10, timed), bell, late: false, unsent: Vec::new(), most })
    }

    /// Until when the other side may take for what follows. Whoever sends a byte now and then gains nothing by it.
    pub(super) fn until(&mut self, deadline: Instant) {
        let timed = self.from.get_mut();
        (timed.deadline, timed.overdue) = (deadline, OVERDUE);
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

    /// Waits for the other side to ring, for a moment; whether it did. Only saves time: what was said can be read without, and is
    /// after that moment.
    pub(super) fn listen(&mut self) -> bool {
        // Whatever comes of the bell, the next read of frames finds out.
        if self.late {
            drop(self.bell.read(&mut [0; 64]));
        }
        // Not by a time-out of the socket, which is rounded up to a tick of the kernel.
        let rang = is_readable(&self.bell, LISTEN);
        if rang {
            drop(self.bell.read(&mut [0; 64]));
        }
        self.late = !rang;
        rang
    }

    /// Whether there is something to read within this time.
    pub(super) fn has_word_within(&self, time: Duration) -> bool {
        is_readable(&self.from.get_ref().stream, time)
    }

    /// The next frame; `None` at an orderly end.
    pub(super) fn read(&mut self) -> io::Result<Option<Frame>> {
        protocol::read_within(&mut self.from, self.most)
    }
}

/// Whether there is something to read within this time, in whole milliseconds.
fn is_readable(stream: &UnixStream, within: Duration) -> bool {
    let mut stream = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    poll(&mut stream, within).is_ok_and(|ready| ready > 0)
}

/// The stream until a time.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    deadline: Instant,
    /// How often it may still be read after the deadline.
    overdue: u8,
}

impl Timed {
    /// Tries, and tries again while the time lasts.
    fn within(&mut self, mut attempt: impl FnMut(&mut &UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match attempt(&mut &self.stream) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.overdue > 0 && Instant::now() >= self.deadline && is_readable(&self.stream, Duration::ZERO) {
            self.overdue -= 1;
            return self.stream.read(bytes);
        }
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
