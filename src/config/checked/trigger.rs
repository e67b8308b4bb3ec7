//! `[[trigger]]`: what it listens to, when it fires, what it runs, where the result goes.

use hexafn_actors::definitions::{On, Ordering, Run, TriggerDefinition};
use hexafn_actors::source::timer::ScheduleConfig;
use hexafn_actors::supervision::strategy::{RawStrategy, RestartStrategy};
use hexafn_actors::topic::pattern::{self, Pattern};
use hexafn_dsl::ProgramKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;

use super::{Checker, who};
use crate::config::problem::Problem;
use crate::config::read::{Reader, read};
use crate::config::tree::{Node, Step, Value};
use crate::config::{codes, fingerprint, settings};

/// `[[trigger]]`: on which events what runs, and where the result goes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrigger {
    /// Its name.
    name: String,
    /// A topic, a pattern of topics, a timer, or changes of the key-value store.
    #[serde(rename = "on")]
    #[schemars(schema_with = "on")]
    _on: IgnoredAny,
    /// The condition, in the language of hexaFn; always when absent.
    #[serde(rename = "when")]
    _when: Option<String>,
    /// The function, or several and which of them; without one the event passes on as it is.
    #[serde(rename = "run", default)]
    #[schemars(schema_with = "run")]
    _run: Option<IgnoredAny>,
    /// The targets of the result.
    #[serde(default)]
    to: OneOrMany,
    /// Of several triggers on one topic the higher is served first.
    #[serde(default)]
    priority: i32,
    /// A switch set at run time wins.
    #[serde(default = "yes")]
    enabled: bool,
    /// The order in which events are processed.
    #[serde(default)]
    ordering: Ordering,
    /// When a failed run is tried again, and when it becomes a dead letter.
    #[serde(default)]
    retry: RawStrategy,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
}

fn yes() -> bool {
    true
}

/// A topic or pattern, a timer, or a change of the key-value store.
fn on(generator: &mut SchemaGenerator) -> Schema {
    let topic = json_schema!({
        "type": "string",
        "description": "A topic, or a pattern: `*` is one segment, a last `>` all the rest.",
        "pattern": r"^(([A-Za-z0-9_-]+|\*)\.)*([A-Za-z0-9_-]+|\*|>)$",
        "examples": ["orders", "orders.*", "orders.>"],
    });
    let (timer, kv) = (generator.subschema_for::<ScheduleConfig>(), generator.subschema_for::<Kv>());
    json_schema!({ "anyOf": [topic, timer, kv] })
}

/// A function, or several and an expression that says which.
fn run(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<RawRun>(), { "type": "null" }] })
}

/// Several functions, one of which runs for each event.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRun {
    /// Gives the name of one of them, in the language of hexaFn.
    #[serde(rename = "by")]
    _by: String,
    /// The functions.
    of: Vec<String>,
}

/// Changes of the key-value store.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kv {
    /// The namespace.
    kv: String,
    /// What the keys begin with.
    #[serde(default)]
    prefix: String,
}

/// One name, or an array of names.
#[derive(Default, Serialize)]
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of names")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![name.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany(names))
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<Vec<String>>(), { "type": "string" }] })
    }
}

impl Checker<'_> {
    pub(super) fn trigger(&mut self, node: &Node) -> Option<TriggerDefinition> {
        let who = who("trigger", node);
        let errors = self.problems.errors();
        let on = self.on(node, &who);
        let name = node.get("name").and_then(Node::text).unwrap_or_default();
        self.known = self.expected.triggers.get(name).cloned();
        let when = self.compile(node, &[Step::Key("when")], ProgramKind::Condition, &format!("`when` of {who}"));
        self.known = None;
        let raw: RawTrigger = Reader::new(node, &who).read_what_fits(self.problems).0?;
        let run = self.run(node, &who);
        for (index, name) in raw.to.0.iter().enumerate() {
            self.check_target(node, index, name, &who);
        }
        let emits = run.as_ref().is_some_and(|run| run.of.iter().any(|name| self.emitting.contains(&**name)));
        if raw.to.0.is_empty() && !emits && !self.answering.contains(raw.name.as_str()) {
            let span = node.entry("to").map_or_else(|| node.span.clone(), |e| e.key_span.clone());
            self.problems.push(
                Problem::warning(&codes::UNUSED, span, format!("the results of {who} go nowhere"))
                    .help("name targets: to = [\"…\"]; a topic is a target of kind \"topic\""),
            );
        }
        let retry = [Step::Key("retry")];
        let what = format!("`retry` of {who}");
        let retry = settings::strategy(node, &retry, &what, &raw.retry, RestartStrategy::delivery(), self.problems);
        if self.problems.errors() > errors {
            return None;
        }
        let run = run?;
        let programs = when.iter().chain(&run.by);
        let modules: Vec<_> = programs.flat_map(|program| self.modules.texts_of(program)).collect();
        let parts: Vec<&[u8]> = modules.iter().map(|m| m.as_bytes()).collect();
        Some(TriggerDefinition {
            name: raw.name.into(),
            on: on?,
            when,
            run,
            to: raw.to.0.into_iter().map(Into::into).collect(),
            priority: raw.priority,
            enabled: raw.enabled,
            ordering: raw.ordering,
            retry,
            origin: self.origin(&node.span),
            fingerprint: fingerprint::of(node, &parts),
        })
    }

    /// A function, or several and which of them; `None` where something is wrong.
    fn run(&mut self, node: &Node, who: &str) -> Option<Run> {
        let Some(run) = node.get("run") else { return Some(Run::default()) };
        let what = format!("`run` of {who}");
        let check = |checker: &mut Self, name: &str, path: &[Step<'_>]| {
            let known = checker.names.functions.contains(name);
            if !known {
                checker.problems.push(checker.names.functions.unknown(name, node.span_of(path), &what));
            }
            known
        };
        match &run.value {
            Value::String(name) => check(self, name, &[Step::Key("run")]).then(|| Run::from(name.as_str())),
            Value::Table(_) => {
                let (key, by) = (Step::Key("run"), Step::Key("by"));
                let by = self.compile(node, &[key, by], ProgramKind::Function, &format!("`run.by` of {who}"));
                let raw: RawRun = read(run, &what, self.problems)?;
                let at = |index| [key, Step::Key("of"), Step::Index(index)];
                let mut known = !raw.of.is_empty();
                if !known {
                    let span = node.span_of(&[key, Step::Key("of")]);
                    let problem = Problem::error(&codes::VALUE, span, format!("`run.of` of {who} is empty"));
                    self.problems.push(problem.help("name the functions that `by` chooses from: of = [\"…\", \"…\"]"));
                }
                for (index, name) in raw.of.iter().enumerate() {
                    known &= check(self, name, &at(index));
                    if raw.of[..index].contains(name) {
                        let message = format!("`run.of` of {who} names the function `{name}` twice");
                        let problem = Problem::error(&codes::DUPLICATE, node.span_of(&at(index)), message);
                        self.problems.push(problem.help("remove one"));
                    }
                }
                Some(Run { by: Some(by?), of: raw.of.into_iter().map(Into::into).collect() }).filter(|_| known)
            }
            _ => {
                let message = format!("{what} must be a function or a table");
                self.problems.push(
                    Problem::error(&codes::VALUE, run.span.clone(), message)
                        .label(format!("this is {}", run.kind()))
                        .help("for example run = \"score\", or run = { by = 'event.headers[\"x-runtime\"] ?? \"score\"', of = [\"score\", \"score-lua\"] }"),
                );
                None
            }
        }
    }

    fn check_target(&mut self, node: &Node, index: usize, name: &str, who: &str) {
        let to = node.get("to");
        let step = Step::Index(index);
        let span = to.map_or(node.span.clone(), |to| to.span_of(&[step]));
        let earlier = to.map_or(&[][..], Node::items).iter().take(index).any(|n| n.text() == Some(name));
        if earlier {
            let message = format!("`to` of {who} names the target `{name}` twice");
            self.problems.push(
                Problem::error(&codes::DUPLICATE, span, message).help("each target gets the result once; remove one"),
            );
        } else if !self.names.targets.contains(name) {
            let problem = self.names.targets.unknown(name, span, &format!("`to` of {who}"));
            let topic = self.names.topics.contains(name);
            self.problems.push(if topic {
                problem.help(format!(
                    "`{name}` is a topic; a target makes it one to send to:\n\
                     [[target]]\nname = \"{name}\"\nkind = \"topic\"\ntopic = \"{name}\""
                ))
            } else {
                problem
            });
        }
    }

    /// A topic or pattern, a timer, or a change of the key-value store.
    fn on(&mut self, node: &Node, who: &str) -> Option<On> {
        let on = node.get("on")?;
        match &on.value {
            Value::String(text) => match Pattern::subscribable(text) {
                Ok(pattern) => Some(On::Topic(pattern.as_str().into())),
                Err(error) => {
                    let problem = Problem::error(&codes::NAME, on.span.clone(), format!("`on` of {who}: {error}"));
                    // What to write instead of a queue is said with the error.
                    self.problems.push(match error {
                        pattern::Error::Queue(_) => problem,
                        _ => problem.help(
                            "a topic such as `orders.paid`, or a pattern: `*` is one segment, a last `>` all the rest",
                        ),
                    });
                    None
                }
            },
            Value::Table(_) if on.get("kv").is_some() => {
                let kv: Kv = read(on, &format!("`on` of {who}"), self.problems)?;
                Some(On::Kv { namespace: kv.kv.into(), prefix: kv.prefix.into() })
            }
            Value::Table(_) => self.schedule(on, &format!("`on` of {who}")).map(On::Timer),
            _ => {
                let message = format!("`on` of {who} must be a topic or a table");
                self.problems.push(
                    Problem::error(&codes::VALUE, on.span.clone(), message).label(format!("this is {}", on.kind())).help(
                        "for example on = \"github\", on = \"orders.*\", on = { every = \"5m\" } or on = { cron = \"0 9 * * MON\", tz = \"Europe/Berlin\" }",
                    ),
                );
                None
            }
        }
    }
}
