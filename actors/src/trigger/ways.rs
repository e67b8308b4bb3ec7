//! Which ways results took: how often each function of a trigger ran, and what went on from it to each target and topic. For
//! the picture of the flow; the actor counts, anybody reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::run::{End, Ran, Runner};
use crate::event::Str;

/// Topics of one trigger that are told apart: a program may emit to any number of them.
const MAX_EMITTED: usize = 100;

/// The counts of one trigger since it was put in place.
#[derive(Debug, Default)]
pub struct Ways {
    functions: Vec<Str>,
    targets: Vec<Str>,
    /// By function.
    runs: Vec<AtomicU64>,
    /// By target, for each function in turn, and last for results that none made.
    sent: Vec<AtomicU64>,
    /// By function and topic.
    emitted: Mutex<BTreeMap<(usize, Str), u64>>,
}

impl Ways {
    /// Those of a runner.
    pub fn of(runner: &Runner) -> Self {
        let mut functions: Vec<Str> = Vec::new();
        for function in runner.chains.iter().flatten() {
            if !functions.contains(&function.definition.name) {
                functions.push(function.definition.name.clone());
            }
        }
        let targets: Vec<Str> = runner.outputs.iter().map(|output| output.target.clone()).collect();
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            runs: zeros(functions.len()),
            sent: zeros((functions.len() + 1) * targets.len()),
            emitted: Mutex::default(),
            functions,
            targets,
        }
    }

    /// Counts what a run came to.
    pub fn count(&self, ran: &Ran) {
        let mut last = self.functions.len();
        for execution in &ran.executions {
            if let Some(at) = self.functions.iter().position(|name| *name == execution.function) {
                last = at;
                self.runs.get(at).inspect(|count| add(count));
            }
        }
        let End::Fired { to, emitted, .. } = &ran.end else { return };
        for target in to {
            self.sent.get(last * self.targets.len() + target).inspect(|count| add(count));
        }
        if emitted.is_empty() {
            return;
        }
        let mut counts = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        for emission in emitted {
            let key = (last, emission.topic.clone());
            if counts.len() < MAX_EMITTED || counts.contains_key(&key) {
                *counts.entry(key).or_default() += 1;
            }
        }
    }

    /// How often each function ran.
    pub fn runs(&self) -> impl Iterator<Item = (&Str, u64)> {
        self.functions.iter().zip(self.runs.iter().map(read))
    }

    /// What each function (`None`: the trigger itself) gave to each target.
    pub fn sent(&self) -> impl Iterator<Item = (Option<&Str>, &Str, u64)> {
        self.sent.iter().enumerate().filter_map(|(at, count)| {
            let (function, target) = (at / self.targets.len(), at % self.targets.len());
            Some((self.functions.get(function), self.targets.get(target)?, read(count)))
        })
    }

    /// What each function emitted to each topic.
    pub fn emitted(&self) -> Vec<(Str, Str, u64)> {
        let counts = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |((at, topic), count): (&(usize, Str), &u64)| {
            Some((self.functions.get(*at)?.clone(), topic.clone(), *count))
        };
        counts.iter().filter_map(of).collect()
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
