//! `[[test]]`: what is sent in, how mocked targets answer, and what is expected. Read and checked here; run by
//! `hexafn test`, never by the service.

use hexafn_actors::clock::Wall;
use hexafn_actors::event::Str;
use hexafn_actors::supervision::duration::Span;
use hexafn_dsl::{Program, ProgramKind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{AllNames, Checker, who};
use crate::config::codes;
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::tree::{Node, Step};

/// A test of the configuration.
#[derive(Debug, Clone)]
pub struct TestSettings {
    /// Its name: a sentence that says what holds.
    pub name: Str,
    /// Where it stands, such as `config/tests.toml:12`.
    pub origin: Str,
    /// The time at its beginning.
    pub now: Wall,
    /// What is sent in, in order.
    pub send: Vec<SendSettings>,
    /// How the mocked targets answer; one that is not named answers 200.
    pub targets: BTreeMap<String, MockSettings>,
    /// What must hold at the end.
    pub expect: Vec<ExpectSettings>,
}

/// One thing that is sent in: a request to a source, a tick of a timer, or an event on a topic.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["source"] }, { "required": ["topic"] }]))]
pub struct SendSettings {
    /// A webhook source: the request is signed as it expects. A timer source: it ticks.
    pub source: Option<String>,
    /// A topic, published to by hand.
    pub topic: Option<String>,
    /// The event type, where the source's scheme has a header for it, or of the event on a topic.
    pub event: Option<String>,
    /// The data: a text, sent as it is, or a table, sent as JSON.
    pub data: Option<Value>,
    /// A file in the configuration folder that holds it.
    pub file: Option<String>,
    /// The media type of a request.
    #[serde(default = "json")]
    pub content_type: String,
    /// More headers of a request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The delivery id; each request has one of its own when absent.
    pub id: Option<String>,
    /// The ordering key of an event on a topic.
    pub key: Option<String>,
    /// The subject of an event on a topic.
    pub subject: Option<String>,
    /// `false` leaves out the signature.
    #[serde(default = "yes")]
    pub signed: bool,
    /// The clock is moved on by this first.
    pub after: Option<Span>,
}

fn json() -> String {
    "application/json".into()
}

fn yes() -> bool {
    true
}

/// How a mocked target answers: the first attempt, the second, …; the last answer is repeated.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MockSettings {
    /// The answers.
    pub answers: Vec<Answer>,
}

/// An answer of a mocked target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status of HTTP; 2xx is a delivery, also for targets of other kinds.
    Status(u16),
    /// No answer in time.
    Timeout,
    /// No connection.
    Refused,
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Number(n) if n.as_u64().is_some_and(|n| (100..=599).contains(&n)) => {
                Ok(Self::Status(n.as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(500)))
            }
            Value::String(text) if text == "timeout" => Ok(Self::Timeout),
            Value::String(text) if text == "refused" => Ok(Self::Refused),
            _ => Err(de::Error::custom("not an answer; write a status such as 503, or \"timeout\", or \"refused\"")),
        }
    }
}

impl JsonSchema for Answer {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Answer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599, "description": "A status of HTTP." },
                { "type": "string", "enum": ["timeout", "refused"] },
            ],
        })
    }
}

/// What must hold. What is named is compared, what is left out is not.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectSettings {
    /// The status of the answer to the last request.
    pub status: Option<u16>,
    /// Its stable code, when it is a problem.
    pub code: Option<String>,
    /// The body of the answer, for a source that replies with a result.
    pub answer: Option<Value>,
    /// A trigger, with `outcome`.
    pub trigger: Option<String>,
    #[schemars(extend("enum" = OUTCOMES))]
    /// `fired`, `skipped`, `dropped`, `failed`, or `none` when nothing reached it.
    pub outcome: Option<String>,
    /// A target: what follows is about the events delivered to it.
    pub target: Option<String>,
    /// A topic: what follows is about the events stored in it.
    pub topic: Option<String>,
    /// How many events there are.
    pub count: Option<usize>,
    /// How many attempts the delivery of one took.
    pub attempts: Option<u32>,
    /// Whether one ended as a dead letter.
    pub dead: Option<bool>,
    /// The data of one, exactly.
    pub data: Option<Value>,
    /// Members that the data of one has, at least.
    pub contains: Option<Value>,
    /// The key of one.
    pub key: Option<String>,
    /// What is sent for one, at least: `destination`, `headers`, `body`.
    pub sends: Option<Value>,
    /// A condition in the language of hexaFn that holds for one.
    #[serde(rename = "assert")]
    pub assert_text: Option<String>,
    /// `assert`, compiled.
    #[serde(skip)]
    pub assert: Option<Program>,
    /// Where it stands.
    #[serde(skip)]
    pub origin: Str,
}

/// What becomes of a trigger.
const OUTCOMES: [&str; 5] = ["fired", "skipped", "dropped", "failed", "none"];

/// `[[test]]`: a test of the configuration, run by `hexafn test`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "send", "expect"]))]
pub(super) struct RawTest {
    /// A sentence that says what holds.
    name: Str,
    /// The time at its beginning; 2026-01-01T00:00:00Z when absent.
    #[serde(default, deserialize_with = "moment")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    now: Option<Wall>,
    /// What is sent in, in order.
    #[serde(default)]
    send: OneOrMany<SendSettings>,
    /// How the mocked targets answer; one that is not named answers 200.
    #[serde(default)]
    targets: BTreeMap<String, MockSettings>,
    /// What must hold at the end.
    #[serde(default)]
    expect: OneOrMany<ExpectSettings>,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
}

/// A table, or an array of tables.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    // Not serde's `untagged`, which forgets what was wrong, and where.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table, or an array of tables")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(OneOrMany::Many(all))
            }
        }
        from.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A fixed moment, so that a test gives the same every day: 2026-01-01T00:00:00Z.
const BEGINNING: Wall = Wall(1_767_225_600_000_000);

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Wall>, D::Error> {
    let text = String::deserialize(from)?;
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| de::Error::custom("not a moment; write date, time and zone, e.g. \"2026-01-31T08:00:00Z\""))?;
    Ok(Some(Wall(moment.as_microsecond())))
}

impl Checker<'_> {
    pub(super) fn test(&mut self, node: &Node) -> Option<TestSettings> {
        let who = who("test", node);
        let errors = self.problems.errors();
        let raw: RawTest = Reader::new(node, &who).read_what_fits(self.problems).0?;
        let mut wrong = |path: &[Step<'_>], message: String, help: &str| {
            let problem = Problem::error(&codes::VALUE, node.span_of(path), format!("{message} of {who}"));
            self.problems.push(problem.help(help.to_owned()));
        };
        let send = raw.send.list();
        if send.is_empty() {
            wrong(
                &[Step::Key("name")],
                "`send` is missing: nothing is sent in".to_owned(),
                "[[test.send]]\nsource = \"…\"",
            );
        }
        for (index, one) in send.iter().enumerate() {
            let at = [Step::Key("send"), Step::Index(index)];
            if one.source.is_some() == one.topic.is_some() {
                wrong(&at, format!("`send` {}", index + 1), "write either source = \"…\" or topic = \"…\"");
            }
            if one.data.is_some() && one.file.is_some() {
                wrong(&at, format!("`send` {}", index + 1), "write either data or file");
            }
        }
        let mut expect = raw.expect.list();
        if expect.is_empty() {
            wrong(
                &[Step::Key("name")],
                "`expect` is missing: nothing is looked at".to_owned(),
                "[[test.expect]]\nstatus = 202",
            );
        }
        for (index, one) in expect.iter_mut().enumerate() {
            let at = [Step::Key("expect"), Step::Index(index)];
            let subjects = [one.trigger.is_some(), one.target.is_some(), one.topic.is_some()];
            let named = subjects.iter().filter(|s| **s).count();
            let about_answer = one.status.is_some() || one.code.is_some() || one.answer.is_some();
            if named + usize::from(about_answer) != 1 {
                let help = "write about one thing: the answer (status, code, answer), a trigger, a target, or a topic";
                wrong(&at, format!("`expect` {}", index + 1), help);
            }
            if one.trigger.is_some() && !one.outcome.as_deref().is_some_and(|o| OUTCOMES.contains(&o)) {
                wrong(
                    &at,
                    format!("`outcome` in `expect` {}", index + 1),
                    &format!("write one of {}", OUTCOMES.join(", ")),
                );
            }
            for value in [&mut one.data, &mut one.contains, &mut one.answer, &mut one.sends] {
                if let Err(error) = parsed(value).transpose() {
                    wrong(&at, format!("JSON in `expect` {}", index + 1), &format!("it is not JSON: {error}"));
                }
            }
        }
        for (index, one) in expect.iter_mut().enumerate() {
            let path = expect_path(node, index);
            let what = format!("`assert` of {who}");
            if one.assert_text.is_some() {
                let mut path = path.clone();
                path.push(Step::Key("assert"));
                one.assert = self.compile(node, &path, ProgramKind::Condition, &what);
            }
            one.origin = self.origin(&node.span_of(&path));
            self.check_names(node, &path, one, &who);
        }
        for (index, one) in send.iter().enumerate() {
            if let Some(source) = &one.source
                && !self.names.sources.contains(source)
            {
                let many = node.get("send").is_some_and(|n| !n.items().is_empty());
                let mut path = vec![Step::Key("send")];
                if many {
                    path.push(Step::Index(index));
                }
                path.push(Step::Key("source"));
                let span = node.span_of(&path);
                self.problems.push(self.names.sources.unknown(source, span, &format!("`source` of {who}")));
            }
        }
        for name in raw.targets.keys().filter(|name| !self.names.targets.contains(name)) {
            let span = node.span_of(&[Step::Key("targets"), Step::Key(name)]);
            self.problems.push(self.names.targets.unknown(name, span, &format!("`targets` of {who}")));
        }
        if self.problems.errors() > errors {
            return None;
        }
        Some(TestSettings {
            name: raw.name,
            origin: self.origin(&node.span),
            now: raw.now.unwrap_or(BEGINNING),
            send,
            targets: raw.targets,
            expect,
        })
    }

    fn check_names(&mut self, node: &Node, path: &[Step<'_>], expect: &ExpectSettings, who: &str) {
        let AllNames { triggers, targets, .. } = &self.names;
        for (key, name, names) in [("trigger", &expect.trigger, triggers), ("target", &expect.target, targets)] {
            if let Some(name) = name.as_ref().filter(|name| !names.contains(name)) {
                let mut path = path.to_vec();
                path.push(Step::Key(key));
                self.problems.push(names.unknown(name, node.span_of(&path), &format!("`{key}` of {who}")));
            }
        }
    }
}

fn expect_path(node: &Node, index: usize) -> Vec<Step<'static>> {
    let many = node.get("expect").is_some_and(|n| !n.items().is_empty());
    if many { vec![Step::Key("expect"), Step::Index(index)] } else { vec![Step::Key("expect")] }
}

/// A text stands for the JSON that it holds; a table for itself.
fn parsed(value: &mut Option<Value>) -> Option<Result<(), serde_json::Error>> {
    let Some(Value::String(text)) = value else { return None };
    match serde_json::from_str(text) {
        Ok(json) => {
            *value = Some(json);
            Some(Ok(()))
        }
        Err(error) => Some(Err(error)),
    }
}
