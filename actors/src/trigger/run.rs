//! One trigger as plain state: the condition, the function chain, the outputs. No actor, no clock, no log: a record
//! goes in, what to write and what to say comes out.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Wall;
use crate::definitions::TriggerDefinition;
use crate::event::{Event, Str};
use crate::function::{self, Execution, Function, Outcome};
use crate::log::{Op, Ops, Record, TopicId};
use crate::supervision::front::Front;
use crate::topic::TopicMessage;

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
    /// The topic itself, when it lives in memory: it is published to, since the log has no place for it.
    pub memory: Option<Front<TopicMessage>>,
}

/// A trigger with everything that it needs, resolved.
pub struct Runner {
    /// The definition.
    pub definition: Arc<TriggerDefinition>,
    /// The function and its fallbacks, in order; empty when the data is passed on.
    pub chain: Vec<Function>,
    /// Where results go.
    pub outputs: Vec<Output>,
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
}

/// How the run of a trigger ended.
#[derive(Debug)]
pub enum End {
    /// The condition did not hold.
    Skipped,
    /// The function dropped the event.
    Dropped,
    /// There is a result, and where it goes.
    Fired {
        /// The result, as it will be stored.
        output: Box<Event>,
        /// Indexes into the runner's outputs.
        to: Vec<usize>,
    },
    /// The condition or the whole chain failed.
    Failed {
        /// Why.
        message: String,
        /// Trying again cannot help.
        permanent: bool,
    },
}

impl Runner {
    /// A trigger with its functions and outputs.
    pub fn new(definition: Arc<TriggerDefinition>, chain: Vec<Function>, outputs: Vec<Output>) -> Self {
        let source = format!("/triggers/{}", definition.name).into();
        Self { definition, chain, outputs, source, json: "application/json".into() }
    }

    /// Evaluates the condition, runs the chain, makes the output. The same record gives the same output id.
    pub fn run(&self, record: &Record, attempt: u32, now: Wall) -> Ran {
        let started = Instant::now();
        let definition = &self.definition;
        let mut ran = Ran { end: End::Skipped, condition: Duration::ZERO, executions: Vec::new() };
        if record.event.hops >= MAX_HOPS {
            ran.end = End::Failed {
                message: format!("the event has passed {MAX_HOPS} triggers: triggers feed each other in a cycle"),
                permanent: true,
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
                ran.end = End::Failed { message: format!("condition: {error}"), permanent: false };
                return ran;
            }
        }
        let data = match self.execute(record, attempt, now, &mut ran.executions) {
            Ok(Some(data)) => data,
            Ok(None) => {
                ran.end = End::Dropped;
                return ran;
            }
            Err(message) => {
                ran.end = End::Failed { message, permanent: false };
                return ran;
            }
        };
        ran.end = self.produce(record, data, attempt, now);
        ran
    }

    fn execute(
        &self,
        record: &Record,
        attempt: u32,
        now: Wall,
        executions: &mut Vec<Execution>,
    ) -> Result<Option<Bytes>, String> {
        let mut last = None;
        for function in &self.chain {
            let (result, execution) = function.run(record, &self.definition.name, attempt, now);
            executions.push(execution);
            match result {
                Ok(Outcome::Output(data)) => return Ok(Some(data)),
                Ok(Outcome::Drop) => return Ok(None),
                Err(error) => last = Some(error),
            }
        }
        match last {
            None => Ok(Some(record.event.data.clone())),
            Some(error) => Err(error.to_string()),
        }
    }

    fn produce(&self, record: &Record, data: Bytes, attempt: u32, now: Wall) -> End {
        let input = &record.event;
        let name = &self.definition.name;
        let passed_on = self.chain.is_empty();
        let content_type = if passed_on { input.content_type.clone() } else { Some(self.json.clone()) };
        let output = input.derive(format!("{}-{name}", input.id).into(), self.source.clone(), content_type, data, now);
        let mut to = Vec::with_capacity(self.outputs.len());
        let mut output = output;
        for (index, target) in self.outputs.iter().enumerate() {
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
                    let message = format!("`when` of target `{}`: {error}", target.target);
                    return End::Failed { message, permanent: false };
                }
            }
        }
        End::Fired { output: Box::new(output), to }
    }

    /// The appends of a result. What goes to a topic in memory is sent at once, and lost where that topic is too busy:
    /// that is what `durability = "memory"` means.
    pub fn ops(&self, output: &Event, to: &[usize]) -> Ops {
        let mut ops = Ops::new();
        for &index in to {
            let target = &self.outputs[index];
            let event = Box::new(output.clone());
            match &target.memory {
                None => ops.push(Op::Append { topic: target.topic, event, dedupe: None }),
                Some(front) => {
                    if let Err(error) = front.try_send(TopicMessage::Publish { event, reply: None }) {
                        tracing::warn!(topic = %target.topic_name, %error, "a result was lost by a topic in memory");
                    }
                }
            }
        }
        ops
    }
}
