//! How many lines a function may write into the log of the service: one that is called often must not fill its disk, nor
//! hide what others have to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Tick;
use crate::source::rate::{Bucket, Limit};

/// The lines of one function, of all its workers and versions that run together.
#[derive(Debug)]
pub struct Logging {
    state: Mutex<State>,
    /// Whether it was said that the function may not log.
    refused: AtomicBool,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    /// Lines that were left out since the last one that was written.
    left_out: u64,
}

/// What becomes of some lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Admitted {
    /// So many of them are written, the first ones.
    pub lines: usize,
    /// So many were left out before them: to be said now, since some are written again.
    pub left_out: u64,
    /// Whether those that are left out now are the first ones.
    pub begins: bool,
}

impl Logging {
    /// What a function may log unless it is told.
    pub const DEFAULT: Limit = Limit { per_second: 100, burst: Some(1_000) };

    /// Within this limit.
    pub fn new(limit: Limit) -> Self {
        Self { state: Mutex::new(State { bucket: Bucket::new(limit), left_out: 0 }), refused: AtomicBool::new(false) }
    }

    /// Which of so many lines are written.
    pub(crate) fn admit(&self, lines: usize, now: Tick) -> Admitted {
        if lines == 0 {
            return Admitted::default();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = (0..lines).take_while(|_| state.bucket.take(1, now).is_ok()).count();
        let left_out = if written > 0 { std::mem::take(&mut state.left_out) } else { 0 };
        let more = (lines - written) as u64;
        let begins = more > 0 && state.left_out == 0;
        state.left_out += more;
        Admitted { lines: written, left_out, begins }
    }

    /// Whether lines of a function that may not log are the first ones.
    pub(crate) fn refuses_first(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_beyond_the_rate_is_left_out_and_counted() {
        let logging = Logging::new(Limit { per_second: 10, burst: Some(3) });
        let now = Tick(1_000_000);
        let said = |lines, left_out, begins| Admitted { lines, left_out, begins };
        assert_eq!(logging.admit(0, now), said(0, 0, false));
        assert_eq!(logging.admit(2, now), said(2, 0, false));
        assert_eq!(logging.admit(5, now), said(1, 0, true));
        assert_eq!(logging.admit(5, now), said(0, 0, false));
        let later = now.plus(Duration::from_millis(100));
        assert_eq!(logging.admit(1, later), said(1, 9, false));
        assert_eq!(logging.admit(1, later.plus(Duration::from_millis(100))), said(1, 0, false));
    }
}
