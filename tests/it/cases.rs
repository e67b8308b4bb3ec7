//! The cases of the conformance suite (`tests/conformance/*.toml`): what goes into a run, and what is wrong with what
//! came out.

use hexafn_actors::clock::Wall;
use hexafn_actors::definitions::{Body, FunctionDefinition};
use hexafn_actors::event::{Event, Str, TraceContext};
use hexafn_actors::log::{Record, TopicId};
use hexafn_dsl::Validator;
use hexafn_runtimes::{Code, Ctx, Grants, Limits, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::canonical::canonical;

/// The second in which every event happened: 2026-01-02T03:04:05Z, in microseconds.
const AT: i64 = 1_767_323_045_000_000;

/// The codes of the language of hexaFn that mean what a code of all languages does.
const CODES: [(&str, Code); 4] =
    [("HX0507", Code::Memory), ("HX0508", Code::BadOutput), ("HX0509", Code::Thrown), ("HX0514", Code::Emits)];

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    /// What holds for all of its cases: a language, and why it is left out.
    #[serde(default)]
    differs: BTreeMap<String, String>,
    case: Vec<Case>,
}

/// What goes in, the program in each language, what comes out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,

    /// The data of the event, as JSON, or as bytes of another content type.
    data: Option<Json>,
    bytes: Option<Vec<u8>>,
    content_type: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    extensions: BTreeMap<String, String>,
    pub attempt: Option<u32>,
    /// The microseconds of its time.
    micros: Option<i64>,

    /// What the function is granted, beside the topics `out.>`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    kv: Vec<String>,
    #[serde(default)]
    http: Vec<String>,
    /// It may log unless it is told otherwise.
    log: Option<bool>,
    #[serde(default)]
    time: bool,
    #[serde(default)]
    random: bool,
    /// What is stored in the namespace `carts`, as JSON. A key `broken` fails.
    #[serde(default)]
    pub stored: BTreeMap<String, String>,
    #[serde(default)]
    limits: Given,
    input: Option<String>,
    output: Option<String>,

    /// A program that does not define its function is the body of one.
    pub dsl: Option<String>,
    pub js: Option<String>,
    pub lua: Option<String>,
    pub c: Option<String>,

    /// The result, as JSON; none when the event is dropped or the run fails.
    value: Option<Json>,
    #[serde(default)]
    dropped: bool,
    pub error: Option<String>,
    /// A part of the message of the error.
    says: Option<String>,
    /// Where the error is, by language: `line:column`, or `line` where it has no columns.
    #[serde(default)]
    #[serde(rename = "at")]
    pub places: BTreeMap<String, String>,
    #[serde(default)]
    emitted: Vec<Emitted>,
    pub writes: Option<Vec<(String, String, String)>>,
    pub logs: Option<Vec<(String, String)>>,
    /// Calls to the host, where they are counted.
    pub host_calls: Option<u64>,
    /// Whether members must have this order and numbers these digits, and not only be equal.
    #[serde(default)]
    to_the_byte: bool,
    /// A language, and why it is left out. One that has a program all the same must not pass.
    #[serde(default)]
    pub differs: BTreeMap<String, String>,
}

/// Limits that differ from the default.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Given {
    timeout_ms: Option<u64>,
    fuel: Option<u64>,
    memory: Option<usize>,
    stack: Option<usize>,
    output: Option<usize>,
    logs: Option<usize>,
    host_calls: Option<u64>,
    emits: Option<usize>,
}

/// JSON as it is, or a text that would be too long to write down.
#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Text(String),
    Long { letters: usize },
    Deep { levels: usize },
}

impl Json {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Deep { levels } => "[".repeat(*levels) + &"]".repeat(*levels),
            Self::Long { letters } => format!("\"{}\"", "x".repeat(*letters)),
        }
    }
}

/// One emitted event, or several whose data are 0, 1, 2 and so on.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Emitted {
    One { topic: String, key: Option<String>, data: String },
    Counted { topic: String, numbers_below: u64 },
}

impl Emitted {
    fn all(&self) -> Vec<(String, Option<String>, String)> {
        match self {
            Self::One { topic, key, data } => vec![(topic.clone(), key.clone(), data.clone())],
            Self::Counted { topic, numbers_below } => {
                (0..*numbers_below).map(|number| (topic.clone(), None, number.to_string())).collect()
            }
        }
    }
}

/// What came of a run, as it is compared.
#[derive(Default)]
pub struct Outcome {
    pub value: Option<String>,
    pub emitted: Vec<(String, Option<String>, String)>,
    pub writes: Vec<(String, String, Option<String>)>,
    pub error: Option<Failed>,
    pub logs: Option<Vec<(String, String)>>,
    pub host_calls: Option<u64>,
}

pub struct Failed {
    code: String,
    message: String,
}

impl Failed {
    pub fn of(code: &str, message: String) -> Outcome {
        let code = CODES.iter().find(|(own, _)| *own == code).map_or(code, |(_, code)| code.as_str()).to_owned();
        Outcome { error: Some(Self { code, message }), ..Outcome::default() }
    }

    /// The place in its text: `test:2:5: …` or `… (line 2, column 5)`.
    fn place(&self) -> Option<String> {
        if let Some(rest) = self.message.strip_prefix("test:") {
            let mut parts = rest.split(':');
            return Some(format!("{}:{}", parts.next()?, parts.next()?));
        }
        let (_, rest) = self.message.split_once("(line ")?;
        Some(rest.split_once(')')?.0.replace(", column ", ":"))
    }
}

impl Case {
    /// How many outcomes it names, which should be one.
    pub fn outcomes(&self) -> usize {
        [self.value.is_some(), self.dropped, self.error.is_some()].iter().filter(|named| **named).count()
    }

    /// When its event happened and its run began.
    pub fn at(&self) -> Wall {
        Wall(AT + self.micros.unwrap_or(678_901))
    }

    pub fn record(&self) -> Record {
        let json = self.data.as_ref().map(|data| data.text().into_bytes());
        let data = json.or_else(|| self.bytes.clone()).unwrap_or_default();
        let shared = |map: &BTreeMap<String, String>| -> Vec<(Str, Str)> {
            map.iter().map(|(name, value)| (Str::from(&**name), Str::from(&**value))).collect()
        };
        let mut event = Event::new("/tests", "order.created", data.into());
        event.id = "e1".into();
        event.time = self.at();
        event.subject = self.subject.as_deref().map(Str::from);
        event.key = self.key.as_deref().map(Str::from);
        event.headers = shared(&self.headers);
        event.extensions = shared(&self.extensions);
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        event.trace = TraceContext::parse(trace, None).unwrap();
        if let Some(content_type) = &self.content_type {
            event.content_type = Some(Str::from(&**content_type));
        }
        Record::new("orders".into(), TopicId(3), 7, self.at(), event)
    }

    pub fn settings(&self) -> Arc<Settings> {
        let Given { timeout_ms, fuel, memory, stack, output, logs, host_calls, emits } = self.limits;
        let all = Limits::default();
        let limits = Limits {
            // So much that a busy machine is no reason.
            wall: Duration::from_millis(timeout_ms.unwrap_or(20_000)),
            fuel: fuel.or(all.fuel),
            memory: memory.unwrap_or(all.memory),
            stack: stack.unwrap_or(all.stack),
            output: output.unwrap_or(all.output),
            logs: logs.unwrap_or(all.logs),
            host_calls: host_calls.unwrap_or(all.host_calls),
            emits: emits.unwrap_or(all.emits),
        };
        let grants = Grants {
            emit: vec!["out.>".to_owned()],
            kv: self.kv.clone(),
            http: self.http.clone(),
            log: self.log.unwrap_or(true),
            time: self.time,
            random: self.random,
        };
        Arc::new(Settings { limits, grants })
    }

    pub fn definition(&self, body: Body, wall: Duration) -> Arc<FunctionDefinition> {
        let schema = |text: &Option<String>| text.as_ref().map(|text| Arc::new(Validator::new(text).unwrap()));
        Arc::new(FunctionDefinition {
            name: "test".into(),
            body,
            input: schema(&self.input),
            output: schema(&self.output),
            timeout: wall,
            fallback: Vec::new(),
            env: self.env.iter().map(|(name, value)| (Str::from(&**name), Str::from(&**value))).collect(),
            fingerprint: 1,
        })
    }

    pub fn ctx(&self) -> Arc<Ctx> {
        Arc::new(Ctx {
            trigger: "trigger".to_owned(),
            function: "test".to_owned(),
            attempt: self.attempt.unwrap_or(1),
            now_ms: self.at().0 / 1_000,
            now: self.at().rfc3339(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            env: self.env.clone().into_iter().collect(),
            seed: 7,
        })
    }

    /// Whether it looks at what a function without a service does not have, or does not tell.
    pub fn needs_host(&self) -> bool {
        self.logs.is_some() || !self.stored.is_empty() || !self.kv.is_empty() || !self.http.is_empty()
    }

    /// What is otherwise than it should be.
    pub fn wrong(&self, language: &str, found: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |what: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{what} is {found}, expected {expected}"));
            }
        };
        let json = |text: &str| if self.to_the_byte { text.to_owned() } else { canonical(text) };
        let shown = |text: Option<String>| text.unwrap_or_else(|| "nothing".to_owned());
        let message = found.error.as_ref().map_or("", |e| &e.message);
        compare(
            "the error",
            found.error.as_ref().map_or_else(|| "none".to_owned(), |e| format!("{} ({})", e.code, e.message)),
            self.error.as_ref().map_or_else(|| "none".to_owned(), |code| format!("{code} ({message})")),
        );
        compare(
            "the result",
            shown(found.value.as_deref().map(json)),
            shown(self.value.as_ref().map(|value| json(&value.text()))),
        );
        let emitted = |all: &[(String, Option<String>, String)]| -> String {
            format!("{:?}", all.iter().map(|(topic, key, data)| (topic, key, json(data))).collect::<Vec<_>>())
        };
        let expected: Vec<_> = self.emitted.iter().flat_map(Emitted::all).collect();
        compare("what it emitted", emitted(&found.emitted), emitted(&expected));
        let written = |(space, key, value): &(String, String, Option<String>)| {
            (space.clone(), key.clone(), value.as_deref().map_or_else(|| "deleted".to_owned(), json))
        };
        let expected = self.writes.iter().flatten();
        let expected: Vec<_> = expected
            .map(|(space, key, value)| match &**value {
                "deleted" => (space.clone(), key.clone(), "deleted".to_owned()),
                value => (space.clone(), key.clone(), json(value)),
            })
            .collect();
        compare(
            "what it stored",
            format!("{:?}", found.writes.iter().map(written).collect::<Vec<_>>()),
            format!("{expected:?}"),
        );
        if let Some(part) = &self.says
            && !message.contains(part)
        {
            compare("the message", message.to_owned(), format!("one with `{part}`"));
        }
        if let Some(place) = self.places.get(language) {
            let at = found.error.as_ref().and_then(Failed::place);
            compare("the place", shown(at), place.clone());
        }
        if let Some(logs) = &self.logs {
            compare("the log", format!("{:?}", found.logs.as_deref().unwrap_or_default()), format!("{logs:?}"));
        }
        if let (Some(expected), Some(found)) = (self.host_calls, found.host_calls) {
            compare("the number of calls to the host", found.to_string(), expected.to_string());
        }
        wrong
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// All groups by name, with what differs in a group said of each of its cases.
pub fn groups() -> BTreeMap<String, Vec<Case>> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "toml"));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut group: Group = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for case in &mut group.case {
            for (language, why) in &group.differs {
                case.differs.entry(language.clone()).or_insert_with(|| why.clone());
            }
        }
        (name, group.case)
    };
    files.map(read).collect()
}
