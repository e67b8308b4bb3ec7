//! What a child is, and how a supervisor is set up.

use std::sync::Arc;
use std::time::Duration;

use super::super::arbiters::Place;
use super::super::failure::Failure;
use super::super::lifeline::{Lifeline, StartError, StartFn, Started};
use super::super::strategy::RestartStrategy;
use super::super::tree::Lifetime;

/// What a child is and how it is started.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) path: String,
    pub(super) kind: &'static str,
    pub(super) strategy: RestartStrategy,
    pub(super) lifetime: Lifetime,
    pub(super) place: Place,
    pub(super) hang_after: Option<Duration>,
    pub(super) start: StartFn,
}

impl ChildSpec {
    /// A permanent child with the strategy of actors, on thread 0 of the pool, watched for hanging. `start` is called on
    /// the chosen thread for each incarnation: it starts the actor with the lifeline inside, and returns its handles.
    pub fn new(
        path: impl Into<String>,
        kind: &'static str,
        start: impl Fn(Lifeline) -> Result<Started, StartError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            path: path.into(),
            kind,
            strategy: RestartStrategy::actor(),
            lifetime: Lifetime::Permanent,
            place: Place::Slot(0),
            hang_after: Some(HANG_AFTER),
            start: Arc::new(start),
        }
    }

    /// Another strategy.
    #[must_use]
    pub fn strategy(mut self, strategy: RestartStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Another thread.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// It ends when its work is done.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.lifetime = Lifetime::Transient;
        self
    }

    /// How long one handler may block before its thread is replaced. `None`: as long as it takes, for an actor that must
    /// not exist twice, such as the journal during a slow sync; it gets a thread of its own, so that it is no one's victim.
    #[must_use]
    pub fn hang_after(mut self, limit: Option<Duration>) -> Self {
        self.hang_after = limit;
        self
    }
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec").field("path", &self.path).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A handler that runs longer hangs, unless its actor says otherwise.
pub const HANG_AFTER: Duration = Duration::from_secs(5);

pub(super) type OnFatal = Box<dyn FnOnce(Arc<str>, Failure) + Send>;

/// How a supervisor is set up.
pub struct Settings {
    /// Threads of the pool.
    pub threads: usize,
    /// Their name: `{name}-0` …
    pub name: String,
    /// How often the watchdog looks.
    pub tick: Duration,
    /// How long a thread may give no sign of life while none of its handlers is known to run.
    pub hang_after: Duration,
    /// How long a child may take to stop.
    pub grace: Duration,
    /// The strategy of groups.
    pub group: RestartStrategy,
    /// The strategy of the root.
    pub root: RestartStrategy,
    /// Called once, on the supervisor's thread, when the root is exhausted: drain and exit 70.
    pub on_fatal: OnFatal,
}

impl Settings {
    /// The defaults, with a thread for each core.
    pub fn new(on_fatal: impl FnOnce(Arc<str>, Failure) + Send + 'static) -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            name: "pipeline".to_owned(),
            tick: Duration::from_secs(1),
            hang_after: HANG_AFTER,
            grace: Duration::from_secs(5),
            group: RestartStrategy::parent(),
            root: RestartStrategy::root(),
            on_fatal: Box::new(on_fatal),
        }
    }
}
