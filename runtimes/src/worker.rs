//! The worker process: the same program, started again by the service with one socket, which it reads its function and
//! its events from. It confines itself before it looks at the function.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::protocol::{self, Answer, Ask, DoneHead, Frame, Kind, Load, Ready};
use crate::{Code, Ctx, Error, Host, HostError, HttpRequest, HttpResponse, Runtime, Session, Source, sandbox};

/// Serves the service at the other end of `socket` until that ends. `runtime` finds a language by its name.
///
/// # Errors
/// The socket failed, or the service said what a service does not say.
pub fn serve(socket: UnixStream, runtime: impl Fn(&str) -> Option<Box<dyn Runtime>>) -> io::Result<()> {
    let mut wire = Wire { from: BufReader::with_capacity(64 << 10, socket), calls: VecDeque::new() };
    let Some(frame) = protocol::read(&mut wire.from)? else { return Ok(()) };
    if frame.kind != Kind::Load {
        return Err(unexpected("Load", frame.kind));
    }
    let load: Load = frame.head()?;
    let confined = sandbox::confine(&load.settings.limits, wire.from.get_ref());
    let settings = Arc::new(load.settings);
    let source = Source { name: load.name.into(), file: load.file.into(), code: frame.tail.into() };
    let opened = runtime(&load.language)
        .ok_or_else(|| Error::new(Code::Compile, format!("there is no language `{}`", load.language)))
        .and_then(|runtime| runtime.compile(&source, &settings))
        .and_then(|compiled| compiled.open());
    let mut instance = match opened {
        Ok(instance) => instance,
        Err(error) => return protocol::write(&mut wire.from.get_ref(), Kind::Failed, &error, b""),
    };
    protocol::write(&mut wire.from.get_ref(), Kind::Ready, &Ready { sandbox: confined.to_string() }, b"")?;
    let remote = Arc::new(Remote(Mutex::new(wire)));
    let mut answer = Vec::new();
    loop {
        // Let go of before the function runs, which may ask.
        let next = remote.wire().call()?;
        let Some(frame) = next else { return Ok(()) };
        let ctx: Ctx = frame.head()?;
        let session = Session::new(settings.clone(), Arc::new(ctx), remote.clone());
        let done = crate::run(&mut *instance, &frame.tail, session);
        let (head, tail) = DoneHead::of(done);
        answer.clear();
        protocol::append(&mut answer, Kind::Done, &head, &tail)?;
        // Before the next call begins, although that may be here: should this process end in it, the service knows by
        // whom.
        remote.wire().from.get_ref().write_all(&answer)?;
        instance.rest();
    }
}

fn unexpected(wanted: &str, got: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected a {wanted} frame, got {got:?}"))
}

/// The most calls that the service may send ahead.
const MOST_AHEAD: usize = 64;

/// The socket, and the calls that were sent ahead.
struct Wire {
    from: BufReader<UnixStream>,
    calls: VecDeque<Frame>,
}

impl Wire {
    /// The next call; `None` when the service has closed the socket.
    fn call(&mut self) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.calls.pop_front() {
            return Ok(Some(frame));
        }
        match protocol::read(&mut self.from)? {
            Some(frame) if frame.kind != Kind::Call => Err(unexpected("Call", frame.kind)),
            frame => Ok(frame),
        }
    }

    /// Asks the service during a call.
    fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        protocol::write(&mut self.from.get_ref(), Kind::Ask, ask, b"")?;
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
