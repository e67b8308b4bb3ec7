//! One connection and the task that keeps it: it writes what deliveries hand over, reads what the server says of them,
//! and asks for signs of life. It never connects again; its end is told to everybody who waits.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Ack, MAX_MESSAGE};
use crate::event::Str;
use crate::target::Size;

/// Messages that may wait to be written; deliveries wait for room beyond.
const WAITING: usize = 64;
/// The longest reason of a refusal that is kept, in characters.
const REASON: usize = 500;

/// What a connection runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = WebSocketStream<Box<dyn Io>>;
type Waiter = oneshot::Sender<Result<(), Refusal>>;

/// A message to send.
#[derive(Debug)]
pub(super) struct Frame {
    /// What.
    pub message: Message,
    /// The event's id.
    pub id: Str,
    /// Told what became of it.
    pub done: Waiter,
}

/// The server took an event not.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it says about it.
    pub reason: String,
    /// It wants it never.
    pub last: bool,
}

/// A connection from a delivery's point of view.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where messages go; closed when the connection has ended.
    pub frames: mpsc::Sender<Frame>,
    /// Who it is with.
    pub remote: Option<SocketAddr>,
    state: Arc<State>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Who waits for an answer, by event id; more than one when the same event is delivered twice at once.
    waiters: Mutex<HashMap<Str, Vec<Waiter>>>,
    ended: Mutex<Option<String>>,
    closing: tokio::sync::Notify,
}

/// A panic while it was held changes nothing about what it holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Starts the task of a connection.
    pub(super) fn start(
        socket: Socket,
        remote: Option<SocketAddr>,
        ack: Ack,
        ping: Duration,
        timeout: Duration,
    ) -> Self {
        let (frames, waiting) = mpsc::channel(WAITING);
        let state = Arc::new(State::default());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let (sink, stream) = socket.split();
            let heard = Mutex::new(Instant::now());
            let writer = Writer { sink, waiting, state: &shared, heard: &heard, ack, ping, timeout };
            let why = tokio::select! {
                why = writer.run() => why,
                why = read(stream, &shared, &heard) => why,
            };
            tracing::debug!(%why, "a WebSocket connection ended");
            // First the reason, then those who ask for it.
            *lock(&shared.ended) = Some(why);
            lock(&shared.waiters).clear();
        });
        Self { frames, remote, state, task: Mutex::new(Some(task)) }
    }

    /// Why it has ended.
    pub(super) fn why_ended(&self) -> String {
        lock(&self.state.ended).clone().unwrap_or_else(|| "it was given up".into())
    }

    /// Nobody waits for an answer about this event any more (or for those of the same id, which have timed out, too).
    pub(super) fn forget(&self, id: &Str) {
        let mut waiters = lock(&self.state.waiters);
        if let Some(of_event) = waiters.get_mut(id) {
            of_event.retain(|waiter| !waiter.is_closed());
            if of_event.is_empty() {
                waiters.remove(id);
            }
        }
    }

    /// Says goodbye, and waits for the end.
    pub(super) async fn close(&self) {
        self.state.closing.notify_one();
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "a WebSocket connection");
        }
    }
}

struct Writer<'a> {
    sink: SplitSink<Socket, Message>,
    waiting: mpsc::Receiver<Frame>,
    state: &'a State,
    heard: &'a Mutex<Instant>,
    ack: Ack,
    ping: Duration,
    timeout: Duration,
}

impl Writer<'_> {
    /// Writes until something is wrong; says what.
    async fn run(mut self) -> String {
        let mut tick = tokio::time::interval(self.ping);
        tick.tick().await;
        loop {
            tokio::select! {
                frame = self.waiting.recv() => {
                    let Some(frame) = frame else { return self.goodbye().await };
                    if let Err(why) = self.write(frame).await {
                        return why;
                    }
                }
                _ = tick.tick() => {
                    if lock(self.heard).elapsed() > self.ping * 2 {
                        return "the server gave no sign of life".into();
                    }
                    if let Err(why) = Self::within(self.timeout, self.sink.send(Message::Ping(Default::default()))).await {
                        return why;
                    }
                }
                () = self.state.closing.notified() => return self.goodbye().await,
            }
        }
    }

    /// Writes a message and those that wait behind it, and has them flushed together.
    async fn write(&mut self, first: Frame) -> Result<(), String> {
        let mut written = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            // Before it is written: the answer may come at once.
            match self.ack {
                Ack::None => written.push(frame.done),
                Ack::Reply => lock(&self.state.waiters).entry(frame.id).or_default().push(frame.done),
            }
            Self::within(self.timeout, self.sink.feed(frame.message)).await?;
            next = if written.len() < WAITING { self.waiting.try_recv().ok() } else { None };
        }
        Self::within(self.timeout, self.sink.flush()).await?;
        for done in written {
            // Who has timed out meanwhile asks again.
            done.send(Ok(())).ok();
        }
        Ok(())
    }

    async fn within(limit: Duration, sent: impl Future<Output = Result<(), Error>>) -> Result<(), String> {
        match tokio::time::timeout(limit, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the server reads nothing".into()),
        }
    }

    async fn goodbye(&mut self) -> String {
        if let Err(why) = Self::within(self.timeout, self.sink.close()).await {
            tracing::debug!(why, "closing a WebSocket connection");
        }
        "hexaFn closed it".into()
    }
}

/// Reads until the end; says why.
async fn read(mut stream: SplitStream<Socket>, state: &State, heard: &Mutex<Instant>) -> String {
    loop {
        let message = match stream.next().await {
            None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return "the server closed it".into(),
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                return format!("the server sent a message of more than {}", Size(MAX_MESSAGE as u64));
            }
            Some(Err(error)) => return error.to_string(),
            Some(Ok(message)) => message,
        };
        *lock(heard) = Instant::now();
        match message {
            Message::Text(text) => state.said(&text),
            Message::Close(frame) => {
                let said = frame.map(|f| format!(" ({} {})", u16::from(f.code), cut(&f.reason))).unwrap_or_default();
                return format!("the server closed it{said}");
            }
            // Pings are answered by the library; nothing else is asked for.
            _ => {}
        }
    }
}

/// What a server says of events: by their ids, one or several.
#[derive(Deserialize)]
struct Said {
    ack: Option<Ids>,
    nak: Option<Ids>,
    term: Option<Ids>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(String),
    Many(Vec<String>),
}

impl Ids {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

impl State {
    /// Tells those who wait what the server said. What is not an answer, or about nothing that waits, is passed over.
    fn said(&self, text: &str) {
        let Ok(said) = serde_json::from_str::<Said>(text) else { return };
        let reason = said.reason.as_deref().map_or_else(|| "it gave no reason".into(), cut);
        for (ids, last) in [(&said.ack, None), (&said.nak, Some(false)), (&said.term, Some(true))] {
            for id in ids.as_ref().map(Ids::as_slice).unwrap_or_default() {
                let waiters = lock(&self.waiters).remove(id.as_str());
                for waiter in waiters.into_iter().flatten() {
                    let result = last.map_or(Ok(()), |last| Err(Refusal { reason: reason.clone(), last }));
                    // Who has timed out meanwhile asks again.
                    waiter.send(result).ok();
                }
            }
        }
    }
}

/// A text of the server for a message: short, and with nothing that a terminal obeys.
fn cut(text: &str) -> String {
    text.chars().take(REASON).flat_map(char::escape_debug).collect()
}
