//! Removing a topic: its actor ends, then one write takes all that is stored of it.

use super::{Cast, Error, MAX_CURSORS, read, write};
use crate::definitions::TopicDurability;
use crate::event::Str;
use crate::log::journal::Barrier;
use crate::log::{self, Op, Seq, Table, TopicId};
use crate::supervision::{ControlError, Remove};
use crate::topic::cursor::Cursor;
use crate::topic::{SubscriptionStatus, TopicHandle, keys};
use std::collections::HashMap;
use std::sync::PoisonError;
use tokio::sync::oneshot;

/// The place of a subscription in a topic that does not serve it any more: its trigger or target is not defined, or listens
/// to something else. It is kept in case it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlace {
    /// The subscription.
    pub subscription: Str,
    /// The topic.
    pub topic: Str,
    /// Everything up to and including this is handled.
    pub floor: Seq,
    /// Events that it has not handled.
    pub lag: u64,
    /// Events that wait for another attempt.
    pub waiting: usize,
}

impl KeptPlace {
    /// What would be delivered if it came back.
    pub fn events(&self) -> u64 {
        self.lag + self.waiting as u64
    }
}

impl Cast {
    /// The places of triggers and targets that are kept and not served, by subscription and topic. Topics in memory keep none.
    ///
    /// # Errors
    /// The log failed.
    pub fn kept_places(&self) -> Result<Vec<KeptPlace>, Error> {
        let topics = read(&self.0.topics).clone();
        let by_id: HashMap<TopicId, &TopicHandle> = topics.values().map(|topic| (topic.id, topic)).collect();
        let mut kept = Vec::new();
        for (key, value) in self.0.log.scan(Table::Cursor, b"", MAX_CURSORS)? {
            let topic = keys::topic_of(&key).and_then(|id| by_id.get(&id).copied());
            let (Some(topic), Some(name), Some(mut cursor)) =
                (topic, keys::subscription_of(&key), Cursor::decode(&value))
            else {
                continue;
            };
            // Clients give up theirs themselves.
            if !["trigger.", "target."].iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            if read(&self.0.subscribers).iter().any(|s| *s.name == *name && s.serves(&topic.name)) {
                continue;
            }
            let bounds = self.0.log.bounds(topic.id)?;
            cursor.skip_to(bounds.first);
            let lag = cursor.behind(bounds.next);
            let waiting = self.0.log.scan(Table::Waiting, &keys::waiting_prefix(name, topic.id), usize::MAX)?.len();
            let (subscription, topic) = (name.into(), topic.name.clone());
            kept.push(KeptPlace { subscription, topic, floor: cursor.floor(), lag, waiting });
        }
        Ok(kept)
    }

    /// Removes a topic: its records, its number, what is stored of subscriptions on it, its actor. One of the same name that
    /// comes later has another number and begins at sequence 1. Without `force` only when every durable subscription has
    /// handled all of it, also one that is not served any more and whose place is kept.
    ///
    /// # Errors
    /// There is no such topic; its events are needed; the log or the supervisor failed. Then it is there still.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let _one_at_a_time = self.0.creating.lock().await;
        let handle = self.find(name)?;
        // What comes after this look is noticed by the log.
        let next = if force { None } else { self.handled(&handle).await? };
        *write(&self.0.removing) = Some(handle.name.clone());
        let removed = self.stop_and_remove(&handle, next).await;
        *write(&self.0.removing) = None;
        removed
    }

    /// The next sequence of a topic of which nothing is needed any more; none where nobody would need what comes, or the log
    /// does not count it.
    async fn handled(&self, topic: &TopicHandle) -> Result<Option<Seq>, Error> {
        let status = self.status(topic).await.ok_or_else(|| Error::Start(topic.name.clone()))?;
        let needs = |s: &&SubscriptionStatus| s.durable && (s.lag > 0 || s.in_flight > 0 || s.waiting > 0);
        let mut by: Vec<String> = status.subscriptions.iter().filter(needs).map(|s| format!("`{}`", s.name)).collect();
        let kept = self.kept_places()?.into_iter().filter(|kept| kept.topic == topic.name && kept.events() > 0);
        by.extend(kept.map(|kept| {
            format!("`{}`, which is not served here any more ({} events wait for it)", kept.subscription, kept.events())
        }));
        if by.is_empty() {
            let awaited = status.subscriptions.iter().any(|s| s.durable) && topic.durability == TopicDurability::Disk;
            return Ok(awaited.then_some(status.last + 1));
        }
        Err(Error::Needed { topic: topic.name.clone(), by: by.join(", ") })
    }

    async fn stop_and_remove(&self, topic: &TopicHandle, next: Option<Seq>) -> Result<(), Error> {
        std::sync::Arc::make_mut(&mut write(&self.0.topics)).remove(&topic.name);
        let written = self.stop_and_write(topic, next).await;
        // The log says what is so, also where its answer was lost.
        if matches!(self.0.log.bounds(topic.id), Err(log::Error::NoTopic(_))) {
            self.forget(topic);
            return Ok(());
        }
        // It goes on. What was in flight is delivered again.
        self.start(topic).await?;
        self.insert(topic);
        written?;
        let by = "whoever gets what came at this moment".to_owned();
        Err(Error::Needed { topic: topic.name.clone(), by })
    }

    /// Waits until what was sent to the journal by now is written.
    ///
    /// # Errors
    /// The journal ended.
    pub async fn written(&self) -> Result<(), Error> {
        let (reply, written) = oneshot::channel();
        self.0.barrier.send(Barrier { reply }).await.map_err(|_| log::Error::Stopped)?;
        Ok(written.await.map_err(|_| log::Error::Stopped)??)
    }

    async fn stop_and_write(&self, topic: &TopicHandle, next: Option<Seq>) -> Result<(), Error> {
        let gone = |_| Error::Start(topic.name.clone());
        match self.0.supervisor.send(Remove(format!("/topics/{}", topic.name))).await.map_err(gone)? {
            Ok(()) | Err(ControlError::Unknown { .. }) => {}
            Err(_) => return Err(Error::Start(topic.name.clone())),
        }
        // The actor's last commits are written before its keys are looked for.
        self.written().await?;
        let (cast, id) = (self.clone(), topic.id);
        let keys = tokio::task::spawn_blocking(move || cast.keys_of(id)).await;
        let keys = keys.map_err(|_| Error::Start(topic.name.clone()))??;
        self.write(Op::Remove { topic: topic.id, next, keys }).await?;
        Ok(())
    }

    /// What is stored of a topic beside its records: places, deliveries that wait, letters that are settled.
    fn keys_of(&self, topic: TopicId) -> Result<Vec<(Table, Vec<u8>)>, log::Error> {
        let mut found = vec![(Table::State, keys::settled(topic))];
        for (cursor, _) in self.0.log.scan(Table::Cursor, b"", MAX_CURSORS)? {
            if keys::topic_of(&cursor) != Some(topic) {
                continue;
            }
            // Whatever waits has a place, too: both are in one write.
            let waiting = self.0.log.scan(Table::Waiting, &cursor, usize::MAX)?;
            found.extend(waiting.into_iter().map(|(key, _)| (Table::Waiting, key)));
            found.push((Table::Cursor, cursor));
        }
        Ok(found)
    }

    /// Lets go of what is kept in memory of a topic that was removed.
    fn forget(&self, topic: &TopicHandle) {
        self.0.sinks.remove(topic.id);
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&topic.name);
        let served: Vec<Str> = self.subscribers_of(&topic.name).iter().map(|s| s.name.clone()).collect();
        self.0.metrics.forget_topic(&topic.name, &served);
    }
}
