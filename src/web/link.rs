//! The connection of a client, cut when nothing moves on it: one that says half of a request, or does not read its answer, would
//! keep its place for ever, and with all places kept nobody else gets one.
//!
//! The server itself looks at the time of the first head of a connection, and ends one that says nothing after an answer.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use actix_web::web::Bytes;
use nix::sys::socket::{Shutdown, shutdown};
use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Of one connection; of the thread that serves it.
struct Link {
    /// A descriptor of its own, so that it is this connection's for as long as this lives.
    socket: OwnedFd,
    /// Requests that a handler works on, whose times are bounded by the handlers.
    handled: Cell<u32>,
    /// When a request ended, or a part of an answer was asked for.
    moved: Cell<Instant>,
    /// It is a WebSocket, which has its own rules.
    upgraded: Cell<bool>,
    watch: OnceCell<JoinHandle<()>>,
}

impl Link {
    fn touch(&self) {
        self.moved.set(Instant::now());
    }

    /// The time until it is worth another look; none when it is to be cut.
    fn left(&self, limit: Duration) -> Option<Duration> {
        if self.handled.get() > 0 || self.upgraded.get() {
            return Some(limit);
        }
        limit.checked_sub(self.moved.get().elapsed()).filter(|left| !left.is_zero())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}

async fn watch(link: Weak<Link>, limit: Duration) {
    while let Some(link) = link.upgrade() {
        let Some(left) = link.left(limit) else {
            tracing::debug!("a connection on which nothing moves is closed");
            // Where the client has gone it is not there any more.
            shutdown(link.socket.as_raw_fd(), Shutdown::Both).ok();
            return;
        };
        drop(link);
        actix_web::rt::time::sleep(left).await;
    }
}

/// For each new connection: answers go out at once, and it is cut when nothing moves on it for this long.
pub fn connected(limit: Duration) -> impl Fn(&dyn Any, &mut Extensions) + Send + Clone + 'static {
    move |connection, with| {
        let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
        // Without this a push over WebSocket waits 20 to 40 ms for the peer's delayed ack.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let socket = match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, "a connection is not watched"),
        };
        let link = Rc::new(Link {
            socket,
            handled: Cell::new(0),
            moved: Cell::new(Instant::now()),
            upgraded: Cell::new(false),
            watch: OnceCell::new(),
        });
        // It was not set before.
        link.watch.set(actix_web::rt::spawn(watch(Rc::downgrade(&link), limit))).ok();
        with.insert(link);
    }
}

/// A request that is worked on.
struct Handled(Rc<Link>);

impl Handled {
    fn of(link: &Rc<Link>) -> Self {
        link.handled.set(link.handled.get() + 1);
        Self(Rc::clone(link))
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        self.0.handled.set(self.0.handled.get().saturating_sub(1));
        self.0.touch();
    }
}

/// The middleware: tells the connection of a request that it moves.
///
/// # Errors
/// What is behind it.
pub async fn follow(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Followed>, actix_web::Error> {
    let link = request.request().conn_data::<Rc<Link>>().cloned();
    let handled = link.as_ref().map(Handled::of);
    let response = next.call(request).await;
    drop(handled);
    let response = response?.map_into_boxed_body();
    if let Some(link) = link.as_ref().filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        link.upgraded.set(true);
    }
    Ok(response.map_body(|_, body| Followed::of(body, link)))
}

/// The bytes of an answer that are handed over at once.
const PART: usize = 32 << 10;

/// An answer whose parts are asked for as the client takes them.
pub struct Followed {
    size: BodySize,
    /// What there is of it.
    whole: Bytes,
    /// What is made as it is asked for.
    made: Option<BoxBody>,
    link: Option<Rc<Link>>,
}

impl Followed {
    fn of(body: BoxBody, link: Option<Rc<Link>>) -> Self {
        let size = body.size();
        match body.try_into_bytes() {
            Ok(whole) => Self { size, whole, made: None, link },
            Err(made) => Self { size, whole: Bytes::new(), made: Some(made), link },
        }
    }
}

impl MessageBody for Followed {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(link) = &self.link {
            link.touch();
        }
        if let Some(made) = &mut self.made {
            return Pin::new(made).poll_next(context);
        }
        let most = self.whole.len().min(PART);
        let part = self.whole.split_to(most);
        Poll::Ready((most > 0).then_some(Ok(part)))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.made.is_some() { Err(self) } else { Ok(self.whole) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, HttpServer, web};
    use std::io::ErrorKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const LIMIT: Duration = Duration::from_millis(300);
    /// More than the buffers of a connection take.
    const LARGE: usize = 64 << 20;

    async fn slow() -> HttpResponse {
        actix_web::rt::time::sleep(3 * LIMIT).await;
        HttpResponse::Ok().finish()
    }

    async fn upgrade() -> HttpResponse {
        let silent = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        HttpResponse::SwitchingProtocols().upgrade("silence").streaming(silent)
    }

    async fn connect(path: &str) -> (actix_web::dev::ServerHandle, TcpStream) {
        let app = || {
            App::new()
                .wrap(from_fn(follow))
                .route("/fine", web::get().to(HttpResponse::Ok))
                .route("/slow", web::get().to(slow))
                .route("/large", web::get().to(|| async { HttpResponse::Ok().body(vec![b' '; LARGE]) }))
                .route("/upgrade", web::get().to(upgrade))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().on_connect(connected(LIMIT));
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        (handle, stream)
    }

    async fn head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Whether the other side closes within ten times the limit.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        match tokio::time::timeout(10 * LIMIT, stream.read_to_end(&mut rest)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.kind() == ErrorKind::ConnectionReset,
            Err(_) => false,
        }
    }

    #[actix_web::test]
    async fn half_a_request_keeps_no_connection() {
        let (server, mut stream) = connect("/fine").await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
        stream.write_all(b"GET /f").await.unwrap();
        assert!(is_closed(&mut stream).await);
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn an_answer_that_nobody_reads_keeps_none_either() {
        let (server, mut stream) = connect("/large").await;
        actix_web::rt::time::sleep(5 * LIMIT).await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap();
        assert!(read.is_err() || rest.len() < LARGE, "{read:?}");
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn one_that_reads_slowly_and_one_that_waits_are_left_alone() {
        let (server, mut stream) = connect("/large").await;
        let mut seen = 0;
        let mut part = vec![0; LARGE / 8];
        while seen < LARGE {
            actix_web::rt::time::sleep(LIMIT / 2).await;
            let read = stream.read_exact(&mut part).await;
            seen += read.unwrap();
        }
        server.stop(false).await;
        let (server, mut stream) = connect("/slow").await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn what_was_upgraded_may_be_silent() {
        let (server, mut stream) = connect("/upgrade").await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 101"));
        assert!(!is_closed(&mut stream).await);
        server.stop(false).await;
    }
}
