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
    let mut writer = writer(dir.path(), None, Some(Compress::Gzip));
    append(&mut writer, "11\n22\n");
    let at_work = writer.take_rotated();
    let begun = dir.path().join("a.20261124T080000Z.1.jsonl.gz.new");
    std::fs::write(&begun, "half").unwrap();
    writer.forget();
    append(&mut writer, "3\n");
    let names: Vec<String> = writer.take_rotated().iter().map(|file| file.name().to_owned()).collect();
    assert_eq!(names, ["a.20261124T080000Z.2.jsonl"], "that one was rotated just now");
    assert!(begun.exists());
    drop(at_work);
    writer.forget();
    append(&mut writer, "\n");
    assert!(!begun.exists());
    assert_eq!(writer.take_rotated().len(), 2);
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
    let dir_fd = OwnedFd::from(File::open(dir.path()).unwrap());
    let second = Claims::default().claim(dir.path(), &dir_fd, "a.20261124T080000Z.2.jsonl", Compress::Gzip);
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
    let dir_fd = OwnedFd::from(File::open(dir.path()).unwrap());
    let file = Claims::default().claim(dir.path(), &dir_fd, "a", Compress::Gzip).unwrap().unwrap();
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
