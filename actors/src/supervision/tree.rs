//! The whole tree of children as plain state: what happens goes in, what to do about it comes out as [`Effect`]s.
//!
//! Invariant: a report of an incarnation that is not the present one changes nothing.
//! Invariant: after every call, each node that waits for a time is in `wakes` at or before that time.

mod controls;
mod effect;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Tick, Wall};

use super::decision::{Decision, History, Phase, decide};
use super::failure::{Failure, FailureKind};
use super::machine::{Illegal, Input, Machine, State};
use super::node::{ControlError, Node, nearest};
use super::strategy::RestartStrategy;

pub use effect::{Effect, Now};

/// What an end in order means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// It is to be there always: ending unasked is a failure.
    #[default]
    Permanent,
    /// It ends when its work is done, and is then removed; it also goes when the child above it fails, which spawns it anew
    /// from what it stored. A delivery is one.
    Transient,
}

/// What follows when a child has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Start,
    Remove,
    /// It is started when the node above it is.
    WithParent,
}

#[derive(Debug)]
struct Entry {
    kind: Arc<str>,
    /// Without an actor of its own.
    group: bool,
    strategy: RestartStrategy,
    lifetime: Lifetime,
    machine: Machine,
    history: History,
    incarnation: u64,
    starts: u64,
    after: After,
    last_failure: Option<Failure>,
    started_at: Option<Wall>,
}

/// See the module.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<Arc<str>, Entry>,
    /// May hold times that no longer matter; never misses one.
    wakes: BTreeSet<(Tick, Arc<str>)>,
    incarnations: u64,
    grace: Duration,
    group: RestartStrategy,
    effects: Vec<Effect>,
    closing: bool,
    illegal: (u64, Option<Illegal>),
}

const ROOT: &str = "/";

impl Tree {
    /// A tree with a root only. `grace` is how long a child may take to stop; `group` is the strategy of the groups that
    /// come into being above a child.
    pub fn new(root: RestartStrategy, group: RestartStrategy, grace: Duration, now: Now) -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            wakes: BTreeSet::new(),
            incarnations: 0,
            grace,
            group,
            effects: Vec::new(),
            closing: false,
            illegal: (0, None),
        };
        tree.insert_group(ROOT.into(), root, now);
        tree
    }

    /// What is to be done since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`due`](Self::due) is to be called next.
    pub fn next_wake(&self) -> Option<Tick> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// How many transitions that do not exist were asked for, and the last one: mistakes of this module, never made.
    pub fn illegal(&self) -> (u64, Option<Illegal>) {
        self.illegal
    }

    /// Whether there is such a node.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// All paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.keys()
    }

    /// The state of a node.
    pub fn state(&self, path: &str) -> Option<State> {
        self.nodes.get(path).map(|entry| entry.machine.state())
    }

    /// The present or last incarnation of a child.
    pub fn incarnation(&self, path: &str) -> Option<u64> {
        self.nodes.get(path).map(|entry| entry.incarnation)
    }

    /// Adds a child and starts it. Nodes above it that do not exist become groups.
    ///
    /// # Errors
    /// Not a path, taken, or shutting down.
    pub fn add(
        &mut self,
        path: &str,
        kind: &str,
        strategy: RestartStrategy,
        lifetime: Lifetime,
        now: Now,
    ) -> Result<Arc<str>, ControlError> {
        if self.closing {
            return Err(ControlError::ShuttingDown);
        }
        check_path(path)?;
        if let Some((taken, entry)) = self.nodes.get_key_value(path)
            && !entry.group
        {
            return Err(ControlError::Taken { path: Arc::clone(taken) });
        }
        let mut above = String::new();
        let names: Vec<&str> = path.split('/').skip(1).collect();
        for name in &names[..names.len() - 1] {
            above.push('/');
            above.push_str(name);
            if !self.nodes.contains_key(above.as_str()) {
                self.insert_group(above.as_str().into(), self.group.clone(), now);
            }
        }
        let path: Arc<str> = path.into();
        self.nodes.insert(Arc::clone(&path), Entry::new(kind.into(), false, strategy, lifetime));
        // While a group waits for its backoff, a new child waits with it.
        let parent_serves = self.parent(&path).and_then(|p| self.state(&p)).is_none_or(State::is_alive);
        if parent_serves {
            self.begin(&path, now);
        } else if let Some(entry) = self.nodes.get_mut(&path) {
            entry.after = After::WithParent;
        }
        Ok(path)
    }

    /// Sets the strategy of a group, which comes into being if it does not exist.
    ///
    /// # Errors
    /// Not a path.
    pub fn group(&mut self, path: &str, strategy: RestartStrategy, now: Now) -> Result<(), ControlError> {
        if path != ROOT {
            check_path(path)?;
        }
        match self.nodes.get_mut(path) {
            Some(entry) => entry.strategy = strategy,
            None => self.insert_group(path.into(), strategy, now),
        }
        Ok(())
    }

    /// Its start function has returned.
    pub fn ready(&mut self, path: &Arc<str>, incarnation: u64, now: Now) {
        let Some(entry) = self.current(path, incarnation) else { return };
        if !matches!(entry.machine.state(), State::Starting | State::HalfOpen) {
            return; // Asked to stop meanwhile.
        }
        entry.history.started(now.tick);
        self.apply(path, Input::Ready);
        self.watch_health(path);
    }

    /// It says that it works.
    pub fn healthy(&mut self, path: &Arc<str>, incarnation: u64, now: Now) {
        let Some(entry) = self.current(path, incarnation) else { return };
        let closed = entry.history.succeeded(&entry.strategy, now.tick);
        // One that is being stopped may still say so.
        if closed && matches!(entry.machine.state(), State::HalfOpen | State::Running) {
            entry.history.started(now.tick);
            self.apply(path, Input::Healed);
        }
    }

    /// It failed. Of another incarnation than the present one: nothing happens.
    pub fn failed(&mut self, path: &Arc<str>, incarnation: u64, failure: Failure, now: Now) {
        let Some(entry) = self.current(path, incarnation) else { return };
        let state = entry.machine.state();
        if !state.is_alive() {
            return;
        }
        entry.last_failure = Some(failure.clone());
        if matches!(state, State::Stopping { .. }) {
            self.gone(path, now);
        } else {
            self.judge(path, failure, now);
        }
    }

    /// It ended in order.
    pub fn finished(&mut self, path: &Arc<str>, incarnation: u64, now: Now) {
        let Some(entry) = self.current(path, incarnation) else { return };
        let asked = matches!(entry.machine.state(), State::Stopping { .. });
        match (asked, entry.lifetime) {
            (true, _) => self.gone(path, now),
            (false, Lifetime::Transient) => {
                entry.after = After::Remove;
                self.gone(path, now);
            }
            (false, Lifetime::Permanent) => {
                let failure =
                    Failure::new(FailureKind::StoppedUnasked, "it finished although nobody asked it to", now.wall);
                self.failed(path, incarnation, failure, now);
            }
        }
    }

    /// Its thread was left behind for another's fault: it is started anew at once, and nothing is counted.
    pub fn displaced(&mut self, path: &Arc<str>, now: Now) {
        let Some(entry) = self.nodes.get(path) else { return };
        let state = entry.machine.state();
        if !state.is_alive() {
            return;
        }
        self.effects.push(Effect::Revoke { path: Arc::clone(path) });
        let stopping = matches!(state, State::Stopping { .. });
        self.apply(path, Input::Gone);
        if stopping { self.settle(path, now) } else { self.begin(path, now) }
    }

    /// Does what has become due.
    pub fn due(&mut self, now: Now) {
        while let Some((at, path)) = self.wakes.first().cloned() {
            if at > now.tick {
                break;
            }
            self.wakes.pop_first();
            let Some(entry) = self.nodes.get_mut(&path) else { continue };
            match entry.machine.state() {
                State::BackingOff { until } if until <= now.tick => self.begin(&path, now),
                State::Open { until } if until <= now.tick => {
                    entry.history.probe(now.tick);
                    self.begin(&path, now);
                }
                State::Stopping { until } if until <= now.tick => {
                    self.effects.push(Effect::Revoke { path: Arc::clone(&path) });
                    self.gone(&path, now);
                }
                State::Running | State::HalfOpen => {
                    if entry.history.heal(&entry.strategy, now.tick) {
                        self.apply(&path, Input::Healed);
                    }
                    self.watch_health(&path);
                }
                _ => {}
            }
        }
    }

    /// A node as it is shown, without what only the supervisor knows.
    pub fn node(&self, path: &str, now: Now) -> Option<Node> {
        let (path, entry) = self.nodes.get_key_value(path)?;
        let state = entry.machine.state();
        let failures = match &entry.strategy.intensity {
            Some(_) => entry.history.failures_in_window(&entry.strategy, now.tick),
            None => entry.history.consecutive(),
        };
        Some(Node {
            path: Arc::clone(path),
            kind: Arc::clone(&entry.kind),
            state: state.name(),
            until: state.until().map(|until| now.wall.plus(until.since(now.tick))),
            incarnation: entry.incarnation,
            restarts: entry.starts.saturating_sub(1),
            failures,
            failures_total: entry.history.total(),
            mailbox: None,
            busy_ms: None,
            last_failure: entry.last_failure.clone(),
            started_at: entry.started_at,
            thread: None,
            observed: None,
        })
    }

    fn insert_group(&mut self, path: Arc<str>, strategy: RestartStrategy, now: Now) {
        self.nodes.insert(Arc::clone(&path), Entry::new("group".into(), true, strategy, Lifetime::Permanent));
        self.begin(&path, now);
    }

    fn find(&self, path: &str) -> Result<Arc<str>, ControlError> {
        match self.nodes.get_key_value(path) {
            Some((path, _)) => Ok(Arc::clone(path)),
            None => Err(ControlError::Unknown {
                path: path.chars().take(300).collect(),
                near: nearest(path, self.nodes.keys()),
            }),
        }
    }

    fn current(&mut self, path: &Arc<str>, incarnation: u64) -> Option<&mut Entry> {
        self.nodes.get_mut(path).filter(|entry| entry.incarnation == incarnation && !entry.group)
    }

    fn parent(&self, path: &str) -> Option<Arc<str>> {
        let above = match path.rfind('/')? {
            0 if path == ROOT => return None,
            0 => ROOT,
            at => &path[..at],
        };
        self.nodes.get_key_value(above).map(|(path, _)| Arc::clone(path))
    }

    /// All nodes below, in order.
    fn below(&self, path: &str) -> Vec<Arc<str>> {
        let prefix = if path == ROOT { ROOT.to_owned() } else { format!("{path}/") };
        let from = (Bound::Excluded(prefix.as_str()), Bound::Unbounded);
        let under = self.nodes.range::<str, _>(from).take_while(|(p, _)| p.starts_with(&prefix));
        under.map(|(p, _)| Arc::clone(p)).collect()
    }

    /// Makes a transition and tells the watchers. One that does not exist is logged: it is a mistake of this module.
    fn apply(&mut self, path: &Arc<str>, input: Input) -> bool {
        let Some(entry) = self.nodes.get_mut(path) else { return false };
        let before = entry.machine.state();
        match entry.machine.apply(input) {
            Ok(after) => {
                if let Some(until) = after.until() {
                    self.wakes.insert((until, Arc::clone(path)));
                }
                if before != after {
                    self.effects.push(Effect::Changed { path: Arc::clone(path) });
                }
                true
            }
            Err(illegal) => {
                self.illegal = (self.illegal.0 + 1, Some(illegal));
                tracing::error!(actor = %path, %illegal, "a transition that does not exist");
                false
            }
        }
    }

    fn watch_health(&mut self, path: &Arc<str>) {
        let heals_at = self.nodes.get(path).and_then(|entry| entry.history.heals_at(&entry.strategy));
        if let Some(at) = heals_at {
            self.wakes.insert((at, Arc::clone(path)));
        }
    }

    /// Starts a node that is down: as a probe when its breaker is half-open.
    fn begin(&mut self, path: &Arc<str>, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        if self.closing {
            entry.after = After::Nothing;
            return;
        }
        let probe = matches!(entry.history.phase(), Phase::HalfOpen { .. });
        let group = entry.group;
        if !self.apply(path, if probe { Input::Probe } else { Input::Start }) {
            return;
        }
        self.launch(path, now);
        if group {
            self.apply(path, Input::Ready);
            self.watch_health(path);
        }
        for below in self.below(path) {
            let waits = self.nodes.get(&below).is_some_and(|e| e.after == After::WithParent);
            let parent_serves = self.parent(&below).and_then(|p| self.state(&p)).is_some_and(State::is_alive);
            if !waits || !parent_serves {
                continue;
            }
            match self.state(&below) {
                Some(State::Stopped) => self.begin(&below, now),
                Some(State::Stopping { .. }) => self.set_after(&below, After::Start),
                _ => {}
            }
        }
    }

    /// Counts a start and asks for it, for a node that is in a state of starting.
    fn launch(&mut self, path: &Arc<str>, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        entry.after = After::Nothing;
        entry.starts += 1;
        entry.started_at = Some(now.wall);
        if entry.group {
            entry.history.started(now.tick);
            return;
        }
        let again = entry.starts > 1;
        self.incarnations += 1;
        entry.incarnation = self.incarnations;
        if again {
            self.drop_transients(path);
        }
        self.effects.push(Effect::Start { path: Arc::clone(path), incarnation: self.incarnations });
    }

    fn set_after(&mut self, path: &Arc<str>, after: After) {
        if let Some(entry) = self.nodes.get_mut(path) {
            entry.after = after;
        }
    }

    fn gone(&mut self, path: &Arc<str>, now: Now) {
        if self.apply(path, Input::Gone) {
            self.settle(path, now);
        }
    }

    /// A child has stopped: does what was to follow.
    fn settle(&mut self, path: &Arc<str>, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        entry.history.stopped();
        entry.started_at = None;
        match entry.after {
            After::Nothing | After::WithParent => {}
            After::Start => self.begin(path, now),
            After::Remove => self.forget(path),
        }
    }

    fn forget(&mut self, path: &Arc<str>) {
        if self.nodes.remove(path).is_some() {
            self.effects.push(Effect::Removed { path: Arc::clone(path) });
        }
    }

    /// Decides about a failure of a living child, and acts on it.
    fn judge(&mut self, path: &Arc<str>, failure: Failure, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        let decision = decide(&entry.strategy, &mut entry.history, now.tick, &failure, now.random);
        let decision = if self.closing { Decision::DeadLetter } else { decision };
        entry.started_at = None;
        if !self.apply(path, Input::Decided(decision)) {
            return;
        }
        self.drop_transients(path);
        match decision {
            Decision::RestartAt(_) | Decision::OpenUntil(_) | Decision::Quarantine => {}
            Decision::DeadLetter if self.closing => {}
            Decision::DeadLetter => {
                self.effects.push(Effect::DeadLetter { path: Arc::clone(path), failure });
                self.forget(path);
            }
            Decision::Escalate => self.escalate(path, failure, now),
        }
    }

    /// Those whose parent failed go with it.
    fn drop_transients(&mut self, path: &Arc<str>) {
        for below in self.below(path) {
            let Some(entry) = self.nodes.get(&below) else { continue };
            if entry.lifetime == Lifetime::Transient && !entry.group {
                if entry.machine.state().is_alive() {
                    self.effects.push(Effect::Revoke { path: Arc::clone(&below) });
                }
                self.forget(&below);
            }
        }
    }

    /// The node above fails in the place of `path`, which is down.
    fn escalate(&mut self, path: &Arc<str>, failure: Failure, now: Now) {
        self.set_after(path, After::WithParent);
        let Some(parent) = self.parent(path) else {
            self.effects.push(Effect::Fatal { path: Arc::clone(path), failure });
            return;
        };
        let Some(entry) = self.nodes.get_mut(&parent) else { return };
        if !matches!(entry.machine.state(), State::Starting | State::Running | State::HalfOpen) {
            return; // It is down or on its way down, and takes this child along when it is started.
        }
        let message = format!("{path} {}", failure.kind);
        let culprit = failure.culprit;
        let above =
            Failure::new(FailureKind::Escalated, format!("{message}: {}", failure.message), now.wall).culprit(culprit);
        entry.last_failure = Some(above.clone());
        if !entry.group {
            self.effects.push(Effect::Revoke { path: Arc::clone(&parent) });
            self.judge(&parent, above, now);
            return;
        }
        let decision = decide(&entry.strategy, &mut entry.history, now.tick, &above, now.random);
        self.apply(&parent, Input::Decided(decision));
        for below in self.below(&parent) {
            self.take_down(&below, now);
        }
        match decision {
            Decision::RestartAt(_) | Decision::OpenUntil(_) | Decision::Quarantine => {}
            Decision::Escalate | Decision::DeadLetter if &*parent == ROOT => {
                self.effects.push(Effect::Fatal { path: Arc::clone(path), failure });
            }
            Decision::Escalate | Decision::DeadLetter => self.escalate(&parent, above, now),
        }
    }

    /// Stops a child until the node above it is started again. What a person stopped, or what is quarantined, stays so.
    fn take_down(&mut self, path: &Arc<str>, now: Now) {
        match self.state(path) {
            Some(State::Stopped | State::Quarantined) | None => {}
            // A stop that a person asked for, or a removal, is not undone.
            Some(State::Stopping { .. }) => {
                if self.nodes.get(path).is_some_and(|entry| entry.after == After::Start) {
                    self.set_after(path, After::WithParent);
                }
            }
            Some(_) => self.stop_one(path, After::WithParent, self.grace, now),
        }
    }

    /// Stops one node, whatever its state; `after` follows at once when it is down already.
    fn stop_one(&mut self, path: &Arc<str>, after: After, within: Duration, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        let alive = entry.machine.state().is_alive() && !entry.group;
        let asked = matches!(entry.machine.state(), State::Stopping { .. });
        // A removal is not taken back by a later stop.
        if entry.after != After::Remove {
            entry.after = after;
        }
        self.apply(path, Input::Stop(now.tick.plus(within)));
        if alive {
            if !asked {
                self.effects.push(Effect::AskStop { path: Arc::clone(path) });
            }
        } else if matches!(self.state(path), Some(State::Stopping { .. })) {
            self.gone(path, now); // A group has nothing to wait for.
        } else {
            self.settle(path, now);
        }
    }
}

impl Entry {
    fn new(kind: Arc<str>, group: bool, strategy: RestartStrategy, lifetime: Lifetime) -> Self {
        Self {
            kind,
            group,
            strategy,
            lifetime,
            machine: Machine::default(),
            history: History::default(),
            incarnation: 0,
            starts: 0,
            after: After::Nothing,
            last_failure: None,
            started_at: None,
        }
    }
}

fn check_path(path: &str) -> Result<(), ControlError> {
    let names = path.strip_prefix('/').map(|rest| rest.split('/'));
    let good = |mut names: std::str::Split<'_, char>| {
        names.clone().count() <= 8
            && names.all(|n| !n.is_empty() && n.chars().all(|c| !c.is_control() && !c.is_whitespace()))
    };
    if path.len() <= 300 && names.is_some_and(good) {
        Ok(())
    } else {
        Err(ControlError::Path { path: path.chars().take(60).collect() })
    }
}

#[cfg(test)]
mod tests;
