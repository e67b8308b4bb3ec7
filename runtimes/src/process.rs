//! A worker process as the service sees it: started, given its function, called, and killed when it is late.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::{self, Answer, Ask, DoneHead, Kind, Load, Ready};
use crate::{Code, Ctx, Done, Error, Host, Settings, Source, Usage};

/// How long after its deadline a call is waited for: within it the engine stops the function by itself. Then SIGKILL.
const KILL_AFTER: Duration = Duration::from_millis(100);
/// How long a process may take until it is ready.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How worker processes are started.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program: this one, as a rule.
    pub program: PathBuf,
    /// What tells it to be a worker.
    pub args: Vec<String>,
}

/// A running worker with its function. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: UnixStream,
    sandbox: String,
    settings: Arc<Settings>,
}

/// Why a process is of no use any more, as an error of the call that it served.
#[derive(Debug)]
pub struct Lost {
    /// The call, as failed.
    pub done: Done,
    /// Whether we killed it since it was late; else it ended by itself.
    pub killed: bool,
}

impl Process {
    /// Starts a process and gives it its function.
    ///
    /// # Errors
    /// [`Code::Crashed`] when it does not start; what the compiler says otherwise.
    pub fn start(
        launcher: &Launcher,
        language: &str,
        source: &Source,
        settings: &Arc<Settings>,
    ) -> Result<Self, Error> {
        let failed =
            |what: &str, error: &io::Error| Error::new(Code::Crashed, format!("a worker process {what}: {error}"));
        let (socket, theirs) = UnixStream::pair().map_err(|e| failed("has no socket", &e))?;
        let child = Command::new(&launcher.program)
            // What `ps` shows.
            .arg0(format!("hexafn:{}", source.name))
            .args(&launcher.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| failed("could not be started", &e))?;
        let mut process = Self { child, socket, sandbox: String::new(), settings: settings.clone() };
        let load = Load {
            language: language.to_owned(),
            name: source.name.to_string(),
            file: source.file.to_string(),
            settings: Settings::clone(settings),
        };
        let deadline = Instant::now() + START_WITHIN;
        let answer = protocol::write(&mut process.until(deadline), Kind::Load, &load, &source.code)
            .and_then(|()| protocol::read(&mut process.until(deadline)));
        match answer {
            Ok(Some(frame)) if frame.kind == Kind::Ready => {
                let ready: Ready = frame.head().map_err(|e| failed("gave no answer", &e))?;
                process.sandbox = ready.sandbox;
                Ok(process)
            }
            Ok(Some(frame)) if frame.kind == Kind::Failed => Err(frame.head().unwrap_or_else(|e| failed("failed", &e))),
            Ok(_) => Err(Error::new(Code::Crashed, process.end().1)),
            Err(e) => {
                Err(Error::new(Code::Crashed, format!("a worker process did not get ready: {e}; {}", process.end().1)))
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What confines it, for people.
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    fn until(&self, deadline: Instant) -> Until<'_> {
        Until { socket: &self.socket, deadline }
    }

    /// Runs the function on one event. Blocks until its deadline, and [`KILL_AFTER`], at the latest.
    ///
    /// # Errors
    /// The process is gone; start another.
    pub fn call(&mut self, event: &[u8], ctx: &Ctx, host: &dyn Host) -> Result<Done, Box<Lost>> {
        let (started, wall) = (Instant::now(), self.settings.limits.wall);
        let deadline = started + wall;
        match self.exchange(event, ctx, host, deadline) {
            Ok(done) => Ok(done),
            Err(error) => {
                let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                let (_, how) = self.end();
                let error = if late {
                    Error::timeout(wall)
                } else if error.kind() == io::ErrorKind::InvalidData {
                    Error::new(Code::Crashed, format!("its worker process did not keep to the protocol: {error}"))
                } else {
                    Error::new(Code::Crashed, how)
                };
                let usage = Usage { wall: started.elapsed(), ..Usage::default() };
                let done = Done { result: Err(error), usage, logs: Vec::new(), logs_cut: false };
                Err(Box::new(Lost { done, killed: late }))
            }
        }
    }

    fn exchange(&self, event: &[u8], ctx: &Ctx, host: &dyn Host, deadline: Instant) -> io::Result<Done> {
        let mut socket = self.until(deadline + KILL_AFTER);
        protocol::write(&mut socket, Kind::Call, ctx, event)?;
        let mut asked = 0;
        loop {
            let frame = protocol::read(&mut socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match frame.kind {
                Kind::Done => {
                    let done = frame.head::<DoneHead>()?.done(frame.tail);
                    if let Ok(output) = &done.result {
                        self.settings.hold(output).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
                    }
                    return Ok(done);
                }
                // Grants and limits are held on both sides: a worker that was taken over gets nothing by asking.
                Kind::Ask if asked < self.settings.limits.host_calls => {
                    asked += 1;
                    let answer = self.answer(frame.head()?, host, deadline);
                    protocol::write(&mut socket, Kind::Answer, &answer, b"")?;
                }
                other => {
                    let what = format!("a {other:?} frame during a call");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }

    fn answer(&self, ask: Ask, host: &dyn Host, deadline: Instant) -> Answer {
        let grants = &self.settings.grants;
        match ask {
            Ask::KvGet { namespace, key } if grants.kv.contains(&namespace) => {
                Answer::Kv(host.kv_get(&namespace, &key))
            }
            Ask::KvGet { .. } => Answer::Kv(Err(crate::HostError("not granted".to_owned()))),
            Ask::Http(request) if grants.may_request(&request.url) => Answer::Http(host.http(request, deadline)),
            Ask::Http(_) => Answer::Http(Err(crate::HostError("not granted".to_owned()))),
        }
    }

    /// Ends the process and says how it ended.
    fn end(&mut self) -> (Option<ExitStatus>, String) {
        // It may be gone already, and then its own end is what counts.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Its side of the socket closes a moment before it is gone.
            let hung_up = matches!(self.peek(), Ok(0));
            if !hung_up {
                self.child.kill().ok();
            }
        }
        match self.child.wait() {
            Ok(status) => (Some(status), describe(status)),
            Err(error) => (None, format!("its worker process is gone: {error}")),
        }
    }

    fn peek(&self) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let read = (&self.socket).read(&mut [0; 1]);
        self.socket.set_nonblocking(false)?;
        read
    }
}

/// The socket until a time: whoever sends a byte now and then gains nothing by it.
struct Until<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(bytes)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unknown", |s| s.as_str());
            format!("its worker process was ended by signal {signal} ({name})")
        }
        (None, Some(code)) => format!("its worker process ended with status {code}"),
        (None, None) => "its worker process ended".to_owned(),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        // Reaped, so that no zombie stays.
        self.child.wait().ok();
    }
}
