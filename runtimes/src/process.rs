//! A worker process as the service sees it: started, given its function, called, and killed when it is late.

mod socket;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::processors::{self, LONG};
use crate::protocol::{Answer, Ask, DoneHead, Kind, Load, Ready};
use crate::{Code, Ctx, Done, Error, Host, Settings, Source, Usage, sandbox};
use socket::{LISTEN, Socket};

/// How long after its deadline a call is waited for: within it the engine stops the function by itself. Then SIGKILL.
const KILL_AFTER: Duration = Duration::from_millis(90);
/// How long a process may take until it is ready.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Calls that a process is given at once: it begins the next while the service hands on the last result.
const AHEAD: usize = 8;
/// What is told of its standard error at a time, in bytes.
const TOLD: usize = 1 << 10;
/// The bytes of those that wait, together: they fit into the socket, so that neither side ever waits for the other to read.
const AHEAD_BYTES: usize = 64 << 10;

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
    socket: Socket,
    /// Its standard error.
    errors: UnixStream,
    /// The bytes of each call that it has not answered; it runs the first.
    calls: VecDeque<usize>,
    /// Of those the last ones that were not sent yet.
    unsent: usize,
    /// Since when it runs the first.
    began: Instant,
    /// Its processor time when the first was waited for, a moment after it began.
    cpu: Option<Duration>,
    /// Whether it leaves a processor to others.
    aside: bool,
    /// Calls that it was given so far.
    taken: u64,
    /// What the frame of the last one had beside its event: what is the same for all, as a rule.
    head: usize,
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
    /// Whether it can have begun the call; one that had ended before it was sent any has not.
    pub begun: bool,
}

/// Compiles a function in a process of its own, which is killed when it takes longer than this or more memory than a compiler may
/// have. Nothing of it is kept: whoever compiles it then is not held up for longer, nor takes more.
///
/// # Errors
/// [`Code::TooLarge`] when it takes too much; what the compiler says otherwise.
pub fn prove(
    launcher: &Launcher,
    language: &str,
    source: &Source,
    settings: &Arc<Settings>,
    within: Duration,
) -> Result<(), Error> {
    let too_large = |what: &str| {
        Error::new(
            Code::TooLarge,
            format!(
                "compiling it takes {what}; functions take milliseconds, and what does not was mostly generated: make it smaller"
            ),
        )
    };
    Process::launch(launcher, language, source, settings, within, true).map(drop).map_err(|unready| match unready {
        Unready::Late => too_large(&format!("longer than {within:?}, which is the most")),
        // A compiler that gets no memory is aborted; one that ends by itself has met a fault of its own.
        Unready::Ended(how, Some(status)) if status.signal().is_none() => {
            Error::new(Code::Compile, format!("the compiler failed on it ({how})"))
        }
        Unready::Ended(how, _) => too_large(&format!(
            "more memory than {} MiB beside what a compiler begins with ({how})",
            sandbox::SPACE_TO_COMPILE >> 20
        )),
        Unready::Failed(error) => error,
    })
}

/// Why a process did not get ready.
enum Unready {
    /// It took too long, and was killed.
    Late,
    /// It did not start, or its function does not compile.
    Failed(Error),
    /// It ended before it said anything; how, for people and for programs.
    Ended(String, Option<ExitStatus>),
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
        Self::launch(launcher, language, source, settings, START_WITHIN, false).map_err(|unready| match unready {
            Unready::Late => {
                Error::new(Code::Crashed, format!("a worker process did not get ready within {START_WITHIN:?}"))
            }
            Unready::Failed(error) => error,
            Unready::Ended(how, _) => Error::new(Code::Crashed, how),
        })
    }

    fn launch(
        launcher: &Launcher,
        language: &str,
        source: &Source,
        settings: &Arc<Settings>,
        within: Duration,
        prove: bool,
    ) -> Result<Self, Unready> {
        let failed =
            |what: &str, error: &io::Error| Error::new(Code::Crashed, format!("a worker process {what}: {error}"));
        // Its standard error is its own: in the log of the service it could say anything, and as much as it likes. Nobody waits for
        // it, on either side.
        let pairs = || {
            let (errors, theirs) = UnixStream::pair()?;
            errors.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            io::Result::Ok((UnixStream::pair()?, UnixStream::pair()?, (errors, theirs)))
        };
        let unready = |what: &str, error: &io::Error| Unready::Failed(failed(what, error));
        let ((socket, theirs), (bell, rope), (errors, their_errors)) =
            pairs().map_err(|e| unready("has no socket", &e))?;
        let socket = Socket::new(socket, bell, settings.most_said()).map_err(|e| unready("has no socket", &e))?;
        let child = Command::new(&launcher.program)
            // What `ps` shows.
            .arg0(format!("hexafn:{}", source.name))
            .args(&launcher.args)
            .env_clear()
            .current_dir("/")
            // What a terminal tells the service's group (Ctrl-C) is the service's to decide about.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(rope)))
            .stderr(Stdio::from(OwnedFd::from(their_errors)))
            .spawn()
            .map_err(|e| unready("could not be started", &e))?;
        let (sandbox, settings) = (String::new(), settings.clone());
        let mut process = Self {
            child,
            socket,
            errors,
            calls: VecDeque::new(),
            unsent: 0,
            began: Instant::now(),
            cpu: None,
            aside: false,
            taken: 0,
            head: 0,
            sandbox,
            settings,
        };
        // To start takes milliseconds, all of which are the processor's.
        process.stand_aside(true);
        let load = Load {
            language: language.to_owned(),
            name: source.name.to_string(),
            file: source.file.to_string(),
            settings: Settings::clone(&process.settings),
            prove,
        };
        process.socket.until(Instant::now() + within);
        let answer = process
            .socket
            .append(Kind::Load, &load, &source.code)
            .and_then(|_| process.socket.flush())
            .and_then(|()| process.socket.read());
        match answer {
            Ok(Some(frame)) if frame.kind == Kind::Ready => {
                let ready: Ready = frame.head().map_err(|e| unready("gave no answer", &e))?;
                process.sandbox = ready.sandbox;
                // It stays aside until a call of it was short: the one before it may have been killed for its calls.
                Ok(process)
            }
            Ok(Some(frame)) if frame.kind == Kind::Failed => {
                Err(Unready::Failed(frame.head().map_or_else(|e| failed("failed", &e), Error::shortened)))
            }
            Ok(_) => {
                let (status, how) = process.end();
                Err(Unready::Ended(how, status))
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(Unready::Late),
            Err(e) => {
                let (status, how) = process.end();
                Err(Unready::Ended(format!("a worker process did not get ready: {e}; {how}"), status))
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that it has used so far; none when it is gone.
    fn processor_time(&self) -> Option<Duration> {
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(self.id().try_into().ok()?)).ok()?;
        nix::time::clock_gettime(clock).ok().map(Into::into)
    }

    /// Whether it leaves one processor to what is short: the service, and functions that end soon.
    fn stand_aside(&mut self, aside: bool) {
        if self.aside != aside {
            self.aside = aside;
            processors::leave_one(self.id(), aside);
        }
    }

    /// What confines it, for people.
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Calls that it has not answered.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Calls that it was given so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether it may be given this event before it has answered what it has.
    pub fn has_room(&self, event: &[u8]) -> bool {
        // What it runs it has read.
        let waiting: usize = self.calls.iter().skip(1).sum();
        self.calls.is_empty() || (self.calls.len() < AHEAD && waiting + self.head + event.len() <= AHEAD_BYTES)
    }

    /// Gives it a call, behind those that it has. It goes out when an [`answer`](Self::answer) is waited for.
    ///
    /// # Errors
    /// The event is larger than a frame; the process is as it was.
    pub fn send(&mut self, event: &[u8], ctx: &Ctx) -> Result<(), Error> {
        let bytes = self
            .socket
            .append(Kind::Call, ctx, event)
            .map_err(|e| Error::new(Code::Input, format!("the event cannot be handed over: {e}")))?;
        if self.calls.is_empty() {
            self.began = Instant::now();
        }
        self.head = bytes - event.len();
        self.calls.push_back(bytes);
        self.unsent += 1;
        self.taken += 1;
        Ok(())
    }

    /// What the first of its calls gave; `None` when it has none. Blocks until that one's deadline, and about 100 ms, at
    /// the latest.
    ///
    /// # Errors
    /// The process is gone; start another. Of the calls that it had only the first had begun.
    pub fn answer(&mut self, host: &dyn Host) -> Option<Result<Done, Box<Lost>>> {
        self.calls.front()?;
        let wall = self.settings.limits.wall;
        Some(self.exchange(host, self.began + wall).map_err(|error| {
            let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            let begun = error.kind() != io::ErrorKind::BrokenPipe || self.unsent < self.calls.len();
            // Asked before it is gone.
            let cpu = self.processor_time().zip(self.cpu).map(|(now, then)| now.saturating_sub(then));
            let (_, how) = self.end();
            let error = if late {
                Error::timeout(wall)
            } else if error.kind() == io::ErrorKind::InvalidData {
                Error::new(Code::Crashed, format!("its worker process did not keep to the protocol: {error}"))
            } else {
                Error::new(Code::Crashed, how)
            };
            let usage = Usage { wall: self.began.elapsed(), cpu, ..Usage::default() };
            Box::new(Lost { done: Done { usage, ..Done::failed(error) }, killed: late, begun })
        }))
    }

    /// One call by itself.
    ///
    /// # Errors
    /// The process is gone; start another.
    pub fn call(&mut self, event: &[u8], ctx: &Ctx, host: &dyn Host) -> Result<Done, Box<Lost>> {
        match self.send(event, ctx) {
            Ok(()) => {
                self.answer(host).unwrap_or_else(|| Ok(Done::failed(Error::new(Code::Crashed, "it had no call"))))
            }
            Err(error) => Ok(Done::failed(error)),
        }
    }

    fn exchange(&mut self, host: &dyn Host, deadline: Instant) -> io::Result<Done> {
        self.socket.until(deadline + KILL_AFTER);
        // While results are there to be handed on, calls are gathered for one write.
        if !self.socket.has_more() || self.unsent >= AHEAD / 2 {
            self.socket.flush()?;
            self.unsent = 0;
        }
        let mut asked = 0;
        loop {
            if !self.socket.has_more() {
                let rang = self.socket.listen();
                self.cpu = self.cpu.or_else(|| self.processor_time());
                if !rang && !self.socket.has_word_within(LONG.saturating_sub(LISTEN)) {
                    self.stand_aside(true);
                }
            }
            let frame = self.socket.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match frame.kind {
                Kind::Done => {
                    let mut done = frame.head::<DoneHead>()?.done(frame.tail);
                    self.settings.hold(&done).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
                    // It is killed when it takes longer.
                    self.settings.limits.bound(&mut done.usage, self.settings.limits.wall + KILL_AFTER);
                    if let Err(error) = &mut done.result
                        && error.code == Code::Trap
                    {
                        // An engine that failed inside has said there how.
                        *error = Error { message: self.with_errors(&error.message), ..error.clone() }.shortened();
                    }
                    self.calls.pop_front();
                    let now = Instant::now();
                    if now.saturating_duration_since(self.began) < LONG {
                        self.stand_aside(false);
                    }
                    (self.began, self.cpu) = (now, None);
                    return Ok(done.checked());
                }
                // Grants and limits are held on both sides: a worker that was taken over gets nothing by asking.
                Kind::Ask if asked < self.settings.limits.host_calls => {
                    asked += 1;
                    let answer = self.reply(frame.head()?, host, deadline);
                    self.socket.append(Kind::Answer, &answer, b"")?;
                    self.socket.flush()?;
                    self.unsent = 0;
                }
                other => {
                    let what = format!("a {other:?} frame during a call");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }

    fn reply(&self, ask: Ask, host: &dyn Host, deadline: Instant) -> Answer {
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

    /// This, and the beginning of what it has written on its standard error.
    fn with_errors(&mut self, what: &str) -> String {
        let mut bytes = [0; TOLD];
        let count = self.errors.read(&mut bytes).unwrap_or(0);
        let errors = String::from_utf8_lossy(&bytes[..count]);
        let errors = errors.trim();
        if errors.is_empty() { what.to_owned() } else { format!("{what}: {errors}") }
    }

    /// Ends the process and says how it ended.
    fn end(&mut self) -> (Option<ExitStatus>, String) {
        // One that ends by itself has closed its socket a moment before it is gone, and its own end is what is told then: the kernel keeps
        // what a process ends with from when it begins to. One that only closed its socket is killed.
        self.child.kill().ok();
        match self.child.wait() {
            Ok(status) => (Some(status), self.with_errors(&describe(status))),
            Err(error) => (None, format!("its worker process is gone: {error}")),
        }
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
