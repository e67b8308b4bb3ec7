//! What people ask of the tree: the four verbs, removal, and the shutdown.

use std::sync::Arc;
use std::time::Duration;

use super::super::machine::{Input, State};
use super::super::node::{ControlError, Verb};
use super::{After, Now, Tree};

impl Tree {
    /// Carries out what a person asks.
    ///
    /// # Errors
    /// No such node, or its state does not allow it.
    pub fn control(&mut self, path: &str, verb: Verb, now: Now) -> Result<Arc<str>, ControlError> {
        let path = self.find(path)?;
        if self.closing && verb != Verb::Stop {
            return Err(ControlError::ShuttingDown);
        }
        let group = self.nodes.get(&path).is_some_and(|entry| entry.group);
        if !group {
            self.control_one(&path, verb, now)?;
            return Ok(path);
        }
        self.control_group(&path, verb, now);
        for below in self.below(&path) {
            // What a child of a group cannot take is left as it is: quarantined ones stay so when the group is restarted,
            // and those that a person stopped stay stopped.
            if verb == Verb::Restart && self.state(&below) == Some(State::Stopped) {
                continue;
            }
            self.control_one(&below, verb, now).ok();
        }
        Ok(path)
    }

    /// Removes a node and all below it, each after it has stopped.
    ///
    /// # Errors
    /// No such node.
    pub fn remove(&mut self, path: &str, now: Now) -> Result<Arc<str>, ControlError> {
        let path = self.find(path)?;
        for below in self.below(&path) {
            self.stop_one(&below, After::Remove, self.grace, now);
        }
        self.stop_one(&path, After::Remove, self.grace, now);
        Ok(path)
    }

    /// From now on nothing is started or restarted.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Asks everything at and below `path` to stop within `deadline`. Returns the paths that are still alive.
    pub fn drain(&mut self, path: &str, deadline: Duration, now: Now) -> Vec<Arc<str>> {
        let at = self.nodes.get_key_value(path).map(|(path, _)| Arc::clone(path));
        let all: Vec<_> = at.into_iter().chain(self.below(path)).collect();
        for path in &all {
            self.stop_one(path, After::Nothing, deadline, now);
        }
        self.alive(path)
    }

    /// The children at and below `path` that exist or are about to.
    pub fn alive(&self, path: &str) -> Vec<Arc<str>> {
        let at = self.nodes.get_key_value(path).map(|(path, _)| Arc::clone(path));
        let is_alive = |p: &Arc<str>| self.nodes.get(p).is_some_and(|e| !e.group && e.machine.state().is_alive());
        at.into_iter().chain(self.below(path)).filter(is_alive).collect()
    }

    fn control_group(&mut self, path: &Arc<str>, verb: Verb, now: Now) {
        let Some(entry) = self.nodes.get_mut(path) else { return };
        match verb {
            Verb::Stop => self.stop_one(path, After::Nothing, self.grace, now),
            Verb::Restart | Verb::Start | Verb::Reset => {
                if verb == Verb::Reset {
                    entry.history.reset();
                }
                if !entry.machine.state().is_alive() {
                    self.apply(path, Input::Reset);
                    self.apply(path, Input::Ready);
                    self.launch(path, now);
                }
            }
        }
    }

    fn control_one(&mut self, path: &Arc<str>, verb: Verb, now: Now) -> Result<(), ControlError> {
        let Some(entry) = self.nodes.get_mut(path) else { return Ok(()) };
        let state = entry.machine.state();
        if entry.group {
            self.control_group(path, verb, now);
            return Ok(());
        }
        let refused = |advice| Err(ControlError::Refused { path: Arc::clone(path), state, verb, advice });
        match (verb, state) {
            (Verb::Stop, _) => self.stop_one(path, After::Nothing, self.grace, now),
            (Verb::Restart, State::Starting | State::Running | State::HalfOpen) => {
                self.stop_one(path, After::Start, self.grace, now);
            }
            (Verb::Start | Verb::Restart, State::Stopped | State::BackingOff { .. }) => self.begin(path, now),
            (Verb::Start | Verb::Restart, State::Quarantined | State::Open { .. }) => {
                return refused("use `reset`, which forgets its failures and starts it");
            }
            (Verb::Start, State::Starting | State::Running | State::HalfOpen) => {
                return refused("it runs already; use `restart` for a fresh one");
            }
            (_, State::Stopping { .. }) => {
                if verb == Verb::Reset {
                    entry.history.reset();
                }
                if entry.after != After::Remove {
                    entry.after = After::Start;
                }
            }
            (Verb::Reset, State::Starting | State::Running | State::HalfOpen) => {
                entry.history.reset();
                entry.history.started(now.tick);
                if state == State::HalfOpen {
                    self.apply(path, Input::Healed);
                }
            }
            (Verb::Reset, _) => {
                entry.history.reset();
                self.apply(path, Input::Reset);
                self.launch(path, now);
            }
        }
        Ok(())
    }
}
