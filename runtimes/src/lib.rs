//! The engines that functions run on, behind one contract: WebAssembly, JavaScript and Lua, their limits, and the worker
//! process that runs the two that cannot be stopped from within. Blocking and without actors: what calls this crate
//! decides on which thread, or in which process, a call blocks.
//!
//! ```text
//! Code + Settings --Runtime::compile--> Compiled --open (once a worker)--> Instance --call (an event)--> Done
//!                                                                            |
//!                                                             Session: limits, grants, what it did --> Host
//! ```
//!
//! A call gets a fresh global state: nothing that an event left is there for the next one. What a function may do beside
//! returning a value goes through its [`Session`], whatever the language, so limits and grants hold alike.

mod call;
mod error;
mod js;
mod json;
mod language;
mod limits;
mod lua;
mod pace;
pub mod process;
mod processors;
pub mod protocol;
mod proved;
mod sandbox;
mod session;
pub mod wasm;
mod watch;
pub mod worker;

pub use call::{Ctx, Done, Emit, Level, Line, Output, Usage, Write};
pub use error::{Code, Error, Position};
pub use js::JsRuntime;
pub use language::{Engine, Language, keep_compiled_in};
pub use limits::{Grants, Limits, Settings};
pub use lua::LuaRuntime;
pub use session::{
    ENTRY, HEADER, Host, HostError, HttpRequest, HttpResponse, MAX_TOPIC_NAME, NoHost, OWN_TOPICS, Session,
    check_topic, is_topic_segment,
};

use std::sync::Arc;
use std::time::Instant;

/// The text or module of a function.
#[derive(Debug, Clone)]
pub struct Source {
    /// The function, as errors name it.
    pub name: Arc<str>,
    /// Where it came from, as errors show it: `functions/score.js`.
    pub file: Arc<str>,
    /// The text (UTF-8) or the module.
    pub code: Arc<[u8]>,
}

/// A language, or an engine of one.
pub trait Runtime: Send + Sync {
    /// What the configuration calls it.
    fn name(&self) -> &'static str;

    /// Checks and compiles a function. Nothing of it runs.
    ///
    /// # Errors
    /// [`Code::Compile`] with the place, [`Code::Denied`] for an import that is not granted, [`Code::TooLarge`].
    fn compile(&self, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error>;

    /// Compiles a function and keeps nothing of it, on one thread and in memory that may end: in a process that is killed when it takes
    /// too long.
    ///
    /// # Errors
    /// As of [`compile`](Self::compile).
    fn prove(&self, source: &Source, settings: &Arc<Settings>) -> Result<(), Error> {
        self.compile(source, settings).map(drop)
    }
}

/// A compiled function, shared by its workers.
pub trait Compiled: Send + Sync {
    /// What one worker calls; stays on the thread that opened it.
    ///
    /// # Errors
    /// The engine could not be started within the limits.
    fn open(&self) -> Result<Box<dyn Instance>, Error>;
}

/// A function that is ready to be called, any number of times, one at a time.
pub trait Instance {
    /// Runs the function on one event, from a fresh global state, until [`Session::deadline`] at the latest.
    ///
    /// `event` is the event as a JSON object (`id`, `type`, `source`, `data`, …). Does not panic, whatever the function
    /// does.
    fn call(&mut self, event: &[u8], session: Session) -> Ended;

    /// Gets ready for the next call. A worker does this when it has handed on the result and waits; a call that finds
    /// nothing ready makes it itself, and takes the longer for it.
    fn rest(&mut self) {}
}

/// What an engine says of a call.
#[derive(Debug)]
pub struct Ended {
    /// The output as JSON text; `None` when the function dropped the event.
    pub result: Result<Option<Vec<u8>>, Error>,
    /// What it did meanwhile.
    pub session: Session,
    /// Fuel or instructions, where the engine counts.
    pub fuel: Option<u64>,
    /// The most memory that the call held, in bytes, where the engine knows.
    pub peak_memory: Option<u64>,
    /// How often it offered its processor to others, since it ran for long.
    pub offers: u64,
}

/// Runs one call, measures it, and holds its output against what all languages share.
pub fn run(instance: &mut dyn Instance, event: &[u8], session: Session) -> Done {
    measured(instance, event, session).checked()
}

/// The same without a look at what the output is: whoever gets it across a boundary looks there.
pub(crate) fn measured(instance: &mut dyn Instance, event: &[u8], session: Session) -> Done {
    let (started, cpu) = (Instant::now(), thread_cpu());
    let Ended { result, session, fuel, peak_memory, offers: _ } = instance.call(event, session);
    let wall = started.elapsed();
    let cpu = thread_cpu().zip(cpu).map(|(now, then)| now.saturating_sub(then));
    let limits = &session.settings().limits;
    let result = result.and_then(|value| {
        let size = value.as_ref().map_or(0, Vec::len);
        if size > limits.output {
            let message =
                format!("the output has {size} bytes; at most {} are allowed (`limits.output`)", limits.output);
            return Err(Error::new(Code::OutputTooLarge, message));
        }
        // An engine that was interrupted can have caught its own interruption.
        if wall > limits.wall + limits.grace() { Err(Error::timeout(limits.wall)) } else { Ok(value) }
    });
    let parts = session.into_parts();
    let usage = Usage {
        wall,
        cpu,
        fuel,
        peak_memory,
        host_calls: parts.host_calls,
        output_bytes: result.as_ref().ok().and_then(Option::as_ref).map_or(0, |v| v.len() as u64),
        logs_refused: parts.logs_refused,
    };
    let result =
        result.map(|value| Output { value: value.map(Into::into), emitted: parts.emitted, writes: parts.writes });
    Done { result, usage, logs: parts.logs, logs_cut: parts.logs_cut }
}

/// The processor time of this thread.
fn thread_cpu() -> Option<std::time::Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Into::into)
}
