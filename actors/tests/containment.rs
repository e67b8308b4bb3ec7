//! A panic in each kind of actor: a fresh one serves, the event is not lost, neighbours keep running, the process lives.
//!
//! Needs `--features failpoints`. Failpoints are global to a process, so the kinds are tried one after the other.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use hexafn_actors::definitions::{
    Body, Definitions, FunctionDefinition, On, Ordering, SourceDefinition, SourceKind, TargetDefinition, TargetKind,
    TriggerDefinition,
};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::log::rocks::RocksOptions;
use hexafn_actors::runtime::{Hosted, Isolation, PoolSettings};
use hexafn_actors::source::timer::ScheduleConfig;
use hexafn_actors::supervision::{Change, FailureKind, Node, RestartStrategy, Snapshot, Watch};
use hexafn_actors::system::{System, SystemOptions};
use hexafn_actors::target::{Common, Context, Factory, Secrets, file};
use hexafn_dsl::{ProgramKind, SourceText, compile};
use hexafn_runtimes::{Language, Source};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
            fingerprint: 1,
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
    let system = System::start(SystemOptions {
        data: dir.path().join("data"),
        rocks: RocksOptions::new(dir.path().join("data")),
        threads: 1,
        traces: 100,
        memory_topic: 1 << 20,
        durability: hexafn_actors::log::Durability::Synced,
        max_bytes: None,
        actor: RestartStrategy::actor(),
        parent: RestartStrategy::parent(),
        tap: None,
        metrics: Arc::default(),
        on_fatal: Arc::new(|code, why| panic!("the process would end with {code}: {why}")),
    })
    .await
    .unwrap();
    system.watch().await.unwrap();
    system.apply(definitions(dir.path())).await.unwrap();
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
        let failed_at = Instant::now();
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
        back.await.unwrap_or_else(|_| panic!("{path} was not restarted after {failpoint}"));
        let took = failed_at.elapsed();
        fail::remove(failpoint);
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
        assert!(took < Duration::from_millis(250) || cfg!(debug_assertions), "{path} took {took:?}");
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

/// A system whose actors have this strategy.
async fn system(dir: &Path, actor: RestartStrategy) -> System {
    let system = System::start(SystemOptions {
        data: dir.join("data"),
        rocks: RocksOptions::new(dir.join("data")),
        threads: 1,
        traces: 100,
        memory_topic: 1 << 20,
        durability: hexafn_actors::log::Durability::Synced,
        max_bytes: None,
        actor,
        parent: RestartStrategy::parent(),
        tap: None,
        metrics: Arc::default(),
        on_fatal: Arc::new(|code, why| panic!("the process would end with {code}: {why}")),
    });
    let system = system.await.unwrap();
    system.watch().await.unwrap();
    system.apply(definitions(dir)).await.unwrap();
    system
}

/// Waits until an actor is as it should be.
async fn until(system: &System, path: &str, is: impl Fn(&Node) -> bool) -> Node {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let node = nodes(system).await.into_iter().find(|n| &*n.path == path).unwrap_or_else(|| panic!("no {path}"));
        if is(&node) {
            return node;
        }
        assert!(Instant::now() < deadline, "{path}: {node:?}");
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
    for (failpoint, path) in [("traces-panic", "/watch/traces"), ("topic-panic", "/topics/in")] {
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
