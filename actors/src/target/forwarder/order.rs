//! Events in order at a forwarder that sends many at once: several of one key may be here, and share a batch.
//!
//! One attempt at a time is made with a key; what comes meanwhile waits behind it. An event that failed, or was given back,
//! takes with it all that came after it, so that the topic gives them again in their order. What was on its way then is
//! known by the [`Round`] that its topic had heard of, and goes back as well.

use std::collections::{HashMap, HashSet, VecDeque};

use super::queue::Queued;
use crate::event::Str;
use crate::target::{Mode, Ordering, Target};
use crate::topic::{Delivery, Round};

/// A key, of one topic: events that are delivered again are in an order of their own.
pub(super) type Key = (Str, Str);

/// What is done with events that have just come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// They wait for their attempt.
    Wait,
    /// They were handed over before the topic heard of this incarnation, and it has taken them back since.
    Forget,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Order {
    /// In strict order: the key of all.
    all: Option<Str>,
    /// Whether events of a key may share a batch.
    shares: bool,
    /// When this incarnation began.
    began: Round,
    /// Of which an attempt is being made, or (where none is shared) one waits for it; with what waits behind.
    keys: HashMap<Key, VecDeque<Queued>>,
    /// How many wait behind.
    behind: usize,
    /// Of which an event was given back, and when: a later message tells the topic.
    given_back: HashMap<Key, Round>,
}

impl Order {
    /// The order that a target asks for, where this has to keep it: with a call for each event its topic does.
    pub(super) fn of(target: &dyn Target, ordering: Ordering) -> Option<Self> {
        let batches = matches!(target.mode(), Mode::Batch { .. });
        (batches && ordering != Ordering::None).then(|| Self {
            all: (ordering == Ordering::Strict).then(|| "".into()),
            shares: target.shares_keys(),
            began: Round::begin(),
            keys: HashMap::new(),
            behind: 0,
            given_back: HashMap::new(),
        })
    }

    pub(super) fn began(&self) -> Round {
        self.began
    }

    /// The key by which an event is in order.
    pub(super) fn key(&self, delivery: &Delivery) -> Option<Key> {
        let key = self.all.as_ref().or(delivery.record.event.key.as_ref())?;
        Some((delivery.record.topic.clone(), key.clone()))
    }

    /// Looks at what a topic had heard of when it handed events over.
    pub(super) fn arrive(&mut self, topic: &Str, heard: Round) -> Arrival {
        if heard < self.began {
            return Arrival::Forget;
        }
        self.given_back.retain(|(of, _), round| of != topic || *round > heard);
        Arrival::Wait
    }

    /// Whether an event that has just come has to go back: an earlier one of its key did. What comes behind it then has to,
    /// until the topic has heard of this one, too.
    pub(super) fn goes_back(&mut self, key: &Key) -> bool {
        self.given_back.get_mut(key).map(|round| *round = Round::begin()).is_some()
    }

    /// Takes one that has to wait behind others of its key; else it comes back, to wait for its attempt.
    pub(super) fn wait(&mut self, key: Key, queued: Queued) -> Option<Queued> {
        match self.keys.get_mut(&key) {
            Some(behind) => {
                behind.push_back(queued);
                self.behind += 1;
                return None;
            }
            None if !self.shares => drop(self.keys.insert(key, VecDeque::new())),
            None => {}
        }
        Some(queued)
    }

    /// An attempt with these begins: what of their keys is left in the queue waits behind them.
    pub(super) fn begin<'a>(&mut self, batch: impl Iterator<Item = &'a Delivery>, queue: &mut VecDeque<Queued>) {
        for delivery in batch {
            if let Some(key) = self.key(delivery) {
                self.keys.entry(key).or_default();
            }
        }
        if !self.shares {
            return;
        }
        for queued in std::mem::take(queue) {
            let key = self.key(&queued.delivery);
            let left = match key {
                Some(key) => self.wait(key, queued),
                None => Some(queued),
            };
            queue.extend(left);
        }
    }

    /// An attempt with a key is over: what comes next of it, in order.
    pub(super) fn end(&mut self, key: &Key) -> VecDeque<Queued> {
        let Some(mut behind) = self.keys.remove(key) else { return VecDeque::new() };
        let next = if self.shares { behind.len() } else { behind.len().min(1) };
        self.behind -= next;
        let later = behind.split_off(next);
        if !self.shares && next > 0 {
            self.keys.insert(key.clone(), later);
        }
        behind
    }

    /// An event of a key goes back, which its topic hears of with the next message; gives all that goes with it.
    pub(super) fn give_back(&mut self, key: Key) -> VecDeque<Queued> {
        let behind = self.keys.get_mut(&key).map(std::mem::take).unwrap_or_default();
        self.behind -= behind.len();
        self.given_back.insert(key, Round::begin());
        behind
    }

    /// All that is here and is in no attempt goes back: what goes with the queue.
    pub(super) fn give_all_back(&mut self, queue: &VecDeque<Queued>) -> Vec<Queued> {
        let queued: HashSet<Key> = queue.iter().filter_map(|queued| self.key(&queued.delivery)).collect();
        let behind: HashSet<Key> = self.behind().filter_map(|queued| self.key(&queued.delivery)).collect();
        let mut all = Vec::new();
        for key in queued.union(&behind) {
            all.extend(self.give_back(key.clone()));
        }
        if !self.shares {
            for key in queued {
                self.keys.remove(&key);
            }
        }
        all
    }

    /// What waits behind others.
    pub(super) fn behind(&self) -> impl Iterator<Item = &Queued> {
        self.keys.values().flatten()
    }

    /// Whether what is here can have no company in its batch, so that waiting for some is in vain.
    pub(super) fn is_alone(&self) -> bool {
        !self.shares && (self.all.is_some() || self.behind > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::{Tick, Wall};
    use crate::event::Event;
    use crate::log::{Record, TopicId};
    use std::sync::Arc;

    fn order(shares: bool) -> Order {
        let (all, keys, given_back) = (None, HashMap::new(), HashMap::new());
        Order { all, shares, began: Round::begin(), keys, behind: 0, given_back }
    }

    fn delivery(seq: u64) -> Delivery {
        let mut event = Event::new("s", "t", bytes::Bytes::new());
        event.key = Some("k".into());
        Delivery { record: Arc::new(Record::new("out".into(), TopicId(1), seq, Wall(0), event)), attempt: 1 }
    }

    fn queued(seq: u64) -> Queued {
        Queued { delivery: delivery(seq), since: Tick(0) }
    }

    fn seqs<'a>(queued: impl IntoIterator<Item = &'a Queued>) -> Vec<u64> {
        queued.into_iter().map(|queued| queued.delivery.record.seq).collect()
    }

    fn key() -> Key {
        ("out".into(), "k".into())
    }

    #[test]
    fn events_of_a_key_share_a_batch_and_others_wait_behind_it() {
        let mut order = order(true);
        let mut queue: VecDeque<Queued> = (1..=4).filter_map(|seq| order.wait(key(), queued(seq))).collect();
        let batch: Vec<Delivery> = queue.drain(..2).map(|queued| queued.delivery).collect();
        order.begin(batch.iter(), &mut queue);
        assert!(order.wait(key(), queued(5)).is_none());
        assert_eq!((seqs(&queue), seqs(order.behind())), (vec![], vec![3, 4, 5]));
        assert_eq!(seqs(&order.end(&key())), [3, 4, 5]);
        assert!(order.wait(key(), queued(6)).is_some() && order.behind == 0);
    }

    #[test]
    fn where_none_is_shared_they_go_one_by_one_and_nobody_waits_for_company() {
        let mut order = order(false);
        let mut queue: VecDeque<Queued> = (1..=3).filter_map(|seq| order.wait(key(), queued(seq))).collect();
        assert_eq!((seqs(&queue), order.is_alone()), (vec![1], true));
        queue.clear();
        order.begin([delivery(1)].iter(), &mut queue);
        assert_eq!(seqs(&order.end(&key())), [2]);
        assert_eq!(seqs(&order.give_all_back(&[queued(2)].into())), [3]);
        assert!(order.keys.is_empty() && order.behind == 0);
    }

    #[test]
    fn what_was_on_its_way_when_an_earlier_one_went_back_goes_back_too() {
        let mut order = order(true);
        let before = Round::begin();
        order.begin([delivery(1)].iter(), &mut VecDeque::new());
        order.wait(key(), queued(2));
        assert_eq!(seqs(&order.give_back(key())), [2]);
        order.end(&key());
        assert_eq!(order.arrive(&"out".into(), before), Arrival::Wait);
        assert!(order.goes_back(&key()), "3 was handed over before the topic heard of 1");
        let heard_of_the_first = Round::newest();
        assert!(order.goes_back(&key()), "4, too");
        order.arrive(&"out".into(), heard_of_the_first);
        assert!(order.goes_back(&key()), "until the topic has heard of 4");
        order.arrive(&"other".into(), Round::begin());
        assert!(order.goes_back(&key()), "another topic knows nothing of it");
        order.arrive(&"out".into(), Round::begin());
        assert!(!order.goes_back(&key()));
    }

    #[test]
    fn what_was_meant_for_an_earlier_incarnation_is_forgotten() {
        let before = Round::newest();
        let mut order = order(true);
        assert_eq!(order.arrive(&"out".into(), before), Arrival::Forget);
        assert_eq!(order.arrive(&"out".into(), order.began()), Arrival::Wait);
    }
}
