//! The commands that need no service: they read the configuration, or nothing.

use clap::{Args, Subcommand};
use hexafn_actors::clock::Wall;
use hexafn_actors::definitions::{Definitions, SourceKind};
use hexafn_actors::event::new_id;
use hexafn_actors::source::RequestParts;
use hexafn_actors::source::secret::Environment;
use hexafn_actors::source::verify::Delivery;
use hexafn_actors::trigger::dry::dry_run;
use reqwest::Method;
use std::path::Path;

use super::client::Client;
use super::{Config, Done, Failure, Output, exact, say, table, tell};
use crate::config::{self, Loaded, Options, SecretMode};
use crate::web::simulate::Trial;

/// Splits `key=value`.
fn overrides(set: &[String]) -> Result<Vec<(String, String)>, Failure> {
    set.iter()
        .map(|s| {
            let (key, value) = s.split_once('=').ok_or_else(|| {
                Failure::new(2, format!("--set {s}: write key=value, e.g. --set server.listen=127.0.0.1:9000"))
            })?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Starts the service.
pub fn serve(dir: &Path, set: &[String], quiet: bool) -> Done {
    let options = Options { overrides: overrides(set)?, ..Options::new(dir) };
    crate::serve::run(options, quiet).map_err(|e| Failure::new(e.code, e.message))
}

pub(super) fn load(dir: &Path) -> Result<Loaded, Failure> {
    let options = Options { secrets: SecretMode::Optional, ..Options::new(dir) };
    config::load(&options).map_err(|errors| Failure {
        code: 78,
        message: errors.render(false),
        json: Some(errors.to_json()),
    })
}

/// Checks a configuration.
pub fn check(dir: &Path, output: Output) -> Done {
    let loaded = load(dir)?;
    let definitions = &loaded.definitions;
    if output == Output::Json {
        say(serde_json::json!({ "ok": true, "warnings": loaded.warnings.to_json() }).to_string());
        return Ok(());
    }
    if !loaded.warnings.is_empty() {
        say(loaded.warnings.render(false));
    }
    say(format!(
        "{} is valid: {} sources, {} topics, {} triggers, {} functions, {} targets, {} tests",
        dir.display(),
        definitions.sources.len(),
        definitions.topics.len(),
        definitions.triggers.len(),
        definitions.functions.len(),
        definitions.targets.len(),
        loaded.tests.len(),
    ));
    Ok(())
}

/// `hexafn simulate`
#[derive(Debug, Args)]
pub struct Simulate {
    #[command(flatten)]
    config: Config,
    /// The topic that the event would be stored in.
    #[arg(long)]
    topic: String,
    /// Its data: text, `@FILE`, or `-` for standard input.
    #[arg(long, short)]
    data: String,
    /// Its type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Its subject.
    #[arg(long)]
    subject: Option<String>,
    /// Its ordering key.
    #[arg(long)]
    key: Option<String>,
}

/// Data as JSON, from an argument as other commands take it.
pub(super) fn json_data(given: &str) -> Result<Box<serde_json::value::RawValue>, Failure> {
    let bytes = super::data(given)?;
    let doc = hexafn_dsl::json::Doc::parse(bytes.clone().into(), &hexafn_dsl::json::Limits::default());
    doc.map_err(|e| unaccepted(&e))?;
    let text = String::from_utf8(bytes).map_err(|e| Failure::new(1, e.to_string()))?;
    serde_json::value::RawValue::from_string(text).map_err(|e| Failure::new(1, e.to_string()))
}

/// Data that no event may have.
pub(super) fn unaccepted(error: &hexafn_dsl::json::Error) -> Failure {
    Failure::new(1, format!("the data is not JSON that is accepted: {error}"))
}

/// The dry run of an event.
pub fn simulate(args: Simulate, output: Output) -> Done {
    let loaded = load(&args.config.config)?;
    let data = json_data(&args.data)?;
    let trial = Trial { topic: args.topic.clone(), kind: args.kind, subject: args.subject, key: args.key, data };
    let record = trial.record().map_err(|e| unaccepted(&e))?;
    let runs = dry_run(&loaded.definitions, &record, |t| !t.enabled);
    if output == Output::Json {
        say(exact::compact(&serde_json::to_string(&runs).unwrap_or_default()));
        return Ok(());
    }
    if runs.is_empty() {
        say(format!("no trigger listens to the topic `{}`", args.topic));
    }
    for run in runs {
        say(format!("trigger {}: {}", run.trigger, run.outcome));
        if let Some(explanation) = run.explanation {
            explanation.lines().for_each(|line| say(format!("    {}", table::plain(line))));
        }
        if let Some(error) = run.error {
            say(format!("  error     {}", table::plain(&error)));
        }
        for function in run.functions {
            let result = function.error.map_or_else(|| "ok".to_owned(), |e| table::plain(&e));
            say(format!("  function  {} ({} us): {result}", function.name, function.took_us));
        }
        if let Some(result) = run.output {
            say(format!("  output    {}", table::plain(&exact::compact(result.get()))));
        }
        for event in run.emitted {
            let key = event.key.as_ref().map_or_else(String::new, |key| format!(" key {}", table::plain(key)));
            say(format!("  emit      {}{key}: {}", event.topic, table::plain(&exact::compact(event.data.get()))));
        }
        if !run.to.is_empty() {
            say(format!("  to        {}", run.to.join(", ")));
        }
        if !run.not_to.is_empty() {
            say(format!("  not to    {} (their own `when` does not hold)", run.not_to.join(", ")));
        }
        for failed in run.undecided {
            say(format!("  dead      {}: {}", failed.target, table::plain(&failed.error)));
        }
    }
    Ok(())
}

/// `hexafn hook`
#[derive(Debug, Subcommand)]
pub enum Hook {
    /// Send a webhook to the service, signed as the source expects.
    Send(Send),
}

/// `hexafn hook send`
#[derive(Debug, Args)]
pub struct Send {
    #[command(flatten)]
    config: Config,
    /// The source.
    source: String,
    /// The body: text, `@FILE`, or `-` for standard input.
    #[arg(long, short)]
    data: String,
    /// The method, one of the source's; POST when absent, or the first where that is none of them.
    #[arg(long)]
    method: Option<String>,
    /// The event type, where the scheme has a header for it.
    #[arg(long)]
    event: Option<String>,
    /// The delivery id; a fresh one when absent. The same id twice is delivered once.
    #[arg(long)]
    id: Option<String>,
    /// The media type.
    #[arg(long, default_value = "application/json")]
    content_type: String,
}

/// Sends a signed webhook.
pub fn hook(Hook::Send(send): Hook, client: &Client) -> Done {
    let loaded = load(&send.config.config)?;
    let body = super::data(&send.data)?;
    let (method, headers) = signed(&loaded.definitions, &send, &body)?;
    let answer = client.raw(method, &format!("/hooks/{}", super::client::part(&send.source)), &headers, body)?;
    match (client.output, answer.as_object()) {
        (Output::Table, Some(object)) => {
            object.iter().for_each(|(name, value)| say(format!("{name:11} {}", table::cell(value))));
        }
        _ => say(answer.to_string()),
    }
    Ok(())
}

/// The method and the headers of a request that the source takes.
fn signed(definitions: &Definitions, send: &Send, body: &[u8]) -> Result<(Method, Vec<(String, String)>), Failure> {
    let webhooks = definitions.sources.values().filter_map(|s| match &s.kind {
        SourceKind::Webhook { settings, .. } => Some((&*s.name, settings)),
        SourceKind::Timer { .. } | SourceKind::Pull { .. } => None,
    });
    let all: Vec<_> = webhooks.collect();
    let Some((_, settings)) = all.iter().find(|(name, _)| *name == send.source) else {
        let near = hexafn_actors::names::near(&send.source, all.iter().map(|(name, _)| *name));
        return Err(Failure::new(1, format!("there is no webhook source `{}`; {near}", send.source)));
    };
    let method = method(&settings.methods, send)?;
    let secrets = Environment { folder: send.config.config.clone() };
    let signer = settings.verify.build_signer(&secrets).map_err(|e| Failure::new(1, e.to_string()))?;
    let id = send.id.clone().unwrap_or_else(|| new_id().to_string());
    let mut headers = vec![("content-type".to_owned(), send.content_type.clone())];
    let before = headers.clone();
    let request = RequestParts { method: method.as_str(), query: "", headers: &before };
    let delivery = Delivery { id: &id, kind: send.event.as_deref(), now: Wall::now(), request, body };
    headers.extend(signer.sign(&delivery));
    Ok((method, headers))
}

/// The method that is asked for, or the one that a sender would most likely use.
fn method(taken: &[String], send: &Send) -> Result<Method, Failure> {
    let has = |method: &str| taken.iter().any(|one| one == method);
    let chosen = match send.method.as_ref().map(|method| method.to_ascii_uppercase()) {
        Some(method) => method,
        None => taken.first().filter(|_| !has("POST")).cloned().unwrap_or_else(|| "POST".to_owned()),
    };
    let known = Method::from_bytes(chosen.as_bytes()).ok().filter(|_| has(&chosen));
    known.ok_or_else(|| {
        let (chosen, taken) = (table::plain(&chosen), taken.join(", "));
        Failure::new(2, format!("--method: the source `{}` takes {taken}, not {chosen}", send.source))
    })
}

/// `hexafn token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token: the `[[token]]` to add to the configuration on standard output, the token itself, once, on
    /// standard error.
    New {
        /// A name for people.
        name: String,
        /// What it may do: resource:verb:namespace, e.g. `topics:read:*` or `topics:read:orders.>`.
        #[arg(long, default_value = "*:*:*")]
        scope: Vec<crate::auth::Scope>,
        /// The moment from which on it is refused, e.g. 2027-01-31T00:00:00Z.
        #[arg(long)]
        expires: Option<jiff::Timestamp>,
    },
}

/// Makes a token.
pub fn token(Token::New { name, scope, expires }: Token) -> Done {
    let (text, hash) =
        crate::auth::create().map_err(|e| Failure::new(1, format!("no randomness from the system: {e}")))?;
    let scopes: Vec<String> = scope.iter().map(ToString::to_string).collect();
    say("\n[[token]]");
    say(format!("name = {}", serde_json::json!(name)));
    say(format!("sha256 = \"{hash}\""));
    say(format!("scopes = {}", serde_json::json!(scopes)));
    if let Some(expires) = expires {
        say(format!("expires = \"{expires}\""));
    }
    // Apart from what goes into the configuration.
    tell(format!("the token, shown this once; give it to HEXAFN_TOKEN or a file of mode 0600:\n{text}"));
    Ok(())
}

/// Prints the schema of configuration files.
pub fn schema() -> Done {
    say(format!("{:#}", config::schema::document()));
    Ok(())
}

/// The classes of failures, as dead letters, outcomes and metrics name them.
const CLASSES: [(&str, &str); 15] = [
    ("connect", "The name has no address, nobody listens there, or no connection was made within `connect_timeout`."),
    ("timeout", "There was no whole answer within `timeout`. The other side may have it all the same."),
    ("tls", "The certificate is expired, for another host or not trusted, or no TLS is spoken."),
    ("protocol", "What was answered is not the protocol, or the connection ended before an answer."),
    ("body", "The answer was cut off: the receiver may have died before it was done."),
    (
        "status_4xx",
        "The receiver refused it: the message has the status, `hexafn target log` the beginning of the answer.",
    ),
    ("status_5xx", "The receiver failed: the message has the status, `hexafn target log` the beginning of the answer."),
    ("status_other", "An answer with a status that is none of 2xx to 5xx."),
    ("redirect", "An answer 3xx, which is not followed; the message names the address for `url`."),
    ("rejected", "The other side answers and does not take it: no such topic or stream, no right, no room."),
    (
        "refused",
        "Refused here before anything was sent: a private address, a path outside its directory, a record that is too large.",
    ),
    ("template", "A template, a format or the target's own `when` failed on the event, or gave what cannot be sent."),
    ("io", "The disk is full, a right is missing, or a pipe is closed."),
    ("panic", "A defect of hexaFn, contained; please report it."),
    (
        "expired",
        "It was not tried again: its time was over (`retry.max_age`, or `retry.max_time` behind an open breaker).",
    ),
];

/// Explains an error code.
pub fn explain(code: &str) -> Done {
    let wanted = code.trim().to_ascii_uppercase();
    let language = hexafn_dsl::codes::explain(&wanted).map(|e| e.page());
    if let Some(text) = language.or_else(|| config::codes::page(&wanted)) {
        say(text);
        return Ok(());
    }
    if let Some((class, meaning)) = CLASSES.iter().find(|(class, _)| *class == code.trim()) {
        say(format!(
            "{class}: how a delivery failed. {meaning}\nAll classes: docs/targets.md, \"What an attempt can come to\"."
        ));
        return Ok(());
    }
    let message = format!(
        "`{}` is not a code of hexaFn; they look like HX0203 (the language) and HX1001 (the configuration). Classes of failed \
         deliveries, such as status_5xx, are explained here and in docs/targets.md; codes of the REST API, such as \
         target-unknown, in docs/rest.md",
        table::plain(code)
    );
    Err(Failure::new(1, message))
}

#[cfg(test)]
mod tests {
    use super::CLASSES;

    /// `hexafn explain` and the page name the same classes, in the same order.
    #[test]
    fn the_classes_of_failures_are_those_of_the_page() {
        let page = include_str!("../../docs/targets.md");
        let table = page.split("## What an attempt can come to").nth(1).and_then(|rest| rest.split("\n## ").next());
        let rows =
            table.into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let named: Vec<&str> = rows.flat_map(|row| row.split("`, `").map(|name| name.trim_end_matches('`'))).collect();
        assert_eq!(named, CLASSES.map(|(class, _)| class));
    }
}
