//! Who waits for the result of a trigger: a request whose source answers with the function's output.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

use crate::event::Str;

/// What the trigger says to a waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The function's output, as JSON.
    Output(Bytes),
    /// The condition did not hold, the function dropped the event, or the trigger is switched off.
    Nothing,
    /// It failed; retries go on in the background.
    Failed,
}

/// Who waits: for which trigger, and where to answer.
type Entry = (Str, oneshot::Sender<Answer>);
/// Who waits, by the span of the event.
type Shard = Mutex<HashMap<Str, Entry>>;

/// The waiting requests, by the span of their event's trace, which is made here for each arrival. An event's id may be its sender's,
/// and then another sender's event can have the same. Many small locks, so that workers seldom meet; nobody waits while holding one.
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
    fn shard(&self, span: &str) -> &Shard {
        let at = span.bytes().rev().take(4).fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(b as usize));
        &self.shards[at % self.shards.len()]
    }

    /// Waits for the answer of a trigger to an event, until the guard is dropped. Register before the event is published.
    pub fn wait(self: &Arc<Self>, span: Str, trigger: Str) -> Waiting {
        let (tx, answer) = oneshot::channel();
        let mut shard = self.shard(&span).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.insert(span.clone(), (trigger, tx)).is_none() {
            self.waiting.fetch_add(1, Ordering::Release);
        }
        drop(shard);
        Waiting { replies: Arc::clone(self), span, answer }
    }

    /// Answers, if somebody waits. Cheap when nobody does.
    pub fn answer(&self, span: &str, trigger: &str, answer: impl FnOnce() -> Answer) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(tx) = self.take(span, |(who, _)| &**who == trigger)
            && tx.send(answer()).is_err()
        {
            tracing::debug!(span, "the request ended before its answer");
        }
    }

    fn take(&self, span: &str, by: impl Fn(&Entry) -> bool) -> Option<oneshot::Sender<Answer>> {
        let mut shard = self.shard(span).lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.get(span).is_some_and(by) {
            return None;
        }
        let (_, sender) = shard.remove(span)?;
        self.waiting.fetch_sub(1, Ordering::Release);
        Some(sender)
    }
}

/// A request that waits. Dropped, however the request ends, it is forgotten.
pub struct Waiting {
    replies: Arc<Replies>,
    span: Str,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    /// The answer; `None` when it does not come within the time, or never (the trigger's actor was restarted).
    pub async fn within(mut self, time: Duration) -> Option<Answer> {
        tokio::time::timeout(time, &mut self.answer).await.ok()?.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // After an answer the place may be another request's: only one that nobody listens to is taken away.
        self.answer.close();
        drop(self.replies.take(&self.span, |(_, tx)| tx.is_closed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_once_and_only_who_waits() {
        let replies = Arc::new(Replies::default());
        replies.answer("x", "t", || unreachable!("nobody waits"));
        let waiting = replies.wait("a".into(), "t".into());
        replies.answer("b", "t", || unreachable!("b does not wait"));
        replies.answer("a", "other", || unreachable!("another trigger"));
        replies.answer("a", "t", || Answer::Nothing);
        assert_eq!(waiting.within(Duration::MAX).await, Some(Answer::Nothing));
        assert_eq!(replies.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn whoever_ends_is_forgotten_and_nobody_else() {
        let replies = Arc::new(Replies::default());
        let gone = replies.wait("c".into(), "t".into());
        drop(gone);
        assert_eq!(replies.waiting.load(Ordering::Acquire), 0);
        replies.answer("c", "t", || unreachable!("forgotten"));
        let late = replies.wait("c".into(), "t".into());
        assert_eq!(late.within(Duration::ZERO).await, None);
        assert_eq!(replies.waiting.load(Ordering::Acquire), 0);
        let answered = replies.wait("d".into(), "t".into());
        replies.answer("d", "t", || Answer::Nothing);
        let next = replies.wait("d".into(), "t".into());
        drop(answered);
        replies.answer("d", "t", || Answer::Nothing);
        assert_eq!(next.within(Duration::MAX).await, Some(Answer::Nothing), "the place was taken by another request");
    }
}
