//! The file target as the forwarder uses it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::TopicId;
use crate::target::kinds::sample::Sample;
use crate::target::{Secrets, Verdict, attempt, attempt_batch};
use std::path::Path;
use zeroize::Zeroizing;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        Err(format!("`{reference}` is not set"))
    }
}

fn build(base: &Path, toml: &str) -> Result<Arc<dyn Target>, Error> {
    let settings = Sample::read(&format!("name = \"t\"\nkind = \"file\"\n{toml}")).unwrap();
    settings.build(&Context { base_dir: base, secrets: &NoSecrets, allow_networks: &[], lookup: None })
}

fn record(seq: u64, kind: &str, data: &str) -> Arc<Record> {
    let event = Event::new("s", kind, bytes::Bytes::copy_from_slice(data.as_bytes()));
    Arc::new(Record::new("t".into(), TopicId(1), seq, Wall(0), event))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_batch_lands_in_the_files_it_names_in_order() {
    let base = tempfile::tempdir().unwrap();
    let target = build(base.path(), "path = \"out/${event.type}.jsonl\"").unwrap();
    let batch =
        [record(1, "a", "1"), record(2, "b", "2"), record(3, "a", "3"), record(4, "../x", "4"), record(5, "x\0", "5")];
    let outcomes = attempt_batch(&*target, &batch, Wall(0)).await;
    let delivered: Vec<bool> = outcomes.iter().map(Outcome::is_delivered).collect();
    assert_eq!(delivered, [true, true, true, false, false]);
    assert_eq!(read(base.path().join("out/a.jsonl")), "1\n3\n");
    assert_eq!(read(base.path().join("out/b.jsonl")), "2\n");
    assert_eq!(outcomes[0].detail().path.as_deref(), Some("out/a.jsonl"));
    assert_eq!(outcomes[0].detail().sent, 2);
    for outcome in &outcomes[3..] {
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Refused, Verdict::DeadLetter), "{failure:?}");
    }
    assert!(!base.path().join("x.jsonl").exists());

    let one = attempt(&*target, Delivery { record: &record(6, "a", "6"), attempt: 1, now: Wall(0) }).await;
    assert!(one.is_delivered());
    assert_eq!(read(base.path().join("out/a.jsonl")), "1\n3\n6\n");
}

#[tokio::test]
async fn an_event_names_no_file_that_counts_as_put_aside() {
    let base = tempfile::tempdir().unwrap();
    let toml = "path = \"out/${event.type}.jsonl\"\nfsync = \"never\"\nrotate = { size = \"1KiB\", keep = 2 }";
    let target = build(base.path(), toml).unwrap();
    let line = format!("\"{}\"", "x".repeat(600));
    let orders = vec![record(1, "orders", &line); 3];
    assert!(attempt_batch(&*target, &orders, Wall(0)).await.iter().all(Outcome::is_delivered));
    for kind in [
        "orders.99991231T235959Z.1",
        "orders.20200101T000000Z.7",
        "orders.20200101T000000Z.7.jsonl/a",
        "orders.20200101T000000Z.7.jsonl.gz",
        "a.b.20200101T000000Z.7",
    ] {
        let Outcome::Failed(failure) = &attempt_batch(&*target, &[record(2, kind, "1")], Wall(0)).await[0] else {
            panic!("{kind} was delivered")
        };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Refused, Verdict::DeadLetter), "{failure:?}");
    }
    for kind in
        ["orders.20200101T000000Z", "orders.20200101T0000000.1", "20200101T000000Z.1", "orders.0000000zT000000Z.1"]
    {
        assert!(attempt_batch(&*target, &[record(3, kind, "1")], Wall(0)).await[0].is_delivered(), "{kind}");
    }
    assert!(attempt_batch(&*target, &orders, Wall(0)).await.iter().all(Outcome::is_delivered));
    assert_eq!(read(base.path().join("out/orders.0000000zT000000Z.1.jsonl")), "1\n", "it is no old file of `orders`");
    let settings = build(base.path(), "path = \"orders.20200101T000000Z.7.jsonl\"");
    assert!(settings.is_ok(), "what the operator names is the operator's: {:?}", settings.err());
}

#[tokio::test]
async fn whole_events_and_syncing_at_close() {
    let base = tempfile::tempdir().unwrap();
    let target = build(base.path(), "path = \"e.jsonl\"\nformat = \"cloudevents\"\nfsync = \"interval\"").unwrap();
    assert!(attempt_batch(&*target, &[record(1, "push", "{\"a\":1}")], Wall(0)).await[0].is_delivered());
    target.close().await;
    let value: serde_json::Value = serde_json::from_str(&read(base.path().join("e.jsonl"))).unwrap();
    assert_eq!((&value["type"], &value["data"]["a"]), (&"push".into(), &1.into()));
    assert!(value["traceparent"].is_string());
}

#[tokio::test]
async fn a_template_that_fails_is_a_dead_letter() {
    let base = tempfile::tempdir().unwrap();
    let target = build(base.path(), "path = \"out/${1 / event.data.n}.jsonl\"").unwrap();
    let outcomes = attempt_batch(&*target, &[record(1, "a", "{\"n\":0}")], Wall(0)).await;
    let Outcome::Failed(failure) = &outcomes[0] else { panic!("delivered") };
    assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{failure:?}");
}

#[tokio::test]
async fn batches_called_at_once_are_written_one_after_another() {
    let base = tempfile::tempdir().unwrap();
    let target = build(base.path(), "path = \"a.jsonl\"\nfsync = \"never\"").unwrap();
    let batches: Vec<_> = (0..20u64).map(|n| vec![record(n, "a", &n.to_string()); 50]).collect();
    let all = futures_util::future::join_all(batches.iter().map(|b| attempt_batch(&*target, b, Wall(0)))).await;
    assert!(all.iter().flatten().all(Outcome::is_delivered));
    let text = read(base.path().join("a.jsonl"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1000);
    assert!(lines.chunks(50).all(|chunk| chunk.iter().all(|line| *line == chunk[0])), "batches are not mixed");
}

#[tokio::test]
async fn other_columns_begin_another_file() {
    let base = tempfile::tempdir().unwrap();
    let columns = |names: [&str; 2]| {
        let [a, b] = names.map(|name| format!("{{ name = \"{name}\", value = \"${{event.data.{name}}}\" }}"));
        format!("path = \"a.csv\"\ncolumns = [{a}, {b}]")
    };
    let write = async |toml: String, data: &str| {
        // As a reload and a restart do.
        let target = build(base.path(), &toml).unwrap();
        assert!(attempt_batch(&*target, &[record(1, "a", data)], Wall(0)).await[0].is_delivered());
        target.close().await;
    };
    let files = || {
        let entries = std::fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap());
        let mut found: Vec<_> = entries.map(|e| (e.file_name().into_string().unwrap(), read(e.path()))).collect();
        found.sort();
        found
    };
    let data = r#"{"x":1,"y":2,"longer":3}"#;
    write(columns(["x", "y"]), data).await;
    write(columns(["x", "y"]), data).await;
    let [(_, first)] = &files()[..] else { panic!("{:?}", files()) };
    assert_eq!(first.lines().collect::<Vec<_>>(), ["x,y", "1,2", "1,2"], "the same columns, the same file");
    // The same columns in another order; and names that are longer than all of the file.
    write(columns(["y", "x"]), data).await;
    write(columns(["longer", "y"]), data).await;
    let found = files();
    let lines: Vec<Vec<&str>> = found.iter().map(|(_, text)| text.lines().collect()).collect();
    assert_eq!(lines, [vec!["x,y", "1,2", "1,2"], vec!["y,x", "2,1"], vec!["longer,y", "3,2"]], "{found:?}");
    assert_eq!(found[2].0, "a.csv", "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_while_files_are_compressed_loses_no_line_and_doubles_none() {
    let base = tempfile::tempdir().unwrap();
    let toml = "path = \"a.jsonl\"\nfsync = \"never\"\nrotate = { size = \"1MiB\", compress = \"gzip\" }";
    let mut sent = Vec::new();
    for round in 0..4 {
        // A line that takes a while to compress.
        let lines = (0..400u64).map(|n| {
            let noise: Vec<u64> =
                (0..250).map(|m| (round * 1_000 + n * 7 + m).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            format!("[{},{noise:?}]", round * 1_000 + n)
        });
        let lines: Vec<String> = lines.collect();
        let batch: Vec<_> = lines.iter().enumerate().map(|(at, line)| record(at as u64, "a", line)).collect();
        sent.extend(lines.iter().map(|line| line.split(',').next().unwrap().to_owned()));
        // As a reload does: the one before is closed, and compresses on.
        let target = build(base.path(), toml).unwrap();
        assert!(attempt_batch(&*target, &batch, Wall(0)).await.iter().all(Outcome::is_delivered));
        target.close().await;
    }
    let names =
        || std::fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let end = Instant::now() + Duration::from_secs(60);
    while names().any(|name| name != "a.jsonl" && !name.ends_with(".gz")) {
        assert!(Instant::now() < end, "{:?}", names().collect::<Vec<_>>());
        tokio::task::yield_now().await;
    }
    assert!(names().count() > 4, "{:?}", names().collect::<Vec<_>>());
    let mut found: Vec<String> = Vec::new();
    for name in names() {
        let file = std::fs::File::open(base.path().join(&name)).unwrap();
        let text = if name == "a.jsonl" {
            std::io::read_to_string(file).unwrap()
        } else {
            std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap()
        };
        found.extend(text.lines().map(|line| line.split(',').next().unwrap().to_owned()));
    }
    sent.sort();
    found.sort();
    assert_eq!(found, sent);
}

#[test]
fn settings_that_are_refused() {
    let base = tempfile::tempdir().unwrap();
    for (toml, said) in [
        ("path = \"../a\"", "stays inside"),
        ("path = \"/var/log/a\"", "absolute"),
        ("path = \"\"", "0 bytes"),
        ("path = \"${event.type}\"", "begin it with a directory"),
        ("path = \"/x/${event.type}\"", "absolute"),
        ("path = \"/${event.type}\"", "absolute"),
        ("path = \"../${event.type}\"", "stays inside"),
        ("path = \"a\"\nrotate = { keep = 3 }", "needs `size`"),
        ("path = \"a\"\nrotate = { size = \"1B\" }", "at least 1KiB"),
        ("path = \"a\"\nrotate = { age = \"1ms\" }", "at least 1s"),
        ("path = \"a\"\ndirectory = \"${event.type}\"", "constant"),
        ("path = \"a${\"", "HX"),
    ] {
        let error = build(base.path(), toml).expect_err(toml).to_string();
        assert!(error.contains(said) && error.starts_with("target `t`"), "{toml}: {error}");
    }
}

#[test]
fn defaults_are_those_of_the_policies() {
    let settings: Common = toml::from_str("name = \"t\"").unwrap();
    assert_eq!((settings.timeout.0, settings.concurrency), (Duration::from_secs(15), 16));
    let pauses = settings.retry.pauses();
    let total: Duration = pauses.iter().sum();
    assert_eq!((pauses.len(), total.as_secs()), (12, 272_556), "13 attempts, 75.7 h");
    assert_eq!((settings.breaker.failures, settings.breaker.open_max.0), (5, Duration::from_secs(600)));
}

#[tokio::test]
async fn a_backlog_is_written_in_batches() {
    let base = tempfile::tempdir().unwrap();
    let target = build(base.path(), "path = \"a.jsonl\"").unwrap();
    let Mode::Batch { max_records, .. } = target.mode() else { panic!("a file takes batches") };
    let batch: Vec<_> = (0..max_records as u64).map(|n| record(n, "a", "{\"a\":1}")).collect();
    for _ in 0..10 {
        assert!(attempt_batch(&*target, &batch, Wall(0)).await.iter().all(Outcome::is_delivered));
    }
    assert_eq!(read(base.path().join("a.jsonl")).lines().count(), 10 * max_records);
}

proptest::proptest! {
    #[test]
    fn no_event_leaves_the_directory(kind in "[a./\\\\\0~%é ]{0,16}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outer = tempfile::tempdir().unwrap();
        let base = outer.path().join("base");
        let target = build(&base, "path = \"out/${event.type}\"\nfsync = \"never\"").unwrap();
        let outcomes = runtime.block_on(attempt_batch(&*target, &[record(1, &kind, "1")], Wall(0)));
        let outside: Vec<_> = std::fs::read_dir(outer.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        proptest::prop_assert!(outside.iter().all(|name| name == "base"));
        if outcomes[0].is_delivered() {
            let inside: Vec<_> = std::fs::read_dir(&base).unwrap().map(|e| e.unwrap().file_name()).collect();
            proptest::prop_assert_eq!(inside, ["out"]);
        }
    }
}
