//! The supervisor actor: receives what children report and people ask, hands it to the [`Tree`], and executes the effects.
//!
//! Owns: the tree, the threads, and of each child its start function and its present incarnation. Runs on a thread of its
//! own, so that a busy pipeline cannot delay a restart. Receives: [`Spawn`], [`Remove`], [`Control`], [`Snapshot`],
//! [`Watch`], [`Shutdown`]. Its own panic ends the process by `on_fatal`: nobody supervises the root but the machine.

mod messages;
mod spec;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, Addr, AsyncContext, Context, Recipient, SpawnHandle, StreamHandler};
use futures_util::stream;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::clock::Tick;

use super::arbiters::{ArbiterPool, SlotKey};
use super::failure::{Failure, FailureKind};
use super::lifeline::{Exit, Key, Lifeline, Report, Shared, StartFn, Stop, launch};
use super::node::{Change, Mailbox, Node};
use super::panics;
use super::tree::{Effect, Now, Tree};

pub use messages::{Control, DrainStep, Drained, Group, Remove, Shutdown, Snapshot, Spawn, Watch, Watching};
use spec::OnFatal;
pub use spec::{ChildSpec, HANG_AFTER, Settings};

/// How many changes a watcher may be behind before it loses some (it then takes a new snapshot).
const WATCH_BACKLOG: usize = 1_024;
const MAILBOX: usize = 1_024;
/// A timer is not set further ahead than this; when it rings too early it is set again.
const LONGEST_NAP: Duration = Duration::from_secs(3_600);

/// A child as the supervisor knows it.
struct Child {
    start: StartFn,
    slot: SlotKey,
    hang_after: Option<Duration>,
    incarnation: u64,
    shared: Option<Arc<Shared>>,
    stop: Option<Recipient<Stop>>,
    /// Asked to stop before it was ready.
    stop_asked: bool,
    capacity: usize,
    seen_turns: u64,
    busy: Duration,
}

impl Child {
    fn revoke(&mut self) {
        self.stop = None;
        if let Some(shared) = self.shared.take() {
            shared.revoke();
        }
    }
}

/// A shutdown under way.
struct Drain {
    steps: VecDeque<DrainStep>,
    current: Option<String>,
    forced: Vec<Arc<str>>,
    replies: Vec<oneshot::Sender<Drained>>,
}

/// See the module.
pub struct Supervisor {
    tree: Tree,
    pool: ArbiterPool,
    children: HashMap<Arc<str>, Child>,
    reports: mpsc::UnboundedSender<Report>,
    incoming: Option<mpsc::UnboundedReceiver<Report>>,
    changes: broadcast::Sender<Change>,
    tick: Duration,
    hang_after: Duration,
    looked: Tick,
    wake: Option<(Tick, SpawnHandle)>,
    removals: HashMap<Arc<str>, Vec<oneshot::Sender<()>>>,
    drain: Option<Drain>,
    on_fatal: Option<OnFatal>,
}

impl Supervisor {
    /// Starts the supervisor on a thread of its own, and installs the panic hook. Call it within an actix `System`.
    ///
    /// # Errors
    /// There is no system, or it has no thread to give.
    pub fn start(settings: Settings) -> io::Result<Addr<Self>> {
        if actix_rt::System::try_current().is_none() {
            return Err(io::Error::other(
                "the supervisor needs an actix System: start it inside `System::new().block_on`",
            ));
        }
        panics::install();
        let arbiter = actix_rt::Arbiter::try_new()?;
        arbiter.spawn_fn(|| {
            std::fs::write("/proc/thread-self/comm", "supervisor").ok();
        });
        Ok(Self::start_in_arbiter(&arbiter.handle(), move |ctx: &mut Context<Self>| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self::new(settings)
        }))
    }

    fn new(settings: Settings) -> Self {
        let (reports, incoming) = mpsc::unbounded_channel();
        Self {
            tree: Tree::new(settings.root, settings.group, settings.grace, Now::read()),
            pool: ArbiterPool::new(&settings.name, settings.threads),
            children: HashMap::new(),
            reports,
            incoming: Some(incoming),
            changes: broadcast::Sender::new(WATCH_BACKLOG),
            tick: settings.tick,
            hang_after: settings.hang_after,
            looked: Tick::now(),
            wake: None,
            removals: HashMap::new(),
            drain: None,
            on_fatal: Some(settings.on_fatal),
        }
    }

    /// Executes what the tree wants, until it wants nothing, and sets the alarm for what it waits for.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        loop {
            let effects = self.tree.take_effects();
            if effects.is_empty() {
                if !self.advance_drain() {
                    break;
                }
                continue;
            }
            for effect in effects {
                self.execute(effect, ctx);
            }
        }
        let next = self.tree.next_wake();
        if self.wake.as_ref().map(|(at, _)| *at) == next {
            return;
        }
        if let Some((_, handle)) = self.wake.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = next {
            let handle = ctx.run_later(at.since(Tick::now()).min(LONGEST_NAP), |me, ctx| {
                me.wake = None;
                me.tree.due(Now::read());
                me.pump(ctx);
            });
            self.wake = Some((at, handle));
        }
    }

    fn execute(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Start { path, incarnation } => self.start_child(&path, incarnation),
            Effect::AskStop { path } => {
                if let Some(child) = self.children.get_mut(&path) {
                    child.stop_asked = true;
                    ask_stop(child, ctx);
                }
            }
            Effect::Revoke { path } => {
                if let Some(drain) = &mut self.drain {
                    drain.forced.push(Arc::clone(&path));
                }
                if let Some(child) = self.children.get_mut(&path) {
                    child.revoke();
                }
            }
            Effect::Changed { path } => {
                if self.changes.receiver_count() > 0
                    && let Some(node) = self.node(&path, Now::read(), false)
                {
                    self.tell(Change::Node(Box::new(node)));
                }
            }
            Effect::Removed { path } => {
                if let Some(mut child) = self.children.remove(&path) {
                    child.revoke();
                    self.pool.release(&child.slot);
                }
                for waiting in self.removals.remove(&path).unwrap_or_default() {
                    waiting.send(()).ok();
                }
                self.tell(Change::Removed { path });
            }
            Effect::DeadLetter { path, failure } => {
                tracing::error!(actor = %path, %failure, "given up");
                self.tell(Change::DeadLettered { path, failure });
            }
            Effect::Fatal { path, failure } => {
                tracing::error!(actor = %path, %failure, "beyond the help of every supervisor; the process drains and ends");
                self.tell(Change::Fatal { path: Arc::clone(&path), failure: failure.clone() });
                if let Some(on_fatal) = self.on_fatal.take() {
                    on_fatal(path, failure);
                }
            }
        }
    }

    fn tell(&self, change: Change) {
        // Nobody watching is fine.
        self.changes.send(change).ok();
    }

    fn start_child(&mut self, path: &Arc<str>, incarnation: u64) {
        let Some(child) = self.children.get_mut(path) else { return };
        child.revoke();
        let life = Lifeline::new(Key { path: Arc::clone(path), incarnation }, self.reports.clone());
        child.shared = Some(life.shared());
        child.incarnation = incarnation;
        (child.stop_asked, child.seen_turns, child.busy) = (false, 0, Duration::ZERO);
        let start = Arc::clone(&child.start);
        if let Err(error) = self.pool.run(&child.slot, move || launch(&start, life)) {
            let failure =
                Failure::new(FailureKind::StartFailed, format!("no thread for it: {error}"), Now::read().wall);
            self.tree.failed(path, incarnation, failure, Now::read());
        }
    }

    fn on_report(&mut self, report: Report, ctx: &mut Context<Self>) {
        let now = Now::read();
        match report {
            Report::Ready { key, stop, capacity } => {
                if let Some(child) = self.children.get_mut(&key.path)
                    && child.incarnation == key.incarnation
                    && child.shared.is_some()
                {
                    child.stop = Some(stop);
                    child.capacity = capacity;
                    if child.stop_asked {
                        ask_stop(child, ctx);
                    } else {
                        self.tree.ready(&key.path, key.incarnation, now);
                    }
                }
            }
            Report::Healthy { key } => self.tree.healthy(&key.path, key.incarnation, now),
            Report::Ended { key, exit } => {
                let current = |child: &&mut Child| child.incarnation == key.incarnation && child.shared.is_some();
                // One that was revoked has been dealt with.
                let Some(child) = self.children.get_mut(&key.path).filter(current) else { return };
                child.revoke();
                match exit {
                    Exit::Clean => self.tree.finished(&key.path, key.incarnation, now),
                    Exit::Failed(failure) => {
                        tracing::warn!(actor = %key.path, incarnation = key.incarnation, %failure, "a child failed");
                        self.tree.failed(&key.path, key.incarnation, failure, now);
                    }
                }
            }
        }
        self.pump(ctx);
    }

    /// Finds handlers that have been running for too long, and threads that give no sign of life.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = Now::read();
        // When the whole process stood still (SIGSTOP, a suspended laptop, an overloaded machine), nobody hung.
        let elapsed = now.tick.since(self.looked).min(self.tick * 2);
        self.looked = now.tick;
        let mut hung: Vec<(SlotKey, Option<Arc<str>>)> = Vec::new();
        let mut known_busy: Vec<SlotKey> = Vec::new();
        for (path, child) in &mut self.children {
            let Some(shared) = &child.shared else { continue };
            let turns = shared.tally.turns();
            let still = turns % 2 == 1 && turns == child.seen_turns;
            child.busy = if still { child.busy.saturating_add(elapsed) } else { Duration::ZERO };
            child.seen_turns = turns;
            if turns % 2 == 1 {
                known_busy.push(child.slot.clone());
            }
            if child.hang_after.is_some_and(|limit| child.busy >= limit) {
                hung.push((child.slot.clone(), Some(Arc::clone(path))));
            }
        }
        for (slot, silent) in self.pool.ping(elapsed) {
            let limit = self.silence_allowed(&slot);
            if limit.is_some_and(|limit| silent >= limit) && !known_busy.contains(&slot) {
                hung.push((slot.clone(), self.launching_on(&slot)));
            }
        }
        for (slot, culprit) in hung {
            self.replace(&slot, culprit, now);
        }
        self.pump(ctx);
    }

    /// How long a thread may be silent: the longest that a child on it asks for; `None` is for ever.
    fn silence_allowed(&self, slot: &SlotKey) -> Option<Duration> {
        let on_it = self.children.values().filter(|child| child.slot == *slot);
        on_it.map(|child| child.hang_after).try_fold(self.hang_after, |longest, limit| limit.map(|l| l.max(longest)))
    }

    /// The child whose start function blocks the thread, if one does.
    fn launching_on(&self, slot: &SlotKey) -> Option<Arc<str>> {
        let blocks = |child: &Child| child.slot == *slot && child.shared.as_ref().is_some_and(|s| s.is_launching());
        self.children.iter().find(|(_, child)| blocks(child)).map(|(path, _)| Arc::clone(path))
    }

    /// Leaves a thread behind: its children are started anew on a fresh one, and only the culprit's failure counts.
    fn replace(&mut self, slot: &SlotKey, culprit: Option<Arc<str>>, now: Now) {
        self.pool.abandon(slot);
        let thread = self.pool.name(slot);
        tracing::error!(%thread, culprit = culprit.as_deref().unwrap_or("unknown"), "a thread hangs and is replaced");
        self.tell(Change::ThreadReplaced { thread, leaked: self.pool.leaked() });
        let on_it = self.children.iter().filter(|(_, child)| child.slot == *slot && child.shared.is_some());
        let mut victims: Vec<Arc<str>> = on_it.map(|(path, _)| Arc::clone(path)).collect();
        victims.sort();
        for path in victims {
            let Some(child) = self.children.get_mut(&path) else { continue };
            if culprit.as_ref() != Some(&path) {
                child.revoke();
                self.tree.displaced(&path, now);
                continue;
            }
            let record = child.shared.as_ref().and_then(|shared| shared.tally.record());
            let message = format!(
                "it blocked its thread for more than {} ms",
                child.busy.max(self.hang_after.min(HANG_AFTER)).as_millis()
            );
            let failure = Failure::new(FailureKind::Hung, message, now.wall).culprit(record);
            let incarnation = child.incarnation;
            child.revoke();
            self.tree.failed(&path, incarnation, failure, now);
        }
    }

    fn node(&self, path: &str, now: Now, observe: bool) -> Option<Node> {
        let mut node = self.tree.node(path, now)?;
        let Some(child) = self.children.get(path) else { return Some(node) };
        node.thread = Some(self.pool.name(&child.slot));
        if let Some(shared) = &child.shared {
            node.mailbox = Some(Mailbox { depth: shared.tally.depth(), capacity: child.capacity });
            if shared.tally.turns() % 2 == 1 {
                node.busy_ms = Some(u64::try_from(child.busy.as_millis()).unwrap_or(u64::MAX));
            }
            if observe {
                node.observed = shared.observed();
            }
        }
        Some(node)
    }

    fn nodes(&self) -> Vec<Node> {
        let now = Now::read();
        self.tree.paths().filter_map(|path| self.node(path, now, true)).collect()
    }

    /// Goes on with a shutdown. Returns whether the tree has something new to be done.
    fn advance_drain(&mut self) -> bool {
        let Some(drain) = &mut self.drain else { return false };
        if drain.current.as_ref().is_some_and(|path| !self.tree.alive(path).is_empty()) {
            return false;
        }
        if let Some(step) = drain.steps.pop_front() {
            self.tree.drain(&step.path, step.deadline, Now::read());
            drain.current = Some(step.path);
            return true;
        }
        if let Some(drain) = self.drain.take_if(|drain| !drain.replies.is_empty()) {
            for reply in drain.replies {
                reply.send(Drained { forced: drain.forced.clone() }).ok();
            }
        }
        false
    }
}

fn ask_stop(child: &Child, ctx: &mut Context<Supervisor>) {
    let (Some(stop), Some(shared)) = (&child.stop, &child.shared) else { return };
    let (asked, tally) = (stop.send(Stop), Arc::clone(&shared.tally));
    // The answer does not matter: the lifeline reports the end. A full mailbox is waited for, a hung one is not.
    let wait = async move {
        tokio::select! {
            _ = asked => {}
            () = tally.revocation() => {}
        }
    };
    ctx.spawn(actix::fut::wrap_future::<_, Supervisor>(wait));
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut incoming) = self.incoming.take() {
            ctx.add_stream(stream::poll_fn(move |cx| incoming.poll_recv(cx)));
        }
        ctx.run_interval(self.tick, Self::look);
        self.pump(ctx);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(on_fatal) = self.on_fatal.take()
        {
            let message = panics::take().unwrap_or_default();
            on_fatal("/".into(), Failure::new(FailureKind::Panicked, message, Now::read().wall));
        }
    }
}

impl StreamHandler<Report> for Supervisor {
    fn handle(&mut self, report: Report, ctx: &mut Self::Context) {
        self.on_report(report, ctx);
    }
}

#[cfg(test)]
mod tests;
