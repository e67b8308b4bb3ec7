//! The supervised actors of hexaFn: supervision, the log and its topics, sources, triggers, functions and targets.
//!
//! Each actor is a thin shell over plain state that is tested without an actor system. Actors hold each other's
//! [`Front`](supervision::front::Front), never an address, since a restarted actor has a new one.

pub mod alerts;
pub mod broker;
pub mod clock;
pub mod definitions;
pub mod event;
pub mod function;
pub mod journal_metrics;
pub mod log;
pub mod metrics;
pub mod names;
pub mod reply;
pub mod runtime;
pub mod source;
pub mod supervision;
pub mod system;
pub mod target;
pub mod topic;
pub mod trace;
pub mod trigger;

/// A named place at which a test makes the process die, stall or panic; nothing without the feature `failpoints`.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::fail::fail_point!($name)
    };
}

#[doc(hidden)]
pub use fail;
