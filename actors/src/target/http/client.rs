//! The client of an HTTP target: a pool of kept connections, HTTP/1.1 and 2, TLS, a proxy where one is set. It connects
//! where the guard lets it, and does nothing of its own accord: no redirects, no cookies, no second attempt.
//!
//! hyper and its connectors do the work. What other clients lay over them (redirects, retries, a URL that is read again
//! for each answer) took a sixth of a delivery; see `docs/adr/0008-what-a-delivery-costs.md`.

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector, HttpInfo};
use hyper_util::client::legacy::{self, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::error::Error as StdError;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

use super::guard::{Addrs, Guard};
use super::settings::HttpVersion;

type BoxError = Box<dyn StdError + Send + Sync>;
type Pending<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
type Plain = HttpConnector<Guard>;
type Tcp = TokioIo<TcpStream>;
/// With TLS, or without.
type Secured<S> = MaybeHttpsStream<S>;

/// How long a connection waits for the next request. Shorter than the 5 s after which Node's servers close theirs, so
/// that a request rarely meets a connection that is being closed.
pub(super) const IDLE: Duration = Duration::from_secs(4);
/// How soon a connection on which nothing moves is asked whether it is still there, and how often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(15), 3);
/// How long what was sent may stay without any sign that it arrived (`TCP_USER_TIMEOUT`).
const UNHEARD: Duration = Duration::from_secs(30);

/// One request to send.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Where all connections go, in place of the hosts of requests.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// `http` or `https`, a host, and a port where it is not the usual one.
    pub(super) uri: Uri,
    /// What it is told about who asks.
    pub(super) authorization: Option<HeaderValue>,
}

/// What a client is made of.
pub(super) struct Parts {
    pub(super) guard: Guard,
    pub(super) version: HttpVersion,
    pub(super) tls: rustls::ClientConfig,
    pub(super) proxy: Option<Proxy>,
    /// From the look for the host to the end of the handshake.
    pub(super) connect_timeout: Duration,
    /// Connections that are kept for a host.
    pub(super) idle: usize,
}

/// See the module. Cloning shares the pool.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    /// For requests that the proxy reads itself.
    authorization: Option<HeaderValue>,
}

/// No connection within `connect_timeout`.
#[derive(Debug, thiserror::Error)]
#[error("not connected in time")]
pub(super) struct TooSlow;

/// A name that has no address, or for which nobody could be asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Unresolved(BoxError);

/// What a tunnel reports. Its connector names the type nowhere else.
type TunnelError = <Tunnel<HttpsConnector<Plain>> as Service<Uri>>::Error;

/// There is no way through the proxy: nothing was heard of the host behind it.
#[derive(Debug, thiserror::Error)]
#[error("the proxy `{proxy}` {what}")]
pub(super) struct NoWay {
    /// Its host, with its port where it is not the usual one.
    pub(super) proxy: String,
    pub(super) what: Blocked,
}

/// What a proxy does not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Blocked {
    /// There is no connection to it.
    #[error("cannot be connected to")]
    Unconnected(#[source] BoxError),
    /// There was none through it in time; who of the two was slow is not known.
    #[error("gave no connection in time")]
    TooSlow,
    /// It wants to know who asks.
    #[error("answered CONNECT with 407: it wants a user name and a password that it knows, in the URL of `proxy`")]
    Unauthorized,
    /// It opens no tunnel to this host.
    #[error("did not open a tunnel: {0}")]
    Closed(String),
}

impl NoWay {
    fn through(proxy: &Uri, what: Blocked) -> BoxError {
        let proxy = proxy.authority().map(ToString::to_string).unwrap_or_default();
        Self { proxy, what }.into()
    }

    /// What came of a tunnel. When it stands, what fails is said of the host behind it.
    fn of_tunnel(proxy: &Uri, error: BoxError) -> BoxError {
        let what = match error.downcast::<TunnelError>() {
            Ok(error) => match *error {
                TunnelError::ConnectFailed(error) => Blocked::Unconnected(error),
                TunnelError::ProxyAuthRequired => Blocked::Unauthorized,
                // The library does not tell the status.
                TunnelError::TunnelUnsuccessful => {
                    Blocked::Closed("it answered CONNECT with another status than 200".into())
                }
                TunnelError::TunnelUnexpectedEof => {
                    Blocked::Closed("it closed the connection without an answer".into())
                }
                error => Blocked::Closed(super::failure::chain(&error)),
            },
            Err(error) => return error,
        };
        Self::through(proxy, what)
    }
}

impl Client {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { guard, version, mut tls, proxy, connect_timeout, idle } = parts;
        let mut plain = HttpConnector::new_with_resolver(guard);
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_keepalive(Some(KEEPALIVE.0));
        plain.set_keepalive_interval(Some(KEEPALIVE.1));
        plain.set_keepalive_retries(Some(KEEPALIVE.2));
        plain.set_tcp_user_timeout(Some(UNHEARD));
        // With several addresses, each has its share of the time.
        plain.set_connect_timeout(Some(connect_timeout));
        let mut builder = Pool::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_only(version == HttpVersion::Two);
        // A proxy is offered nothing by ALPN, and so spoken to in HTTP/1.1, whatever is spoken through its tunnels.
        let to_proxy = HttpsConnector::from((plain.clone(), tls.clone()));
        let offered: &[&[u8]] = match version {
            HttpVersion::Auto => &[b"h2", b"http/1.1"],
            HttpVersion::One => &[b"http/1.1"],
            HttpVersion::Two => &[b"h2"],
        };
        tls.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let (way, authorization) = match proxy {
            None => (Way::Direct(HttpsConnector::from((plain, tls))), None),
            Some(Proxy { uri, authorization }) => {
                let mut tunnel = Tunnel::new(uri.clone(), to_proxy.clone());
                if let Some(value) = &authorization {
                    tunnel = tunnel.with_auth(value.clone());
                }
                let through = Through { uri, read: to_proxy, tunnel: HttpsConnector::from((tunnel, tls)) };
                (Way::Proxy(Box::new(through)), authorization)
            }
        };
        Self { pool: builder.build(Connector { way, within: connect_timeout }), authorization }
    }

    /// Sends a request, and gives the answer as soon as its head is there.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(&self, request: Request) -> Result<Response<Incoming>, legacy::Error> {
        let Request { method, uri, headers, body } = request;
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        if let Some(value) = self.authorization.as_ref().filter(|_| request.uri().scheme() == Some(&Scheme::HTTP)) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
        }
        self.pool.request(request).await
    }
}

/// The address that an answer came from.
pub(super) fn remote<B>(answer: &Response<B>) -> Option<SocketAddr> {
    answer.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr)
}

impl Service<Name> for Guard {
    type Response = Addrs;
    type Error = BoxError;
    type Future = Pending<Addrs>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.clone().resolve(name.as_str().to_owned());
        Box::pin(async move {
            found
                .await
                .map_err(|error| if error.is::<super::guard::Refused>() { error } else { Unresolved(error).into() })
        })
    }
}

/// Makes connections, in time or not at all.
#[derive(Debug, Clone)]
struct Connector {
    way: Way,
    within: Duration,
}

#[derive(Debug, Clone)]
enum Way {
    Direct(HttpsConnector<Plain>),
    Proxy(Box<Through>),
}

/// A proxy reads requests for `http` itself, and opens a tunnel for `https` (RFC 9110, 9.3.6).
#[derive(Debug, Clone)]
struct Through {
    uri: Uri,
    read: HttpsConnector<Plain>,
    tunnel: HttpsConnector<Tunnel<HttpsConnector<Plain>>>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pending<Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // What they stand on is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connected, proxy): (Self::Future, _) = match &mut self.way {
            Way::Direct(connector) => {
                let connected = connector.call(uri);
                (Box::pin(async move { Ok(Stream::Direct(Box::new(connected.await?))) }), None)
            }
            Way::Proxy(proxy) if uri.scheme() == Some(&Scheme::HTTPS) => {
                let (connected, name) = (proxy.tunnel.call(uri), proxy.uri.clone());
                let connected = async move {
                    let stream = connected.await.map_err(|error| NoWay::of_tunnel(&name, error))?;
                    Ok(Stream::Tunnel(Box::new(stream)))
                };
                (Box::pin(connected), Some(proxy.uri.clone()))
            }
            Way::Proxy(proxy) => {
                let (connected, name) = (proxy.read.call(proxy.uri.clone()), proxy.uri.clone());
                let connected = async move {
                    let stream = connected.await.map_err(|error| NoWay::through(&name, Blocked::Unconnected(error)))?;
                    Ok(Stream::Read(Box::new(stream)))
                };
                (Box::pin(connected), Some(proxy.uri.clone()))
            }
        };
        let within = self.within;
        let late = move || proxy.map_or_else(|| TooSlow.into(), |proxy| NoWay::through(&proxy, Blocked::TooSlow));
        Box::pin(async move { tokio::time::timeout(within, connected).await.unwrap_or_else(|_| Err(late())) })
    }
}

/// A connection.
enum Stream {
    /// To the host of the request.
    Direct(Box<Secured<Tcp>>),
    /// To a proxy that reads the requests, and so needs their whole address.
    Read(Box<Secured<Tcp>>),
    /// Through a proxy that passes on what it does not understand.
    Tunnel(Box<Secured<Secured<Tcp>>>),
}

/// Calls a method of the stream within.
macro_rules! within {
    ($of:expr, $stream:ident => $call:expr) => {
        match $of {
            Stream::Direct($stream) | Stream::Read($stream) => $call,
            Stream::Tunnel($stream) => $call,
        }
    };
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Direct(stream) => stream.connected(),
            Self::Read(stream) => stream.connected().proxy(true),
            Self::Tunnel(stream) => stream.connected(),
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_read(context, into))
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        within!(self, stream => stream.is_write_vectored())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, parts))
    }
}
