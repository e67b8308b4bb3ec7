//! Tests of a configuration: what is sent in goes the whole way, from a signed request to mocked targets, with a clock
//! that is moved by hand. The parts are the live ones (verifier, normaliser, runner, strategies), put together without
//! actors, disk or network, so that a run gives the same everywhere.

use bytes::Bytes;
use hexafn_actors::clock::{Tick, Wall};
use hexafn_actors::definitions::{
    Definitions, SourceDefinition, SourceKind, TargetDefinition, TargetKind, TriggerDefinition,
};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::function;
use hexafn_actors::log::{Record, TopicId};
use hexafn_actors::metrics::Metrics;
use hexafn_actors::source::RequestParts;
use hexafn_actors::source::door::DoorError;
use hexafn_actors::source::normalise::{Arrivals, Incoming, Normaliser};
use hexafn_actors::source::pull::{Decoded, Pulled};
use hexafn_actors::source::secret::{Error as SecretError, Secret, SecretRef, SecretSource};
use hexafn_actors::source::settings::WebhookSettings;
use hexafn_actors::source::timer::tick_event;
use hexafn_actors::source::verify::{Delivery as Signing, Verifier};
use hexafn_actors::supervision::{Decision, Failure, FailureKind, History, RestartStrategy, decide};
use hexafn_actors::system::topic_of;
use hexafn_actors::target::{Delivery, Preview};
use hexafn_actors::topic::pattern::{self, Pattern};
use hexafn_actors::trigger::dry::runner;
use hexafn_actors::trigger::run::{End, Fault, Output, Runner};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Component, Path};
use std::sync::Arc;

use crate::config::{Answer, Loaded, SAMPLE, SendSettings, TestSettings};

pub mod coverage;
pub mod expect;

/// A run ends here: triggers that feed each other are stopped by the hop limit long before.
const MAX_EVENTS: usize = 10_000;

/// What is known at the end of a test.
#[derive(Default)]
pub struct Seen {
    /// The answer to the last request.
    pub answer: Option<Answered>,
    /// The events of each topic.
    pub topics: BTreeMap<Str, Vec<Arc<Record>>>,
    /// What became of the events for each target.
    pub targets: BTreeMap<Str, Vec<Delivered>>,
    /// How each trigger ended, once for each event that reached it.
    pub triggers: BTreeMap<Str, Vec<Outcome>>,
    /// The functions that ran.
    pub functions: BTreeMap<Str, usize>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The code of a problem.
    pub code: Option<String>,
    /// The sentence of a problem, or the result.
    pub body: String,
}

/// How a trigger ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `fired`, `skipped`, `dropped`, `failed`.
    pub name: &'static str,
    /// Why it failed, or which part of its condition decided.
    pub why: Option<String>,
}

/// What became of one event for one target.
#[derive(Clone)]
pub struct Delivered {
    /// The event.
    pub record: Arc<Record>,
    /// What is sent, or why nothing can be.
    pub preview: Result<Preview, String>,
    /// Attempts made.
    pub attempts: u32,
    /// Whether it arrived, ended as a dead letter, or is kept (the target was disabled).
    pub end: DeliveryEnd,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// It arrived.
    Arrived,
    /// It was given up.
    Dead,
    /// The receiver answered 410: the target is disabled, its events are kept.
    Kept,
}

/// Every secret of a test.
struct Samples;

impl SecretSource for Samples {
    fn read(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new(SAMPLE.into()))
    }
}

/// Runs one test.
///
/// # Errors
/// What was to be sent in cannot be made: a file that is not there, a scheme that cannot sign.
pub fn run(loaded: &Loaded, folder: &Path, test: &TestSettings) -> Result<Seen, String> {
    let mut bench = Bench::new(&loaded.definitions, test);
    for (number, send) in test.send.iter().enumerate() {
        bench.now = bench.now.plus(send.after.map_or_else(Default::default, |span| span.0));
        bench.send(folder, send, number)?;
        bench.drain();
    }
    Ok(bench.seen)
}

struct Bench<'d> {
    all: &'d Definitions,
    test: &'d TestSettings,
    now: Wall,
    /// Triggers with the pattern that each listens to, by priority.
    triggers: Vec<(Pattern, Runner)>,
    ids: HashMap<(Str, Str), Wall>,
    numbers: HashMap<Str, u32>,
    queue: VecDeque<Arc<Record>>,
    disabled: Vec<Str>,
    results: HashMap<(Str, Str), Option<Bytes>>,
    events: usize,
    seen: Seen,
}

impl<'d> Bench<'d> {
    fn new(all: &'d Definitions, test: &'d TestSettings) -> Self {
        let metrics = Metrics::new();
        let mut definitions: Vec<&Arc<TriggerDefinition>> = all.triggers.values().filter(|t| t.enabled).collect();
        definitions.sort_by_key(|t| std::cmp::Reverse(t.priority));
        let triggers = definitions.into_iter().filter_map(|t| {
            let pattern = Pattern::new(&topic_of(t)).ok()?;
            Some((pattern, runner(t, all, &metrics)))
        });
        Self {
            all,
            test,
            now: test.now,
            triggers: triggers.collect(),
            ids: HashMap::new(),
            numbers: HashMap::new(),
            queue: VecDeque::new(),
            disabled: Vec::new(),
            results: HashMap::new(),
            events: 0,
            seen: Seen::default(),
        }
    }

    fn send(&mut self, folder: &Path, send: &SendSettings, number: usize) -> Result<(), String> {
        let data = data_of(folder, send)?;
        if let Some(topic) = &send.topic {
            let mut event = Event::new("/test", send.event.as_deref().unwrap_or("published"), data);
            event.id = send.id.clone().unwrap_or_else(|| format!("test-{}", number + 1)).into();
            event.time = self.now;
            event.content_type = Some(send.content_type.as_str().into());
            event.subject = send.subject.as_deref().map(Into::into);
            event.key = send.key.as_deref().map(Into::into);
            pattern::check_name(topic).map_err(|e| e.to_string())?;
            self.put(topic.as_str().into(), event);
            return Ok(());
        }
        let source = send.source.as_deref().and_then(|name| self.all.sources.get(name)).cloned();
        let source = source.ok_or("the source is not there")?;
        match &source.kind {
            SourceKind::Timer { topic, data, .. } => {
                let mut event = tick_event(&source.name, self.now);
                if let Some(data) = data {
                    event.data = data.clone();
                }
                self.put(topic.clone(), event);
            }
            SourceKind::Pull { decoder, topic, .. } => {
                let mut headers = vec![("content-type".to_owned(), send.content_type.clone())];
                headers.extend(send.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
                let pulled = Pulled {
                    id: send.id.clone().unwrap_or_else(|| format!("test-{}", number + 1)),
                    key: send.key.as_deref().map(Into::into),
                    subject: send.subject.as_deref().map(Into::into),
                    headers,
                    data,
                    ..Pulled::default()
                };
                match decoder.read(&pulled, self.now) {
                    Decoded::Events(events) => events.into_iter().for_each(|(event, _)| self.put(topic.clone(), event)),
                    Decoded::Dead(letter, _) => self.put(format!("hexafn.dead.source.{}", source.name).into(), *letter),
                }
            }
            SourceKind::Webhook { .. } => {
                let answer = self.request(&source, send, data, number)?;
                self.seen.answer = Some(answer);
            }
        }
        Ok(())
    }

    /// A request at the door of a source, as the service takes it.
    fn request(
        &mut self,
        source: &SourceDefinition,
        send: &SendSettings,
        body: Bytes,
        number: usize,
    ) -> Result<Answered, String> {
        let SourceKind::Webhook { settings, topic_expr, validator, .. } = &source.kind else {
            return Err("the source takes no requests".to_owned());
        };
        let verifier = settings.verify.build(&Samples).map_err(|e| e.to_string())?;
        let mut headers = vec![("content-type".to_owned(), send.content_type.clone())];
        headers.extend(send.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        if send.signed {
            let signer = settings.verify.build_signer(&Samples).map_err(|e| e.to_string())?;
            let id = send.id.clone().unwrap_or_else(|| format!("test-{}", number + 1));
            let before = headers.clone();
            let request = RequestParts::post(&before);
            headers.extend(signer.sign(&Signing {
                id: &id,
                kind: send.event.as_deref(),
                now: self.now,
                request,
                body: &body,
            }));
        }
        let parts = RequestParts::post(&headers);
        let normaliser = Normaliser::new(settings, &verifier).validating(validator.clone());
        let arrivals = match self.arrive(&normaliser, settings, &verifier, parts, body) {
            Ok(Arrived::Events(arrivals)) => arrivals,
            Ok(Arrived::Challenge(text)) => return Ok(Answered { status: 200, code: None, body: text }),
            Err(refused) => return Ok(problem(&refused)),
        };
        let mut fresh = Vec::new();
        for arrival in arrivals {
            let (topic, event): (Str, Event) = match (&settings.topic, topic_expr) {
                (Some(topic), _) => (topic.as_str().into(), arrival.event),
                (None, Some(expr)) => match function::topic_of(expr, arrival.event, self.now) {
                    (event, Ok(name)) => (name.into(), event),
                    (_, Err(error)) => {
                        let code = Some("topic-expression".to_owned());
                        return Ok(Answered { status: 422, code, body: error });
                    }
                },
                (None, None) => return Err("the source has no topic".to_owned()),
            };
            if let Some(id) = &arrival.dedupe {
                let known = self.ids.entry((source.name.clone(), id.clone()));
                let now = self.now;
                match known {
                    std::collections::hash_map::Entry::Occupied(seen)
                        if now.since(*seen.get()) < settings.dedupe_window =>
                    {
                        continue;
                    }
                    entry => drop(entry.insert_entry(now)),
                }
            }
            fresh.push((topic, event));
        }
        if fresh.is_empty() {
            return Ok(Answered { status: 200, code: None, body: String::new() });
        }
        let first = fresh[0].1.id.clone();
        let single = fresh.len() == 1;
        for (topic, event) in fresh {
            self.put(topic, event);
        }
        let Some(reply) = settings.reply.as_ref().filter(|_| single) else {
            return Ok(Answered { status: 202, code: None, body: String::new() });
        };
        self.drain();
        Ok(match self.results.get(&(reply.trigger.as_str().into(), first)) {
            Some(Some(result)) => {
                Answered { status: 200, code: None, body: String::from_utf8_lossy(result).into_owned() }
            }
            Some(None) => Answered { status: 204, code: None, body: String::new() },
            None => Answered { status: 502, code: Some("function-failed".to_owned()), body: String::new() },
        })
    }

    fn arrive(
        &self,
        normaliser: &Normaliser,
        settings: &WebhookSettings,
        verifier: &Verifier,
        request: RequestParts<'_>,
        body: Bytes,
    ) -> Result<Arrived, DoorError> {
        normaliser.head(&request)?;
        if body.len() as u64 > settings.limits.body {
            return Err(DoorError::too_large(settings.limits.body));
        }
        let verified = verifier.check(&request, &body, self.now)?;
        if let Some(text) = verifier.challenge(&body) {
            return Ok(Arrived::Challenge(text));
        }
        let incoming = Incoming { request, body, verified: &verified, now: self.now, read: true };
        normaliser.events(incoming).map(Arrived::Events)
    }

    /// Stores an event, for the triggers that listen.
    fn put(&mut self, topic: Str, mut event: Event) {
        self.events += 1;
        // Random numbers follow from it, and are the same in each run of a test.
        event.trace.span_id = format!("{:016x}", self.events).into();
        if self.events > MAX_EVENTS {
            return;
        }
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(topic.clone()).or_insert(next);
        let records = self.seen.topics.entry(topic.clone()).or_default();
        let record = Arc::new(Record::new(topic, TopicId(number), records.len() as u64 + 1, self.now, event));
        records.push(record.clone());
        self.queue.push_back(record);
    }

    fn drain(&mut self) {
        while let Some(record) = self.queue.pop_front() {
            let triggers = std::mem::take(&mut self.triggers);
            for (_, runner) in triggers.iter().filter(|(pattern, _)| pattern.matches(&record.topic)) {
                self.fire(runner, &record);
            }
            self.triggers = triggers;
        }
    }

    /// One trigger on one event, with its retries.
    fn fire(&mut self, runner: &Runner, record: &Arc<Record>) {
        let definition = &runner.definition;
        let name = definition.name.clone();
        let mut schedule = Schedule::new(self.now);
        loop {
            let ran = runner.run_now(record, schedule.attempt, schedule.now);
            for execution in &ran.executions {
                *self.seen.functions.entry(execution.function.clone()).or_default() += 1;
            }
            let (outcome, why) = match ran.end {
                End::Skipped => {
                    let when = definition.when.as_ref();
                    ("skipped", when.and_then(|when| function::explain(when, record, &name)))
                }
                End::Dropped => {
                    self.results.insert((name.clone(), record.event.id.clone()), None);
                    ("dropped", None)
                }
                End::Fired { output, to, failed, emitted } => {
                    let result = output.as_ref().map(|output| output.data.clone());
                    self.results.insert((name.clone(), record.event.id.clone()), result);
                    for (index, output) in to.iter().filter_map(|index| Some((*index, output.as_ref()?))) {
                        let place = &runner.outputs[index];
                        self.forward(&place.target, &place.topic_name, &place.event(output));
                    }
                    for (index, why) in failed {
                        self.undecided(&runner.outputs[index], output.as_deref(), &why);
                    }
                    for emission in emitted {
                        self.put(emission.topic, *emission.event);
                    }
                    ("fired", None)
                }
                End::Failed { message, fault } => {
                    if fault == Fault::Passing && schedule.again(&definition.retry, &message) {
                        continue;
                    }
                    ("failed", Some(message))
                }
            };
            self.seen.triggers.entry(name).or_default().push(Outcome { name: outcome, why });
            return;
        }
    }

    /// A result that a target's own condition fails on: given up.
    fn undecided(&mut self, place: &Output, output: Option<&Event>, why: &str) {
        let Some(output) = output else { return };
        let event = place.event(output);
        let record = Arc::new(Record::new(place.topic_name.clone(), TopicId(0), 0, self.now, event));
        let (preview, end) = (Err(why.to_owned()), DeliveryEnd::Dead);
        let delivered = Delivered { record, preview, attempts: 1, end };
        self.seen.targets.entry(place.target.clone()).or_default().push(delivered);
    }

    fn forward(&mut self, target: &Str, topic: &Str, output: &Event) {
        let Some(definition) = self.all.targets.get(target).cloned() else { return };
        match &definition.kind {
            TargetKind::Topic(topic) => {
                let record = Record::new(topic.clone(), TopicId(0), 0, self.now, output.clone());
                self.put(topic.clone(), output.clone());
                self.seen.targets.entry(target.clone()).or_default().push(Delivered {
                    record: Arc::new(record),
                    preview: Err("a topic: the event is stored as it is".to_owned()),
                    attempts: 1,
                    end: DeliveryEnd::Arrived,
                });
            }
            TargetKind::Outside(outside) => {
                let record = Arc::new(Record::new(topic.clone(), TopicId(0), 1, self.now, output.clone()));
                let delivered = self.deliver(&definition, outside.as_ref(), record);
                self.seen.targets.entry(target.clone()).or_default().push(delivered);
            }
        }
    }

    /// The deliveries of one event to a mocked target, by its schedule. Its breaker is left out: it is about many events.
    fn deliver(
        &mut self,
        definition: &TargetDefinition,
        target: &dyn hexafn_actors::target::Target,
        record: Arc<Record>,
    ) -> Delivered {
        let answers = self.test.targets.get(&*definition.name).map_or(&[][..], |mock| &mock.answers);
        let mut schedule = Schedule::new(self.now);
        let preview = target.preview(Delivery { record: &record, attempt: 1, now: self.now });
        let preview = preview.map_err(|failure| failure.message.to_string());
        let mut delivered = Delivered { record, preview, attempts: 0, end: DeliveryEnd::Dead };
        if delivered.preview.is_err() {
            delivered.attempts = 1;
            return delivered;
        }
        if self.disabled.contains(&definition.name) {
            delivered.end = DeliveryEnd::Kept;
            return delivered;
        }
        loop {
            delivered.attempts = schedule.attempt;
            let at = schedule.attempt as usize - 1;
            let answer = answers.get(at).or(answers.last()).cloned().unwrap_or(Answer::Status(200));
            let why = match answer {
                Answer::Status(200..=299) => {
                    delivered.end = DeliveryEnd::Arrived;
                    return delivered;
                }
                Answer::Status(410) => {
                    self.disabled.push(definition.name.clone());
                    delivered.end = DeliveryEnd::Kept;
                    return delivered;
                }
                Answer::Status(status) => format!("answered {status}"),
                Answer::Timeout => "no answer in time".to_owned(),
                Answer::Refused => "no connection".to_owned(),
            };
            if !schedule.again(&definition.retry, &why) {
                return delivered;
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "one at a time, taken apart at once")]
enum Arrived {
    Events(Arrivals),
    Challenge(String),
}

/// The attempts of one thing, on a clock of its own: what waits holds up nothing else.
struct Schedule {
    attempt: u32,
    now: Wall,
    tick: Tick,
    history: History,
}

impl Schedule {
    fn new(now: Wall) -> Self {
        Self { attempt: 1, now, tick: Tick(0), history: History::default() }
    }

    /// Whether there is another attempt; the clock is moved to it.
    fn again(&mut self, strategy: &RestartStrategy, why: &str) -> bool {
        let failure = Failure::new(FailureKind::Reported, why, self.now);
        match decide(strategy, &mut self.history, self.tick, &failure, 0.5) {
            Decision::RestartAt(due) | Decision::OpenUntil(due) => {
                self.now = self.now.plus(due.since(self.tick));
                self.tick = due;
                self.attempt += 1;
                true
            }
            Decision::Quarantine | Decision::Escalate | Decision::DeadLetter => false,
        }
    }
}

fn problem(refused: &DoorError) -> Answered {
    Answered { status: refused.status, code: Some(refused.code.to_owned()), body: refused.detail.to_string() }
}

fn data_of(folder: &Path, send: &SendSettings) -> Result<Bytes, String> {
    match (&send.data, &send.file) {
        (Some(serde_json::Value::String(text)), _) => Ok(text.clone().into()),
        (Some(value), _) => Ok(value.to_string().into()),
        (None, Some(file)) => {
            // As every file that a configuration names: whoever writes one must not thereby read the disk.
            if !Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(format!("`{file}` leads out of the configuration folder; name a file within it"));
            }
            let path = folder.join(file);
            let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(text.into())
        }
        (None, None) => Ok(Bytes::new()),
    }
}
