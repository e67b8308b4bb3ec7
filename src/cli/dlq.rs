//! `hexafn dlq`: dead letters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::{Args, Subcommand};
use hexafn_actors::clock::Wall;
use hexafn_actors::definitions::{Definitions, TargetKind};
use hexafn_actors::event::{Event, is_json_type};
use hexafn_actors::log::{Record, TopicId};
use hexafn_actors::system::dead::unmarked;
use hexafn_actors::target::redact::Redactor;
use hexafn_actors::target::{Delivery, Target};
use hexafn_actors::trigger::dry::dry_run;
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::client::{Client, part};
use super::exact::FilterFailed;
use super::online::{fields, page, rows};
use super::table::{cell, plain};
use super::{Done, Failure, Output, exact, say, tell};
use crate::config::{self, Options, SecretMode};

/// Letters asked for at a time.
const PAGE: usize = 100;

/// `hexafn dlq`
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// The subscriptions that have dead letters; or the letters of one.
    #[command(alias = "ls")]
    List {
        /// The subscription, e.g. target.chat or trigger.big-push.
        subscription: Option<String>,
        /// A condition, e.g. 'event.type == "push"'.
        #[arg(long, requires = "subscription")]
        filter: Option<String>,
        /// The first sequence.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = at_least_one)]
        limit: usize,
    },
    /// One letter: its event as it was, and every attempt.
    Show {
        /// The subscription.
        subscription: String,
        /// The letter.
        seq: u64,
    },
    /// Put other data in the place of a letter's; replay it then.
    Edit {
        /// The subscription.
        subscription: String,
        /// The letter.
        seq: u64,
        /// The data: text, `@FILE`, or `-` for standard input.
        #[arg(long, short)]
        data: String,
    },
    /// Deliver letters again: to the subscription that gave them up, or elsewhere.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        /// To this target instead.
        #[arg(long, conflicts_with = "topic")]
        target: Option<String>,
        /// To this topic instead.
        #[arg(long)]
        topic: Option<String>,
        /// At most so many a second: 1 or more.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
    },
    /// Remove letters for good.
    Drop {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// What a configuration that is not deployed yet would do with letters, without any effect: of a trigger, whether it
    /// runs; of a target, whether it can make what it sends.
    Check {
        /// The subscription, e.g. trigger.big-push or target.chat.
        subscription: String,
        /// The folder of the configuration.
        #[arg(long, short, value_name = "DIR")]
        config: PathBuf,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
        limit: usize,
    },
}

/// Which letters.
#[derive(Debug, Args)]
pub struct Chosen {
    /// The subscription.
    subscription: String,
    /// These letters.
    seqs: Vec<u64>,
    /// Those for which it holds.
    #[arg(long)]
    filter: Option<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
    /// At most so many: 1 or more.
    #[arg(long, value_parser = at_least_one)]
    limit: Option<usize>,
}

/// A number of letters: none of them would look like there being none.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected 1 or more letters; leave it out for all that there are".to_owned())
}

impl Chosen {
    fn body(&self) -> Result<Value, Failure> {
        if self.seqs.is_empty() && self.filter.is_none() && !self.all {
            return Err(Failure::new(2, "name letters by their sequence, by --filter, or say --all"));
        }
        let seqs = Some(&self.seqs).filter(|seqs| !seqs.is_empty());
        Ok(json!({ "seqs": seqs, "filter": self.filter }))
    }
}

fn at(subscription: &str) -> String {
    format!("/admin/dead/{}", part(subscription))
}

/// Dead letters.
pub fn dlq(client: &Client, dlq: Dlq) -> Done {
    match dlq {
        Dlq::List { subscription: None, .. } => rows(
            client,
            &client.get("/admin/dead")?,
            &[
                ("SUBSCRIPTION", "subscription"),
                ("LETTERS", "letters"),
                ("OLDEST", "oldest"),
                ("NEWEST", "newest"),
                ("CAUSE", "cause"),
            ],
        ),
        Dlq::List { subscription: Some(name), filter, from, limit } => {
            // Fewer than were asked for may be as many bytes as are shown at once.
            let all = from <= 1 && filter.is_none();
            let filter = filter.map_or_else(String::new, |f| format!("&filter={}", part(&f)));
            let asked = client.page(&format!("{}?from={from}&limit={limit}{filter}", at(&name)))?;
            let columns = &[
                ("SEQ", "seq"),
                ("GIVEN UP", "at"),
                ("TOPIC", "topic"),
                ("TYPE", "event.type"),
                ("ID", "event.id"),
                ("ATTEMPTS", "attempts"),
                ("CAUSE", "cause"),
            ];
            if asked.rows.is_empty() && asked.filter_failed.is_some() {
                return failed_filter(asked.filter_failed, 0);
            }
            page(client, &asked, columns)?;
            let (shown, open) = (asked.rows.len(), asked.open);
            if client.output == Output::Table && (all || shown == limit) && (shown as u64) < open {
                let next = asked.next;
                say(format!(
                    "{shown} of {open} letters; go on with `--from {next}`, or see more at a time with `--limit`"
                ));
            }
            failed_filter(asked.filter_failed, shown as u64)
        }
        Dlq::Show { subscription, seq } => show(client, &subscription, seq),
        Dlq::Edit { subscription, seq, data } => {
            let answer = client.raw(Method::PUT, &format!("{}/{seq}", at(&subscription)), &[], super::data(&data)?)?;
            fields(client, &answer)
        }
        Dlq::Replay { chosen, target, topic, rate } => {
            let mut body = chosen.body()?;
            body["target"] = target.into();
            body["topic"] = topic.into();
            settle(client, &chosen, "replay", body, rate)
        }
        Dlq::Drop { chosen } => settle(client, &chosen, "drop", chosen.body()?, None),
        Dlq::Check { subscription, config, limit } => check(client, &subscription, &config, limit),
    }
}

/// Says what a filter failed on; where it failed on all it is wrong, and did not find that there is nothing.
fn failed_filter(failed: Option<FilterFailed>, held: u64) -> Done {
    let Some(FilterFailed { letters, error }) = failed else { return Ok(()) };
    let told = format!("the filter failed on {letters} letters, which it does not choose: {}", plain(&error));
    if held == 0 {
        return Err(Failure::new(1, told));
    }
    tell(told);
    Ok(())
}

fn one(client: &Client, subscription: &str, seq: u64) -> Result<Box<RawValue>, Failure> {
    let found = client.page(&format!("{}?from={seq}&limit=1", at(subscription)))?;
    if let Some(letter) = found.rows.into_iter().next()
        && read(&letter)["seq"].as_u64() == Some(seq)
    {
        return Ok(letter);
    }
    Err(Failure::new(
        1,
        format!("there is no open dead letter {seq} of {subscription}; see `hexafn dlq list {subscription}`"),
    ))
}

/// For everything but the data, whose numbers this rounds.
fn read(letter: &RawValue) -> Value {
    serde_json::from_str(letter.get()).unwrap_or_default()
}

fn show(client: &Client, subscription: &str, seq: u64) -> Done {
    let whole = one(client, subscription, seq)?;
    if client.output == Output::Json {
        say(exact::compact(whole.get()));
        return Ok(());
    }
    let letter = read(&whole);
    for (title, field) in [
        ("letter", "seq"),
        ("given up", "at"),
        ("attempts", "attempts"),
        ("cause", "cause"),
        ("topic", "topic"),
        ("place", "topic_seq"),
        ("version", "version"),
        ("edited", "edited"),
    ] {
        say(format!("{title:9} {}", cell(&letter[field])));
    }
    if letter["failures"].as_array().is_some_and(|f| !f.is_empty()) {
        // Only a trigger runs something.
        let ran = letter["failures"].as_array().is_some_and(|all| all.iter().any(|one| !one["ran"].is_null()));
        // The whole of each, which tables cut.
        let columns = [("ATTEMPT", "attempt"), ("FAILED", "at"), ("RAN", "ran"), ("WHY", "cause")];
        let columns: Vec<_> = columns.into_iter().filter(|(_, field)| ran || *field != "ran").collect();
        rows(client, &letter["failures"], &columns)?;
        if let Some(left_out) = letter["failures_left_out"].as_u64().filter(|left_out| *left_out > 0) {
            say(format!("{left_out} attempts after the first are not told: there was no room for all"));
        }
    }
    if let Some(event) = exact::member(&whole, "event") {
        // Its attempts are the table above.
        let log = exact::member(event, "extensions").and_then(|extensions| exact::member(extensions, "deadlog"));
        let mut text = event.get().to_owned();
        if let Some(log) = log.map(|log| format!("\"deadlog\":{}", log.get())) {
            let with_comma = [format!(",{log}"), format!("{log},"), log];
            if let Some(found) = with_comma.iter().find(|written| text.contains(written.as_str())) {
                text = text.replacen(found.as_str(), "", 1);
            }
        }
        exact::pretty(&text).lines().for_each(|line| say(plain(line)));
    }
    Ok(())
}

/// In portions, so that a rate can be kept, and so that no request takes long.
fn settle(client: &Client, chosen: &Chosen, act: &str, mut body: Value, rate: Option<u32>) -> Done {
    let most = chosen.limit.unwrap_or(usize::MAX);
    let wanted = if chosen.seqs.is_empty() { most } else { chosen.seqs.len().min(most) };
    let portion = rate.map_or(1_000, |rate| rate.min(1_000) as usize);
    let (mut done, mut left, mut seqs, mut absent) = (0, 0, chosen.seqs.as_slice(), Vec::new());
    let mut failed: Option<FilterFailed> = None;
    while done < wanted {
        let now = portion.min(wanted - done);
        body["limit"] = now.into();
        if !chosen.seqs.is_empty() {
            let (these, rest) = seqs.split_at(now.min(seqs.len()));
            (body["seqs"], seqs) = (json!(these), rest);
        }
        let answer = client.post(&format!("{}/{act}", at(&chosen.subscription)), &body)?;
        let settled = answer["settled"].as_u64().map_or(0, |n| usize::try_from(n).unwrap_or(0));
        left = answer["left"].as_u64().unwrap_or(0);
        absent.extend(answer["absent"].as_array().into_iter().flatten().cloned());
        if let Some(error) = answer["filter_failed"]["error"].as_str() {
            let letters = answer["filter_failed"]["letters"].as_u64().unwrap_or(0);
            let letters = letters + failed.as_ref().map_or(0, |failed| failed.letters);
            failed = Some(FilterFailed { letters, error: error.to_owned() });
        }
        if body["below"].is_null() {
            // What dies again on the way is not sent round and round.
            body["below"] = answer["next"].clone();
        }
        body["from"] = answer["from"].clone();
        done += settled;
        let finished = if chosen.seqs.is_empty() { settled < now } else { seqs.is_empty() };
        if finished {
            break;
        }
        if rate.is_some() {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let mut told = json!({ "settled": done, "left": left });
    if !absent.is_empty() {
        told["absent"] = json!(absent);
    }
    match client.output {
        Output::Json => say(told.to_string()),
        Output::Table => say(format!("{act}: {done} letters; {left} are left")),
    }
    failed_filter(failed, done as u64)?;
    if absent.is_empty() {
        return Ok(());
    }
    let numbers = absent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let name = &chosen.subscription;
    Err(Failure::new(1, format!("there is no open dead letter {numbers} of {name}; see `hexafn dlq list {name}`")))
}

fn check(client: &Client, subscription: &str, dir: &std::path::Path, limit: usize) -> Done {
    let options = Options { secrets: SecretMode::Sample, ..Options::new(dir) };
    let loaded =
        config::load(&options).map_err(|e| Failure { code: 78, message: e.render(false), json: Some(e.to_json()) })?;
    let candidate = Candidate::of(&loaded.definitions, subscription)?;
    let (mut from, mut tried, mut failed) = (1, 0, 0);
    let mut results = Vec::new();
    while tried < limit {
        let count = PAGE.min(limit - tried);
        let found = client.page(&format!("{}?from={from}&limit={count}", at(subscription)))?;
        if found.rows.is_empty() {
            break;
        }
        from = found.next;
        for whole in &found.rows {
            let letter = read(whole);
            let mut result = candidate.takes(&loaded.definitions, record(whole, &letter));
            failed += usize::from(!result["error"].is_null() || result["outcome"] == "not reached");
            tried += 1;
            result["seq"] = letter["seq"].clone();
            results.push(result);
        }
    }
    match client.output {
        Output::Json => say(json!({ "letters": results, "tried": tried, "failed": failed }).to_string()),
        Output::Table => {
            let sent = matches!(candidate, Candidate::Target(..));
            let columns = [("SEQ", "seq"), ("OUTCOME", "outcome"), ("TO", "destination"), ("ERROR", "error")];
            let columns: Vec<_> = columns.into_iter().filter(|(_, field)| sent || *field != "destination").collect();
            rows(client, &json!(results), &columns)?;
            say(format!("{failed} of {tried} letters would fail again"));
            if sent && failed < tried {
                say("whether the receiver takes the others, only an attempt tells");
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(1, "")) }
}

/// What of a configuration that is not deployed yet would get the letters.
enum Candidate<'d> {
    Trigger(&'d str),
    Target(&'d dyn Target, Option<&'d Redactor>),
}

impl<'d> Candidate<'d> {
    fn of(all: &'d Definitions, subscription: &'d str) -> Result<Self, Failure> {
        if let Some(trigger) = subscription.strip_prefix("trigger.") {
            return Ok(Self::Trigger(trigger));
        }
        let Some(name) = subscription.strip_prefix("target.") else {
            let message =
                format!("`{subscription}` is neither of a trigger nor of a target: no configuration says what it does");
            return Err(Failure::new(2, message));
        };
        let target = all.targets.get(name);
        match target.map(|target| &target.kind) {
            Some(TargetKind::Outside(kind)) => {
                Ok(Self::Target(&**kind, target.and_then(|target| target.redact.as_deref())))
            }
            Some(TargetKind::Topic(_)) => Err(Failure::new(
                1,
                format!("target `{name}` of that configuration is a topic: there is no attempt to check"),
            )),
            None => {
                let known: Vec<&str> = all.targets.keys().map(|name| &**name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(Failure::new(1, format!("that configuration has no target `{name}`; it has {known}")))
            }
        }
    }

    fn takes(&self, all: &Definitions, record: Record) -> Value {
        match self {
            Self::Trigger(trigger) => {
                let run = dry_run(all, &record, |_| false).into_iter().find(|run| *run.trigger == **trigger);
                let outcome = run.as_ref().map_or("not reached", |run| run.outcome);
                json!({ "outcome": outcome, "error": run.and_then(|run| run.error) })
            }
            // As a replay delivers it, for which `when` is not asked again.
            Self::Target(target, redactor) => {
                let mut record = record;
                if let Some(redactor) = redactor {
                    record.event = redactor.redact(&record.event);
                }
                match target.preview(Delivery { record: &Arc::new(record), attempt: 1, now: Wall::now() }) {
                    Ok(preview) => json!({ "outcome": "sendable", "destination": preview.destination, "error": null }),
                    Err(failure) => json!({ "outcome": "failed", "error": failure.message.to_string() }),
                }
            }
        }
    }
}

/// The record that was given up, as far as its letter tells.
fn record(whole: &RawValue, letter: &Value) -> Record {
    let event = &letter["event"];
    let text = |name: &str| event[name].as_str();
    let data: Bytes = match (&event["data"], text("data_base64"), text("datacontenttype")) {
        (_, Some(bytes), _) => STANDARD.decode(bytes).unwrap_or_default().into(),
        (Value::String(text), _, kind) if !kind.is_some_and(is_json_type) => text.clone().into(),
        // An event without data has no member of that name.
        _ => {
            let data = exact::member(whole, "event").and_then(|event| exact::member(event, "data"));
            data.map_or_else(Bytes::new, |data| data.get().to_owned().into())
        }
    };
    let mut made = Event::new(text("source").unwrap_or_default(), text("type").unwrap_or_default(), data);
    made.id = text("id").unwrap_or_default().into();
    made.subject = text("subject").map(Into::into);
    made.key = text("key").map(Into::into);
    made.content_type = text("datacontenttype").map(Into::into);
    for (into, group) in [(&mut made.headers, "headers"), (&mut made.extensions, "extensions")] {
        let members = event[group].as_object().into_iter().flatten();
        *into = members.filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into()))).collect();
    }
    if let Some(time) = text("time").and_then(|time| time.parse::<jiff::Timestamp>().ok()) {
        made.time = Wall(time.as_microsecond());
    }
    let seq = letter["topic_seq"].as_u64().unwrap_or(0);
    Record::new(letter["topic"].as_str().unwrap_or_default().into(), TopicId(0), seq, Wall::now(), unmarked(made))
}
