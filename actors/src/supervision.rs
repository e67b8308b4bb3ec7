//! Supervision: the only failure policy of hexaFn.
//!
//! Timeout, retry, circuit breaker, quarantine and dead letter are fields of one [`RestartStrategy`], and one pure
//! function, [`decide`], reads it for actors, deliveries and breakers alike. actix's own `Supervisor` restarts at once,
//! has no policy and dies of a panic, so the [`Supervisor`] here is an actor of ours on a thread of its own.
//!
//! | module | owns |
//! |---|---|
//! | [`strategy`] | what to do about failures: the configuration and its defaults |
//! | [`failure`] | how something failed, like the exit reasons of a Unix process |
//! | [`decision`] | the pure decision and the history that it reads |
//! | [`machine`] | the states of a child and the transitions that exist |
//! | [`breaker`] | the circuit breaker of a target, on the same decision |
//! | [`front`] | what others hold instead of an address |
//! | [`lifeline`] | what an actor holds: its tie to the supervisor |
//! | [`running`] | which actor runs on a thread, for its log lines |
//! | [`arbiters`] | the threads, replaceable when one hangs |
//! | [`tree`] | the whole tree as plain state, tested without actors |
//! | [`node`] | what is shown of a child, and the errors of the controls |
//! | [`supervisor`] | the actor: executes what the tree says |
//! | [`panics`] | the process-wide panic hook |
//!
//! Invariant: plain state here never reads a clock or a random number; both are arguments.

pub mod arbiters;
pub mod breaker;
pub mod decision;
pub mod duration;
pub mod failure;
pub mod front;
pub mod lifeline;
pub mod machine;
pub mod node;
pub mod panics;
pub mod running;
pub mod strategy;
pub mod supervisor;
pub mod tree;

pub use arbiters::{ArbiterPool, Place};
pub use breaker::{Breaker, Permit};
pub use decision::{Decision, History, decide};
pub use duration::Span;
pub use failure::{Failure, FailureKind};
pub use front::{Front, Lent, SendError};
pub use lifeline::{Busy, Lifeline, StartError, Started, Stop};
pub use machine::State;
pub use node::{Change, ControlError, Node, Verb, suggestion};
pub use strategy::{Backoff, Intensity, OnExhausted, Opening, RawStrategy, RestartStrategy};
pub use supervisor::{
    ChildSpec, Control, DrainStep, Drained, Group, HANG_AFTER, Remove, Settings, Shutdown, Snapshot, Spawn, Supervisor,
    Watch, Watching,
};
pub use tree::{Lifetime, Tree};
