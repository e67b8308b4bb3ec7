//! The commands that ask a running service.

use clap::Subcommand;
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Client, part};
use super::exact::{self, Page};
use super::table::{self, cell};
use super::{Done, Output, say};

/// Heads of columns, each with the field that it shows.
pub type Columns<'a> = &'a [(&'a str, &'a str)];

/// Prints rows as a table or as JSON.
pub fn rows(client: &Client, value: &Value, columns: Columns<'_>) -> Done {
    match client.output {
        Output::Json => say(value.to_string()),
        Output::Table => {
            let one = std::slice::from_ref(value);
            let list = value.as_array().map_or(one, Vec::as_slice);
            if list.is_empty() { say("nothing there") } else { say(table::of(list, columns)) }
        }
    }
    Ok(())
}

/// Prints events or dead letters as a table or as JSON, with their numbers as they are.
pub fn page(client: &Client, page: &Page, columns: Columns<'_>) -> Done {
    if client.output == Output::Json {
        let rows: Vec<String> = page.rows.iter().map(|row| exact::compact(row.get())).collect();
        say(format!("[{}]", rows.join(",")));
        return Ok(());
    }
    let shown = |row: &RawValue| {
        let mut shown: Value = serde_json::from_str(row.get()).unwrap_or_default();
        if let Some(data) = exact::member(row, "data")
            && !shown["data"].is_string()
        {
            shown["data"] = exact::compact(data.get()).into();
        }
        shown
    };
    rows(client, &page.rows.iter().map(|row| shown(row)).collect(), columns)
}

/// Prints an object field by field.
pub fn fields(client: &Client, value: &Value) -> Done {
    match (client.output, value.as_object()) {
        (Output::Table, Some(object)) => {
            let width = object.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in object {
                say(format!("{name:width$}  {}", cell(value)));
            }
        }
        _ => say(value.to_string()),
    }
    Ok(())
}

/// Says that something without an answer was done.
fn done(client: &Client, value: &Value, sentence: &str) -> Done {
    match client.output {
        Output::Json => say(value.to_string()),
        Output::Table => say(sentence),
    }
    Ok(())
}

/// A list alone.
#[derive(Debug, Subcommand)]
pub enum Ls {
    /// List them.
    Ls,
}

/// Sources.
pub fn sources(client: &Client, Ls::Ls: Ls) -> Done {
    let columns = &[
        ("NAME", "name"),
        ("KIND", "kind"),
        ("PATH", "path"),
        ("SCHEME", "scheme"),
        ("ORIGIN", "origin"),
        ("TOPIC", "topic"),
        ("ACCEPTED", "accepted"),
        ("DUPLICATES", "duplicates"),
        ("UNAUTHORIZED", "unauthorized"),
        ("INVALID", "invalid"),
        ("MISMATCHED", "mismatched"),
        ("NEXT", "next"),
        ("STATE", "state"),
        ("LAG", "lag"),
        ("DEAD", "dead_lettered"),
        ("LAST ERROR", "last_error"),
    ];
    rows(client, &client.get("/admin/sources")?, columns)
}

/// Publishes an event.
pub fn publish(
    client: &Client,
    topic: &str,
    data: &str,
    kind: Option<String>,
    key: Option<String>,
    content_type: &str,
) -> Done {
    let mut path = format!("/admin/topics/{}/events?", part(topic));
    for (name, value) in [("type", kind), ("key", key)] {
        if let Some(value) = value {
            path.push_str(&format!("{name}={}&", part(&value)));
        }
    }
    let headers = [("content-type".to_owned(), content_type.to_owned())];
    let answer = client.raw(Method::POST, path.trim_end_matches(['&', '?']), &headers, super::data(data)?)?;
    fields(client, &answer)
}

/// `hexafn topic`
#[derive(Debug, Subcommand)]
pub enum Topic {
    /// List topics.
    Ls,
    /// One topic with its subscriptions.
    Show {
        /// The topic.
        name: String,
    },
    /// Read events.
    Events {
        /// The topic.
        name: String,
        /// The first sequence.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Remove the events below a sequence.
    Trim {
        /// The topic.
        name: String,
        /// The first event that stays.
        #[arg(long)]
        below: u64,
    },
    /// Remove one that nothing is configured to use, with its events and the places of subscriptions.
    Rm {
        /// The topic.
        name: String,
        /// Also when a subscription has not handled all of its events.
        #[arg(long)]
        force: bool,
    },
}

const SUBSCRIPTION: Columns<'static> = &[
    ("SUBSCRIPTION", "name"),
    ("TOPIC", "topic"),
    ("LAG", "lag"),
    ("IN FLIGHT", "in_flight"),
    ("WAITING", "waiting"),
    ("ATTEMPTS", "attempts"),
    ("DELIVERED", "delivered"),
    ("DEAD", "dead_lettered"),
    ("STATE", "state"),
    ("ACK FLOOR", "ack_floor"),
];

/// Topics.
pub fn topic(client: &Client, topic: Topic) -> Done {
    match topic {
        Topic::Ls => {
            let columns: Columns<'_> = &[
                ("TOPIC", "name"),
                ("RECORDS", "records"),
                ("BYTES", "bytes"),
                ("FIRST", "first"),
                ("LAST", "last"),
                ("STORED", "durability"),
                ("VIEWERS", "viewers"),
            ];
            rows(client, &client.get("/admin/topics")?, columns)
        }
        Topic::Show { name } => {
            let value = client.get(&format!("/admin/topics/{}", part(&name)))?;
            if client.output == Output::Json {
                return fields(client, &value);
            }
            for field in ["name", "durability", "first", "last", "records", "bytes", "viewers"] {
                say(format!("{field:11} {}", cell(&value[field])));
            }
            rows(client, &with_states(client, value["subscriptions"].clone()), SUBSCRIPTION)
        }
        Topic::Events { name, from, limit } => {
            let found = client.page(&format!("/admin/topics/{}/events?from={from}&limit={limit}", part(&name)))?;
            let columns: Columns<'_> =
                &[("SEQ", "seq"), ("STORED", "stored"), ("TYPE", "type"), ("ID", "id"), ("DATA", "data")];
            page(client, &found, columns)
        }
        Topic::Trim { name, below } => {
            client.delete(&format!("/admin/topics/{}/events?below={below}", part(&name)))?;
            done(
                client,
                &json!({ "topic": name, "below": below }),
                &format!("events below {below} of {name} are removed"),
            )
        }
        Topic::Rm { name, force } => {
            client.delete(&format!("/admin/topics/{}?force={force}", part(&name)))?;
            done(client, &json!({ "topic": name, "did": "rm" }), &format!("{name} is removed"))
        }
    }
}

/// `hexafn sub`
#[derive(Debug, Subcommand)]
pub enum Sub {
    /// List subscriptions with their lag.
    Ls,
    /// One subscription, and what waits, and for what.
    Show {
        /// The subscription.
        name: String,
    },
    /// Register one for a client outside, or change it. Its place survives restarts.
    Add {
        /// Its name: letters, digits, `_`, `-`.
        name: String,
        /// The topics: `orders.eu`, `orders.*`, `orders.>`.
        pattern: String,
        /// A condition in the language of hexaFn; other events count as handled.
        #[arg(long)]
        filter: Option<String>,
        /// Where a new one begins: `new`, `all`, a sequence, or an RFC 3339 time.
        #[arg(long)]
        from: Option<String>,
        /// `none`, `key` or `strict`.
        #[arg(long)]
        ordering: Option<String>,
        /// Unsettled events at a time.
        #[arg(long)]
        max_in_flight: Option<usize>,
        /// An event not settled within this has failed, e.g. 30s.
        #[arg(long)]
        ack_wait: Option<String>,
        /// Deliveries of an event before it is a dead letter.
        #[arg(long)]
        max_attempts: Option<u32>,
        /// Forget it at a restart of the service.
        #[arg(long)]
        ephemeral: bool,
    },
    /// Receive the events of a registered one; each is settled once it is printed.
    Read {
        /// The subscription.
        name: String,
        /// Stop after so many events.
        #[arg(long, short = 'n')]
        count: Option<u64>,
    },
    /// Stop deliveries; events are kept.
    Pause {
        /// The subscription.
        name: String,
    },
    /// Go on.
    Resume {
        /// The subscription.
        name: String,
    },
    /// Make what waits for another attempt due now.
    Retry {
        /// The subscription.
        name: String,
    },
    /// Deliver again from a place on.
    Replay {
        /// The subscription.
        name: String,
        /// `all`, `new`, a sequence, or an RFC 3339 time.
        #[arg(long)]
        from: String,
    },
    /// Forget one that nothing uses any more.
    Rm {
        /// The subscription.
        name: String,
    },
}

/// Tables say in one word how a subscription stands.
fn with_states(client: &Client, mut value: Value) -> Value {
    if client.output == Output::Table {
        for row in value.as_array_mut().into_iter().flatten() {
            let state = match (row["configured"].as_bool(), row["paused"].as_bool()) {
                (Some(false), _) => "not configured",
                (_, Some(true)) => "paused",
                _ => "served",
            };
            row["state"] = state.into();
        }
    }
    value
}

/// Subscriptions.
pub fn sub(client: &Client, sub: Sub) -> Done {
    let act = |name: &str, act: &str, body: Value| {
        client.post(&format!("/admin/subscriptions/{}/{act}", part(name)), &body)?;
        done(client, &json!({ "subscription": name, "did": act }), &format!("{name}: {act}"))
    };
    match sub {
        Sub::Ls => rows(client, &with_states(client, client.get("/admin/subscriptions")?), SUBSCRIPTION),
        Sub::Show { name } => {
            let value = client.get(&format!("/admin/subscriptions/{}", part(&name)))?;
            let value = with_states(client, value);
            rows(client, &value, SUBSCRIPTION)?;
            if client.output == Output::Table {
                for row in value.as_array().into_iter().flatten() {
                    let waiting = &row["next_attempts"];
                    if waiting.as_array().is_some_and(|w| !w.is_empty()) {
                        let columns: Columns<'_> = &[
                            ("SEQ", "seq"),
                            ("ATTEMPTS", "attempts"),
                            ("WAITS FOR", "reason"),
                            ("NEXT", "due"),
                            ("CAUSE", "cause"),
                        ];
                        rows(client, waiting, columns)?;
                    }
                }
            }
            Ok(())
        }
        Sub::Add { name, pattern, filter, from, ordering, max_in_flight, ack_wait, max_attempts, ephemeral } => {
            let asked = json!({
                "pattern": pattern, "filter": filter, "from": from, "ordering": ordering, "max_in_flight": max_in_flight,
                "ack_wait": ack_wait, "retry": max_attempts.map(|n| json!({ "max_attempts": n })),
                "durable": ephemeral.then_some(false),
            });
            let asked = asked.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
            let asked: Value = asked.map(|(k, v)| (k.clone(), v.clone())).collect::<serde_json::Map<_, _>>().into();
            fields(client, &client.put(&format!("/admin/subscriptions/{}", part(&name)), &asked)?)
        }
        Sub::Read { name, count } => super::live::read(client, &name, count),
        Sub::Pause { name } => act(&name, "pause", json!({})),
        Sub::Resume { name } => act(&name, "resume", json!({})),
        Sub::Retry { name } => act(&name, "retry", json!({})),
        Sub::Replay { name, from } => act(&name, "replay", json!({ "from": from })),
        Sub::Rm { name } => {
            let at = format!("/admin/subscriptions/{}", part(&name));
            // What it had not handled is kept for nobody after that. One that is not there is told by the removal.
            let rows = client.get(&at).unwrap_or_default();
            let open = rows.as_array().into_iter().flatten();
            let open: u64 =
                open.map(|row| row["lag"].as_u64().unwrap_or(0) + row["waiting"].as_u64().unwrap_or(0)).sum();
            client.delete(&at)?;
            let said = match open {
                0 => format!("{name} is forgotten"),
                open => format!("{name} is forgotten; {open} events that it had not handled are kept for nobody now"),
            };
            done(client, &json!({ "subscription": name, "did": "rm" }), &said)
        }
    }
}

/// `hexafn trigger`
#[derive(Debug, Subcommand)]
pub enum Trigger {
    /// List triggers.
    Ls,
    /// One trigger.
    Show {
        /// The trigger.
        name: String,
    },
    /// Switch it on; also brings back one that was quarantined.
    Enable {
        /// The trigger.
        name: String,
    },
    /// Switch it off: events pass by.
    Disable {
        /// The trigger.
        name: String,
    },
    /// Change its place among the triggers of a topic.
    Priority {
        /// The trigger.
        name: String,
        /// Higher is served first.
        #[arg(allow_negative_numbers = true)]
        priority: i32,
    },
}

/// Triggers.
pub fn trigger(client: &Client, trigger: Trigger) -> Done {
    let path = |name: &str| format!("/admin/triggers/{}", part(name));
    match trigger {
        Trigger::Ls => {
            let columns: Columns<'_> = &[
                ("NAME", "name"),
                ("ON", "on"),
                ("RUN", "run"),
                ("TO", "to"),
                ("PRIORITY", "priority"),
                ("ENABLED", "enabled"),
                ("STATE", "state"),
                ("FIRED", "fired"),
                ("SKIPPED", "skipped"),
                ("FAILED", "failed"),
                ("DEFINED IN", "origin"),
            ];
            rows(client, &client.get("/admin/triggers")?, columns)
        }
        Trigger::Show { name } => fields(client, &client.get(&path(&name))?),
        Trigger::Enable { name } => fields(client, &client.post(&format!("{}/enable", path(&name)), &json!({}))?),
        Trigger::Disable { name } => fields(client, &client.post(&format!("{}/disable", path(&name)), &json!({}))?),
        Trigger::Priority { name, priority } => {
            fields(client, &client.patch(&path(&name), &json!({ "priority": priority }))?)
        }
    }
}

/// `hexafn actors`
#[derive(Debug, Subcommand)]
pub enum Actors {
    /// The tree with states, restarts and last failures.
    Ls,
    /// Stop in order, then start.
    Restart {
        /// E.g. /triggers/big-push, or /triggers for all of them.
        path: String,
    },
    /// Stop, and stay down.
    Stop {
        /// The path.
        path: String,
    },
    /// Start what was stopped.
    Start {
        /// The path.
        path: String,
    },
    /// Forget failures, and start what is quarantined or waits.
    Reset {
        /// The path.
        path: String,
    },
}

/// Actors.
pub fn actors(client: &Client, actors: Actors) -> Done {
    let columns: Columns<'_> = &[
        ("PATH", "path"),
        ("KIND", "kind"),
        ("STATE", "state"),
        ("RESTARTS", "restarts"),
        ("FAILURES", "failures_total"),
        ("MAILBOX", "mailbox.depth"),
        ("WAITS", "observed.waits"),
        ("FOR", "observed.reason"),
        ("THREAD", "thread"),
        ("LAST FAILURE", "last_failure.message"),
    ];
    let (path, verb) = match actors {
        Actors::Ls => return rows(client, &client.get("/admin/actors")?, columns),
        Actors::Restart { path } => (path, "restart"),
        Actors::Stop { path } => (path, "stop"),
        Actors::Start { path } => (path, "start"),
        Actors::Reset { path } => (path, "reset"),
    };
    rows(client, &client.post("/admin/actors/control", &json!({ "path": path, "verb": verb }))?, columns)
}

/// Reloads the configuration.
pub fn reload(client: &Client) -> Done {
    let applied = client.post("/admin/reload", &json!({})).map_err(|mut failure| {
        // The problems as the configuration shows them, with file and line.
        if let Some(errors) = failure.json.as_ref().and_then(|j| j["errors"].as_array()) {
            for error in errors {
                let place = &error["place"];
                let at = format!("{}:{}:{}", cell(&place["file"]), cell(&place["line"]), cell(&place["column"]));
                let (code, message) = (cell(&error["code"]), cell(&error["message"]));
                failure.message.push_str(&format!("\n{at}: error[{code}]: {message}"));
                if let Some(label) = error["label"].as_str() {
                    failure.message.push_str(&format!(" ({})", table::plain(label)));
                }
            }
        }
        failure
    })?;
    if client.output == Output::Json {
        return fields(client, &applied);
    }
    let mut told = applied.clone();
    let lists = ["left", "disabled"].map(|list| told.as_object_mut().and_then(|told| told.remove(list)));
    fields(client, &told)?;
    // Sentences, each on its line.
    lists.iter().flatten().filter_map(Value::as_array).flatten().for_each(|one| say(cell(one)));
    Ok(())
}
