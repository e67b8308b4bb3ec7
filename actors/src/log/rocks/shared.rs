//! Data that several records of a group hold, such as what one trigger sends to many targets: written once, read by all
//! of them, and gone with the last of them (docs/adr/0011).
//!
//! Nothing counts the records that are left: whether one is there is what the counters of its topic say, in the same write
//! that trims it. So there is nothing to go wrong when a write is lost, and nothing to be written where a record goes that is not
//! the last.

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;

use super::group::Group;
use super::{Error, RocksLog, Writer, engine, family, keys, lock, open_error};
use crate::event::Event;
use crate::log::keys::{DataId, Shared, Unswept};
use crate::log::{Batch, Op, Seq, TopicId};

/// Data shorter than this is written with each record: what names it takes about a hundred bytes for two records, and
/// reading it is a step of its own.
const SHARED_FROM: usize = 512;
/// How many trimmed records are looked at in one write, about a third of a millisecond; what is more is left for
/// [`RocksLog::sweep_piece`].
pub(super) const LOOKED_AT: u64 = 256;
/// The most that a sweep looks at in one write: the more there is, the more at once, so that it does not fall behind what is trimmed.
const SWEPT: u64 = 4096;

/// Where data is in memory, and its length.
type Address = (usize, usize);

fn address(event: &Event) -> Address {
    (event.data.as_ptr().addr(), event.data.len())
}

/// The data that more than one event of a group has, and the records that they became.
pub(super) struct SharedData {
    /// The number of the group.
    group: u64,
    /// In the order of the addresses.
    all: Vec<(Address, Holders)>,
    /// How many have holders.
    held: u32,
}

/// What became of the events that have the data.
#[derive(Default)]
struct Holders {
    /// Given with the first of them, so that data lies in the order of the records.
    index: u32,
    data: Bytes,
    at: Vec<(TopicId, Seq)>,
}

impl SharedData {
    /// What the events of a group share. All of them are alive until the group is written, so what has the same address is the
    /// same.
    pub(super) fn of(commits: &[Batch], group: u64) -> Self {
        let appended = |op: &Op| match op {
            Op::Append { event, .. } if event.data.len() >= SHARED_FROM && u32::try_from(event.data.len()).is_ok() => {
                Some(address(event))
            }
            _ => None,
        };
        let mut found: Vec<Address> = commits.iter().flat_map(|commit| &commit.ops).filter_map(appended).collect();
        found.sort_unstable();
        let of_many = found.chunk_by(Address::eq).filter(|same| same.len() > 1);
        Self { group, all: of_many.map(|same| (same[0], Holders::default())).collect(), held: 0 }
    }

    /// Notes that an event becomes a record, which holds what is answered in place of its data.
    pub(super) fn hold(&mut self, event: &Event, topic: TopicId, seq: Seq) -> Option<Shared> {
        let at = self.all.binary_search_by_key(&address(event), |(address, _)| *address).ok()?;
        let holders = &mut self.all[at].1;
        if holders.at.is_empty() {
            (holders.index, holders.data) = (self.held, event.data.clone());
            self.held += 1;
        }
        holders.at.push((topic, seq));
        let id = DataId { group: self.group, index: holders.index };
        Some(Shared { id, len: u32::try_from(event.data.len()).ok()? })
    }
}

impl Group<'_> {
    /// Writes what the group's records share, but for what the group itself has trimmed of all of them. Tells the bytes that were not
    /// written for it.
    pub(super) fn put_shared(&mut self, shared: SharedData) -> u64 {
        let mut saved = 0;
        for (_, Holders { index, data, at }) in shared.all {
            let id = DataId { group: shared.group, index };
            if !at.iter().any(|(topic, seq)| self.holds(*topic, *seq)) {
                continue;
            }
            keys::encode_data(&mut self.scratch.value, id, &data);
            self.batch.put_cf(self.cf.log, id.data(), &self.scratch.value);
            keys::encode_holders(&mut self.scratch.value, id, &at);
            self.batch.put_cf(self.cf.log, id.holders(), &self.scratch.value);
            saved += data.len() as u64 * (at.len() as u64 - 1);
        }
        saved
    }

    /// Removes records of a topic whose counters say so already, and what only they held. When they are too many to be looked at in
    /// one group, they are left to be swept.
    pub(super) fn discard(&mut self, topic: TopicId, from: Seq, below: Seq, last_shared: Seq) {
        let look_below = below.min(last_shared.saturating_add(1));
        let looks = look_below.saturating_sub(from);
        if looks > LOOKED_AT - self.looked_at {
            let unswept = Unswept { topic, from, below };
            self.batch.put_cf(self.cf.state, unswept.key(), unswept.value());
            return self.unswept.push(unswept);
        }
        self.looked_at += looks;
        if looks > 0 {
            self.release(topic, from, look_below);
        }
        self.batch.delete_range_cf(self.cf.log, keys::record(topic, from), keys::record(topic, below));
    }

    /// Removes the data that only these records held. What cannot be read stays for ever: that must not spoil the group, which is
    /// others' as well.
    fn release(&mut self, topic: TopicId, from: Seq, below: Seq) {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::record(topic, below));
        options.fill_cache(false);
        let mut records = self.db.raw_iterator_cf_opt(self.cf.log, options);
        records.seek(keys::record(topic, from));
        let mut holders = Finder::new(self.db.raw_iterator_cf(self.cf.log));
        let mut firsts = HashMap::new();
        while let Some((key, value)) = records.item() {
            let whole = keys::seq_of(key).is_some_and(|seq| keys::check_record(topic, seq, value).is_ok());
            if let Some(Shared { id, .. }) = keys::shared_of(value).filter(|_| whole)
                && !self.released.contains(&id)
                && self.is_free(id, &mut holders, &mut firsts)
            {
                self.released.insert(id);
                // Written once and removed once: a memtable forgets both.
                self.batch.single_delete_cf(self.cf.log, id.data());
                self.batch.single_delete_cf(self.cf.log, id.holders());
            }
            records.next();
        }
        if let Err(error) = records.status() {
            tracing::warn!(topic = topic.0, from, below, %error, "shared data of removed events may stay on the disk, since they cannot be read");
        }
    }

    /// Whether data is there and no record holds it any more. `firsts` is what was looked up before.
    fn is_free(&self, id: DataId, holders: &mut Finder<'_>, firsts: &mut HashMap<TopicId, Seq>) -> bool {
        let stored = match holders.find(id.holders()) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(?id, %error, "shared data stays on the disk, since it cannot be read who has it");
                return false;
            }
        };
        let holders = stored.and_then(|value| keys::decode_holders(id, value));
        holders.is_some_and(|mut holders| {
            !holders.any(|(topic, seq)| seq >= *firsts.entry(topic).or_insert_with(|| self.first_of(topic)))
        })
    }

    /// Whether a record that was written is there still.
    fn holds(&self, topic: TopicId, seq: Seq) -> bool {
        seq >= self.first_of(topic)
    }

    /// The first record that a topic keeps; above all of them where there is no such topic any more.
    fn first_of(&self, topic: TopicId) -> Seq {
        match self.touched.iter().find(|t| t.topic.id == topic) {
            Some(t) if t.removed => Seq::MAX,
            Some(t) => t.counters.first,
            None => self.log.topic_of(topic).map_or(Seq::MAX, |topic| topic.counters().first),
        }
    }
}

impl RocksLog {
    /// Looks at some of the records that were too many for the group that trimmed them; tells whether there are more.
    pub(super) fn sweep_piece(&self) -> Result<bool, Error> {
        let mut writer = lock(&self.writer);
        self.usable(&mut writer)?;
        let Some(&Unswept { topic, from, below }) = writer.unswept.front() else { return Ok(false) };
        let db = self.db();
        let db = engine(&db)?;
        let all: u64 = writer.unswept.iter().map(|unswept| unswept.below - unswept.from).sum();
        let until = below.min(from.saturating_add((all / 16).clamp(LOOKED_AT, SWEPT)));
        let rest = (until < below).then_some(Unswept { topic, from: until, below });
        let mut scratch = std::mem::take(&mut writer.scratch);
        let number = writer.group + 1;
        let begun = Group::begin(self, db, &mut scratch, writer.chain.marker(number, writer.synced));
        let written = begun.and_then(|mut group| {
            group.release(topic, from, until);
            group.batch.delete_range_cf(group.cf.log, keys::record(topic, from), keys::record(topic, until));
            group.batch.delete_cf(group.cf.state, Unswept { topic, from, below }.key());
            if let Some(rest) = rest {
                group.batch.put_cf(group.cf.state, rest.key(), rest.value());
            }
            let (batch, _) = group.finish(number);
            self.write(&mut writer, db, batch, false)
        });
        writer.scratch = scratch;
        written?;
        writer.unswept.pop_front();
        if let Some(rest) = rest {
            writer.unswept.push_front(rest);
        }
        writer.in_doubt = false;
        self.tell_unswept(&writer);
        Ok(!writer.unswept.is_empty())
    }

    /// Shows to all threads whether something is to be swept.
    pub(super) fn tell_unswept(&self, writer: &Writer) {
        self.unswept.store(!writer.unswept.is_empty(), Ordering::Release);
    }
}

/// What an earlier process left to be swept.
pub(super) fn load_unswept(db: &DB) -> Result<VecDeque<Unswept>, Error> {
    let mut all = VecDeque::new();
    let mut stored = db.raw_iterator_cf(family(db, keys::CF_STATE)?);
    stored.seek(keys::UNSWEPT);
    while let Some((key, value)) = stored.item().filter(|(key, _)| key.starts_with(&keys::UNSWEPT)) {
        // One that is damaged is only disk space.
        all.extend(Unswept::decode(key, value).filter(|unswept| unswept.from < unswept.below));
        stored.next();
    }
    stored.status().map_err(|e| open_error(&e, db.path()))?;
    Ok(all)
}

/// Finds values one after the other, whose keys lie beside each other mostly: a step each, and no search.
struct Finder<'a>(DBRawIterator<'a>);

impl<'a> Finder<'a> {
    fn new(all: DBRawIterator<'a>) -> Self {
        Self(all)
    }

    fn find(&mut self, key: [u8; 13]) -> Result<Option<&[u8]>, rocksdb::Error> {
        if self.0.valid() {
            self.0.next();
        }
        if self.0.key() != Some(&key) {
            self.0.seek(key);
        }
        if self.0.key() != Some(&key) {
            return self.0.status().map(|()| None);
        }
        Ok(self.0.value())
    }
}

/// Finds the data of records that are read one after the other, as they were when the snapshot was taken.
pub(super) struct DataOf<'a> {
    snapshot: &'a Snapshot<'a>,
    log: &'a ColumnFamily,
    /// Made for the first record that does not have its data.
    all: Option<Finder<'a>>,
}

impl<'a> DataOf<'a> {
    pub(super) fn new(snapshot: &'a Snapshot<'a>, log: &'a ColumnFamily) -> Self {
        Self { snapshot, log, all: None }
    }

    /// The data, or what is wrong with it.
    pub(super) fn find(&mut self, shared: Shared) -> Result<Bytes, String> {
        let (snapshot, log) = (self.snapshot, self.log);
        let all = self.all.get_or_insert_with(|| {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            Finder::new(snapshot.raw_iterator_cf_opt(log, options))
        });
        let value = all.find(shared.id.data()).map_err(|e| e.to_string())?.ok_or("its data is missing")?;
        keys::decode_data(shared, &Bytes::copy_from_slice(value)).map_err(Into::into)
    }
}
