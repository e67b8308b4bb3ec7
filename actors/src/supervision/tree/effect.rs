//! What goes into the tree besides events, and what comes out of it.

use std::sync::Arc;

use crate::clock::{Tick, Wall};

use super::super::failure::Failure;

/// What the supervisor has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Call the start function.
    Start {
        /// Of this child.
        path: Arc<str>,
        /// For this incarnation.
        incarnation: u64,
    },
    /// Send it a `Stop`.
    AskStop {
        /// Which child.
        path: Arc<str>,
    },
    /// It is replaced or given up: close its fronts, end it at its next message.
    Revoke {
        /// Which child.
        path: Arc<str>,
    },
    /// Tell the watchers.
    Changed {
        /// Which node.
        path: Arc<str>,
    },
    /// It is no longer in the tree.
    Removed {
        /// Which node.
        path: Arc<str>,
    },
    /// It was given up; [`Effect::Removed`] follows.
    DeadLetter {
        /// Which child.
        path: Arc<str>,
        /// Why.
        failure: Failure,
    },
    /// The root is exhausted.
    Fatal {
        /// Whose failure it was.
        path: Arc<str>,
        /// The failure.
        failure: Failure,
    },
}

/// The time of an event, on both clocks, and a random number for the jitter: what pure state needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub tick: Tick,
    /// For people.
    pub wall: Wall,
    /// 0..1.
    pub random: f64,
}

impl Now {
    /// The present, with a fresh random number.
    pub fn read() -> Self {
        Self { tick: Tick::now(), wall: Wall::now(), random: rand::random() }
    }
}
