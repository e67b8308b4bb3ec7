//! The load of a topic with live viewers: events come in over HTTP, and every viewer gets each of them on a WebSocket.
//! The publishers never get more than a window ahead of the slowest viewer, so nothing has to be dropped.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::http::{Outcome, flat_out};
use crate::request::Template;
use crate::{Result, now, stamp};

/// Every 16th frame is looked into for its time: enough for a quantile.
const SAMPLE: u64 = 16;

/// What the viewers got.
pub struct Seen {
    /// Frames of all viewers a second.
    pub rate: f64,
    /// Of the viewer that got the fewest, all in all.
    pub least: u64,
    /// From when an event was made until it was read.
    pub latency: Histogram,
}

struct Viewer {
    stream: TcpStream,
    input: Vec<u8>,
    frames: u64,
}

fn upgrade(address: &str, path: &str) -> Result<(std::net::TcpStream, Vec<u8>)> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.contains(" 101 ") {
        return Err(format!("{path} is no WebSocket: {}", line.trim()).into());
    }
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("the server closed during the upgrade".into());
        }
    }
    let early = reader.buffer().to_vec();
    Ok((stream, early))
}

/// The opcode, where the payload begins and where it ends, of a whole frame at the beginning of `bytes`.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (at, length) = match second & 127 {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short as usize),
    };
    (bytes.len() >= at + length).then_some((first & 15, at, at + length))
}

impl Viewer {
    /// Takes all whole frames of the input.
    fn take(&mut self, latency: Option<&mut Histogram>) -> Result<()> {
        let (mut used, mut latency) = (0, latency);
        while let Some((op, from, to)) = frame(&self.input[used..]) {
            let payload = &self.input[used + from..used + to];
            match op {
                1 | 2 => {
                    self.frames += 1;
                    if self.frames.is_multiple_of(SAMPLE)
                        && let Some(latency) = latency.as_deref_mut()
                        && let Some(made) = stamp(payload)
                    {
                        latency.record(now().saturating_sub(made));
                    }
                }
                8 => return Err(format!("a viewer was closed: {}", String::from_utf8_lossy(payload)).into()),
                _ => {}
            }
            used += to;
        }
        self.input.drain(..used);
        Ok(())
    }
}

fn view(
    mut viewers: Vec<Viewer>,
    least: &AtomicU64,
    counting: &AtomicBool,
    stop: &AtomicBool,
) -> Result<(u64, Histogram)> {
    let mut poll = Poll::new()?;
    for (n, viewer) in viewers.iter_mut().enumerate() {
        poll.registry().register(&mut viewer.stream, Token(n), Interest::READABLE)?;
    }
    let (mut events, mut buffer, mut latency) = (Events::with_capacity(64), vec![0; 256 << 10], Histogram::default());
    let mut counted = None;
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        let count = counting.load(Ordering::Relaxed);
        if count && counted.is_none() {
            counted = Some(viewers.iter().map(|v| v.frames).sum::<u64>());
        }
        for event in &events {
            let viewer = &mut viewers[event.token().0];
            loop {
                match viewer.stream.read(&mut buffer) {
                    Ok(0) => return Err("the server closed a viewer".into()),
                    Ok(n) => {
                        viewer.input.extend_from_slice(&buffer[..n]);
                        viewer.take(count.then_some(&mut latency))?;
                        if n < buffer.len() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        least.store(viewers.iter().map(|v| v.frames).min().unwrap_or(0), Ordering::Relaxed);
    }
    Ok((viewers.iter().map(|v| v.frames).sum::<u64>() - counted.unwrap_or(0), latency))
}

/// `connections` publish to `template` for `time`, `viewers` watch `path`.
pub fn run(
    template: &Template,
    connections: usize,
    time: Duration,
    path: &str,
    viewers: usize,
    window: u64,
    warm: Duration,
) -> Result<(Outcome, Seen)> {
    let mut all = Vec::new();
    for _ in 0..viewers {
        let (stream, input) = upgrade(&template.address, path)?;
        stream.set_nonblocking(true)?;
        all.push(Viewer { stream: TcpStream::from_std(stream), input, frames: 0 });
    }
    let least = Arc::new(AtomicU64::new(0));
    let (counting, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let reader = {
        let (least, counting, stop) = (least.clone(), counting.clone(), stop.clone());
        std::thread::spawn(move || view(all, &least, &counting, &stop))
    };
    // Subscribing may take a moment after the upgrade; what is published before that is not seen.
    std::thread::sleep(Duration::from_millis(300));
    let warmed = flat_out(template, connections, warm, 0, &|| least.load(Ordering::Relaxed) + window)?;
    let before = warmed.accepted + warmed.refused + warmed.open;
    counting.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let outcome = flat_out(template, connections, time, before, &|| {
        (least.load(Ordering::Relaxed) + window).saturating_sub(before)
    })?;
    let lasted = began.elapsed().as_secs_f64();
    // What is under way still arrives; it belongs to the time in which it was published.
    let wanted = before + outcome.accepted;
    let end = Instant::now() + Duration::from_secs(2);
    while least.load(Ordering::Relaxed) < wanted && Instant::now() < end && !reader.is_finished() {
        std::thread::sleep(Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    let (frames, latency) = reader.join().map_err(|_| "the reader of the viewers panicked")??;
    Ok((
        outcome,
        Seen { rate: frames as f64 / lasted, least: least.load(Ordering::Relaxed).saturating_sub(before), latency },
    ))
}
