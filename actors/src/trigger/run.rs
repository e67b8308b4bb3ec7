//! One trigger as plain state: the condition, the function chain, the outputs. No actor, no clock, no log: a record
//! goes in, what to write and what to say comes out; at once, unless a function of the chain has workers.

use bytes::Bytes;
use futures_util::FutureExt;
use hexafn_runtimes::{Code, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Wall;
use crate::definitions::TriggerDefinition;
use crate::event::{Event, Str};
use crate::function::{self, Emitted, Execution, Function, Produced};
use crate::log::{Op, Ops, Record, TopicId};
use crate::supervision::front::Front;
use crate::target::redact::Redactor;
use crate::topic::TopicMessage;
use crate::topic::letter::Undecided;

/// Triggers that an event may pass before it is taken for a cycle.
pub const MAX_HOPS: u8 = 16;

/// Where a result goes: the topic of a topic target, or the outbox of another.
#[derive(Debug, Clone)]
pub struct Output {
    /// The target's name.
    pub target: Str,
    /// The topic to append to.
    pub topic: TopicId,
    /// The topic's name.
    pub topic_name: Str,
    /// Conditional delivery: only results for which this holds.
    pub when: Option<hexafn_dsl::Program>,
    /// Takes out what the target must not see.
    pub redact: Option<Arc<Redactor>>,
    /// The topic itself, when it lives in memory: it is published to, since the log has no place for it.
    pub memory: Option<Front<TopicMessage>>,
    /// Where results go for which `when` fails; nowhere in a run that writes nothing.
    pub undecided: Option<Undecided>,
}

impl Output {
    /// Whether what this target is given would be about itself: its breaker, its switch. What it could not be told while it
    /// was down would come in a heap once it is back, one for each rest of its breaker.
    fn is_subject(&self, input: &Event) -> bool {
        let about_a_target = ["hexafn.breaker.", "hexafn.target."].iter().any(|kind| input.kind.starts_with(kind));
        input.told && about_a_target && input.subject.as_deref() == Some(&*self.target)
    }

    /// A result as the target sees it.
    pub fn event(&self, result: &Event) -> Event {
        self.redact.as_ref().map_or_else(|| result.clone(), |redactor| redactor.redact(result))
    }
}

/// Finds the topics that functions name while they run.
pub trait Topics: Send + Sync {
    /// The place of a topic; made when it is named for the first time.
    ///
    /// # Errors
    /// There are too many topics, or the log failed.
    fn place(&self, topic: &Str) -> Result<Place, String>;
}

/// Where to append.
#[derive(Debug, Clone)]
pub struct Place {
    /// The topic's number.
    pub id: TopicId,
    /// The topic itself, when it lives in memory.
    pub memory: Option<Front<TopicMessage>>,
}

/// An event that a function emitted, on its way.
#[derive(Debug)]
pub struct Emission {
    /// The topic's name.
    pub topic: Str,
    /// Where it is.
    pub place: Place,
    /// The event.
    pub event: Box<Event>,
}

/// A trigger with everything that it needs, resolved.
pub struct Runner {
    /// The definition.
    pub definition: Arc<TriggerDefinition>,
    /// The functions of the definition, each with its fallbacks in order; none when the data is passed on.
    pub chains: Vec<Vec<Function>>,
    /// Where results go.
    pub outputs: Vec<Output>,
    /// Where what functions emit goes.
    pub topics: Arc<dyn Topics>,
    source: Str,
    json: Str,
}

/// What a record led to.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// Time of the condition.
    pub condition: Duration,
    /// The runs of the chain.
    pub executions: Vec<Execution>,
    /// What they stored: takes effect when it ended well.
    pub writes: Vec<Write>,
}

/// How the run of a trigger ended.
#[derive(Debug)]
pub enum End {
    /// The condition did not hold.
    Skipped,
    /// The function dropped the event.
    Dropped,
    /// There is a result, or something was emitted.
    Fired {
        /// The result, as it will be stored; `None` when the function dropped it after it had emitted.
        output: Option<Box<Event>>,
        /// Indexes into the runner's outputs: where the result goes.
        to: Vec<usize>,
        /// Those whose own `when` failed on it, and why.
        failed: Vec<(usize, Str)>,
        /// What the function emitted.
        emitted: Vec<Emission>,
    },
    /// The condition or the whole chain failed.
    Failed {
        /// Why.
        message: String,
        /// Whose fault it is.
        fault: Fault,
    },
}

/// What a failed run says of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It may go well when it is tried again.
    Passing,
    /// Trying again cannot help.
    Permanent,
    /// Trying again cannot help, and the trigger is not to blame: the condition fails on the event, it is not what `input` of
    /// the function demands, or it names no function. Whoever may send such events must not stop the trigger for all others by them.
    Event,
}

impl Runner {
    /// A trigger with its functions and outputs.
    pub fn new(
        definition: Arc<TriggerDefinition>,
        chains: Vec<Vec<Function>>,
        outputs: Vec<Output>,
        topics: Arc<dyn Topics>,
    ) -> Self {
        let source = format!("/triggers/{}", definition.name).into();
        Self { definition, chains, outputs, topics, source, json: "application/json".into() }
    }

    /// Whether a run needs no waiting: [`Runner::run_now`] gives its result.
    pub fn is_inline(&self) -> bool {
        self.chains.iter().flatten().all(Function::is_inline)
    }

    /// A run of a runner that is inline.
    pub fn run_now(&self, record: &Record, attempt: u32, now: Wall) -> Ran {
        self.run(record, attempt, now).now_or_never().unwrap_or_else(|| Ran {
            end: End::Failed {
                message: "its functions have workers, and were not waited for".to_owned(),
                fault: Fault::Passing,
            },
            condition: Duration::ZERO,
            executions: Vec::new(),
            writes: Vec::new(),
        })
    }

    /// Evaluates the condition, runs the chain, makes the output. The same record gives the same output id.
    pub async fn run(&self, record: &Record, attempt: u32, now: Wall) -> Ran {
        let started = Instant::now();
        let definition = &self.definition;
        let mut ran = Ran { end: End::Skipped, condition: Duration::ZERO, executions: Vec::new(), writes: Vec::new() };
        if record.event.hops >= MAX_HOPS {
            ran.end = End::Failed {
                message: format!("the event has passed {MAX_HOPS} triggers: triggers feed each other in a cycle"),
                fault: Fault::Permanent,
            };
            return ran;
        }
        let holds = match &definition.when {
            None => Ok(true),
            Some(condition) => function::test(condition, record, &definition.name, attempt),
        };
        ran.condition = started.elapsed();
        match holds {
            Ok(false) => return ran,
            Ok(true) => {}
            Err(error) => {
                ran.end = End::Failed { message: format!("condition: {error}"), fault: Fault::Event };
                return ran;
            }
        }
        ran.end = match self.execute(record, attempt, now, &mut ran.executions).await {
            Ok(mut produced) => {
                ran.writes = std::mem::take(&mut produced.writes);
                if produced.output.is_none() && produced.emitted.is_empty() {
                    End::Dropped
                } else {
                    self.produced(record, produced, attempt, now)
                }
            }
            Err((message, fault)) => End::Failed { message, fault },
        };
        ran
    }

    fn produced(&self, record: &Record, produced: Produced, attempt: u32, now: Wall) -> End {
        let emitted = match self.emissions(record, produced.emitted, now) {
            Ok(emitted) => emitted,
            Err(message) => return End::Failed { message, fault: Fault::Passing },
        };
        match produced.output.map(|data| self.produce(record, data, attempt, now)) {
            Some((output, to, failed)) => End::Fired { output: Some(output), to, failed, emitted },
            None => End::Fired { output: None, to: Vec::new(), failed: Vec::new(), emitted },
        }
    }

    /// What a function emitted, with ids that are the same when the record is run again.
    fn emissions(&self, record: &Record, emitted: Vec<Emitted>, now: Wall) -> Result<Vec<Emission>, String> {
        let (input, name) = (&record.event, &self.definition.name);
        let mut emissions = Vec::with_capacity(emitted.len());
        for (at, one) in emitted.into_iter().enumerate() {
            let place = self.topics.place(&one.topic).map_err(|e| format!("emit to `{}`: {e}", one.topic))?;
            // A dot is in no name of a trigger, so no result of another one has this id.
            let id = format!("{}-{name}.{}", input.stem(), at + 1).into();
            let mut event = input.derive(id, self.source.clone(), Some(self.json.clone()), one.data, now);
            event.key = one.key;
            emissions.push(Emission { topic: one.topic, place, event: Box::new(event.without_schema()) });
        }
        Ok(emissions)
    }

    /// The function for this event, and its fallbacks.
    fn chain(&self, record: &Record, attempt: u32) -> Result<&[Function], String> {
        let Some(by) = &self.definition.run.by else { return Ok(self.chains.first().map_or(&[], Vec::as_slice)) };
        let wrong = |what: String| format!("`run.by` {what}");
        let name =
            function::text(by, record, &self.definition.name, attempt).map_err(|e| wrong(format!("failed: {e}")))?;
        let at = self.definition.run.of.iter().position(|one| **one == *name);
        at.and_then(|at| self.chains.get(at)).map(Vec::as_slice).ok_or_else(|| {
            let names = self.definition.run.of.join(", ");
            wrong(format!("gave `{}`, which is not in `run.of`; there are {names}", name.escape_debug()))
        })
    }

    async fn execute(
        &self,
        record: &Record,
        attempt: u32,
        now: Wall,
        executions: &mut Vec<Execution>,
    ) -> Result<Produced, (String, Fault)> {
        let mut last = None;
        let mut fault = Fault::Event;
        for function in self.chain(record, attempt).map_err(|message| (message, Fault::Event))? {
            let (result, execution) = function.run(record, &self.definition.name, attempt, now).await;
            executions.push(execution);
            match result {
                Ok(produced) => return Ok(produced),
                Err(error) => {
                    if *error.code != *Code::Input.as_str() {
                        fault = Fault::Passing;
                    }
                    last = Some(error);
                }
            }
        }
        match last {
            None => Ok(Produced { output: Some(record.event.data.clone()), emitted: Vec::new(), writes: Vec::new() }),
            Some(error) => Err((error.to_string(), fault)),
        }
    }

    /// The result as an event, the outputs that it goes to, and those that cannot say: what one target's condition does with
    /// a result is no matter of the others.
    fn produce(
        &self,
        record: &Record,
        data: Bytes,
        attempt: u32,
        now: Wall,
    ) -> (Box<Event>, Vec<usize>, Vec<(usize, Str)>) {
        let input = &record.event;
        let name = &self.definition.name;
        let passed_on = self.chains.is_empty();
        let content_type = if passed_on { input.content_type.clone() } else { Some(self.json.clone()) };
        let output =
            input.derive(format!("{}-{name}", input.stem()).into(), self.source.clone(), content_type, data, now);
        let mut output = if passed_on { output } else { output.without_schema() };
        let mut to = Vec::with_capacity(self.outputs.len());
        let mut failed = Vec::new();
        for (index, target) in self.outputs.iter().enumerate() {
            if target.is_subject(input) {
                continue;
            }
            let Some(when) = &target.when else {
                to.push(index);
                continue;
            };
            // The condition sees the result in the place that it will have.
            let place = Record::new(target.topic_name.clone(), target.topic, 0, now, output);
            let holds = function::test(when, &place, name, attempt);
            output = place.event;
            match holds {
                Ok(true) => to.push(index),
                Ok(false) => {}
                Err(error) => {
                    // It tells values, and is kept and shown beyond what the target may see.
                    let why = match &target.redact {
                        None => format!("template: `when` fails: {error}"),
                        Some(_) => format!(
                            "template: `when` fails with {}; more is not said, since the target redacts",
                            error.code
                        ),
                    };
                    failed.push((index, why.into()));
                }
            }
        }
        (Box::new(output), to, failed)
    }

    /// The appends of a result. What goes to a topic in memory is added to what others had for such.
    pub fn ops(&self, output: Option<&Event>, to: &[usize], emitted: Vec<Emission>, memory: &mut InMemory) -> Ops {
        let mut ops = Ops::new();
        let mut append = |topic, front: Option<&_>, event| match front {
            None => ops.push(Op::Append { topic, event, dedupe: None }),
            Some(front) => memory.push(front, *event),
        };
        for (target, output) in to.iter().filter_map(|&index| Some((self.outputs.get(index)?, output?))) {
            append(target.topic, target.memory.as_ref(), Box::new(target.event(output)));
        }
        for emission in emitted {
            append(emission.place.id, emission.place.memory.as_ref(), emission.event);
        }
        ops
    }
}

/// What goes to topics in memory: of each, its events in their order.
#[derive(Debug, Default)]
pub struct InMemory(pub Vec<(Front<TopicMessage>, Vec<Event>)>);

impl InMemory {
    fn push(&mut self, topic: &Front<TopicMessage>, event: Event) {
        match self.0.iter_mut().find(|(front, _)| front.leads_where(topic)) {
            Some((_, events)) => events.push(event),
            None => self.0.push((topic.clone(), vec![event])),
        }
    }
}
