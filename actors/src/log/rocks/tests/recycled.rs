//! Write-ahead files that are written again: what a kill and a loss of power leave in them.

use super::*;

const PAGE: usize = 4096;

/// A log whose write-ahead file is one that was written before, and what it has left: 200 KB of former groups.
fn worn() -> (TempDir, RocksLog, TopicId) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    {
        // The directory is copied while it is open: no table may go meanwhile.
        let db = log.db();
        let db = engine(&db).unwrap();
        for name in [keys::CF_LOG, keys::CF_STATE, keys::CF_DEDUPE] {
            db.set_options_cf(family(db, name).unwrap(), &[("disable_auto_compactions", "true")]).unwrap();
        }
    }
    let topic = log.topic("a").unwrap();
    let large = "x".repeat(10_000);
    for _ in 0..5 {
        for _ in 0..20 {
            log.commit(vec![append(topic, &large)], true).unwrap();
        }
        log.flush().unwrap();
    }
    log.commit(vec![Batch { ops: smallvec![Op::Trim { topic, below: u64::MAX }] }], true).unwrap();
    assert!(fs::metadata(wal_file(&dir)).unwrap().len() > 200_000, "the file is no recycled one");
    (dir, log, topic)
}

/// The first bytes that differ from those of before, and the last.
fn written(before: &[u8], after: &[u8]) -> std::ops::Range<usize> {
    let differs = |at: &usize| before.get(*at) != after.get(*at);
    let first = (0..after.len()).find(differs).unwrap();
    first..(0..after.len()).rev().find(differs).unwrap() + 1
}

fn torn(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("torn")).map_or(0, Iterator::count)
}

/// The write-ahead files, oldest first.
fn wal_files(dir: &TempDir) -> Vec<PathBuf> {
    wal::wal_files(&dir.path().join("log")).unwrap().into_iter().map(|wal| wal.path).collect()
}

#[test]
fn what_is_left_over_of_a_recycled_file_is_no_damage() {
    let (dir, log, topic) = worn();
    let mut expected = Vec::new();
    for i in 0..50 {
        log.commit(vec![append(topic, &format!("r{i}"))], i % 3 != 0).unwrap();
        expected.push(format!("r{i}"));
        let copy = copy_of(&dir);
        let opened = open(&copy).unwrap();
        assert_eq!(texts(&opened, topic), expected);
        assert_eq!(torn(&copy), 0, "an end is cut off without a word");
        opened.commit(vec![append(topic, "next")], true).unwrap();
        drop(opened);
        assert_eq!(texts(&open(&copy).unwrap(), topic).len(), expected.len() + 1);
    }
    drop(log);
    assert_eq!(texts(&open(&dir).unwrap(), topic), expected, "nor after a close");
}

#[test]
fn of_a_write_that_no_sync_covered_any_pages_may_be_missing() {
    let (dir, log, topic) = worn();
    log.commit(vec![append(topic, "first")], true).unwrap();
    let before = fs::read(wal_file(&dir)).unwrap();
    for data in ["lazy", "also lazy"] {
        log.commit(vec![append(topic, &data.repeat(8000))], false).unwrap();
    }
    let after = fs::read(wal_file(&dir)).unwrap();
    let pages: Vec<usize> = (written(&before, &after).start / PAGE..=written(&before, &after).end / PAGE).collect();
    assert!(pages.len() > 20, "{pages:?}");
    // One page, all from one on, and every other one.
    let lost = pages.iter().map(|page| vec![*page]);
    let lost = lost.chain((0..pages.len()).map(|from| pages[from..].to_vec()));
    let lost = lost.chain([0, 1].map(|odd| pages.iter().copied().filter(|page| page % 2 == odd).collect()));
    for lost in lost {
        let mut bytes = after.clone();
        for page in &lost {
            let at = page * PAGE..((page + 1) * PAGE).min(before.len());
            bytes[at.clone()].copy_from_slice(&before[at]);
        }
        let copy = copy_of(&dir);
        fs::write(wal_file(&copy), &bytes).unwrap();
        let opened = open(&copy).unwrap_or_else(|e| panic!("{lost:?}: {e}"));
        let found = texts(&opened, topic);
        assert!(found.len() < 3 || bytes == after, "{lost:?}: {}", found.len());
        assert_eq!(found[0], "first", "{lost:?}");
        assert!(found.get(1).is_none_or(|text| text.len() == 32_000), "{lost:?}");
        opened.commit(vec![append(topic, "next")], true).unwrap();
        drop(opened);
        let again = texts(&open(&copy).unwrap(), topic);
        assert_eq!((again.len(), again.last().unwrap().as_str()), (found.len() + 1, "next"), "{lost:?}");
    }
    let copy = copy_of(&dir);
    let mut bytes = after.clone();
    let middle = pages[pages.len() / 2] * PAGE;
    bytes[middle..middle + PAGE].fill(0);
    fs::write(wal_file(&copy), &bytes).unwrap();
    open(&copy).unwrap();
    assert_eq!(torn(&copy), 1, "what is a group's is kept aside");
}

#[test]
fn damage_to_what_was_synced_is_told_from_what_is_left_over() {
    let (dir, log, topic) = worn();
    let before = fs::read(wal_file(&dir)).unwrap();
    for i in 0..30 {
        log.commit(vec![append(topic, &format!("{i}-{}", "r".repeat(3000)))], true).unwrap();
    }
    let after = fs::read(wal_file(&dir)).unwrap();
    let written = written(&before, &after);
    let step = written.len() / 150;
    for at in written.step_by(step) {
        for damage in 0..3 {
            let mut bytes = after.clone();
            match damage {
                0 => bytes[at] ^= 0x10,
                1 => bytes[at..at + 200].fill(0),
                _ => bytes[at..at + PAGE].copy_from_slice(&before[at..at + PAGE]),
            }
            let copy = copy_of(&dir);
            fs::write(wal_file(&copy), &bytes).unwrap();
            let Err(Error::Open(what)) = open(&copy) else { panic!("byte {at}, damage {damage}: opened") };
            assert!(what.contains("acknowledged data is missing"), "byte {at}: {what}");
            assert_eq!(fs::read(wal_file(&copy)).unwrap(), bytes, "and the file is left as it is");
        }
    }
    drop(log);
    assert_eq!(texts(&open(&dir).unwrap(), topic).len(), 30);
}

/// Closes the write-ahead file and keeps it: what is in the log's memtable still needs it.
fn next_file(log: &RocksLog) {
    let db = log.db();
    let db = engine(&db).unwrap();
    db.flush_cf(family(db, keys::CF_STATE).unwrap()).unwrap();
}

/// A fragment as RocksDB writes it, of the file with this number.
fn fragment(kind: u8, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
    out.push(kind);
    if matches!(kind, 5..=8 | 131) {
        out.extend(&number.to_le_bytes()[..4]);
    }
    out.extend(payload);
    let crc = crc32c::crc32c(&out[6..]).rotate_right(15).wrapping_add(0xa282_ead8);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    out
}

/// A write batch with a marker, or none, that puts a key into the column family `default`.
fn batch(marker: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    if !marker.is_empty() {
        out.extend([3, u8::try_from(marker.len()).unwrap()]);
        out.extend(marker);
    }
    out.extend(b"\x01\x06forged\x01x");
    out
}

#[test]
fn an_event_that_looks_like_a_group_is_none_when_it_is_left_over() {
    let (dir, log, topic) = worn();
    let before = fs::read(wal_file(&dir)).unwrap();
    log.commit(vec![append(topic, "r0"), append(topic, "r1")], true).unwrap();
    let path = wal_file(&dir);
    let after = fs::read(&path).unwrap();
    let end = written(&before, &after).end;
    let number: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let group = lock(&log.writer).group;
    let foreign = wal::Chain::default();
    let (next, far) = (foreign.marker(group + 1, group), foreign.marker(group + 9, group + 8));
    let old = [b"hxG1".as_slice(), &(group + 1).to_be_bytes(), &group.to_be_bytes()].concat();
    let old_far = [b"hxG1".as_slice(), &(group + 9).to_be_bytes(), &(group + 8).to_be_bytes()].concat();
    let two =
        [group + 9, group + 10].map(|group| fragment(5, number, &batch(&foreign.marker(group, group - 1)))).concat();
    let forged = [
        ("without a marker", fragment(5, number, &batch(b""))),
        ("the next group", fragment(5, number, &batch(&next))),
        ("a later group", fragment(5, number, &batch(&far))),
        ("a marker of the time before", fragment(5, number, &batch(&old))),
        ("a group of the time before", fragment(1, number, &batch(&old))),
        ("a record of the file before", fragment(130, number, &[7; 24])),
        ("of a later file", fragment(5, number + 1, &batch(&next))),
        (
            "an end and a group of the time before",
            [fragment(4, number, b""), fragment(1, number, &batch(&old_far))].concat(),
        ),
        ("an end and two groups", [fragment(8, number, b""), two.clone()].concat()),
        ("an unknown kind and two groups", [fragment(9, number, b""), two.clone()].concat()),
        ("a file before and two groups", [fragment(131, number, &[7; 24]), two].concat()),
    ];
    for (name, bytes) in forged {
        let copy = copy_of(&dir);
        let file = fs::OpenOptions::new().write(true).open(wal_file(&copy)).unwrap();
        file.write_all_at(&bytes, end as u64).unwrap();
        let opened = open(&copy).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(texts(&opened, topic), ["r0", "r1"], "{name}");
        let db = opened.db();
        assert!(engine(&db).unwrap().get(b"forged").unwrap().is_none(), "{name}");
        assert_eq!(torn(&copy), 0, "{name}");
    }
    // That such a fragment would be taken if it were a group's: the same place, and what a group says there.
    let copy = copy_of(&dir);
    let file = fs::OpenOptions::new().write(true).open(wal_file(&copy)).unwrap();
    let real = lock(&log.writer).chain.marker(group + 1, group);
    file.write_all_at(&fragment(5, number, &batch(&real)), end as u64).unwrap();
    let opened = open(&copy).unwrap();
    let db = opened.db();
    assert!(engine(&db).unwrap().get(b"forged").unwrap().is_some(), "the test forges at the wrong place");
}

/// A file that is closed and needed, and the one after it.
fn two_files(after: usize) -> (TempDir, RocksLog, TopicId) {
    let (dir, log, topic) = worn();
    for i in 0..30 {
        log.commit(vec![append(topic, &format!("k{i}"))], true).unwrap();
    }
    next_file(&log);
    for i in 0..after {
        log.commit(vec![append(topic, &format!("l{i}"))], true).unwrap();
    }
    (dir, log, topic)
}

#[test]
fn a_closed_file_ends_where_the_next_one_says() {
    for after in [0, 3] {
        let (dir, _log, topic) = two_files(after);
        let copy = copy_of(&dir);
        assert_eq!(texts(&open(&copy).unwrap(), topic).len(), 30 + after);
        assert_eq!(torn(&copy), 0);
        let files = wal_files(&dir);
        let (closed, last) = (&files[files.len() - 2], files.last().unwrap());
        let said = wal::wal_files(&dir.path().join("log")).unwrap().pop().unwrap().before.unwrap();
        assert!(closed.ends_with(format!("{:06}.log", said.number)), "{closed:?}: {said:?}");
        let whole = fs::read(closed).unwrap();
        let end = usize::try_from(said.size).unwrap();
        let refused = |what: &str, change: &dyn Fn(&Path)| {
            let copy = copy_of(&dir);
            change(&copy.path().join("log"));
            let Err(Error::Open(said)) = open(&copy) else { panic!("{after} groups after, {what}: opened") };
            assert!(said.contains("acknowledged data is missing"), "{what}: {said}");
        };
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        for at in (0..end).step_by(end / 50) {
            refused(&format!("flipped at {at}"), &|log| {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(log.join(name(closed)), bytes).unwrap();
            });
            refused(&format!("cut at {at}"), &|log| {
                fs::write(log.join(name(closed)), &whole[..at]).unwrap();
            });
        }
        refused("removed", &|log| fs::remove_file(log.join(name(closed))).unwrap());
        if after > 0 {
            refused("the last one removed", &|log| fs::remove_file(log.join(name(last))).unwrap());
        }
    }
}

#[test]
fn files_whose_content_is_in_tables_may_be_gone() {
    let (dir, log, topic) = two_files(3);
    log.flush().unwrap();
    log.commit(vec![append(topic, "last")], true).unwrap();
    let files = wal_files(&dir);
    assert!(files.len() > 2, "{files:?}");
    for gone in &files[..files.len() - 1] {
        let copy = copy_of(&dir);
        fs::remove_file(copy.path().join("log").join(gone.file_name().unwrap())).unwrap();
        assert_eq!(texts(&open(&copy).unwrap(), topic).len(), 34, "{gone:?}");
    }
}

/// A loss of power before the new name of a recycled file was on disk: what was written to it is under its old name.
#[test]
fn a_recycled_file_under_its_former_name_is_not_needed() {
    let (dir, log, topic) = two_files(3);
    let former = wal_files(&dir);
    log.flush().unwrap();
    log.commit(vec![append(topic, "last")], true).unwrap();
    next_file(&log);
    log.commit(vec![append(topic, "lost")], false).unwrap();
    let files = wal::wal_files(&dir.path().join("log")).unwrap();
    let former = former.iter().find(|path| files.iter().all(|file| file.path != **path)).expect("one has a new name");
    let number: u64 = former.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert!(files.iter().any(|file| file.before.is_some_and(|before| before.number == number)), "{number}: {files:?}");
    let copy = copy_of(&dir);
    let in_copy = |path: &Path| copy.path().join("log").join(path.file_name().unwrap());
    fs::rename(in_copy(&wal_file(&dir)), in_copy(former)).unwrap();
    let found = texts(&open(&copy).unwrap(), topic);
    assert_eq!((found.len(), found.last().unwrap().as_str()), (34, "last"));
}

/// Killed in its first start, after RocksDB had made its manifest and before it made a write-ahead file.
#[test]
fn a_directory_without_a_write_ahead_file_is_opened_when_nothing_is_missing() {
    let (dir, topic) = filled(2);
    let log = open(&dir).unwrap();
    log.flush().unwrap();
    drop(log);
    for file in wal_files(&dir) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(texts(&open(&dir).unwrap(), topic), ["r0", "r1"]);
}

#[test]
fn what_follows_a_torn_file_goes_with_it() {
    let (dir, log, topic) = worn();
    log.commit(vec![append(topic, "synced")], true).unwrap();
    let before = fs::read(wal_file(&dir)).unwrap();
    log.commit(vec![append(topic, "lazy")], false).unwrap();
    let torn_file = wal_file(&dir);
    let after = fs::read(&torn_file).unwrap();
    next_file(&log);
    log.commit(vec![append(topic, "later")], false).unwrap();
    let copy = copy_of(&dir);
    let in_copy = |path: &Path| copy.path().join("log").join(path.file_name().unwrap());
    let (torn_file, later) = (in_copy(&torn_file), in_copy(&wal_file(&dir)));
    let lost = written(&before, &after);
    fs::OpenOptions::new()
        .write(true)
        .open(&torn_file)
        .unwrap()
        .write_all_at(&before[lost.clone()], lost.start as u64)
        .unwrap();
    // The scan alone: RocksDB syncs a file before it lets go of a memtable, and would take this for damage.
    let marked = lock(&log.writer).synced;
    wal::check(&copy.path().join("log"), marked, &copy.path().join("torn"), false).unwrap();
    assert_eq!(fs::metadata(&torn_file).unwrap().len(), lost.start as u64);
    assert_eq!(fs::metadata(&later).unwrap().len(), 0, "a later group without the earlier one is none");
    assert_eq!(torn(&copy), 2);
}

#[test]
fn files_of_the_time_before_recycling_are_read() {
    let (dir, topic) = filled(2);
    let write_old = |group: u64, seq: Seq| {
        let options = RocksOptions::new(dir.path());
        let now = Arc::new(AtomicI64::new(Wall::now().0));
        let path = dir.path().join("log");
        let db = DB::open_cf_descriptors(&options::recovery(&options).unwrap(), path, options::families(&options, now))
            .unwrap();
        let (state, records) = (family(&db, keys::CF_STATE).unwrap(), family(&db, keys::CF_LOG).unwrap());
        let mut batch = WriteBatch::default();
        let marker = [b"hxG1".as_slice(), &group.to_be_bytes(), &(group - 1).to_be_bytes()].concat();
        batch.put_log_data(marker);
        let mut value = Vec::new();
        let header = keys::Header { stored: Wall::now(), offset: 0 };
        keys::encode_record(&mut value, topic, seq, header, &event(&format!("old {seq}")), None);
        batch.put_cf(records, keys::record(topic, seq), &value);
        let counters = Counters { next: seq + 1, ..open_counters(&db, topic) };
        batch.put_cf(state, keys::counters(topic), counters.encode(topic));
        batch.put_cf(state, keys::KEY_GROUP, group.to_be_bytes());
        db.write(batch).unwrap();
    };
    // The topic and two records are three groups.
    write_old(4, 3);
    let whole = fs::metadata(wal_file(&dir)).unwrap().len();
    let cut = copy_of(&dir);
    fs::OpenOptions::new().write(true).open(wal_file(&cut)).unwrap().set_len(whole - 3).unwrap();
    assert_eq!(texts(&open(&cut).unwrap(), topic), ["r0", "r1"], "never synced");
    let log = open(&dir).unwrap();
    assert_eq!(texts(&log, topic), ["r0", "r1", "old 3"]);
    log.commit(vec![append(topic, "new")], true).unwrap();
    drop(log);
    assert_eq!(texts(&open(&dir).unwrap(), topic).len(), 4);
}

fn open_counters(db: &DB, topic: TopicId) -> Counters {
    let stored = db.get_cf(family(db, keys::CF_STATE).unwrap(), keys::counters(topic)).unwrap().unwrap();
    Counters::decode(topic, &stored).unwrap()
}
