//! A connection over which a server may say only so much until something is said to it again.
//!
//! The library looks at the length of a line when it has all of it, so a line that never ends would fill the memory for as
//! long as the attempt may take. And it keeps what it has read over `STARTTLS`: what somebody on the way writes behind the
//! answer to that would be taken for the first answer under TLS (CVE-2011-0411). So before TLS it is given no byte that it
//! has not asked for, and what is too much meets the handshake.

use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one answer. The library takes replies of 100,000 bytes; what TLS adds after `STARTTLS` comes on top.
const MOST: usize = 128 << 10;
/// What TLS begins with, and no command of SMTP does: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// A stream with a bound on what is read between two writes.
#[derive(Debug)]
pub(super) struct Capped<T> {
    stream: T,
    remote: SocketAddr,
    read: usize,
    /// Whether TLS is still to come: each byte is read by itself then.
    before_tls: bool,
}

impl<T> Capped<T> {
    /// A connection to `remote`, over which TLS may be begun with `STARTTLS`.
    pub(super) fn new(stream: T, remote: SocketAddr, before_tls: bool) -> Self {
        Self { stream, remote, read: 0, before_tls }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Capped<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read >= MOST {
            let message = format!("the server answers with more than {} KiB", MOST >> 10);
            return Poll::Ready(Err(io::Error::other(message)));
        }
        let before = buffer.filled().len();
        if self.before_tls {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut one))?;
            buffer.put_slice(one.filled());
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        }
        self.read += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Capped<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.read = 0;
        self.before_tls &= bytes.first() != Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Capped<T> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.remote)
    }
}
