//! What a forwarder does while its outcomes cannot be written.
//!
//! Needs `--features failpoints`.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/system.rs"]
mod support;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hexafn_actors::definitions::{Definitions, TargetDefinition, TargetKind};
use hexafn_actors::event::Event;
use hexafn_actors::supervision::strategy::RestartStrategy;
use hexafn_actors::target::{Common, Delivery, Detail, Failure, Mode, Outcome, Preview, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::until;
use tokio::sync::Semaphore;

const SLOTS: usize = 2;

/// Takes an event for each permit.
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
        Mode::Each { concurrency: SLOTS }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.open.acquire().await.unwrap().forget();
            Outcome::Delivered { detail: Detail::default() }
        }
        .boxed()
    }
}

#[actix::test]
async fn a_slot_is_free_when_what_came_of_its_delivery_is_written() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let system = support::start(dir.path(), RestartStrategy::actor()).await;
    let gate = Arc::new(Gate { begun: AtomicUsize::new(0), open: Semaphore::new(0) });
    let settings: Common = toml::from_str("name = 'gate'").unwrap();
    let definition = TargetDefinition {
        name: "gate".into(),
        settings,
        kind: TargetKind::Outside(gate.clone()),
        when: None,
        retry: RestartStrategy::delivery(),
        breaker: RestartStrategy::breaker(),
        redact: None,
        veil: None,
        fingerprint: 1,
        origin: "test".into(),
    };
    let mut all = Definitions::default();
    all.targets.insert("gate".into(), Arc::new(definition));
    system.apply(all).await.unwrap();
    let outbox = system.cast().ensure("hexafn.out.gate").await.unwrap();
    for n in 0..10 {
        system.publish(&outbox, Event::new("test", "number", n.to_string().into())).await.unwrap();
    }
    let begun = || gate.begun.load(Ordering::SeqCst);
    until("both slots are taken", async || begun() == SLOTS).await;

    // Nothing is written from here on, and both deliveries arrive.
    fail::cfg("journal-before-write", "pause").unwrap();
    gate.open.add_permits(10);
    until("both have ended", async || system.target("gate").await.unwrap().delivered == 2).await;
    for _ in 0..20 {
        // Each look is a turn of the topic and one of the forwarder.
        system.cast().status(&outbox).await.unwrap();
        let status = system.target("gate").await.unwrap();
        assert_eq!((begun(), status.attempting), (SLOTS, 0), "a kill now repeats two");
    }
    fail::remove("journal-before-write");
    until("the others follow", async || system.target("gate").await.unwrap().delivered == 10).await;
    system.shutdown(Duration::from_secs(5)).await;
    scenario.teardown();
}
