//! What keeps the processor is lowered in priority, so that short calls beside it do not wait for its slice to end.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpriority_process, setpriority_process};

/// How long a call may keep the processor like any other.
pub(crate) const KEEP: Duration = Duration::from_millis(20);

/// What it is lowered by (`nice(2)`): to a tenth of the weight of one that is not.
const LOWER_BY: i32 = 10;

/// Lowers a process, and gives the priority that it had; `None` where the system refuses.
pub(crate) fn lower(process: Pid) -> Option<i32> {
    lowered(Some(process))
}

/// Whether the process has this priority again; only a privileged service may do that.
pub(crate) fn raise(process: Pid, priority: i32) -> bool {
    setpriority_process(Some(process), priority).is_ok()
}

fn lowered(process: Option<Pid>) -> Option<i32> {
    let own = getpriority_process(process).ok()?;
    setpriority_process(process, own + LOWER_BY).ok()?;
    Some(own)
}

/// A call on this thread, which is lowered for the rest of it when it has kept the processor.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When it will have.
    at: Instant,
    lowered: Option<Lowered>,
}

impl Pace {
    /// Of a call that begins now.
    pub(crate) fn new() -> Self {
        Self { at: Instant::now() + KEEP, lowered: None }
    }

    /// It still runs.
    pub(crate) fn look(&mut self, now: Instant) {
        if now >= self.at && self.lowered.is_none() {
            self.lowered = Lowered::this_thread();
            // Where that is refused it is not tried again soon.
            self.at = now + KEEP;
        }
    }

    /// It is over: the thread is as it was.
    pub(crate) fn end(&mut self) {
        self.lowered = None;
    }
}

/// This thread, lowered until this is dropped.
#[derive(Debug)]
pub(crate) struct Lowered(i32);

impl Lowered {
    /// Lowers this thread; only where it can be raised again, since it goes on to serve others.
    pub(crate) fn this_thread() -> Option<Self> {
        if can_be_raised() { lowered(None).map(Self) } else { None }
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // It could be raised when that was tried.
        setpriority_process(None, self.0).ok();
    }
}

/// Whether a thread of this process may raise its priority again. It takes a right (`CAP_SYS_NICE`) or a limit
/// (`RLIMIT_NICE`), or a system where a priority is that of the whole process, which is left alone.
fn can_be_raised() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let tried = || {
            let own = getpriority_process(None).ok()?;
            setpriority_process(None, own + 1).ok()?;
            setpriority_process(None, own).ok()
        };
        // On a thread that ends with the trial.
        cfg!(target_os = "linux")
            && thread::Builder::new().spawn(tried).is_ok_and(|trial| trial.join().is_ok_and(|done| done.is_some()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_lowered_for_a_while_or_not_at_all() {
        let own = getpriority_process(None);
        let lowered = Lowered::this_thread();
        let expected = own.map(|own| if lowered.is_some() { (own + LOWER_BY).min(19) } else { own });
        assert_eq!(getpriority_process(None), expected);
        drop(lowered);
        assert_eq!(getpriority_process(None), own);
    }
}
