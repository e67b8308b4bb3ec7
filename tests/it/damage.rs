//! Data that was acknowledged and is damaged: the start says so, and what it says can be done.

use super::sender::{get, post, send};
use super::service::{SERVE, Scenario};
use super::watch::{events, idle};
use std::path::{Path, PathBuf};

/// The files of the log that hold these bytes, and where.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<(PathBuf, usize)> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    let place = |p: PathBuf| {
        let at = std::fs::read(&p).unwrap().windows(bytes.len()).position(|w| w == bytes)?;
        Some((p, at))
    };
    files.filter_map(place).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_not_started_silently_and_the_setting_that_is_named_starts_it_with_what_is_left() {
    let mut service = Scenario::new("topics").edit("retention = { count = 2 }", "").start();
    let mut ids = Vec::new();
    for n in 1..=9 {
        ids.push(send(&service, &format!("{{\"n\":\"number {n}\"}}")).await);
    }
    idle(&service).await;
    service.kill();
    let places = holding(&service.path("data/log"), b"number 5");
    assert!(!places.is_empty(), "the log holds what was acknowledged");
    for (path, at) in &places {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[*at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let refused = service.scenario.run(&SERVE);
    assert_eq!((refused.code, refused.out.as_str()), (Some(74), ""), "{refused:?}");
    assert!(refused.err.contains("acknowledged data"), "{refused:?}");
    let setting = "storage.accept_loss=true";
    assert!(refused.err.contains(setting), "what can be done is told: {refused:?}");
    assert_eq!(service.scenario.run(&SERVE).code, Some(74), "a second try does not hide it");

    service.configure("loss.toml", "[storage]\naccept_loss = true\n");
    service.start_again();
    let left = events(&service, "in").await;
    let whole: Vec<&str> =
        left.iter().filter(|e| e["data"]["n"].is_string()).map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(whole, ids[..4], "what was before the damage, as it was");
    let (status, told) = post(&service.url("/hooks/in"), &[], "{}").await;
    assert_eq!(status, 202, "{told}");
    let taken = events(&service, "in").await.pop().unwrap();
    assert_eq!((&taken["id"], &taken["seq"]), (&told["id"], &told["seq"]), "new events are stored behind it");

    // Once: from then on it starts by itself.
    service.configure("loss.toml", "");
    service.kill_and_restart();
    assert_eq!(get(&service.url("/health/ready")).await.0, 200);
}
