//! How triggers and targets stand, and what a person can change while they run: switches and priorities, which are stored.

use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

use super::apply::topic_of_target;
use super::{Error, PATIENCE, System, TriggerEntry, outbox_of, read, unknown, write};
use crate::clock::Wall;
use crate::definitions::{Definitions, On, TargetDefinition, TargetKind, TriggerDefinition};
use crate::event::Str;
use crate::log::{Op, Table};
use crate::supervision::front::Front;
use crate::supervision::{Control, Node, Snapshot, Verb};
use crate::target::forwarder::{Defined, ForwarderMessage, TargetStatus, subscription_name};
use crate::topic::{AGAIN, Act, Subscriber};
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
    /// How its actor is: `running`, or `quarantined`, when its events wait until somebody switches it on.
    pub state: &'static str,
    /// Why it is not running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Str>,
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
        Ok(self.switch(kind, name)?.map_or(default, |switch| switch.on))
    }

    fn switch(&self, kind: &str, name: &str) -> Result<Option<Switch>, Error> {
        let stored = self.0.log.get(Table::State, &switch_key(kind, name))?;
        Ok(stored.as_deref().map(Switch::decode))
    }

    /// How a target was switched off, where it is.
    pub(super) fn off_switch(&self, target: &str) -> Option<Switch> {
        let switch = self.switch("target", target).unwrap_or_else(|error| {
            tracing::warn!(to = target, %error, "why the target is disabled cannot be read");
            None
        });
        switch.filter(|switch| !switch.on)
    }

    /// The targets of a set of definitions that are disabled, and what can be done about it.
    pub(super) fn disabled(&self, definitions: &Definitions) -> Vec<String> {
        let outside = definitions.targets.values().filter(|target| matches!(target.kind, TargetKind::Outside(_)));
        let off = outside.filter_map(|target| Some((&target.name, self.off_switch(&target.name)?)));
        off.map(|(name, switch)| {
            format!("target `{name}` is disabled{}; `hexafn target enable {name}` ends it", switch.told())
        })
        .collect()
    }

    /// The triggers, by name.
    ///
    /// # Errors
    /// The supervisor has ended.
    pub async fn triggers(&self) -> Result<Vec<TriggerStatus>, Error> {
        let nodes = self.0.supervisor.send(Snapshot).await.map_err(|_| Error::Gone("the supervisor ended"))?;
        let nodes: HashMap<&str, &Node> =
            nodes.iter().filter_map(|node| Some((node.path.strip_prefix("/triggers/")?, node))).collect();
        let running = read(&self.0.running);
        let status = |(name, entry): (&Str, _)| trigger_status(entry, nodes.get(&**name).copied());
        Ok(running.triggers.iter().map(status).collect())
    }

    /// The triggers that are switched off.
    pub fn disabled_triggers(&self) -> Vec<Str> {
        let off = |(_, entry): &(&Str, &TriggerEntry)| !entry.enabled.load(Ordering::Relaxed);
        read(&self.0.running).triggers.iter().filter(off).map(|(name, _)| name.clone()).collect()
    }

    fn has_trigger(&self, name: &str) -> Result<(), Error> {
        let running = read(&self.0.running);
        if running.triggers.contains_key(name) {
            return Ok(());
        }
        Err(unknown("trigger", name, running.triggers.keys()))
    }

    /// One trigger.
    ///
    /// # Errors
    /// There is none of that name; the supervisor has ended.
    pub async fn trigger(&self, name: &str) -> Result<TriggerStatus, Error> {
        self.has_trigger(name)?;
        let all = self.triggers().await?;
        all.into_iter().find(|trigger| *trigger.name == *name).ok_or(Error::Gone("the trigger was removed meanwhile"))
    }

    /// Changes the order in which a trigger is served; stored, so that it survives a restart, until its definition
    /// changes.
    pub async fn prioritise(&self, name: &str, priority: i32) -> Result<TriggerStatus, Error> {
        self.has_trigger(name)?;
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
        self.trigger(name).await
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
        self.has_trigger(name)?;
        self.commit([Switch::new(on, "hand", "").op("trigger", name)].into_iter().collect()).await?;
        if let Some(entry) = read(&self.0.running).triggers.get(name) {
            entry.enabled.store(on, Ordering::Relaxed);
        }
        if on {
            let control = Control { path: format!("/triggers/{name}"), verb: Verb::Reset };
            self.0.supervisor.send(control).await.map_err(|_| Error::Gone("the supervisor ended"))??;
        }
        self.trigger(name).await
    }

    /// The targets outside, by name.
    pub async fn targets(&self) -> Vec<TargetStatus> {
        let entries: Vec<(Str, Front<ForwarderMessage>)> =
            read(&self.0.running).targets.iter().map(|(n, t)| (n.clone(), t.front.clone())).collect();
        // At once: they are looked at just when one of them hangs.
        let asked = entries.into_iter().map(async |(name, front)| {
            let Some(status) = tokio::time::timeout(PATIENCE, inspect(&front)).await.ok().flatten() else {
                tracing::debug!(to = %name, "the forwarder does not answer, or is being restarted");
                return None;
            };
            Some(self.with_queue(status).await)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// One target outside.
    pub async fn target(&self, name: &str) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        let status = inspect(&front).await;
        let status = status.ok_or(Error::Gone("the forwarder is being restarted; try again in a second"))?;
        Ok(self.with_queue(status).await)
    }

    /// What is known beside the forwarder: how much lies in the topics that it delivers from, and where it goes else.
    async fn with_queue(&self, mut status: TargetStatus) -> TargetStatus {
        let subscription = subscription_name(&status.name);
        let again = format!("{AGAIN}{subscription}");
        for (topic, must) in [(&*outbox_of(&status.name), true), (&*again, false)] {
            let Some(topic) = self.0.cast.get(topic) else { continue };
            let shown = self.topic(&topic).await;
            let shown = shown.and_then(|shown| shown.subscriptions.into_iter().find(|s| s.name == subscription));
            match shown {
                Some(shown) => {
                    status.lag = Some(status.lag.unwrap_or(0) + shown.lag);
                    status.waiting = Some(status.waiting.unwrap_or(0) + shown.waiting);
                    status.paused |= shown.paused;
                }
                None if must => break,
                None => {}
            }
        }
        if status.breaker == "disabled"
            && let Some(switch) = self.off_switch(&status.name)
        {
            (status.disabled_why, status.disabled_by) = (switch.why, switch.by);
            status.disabled_at = switch.at.map(Wall::rfc3339);
        }
        let definition = read(&self.0.running).definitions.targets.get(&status.name).cloned();
        status.fallback = definition.as_ref().and_then(|target| target.settings.fallback.clone());
        status.defined = definition.as_deref().map(Defined::of);
        status
    }

    pub(super) fn target_front(&self, name: &str) -> Result<Front<ForwarderMessage>, Error> {
        let running = read(&self.0.running);
        running
            .targets
            .get(name)
            .map(|t| t.front.clone())
            .ok_or_else(|| unknown("target", name, running.definitions.targets.keys()))
    }

    /// Switches a target on or off; stored, with who did it (a token, where there are any). While off its events are kept.
    pub async fn switch_target(&self, name: &str, on: bool, by: Option<&str>) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        let switch = Switch::new(on, by.unwrap_or("hand"), "by hand");
        self.commit([switch.op("target", name)].into_iter().collect()).await?;
        let was = read(&self.0.running).targets.get(name).map(|entry| entry.enabled.swap(on, Ordering::Relaxed));
        if was.is_some_and(|was| was != on) {
            let (kind, why) = if on { ("target.enabled", "by hand") } else { ("target.disabled", "by hand") };
            self.outcome(kind, name, why).await;
        }
        front.send(ForwarderMessage::Switch(on)).await.map_err(|_| Error::Gone("the forwarder is being restarted"))?;
        self.target(name).await
    }

    /// Closes a target's breaker and makes what waits due now. One that was off is on from now on, also after a restart.
    pub async fn reset_target(&self, name: &str, by: Option<&str>) -> Result<TargetStatus, Error> {
        self.switch_target(name, true, by).await?;
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

pub(super) fn trigger_status(entry: &TriggerEntry, node: Option<&Node>) -> TriggerStatus {
    let definition = &entry.definition;
    let ill = node.filter(|node| node.state != "running");
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
        state: node.map_or("stopped", |node| node.state),
        why: ill.and_then(|node| node.last_failure.as_ref()).map(|failure| failure.to_string().into()),
        fired: entry.counts.fired.load(Ordering::Relaxed),
        skipped: entry.counts.skipped.load(Ordering::Relaxed),
        failed: entry.counts.failed.load(Ordering::Relaxed),
        origin: definition.origin.clone(),
        version: format!("{:016x}", definition.fingerprint),
    }
}

/// A switch as it is stored: `on`, or JSON with what is known of who switched it off. Versions before stored `off` alone, which is
/// read still, and take all that is not `on` for off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Switch {
    pub(super) on: bool,
    /// `receiver`, `breaker`, `hand`, or the name of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Wall>,
}

impl Switch {
    pub(super) fn new(on: bool, by: &str, why: &str) -> Self {
        Self { on, by: Some(by.into()), why: (!why.is_empty()).then(|| why.into()), at: Some(Wall::now()) }
    }

    pub(super) fn op(&self, kind: &str, name: &str) -> Op {
        let value = match serde_json::to_vec(self) {
            _ if self.on => b"on".to_vec(),
            Ok(told) => told,
            Err(_) => b"off".to_vec(),
        };
        Op::Put { table: Table::State, key: switch_key(kind, name), value }
    }

    fn decode(stored: &[u8]) -> Self {
        let before = || Self { on: stored == b"on", by: None, why: None, at: None };
        serde_json::from_slice(stored).unwrap_or_else(|_| before())
    }

    /// Since when, by whom and why, as far as it is known.
    fn told(&self) -> String {
        let since = self.at.map_or_else(String::new, |at| format!(" since {}", at.rfc3339()));
        let by = self.by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
        let why = self.why.as_ref().filter(|_| self.by.as_deref() != Some("hand"));
        since + &by + &why.map_or_else(String::new, |why| format!(": {why}"))
    }
}

pub(super) async fn inspect(front: &Front<ForwarderMessage>) -> Option<TargetStatus> {
    let (reply, answer) = oneshot::channel();
    front.send(ForwarderMessage::Inspect(reply)).await.ok()?;
    answer.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_says_who_why_and_when_and_those_of_before_are_read() {
        let before = |on| Switch { on, by: None, why: None, at: None };
        assert_eq!((Switch::decode(b"on"), Switch::decode(b"off")), (before(true), before(false)));
        let switch = Switch { at: Some(Wall(0)), ..Switch::new(false, "receiver", "answered 410 Gone") };
        let Op::Put { key, value, .. } = switch.op("target", "chat") else { unreachable!("a switch is put") };
        assert_eq!(key, b"switch/target/chat");
        let stored = r#"{"on":false,"by":"receiver","why":"answered 410 Gone","at":0}"#;
        assert_eq!((String::from_utf8_lossy(&value), Switch::decode(&value)), (stored.into(), switch.clone()));
        assert_eq!(switch.told(), " since 1970-01-01T00:00:00.000000Z, by receiver: answered 410 Gone");
        let Op::Put { value, .. } = Switch::new(true, "hand", "").op("target", "chat") else {
            unreachable!("a switch is put")
        };
        assert_eq!(value, b"on", "what a version before takes for on");
        assert_eq!((before(false).told(), Switch::new(true, "hand", "").why), (String::new(), None));
    }
}
