//! Who runs a function's calls: its pool of workers in the service, or one worker where there is no service.

use bytes::Bytes;
use hexafn_runtimes::process::Process;
use hexafn_runtimes::{Code, Ctx, Done, Error, NoHost, Session};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

use super::worker::{Call, call_process};
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

tokio::task_local! {
    /// Whether a worker has begun a call of what is polled now.
    static BEGUN: Arc<AtomicBool>;
}

/// Polls a run, and notes when a worker begins the first of its calls: until then it can be dropped, and nothing has happened.
pub(crate) fn noting<F: Future>(begun: Arc<AtomicBool>, run: F) -> impl Future<Output = F::Output> {
    BEGUN.scope(begun, run)
}

/// A call that nobody is there for.
pub(crate) fn unserved(function: &Hosted) -> Done {
    Done::failed(Error::new(Code::Busy, format!("a function in `{}` without workers", function.language)))
}

/// How long a call waits for a worker when all are being restarted.
const PATIENCE: Duration = Duration::from_secs(30);

/// The workers of one function, from outside.
pub struct Pool {
    seats: Vec<Seat>,
    ready: Arc<Notify>,
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
    /// A pool of these workers, each of which tells `ready` when it is.
    pub fn new(seats: Vec<Seat>, ready: Arc<Notify>) -> Self {
        Self { seats, ready }
    }

    /// Its workers.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Calls that are running or wait.
    pub fn pending(&self) -> usize {
        self.seats.iter().map(|seat| seat.pending.load(Ordering::Relaxed)).sum()
    }

    /// Runs one call on the worker that has the least to do. When all have as much as they may hold, it waits for room;
    /// when none is there, since all are being restarted, for one that is; and fails with [`Code::Busy`] when that takes
    /// longer than [`PATIENCE`].
    pub async fn call(&self, event: Bytes, ctx: Arc<Ctx>) -> Done {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            // Before the look, so that one that gets ready after it is not missed.
            let ready = self.ready.notified();
            let open = self.seats.iter().filter(|seat| seat.front.is_open());
            let Some(seat) = open.min_by_key(|seat| seat.pending.load(Ordering::Relaxed)) else {
                if self.seats.is_empty() || tokio::time::timeout_at(end, ready).await.is_err() {
                    return Done::failed(Error::new(Code::Busy, "none of its workers is running; see `hexafn actors`"));
                }
                continue;
            };
            seat.pending.fetch_add(1, Ordering::Relaxed);
            let _pending = Pending(&seat.pending);
            let begun = Arc::new(AtomicBool::new(false));
            let (reply, answer) = oneshot::channel();
            let noted = BEGUN.try_with(Arc::clone).ok();
            let call = Call { event: event.clone(), ctx: ctx.clone(), begun: begun.clone(), noted, reply };
            if let Err(SendError::Full(call)) = seat.front.try_send(call) {
                // What became of it is known by its answer.
                seat.front.send(call).await.ok();
            }
            if let Ok(done) = answer.await {
                return done;
            }
            if begun.load(Ordering::Acquire) {
                return Done::failed(Error::new(Code::Crashed, "its worker ended while it ran; see `hexafn actors`"));
            }
            // A worker that ends takes the calls with it that it had not begun: another one is asked.
            tokio::task::yield_now().await;
        }
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
                call_process(&mut process, &self.function, event, ctx, &*host)
            }
            Isolation::Thread => match self.function.compiled.open() {
                Ok(mut instance) => {
                    let session = Session::new(self.function.settings.clone(), ctx.clone(), host);
                    hexafn_runtimes::run(&mut *instance, event, session)
                }
                Err(error) => Done::failed(error),
            },
        }
    }
}
