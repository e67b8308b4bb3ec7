//! The forwarder in a whole system: it closes its target at an orderly end, its limit reaches a topic that is busy,
//! outcomes that nobody waits for share a write, and events in order stay in it whatever fails.

#![allow(clippy::unwrap_used, missing_docs)]

use actix::{Actor, Context, Handler};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
#[path = "support/system.rs"]
mod support;

use hexafn_actors::clock::Wall;
use hexafn_actors::definitions::{Definitions, TargetDefinition, TargetKind};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::log::{Record, Table};
use hexafn_actors::supervision::front::{Front, SendError};
use hexafn_actors::supervision::strategy::{Backoff, OnExhausted, Opening, RestartStrategy};
use hexafn_actors::supervision::{Control, Snapshot, Verb};
use hexafn_actors::system::System;
use hexafn_actors::target::{Common, Delivery, Detail, Failure, FailureClass, Mode, Outcome, Preview, Target, Verdict};
use hexafn_actors::topic::cursor::Cursor;
use hexafn_actors::topic::keys::cursor;
use hexafn_actors::topic::pattern::Pattern;
use hexafn_actors::topic::subscription::{self, Settings};
use hexafn_actors::topic::{DeliverFrom, Deliveries, Limit, Settlement, Subscriber, TopicMessage, Write};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use support::until;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Counts what it is given and how often it is closed. Asked where it goes, it holds up its thread once.
#[derive(Debug, Default)]
struct Door {
    delivered: AtomicUsize,
    closed: AtomicUsize,
    holding: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Target for Door {
    fn kind(&self) -> &'static str {
        "door"
    }

    fn destination(&self) -> String {
        if let Some((held, go)) = self.holding.lock().unwrap().take() {
            held.send(()).unwrap();
            go.recv().unwrap();
        }
        "a door".into()
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: 1 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.delivered.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Outcome::Delivered { detail: Detail::default() }).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        std::future::ready(()).boxed()
    }
}

/// A system with the door as its one target, which runs.
async fn start(dir: &Path, door: &Arc<Door>) -> System {
    start_with(dir, door.clone(), "name = 'door'", RestartStrategy::delivery()).await
}

/// The same with another target of that name.
async fn start_with(dir: &Path, target: Arc<dyn Target>, settings: &str, retry: RestartStrategy) -> System {
    let breaker = RestartStrategy { max_attempts: None, ..RestartStrategy::breaker() };
    start_by(dir, target, settings, retry, breaker).await
}

/// The same with another breaker.
async fn start_by(
    dir: &Path,
    target: Arc<dyn Target>,
    settings: &str,
    retry: RestartStrategy,
    breaker: RestartStrategy,
) -> System {
    let system = support::start(dir, RestartStrategy::actor()).await;
    let settings: Common = toml::from_str(settings).unwrap();
    let definition = TargetDefinition {
        name: "door".into(),
        settings,
        kind: TargetKind::Outside(target),
        when: None,
        retry,
        breaker,
        redact: None,
        veil: None,
        fingerprint: 1,
        origin: "test".into(),
    };
    let mut all = Definitions::default();
    all.targets.insert("door".into(), Arc::new(definition));
    system.apply(all).await.unwrap();
    until("its forwarder does not start", async || system.target("door").await.is_ok()).await;
    system
}

#[actix::test]
async fn a_target_that_is_taken_away_is_closed_once() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Arc::new(Door::default()));
    let system = start(dir.path(), &door).await;
    assert_eq!(door.closed.load(Ordering::SeqCst), 0);
    system.apply(Definitions::default()).await.unwrap();
    assert_eq!(door.closed.load(Ordering::SeqCst), 1);
}

/// Messages that wait for the forwarder.
async fn waiting(system: &System) -> u64 {
    let nodes = system.supervisor().send(Snapshot).await.unwrap();
    let forwarder = nodes.iter().find(|node| &*node.path == "/forwarders/door").unwrap();
    forwarder.mailbox.unwrap().depth
}

/// Holds up the thread of the door and of its topics, until the sender is told; then the other is true.
async fn hold_up(system: &System, door: &Door) -> (mpsc::Sender<()>, JoinHandle<bool>) {
    let ((held, is_held), (release, go)) = (mpsc::channel(), mpsc::channel());
    *door.holding.lock().unwrap() = Some((held, go));
    let asking = system.clone();
    let asked = actix_rt::spawn(async move { asking.target("door").await.is_ok() });
    until("it is not held up", async || is_held.try_recv().is_ok()).await;
    (release, asked)
}

#[actix::test]
async fn a_limit_that_is_lifted_while_the_topics_mailbox_is_full_is_seen() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Arc::new(Door::default()));
    let system = start(dir.path(), &door).await;
    system.switch_target("door", false, None).await.unwrap();
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    system.publish(&outbox, Event::new("test", "number", "1".into())).await.unwrap();
    let lag = async || system.cast().status(&outbox).await.unwrap().subscriptions[0].lag;
    until("the event is not in the outbox", async || lag().await == 1).await;

    // The forwarder holds up the thread that it shares with its topic, so that both mailboxes fill.
    let (release, asked) = hold_up(&system, &door).await;
    let before = waiting(&system).await;
    let switching = system.clone();
    let switched = actix_rt::spawn(async move { switching.switch_target("door", true, None).await.is_ok() });
    until("the switch does not come", async || waiting(&system).await > before).await;
    let mut inspected = 0;
    loop {
        match outbox.front.try_send(TopicMessage::Inspect(oneshot::channel().0)) {
            Ok(()) => inspected += 1,
            Err(SendError::Full(_)) => break,
            Err(SendError::Closed(_)) => panic!("the topic is gone"),
        }
    }
    assert!(inspected > 0, "the mailbox was full before");
    assert_eq!(door.delivered.load(Ordering::SeqCst), 0, "it is off");
    release.send(()).unwrap();
    assert!(asked.await.unwrap() && switched.await.unwrap());
    until("nothing is delivered", async || door.delivered.load(Ordering::SeqCst) == 1).await;
}

/// Writes down what it is handed.
#[derive(Default)]
struct Reader(Arc<Mutex<Vec<(u64, u32)>>>);

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Deliveries> for Reader {
    type Result = ();

    fn handle(&mut self, deliveries: Deliveries, _: &mut Self::Context) {
        self.0.lock().unwrap().extend(deliveries.items.iter().map(|item| (item.record.seq, item.attempt)));
    }
}

/// What the journal has been asked to write so far.
fn commits(system: &System) -> u64 {
    let text = system.metrics().render().unwrap();
    let line = text.lines().find(|line| line.starts_with("hexafn_journal_commits_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[actix::test]
async fn outcomes_that_nobody_waits_for_share_a_write_and_are_written_all_the_same() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Arc::new(Door::default()));
    let system = start(dir.path(), &door).await;
    let topic = system.cast().ensure("in").await.unwrap();
    let seen: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let name: Str = "reader".into();
    let reader = Reader(seen.clone()).start();
    let subscriber = Subscriber {
        name: name.clone(),
        pattern: Pattern::new("in").unwrap(),
        settings: Settings::default(),
        filter: None,
        from: DeliverFrom::All,
        durable: true,
        priority: 0,
        dead_letter: None,
        fallback: None,
        version: 1,
        to: Front::fixed(reader.recipient()),
        asks: None,
        limit: Limit::default(),
        feedback: None,
    };
    system.cast().subscribe(subscriber).await.unwrap();
    for n in 0..4 {
        system.publish(&topic, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    until("it gets all", async || seen.lock().unwrap().len() == 4).await;

    // Its thread is held up, so that the topic finds all three at once.
    let (release, asked) = hold_up(&system, &door).await;
    let settle = |seq: u64, soon: bool| {
        let (told, is_written) = oneshot::channel();
        let items = vec![Settlement::new(seq, 1, subscription::Verdict::Ack)];
        let write = Write { soon, told: Some(told) };
        let message = TopicMessage::Settle { subscription: name.clone(), items, round: None, write };
        topic.front.try_send(message).unwrap();
        is_written
    };
    let before = commits(&system);
    let written = [settle(1, false), settle(2, false), settle(3, true)];
    release.send(()).unwrap();
    assert!(asked.await.unwrap());
    for is_written in written {
        is_written.await.unwrap();
    }
    assert_eq!(commits(&system) - before, 1, "in one");
    // One that stays alone is written too.
    settle(4, false).await.unwrap();
    assert_eq!(commits(&system) - before, 2);
    let places = system.cast().log().get(Table::Cursor, &cursor(&name, topic.id)).unwrap().unwrap();
    assert_eq!(Cursor::decode(&places).unwrap().floor(), 4);
    // What changes nothing is not written, and who waits for it is let go.
    assert!(settle(4, false).await.is_err());
    assert_eq!(commits(&system) - before, 2);
}

/// Takes batches. Of each key it fails from some place on, or takes some behind one that failed, as chance has it.
#[derive(Debug)]
struct Desk {
    shares: bool,
    /// What it took, in its order: key and number.
    taken: Mutex<Vec<(String, u64)>>,
    /// Whether a batch had several events of a key.
    shared: AtomicUsize,
    reliable: AtomicBool,
}

fn number(record: &Record) -> u64 {
    std::str::from_utf8(&record.event.data).unwrap().parse().unwrap()
}

impl Target for Desk {
    fn kind(&self) -> &'static str {
        "desk"
    }

    fn destination(&self) -> String {
        "a desk".into()
    }

    fn mode(&self) -> Mode {
        Mode::Batch { max_records: 8, max_bytes: 1 << 20, max_age: Duration::ZERO, concurrency: 3 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        unreachable!("it takes batches")
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], _: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        async move {
            for _ in 0..rand::random_range(0..20) {
                tokio::task::yield_now().await;
            }
            let mut keys: HashSet<&str> = HashSet::new();
            let mut outcomes = Vec::new();
            for record in records {
                let key = record.event.key.as_deref().unwrap();
                if !keys.insert(key) {
                    self.shared.fetch_add(1, Ordering::SeqCst);
                }
                if !self.reliable.load(Ordering::SeqCst) && rand::random_bool(0.2) {
                    outcomes.push(Outcome::Failed(Failure::new(FailureClass::Connect, "as chance has it")));
                    continue;
                }
                self.taken.lock().unwrap().push((key.to_owned(), number(record)));
                outcomes.push(Outcome::Delivered { detail: Detail::default() });
            }
            outcomes
        }
        .boxed()
    }

    fn shares_keys(&self) -> bool {
        self.shares
    }
}

async fn keeps_order(ordering: &str, shares: bool) {
    const EVENTS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let desk = Arc::new(Desk {
        shares,
        taken: Mutex::default(),
        shared: AtomicUsize::new(0),
        reliable: AtomicBool::new(false),
    });
    let delays = vec![Duration::from_millis(2)];
    let retry = RestartStrategy {
        backoff: Backoff::Schedule { delays, jitter_low: 0.0, jitter_high: 1.0 },
        max_attempts: Some(1000),
        ..RestartStrategy::delivery()
    };
    let settings = format!("name = 'door'\nordering = '{ordering}'");
    let system = start_with(dir.path(), desk.clone(), &settings, retry).await;
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    for n in 1..=EVENTS {
        let mut event = Event::new("test", "number", n.to_string().into());
        event.key = Some(format!("k{}", n % 5).into());
        system.publish(&outbox, event).await.unwrap();
        if n % 100 == 0 {
            // What is on its way to the old incarnation, and to the new one before its topic knows of it, stays in order.
            let control = Control { path: "/forwarders/door".into(), verb: Verb::Restart };
            system.supervisor().send(control).await.unwrap().unwrap();
        }
    }
    desk.reliable.store(true, Ordering::SeqCst);
    let left = async || {
        let status = system.cast().status(&outbox).await.unwrap();
        status.subscriptions[0].waits + status.subscriptions[0].in_flight as u64
    };
    until("not everything is delivered", async || left().await == 0).await;

    let taken = desk.taken.lock().unwrap().clone();
    for key in (0..5).map(|k| format!("k{k}")) {
        let of_key: Vec<u64> = taken.iter().filter(|(of, _)| *of == key).map(|(_, n)| *n).collect();
        let all: Vec<u64> = (1..=EVENTS).filter(|n| format!("k{}", n % 5) == key).collect();
        let seen: BTreeSet<u64> = of_key.iter().copied().collect();
        assert_eq!(Vec::from_iter(seen), all, "each arrives");
        assert_eq!(of_key.last(), all.last(), "the last word is the newest event: {of_key:?}");
        // After an event that it had not taken yet, it has taken no later one that does not come again behind it.
        for (at, n) in of_key.iter().enumerate() {
            let later: BTreeSet<u64> = of_key[..at].iter().copied().filter(|m| m > n).collect();
            let again: BTreeSet<u64> = of_key[at..].iter().copied().collect();
            assert!(later.is_subset(&again), "{later:?} were taken before {n}, and not again behind it: {of_key:?}");
        }
    }
    assert_eq!(desk.shared.load(Ordering::SeqCst) > 0, shares, "events of a key in one batch");
}

#[actix::test]
async fn events_of_a_key_share_batches_and_stay_in_order_whatever_fails() {
    keeps_order("key", true).await;
    keeps_order("strict", true).await;
}

#[actix::test]
async fn a_target_that_must_not_be_given_several_of_a_key_is_not() {
    keeps_order("key", false).await;
    keeps_order("strict", false).await;
}

/// Takes the first event, refuses the second for good, and fails for all others.
#[derive(Debug)]
struct Moody;

impl Target for Moody {
    fn kind(&self) -> &'static str {
        "moody"
    }

    fn destination(&self) -> String {
        "nobody".into()
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: 1 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        let failure = Failure::new(FailureClass::Io, "not today");
        let outcome = match number(delivery.record) {
            1 => Outcome::Delivered { detail: Detail::default() },
            2 => Outcome::Failed(failure.verdict(Verdict::DeadLetter)),
            _ => Outcome::Failed(failure),
        };
        std::future::ready(outcome).boxed()
    }
}

#[actix::test]
async fn an_attempt_is_counted_under_one_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let delays = vec![Duration::from_millis(1)];
    let backoff = Backoff::Schedule { delays, jitter_low: 0.0, jitter_high: 1.0 };
    let twice = RestartStrategy { max_attempts: Some(2), backoff, ..RestartStrategy::delivery() };
    let system = start_with(dir.path(), Arc::new(Moody), "name = 'door'", twice).await;
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    for n in 1..=3 {
        system.publish(&outbox, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    let settled = async || system.cast().status(&outbox).await.unwrap().subscriptions[0].dead_lettered == 2;
    until("two are not given up", settled).await;
    let of = |outcome| system.metrics().target_attempts.with_label_values(&["door", outcome]).get();
    // The third is given up for want of attempts: both of them failed.
    assert_eq!([of("delivered"), of("failed"), of("dead-lettered")], [1, 2, 1]);
    system.shutdown(Duration::from_secs(5)).await;
}

/// Takes one batch at a time, and ends none before it is opened.
#[derive(Debug)]
struct Gate {
    begun: AtomicUsize,
    open: Semaphore,
}

impl Target for Gate {
    fn kind(&self) -> &'static str {
        "gate"
    }

    fn destination(&self) -> String {
        "a gate".into()
    }

    fn mode(&self) -> Mode {
        Mode::Batch { max_records: 8, max_bytes: 1 << 20, max_age: Duration::ZERO, concurrency: 1 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        unreachable!("it takes batches")
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], _: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        async move {
            self.begun.fetch_add(records.len(), Ordering::SeqCst);
            drop(self.open.acquire().await.unwrap());
            vec![Outcome::Delivered { detail: Detail::default() }; records.len()]
        }
        .boxed()
    }

    fn shares_keys(&self) -> bool {
        false
    }
}

/// Events of one key, of which the first is tried for longer than an attempt may take, and the others wait for it for longer
/// still.
async fn only_attempts_fail(ordering: &str) {
    const EVENTS: u64 = 8;
    const ACK_WAIT: Duration = Duration::from_millis(200);
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate { begun: AtomicUsize::new(0), open: Semaphore::new(0) });
    let once = RestartStrategy { max_attempts: Some(1), ..RestartStrategy::delivery() };
    let settings = format!("name = 'door'\nordering = '{ordering}'");
    let system = start_with(dir.path(), gate.clone(), &settings, once).await;
    let known = system.cast().subscribers().into_iter().find(|s| &*s.name == "target.door").unwrap();
    let settings = Settings { ack_wait: ACK_WAIT, ..known.settings.clone() };
    system.cast().subscribe(Subscriber { settings, ..(*known).clone() }).await.unwrap();
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    let publish = async |n: u64| {
        let mut event = Event::new("test", "number", n.to_string().into());
        event.key = Some("k".into());
        system.publish(&outbox, event).await.unwrap();
    };
    publish(1).await;
    until("nothing is tried", async || gate.begun.load(Ordering::SeqCst) == 1).await;
    for n in 2..=EVENTS {
        publish(n).await;
    }
    let status = async || system.cast().status(&outbox).await.unwrap().subscriptions.remove(0);
    until("an attempt that hangs does not fail", async || status().await.dead_lettered == 1).await;
    // Nothing becomes of the others, so there is nothing to wait for but the time.
    let later = Instant::now() + 4 * ACK_WAIT;
    until("the time does not go by", async || Instant::now() >= later).await;
    let waits = status().await;
    assert_eq!((waits.dead_lettered, waits.in_flight, waits.delivered), (1, 7, 0), "{ordering}: {waits:?}");
    gate.open.add_permits(1);
    until("the others are not delivered", async || status().await.delivered == EVENTS - 1).await;
    let over = status().await;
    assert_eq!((over.dead_lettered, over.waits, over.in_flight), (1, 0, 0), "{ordering}");
    assert_eq!(gate.begun.load(Ordering::SeqCst) as u64, EVENTS, "{ordering}: each is tried once");
    system.shutdown(Duration::from_secs(5)).await;
}

#[actix::test]
async fn what_waits_for_its_turn_has_not_failed_and_an_attempt_that_hangs_has() {
    only_attempts_fail("none").await;
    only_attempts_fail("key").await;
}

/// Fails until it is well. An attempt with the first event never ends.
#[derive(Debug)]
struct Patient {
    mode: Mode,
    hangs: bool,
    hanging: AtomicBool,
    failed: AtomicUsize,
    well: AtomicBool,
    /// How many events it took with each call.
    taken: Mutex<Vec<usize>>,
}

impl Patient {
    fn new(mode: Mode, hangs: bool) -> Arc<Self> {
        Arc::new(Self {
            mode,
            hangs,
            hanging: AtomicBool::new(false),
            failed: AtomicUsize::new(0),
            well: AtomicBool::new(false),
            taken: Mutex::default(),
        })
    }

    async fn treat(&self, records: &[Arc<Record>]) -> Outcome {
        if self.hangs && number(&records[0]) == 1 {
            self.hanging.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        if self.well.load(Ordering::SeqCst) {
            self.taken.lock().unwrap().push(records.len());
            return Outcome::Delivered { detail: Detail::default() };
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        Outcome::Failed(Failure::new(FailureClass::Io, "not yet"))
    }

    /// A system in which it gets events, and its breaker opens with the first failure, for a short time.
    async fn start(self: &Arc<Self>, dir: &Path) -> System {
        let first = Duration::from_millis(20);
        let opening = Opening { first, max: first, probes_to_close: 3 };
        let breaker = RestartStrategy {
            consecutive: Some(1),
            max_attempts: None,
            on_exhausted: OnExhausted::Open(opening),
            ..RestartStrategy::breaker()
        };
        let delays = vec![Duration::from_millis(1)];
        let backoff = Backoff::Schedule { delays, jitter_low: 0.0, jitter_high: 1.0 };
        let retry = RestartStrategy { backoff, max_attempts: Some(100_000), ..RestartStrategy::delivery() };
        start_by(dir, self.clone(), "name = 'door'", retry, breaker).await
    }
}

impl Target for Patient {
    fn kind(&self) -> &'static str {
        "patient"
    }

    fn destination(&self) -> String {
        "a bed".into()
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.treat(std::slice::from_ref(delivery.record)).boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], _: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        async move { vec![self.treat(records).await; records.len()] }.boxed()
    }
}

#[actix::test]
async fn a_probe_does_not_wait_for_attempts_that_hang_from_before() {
    let (dir, patient) = (tempfile::tempdir().unwrap(), Patient::new(Mode::Each { concurrency: 4 }, true));
    let system = patient.start(dir.path()).await;
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    let publish =
        async |n: u64| system.publish(&outbox, Event::new("test", "number", n.to_string().into())).await.unwrap();
    publish(1).await;
    until("the first is not tried", async || patient.hanging.load(Ordering::SeqCst)).await;
    for n in 2..=10 {
        publish(n).await;
    }
    until("its breaker does not open", async || patient.failed.load(Ordering::SeqCst) > 0).await;
    patient.well.store(true, Ordering::SeqCst);
    until("the others are not delivered", async || patient.taken.lock().unwrap().len() == 9).await;
    let status = system.target("door").await.unwrap();
    assert_eq!((status.breaker, status.attempting), ("closed", 1), "{status:?}");
    system.shutdown(Duration::ZERO).await;
}

#[actix::test]
async fn a_probe_of_a_batch_does_not_wait_for_company_that_cannot_come() {
    // Longer than anybody waits here.
    let max_age = Duration::from_secs(300);
    let mode = Mode::Batch { max_records: 8, max_bytes: 1 << 20, max_age, concurrency: 1 };
    let (dir, patient) = (tempfile::tempdir().unwrap(), Patient::new(mode, false));
    let system = patient.start(dir.path()).await;
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    for n in 1..=11 {
        system.publish(&outbox, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    until("its breaker does not open", async || patient.failed.load(Ordering::SeqCst) > 0).await;
    patient.well.store(true, Ordering::SeqCst);
    until("its probes are not sent", async || patient.taken.lock().unwrap().len() == 4).await;
    assert_eq!(*patient.taken.lock().unwrap(), [1, 1, 1, 8], "three probes, and then a whole batch");
    system.shutdown(Duration::from_secs(5)).await;
}
