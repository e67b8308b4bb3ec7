//! `[[target]]`: where results go. The settings types are those of the targets themselves; here are the kind, the
//! secrets, the templates at their places, and the restart strategies that the settings stand for.

use hexafn_actors::definitions::{TargetDefinition, TargetKind};
use hexafn_actors::event::Str;
use hexafn_actors::supervision::strategy::{Backoff, FailureRate, OnExhausted, Opening, RestartStrategy};
use hexafn_actors::target::{
    self, BreakerSettings, Context, Kind, Ordering, Rate, RetrySettings, Span, TargetSettings, TopicSettings,
};
use hexafn_dsl::ProgramKind;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;

use super::{Checker, absent, who};
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::tree::{Node, Step};
use crate::config::{codes, fingerprint, schema};

const KINDS: [&str; 3] = ["http", "file", "topic"];

/// The settings that every kind has. Unknown ones are found when those of the kind are read.
#[derive(Deserialize, JsonSchema)]
struct Common {
    /// Its name.
    name: Str,
    /// A condition: only these events; all when absent.
    when: Option<String>,
    /// The pauses between attempts.
    #[serde(default)]
    retry: RetrySettings,
    /// When a failing target is given a rest, in which no attempt is made and none is counted.
    #[serde(default)]
    breaker: BreakerSettings,
    /// The whole attempt.
    #[serde(default = "attempt")]
    timeout: Span,
    /// Attempts in flight, up to 1024.
    #[serde(default = "sixteen")]
    concurrency: usize,
    /// What an event waits for.
    #[serde(default)]
    ordering: Ordering,
    /// The most attempts in a time; no bound when absent.
    rate: Option<Rate>,
    /// For people.
    #[serde(default, rename = "description")]
    #[schemars(with = "Option<String>")]
    _description: Option<IgnoredAny>,
}

const COMMON: [&str; 10] =
    ["name", "kind", "when", "retry", "breaker", "timeout", "concurrency", "ordering", "rate", "description"];

fn attempt() -> Span {
    Span(Duration::from_secs(15))
}

fn sixteen() -> usize {
    16
}

/// `[[target]]` of every kind.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let common = Common::json_schema(generator);
    let kinds = KINDS.map(|kind| {
        let settings = match kind {
            "http" => target::http::Settings::json_schema(generator),
            "file" => target::file::Settings::json_schema(generator),
            _ => TopicSettings::json_schema(generator),
        };
        (kind, schema::joined(&common, settings))
    });
    schema::by_kind("`[[target]]`: where results go.", kinds)
}

impl Checker<'_> {
    pub(super) fn target(&mut self, node: &Node) -> Option<TargetDefinition> {
        let who = who("target", node);
        let errors = self.problems.errors();
        drop(self.vault.take_mark());
        let kind = self.kind(node, &KINDS, &who);
        let found = self.vault.check(node, &who, self.texts, self.problems);
        let common: Option<Common> = Reader::new(node, &who).read_what_fits(self.problems).0;
        let when = self.compile(node, &[Step::Key("when")], ProgramKind::Condition, &format!("`when` of {who}"));
        let reader = Reader::new(node, &who).beside(&COMMON).passing_over(found.skip.clone());
        let kind = match kind? {
            "http" => reader.read_what_fits(self.problems).0.map(Kind::Http),
            "file" => reader.read_what_fits(self.problems).0.map(Kind::File),
            _ => reader.read_what_fits::<TopicSettings>(self.problems).0.map(Kind::Topic),
        };
        self.templates(node, &who);
        let common = common?;
        let settings = TargetSettings {
            name: common.name,
            when: common.when,
            retry: common.retry,
            breaker: common.breaker,
            timeout: common.timeout,
            concurrency: common.concurrency,
            ordering: common.ordering,
            rate: common.rate,
            kind: kind?,
        };
        if let Err(error) = settings.check() {
            self.target_error(node, &error, &who);
        }
        let (retry, breaker) = (self.retry(node, &settings.retry, &who), self.breaker(node, &settings.breaker, &who));
        let topic = self.target_topic(node, &settings, &who);
        if self.problems.errors() > errors {
            return None;
        }
        let kind = match topic {
            Some(topic) => TargetKind::Topic(topic),
            // Only where secrets may be absent: a target that delivers nothing.
            None if !found.present => TargetKind::Outside(Arc::new(absent::Absent)),
            None => TargetKind::Outside(self.build(node, &settings, &who)?),
        };
        let mark = self.vault.take_mark();
        // `allow_networks` of [targets] is built into the target, so a change of it is a change of the target.
        let networks = self.allow_networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let fingerprint = fingerprint::of(node, &[&mark, networks.as_bytes()]);
        Some(TargetDefinition { name: settings.name.clone(), settings, kind, when, retry, breaker, fingerprint })
    }

    fn build(&mut self, node: &Node, settings: &TargetSettings, who: &str) -> Option<Arc<dyn target::Target>> {
        let context =
            Context { base_dir: self.base_dir, secrets: self.vault, allow_networks: self.allow_networks, lookup: None };
        match settings.build(&context) {
            Ok(target) => Some(Arc::from(target)),
            Err(error) => {
                self.target_error(node, &error, who);
                None
            }
        }
    }

    /// The topic of a target of kind `topic`.
    fn target_topic(&mut self, node: &Node, settings: &TargetSettings, who: &str) -> Option<Str> {
        let Kind::Topic(topic) = &settings.kind else { return None };
        let name = topic.topic.clone().unwrap_or_else(|| settings.name.clone());
        if let Err(error) = hexafn_actors::topic::pattern::check_name(&name) {
            let span = node.span_of(&[Step::Key(if topic.topic.is_some() { "topic" } else { "name" })]);
            self.problems.push(Problem::error(&codes::NAME, span, format!("`topic` of {who}: {error}")));
        }
        Some(name)
    }

    /// Compiles the templates of a target for their errors' places; the target compiles them again for itself.
    fn templates(&mut self, node: &Node, who: &str) {
        let headers = node.get("headers").map_or(&[][..], Node::entries).iter();
        let headers = headers.map(|e| vec![Step::Key("headers"), Step::Key(&e.key)]);
        let plain = ["url", "body", "path"].map(|key| vec![Step::Key(key)]);
        for path in plain.into_iter().chain(headers) {
            if node.at(&path).and_then(Node::text).is_some_and(|text| text.contains("${")) {
                let Some(Step::Key(key)) = path.last() else { continue };
                self.compile(node, &path, ProgramKind::Template, &format!("`{key}` of {who}"));
            }
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
            _ => field.split('.').map(Step::Key).collect(),
        };
        let code = if message.contains("allow_networks") { &codes::UNREACHABLE } else { &codes::VALUE };
        self.problems.push(Problem::error(code, node.span_of(&steps), format!("`{field}` of {who}: {message}")));
    }

    fn retry(&mut self, node: &Node, settings: &RetrySettings, who: &str) -> RestartStrategy {
        let delays: Vec<Duration> = settings.schedule.iter().map(|s| s.0).collect();
        let pauses = u32::try_from(delays.len()).unwrap_or(u32::MAX);
        let base = RestartStrategy::delivery();
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
        let (jitter_low, jitter_high) = (1.0 - settings.jitter, 1.0 + settings.jitter);
        RestartStrategy {
            backoff: Backoff::Schedule { delays, jitter_low, jitter_high },
            max_attempts: Some(settings.max_attempts.unwrap_or_else(|| pauses.saturating_add(1))),
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
