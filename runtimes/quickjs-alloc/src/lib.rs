//! The memory of a QuickJS runtime: blocks of the C library, as QuickJS takes them by itself, and a meter beside them.
//!
//! QuickJS knows how much memory it holds now, and not the most that it held. An allocator of ours knows both, and holds the
//! limit against what really was taken: QuickJS makes small objects in blocks of 4 KiB, and would count the objects.
//!
//! This is the one crate with `unsafe` code, since the trait is unsafe to implement and the C library to call.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::allocator::Allocator;

#[cfg(target_vendor = "apple")]
use libc::malloc_size as malloc_usable_size;
#[cfg(not(target_vendor = "apple"))]
use libc::malloc_usable_size;

/// What the C library keeps beside each block, in bytes, as QuickJS counts it.
const OVERHEAD: usize = 8;

/// The memory that a runtime holds, in bytes.
#[derive(Debug)]
pub struct Meter {
    limit: Cell<usize>,
    now: Cell<usize>,
    peak: Cell<usize>,
    refused: Cell<bool>,
}

/// An allocator for one runtime, and its meter. Without a limit until one is set.
pub fn metered() -> (Metered, Rc<Meter>) {
    let meter = Rc::new(Meter {
        limit: Cell::new(usize::MAX),
        now: Cell::new(0),
        peak: Cell::new(0),
        refused: Cell::new(false),
    });
    (Metered(Rc::clone(&meter)), meter)
}

impl Meter {
    /// Sets how much there may be; `None` is no limit. What is there already stays.
    pub fn limit(&self, bytes: Option<usize>) {
        self.limit.set(bytes.unwrap_or(usize::MAX));
    }

    /// What is there.
    pub fn now(&self) -> usize {
        self.now.get()
    }

    /// The most that was there since [`begin`](Self::begin).
    pub fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Whether memory was refused since [`begin`](Self::begin): what the engine says then may be nothing, or something else.
    pub fn refused(&self) -> bool {
        self.refused.get()
    }

    /// Forgets the peak, and what was refused.
    pub fn begin(&self) {
        self.peak.set(self.now.get());
        self.refused.set(false);
    }

    /// Does what runs nothing of the function and ends soon with as much memory again: it may have used all that it has.
    pub fn doubled<T>(&self, work: impl FnOnce() -> T) -> T {
        let limit = self.limit.get();
        self.limit.set(limit.saturating_mul(2));
        let result = work();
        self.limit.set(limit);
        result
    }

    /// Whether there is room for a block of so many bytes, in the place of what one has that goes.
    fn fits(&self, size: usize, instead: usize) -> bool {
        let others = self.now.get().saturating_sub(instead);
        let fits = size.saturating_add(OVERHEAD) <= self.limit.get().saturating_sub(others);
        if !fits {
            self.refused.set(true);
        }
        fits
    }

    /// What the C library had, which is null when there was none.
    fn gave(&self, block: *mut u8) -> *mut u8 {
        if block.is_null() {
            self.refused.set(true);
        }
        block
    }

    /// A block has come, another one has gone. Does not panic: this is called by C.
    fn count(&self, came: usize, gone: usize) {
        let now = self.now.get().saturating_sub(gone).saturating_add(came);
        self.now.set(now);
        self.peak.set(self.peak.get().max(now));
    }
}

/// What a block takes of which so much can be used. Of none it is zero, and that takes nothing.
fn held(usable: usize) -> usize {
    if usable == 0 { 0 } else { usable.saturating_add(OVERHEAD) }
}

/// The allocator.
#[derive(Debug)]
pub struct Metered(Rc<Meter>);

// SAFETY: All blocks come from `malloc`, `calloc` and `realloc` of one C library, which align them for every type of C and
// give null when there is none; null is handed on, also where the limit refuses. What a block holds is at least what was
// asked for, and `usable_size` is the C library's own word for it. `dealloc` and `realloc` are called with such
// blocks alone, by the contract of the trait. Nothing here panics, so nothing unwinds into C.
#[expect(unsafe_code, reason = "the trait is unsafe to implement, and the C library to call")]
unsafe impl Allocator for Metered {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.0.fits(size, 0) {
            return std::ptr::null_mut();
        }
        // SAFETY: any size may be asked for.
        let block = self.0.gave(unsafe { libc::malloc(size) }.cast());
        // SAFETY: the block was made here, or is null.
        self.0.count(held(unsafe { Self::usable_size(block) }), 0);
        block
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !self.0.fits(count.saturating_mul(size), 0) {
            return std::ptr::null_mut();
        }
        // SAFETY: any count and size may be asked for; a product that overflows gives null.
        let block = self.0.gave(unsafe { libc::calloc(count, size) }.cast());
        // SAFETY: the block was made here, or is null.
        self.0.count(held(unsafe { Self::usable_size(block) }), 0);
        block
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        // SAFETY: the block is one of ours, or null.
        self.0.count(0, held(unsafe { Self::usable_size(block) }));
        // SAFETY: the same, and nobody has it any more.
        unsafe { libc::free(block.cast()) };
    }

    unsafe fn realloc(&mut self, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the block is one of ours, or null.
        let before = held(unsafe { Self::usable_size(block) });
        if !self.0.fits(size, before) {
            return std::ptr::null_mut();
        }
        // SAFETY: the same. A size of zero would free it and give null, which is an error to whoever asks.
        let block = self.0.gave(unsafe { libc::realloc(block.cast(), size.max(1)) }.cast());
        // Where there is none, the old one is as it was.
        if !block.is_null() {
            // SAFETY: the block was made here.
            self.0.count(held(unsafe { Self::usable_size(block) }), before);
        }
        block
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        // SAFETY: the block is one of ours, or null, which has none.
        unsafe { malloc_usable_size(block.cast()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rquickjs::{Context, Runtime};

    use super::*;

    const MIB: usize = 1 << 20;

    fn engine() -> (Runtime, Context, Rc<Meter>) {
        let (allocator, meter) = metered();
        let runtime = Runtime::new_with_alloc(allocator).unwrap();
        let context = Context::full(&runtime).unwrap();
        (runtime, context, meter)
    }

    fn eval(context: &Context, code: &str) -> Option<i32> {
        context.with(|ctx| ctx.eval(code).ok())
    }

    #[test]
    fn everything_that_came_goes_with_the_runtime() {
        let (runtime, context, meter) = engine();
        assert!(meter.now() > 50_000, "{}", meter.now());
        // Blocks of every size, that grow, shrink and go.
        let code = "let all = []; for (let i = 1; i < 3000; i++) { all.push(new Uint8Array(i), 'x'.repeat(i), [i]); } \
                    all.length = 10; let s = ''; for (let i = 0; i < 5000; i++) s += i; s.length";
        assert_eq!(eval(&context, code), Some(18_890));
        drop(context);
        drop(runtime);
        assert_eq!(meter.now(), 0);
        assert!(meter.peak() > 8 * MIB, "{}", meter.peak());
    }

    #[test]
    fn the_peak_is_that_since_the_beginning() {
        let (_runtime, context, meter) = engine();
        eval(&context, "new ArrayBuffer(3 << 20); 1").unwrap();
        let before = meter.now();
        assert!(meter.peak() > before + 2 * MIB);
        meter.begin();
        assert_eq!(meter.peak(), before);
        eval(&context, "new ArrayBuffer(1 << 20); 1").unwrap();
        let took = meter.peak() - before;
        assert!((MIB..MIB + 64_000).contains(&took), "{took}");
    }

    #[test]
    fn the_limit_is_held_and_what_was_there_stays() {
        let (_runtime, context, meter) = engine();
        eval(&context, "globalThis.kept = 'kept'; globalThis.list = []; 1").unwrap();
        meter.limit(Some(meter.now() + 4 * MIB));
        meter.begin();
        let limit = meter.now() + 4 * MIB;
        for bomb in [
            "let s = 'x'; for (;;) s += s",
            "for (;;) list.push(list.length)",
            "let last; for (;;) last = { last }",
            "new Uint8Array(5 << 20); 1",
        ] {
            assert_eq!(eval(&context, &format!("{{ {bomb} }}")), None, "{bomb}");
            // The rest of a page that comes with a large block.
            assert!(meter.peak() < limit + 8192, "{bomb}: {} of {limit}", meter.peak());
        }
        assert!(meter.peak() > limit - 2 * MIB, "{}", meter.peak());
        assert!(meter.refused());
        assert_eq!(meter.doubled(|| eval(&context, "new Uint8Array(4 << 20).length")), Some(4 << 20));
        assert_eq!(meter.doubled(|| eval(&context, "new Uint8Array(16 << 20).length")), None);
        meter.begin();
        assert_eq!(eval(&context, "new Uint8Array(4 << 20).length"), None);
        meter.limit(None);
        meter.begin();
        assert_eq!(eval(&context, "kept.length + (list.every((n, i) => n === i) ? 1 : 0)"), Some(5));
        assert_eq!(eval(&context, "new Uint8Array(8 << 20).length"), Some(8 << 20));
        assert!(!meter.refused());
    }

    #[test]
    fn what_cannot_be_is_null() {
        let (mut allocator, meter) = metered();
        for size in [usize::MAX, usize::MAX - OVERHEAD, usize::MAX / 2] {
            assert!(allocator.alloc(size).is_null(), "{size}");
            assert!(allocator.calloc(size, 1).is_null(), "{size}");
            assert!(allocator.calloc(size, size).is_null(), "{size}");
        }
        meter.limit(Some(100));
        assert!(allocator.alloc(93).is_null());
        assert!(allocator.calloc(31, 3).is_null());
        assert_eq!((meter.now(), meter.peak()), (0, 0));
    }
}
