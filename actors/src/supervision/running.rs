//! Which actor runs on this thread: what its log lines are marked with.
//!
//! A name in the thread costs a handler two moves of a pointer, whatever the log level is. A span of `tracing` would cost each
//! handler its entering and leaving, and one that was made while its level was off would be missing when the level is raised.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Poll;

thread_local! {
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The path of the actor whose work this thread does at the moment, e.g. `/triggers/big-push`.
pub fn actor() -> Option<Arc<str>> {
    // A thread that ends may still log.
    RUNNING.try_with(|running| running.try_borrow().ok()?.clone()).ok().flatten()
}

/// This thread works for an actor until this is dropped. Not `Send`: the name is the thread's.
#[must_use = "dropped, it names nobody"]
pub struct Named {
    before: Option<Arc<str>>,
    of_thread: PhantomData<*const ()>,
}

impl Named {
    /// From here on it is `actor`.
    pub fn new(actor: &Arc<str>) -> Self {
        let before = RUNNING.try_with(|running| running.replace(Some(actor.clone()))).ok().flatten();
        Self { before, of_thread: PhantomData }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let before = self.before.take();
        // A thread that ends has nobody to name.
        RUNNING.try_with(|running| drop(running.replace(before))).ok();
    }
}

/// Work that an actor has begun and does not wait for in a handler: each of its turns is named.
pub async fn named<F: Future>(actor: Arc<str>, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| -> Poll<F::Output> {
        let _named = Named::new(&actor);
        work.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_name_is_back_after_the_inner_one() {
        assert_eq!(actor(), None);
        let outer = Named::new(&"/triggers/a".into());
        {
            let _inner = Named::new(&"/topics/b".into());
            assert_eq!(actor().as_deref(), Some("/topics/b"));
        }
        assert_eq!(actor().as_deref(), Some("/triggers/a"));
        drop(outer);
        assert_eq!(actor(), None);
    }

    #[test]
    fn a_name_ends_with_a_panic() {
        let panicked = std::panic::catch_unwind(|| {
            let _named = Named::new(&"/triggers/a".into());
            panic!("by a test");
        });
        assert!(panicked.is_err());
        assert_eq!(actor(), None);
    }

    #[tokio::test]
    async fn work_is_named_in_each_of_its_turns_and_not_between_them() {
        let work = named("/forwarders/a".into(), async {
            let before = actor();
            tokio::task::yield_now().await;
            (before, actor())
        });
        let between = async { actor() };
        let ((before, after), between) = tokio::join!(work, between);
        assert_eq!((before.as_deref(), after.as_deref()), (Some("/forwarders/a"), Some("/forwarders/a")));
        assert_eq!(between, None);
    }
}
