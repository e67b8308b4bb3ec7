//! The actor of one worker.
//!
//! Owns: the engine, or the process in which it runs.
//! Receives: [`Call`]s, one at a time; blocks in each, on a thread of its own, until its deadline at the latest.
//! Sends: the result to whoever waits for it.
//! Strategy: that of actors (`[supervision]`). A process that was late was killed as agreed, and is replaced
//! at once; one that ended by itself fails the actor, so that a function that crashes again and again is slowed down.

use actix::{Actor, ActorContext, Context, Handler, Message};
use bytes::Bytes;
use hexafn_runtimes::process::{Lost, Process};
use hexafn_runtimes::{Code, Ctx, Done, Error, Host, Instance, Session, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Notify, oneshot};

use super::{Hosted, Isolation, launcher};
use crate::clock::Wall;
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::lifeline::{Lifeline, Stop};

/// Asks a worker to run its function on an event.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Call {
    /// The event, as JSON.
    pub event: Bytes,
    /// What the function is told beside it.
    pub ctx: Arc<Ctx>,
    /// Set when the function begins to run: until then another worker may be asked.
    pub begun: Arc<AtomicBool>,
    /// Where the result goes.
    pub reply: oneshot::Sender<Done>,
}

/// What a worker shows of itself.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    /// The id of its process; 0 is none.
    pub process: AtomicU64,
    /// Calls so far.
    pub calls: AtomicU64,
}

/// Runs a function: in this thread, or in a process.
struct Executor {
    function: Arc<Hosted>,
    host: Arc<dyn Host>,
    engine: Engine,
    calls: u64,
}

enum Engine {
    Thread(Option<Box<dyn Instance>>),
    Process(Option<Process>),
}

impl Executor {
    fn new(function: Arc<Hosted>, host: Arc<dyn Host>) -> Self {
        let engine = match function.isolation {
            Isolation::Thread => Engine::Thread(None),
            Isolation::Process => Engine::Process(None),
        };
        Self { function, host, engine, calls: 0 }
    }

    /// Gets ready.
    fn open(&mut self) -> Result<(), Error> {
        match &mut self.engine {
            Engine::Thread(Some(_)) | Engine::Process(Some(_)) => return Ok(()),
            Engine::Thread(slot) => *slot = Some(self.function.compiled.open()?),
            Engine::Process(slot) => *slot = Some(start(&self.function)?),
        }
        self.calls = 0;
        Ok(())
    }

    /// Gets ready for the next call, off the way of this one.
    fn rest(&mut self) {
        if let Engine::Thread(Some(instance)) = &mut self.engine {
            instance.rest();
        }
    }

    /// The process, if there is one.
    fn process(&self) -> Option<u32> {
        match &self.engine {
            Engine::Process(process) => process.as_ref().map(Process::id),
            Engine::Thread(_) => None,
        }
    }

    /// Runs one call, once it is ready. `true` when the engine ended by itself, and should not have.
    fn call(&mut self, event: &[u8], ctx: &Arc<Ctx>) -> (Done, bool) {
        self.calls += 1;
        let ended = match &mut self.engine {
            Engine::Thread(Some(instance)) => {
                let settings = self.function.settings.clone();
                let session = Session::new(settings, ctx.clone(), self.host.clone());
                (hexafn_runtimes::run(&mut **instance, event, session), false)
            }
            Engine::Process(slot) => call_process(slot, &self.function, event, ctx, &*self.host),
            Engine::Thread(None) => (failed(Error::new(Code::Crashed, "its worker has no engine")), true),
        };
        if self.calls >= self.function.pool.recycle_after {
            match &mut self.engine {
                Engine::Thread(slot) => *slot = None,
                Engine::Process(slot) => *slot = None,
            }
        }
        ended
    }
}

fn start(function: &Hosted) -> Result<Process, Error> {
    let process = Process::start(&launcher(), function.language, &function.source, &function.settings)?;
    let (function, id, sandbox) = (&*function.source.name, process.id(), process.sandbox());
    if ["rlimits", "seccomp", "landlock"].iter().all(|layer| sandbox.contains(layer)) {
        tracing::debug!(function, process = id, sandbox, "a worker process is ready");
    } else {
        tracing::warn!(
            function,
            process = id,
            sandbox,
            "a worker process is confined by less than it could be: the kernel \
            does not have the rest, or does not let it be used"
        );
    }
    Ok(process)
}

/// Runs one call in the process of this slot, started when there is none; one that is of no use any more is gone from
/// the slot. `true` when it ended by itself, and should not have.
pub(super) fn call_process(
    slot: &mut Option<Process>,
    function: &Hosted,
    event: &[u8],
    ctx: &Ctx,
    host: &dyn Host,
) -> (Done, bool) {
    let process = match slot {
        Some(process) => process,
        None => match start(function) {
            Ok(process) => slot.insert(process),
            Err(error) => {
                let crashed = error.code == Code::Crashed;
                return (failed(error), crashed);
            }
        },
    };
    match process.call(event, ctx, host) {
        Ok(done) => (done, false),
        Err(lost) => {
            *slot = None;
            let Lost { done, killed } = *lost;
            (done, !killed)
        }
    }
}

/// A call that did not run.
pub(super) fn failed(error: Error) -> Done {
    Done { result: Err(error), usage: Usage::default(), logs: Vec::new(), logs_cut: false }
}

/// See the module.
pub struct Worker {
    executor: Executor,
    status: Arc<WorkerStatus>,
    life: Lifeline,
    mailbox: usize,
    /// Told when it takes calls.
    ready: Arc<Notify>,
}

impl Worker {
    /// A worker; `warm` ones get ready before their first call.
    pub fn new(
        function: Arc<Hosted>,
        host: Arc<dyn Host>,
        status: Arc<WorkerStatus>,
        warm: bool,
        ready: Arc<Notify>,
        life: Lifeline,
    ) -> Self {
        let mailbox = function.pool.queue;
        let mut executor = Executor::new(function, host);
        // What is wrong with it is said by its first call.
        let opened = warm.then(|| executor.open());
        if let Some(Err(error)) = opened {
            tracing::warn!(actor = %life.path(), %error, "a worker could not get ready");
        }
        let shown = status.clone();
        life.observe(move || {
            let process = Some(shown.process.load(Ordering::Relaxed)).filter(|id| *id > 0);
            serde_json::json!({ "process": process, "calls": shown.calls.load(Ordering::Relaxed) })
        });
        let worker = Self { executor, status, life, mailbox, ready };
        worker.show();
        worker
    }

    fn show(&self) {
        self.status.process.store(self.executor.process().map_or(0, u64::from), Ordering::Relaxed);
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.mailbox);
        self.ready.notify_waiters();
    }
}

impl Handler<Call> for Worker {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        let Call { event, ctx: context, begun, reply } = call;
        if reply.is_closed() {
            return;
        }
        begun.store(true, Ordering::Release);
        crate::failpoint!("worker-panic");
        self.status.calls.fetch_add(1, Ordering::Relaxed);
        let opened = self.executor.open();
        self.show();
        let (done, crashed) = match opened {
            Ok(()) => self.executor.call(&event, &context),
            Err(error) => {
                let crashed = error.code == Code::Crashed;
                (failed(error), crashed)
            }
        };
        self.show();
        let why = done.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if crashed {
            // Before the answer: what follows from it must not find this worker.
            self.life.fail(ctx, Failure::new(FailureKind::Reported, why, Wall::now()));
        }
        // Whoever asked may have gone.
        drop(reply.send(done));
        self.executor.rest();
    }
}

impl Handler<Stop> for Worker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.life.finish(ctx);
    }
}
