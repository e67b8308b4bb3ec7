//! `hexafn trace`: the journeys of events, and what decided on the way.

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, part};
use super::online::{Columns, fields, rows};
use super::table::{self, cell};
use super::{Done, Output, say};

/// `hexafn trace`
#[derive(Debug, Subcommand)]
pub enum Trace {
    /// The newest traces.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Every step of one event, with its times.
    Show {
        /// An event id or a trace id.
        id: String,
    },
}

/// Traces.
pub fn run(client: &Client, trace: Trace) -> Done {
    match trace {
        Trace::Ls { limit } => {
            let columns: Columns<'_> = &[
                ("AT", "at"),
                ("SOURCE", "source"),
                ("EVENT", "event_id"),
                ("TRACE", "trace_id"),
                ("STEPS", "steps"),
                ("OK", "ok"),
            ];
            rows(client, &client.get(&format!("/admin/traces?limit={limit}"))?, columns)
        }
        Trace::Show { id } => {
            let value = client.get(&format!("/admin/traces/{}", part(&id)))?;
            if client.output == Output::Json {
                return fields(client, &value);
            }
            say(format!("trace {}", cell(&value["trace_id"])));
            let columns: Columns<'_> = &[
                ("AT", "at"),
                ("TOOK us", "took_us"),
                ("STEP", "stage"),
                ("BY", "name"),
                ("OK", "ok"),
                ("EVENT", "event_id"),
                ("DETAIL", "detail"),
            ];
            rows(client, &value["steps"], columns)?;
            value["conditions"].as_array().into_iter().flatten().for_each(conditions);
            Ok(())
        }
    }
}

/// What the conditions said of one event of a trace.
fn conditions(explained: &Value) {
    let (event, topic) = (cell(&explained["event_id"]), cell(&explained["topic"]));
    let seq = explained["seq"].as_u64().map_or_else(String::new, |seq| format!("#{seq}"));
    say(format!("\nconditions on {event} in {topic}{seq}"));
    if let Some(note) = explained["note"].as_str() {
        say(format!("  {}", table::plain(note)));
    }
    let evaluations = explained["evaluations"].as_array().into_iter().flatten();
    evaluations.for_each(|evaluation| condition(evaluation, 1));
}

fn condition(evaluation: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let result = match evaluation["result"].as_str().unwrap_or_default() {
        "unconditional" => "no condition",
        "does-not-hold" => "does not hold",
        other => other,
    };
    say(format!("{indent}{} {}: {result}", cell(&evaluation["kind"]), cell(&evaluation["name"])));
    for line in evaluation["explanation"].as_str().unwrap_or_default().lines() {
        say(format!("{indent}  {}", table::plain(line)));
    }
    if let Some(note) = evaluation["note"].as_str() {
        say(format!("{indent}  ({})", table::plain(note)));
    }
    evaluation["targets"].as_array().into_iter().flatten().for_each(|target| condition(target, depth + 1));
}
