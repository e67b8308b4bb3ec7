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
use super::read::Wrong;
use super::{DROP_FILES_FROM, Error, RocksLog, Writer, engine, family, flush, keys, lock, open_error};
use crate::clock::Tick;
use crate::event::Event;
use crate::log::keys::{DataId, Shared, Unswept};
use crate::log::{Batch, Op, Seq, TopicId};

/// Data shorter than this is written with each record: what names it takes about a hundred bytes for two records, and
/// reading it is a step of its own.
const SHARED_FROM: usize = 512;
/// How many trimmed records are looked at in one write; what is more is left for [`RocksLog::sweep_piece`].
pub(super) const LOOKED_AT: u64 = 256;
/// No more is begun after so many bytes have been read, and what is larger altogether is left at once. Records that do not share have their data,
/// which is read with them.
const LOOKED_AT_BYTES: u64 = 4 << 20;
/// The most that a sweep looks at in one write: the more there is, the more at once, so that it does not fall behind what is trimmed.
const SWEPT: u64 = 4096;

/// Groups so close to each other mostly have none that shares data between them.
const NEAR: u64 = 16;

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

    /// Removes records of a topic (its place in `touched`) whose counters say so already, and what only they held. When they are too many
    /// to be looked at in one group, they are left to be swept.
    pub(super) fn discard(&mut self, at: usize, from: Seq, below: Seq) {
        let t = &self.touched[at];
        let (topic, last_shared, large) = (t.topic.id, t.counters.last_shared, t.freed > LOOKED_AT_BYTES);
        let look_below = below.min(last_shared.saturating_add(1)).max(from);
        let looks = look_below - from;
        let mut removed = from;
        if looks > LOOKED_AT - self.looked_at || (looks > 0 && large) {
            let unswept = Unswept { topic, from, below: look_below };
            self.batch.put_cf(self.cf.state, unswept.key(), unswept.value());
            self.unswept.push(unswept);
            removed = look_below;
        } else if looks > 0 {
            self.looked_at += looks;
            self.release(topic, from, look_below);
        }
        if removed < below {
            self.batch.delete_range_cf(self.cf.log, keys::record(topic, removed), keys::record(topic, below));
        }
    }

    /// Removes the data that only these records held, until it has read enough; gives the first that it did not look at. What cannot be read
    /// stays for ever: that must not spoil the group, which is others' as well.
    fn release(&mut self, topic: TopicId, from: Seq, below: Seq) -> Seq {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::record(topic, below));
        options.fill_cache(false);
        let mut records = self.db.raw_iterator_cf_opt(self.cf.log, options);
        records.seek(keys::record(topic, from));
        let mut holders = Finder::new(self.db.raw_iterator_cf(self.cf.log));
        let (mut firsts, mut read) = (HashMap::new(), 0);
        while let Some((key, value)) = records.item() {
            let seq = keys::seq_of(key);
            if let Some(seq) = seq.filter(|_| read >= LOOKED_AT_BYTES) {
                return seq;
            }
            read += value.len() as u64;
            let whole = seq.is_some_and(|seq| keys::check_record(topic, seq, value).is_ok());
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
        below
    }

    /// Whether data is there and no record holds it any more. `firsts` is what was looked up before.
    fn is_free(&self, id: DataId, holders: &mut Finder<'_>, firsts: &mut HashMap<TopicId, Seq>) -> bool {
        let stored = match holders.find(id, DataId::holders) {
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
        let mut scratch = std::mem::take(&mut writer.scratch);
        let number = writer.group + 1;
        let begun = Group::begin(self, db, &mut scratch, writer.chain.marker(number, writer.synced));
        let written = begun.and_then(|mut group| {
            // Never what its topic has, whatever is stored here.
            let ends = below.min(group.first_of(topic)).max(from);
            let until = group.release(topic, from, ends.min(from.saturating_add((all / 16).clamp(LOOKED_AT, SWEPT))));
            if from < until {
                group.batch.delete_range_cf(group.cf.log, keys::record(topic, from), keys::record(topic, until));
            }
            group.batch.delete_cf(group.cf.state, Unswept { topic, from, below }.key());
            let rest = (until < ends).then_some(Unswept { topic, from: until, below });
            if let Some(rest) = rest {
                group.batch.put_cf(group.cf.state, rest.key(), rest.value());
            }
            let (batch, _) = group.finish(number);
            self.write(&mut writer, db, batch, false).map(|()| rest)
        });
        writer.scratch = scratch;
        let rest = written?;
        writer.unswept.pop_front();
        if let Some(rest) = rest {
            writer.unswept.push_front(rest);
        }
        writer.in_doubt = false;
        self.tell_unswept(&writer);
        self.give_back(&mut writer, db, topic)?;
        Ok(!writer.unswept.is_empty())
    }

    /// Gives the space of what was swept back where that is much, or where space is short.
    fn give_back(&self, writer: &mut Writer, db: &DB, topic: TopicId) -> Result<(), Error> {
        if !writer.unswept.iter().any(|unswept| unswept.topic == topic) {
            let first = self.topic_of(topic).map(|topic| topic.counters().first);
            let large = writer.held_back.get(&topic).is_some_and(|bytes| *bytes >= DROP_FILES_FROM);
            if large || first.is_err() {
                writer.held_back.remove(&topic);
            }
            if large {
                // Files go for good at once, so what says that they may must not be lost after them.
                self.sync(writer, db)?;
                self.drop_files(db, topic, first.unwrap_or(Seq::MAX));
            }
        }
        if writer.unswept.is_empty() && self.space.low(Tick::now()) {
            // Shared data goes when the tables with it are compacted with one that says so, which no other write may make full.
            if let Err(error) = flush(db, false) {
                tracing::warn!(%error, "giving space back waits for further writes");
            }
        }
        Ok(())
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

/// Finds what is stored of shared data, one after the other. Mostly the next lies beside the last: a step, and no search.
struct Finder<'a> {
    all: DBRawIterator<'a>,
    last: Option<DataId>,
}

impl<'a> Finder<'a> {
    fn new(all: DBRawIterator<'a>) -> Self {
        Self { all, last: None }
    }

    fn find(&mut self, id: DataId, key: fn(DataId) -> [u8; 13]) -> Result<Option<&[u8]>, rocksdb::Error> {
        let key = key(id);
        // A step to what is not wanted may read a large value.
        let follows = |last: DataId| match id.group.checked_sub(last.group) {
            Some(0) => Some(id.index) == last.index.checked_add(1),
            Some(groups) => groups < NEAR && id.index == 0,
            None => false,
        };
        if self.last.replace(id).is_some_and(follows) && self.all.valid() {
            self.all.next();
        }
        if self.all.key() != Some(&key) {
            self.all.seek(key);
        }
        if self.all.key() != Some(&key) {
            return self.all.status().map(|()| None);
        }
        Ok(self.all.value())
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
    pub(super) fn find(&mut self, shared: Shared) -> Result<Bytes, Wrong> {
        fail::fail_point!("log-data-unreadable", |_| Err(Wrong::Unread("injected: Too many open files".to_owned())));
        let (snapshot, log) = (self.snapshot, self.log);
        let all = self.all.get_or_insert_with(|| {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            Finder::new(snapshot.raw_iterator_cf_opt(log, options))
        });
        let damaged = |what: &str| Wrong::Damaged(what.to_owned());
        let value = all.find(shared.id, DataId::data)?.ok_or_else(|| damaged("its data is missing"))?;
        keys::decode_data(shared, &Bytes::copy_from_slice(value)).map_err(damaged)
    }
}
