//! Watches the supervision tree: what a person should know becomes an event of `hexafn.alerts`, and a journal that was
//! started anew takes the topics along.

use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

use crate::supervision::supervisor::Watching;
use crate::supervision::{Change, Control, Node, Verb, Watch};
use crate::system::System;

/// Runs until the supervisor ends.
pub async fn run(system: System, mut watching: Watching) {
    let mut journal = incarnation_of(&watching.nodes);
    let mut told: HashMap<Arc<str>, u64> = HashMap::new();
    loop {
        match watching.changes.recv().await {
            Ok(Change::Node(node)) => {
                if &*node.path == "/journal" && node.state == "running" {
                    if journal != 0 && node.incarnation > journal {
                        restart_topics(&system).await;
                    }
                    journal = node.incarnation;
                }
                // Once for each incarnation: a node changes more often than it is given up.
                if node.state == "quarantined"
                    && told.insert(node.path.clone(), node.incarnation) != Some(node.incarnation)
                {
                    let why = node.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(actor = %node.path, %why, "quarantined");
                    system.alert("actor.quarantined", &node.path, &why).await;
                }
            }
            Ok(Change::ThreadReplaced { thread, leaked }) => {
                let message = format!("the thread hung and was replaced; {leaked} so far");
                system.alert("thread.replaced", &thread, &message).await;
            }
            Ok(Change::Fatal { path, failure }) => {
                tracing::error!(actor = %path, %failure, "the supervision tree is exhausted; the process ends");
            }
            Ok(Change::Removed { path }) => drop(told.remove(&path)),
            Ok(Change::DeadLettered { .. }) => {}
            Err(RecvError::Lagged(_)) => {
                let Ok(again) = system.supervisor().send(Watch).await else { return };
                let now = incarnation_of(&again.nodes);
                if now != journal {
                    restart_topics(&system).await;
                }
                journal = now;
                watching = again;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn incarnation_of(nodes: &[Node]) -> u64 {
    nodes.iter().find(|n| &*n.path == "/journal").map_or(0, |n| n.incarnation)
}

/// What topics had sent to the journal that ended is lost with it: cursors in memory are ahead of the disk, outputs are
/// missing. Starting anew from the disk repeats it.
async fn restart_topics(system: &System) {
    tracing::warn!("the journal was restarted; topics start again from what is on disk");
    let control = Control { path: "/topics".to_owned(), verb: Verb::Restart };
    if let Ok(Err(error)) = system.supervisor().send(control).await {
        tracing::error!(%error, "topics could not be restarted");
    }
}
