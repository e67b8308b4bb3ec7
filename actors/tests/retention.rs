//! What is removed of topics while the service starts. Needs `--features failpoints`, which say when a topic has looked.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/system.rs"]
mod support;

use hexafn_actors::definitions::{Definitions, Retention, TopicDefinition, TopicDurability};
use hexafn_actors::event::Event;
use hexafn_actors::supervision::RestartStrategy;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::until;

const EVENTS: u64 = 20;

fn definitions() -> Definitions {
    let mut all = Definitions::default();
    let retention = Retention { age: None, count: Some(5), bytes: None };
    let topic = TopicDefinition { name: "in".into(), durability: TopicDurability::Disk, retention };
    all.topics.insert("in".into(), Arc::new(topic));
    all
}

/// As the service starts: its topics, and then whoever listens to them, whose places alone say what is needed.
#[actix::test]
async fn nothing_is_removed_before_all_that_may_need_it_is_there() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = support::start(dir.path(), RestartStrategy::actor()).await;
    system.cast().configure(definitions().topics.values().cloned());
    system.cast().open_all().await.unwrap();
    let topic = system.cast().ensure("in").await.unwrap();
    for n in 0..EVENTS {
        system.publish(&topic, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    let first = || system.cast().log().bounds(topic.id).unwrap().first;
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    fail::cfg_callback("topic-looked", move || drop(counted.fetch_add(1, SeqCst))).unwrap();
    // One of two looks at least had all of them before it.
    let enough = 2 * system.cast().all().len();
    until("topics look at what they may remove", async || looks.load(SeqCst) >= enough).await;
    assert_eq!(first(), 1, "who may need them is not there yet");
    system.apply(definitions()).await.unwrap();
    until("what nobody needs is removed", async || first() == EVENTS - 4).await;
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}
