//! The cursor of a subscription: an ack floor, and the runs handled above it.
//!
//! Deliveries run in parallel and finish in any order; the floor moves once everything up to it is handled.
//! A delivery that waits for another attempt counts as handled here, because its entry in the waiting table keeps
//! the responsibility. What is held behind it, for the order of its key, does not, and may be for days while all
//! other keys go on: so what is kept and written are runs, of which there is one more at most than there are records in flight
//! or held.

use std::collections::BTreeMap;

use crate::log::Seq;

/// Which records of a topic a subscription has handled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    floor: Seq,
    /// The first and the last of each run. Runs do not touch, neither one another nor the floor.
    runs: BTreeMap<Seq, Seq>,
    /// The records in the runs.
    above: u64,
}

/// The version byte of the stored form.
const FORMAT: u8 = 2;
/// The one in which each record above the floor stood by itself; it is read still.
const EACH: u8 = 1;

impl Cursor {
    /// A cursor that has handled everything up to and including `floor`; 0 is the start of the topic.
    pub fn at(floor: Seq) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Everything up to and including this is handled.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// How many are handled above the floor.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// How many of the records below `next` are not handled.
    pub fn behind(&self, next: Seq) -> u64 {
        next.saturating_sub(self.floor + 1).saturating_sub(self.above)
    }

    /// Whether a record is handled.
    pub fn is_handled(&self, seq: Seq) -> bool {
        seq <= self.floor || self.runs.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }

    /// How many of these are not handled.
    pub fn open(&self, records: std::ops::Range<Seq>) -> u64 {
        let (from, end) = (records.start.max(self.floor + 1), records.end);
        if from >= end {
            return 0;
        }
        let within = |(first, last): (&Seq, &Seq)| (last + 1).min(end).saturating_sub(*first.max(&from));
        let before = self.runs.range(..from).next_back().map_or(0, within);
        end - from - before - self.runs.range(from..end).map(within).sum::<u64>()
    }

    /// Marks a record as handled. `false` when it already was.
    pub fn mark(&mut self, seq: Seq) -> bool {
        if seq == self.floor + 1 {
            self.floor = seq;
            self.settle();
            return true;
        }
        if self.is_handled(seq) {
            return false;
        }
        // Of its neighbours it makes one run with itself.
        let last = self.runs.remove(&(seq + 1)).unwrap_or(seq);
        match self.runs.range_mut(..seq).next_back() {
            Some((_, before)) if *before + 1 == seq => *before = last,
            _ => drop(self.runs.insert(seq, last)),
        }
        self.above += 1;
        true
    }

    /// Raises the floor to just below `first`: what retention removed cannot be delivered any more.
    pub fn skip_to(&mut self, first: Seq) {
        let floor = first.saturating_sub(1);
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while let Some(run) = self.runs.first_entry().filter(|run| *run.key() < first) {
            let (start, last) = run.remove_entry();
            self.above -= last + 1 - start;
            // What of it lies beyond touches the floor.
            self.floor = self.floor.max(last);
        }
        self.settle();
    }

    /// The run that touches the floor becomes a part of it.
    fn settle(&mut self) {
        if let Some(run) = self.runs.first_entry().filter(|run| *run.key() == self.floor + 1) {
            let (first, last) = run.remove_entry();
            self.above -= last + 1 - first;
            self.floor = last;
        }
    }

    /// The stored form: version and floor, a big-endian u64; then of each run how many before it are not handled, and how many are,
    /// as LEB128.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.runs.len() * 3);
        out.push(FORMAT);
        out.extend_from_slice(&self.floor.to_be_bytes());
        let mut next = self.floor + 1;
        for (&first, &last) in &self.runs {
            put(&mut out, first - next);
            put(&mut out, last + 1 - first);
            next = last + 1;
        }
        out
    }

    /// Reads the stored form, of this version or of the one before; `None` when it is neither.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (floor, mut rest) = rest.split_first_chunk::<8>()?;
        let mut cursor = Self::at(Seq::from_be_bytes(*floor));
        let mut last = cursor.floor;
        while !rest.is_empty() {
            let (first, length) = match format {
                FORMAT => (last.checked_add(take(&mut rest)?)?.checked_add(1)?, take(&mut rest)?),
                EACH => (last.checked_add(take(&mut rest)?)?, 1),
                _ => return None,
            };
            last = first.checked_add(length)?.checked_sub(1).filter(|end| *end >= first && *end < Seq::MAX)?;
            cursor.run(first, last);
        }
        matches!(format, FORMAT | EACH).then_some(cursor)
    }

    /// Appends a run that lies behind all others.
    fn run(&mut self, first: Seq, last: Seq) {
        let already = self.runs.last_key_value().map_or(self.floor, |(_, last)| *last);
        if first <= already {
            return;
        }
        self.above += last + 1 - first;
        match self.runs.last_entry() {
            Some(mut before) if *before.get() + 1 == first => *before.get_mut() = last,
            _ => drop(self.runs.insert(first, last)),
        }
        self.settle();
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(start in 0u64..5, marks in proptest::collection::vec(1u64..60, 0..120)) {
            let mut cursor = Cursor::at(start);
            let mut model: BTreeSet<u64> = (1..=start).collect();
            for seq in marks {
                prop_assert_eq!(cursor.mark(seq), model.insert(seq));
                let floor = (1..).take_while(|s| model.contains(s)).last().unwrap_or(0);
                prop_assert_eq!(cursor.floor(), floor);
                prop_assert_eq!(cursor.above(), model.iter().filter(|s| **s > floor).count() as u64);
                prop_assert_eq!(cursor.behind(65), (1..65).filter(|s| !model.contains(s)).count() as u64);
                for from in [1, start + 1, 30] {
                    let open = (from..65).filter(|s| !model.contains(s)).count() as u64;
                    prop_assert_eq!(cursor.open(from..65), open);
                }
                prop_assert_eq!(cursor.open(9..9), 0);
                for s in 1..70 {
                    prop_assert_eq!(cursor.is_handled(s), model.contains(&s));
                }
                prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor.clone());
            }
        }

        #[test]
        fn skipping_handles_all_below(marks in proptest::collection::vec(1u64..40, 0..40), first in 1u64..50) {
            let mut cursor = Cursor::at(0);
            for seq in &marks {
                cursor.mark(*seq);
            }
            cursor.skip_to(first);
            for s in 1..60 {
                prop_assert_eq!(cursor.is_handled(s), s < first || marks.contains(&s));
            }
            prop_assert_eq!(cursor.behind(60), (first..60).filter(|s| !marks.contains(s)).count() as u64);
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Cursor::decode(&bytes);
        }
    }

    #[test]
    fn stored_form_is_forever() {
        let mut cursor = Cursor::at(5);
        cursor.mark(8);
        cursor.mark(300);
        cursor.mark(301);
        let stored = cursor.encode();
        assert_eq!(hex::encode(&stored), "0200000000000000050201a30202");
        let each = hex::decode("01000000000000000503a40201").unwrap();
        assert_eq!(Cursor::decode(&each), Some(cursor), "as it was stored before there were runs");
    }

    #[test]
    fn what_is_held_costs_no_more_however_much_is_handled_behind_it() {
        let mut cursor = Cursor::at(0);
        for seq in (2..200_000).filter(|seq| *seq != 77) {
            cursor.mark(seq);
        }
        assert_eq!((cursor.floor(), cursor.above(), cursor.behind(200_000)), (0, 199_997, 2));
        assert!(cursor.encode().len() < 20, "{}", cursor.encode().len());
    }
}
