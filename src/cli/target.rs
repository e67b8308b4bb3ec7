//! `hexafn target`: how targets stand, their switches, and attempts by hand.

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Client, part};
use super::online::{Columns, fields, rows};
use super::table::{self, cell};
use super::{Done, Failure, Output, say};

/// `hexafn target`
#[derive(Debug, Subcommand)]
pub enum Target {
    /// List targets.
    Ls,
    /// One target.
    Show {
        /// The target.
        name: String,
    },
    /// Switch it on.
    Enable {
        /// The target.
        name: String,
    },
    /// Switch it off; its events are kept.
    Disable {
        /// The target.
        name: String,
    },
    /// Close its breaker and try now what waits.
    Reset {
        /// The target.
        name: String,
    },
    /// The newest attempts: what was sent when, and what came back.
    Log {
        /// The target.
        name: String,
    },
    /// Make one attempt now, past the queue, and say what came back.
    Test {
        /// The target.
        name: String,
        /// The type of the event.
        #[arg(long = "type")]
        kind: Option<String>,
        /// The data of the event: JSON, `@file`, or `-` for the standard input; `{"test": true}` when absent.
        #[arg(long)]
        data: Option<String>,
    },
}

/// Targets.
pub fn target(client: &Client, target: Target) -> Done {
    let act = |name: &str, act: &str| client.post(&format!("/admin/targets/{}/{act}", part(name)), &json!({}));
    match target {
        Target::Ls => {
            let targets = client.get("/admin/targets")?;
            let any = |field: &str| {
                let rows = targets.as_array().into_iter().flatten();
                rows.into_iter().any(|row| !row[field].is_null() && row[field] != false)
            };
            let columns = [
                ("NAME", "name"),
                ("KIND", "kind"),
                ("BREAKER", "breaker"),
                ("PAUSED", "paused"),
                ("DISABLED", "disabled_at"),
                ("BY", "disabled_by"),
                ("WHY DISABLED", "disabled_why"),
                ("LAG", "lag"),
                ("WAITING", "waiting"),
                ("ATTEMPTING", "attempting"),
                ("DELIVERED", "delivered"),
                ("FAILED", "failed"),
                ("DESTINATION", "destination"),
                ("LAST", "last"),
            ];
            // What is out of the ordinary has columns where it is so.
            let usual = |field: &str| field != "paused" && !field.starts_with("disabled");
            let columns: Vec<_> = columns.into_iter().filter(|(_, field)| usual(field) || any(field)).collect();
            rows(client, &targets, &columns)
        }
        Target::Show { name } => fields(client, &client.get(&format!("/admin/targets/{}", part(&name)))?),
        Target::Enable { name } => fields(client, &act(&name, "enable")?),
        Target::Disable { name } => fields(client, &act(&name, "disable")?),
        Target::Reset { name } => fields(client, &act(&name, "reset")?),
        Target::Log { name } => {
            let columns: Columns<'_> = &[
                ("AT", "at"),
                ("EVENT", "event_id"),
                ("TYPE", "type"),
                ("ATTEMPT", "attempt"),
                ("RESULT", "result"),
                ("STATUS", "status"),
                ("MS", "took_ms"),
                ("MESSAGE", "message"),
                ("REPLY", "reply"),
            ];
            rows(client, &client.get(&format!("/admin/targets/{}/log", part(&name)))?, columns)
        }
        Target::Test { name, kind, data } => {
            let data = data.map(|given| super::offline::json_data(&given)).transpose()?;
            let body = Probe { kind: kind.as_deref(), data: data.as_deref() };
            let probed = client.post(&format!("/admin/targets/{}/test", part(&name)), &body)?;
            let mut told = probed.clone();
            let request = told.as_object_mut().and_then(|told| told.remove("request"));
            if client.output == Output::Json {
                fields(client, &probed)?;
            } else {
                fields(client, &told)?;
                request.iter().for_each(request_as_sent);
            }
            match probed["delivered"].as_bool() {
                Some(true) => Ok(()),
                _ => Err(Failure::new(1, format!("the attempt failed: {}", cell(&probed["message"])))),
            }
        }
    }
}

/// What was sent, as it was sent: the line, a line for each header, the body.
fn request_as_sent(request: &Value) {
    say(format!("\n{}", cell(&request["destination"])));
    for header in request["headers"].as_array().into_iter().flatten() {
        say(format!("{}: {}", cell(&header[0]), cell(&header[1])));
    }
    let body = request["body"].as_str().unwrap_or_default();
    if !body.is_empty() {
        say(format!("\n{}", table::plain_lines(body)));
    }
}

/// The event of an attempt by hand.
#[derive(Serialize)]
struct Probe<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}
