//! `/ws/logs`: the log lines that are written, as they are written.
//!
//! What is written is decided by the log level alone; here it is chosen from. Lines of level `trace` are not shown: they are what
//! libraries say of each frame that is sent, and so would be said of themselves.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer};
use tokio::sync::broadcast::error::RecvError;
use tracing::Level;

use super::super::App;
use super::super::problem::Problem;
use super::{Holder, feed};
use crate::telemetry;
use crate::telemetry::lines::Line;

/// Which lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    ticket: Option<String>,
    /// This level and those that are more severe.
    #[serde(default, deserialize_with = "level")]
    level: Option<Level>,
    /// A module, and what is below it.
    module: Option<String>,
    /// An actor, and what is below it: `/triggers/big-push`, `/triggers`.
    actor: Option<String>,
    /// A trace or an event.
    id: Option<String>,
}

fn level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Level>, D::Error> {
    match String::deserialize(from)?.as_str() {
        "error" => Ok(Some(Level::ERROR)),
        "warn" => Ok(Some(Level::WARN)),
        "info" => Ok(Some(Level::INFO)),
        "debug" => Ok(Some(Level::DEBUG)),
        _ => Err(serde::de::Error::custom("`level` must be error, warn, info or debug")),
    }
}

/// Whether a name is this one, or below it.
fn is_below(name: Option<&str>, above: &str, separator: &str) -> bool {
    let rest = name.and_then(|name| name.strip_prefix(above));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
}

impl Chosen {
    fn takes(&self, line: &Line) -> bool {
        let field = |name: &str| line.fields.get(name).and_then(serde_json::Value::as_str);
        // The least severe is the greatest.
        line.level <= self.level.unwrap_or(Level::DEBUG)
            && self.module.as_deref().is_none_or(|module| is_below(field("target"), module, "::"))
            && self.actor.as_deref().is_none_or(|actor| is_below(field("actor"), actor, "/"))
            && self.id.as_deref().is_none_or(|id| field("trace_id") == Some(id) || field("event_id") == Some(id))
    }
}

pub(super) async fn open(
    app: web::Data<App>,
    request: HttpRequest,
    query: web::Query<Chosen>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let chosen = query.into_inner();
    let holder = Holder::of(&app, &request, chosen.ticket.as_deref(), ("logs", "read", "*"))?;
    let Some(mut lines) = telemetry::watch() else {
        return Err(Problem::new(503, "logs-elsewhere", "the lines of this process go somewhere else"));
    };
    feed::open(app, &request, payload, holder, async move |viewer| {
        loop {
            let text = match lines.recv().await {
                Ok(line) if chosen.takes(&line) => serde_json::to_string(&*line.fields).unwrap_or_default(),
                Ok(_) => continue,
                // They are on standard error; here it is said that some are missing.
                Err(RecvError::Lagged(missed)) => serde_json::json!({ "missed": missed }).to_string(),
                Err(RecvError::Closed) => return,
            };
            if !viewer.push(&text) {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_below_another_by_whole_parts() {
        for (name, above, expected) in [
            (Some("/triggers/a"), "/triggers/a", true),
            (Some("/triggers/a"), "/triggers", true),
            (Some("/triggers/ab"), "/triggers/a", false),
            (Some("/topics/a"), "/triggers", false),
            (None, "/triggers", false),
        ] {
            assert_eq!(is_below(name, above, "/"), expected, "{name:?} {above}");
        }
    }
}
