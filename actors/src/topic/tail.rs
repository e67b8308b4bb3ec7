//! The recent records of a topic, in memory: what subscribers that keep up are served from.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log::{Record, Seq};

/// A run of records without gaps, bounded by bytes; the oldest leave first.
#[derive(Debug, Default)]
pub struct Tail {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    limit: usize,
}

/// What a record costs in memory beyond its data, in bytes: an estimate for the bound.
const OVERHEAD: usize = 512;

fn cost(record: &Record) -> usize {
    record.event.data.len() + OVERHEAD
}

impl Tail {
    /// An empty tail that keeps at most `limit` bytes, and always the newest record.
    pub fn new(limit: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds the next record. A gap (records that were never handed over) empties what is older: those are read from
    /// disk. One that is already here is ignored.
    pub fn push(&mut self, record: Arc<Record>) {
        if let Some(last) = self.records.back() {
            if record.seq <= last.seq {
                return;
            }
            if record.seq != last.seq + 1 {
                self.records.clear();
                self.bytes = 0;
            }
        }
        self.bytes += cost(&record);
        self.records.push_back(record);
        while self.bytes > self.limit && self.records.len() > 1 {
            if let Some(old) = self.records.pop_front() {
                self.bytes -= cost(&old);
            }
        }
    }

    /// The record with a sequence, when it is here.
    pub fn get(&self, seq: Seq) -> Option<&Arc<Record>> {
        let first = self.records.front()?.seq;
        let at = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.records.get(at)
    }

    /// The oldest sequence here.
    pub fn first(&self) -> Option<Seq> {
        self.records.front().map(|r| r.seq)
    }

    /// The newest sequence here.
    pub fn last(&self) -> Option<Seq> {
        self.records.back().map(|r| r.seq)
    }

    /// Removes what is below a sequence.
    pub fn trim(&mut self, below: Seq) {
        while self.records.front().is_some_and(|r| r.seq < below) {
            if let Some(old) = self.records.pop_front() {
                self.bytes -= cost(&old);
            }
        }
    }

    /// Bytes held, by the estimate that bounds it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Wall;
    use crate::event::Event;
    use crate::log::TopicId;

    fn record(seq: Seq, len: usize) -> Arc<Record> {
        Arc::new(Record::new("t".into(), TopicId(1), seq, Wall(0), Event::new("s", "k", vec![b'x'; len].into())))
    }

    #[test]
    fn keeps_the_newest_within_its_bytes() {
        let mut tail = Tail::new(3 * (OVERHEAD + 100));
        for seq in 5..15 {
            tail.push(record(seq, 100));
        }
        assert_eq!((tail.first(), tail.last(), tail.len()), (Some(12), Some(14), 3));
        assert_eq!(tail.get(13).unwrap().seq, 13);
        assert!(tail.get(11).is_none() && tail.get(15).is_none());
        tail.push(record(15, 1 << 20));
        assert_eq!(tail.len(), 1, "one that is larger than the bound is still served");
    }

    #[test]
    fn a_gap_starts_anew_and_a_repetition_is_ignored() {
        let mut tail = Tail::new(1 << 20);
        for seq in [1, 2, 3, 2, 7, 8] {
            tail.push(record(seq, 1));
        }
        assert_eq!((tail.first(), tail.last(), tail.len()), (Some(7), Some(8), 2));
        tail.trim(8);
        assert_eq!((tail.first(), tail.bytes()), (Some(8), OVERHEAD + 1));
    }
}
