//! The engine against faults: damaged bytes, torn and missing write-ahead files, a second process, a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::{Appended, DedupeKey};
use bytes::Bytes;
use smallvec::smallvec;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

mod model;
mod recycled;
mod shared;

fn event(data: &str) -> Event {
    Event::new("test", "t", Bytes::copy_from_slice(data.as_bytes()))
}

fn append(topic: TopicId, data: &str) -> Batch {
    Batch { ops: smallvec![Op::Append { topic, event: Box::new(event(data)), dedupe: None }] }
}

fn append_once(topic: TopicId, id: &str, window: Duration) -> Op {
    let dedupe = Some(DedupeKey { scope: "s".into(), id: id.into(), window });
    Op::Append { topic, event: Box::new(event(id)), dedupe }
}

fn open(dir: &TempDir) -> Result<RocksLog, Error> {
    RocksLog::open(RocksOptions::new(dir.path()))
}

fn texts(log: &RocksLog, topic: TopicId) -> Vec<String> {
    let records = log.read(topic, 1, usize::MAX, usize::MAX).unwrap();
    records.iter().map(|r| String::from_utf8(r.event.data.to_vec()).unwrap()).collect()
}

fn is_stored(appended: &Appended) -> bool {
    matches!(appended, Appended::Stored(_))
}

/// The newest write-ahead file.
fn wal_file(dir: &TempDir) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// A directory with `n` synced groups of one record each, closed.
fn filled(n: usize) -> (TempDir, TopicId) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    for i in 0..n {
        log.commit(vec![append(topic, &format!("r{i}"))], true).unwrap();
    }
    (dir, topic)
}

#[test]
fn records_come_back_after_a_reopen() {
    let (dir, topic) = filled(3);
    let log = open(&dir).unwrap();
    assert_eq!(texts(&log, topic), ["r0", "r1", "r2"]);
    let bounds = log.bounds(topic).unwrap();
    assert_eq!((bounds.first, bounds.next), (1, 4));
    assert!(bounds.bytes > 0 && bounds.oldest <= bounds.newest);
    assert_eq!(log.high(topic).unwrap().load(Ordering::Acquire), 3);
    assert_eq!(log.topics().unwrap(), [("a".into(), topic)]);
    assert_eq!(log.topic("a").unwrap(), topic);
    log.flush().unwrap();
    drop(log);
    assert_eq!(texts(&open(&dir).unwrap(), topic), ["r0", "r1", "r2"]);
}

#[test]
fn reading_stops_at_its_limits_and_gives_at_least_one() {
    let (dir, topic) = filled(5);
    let log = open(&dir).unwrap();
    let seqs = |from, records, bytes| -> Vec<Seq> {
        log.read(topic, from, records, bytes).unwrap().iter().map(|r| r.seq).collect()
    };
    assert_eq!(seqs(2, 2, usize::MAX), [2, 3]);
    assert_eq!(seqs(2, 9, 1), [2]);
    assert_eq!(seqs(6, 9, usize::MAX), [] as [Seq; 0]);
    assert_eq!(seqs(0, 0, usize::MAX), [] as [Seq; 0]);
    assert!(matches!(log.read(TopicId(9), 1, 1, 1), Err(Error::NoTopic(9))));
}

#[test]
fn a_repeated_id_is_appended_once_within_a_group_and_across_groups_and_reopens() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    let hour = Duration::from_secs(3600);
    let group = vec![
        Batch { ops: smallvec![append_once(topic, "x", hour), append_once(topic, "y", hour)] },
        Batch { ops: smallvec![append_once(topic, "x", hour), append_once(topic, "z", hour)] },
    ];
    let receipts = log.commit(group, true).unwrap();
    assert!(receipts[0].appended.iter().all(is_stored));
    assert!(matches!(&receipts[1].appended[0], Appended::Duplicate { topic, seq: 1, .. } if &**topic == "a"));
    assert!(is_stored(&receipts[1].appended[1]));
    drop(log);
    let log = open(&dir).unwrap();
    let again = log.commit(vec![Batch { ops: smallvec![append_once(topic, "z", hour)] }], true).unwrap();
    let first = log.read(topic, 3, 1, usize::MAX).unwrap();
    assert!(
        matches!(&again[0].appended[0], Appended::Duplicate { seq: 3, event_id, .. } if *event_id == first[0].event.id)
    );
    assert_eq!(texts(&log, topic), ["x", "y", "z"]);
}

#[test]
fn an_expired_id_is_appended_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    // A window of zero has passed as soon as the clock moved on.
    log.commit(vec![Batch { ops: smallvec![append_once(topic, "x", Duration::ZERO)] }], true).unwrap();
    let start = Wall::now();
    while Wall::now() <= start.plus(Duration::from_micros(1)) {
        std::hint::spin_loop();
    }
    let again = log.commit(vec![Batch { ops: smallvec![append_once(topic, "x", Duration::ZERO)] }], true).unwrap();
    assert!(is_stored(&again[0].appended[0]));
}

#[test]
fn expired_ids_go_when_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    let ops = |id: &str, window| Batch { ops: smallvec![append_once(topic, id, window)] };
    log.commit(vec![ops("short", Duration::ZERO), ops("long", Duration::from_secs(3600))], true).unwrap();
    log.now.store(Wall::now().0 + 1_000_000, Ordering::Relaxed);
    log.flush().unwrap();
    let db = log.db();
    let db = engine(&db).unwrap();
    let dedupe = family(db, keys::CF_DEDUPE).unwrap();
    let mut options = rocksdb::CompactOptions::default();
    options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    db.compact_range_cf_opt(dedupe, None::<&[u8]>, None::<&[u8]>, &options);
    let left = db.iterator_cf(dedupe, rocksdb::IteratorMode::Start).count();
    assert_eq!(left, 1);
}

#[test]
fn a_trim_moves_the_bounds_and_sequences_go_on() {
    let (dir, topic) = filled(5);
    let log = open(&dir).unwrap();
    let before = log.bounds(topic).unwrap();
    let trim = |below| Batch { ops: smallvec![Op::Trim { topic, below }] };
    log.commit(vec![trim(3)], true).unwrap();
    let bounds = log.bounds(topic).unwrap();
    assert_eq!((bounds.first, bounds.next), (3, 6));
    assert_eq!(bounds.bytes, before.bytes / 5 * 3);
    assert_eq!(texts(&log, topic), ["r2", "r3", "r4"]);
    // Appended and trimmed in one group; then past the end: the topic is empty, its numbering goes on.
    log.commit(vec![append(topic, "r5"), trim(6)], true).unwrap();
    assert_eq!(texts(&log, topic), ["r5"]);
    log.commit(vec![trim(u64::MAX)], true).unwrap();
    let empty = Bounds { first: 7, next: 7, ..Bounds::default() };
    assert_eq!(log.bounds(topic).unwrap(), empty);
    drop(log);
    let log = open(&dir).unwrap();
    assert_eq!(log.bounds(topic).unwrap(), empty);
    log.commit(vec![append(topic, "r6")], true).unwrap();
    assert_eq!(log.read(topic, 1, 9, usize::MAX).unwrap()[0].seq, 7);
}

#[test]
fn a_topic_that_is_removed_takes_what_is_its_own_and_its_number_is_not_given_again() {
    let (dir, topic) = filled(3);
    let log = open(&dir).unwrap();
    let (other, hour) = (log.topic("b").unwrap(), Duration::from_secs(3600));
    let cursor = |key: &[u8]| (Table::Cursor, key.to_vec());
    let put = |key: &[u8]| Op::Put { table: Table::Cursor, key: key.to_vec(), value: b"1".to_vec() };
    let ops = smallvec![append_once(topic, "x", hour), put(b"its"), put(b"other's")];
    log.commit(vec![append(other, "o1"), Batch { ops }], true).unwrap();
    let remove = |next| Batch { ops: smallvec![Op::Remove { topic, next, keys: vec![cursor(b"its")] }] };
    let receipts = log.commit(vec![remove(Some(4))], true).unwrap();
    assert!(!receipts[0].removed, "it has gone on");
    assert_eq!(texts(&log, topic), ["r0", "r1", "r2", "x"]);
    assert!(log.get(Table::Cursor, b"its").unwrap().is_some());

    let high = log.high(topic).unwrap();
    let receipts = log.commit(vec![append(topic, "last"), append(other, "o2"), remove(Some(6))], true).unwrap();
    assert!(receipts[2].removed);
    let left = |log: &RocksLog| {
        assert!(matches!(log.read(topic, 1, 1, 1), Err(Error::NoTopic(1))));
        assert!(matches!(log.admits(&append(topic, "y").ops), Err(Error::NoTopic(1))));
        assert!(log.get(Table::Cursor, b"its").unwrap().is_none());
        assert!(log.get(Table::Cursor, b"other's").unwrap().is_some());
        assert_eq!(texts(log, other), ["o1", "o2"]);
        let db = log.db();
        let db = engine(&db).unwrap();
        let records = db.iterator_cf(family(db, keys::CF_LOG).unwrap(), rocksdb::IteratorMode::Start);
        assert_eq!(records.count(), 2, "of the other topic");
        assert!(db.get_cf(family(db, keys::CF_STATE).unwrap(), keys::counters(topic)).unwrap().is_none());
    };
    left(&log);
    assert_eq!(high.load(Ordering::Acquire), 5, "who waits for a record does not see one that is not there");
    assert_eq!(log.topics().unwrap(), [("b".into(), other)]);
    drop(log);
    let log = open(&dir).unwrap();
    left(&log);

    let new = log.topic("a").unwrap();
    assert!(new > other && new != topic, "{new:?}");
    let receipts = log.commit(vec![Batch { ops: smallvec![append_once(new, "x", hour)] }], true).unwrap();
    assert!(matches!(&receipts[0].appended[0], Appended::Stored(r) if r.seq == 1), "what it went to is gone");
    let last = Op::Remove { topic: new, next: None, keys: Vec::new() };
    log.commit(vec![Batch { ops: smallvec![last] }], true).unwrap();
    drop(log);
    let log = open(&dir).unwrap();
    assert!(log.topic("c").unwrap() > new, "the highest number, too");
}

/// A removal that is not on disk leaves all of the topic; one that is, nothing.
#[test]
fn a_removal_is_there_as_a_whole_or_not_at_all() {
    let (dir, topic) = filled(3);
    let log = open(&dir).unwrap();
    let synced = fs::metadata(wal_file(&dir)).unwrap().len();
    let remove = Op::Remove { topic, next: None, keys: vec![(Table::State, b"k".to_vec())] };
    log.commit(vec![Batch { ops: smallvec![remove] }], false).unwrap();
    drop(log);
    let whole = fs::metadata(wal_file(&dir)).unwrap().len();
    for end in (synced + 1..whole).step_by(3) {
        let copy = copy_of(&dir);
        fs::OpenOptions::new().write(true).open(wal_file(&copy)).unwrap().set_len(end).unwrap();
        assert_eq!(texts(&open(&copy).unwrap(), topic), ["r0", "r1", "r2"], "end {end}");
    }
    assert!(open(&dir).unwrap().topics().unwrap().is_empty());
}

#[test]
fn finding_a_place_by_time_and_by_size() {
    let (dir, topic) = filled(8);
    let log = open(&dir).unwrap();
    let records = log.read(topic, 1, 99, usize::MAX).unwrap();
    for r in &records {
        let at = log.seq_at(topic, r.stored).unwrap();
        assert!(at <= r.seq && records[at as usize - 1].stored == r.stored);
    }
    assert_eq!(log.seq_at(topic, Wall(0)).unwrap(), 1);
    assert_eq!(log.seq_at(topic, Wall(i64::MAX)).unwrap(), 9);
    let one = log.bounds(topic).unwrap().bytes / 8;
    assert_eq!(log.seq_keeping(topic, 3 * one).unwrap(), 6);
    assert_eq!(log.seq_keeping(topic, 3 * one - 1).unwrap(), 7);
    assert_eq!(log.seq_keeping(topic, 0).unwrap(), 9);
    assert_eq!(log.seq_keeping(topic, u64::MAX).unwrap(), 1);
}

#[test]
fn a_second_open_is_refused() {
    let (dir, _) = filled(1);
    let _first = open(&dir).unwrap();
    assert!(matches!(open(&dir), Err(Error::Locked(_))));
}

#[test]
fn an_unknown_topic_spoils_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    let bad = append(TopicId(77), "x");
    assert!(matches!(log.admits(&bad.ops), Err(Error::NoTopic(77))));
    assert!(matches!(log.commit(vec![append(topic, "y"), bad], true), Err(Error::NoTopic(77))));
    assert_eq!(log.bounds(topic).unwrap().next, 1);
    log.commit(vec![append(topic, "z")], true).unwrap();
    assert_eq!(texts(&log, topic), ["z"]);
}

#[test]
fn an_earlier_format_is_read_and_becomes_this_one() {
    let (dir, topic) = filled(1);
    let format = |write: Option<u32>| {
        let log = open(&dir).unwrap();
        let db = log.db();
        let db = engine(&db).unwrap();
        let state = family(db, keys::CF_STATE).unwrap();
        let before = db.get_cf(state, keys::KEY_FORMAT).unwrap().unwrap();
        if let Some(format) = write {
            db.put_cf(state, keys::KEY_FORMAT, format.to_be_bytes()).unwrap();
        }
        (before, texts(&log, topic).len())
    };
    let now = (keys::FORMAT.to_be_bytes().to_vec(), 1);
    assert_eq!(format(Some(1)), now);
    assert_eq!(format(None), now, "an older binary refuses it from now on");
}

#[test]
fn a_later_format_is_refused() {
    let (dir, _) = filled(1);
    let log = open(&dir).unwrap();
    {
        let db = log.db();
        let db = engine(&db).unwrap();
        db.put_cf(family(db, keys::CF_STATE).unwrap(), keys::KEY_FORMAT, 9u32.to_be_bytes()).unwrap();
    }
    drop(log);
    assert!(matches!(open(&dir), Err(Error::Format { found: 9, known: keys::FORMAT })));
}

#[test]
fn events_that_are_alike_take_less_room_in_tables_and_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    // In tables, and in files of their own.
    let of = |n: u32, size: usize| format!(r#"{{"n":{n},"text":"{}"}}"#, "once upon a time ".repeat(size / 17));
    let made: Vec<_> = (0..1_000).map(|n| of(n, 1_000)).chain((0..100).map(|n| of(n, 10_000))).collect();
    for data in &made {
        log.commit(vec![append(topic, data)], false).unwrap();
    }
    log.flush().unwrap();
    let is_table = |path: &Path| path.extension().is_some_and(|e| e == "sst" || e == "blob");
    let stored: usize =
        content(dir.path()).iter().filter(|(path, _)| is_table(path)).map(|(_, bytes)| bytes.len()).sum();
    let data: usize = made.iter().map(String::len).sum();
    assert!(stored > 0 && stored < data / 4, "{stored} bytes for {data}");
    drop(log);
    assert_eq!(texts(&open(&dir).unwrap(), topic), made);
}

/// The names and the content of all files in a directory.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.append(&mut content(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn a_directory_of_a_later_format_is_not_touched() {
    let (dir, topic) = filled(3);
    // What the later version wrote looks torn to this one, which would cut it off.
    let wal = wal_file(&dir);
    OpenOptions::new().append(true).open(&wal).unwrap().write_all(b"of a later format").unwrap();
    let said = dir.path().join("log.format");
    assert_eq!(fs::read_to_string(&said).unwrap(), format!("{}\n", keys::FORMAT));
    fs::write(&said, "5\n").unwrap();
    let before = content(dir.path());
    assert!(matches!(open(&dir), Err(Error::Format { found: 5, known: keys::FORMAT })));
    assert_eq!(content(dir.path()), before);
    // An earlier one is read, and from now on refused by versions that know no more than it.
    fs::write(&said, "2\n").unwrap();
    assert_eq!(texts(&open(&dir).unwrap(), topic).len(), 3);
    assert_eq!(fs::read_to_string(&said).unwrap(), format!("{}\n", keys::FORMAT));
}

#[test]
fn a_format_that_is_no_number_is_refused_with_what_to_do() {
    let (dir, _) = filled(1);
    fs::write(dir.path().join("log.format"), "\u{0}\n").unwrap();
    let error = open(&dir).err().unwrap().to_string();
    assert!(error.contains(r#"log.format holds "\0\n", and not the number of a format"#), "{error}");
    assert!(error.contains("write 4 into it"), "{error}");
}

#[test]
fn a_damaged_record_is_named() {
    let (dir, topic) = filled(3);
    let log = open(&dir).unwrap();
    {
        let db = log.db();
        let db = engine(&db).unwrap();
        let cf = family(db, keys::CF_LOG).unwrap();
        let mut value = db.get_cf(cf, keys::record(topic, 2)).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 1;
        db.put_cf(cf, keys::record(topic, 2), value).unwrap();
    }
    let before: Vec<Seq> = log.read(topic, 1, 9, usize::MAX).unwrap().iter().map(|r| r.seq).collect();
    assert_eq!(before, [1], "what is before it can be read");
    let error = log.read(topic, 2, 9, usize::MAX).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record 2 of topic `a` is damaged (checksum mismatch); restore it from a backup or trim the topic past it"
    );
    log.commit(vec![Batch { ops: smallvec![Op::Trim { topic, below: 3 }] }], true).unwrap();
    assert_eq!(texts(&log, topic), ["r2"]);
}

#[test]
fn a_trim_that_ends_at_a_damaged_record_spoils_no_group() {
    let (dir, topic) = filled(5);
    let log = open(&dir).unwrap();
    let other = log.topic("b").unwrap();
    {
        let db = log.db();
        let db = engine(&db).unwrap();
        let cf = family(db, keys::CF_LOG).unwrap();
        let mut value = db.get_cf(cf, keys::record(topic, 3)).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 1;
        db.put_cf(cf, keys::record(topic, 3), value).unwrap();
    }
    let trim = |below| Batch { ops: smallvec![Op::Trim { topic, below }] };
    log.commit(vec![trim(3), append(other, "of another")], true).unwrap();
    assert_eq!(texts(&log, other), ["of another"]);
    assert_eq!(log.bounds(topic).unwrap().first, 1, "what is before it stays");
    log.commit(vec![trim(4)], true).unwrap();
    assert_eq!((log.bounds(topic).unwrap().first, texts(&log, topic)), (4, vec!["r3".to_owned(), "r4".to_owned()]));
}

#[test]
fn what_lets_files_go_is_on_disk_before_they_do() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topic = log.topic("a").unwrap();
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        log.commit(vec![append(topic, &large)], false).unwrap();
    }
    log.flush().unwrap();
    let synced = || {
        let writer = lock(&log.writer);
        (writer.synced, writer.group)
    };
    log.commit(vec![Batch { ops: smallvec![Op::Trim { topic, below: 2 }] }], false).unwrap();
    let (before, group) = synced();
    assert!(before < group, "a small one is as lazy as it was asked for");
    log.commit(vec![Batch { ops: smallvec![Op::Trim { topic, below: 20 }] }], false).unwrap();
    let (after, group) = synced();
    assert_eq!(after, group);
}

/// Every place at which the write-ahead file can end.
#[test]
fn a_torn_unsynced_tail_is_cut_and_nothing_synced_is_missing() {
    let (dir, topic) = filled(3);
    let log = open(&dir).unwrap();
    let synced = fs::metadata(wal_file(&dir)).unwrap().len();
    log.commit(vec![append(topic, "lazy")], false).unwrap();
    drop(log);
    let path = wal_file(&dir);
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() as u64 > synced);
    for end in (synced as usize + 1..whole.len()).step_by(7) {
        let copy = copy_of(&dir);
        fs::OpenOptions::new().write(true).open(wal_file(&copy)).unwrap().set_len(end as u64).unwrap();
        let log = open(&copy).unwrap();
        assert_eq!(texts(&log, topic), ["r0", "r1", "r2"], "end {end}");
        log.commit(vec![append(topic, "next")], true).unwrap();
        drop(log);
        assert_eq!(texts(&open(&copy).unwrap(), topic), ["r0", "r1", "r2", "next"]);
        assert_eq!(fs::read_dir(copy.path().join("torn")).unwrap().count(), 1);
    }
    // Zeroed or garbled, as blocks that were allocated but never written are.
    for fill in [0u8, 0x5a] {
        let copy = copy_of(&dir);
        let file = fs::OpenOptions::new().write(true).open(wal_file(&copy)).unwrap();
        file.write_all_at(&vec![fill; whole.len() - synced as usize], synced).unwrap();
        assert_eq!(texts(&open(&copy).unwrap(), topic), ["r0", "r1", "r2"], "fill {fill}");
    }
}

fn copy_of(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    fs::copy(dir.path().join("log.mark"), copy.path().join("log.mark")).unwrap();
    for entry in fs::read_dir(dir.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        match fs::copy(&path, copy.path().join("log").join(path.file_name().unwrap())) {
            // RocksDB removes on a thread of its own what it does not need any more.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
    copy
}

/// Any damage to what was synced refuses to open; accepting the loss opens with what is left.
#[test]
fn damage_to_synced_data_is_reported() {
    let (dir, topic) = filled(6);
    let path = wal_file(&dir);
    let whole = fs::read(&path).unwrap();
    let check = |name: &str, bytes: Option<&[u8]>| {
        let copy = copy_of(&dir);
        match bytes {
            Some(bytes) => fs::write(wal_file(&copy), bytes).unwrap(),
            None => fs::remove_file(wal_file(&copy)).unwrap(),
        }
        let Err(Error::Open(what)) = open(&copy) else { panic!("{name}: opened") };
        assert!(what.contains("acknowledged data is missing"), "{name}: {what}");
        let accepted = RocksLog::open(RocksOptions { accept_loss: true, ..RocksOptions::new(copy.path()) }).unwrap();
        drop(accepted);
        let log = open(&copy).expect(name);
        let topic = log.topic("a").unwrap();
        log.commit(vec![append(topic, "more")], true).unwrap();
        assert_eq!(texts(&log, topic).pop().unwrap(), "more");
    };
    check("removed", None);
    check("emptied", Some(&[]));
    for cut in (7..whole.len()).step_by(whole.len() / 40) {
        check(&format!("cut at {cut}"), Some(&whole[..cut]));
    }
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        check(&format!("flipped at {at}"), Some(&bytes));
        let mut bytes = whole.clone();
        let end = (at + 64).min(bytes.len());
        bytes[at..end].fill(0);
        check(&format!("zeroed at {at}"), Some(&bytes));
    }
    let copy = copy_of(&dir);
    fs::remove_dir_all(copy.path().join("log")).unwrap();
    assert!(matches!(open(&copy), Err(Error::Open(_))));
    assert_eq!(texts(&open(&dir).unwrap(), topic).len(), 6);
}

#[test]
fn below_the_reserve_only_appends_are_refused() {
    let (dir, topic) = filled(1);
    let log = RocksLog::open(RocksOptions { reserve: u64::MAX, ..RocksOptions::new(dir.path()) }).unwrap();
    let append = append(topic, "x");
    assert!(matches!(log.admits(&append.ops), Err(Error::Full)));
    let ack = Op::Put { table: Table::Cursor, key: b"c".to_vec(), value: b"1".to_vec() };
    let trim = Op::Trim { topic, below: 2 };
    log.admits(std::slice::from_ref(&ack)).unwrap();
    log.commit(vec![Batch { ops: smallvec![ack, trim] }], true).unwrap();
    assert_eq!(log.get(Table::Cursor, b"c").unwrap().unwrap(), b"1");
    assert_eq!(log.bounds(topic).unwrap().first, 2);
}
