//! The layout of every stored key and value, in one place: stored bytes are forever.
//!
//! A key begins with its kind, one byte. A kind that is no longer written stays reserved, so that an old data
//! directory is never misread. Numbers are big-endian, so keys sort as the numbers do. The golden test at the end
//! holds the bytes; a change that breaks it is a new format version (and code that reads the old one).
//!
//! | column family | kind | rest of the key | value |
//! |---|---|---|---|
//! | `default` | 0x01 | | format version, u32 |
//! | | 0x02 | | number of the last group, u64 |
//! | | 0x03 | topic name | topic number, u32 |
//! | | 0x04 | topic number u32 | [`Counters`] |
//! | | 0x05 | | highest number of a topic that was removed, u32 |
//! | | 0x06 | topic number u32, sequence u64 | an [`Unswept`] range that begins there: the sequence that it ends before, u64 |
//! | | 0x10 to 0x13 | key in the [`Table`] | as given |
//! | `log` | 0x20 | topic number u32, sequence u64 | a record: [`encode_record`] |
//! | | 0x21 | [`DataId`] | data that several records share: [`encode_data`] |
//! | | 0x22 | [`DataId`] | the records that share it: [`encode_holders`] |
//! | `dedupe` | 0x30 | length of scope u8, scope, id | [`Seen`] |
//! | | 0x31 | SHA-256 of the 0x30 key, when that is long | [`Seen`] |
//!
//! Reserved: 0x00 and 0xff (never used, so that every kind has a key range around it).

use sha2::{Digest, Sha256};

use super::{Bounds, DedupeKey, Record, Seq, Str, Table, TopicId};
use crate::clock::Wall;
use crate::event::Event;

/// The format of a data directory written by this version. 2 has cursors as runs, 3 recycled write-ahead files, 4 data that
/// records share; what is of an earlier one is read still.
pub const FORMAT: u32 = 4;

/// The column family of records.
pub const CF_LOG: &str = "log";
/// The column family of dedupe keys.
pub const CF_DEDUPE: &str = "dedupe";
/// The column family of everything else; RocksDB always has this one.
pub const CF_STATE: &str = "default";

/// Key of the format version.
pub const KEY_FORMAT: [u8; 1] = [0x01];
/// Key of the number of the last group.
pub const KEY_GROUP: [u8; 1] = [0x02];
/// Key of the highest number of a topic that was removed: it is not given again.
pub const KEY_REMOVED: [u8; 1] = [0x05];
const KIND_TOPIC_NAME: u8 = 0x03;
const KIND_COUNTERS: u8 = 0x04;
const KIND_UNSWEPT: u8 = 0x06;
const KIND_RECORD: u8 = 0x20;
const KIND_DATA: u8 = 0x21;
const KIND_HOLDERS: u8 = 0x22;
const KIND_SEEN: u8 = 0x30;
const KIND_SEEN_HASHED: u8 = 0x31;

/// A dedupe key longer than this is stored as its SHA-256: an id comes from outside, a key must stay small.
const SEEN_KEY_MAX: usize = 160;

/// The bytes before the event in a stored record: checksum 4, sequence 8, stored time 8, offset 8.
pub const RECORD_HEADER: usize = 28;

/// What stands in the place of an event's version byte where its data lies elsewhere.
const SHARED: u8 = 2;
/// The bytes of a [`Shared`] in a record: [`SHARED`], the id's 8 and 4, the length's 4.
const SHARED_LEN: usize = 17;

/// The prefix of all topic names.
pub const TOPIC_NAMES: [u8; 1] = [KIND_TOPIC_NAME];
/// The prefix of all [`Unswept`] ranges.
pub const UNSWEPT: [u8; 1] = [KIND_UNSWEPT];

/// The key of a topic's name.
pub fn topic_name(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(KIND_TOPIC_NAME);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in a [`topic_name`] key.
pub fn name_of(key: &[u8]) -> Option<&str> {
    let (kind, name) = key.split_first()?;
    if *kind == KIND_TOPIC_NAME { std::str::from_utf8(name).ok() } else { None }
}

/// The key of a topic's counters.
pub fn counters(topic: TopicId) -> [u8; 5] {
    let mut key = [KIND_COUNTERS; 5];
    key[1..].copy_from_slice(&topic.0.to_be_bytes());
    key
}

/// The key of a record.
pub fn record(topic: TopicId, seq: Seq) -> [u8; 13] {
    let mut key = [KIND_RECORD; 13];
    key[1..5].copy_from_slice(&topic.0.to_be_bytes());
    key[5..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The sequence in a [`record`] key.
pub fn seq_of(key: &[u8]) -> Option<Seq> {
    let seq: [u8; 8] = key.get(5..13)?.try_into().ok()?;
    if key.len() == 13 && key[0] == KIND_RECORD { Some(u64::from_be_bytes(seq)) } else { None }
}

/// Names data that several records share: the group that wrote it, and which of that group's. Never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataId {
    /// The number of the group.
    pub group: u64,
    /// Its place in the group.
    pub index: u32,
}

impl DataId {
    /// The key of the data.
    pub fn data(self) -> [u8; 13] {
        self.key(KIND_DATA)
    }

    /// The key of who shares it.
    pub fn holders(self) -> [u8; 13] {
        self.key(KIND_HOLDERS)
    }

    fn key(self, kind: u8) -> [u8; 13] {
        let mut key = [kind; 13];
        key[1..9].copy_from_slice(&self.group.to_be_bytes());
        key[9..].copy_from_slice(&self.index.to_be_bytes());
        key
    }
}

/// What a record holds in place of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Where the data is.
    pub id: DataId,
    /// Its bytes.
    pub len: u32,
}

/// Records that were trimmed, or removed with their topic, of which nobody has looked yet whether they were the last that
/// held their data. They are stored until then, and no reader sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unswept {
    /// The topic; it may be gone.
    pub topic: TopicId,
    /// The first of them.
    pub from: Seq,
    /// The first after them.
    pub below: Seq,
}

impl Unswept {
    /// Its key.
    pub fn key(&self) -> [u8; 13] {
        let mut key = record(self.topic, self.from);
        key[0] = KIND_UNSWEPT;
        key
    }

    /// Its value.
    pub fn value(&self) -> [u8; 8] {
        self.below.to_be_bytes()
    }

    /// Reads a key and its value; `None` when they are none of these.
    pub fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (topic, from) = key.strip_prefix(&UNSWEPT)?.split_first_chunk()?;
        Some(Self {
            topic: TopicId(u32::from_be_bytes(*topic)),
            from: u64::from_be_bytes(from.try_into().ok()?),
            below: u64::from_be_bytes(value.try_into().ok()?),
        })
    }
}

/// The first byte of a table's keys.
pub fn table_kind(table: Table) -> u8 {
    match table {
        Table::Cursor => 0x10,
        Table::Waiting => 0x11,
        Table::State => 0x12,
        Table::Kv => 0x13,
    }
}

/// The stored key of a table's key, written over `out`.
pub fn table(out: &mut Vec<u8>, table: Table, key: &[u8]) {
    out.clear();
    out.push(table_kind(table));
    out.extend_from_slice(key);
}

/// The smallest key after all keys with this prefix; `None` when there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The prefix of the keys in [`Table::State`] that say where timers stand.
pub const TIMERS: &str = "timer/";

/// The key of a timer in [`Table::State`].
pub fn timer(name: &str) -> Vec<u8> {
    format!("{TIMERS}{name}").into_bytes()
}

/// Where a timer stands: the time of its last tick, and the mark of the schedule that it belongs to.
pub fn encode_tick(last: Wall, mark: [u8; 8]) -> Vec<u8> {
    [last.0.to_be_bytes(), mark].concat()
}

/// The last tick of a timer with this schedule; none of another schedule. Written before marks were, it is anybody's.
pub fn decode_tick(value: &[u8], mark: [u8; 8]) -> Option<Wall> {
    let (last, of) = value.split_first_chunk()?;
    (of.is_empty() || of == mark).then_some(Wall(i64::from_be_bytes(*last)))
}

/// Eight bytes that tell texts apart: the beginning of their SHA-256.
pub fn mark(text: &str) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::digest(text).into();
    std::array::from_fn(|at| digest[at])
}

/// The stored key of a dedupe key.
pub fn seen(key: &DedupeKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + key.scope.len() + key.id.len());
    out.push(KIND_SEEN);
    // A scope beyond 255 bytes only occurs in the hashed form, where this length is still part of what is hashed.
    out.push(u8::try_from(key.scope.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(key.scope.as_bytes());
    out.extend_from_slice(key.id.as_bytes());
    if out.len() > SEEN_KEY_MAX {
        let hash = Sha256::new()
            .chain_update((key.scope.len() as u64).to_be_bytes())
            .chain_update(key.scope.as_bytes())
            .chain_update(key.id.as_bytes())
            .finalize();
        out.clear();
        out.push(KIND_SEEN_HASHED);
        out.extend_from_slice(&hash);
    }
    out
}

/// Where an event with a dedupe key went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Until when the key is remembered.
    pub expires: Wall,
    /// The topic of the first event.
    pub topic: TopicId,
    /// Its place there.
    pub seq: Seq,
    /// Its event id.
    pub event_id: Str,
}

impl Seen {
    /// The stored form: expiry i64, topic u32, sequence u64, event id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20 + self.event_id.len());
        out.extend_from_slice(&self.expires.0.to_be_bytes());
        out.extend_from_slice(&self.topic.0.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(self.event_id.as_bytes());
        out
    }

    /// Reads the stored form; `None` when it is not one.
    pub fn decode(value: &[u8]) -> Option<Self> {
        Some(Self {
            expires: expires_of(value)?,
            topic: TopicId(u32::from_be_bytes(value.get(8..12)?.try_into().ok()?)),
            seq: u64::from_be_bytes(value.get(12..20)?.try_into().ok()?),
            event_id: std::str::from_utf8(value.get(20..)?).ok()?.into(),
        })
    }
}

/// The expiry of a stored [`Seen`], without reading the rest: what the compaction filter asks of every key.
pub fn expires_of(value: &[u8]) -> Option<Wall> {
    Some(Wall(i64::from_be_bytes(value.get(..8)?.try_into().ok()?)))
}

/// What is kept per topic beside its records, so that its bounds need no scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The oldest record kept.
    pub first: Seq,
    /// The next sequence.
    pub next: Seq,
    /// The bytes of all records ever appended.
    pub total: u64,
    /// The bytes of the records trimmed.
    pub trimmed: u64,
    /// When the oldest kept record was stored; meaningless when empty.
    pub oldest: Wall,
    /// When the newest record was stored, kept when the topic becomes empty: stored times never go back.
    pub newest: Wall,
    /// The last record whose data lies elsewhere; 0 where there was none. Records after it need not be looked at when they go.
    pub last_shared: Seq,
}

impl Counters {
    /// Those of a topic without a record.
    pub const EMPTY: Self =
        Self { first: 1, next: 1, total: 0, trimmed: 0, oldest: Wall(0), newest: Wall(i64::MIN), last_shared: 0 };

    /// The stored form: the seven fields and the checksum of topic number and fields. Before format 4 there were six.
    pub fn encode(&self, topic: TopicId) -> [u8; 60] {
        let mut out = [0; 60];
        let fields = [
            self.first.to_be_bytes(),
            self.next.to_be_bytes(),
            self.total.to_be_bytes(),
            self.trimmed.to_be_bytes(),
            self.oldest.0.to_be_bytes(),
            self.newest.0.to_be_bytes(),
            self.last_shared.to_be_bytes(),
        ];
        for (at, field) in fields.iter().enumerate() {
            out[at * 8..at * 8 + 8].copy_from_slice(field);
        }
        let crc = Self::crc(topic, &out[..56]);
        out[56..].copy_from_slice(&crc);
        out
    }

    fn crc(topic: TopicId, fields: &[u8]) -> [u8; 4] {
        crc32c::crc32c_append(crc32c::crc32c(&topic.0.to_be_bytes()), fields).to_be_bytes()
    }

    /// Reads the stored form; `None` when it is not one of this topic.
    pub fn decode(topic: TopicId, value: &[u8]) -> Option<Self> {
        let (fields, crc) = value.split_last_chunk::<4>()?;
        if *crc != Self::crc(topic, fields) || ![48, 56].contains(&fields.len()) {
            return None;
        }
        let field = |at: usize| -> Option<[u8; 8]> { fields.get(at * 8..at * 8 + 8)?.try_into().ok() };
        let counters = Self {
            first: u64::from_be_bytes(field(0)?),
            next: u64::from_be_bytes(field(1)?),
            total: u64::from_be_bytes(field(2)?),
            trimmed: u64::from_be_bytes(field(3)?),
            oldest: Wall(i64::from_be_bytes(field(4)?)),
            newest: Wall(i64::from_be_bytes(field(5)?)),
            last_shared: field(6).map_or(0, u64::from_be_bytes),
        };
        (counters.first <= counters.next).then_some(counters)
    }

    /// The same as shown to others.
    pub fn bounds(&self) -> Bounds {
        let empty = self.first == self.next;
        Bounds {
            first: self.first,
            next: self.next,
            bytes: self.total.saturating_sub(self.trimmed),
            oldest: if empty { None } else { Some(self.oldest) },
            newest: if empty { None } else { Some(self.newest) },
        }
    }
}

/// The fixed part of a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When it was stored.
    pub stored: Wall,
    /// The bytes of the topic's records before it, ever: the size of a range is a subtraction.
    pub offset: u64,
}

/// The stored form of a record, written over `out`: CRC-32C of the key and of all that follows, sequence, stored
/// time, offset, event. The sequence is in the value as well, so that a value under a foreign key is noticed.
///
/// Where its data is shared, a 2, the [`Shared`] and the event without its data stand for the event.
pub fn encode_record(
    out: &mut Vec<u8>,
    topic: TopicId,
    seq: Seq,
    header: Header,
    event: &Event,
    shared: Option<Shared>,
) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&header.stored.0.to_be_bytes());
    out.extend_from_slice(&header.offset.to_be_bytes());
    match shared {
        None => event.encode(out),
        Some(Shared { id, len }) => {
            out.push(SHARED);
            out.extend_from_slice(&id.group.to_be_bytes());
            out.extend_from_slice(&id.index.to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            event.encode_attributes(out);
        }
    }
    let crc = crc(&record(topic, seq), &out[4..]);
    out[..4].copy_from_slice(&crc);
}

/// What a stored record holds in place of its data. Not checked: see [`check_record`].
pub fn shared_of(value: &[u8]) -> Option<Shared> {
    let stored: &[u8; SHARED_LEN] = value.get(RECORD_HEADER..)?.first_chunk()?;
    let [SHARED, rest @ ..] = stored else { return None };
    let (group, rest) = rest.split_first_chunk()?;
    let (index, len) = rest.split_first_chunk()?;
    let id = DataId { group: u64::from_be_bytes(*group), index: u32::from_be_bytes(*index) };
    Some(Shared { id, len: u32::from_be_bytes(len.try_into().ok()?) })
}

/// The bytes that a stored record counts for: shared data counts for each record that holds it, so what a topic holds does
/// not depend on others.
pub fn size_of(value: &[u8]) -> u64 {
    value.len() as u64 + shared_of(value).map_or(0, |shared| shared.len.into())
}

/// The stored form of shared data, written over `out`: CRC-32C of the key and the data, the data.
pub fn encode_data(out: &mut Vec<u8>, id: DataId, data: &[u8]) {
    out.clear();
    out.extend_from_slice(&crc(&id.data(), data));
    out.extend_from_slice(data);
}

/// The data in its stored form, which it shares; says what does not match.
pub fn decode_data(shared: Shared, value: &bytes::Bytes) -> Result<bytes::Bytes, &'static str> {
    let (checksum, data) = value.split_first_chunk::<4>().ok_or("its data is cut short")?;
    if *checksum != crc(&shared.id.data(), data) {
        return Err("checksum mismatch of its data");
    }
    if data.len() as u64 != u64::from(shared.len) {
        return Err("length mismatch of its data");
    }
    Ok(value.slice(4..))
}

/// The stored form of who shares data, written over `out`: CRC-32C of the key and what follows; topic number u32 and sequence u64 of each
/// record.
pub fn encode_holders(out: &mut Vec<u8>, id: DataId, holders: &[(TopicId, Seq)]) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    for (topic, seq) in holders {
        out.extend_from_slice(&topic.0.to_be_bytes());
        out.extend_from_slice(&seq.to_be_bytes());
    }
    let crc = crc(&id.holders(), &out[4..]);
    out[..4].copy_from_slice(&crc);
}

/// The records that share data; `None` when they are not what [`encode_holders`] wrote.
pub fn decode_holders(id: DataId, value: &[u8]) -> Option<impl Iterator<Item = (TopicId, Seq)>> {
    let (checksum, rest) = value.split_first_chunk::<4>()?;
    let (holders, []) = rest.as_chunks::<12>() else { return None };
    let whole = *checksum == crc(&id.holders(), rest);
    let holder =
        |[a, b, c, d, seq @ ..]: &[u8; 12]| (TopicId(u32::from_be_bytes([*a, *b, *c, *d])), u64::from_be_bytes(*seq));
    whole.then(move || holders.iter().map(holder))
}

/// Checks a stored record and reads its fixed part; says what does not match.
pub fn check_record(topic: TopicId, seq: Seq, value: &[u8]) -> Result<Header, &'static str> {
    let field = |at: usize| -> Option<[u8; 8]> { value.get(at..at + 8)?.try_into().ok() };
    let (Some(checksum), Some(own), Some(stored), Some(offset)) = (value.get(..4), field(4), field(12), field(20))
    else {
        return Err("cut short");
    };
    if crc(&record(topic, seq), &value[4..]) != checksum {
        return Err("checksum mismatch");
    }
    if u64::from_be_bytes(own) != seq {
        return Err("sequence mismatch");
    }
    Ok(Header { stored: Wall(i64::from_be_bytes(stored)), offset: u64::from_be_bytes(offset) })
}

/// Checks and decodes a stored record; says what does not match. Its data shares `value`; where it lies elsewhere, the event has none yet, and
/// what names it comes with the record.
pub fn decode_record(
    name: &Str,
    topic: TopicId,
    seq: Seq,
    value: &bytes::Bytes,
    like: Option<&Event>,
) -> Result<(Record, Option<Shared>), String> {
    let header = check_record(topic, seq, value)?;
    let shared = shared_of(value);
    let event = match shared {
        None => Event::decode_like(&value.slice(RECORD_HEADER..), like),
        Some(_) => Event::decode_attributes(&mut &value[RECORD_HEADER + SHARED_LEN..], like),
    };
    let event = event.map_err(|e| e.to_string())?;
    Ok((Record::new(name.clone(), topic, seq, header.stored, event), shared))
}

/// The checksum of a key and (the rest of) its value.
fn crc(key: &[u8], rest: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(key), rest).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::event::TraceContext;
    use std::time::Duration;

    fn dedupe(scope: &str, id: &str) -> DedupeKey {
        DedupeKey { scope: scope.into(), id: id.into(), window: Duration::from_secs(1) }
    }

    #[test]
    fn where_timers_stand_is_stored_forever() {
        assert_eq!(timer("a"), b"timer/a");
        let stored = encode_tick(Wall(258), mark("every 1000000"));
        assert_eq!(hex::encode(&stored), "0000000000000102694886211244d3ab");
        assert_eq!(decode_tick(&stored, mark("every 1000000")), Some(Wall(258)));
        assert_eq!(decode_tick(&stored, mark("every 2000000")), None, "of another schedule");
        assert_eq!(decode_tick(&stored[..8], mark("x")), Some(Wall(258)), "as it was stored before there were marks");
        assert_eq!(decode_tick(&stored[..7], mark("x")), None);
    }

    #[test]
    fn stored_keys_are_forever() {
        assert_eq!(KEY_FORMAT, [1]);
        assert_eq!(KEY_GROUP, [2]);
        assert_eq!(KEY_REMOVED, [5]);
        assert_eq!(hex::encode(topic_name("a.b")), "03612e62");
        assert_eq!(hex::encode(counters(TopicId(258))), "0400000102");
        assert_eq!(hex::encode(record(TopicId(1), 515)), "20000000010000000000000203");
        let id = DataId { group: 258, index: 3 };
        assert_eq!(hex::encode(id.data()), "21000000000000010200000003");
        assert_eq!(hex::encode(id.holders()), "22000000000000010200000003");
        let unswept = Unswept { topic: TopicId(1), from: 2, below: 515 };
        assert_eq!(hex::encode(unswept.key()), "06000000010000000000000002");
        assert_eq!(hex::encode(unswept.value()), "0000000000000203");
        assert_eq!(hex::encode(seen(&dedupe("gh", "id1"))), "30026768696431");
        let long = hex::encode(seen(&dedupe("gh", &"x".repeat(200))));
        assert_eq!(long, "3115415910b5093f747659831264b0745f7b7de12547ab1db543adde5f5f31c2e5");
        let mut key = Vec::new();
        for (kind, first) in [(Table::Cursor, 0x10), (Table::Waiting, 0x11), (Table::State, 0x12), (Table::Kv, 0x13)] {
            table(&mut key, kind, b"k");
            assert_eq!(key, [first, b'k']);
        }
    }

    #[test]
    fn stored_values_are_forever() {
        let (oldest, newest) = (Wall(7), Wall(9));
        let counters = Counters { first: 2, next: 5, total: 300, trimmed: 100, oldest, newest, last_shared: 4 };
        let bytes = counters.encode(TopicId(3));
        assert_eq!(
            hex::encode(bytes),
            "00000000000000020000000000000005000000000000012c0000000000000064000000000000000700000000000000090000000000000004706f5054"
        );
        assert_eq!(Counters::decode(TopicId(3), &bytes), Some(counters));
        assert_eq!(Counters::decode(TopicId(4), &bytes), None, "counters of another topic");
        let before_format_4 = hex::decode(
            "00000000000000020000000000000005000000000000012c000000000000006400000000000000070000000000000009f4e8a19e",
        )
        .unwrap();
        assert_eq!(Counters::decode(TopicId(3), &before_format_4), Some(Counters { last_shared: 0, ..counters }));
        assert_eq!(Counters::decode(TopicId(3), &bytes[..52]), None);

        let seen = Seen { expires: Wall(1), topic: TopicId(2), seq: 3, event_id: "e".into() };
        assert_eq!(hex::encode(seen.encode()), "000000000000000100000002000000000000000365");
        assert_eq!(Seen::decode(&seen.encode()), Some(seen));

        let mut event = Event::new("src", "push", bytes::Bytes::from_static(b"{}"));
        event.id = "01".into();
        event.time = Wall(7);
        event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let (mut out, mut body) = (Vec::new(), Vec::new());
        event.encode(&mut body);
        let header = Header { stored: Wall(3), offset: 4 };
        encode_record(&mut out, TopicId(1), 2, header, &event, None);
        assert_eq!(hex::encode(&out[..RECORD_HEADER]), "ebbd0c93000000000000000200000000000000030000000000000004");
        assert_eq!(&out[RECORD_HEADER..], body);
        assert_eq!((shared_of(&out), size_of(&out)), (None, out.len() as u64));

        let shared = Shared { id: DataId { group: 258, index: 3 }, len: 2 };
        encode_record(&mut out, TopicId(1), 2, header, &event, Some(shared));
        assert_eq!(
            hex::encode(&out[..RECORD_HEADER + SHARED_LEN]),
            "be4153d00000000000000002000000000000000300000000000000040200000000000001020000000300000002"
        );
        assert_eq!(out[RECORD_HEADER + SHARED_LEN..], body[..body.len() - 3], "without the data and its length");
        assert_eq!((shared_of(&out), size_of(&out)), (Some(shared), out.len() as u64 + 2));
        let (read, elsewhere) = decode_record(&"a".into(), TopicId(1), 2, &out.clone().into(), None).unwrap();
        assert_eq!((&read.event.id, read.event.data.len(), elsewhere), (&event.id, 0, Some(shared)));

        encode_data(&mut out, shared.id, b"{}");
        assert_eq!(hex::encode(&out), "5683a6c17b7d");
        assert_eq!(decode_data(shared, &out.clone().into()).unwrap(), "{}");
        let other = Shared { id: DataId { group: 258, index: 4 }, ..shared };
        assert!(decode_data(other, &out.clone().into()).is_err(), "the data of another");
        encode_holders(&mut out, shared.id, &[(TopicId(1), 2), (TopicId(3), 4)]);
        assert_eq!(hex::encode(&out), "20e0b695000000010000000000000002000000030000000000000004");
        let holders = |id| decode_holders(id, &out).map(Iterator::collect::<Vec<_>>);
        assert_eq!(holders(shared.id), Some(vec![(TopicId(1), 2), (TopicId(3), 4)]));
        assert_eq!(holders(other.id), None);
        let unswept = Unswept { topic: TopicId(1), from: 2, below: 3 };
        assert_eq!(Unswept::decode(&unswept.key(), &unswept.value()), Some(unswept));
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut out = Vec::new();
        let event = Event::new("s", "t", bytes::Bytes::from_static(b"{\"a\":1}"));
        encode_record(&mut out, TopicId(1), 2, Header { stored: Wall(3), offset: 4 }, &event, None);
        assert!(check_record(TopicId(1), 2, &out).is_ok());
        assert!(check_record(TopicId(2), 2, &out).is_err());
        assert!(check_record(TopicId(1), 3, &out).is_err());
        for bit in 0..out.len() * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            assert!(check_record(TopicId(1), 2, &out).is_err(), "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..out.len() {
            assert!(check_record(TopicId(1), 2, &out[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[1, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(after_prefix(&[]), None);
    }
}
