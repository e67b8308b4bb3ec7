//! One attempt by hand: what a target answers, without the queue, the breaker and the schedule.

use serde::Serialize;
use std::sync::Arc;

use super::{Error, System, read, unknown};
use crate::clock::Wall;
use crate::definitions::TargetKind;
use crate::event::{Event, Str};
use crate::log::{Record, TopicId};
use crate::system::apply::topic_of_target;
use crate::target::forwarder::ForwarderMessage;
use crate::target::log::{Attempted, Seen};
use crate::target::{Delivery, Mode, Outcome, Preview, attempt, attempt_batch};

/// What came of an attempt by hand.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Probed {
    /// The target.
    pub target: Str,
    /// Whether the other side has it.
    pub delivered: bool,
    /// The class of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// What happened, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Str>,
    /// What was sent; `None` when the event cannot be sent at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Preview>,
    /// What was seen on the way.
    #[serde(flatten)]
    pub seen: Seen,
}

impl System {
    /// Makes one attempt with an event, at once. It is in no queue: the breaker, the rate, the schedule and the counts of
    /// the target do not know of it.
    ///
    /// # Errors
    /// There is no such target, or it is a topic.
    pub async fn probe_target(&self, name: &str, event: Event) -> Result<Probed, Error> {
        let definition = {
            let running = read(&self.0.running);
            let known = running.definitions.targets.get(name).cloned();
            known.ok_or_else(|| unknown("target", name, running.definitions.targets.keys()))?
        };
        let TargetKind::Outside(target) = &definition.kind else {
            return Err(Error::NoAttempts(definition.name.clone()));
        };
        let now = Wall::now();
        let event = definition.redact.as_ref().map_or_else(|| event.clone(), |redactor| redactor.redact(&event));
        let record = Arc::new(Record::new(topic_of_target(&definition), TopicId(0), 0, now, event));
        let delivery = Delivery { record: &record, attempt: 1, now };
        let request = target.preview(delivery).ok();
        let outcome = match target.mode() {
            Mode::Each { .. } => attempt(&**target, delivery).await,
            Mode::Batch { .. } => {
                let outcomes = attempt_batch(&**target, std::slice::from_ref(&record), now).await;
                outcomes.into_iter().next().ok_or(Error::Gone("the target gave no outcome"))?
            }
        };
        let veil = definition.veil.as_deref();
        let outcome = match (outcome, veil) {
            (Outcome::Failed(failure), Some(veil)) => Outcome::Failed(veil.failure(failure)),
            (outcome, _) => outcome,
        };
        let failure = match &outcome {
            Outcome::Delivered { .. } => None,
            Outcome::Failed(failure) => Some(failure),
        };
        Ok(Probed {
            target: definition.name.clone(),
            delivered: failure.is_none(),
            class: failure.map(|failure| failure.class.name()),
            message: failure.map(|failure| failure.message.clone()),
            request,
            seen: Seen::through(veil, outcome.detail()),
        })
    }

    /// The newest attempts of a target, the last first. They are in memory: a restart of the forwarder begins a new log.
    ///
    /// # Errors
    /// There is no such target, or it is being restarted.
    pub async fn target_log(&self, name: &str) -> Result<Vec<Attempted>, Error> {
        let front = self.target_front(name)?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let gone = || Error::Gone("the forwarder is being restarted; try again in a second");
        front.send(ForwarderMessage::Log(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}
