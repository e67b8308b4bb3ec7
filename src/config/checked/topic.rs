//! `[[topic]]`: settings of a topic. A topic without a table of its own has the defaults.

use hexafn_actors::definitions::{Retention, TopicDefinition, TopicDurability};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;
use std::time::Duration;

use super::{Checker, who};
use crate::config::codes;
use crate::config::problem::Problem;
use crate::config::read::read;
use crate::config::settings;
use crate::config::size::Size;
use crate::config::tree::{Node, Step};

/// `[[topic]]`: settings of a topic. A topic without a table of its own has the defaults.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTopic {
    /// Its name: words joined by dots.
    name: String,
    /// Where its events are kept.
    #[serde(default)]
    durability: RawDurability,
    /// What is removed, whichever bound is reached first.
    #[serde(default)]
    retention: RawRetention,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
enum RawDurability {
    /// On disk before the answer.
    #[default]
    Disk,
    /// Fast, and lost at a restart.
    Memory,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct RawRetention {
    /// The oldest event that is kept.
    age: Option<Bound<Age>>,
    /// How many events are kept.
    count: Option<Bound<Count>>,
    /// How much is kept.
    size: Option<Bound<Size>>,
}

#[derive(JsonSchema)]
#[schemars(transparent)]
struct Age(#[schemars(schema_with = "settings::length::schema")] Duration);

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        settings::length::deserialize(from).map(Self)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Count(u64);

/// A bound, or the word `unlimited`.
enum Bound<T> {
    Unlimited,
    Some(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bound<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Bound<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a bound with its unit, or \"unlimited\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "unlimited" {
                    return Ok(Bound::Unlimited);
                }
                T::deserialize(de::value::StrDeserializer::new(text)).map(Bound::Some)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                T::deserialize(de::value::I64Deserializer::new(n)).map(Bound::Some)
            }
        }
        from.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Bound<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bound_for_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "anyOf": [generator.subschema_for::<T>(), { "type": "string", "const": "unlimited" }],
        })
    }
}

impl<T> Bound<T> {
    fn or<U>(this: Option<Self>, default: Option<U>, value: impl Fn(T) -> U) -> Option<U> {
        match this {
            None => default,
            Some(Self::Unlimited) => None,
            Some(Self::Some(bound)) => Some(value(bound)),
        }
    }
}

impl Checker<'_> {
    /// What of a topic of hexaFn itself cannot be meant: letters in memory, or those of nobody.
    fn own_topic(&mut self, node: &Node, raw: &RawTopic) {
        let Some(own) = raw.name.strip_prefix("hexafn.") else { return };
        if matches!(raw.durability, RawDurability::Memory) {
            let message = format!("topic `{}` cannot be in memory: nobody else has what it holds", raw.name);
            let span = node.span_of(&[Step::Key("durability")]);
            self.problems.push(Problem::error(&codes::VALUE, span, message).help("leave `durability` out"));
        }
        let Some((kind, name)) = own.strip_prefix("dead.").and_then(|subscription| subscription.split_once('.')) else {
            return;
        };
        let known = match kind {
            "trigger" => &self.names.triggers,
            "target" => &self.names.targets,
            "source" => &self.names.sources,
            _ => return,
        };
        if !known.contains(name) {
            let problem = known.unknown(name, node.span_of(&[Step::Key("name")]), "the topic of dead letters");
            // What would be put there is the name alone.
            self.problems.push(Problem { replacement: None, ..problem });
        }
    }

    pub(super) fn topic(&mut self, node: &Node) -> Option<TopicDefinition> {
        let raw: RawTopic = read(node, &who("topic", node), self.problems)?;
        let default = Retention::of(&raw.name);
        self.own_topic(node, &raw);
        Some(TopicDefinition {
            name: raw.name.into(),
            durability: match raw.durability {
                RawDurability::Disk => TopicDurability::Disk,
                RawDurability::Memory => TopicDurability::Memory,
            },
            retention: Retention {
                age: Bound::or(raw.retention.age, default.age, |a| a.0),
                count: Bound::or(raw.retention.count, default.count, |c| c.0),
                bytes: Bound::or(raw.retention.size, default.bytes, |s| s.0),
            },
        })
    }
}
