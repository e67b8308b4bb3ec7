//! A panic in each kind of actor: a fresh one serves, the event is not lost, neighbours keep running, the process lives.
//!
//! Needs `--features failpoints`. Failpoints are global to a process, so the kinds are tried one after the other.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/system.rs"]
mod support;

use futures_util::future::BoxFuture;
use hexafn_actors::broker::Trouble;
use hexafn_actors::definitions::{
    Body, Definitions, FunctionDefinition, On, Ordering, SourceDefinition, SourceKind, TargetDefinition, TargetKind,
    TriggerDefinition,
};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::runtime::{Hosted, Isolation, Logging, PoolSettings};
use hexafn_actors::source::pull::{Decoder, PullSettings, Pulled, Session, Upstream};
use hexafn_actors::source::timer::ScheduleConfig;
use hexafn_actors::supervision::{Change, Control, FailureKind, Node, RestartStrategy, Snapshot, Verb, Watch};
use hexafn_actors::system::System;
use hexafn_actors::target::{Common, Context, Factory, Secrets, file};
use hexafn_actors::topic::{Act, DeliverFrom};
use hexafn_dsl::{ProgramKind, SourceText, compile};
use hexafn_runtimes::{Language, Source};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, reference: &str) -> Result<zeroize::Zeroizing<String>, String> {
        Err(format!("{reference} is not there"))
    }
}

fn definitions(dir: &Path) -> Definitions {
    let program = |text: &str, kind| compile(&SourceText { name: "test", text }, kind).unwrap();
    let settings: Common = toml::from_str("name = \"audit\"").unwrap();
    let audit: file::Settings = toml::from_str("path = \"out/audit.jsonl\"").unwrap();
    let context = Context { base_dir: dir, secrets: &NoSecrets, allow_networks: &[], lookup: None };
    let file = audit.build(&settings, &context).unwrap();
    let mut all = Definitions::default();
    let schedule = ScheduleConfig { every: Some("1s".into()), ..Default::default() };
    let clock = SourceDefinition {
        name: "clock".into(),
        kind: SourceKind::Timer { schedule: schedule.build().unwrap(), topic: "ticks".into(), data: None },
        fingerprint: 1,
    };
    all.sources.insert("clock".into(), Arc::new(clock));
    let mut function = |name: &str, body| {
        let definition = FunctionDefinition {
            name: name.into(),
            body,
            input: None,
            output: None,
            timeout: Duration::from_secs(1),
            fallback: Vec::new(),
            env: Vec::new(),
            fingerprint: 1,
        };
        all.functions.insert(name.into(), Arc::new(definition));
    };
    function("double", Body::Dsl(program("{ id: event.id, n: event.data.n * 2 }", ProgramKind::Function)));
    // The same in Lua, on a worker.
    let lua = "return function(event) return { id = event.id, n = event.data.n * 2 } end";
    let source = Source { name: "lua".into(), file: "lua".into(), code: lua.as_bytes().into() };
    let settings_of_lua = Arc::new(hexafn_runtimes::Settings::default());
    let hosted = Hosted {
        language: "lua",
        compiled: Language::Lua.runtime().compile(&source, &settings_of_lua).unwrap(),
        source,
        settings: settings_of_lua,
        isolation: Isolation::Thread,
        pool: PoolSettings { workers: 1, ..PoolSettings::default() },
        allow_networks: Arc::new([]),
        logging: Logging::default(),
    };
    function("lua", Body::Hosted(Arc::new(hosted)));
    let target = |name: &str, kind| {
        Arc::new(TargetDefinition {
            name: name.into(),
            settings: settings.clone(),
            kind,
            when: None,
            retry: RestartStrategy::delivery(),
            breaker: RestartStrategy::breaker(),
            redact: None,
            veil: None,
            fingerprint: 1,
            origin: "test".into(),
        })
    };
    all.targets.insert("audit".into(), target("audit", TargetKind::Outside(file)));
    all.targets.insert("results".into(), target("results", TargetKind::Topic("results".into())));
    for name in ["first", "neighbour"] {
        let trigger = TriggerDefinition {
            name: name.into(),
            on: On::Topic("in".into()),
            when: Some(program("event.data.n > 0", ProgramKind::Condition)),
            run: if name == "first" { "double" } else { "lua" }.into(),
            to: vec!["results".into(), "audit".into()],
            priority: if name == "first" { 1 } else { 0 },
            enabled: true,
            ordering: Ordering::None,
            retry: RestartStrategy::delivery(),
            origin: "test".into(),
            fingerprint: 1,
        };
        all.triggers.insert(name.into(), Arc::new(trigger));
    }
    all
}

async fn nodes(system: &System) -> Vec<Node> {
    system.supervisor().send(Snapshot).await.unwrap()
}

fn restarts(nodes: &[Node], path: &str) -> u64 {
    nodes.iter().find(|n| &*n.path == path).unwrap_or_else(|| panic!("{path} is there")).restarts
}

/// Waits for the outputs of an event: one for each of the two triggers, in the topic and in the file.
async fn outputs(system: &System, dir: &Path, id: &Str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let results = system.cast().get("results").unwrap();
        let records = system.cast().log().read(results.id, 1, 10_000, 64 << 20).unwrap();
        let in_topic = records.iter().filter(|r| r.event.id.starts_with(&format!("{id}-"))).count();
        let text = std::fs::read_to_string(dir.join("out/audit.jsonl")).unwrap_or_default();
        let in_file = text.lines().filter(|l| l.contains(&**id)).count();
        assert!(in_topic <= 2, "an output was written twice");
        if in_topic == 2 && in_file >= 2 {
            return;
        }
        assert!(Instant::now() < deadline, "{id}: {in_topic} outputs in the topic, {in_file} in the file");
        // Other actors run meanwhile; there is nothing else to wait on across a topic and a file.
        tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await.ok();
    }
}

async fn publish(system: &System, n: i64) -> Option<Str> {
    let topic = system.cast().ensure("in").await.unwrap();
    let event = Event::new("test", "number", format!("{{\"n\":{n}}}").into());
    let id = event.id.clone();
    system.publish(&topic, event).await.ok().map(|_| id)
}

#[actix::test]
async fn a_panic_in_each_kind_of_actor_is_contained() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let id = publish(&system, 1).await.expect("accepted");
    outputs(&system, dir.path(), &id).await;

    let kinds = [
        ("trigger-panic", "/triggers/first"),
        ("topic-panic", "/topics/in"),
        ("forwarder-panic", "/forwarders/audit"),
        ("traces-panic", "/watch/traces"),
        ("journal-panic", "/journal"),
        ("timer-panic", "/timers/clock"),
        ("worker-panic", "/functions/lua/1"),
    ];
    for (number, (failpoint, path)) in (2..).zip(kinds) {
        let before = nodes(&system).await;
        let mut watching = system.supervisor().send(Watch).await.unwrap();
        fail::cfg(failpoint, "1*panic(by a test)").unwrap();
        let mut accepted = publish(&system, number).await;
        // The actor that panicked runs again.
        let back = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                if let Ok(Change::Node(node)) = watching.changes.recv().await
                    && &*node.path == path
                    && node.state == "running"
                    && node.restarts > restarts(&before, path)
                    // A timer that ticked while the journal was down was restarted for that, too.
                    && node.last_failure.as_ref().is_some_and(|failure| failure.message.contains("by a test"))
                {
                    return node;
                }
            }
        });
        let back = back.await.unwrap_or_else(|_| panic!("{path} was not restarted after {failpoint}"));
        fail::remove(failpoint);
        // By the clock of the supervisor: when the failpoint is come to is up to the actor, a timer's once a second.
        let (failed, started) = (back.last_failure.unwrap().at, back.started_at.unwrap());
        let took = started.0 - failed.0;
        assert!((0..250_000).contains(&took), "{path} took {took} us");
        // What was not acknowledged may be sent again; what was, arrives without being sent again.
        while accepted.is_none() {
            accepted = publish(&system, number).await;
        }
        outputs(&system, dir.path(), &accepted.unwrap()).await;
        let after = nodes(&system).await;
        for neighbour in ["/triggers/neighbour", "/triggers/first", "/forwarders/audit", "/topics/results"] {
            let with_it = neighbour == path || (path == "/journal" && neighbour.starts_with("/topics"));
            if !with_it {
                assert_eq!(restarts(&after, neighbour), restarts(&before, neighbour), "{neighbour} after {failpoint}");
            }
        }
    }
    // The timer goes on, and no tick is there twice.
    let ticks = system.cast().get("ticks").unwrap();
    let seen = || system.cast().log().read(ticks.id, 1, 10_000, 1 << 20).unwrap();
    let before = seen().len();
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen().len() < before + 2 {
        assert!(Instant::now() < deadline, "the timer does not tick any more");
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.ok();
    }
    let ids: std::collections::BTreeSet<Str> = seen().iter().map(|r| r.event.id.clone()).collect();
    assert_eq!(ids.len(), seen().len(), "each tick once");
    assert!(system.is_healthy());
    assert!(system.shutdown(Duration::from_secs(5)).await.is_empty());
    scenario.teardown();
}

/// A broker in memory: what is fetched comes again until it is acknowledged.
#[derive(Debug, Default, Clone)]
struct Shelf(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    records: Mutex<Vec<Pulled>>,
    acknowledged: AtomicUsize,
    more: Notify,
}

impl Shelf {
    fn put(&self, number: u64) {
        let data = format!("{{\"n\":{number}}}").into();
        let place = format!("shelf/{number}");
        let pulled = Pulled {
            id: place.clone(),
            dedupe: Some(place),
            place: ("shelf".into(), number),
            data,
            ..Pulled::default()
        };
        self.0.records.lock().unwrap().push(pulled);
        self.0.more.notify_one();
    }

    fn acknowledged(&self) -> usize {
        self.0.acknowledged.load(Relaxed)
    }
}

impl Upstream for Shelf {
    fn kind(&self) -> &'static str {
        "shelf"
    }

    fn origin(&self) -> String {
        "the memory of this test".into()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Session>, Trouble>> {
        let reader: Box<dyn Session> = Box::new(Reader { shelf: self.clone(), read: 0 });
        // What was there before the connection is there to be fetched.
        self.0.more.notify_one();
        Box::pin(std::future::ready(Ok(reader)))
    }
}

struct Reader {
    shelf: Shelf,
    read: usize,
}

impl Session for Reader {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Vec<Pulled>, Trouble>> {
        Box::pin(async {
            let held = &self.shelf.0;
            held.more.notified().await;
            let records = held.records.lock().unwrap();
            self.read = records.len();
            Ok(records[held.acknowledged.load(Relaxed)..].to_vec())
        })
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Trouble>> {
        self.shelf.0.acknowledged.store(self.read, Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }

    fn lag(&self) -> Option<u64> {
        None
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[actix::test]
async fn a_panic_of_a_source_that_fetches_is_contained_and_what_it_had_stored_is_stored_once() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let settings: PullSettings = toml::from_str("name = \"shelf\"\ntopic = \"fetched\"").unwrap();
    let decoder = Arc::new(Decoder::new(&settings, "shelf"));
    let kind = SourceKind::Pull { upstream: Arc::new(shelf.clone()), decoder, topic: "fetched".into() };
    let mut all = definitions(dir.path());
    all.sources.insert("shelf".into(), Arc::new(SourceDefinition { name: "shelf".into(), kind, fingerprint: 1 }));
    let system = support::start(dir.path(), RestartStrategy::actor()).await;
    system.watch().await.unwrap();
    system.apply(all).await.unwrap();

    shelf.put(1);
    wait_for("the first is acknowledged", || shelf.acknowledged() == 1).await;
    let before = nodes(&system).await;
    fail::cfg("source-before-ack", "1*panic(by a test)").unwrap();
    shelf.put(2);
    let failed = until(&system, "/sources/shelf", |node| node.restarts > 0 && node.state == "running").await;
    fail::remove("source-before-ack");
    let failure = failed.last_failure.unwrap();
    assert!(failure.kind == FailureKind::Panicked && failure.message.contains("by a test"), "{failure:?}");
    // Stored before the panic and not acknowledged, so it is fetched again.
    wait_for("the second is acknowledged", || shelf.acknowledged() == 2).await;
    shelf.put(3);
    wait_for("the third is acknowledged", || shelf.acknowledged() == 3).await;
    let fetched = ids(&system, "fetched");
    let expected = ["shelf/1", "shelf/2", "shelf/3"].map(|id| (Str::from(id), 1));
    assert_eq!(fetched, expected.into(), "each once");
    let after = nodes(&system).await;
    for neighbour in ["/triggers/first", "/forwarders/audit", "/topics/fetched", "/journal"] {
        assert_eq!(restarts(&after, neighbour), restarts(&before, neighbour), "{neighbour}");
    }
    assert!(system.is_healthy());
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

/// A system whose actors have this strategy.
async fn system(dir: &Path, actor: RestartStrategy) -> System {
    let system = support::start(dir, actor).await;
    system.watch().await.unwrap();
    system.apply(definitions(dir)).await.unwrap();
    system
}

/// Waits until an actor is as it should be: that of a path, or any below one that ends with `/`.
async fn until(system: &System, path: &str, is: impl Fn(&Node) -> bool) -> Node {
    let deadline = Instant::now() + Duration::from_secs(30);
    let meant = |node: &Node| &*node.path == path || (path.ends_with('/') && node.path.starts_with(path));
    loop {
        let found: Vec<Node> = nodes(system).await.into_iter().filter(|node| meant(node)).collect();
        assert!(!found.is_empty(), "no {path}");
        if let Some(node) = found.iter().find(|node| is(node)) {
            return node.clone();
        }
        assert!(Instant::now() < deadline, "{path}: {found:?}");
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.ok();
    }
}

#[actix::test]
async fn the_configured_strategy_is_that_of_topics_and_the_recorder_too() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let never = RestartStrategy {
        intensity: Some(hexafn_actors::supervision::Intensity { failures: 1, within: Duration::from_secs(60) }),
        ..RestartStrategy::actor()
    };
    let system = system(dir.path(), never).await;
    // Whichever topic is the next to get a message.
    for (failpoint, path) in [("traces-panic", "/watch/traces"), ("topic-panic", "/topics/")] {
        fail::cfg(failpoint, "1*panic(by a test)").unwrap();
        publish(&system, 1).await;
        let node = until(&system, path, |node| node.state == "quarantined").await;
        assert_eq!(node.restarts, 0, "the first failure is one too many: {node:?}");
        fail::remove(failpoint);
    }
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

#[actix::test]
async fn a_handler_that_hangs_loses_its_thread_and_the_event_is_worked_on_by_a_fresh_actor() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let id = publish(&system, 1).await.expect("accepted");
    outputs(&system, dir.path(), &id).await;
    let before = until(&system, "/triggers/first", |node| node.state == "running").await;
    // Blocks its thread, and all actors of it, until the failpoint is removed.
    fail::cfg("trigger-panic", "1*pause").unwrap();
    let id = publish(&system, 2).await.expect("accepted");
    // Whoever looks at the tree meanwhile is answered, although nobody of that thread is.
    let tree = tokio::time::timeout(Duration::from_secs(5), system.nodes()).await.expect("the tree is told").unwrap();
    assert!(tree.iter().any(|node| &*node.path == "/forwarders/audit"));
    tokio::time::timeout(Duration::from_secs(5), system.targets()).await.expect("the targets are told");
    let topics = tokio::time::timeout(Duration::from_secs(5), system.topics()).await.expect("the topics are told");
    assert!(topics.iter().all(|topic| &*topic.name != "in"), "what does not answer is left out");
    tokio::time::timeout(Duration::from_secs(5), system.subscriptions()).await.expect("the subscriptions are told");
    let after =
        until(&system, "/triggers/first", |node| node.state == "running" && node.restarts > before.restarts).await;
    let failure = after.last_failure.expect("a failure");
    assert_eq!(failure.kind, FailureKind::Hung, "{failure:?}");
    outputs(&system, dir.path(), &id).await;
    // The thread that was left behind ends by itself, and what it still wanted to do has no effect.
    fail::remove("trigger-panic");
    let id = publish(&system, 3).await.expect("accepted");
    outputs(&system, dir.path(), &id).await;
    assert!(system.is_healthy());
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

/// The events of a topic by their ids, each with how often it is there.
fn ids(system: &System, topic: &str) -> std::collections::BTreeMap<Str, usize> {
    let mut ids = std::collections::BTreeMap::new();
    if let Some(topic) = system.cast().get(topic) {
        for record in system.cast().log().read(topic.id, 1, 10_000, 64 << 20).unwrap_or_default() {
            *ids.entry(record.event.id.clone()).or_default() += 1;
        }
    }
    ids
}

/// Waits until something holds.
async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.ok();
    }
}

/// Publishes events that both triggers have run on; the topic's actor then has none of them in memory.
async fn stored(system: &System, dir: &Path, count: usize) -> Vec<Str> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(publish(system, 1).await.expect("accepted"));
    }
    for id in &all {
        outputs(system, dir, id).await;
    }
    let restart = Control { path: "/topics/in".into(), verb: Verb::Restart };
    system.supervisor().send(restart).await.unwrap().unwrap();
    until(system, "/topics/in", |node| node.state == "running").await;
    all
}

#[actix::test]
async fn what_cannot_be_read_for_a_while_is_delivered_when_it_can() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let all = stored(&system, dir.path(), 20).await;
    fail::cfg("log-unreadable", "return").unwrap();
    system.cast().act("trigger.first", Act::Seek(DeliverFrom::All)).await.unwrap();
    // The topic answers after it has tried.
    let topic = system.cast().get("in").unwrap();
    for _ in 0..2 {
        system.cast().status(&topic).await.expect("the topic serves");
    }
    fail::remove("log-unreadable");
    wait_for("each event has run again", || {
        let results = ids(&system, "results");
        all.iter().all(|id| results.get(&*format!("{id}-first")) == Some(&2))
    })
    .await;
    assert_eq!(ids(&system, "hexafn.dead.trigger.first"), [].into(), "nothing was given up");
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

#[actix::test]
async fn a_damaged_record_becomes_a_dead_letter_and_holds_up_nothing_behind_it() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let all = stored(&system, dir.path(), 6).await;
    fail::cfg("log-damaged-in", "return(3)").unwrap();
    system.cast().act("trigger.first", Act::Seek(DeliverFrom::All)).await.unwrap();
    wait_for("the others have run again", || {
        let results = ids(&system, "results");
        let twice = all.iter().filter(|id| results.get(&*format!("{id}-first")) == Some(&2)).count();
        twice == all.len() - 1 && !ids(&system, "hexafn.dead.trigger.first").is_empty()
    })
    .await;
    let dead = system.cast().get("hexafn.dead.trigger.first").unwrap();
    let letters = system.cast().log().read(dead.id, 1, 10, 1 << 20).unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&*letter.event.id, &*letter.event.kind), ("in-3-damaged", "hexafn.record.damaged"));
    let mark = |name: &str| letter.event.extensions.iter().find(|(n, _)| &**n == name).map(|(_, v)| v.to_string());
    assert_eq!((mark("deadtopic"), mark("deadseq")), (Some("in".into()), Some("3".into())));
    assert!(mark("deadcause").unwrap().contains("record 3 of topic `in` is damaged"), "{letter:?}");
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

#[actix::test]
async fn many_slow_runs_are_no_hang_and_let_others_of_the_thread_in() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    // Together longer than a handler may take.
    fail::cfg("trigger-panic", "delay(40)").unwrap();
    let all = futures_util::future::join_all((0..250).map(|_| publish(&system, 1))).await;
    let begun = Instant::now();
    let other = system.cast().ensure("other").await.unwrap();
    system.publish(&other, Event::new("test", "number", "1".into())).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "the thread is free between runs: {:?}", begun.elapsed());
    wait_for("all have run", || {
        let results = ids(&system, "results");
        all.iter().flatten().all(|id| results.contains_key(&*format!("{id}-first")))
    })
    .await;
    fail::remove("trigger-panic");
    let after = nodes(&system).await;
    assert_eq!((restarts(&after, "/triggers/first"), restarts(&after, "/topics/in")), (0, 0));
    assert_eq!(ids(&system, "hexafn.dead.trigger.first"), [].into());
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

#[actix::test]
async fn a_filter_that_lets_nothing_through_holds_up_no_topic() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let rare = system.cast().ensure("rare").await.unwrap();
    let event = || Event::new("test", "number", "{\"n\":1}".into());
    // No more at a time than the mailbox of the journal holds.
    for _ in 0..3 {
        for published in futures_util::future::join_all((0..500).map(|_| system.publish(&rare, event()))).await {
            published.unwrap();
        }
    }
    // Together longer than a handler may take.
    fail::cfg("filter-runs", "delay(4)").unwrap();
    let asked = serde_json::json!({ "pattern": "rare", "filter": "event.data.n < 0", "from": "all" });
    system.register("nothing", asked).await.unwrap();
    let lag = async || {
        let status = system.cast().status(&rare).await.expect("the topic answers meanwhile");
        status.subscriptions.iter().find(|s| &*s.name == "nothing").map(|s| s.lag)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while lag().await != Some(0) {
        assert!(Instant::now() < deadline, "it was looked through");
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.ok();
    }
    fail::remove("filter-runs");
    assert_eq!(restarts(&nodes(&system).await, "/topics/rare"), 0);
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}

#[actix::test]
async fn a_costly_filter_that_lets_everything_through_holds_up_no_topic() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = system(dir.path(), RestartStrategy::actor()).await;
    let topic = system.cast().ensure("dear").await.unwrap();
    let event = || Event::new("test", "number", "{\"n\":1}".into());
    for published in futures_util::future::join_all((0..200).map(|_| system.publish(&topic, event()))).await {
        published.unwrap();
    }
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    // Together longer than a handler may take.
    fail::cfg_callback("filter-runs", move || {
        count.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(40));
    })
    .unwrap();
    let asked = serde_json::json!({ "pattern": "dear", "filter": "event.data.n > 0", "from": "all" });
    system.register("everything", asked).await.unwrap();
    wait_for("all were looked at", || runs.load(Relaxed) >= 200).await;
    fail::remove("filter-runs");
    assert!(system.cast().status(&topic).await.is_some());
    assert_eq!(restarts(&nodes(&system).await, "/topics/dear"), 0);
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}
