//! Changed files: which reports of the system matter, and how long to wait until the writes have settled.

use notify::{Event, EventKind, RecommendedWatcher};
use std::path::PathBuf;
use std::time::Duration;

/// Editors write a file in several steps: what was changed is read when nothing more has happened for this long.
pub const SETTLE: Duration = Duration::from_millis(200);

/// A watcher, of no folder yet, that calls `changed` with the paths of each change. Mere reading is none.
///
/// # Errors
/// The system gives no more watchers.
pub fn watcher(mut changed: impl FnMut(&[PathBuf]) + Send + 'static) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        if let Ok(event) = event
            && !matches!(event.kind, EventKind::Access(_))
        {
            changed(&event.paths);
        }
    })
}
