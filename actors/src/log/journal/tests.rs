//! The journal as an actor over the real engine: grouping, order, answers, faults.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::rocks::{RocksLog, RocksOptions};
use crate::log::{Back, Receipt, Table};
use actix::{Addr, Arbiter};
use bytes::Bytes;
use smallvec::smallvec;
use std::sync::Mutex;
use tempfile::TempDir;

struct Bench {
    _dir: TempDir,
    parts: JournalParts,
    topic: TopicId,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(RocksLog::open(RocksOptions::new(dir.path())).unwrap());
    let topic = log.topic("a").unwrap();
    let parts = JournalParts::new(log, Arc::new(|error| panic!("{error}")));
    Bench { _dir: dir, parts, topic }
}

/// On an arbiter of its own, as in the service.
async fn start(parts: &JournalParts) -> Addr<Journal> {
    let (parts, arbiter) = (parts.clone(), Arbiter::new());
    let (tell, told) = oneshot::channel();
    arbiter.spawn_fn(move || drop(tell.send(Journal::new(parts).start())));
    told.await.unwrap()
}

type Answer = oneshot::Receiver<Result<Receipt, Error>>;

fn commit(ops: Ops, durability: Durability) -> (Commit, Answer) {
    let (reply, answer) = oneshot::channel();
    (Commit { ops, back: Back::Reply(durability, reply) }, answer)
}

fn append(topic: TopicId) -> Ops {
    smallvec![Op::Append { topic, event: Box::new(Event::new("s", "t", Bytes::from_static(b"{}"))), dedupe: None }]
}

fn seq(receipt: &Receipt) -> u64 {
    match &receipt.appended[0] {
        Appended::Stored(record) => record.seq,
        Appended::Duplicate { .. } => 0,
    }
}

#[actix::test]
async fn a_burst_becomes_few_groups_and_keeps_its_order() {
    let b = bench();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (list, high) = (seen.clone(), b.parts.log.high(b.topic).unwrap());
    // The sink holds the journal in its first group, so that a burst waits in the mailbox as it does during a sync.
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    b.parts.sinks.set(
        b.topic,
        Arc::new(move |published: Published| {
            let last = published.records.last().unwrap().seq;
            assert!(high.load(Ordering::Acquire) >= last, "the watermark is raised before the notice");
            list.lock().unwrap().extend(published.records.iter().map(|r| r.seq));
            gate.lock().unwrap().recv().unwrap_or_default();
        }),
    );
    let journal = start(&b.parts).await;
    let (first, answer) = commit(append(b.topic), Durability::Synced);
    journal.send(first).await.unwrap();
    answer.await.unwrap().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..500 {
        let (message, answer) = commit(append(b.topic), Durability::Synced);
        journal.try_send(message).unwrap();
        waiting.push(answer);
    }
    drop(open);
    for (at, answer) in waiting.into_iter().enumerate() {
        assert_eq!(seq(&answer.await.unwrap().unwrap()), at as u64 + 2);
    }
    let (reply, done) = oneshot::channel();
    journal.send(Barrier { reply }).await.unwrap();
    done.await.unwrap().unwrap();
    // The held group, the burst, perhaps the barrier: an answer may come before the mailbox was empty.
    let groups = b.parts.stats.groups.load(Ordering::Relaxed);
    assert!(groups <= 3, "{groups} groups");
    assert_eq!(b.parts.stats.records.load(Ordering::Relaxed), 501);
    assert_eq!(*seen.lock().unwrap(), (1..=501).collect::<Vec<u64>>());
}

#[actix::test]
async fn a_group_is_cut_at_its_limit() {
    let mut b = bench();
    b.parts.options.max_group = 1;
    let journal = start(&b.parts).await;
    for at in 1..=3 {
        let (message, answer) = commit(append(b.topic), Durability::Synced);
        journal.send(message).await.unwrap();
        assert_eq!(seq(&answer.await.unwrap().unwrap()), at);
    }
    assert_eq!(b.parts.stats.groups.load(Ordering::Relaxed), 3);
}

#[actix::test]
async fn lazy_commits_are_visible_at_once_and_synced_later() {
    let mut b = bench();
    b.parts.options.lazy_sync_after = Duration::from_millis(1);
    let journal = start(&b.parts).await;
    let put = smallvec![Op::Put { table: Table::Cursor, key: b"k".to_vec(), value: b"v".to_vec() }];
    let (message, answer) = commit(put, Durability::Lazy);
    journal.send(message).await.unwrap();
    answer.await.unwrap().unwrap();
    assert_eq!(b.parts.log.get(Table::Cursor, b"k").unwrap().unwrap(), b"v");
    assert_eq!(b.parts.stats.synced.load(Ordering::Relaxed), 0, "a lazy group alone is not synced");
    while b.parts.stats.synced.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn an_unknown_topic_is_refused_alone() {
    let b = bench();
    let journal = start(&b.parts).await;
    let (bad, refused) = commit(append(TopicId(99)), Durability::Synced);
    let (good, stored) = commit(append(b.topic), Durability::Synced);
    journal.send(bad).await.unwrap();
    journal.send(good).await.unwrap();
    assert!(matches!(refused.await.unwrap(), Err(Error::NoTopic(99))));
    assert_eq!(seq(&stored.await.unwrap().unwrap()), 1);
}

#[actix::test]
async fn what_is_on_its_way_to_a_topic_that_is_removed_goes_with_it_and_nothing_else_does() {
    let b = bench();
    let other = b.parts.log.topic("b").unwrap();
    let journal = start(&b.parts).await;
    let unawaited = |ops| Commit { ops, back: Back::Unawaited(b.parts.epochs.now(), Vec::new()) };
    let mut settled = append(b.topic);
    settled.push(Op::Put { table: Table::Cursor, key: b"k".to_vec(), value: b"v".to_vec() });
    settled.extend(append(other));
    let (before, stored) = commit(append(b.topic), Durability::Synced);
    let (removal, removed) =
        commit(smallvec![Op::Remove { topic: b.topic, next: None, keys: Vec::new() }], Durability::Synced);
    let (late, refused) = commit(append(b.topic), Durability::Synced);
    // All of them at once, as if they were to be one group.
    for message in [before, removal, unawaited(settled), late] {
        journal.try_send(message).unwrap();
    }
    assert_eq!(seq(&stored.await.unwrap().unwrap()), 1);
    assert!(removed.await.unwrap().unwrap().removed);
    assert!(matches!(refused.await.unwrap(), Err(Error::NoTopic(_))));
    let (reply, done) = oneshot::channel();
    journal.send(Barrier { reply }).await.unwrap();
    done.await.unwrap().unwrap();
    assert!(matches!(b.parts.log.bounds(b.topic), Err(Error::NoTopic(_))));
    assert_eq!(b.parts.log.get(Table::Cursor, b"k").unwrap().unwrap(), b"v");
    assert_eq!(b.parts.log.bounds(other).unwrap().next, 2);
}

/// More than one write looks at is done by the journal itself, with nobody asking, and its metrics say what was shared.
#[actix::test]
async fn what_a_large_trim_leaves_is_swept_when_there_is_nothing_else_to_do() {
    let b = bench();
    let other = b.parts.log.topic("b").unwrap();
    let journal = start(&b.parts).await;
    let n = 2_000;
    let mut ops = Ops::new();
    for _ in 0..n {
        let event = Event::new("s", "t", Bytes::from(vec![b'x'; 600]));
        ops.extend([b.topic, other].map(|topic| Op::Append { topic, event: Box::new(event.clone()), dedupe: None }));
    }
    let trims = [b.topic, other].map(|topic| Op::Trim { topic, below: n + 1 });
    for ops in [ops, trims.into_iter().collect()] {
        let (message, answer) = commit(ops, Durability::Synced);
        journal.send(message).await.unwrap();
        answer.await.unwrap().unwrap();
    }
    while b.parts.log.has_unswept() {
        tokio::task::yield_now().await;
    }
    let stats = &b.parts.stats;
    assert_eq!(stats.bytes.load(Ordering::Relaxed), 2 * n * 600);
    assert_eq!(stats.shared.load(Ordering::Relaxed), n * 600);
}

#[actix::test]
async fn what_nobody_waits_for_is_written_by_the_journal_that_was_given_what_came_before_it_and_by_no_other() {
    let b = bench();
    let put = |name: &[u8]| smallvec![Op::Put { table: Table::State, key: name.to_vec(), value: b"1".to_vec() }];
    let unawaited = |ops, epoch| Commit { ops, back: Back::Unawaited(epoch, Vec::new()) };
    let stored = |name: &[u8]| b.parts.log.get(Table::State, name).unwrap().is_some();
    let first = start(&b.parts).await;
    let old = b.parts.epochs.now();
    first.send(unawaited(put(b"first"), old)).await.unwrap();
    first.send(Stop).await.unwrap();

    let second = start(&b.parts).await;
    second.send(unawaited(put(b"stale"), old)).await.unwrap();
    second.send(unawaited(put(b"second"), b.parts.epochs.now())).await.unwrap();
    let (reply, answer) = oneshot::channel();
    second.send(Barrier { reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    assert!(stored(b"first") && stored(b"second"));
    assert!(!stored(b"stale"), "it builds on what may have been lost with the first journal");
    assert_eq!(b.parts.stats.stale.load(Ordering::Relaxed), 1);
}
