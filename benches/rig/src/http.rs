//! The load over HTTP: a closed loop over many connections in one thread (what can be carried), or requests that are due
//! at a fixed rate (how long each takes, counted from when it was due, so that a stall of the server counts in full).

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::request::{Maker, Template, answer};
use crate::{Result, now};

/// What became of the requests.
#[derive(Default)]
pub struct Outcome {
    /// Answered 2xx.
    pub accepted: u64,
    /// Answered otherwise.
    pub refused: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Sent and not answered when the time was up.
    pub open: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The latencies of what was accepted.
    pub latency: Histogram,
}

/// One connection of a closed loop.
struct Connection {
    stream: TcpStream,
    maker: Maker,
    sent: usize,
    length: usize,
    began: Instant,
    input: Vec<u8>,
    busy: bool,
}

impl Connection {
    fn open(poll: &Poll, token: usize, template: &Template) -> Result<Self> {
        let mut stream = TcpStream::from_std(connect(template)?);
        poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        let maker = Maker::new(template.clone());
        Ok(Self { stream, maker, sent: 0, length: 0, began: Instant::now(), input: Vec::new(), busy: false })
    }

    fn begin(&mut self, number: u64, due: u64) -> std::io::Result<()> {
        self.length = self.maker.make(number, due).len();
        self.sent = 0;
        self.busy = true;
        self.began = Instant::now();
        self.write()
    }

    fn write(&mut self) -> std::io::Result<()> {
        while self.busy && self.sent < self.length {
            match self.stream.write(&self.maker.made()[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads what there is; gives the status when the answer is whole.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<Option<u16>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    // A short read has emptied the socket; the next bytes raise a new event.
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let Some((status, length)) = answer(&self.input) else { return Ok(None) };
        self.input.drain(..length);
        self.busy = false;
        Ok(Some(status))
    }
}

fn connect(template: &Template) -> Result<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(&template.address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// As many requests as the server answers, over `connections`, each of which waits for its answer.
///
/// `allowed` is asked before each request: how many may have been sent by now (`u64::MAX` for no bound).
pub fn flat_out(
    template: &Template,
    connections: usize,
    time: Duration,
    first: u64,
    allowed: &dyn Fn() -> u64,
) -> Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut all = (0..connections).map(|n| Connection::open(&poll, n, template)).collect::<Result<Vec<_>>>()?;
    let mut outcome = Outcome::default();
    let mut idle: Vec<usize> = (0..connections).collect();
    let mut buffer = vec![0; 16 << 10];
    let (start, mut sent) = (Instant::now(), 0);
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time {
            outcome.seconds = elapsed.as_secs_f64();
            break;
        }
        let may = if idle.is_empty() { 0 } else { allowed().saturating_sub(sent) };
        for at in idle.split_off(idle.len().saturating_sub(usize::try_from(may).unwrap_or(usize::MAX))) {
            let due = if template.stamped { now() } else { 0 };
            if all[at].begin(first + sent, due).is_err() {
                reopen(&mut all, at, &poll, template, &mut outcome)?;
                idle.push(at);
            } else {
                sent += 1;
            }
        }
        // A window that is closed opens without an event of ours.
        let wait = if idle.is_empty() { time - elapsed } else { Duration::from_millis(1) };
        match poll.poll(&mut events, Some(wait)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let at = event.token().0;
            let connection = &mut all[at];
            let was = connection.busy;
            let done = connection
                .write()
                .and_then(|()| if event.is_readable() { connection.read(&mut buffer) } else { Ok(None) });
            match done {
                Ok(None) => {}
                Ok(Some(status)) if was => {
                    if (200..300).contains(&status) {
                        outcome.accepted += 1;
                        outcome.latency.record(connection.began.elapsed().as_nanos() as u64);
                    } else {
                        outcome.refused += 1;
                    }
                    idle.push(at);
                }
                Ok(Some(_)) | Err(_) => {
                    reopen(&mut all, at, &poll, template, &mut outcome)?;
                    if was {
                        idle.push(at);
                    }
                }
            }
        }
    }
    outcome.open = all.iter().filter(|c| c.busy).count() as u64;
    Ok(outcome)
}

fn reopen(all: &mut [Connection], at: usize, poll: &Poll, template: &Template, outcome: &mut Outcome) -> Result<()> {
    outcome.broken += 1;
    if outcome.broken > 1000 {
        return Err(format!("{} breaks every connection", template.address).into());
    }
    all[at] = Connection::open(poll, at, template)?;
    Ok(())
}

/// Requests at `rate` a second in all, over `connections` with a thread each, which sleeps until a request is due.
pub fn at_rate(template: &Template, connections: usize, time: Duration, rate: u64, first: u64) -> Result<Outcome> {
    let start = Instant::now() + Duration::from_millis(50);
    let wall = now() + 50_000_000;
    let threads: Vec<_> = (0..connections as u64)
        .map(|of| {
            let template = template.clone();
            std::thread::spawn(move || one_of(&template, of, connections as u64, start, wall, time, rate, first))
        })
        .collect();
    let mut all = Outcome { seconds: time.as_secs_f64(), ..Outcome::default() };
    for thread in threads {
        let one = thread.join().map_err(|_| "a thread of the load panicked")??;
        all.accepted += one.accepted;
        all.refused += one.refused;
        all.latency.merge(&one.latency);
    }
    Ok(all)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one schedule")]
fn one_of(
    template: &Template,
    of: u64,
    threads: u64,
    start: Instant,
    wall: u64,
    time: Duration,
    rate: u64,
    first: u64,
) -> Result<Outcome> {
    let mut stream = std::net::TcpStream::connect(&template.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut maker = Maker::new(template.clone());
    let (mut outcome, mut buffer, mut input) = (Outcome::default(), vec![0; 16 << 10], Vec::new());
    for n in (of..).step_by(threads as usize) {
        let after = Duration::from_nanos(n * 1_000_000_000 / rate);
        if after >= time {
            return Ok(outcome);
        }
        let due = start + after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(maker.make(first + n, wall + after.as_nanos() as u64))?;
        input.clear();
        let status = loop {
            if let Some((status, _)) = answer(&input) {
                break status;
            }
            match stream.read(&mut buffer)? {
                0 => return Err("the server closed a connection".into()),
                n => input.extend_from_slice(&buffer[..n]),
            }
        };
        if (200..300).contains(&status) {
            outcome.accepted += 1;
            outcome.latency.record(due.elapsed().as_nanos() as u64);
        } else {
            outcome.refused += 1;
        }
    }
    Ok(outcome)
}
