//! Topics, targets and triggers, with the ways from them, put into the picture by what was seen of them.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::super::TriggerStatus;
use super::super::apply::topic_of;
use super::super::dead::dead_topic_of;
use super::{Drawing, Kind, Seen, State, Way, id};
use crate::definitions::{Definitions, On, TargetDefinition, TargetKind, Told};
use crate::event::Str;
use crate::target::forwarder;
use crate::topic::OUTCOMES;
use crate::topic::pattern::Pattern;
use crate::trigger::told::EXECUTIONS;
use crate::trigger::{self, ways::Ways};

pub(super) fn draw_topic(drawing: &mut Drawing, name: &Str, seen: &Seen) {
    let status = seen.topics.get(name);
    let node = drawing.node(Kind::Topic, name, status.map_or("disk", |topic| topic.durability));
    (node.state, node.last_error) = seen.actor(&format!("/topics/{name}"));
    let Some(topic) = status else { return };
    node.count = Some(topic.last);
    let details = [("records", topic.records), ("bytes", topic.bytes), ("viewers", topic.viewers as u64)];
    node.details.extend(details.map(|(name, value)| (name.to_owned(), value.into())));
}

pub(super) fn draw_target(drawing: &mut Drawing, target: &TargetDefinition, all: &Definitions, seen: &Seen) {
    let name = &*target.name;
    let node = match &target.kind {
        TargetKind::Topic(topic) => {
            let node = drawing.node(Kind::Target, &target.name, "topic");
            // Counted with the triggers that send to it.
            node.count = Some(0);
            node.details.insert("destination".to_owned(), topic.to_string().into());
            drawing.edge((Kind::Target, name), (Kind::Topic, topic), Way::Event, Some(0));
            return;
        }
        TargetKind::Outside(outside) => drawing.node(Kind::Target, &target.name, outside.kind()),
    };
    (node.state, node.last_error) = seen.actor(&format!("/forwarders/{name}"));
    if let Some(status) = seen.targets.get(&target.name) {
        (node.count, node.failed) = (Some(status.delivered), Some(status.failed));
        node.details.insert("destination".to_owned(), status.destination.clone().into());
        node.details.insert("attempting".to_owned(), status.attempting.into());
        node.details.insert("last".to_owned(), status.last.clone().into());
        node.details.insert("last_at".to_owned(), status.last_at.clone().into());
        if node.state == State::Running {
            node.state = match status.breaker {
                "open" => State::BreakerOpen,
                "half-open" => State::BreakerHalfOpen,
                "disabled" => State::Disabled,
                _ => State::Running,
            };
        }
        if node.state != State::Running && node.last_error.is_none() {
            node.last_error.clone_from(&status.last);
        }
        if let Some(seconds) = status.opens_in {
            node.details.insert("next_probe_seconds".to_owned(), json!((seconds * 10.0).round() / 10.0));
        }
    }
    seen.waits(node, &forwarder::subscription_name(name));
    if let Some(fallback) = target.settings.fallback.as_ref().filter(|fallback| all.targets.contains_key(*fallback)) {
        drawing.edge((Kind::Target, name), (Kind::Target, fallback), Way::Fallback, None);
    }
}

pub(super) fn draw_trigger(
    drawing: &mut Drawing,
    status: &TriggerStatus,
    ways: &Ways,
    all: &Definitions,
    drawn: &BTreeSet<Str>,
    seen: &Seen,
) {
    let name = &*status.name;
    let Some(definition) = all.triggers.get(&status.name) else { return };
    let on = match definition.on {
        On::Topic(_) => "topic",
        On::Timer(_) => "timer",
        On::Kv { .. } => "kv",
    };
    let node = drawing.node(Kind::Trigger, &status.name, on);
    (node.state, node.last_error) = seen.actor(&format!("/triggers/{name}"));
    if !status.enabled && node.state == State::Running {
        node.state = State::Disabled;
    }
    (node.count, node.failed) = (Some(status.fired), Some(status.failed));
    let subscription = trigger::subscription_name(name);
    seen.waits(node, &subscription);
    let details = [
        ("on", Value::from(status.on.clone())),
        ("when", status.when.clone().into()),
        ("skipped", status.skipped.into()),
        ("priority", status.priority.into()),
        ("origin", status.origin.to_string().into()),
        ("version", status.version.clone().into()),
    ];
    node.details.extend(details.map(|(name, value)| (name.to_owned(), value)));

    let listens = topic_of(definition);
    let pattern = Pattern::new(&listens).ok();
    for topic in drawn.iter().filter(|topic| pattern.as_ref().is_some_and(|pattern| pattern.matches(topic))) {
        let row = seen.topics.get(topic).and_then(|t| t.subscriptions.iter().find(|s| s.name == subscription));
        let delivered = row.map(|row| row.delivered);
        drawing.edge((Kind::Topic, topic), (Kind::Trigger, name), Way::Event, delivered);
    }
    for (function, count) in ways.runs() {
        if definition.run.of.contains(function) {
            drawing.edge((Kind::Trigger, name), (Kind::Function, function), Way::Event, Some(count));
        }
    }
    for (function, target, count) in ways.sent() {
        let from = match function {
            Some(function) => (Kind::Function, &**function),
            None if definition.run.of.is_empty() => (Kind::Trigger, name),
            None => continue,
        };
        drawing.edge(from, (Kind::Target, target), Way::Event, Some(count));
        let to_topic = all.targets.get(target).and_then(|target| match &target.kind {
            TargetKind::Topic(topic) => Some(topic.clone()),
            TargetKind::Outside(_) => None,
        });
        if let Some(topic) = to_topic {
            let node = drawing.node(Kind::Target, target, "topic");
            node.count = Some(node.count.unwrap_or(0) + count);
            drawing.edge((Kind::Target, target), (Kind::Topic, &topic), Way::Event, Some(count));
        }
    }
    for (function, topic, count) in ways.emitted() {
        drawing.edge((Kind::Function, &function), (Kind::Topic, &topic), Way::Event, Some(count));
    }
}

/// What hexaFn tells of its own work and what was given up, where something listens to it.
pub(super) fn draw_told(drawing: &mut Drawing, all: &Definitions, seen: &Seen) {
    let heard = |topic: &str| {
        let topic = id(Kind::Topic, topic);
        drawing.edges.keys().any(|(from, ..)| *from == topic)
    };
    let (outcomes, executions) =
        (all.outcomes != Told::Off && heard(OUTCOMES), all.executions != Told::Off && heard(EXECUTIONS));
    let outside = all.targets.values().filter(|target| matches!(target.kind, TargetKind::Outside(_)));
    let targets = outside.map(|t| (Kind::Target, t.name.clone(), forwarder::subscription_name(&t.name)));
    let triggers = all.triggers.keys().map(|name| (Kind::Trigger, name.clone(), trigger::subscription_name(name)));
    let mut told = Vec::new();
    for (kind, name, subscription) in targets.chain(triggers) {
        if outcomes {
            told.push((kind, name.clone(), Str::from(OUTCOMES), None));
        }
        let dead = dead_topic_of(&subscription);
        if heard(&dead) {
            let given_up = seen.subscriptions(&subscription).map(|row| row.dead_lettered).sum();
            told.push((kind, name, dead, Some(given_up)));
        }
    }
    if executions {
        told.extend(all.functions.keys().map(|name| (Kind::Function, name.clone(), Str::from(EXECUTIONS), None)));
    }
    for (kind, name, topic, count) in told {
        drawing.edge((kind, &name), (Kind::Topic, &topic), Way::Told, count);
    }
}
