//! `[[source]]`: webhooks and timers. The settings types are those of the sources themselves; here are the kind, the
//! secrets, and the places of what they find wrong.

use hexafn_actors::definitions::{SourceDefinition, SourceKind};
use hexafn_actors::source::settings::{TimerSettings, WebhookSettings};
use hexafn_actors::source::timer::{Schedule, ScheduleConfig};
use hexafn_actors::source::verify::{self, Verifier, VerifyConfig};
use hexafn_dsl::ProgramKind;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Checker, who};
use crate::config::problem::Problem;
use crate::config::read::{Reader, read, unknown_word};
use crate::config::tree::{Node, Step, Value};
use crate::config::{codes, fingerprint, schema};

const KINDS: [&str; 2] = ["webhook", "timer"];

/// What stands in the table beside the settings of a webhook.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "these are read by hand, and stand here for the schema")]
struct BesideWebhook {
    /// For people.
    description: Option<String>,
}

/// What stands in the table beside the settings of a timer.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct BesideTimer {
    /// For people.
    description: Option<String>,
    /// The data of each event; the tick's name and time when absent.
    data: Option<serde_json::Value>,
}

/// `[[source]]` of every kind.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let kinds = KINDS.map(|kind| {
        let both = match kind {
            "timer" => (BesideTimer::json_schema(generator), TimerSettings::json_schema(generator)),
            _ => (BesideWebhook::json_schema(generator), WebhookSettings::json_schema(generator)),
        };
        (kind, schema::joined(&both.0, both.1))
    });
    schema::by_kind("`[[source]]`: where events come from.", kinds)
}

impl Checker<'_> {
    pub(super) fn source(&mut self, node: &Node) -> Option<SourceDefinition> {
        let who = who("source", node);
        match self.kind(node, &KINDS, &who)? {
            "timer" => self.timer(node, &who),
            _ => self.webhook(node, &who),
        }
    }

    /// The word after `kind =`, one of `kinds`.
    pub(super) fn kind<'k>(&mut self, node: &Node, kinds: &[&'k str], who: &str) -> Option<&'k str> {
        let Some(value) = node.get("kind") else {
            self.problems.push(
                Problem::error(&codes::MISSING, node.span.clone(), format!("{who} has no `kind`"))
                    .label("`kind` must be set here")
                    .help(format!("the kinds are {}", crate::config::de::list(kinds))),
            );
            return None;
        };
        let word = value.text().unwrap_or_default();
        let known = kinds.iter().find(|k| **k == word).copied();
        if known.is_none() {
            self.problems.push(unknown_word(value.span.clone(), word, kinds, &format!("`kind` of {who}")));
        }
        known
    }

    fn webhook(&mut self, node: &Node, who: &str) -> Option<SourceDefinition> {
        drop(self.vault.take_mark());
        let verify = node.get("verify");
        let found = verify.map(|v| self.vault.check(v, who, self.texts, self.problems));
        let skip = found.as_ref().map(|f| f.skip.clone()).unwrap_or_default();
        let reader = Reader::new(node, who).beside(&["kind", "description"]).passing_over(skip);
        let errors = self.problems.errors();
        let settings: WebhookSettings = reader.read_what_fits(self.problems).0?;
        for problem in settings.problems().into_iter().filter(|p| p.field != "name") {
            self.setting(node, &[], problem.field, format!("`{}` of {who} {}", problem.field, problem.message));
        }
        if let Some(reply) = settings.reply.as_ref().filter(|r| !self.names.triggers.contains(&r.trigger)) {
            let span = node.span_of(&[Step::Key("reply"), Step::Key("trigger")]);
            self.problems.push(self.names.triggers.unknown(&reply.trigger, span, &format!("`reply` of {who}")));
        }
        let topic_expr = match settings.topic_expr {
            None => None,
            Some(_) => {
                let of = format!("`topic_expr` of {who}");
                self.known = self.expected.of_source(&settings.name);
                let compiled = self.compile(node, &[Step::Key("topic_expr")], ProgramKind::Template, &of);
                self.known = None;
                Some(compiled?)
            }
        };
        if self.open && matches!(settings.verify, VerifyConfig::None(_)) {
            let span = node.span_of(&[Step::Key("verify")]);
            self.problems.push(
                Problem::warning(
                    &codes::UNVERIFIED,
                    span,
                    format!("{who} is open to everybody who reaches this machine"),
                )
                .help("verify = { scheme = \"token\", secrets = [\"env:NAME\"] } asks for a token at least"),
            );
        }
        let verifier = match found {
            Some(found) if !found.well_formed => return None,
            // Only where secrets may be absent: a verifier that refuses everything.
            Some(found) if !found.present => Verifier::decoy(),
            _ => settings.verify.build(self.vault),
        };
        let verifier = verifier.map_err(|e| self.verify_error(node, &e, who)).ok()?;
        let schema = self.expected.sources.get(&settings.name);
        // A schema that cannot be used has been reported.
        if self.problems.errors() > errors || (settings.schema.is_some() && schema.is_none()) {
            return None;
        }
        if settings.schema.is_none()
            && let Some(validate) = node.entry("validate")
        {
            let message = format!("`validate` of {who} says nothing without a schema");
            self.problems.push(Problem::warning(&codes::UNUSED, validate.key_span.clone(), message));
        }
        let text = schema.map_or(&[][..], |schema| schema.text.as_bytes());
        let fingerprint = fingerprint::of(node, &[&self.vault.take_mark(), text]);
        let data = schema.filter(|_| settings.validate).map(|schema| schema.validator.clone());
        Some(SourceDefinition {
            name: settings.name.as_str().into(),
            kind: SourceKind::Webhook { settings, verifier, topic_expr, validator: data },
            fingerprint,
        })
    }

    /// A problem of a dotted `field` below `path`.
    pub(super) fn setting(&mut self, node: &Node, path: &[Step<'_>], field: &str, message: String) {
        let steps: Vec<Step<'_>> = path.iter().copied().chain(field.split('.').map(Step::Key)).collect();
        self.problems.push(Problem::error(&codes::VALUE, node.span_of(&steps), message));
    }

    fn verify_error(&mut self, node: &Node, error: &verify::Error, who: &str) {
        let verify = Step::Key("verify");
        let (code, span) = match error {
            verify::Error::Option { option, .. } => (&codes::VALUE, node.span_of(&[verify, Step::Key(option)])),
            verify::Error::Random(_) => (&codes::UNREADABLE, node.span_of(&[verify])),
            _ => (&codes::SECRET_UNFIT, node.span_of(&[verify, Step::Key("secrets")])),
        };
        self.problems.push(Problem::error(code, span, format!("{who}: {error}")));
    }

    fn timer(&mut self, node: &Node, who: &str) -> Option<SourceDefinition> {
        let reader = Reader::new(node, who).beside(&["kind", "description", "data"]);
        let errors = self.problems.errors();
        let settings: TimerSettings = reader.read_what_fits(self.problems).0?;
        let schedule = self.build_schedule(node, &settings.schedule(), who);
        for problem in settings.problems().into_iter().filter(|p| p.field == "topic") {
            self.setting(node, &[], problem.field, format!("`{}` of {who} {}", problem.field, problem.message));
        }
        let data = node.get("data").map(|data| json(data).to_string().into());
        if self.problems.errors() > errors {
            return None;
        }
        Some(SourceDefinition {
            name: settings.name.as_str().into(),
            kind: SourceKind::Timer { schedule: schedule?, topic: settings.topic.as_str().into(), data },
            fingerprint: fingerprint::of(node, &[]),
        })
    }

    /// The schedule that a table of its own describes: `{ cron = "…", tz = "…" }`, `{ every = "…" }`.
    pub(super) fn schedule(&mut self, node: &Node, who: &str) -> Option<Schedule> {
        let config: ScheduleConfig = read(node, who, self.problems)?;
        self.build_schedule(node, &config, who)
    }

    fn build_schedule(&mut self, node: &Node, config: &ScheduleConfig, who: &str) -> Option<Schedule> {
        config
            .build()
            .map_err(|error| {
                let span = node.span_of(&[Step::Key(error.field())]);
                self.problems.push(Problem::error(&codes::SCHEDULE, span, format!("{who}: {error}")));
            })
            .ok()
    }
}

/// The data of a timer's events.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::String(text) | Value::Datetime(text) => text.as_str().into(),
        Value::Integer(n) => i64::try_from(*n).map_or_else(|_| n.to_string().into(), Into::into),
        Value::Float(n) => (*n).into(),
        Value::Boolean(b) => (*b).into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(entries) => {
            serde_json::Value::Object(entries.iter().map(|e| (e.key.clone(), json(&e.node))).collect())
        }
    }
}
