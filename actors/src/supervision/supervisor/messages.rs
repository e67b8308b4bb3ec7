//! What people and the rest of the program ask of the supervisor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Handler, Message, MessageResult, ResponseFuture};
use tokio::sync::{broadcast, oneshot};

use super::super::arbiters::Place;
use super::super::node::{Change, ControlError, Node, Verb};
use super::super::strategy::RestartStrategy;
use super::super::tree::Now;
use super::{Child, ChildSpec, Drain, Supervisor};

/// Adds a child and starts it. The answer comes before it is ready.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), ControlError>")]
pub struct Spawn(pub ChildSpec);

impl Handler<Spawn> for Supervisor {
    type Result = Result<(), ControlError>;

    fn handle(&mut self, Spawn(spec): Spawn, ctx: &mut Self::Context) -> Self::Result {
        let path = self.tree.add(&spec.path, spec.kind, spec.strategy, spec.lifetime, Now::read())?;
        let place = if spec.hang_after.is_none() { Place::Own } else { spec.place };
        let child = Child {
            slot: self.pool.key(place, &path),
            start: spec.start,
            hang_after: spec.hang_after,
            incarnation: 0,
            shared: None,
            stop: None,
            stop_asked: false,
            capacity: 0,
            seen_turns: 0,
            busy: Duration::ZERO,
        };
        self.children.insert(path, child);
        self.pump(ctx);
        Ok(())
    }
}

/// Sets the strategy of a group, e.g. `/triggers`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), ControlError>")]
pub struct Group {
    /// Its path.
    pub path: String,
    /// Read when a child of it escalates.
    pub strategy: RestartStrategy,
}

impl Handler<Group> for Supervisor {
    type Result = Result<(), ControlError>;

    fn handle(&mut self, group: Group, ctx: &mut Self::Context) -> Self::Result {
        self.tree.group(&group.path, group.strategy, Now::read())?;
        self.pump(ctx);
        Ok(())
    }
}

/// Removes a node and all below it. The answer comes when they have ended, or their grace has.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), ControlError>")]
pub struct Remove(pub String);

impl Handler<Remove> for Supervisor {
    type Result = ResponseFuture<Result<(), ControlError>>;

    fn handle(&mut self, Remove(path): Remove, ctx: &mut Self::Context) -> Self::Result {
        let removed = self.tree.remove(&path, Now::read()).map(|path| {
            let (done, wait) = oneshot::channel();
            self.removals.entry(path).or_default().push(done);
            wait
        });
        self.pump(ctx);
        Box::pin(async move {
            // An error of the wait means that the supervisor is gone, and with it the child.
            removed?.await.ok();
            Ok(())
        })
    }
}

/// Carries out what a person asks. The answer is the node as it is then; what follows is seen by [`Watch`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Node, ControlError>")]
pub struct Control {
    /// Which node.
    pub path: String,
    /// What.
    pub verb: Verb,
}

impl Handler<Control> for Supervisor {
    type Result = Result<Node, ControlError>;

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) -> Self::Result {
        let done = self.tree.control(&control.path, control.verb, Now::read());
        self.pump(ctx);
        let path = done?;
        self.node(&path, Now::read(), true).ok_or(ControlError::Unknown { path: control.path, near: Vec::new() })
    }
}

/// The whole tree, in the order of the paths.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Node>")]
pub struct Snapshot;

impl Handler<Snapshot> for Supervisor {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.nodes())
    }
}

/// The whole tree, and from there on each change without a gap.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Watching")]
pub struct Watch;

/// The answer to [`Watch`].
#[derive(Debug)]
pub struct Watching {
    /// The tree when the watch began.
    pub nodes: Vec<Node>,
    /// What has changed since. A watcher that is 1,024 changes behind gets `Lagged`, and watches anew.
    pub changes: broadcast::Receiver<Change>,
}

impl Handler<Watch> for Supervisor {
    type Result = MessageResult<Watch>;

    fn handle(&mut self, _: Watch, _: &mut Self::Context) -> Self::Result {
        MessageResult(Watching { nodes: self.nodes(), changes: self.changes.subscribe() })
    }
}

/// Stops everything, step by step: sources first, the journal last. What no step names is stopped at the end.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Drained")]
pub struct Shutdown {
    /// In this order.
    pub order: Vec<DrainStep>,
    /// For what is left.
    pub rest: Duration,
}

/// One step of a [`Shutdown`]; the next one begins when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainStep {
    /// A node; all at and below it are stopped together. Unknown ones are skipped.
    pub path: String,
    /// How long they may take.
    pub deadline: Duration,
}

/// The answer to [`Shutdown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Children that did not stop in time.
    pub forced: Vec<Arc<str>>,
}

impl Handler<Shutdown> for Supervisor {
    type Result = ResponseFuture<Drained>;

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (reply, wait) = oneshot::channel();
        self.tree.close();
        match &mut self.drain {
            Some(drain) => drain.replies.push(reply),
            None => {
                let mut steps: VecDeque<_> = shutdown.order.into();
                steps.push_back(DrainStep { path: "/".to_owned(), deadline: shutdown.rest });
                self.drain = Some(Drain { steps, current: None, forced: Vec::new(), replies: vec![reply] });
            }
        }
        self.pump(ctx);
        Box::pin(async move { wait.await.unwrap_or(Drained { forced: Vec::new() }) })
    }
}
