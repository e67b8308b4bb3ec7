//! The actor of one worker.
//!
//! Owns: the engine, or the process in which it runs.
//! Receives: [`Call`]s. In a thread each is run where it is received. A process is given some ahead, which it runs one
//! after the other, and their results are read one by one; both block, on a thread of the actor's own, until the deadline
//! of the call that runs at the latest.
//! Sends: the result to whoever waits for it.
//! Strategy: that of actors (`[supervision]`). A process that was late was killed as agreed, and is replaced
//! at once; one that ended by itself fails the actor, so that a function that crashes again and again is slowed down.

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use bytes::Bytes;
use hexafn_runtimes::process::{Lost, Process};
use hexafn_runtimes::{Code, Ctx, Done, Error, Host, Instance, Session};
use std::collections::VecDeque;
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
    /// Set with it, for whoever asks whether anything of a run has begun.
    pub noted: Option<Arc<AtomicBool>>,
    /// Where the result goes.
    pub reply: oneshot::Sender<Done>,
}

impl Call {
    fn answer(self, done: Done) {
        // Whoever asked may have gone.
        drop(self.reply.send(done));
    }
}

/// What a worker shows of itself.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    /// The id of its process; 0 is none.
    pub process: AtomicU64,
    /// Calls so far.
    pub calls: AtomicU64,
}

enum Engine {
    Thread(Option<Box<dyn Instance>>),
    Process(Option<Box<Process>>),
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
/// the slot.
pub(super) fn call_process(
    slot: &mut Option<Process>,
    function: &Hosted,
    event: &[u8],
    ctx: &Ctx,
    host: &dyn Host,
) -> Done {
    let process = match slot {
        Some(process) => process,
        None => match start(function) {
            Ok(process) => slot.insert(process),
            Err(error) => return Done::failed(error),
        },
    };
    match process.call(event, ctx, host) {
        Ok(done) => done,
        Err(lost) => {
            *slot = None;
            lost.done
        }
    }
}

/// See the module.
pub struct Worker {
    function: Arc<Hosted>,
    host: Arc<dyn Host>,
    engine: Engine,
    /// Calls that the engine in this thread has run.
    run: u64,
    /// What the process was given and has not answered; it runs the first.
    given: VecDeque<Call>,
    /// Whether a [`Read`] is under way.
    reading: bool,
    /// Whether its process took the place of one that had ended while it had nothing to do, and has answered nothing yet.
    replaced: bool,
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
        let engine = match function.isolation {
            Isolation::Thread => Engine::Thread(None),
            Isolation::Process => Engine::Process(None),
        };
        let shown = status.clone();
        life.observe(move || {
            let process = Some(shown.process.load(Ordering::Relaxed)).filter(|id| *id > 0);
            serde_json::json!({ "process": process, "calls": shown.calls.load(Ordering::Relaxed) })
        });
        let mailbox = function.pool.queue;
        let given = VecDeque::new();
        let mut worker = Self {
            function,
            host,
            engine,
            run: 0,
            given,
            reading: false,
            replaced: false,
            status,
            life,
            mailbox,
            ready,
        };
        // What is wrong with it is said by its first call.
        if warm && let Err(error) = worker.open() {
            tracing::warn!(actor = %worker.life.path(), %error, "a worker could not get ready");
        }
        worker
    }

    /// Gets ready.
    fn open(&mut self) -> Result<(), Error> {
        match &mut self.engine {
            Engine::Thread(Some(_)) | Engine::Process(Some(_)) => {}
            Engine::Thread(slot) => {
                *slot = Some(self.function.compiled.open()?);
                self.run = 0;
            }
            Engine::Process(slot) => {
                *slot = Some(Box::new(start(&self.function)?));
                self.show();
            }
        }
        Ok(())
    }

    /// Shows the process that it has.
    fn show(&self) {
        let process = match &self.engine {
            Engine::Process(Some(process)) => process.id(),
            Engine::Process(None) | Engine::Thread(_) => 0,
        };
        self.status.process.store(u64::from(process), Ordering::Relaxed);
    }

    /// The function begins to run: nobody else is asked from here on.
    fn begin(status: &WorkerStatus, call: &Call) {
        call.begun.store(true, Ordering::Release);
        if let Some(noted) = &call.noted {
            noted.store(true, Ordering::Release);
        }
        crate::failpoint!("worker-panic");
        status.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the actor as failed: its engine ended by itself, and should not have.
    fn crashed(&self, why: &Done, ctx: &mut Context<Self>) {
        let why = why.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.life.fail(ctx, Failure::new(FailureKind::Reported, why, Wall::now()));
    }

    /// Answers a call for which there is no engine. False when the actor has failed.
    fn refuse(&self, call: Call, error: Error, ctx: &mut Context<Self>) -> bool {
        let crashed = error.code == Code::Crashed;
        let done = Done::failed(error);
        if crashed {
            self.crashed(&done, ctx);
        }
        call.answer(done);
        !crashed
    }

    /// Runs a call in this thread.
    fn run(&mut self, call: Call, ctx: &mut Context<Self>) {
        Self::begin(&self.status, &call);
        if let Err(error) = self.open() {
            self.refuse(call, error, ctx);
            return;
        }
        let Engine::Thread(slot) = &mut self.engine else { return };
        let Some(instance) = slot else { return };
        let session = Session::new(self.function.settings.clone(), call.ctx.clone(), self.host.clone());
        let done = hexafn_runtimes::run(&mut **instance, &call.event, session);
        call.answer(done);
        self.run += 1;
        if self.run >= self.function.pool.recycle_after {
            *slot = None;
        } else {
            instance.rest();
        }
    }

    /// Gives the process a call, behind those that it has.
    fn give(&mut self, call: Call, ctx: &mut Context<Self>) {
        while !self.has_room(&call) {
            if !self.read(ctx) {
                // Not begun: another worker is asked.
                return;
            }
            self.life.runs_on();
        }
        if self.send(call, ctx) {
            self.read_on(ctx);
        }
    }

    fn has_room(&mut self, call: &Call) -> bool {
        let Engine::Process(slot) = &mut self.engine else { return true };
        let Some(process) = slot else { return true };
        if process.taken() < self.function.pool.recycle_after {
            return process.has_room(&call.event);
        }
        // It makes room for a fresh one when it has answered what it has.
        let idle = process.in_flight() == 0;
        if idle {
            *slot = None;
            self.show();
        }
        idle
    }

    /// Sends it. False when the actor has failed.
    fn send(&mut self, call: Call, ctx: &mut Context<Self>) -> bool {
        if self.given.is_empty() {
            Self::begin(&self.status, &call);
        }
        if let Err(error) = self.open() {
            return self.refuse(call, error, ctx);
        }
        let Engine::Process(Some(process)) = &mut self.engine else { return true };
        match process.send(&call.event, &call.ctx) {
            Ok(()) => self.given.push_back(call),
            Err(error) => call.answer(Done::failed(error)),
        }
        true
    }

    /// Sees to it that what the process was given is read, after the calls that wait in the mailbox were given to it, too.
    fn read_on(&mut self, ctx: &mut Context<Self>) {
        if !self.reading && !self.given.is_empty() {
            self.reading = true;
            ctx.notify(Read);
        }
    }

    /// Hands on one result of the process, and blocks until it is there. False when the actor has failed.
    fn read(&mut self, ctx: &mut Context<Self>) -> bool {
        let Engine::Process(slot) = &mut self.engine else { return true };
        let Some(answer) = slot.as_mut().and_then(|process| process.answer(&*self.host)) else { return true };
        let Some(call) = self.given.pop_front() else { return true };
        match answer {
            Ok(done) => {
                self.replaced = false;
                call.answer(done);
                if let Some(next) = self.given.front() {
                    Self::begin(&self.status, next);
                }
                true
            }
            Err(lost) => {
                *slot = None;
                self.show();
                let Lost { done, killed, begun } = *lost;
                if !begun && !self.replaced {
                    // The system has ended it (for want of memory) while it had nothing to do, which is no fault of this call.
                    let how = done.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(actor = %self.life.path(), how, "a worker process had ended without a call, and is replaced");
                    self.replaced = true;
                    self.status.calls.fetch_sub(1, Ordering::Relaxed);
                    self.given.push_front(call);
                    return std::mem::take(&mut self.given).into_iter().all(|call| self.send(call, ctx));
                }
                if !killed {
                    // Before the answer: what follows from it must not find this worker. Of the others none had begun.
                    self.crashed(&done, ctx);
                    self.given.clear();
                    call.answer(done);
                    return false;
                }
                call.answer(done);
                std::mem::take(&mut self.given).into_iter().all(|call| call.reply.is_closed() || self.send(call, ctx))
            }
        }
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
        if call.reply.is_closed() {
            return;
        }
        match self.engine {
            Engine::Thread(_) => self.run(call, ctx),
            Engine::Process(_) => self.give(call, ctx),
        }
    }
}

/// Tells a worker to read one result from its process.
#[derive(Message)]
#[rtype(result = "()")]
struct Read;

impl Handler<Read> for Worker {
    type Result = ();

    fn handle(&mut self, _: Read, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        self.reading = false;
        if self.read(ctx) {
            self.read_on(ctx);
        }
    }
}

impl Handler<Stop> for Worker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        // What has begun is waited for; what was only sent ahead goes to another worker.
        self.given.truncate(1);
        if self.read(ctx) {
            self.life.finish(ctx);
        }
    }
}
