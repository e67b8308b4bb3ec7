//! The tie between an actor and its supervisor.
//!
//! The start function of a child gets a [`Lifeline`] and puts it into the actor struct. When the actor ends, however it
//! ends, the lifeline is dropped, and the drop is the report: clean after [`finish`](Lifeline::finish) or a
//! [`Stop`], a failure otherwise. A panic in a handler ends only the task of that actor, and unwinding drops the lifeline
//! too.
//!
//! Rules for actors: begin each handler with `let Some(_busy) = self.life.enter() else { return ctx.stop() };`, never
//! panic in `stopping` and `stopped` (actix calls them while a panic unwinds, and a second panic aborts the process),
//! never return `Running::Continue` from `stopping`, and let spawned work run in the context of the actor (`ctx.spawn`,
//! not `actix_rt::spawn`), where its panic is seen.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::dev::ToEnvelope;
use actix::prelude::{Actor, ActorContext, Addr, Context, Handler, Message, Recipient};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Wall;

use super::failure::{Failure, FailureKind};
use super::front::Front;
use super::panics;
use super::running::Named;

/// Asks an actor to finish what it must, and to end: `self.life.finish(ctx)` at the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A child could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    permanent: bool,
}

impl StartError {
    /// It may work the next time.
    pub fn new(problem: impl fmt::Display) -> Self {
        Self { message: problem.to_string(), permanent: false }
    }

    /// Trying again cannot help.
    pub fn permanent(problem: impl fmt::Display) -> Self {
        Self { message: problem.to_string(), permanent: true }
    }
}

/// Which incarnation of which child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub path: Arc<str>,
    pub incarnation: u64,
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exit {
    Clean,
    Failed(Failure),
}

/// What reaches the supervisor from its children. Unbounded, yet at most a few a start: nothing a child does in a loop
/// sends one, but [`Lifeline::healthy`].
pub(super) enum Report {
    Ready { key: Key, stop: Recipient<Stop>, capacity: usize },
    Healthy { key: Key },
    Ended { key: Key, exit: Exit },
}

/// The numbers of one incarnation, written by its actor and its senders, read by the supervisor.
#[derive(Debug, Default)]
pub struct Tally {
    /// Odd while a handler runs. The watchdog compares it with what it saw before, so that no handler reads a clock.
    turns: AtomicU64,
    sent: AtomicU64,
    handled: AtomicU64,
    /// The record that is worked on, plus one; 0 is none.
    record: AtomicU64,
    revoked: AtomicBool,
    revocation: Notify,
}

impl Tally {
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Messages that wait. Approximate: read while others write, and a withdrawn message is counted out at once.
    pub(super) fn depth(&self) -> u64 {
        let waiting = self.sent.load(Ordering::Relaxed).wrapping_sub(self.handled.load(Ordering::Relaxed));
        // A difference below zero wraps; it means that messages came past the fronts.
        if waiting > u64::MAX / 2 { 0 } else { waiting }
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn record(&self) -> Option<u64> {
        self.record.load(Ordering::Relaxed).checked_sub(1)
    }

    /// A sign of life of the handler that runs, at a record.
    fn beat(&self, record: u64) {
        self.record.store(record.saturating_add(1), Ordering::Relaxed);
        self.runs_on();
    }

    /// A sign of life of the handler that runs.
    fn runs_on(&self) {
        // By two, so that it stays odd.
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(2), Ordering::Relaxed);
    }

    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Ends when the incarnation is revoked.
    pub(super) async fn revocation(&self) {
        let notified = self.revocation.notified();
        let mut notified = std::pin::pin!(notified);
        notified.as_mut().enable();
        if !self.is_revoked() {
            notified.await;
        }
    }
}

/// Signs of life of an actor, for work within one of its handlers.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Tally>);

impl Pulse {
    /// It is at this record.
    pub fn beat(&self, record: u64) {
        self.0.beat(record);
    }
}

/// The thread has not come to it yet.
const WAITING: u8 = 0;
/// The start function runs.
const LAUNCHING: u8 = 1;
/// The start function has returned.
const LAUNCHED: u8 = 2;

type Closer = Box<dyn FnOnce() + Send>;
/// What an actor shows of itself; called on the supervisor's thread when somebody asks.
pub(super) type Observe = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the supervisor and an incarnation share.
pub(super) struct Shared {
    key: Key,
    pub(super) tally: Arc<Tally>,
    /// [`WAITING`], [`LAUNCHING`] or [`LAUNCHED`].
    stage: AtomicU8,
    dropped: AtomicBool,
    reported: AtomicBool,
    /// What the actor said about its end before it ended.
    verdict: Mutex<Option<Exit>>,
    closers: Mutex<Vec<Closer>>,
    observe: Mutex<Option<Observe>>,
    reports: UnboundedSender<Report>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn end(&self, exit: Exit) {
        if self.reported.swap(true, Ordering::AcqRel) {
            return;
        }
        self.close_fronts();
        // The receiver is gone only when the supervisor is, and then nobody is left to tell.
        self.reports.send(Report::Ended { key: self.key.clone(), exit }).ok();
    }

    fn close_fronts(&self) {
        let closers = std::mem::take(&mut *lock(&self.closers));
        for close in closers {
            close();
        }
    }

    /// From now on this incarnation serves nobody: its fronts are closed, its handlers end it, its waiters are told.
    pub(super) fn revoke(&self) {
        self.tally.revoked.store(true, Ordering::Release);
        self.tally.revocation.notify_waiters();
        self.close_fronts();
    }

    pub(super) fn observed(&self) -> Option<serde_json::Value> {
        let observe = lock(&self.observe).clone()?;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| observe())).ok()
    }

    /// Whether the start function runs at this moment.
    pub(super) fn is_launching(&self) -> bool {
        self.stage.load(Ordering::Acquire) == LAUNCHING
    }

    fn last_words(&self) -> Exit {
        if let Some(exit) = lock(&self.verdict).take() {
            return exit;
        }
        self.failure_now()
    }

    fn failure_now(&self) -> Exit {
        let (kind, message) = if std::thread::panicking() {
            (FailureKind::Panicked, panics::take().unwrap_or_else(|| "no message".to_owned()))
        } else {
            (FailureKind::StoppedUnasked, "it ended without saying why".to_owned())
        };
        Exit::Failed(Failure::new(kind, message, Wall::now()).culprit(self.tally.record()))
    }
}

/// See the module. Not `Clone`: there is one in each actor, and its drop is the report.
pub struct Lifeline {
    shared: Arc<Shared>,
}

/// A handler is running; dropped at its end.
#[must_use = "bind it for the whole handler: `let Some(_busy) = …`"]
pub struct Busy {
    /// `None` inside another handler of the same actor.
    tally: Option<Arc<Tally>>,
    _named: Option<Named>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(tally) = &self.tally else { return };
        let turns = tally.turns.load(Ordering::Relaxed);
        tally.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        // A panic leaves the record for the report.
        if !std::thread::panicking() {
            tally.record.store(0, Ordering::Relaxed);
        }
    }
}

impl Lifeline {
    pub(super) fn new(key: Key, reports: UnboundedSender<Report>) -> Self {
        let shared = Shared {
            key,
            tally: Arc::default(),
            stage: AtomicU8::new(WAITING),
            dropped: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            verdict: Mutex::new(None),
            closers: Mutex::new(Vec::new()),
            observe: Mutex::new(None),
            reports,
        };
        Self { shared: Arc::new(shared) }
    }

    /// One that nobody listens to: for tests, and for actors that nobody supervises.
    pub fn detached(path: &str) -> Self {
        let (reports, _) = tokio::sync::mpsc::unbounded_channel();
        Self::new(Key { path: path.into(), incarnation: 1 }, reports)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The path of the child, e.g. `/triggers/big-push`.
    pub fn path(&self) -> &Arc<str> {
        &self.shared.key.path
    }

    /// Larger for each start of any child; fences what an earlier incarnation began.
    pub fn incarnation(&self) -> u64 {
        self.shared.key.incarnation
    }

    /// A message that came through a front is handled from here on. `None`: this incarnation was replaced; do nothing and
    /// `ctx.stop()`.
    pub fn enter(&self) -> Option<Busy> {
        let tally = &self.shared.tally;
        // One writer, so no read-modify-write is needed.
        let handled = tally.handled.load(Ordering::Relaxed);
        tally.handled.store(handled.wrapping_add(1), Ordering::Relaxed);
        self.enter_own()
    }

    /// The same for what came another way: a timer, a stream, `ctx.notify`.
    pub fn enter_own(&self) -> Option<Busy> {
        let tally = &self.shared.tally;
        if tally.is_revoked() {
            return None;
        }
        let turns = tally.turns.load(Ordering::Relaxed);
        if turns % 2 == 1 {
            return Some(Busy { tally: None, _named: None });
        }
        tally.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        Some(Busy { tally: Some(Arc::clone(tally)), _named: Some(Named::new(self.path())) })
    }

    /// Names the record that is worked on from here to the end of the handler, so that a failure can name its culprit. Also a
    /// sign of life: a handler that goes from record to record does not hang, however many there are.
    pub fn working_on(&self, record: u64) {
        self.shared.tally.beat(record);
    }

    /// A sign of life within a handler that does several things that may each take long.
    pub fn runs_on(&self) {
        self.shared.tally.runs_on();
    }

    /// For work that the actor's handlers poll, and that must not be taken for a hang.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.shared.tally))
    }

    /// Whether this incarnation was replaced: what it still does must have no effect.
    pub fn is_revoked(&self) -> bool {
        self.shared.tally.is_revoked()
    }

    /// It works: closes a half-open child, and starts the counters anew.
    pub fn healthy(&self) {
        self.shared.reports.send(Report::Healthy { key: self.shared.key.clone() }).ok();
    }

    /// Ends the actor as failed. Its fronts are closed at once, so that no more messages are lost with it.
    pub fn fail(&self, ctx: &mut impl ActorContext, failure: Failure) {
        let failure = if failure.culprit.is_none() { failure.culprit(self.shared.tally.record()) } else { failure };
        self.conclude(Exit::Failed(failure));
        ctx.stop();
    }

    /// Ends the actor in order: after a [`Stop`], or when a transient child has done its work.
    pub fn finish(&self, ctx: &mut impl ActorContext) {
        self.conclude(Exit::Clean);
        ctx.stop();
    }

    fn conclude(&self, exit: Exit) {
        // The first word counts: a stop that follows a failure does not hide it.
        lock(&self.shared.verdict).get_or_insert(exit);
        self.shared.close_fronts();
    }

    /// What the actor shows of itself in `GET /admin/actors`. Called on the supervisor's thread and only when somebody
    /// asks: read atomics or an `Arc`, and do not block.
    pub fn observe(&self, show: impl Fn() -> serde_json::Value + Send + Sync + 'static) {
        *lock(&self.shared.observe) = Some(Arc::new(show));
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifeline").field("key", &self.shared.key).finish_non_exhaustive()
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Release);
        // While the start function runs, `launch` reports: only it knows whether there was an error.
        if !self.shared.is_launching() {
            self.shared.end(self.shared.last_words());
        }
    }
}

type Opener = Box<dyn FnOnce(&Arc<Tally>) -> Closer>;

/// What a start function returns: how the actor is stopped, and which fronts it serves.
#[must_use = "return it from the start function"]
pub struct Started {
    stop: Recipient<Stop>,
    capacity: usize,
    openers: Vec<Opener>,
}

impl Started {
    /// An actor with the default capacity of 1,024 messages (set the same with `ctx.set_mailbox_capacity`).
    pub fn new<A>(addr: &Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Stop>,
    {
        Self { stop: addr.clone().recipient(), capacity: 1_024, openers: Vec::new() }
    }

    /// The capacity of its mailbox, to be shown.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Messages of `front` go to this actor, from when the start function has returned until the actor ends.
    pub fn serves<A, M>(mut self, front: &Front<M>, addr: &Addr<A>) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (front, recipient) = (front.clone(), addr.clone().recipient());
        self.openers.push(Box::new(move |tally| {
            front.open(recipient, Arc::clone(tally));
            let tally = Arc::clone(tally);
            Box::new(move || front.close(&tally))
        }));
        self
    }
}

/// How a child is started; called on its thread, once for each incarnation.
pub(super) type StartFn = Arc<dyn Fn(Lifeline) -> Result<Started, StartError> + Send + Sync>;

/// Reports a panic of the start function.
struct StartGuard(Arc<Shared>);

impl Drop for StartGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.revoke();
            self.0.end(self.0.failure_now());
        }
    }
}

/// Runs a start function on the current thread and reports what came of it.
pub(super) fn launch(start: &StartFn, life: Lifeline) {
    let shared = life.shared();
    shared.stage.store(LAUNCHING, Ordering::Release);
    let guard = StartGuard(Arc::clone(&shared));
    let result = start(life);
    drop(guard);
    match result {
        Err(error) => {
            shared.revoke();
            let kind = if error.permanent { FailureKind::Permanent } else { FailureKind::StartFailed };
            shared.end(Exit::Failed(Failure::new(kind, error.message, Wall::now())));
        }
        // It was replaced while it started; without an address the actor ends by itself.
        Ok(_) if shared.tally.is_revoked() => shared.end(shared.failure_now()),
        Ok(started) => {
            for open in started.openers {
                let close = open(&shared.tally);
                lock(&shared.closers).push(close);
            }
            shared.stage.store(LAUNCHED, Ordering::Release);
            let ready = Report::Ready { key: shared.key.clone(), stop: started.stop, capacity: started.capacity };
            shared.reports.send(ready).ok();
            // The lifeline was not put into the actor, or the actor has ended already.
            if shared.dropped.load(Ordering::Acquire) {
                shared.end(shared.last_words());
            } else if shared.tally.is_revoked() {
                // Revoked between the check and the opening.
                shared.close_fronts();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_handler_is_part_of_the_outer_one() {
        let life = Lifeline::detached("/x");
        let outer = life.enter().unwrap();
        let inner = life.enter_own().unwrap();
        drop(inner);
        assert_eq!(life.shared.tally.turns() % 2, 1);
        drop(outer);
        assert_eq!(life.shared.tally.turns(), 2);
    }

    #[test]
    fn the_record_is_forgotten_after_a_handler() {
        let life = Lifeline::detached("/x");
        let busy = life.enter().unwrap();
        let before = life.shared.tally.turns();
        life.working_on(0);
        assert_eq!(life.shared.tally.record(), Some(0));
        let after = life.shared.tally.turns();
        assert!(after != before && after % 2 == 1, "a sign of life, within the same handler");
        drop(busy);
        assert_eq!(life.shared.tally.record(), None);
    }

    #[test]
    fn a_revoked_incarnation_enters_nothing() {
        let life = Lifeline::detached("/x");
        life.shared.revoke();
        assert!(life.is_revoked() && life.enter().is_none() && life.enter_own().is_none());
    }

    #[test]
    fn depth_never_wraps() {
        let tally = Tally::default();
        tally.unsent();
        assert_eq!(tally.depth(), 0);
        tally.sent();
        tally.sent();
        assert_eq!(tally.depth(), 1);
    }
}
