//! `[[trigger]]`: what it listens to, when it fires, what it runs, where the result goes.

use hexafn_actors::definitions::{On, Ordering, TriggerDefinition};
use hexafn_actors::source::timer::ScheduleConfig;
use hexafn_actors::supervision::strategy::{RawStrategy, RestartStrategy};
use hexafn_actors::topic::pattern::Pattern;
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
    /// The function; without one the event passes on as it is.
    run: Option<String>,
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
        if let Some(name) = raw.run.as_ref().filter(|name| !self.names.functions.contains(name)) {
            let span = node.span_of(&[Step::Key("run")]);
            self.problems.push(self.names.functions.unknown(name, span, &format!("`run` of {who}")));
        }
        for (index, name) in raw.to.0.iter().enumerate() {
            self.check_target(node, index, name, &who);
        }
        let emits = raw.run.as_ref().is_some_and(|name| self.emitting.contains(name));
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
        let modules = when.as_ref().map(|when| self.modules.texts_of(when)).unwrap_or_default();
        let parts: Vec<&[u8]> = modules.iter().map(|m| m.as_bytes()).collect();
        Some(TriggerDefinition {
            name: raw.name.into(),
            on: on?,
            when,
            run: raw.run.map(Into::into),
            to: raw.to.0.into_iter().map(Into::into).collect(),
            priority: raw.priority,
            enabled: raw.enabled,
            ordering: raw.ordering,
            retry,
            origin: self.origin(&node.span),
            fingerprint: fingerprint::of(node, &parts),
        })
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
            Value::String(text) => match Pattern::new(text) {
                Ok(pattern) => Some(On::Topic(pattern.as_str().into())),
                Err(error) => {
                    self.problems.push(
                        Problem::error(&codes::NAME, on.span.clone(), format!("`on` of {who}: {error}")).help(
                            "a topic such as `orders.paid`, or a pattern: `*` is one segment, a last `>` all the rest",
                        ),
                    );
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
