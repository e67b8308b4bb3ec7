//! Streams over WebSocket: `/ws/topics/{pattern}` and `/ws/targets/{name}` (replay, then live),
//! `/ws/subscriptions/{name}` (with acknowledgements), `/ws/actors` and `/ws/logs`. Here is what they share; each has its own file.
//!
//! A session is an actor on its connection's worker. Frames are encoded once per record and shared by all viewers;
//! what a viewer has not taken is bounded by bytes, and one that falls behind is closed with 1013 and told where to
//! resume.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Item, Message, ProtocolError, Session};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use hexafn_actors::event::Str;
use hexafn_actors::log::Seq;
use hexafn_dsl::{Program, ProgramKind, SourceText};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use super::App;
use super::problem::Problem;

mod actors;
mod bounded;
mod feed;
mod frame;
mod logs;
mod subscription;
mod topics;
pub use frame::json;

/// Bytes that a viewer may be behind.
const BEHIND: usize = 4 << 20;
/// Bytes of one write.
const WRITE: usize = 64 << 10;
/// How often the token is checked again, and a sign of life is asked for.
const CHECK: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(20);
/// How long a client has to take what it is sent before the end of its stream.
const LAST: Duration = Duration::from_secs(5);
/// A client that has said nothing for so long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// The largest message that a client may send, in one frame or several.
const MAX_FRAME: usize = 64 << 10;

const TOO_LARGE: &str = "the message is larger than 64 KiB";
const ONLY_TEXT: &str = "only text is read";
const NOT_WEBSOCKET: &str = "not WebSocket";
/// Why streams end when the service does.
const STOPPING: &str = "the service stops; connect again";

/// The routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/ws/topics/{pattern}").route(web::get().to(topics::open)))
        .service(web::resource("/ws/targets/{name}").route(web::get().to(topics::open_target)))
        .service(web::resource("/ws/subscriptions/{name}").route(web::get().to(subscription::open)))
        .service(web::resource("/ws/actors").route(web::get().to(actors::open)))
        .service(web::resource("/ws/logs").route(web::get().to(logs::open)));
}

/// What waits to be written to one client. Lives on the thread of its connection.
#[derive(Default)]
struct Outbox {
    frames: VecDeque<(Bytes, Option<(Str, Seq)>)>,
    bytes: usize,
    waker: Option<Waker>,
    /// Somebody waits for room.
    room: Option<tokio::sync::oneshot::Sender<()>>,
    /// The answer to the client's last ping, which is all that it needs (RFC 6455, section 5.5.3): a client that pings and
    /// reads nothing takes no more memory than one.
    pong: Option<Bytes>,
    /// Raised when the client sends a frame that is too large.
    exceeded: Rc<Cell<bool>>,
    /// The parts of a message that the client sends in several frames.
    parts: Option<BytesMut>,
    /// When the client last took something, while there is more for it.
    moved: Option<Instant>,
    /// What it is told at the end, after all else; kept for one that takes nothing for now.
    last: Option<Bytes>,
    /// The place that the stream has.
    place: Option<Place>,
    ended: bool,
}

impl Outbox {
    fn push(&mut self, frame: Bytes, place: Option<(Str, Seq)>) {
        self.moved.get_or_insert_with(Instant::now);
        self.bytes += frame.len();
        self.frames.push_back((frame, place));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Says something at the end.
    fn say_last(&mut self, frame: Bytes) {
        self.last = Some(frame);
        self.wake();
    }

    /// Takes a part of a message (RFC 6455, section 5.4); it is heard when it is whole, and no larger than one frame may be.
    fn part(&mut self, item: Item) -> Heard {
        let (part, last) = match item {
            Item::FirstText(part) => {
                self.parts = Some(BytesMut::new());
                (part, false)
            }
            Item::FirstBinary(_) => return Heard::Bad(CloseCode::Unsupported, ONLY_TEXT),
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(mut whole) = self.parts.take() else { return Heard::Bad(CloseCode::Protocol, NOT_WEBSOCKET) };
        if whole.len() + part.len() > MAX_FRAME {
            return Heard::Bad(CloseCode::Size, TOO_LARGE);
        }
        whole.extend_from_slice(&part);
        if !last {
            self.parts = Some(whole);
            return Heard::Fine;
        }
        match ByteString::try_from(whole.freeze()) {
            Ok(text) => Heard::Said(text),
            Err(_) => Heard::Bad(CloseCode::Invalid, "the text is not UTF-8"),
        }
    }

    fn pong(&mut self, ping: &[u8]) {
        self.pong = Some(frame::pong(ping));
        self.wake();
    }

    /// The next bytes to write: one frame as it is, several small ones together.
    fn take(&mut self) -> Option<Bytes> {
        if let Some(pong) = self.pong.take() {
            return Some(pong);
        }
        let Some((first, _)) = self.frames.pop_front() else { return self.last.take() };
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
        self.moved = (!self.frames.is_empty()).then(Instant::now);
        if self.bytes < BEHIND / 4
            && let Some(room) = self.room.take()
        {
            // Nobody may wait any more.
            room.send(()).ok();
        }
        Some(taken)
    }

    /// What waits until the client has taken most of what there is; `None` while it is not far behind.
    fn room(&mut self) -> Option<tokio::sync::oneshot::Receiver<()>> {
        if self.bytes < BEHIND / 2 || self.ended {
            return None;
        }
        let (room, has_room) = tokio::sync::oneshot::channel();
        self.room = Some(room);
        Some(has_room)
    }

    /// Whether the client has taken nothing for so long that it never will.
    fn is_stuck(&self) -> bool {
        self.moved.is_some_and(|at| at.elapsed() > SILENT)
    }

    /// Drops what was not written, and says where each topic would go on.
    fn cut(&mut self) -> HashMap<Str, Seq> {
        let mut resume = HashMap::new();
        for (_, place) in self.frames.drain(..) {
            if let Some((topic, seq)) = place {
                resume.entry(topic).or_insert(seq);
            }
        }
        (self.bytes, self.moved, self.room) = (0, None, None);
        resume
    }

    /// Nothing more is taken: the place is given back, and whoever waits for room is told that there is nothing to wait for.
    fn end(&mut self) {
        (self.ended, self.place, self.room) = (true, None, None);
    }
}

/// A place among the open streams, given back when it is dropped.
struct Place(web::Data<App>);

impl Place {
    fn take(app: &web::Data<App>) -> Result<Self, Problem> {
        app.system.metrics().viewers.inc();
        let place = Self(app.clone());
        if app.streams.fetch_add(1, Ordering::Relaxed) < app.server.limits.max_streams {
            return Ok(place);
        }
        let detail = "as many streams are open as server.limits.max_streams allows";
        Err(Problem::new(503, "too-many-streams", detail).retry_after(5))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.system.metrics().viewers.dec();
    }
}

/// The body of the response: our frames, and those of the library's session (pong, close).
struct Body {
    session: BoxBody,
    outbox: Rc<RefCell<Outbox>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.outbox.borrow_mut().end();
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
fn begin(app: &web::Data<App>, request: &HttpRequest, payload: web::Payload) -> Result<Opened, Problem> {
    let place = Some(Place::take(app)?);
    let opened = bounded::bounded(request, payload, MAX_FRAME)
        .and_then(|(payload, exceeded)| Ok((actix_ws::handle(request, payload)?, exceeded)));
    let ((response, session, stream), exceeded) =
        opened.map_err(|e| Problem::new(400, "websocket-expected", format!("this address speaks WebSocket: {e}")))?;
    let outbox = Rc::new(RefCell::new(Outbox { exceeded, place, ..Outbox::default() }));
    let shared = outbox.clone();
    let response = response.map_body(|_, session| BoxBody::new(Body { session, outbox: shared }));
    Ok((response, session, stream.max_frame_size(MAX_FRAME), outbox))
}

/// Who opened the stream, to see later whether it still may.
#[derive(Clone)]
struct Holder {
    bearer: Option<String>,
    /// Whether it was opened with a token: when that is gone the stream ends, also where no other is left.
    named: bool,
    resource: &'static str,
    verb: &'static str,
    namespace: String,
}

impl Holder {
    fn of(
        app: &App,
        request: &HttpRequest,
        ticket: Option<&str>,
        (resource, verb, namespace): (&'static str, &'static str, &str),
    ) -> Result<Self, Problem> {
        let (bearer, named) = match ticket {
            Some(ticket) => {
                app.check_host(request)?;
                let bearer = super::admin::redeem(ticket)?;
                let covered = app.auth.covers(bearer.as_deref(), None, (resource, verb, namespace));
                let named = covered.map_err(super::refused)?;
                (bearer, named)
            }
            None => {
                let named = app.allow(request, resource, verb, namespace)?.is_some();
                (super::bearer_of(request).map(str::to_owned), named)
            }
        };
        Ok(Self { bearer, named, resource, verb, namespace: namespace.to_owned() })
    }

    /// Whether the stream still may be read; `true` says by a token. It is not a request, and takes nothing from the
    /// token's rate.
    fn check(&self, app: &App) -> Result<bool, Problem> {
        let action = (self.resource, self.verb, &*self.namespace);
        match app.auth.covers(self.bearer.as_deref(), None, action) {
            Ok(by_token) if by_token || !self.named => Ok(by_token),
            _ => Err(Problem::new(401, "token-required", "the token is not valid (any more)")),
        }
    }
}

/// What a client's message means to a session.
enum Heard {
    Fine,
    Said(ByteString),
    End,
    Bad(CloseCode, &'static str),
}

fn heard(message: Result<Message, ProtocolError>, outbox: &RefCell<Outbox>) -> Heard {
    match message {
        Ok(Message::Ping(bytes)) => {
            outbox.borrow_mut().pong(&bytes);
            Heard::Fine
        }
        Ok(Message::Pong(_) | Message::Nop) => Heard::Fine,
        Ok(Message::Text(text)) => Heard::Said(text),
        Ok(Message::Continuation(item)) => outbox.borrow_mut().part(item),
        Ok(Message::Binary(_)) => Heard::Bad(CloseCode::Unsupported, ONLY_TEXT),
        Ok(Message::Close(_)) => Heard::End,
        Err(ProtocolError::Overflow) => Heard::Bad(CloseCode::Size, TOO_LARGE),
        Err(_) if outbox.borrow().exceeded.get() => Heard::Bad(CloseCode::Size, TOO_LARGE),
        Err(_) => Heard::Bad(CloseCode::Protocol, NOT_WEBSOCKET),
    }
}

/// Ends a session: what is written is written, then the reason goes out. Who may not read any more, or is gone, is sent
/// nothing else before it. Who does not take it in time has a connection still, and no place among the streams.
fn close(session: &mut Option<Session>, outbox: &Rc<RefCell<Outbox>>, code: CloseCode, why: &str) {
    if matches!(code, CloseCode::Policy | CloseCode::Away) {
        outbox.borrow_mut().cut();
    }
    if let Some(session) = session.take() {
        let reason = CloseReason { code, description: Some(why.to_owned()) };
        actix_web::rt::spawn(async move { drop(session.close(Some(reason)).await) });
        // The connection asks for nothing while its client reads nothing, so its end cannot be waited for.
        let outbox = Rc::clone(outbox);
        actix_web::rt::spawn(async move {
            tokio::time::sleep(LAST).await;
            let mut outbox = outbox.borrow_mut();
            outbox.cut();
            outbox.end();
        });
    }
}

/// Asks the client for a sign of life.
fn ping(session: Option<&Session>) {
    if let Some(mut session) = session.cloned() {
        actix_web::rt::spawn(async move { drop(session.ping(b"").await) });
    }
}

/// A condition as a client wrote it. It is compiled on a thread that nobody else waits for: it may be as long as a request.
pub async fn filter(text: Option<&str>) -> Result<Option<Program>, Problem> {
    let Some(text) = text.map(str::to_owned) else { return Ok(None) };
    let compiled = web::block(move || {
        let source = SourceText { name: "filter", text: &text };
        hexafn_dsl::compile(&source, ProgramKind::Condition).map_err(|e| e.render(false))
    });
    let compiled = compiled.await.map_err(|e| Problem::new(500, "thread", e.to_string()))?;
    compiled.map(Some).map_err(|why| Problem::new(400, "filter-invalid", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_pings_and_reads_nothing_is_owed_one_pong() {
        let mut outbox = Outbox::default();
        (0..1000).for_each(|n: u32| outbox.pong(&n.to_be_bytes()));
        assert_eq!(outbox.take().as_deref(), Some(&[0x8a, 4, 0, 0, 3, 231][..]), "to the newest");
        assert_eq!((outbox.take(), outbox.bytes), (None, 0));
    }

    #[test]
    fn what_a_client_is_told_at_the_end_comes_last_and_outlives_what_is_cut() {
        let frame = Bytes::from_static;
        let mut outbox = Outbox::default();
        outbox.push(frame(b"a"), Some(("t".into(), 7)));
        outbox.say_last(frame(b"end"));
        assert_eq!((outbox.take(), outbox.take(), outbox.take()), (Some(frame(b"a")), Some(frame(b"end")), None));
        outbox.push(frame(b"b"), Some(("t".into(), 8)));
        outbox.say_last(frame(b"end"));
        assert_eq!(outbox.cut(), [("t".into(), 8)].into());
        assert_eq!((outbox.take(), outbox.bytes), (Some(frame(b"end")), 0));
    }
}
