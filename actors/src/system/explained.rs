//! Why triggers fired or passed an event over: worked out when somebody asks for a trace, from the stored record and the
//! conditions that are in force now. Nothing of it is kept while events are handled but the version that looked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hexafn_dsl::{Explanation, PartOutcome, Program};

use super::{System, read};
use crate::clock::Wall;
use crate::definitions::{Definitions, TopicDurability, TriggerDefinition};
use crate::event::{Event, Str};
use crate::function;
use crate::log::{EventLog, Record, Seq};
use crate::metrics::Metrics;
use crate::topic::{Subscriber, SubscriptionStatus, TopicHandle};
use crate::trace::{Detail, Stage, Step, Trace};
use crate::trigger::dry::runner;
use crate::trigger::run::End;

/// Events of one trace that are explained; a trace that fans out further is explained in part.
const MOST_EVENTS: usize = 50;
/// After this, no record is looked for any more, and functions are not run again to see what targets were told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Records that are looked through for an event whose sequence the trace does not hold.
const LOOKED_THROUGH: usize = 1_000;

/// The conditions that one event of a trace met.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Explained {
    /// The event.
    pub event_id: Str,
    /// Its topic.
    pub topic: Str,
    /// Its place there, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// Why nothing more can be said: the record is gone, or may not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The triggers that listen to the topic, by priority, and the filters of subscriptions.
    pub evaluations: Vec<Evaluation>,
}

/// What a condition says of an event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Evaluation {
    /// `trigger`, `subscription` (its filter) or `target` (its `when`, on the result).
    pub kind: &'static str,
    /// Its name.
    pub name: Str,
    /// What the condition gives.
    pub result: Verdict,
    /// Which part of the condition decided, with the values: a line for each sub-expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// What the explanation leaves open: the trigger was changed since, or has not come to the event yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of a trigger that fired: its targets with a `when` of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Evaluation>,
}

/// What a condition gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not hold.
    DoesNotHold,
    /// It fails.
    Fails,
    /// There is no condition.
    Unconditional,
}

/// An event of a trace at its place.
struct Place {
    event: Str,
    topic: Str,
    seq: Option<Seq>,
    at: Wall,
    /// The version of each trigger that left a step.
    ran: BTreeMap<Str, u64>,
}

/// A trigger as it stands.
struct Now {
    definition: Arc<TriggerDefinition>,
    enabled: bool,
    since: Wall,
    placed: Wall,
}

/// What is asked of the log about one event.
struct Asked {
    place: Place,
    topic: TopicHandle,
    listening: Vec<Arc<Subscriber>>,
    status: Vec<SubscriptionStatus>,
}

impl System {
    /// Explains the events of a trace. `may_read` says whether the asker may see the events of a topic: an explanation
    /// shows values of them.
    pub async fn explain(&self, trace: &Trace, may_read: impl Fn(&str) -> bool) -> Vec<Explained> {
        let (mut found, mut asked) = (Vec::new(), Vec::new());
        for place in places(trace) {
            let mut listening = self.0.cast.subscribers_of(&place.topic);
            listening.retain(|s| s.name.starts_with("trigger.") || s.filter.is_some());
            if listening.is_empty() {
                continue;
            }
            if found.len() + asked.len() >= MOST_EVENTS {
                break;
            }
            let nothing = |note: String| Explained {
                event_id: place.event.clone(),
                topic: place.topic.clone(),
                seq: place.seq,
                note: Some(note),
                evaluations: Vec::new(),
            };
            if !may_read(&place.topic) {
                found.push(nothing(format!("explained to whoever has the scope topics:read:{}", place.topic)));
                continue;
            }
            let Some(topic) = self.0.cast.get(&place.topic) else {
                found.push(nothing("its topic is not there any more".to_owned()));
                continue;
            };
            if topic.durability == TopicDurability::Memory {
                found.push(nothing("a topic in memory keeps no record to explain".to_owned()));
                continue;
            }
            listening.sort_by_key(|s| std::cmp::Reverse(s.priority));
            let status = self.topic(&topic).await.map(|s| s.subscriptions).unwrap_or_default();
            asked.push(Asked { place, topic, listening, status });
        }
        let (log, definitions) = (self.0.log.clone(), self.definitions());
        let now: BTreeMap<Str, Now> = read(&self.0.running)
            .triggers
            .iter()
            .map(|(name, entry)| {
                let enabled = entry.enabled.load(Ordering::Relaxed);
                let (since, placed) = (entry.since, entry.placed);
                (name.clone(), Now { definition: entry.definition.clone(), enabled, since, placed })
            })
            .collect();
        let explained = tokio::task::spawn_blocking(move || {
            let bench = Bench { log, definitions, now, metrics: Metrics::new(), began: Instant::now() };
            asked.into_iter().map(|one| bench.event(one)).collect::<Vec<_>>()
        });
        found.extend(explained.await.unwrap_or_default());
        found
    }
}

/// Where the events of a trace are, in the order of its steps.
fn places(trace: &Trace) -> Vec<Place> {
    let mut places = Vec::new();
    for step in &trace.steps {
        match (step.stage, &step.detail) {
            (Stage::Stored, Detail::Place(topic, seq)) => {
                place(&mut places, step, topic, Some(*seq));
            }
            (Stage::Produced, Detail::Text(topic)) => {
                place(&mut places, step, topic, None);
            }
            (Stage::Evaluated, Detail::Version(topic, seq, version)) => {
                let at = place(&mut places, step, topic, Some(*seq));
                places[at].ran.insert(step.name.clone(), *version);
            }
            _ => {}
        }
    }
    places
}

/// The place of a step's event, which is added when it is new. That an event was made is told before where it is.
fn place(places: &mut Vec<Place>, step: &Step, topic: &Str, seq: Option<Seq>) -> usize {
    let same =
        |p: &Place| p.event == step.event_id && p.topic == *topic && (p.seq == seq || p.seq.is_none() || seq.is_none());
    match places.iter().position(same) {
        Some(at) => {
            places[at].seq = places[at].seq.or(seq);
            at
        }
        None => {
            let (event, topic) = (step.event_id.clone(), topic.clone());
            places.push(Place { event, topic, seq, at: step.at, ran: BTreeMap::new() });
            places.len() - 1
        }
    }
}

/// What evaluating again takes.
struct Bench {
    log: Arc<dyn EventLog>,
    definitions: Definitions,
    now: BTreeMap<Str, Now>,
    metrics: Metrics,
    began: Instant,
}

impl Bench {
    fn event(&self, asked: Asked) -> Explained {
        let Asked { place, topic, listening, status } = asked;
        let (note, evaluations, seq) = match self.find(&place, &topic) {
            Err(why) => (Some(why), Vec::new(), place.seq),
            Ok(record) => {
                let evaluate = |subscriber: &Arc<Subscriber>| {
                    let status = status.iter().find(|s| s.name == subscriber.name);
                    match subscriber.name.strip_prefix("trigger.") {
                        Some(trigger) => self.now.get(trigger).map(|now| self.trigger(now, &record, &place, status)),
                        None => subscriber.filter.as_ref().map(|filter| {
                            let (result, explanation) = evaluated(filter, &record, "");
                            let (kind, name) = ("subscription", subscriber.name.clone());
                            Evaluation { kind, name, result, explanation, note: None, targets: Vec::new() }
                        }),
                    }
                };
                (None, listening.iter().filter_map(evaluate).collect(), Some(record.seq))
            }
        };
        Explained { event_id: place.event, topic: place.topic, seq, note, evaluations }
    }

    /// The record, or why it is not there.
    fn find(&self, place: &Place, topic: &TopicHandle) -> Result<Arc<Record>, String> {
        let fail = |e: crate::log::Error| format!("the record cannot be read: {e}");
        let (from, most) = match place.seq {
            Some(seq) => (seq, 1),
            None if self.began.elapsed() > PATIENCE => {
                return Err("it is not looked for: explaining the trace takes too long already".to_owned());
            }
            None => {
                // The output was made before it was stored; clocks are set back now and then.
                let before = Wall(place.at.0.saturating_sub(1_000_000));
                (self.log.seq_at(topic.id, before).map_err(fail)?, LOOKED_THROUGH)
            }
        };
        let records = self.log.read(topic.id, from, most, 8 << 20).map_err(fail)?;
        let found = records.into_iter().find(|r| r.event.id == place.event && place.seq.is_none_or(|seq| r.seq == seq));
        if let Some(record) = found {
            return Ok(record);
        }
        let first = self.log.bounds(topic.id).map_err(fail)?.first;
        Err(match place.seq {
            Some(seq) if seq < first => {
                format!("the record is gone: the topic keeps what is from sequence {first} on (retention, or a trim)")
            }
            Some(_) => "the record is not there".to_owned(),
            None => "the record is not there (any more): it was not found by its id".to_owned(),
        })
    }

    fn trigger(
        &self,
        now: &Now,
        record: &Arc<Record>,
        place: &Place,
        status: Option<&SubscriptionStatus>,
    ) -> Evaluation {
        let definition = &now.definition;
        let (result, explanation) = match &definition.when {
            Some(when) => evaluated(when, record, &definition.name),
            None => (Verdict::Unconditional, None),
        };
        let fires = matches!(result, Verdict::Holds | Verdict::Unconditional);
        let (mut notes, ran) = (Vec::new(), place.ran.get(&definition.name));
        match ran {
            Some(version) if *version != definition.fingerprint => notes.push(format!(
                "the trigger was changed since: version {version:016x} looked at the event, and this is what version {:016x} \
                 says of it",
                definition.fingerprint
            )),
            Some(_) => {}
            None => notes.extend(unseen(now, record, status, fires)),
        }
        let (targets, note) = if fires { self.targets(now, record, place.at) } else { Default::default() };
        notes.extend(note);
        Evaluation {
            kind: "trigger",
            name: definition.name.clone(),
            result,
            explanation,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            targets,
        }
    }

    /// The conditions of the targets on the result, which is made once more: the same record gives the same result.
    fn targets(&self, now: &Now, record: &Arc<Record>, at: Wall) -> (Vec<Evaluation>, Option<String>) {
        let conditional = |name: &Str| self.definitions.targets.get(name).is_some_and(|t| t.when.is_some());
        if !now.definition.to.iter().any(conditional) {
            return (Vec::new(), None);
        }
        if self.began.elapsed() > PATIENCE {
            return (Vec::new(), Some("what its targets were told is left out: it takes too long".to_owned()));
        }
        let runner = runner(&now.definition, &self.definitions, &self.metrics);
        if let Some(function) = runner.chains.iter().flatten().find(|f| f.definition.hosted().is_some()) {
            let why = format!(
                "what its targets were told is left out: function `{}` is in `{}` and is not run again for an explanation",
                function.definition.name,
                function.definition.language()
            );
            return (Vec::new(), Some(why));
        }
        let output = match runner.run_now(record, 1, at).end {
            End::Fired { output: Some(output), .. } => output,
            End::Failed { message, .. } => return (Vec::new(), Some(format!("run again, it failed: {message}"))),
            _ => return (Vec::new(), None),
        };
        let changed = (now.placed > record.stored).then(|| {
            format!(
                "the trigger, its functions or targets were put in place at {}, after the event",
                now.placed.rfc3339()
            )
        });
        let evaluations = runner.outputs.iter().filter_map(|target| {
            let when = target.when.as_ref()?;
            let shown = |event: Event| Record::new(target.topic_name.clone(), target.topic, 0, at, event);
            let whole = shown((*output).clone());
            let (result, mut explanation) = evaluated(when, &whole, &now.definition.name);
            if target.redact.is_some() {
                explanation = Some(veiled(when, (&whole, &shown(target.event(&output))), &now.definition.name));
            }
            let (name, targets) = (target.target.clone(), Vec::new());
            Some(Evaluation { kind: "target", name, result, explanation, note: changed.clone(), targets })
        });
        (evaluations.collect(), None)
    }
}

/// What is open where the trace holds no step of a trigger: those that pass an event over leave none.
fn unseen(now: &Now, record: &Record, status: Option<&SubscriptionStatus>, fires: bool) -> Option<String> {
    let waiting = status.and_then(|s| s.next_attempts.iter().find(|w| w.seq == record.seq));
    if let Some(waiting) = waiting
        && let (Some(due), Some(cause)) = (&waiting.due, &waiting.cause)
    {
        return Some(format!("tried {} times, again at {due}: {cause}", waiting.attempts));
    }
    if status.is_some_and(|s| record.seq > s.ack_floor) {
        return Some("not handled yet".to_owned());
    }
    if now.since > record.stored {
        return Some(format!(
            "the trigger is in force in this form since {}, which is after the event was stored: if another form of it looked at the \
             event, this says nothing of it",
            now.since.rfc3339()
        ));
    }
    if !now.enabled {
        return Some("the trigger is switched off, and lets events pass".to_owned());
    }
    fires.then(|| "the trace holds no step of it: it was switched off then, or the step was dropped".to_owned())
}

fn evaluated(condition: &hexafn_dsl::Program, record: &Record, trigger: &str) -> (Verdict, Option<String>) {
    match function::test(condition, record, trigger, 1) {
        Ok(holds) => {
            let verdict = if holds { Verdict::Holds } else { Verdict::DoesNotHold };
            (verdict, function::explain(condition, record, trigger))
        }
        Err(error) => {
            let parts = function::explain(condition, record, trigger);
            (Verdict::Fails, Some(parts.unwrap_or_else(|| error.to_string())))
        }
    }
}

/// What stands for a value that a target must not see.
const TAKEN_OUT: &str = "[redacted]";

/// Explains the condition of a target that redacts: it was tried on the whole event, and of that is shown what is the same
/// for the event as the target sees it.
fn veiled(condition: &Program, (whole, seen): (&Record, &Record), trigger: &str) -> String {
    let explained = |record| function::explanation(condition, record, trigger);
    explained(whole).map_or_else(
        || format!("failed: {TAKEN_OUT}"),
        |whole| without_difference(whole, explained(seen).as_ref()).render(),
    )
}

/// The parts of an explanation whose outcome does not depend on what differs between the two. The texts are those of the
/// condition, which stand in the configuration.
fn without_difference(whole: Explanation, seen: Option<&Explanation>) -> Explanation {
    let seen = seen.filter(|seen| seen.text == whole.text);
    let same = seen.is_some_and(|seen| seen.outcome == whole.outcome);
    let outcome = if same { whole.outcome } else { PartOutcome::Value(TAKEN_OUT.to_owned()) };
    let others = seen.map_or(&[][..], |seen| &seen.children);
    let children = whole.children.into_iter().enumerate();
    let children = children.map(|(at, child)| without_difference(child, others.get(at))).collect();
    Explanation { outcome, children, ..whole }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::log::TopicId;
    use crate::target::{RedactSettings, redact::Redactor};
    use hexafn_dsl::{ProgramKind, SourceText};

    #[test]
    fn what_a_target_redacts_is_not_in_the_explanation_of_its_condition() {
        let settings = RedactSettings { paths: vec!["secret".into(), "codes.*".into()], ..RedactSettings::default() };
        let redactor = Redactor::new("t", &settings).unwrap();
        let data = r#"{"secret":"TOPSECRET","codes":[{"c":7001}],"n":21}"#;
        let event = Event::new("s", "t", bytes::Bytes::from_static(data.as_bytes()));
        let record = |event: Event| Record::new("t".into(), TopicId(0), 0, Wall(0), event);
        let (whole, seen) = (record(event.clone()), record(redactor.redact(&event)));
        for (text, expected) in [
            ("event.data.n > 20", "event.data.n > 20 = true\n  event.data.n = 21\n"),
            (
                "event.data.n > 20 and event.data.secret == 'x'",
                "event.data.n > 20 and event.data.secret == 'x' = false\n  event.data.n > 20 = true\n    event.data.n = 21\n  \
                 event.data.secret == 'x' = false\n    event.data.secret = [redacted]\n",
            ),
            (
                "event.data.secret == 'TOPSECRET'",
                "event.data.secret == 'TOPSECRET' = [redacted]\n  event.data.secret = [redacted]\n",
            ),
        ] {
            let source = SourceText { name: "when", text };
            let when = hexafn_dsl::compile(&source, ProgramKind::Condition).unwrap();
            assert_eq!(veiled(&when, (&whole, &seen), ""), expected);
        }
        for text in [
            "any(event.data.codes, c => c.c == 7001)",
            "event.data.secret > 5",
            "if event.data.secret == 'TOPSECRET' { event.data.codes[0].c == 7001 } else { false }",
            "match event.data.secret { 'TOPSECRET' => true, other => other == 1 }",
        ] {
            let when = hexafn_dsl::compile(&SourceText { name: "when", text }, ProgramKind::Condition);
            let told = veiled(&when.unwrap(), (&whole, &seen), "");
            let values: Vec<&str> = told.lines().map(|line| line.rsplit(['=', ':']).next().unwrap()).collect();
            let leaks = values.iter().any(|value| value.contains("TOPSECRET") || value.contains("7001"));
            assert!(!leaks, "{told}");
        }
    }
}
