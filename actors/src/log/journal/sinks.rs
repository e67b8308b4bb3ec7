//! Where the journal hands over what it has written.
//!
//! The contract between the journal and a topic, which makes losing a notice harmless:
//! 1. The engine raises [`EventLog::high`](crate::log::EventLog::high) of the topic before the sink is called.
//! 2. A sink never blocks: it runs on the journal's thread. When the topic's mailbox is full, it drops the notice.
//! 3. A topic takes a notice only when it continues where the topic is; when there is a gap, and whenever it has
//!    handled the last message of a burst, it compares `high` with its own position and reads on from disk.
//!    A mailbox that was full when the notice was dropped holds messages to handle, so step 3 happens after it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::log::{Published, TopicId};

/// Takes the new records of one topic; must not block.
pub type Sink = Arc<dyn Fn(Published) + Send + Sync>;

/// The sinks of all topics, shared by the journal and whoever starts topics.
#[derive(Clone, Default)]
pub struct Sinks {
    by_topic: Arc<RwLock<HashMap<TopicId, Sink>>>,
}

impl Sinks {
    /// Sets the sink of a topic, in place of the one before.
    pub fn set(&self, topic: TopicId, sink: Sink) {
        self.by_topic.write().unwrap_or_else(PoisonError::into_inner).insert(topic, sink);
    }

    /// Removes the sink of a topic; its records are stored still.
    pub fn remove(&self, topic: TopicId) {
        self.by_topic.write().unwrap_or_else(PoisonError::into_inner).remove(&topic);
    }

    /// Hands records to the topic's sink, when it has one.
    pub(super) fn publish(&self, topic: TopicId, published: Published) {
        // Cloned, so that a sink may set sinks.
        let sink = self.by_topic.read().unwrap_or_else(PoisonError::into_inner).get(&topic).cloned();
        if let Some(sink) = sink {
            sink(published);
        }
    }
}
