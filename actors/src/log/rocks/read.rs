//! Reading: records, tables, and what is loaded at start.

use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteOptions};
use std::collections::VecDeque;
use std::sync::Arc;

use super::shared::DataOf;
use super::{RocksLog, Topic, Topics, engine, family, keys, open_error, read_error};
use crate::clock::Wall;
use crate::event::Event;
use crate::log::keys::{Counters, Header, Unswept};
use crate::log::{Entries, Error, Record, Seq, Str, Table, TopicId};

impl RocksLog {
    pub(super) fn read_records(
        &self,
        id: TopicId,
        from: Seq,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Record>>, Error> {
        fail::fail_point!("log-unreadable", |_| Err(Error::Unreadable("injected: Too many open files".into())));
        let topic = self.topic_of(id)?;
        let mut from = from;
        loop {
            match self.read_from(&topic, from, max_records, max_bytes)? {
                Ok(records) => return Ok(records),
                Err(first) => from = first,
            }
        }
    }

    /// The records, or where the topic begins by now, when what was to be read has been trimmed meanwhile.
    fn read_from(
        &self,
        topic: &Topic,
        from: Seq,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Result<Vec<Arc<Record>>, Seq>, Error> {
        let Counters { first, next, .. } = topic.counters();
        let (id, from) = (topic.id, from.max(first));
        let mut records = Vec::new();
        if from >= next || max_records == 0 {
            return Ok(Ok(records));
        }
        let db = self.db();
        let db = engine(&db)?;
        let (log, snapshot) = (family(db, keys::CF_LOG)?, db.snapshot());
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::record(id, next));
        // A reader that catches up passes by once: it must not push everything else out of the cache.
        options.fill_cache(false);
        let mut iter = snapshot.raw_iterator_cf_opt(log, options);
        let mut data = DataOf::new(&snapshot, log);
        iter.seek(keys::record(id, from));
        let (mut expected, mut bytes) = (from, 0);
        while expected < next && records.len() < max_records {
            let Some((key, value)) = iter.item() else { break };
            if keys::seq_of(key) != Some(expected) {
                break;
            }
            let size = usize::try_from(keys::size_of(value)).unwrap_or(usize::MAX);
            if !records.is_empty() && size > max_bytes.saturating_sub(bytes) {
                return Ok(Ok(records));
            }
            bytes = bytes.saturating_add(size);
            let before = records.last().map(|record: &Arc<Record>| &record.event);
            match stored_record(&topic.name, id, expected, value, before, &mut data) {
                Ok(record) => records.push(Arc::new(record)),
                // What is before it is good; whoever goes on reads the error.
                Err(_) if !records.is_empty() => return Ok(Ok(records)),
                Err(wrong) => return trimmed(db, topic, expected)?.map(Err).ok_or_else(|| wrong.of(topic, expected)),
            }
            expected += 1;
            iter.next();
        }
        match iter.status() {
            Ok(()) => {}
            Err(_) if !records.is_empty() => return Ok(Ok(records)),
            Err(e) => return Err(Wrong::from(e).of(topic, expected)),
        }
        if expected == next || !records.is_empty() {
            return Ok(Ok(records));
        }
        trimmed(db, topic, expected)?.map(Err).ok_or_else(|| corrupt(topic, expected, "missing"))
    }

    pub(super) fn scan_table(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Entries, Error> {
        let db = self.db();
        let db = engine(&db)?;
        let mut from = Vec::with_capacity(1 + prefix.len());
        keys::table(&mut from, table, prefix);
        let mut options = ReadOptions::default();
        if let Some(end) = keys::after_prefix(&from) {
            options.set_iterate_upper_bound(end);
        }
        db.iterator_cf_opt(family(db, keys::CF_STATE)?, options, IteratorMode::From(&from, Direction::Forward))
            .take(limit)
            .map(|item| item.map(|(key, value)| (key[1..].to_vec(), value.to_vec())).map_err(|e| read_error(&e)))
            .collect()
    }

    /// The first kept sequence whose record satisfies a condition that no later record loses; `next` when none does.
    pub(super) fn first_seq_where(
        &self,
        id: TopicId,
        holds: impl Fn(&Counters, &Header) -> bool,
    ) -> Result<Seq, Error> {
        let topic = self.topic_of(id)?;
        let counters = topic.counters();
        let db = self.db();
        let db = engine(&db)?;
        let (mut low, mut high) = (counters.first, counters.next);
        while low < high {
            let middle = low + (high - low) / 2;
            let header = match self.stored_header(db, &topic, middle) {
                Ok(header) => header,
                Err(e) => match trimmed(db, &topic, middle)? {
                    // The answer is above.
                    Some(first) => {
                        low = first.min(high);
                        continue;
                    }
                    None => return Err(e),
                },
            };
            if holds(&counters, &header) { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// The fixed part of one stored record.
    pub(super) fn stored_header(&self, db: &DB, topic: &Topic, seq: Seq) -> Result<Header, Error> {
        stored_header(db, topic, seq).map(|(header, _)| header)
    }
}

/// What is wrong with a record.
pub(super) enum Wrong {
    /// It, or its data, does not match its checksum or is missing: trying again cannot help.
    Damaged(String),
    /// It could not be read now.
    Unread(String),
}

impl From<rocksdb::Error> for Wrong {
    fn from(error: rocksdb::Error) -> Self {
        if error.kind() == rocksdb::ErrorKind::Corruption {
            Self::Damaged(error.into())
        } else {
            Self::Unread(error.into())
        }
    }
}

impl Wrong {
    fn of(&self, topic: &Topic, seq: Seq) -> Error {
        match self {
            Self::Damaged(what) => corrupt(topic, seq, what),
            Self::Unread(why) => Error::Unreadable(why.as_str().into()),
        }
    }
}

/// Where a topic begins, when that is above this record: a trim, or a removal of the topic, has removed it since the counters were read. It may
/// be written and not shown yet, so what is stored counts.
fn trimmed(db: &DB, topic: &Topic, seq: Seq) -> Result<Option<Seq>, Error> {
    let stored = db.get_cf(family(db, keys::CF_STATE)?, keys::counters(topic.id)).map_err(|e| read_error(&e))?;
    let first =
        stored.map_or(Some(Seq::MAX), |value| Counters::decode(topic.id, &value).map(|counters| counters.first));
    Ok(first.max(Some(topic.counters().first)).filter(|first| *first > seq))
}

/// The fixed part and what the record counts for.
fn stored_header(db: &DB, topic: &Topic, seq: Seq) -> Result<(Header, u64), Error> {
    let value = db
        .get_pinned_cf(family(db, keys::CF_LOG)?, keys::record(topic.id, seq))
        .map_err(|e| Wrong::from(e).of(topic, seq))?
        .ok_or_else(|| corrupt(topic, seq, "missing"))?;
    let header = keys::check_record(topic.id, seq, &value).map_err(|what| corrupt(topic, seq, what))?;
    Ok((header, keys::size_of(&value)))
}

fn stored_record(
    topic: &Str,
    id: TopicId,
    seq: Seq,
    value: &[u8],
    before: Option<&Event>,
    data: &mut DataOf<'_>,
) -> Result<Record, Wrong> {
    if is_to_be_damaged(topic, seq) {
        return Err(Wrong::Damaged("injected".to_owned()));
    }
    let value = Bytes::copy_from_slice(value);
    let (mut record, elsewhere) = keys::decode_record(topic, id, seq, &value, before).map_err(Wrong::Damaged)?;
    if let Some(shared) = elsewhere {
        record.event.data = data.find(shared)?;
    }
    Ok(record)
}

/// For tests: of the topic `in`, the record of a number.
fn is_to_be_damaged(topic: &str, seq: Seq) -> bool {
    fail::fail_point!("log-damaged-in", |n| topic == "in" && n.and_then(|n| n.parse().ok()) == Some(seq));
    // Not used otherwise.
    let _ = (topic, seq);
    false
}

fn corrupt(topic: &Topic, seq: Seq, what: &str) -> Error {
    Error::Corrupt { topic: topic.name.clone(), seq, what: what.into() }
}

/// Reads names and counters of all topics, and checks that the counters agree with the first and last record.
/// With `repair` (a person accepted a loss) the counters follow the records instead.
///
/// `unswept` is what is left of each topic below its first record: no record of it any more.
pub(super) fn load_topics(db: &DB, unswept: &VecDeque<Unswept>, repair: bool) -> Result<Topics, Error> {
    let state = family(db, keys::CF_STATE)?;
    let wrong = |e: rocksdb::Error| open_error(&e, db.path());
    let mut topics = Topics::default();
    for item in db.iterator_cf(state, IteratorMode::From(&keys::TOPIC_NAMES, Direction::Forward)) {
        let (key, value) = item.map_err(wrong)?;
        let Some(name) = keys::name_of(&key) else { break };
        let damaged =
            |what: &str| Error::Open(format!("the {what} of topic `{name}` is damaged; restore a backup").into());
        let id = TopicId(u32::from_be_bytes(value.as_ref().try_into().map_err(|_| damaged("number"))?));
        let counters = db.get_cf(state, keys::counters(id)).map_err(wrong)?.unwrap_or_default();
        let counters = match Counters::decode(id, &counters) {
            Some(counters) => counters,
            None if repair => {
                let ends = unswept.iter().filter(|unswept| unswept.topic == id).map(|unswept| unswept.below);
                let first = ends.max().unwrap_or(1);
                Counters { first, next: first, ..Counters::EMPTY }
            }
            None => return Err(damaged("counters record")),
        };
        let name: Str = name.into();
        let topic = Topic::new(id, name.clone(), counters);
        check_ends(db, &topic, repair)?;
        topics.by_name.insert(name, id);
        topics.by_id.insert(id.0, topic);
    }
    if let Some(removed) = db.get_cf(state, keys::KEY_REMOVED).map_err(wrong)? {
        let damaged = |_| Error::Open("the highest number of a removed topic is damaged; restore a backup".into());
        topics.removed = u32::from_be_bytes(removed.as_slice().try_into().map_err(damaged)?);
    }
    Ok(topics)
}

/// The first and the last record must be where the counters say.
fn check_ends(db: &DB, topic: &Topic, repair: bool) -> Result<(), Error> {
    let counters = topic.counters();
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(keys::record(topic.id, 0));
    options.set_iterate_upper_bound(keys::record(TopicId(topic.id.0 + 1), 0));
    let mut iter = db.raw_iterator_cf_opt(family(db, keys::CF_LOG)?, options);
    iter.seek(keys::record(topic.id, counters.first));
    let first = iter.key().and_then(keys::seq_of);
    iter.seek_for_prev(keys::record(topic.id, u64::MAX));
    let last = iter.key().and_then(keys::seq_of).filter(|last| *last >= counters.first);
    iter.status().map_err(|e| open_error(&e, db.path()))?;
    let (want_first, want_last) = match counters.first == counters.next {
        true => (None, None),
        false => (Some(counters.first), Some(counters.next - 1)),
    };
    if (first, last) == (want_first, want_last) {
        return Ok(());
    }
    if !repair {
        return Err(super::loss(&format!(
            "topic `{}` should hold the records {} to {}, but holds {} to {}",
            topic.name,
            counters.first,
            counters.next.saturating_sub(1),
            first.unwrap_or(0),
            last.unwrap_or(0)
        )));
    }
    let counters = repaired(db, topic, first, last)?;
    tracing::warn!(topic = %topic.name, ?counters, "the counters of a topic were set to what is left of it");
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.put_cf_opt(family(db, keys::CF_STATE)?, keys::counters(topic.id), counters.encode(topic.id), &synced)
        .map_err(|e| open_error(&e, db.path()))?;
    topic.show(counters);
    Ok(())
}

/// Counters that follow the records. A sequence that was ever given is never given again: a subscriber's cursor may be
/// past it. So records that are missing at the end are replaced by events that say so. Only what a damaged write-ahead file
/// took along with its counters is not known here: those sequences are given again (docs/operations.md).
fn repaired(db: &DB, topic: &Topic, first: Option<Seq>, last: Option<Seq>) -> Result<Counters, Error> {
    let mut counters = topic.counters();
    // Any of them may share its data.
    counters.last_shared = counters.last_shared.max(last.unwrap_or(0));
    let (Some(first), Some(last)) = (first, last) else {
        let newest = counters.newest.max(Wall(0));
        return Ok(Counters { first: counters.next, trimmed: counters.total, newest, ..counters });
    };
    let ((oldest, _), (newest, len)) = (stored_header(db, topic, first)?, stored_header(db, topic, last)?);
    counters.total = newest.offset + len;
    counters.newest = newest.stored;
    counters.next = counters.next.max(last + 1);
    let (log, mut value) = (family(db, keys::CF_LOG)?, Vec::new());
    for seq in last + 1..counters.next {
        let header = Header { stored: counters.newest, offset: counters.total };
        keys::encode_record(
            &mut value,
            topic.id,
            seq,
            header,
            &Event::new("hexafn", "hexafn.lost", Bytes::new()),
            None,
        );
        db.put_cf(log, keys::record(topic.id, seq), &value).map_err(|e| open_error(&e, db.path()))?;
        counters.total += value.len() as u64;
    }
    Ok(Counters { first, trimmed: oldest.offset, oldest: oldest.stored, ..counters })
}
