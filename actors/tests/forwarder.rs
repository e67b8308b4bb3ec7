//! The forwarder in a whole system: it closes its target at an orderly end, and its limit reaches a topic that is busy.

#![allow(clippy::unwrap_used, missing_docs)]

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
#[path = "support/system.rs"]
mod support;

use hexafn_actors::definitions::{Definitions, TargetDefinition, TargetKind};
use hexafn_actors::event::Event;
use hexafn_actors::supervision::Snapshot;
use hexafn_actors::supervision::front::SendError;
use hexafn_actors::supervision::strategy::RestartStrategy;
use hexafn_actors::system::System;
use hexafn_actors::target::{Common, Delivery, Detail, Failure, Mode, Outcome, Preview, Target};
use hexafn_actors::topic::TopicMessage;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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

/// Lets others run until it holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

/// A system with the door as its one target, which runs.
async fn start(dir: &Path, door: &Arc<Door>) -> System {
    let system = support::start(dir, RestartStrategy::actor()).await;
    let settings: Common = toml::from_str("name = \"door\"").unwrap();
    let definition = TargetDefinition {
        name: "door".into(),
        settings,
        kind: TargetKind::Outside(door.clone()),
        when: None,
        retry: RestartStrategy::delivery(),
        breaker: RestartStrategy::breaker(),
        redact: None,
        veil: None,
        fingerprint: 1,
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

#[actix::test]
async fn a_limit_that_is_lifted_while_the_topics_mailbox_is_full_is_seen() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Arc::new(Door::default()));
    let system = start(dir.path(), &door).await;
    system.switch_target("door", false).await.unwrap();
    let outbox = system.cast().ensure("hexafn.out.door").await.unwrap();
    system.publish(&outbox, Event::new("test", "number", "1".into())).await.unwrap();
    let lag = async || system.cast().status(&outbox).await.unwrap().subscriptions[0].lag;
    until("the event is not in the outbox", async || lag().await == 1).await;

    // The forwarder holds up the thread that it shares with its topic, so that both mailboxes fill.
    let ((held, is_held), (release, go)) = (mpsc::channel(), mpsc::channel());
    *door.holding.lock().unwrap() = Some((held, go));
    let asking = system.clone();
    let asked = actix_rt::spawn(async move { asking.target("door").await.is_ok() });
    until("it is not held up", async || is_held.try_recv().is_ok()).await;
    let before = waiting(&system).await;
    let switching = system.clone();
    let switched = actix_rt::spawn(async move { switching.switch_target("door", true).await.is_ok() });
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
