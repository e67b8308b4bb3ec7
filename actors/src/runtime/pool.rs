//! Who runs a function's calls: its pool of workers in the service, or one worker where there is no service.

use bytes::Bytes;
use hexafn_runtimes::process::Process;
use hexafn_runtimes::{Code, Ctx, Done, Error, NoHost, Session};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

use super::worker::{Call, call_process, failed};
use super::{Hosted, Isolation};
use crate::supervision::front::{Front, SendError};

pub use super::worker::{Worker, WorkerStatus};

/// Who runs a function.
#[derive(Clone)]
pub enum Workers {
    /// Nobody else: it is in the language of hexaFn.
    Own,
    /// The workers of the service.
    Pool(Arc<Pool>),
    /// One worker on the caller's thread: for dry runs and the command line.
    Local(Arc<Local>),
}

/// A call that nobody is there for.
pub(crate) fn unserved(function: &Hosted) -> Done {
    failed(Error::new(Code::Busy, format!("a function in `{}` without workers", function.language)))
}

/// The workers of one function, from outside.
pub struct Pool {
    seats: Vec<Seat>,
}

/// A worker from outside.
pub struct Seat {
    /// Where it is in the tree.
    pub path: String,
    /// Where its calls go.
    pub front: Front<Call>,
    /// Its figures.
    pub status: Arc<WorkerStatus>,
    pending: AtomicUsize,
}

impl Seat {
    /// A worker that has not started yet.
    pub fn new(path: String) -> Self {
        Self { path, front: Front::new(), status: Arc::default(), pending: AtomicUsize::new(0) }
    }
}

/// Counts a call of a seat for as long as somebody waits for it.
struct Pending<'a>(&'a AtomicUsize);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A pool of these workers.
    pub fn new(seats: Vec<Seat>) -> Self {
        Self { seats }
    }

    /// Its workers.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Calls that run or wait.
    pub fn pending(&self) -> usize {
        self.seats.iter().map(|seat| seat.pending.load(Ordering::Relaxed)).sum()
    }

    /// Runs one call on the worker that has the least to do. When all have as much as they may hold, it waits for room;
    /// when none is there, it fails at once with [`Code::Busy`].
    pub async fn call(&self, event: Bytes, ctx: Arc<Ctx>) -> Done {
        // A worker that ends takes the calls with it that it had not begun: each is asked of another one.
        for _ in 0..=self.seats.len() {
            let open = self.seats.iter().filter(|seat| seat.front.is_open());
            let Some(seat) = open.min_by_key(|seat| seat.pending.load(Ordering::Relaxed)) else {
                break;
            };
            seat.pending.fetch_add(1, Ordering::Relaxed);
            let _pending = Pending(&seat.pending);
            let begun = Arc::new(AtomicBool::new(false));
            let (reply, answer) = oneshot::channel();
            let call = Call { event: event.clone(), ctx: ctx.clone(), begun: begun.clone(), reply };
            let sent = match seat.front.try_send(call) {
                Ok(()) => true,
                Err(SendError::Closed(_)) => false,
                Err(SendError::Full(call)) => seat.front.send(call).await.is_ok(),
            };
            if let Ok(done) = answer.await {
                return done;
            }
            if begun.load(Ordering::Acquire) {
                return failed(Error::new(Code::Crashed, "its worker ended while it ran; see `hexafn actors`"));
            }
            tracing::debug!(sent, "a worker ended before it began a call; another is asked");
        }
        failed(Error::new(Code::Busy, "none of its workers is running; see `hexafn actors`"))
    }
}

/// One worker on the caller's thread. It has no store and no network, and what it writes is nowhere.
pub struct Local {
    function: Arc<Hosted>,
    /// Kept for the next call.
    process: Mutex<Option<Process>>,
}

impl Local {
    /// A worker for this function.
    pub fn new(function: Arc<Hosted>) -> Self {
        Self { function, process: Mutex::new(None) }
    }

    /// Runs one call; blocks.
    pub fn call(&self, event: &[u8], ctx: &Arc<Ctx>) -> Done {
        let host = Arc::new(NoHost);
        match self.function.isolation {
            Isolation::Process => {
                let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
                call_process(&mut process, &self.function, event, ctx, &*host).0
            }
            Isolation::Thread => match self.function.compiled.open() {
                Ok(mut instance) => {
                    let session = Session::new(self.function.settings.clone(), ctx.clone(), host);
                    hexafn_runtimes::run(&mut *instance, event, session)
                }
                Err(error) => failed(error),
            },
        }
    }
}
