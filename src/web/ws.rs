//! Live streams over WebSocket: `/ws/topics/{pattern}` (replay, then live) and `/ws/actors`.
//!
//! A session is an actor on its connection's worker. Frames are encoded once per record and shared by all viewers;
//! what a viewer has not taken is bounded by bytes, and one that falls behind is closed with 1013 and told where to
//! resume.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, StreamHandler, WrapFuture};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, ProtocolError, Session};
use bytes::Bytes;
use hexafn_actors::event::Str;
use hexafn_actors::log::{EventLog, Record, Seq};
use hexafn_actors::topic::pattern::Pattern;
use hexafn_actors::topic::{Live, TopicHandle, Viewer};
use hexafn_dsl::{ProgramKind, SourceText};
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use super::problem::Problem;
use super::{App, printable};

mod frame;
pub use frame::json;

/// Bytes that a viewer may be behind.
const BEHIND: usize = 4 << 20;
/// Bytes of one write.
const WRITE: usize = 64 << 10;
/// Records read at a time for a replay.
const CHUNK: usize = 256;
/// How often the token is checked again, and a sign of life is asked for.
const CHECK: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(20);
/// A client that has said nothing for so long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// The largest frame that a client may send.
const MAX_FRAME: usize = 64 << 10;

/// The routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/ws/topics/{pattern}").route(web::get().to(topics)))
        .service(web::resource("/ws/actors").route(web::get().to(actors)));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    /// `new` (default), `all`, a sequence, or an RFC 3339 time.
    from: Option<String>,
    /// A condition in the DSL.
    filter: Option<String>,
    /// A single-use ticket, for browsers.
    ticket: Option<String>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    New,
    All,
    Seq(Seq),
    Time(hexafn_actors::clock::Wall),
}

fn parse_from(text: Option<&str>) -> Result<From, Problem> {
    match text {
        None | Some("new") => Ok(From::New),
        Some("all") => Ok(From::All),
        Some(text) => {
            if let Ok(seq) = text.parse::<u64>() {
                return Ok(From::Seq(seq));
            }
            let time: jiff::Timestamp = text.parse().map_err(|_| {
                let message = format!(
                    "`from={}` is neither new, all, a sequence nor an RFC 3339 time such as 2026-11-24T08:00:00Z",
                    printable(text)
                );
                Problem::new(400, "from-invalid", message)
            })?;
            Ok(From::Time(hexafn_actors::clock::Wall(time.as_microsecond())))
        }
    }
}

/// What waits to be written to one client. Lives on the thread of its connection.
#[derive(Default)]
struct Outbox {
    frames: VecDeque<(Bytes, Option<(Str, Seq)>)>,
    bytes: usize,
    waker: Option<Waker>,
    /// Somebody waits for room.
    room: Option<tokio::sync::oneshot::Sender<()>>,
    ended: bool,
}

impl Outbox {
    fn push(&mut self, frame: Bytes, place: Option<(Str, Seq)>) {
        self.bytes += frame.len();
        self.frames.push_back((frame, place));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next bytes to write: one frame as it is, several small ones together.
    fn take(&mut self) -> Option<Bytes> {
        let (first, _) = self.frames.pop_front()?;
        let next_fits = self.frames.front().is_some_and(|(f, _)| first.len() + f.len() <= WRITE);
        let taken = if next_fits {
            let mut together = bytes::BytesMut::with_capacity(self.bytes.min(WRITE));
            together.extend_from_slice(&first);
            while let Some((frame, _)) = self.frames.front() {
                if together.len() + frame.len() > WRITE {
                    break;
                }
                together.extend_from_slice(frame);
                self.frames.pop_front();
            }
            together.freeze()
        } else {
            first
        };
        self.bytes -= taken.len();
        if self.bytes < BEHIND / 4
            && let Some(room) = self.room.take()
        {
            // Nobody may wait any more.
            room.send(()).ok();
        }
        Some(taken)
    }

    /// Drops what was not written, and says where each topic would go on.
    fn cut(&mut self) -> HashMap<Str, Seq> {
        let mut resume = HashMap::new();
        for (_, place) in self.frames.drain(..) {
            if let Some((topic, seq)) = place {
                resume.entry(topic).or_insert(seq);
            }
        }
        self.bytes = 0;
        resume
    }
}

/// The body of the response: our frames, and those of the library's session (pong, close).
struct Body {
    session: BoxBody,
    outbox: Rc<RefCell<Outbox>>,
    app: web::Data<App>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.outbox.borrow_mut().ended = true;
        self.app.streams.fetch_sub(1, Ordering::Relaxed);
        self.app.system.metrics().viewers.dec();
    }
}

impl MessageBody for Body {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(frame) = self.outbox.borrow_mut().take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Poll::Ready(of_session) = Pin::new(&mut self.session).poll_next(cx) {
            return Poll::Ready(of_session);
        }
        self.outbox.borrow_mut().waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The pieces of a session.
type Opened = (HttpResponse, Session, actix_ws::MessageStream, Rc<RefCell<Outbox>>);

/// Takes a place among the open streams and makes the session's pieces.
fn open(app: &web::Data<App>, request: &HttpRequest, payload: web::Payload) -> Result<Opened, Problem> {
    if app.streams.fetch_add(1, Ordering::Relaxed) >= app.server.limits.max_streams {
        app.streams.fetch_sub(1, Ordering::Relaxed);
        return Err(Problem::new(
            503,
            "too-many-streams",
            "as many streams are open as server.limits.max_streams allows",
        )
        .retry_after(5));
    }
    let (response, session, stream) = actix_ws::handle(request, payload).map_err(|e| {
        app.streams.fetch_sub(1, Ordering::Relaxed);
        Problem::new(400, "websocket-expected", format!("this address speaks WebSocket: {e}"))
    })?;
    app.system.metrics().viewers.inc();
    let outbox = Rc::new(RefCell::new(Outbox::default()));
    let shared = outbox.clone();
    let app = app.clone();
    let response = response.map_body(|_, session| BoxBody::new(Body { session, outbox: shared, app }));
    Ok((response, session, stream.max_frame_size(MAX_FRAME), outbox))
}

/// Who opened the stream, to see later whether it still may.
#[derive(Clone)]
struct Holder {
    bearer: Option<String>,
    resource: &'static str,
    namespace: String,
}

impl Holder {
    fn of(
        app: &App,
        request: &HttpRequest,
        ticket: Option<&str>,
        resource: &'static str,
        namespace: &str,
    ) -> Result<Self, Problem> {
        let bearer = match ticket {
            Some(ticket) => {
                app.check_host(request)?;
                let bearer = super::admin::redeem(ticket)?;
                Self { bearer: bearer.clone(), resource, namespace: namespace.to_owned() }.check(app)?;
                bearer
            }
            None => {
                app.allow(request, resource, "read", namespace)?;
                let header = request.headers().get(actix_web::http::header::AUTHORIZATION);
                header.and_then(|v| v.to_str().ok()).and_then(|v| v.get(7..)).map(|v| v.trim().to_owned())
            }
        };
        Ok(Self { bearer, resource, namespace: namespace.to_owned() })
    }

    fn check(&self, app: &App) -> Result<(), Problem> {
        let checked = app.auth.check(self.bearer.as_deref(), None, (self.resource, "read", &self.namespace));
        checked.map(drop).map_err(|_| Problem::new(401, "token-required", "the token is not valid (any more)"))
    }
}

async fn topics(
    app: web::Data<App>,
    request: HttpRequest,
    pattern: web::Path<String>,
    query: web::Query<Query>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), "topics", &pattern)?;
    let pattern = Pattern::new(&pattern).map_err(|e| Problem::new(400, "topic-name", e.to_string()))?;
    if let Some(name) = pattern.literal() {
        app.system.cast().find(name)?;
    }
    let from = parse_from(query.from.as_deref())?;
    let filter = match &query.filter {
        None => None,
        Some(text) => {
            let source = SourceText { name: "filter", text };
            let compiled = hexafn_dsl::compile(&source, ProgramKind::Condition);
            Some(compiled.map_err(|e| Problem::new(400, "filter-invalid", e.render(false)))?)
        }
    };
    let (response, session, stream, outbox) = open(&app, &request, payload)?;
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

/// A live view of topics.
struct TopicSession {
    app: web::Data<App>,
    holder: Holder,
    pattern: Pattern,
    from: From,
    filter: Option<hexafn_dsl::Program>,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
    id: u64,
    overrun: Arc<AtomicBool>,
    /// The last sequence sent of each topic.
    seen: HashMap<Str, Seq>,
    /// Live records that came before the replay ended; `None` once live.
    early: Option<Vec<Arc<Record>>>,
    heard: Instant,
}

impl TopicSession {
    fn send(&mut self, record: &Arc<Record>) {
        if self.seen.get(&record.topic).is_some_and(|seen| *seen >= record.seq) {
            return;
        }
        self.seen.insert(record.topic.clone(), record.seq);
        if let Some(filter) = &self.filter
            && !matches!(hexafn_actors::function::test(filter, record, "", 1), Ok(true))
        {
            return;
        }
        self.outbox.borrow_mut().push(record.frame(frame::of_record), Some((record.topic.clone(), record.seq)));
    }

    fn is_slow(&self) -> bool {
        self.outbox.borrow().bytes > BEHIND || self.overrun.load(Ordering::Acquire)
    }

    /// Tells a viewer that fell behind where to go on, and closes.
    fn close_slow(&mut self, ctx: &mut Context<Self>) {
        self.app.system.metrics().viewers_slow.inc();
        let mut resume = self.outbox.borrow_mut().cut();
        for (topic, seq) in &self.seen {
            resume.entry(topic.clone()).or_insert(seq + 1);
        }
        let resume: HashMap<&str, Seq> = resume.iter().map(|(t, s)| (&**t, *s)).collect();
        let text = serde_json::json!({ "closed": "too slow", "resume_from": resume }).to_string();
        self.outbox.borrow_mut().push(frame::text(text.as_bytes()), None);
        self.close(CloseCode::Again, "too slow; the last message says where to resume", ctx);
    }

    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        if let Some(session) = self.session.take() {
            let reason = CloseReason { code, description: Some(why.to_owned()) };
            actix_web::rt::spawn(async move { drop(session.close(Some(reason)).await) });
        }
        self.app.system.cast().unview(self.id);
        ctx.stop();
    }

    /// Sends what is stored from `from` on, then joins the live records.
    async fn replay(
        log: Arc<dyn EventLog>,
        topic: TopicHandle,
        from: From,
        last: Seq,
        to: actix::Addr<Self>,
    ) -> Result<(), String> {
        if topic.durability == hexafn_actors::definitions::TopicDurability::Memory {
            return Ok(());
        }
        let mut next = match from {
            From::New => last + 1,
            From::All => 1,
            From::Seq(seq) => seq,
            From::Time(time) => log.seq_at(topic.id, time).map_err(|e| e.to_string())?,
        };
        while next <= last {
            let (reader, id) = (log.clone(), topic.id);
            let records = web::block(move || reader.read(id, next, CHUNK, 1 << 20)).await;
            let records = records.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            let Some(newest) = records.last() else { return Ok(()) };
            next = newest.seq + 1;
            let records = records.into_iter().filter(|r| r.seq <= last).collect();
            if to.send(Replayed(records)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Records of the replay; answered when there is room for more.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Replayed(Vec<Arc<Record>>);

impl Actor for TopicSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A message holds a reference for each record; what a viewer may be behind is bounded by bytes in its outbox, so the
        // mailbox only has to outlast the moments in which its worker is busy with others.
        ctx.set_mailbox_capacity(4096);
        let viewer = Viewer { id: self.id, to: ctx.address().recipient(), overrun: self.overrun.clone() };
        let (cast, pattern, from, me) =
            (self.app.system.cast().clone(), self.pattern.clone(), self.from, ctx.address());
        let join = async move {
            let places = cast.view(&pattern, viewer).await;
            for (topic, last) in places {
                TopicSession::replay(cast.log().clone(), topic, from, last, me.clone()).await?;
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
        ctx.run_interval(PING, |this, _| {
            if let Some(mut session) = this.session.clone() {
                actix_web::rt::spawn(async move { drop(session.ping(b"").await) });
            }
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.app.system.cast().unview(self.id);
    }
}

impl Handler<Live> for TopicSession {
    type Result = ();

    fn handle(&mut self, live: Live, ctx: &mut Self::Context) {
        if let Some(early) = &mut self.early {
            // As many as the replay can take: beyond, the viewer could not keep up anyway.
            early.extend(live.records.iter().cloned());
            if early.len() > 100_000 {
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
        for record in &records {
            self.send(record);
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.bytes < BEHIND / 2 || outbox.ended {
            return Box::pin(std::future::ready(()));
        }
        let (room, has_room) = tokio::sync::oneshot::channel();
        outbox.room = Some(room);
        Box::pin(async move { drop(has_room.await) })
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for TopicSession {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        match heard(message, self.session.as_ref()) {
            Heard::Fine => {}
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.app.system.cast().unview(self.id);
        ctx.stop();
    }
}

enum Heard {
    Fine,
    End,
    Bad(CloseCode, &'static str),
}

fn heard(message: Result<Message, ProtocolError>, session: Option<&Session>) -> Heard {
    match message {
        Ok(Message::Ping(bytes)) => {
            if let Some(mut session) = session.cloned() {
                actix_web::rt::spawn(async move { drop(session.pong(&bytes).await) });
            }
            Heard::Fine
        }
        Ok(Message::Pong(_) | Message::Nop) => Heard::Fine,
        // A stream has nothing to be told; what a client says is not an error, so that it may say hello.
        Ok(Message::Text(_) | Message::Binary(_) | Message::Continuation(_)) => Heard::Fine,
        Ok(Message::Close(_)) => Heard::End,
        Err(ProtocolError::Overflow) => Heard::Bad(CloseCode::Size, "the frame is too large"),
        Err(_) => Heard::Bad(CloseCode::Protocol, "not WebSocket"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    ticket: Option<String>,
}

async fn actors(
    app: web::Data<App>,
    request: HttpRequest,
    query: web::Query<Ticket>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), "actors", "*")?;
    let (response, session, stream, outbox) = open(&app, &request, payload)?;
    let session = ActorsSession { app, holder, session: Some(session), outbox };
    ActorsSession::create(|ctx| {
        ctx.add_stream(stream);
        session
    });
    Ok(response)
}

/// A live view of the supervision tree: first the whole tree, then each change.
struct ActorsSession {
    app: web::Data<App>,
    holder: Holder,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
}

impl ActorsSession {
    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        if let Some(session) = self.session.take() {
            let reason = CloseReason { code, description: Some(why.to_owned()) };
            actix_web::rt::spawn(async move { drop(session.close(Some(reason)).await) });
        }
        ctx.stop();
    }
}

impl Actor for ActorsSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        use hexafn_actors::supervision::Watch;
        let (supervisor, outbox) = (self.app.system.supervisor().clone(), self.outbox.clone());
        let watch = async move {
            let push = |value: serde_json::Value| {
                let mut outbox = outbox.borrow_mut();
                outbox.push(frame::text(value.to_string().as_bytes()), None);
                outbox.bytes <= BEHIND && !outbox.ended
            };
            while let Ok(mut watching) = supervisor.send(Watch).await {
                if !push(serde_json::json!({ "nodes": watching.nodes })) {
                    return;
                }
                // Lagged: a new snapshot makes up for what was missed.
                while let Ok(change) = watching.changes.recv().await {
                    if !push(serde_json::json!(change)) {
                        return;
                    }
                }
            }
        };
        ctx.spawn(
            watch.into_actor(self).map(|(), this, ctx| this.close(CloseCode::Again, "too slow; connect again", ctx)),
        );
        ctx.run_interval(CHECK, |this, ctx| {
            if this.outbox.borrow().ended {
                return ctx.stop();
            }
            if this.holder.check(&this.app).is_err() {
                this.close(CloseCode::Policy, "the token was revoked", ctx);
            }
        });
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for ActorsSession {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        match heard(message, self.session.as_ref()) {
            Heard::Fine => {}
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }
}
