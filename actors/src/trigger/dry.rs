//! The dry run: what would fire, run and be forwarded for an event, without any effect. The same runner as the live one,
//! on a throw-away set of metrics, so that live figures do not move.

use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

use super::run::{Emission, End, Output, Place, Runner, Topics};
use crate::clock::Wall;
use crate::definitions::{Definitions, TargetKind, TriggerDefinition};
use crate::event::Str;
use crate::function::{self, Function};
use crate::log::{Record, TopicId};
use crate::metrics::Metrics;
use crate::system::{chains_of, topic_of};
use crate::topic::pattern::Pattern;

/// What one trigger would do.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DryRun {
    /// The trigger.
    pub trigger: Str,
    /// `fired`, `skipped`, `dropped`, `failed` or `disabled`.
    pub outcome: &'static str,
    /// Which part of the condition decided, with the values: a line for each sub-expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// Why it would fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The functions that would run, in order.
    pub functions: Vec<DryFunction>,
    /// The result, as its bytes are when they are JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub output: Option<Box<RawValue>>,
    /// Where it would go.
    pub to: Vec<Str>,
    /// Targets whose own condition would not hold.
    pub not_to: Vec<Str>,
    /// Targets whose own condition would fail: the result would be a dead letter of theirs, or their fallback's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<DryUndecided>,
    /// What the function would emit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<DryEmit>,
}

/// A target whose own condition fails.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DryUndecided {
    /// Its name.
    pub target: Str,
    /// Why.
    pub error: Str,
}

/// An event that a function would emit.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DryEmit {
    /// The topic.
    pub topic: Str,
    /// The ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Str>,
    /// The data, as its bytes are.
    #[schemars(with = "serde_json::Value")]
    pub data: Box<RawValue>,
}

/// Topics of a run that writes nowhere.
struct Nowhere;

impl Topics for Nowhere {
    fn place(&self, _: &Str) -> Result<Place, String> {
        Ok(Place { id: TopicId(0), memory: None })
    }
}

/// One run of a function.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DryFunction {
    /// Its name.
    pub name: Str,
    /// How long it took.
    pub took_us: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A runner that writes nowhere.
pub fn runner(definition: &Arc<TriggerDefinition>, all: &Definitions, metrics: &Metrics) -> Runner {
    let chains = chains_of(definition, all, |f| Function::local(f.clone(), metrics.function(&f.name)));
    let outputs = definition.to.iter().filter_map(|name| {
        let target = all.targets.get(name)?;
        let topic_name = match &target.kind {
            TargetKind::Topic(topic) => topic.clone(),
            TargetKind::Outside(_) => crate::system::outbox_of(name),
        };
        Some(Output {
            target: name.clone(),
            topic: TopicId(0),
            topic_name,
            when: target.when.clone(),
            redact: target.redact.clone(),
            memory: None,
            undecided: None,
        })
    });
    Runner::new(definition.clone(), chains, outputs.collect(), Arc::new(Nowhere))
}

/// What every trigger that listens to the record's topic would do, by priority. `disabled` says which are switched off.
pub fn dry_run(all: &Definitions, record: &Record, disabled: impl Fn(&TriggerDefinition) -> bool) -> Vec<DryRun> {
    let metrics = Metrics::new();
    let mut listening: Vec<_> =
        all.triggers.values().filter(|t| Pattern::new(&topic_of(t)).is_ok_and(|p| p.matches(&record.topic))).collect();
    listening.sort_by_key(|t| std::cmp::Reverse(t.priority));
    listening.into_iter().map(|t| one(&runner(t, all, &metrics), record, disabled(t))).collect()
}

fn one(runner: &Runner, record: &Record, disabled: bool) -> DryRun {
    let definition = &runner.definition;
    let mut dry = DryRun {
        trigger: definition.name.clone(),
        outcome: "disabled",
        explanation: definition.when.as_ref().and_then(|when| function::explain(when, record, &definition.name)),
        error: None,
        functions: Vec::new(),
        output: None,
        to: Vec::new(),
        not_to: Vec::new(),
        undecided: Vec::new(),
        emitted: Vec::new(),
    };
    if disabled {
        return dry;
    }
    let ran = runner.run_now(record, 1, Wall::now());
    dry.functions = ran
        .executions
        .iter()
        .map(|run| DryFunction {
            name: run.function.clone(),
            took_us: u64::try_from(run.took.as_micros()).unwrap_or(u64::MAX),
            error: run.error.as_ref().map(ToString::to_string),
        })
        .collect();
    match ran.end {
        End::Skipped => dry.outcome = "skipped",
        End::Dropped => dry.outcome = "dropped",
        End::Failed { message, .. } => {
            dry.outcome = "failed";
            dry.error = Some(message);
        }
        End::Fired { output, to, failed, emitted } => {
            dry.outcome = "fired";
            // As it is, so that no number is rounded; what is no JSON is shown as a text.
            let json = |data: &[u8]| {
                let text = String::from_utf8_lossy(data).into_owned();
                let quoted = || serde_json::value::to_raw_value(&text).unwrap_or_default();
                RawValue::from_string(text.clone()).unwrap_or_else(|_| quoted())
            };
            let emission = |e: Emission| DryEmit { topic: e.topic, data: json(&e.event.data), key: e.event.key };
            dry.emitted = emitted.into_iter().map(emission).collect();
            let Some(output) = output else { return dry };
            dry.output = Some(json(&output.data));
            for (index, target) in runner.outputs.iter().enumerate() {
                let name = target.target.clone();
                if let Some((_, why)) = failed.iter().find(|(at, _)| *at == index) {
                    dry.undecided.push(DryUndecided { target: name, error: why.clone() });
                    continue;
                }
                let list = if to.contains(&index) { &mut dry.to } else { &mut dry.not_to };
                list.push(name);
            }
        }
    }
    dry
}
