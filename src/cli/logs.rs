//! `hexafn logs`: log lines as they are written, and which are.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, part};
use super::online::fields;
use super::table::{cell, plain};
use super::{Done, Output, live, say};

/// `hexafn logs`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Logs {
    #[command(subcommand)]
    act: Option<Act>,
    /// This level and those that are more severe: error, warn, info, debug.
    #[arg(long)]
    level: Option<String>,
    /// A module and what is below it, e.g. hexafn_actors::trigger.
    #[arg(long)]
    module: Option<String>,
    /// An actor and what is below it, e.g. /triggers/big-push or /triggers.
    #[arg(long)]
    actor: Option<String>,
    /// What is about this event or trace.
    #[arg(long)]
    id: Option<String>,
    /// Stop after so many lines.
    #[arg(long, short = 'n')]
    count: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show which lines are written, or change it until the service ends.
    Level {
        /// LEVEL for all modules, or MODULE=LEVEL, e.g. hexafn_actors::trigger=debug; `default` is what the configuration says.
        change: Option<String>,
    },
}

/// Shows lines, or the levels.
pub fn logs(client: &Client, logs: Logs) -> Done {
    if let Some(Act::Level { change }) = logs.act {
        let levels = match change {
            None => client.get("/admin/logs/level")?,
            Some(change) => {
                let (module, level) = match change.rsplit_once('=') {
                    Some((module, level)) => (Some(module), level),
                    None => (None, change.as_str()),
                };
                client.put("/admin/logs/level", &json!({ "module": module, "level": level.to_lowercase() }))?
            }
        };
        return fields(client, &levels);
    }
    let mut url = format!("{}/ws/logs", client.base().replacen("http", "ws", 1));
    let chosen = [("level", logs.level), ("module", logs.module), ("actor", logs.actor), ("id", logs.id)];
    for (name, value) in chosen.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", part(&value)));
    }
    client.block_on(live::watch(client, &url, logs.count, false, show))
}

/// The keys of every line, which stand before the others.
const HEAD: [&str; 5] = ["timestamp", "level", "target", "actor", "message"];

fn show(client: &Client, text: &str) {
    if client.output == Output::Json {
        return say(text);
    }
    let line: Value = serde_json::from_str(text).unwrap_or_default();
    if line["missed"].is_number() {
        return say(format!("… {} lines were missed: they came faster than they could be sent", cell(&line["missed"])));
    }
    let mut shown = format!("{} {:>5} {}", cell(&line["timestamp"]), cell(&line["level"]), cell(&line["target"]));
    if line["actor"].is_string() {
        shown.push_str(&format!(" {}", cell(&line["actor"])));
    }
    shown.push_str(&format!(": {}", cell(&line["message"])));
    for (name, value) in line.as_object().into_iter().flatten().filter(|(name, _)| !HEAD.contains(&name.as_str())) {
        shown.push_str(&format!(" {}={}", plain(name), cell(value)));
    }
    say(shown);
}
