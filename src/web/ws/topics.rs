//! `/ws/topics/{pattern}`: what is stored from a place on, then what comes. `/ws/targets/{name}` is the same of what a
//! target is given: of its outbox, or of the topic that it is.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, ProtocolError, Session};
use hexafn_actors::event::Str;
use hexafn_actors::log::{self, EventLog, Record, Seq, TopicId};
use hexafn_actors::topic::pattern::Pattern;
use hexafn_actors::topic::{DeliverFrom, Live, TopicHandle, Viewer};
use hexafn_dsl::Program;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::super::App;
use super::super::problem::Problem;
use super::{BEHIND, CHECK, Heard, Holder, Outbox, PING, SILENT, STOPPING, begin, close, filter, frame, heard, ping};

/// Records read at a time for a replay.
const CHUNK: usize = 256;
/// Bytes of live records that may come before a replay has ended: beyond, the viewer does not keep up.
const EARLY: usize = 32 << 20;
/// What a record takes beside its data, about.
const RECORD: usize = 320;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// `new` (default), `all`, a sequence, or an RFC 3339 time.
    from: Option<String>,
    /// A condition in the DSL.
    filter: Option<String>,
    /// A single-use ticket, for browsers.
    ticket: Option<String>,
}

pub(super) async fn open(
    app: web::Data<App>,
    request: HttpRequest,
    pattern: web::Path<String>,
    query: web::Query<Query>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), ("topics", "read", &pattern))?;
    let pattern = Pattern::new(&pattern).map_err(|e| Problem::new(400, "topic-name", e.to_string()))?;
    if let Some(name) = pattern.literal() {
        app.system.cast().find(name)?;
    }
    watch(app, &request, pattern, holder, &query, payload).await
}

pub(super) async fn open_target(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    query: web::Query<Query>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), ("targets", "read", &name))?;
    let topic = app.system.topic_of_target(&name)?;
    let pattern = Pattern::new(&topic).map_err(|e| Problem::new(400, "topic-name", e.to_string()))?;
    watch(app, &request, pattern, holder, &query, payload).await
}

async fn watch(
    app: web::Data<App>,
    request: &HttpRequest,
    pattern: Pattern,
    holder: Holder,
    query: &Query,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let from = query.from.as_deref().unwrap_or("new").parse();
    let from = from.map_err(|e: String| Problem::new(400, "from-invalid", format!("from: {e}")))?;
    let filter = filter(query.filter.as_deref()).await?.map(Arc::new);
    let (response, session, stream, outbox) = begin(&app, request, payload)?;
    let viewer = TopicSession {
        app: app.clone(),
        holder,
        pattern,
        from,
        filter,
        session: Some(session),
        outbox,
        id: app.system.cast().viewer_id(),
        overrun: Arc::default(),
        seen: HashMap::new(),
        early: Some(Vec::new()),
        early_bytes: 0,
        heard: Instant::now(),
    };
    viewer_start(viewer, stream);
    Ok(response)
}

fn viewer_start(viewer: TopicSession, stream: actix_ws::MessageStream) {
    TopicSession::create(|ctx| {
        ctx.add_stream(stream);
        viewer
    });
}

/// The last record of a topic that a viewer was sent.
struct Seen {
    id: TopicId,
    seq: Seq,
    /// It is not the topic of this name that the view began with: that was removed, and `from` was meant for it.
    anew: bool,
}

/// A live view of topics.
struct TopicSession {
    app: web::Data<App>,
    holder: Holder,
    pattern: Pattern,
    from: DeliverFrom,
    filter: Option<Arc<Program>>,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
    id: u64,
    overrun: Arc<AtomicBool>,
    /// The last record sent of each topic.
    seen: HashMap<Str, Seen>,
    /// Live records that came before the replay ended; `None` once live.
    early: Option<Vec<Arc<Record>>>,
    early_bytes: usize,
    heard: Instant,
}

impl TopicSession {
    fn send(&mut self, record: &Arc<Record>) {
        let filter = self.filter.clone();
        self.send_if(record, || shows(filter.as_deref(), record));
    }

    fn send_if(&mut self, record: &Arc<Record>, shows: impl FnOnce() -> bool) {
        let (id, seq) = (record.topic_id, record.seq);
        let seen = self.seen.get(&record.topic);
        if seen.is_some_and(|seen| (seen.id, seen.seq) >= (id, seq)) {
            return;
        }
        let anew = seen.is_some_and(|seen| seen.anew || seen.id != id);
        if !anew && matches!(self.from, DeliverFrom::Sequence(from) if seq < from) {
            return;
        }
        self.seen.insert(record.topic.clone(), Seen { id, seq, anew });
        if !shows() {
            return;
        }
        self.outbox.borrow_mut().push(record.frame(frame::of_record), Some((record.topic.clone(), record.seq)));
    }

    fn is_slow(&self) -> bool {
        self.outbox.borrow().bytes > BEHIND || self.overrun.load(Ordering::Acquire)
    }

    /// Closes on a viewer that fell behind.
    fn close_slow(&mut self, ctx: &mut Context<Self>) {
        self.app.system.metrics().viewers_slow.inc();
        self.leave("too slow", CloseCode::Again, "too slow; the last message says where to resume", ctx);
    }

    /// Tells a viewer where to go on, and closes.
    fn leave(&mut self, closed: &str, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        let mut resume = self.outbox.borrow_mut().cut();
        for (topic, seen) in &self.seen {
            resume.entry(topic.clone()).or_insert(seen.seq + 1);
        }
        let resume: HashMap<&str, Seq> = resume.iter().map(|(t, s)| (&**t, *s)).collect();
        let text = serde_json::json!({ "closed": closed, "resume_from": resume }).to_string();
        self.outbox.borrow_mut().say_last(frame::text(text.as_bytes()));
        self.close(code, why, ctx);
    }

    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        close(&mut self.session, &self.outbox, code, why);
        self.app.system.cast().unview(self.id);
        ctx.stop();
    }

    /// Sends what is stored from `from` on, then joins the live records.
    async fn replay(
        log: Arc<dyn EventLog>,
        topic: TopicHandle,
        (from, last): (DeliverFrom, Seq),
        filter: Option<Arc<Program>>,
        to: actix::Addr<Self>,
    ) -> Result<(), String> {
        if topic.durability == hexafn_actors::definitions::TopicDurability::Memory {
            return Ok(());
        }
        let mut next = match from {
            DeliverFrom::New => last + 1,
            DeliverFrom::All => 1,
            DeliverFrom::Sequence(seq) => seq,
            DeliverFrom::Time(time) => match log.seq_at(topic.id, time) {
                Err(log::Error::NoTopic(_)) => return Ok(()),
                seq => seq.map_err(|e| e.to_string())?,
            },
        };
        while next <= last {
            let (reader, id, filter) = (log.clone(), topic.id, filter.clone());
            // What a client asks of so many records is found out where nobody else waits for the thread.
            let records = web::block(move || {
                let records = reader.read(id, next, CHUNK, 1 << 20)?;
                Ok(records.into_iter().map(|record| (shows(filter.as_deref(), &record), record)).collect::<Vec<_>>())
            });
            let records = records.await;
            let records = match records.map_err(|e| e.to_string())? {
                // Removed meanwhile: there is nothing more to replay.
                Err(log::Error::NoTopic(_)) => return Ok(()),
                records => records.map_err(|e| e.to_string())?,
            };
            let Some((_, newest)) = records.last() else { return Ok(()) };
            next = newest.seq + 1;
            let records = records.into_iter().filter(|(_, record)| record.seq <= last).collect();
            if to.send(Replayed(records)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether a viewer wants to see it.
fn shows(filter: Option<&Program>, record: &Record) -> bool {
    filter.is_none_or(|filter| hexafn_actors::function::shows(filter, record))
}

/// Records of the replay, and whether they are shown; answered when there is room for more.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Replayed(Vec<(bool, Arc<Record>)>);

impl Actor for TopicSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A message holds a reference for each record; what a viewer may be behind is bounded by bytes in its outbox, so the
        // mailbox only has to outlast the moments in which its worker is busy with others.
        ctx.set_mailbox_capacity(4096);
        let viewer = Viewer { id: self.id, to: ctx.address().recipient(), overrun: self.overrun.clone() };
        let (cast, pattern, from, me) =
            (self.app.system.cast().clone(), self.pattern.clone(), self.from, ctx.address());
        let filter = self.filter.clone();
        let join = async move {
            let places = cast.view(&pattern, viewer).await;
            for (topic, last) in places {
                TopicSession::replay(cast.log().clone(), topic, (from, last), filter.clone(), me.clone()).await?;
            }
            Ok::<(), String>(())
        };
        ctx.spawn(join.into_actor(self).map(|joined, this, ctx| {
            if let Err(error) = joined {
                tracing::error!(%error, "replay failed");
                return this.close(CloseCode::Error, "the replay failed; see the log of the service", ctx);
            }
            for record in this.early.take().unwrap_or_default() {
                this.send(&record);
            }
        }));
        let app = self.app.clone();
        let drain = async move { app.until_draining().await };
        ctx.spawn(
            drain.into_actor(self).map(|(), this, ctx| this.leave("draining", CloseCode::Restart, STOPPING, ctx)),
        );
        ctx.run_interval(CHECK, |this, ctx| {
            if this.outbox.borrow().ended {
                this.app.system.cast().unview(this.id);
                return ctx.stop();
            }
            if this.holder.check(&this.app).is_err() {
                return this.close(CloseCode::Policy, "the token was revoked", ctx);
            }
            if this.heard.elapsed() > SILENT {
                return this.close(CloseCode::Away, "no sign of life", ctx);
            }
            if this.is_slow() {
                this.close_slow(ctx);
            }
        });
        ctx.run_interval(PING, |this, _| ping(this.session.as_ref()));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.app.system.cast().unview(self.id);
    }
}

impl Handler<Live> for TopicSession {
    type Result = ();

    fn handle(&mut self, live: Live, ctx: &mut Self::Context) {
        if let Some(early) = &mut self.early {
            early.extend(live.records.iter().cloned());
            self.early_bytes += live.records.iter().map(|r| r.event.data.len() + RECORD).sum::<usize>();
            if self.early_bytes > EARLY {
                self.close_slow(ctx);
            }
            return;
        }
        for record in live.records.iter() {
            self.send(record);
        }
        if self.is_slow() {
            self.close_slow(ctx);
        }
    }
}

impl Handler<Replayed> for TopicSession {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, Replayed(records): Replayed, _: &mut Self::Context) -> Self::Result {
        for (shown, record) in &records {
            self.send_if(record, || *shown);
        }
        match self.outbox.borrow_mut().room() {
            None => Box::pin(std::future::ready(())),
            Some(has_room) => Box::pin(async move { drop(has_room.await) }),
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for TopicSession {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        match heard(message, &self.outbox) {
            // A view has nothing to be told; that is not an error, so that a client may say hello.
            Heard::Fine | Heard::Said(_) => {}
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.app.system.cast().unview(self.id);
        ctx.stop();
    }
}
