//! What waits, and for what, put together: a topic knows of its subscriptions, a forwarder of its breaker, its rate and what it
//! has taken and not tried yet.

use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

use super::{Error, PATIENCE, System, outbox_of, read};
use crate::event::Str;
use crate::supervision::{Node, Snapshot};
use crate::target::forwarder::waits::Held;
use crate::target::forwarder::{ForwarderMessage, subscription_name};
use crate::topic::subscription::waits::Hold;
use crate::topic::{AGAIN, SHOWN_WAITS, SubscriptionStatus, TopicHandle, TopicStatus, WaitingStatus};

/// What a forwarder waits with, as its node in the tree shows it.
#[derive(serde::Serialize)]
struct Shown<'a> {
    waits: u64,
    /// What the first of them waits for.
    reason: Hold,
    next: Option<&'a str>,
    first: &'a [WaitingStatus],
}

impl System {
    /// The subscriptions on all topics; one on several topics is several rows.
    pub async fn subscriptions(&self) -> Vec<SubscriptionStatus> {
        let mut all: Vec<_> = self.topics().await.into_iter().flat_map(|topic| topic.subscriptions).collect();
        self.complete(&mut all).await;
        all.extend(self.kept_places().await);
        all
    }

    /// The places that are kept of triggers and targets which are not defined any more.
    async fn kept_places(&self) -> Vec<SubscriptionStatus> {
        let cast = self.0.cast.clone();
        let kept = tokio::task::spawn_blocking(move || cast.kept_places()).await;
        let kept = match kept {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tracing::warn!(%error, "places that are kept cannot be read");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        kept.into_iter().map(SubscriptionStatus::kept).collect()
    }

    /// How the topics stand, but for those that do not answer.
    pub async fn topics(&self) -> Vec<TopicStatus> {
        let all = self.0.cast.all();
        join_all(all.iter().map(|topic| self.topic(topic))).await.into_iter().flatten().collect()
    }

    /// How a topic stands; `None` where it is being restarted or does not answer.
    pub async fn topic(&self, topic: &TopicHandle) -> Option<TopicStatus> {
        tokio::time::timeout(PATIENCE, self.0.cast.status(topic)).await.ok().flatten()
    }

    /// The supervision tree. What the deliveries of a forwarder wait for is with its node.
    ///
    /// # Errors
    /// The supervisor has ended.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let nodes = self.0.supervisor.send(Snapshot).await.map_err(|_| Error::Gone("the supervisor ended"))?;
        Ok(self.with_waits(nodes).await)
    }

    /// Nodes of the tree, with what the deliveries of forwarders wait for: of one that does not answer, what its topic knows.
    pub async fn with_waits(&self, nodes: Vec<Node>) -> Vec<Node> {
        let completed = nodes.into_iter().map(async |mut node| {
            if let Some(target) = node.path.strip_prefix("/forwarders/") {
                node.observed = tokio::time::timeout(2 * PATIENCE, self.waits_of(target)).await.ok().flatten();
            }
            node
        });
        join_all(completed).await
    }

    async fn waits_of(&self, target: &str) -> Option<serde_json::Value> {
        let subscription = subscription_name(target);
        let mut rows = Vec::new();
        for name in [outbox_of(target), format!("{AGAIN}{subscription}").into()] {
            let Some(topic) = self.0.cast.get(&name) else { continue };
            rows.extend(self.topic(&topic).await.into_iter().flat_map(|t| t.subscriptions));
        }
        rows.retain(|row| row.name == subscription);
        self.complete(&mut rows).await;
        let waits = rows.iter().map(|row| row.waits).sum();
        let mut first: Vec<WaitingStatus> = rows.into_iter().flat_map(|row| row.next_attempts).collect();
        first.truncate(SHOWN_WAITS);
        let (reason, next) = first.first().map(|one| (one.reason, one.due.as_deref()))?;
        serde_json::to_value(Shown { waits, reason, next, first: &first }).ok()
    }

    /// Adds what forwarders say to what topics say of their subscriptions.
    async fn complete(&self, rows: &mut [SubscriptionStatus]) {
        let targets: BTreeSet<Str> = rows.iter().filter_map(|row| target_of(row).map(Str::from)).collect();
        let asked = join_all(targets.iter().map(|target| self.held_by(target))).await;
        let held: BTreeMap<Str, Held> =
            targets.into_iter().zip(asked).filter_map(|(target, held)| Some((target, held?))).collect();
        for row in rows {
            if let Some((target, held)) = target_of(row).and_then(|target| Some((target, held.get(target)?))) {
                let why = matches!(held.stopped, Some((Hold::Disabled, _))).then(|| self.off_switch(target)).flatten();
                merge(row, held, why.and_then(|switch| switch.why));
            }
        }
    }

    async fn held_by(&self, target: &str) -> Option<Held> {
        let front = read(&self.0.running).targets.get(target).map(|entry| entry.front.clone())?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            front.send(ForwarderMessage::Waits(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
    }
}

/// The target whose forwarder a subscription feeds.
fn target_of(row: &SubscriptionStatus) -> Option<&str> {
    row.name.strip_prefix("target.")
}

fn merge(row: &mut SubscriptionStatus, held: &Held, why: Option<Str>) {
    let stopped = held.stopped.filter(|_| !row.paused);
    for one in &mut row.next_attempts {
        let Some((hold, until)) = stopped else { break };
        // One whose own time comes later waits for that.
        let later = one.next.is_some_and(|next| until.is_some_and(|until| next >= until));
        let order = matches!(one.reason, Hold::KeyOrder | Hold::StrictOrder);
        if later || order || (hold == Hold::Probe && one.next.is_some()) {
            continue;
        }
        *one = one.clone().held(hold, until);
        // An answer that disabled the target is no attempt of the event, and so not among its failures.
        one.cause = one.cause.take().or_else(|| why.clone());
    }
    let here = |topic: &Str| *topic == row.topic;
    row.waits += held.counts.iter().filter(|(topic, _)| here(topic)).map(|(_, count)| count).sum::<u64>();
    let more: Vec<_> = held.first.iter().filter(|(topic, _)| here(topic)).map(|(_, one)| one.clone()).collect();
    row.next_attempts.extend(more);
    row.next_attempts.sort_by_key(|one| one.seq);
    row.next_attempts.truncate(SHOWN_WAITS);
}
