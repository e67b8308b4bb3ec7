//! The threads that actors run on. A slot keeps its name and its children while the thread behind it is replaced.
//!
//! A thread that hangs cannot be killed. Its slot gets a fresh one; the old one is told to end as soon as it can, is
//! counted as leaked, and what it still does has no effect, since its actors were revoked.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::Arbiter;

use super::panics;

/// Where a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// On a thread of the pool, shared; any number, taken modulo the size of the pool. The same number, the same thread:
    /// messages between the two do not cross threads.
    Slot(usize),
    /// On a thread of its own, for what blocks: the journal.
    Own,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SlotKey {
    /// Of the pool.
    Shared(usize),
    /// Of the child with this path.
    Own(Arc<str>),
}

struct Slot {
    name: Arc<str>,
    arbiter: Arbiter,
    /// How many pings were answered; written by the thread.
    answered: Arc<AtomicU64>,
    asked: u64,
    /// For how long the oldest ping has had no answer.
    silent: Duration,
}

/// See the module.
pub struct ArbiterPool {
    size: usize,
    prefix: Arc<str>,
    slots: HashMap<SlotKey, Slot>,
    leaked: u64,
}

impl ArbiterPool {
    /// A pool of `size` threads (at least one), named `{prefix}-0` and so on, started when they are first needed.
    pub fn new(prefix: &str, size: usize) -> Self {
        Self { size: size.max(1), prefix: prefix.into(), slots: HashMap::new(), leaked: 0 }
    }

    /// The slot of a child.
    pub fn key(&self, place: Place, path: &Arc<str>) -> SlotKey {
        match place {
            Place::Slot(number) => SlotKey::Shared(number % self.size),
            Place::Own => SlotKey::Own(Arc::clone(path)),
        }
    }

    /// The name that is shown: `pipeline-0`, or the path of the child that owns it.
    pub fn name(&self, key: &SlotKey) -> Arc<str> {
        match key {
            SlotKey::Shared(number) => format!("{}-{number}", self.prefix).into(),
            SlotKey::Own(path) => Arc::clone(path),
        }
    }

    /// Threads that hung and were left behind.
    pub fn leaked(&self) -> u64 {
        self.leaked
    }

    /// Runs `work` on the thread of a slot, which is started if there is none, or if it has ended.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn run(&mut self, key: &SlotKey, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.slots.get(key).is_none_or(|slot| !slot.arbiter.alive()) {
            let fresh = Slot::start(self.name(key))?;
            self.slots.insert(key.clone(), fresh);
        }
        let taken = self.slots.get(key).is_some_and(|slot| slot.arbiter.spawn_fn(work));
        if taken { Ok(()) } else { Err(io::Error::other("the thread ended while it was given work")) }
    }

    /// Leaves the thread of a slot behind; the next [`run`](Self::run) starts a fresh one.
    pub fn abandon(&mut self, key: &SlotKey) {
        if let Some(slot) = self.slots.remove(key) {
            slot.arbiter.stop();
            self.leaked += 1;
        }
    }

    /// Ends the thread of a child that is gone.
    pub fn release(&mut self, key: &SlotKey) {
        if matches!(key, SlotKey::Own(_))
            && let Some(slot) = self.slots.remove(key)
        {
            slot.arbiter.stop();
        }
    }

    /// Asks every thread for a sign of life, and returns those that have given none, and for how long. `elapsed` is the
    /// time since the last call, already cut to what the caller itself can have missed.
    pub fn ping(&mut self, elapsed: Duration) -> Vec<(SlotKey, Duration)> {
        let mut silent = Vec::new();
        for (key, slot) in &mut self.slots {
            if slot.answered.load(Ordering::Relaxed) >= slot.asked {
                slot.silent = Duration::ZERO;
                slot.asked += 1;
                let answered = Arc::clone(&slot.answered);
                slot.arbiter.spawn_fn(move || {
                    answered.fetch_add(1, Ordering::Relaxed);
                });
                continue;
            }
            slot.silent = slot.silent.saturating_add(elapsed);
            silent.push((key.clone(), slot.silent));
        }
        silent
    }

    /// Ends all threads as soon as they can.
    pub fn stop(&mut self) {
        for (_, slot) in self.slots.drain() {
            slot.arbiter.stop();
        }
    }
}

impl Drop for ArbiterPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Slot {
    fn start(name: Arc<str>) -> io::Result<Self> {
        let arbiter = Arbiter::try_new()?;
        let shown = Arc::clone(&name);
        arbiter.spawn_fn(move || {
            panics::supervise_this_thread();
            name_this_thread(&shown);
        });
        Ok(Self { name, arbiter, answered: Arc::default(), asked: 0, silent: Duration::ZERO })
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("name", &self.name).field("silent", &self.silent).finish_non_exhaustive()
    }
}

/// actix names its threads by number; `ps -L` and perf are to show ours. Linux keeps 15 bytes, so the end is kept.
fn name_this_thread(name: &str) {
    let start = name.len().saturating_sub(15);
    let start = (start..name.len()).find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    // Only a name: where there is no /proc, nothing depends on it.
    std::fs::write("/proc/thread-self/comm", &name[start..]).ok();
}
