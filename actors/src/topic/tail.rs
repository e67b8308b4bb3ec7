//! The recent records of a topic, in memory: what subscribers that keep up are served from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Wall;
use crate::log::{Record, Seq};

/// A run of records without gaps, bounded by bytes; the oldest leave first.
#[derive(Debug)]
pub struct Tail {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    limit: usize,
    /// What it shares with the tails of other topics.
    shared: Option<Room>,
    /// Whether something has come since the last [`yield_room`](Self::yield_room).
    pushed: bool,
}

/// The bytes that the tails of all topics on disk hold together, and may: there can be many topics, and what is not in a tail is
/// read from disk.
#[derive(Debug, Clone)]
pub struct Room {
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Room {
    /// Room for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    /// Bytes held by all.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What a busy tail keeps when all together hold too much, in bytes.
const LEAST: usize = 64 << 10;

/// What a record costs in memory beyond its data, in bytes: an estimate for the bound.
const OVERHEAD: usize = 512;

fn cost(record: &Record) -> usize {
    record.event.data.len() + OVERHEAD
}

impl Tail {
    /// An empty tail that keeps at most `limit` bytes, and always the newest record.
    pub fn new(limit: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, limit, shared: None, pushed: false }
    }

    /// The same, within room that all tails share.
    pub fn within(limit: usize, room: Room) -> Self {
        let mut tail = Self::new(limit);
        tail.shared = Some(room);
        tail
    }

    /// Adds the next record. A gap (records that were never handed over) empties what is older: those are read from
    /// disk. One that is already here is ignored.
    pub fn push(&mut self, record: Arc<Record>) {
        if let Some(last) = self.records.back() {
            if record.seq <= last.seq {
                return;
            }
            if record.seq != last.seq + 1 {
                self.shrink(0, 0);
            }
        }
        self.pushed = true;
        self.bytes += cost(&record);
        if let Some(room) = &self.shared {
            room.held.fetch_add(cost(&record), Ordering::Relaxed);
        }
        self.records.push_back(record);
        self.shrink(self.limit, 1);
    }

    /// Lets the oldest go until so many bytes, or so many records, are left.
    fn shrink(&mut self, bytes: usize, records: usize) {
        let before = self.bytes;
        while self.bytes > bytes && self.records.len() > records {
            if let Some(old) = self.records.pop_front() {
                self.bytes -= cost(&old);
            }
        }
        self.give_back(before);
    }

    fn give_back(&self, before: usize) {
        if let Some(room) = &self.shared {
            room.held.fetch_sub(before - self.bytes, Ordering::Relaxed);
        }
    }

    /// Lets go of what others need: when all tails together hold too much, one that got nothing since it was last asked lets
    /// everything go, and one that did keeps [`LEAST`] bytes.
    pub fn yield_room(&mut self) {
        let pushed = std::mem::take(&mut self.pushed);
        if self.shared.as_ref().is_some_and(|room| room.held() > room.most) {
            self.shrink(if pushed { LEAST } else { 0 }, 0);
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
        let before = self.bytes;
        while self.records.front().is_some_and(|r| r.seq < below) {
            if let Some(old) = self.records.pop_front() {
                self.bytes -= cost(&old);
            }
        }
        self.give_back(before);
    }

    /// The oldest record that these bounds let stay: at most so many, of at most so many bytes together (by the estimate of
    /// [`bytes`](Self::bytes)), none stored before a time. `None` when none stays.
    pub fn kept(&self, count: Option<u64>, bytes: Option<u64>, since: Option<Wall>) -> Option<Seq> {
        let (mut left, mut held) = (self.records.len() as u64, self.bytes as u64);
        for record in &self.records {
            let fits = count.is_none_or(|most| left <= most) && bytes.is_none_or(|most| held <= most);
            if fits && since.is_none_or(|since| record.stored >= since) {
                return Some(record.seq);
            }
            left -= 1;
            held -= cost(record) as u64;
        }
        None
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

impl Drop for Tail {
    fn drop(&mut self) {
        self.shrink(0, 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Event;
    use crate::log::TopicId;

    #[test]
    fn bounds_say_what_stays() {
        let mut tail = Tail::new(usize::MAX);
        assert_eq!(tail.kept(None, None, None), None);
        for seq in 3..=7 {
            let event = Event::new("s", "k", vec![b'x'; 10].into());
            tail.push(Arc::new(Record::new("t".into(), TopicId(1), seq, Wall(seq as i64), event)));
        }
        let each = (OVERHEAD + 10) as u64;
        for (count, bytes, since, kept) in [
            (None, None, None, Some(3)),
            (Some(2), None, None, Some(6)),
            (Some(9), None, None, Some(3)),
            (Some(0), None, None, None),
            (None, Some(3 * each), None, Some(5)),
            (None, Some(3 * each - 1), None, Some(6)),
            (None, Some(1), None, None),
            (None, None, Some(Wall(4)), Some(4)),
            (None, None, Some(Wall(8)), None),
            (Some(4), Some(2 * each), Some(Wall(5)), Some(6)),
        ] {
            assert_eq!(tail.kept(count, bytes, since), kept, "{count:?} {bytes:?} {since:?}");
        }
    }

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
    fn all_tails_together_are_bounded() {
        let room = Room::new(100 << 10);
        let mut tails: Vec<Tail> = (0..4).map(|_| Tail::within(1 << 20, room.clone())).collect();
        for seq in 1..=40 {
            tails.iter_mut().for_each(|tail| tail.push(record(seq, 1000)));
        }
        assert_eq!(room.held(), tails.iter().map(Tail::bytes).sum::<usize>());
        let full = tails[0].bytes();
        tails[0].yield_room();
        assert!(tails[0].bytes() == full.min(LEAST) && tails[0].last() == Some(40), "a busy one keeps the newest");
        tails[0].yield_room();
        assert!(tails[0].is_empty(), "an idle one keeps nothing while others need the room");
        for tail in &mut tails[1..3] {
            tail.yield_room();
            tail.yield_room();
        }
        assert_eq!((tails[2].is_empty(), room.held()), (true, tails[3].bytes()));
        tails[3].yield_room();
        tails[3].yield_room();
        assert_eq!(tails[3].len(), 40, "there is room");
        tails[3].push(record(50, 1));
        assert_eq!(room.held(), OVERHEAD + 1, "a gap gives back what it lets go");
        drop(tails);
        assert_eq!(room.held(), 0);
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
