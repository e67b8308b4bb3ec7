//! How triggers and targets stand, and what a person can change while they run: switches and priorities, which are stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

use super::apply::topic_of_target;
use super::{Error, System, TriggerEntry, read, unknown, write};
use crate::definitions::{On, TargetDefinition, TriggerDefinition};
use crate::event::Str;
use crate::log::{Op, Table};
use crate::supervision::front::Front;
use crate::supervision::{Control, Verb};
use crate::target::forwarder::{ForwarderMessage, TargetStatus, subscription_name};
use crate::topic::{Act, Subscriber};
use crate::trigger;

/// The state of a trigger, for tables.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct TriggerStatus {
    /// Its name.
    pub name: Str,
    /// What it listens to.
    pub on: String,
    /// The condition.
    pub when: Option<String>,
    /// The function; of several one runs for each event.
    pub run: Vec<Str>,
    /// The targets.
    pub to: Vec<Str>,
    /// Its priority.
    pub priority: i32,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Fired since the start.
    pub fired: u64,
    /// Passed over since the start.
    pub skipped: u64,
    /// Failed since the start.
    pub failed: u64,
    /// Where it is defined.
    pub origin: Str,
    /// Its version.
    pub version: String,
}

impl System {
    pub(super) fn switched(&self, kind: &str, name: &str, default: bool) -> Result<bool, Error> {
        let stored = self.0.log.get(Table::State, &switch_key(kind, name))?;
        Ok(stored.map_or(default, |value| value == b"on"))
    }

    /// The triggers, by name.
    pub fn triggers(&self) -> Vec<TriggerStatus> {
        read(&self.0.running).triggers.values().map(trigger_status).collect()
    }

    /// One trigger.
    pub fn trigger(&self, name: &str) -> Result<TriggerStatus, Error> {
        let running = read(&self.0.running);
        running.triggers.get(name).map(trigger_status).ok_or_else(|| unknown("trigger", name, running.triggers.keys()))
    }

    /// Changes the order in which a trigger is served; stored, so that it survives a restart, until its definition
    /// changes.
    pub async fn prioritise(&self, name: &str, priority: i32) -> Result<TriggerStatus, Error> {
        self.trigger(name)?;
        let fingerprint = read(&self.0.running).triggers.get(name).map_or(0, |t| t.definition.fingerprint);
        let mut value = fingerprint.to_be_bytes().to_vec();
        value.extend_from_slice(&priority.to_be_bytes());
        let op = Op::Put { table: Table::State, key: priority_key(name), value };
        self.commit([op].into_iter().collect()).await?;
        let subscription = trigger::subscription_name(name);
        if let Some(known) = self.0.cast.subscribers().iter().find(|s| s.name == subscription) {
            self.0.cast.subscribe(Subscriber { priority, ..(**known).clone() }).await?;
        }
        if let Some(entry) = write(&self.0.running).triggers.get_mut(name) {
            entry.priority = priority;
        }
        self.trigger(name)
    }

    pub(super) fn priority_of(&self, definition: &TriggerDefinition) -> Result<i32, Error> {
        let stored = self.0.log.get(Table::State, &priority_key(&definition.name))?;
        let stored = stored.as_deref().and_then(|v| v.split_first_chunk::<8>());
        Ok(match stored {
            Some((version, rest)) if u64::from_be_bytes(*version) == definition.fingerprint => {
                rest.try_into().map_or(definition.priority, i32::from_be_bytes)
            }
            _ => definition.priority,
        })
    }

    /// Switches a trigger on or off; stored, so that it survives a restart. On also brings back a quarantined one.
    pub async fn switch_trigger(&self, name: &str, on: bool) -> Result<TriggerStatus, Error> {
        self.trigger(name)?;
        self.commit([switch_op("trigger", name, on)].into_iter().collect()).await?;
        if let Some(entry) = read(&self.0.running).triggers.get(name) {
            entry.enabled.store(on, Ordering::Relaxed);
        }
        if on {
            let control = Control { path: format!("/triggers/{name}"), verb: Verb::Reset };
            self.0.supervisor.send(control).await.map_err(|_| Error::Gone("the supervisor ended"))??;
        }
        self.trigger(name)
    }

    /// The targets outside, by name.
    pub async fn targets(&self) -> Vec<TargetStatus> {
        let entries: Vec<(Str, Front<ForwarderMessage>)> =
            read(&self.0.running).targets.iter().map(|(n, t)| (n.clone(), t.front.clone())).collect();
        let mut all = Vec::with_capacity(entries.len());
        for (name, front) in entries {
            if let Some(status) = inspect(&front).await {
                all.push(status);
            } else {
                tracing::debug!(to = %name, "the forwarder is being restarted");
            }
        }
        all
    }

    /// One target outside.
    pub async fn target(&self, name: &str) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        inspect(&front).await.ok_or(Error::Gone("the forwarder is being restarted; try again in a second"))
    }

    pub(super) fn target_front(&self, name: &str) -> Result<Front<ForwarderMessage>, Error> {
        let running = read(&self.0.running);
        running
            .targets
            .get(name)
            .map(|t| t.front.clone())
            .ok_or_else(|| unknown("target", name, running.definitions.targets.keys()))
    }

    /// Switches a target on or off; stored. While off its events are kept.
    pub async fn switch_target(&self, name: &str, on: bool) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        self.commit([switch_op("target", name, on)].into_iter().collect()).await?;
        if let Some(entry) = read(&self.0.running).targets.get(name) {
            entry.enabled.store(on, Ordering::Relaxed);
        }
        front.send(ForwarderMessage::Switch(on)).await.map_err(|_| Error::Gone("the forwarder is being restarted"))?;
        self.target(name).await
    }

    /// Closes a target's breaker and makes what waits due now. One that was off is on from now on, also after a restart.
    pub async fn reset_target(&self, name: &str) -> Result<TargetStatus, Error> {
        self.switch_target(name, true).await?;
        self.0.cast.act(&subscription_name(name), Act::RetryNow).await?;
        self.target(name).await
    }

    /// The topic that holds what a target is given: its outbox, or itself when it is a topic.
    ///
    /// # Errors
    /// There is no such target.
    pub fn topic_of_target(&self, name: &str) -> Result<Str, Error> {
        let running = read(&self.0.running);
        let targets = &running.definitions.targets;
        let target = targets.get(name).ok_or_else(|| unknown("target", name, targets.keys()))?;
        Ok(topic_of_target(target))
    }

    /// How targets are defined, by name.
    pub fn target_definition(&self, name: &str) -> Option<Arc<TargetDefinition>> {
        read(&self.0.running).targets.get(name).map(|t| t.definition.clone())
    }
}

fn priority_key(trigger: &str) -> Vec<u8> {
    format!("priority/trigger/{trigger}").into_bytes()
}

fn switch_key(kind: &str, name: &str) -> Vec<u8> {
    format!("switch/{kind}/{name}").into_bytes()
}

pub(super) fn trigger_status(entry: &TriggerEntry) -> TriggerStatus {
    let definition = &entry.definition;
    TriggerStatus {
        name: definition.name.clone(),
        on: match &definition.on {
            On::Topic(pattern) => pattern.to_string(),
            On::Timer(_) => "timer".to_owned(),
            On::Kv { namespace, prefix } => format!("kv {namespace}/{prefix}*"),
        },
        when: definition.when.as_ref().map(|w| w.text().to_owned()),
        run: definition.run.of.clone(),
        to: definition.to.clone(),
        priority: entry.priority,
        enabled: entry.enabled.load(Ordering::Relaxed),
        fired: entry.counts.fired.load(Ordering::Relaxed),
        skipped: entry.counts.skipped.load(Ordering::Relaxed),
        failed: entry.counts.failed.load(Ordering::Relaxed),
        origin: definition.origin.clone(),
        version: format!("{:016x}", definition.fingerprint),
    }
}

pub(super) fn switch_op(kind: &str, name: &str, on: bool) -> Op {
    Op::Put {
        table: Table::State,
        key: switch_key(kind, name),
        value: if on { b"on".to_vec() } else { b"off".to_vec() },
    }
}

pub(super) async fn inspect(front: &Front<ForwarderMessage>) -> Option<TargetStatus> {
    let (reply, answer) = oneshot::channel();
    front.send(ForwarderMessage::Inspect(reply)).await.ok()?;
    answer.await.ok()
}
