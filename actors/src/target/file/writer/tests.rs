//! Rotation, repair, moved files, failed writes; time is a number.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

const NOW: Wall = Wall(1_795_507_200_000_000); // 2026-11-24T08:00:00Z

fn append(writer: &mut Writer, name: &str, lines: &[&str], now: Wall) -> Result<(), (usize, Failure)> {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for line in lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        ends.push(bytes.len());
    }
    writer.append(name, &bytes, &ends, now)
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read_to_string(e.path()).unwrap())).collect()
}

fn writer(dir: &Path, rotate: Rotate) -> Writer {
    Writer::new(dir.to_owned(), rotate, Fsync::Always)
}

#[test]
fn rotation_by_size_splits_a_batch_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Rotate { size: Some(8), age: None, keep: Some(2), compress: None });
    append(&mut writer, "a.jsonl", &["111", "222", "333", "444", "555"], NOW).unwrap();
    append(&mut writer, "a.jsonl", &["666", "a line longer than the limit", "777"], NOW).unwrap();
    let expected = [
        ("a.20261124T080000Z.3.jsonl", "555\n666\n"),
        ("a.20261124T080000Z.4.jsonl", "a line longer than the limit\n"),
        ("a.jsonl", "777\n"),
    ];
    assert_eq!(files(dir.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[test]
fn a_clock_that_is_set_back_does_not_make_the_newest_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Rotate { size: Some(2), age: None, keep: Some(1), compress: None });
    append(&mut writer, "a", &["1", "2"], NOW).unwrap();
    append(&mut writer, "a", &["3"], Wall(NOW.0 - 3_600_000_000)).unwrap();
    assert_eq!(files(dir.path())["a.20261124T080000Z.2"], "2\n");
}

#[test]
fn rotation_without_keep_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Rotate { size: Some(8), age: None, keep: None, compress: None });
    for n in 0..100 {
        append(&mut writer, "a", &[&n.to_string()], NOW).unwrap();
    }
    let mut numbers: Vec<u32> =
        files(dir.path()).values().flat_map(|t| t.lines().map(|l| l.parse().unwrap())).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn rotation_by_age_at_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let mut writer = writer(dir.path(), Rotate { size: None, age: Some(day), keep: None, compress: None });
    append(&mut writer, "a.jsonl", &["1"], NOW).unwrap();
    append(&mut writer, "a.jsonl", &["2"], NOW.plus(day - Duration::from_micros(1))).unwrap();
    append(&mut writer, "a.jsonl", &["3"], NOW.plus(day)).unwrap();
    // A clock that was set back rotates nothing.
    append(&mut writer, "a.jsonl", &["4"], NOW).unwrap();
    let found = files(dir.path());
    assert_eq!(found["a.20261125T080000Z.1.jsonl"], "1\n2\n");
    assert_eq!(found["a.jsonl"], "3\n4\n");
}

#[test]
fn other_files_are_not_taken_for_rotated_ones() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["a.old.1.jsonl", "a.20261124T080000Z.x.jsonl", "ab.20200101T000000Z.1.jsonl", "a.20200101T000000Z.1.txt"]
    {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let mut writer = writer(dir.path(), Rotate { size: Some(2), age: None, keep: Some(0), compress: None });
    append(&mut writer, "a.jsonl", &["1", "2", "3"], NOW).unwrap();
    assert_eq!(files(dir.path()).len(), 5);
}

#[test]
fn a_torn_last_line_is_cut_or_completed() {
    for (before, after) in [
        ("", ""),
        ("{\"a\":1}\n", "{\"a\":1}\n"),
        ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n"),
        ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
        ("{\"a\":1}\n12", "{\"a\":1}\n"),
        ("{\"a\":1}\n\0\0\0", "{\"a\":1}\n"),
        ("{\"a\":", ""),
        ("{\"a\":1}", "{\"a\":1}\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), before).unwrap();
        append(&mut writer(dir.path(), Rotate::default()), "f", &["next"], NOW).unwrap();
        assert_eq!(files(dir.path())["f"], format!("{after}next\n"), "{before:?}");
    }
}

#[test]
fn a_torn_line_longer_than_the_buffer() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), format!("1\n\"{}", "x".repeat(200_000))).unwrap();
    append(&mut writer(dir.path(), Rotate::default()), "f", &["2"], NOW).unwrap();
    assert_eq!(files(dir.path())["f"], "1\n2\n");
}

#[test]
fn a_file_that_was_moved_deleted_or_cut_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Rotate::default());
    append(&mut writer, "d/f", &["1"], NOW).unwrap();
    std::fs::rename(dir.path().join("d/f"), dir.path().join("d/g")).unwrap();
    append(&mut writer, "d/f", &["2"], NOW).unwrap();
    std::fs::remove_dir_all(dir.path().join("d")).unwrap();
    append(&mut writer, "d/f", &["3"], NOW).unwrap();
    std::fs::write(dir.path().join("d/f"), "").unwrap();
    append(&mut writer, "d/f", &["4"], NOW).unwrap();
    std::fs::remove_file(dir.path().join("d/f")).unwrap();
    symlink("/etc/passwd", dir.path().join("d/f")).unwrap();
    let (safe, failure) = append(&mut writer, "d/f", &["5"], NOW).unwrap_err();
    assert_eq!((safe, failure.class), (0, crate::target::FailureClass::Refused), "{failure:?}");
}

#[test]
fn two_writers_of_one_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = writer(dir.path(), Rotate::default());
    append(&mut first, "f", &["1"], NOW).unwrap();
    let (_, failure) = append(&mut writer(dir.path(), Rotate::default()), "f", &["2"], NOW).unwrap_err();
    assert!(failure.message.contains("another target or process"), "{failure:?}");
    drop(first);
    append(&mut writer(dir.path(), Rotate::default()), "f", &["2"], NOW).unwrap();
    assert_eq!(files(dir.path())["f"], "1\n2\n");
}

#[test]
fn open_files_are_bounded_and_nothing_is_lost_by_closing_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path().to_owned(), Rotate::default(), Fsync::Interval);
    for round in 0..3 {
        for n in 0..100 {
            append(&mut writer, &format!("f{n}"), &[&round.to_string()], NOW).unwrap();
            assert!(writer.open.len() <= MAX_OPEN);
        }
    }
    assert!(writer.is_dirty());
    writer.sync().unwrap();
    assert!(!writer.is_dirty());
    assert!(files(dir.path()).values().all(|text| text == "0\n1\n2\n"));
}

#[test]
fn a_failed_write_says_why_and_leaves_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Rotate::default());
    append(&mut writer, "f", &["1"], NOW).unwrap();
    // The handle is exchanged for one that is open for reading only.
    let open = writer.open.get_mut("f").unwrap();
    open.file = File::open(&open.full).unwrap();
    let (safe, failure) = append(&mut writer, "f", &["2"], NOW).unwrap_err();
    assert_eq!(
        (safe, failure.class, failure.verdict),
        (0, crate::target::FailureClass::Io, crate::target::Verdict::Retry)
    );
    append(&mut writer, "f", &["2"], NOW).unwrap();
    assert_eq!(files(dir.path())["f"], "1\n2\n");
}

#[test]
fn a_full_disk_is_named() {
    let full = io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32);
    let failure = broken("writing", "a.jsonl", &full);
    assert!(failure.message.contains("the disk is full: free space"), "{failure:?}");
    assert_eq!(failure.verdict, crate::target::Verdict::Retry);
}

proptest::proptest! {
    #[test]
    fn after_any_tear_all_acknowledged_lines_are_there(
        lines in proptest::collection::vec("[a-z0-9\"{}\\[\\]: ]{1,12}", 1..8),
        torn in "[a-z0-9\"{}\\[\\]: ]{0,12}",
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        append(&mut writer(dir.path(), Rotate::default()), "f", &lines, NOW).unwrap();
        let file = dir.path().join("f");
        let acknowledged = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{acknowledged}{torn}")).unwrap();
        append(&mut writer(dir.path(), Rotate::default()), "f", &["next"], NOW).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        proptest::prop_assert!(text.starts_with(&acknowledged) && text.ends_with("next\n"));
        let middle = &text[acknowledged.len()..text.len() - "next\n".len()];
        let completed = format!("{torn}\n");
        proptest::prop_assert!(middle.is_empty() || middle == completed);
    }
}
