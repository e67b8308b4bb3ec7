//! Which processors a worker process, or a thread that runs a function, may run on.
//!
//! A kernel lets whoever runs end its turn of some milliseconds, and what takes 0.1 ms waits behind it. A call that computes for
//! long would do so on all processors; so it leaves one of them to everybody else. The service has its processes do so, which may not
//! themselves; a thread of the service does where its engine asks whether to go on ([`Pace`](crate::pace::Pace)).

#[cfg(target_os = "linux")]
use std::sync::LazyLock;
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
#[cfg(target_os = "linux")]
use nix::unistd::Pid;

/// How long a call has all processors: one that takes longer is not hurt by having one less. What comes after it in the same place
/// begins with one less, too, until a call is shorter: what computed for long will do so again, as a rule.
pub(crate) const LONG: Duration = Duration::from_millis(10);

/// All that the service may run on, and all but the first of them; none where that would be none.
#[cfg(target_os = "linux")]
static SETS: LazyLock<Option<(CpuSet, CpuSet)>> = LazyLock::new(|| {
    let all = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut places = (0..CpuSet::count()).filter(|place| all.is_set(*place).unwrap_or(false));
    let (first, _second) = (places.next()?, places.next()?);
    let mut rest = all;
    rest.unset(first).ok()?;
    Some((all, rest))
});

/// Has a thread leave the first processor to others, or lets it run on all again; a process is meant by its id as its main thread.
/// Where there is one processor only, or the kernel refuses, it runs where it did.
#[cfg(target_os = "linux")]
pub(crate) fn leave_one(thread: u32, leave: bool) {
    let (Some((all, rest)), Ok(id)) = (&*SETS, thread.try_into()) else { return };
    if let Err(error) = sched_setaffinity(Pid::from_raw(id), if leave { rest } else { all }) {
        // It may be gone.
        tracing::debug!(thread, %error, "a thread runs on the processors that it had");
    }
}

/// Nothing, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_one(_: u32, _: bool) {}

/// This thread, as the kernel calls it.
#[cfg(target_os = "linux")]
pub(crate) fn this_thread() -> u32 {
    nix::unistd::gettid().as_raw().unsigned_abs()
}

/// Of no use, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub(crate) fn this_thread() -> u32 {
    0
}
