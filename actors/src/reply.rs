//! Who waits for the result of a trigger: a request whose source answers with the function's output.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

use crate::event::Str;

/// What the trigger says to a waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The function's output, as JSON.
    Output(Bytes),
    /// The condition did not hold, or the function dropped the event.
    Nothing,
    /// It failed; retries go on in the background.
    Failed(Str),
}

/// Who waits, by event id: for which trigger, and where to answer.
type Shard = Mutex<HashMap<Str, (Str, oneshot::Sender<Answer>)>>;

/// The waiting requests, by event id. Many small locks, so that workers seldom meet; nobody waits while holding one.
pub struct Replies {
    shards: [Shard; 16],
    waiting: AtomicUsize,
}

impl Default for Replies {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), waiting: AtomicUsize::new(0) }
    }
}

impl Replies {
    fn shard(&self, id: &str) -> &Shard {
        // The last characters of an id are its random part.
        let at = id.bytes().rev().take(4).fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(b as usize));
        &self.shards[at % self.shards.len()]
    }

    /// Waits for the answer of a trigger to an event. Register before the event is published.
    pub fn wait(&self, id: Str, trigger: Str) -> oneshot::Receiver<Answer> {
        let (tx, rx) = oneshot::channel();
        let shard = self.shard(&id);
        if shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, (trigger, tx)).is_none() {
            self.waiting.fetch_add(1, Ordering::Release);
        }
        rx
    }

    /// Answers, if somebody waits. Cheap when nobody does.
    pub fn answer(&self, id: &str, trigger: &str, answer: impl FnOnce() -> Answer) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(tx) = self.take(id, |who| who == trigger)
            && tx.send(answer()).is_err()
        {
            tracing::debug!(id, "the request ended before its answer");
        }
    }

    /// Gives up waiting.
    pub fn forget(&self, id: &str) {
        drop(self.take(id, |_| true));
    }

    fn take(&self, id: &str, by: impl Fn(&str) -> bool) -> Option<oneshot::Sender<Answer>> {
        let mut shard = self.shard(id).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !shard.get(id).is_some_and(|(who, _)| by(who)) {
            return None;
        }
        let (_, sender) = shard.remove(id)?;
        self.waiting.fetch_sub(1, Ordering::Release);
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_once_and_only_who_waits() {
        let replies = Replies::default();
        replies.answer("x", "t", || unreachable!("nobody waits"));
        let mut rx = replies.wait("a".into(), "t".into());
        replies.answer("b", "t", || unreachable!("b does not wait"));
        replies.answer("a", "other", || unreachable!("another trigger"));
        replies.answer("a", "t", || Answer::Nothing);
        assert_eq!(rx.try_recv().unwrap(), Answer::Nothing);
        let mut gone = replies.wait("c".into(), "t".into());
        replies.forget("c");
        assert!(gone.try_recv().is_err());
    }
}
