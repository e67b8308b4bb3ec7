//! The cursor of a subscription: an ack floor, and the set handled above it.
//!
//! Deliveries run in parallel and finish in any order; the floor moves once everything up to it is handled.
//! A delivery that waits for another attempt counts as handled here, because its entry in the waiting table keeps
//! the responsibility: so the set above the floor stays as small as the number in flight.

use std::collections::BTreeSet;

use crate::log::Seq;

/// Which records of a topic a subscription has handled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    floor: Seq,
    above: BTreeSet<Seq>,
}

/// The version byte of the stored form.
const FORMAT: u8 = 1;

impl Cursor {
    /// A cursor that has handled everything up to and including `floor`; 0 is the start of the topic.
    pub fn at(floor: Seq) -> Self {
        Self { floor, above: BTreeSet::new() }
    }

    /// Everything up to and including this is handled.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// How many are handled above the floor.
    pub fn above(&self) -> usize {
        self.above.len()
    }

    /// Whether a record is handled.
    pub fn is_handled(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.contains(&seq)
    }

    /// How many of these are not handled.
    pub fn open(&self, records: std::ops::Range<Seq>) -> u64 {
        let from = records.start.max(self.floor + 1);
        if from >= records.end {
            return 0;
        }
        records.end - from - self.above.range(from..records.end).count() as u64
    }

    /// Marks a record as handled. `false` when it already was.
    pub fn mark(&mut self, seq: Seq) -> bool {
        if seq == self.floor + 1 {
            self.floor = seq;
            while self.above.first() == Some(&(self.floor + 1)) {
                self.above.pop_first();
                self.floor += 1;
            }
            return true;
        }
        seq > self.floor && self.above.insert(seq)
    }

    /// Raises the floor to just below `first`: what retention removed cannot be delivered any more.
    pub fn skip_to(&mut self, first: Seq) {
        let floor = first.saturating_sub(1);
        if floor > self.floor {
            self.above = self.above.split_off(&first);
            self.floor = floor;
            while self.above.first() == Some(&(self.floor + 1)) {
                self.above.pop_first();
                self.floor += 1;
            }
        }
    }

    /// The stored form: version, floor, then the set as differences, all big-endian u64 for the floor and LEB128 after.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.above.len() * 2);
        out.push(FORMAT);
        out.extend_from_slice(&self.floor.to_be_bytes());
        let mut last = self.floor;
        for &seq in &self.above {
            let mut step = seq - last;
            last = seq;
            while step >= 0x80 {
                out.push((step as u8 & 0x7f) | 0x80);
                step >>= 7;
            }
            out.push(step as u8);
        }
        out
    }

    /// Reads the stored form; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (floor, mut rest) = rest.split_first_chunk::<8>()?;
        if format != FORMAT {
            return None;
        }
        let mut cursor = Self::at(Seq::from_be_bytes(*floor));
        let mut last = cursor.floor;
        while !rest.is_empty() {
            let mut step = 0u64;
            let mut shift = 0;
            loop {
                let (&byte, tail) = rest.split_first()?;
                rest = tail;
                step |= u64::from(byte & 0x7f).checked_shl(shift)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            last = last.checked_add(step)?;
            cursor.above.insert(last);
        }
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(start in 0u64..5, marks in proptest::collection::vec(1u64..60, 0..120)) {
            let mut cursor = Cursor::at(start);
            let mut model: BTreeSet<u64> = (1..=start).collect();
            for seq in marks {
                prop_assert_eq!(cursor.mark(seq), model.insert(seq));
                let floor = (1..).take_while(|s| model.contains(s)).last().unwrap_or(0);
                prop_assert_eq!(cursor.floor(), floor);
                prop_assert_eq!(cursor.above(), model.iter().filter(|s| **s > floor).count());
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
        assert_eq!(hex::encode(cursor.encode()), "01000000000000000503a402");
    }
}
