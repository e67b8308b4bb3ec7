//! Data that several records share: written once, there for each of them, gone with the last.

use super::*;

use crate::log::rocks::shared::LOOKED_AT;

/// The appends of one event to several topics, as a trigger sends it to its targets.
fn fan_out(topics: &[TopicId], data: &str) -> Batch {
    let event = event(data);
    let ops = topics.iter().map(|topic| Op::Append { topic: *topic, event: Box::new(event.clone()), dedupe: None });
    Batch { ops: ops.collect() }
}

fn trim(topic: TopicId, below: Seq) -> Batch {
    Batch { ops: smallvec![Op::Trim { topic, below }] }
}

fn remove(topic: TopicId) -> Batch {
    Batch { ops: smallvec![Op::Remove { topic, next: None, keys: Vec::new() }] }
}

/// Data long enough to be shared.
fn long(n: usize) -> String {
    format!("{n:<600}")
}

/// How many keys the log has of each kind: records, shared data, and who shares it.
pub(super) fn stored(log: &RocksLog) -> [usize; 3] {
    let db = log.db();
    let db = engine(&db).unwrap();
    let mut kinds = [0; 3];
    for item in db.iterator_cf(family(db, keys::CF_LOG).unwrap(), rocksdb::IteratorMode::Start) {
        kinds[usize::from(item.unwrap().0[0] - 0x20)] += 1;
    }
    kinds
}

fn three() -> (TempDir, RocksLog, [TopicId; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let topics = ["a", "b", "c"].map(|name| log.topic(name).unwrap());
    (dir, log, topics)
}

#[test]
fn what_goes_to_many_topics_is_written_once_and_counts_for_each() {
    let (dir, log, [a, b, c]) = three();
    let receipts = log.commit(vec![fan_out(&[a, b, c], &long(1))], true).unwrap();
    assert_eq!(receipts[0].appended.len(), 3);
    assert_eq!(stored(&log), [3, 1, 1]);
    assert_eq!(log.shared_bytes(), 1200);
    let wal = fs::read(wal_file(&dir)).unwrap();
    let data = long(1);
    let copies = wal.windows(data.len()).filter(|window| *window == data.as_bytes()).count();
    assert_eq!(copies, 1);

    // As much as one that has its data for itself, and sizes are differences still.
    log.commit(vec![append(a, &long(2))], true).unwrap();
    let bytes = |topic| log.bounds(topic).unwrap().bytes;
    let (own, shared) = (bytes(a) - bytes(b), bytes(b));
    assert!(shared > 600 && shared.abs_diff(own) < 30, "{shared}, alone {own}");
    assert_eq!(log.seq_keeping(a, own).unwrap(), 2);
    let read = |limit| log.read(a, 1, 9, limit).unwrap().len();
    assert_eq!((read(own as usize), read(2 * own as usize + 30)), (1, 2), "its data counts for the limit of a reader");

    drop(log);
    let log = open(&dir).unwrap();
    log.flush().unwrap();
    for topic in [b, c] {
        assert_eq!(texts(&log, topic), [long(1)]);
    }
    assert_eq!(texts(&log, a), [long(1), long(2)]);
}

#[test]
fn what_is_short_or_goes_to_one_topic_is_not_shared() {
    let (_dir, log, [a, b, _]) = three();
    log.commit(vec![fan_out(&[a, b], "short"), append(a, &long(1)), append(b, &long(1))], true).unwrap();
    assert_eq!((stored(&log), log.shared_bytes()), ([4, 0, 0], 0));
    assert_eq!(texts(&log, b), ["short".to_owned(), long(1)]);
}

#[test]
fn what_several_triggers_pass_on_in_one_group_is_shared() {
    let (_dir, log, [a, b, c]) = three();
    let event = event(&long(1));
    let pass = |topic| Batch { ops: smallvec![Op::Append { topic, event: Box::new(event.clone()), dedupe: None }] };
    log.commit(vec![pass(a), append(c, &long(2)), pass(b), pass(a)], true).unwrap();
    assert_eq!(stored(&log), [4, 1, 1]);
    assert_eq!(texts(&log, a), [long(1), long(1)]);
    assert_eq!(texts(&log, b), [long(1)]);
    // Two of one topic go at once.
    log.commit(vec![trim(b, 2)], true).unwrap();
    assert_eq!(stored(&log), [3, 1, 1]);
    log.commit(vec![trim(a, 3)], true).unwrap();
    assert_eq!(stored(&log), [1, 0, 0]);
}

#[test]
fn a_repetition_does_not_hold_the_data() {
    let (_dir, log, [a, b, _]) = three();
    let event = event(&long(1));
    let once = |topic| {
        let dedupe = Some(DedupeKey { scope: "s".into(), id: "x".into(), window: Duration::from_secs(3600) });
        Batch { ops: smallvec![Op::Append { topic, event: Box::new(event.clone()), dedupe }] }
    };
    log.commit(vec![once(a), once(b)], true).unwrap();
    assert_eq!(stored(&log), [1, 1, 1]);
    assert_eq!((texts(&log, a), log.shared_bytes()), (vec![long(1)], 0));
    log.commit(vec![trim(a, 2)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
}

#[test]
fn data_goes_with_the_last_record_that_holds_it() {
    let (dir, log, [a, b, c]) = three();
    for n in 0..4 {
        log.commit(vec![fan_out(&[a, b, c], &long(n))], false).unwrap();
    }
    log.commit(vec![trim(a, 5), trim(b, 3)], true).unwrap();
    assert_eq!(stored(&log), [2 + 4, 4, 4]);
    drop(log);
    let log = open(&dir).unwrap();
    // The last two of one group: the second sees what the first has done.
    log.commit(vec![trim(c, 2)], true).unwrap();
    assert_eq!(stored(&log), [2 + 3, 3, 3]);
    log.commit(vec![trim(b, 4), trim(c, 4)], true).unwrap();
    assert_eq!(stored(&log), [1 + 1, 1, 1]);
    assert_eq!((texts(&log, b), texts(&log, c)), (vec![long(3)], vec![long(3)]));
    // A topic that goes holds nothing any more, and its number stands for nothing.
    log.commit(vec![remove(b)], true).unwrap();
    assert_eq!(texts(&log, c), [long(3)]);
    log.commit(vec![trim(c, 5)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
    log.commit(vec![fan_out(&[a, c], &long(9))], true).unwrap();
    log.commit(vec![trim(a, 6), remove(c)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
    log.flush().unwrap();
    assert_eq!(texts(&log, a), [] as [&str; 0]);
}

#[test]
fn what_a_group_adds_and_trims_itself_is_not_written() {
    let (_dir, log, [a, b, _]) = three();
    log.commit(vec![fan_out(&[a, b], &long(1)), trim(a, 2)], true).unwrap();
    assert_eq!(stored(&log), [1, 1, 1]);
    assert_eq!(texts(&log, b), [long(1)]);
    log.commit(vec![trim(b, 2)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
    log.commit(vec![fan_out(&[a, b], &long(2)), trim(a, 3), trim(b, 3)], true).unwrap();
    assert_eq!((stored(&log), log.shared_bytes()), ([0, 0, 0], 600));
}

/// More than a group looks at: the counters move at once, the rest is done piece by piece, also by the next process.
#[test]
fn a_large_trim_is_swept_in_pieces() {
    let (dir, log, [a, b, c]) = three();
    let n = 16 * LOOKED_AT as usize;
    for part in 0..4 {
        let group = (0..n / 4).map(|i| fan_out(&[a, b, c], &long(part * n / 4 + i))).collect();
        log.commit(group, false).unwrap();
    }
    let all = n as Seq + 1;
    log.commit(vec![remove(c)], true).unwrap();
    log.commit(vec![trim(a, all)], true).unwrap();
    assert_eq!((stored(&log), log.has_unswept()), ([3 * n, n, n], true));
    assert_eq!(log.bounds(a).unwrap().bytes, 0);
    assert_eq!(log.read(a, 1, 9, usize::MAX).unwrap().len(), 0, "no reader sees what is to be swept");
    assert!(matches!(log.bounds(c), Err(Error::NoTopic(_))));
    assert!(log.sweep().unwrap());
    let left = stored(&log);
    assert!(left[0] < 3 * n && left[0] > 2 * n && left[1..] == [n, n], "{left:?}");
    drop(log);

    let log = open(&dir).unwrap();
    assert!(log.has_unswept());
    // What holds the data still has it, while the records of the others are swept.
    assert_eq!(texts(&log, b).len(), n);
    // A small trim beside it, of the last holder: its data goes although what is swept names it still.
    log.commit(vec![trim(b, 11)], true).unwrap();
    assert_eq!(stored(&log)[1..], [n - 10, n - 10]);
    let mut pieces = 1;
    while log.sweep().unwrap() {
        pieces += 1;
    }
    assert!(pieces > 16, "{pieces} pieces");
    assert_eq!((stored(&log), log.has_unswept()), ([n - 10; 3], false));
    log.commit(vec![trim(b, all)], true).unwrap();
    while log.sweep().unwrap() {}
    assert_eq!(stored(&log), [0, 0, 0]);
    drop(log);
    let log = open(&dir).unwrap();
    assert!(!log.has_unswept(), "it is not begun again");
    assert_eq!(log.bounds(a).unwrap().first, all);
}

/// The whole files of a large trim go at once, but not while what may be in them is to be swept. What lets files go is synced first, so
/// that tells which it was.
#[test]
fn files_stay_while_they_are_to_be_swept() {
    let (_dir, log, [a, b, _]) = three();
    let large = "x".repeat(1 << 20);
    let n = 2 * LOOKED_AT as usize;
    log.commit((0..n).map(|i| fan_out(&[a, b], &long(i))).collect(), false).unwrap();
    (0..60).for_each(|_| drop(log.commit(vec![append(a, &large)], false).unwrap()));
    log.flush().unwrap();
    let synced_by = |below| {
        log.commit(vec![trim(a, n as Seq + below)], false).unwrap();
        let writer = lock(&log.writer);
        writer.synced == writer.group
    };
    assert!(!synced_by(20), "of the group itself");
    assert!(!synced_by(40), "of one before");
    while log.sweep().unwrap() {}
    assert!(synced_by(60));
    assert_eq!((stored(&log), texts(&log, a).len()), ([n + 1, n, n], 1));
    log.commit(vec![trim(b, n as Seq + 1)], false).unwrap();
    while log.sweep().unwrap() {}
    assert_eq!(stored(&log), [1, 0, 0]);
}

#[test]
fn damaged_data_is_named_and_the_others_go_on() {
    let (_dir, log, [a, b, _]) = three();
    log.commit((1..4).map(|n| fan_out(&[a, b], &long(n))).collect(), true).unwrap();
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let db = log.db();
        let db = engine(&db).unwrap();
        let family = family(db, keys::CF_LOG).unwrap();
        let mut data = db.iterator_cf(family, rocksdb::IteratorMode::From(&[0x21], rocksdb::Direction::Forward));
        let (key, value) = data.nth(1).unwrap().unwrap();
        let mut value = value.to_vec();
        change(&mut value);
        match value.is_empty() {
            true => db.delete_cf(family, &key).unwrap(),
            false => db.put_cf(family, &key, value).unwrap(),
        }
    };
    let says = |what: &str| {
        assert_eq!(log.read(a, 1, 9, usize::MAX).unwrap().len(), 1, "what is before it");
        let error = log.read(a, 2, 9, usize::MAX).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { seq: 2, what: why, .. } if &**why == what), "{error}");
        assert_eq!(log.read(a, 3, 9, usize::MAX).unwrap().len(), 1, "what is after it");
    };
    damage(&|value| value[100] ^= 1);
    says("checksum mismatch of its data");
    damage(&|value| value.truncate(2));
    says("its data is cut short");
    damage(&Vec::clear);
    says("its data is missing");
    log.commit(vec![trim(a, 4), trim(b, 4)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
}

/// A write that is torn is there as a whole or not at all, also what it shares and what it removes of that.
#[test]
fn a_torn_write_leaves_no_record_without_its_data() {
    let (dir, log, [a, b, _]) = three();
    log.commit(vec![fan_out(&[a, b], &long(1))], true).unwrap();
    let synced = fs::metadata(wal_file(&dir)).unwrap().len();
    log.commit(vec![fan_out(&[a, b], &long(2)), trim(a, 2), trim(b, 2)], false).unwrap();
    drop(log);
    let whole = fs::metadata(wal_file(&dir)).unwrap().len();
    for end in (synced + 1..whole).step_by(40) {
        let copy = copy_of(&dir);
        OpenOptions::new().write(true).open(wal_file(&copy)).unwrap().set_len(end).unwrap();
        let log = open(&copy).unwrap();
        assert_eq!((texts(&log, a), texts(&log, b)), (vec![long(1)], vec![long(1)]), "end {end}");
    }
    let log = open(&dir).unwrap();
    assert_eq!((texts(&log, a), texts(&log, b)), (vec![long(2)], vec![long(2)]));
    assert_eq!(stored(&log), [2, 1, 1]);
}

/// What format 3 wrote: counters without the last field, records with their data.
#[test]
fn counters_of_earlier_formats_are_read() {
    let (dir, topic) = filled(2);
    let log = open(&dir).unwrap();
    {
        let db = log.db();
        let db = engine(&db).unwrap();
        let counters = log.topic_of(topic).unwrap().counters().encode(topic);
        let mut earlier = counters[..48].to_vec();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&topic.0.to_be_bytes()), &earlier);
        earlier.extend(crc.to_be_bytes());
        db.put_cf(family(db, keys::CF_STATE).unwrap(), keys::counters(topic), earlier).unwrap();
    }
    drop(log);
    let log = open(&dir).unwrap();
    let other = log.topic("b").unwrap();
    log.commit(vec![fan_out(&[topic, other], &long(1))], true).unwrap();
    assert_eq!(texts(&log, topic), ["r0".to_owned(), "r1".to_owned(), long(1)]);
    log.commit(vec![trim(topic, 4), trim(other, 2)], true).unwrap();
    assert_eq!(stored(&log), [0, 0, 0]);
}

/// What lies with the records that are looked at counts, too, whatever topic's data it is.
#[test]
fn a_trim_of_large_records_is_swept_in_pieces() {
    let (_dir, log, [a, b, _]) = three();
    log.commit(vec![fan_out(&[a, b], &long(0))], false).unwrap();
    let large = "x".repeat(200 << 10);
    for n in 0..50 {
        log.commit(vec![append(a, &large), fan_out(&[a, b], &long(n))], false).unwrap();
    }
    log.commit(vec![trim(a, 102)], false).unwrap();
    assert!(log.has_unswept());
    let mut pieces = 1;
    while log.sweep().unwrap() {
        pieces += 1;
    }
    assert_eq!((pieces, stored(&log)), (3, [51, 51, 51]));
}

#[test]
fn what_comes_after_the_last_shared_record_goes_at_once() {
    let (_dir, log, [a, b, _]) = three();
    let n = 2 * LOOKED_AT as usize;
    log.commit((0..n).map(|i| fan_out(&[a, b], &long(i))).collect(), false).unwrap();
    log.commit((0..1000).map(|_| append(a, "own")).collect(), false).unwrap();
    log.commit(vec![trim(a, (n + 1001) as Seq)], false).unwrap();
    assert_eq!((stored(&log), log.has_unswept()), ([2 * n, n, n], true));
    while log.sweep().unwrap() {}
    assert_eq!(stored(&log), [n; 3]);
}

/// On a full disk a person trims, and nothing else is written.
#[test]
fn space_comes_back_where_it_is_short_and_nothing_else_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = RocksLog::open(RocksOptions { reserve: u64::MAX, ..RocksOptions::new(dir.path()) }).unwrap();
    let [a, b] = ["a", "b"].map(|name| log.topic(name).unwrap());
    assert!(log.is_low());
    // Which compresses badly, and more removals than make a table worth compacting.
    let data = |n: u64| {
        let next = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        std::iter::successors(Some(n), next).take(40).map(|x| format!("{x:016x}")).collect::<String>()
    };
    for part in 0..14 {
        log.commit((0..5_000).map(|n| fan_out(&[a, b], &data(part * 5_000 + n))).collect(), false).unwrap();
    }
    log.flush().unwrap();
    let tables = || -> u64 {
        let files = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        // One that goes at this moment is gone.
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        files.filter(|path| path.extension().is_some_and(|e| e == "sst")).map(size).sum()
    };
    let before = tables();
    for topic in [a, b] {
        log.commit(vec![trim(topic, Seq::MAX)], false).unwrap();
        while log.sweep().unwrap() {}
    }
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while tables() > before / 20 {
        assert!(std::time::Instant::now() < end, "{} of {before} bytes are left", tables());
        std::thread::yield_now();
    }
}

/// Counters that are lost are made from the records, and what is to be swept is none of them any more.
#[test]
fn a_repair_does_not_bring_back_what_is_to_be_swept() {
    let (dir, log, [a, b, _]) = three();
    let n = 2 * LOOKED_AT as usize;
    log.commit((0..n).map(|i| fan_out(&[a, b], &long(i))).collect(), false).unwrap();
    log.commit(vec![trim(a, 2 * LOOKED_AT - 1)], true).unwrap();
    assert!(log.has_unswept());
    {
        let db = log.db();
        let db = engine(&db).unwrap();
        db.put_cf(family(db, keys::CF_STATE).unwrap(), keys::counters(a), b"damaged").unwrap();
    }
    log.flush().unwrap();
    drop(log);
    assert!(matches!(open(&dir), Err(Error::Open(_))));
    let log = RocksLog::open(RocksOptions { accept_loss: true, ..RocksOptions::new(dir.path()) }).unwrap();
    assert_eq!(texts(&log, a), [long(n - 2), long(n - 1)]);
    while log.sweep().unwrap() {}
    assert_eq!((texts(&log, a).len(), texts(&log, b).len()), (2, n));
    log.commit(vec![trim(a, Seq::MAX), trim(b, Seq::MAX)], false).unwrap();
    while log.sweep().unwrap() {}
    assert_eq!(stored(&log), [0, 0, 0]);
    drop(log);
    open(&dir).unwrap();
}
