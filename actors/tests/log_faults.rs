//! The log and its journal under injected faults. A binary of its own: failpoints are global to a process.

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use actix::{Actor, Addr, Arbiter};
use bytes::Bytes;
use hexafn_actors::event::Event;
use hexafn_actors::log::journal::{Barrier, Journal, JournalParts};
use hexafn_actors::log::rocks::{RocksLog, RocksOptions};
use hexafn_actors::log::{
    Appended, Back, Batch, Commit, DedupeKey, Durability, Error, EventLog, Op, Ops, Published, Receipt, TopicId,
};
use smallvec::smallvec;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// One test at a time sets failpoints; none is left set.
struct Faults(#[allow(dead_code)] MutexGuard<'static, ()>);

fn faults() -> Faults {
    static ONE: Mutex<()> = Mutex::new(());
    Faults(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Faults {
    fn drop(&mut self) {
        for (name, _) in fail::list() {
            fail::remove(name);
        }
    }
}

fn append(topic: TopicId, id: &str) -> Ops {
    let data = Bytes::copy_from_slice(id.as_bytes());
    let dedupe = Some(DedupeKey { scope: "s".into(), id: id.into(), window: Duration::from_secs(3600) });
    smallvec![Op::Append { topic, event: Box::new(Event::new("s", "t", data)), dedupe }]
}

fn write(log: &RocksLog, topic: TopicId, id: &str) -> Result<Vec<Receipt>, Error> {
    log.commit(vec![Batch { ops: append(topic, id) }], true)
}

fn open(path: &Path) -> (Arc<RocksLog>, TopicId) {
    let log = RocksLog::open(RocksOptions::new(path)).unwrap();
    let topic = log.topic("a").unwrap();
    (Arc::new(log), topic)
}

fn texts(log: &dyn EventLog, topic: TopicId) -> Vec<String> {
    let records = log.read(topic, 1, usize::MAX, usize::MAX).unwrap();
    records.iter().map(|r| String::from_utf8(r.event.data.to_vec()).unwrap()).collect()
}

/// That data cannot be read now does not make an event damaged, which would be given up.
#[test]
fn shared_data_that_cannot_be_read_now_is_read_later() {
    let _faults = faults();
    let dir = tempfile::tempdir().unwrap();
    let (log, topic) = open(dir.path());
    let other = log.topic("other").unwrap();
    let event = Event::new("s", "t", Bytes::from(vec![b'x'; 600]));
    let op = |topic| Op::Append { topic, event: Box::new(event.clone()), dedupe: None };
    log.commit(vec![Batch { ops: [op(topic), op(other)].into_iter().collect() }], true).unwrap();
    assert_eq!(log.shared_bytes(), 600);
    fail::cfg("log-data-unreadable", "return").unwrap();
    assert!(matches!(log.read(topic, 1, 9, usize::MAX), Err(Error::Unreadable(_))));
    fail::remove("log-data-unreadable");
    assert_eq!(texts(&*log, topic), ["x".repeat(600)]);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let _faults = faults();
    let dir = tempfile::tempdir().unwrap();
    let (log, topic) = open(dir.path());
    write(&log, topic, "r0").unwrap();
    let high = log.high(topic).unwrap();
    fail::cfg("journal-disk-full", "return").unwrap();
    assert!(matches!(write(&log, topic, "x"), Err(Error::Full)));
    fail::cfg("journal-disk-full", "off").unwrap();
    assert_eq!(texts(&*log, topic), ["r0"], "reading goes on");
    // Between two attempts to reopen some time must pass; the answer is asked for until it changes.
    while let Err(e) = write(&log, topic, "x") {
        assert!(matches!(e, Error::Full), "{e}");
        std::thread::yield_now();
    }
    assert_eq!(texts(&*log, topic), ["r0", "x"]);
    assert_eq!(high.load(Ordering::Acquire), 2, "the shared watermark is the same object after the reopening");
    drop(log);
    assert_eq!(texts(&*open(dir.path()).0, topic), ["r0", "x"]);
}

#[test]
fn a_failed_sync_is_final_and_shows_nothing() {
    let _faults = faults();
    let dir = tempfile::tempdir().unwrap();
    let (log, topic) = open(dir.path());
    write(&log, topic, "r0").unwrap();
    fail::cfg("journal-sync-fails", "return").unwrap();
    assert!(matches!(write(&log, topic, "x"), Err(Error::Failed(_))));
    fail::cfg("journal-sync-fails", "off").unwrap();
    assert!(matches!(write(&log, topic, "y"), Err(Error::Failed(_))));
    assert!(matches!(log.admits(&[]), Err(Error::Failed(_))));
    assert_eq!(texts(&*log, topic), ["r0"]);
}

struct Bench {
    _dir: TempDir,
    parts: JournalParts,
    topic: TopicId,
    fatal: Arc<AtomicU64>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (log, topic) = open(dir.path());
    let fatal = Arc::new(AtomicU64::new(0));
    let count = fatal.clone();
    let on_fatal = Arc::new(move |_: &Error| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    Bench { _dir: dir, parts: JournalParts::new(log, on_fatal), topic, fatal }
}

async fn start(parts: &JournalParts) -> Addr<Journal> {
    let (parts, arbiter) = (parts.clone(), Arbiter::new());
    let (tell, told) = oneshot::channel();
    arbiter.spawn_fn(move || drop(tell.send(Journal::new(parts).start())));
    told.await.unwrap()
}

fn commit(topic: TopicId, id: &str) -> (Commit, oneshot::Receiver<Result<Receipt, Error>>) {
    let (reply, answer) = oneshot::channel();
    (Commit { ops: append(topic, id), back: Back::Reply(Durability::Synced, reply) }, answer)
}

#[actix::test]
async fn a_failed_sync_answers_everybody_and_calls_for_the_end_once() {
    let _faults = faults();
    let b = bench();
    let journal = start(&b.parts).await;
    fail::cfg("journal-sync-fails", "return").unwrap();
    for id in ["x", "y", "z"] {
        let (message, answer) = commit(b.topic, id);
        journal.send(message).await.unwrap();
        assert!(matches!(answer.await.unwrap(), Err(Error::Failed(_))));
    }
    assert!(!b.parts.healthy.load(Ordering::SeqCst));
    assert_eq!(b.fatal.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn after_a_panic_in_a_commit_a_fresh_journal_goes_on() {
    let _faults = faults();
    for place in ["journal-before-write", "journal-before-sync", "journal-after-sync", "journal-panic"] {
        let b = bench();
        let journal = start(&b.parts).await;
        fail::cfg(place, "1*panic").unwrap();
        let (message, answer) = commit(b.topic, "x");
        // Whether the mailbox answers depends on where the panic is.
        journal.send(message).await.unwrap_or_default();
        assert!(answer.await.is_err(), "{place}: a closed channel says that nothing is acknowledged");
        let fresh = start(&b.parts).await;
        // The sender tries again: its event is stored once, whatever became of the first attempt.
        let (message, answer) = commit(b.topic, "x");
        fresh.send(message).await.unwrap();
        let written = place == "journal-before-sync" || place == "journal-after-sync";
        match &answer.await.unwrap().unwrap().appended[0] {
            Appended::Stored(record) => assert!(!written && record.seq == 1, "{place}"),
            Appended::Duplicate { seq, .. } => assert!(written && *seq == 1, "{place}"),
        }
        let (message, answer) = commit(b.topic, "y");
        fresh.send(message).await.unwrap();
        answer.await.unwrap().unwrap();
        assert_eq!(texts(&*b.parts.log, b.topic), ["x", "y"], "{place}");
        assert!(b.parts.healthy.load(Ordering::SeqCst));
    }
}

#[actix::test]
async fn a_slow_sync_is_shared_by_all_that_wait_for_it() {
    let _faults = faults();
    let b = bench();
    let journal = start(&b.parts).await;
    fail::cfg("journal-slow-sync", "delay(500)").unwrap();
    let (messages, answers): (Vec<_>, Vec<_>) = (0..50).map(|n| commit(b.topic, &n.to_string())).unzip();
    let sent = futures_util::future::join_all(messages.into_iter().map(|message| journal.send(message)));
    assert!(sent.await.iter().all(Result::is_ok));
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    // The first may go alone; what came during its sync shares the next.
    let syncs = b.parts.stats.synced.load(Ordering::Relaxed);
    assert!((1..=3).contains(&syncs), "{syncs} syncs for 50 commits");
    assert_eq!(texts(&*b.parts.log, b.topic).len(), 50);
    assert!(b.parts.healthy.load(Ordering::SeqCst) && b.fatal.load(Ordering::SeqCst) == 0);
}

#[actix::test]
async fn what_nobody_waits_for_does_not_wait_for_the_sync_of_others() {
    let _faults = faults();
    let b = bench();
    let outbox = b.parts.log.topic("out").unwrap();
    let seen: Arc<Mutex<Vec<(TopicId, u64)>>> = Arc::default();
    for topic in [b.topic, outbox] {
        let list = seen.clone();
        let sink = move |published: Published| {
            list.lock().unwrap().extend(published.records.iter().map(|record| (topic, record.seq)));
        };
        b.parts.sinks.set(topic, Arc::new(sink));
    }
    let journal = start(&b.parts).await;
    // Each sync says that it begins, and waits for a word.
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let both = Mutex::new((begin, gone));
    let sync = move || {
        let (begin, gone) = &*both.lock().unwrap();
        begin.send(()).unwrap_or_default();
        gone.recv().unwrap_or_default();
    };
    fail::cfg_callback("journal-before-sync", sync).unwrap();
    let (message, first) = commit(b.topic, "x");
    journal.send(message).await.unwrap();
    begun.recv().unwrap();
    // Both are in the next group.
    let (message, second) = commit(b.topic, "y");
    journal.try_send(message).unwrap();
    let (told, is_written) = oneshot::channel();
    let back = Back::Unawaited(b.parts.epochs.now(), vec![told]);
    journal.try_send(Commit { ops: append(outbox, "of x"), back }).unwrap();
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    is_written.await.expect("it is written");
    begun.recv().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(b.topic, 1), (outbox, 1)], "and told of, before that group is synced");
    assert_eq!(texts(&*b.parts.log, outbox), ["of x"]);
    assert_eq!(b.parts.log.high(b.topic).unwrap().load(Ordering::Acquire), 1, "what the door waits for is not shown");
    go.send(()).unwrap();
    second.await.unwrap().unwrap();
    drop(go);
    let (reply, done) = oneshot::channel();
    journal.send(Barrier { reply }).await.unwrap();
    done.await.unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(b.topic, 1), (outbox, 1), (b.topic, 2)]);
}
