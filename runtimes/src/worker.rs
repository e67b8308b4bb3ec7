//! The worker process: the same program, started again by the service with one socket, which it reads its function and
//! its events from. It confines itself before it looks at the function.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::protocol::{self, Answer, Ask, DoneHead, Kind, Load, Ready};
use crate::{Code, Ctx, Error, Host, HostError, HttpRequest, HttpResponse, Runtime, Session, Source, sandbox};

/// Serves the service at the other end of `socket` until that ends. `runtime` finds a language by its name.
///
/// # Errors
/// The socket failed, or the service said what a service does not say.
pub fn serve(socket: UnixStream, runtime: impl Fn(&str) -> Option<Box<dyn Runtime>>) -> io::Result<()> {
    let socket = Arc::new(socket);
    let Some(frame) = protocol::read(&mut &*socket)? else { return Ok(()) };
    if frame.kind != Kind::Load {
        return Err(unexpected("Load", frame.kind));
    }
    let load: Load = frame.head()?;
    let confined = sandbox::confine(&load.settings.limits, &socket);
    let settings = Arc::new(load.settings);
    let source = Source { name: load.name.into(), file: load.file.into(), code: frame.tail.into() };
    let opened = runtime(&load.language)
        .ok_or_else(|| Error::new(Code::Compile, format!("there is no language `{}`", load.language)))
        .and_then(|runtime| runtime.compile(&source, &settings))
        .and_then(|compiled| compiled.open());
    let mut instance = match opened {
        Ok(instance) => instance,
        Err(error) => return protocol::write(&mut &*socket, Kind::Failed, &error, b""),
    };
    protocol::write(&mut &*socket, Kind::Ready, &Ready { sandbox: confined.to_string() }, b"")?;
    let host = Arc::new(Remote(Mutex::new(socket.clone())));
    while let Some(frame) = protocol::read(&mut &*socket)? {
        if frame.kind != Kind::Call {
            return Err(unexpected("Call", frame.kind));
        }
        let ctx: Ctx = frame.head()?;
        let session = Session::new(settings.clone(), Arc::new(ctx), host.clone());
        let done = crate::run(&mut *instance, &frame.tail, session);
        let (head, tail) = DoneHead::of(done);
        protocol::write(&mut &*socket, Kind::Done, &head, &tail)?;
        instance.rest();
    }
    Ok(())
}

fn unexpected(wanted: &str, got: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected a {wanted} frame, got {got:?}"))
}

/// The host at the other end of the socket.
struct Remote(Mutex<Arc<UnixStream>>);

impl Remote {
    fn ask(&self, ask: &Ask) -> io::Result<Answer> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        protocol::write(&mut &**socket, Kind::Ask, ask, b"")?;
        let frame = protocol::read(&mut &**socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if frame.kind == Kind::Answer { frame.head() } else { Err(unexpected("Answer", frame.kind)) }
    }
}

fn gone(error: &io::Error) -> HostError {
    HostError(format!("the service does not answer: {error}"))
}

impl Host for Remote {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        match self.ask(&Ask::KvGet { namespace: namespace.to_owned(), key: key.to_owned() }) {
            Ok(Answer::Kv(value)) => value,
            Ok(Answer::Http(_)) => Err(HostError("the service answered something else".to_owned())),
            Err(error) => Err(gone(&error)),
        }
    }

    fn http(&self, request: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        match self.ask(&Ask::Http(request)) {
            Ok(Answer::Http(response)) => response,
            Ok(Answer::Kv(_)) => Err(HostError("the service answered something else".to_owned())),
            Err(error) => Err(gone(&error)),
        }
    }
}
