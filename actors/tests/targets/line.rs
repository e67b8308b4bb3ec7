//! The line to a real server, which hangs, is slow and recovers as it is told. The server behind it knows nothing of it.

use super::PATIENCE;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

struct State {
    hangs: watch::Sender<bool>,
    /// Bytes of clients that came while it hung.
    held: watch::Sender<usize>,
    slow: Mutex<Option<Duration>>,
    accepted: AtomicUsize,
}

/// A port that leads to another one. While it hangs it accepts connections and bytes, and passes nothing on; then what it
/// held goes on.
pub struct Line {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Line {
    /// A line that leads to the server at this port of loopback, once that listens.
    pub async fn start(listener: TcpListener, server: u16) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            hangs: watch::Sender::new(false),
            held: watch::Sender::new(0),
            slow: Mutex::new(None),
            accepted: AtomicUsize::new(0),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, shared.clone(), true));
                tokio::spawn(pass(from_server, to_client, shared.clone(), false));
            }
        });
        Self { address, state }
    }

    /// Passes nothing on any more.
    pub fn hang(&self) {
        self.state.held.send_replace(0);
        self.state.hangs.send_replace(true);
    }

    /// Passes on what it held, and all that follows.
    pub fn recover(&self) {
        self.state.hangs.send_replace(false);
    }

    /// The next thing that the server says comes so much later.
    pub fn slow(&self, by: Duration) {
        *self.state.slow.lock().unwrap() = Some(by);
    }

    /// Waits until a client has said something into the hanging line.
    pub async fn reached(&self) {
        let mut held = self.state.held.subscribe();
        tokio::time::timeout(PATIENCE, held.wait_for(|bytes| *bytes > 0)).await.expect("nothing came").unwrap();
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, of_client: bool) {
    let mut hangs = state.hangs.subscribe();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return };
        if of_client && *hangs.borrow() {
            state.held.send_modify(|held| *held += count);
        }
        let slow = if of_client { None } else { state.slow.lock().unwrap().take() };
        if let Some(by) = slow {
            tokio::time::sleep(by).await;
        }
        if hangs.wait_for(|hangs| !hangs).await.is_err() || count == 0 || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
