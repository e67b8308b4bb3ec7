//! The process-wide panic hook: every panic is logged, counted, and remembered until the guard of its actor asks.
//!
//! The hook runs on the panicking thread before anything unwinds, and the guard of the actor is dropped on the same
//! thread while it unwinds, so a thread-local carries the message from one to the other.

use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static SUPERVISED: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook; further calls do nothing. Threads that are not supervised keep the hook they had as well.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            remember(info);
            if !SUPERVISED.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
}

/// How often anything has panicked in this process.
pub fn count() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Panics of this thread are reported by their supervisor; nothing else prints them.
pub(super) fn supervise_this_thread() {
    SUPERVISED.set(true);
}

/// The message of the panic that unwinds this thread, once.
pub(super) fn take() -> Option<String> {
    LAST.try_with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take())).ok().flatten()
}

fn remember(info: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let payload = info.payload();
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    let place = info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    let message = format!("{said}{place}");
    let thread = std::thread::current();
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), panic = %message, "panicked");
    // While the thread itself ends there is no place to keep it, and no actor left to ask.
    LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(message)).ok()).ok();
}
