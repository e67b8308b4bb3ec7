//! `[[target]]`: where results go. The settings types are those of the targets themselves; here are the kind, the
//! secrets, the templates at their places, and the restart strategies that the settings stand for.

use hexafn_actors::definitions::{TargetDefinition, TargetKind};
use hexafn_actors::event::Str;
use hexafn_actors::supervision::strategy::{Backoff, FailureRate, OnExhausted, Opening, RestartStrategy};
use hexafn_actors::target::kinds::{self, ReadSettings};
use hexafn_actors::target::redact::Redactor;
use hexafn_actors::target::settings::COMMON;
use hexafn_actors::target::veil::Veil;
use hexafn_actors::target::{
    self, BreakerSettings, Common, Context, Factory, RedactSettings, RetrySettings, TopicSettings,
};
use hexafn_dsl::ProgramKind;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use std::sync::Arc;

use super::{Checker, absent, who};
use crate::config::problem::{Problem, Problems};
use crate::config::read::Reader;
use crate::config::secrets::{Remembered, Told};
use crate::config::tree::{Node, Step, Value};
use crate::config::{codes, fingerprint, schema};

/// What stands in the table beside the common settings and those of the kind.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "read by hand, and stands here for the schema")]
struct Beside {
    /// For people.
    description: Option<String>,
}

/// The kinds, that of hexaFn's own topics last.
fn kinds() -> Vec<&'static str> {
    kinds::NAMES.iter().copied().chain(["topic"]).collect()
}

/// Reads the settings of a kind, with the default in place of what is wrong.
struct Fitting<'a, 'p>(Reader<'a>, &'p mut Problems);

impl ReadSettings for Fitting<'_, '_> {
    fn read<T: DeserializeOwned>(self) -> Option<T> {
        self.0.read_what_fits(self.1).0
    }
}

/// `[[target]]` of every kind.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let common = schema::joined(&Beside::json_schema(generator), Common::json_schema(generator));
    let each: Vec<_> = kinds()
        .into_iter()
        .map(|kind| {
            let settings = kinds::schema(kind, generator);
            let settings = settings.unwrap_or_else(|| TopicSettings::json_schema(generator));
            (kind, schema::joined(&common, settings))
        })
        .collect();
    schema::by_kind("`[[target]]`: where results go.", each)
}

impl Checker<'_> {
    pub(super) fn target(&mut self, node: &Node) -> Option<TargetDefinition> {
        let who = who("target", node);
        let errors = self.problems.errors();
        drop(self.vault.take_mark());
        let kind = self.kind(node, &kinds(), &who);
        let found = self.vault.check(node, &who, self.texts, self.problems);
        let beside: Vec<&str> = COMMON.iter().copied().chain(["kind", "description"]).collect();
        // Unknown settings are found when those of the kind are read.
        let settings: Option<Common> = Reader::new(node, &who).read_what_fits(self.problems).0;
        let when = self.compile(node, &[Step::Key("when")], ProgramKind::Condition, &format!("`when` of {who}"));
        let reader = Reader::new(node, &who).beside(&beside).passing_over(found.skip.clone());
        let kind = kind?;
        let (mut factory, mut topic) = (None, None);
        if kind == "topic" {
            topic = reader.read_what_fits::<TopicSettings>(self.problems).0;
        } else {
            factory = kinds::read(kind, Fitting(reader, self.problems));
        }
        self.templates(node, &who);
        let settings = settings?;
        let before = self.problems.errors();
        for error in settings.check() {
            self.target_error(node, &error, &who);
        }
        let shared = self.problems.errors() - before;
        let (retry, breaker) = (self.retry(node, &settings.retry, &who), self.breaker(node, &settings.breaker, &who));
        self.fallback(node, &settings, &who);
        self.columns(node, &who);
        self.statuses(node, kind, &settings, &who);
        let redact = settings.redact.as_ref().map(|redact| self.redactor(node, &settings.name, redact, &who));
        if topic.is_some() {
            self.idle_settings(node, &who);
        }
        let topic = topic.map(|topic| self.target_topic(node, &settings.name, topic, &who));
        let wrong = self.problems.errors() - errors;
        if wrong > 0 {
            // What the kind finds is told, too, where nothing of it was told yet.
            if wrong == shared
                && let Some(factory) = factory
            {
                self.build(node, &settings, &*factory, &who);
            }
            return None;
        }
        let mut secrets = Vec::new();
        let kind = match topic {
            Some(topic) => TargetKind::Topic(topic),
            None => {
                let (built, told) = self.build(node, &settings, &*factory?, &who)?;
                self.ordered_batches(node, &settings, &*built, &who);
                for (field, message) in built.warnings() {
                    let steps: Vec<Step<'_>> = field.split('.').map(Step::Key).collect();
                    let message = format!("`{field}` of {who}: {message}");
                    self.problems.push(Problem::warning(&codes::SECRET_EXPOSED, node.span_of(&steps), message));
                }
                secrets = told;
                // Only where secrets may be absent: what is right but for them delivers nothing.
                TargetKind::Outside(if found.present { built } else { Arc::new(absent::Absent) })
            }
        };
        let mark = self.vault.take_mark();
        // `allow_networks` of [targets] is built into the target, so a change of it is a change of the target.
        let networks = self.allow_networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let fingerprint = fingerprint::of(node, &[&mark, networks.as_bytes()]);
        let redact = redact.flatten().map(Arc::new);
        let veil = (!secrets.is_empty() || redact.is_some()).then(|| Arc::new(Veil::new(secrets, redact.clone())));
        Some(TargetDefinition {
            name: settings.name.clone(),
            settings,
            kind,
            when,
            retry,
            breaker,
            redact,
            veil,
            fingerprint,
            origin: self.origin(&node.span),
        })
    }

    /// The target, with the secrets that it was told. Where secrets may be absent it is built with samples of them, so that
    /// whatever else is wrong is found.
    fn build(
        &mut self,
        node: &Node,
        settings: &Common,
        factory: &dyn Factory,
        who: &str,
    ) -> Option<(Arc<dyn target::Target>, Remembered)> {
        let told = Told::new(self.vault);
        let context =
            Context { base_dir: self.base_dir, secrets: &told, allow_networks: self.allow_networks, lookup: None };
        let built = factory.build(settings, &context).map_err(|error| self.target_error(node, &error, who)).ok()?;
        if settings.batch.is_some() && matches!(built.mode(), target::Mode::Each { .. }) {
            self.no_batch(node, who);
        }
        Some((built, told.secrets()))
    }

    /// What a target of kind `topic` would only pretend to do: its events are written with their cause, and there is no
    /// attempt.
    fn idle_settings(&mut self, node: &Node, who: &str) {
        for key in COMMON.iter().filter(|key| !["name", "when", "redact"].contains(key)) {
            if node.get(key).is_some() {
                let message = format!("`{key}` of {who} does nothing: a topic is written to without an attempt");
                let problem = Problem::error(&codes::VALUE, node.span_of(&[Step::Key(key)]), message);
                self.problems.push(problem.help("leave it out"));
            }
        }
    }

    fn no_batch(&mut self, node: &Node, who: &str) {
        let message = format!("`batch` of {who}: this kind of target takes one event at a time");
        let problem = Problem::error(&codes::VALUE, node.span_of(&[Step::Key("batch")]), message);
        self.problems.push(problem.help("leave it out"));
    }

    /// The target that gets what this one gives up is there; that it is none in memory is seen with all definitions.
    fn fallback(&mut self, node: &Node, settings: &Common, who: &str) {
        if let Some(name) = settings.fallback.as_ref().filter(|name| !self.names.targets.contains(name)) {
            let span = node.span_of(&[Step::Key("fallback")]);
            self.problems.push(self.names.targets.unknown(name, span, &format!("`fallback` of {who}")));
        }
    }

    /// A list of no columns would be taken for none at all.
    fn columns(&mut self, node: &Node, who: &str) {
        if let Some(columns) =
            node.get("columns").filter(|columns| matches!(&columns.value, Value::Array(all) if all.is_empty()))
        {
            let message = format!("`columns` of {who} names no column");
            let problem = Problem::error(&codes::VALUE, columns.span.clone(), message);
            self.problems.push(
                problem.help("for example columns = [{ name = \"id\", value = \"${event.id}\" }], or leave it out"),
            );
        }
    }

    /// Only the answers of HTTP have a status.
    fn statuses(&mut self, node: &Node, kind: &str, settings: &Common, who: &str) {
        if ["http", "s3"].contains(&kind) {
            return;
        }
        for (key, list) in [("again", &settings.retry.again), ("never", &settings.retry.never)] {
            if !list.is_empty() {
                let span = node.span_of(&[Step::Key("retry"), Step::Key(key)]);
                let message = format!("`retry.{key}` of {who}: what a target of kind `{kind}` answers has no status");
                self.problems.push(Problem::error(&codes::VALUE, span, message).help("leave it out"));
            }
        }
    }

    /// Where a repetition is dropped, an event in strict order is with the target only when the one before it is settled.
    fn ordered_batches(&mut self, node: &Node, settings: &Common, built: &dyn target::Target, who: &str) {
        let several = settings.batch.is_some_and(|batch| batch.max_records > 1);
        if several && settings.ordering == target::Ordering::Strict && !built.shares_keys() {
            let kind = built.kind();
            let message =
                format!("`batch` of {who}: with `ordering = \"strict\"` each event goes alone to a stream of `{kind}`");
            let problem = Problem::warning(&codes::VALUE, node.span_of(&[Step::Key("batch")]), message);
            self.problems.push(problem.help("leave one of them out, or order by key: `ordering = \"key\"`"));
        }
        // Requests of one batch in order go one after the other, and each event may be one of its own.
        let by_event = ["url", "headers"].into_iter().find(|key| {
            let mut found = Vec::new();
            if let Some(setting) = node.get(key) {
                templates_in(setting, &mut Vec::new(), &mut found);
            }
            !found.is_empty()
        });
        if let Some(key) = by_event.filter(|_| several && settings.ordering != target::Ordering::None) {
            let message = format!(
                "`batch` of {who}: events whose `{key}` differs go in requests of their own, and with `ordering` one after the other: \
                 slower than without `batch` where most of them differ"
            );
            let problem = Problem::warning(&codes::VALUE, node.span_of(&[Step::Key("batch")]), message);
            self.problems.push(problem.help("leave out `batch`, or write what differs into the body"));
        }
    }

    fn redactor(&mut self, node: &Node, name: &Str, settings: &RedactSettings, who: &str) -> Option<Redactor> {
        let built = Redactor::new(name, settings);
        built
            .map_err(|(field, message)| {
                let path = if field.is_empty() { "redact".to_owned() } else { format!("redact.{field}") };
                self.setting(node, &[], &path, format!("`{path}` of {who}: {message}"));
            })
            .ok()
    }

    /// The topic of a target of kind `topic`.
    fn target_topic(&mut self, node: &Node, target: &Str, topic: TopicSettings, who: &str) -> Str {
        let key = if topic.topic.is_some() { "topic" } else { "name" };
        let name = topic.topic.unwrap_or_else(|| target.clone());
        if let Err(error) = hexafn_actors::topic::pattern::check_name(&name) {
            let span = node.span_of(&[Step::Key(key)]);
            self.problems.push(Problem::error(&codes::NAME, span, format!("`topic` of {who}: {error}")));
        }
        name
    }

    /// Compiles the templates of a target for their errors' places; the target compiles them again for itself.
    fn templates(&mut self, node: &Node, who: &str) {
        let mut found = Vec::new();
        // A condition is no template, and the texts of `redact` are patterns and paths.
        let settings = node.entries().iter().filter(|e| !["when", "redact", "description"].contains(&&*e.key));
        for entry in settings {
            templates_in(&entry.node, &mut vec![Step::Key(&entry.key)], &mut found);
        }
        for path in found {
            let setting: Vec<String> = path.iter().map(ToString::to_string).collect();
            self.compile(node, &path, ProgramKind::Template, &format!("`{}` of {who}", setting.join(".")));
        }
    }

    fn target_error(&mut self, node: &Node, error: &target::Error, who: &str) {
        let target::Error::Setting { field, message, .. } = error else {
            self.problems.push(Problem::error(&codes::VALUE, node.span.clone(), error.to_string()));
            return;
        };
        // The name has been checked with all other names.
        if &**field == "name" {
            return;
        }
        // A header's name may hold dots.
        let steps: Vec<Step<'_>> = match field.split_once('.') {
            Some((table, rest)) if table == "headers" => vec![Step::Key(table), Step::Key(rest)],
            _ => field.split('.').map(|part| part.parse().map_or(Step::Key(part), Step::Index)).collect(),
        };
        let code = if message.contains("allow_networks") { &codes::UNREACHABLE } else { &codes::VALUE };
        self.problems.push(Problem::error(code, node.span_of(&steps), format!("`{field}` of {who}: {message}")));
    }

    fn retry(&mut self, node: &Node, settings: &RetrySettings, who: &str) -> RestartStrategy {
        let base = RestartStrategy::delivery();
        if let Some(backoff) = &settings.backoff {
            // What is wrong with it was said by the check of all settings.
            let backoff = backoff.over(base.backoff.clone()).unwrap_or_else(|_| base.backoff.clone());
            let unsaid = if settings.max_time.is_some() { Some(MOST_ATTEMPTS) } else { base.max_attempts };
            let max_attempts = settings.max_attempts.or(unsaid);
            return RestartStrategy {
                backoff,
                max_attempts,
                max_elapsed: settings.max_time.map(|time| time.0),
                ..base
            };
        }
        let delays = settings.pauses();
        let pauses = u32::try_from(delays.len()).unwrap_or(u32::MAX);
        if delays.is_empty() {
            // No pause to wait: one attempt, unless somebody asks for more without saying how long to wait.
            if settings.max_attempts.is_some_and(|n| n > 1) {
                let span = node.span_of(&[Step::Key("retry"), Step::Key("schedule")]);
                let message = format!("`retry` of {who} asks for several attempts and names no pause between them");
                self.problems.push(
                    Problem::error(&codes::VALUE, span, message)
                        .help("for example schedule = [\"1s\", \"30s\", \"5m\"]"),
                );
            }
            return RestartStrategy { max_attempts: Some(1), ..base };
        }
        let jitter = settings.jitter.unwrap_or(0.5);
        let (jitter_low, jitter_high) = (1.0 - jitter, 1.0 + jitter);
        RestartStrategy {
            backoff: Backoff::Schedule { delays, jitter_low, jitter_high },
            max_attempts: Some(settings.max_attempts.unwrap_or_else(|| pauses.saturating_add(1))),
            max_elapsed: settings.max_time.map(|time| time.0),
            ..base
        }
    }

    fn breaker(&mut self, node: &Node, settings: &BreakerSettings, who: &str) -> RestartStrategy {
        let times = [
            ("window", settings.window),
            ("open", settings.open),
            ("open_max", settings.open_max),
            ("disable_after", settings.disable_after),
        ];
        for (key, _) in times.iter().filter(|(_, time)| time.0.is_zero()) {
            let span = node.span_of(&[Step::Key("breaker"), Step::Key(key)]);
            let message = format!("`breaker.{key}` of {who} must be longer than zero");
            self.problems.push(Problem::error(&codes::VALUE, span, message));
        }
        // One that nobody wrote follows `open`.
        let written = node.at(&[Step::Key("breaker"), Step::Key("open_max")]);
        if let Some(written) = written.filter(|_| settings.open_max.0 < settings.open.0) {
            let message = format!(
                "`breaker.open_max` of {who} is the longest rest, and shorter than the first: expected at least {} (`open`), \
                 found {}",
                settings.open, settings.open_max
            );
            self.problems.push(Problem::error(&codes::VALUE, written.span.clone(), message));
        }
        let (first, max) = (settings.open.0, settings.open_max.0.max(settings.open.0));
        RestartStrategy {
            consecutive: Some(settings.failures),
            rate: Some(FailureRate {
                ratio: settings.failure_ratio,
                of_at_least: settings.min_attempts.max(1),
                within: settings.window.0,
            }),
            on_exhausted: OnExhausted::Open(Opening { first, max, probes_to_close: settings.successes }),
            max_elapsed: Some(settings.disable_after.0),
            ..RestartStrategy::breaker()
        }
    }
}

/// The most attempts that can be asked for.
const MOST_ATTEMPTS: u32 = 1_000;

/// The places of the texts that hold `${…}`.
fn templates_in<'n>(node: &'n Node, at: &mut Vec<Step<'n>>, found: &mut Vec<Vec<Step<'n>>>) {
    match &node.value {
        Value::String(text) if text.contains("${") => found.push(at.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(Step::Index(index));
                templates_in(item, at, found);
                at.pop();
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                at.push(Step::Key(&entry.key));
                templates_in(&entry.node, at, found);
                at.pop();
            }
        }
        _ => {}
    }
}
