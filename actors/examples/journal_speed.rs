//! Measures the log: `cargo run --release --example journal_speed -- [directory] [records to fill]`.
//!
//! 1. The engine alone: CPU of one thread for each record of 1 KiB, in groups of 64, with and without deduplication.
//! 2. The journal as an actor, 64 commits in flight: synced groups and records a second, CPU of the whole process.
//! 3. Fills a log, then measures how long opening takes, reading it all, and the memory.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use actix::{Actor, Arbiter};
use bytes::Bytes;
use hexafn_actors::event::Event;
use hexafn_actors::log::journal::{Journal, JournalParts};
use hexafn_actors::log::rocks::{RocksLog, RocksOptions};
use hexafn_actors::log::{Back, Batch, Commit, DedupeKey, Durability, EventLog, Op, Ops, TopicId};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use smallvec::smallvec;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

fn cpu_micros(who: UsageWho) -> f64 {
    let usage = getrusage(who).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| status.lines().find(|l| l.starts_with(name)).map(str::to_owned).unwrap_or_default();
    format!("{} {}", line("VmRSS"), line("VmHWM")).replace('\t', " ")
}

fn append(topic: TopicId, data: &Bytes, dedupe: bool) -> Ops {
    let event = Box::new(Event::new("bench", "bench.event", data.clone()));
    let dedupe =
        dedupe.then(|| DedupeKey { scope: "github".into(), id: event.id.clone(), window: Duration::from_secs(86400) });
    smallvec![Op::Append { topic, event, dedupe }]
}

fn engine(log: &RocksLog, topic: TopicId, data: &Bytes, records: usize, dedupe: bool, synced: bool) {
    const GROUP: usize = 64;
    let groups = records / GROUP;
    let (mut made, mut spent) = (0.0, 0.0);
    let started = Instant::now();
    for _ in 0..groups {
        let before = cpu_micros(UsageWho::RUSAGE_THREAD);
        let group: Vec<_> = (0..GROUP).map(|_| Batch { ops: append(topic, data, dedupe) }).collect();
        let between = cpu_micros(UsageWho::RUSAGE_THREAD);
        log.commit(group, synced).unwrap();
        let after = cpu_micros(UsageWho::RUSAGE_THREAD);
        made += between - before;
        spent += after - between;
    }
    let (took, n) = (started.elapsed().as_secs_f64(), (groups * GROUP) as f64);
    println!(
        "engine dedupe={dedupe:5} synced={synced:5}: {:8.0} records/s {:6.0} groups/s, CPU {:.2} us/record in commit \
         ({:.2} to make the event)",
        n / took,
        groups as f64 / took,
        spent / n,
        made / n
    );
}

async fn journal(log: Arc<RocksLog>, topic: TopicId, data: Bytes, seconds: u64) {
    let parts = JournalParts::new(log, Arc::new(|error| panic!("{error}")));
    let stats = parts.stats.clone();
    let (tell, told) = oneshot::channel();
    Arbiter::new().spawn_fn(move || drop(tell.send(Journal::new(parts).start())));
    let journal = told.await.unwrap();
    let (started, cpu) = (Instant::now(), cpu_micros(UsageWho::RUSAGE_SELF));
    let until = started + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (journal, data) = (journal.clone(), data.clone());
            actix_rt::spawn(async move {
                while Instant::now() < until {
                    let (reply, answer) = oneshot::channel();
                    let ops = append(topic, &data, true);
                    journal.try_send(Commit { ops, back: Back::Reply(Durability::Synced, reply) }).unwrap();
                    answer.await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let took = started.elapsed().as_secs_f64();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (groups, records) = (load(&stats.synced), load(&stats.records));
    println!(
        "journal, 64 in flight: {:.0} records/s, {:.0} synced groups/s, {:.1} records/group, {:.0} us/sync, CPU of the \
         process {:.2} us/record",
        records / took,
        groups / took,
        records / groups,
        load(&stats.sync_micros_sum) / groups,
        (cpu_micros(UsageWho::RUSAGE_SELF) - cpu) / records
    );
}

fn fill(path: &std::path::Path, data: &Bytes, records: usize) {
    println!("idle: {}", memory());
    let log = RocksLog::open(RocksOptions::new(path)).unwrap();
    println!("log open and empty: {}", memory());
    let topic = log.topic("fill").unwrap();
    engine(&log, topic, data, records, true, false);
    log.commit(Vec::new(), true).unwrap();
    println!("after {records} records: {}", memory());
    drop(log);
    let started = Instant::now();
    let log = RocksLog::open(RocksOptions::new(path)).unwrap();
    println!("opened in {:?}: {}", started.elapsed(), memory());
    let (started, cpu) = (Instant::now(), cpu_micros(UsageWho::RUSAGE_THREAD));
    let (mut from, mut n) = (1, 0);
    loop {
        let records = log.read(topic, from, 256, 1 << 20).unwrap();
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        n += records.len();
    }
    println!(
        "read {n} records: {:.0}/s, CPU {:.2} us/record; {}",
        n as f64 / started.elapsed().as_secs_f64(),
        (cpu_micros(UsageWho::RUSAGE_THREAD) - cpu) / n as f64,
        memory()
    );
    let started = Instant::now();
    log.commit(vec![Batch { ops: smallvec![Op::Trim { topic, below: from }] }], true).unwrap();
    println!("trimmed all in {:?}", started.elapsed());
}

#[actix::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let base = PathBuf::from(args.next().unwrap_or_else(|| "/tmp/hexafn-journal-speed".to_owned()));
    let records: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    if base.exists() {
        std::fs::remove_dir_all(&base).unwrap();
    }
    let data = Bytes::from(vec![b'x'; 1024]);
    fill(&base.join("fill"), &data, records);
    let log = Arc::new(RocksLog::open(RocksOptions::new(base.join("log"))).unwrap());
    let topic = log.topic("bench").unwrap();
    for (dedupe, synced) in [(false, false), (true, false), (false, true), (true, true)] {
        engine(&log, topic, &data, if synced { records / 4 } else { records }, dedupe, synced);
    }
    journal(log, topic, data, 5).await;
    println!("{}", memory());
}
