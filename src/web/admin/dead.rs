//! Dead letters: look at them, replay, edit and drop them.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::log::Record;
use hexafn_actors::system::dead::{FilterFailed, MAX_PICKED, Pick, Settled, To, mark};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

use super::super::body::{Body, Json};
use super::super::problem::Problem;
use super::super::{App, printable, ws};

/// How long a replay at a rate may take, in seconds: those who ask, and what is between, wait no longer than this.
const LONGEST_REPLAY: usize = 60;
/// The most letters of one answer.
const MAX_LIMIT: usize = 1_000;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/dead").route(web::get().to(summary)))
        .service(web::resource("/admin/dead/{subscription}").route(web::get().to(list)))
        .service(web::resource("/admin/dead/{subscription}/replay").route(web::post().to(replay)))
        .service(web::resource("/admin/dead/{subscription}/drop").route(web::post().to(discard)))
        .service(web::resource("/admin/dead/{subscription}/{seq}").route(web::put().to(edit)));
}

async fn summary(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "read", "*")?;
    let system = app.system.clone();
    let all =
        web::block(move || system.dead_summary()).await.map_err(|e| Problem::new(500, "thread", e.to_string()))?;
    Ok(HttpResponse::Ok().json(all?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    from: Option<u64>,
    limit: Option<usize>,
    filter: Option<String>,
}

fn limit(given: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    let limit = given.unwrap_or(default);
    if limit == 0 || limit > most {
        return Err(Problem::new(400, "limit-invalid", format!("limit={limit}: 1 to {most} letters can be asked for")));
    }
    Ok(limit)
}

async fn list(
    app: web::Data<App>,
    request: HttpRequest,
    subscription: web::Path<String>,
    page: web::Query<Page>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "read", &subscription)?;
    let limit = limit(page.limit, 100, MAX_LIMIT)?;
    let filter = ws::filter(page.filter.as_deref()).await?;
    let (system, from) = (app.system.clone(), page.from.unwrap_or(1));
    let read = web::block(move || system.dead(&subscription, from, limit, filter.as_ref())).await;
    let found = read.map_err(|e| Problem::new(500, "thread", e.to_string()))??;
    let letters = found.letters.iter().map(|record| letter(record)).collect::<serde_json::Result<_>>();
    let letters = letters.map_err(|e| Problem::new(500, "letter-unreadable", e.to_string()))?;
    Ok(HttpResponse::Ok().json(Letters { letters, next: found.next, open: found.open, filter_failed: found.failed }))
}

/// A page of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Letters {
    letters: Vec<Letter>,
    /// Where to go on.
    next: u64,
    /// All open letters of the subscription, on this page or not, whatever the filter.
    open: usize,
    /// What the filter failed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_failed: Option<FilterFailed>,
}

/// A letter: why and when it was given up, and its event as it was.
#[derive(Debug, Serialize, JsonSchema)]
struct Letter {
    seq: u64,
    at: String,
    topic: Option<String>,
    topic_seq: Option<u64>,
    attempts: Option<u64>,
    cause: Option<String>,
    /// Of the trigger or target that failed.
    version: Option<String>,
    /// Of a target: the trigger that made the event, and the functions that it may run, with their versions.
    made_by: Option<String>,
    edited: Option<String>,
    /// The attempts, within 48 KiB: `attempt`, `at`, `cause`, and of a trigger the functions that `ran` with their versions.
    failures: Option<Value>,
    /// Attempts that are not among them: there was no room for all.
    failures_left_out: u64,
    /// Its bytes as they are: no number of it is read, and so none is rounded.
    #[schemars(with = "Value")]
    event: Box<RawValue>,
}

fn letter(record: &Record) -> serde_json::Result<Letter> {
    let event = &record.event;
    let text = |name: &str| mark(event, name).map(|value| value.to_string());
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let mut whole = Vec::new();
    ws::json(record, &mut whole);
    let failures = text("deadlog").and_then(|log| serde_json::from_str::<Value>(&log).ok());
    let told = failures.as_ref().and_then(Value::as_array).map_or(0, |all| all.len() as u64);
    Ok(Letter {
        seq: record.seq,
        at: record.stored.rfc3339(),
        topic: text("deadtopic"),
        topic_seq: number("deadseq"),
        attempts: number("deadattempts"),
        cause: text("deadcause"),
        version: text("deadversion"),
        made_by: text("deadmade"),
        edited: text("deadedited"),
        // One that was given up without an attempt has none to tell.
        failures_left_out: if told == 0 { 0 } else { number("deadattempts").unwrap_or(0).saturating_sub(told) },
        failures: failures.map(|mut log| {
            let mut before = Value::Null;
            for failure in log.as_array_mut().into_iter().flatten() {
                let at = failure["at"].as_i64().map(|us| hexafn_actors::clock::Wall(us).rfc3339());
                failure["at"] = at.into();
                // Stored once for attempts that failed alike.
                if failure["cause"] == "" {
                    failure["cause"] = before;
                }
                before = failure["cause"].clone();
            }
            log
        }),
        event: serde_json::from_slice(&whole)?,
    })
}

/// Which letters, and where they are to go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct Chosen {
    /// These; without, all. An empty list is nobody.
    seqs: Option<Vec<u64>>,
    /// Of those, the ones for which it holds.
    filter: Option<String>,
    /// Only letters from this sequence on.
    from: Option<u64>,
    /// Only letters below this sequence.
    below: Option<u64>,
    limit: Option<usize>,
    /// Another target than the one that gave them up.
    target: Option<String>,
    /// A topic.
    topic: Option<String>,
    /// At most so many a second. The request ends when all are on their way, after a minute at most.
    rate: Option<u32>,
}

impl Chosen {
    async fn pick(&self) -> Result<Pick, Problem> {
        if let Some(seqs) = self.seqs.as_ref().filter(|seqs| seqs.len() > MAX_PICKED) {
            let message = format!("{} sequences; at most {MAX_PICKED} at a time", seqs.len());
            return Err(Problem::new(400, "limit-invalid", message));
        }
        Ok(Pick {
            seqs: self.seqs.clone(),
            filter: ws::filter(self.filter.as_deref()).await?,
            from: self.from,
            below: self.below,
            limit: limit(self.limit, MAX_PICKED, MAX_PICKED)?,
        })
    }
}

async fn replay(
    app: web::Data<App>,
    request: HttpRequest,
    subscription: web::Path<String>,
    Json(chosen): Json<Chosen>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "write", &subscription)?;
    let to = match (&chosen.target, &chosen.topic) {
        (None, None) => {
            served(&app, &subscription).await?;
            To::Subscription
        }
        (Some(target), None) => {
            app.allow(&request, "targets", "write", target)?;
            To::Target(target.as_str().into())
        }
        (None, Some(topic)) => {
            app.allow(&request, "events", "write", topic)?;
            To::Topic(topic.as_str().into())
        }
        _ => return Err(Problem::new(400, "body-invalid", "name a target or a topic, not both")),
    };
    let settled = match chosen.rate {
        None => app.system.dead_replay(&subscription, &chosen.pick().await?, &to).await?,
        Some(rate) => paced(&app, &subscription, &chosen, rate, &to).await?,
    };
    tracing::info!(subscription = %subscription, replayed = settled.settled, left = settled.left, "dead letters replayed by hand");
    Ok(HttpResponse::Ok().json(settled))
}

/// Refuses the letters of a source as what goes back where it came from: nobody ever waited for what could not be read.
async fn served(app: &App, subscription: &str) -> Result<(), Problem> {
    if !subscription.starts_with("source.") || app.system.subscriptions().await.iter().any(|s| *s.name == *subscription)
    {
        return Ok(());
    }
    let (system, name) = (app.system.clone(), subscription.to_owned());
    // Who misspells a source is told what there is.
    web::block(move || system.dead(&name, 1, 1, None))
        .await
        .map_err(|e| Problem::new(500, "thread", e.to_string()))??;
    let message = format!(
        "the letters of `{}` are records that its source could not read, which no trigger or target waits for: say where they go by a \
         topic (`--topic`) or a target (`--target`)",
        printable(subscription)
    );
    Err(Problem::new(400, "subscription-invalid", message))
}

/// A replay in portions, one a second. Each is settled in one write, so whoever hangs up in the middle has replayed some.
async fn paced(app: &App, subscription: &str, chosen: &Chosen, rate: u32, to: &To) -> Result<Settled, Problem> {
    let rate = usize::try_from(rate).unwrap_or(usize::MAX);
    let most = rate.saturating_mul(LONGEST_REPLAY).min(MAX_PICKED);
    if rate == 0 {
        return Err(Problem::new(400, "rate-invalid", "rate=0: at least one letter a second is replayed"));
    }
    let asked = chosen.limit.unwrap_or(usize::MAX);
    let wanted = chosen.seqs.as_ref().map_or_else(|| chosen.limit.unwrap_or(most), |seqs| seqs.len().min(asked));
    if wanted > most {
        let message = format!(
            "{wanted} letters at {rate} a second take longer than the {LONGEST_REPLAY} s that a request may take; ask for at \
             most {most} at a time"
        );
        return Err(Problem::new(400, "limit-invalid", message));
    }
    let mut pick = Pick { limit: wanted, ..chosen.pick().await? };
    let mut seqs = pick.seqs.take();
    if seqs.as_ref().is_some_and(Vec::is_empty) {
        pick.seqs = seqs;
        return Ok(app.system.dead_replay(subscription, &pick, to).await?);
    }
    let by_number = seqs.is_some();
    let mut all: Option<Settled> = None;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut left = wanted;
    while left > 0 {
        second.tick().await;
        pick.limit = left.min(rate);
        if let Some(seqs) = &mut seqs {
            pick.seqs = Some(seqs.drain(..pick.limit).collect());
        }
        let settled = app.system.dead_replay(subscription, &pick, to).await?;
        let done = !by_number && settled.settled < pick.limit;
        // What is given up again on the way is not sent round and round.
        pick.below = pick.below.or(Some(settled.next));
        pick.from = settled.from;
        left -= pick.limit;
        all = Some(match all {
            None => settled,
            Some(before) => before.and(settled),
        });
        if done {
            break;
        }
    }
    all.ok_or_else(|| {
        Problem::new(400, "limit-invalid", format!("limit=0: 1 to {MAX_PICKED} letters can be asked for"))
    })
}

async fn discard(
    app: web::Data<App>,
    request: HttpRequest,
    subscription: web::Path<String>,
    Json(chosen): Json<Chosen>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "write", &subscription)?;
    if chosen.target.is_some() || chosen.topic.is_some() || chosen.rate.is_some() {
        return Err(Problem::new(
            400,
            "body-invalid",
            "what is dropped goes nowhere; leave out target, topic and rate",
        ));
    }
    let settled = app.system.dead_drop(&subscription, &chosen.pick().await?).await?;
    tracing::info!(subscription = %subscription, dropped = settled.settled, left = settled.left, "dead letters dropped by hand");
    Ok(HttpResponse::Ok().json(settled))
}

async fn edit(
    app: web::Data<App>,
    request: HttpRequest,
    path: web::Path<(String, u64)>,
    Body(data): Body,
) -> Result<HttpResponse, Problem> {
    let (subscription, seq) = path.into_inner();
    app.allow(&request, "subscriptions", "write", &subscription)?;
    let new = app.system.dead_edit(&subscription, seq, data).await?;
    tracing::info!(subscription, seq, new, "dead letter edited by hand");
    Ok(HttpResponse::Ok().json(Edited { subscription, was: seq, seq: new }))
}

/// A letter that was changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Edited {
    subscription: String,
    /// Its sequence before.
    was: u64,
    /// Its sequence now.
    seq: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hexafn_actors::clock::Wall;
    use hexafn_actors::event::Event;
    use hexafn_actors::log::TopicId;

    use super::*;

    #[test]
    fn a_letter_counts_the_attempts_that_it_does_not_tell() {
        let told = r#"[{"attempt":1,"at":0,"cause":"no"},{"attempt":9,"at":0,"cause":""},{"attempt":10,"at":0,"cause":"gone"}]"#;
        for (attempts, log, left_out) in [("10", told, 7), ("3", told, 0), ("1", "[]", 0), ("many", told, 0)] {
            let mut event = Event::new("s", "t", "1".into());
            event.extensions = vec![("deadattempts".into(), attempts.into()), ("deadlog".into(), log.into())];
            let record = Record::new("hexafn.dead.target.a".into(), TopicId(1), 1, Wall(0), event);
            let letter = letter(&record).unwrap();
            assert_eq!(letter.failures_left_out, left_out, "{attempts} {log}");
            let failures = letter.failures.unwrap();
            assert!(log == "[]" || failures[1]["cause"] == "no", "told once for those that failed alike: {failures}");
        }
    }
}
