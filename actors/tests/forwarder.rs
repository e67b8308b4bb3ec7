//! An orderly end closes targets: after their attempts, and not for ever.

#![allow(clippy::unwrap_used, missing_docs)]

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hexafn_actors::definitions::{Definitions, TargetDefinition, TargetKind};
use hexafn_actors::log::rocks::RocksOptions;
use hexafn_actors::supervision::strategy::RestartStrategy;
use hexafn_actors::system::{System, SystemOptions};
use hexafn_actors::target::{Common, Delivery, Detail, Failure, Mode, Outcome, Preview, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts how often it is closed.
#[derive(Debug, Default)]
struct Door(AtomicUsize);

impl Target for Door {
    fn kind(&self) -> &'static str {
        "door"
    }

    fn destination(&self) -> String {
        "a door".into()
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: 1 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body: String::new() })
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(Outcome::Delivered { detail: Detail::default() }).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::ready(()).boxed()
    }
}

#[actix::test]
async fn a_target_that_is_taken_away_is_closed_once() {
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
    let door = Arc::new(Door::default());
    let settings: Common = toml::from_str("name = \"door\"").unwrap();
    let definition = TargetDefinition {
        name: "door".into(),
        settings,
        kind: TargetKind::Outside(door.clone()),
        when: None,
        retry: RestartStrategy::delivery(),
        breaker: RestartStrategy::breaker(),
        redact: None,
        fingerprint: 1,
    };
    let mut all = Definitions::default();
    all.targets.insert("door".into(), Arc::new(definition));
    system.apply(all).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while system.target("door").await.is_err() {
        assert!(Instant::now() < deadline, "its forwarder does not start");
        tokio::task::yield_now().await;
    }
    assert_eq!(door.0.load(Ordering::SeqCst), 0);
    system.apply(Definitions::default()).await.unwrap();
    assert_eq!(door.0.load(Ordering::SeqCst), 1);
}
