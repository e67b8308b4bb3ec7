//! `/ws/subscriptions/{name}`: a registered subscription, served to one client at a time. Every event carries an
//! `ack_id`; the client settles it with one of
//!
//! ```text
//! {"ack": "orders/7/1"}                          done (a list of ids works too)
//! {"nak": "orders/7/1", "reason": "…"}           failed: again after the backoff
//! {"term": "orders/7/1", "reason": "…"}          never again: to the dead letters
//! ```
//!
//! What is not settled when the connection ends is offered to the next one, with no attempt counted. A newer connection
//! takes the subscription over.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, ProtocolError, Session};
use hexafn_actors::clock::Wall;
use hexafn_actors::event::Str;
use hexafn_actors::log::Seq;
use hexafn_actors::supervision::{Failure, FailureKind, Front};
use hexafn_actors::system::outside::Serving;
use hexafn_actors::topic::subscription::Verdict;
use hexafn_actors::topic::{Deliveries, Settlement, TopicMessage, Write};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::super::problem::Problem;
use super::super::{App, printable};
use super::{BEHIND, CHECK, Heard, Holder, Outbox, PING, SILENT, STOPPING, begin, close, frame, heard, ping};

/// The longest reason that is kept.
const MAX_REASON: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// A single-use ticket, for browsers.
    ticket: Option<String>,
}

pub(super) async fn open(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    query: web::Query<Query>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), ("subscriptions", "write", &name))?;
    // Before the handshake, so that a wrong name is an answer and not a closed stream.
    app.system.registered(&name)?;
    let (response, session, stream, outbox) = begin(&app, &request, payload)?;
    let session = Subscribed {
        app,
        holder,
        name: name.as_str().into(),
        session: Some(session),
        outbox,
        serving: None,
        open: Open::default(),
        anew: Rc::default(),
        errors: 0,
        heard: Instant::now(),
    };
    Subscribed::create(|ctx| {
        ctx.add_stream(stream);
        session
    });
    Ok(response)
}

/// What a client says: exactly one of the three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    ack: Option<Ids>,
    nak: Option<Ids>,
    term: Option<Ids>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ids {
    One(String),
    Many(Vec<String>),
}

impl Ids {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// `topic/seq/attempt`
fn parse_id(id: &str) -> Option<(&str, Seq, u32)> {
    let (rest, attempt) = id.rsplit_once('/')?;
    let (topic, seq) = rest.rsplit_once('/')?;
    Some((topic, seq.parse().ok()?, attempt.parse().ok()?))
}

struct Subscribed {
    app: web::Data<App>,
    holder: Holder,
    name: Str,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
    /// The place of the subscription's actor, held while the connection lives.
    serving: Option<Serving>,
    /// Where each topic takes its settlements.
    open: Open,
    /// Raised when a topic was removed and made anew.
    anew: Rc<Cell<bool>>,
    /// Bytes of errors since the client last had taken everything.
    errors: usize,
    heard: Instant,
}

/// Where each topic takes its settlements: filled with the first delivery of each.
type Open = Rc<RefCell<HashMap<Str, Front<TopicMessage>>>>;

/// Takes the deliveries, as long as the client takes what it was sent. Beyond, they wait in the mailbox, and when that is
/// full the topics keep them: what a client does not read costs it attempts, and no memory here.
struct Intake {
    outbox: Rc<RefCell<Outbox>>,
    open: Open,
    anew: Rc<Cell<bool>>,
}

impl Actor for Intake {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A message may hold as much as is under way at a time. A topic that finds it full tries again within a second.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<Deliveries> for Intake {
    type Result = ();

    fn handle(&mut self, deliveries: Deliveries, ctx: &mut Self::Context) {
        // One that was removed and made anew counts from 1 again: the client's word on an event of the first must not settle
        // one of the second, so the second is for the next connection.
        let to = deliveries.reply_to;
        if !self.open.borrow_mut().entry(deliveries.topic).or_insert_with(|| to.clone()).leads_where(&to) {
            return self.anew.set(true);
        }
        let mut outbox = self.outbox.borrow_mut();
        for delivery in &deliveries.items {
            outbox.push(frame::of_delivery(&delivery.record, delivery.attempt), None);
        }
        if let Some(has_room) = outbox.room() {
            ctx.wait(async move { drop(has_room.await) }.into_actor(self));
        }
    }
}

impl Subscribed {
    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        close(&mut self.session, &self.outbox, code, why);
        ctx.stop();
    }

    /// Closes on a client that sends, and does not read what it is sent.
    fn close_slow(&mut self, ctx: &mut Context<Self>) {
        self.app.system.metrics().viewers_slow.inc();
        self.outbox.borrow_mut().cut();
        self.close(CloseCode::Again, "too slow; what is open is offered to the next connection", ctx);
    }

    /// Tells the client what was wrong, as long as it reads.
    fn say(&mut self, error: &str, ctx: &mut Context<Self>) {
        let text = serde_json::json!({ "error": error }).to_string();
        let frame = frame::text(text.as_bytes());
        let mut outbox = self.outbox.borrow_mut();
        self.errors = frame.len() + if outbox.bytes == 0 { 0 } else { self.errors };
        outbox.push(frame, None);
        drop(outbox);
        if self.errors > BEHIND {
            self.close_slow(ctx);
        }
    }

    /// Settles what the client names; an id that is not one is told, and changes nothing.
    fn settle(&mut self, text: &str, ctx: &mut Context<Self>) -> Result<(), String> {
        let said: Said = serde_json::from_str(text)
            .map_err(|e| format!("{e}; say {{\"ack\": id}}, {{\"nak\": id}} or {{\"term\": id}}"))?;
        let reason: String = said.reason.unwrap_or_default().chars().take(MAX_REASON).collect();
        let failure = |kind| {
            let reason = if reason.is_empty() { "the subscriber gave no reason" } else { &reason };
            Failure::new(kind, reason, Wall::now())
        };
        let (ids, verdict) = match (said.ack, said.nak, said.term) {
            (Some(ids), None, None) => (ids, Verdict::Ack),
            (None, Some(ids), None) => (ids, Verdict::Nak(failure(FailureKind::Reported))),
            (None, None, Some(ids)) => (ids, Verdict::Term(failure(FailureKind::Permanent))),
            _ => return Err("say exactly one of ack, nak, term".to_owned()),
        };
        let mut by_topic: HashMap<Str, Vec<Settlement>> = HashMap::new();
        for id in ids.list() {
            let known = parse_id(&id).and_then(|(topic, seq, attempt)| {
                self.open.borrow().get_key_value(topic).map(|(topic, _)| (topic.clone(), seq, attempt))
            });
            let Some((topic, seq, attempt)) = known else {
                return Err(format!("`{}` is not the ack_id of an event of this stream", printable(&id)));
            };
            let item = Settlement::new(seq, attempt, verdict.clone());
            by_topic.entry(topic).or_default().push(item);
        }
        for (topic, items) in by_topic {
            let Some(front) = self.open.borrow().get(&topic).cloned() else { continue };
            let message = TopicMessage::Settle {
                subscription: self.name.clone(),
                items,
                round: None,
                write: Write { soon: true, told: None },
            };
            hexafn_actors::trigger::settle(&front, message, self, ctx);
        }
        Ok(())
    }
}

impl Actor for Subscribed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let intake = Intake { outbox: self.outbox.clone(), open: self.open.clone(), anew: self.anew.clone() };
        let (system, name, to) = (self.app.system.clone(), self.name.clone(), intake.start().recipient());
        let serving = async move { system.serve(&name, to).await };
        ctx.spawn(serving.into_actor(self).map(|serving, this, ctx| match serving {
            Ok(serving) => this.serving = Some(serving),
            Err(error) => this.close(CloseCode::Again, &error.to_string(), ctx),
        }));
        let app = self.app.clone();
        let drain = async move { app.until_draining().await };
        ctx.spawn(drain.into_actor(self).map(|(), this, ctx| this.close(CloseCode::Restart, STOPPING, ctx)));
        ctx.run_interval(CHECK, |this, ctx| {
            if this.outbox.borrow().ended {
                return ctx.stop();
            }
            if this.holder.check(&this.app).is_err() {
                return this.close(CloseCode::Policy, "the token was revoked", ctx);
            }
            if this.serving.as_ref().is_some_and(|s| !s.is_current()) {
                return this.close(
                    CloseCode::Policy,
                    "a newer connection took the subscription over, or it was removed",
                    ctx,
                );
            }
            if this.anew.get() {
                return this.close(CloseCode::Again, "a topic was removed and made anew; connect again", ctx);
            }
            if this.heard.elapsed() > SILENT {
                return this.close(CloseCode::Away, "no sign of life", ctx);
            }
            if this.outbox.borrow().is_stuck() {
                this.close_slow(ctx);
            }
        });
        ctx.run_interval(PING, |this, _| ping(this.session.as_ref()));
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Subscribed {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        match heard(message, &self.outbox) {
            Heard::Fine => {}
            Heard::Said(text) => {
                if let Err(why) = self.settle(&text, ctx) {
                    self.say(&why, ctx);
                }
            }
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_topic_sequence_and_attempt() {
        assert_eq!(parse_id("orders.eu/7/2"), Some(("orders.eu", 7, 2)));
        for bad in ["", "orders", "orders/7", "orders/x/1", "orders/7/-1"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
