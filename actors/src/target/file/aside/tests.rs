//! Compressing, and what a crash leaves behind.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::target::file::writer::{Fsync, Rotate, Writer};
use std::io::Read;
use std::path::PathBuf;

const NOW: Wall = Wall(1_795_507_200_000_000); // 2026-11-24T08:00:00Z

fn writer(dir: &Path, keep: Option<usize>, compress: Option<Compress>) -> Writer {
    Writer::new(dir.to_owned(), Rotate { size: Some(4), age: None, keep, compress }, Fsync::Always)
}

fn append(writer: &mut Writer, lines: &str) {
    let ends: Vec<usize> = lines.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1).collect();
    writer.append("a.jsonl", lines.as_bytes(), &ends, NOW).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn unpacked(path: PathBuf) -> String {
    let bytes = std::fs::read(&path).unwrap();
    let mut text = String::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap()),
        _ => text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap(),
    }
    text
}

#[test]
fn rotated_files_are_compressed_and_the_plain_ones_removed() {
    for (by, ending) in [(Compress::Gzip, "gz"), (Compress::Zstd, "zst")] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path(), None, Some(by));
        append(&mut writer, "11\n22\n33\n");
        let rotated = writer.take_rotated();
        assert_eq!(rotated.len(), 2);
        for file in &rotated {
            file.compress().unwrap();
            file.compress().unwrap();
        }
        let expected = [
            format!("a.20261124T080000Z.1.jsonl.{ending}"),
            format!("a.20261124T080000Z.2.jsonl.{ending}"),
            "a.jsonl".into(),
        ];
        assert_eq!(names(dir.path()), expected);
        assert_eq!(unpacked(dir.path().join(&expected[0])), "11\n");
        assert_eq!(unpacked(dir.path().join(&expected[1])), "22\n");
        // The next one goes behind them.
        drop(rotated);
        append(&mut writer, "44\n");
        assert!(names(dir.path()).contains(&"a.20261124T080000Z.3.jsonl".to_owned()));
    }
}

#[test]
fn what_is_being_compressed_is_no_leftover() {
    let dir = tempfile::tempdir().unwrap();
    let new = || writer(dir.path(), None, Some(Compress::Gzip));
    let mut before = new();
    append(&mut before, "11\n22\n");
    let at_work = before.take_rotated();
    let begun = dir.path().join("a.20261124T080000Z.1.jsonl.gz.new");
    std::fs::write(&begun, "half").unwrap();
    // A reload: the first has closed its files, and compresses still.
    before.forget();
    let mut after = new();
    append(&mut after, "3\n");
    let rotated = after.take_rotated();
    let of_after: Vec<&str> = rotated.iter().map(Rotated::name).collect();
    assert_eq!(of_after, ["a.20261124T080000Z.2.jsonl"], "that one was rotated just now");
    assert!(begun.exists());
    drop(before);
    for file in at_work.iter().chain(&rotated) {
        file.compress().unwrap();
    }
    let unpacked = |n| unpacked(dir.path().join(format!("a.20261124T080000Z.{n}.jsonl.gz")));
    assert_eq!((unpacked(1).as_str(), unpacked(2).as_str()), ("11\n", "22\n"));
    assert_eq!(names(dir.path()).len(), 3);
}

#[test]
fn a_place_is_taken_in_whatever_form() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b.gz", "c.zst"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let dir = File::open(dir.path()).unwrap();
    let taken = ["a", "b", "c", "d"].map(|name| is_taken(&dir, name).unwrap());
    assert_eq!(taken, [true, true, true, false]);
}

#[test]
fn what_was_given_up_is_a_leftover() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), None, Some(Compress::Gzip));
    append(&mut writer, "11\n22\n");
    let begun = dir.path().join("a.20261124T080000Z.1.jsonl.gz.new");
    std::fs::write(&begun, "half").unwrap();
    drop(writer.take_rotated());
    writer.forget();
    append(&mut writer, "\n");
    assert!(!begun.exists());
    assert_eq!(writer.take_rotated().len(), 1);
}

#[test]
fn no_more_wait_than_may_be_open() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (100..200).map(|n| format!("{n}\n")).collect();
    append(&mut writer(dir.path(), None, None), &lines);
    let mut after = writer(dir.path(), None, Some(Compress::Gzip));
    let mut rounds = 0;
    loop {
        append(&mut after, "200\n");
        let rotated = after.take_rotated();
        assert!(rotated.len() <= MAX_WAITING, "{}", rotated.len());
        rotated.iter().for_each(|file| file.compress().unwrap());
        rounds += 1;
        if rotated.len() <= 1 {
            break;
        }
    }
    assert!(rounds > 1, "what found no place came later");
    let plain = names(dir.path()).into_iter().filter(|name| name.ends_with(".jsonl")).collect::<Vec<_>>();
    assert_eq!(plain, ["a.jsonl"]);
}

#[test]
fn keep_counts_a_file_once_in_whatever_form() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), Some(2), Some(Compress::Gzip));
    append(&mut writer, "11\n22\n33\n");
    for file in writer.take_rotated() {
        file.compress().unwrap();
    }
    append(&mut writer, "44\n55\n");
    let expected = ["a.20261124T080000Z.3.jsonl", "a.20261124T080000Z.4.jsonl", "a.jsonl"];
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn what_a_crash_left_behind_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = writer(dir.path(), None, None);
    append(&mut before, "11\n22\n33\n44\n");
    drop(before);
    let file = |name: &str| dir.path().join(name);
    // The first was being compressed; the second was compressed and not removed yet.
    std::fs::write(file("a.20261124T080000Z.1.jsonl.gz.new"), "half").unwrap();
    let dir_fd = Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
    let second = Compressing::new(Compress::Gzip).claim(&dir_fd, "a.20261124T080000Z.2.jsonl");
    second.unwrap().unwrap().compress().unwrap();
    std::fs::write(file("a.20261124T080000Z.2.jsonl"), "22\n").unwrap();
    std::fs::write(file("b.20261124T080000Z.2.jsonl"), "another target's").unwrap();

    let mut after = writer(dir.path(), None, Some(Compress::Gzip));
    append(&mut after, "5\n");
    let left = after.take_rotated();
    for file in &left {
        file.compress().unwrap();
    }
    let expected = [
        "a.20261124T080000Z.1.jsonl.gz",
        "a.20261124T080000Z.2.jsonl.gz",
        "a.20261124T080000Z.3.jsonl.gz",
        "a.20261124T080000Z.4.jsonl.gz",
        "a.jsonl",
        "b.20261124T080000Z.2.jsonl",
    ];
    assert_eq!(names(dir.path()), expected);
    let all: String = expected[..4].iter().map(|name| unpacked(file(name))).collect();
    assert_eq!(all, "11\n22\n33\n44\n");
}

#[test]
fn a_file_that_cannot_be_compressed_stays() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "1\n").unwrap();
    std::fs::create_dir(dir.path().join("a.gz")).unwrap();
    let dir_fd = Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
    let file = Compressing::new(Compress::Gzip).claim(&dir_fd, "a").unwrap().unwrap();
    file.compress().unwrap_err();
    assert_eq!(names(dir.path()), ["a", "a.gz"]);
}

#[test]
fn a_head_begins_each_file_and_a_torn_row_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let rotate = Rotate { size: Some(12), ..Rotate::default() };
    let new = || Writer::new(dir.path().to_owned(), rotate, Fsync::Always).of_text(b"id\n".to_vec());
    append(&mut new(), "\"1\"\n\"2\"\n\"3\"\n");
    let rotated = std::fs::read_to_string(dir.path().join("a.20261124T080000Z.1.jsonl")).unwrap();
    assert_eq!(rotated, "id\n\"1\"\n\"2\"\n");
    let current = dir.path().join("a.jsonl");
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "id\n\"3\"\n");
    // As JSON the rest would pass for a whole line.
    std::fs::write(&current, "id\n\"3\"\n\"4\"").unwrap();
    append(&mut new(), "5\n");
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "id\n\"3\"\n5\n");
    std::fs::write(&current, "").unwrap();
    append(&mut new(), "6\n");
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "id\n6\n");
}
