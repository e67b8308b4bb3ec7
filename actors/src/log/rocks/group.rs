//! Turns a group of commits into one write batch, and shows it once it is written.

use rocksdb::{ColumnFamily, DB, WriteBatch};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::shared::SharedData;
use super::{DROP_FILES_FROM, RocksLog, Topic, Writer, engine, family, keys, read_error, wal};
use crate::clock::Wall;
use crate::event::Event;
use crate::log::keys::{Counters, DataId, Header, Seen, Unswept};
use crate::log::{Appended, Batch, DedupeKey, Error, Op, Receipt, Record, Seq, Str, Table, TopicId};

/// Buffers that are kept from group to group.
#[derive(Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// The size that the last batches took, so that the next one grows seldom.
    batch_bytes: usize,
}

/// A topic that the group changes: the counters as they will be.
pub(super) struct Touched {
    pub(super) topic: Arc<Topic>,
    pub(super) counters: Counters,
    /// The place of each record appended by this group, for a trim in the same group.
    fresh: Vec<Header>,
    /// The sequence before this group's first append.
    next_before: Seq,
    /// The bytes that trims of this group free.
    pub(super) freed: u64,
    /// The group removes it.
    pub(super) removed: bool,
}

impl Touched {
    /// Whether so much goes at once that its files do, too.
    fn drops_files(&self) -> bool {
        self.freed >= DROP_FILES_FROM
    }
}

/// A group while its batch is built.
pub(super) struct Group<'a> {
    pub(super) log: &'a RocksLog,
    pub(super) db: &'a DB,
    pub(super) cf: Families<'a>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) batch: WriteBatch,
    now: Wall,
    pub(super) touched: Vec<Touched>,
    seen: HashMap<Vec<u8>, Seen>,
    /// Shared data that the group removes.
    pub(super) released: HashSet<DataId>,
    /// How many trimmed records were looked at for it.
    pub(super) looked_at: u64,
    /// Trimmed records that nobody has looked at.
    pub(super) unswept: Vec<Unswept>,
}

pub(super) struct Families<'a> {
    pub(super) state: &'a ColumnFamily,
    pub(super) log: &'a ColumnFamily,
    dedupe: &'a ColumnFamily,
}

impl<'a> Families<'a> {
    fn of(db: &'a DB) -> Result<Self, Error> {
        Ok(Self {
            state: family(db, keys::CF_STATE)?,
            log: family(db, keys::CF_LOG)?,
            dedupe: family(db, keys::CF_DEDUPE)?,
        })
    }
}

impl RocksLog {
    /// One write batch and, when `synced`, one sync for all commits of the group. The counters in memory change only
    /// when it succeeded.
    pub(super) fn commit_group(
        &self,
        writer: &mut Writer,
        commits: Vec<Batch>,
        synced: bool,
    ) -> Result<Vec<Receipt>, Error> {
        let db = self.db();
        let db = engine(&db)?;
        if commits.is_empty() {
            if synced && writer.synced < writer.group {
                self.sync(writer, db)?;
            }
            return Ok(Vec::new());
        }
        let mut scratch = std::mem::take(&mut writer.scratch);
        let number = writer.group + 1;
        let marker = writer.chain.marker(number, writer.synced);
        let mut group = Group::begin(self, db, &mut scratch, marker)?;
        let mut shared = SharedData::of(&commits, number);
        let receipts = commits.into_iter().map(|c| group.add(c, &mut shared)).collect::<Result<Vec<_>, _>>();
        let done = receipts.and_then(|receipts| {
            let saved = group.put_shared(shared);
            let unswept = std::mem::take(&mut group.unswept);
            let (batch, mut touched) = group.finish(number);
            // Files that hold what is to be swept must stay until then.
            let is_swept = |t: &Touched| !writer.unswept.iter().chain(&unswept).any(|left| left.topic == t.topic.id);
            for t in touched.iter_mut().filter(|t| t.freed > 0 && !is_swept(t)) {
                *writer.held_back.entry(t.topic.id).or_default() += std::mem::take(&mut t.freed);
            }
            // Files go for good at once, so what says that they may must not be lost after them.
            let synced = synced || touched.iter().any(Touched::drops_files);
            self.write(writer, db, batch, synced)?;
            self.shared_bytes.fetch_add(saved, Ordering::Relaxed);
            writer.unswept.extend(unswept);
            Ok((receipts, touched))
        });
        writer.scratch = scratch;
        let (receipts, touched) = done?;
        self.tell_unswept(writer);
        for t in &touched {
            // One that was removed is shown as empty to whoever reads it still.
            t.topic.show(t.counters);
        }
        self.forget_removed(&touched);
        writer.in_doubt = false;
        touched.iter().filter(|t| t.drops_files()).for_each(|t| self.drop_files(db, t.topic.id, t.counters.first));
        Ok(receipts)
    }

    /// Gives a new topic its number, durably.
    pub(super) fn create_topic(&self, writer: &mut Writer, name: &str) -> Result<TopicId, Error> {
        let db = self.db();
        let db = engine(&db)?;
        let highest = self.topics.read().unwrap_or_else(PoisonError::into_inner).highest();
        let id = TopicId(highest + 1);
        let mut scratch = Scratch::default();
        let number = writer.group + 1;
        let mut group = Group::begin(self, db, &mut scratch, writer.chain.marker(number, writer.synced))?;
        group.batch.put_cf(group.cf.state, keys::topic_name(name), id.0.to_be_bytes());
        group.batch.put_cf(group.cf.state, keys::counters(id), Counters::EMPTY.encode(id));
        let (batch, _) = group.finish(number);
        self.write(writer, db, batch, true)?;
        let name: Str = name.into();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.by_name.insert(name.clone(), id);
        topics.by_id.insert(id.0, Topic::new(id, name, Counters::EMPTY));
        writer.in_doubt = false;
        Ok(id)
    }

    fn forget_removed(&self, touched: &[Touched]) {
        for topic in touched.iter().filter(|t| t.removed).map(|t| &t.topic) {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            topics.by_name.remove(&topic.name);
            topics.by_id.remove(&topic.id.0);
            topics.removed = topics.removed.max(topic.id.0);
        }
    }

    /// After a large trim: drops the files that hold nothing but what is below a topic's first record. A failure only delays it.
    pub(super) fn drop_files(&self, db: &DB, topic: TopicId, first: Seq) {
        let Ok(log) = family(db, keys::CF_LOG) else { return };
        if let Err(e) = db.delete_file_in_range_cf(log, keys::record(topic, 0), keys::record(topic, first - 1)) {
            tracing::warn!(error = %e, topic = topic.0, "dropping trimmed files failed; compaction will");
        }
    }
}

impl<'a> Group<'a> {
    pub(super) fn begin(
        log: &'a RocksLog,
        db: &'a DB,
        scratch: &'a mut Scratch,
        marker: wal::Marked,
    ) -> Result<Self, Error> {
        let now = Wall::now();
        log.now.store(now.0, Ordering::Relaxed);
        let mut batch = WriteBatch::with_capacity_bytes(scratch.batch_bytes + scratch.batch_bytes / 4);
        // First of all: `wal.rs` finds it there.
        batch.put_log_data(marker);
        let cf = Families::of(db)?;
        let (touched, seen, released, unswept) = (Vec::new(), HashMap::new(), HashSet::new(), Vec::new());
        Ok(Self { log, db, cf, scratch, batch, now, touched, seen, released, looked_at: 0, unswept })
    }

    fn add(&mut self, commit: Batch, shared: &mut SharedData) -> Result<Receipt, Error> {
        let mut receipt = Receipt::default();
        for op in commit.ops {
            match op {
                Op::Append { topic, event, dedupe } => {
                    receipt.appended.push(self.append(topic, *event, dedupe, shared)?);
                }
                Op::Put { table, key, value } => {
                    keys::table(&mut self.scratch.key, table, &key);
                    self.batch.put_cf(self.cf.state, &self.scratch.key, value);
                }
                Op::Delete { table, key } => {
                    keys::table(&mut self.scratch.key, table, &key);
                    self.batch.delete_cf(self.cf.state, &self.scratch.key);
                }
                Op::Trim { topic, below } => self.trim(topic, below)?,
                Op::Remove { topic, next, keys } => receipt.removed |= self.remove(topic, next, &keys)?,
            }
        }
        Ok(receipt)
    }

    fn append(
        &mut self,
        topic: TopicId,
        event: Event,
        dedupe: Option<DedupeKey>,
        shared: &mut SharedData,
    ) -> Result<Appended, Error> {
        let at = self.touch(topic)?;
        let dedupe = dedupe.map(|d| (keys::seen(&d), d.window));
        if let Some((key, _)) = &dedupe
            && let Some(first) = self.known(key)?
        {
            let topic = self.log.topic_of(first.topic)?.name.clone();
            return Ok(Appended::Duplicate { topic, seq: first.seq, event_id: first.event_id });
        }
        let t = &mut self.touched[at];
        // Stored times never go back within a topic, whatever the wall clock does: `seq_at` searches by halves.
        let stored = self.now.max(t.counters.newest);
        let header = Header { stored, offset: t.counters.total };
        let seq = t.counters.next;
        let elsewhere = shared.hold(&event, topic, seq);
        keys::encode_record(&mut self.scratch.value, topic, seq, header, &event, elsewhere);
        self.batch.put_cf(self.cf.log, keys::record(topic, seq), &self.scratch.value);
        t.counters.next += 1;
        t.counters.total += keys::size_of(&self.scratch.value);
        t.counters.newest = stored;
        if elsewhere.is_some() {
            t.counters.last_shared = seq;
        }
        if t.counters.first == seq {
            t.counters.oldest = stored;
        }
        t.fresh.push(header);
        if let Some((key, window)) = dedupe {
            let seen = Seen { expires: self.now.plus(window), topic, seq, event_id: event.id.clone() };
            self.batch.put_cf(self.cf.dedupe, &key, seen.encode());
            self.seen.insert(key, seen);
        }
        let topic_name = self.touched[at].topic.name.clone();
        Ok(Appended::Stored(Arc::new(Record::new(topic_name, topic, seq, stored, event))))
    }

    /// Where an event with this dedupe key went, when it is remembered still. What went to a topic that was removed is
    /// nowhere, and may come again.
    fn known(&self, key: &[u8]) -> Result<Option<Seen>, Error> {
        if let Some(seen) = self.seen.get(key) {
            return Ok(Some(seen.clone()));
        }
        let stored = self.db.get_pinned_cf(self.cf.dedupe, key).map_err(|e| read_error(&e))?;
        let seen = stored.and_then(|value| Seen::decode(&value));
        Ok(seen.filter(|seen| seen.expires >= self.now && self.log.topic_of(seen.topic).is_ok()))
    }

    fn trim(&mut self, topic: TopicId, below: Seq) -> Result<(), Error> {
        let at = self.touch(topic)?;
        let t = &self.touched[at];
        let (first, below) = (t.counters.first, below.min(t.counters.next));
        if below <= first {
            return Ok(());
        }
        let kept = if below == t.counters.next {
            // The topic becomes empty.
            Header { stored: Wall(0), offset: t.counters.total }
        } else if below >= t.next_before {
            t.fresh[usize::try_from(below - t.next_before).unwrap_or(usize::MAX)]
        } else {
            match self.log.stored_header(self.db, &t.topic, below) {
                Ok(header) => header,
                // Where the first that stays cannot be read (it is damaged, say), what is before it stays longer: that must not spoil the
                // group, which is others' as well.
                Err(error) => {
                    if t.topic.untrimmed.swap(below, Ordering::Relaxed) != below {
                        tracing::warn!(topic = %t.topic.name, below, %error, "nothing is removed up to a record that cannot be read");
                    }
                    return Ok(());
                }
            }
        };
        let t = &mut self.touched[at];
        t.freed += kept.offset.saturating_sub(t.counters.trimmed);
        t.counters.first = below;
        t.counters.trimmed = kept.offset;
        t.counters.oldest = kept.stored;
        self.discard(at, first, below);
        Ok(())
    }

    /// `false` when the topic has gone on beyond `next`.
    fn remove(&mut self, topic: TopicId, next: Option<Seq>, entries: &[(Table, Vec<u8>)]) -> Result<bool, Error> {
        let at = self.touch(topic)?;
        let counters = self.touched[at].counters;
        if next.is_some_and(|next| next != counters.next) {
            return Ok(false);
        }
        for (table, key) in entries {
            keys::table(&mut self.scratch.key, *table, key);
            self.batch.delete_cf(self.cf.state, &self.scratch.key);
        }
        self.batch.delete_cf(self.cf.state, keys::topic_name(&self.touched[at].topic.name));
        self.batch.delete_cf(self.cf.state, keys::counters(topic));
        let removed = self.log.topics.read().unwrap_or_else(PoisonError::into_inner).removed.max(topic.0);
        self.batch.put_cf(self.cf.state, keys::KEY_REMOVED, removed.to_be_bytes());
        let t = &mut self.touched[at];
        t.removed = true;
        t.freed += counters.total.saturating_sub(counters.trimmed);
        t.counters = Counters { first: counters.next, trimmed: counters.total, ..counters };
        self.discard(at, counters.first, counters.next);
        Ok(true)
    }

    /// The place of a topic in `touched`.
    fn touch(&mut self, id: TopicId) -> Result<usize, Error> {
        // A group has few topics, and mostly the one of the append before.
        if let Some(at) = self.touched.iter().rposition(|t| t.topic.id == id) {
            return if self.touched[at].removed { Err(Error::NoTopic(id.0)) } else { Ok(at) };
        }
        let topic = self.log.topic_of(id)?;
        let counters = topic.counters();
        let (fresh, next_before) = (Vec::new(), counters.next);
        self.touched.push(Touched { topic, counters, fresh, next_before, freed: 0, removed: false });
        Ok(self.touched.len() - 1)
    }

    /// Adds what every group ends with: the counters of its topics and its number.
    pub(super) fn finish(mut self, number: u64) -> (WriteBatch, Vec<Touched>) {
        for t in self.touched.iter().filter(|t| !t.removed) {
            let id = t.topic.id;
            self.batch.put_cf(self.cf.state, keys::counters(id), t.counters.encode(id));
        }
        self.batch.put_cf(self.cf.state, keys::KEY_GROUP, number.to_be_bytes());
        self.scratch.batch_bytes = self.batch.size_in_bytes();
        (self.batch, self.touched)
    }
}
