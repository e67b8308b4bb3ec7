//! Which processors a worker process may run on.
//!
//! A kernel lets whoever runs end its turn of some milliseconds, and what takes 0.1 ms waits behind it. A call that computes for
//! long would do so on all processors; so it leaves one of them to everybody else.

#[cfg(target_os = "linux")]
use std::sync::LazyLock;

#[cfg(target_os = "linux")]
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
#[cfg(target_os = "linux")]
use nix::unistd::Pid;

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

/// Has the main thread of a process leave the first processor to others, or lets it run on all again. Where there is one processor only,
/// or the kernel refuses, it runs where it did.
#[cfg(target_os = "linux")]
pub(super) fn leave_one(process: u32, leave: bool) {
    let (Some((all, rest)), Ok(id)) = (&*SETS, process.try_into()) else { return };
    if let Err(error) = sched_setaffinity(Pid::from_raw(id), if leave { rest } else { all }) {
        // It may be gone.
        tracing::debug!(process, %error, "a worker process runs on the processors that it had");
    }
}

/// Nothing, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn leave_one(_: u32, _: bool) {}
