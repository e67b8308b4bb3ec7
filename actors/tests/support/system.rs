//! A system in a folder of its own, for tests.

use hexafn_actors::log::Durability;
use hexafn_actors::log::rocks::RocksOptions;
use hexafn_actors::supervision::RestartStrategy;
use hexafn_actors::system::{System, SystemOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waits until something is so. Other actors run meanwhile.
#[allow(dead_code, reason = "not every test waits")]
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

/// A running system on one thread whose actors have this strategy.
pub async fn start(dir: &Path, actor: RestartStrategy) -> System {
    let system = System::start(SystemOptions {
        rocks: RocksOptions::new(dir.join("data")),
        threads: 1,
        traces: 100,
        memory_topic: 1 << 20,
        durability: Durability::Synced,
        max_bytes: None,
        actor,
        parent: RestartStrategy::parent(),
        tap: None,
        metrics: Arc::default(),
        on_fatal: Arc::new(|code, why| panic!("the process would end with {code}: {why}")),
    });
    system.await.unwrap()
}
