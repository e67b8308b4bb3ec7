//! The worker process: the same program, started again by the service with one socket, which it reads its function and
//! its events from, and a second one, its bell. It confines itself before it looks at the function.
//!
//! Each result is written before the next call begins, so that it outlives a process that ends in it. What costs most of
//! a short call is to wake whoever reads it. So the service sleeps on the bell, and is woken for several results at once
//! where calls wait.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::protocol::{self, Answer, Ask, DoneHead, Frame, Kind, Load, Ready};
use crate::{Code, Ctx, Error, Host, HostError, HttpRequest, HttpResponse, Runtime, Session, Source, sandbox};

/// Serves the service at the other end of `socket` until that ends, and rings at `bell` where there is something to read.
/// `runtime` finds a language by its name.
///
/// # Errors
/// The socket failed, or the service said what a service does not say.
pub fn serve(
    socket: UnixStream,
    bell: UnixStream,
    runtime: impl Fn(&str) -> Option<Box<dyn Runtime>>,
) -> io::Result<()> {
    // A bell that is full rings already.
    bell.set_nonblocking(true)?;
    let from = BufReader::with_capacity(64 << 10, socket);
    let mut wire = Wire { from, calls: VecDeque::new(), bell: Bell::at(bell) };
    let Some(frame) = protocol::read(&mut wire.from)? else { return Ok(()) };
    if frame.kind != Kind::Load {
        return Err(unexpected("Load", frame.kind));
    }
    let load: Load = frame.head()?;
    let space = if load.prove { sandbox::SPACE_TO_COMPILE } else { sandbox::space_to_run(&load.settings.limits) };
    let confined = sandbox::confine(space, [wire.from.get_ref(), &wire.bell.rope]);
    let settings = Arc::new(load.settings);
    let source = Source { name: load.name.into(), file: load.file.into(), code: frame.tail.into() };
    let runtime = runtime(&load.language)
        .ok_or_else(|| Error::new(Code::Compile, format!("there is no language `{}`", load.language)));
    let opened = runtime.and_then(|runtime| match load.prove {
        true => runtime.prove(&source, &settings).map(|()| None),
        false => runtime.compile(&source, &settings)?.open().map(Some),
    });
    let instance = match opened {
        Ok(instance) => instance,
        Err(error) => return protocol::write(&mut wire.from.get_ref(), Kind::Failed, &error, b""),
    };
    protocol::write(&mut wire.from.get_ref(), Kind::Ready, &Ready { sandbox: confined.to_string() }, b"")?;
    let Some(mut instance) = instance else { return Ok(()) };
    let remote = Arc::new(Remote(Mutex::new(wire)));
    let mut answer = Vec::new();
    loop {
        // Let go of before the function runs, which may ask.
        let next = remote.wire().call()?;
        let Some(frame) = next else { return Ok(()) };
        let ctx: Ctx = frame.head()?;
        let session = Session::new(settings.clone(), Arc::new(ctx), remote.clone());
        let done = crate::measured(&mut *instance, &frame.tail, session);
        let (head, tail) = DoneHead::of(done);
        answer.clear();
        if protocol::append(&mut answer, Kind::Done, &head, &tail).is_err() {
            // Each part was within its limit, and all of them together are not within a frame.
            let message = format!(
                "what it gave, emitted, stored and logged does not fit into the {} MiB that its process can hand over",
                protocol::MAX_FRAME >> 20
            );
            let error = Error::new(Code::OutputTooLarge, message);
            let head = DoneHead { error: Some(error), usage: head.usage, ..DoneHead::default() };
            protocol::append(&mut answer, Kind::Done, &head, b"")?;
        }
        // Before the next call begins, although that may be here: should this process end in it, the service knows by
        // whom.
        remote.wire().tell(&answer)?;
        // What a large one took is given back.
        answer.shrink_to(256 << 10);
        instance.rest();
    }
}

fn unexpected(wanted: &str, got: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected a {wanted} frame, got {got:?}"))
}

/// The most calls that the service may send ahead.
const MOST_AHEAD: usize = 64;

/// How many bytes of results may lie unheard, so that writing them never waits for a service that sleeps.
const UNHEARD_BYTES: usize = 16 << 10;
/// How many results may: half of what the service sends ahead, so that it sends more while the rest of that is run.
const UNHEARD: usize = 4;
/// How long it may work before the next result is heard at once: longer calls are not worth waiting for.
const UNHEARD_FOR: Duration = Duration::from_micros(200);

/// What wakes the service.
struct Bell {
    rope: UnixStream,
    /// Results that were written since it rang, and their bytes.
    unheard: usize,
    bytes: usize,
    /// When it rang last, or began to work after that.
    since: Instant,
}

impl Bell {
    fn at(rope: UnixStream) -> Self {
        Self { rope, unheard: 0, bytes: 0, since: Instant::now() }
    }

    fn ring(&mut self) {
        (self.unheard, self.bytes, self.since) = (0, 0, Instant::now());
        // A service that is gone, or does not listen, is found by the socket.
        drop(self.rope.write(&[1]));
    }

    /// Notes a result that was written.
    fn wrote(&mut self, bytes: usize) {
        self.unheard += 1;
        self.bytes += bytes;
        if self.unheard >= UNHEARD || self.bytes >= UNHEARD_BYTES || self.since.elapsed() >= UNHEARD_FOR {
            self.ring();
        }
    }
}

/// The socket, the calls that were sent ahead, and the bell.
struct Wire {
    from: BufReader<UnixStream>,
    calls: VecDeque<Frame>,
    bell: Bell,
}

impl Wire {
    /// Writes a result.
    fn tell(&mut self, answer: &[u8]) -> io::Result<()> {
        // The service must read while it is written.
        if answer.len() >= UNHEARD_BYTES {
            self.bell.ring();
        }
        self.from.get_ref().write_all(answer)?;
        self.bell.wrote(answer.len());
        Ok(())
    }

    /// The next call; `None` when the service has closed the socket.
    fn call(&mut self) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.calls.pop_front() {
            return Ok(Some(frame));
        }
        let waits = self.from.buffer().is_empty();
        if waits && self.bell.unheard > 0 {
            self.bell.ring();
        }
        let frame = protocol::read(&mut self.from)?;
        if waits {
            self.bell.since = Instant::now();
        }
        match frame {
            Some(frame) if frame.kind != Kind::Call => Err(unexpected("Call", frame.kind)),
            frame => Ok(frame),
        }
    }

    /// Asks the service during a call.
    fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        protocol::write(&mut self.from.get_ref(), Kind::Ask, ask, b"")?;
        self.bell.ring();
        loop {
            let frame = protocol::read(&mut self.from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match frame.kind {
                Kind::Answer => return frame.head(),
                Kind::Call if self.calls.len() < MOST_AHEAD => self.calls.push_back(frame),
                other => return Err(unexpected("Answer", other)),
            }
        }
    }
}

/// The host at the other end of the socket.
struct Remote(Mutex<Wire>);

impl Remote {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone(error: &io::Error) -> HostError {
    HostError(format!("the service does not answer: {error}"))
}

impl Host for Remote {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        match self.wire().ask(&Ask::KvGet { namespace: namespace.to_owned(), key: key.to_owned() }) {
            Ok(Answer::Kv(value)) => value,
            Ok(Answer::Http(_)) => Err(HostError("the service answered something else".to_owned())),
            Err(error) => Err(gone(&error)),
        }
    }

    fn http(&self, request: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        match self.wire().ask(&Ask::Http(request)) {
            Ok(Answer::Http(response)) => response,
            Ok(Answer::Kv(_)) => Err(HostError("the service answered something else".to_owned())),
            Err(error) => Err(gone(&error)),
        }
    }
}
