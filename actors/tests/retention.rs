//! What is removed of topics while the service starts. Needs `--features failpoints`, which say when a topic has looked.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/system.rs"]
mod support;

use hexafn_actors::definitions::{
    Definitions, On, Ordering, Retention, TargetDefinition, TargetKind, TopicDefinition, TopicDurability,
    TriggerDefinition,
};
use hexafn_actors::event::Event;
use hexafn_actors::supervision::RestartStrategy;
use hexafn_actors::system::System;
use hexafn_actors::topic::Act;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const EVENTS: u64 = 20;

fn definitions() -> Definitions {
    let mut all = Definitions::default();
    let retention = Retention { age: None, count: Some(5), bytes: None };
    let topic = TopicDefinition { name: "in".into(), durability: TopicDurability::Disk, retention };
    all.topics.insert("in".into(), Arc::new(topic));
    let target = TargetDefinition {
        name: "out".into(),
        settings: toml::from_str("name = \"out\"").unwrap(),
        kind: TargetKind::Topic("out".into()),
        when: None,
        retry: RestartStrategy::delivery(),
        breaker: RestartStrategy::breaker(),
        redact: None,
        veil: None,
        fingerprint: 1,
        origin: "test".into(),
    };
    all.targets.insert("out".into(), Arc::new(target));
    let trigger = TriggerDefinition {
        name: "slow".into(),
        on: On::Topic("in".into()),
        when: None,
        run: Default::default(),
        to: vec!["out".into()],
        priority: 0,
        enabled: true,
        ordering: Ordering::None,
        retry: RestartStrategy::delivery(),
        origin: "test".into(),
        fingerprint: 1,
    };
    all.triggers.insert("slow".into(), Arc::new(trigger));
    all
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.ok();
    }
}

/// Waits until each topic has looked at what it may remove, twice.
async fn looks(system: &System) {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    fail::cfg_callback("topic-looked", move || drop(counted.fetch_add(1, SeqCst))).unwrap();
    let topics = system.cast().all().len();
    until("topics look", || looks.load(SeqCst) >= 3 * topics).await;
    fail::remove("topic-looked");
}

#[actix::test]
async fn nothing_is_removed_before_all_that_may_need_it_is_there() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = support::start(dir.path(), RestartStrategy::actor()).await;
    system.apply(definitions()).await.unwrap();
    system.cast().act("trigger.slow", Act::Pause).await.unwrap();
    let topic = system.cast().get("in").unwrap();
    for n in 0..EVENTS {
        system.publish(&topic, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    system.shutdown(Duration::from_secs(5)).await;

    // As the service starts: its topics, and then whoever listens to them.
    let system = support::start(dir.path(), RestartStrategy::actor()).await;
    system.cast().configure(definitions().topics.values().cloned());
    system.cast().open_all().await.unwrap();
    looks(&system).await;
    system.apply(definitions()).await.unwrap();
    looks(&system).await;
    let topic = system.cast().get("in").unwrap();
    let bounds = system.cast().log().bounds(topic.id).unwrap();
    assert_eq!((bounds.first, bounds.next), (1, EVENTS + 1), "the trigger has handled none of them");
    system.cast().act("trigger.slow", Act::Resume).await.unwrap();
    let out = || system.cast().get("out").map_or(0, |out| system.cast().log().bounds(out.id).unwrap().next - 1);
    until("all are handled", || out() == EVENTS).await;
    // Then they go.
    until("the oldest are removed", || system.cast().log().bounds(topic.id).unwrap().first == EVENTS - 4).await;
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}
