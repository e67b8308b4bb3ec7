//! What runs out: the disk, and file descriptors. What was accepted is kept, what cannot be is refused, and it goes on by itself
//! when there is enough again.

use super::receiver::Receiver;
use super::sender::{client, deliver, get, post};
use super::service::{Scenario, Service};
use super::watch::{events, eventually, idle};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;

/// A service whose data folder is a file system of its own, of 160 MiB (Linux: in a mount namespace that ends with it).
fn on_a_small_disk(scenario: Scenario) -> Service {
    std::fs::create_dir_all(scenario.path("data")).unwrap();
    scenario.start_by(
        &["unshare", "--user", "--map-root-user", "--mount"],
        "mount -t tmpfs -o size=160m none data && exec \"$@\"",
    )
}

/// The data folder, as the service sees it.
fn disk(service: &Service) -> PathBuf {
    let here = service.path("data").canonicalize().unwrap();
    Path::new(&format!("/proc/{}/root", service.pid())).join(here.strip_prefix("/").unwrap())
}

/// The scenario, with a file that is tried again at once, and not after the 30 s of the default.
fn pipeline(receiver: &Receiver) -> Scenario {
    let retry = "retry = { schedule = [\"50ms\"], max_attempts = 500, jitter = 0.0 }\nbreaker = { failures = 1000, min_attempts = 1000 }";
    let path = "path = \"data/out.jsonl\"";
    Scenario::new("pipeline").receiver(&receiver.base).edit(path, &format!("{path}\n{retry}"))
}

/// Takes space until there is none.
fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    let block = vec![0; 1 << 20];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..4096]).is_ok() {}
}

/// Whether `storage.min_free` keeps space for deliveries and what they write.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    WithReserve,
    WithoutReserve,
}

async fn ids(service: &Service, topic: &str) -> BTreeSet<String> {
    events(service, topic).await.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

async fn a_full_disk(disk_of: Disk) {
    let min_free = if disk_of == Disk::WithReserve { "16MiB" } else { "0B" };
    let receiver = Receiver::start().await;
    let scenario = pipeline(&receiver);
    let service = on_a_small_disk(scenario.file("storage.toml", &format!("[storage]\nmin_free = \"{min_free}\"\n")));
    let hook = service.url("/hooks/in");
    let http = client();
    let mut accepted = BTreeSet::new();
    for n in 0..5 {
        let (status, id, _) = deliver(&http, &hook, n).await.expect("accepted");
        assert_eq!(status, 202);
        accepted.insert(id);
    }
    idle(&service).await;
    let ballast = disk(&service).join("ballast");
    fill(&ballast);
    // Some are taken until the shortage shows (the write-ahead file has space of its own for a while); then they are refused.
    let padding = "x".repeat(256 << 10);
    let mut n = 100;
    let refused = eventually("507", async || {
        n += 1;
        let body = format!("{{\"n\":{n},\"p\":\"{padding}\"}}");
        let (status, told) = post(&hook, &[("x-id", &format!("p-{n}"))], &body).await;
        match status {
            202 => drop(accepted.insert(told["id"].as_str().unwrap().to_owned())),
            507 => {}
            other => assert!(other == 503 && disk_of == Disk::WithoutReserve, "{other} {told}"),
        }
        (status == 507, told)
    })
    .await;
    assert_eq!(refused["code"], "disk-full", "{refused}");
    assert_eq!(get(&service.url("/health/live")).await.0, 200);
    if disk_of == Disk::WithReserve {
        assert_eq!(get(&service.url("/health/ready")).await.0, 200);
        assert_eq!(ids(&service, "in").await, accepted, "reading goes on, and what was accepted is there");
        let done: BTreeSet<String> = accepted.iter().map(|id| format!("{id}-double")).collect();
        eventually("deliveries", async || {
            let out = ids(&service, "out").await;
            (out == done, out)
        })
        .await;
        // No space for a sender that tries again, either.
        assert_eq!(post(&hook, &[("x-id", "again")], "{\"n\":1}").await.0, 507);
    }

    std::fs::remove_file(&ballast).unwrap();
    let told = eventually("it to be accepted again", async || {
        let (status, told) = post(&hook, &[("x-id", "again")], "{\"n\":1}").await;
        // 200: it was stored by an attempt that was not answered.
        (status == 202 || status == 200, told)
    })
    .await;
    accepted.insert(told["id"].as_str().unwrap().to_owned());
    eventually("everything to be worked on", async || {
        let (status, subs) = get(&service.url("/admin/subscriptions")).await;
        let rows = subs.as_array().cloned().unwrap_or_default();
        let zero = |s: &Value| s["lag"] == 0 && s["in_flight"] == 0 && s["waiting"] == 0;
        (status == 200 && !rows.is_empty() && rows.iter().all(zero), subs)
    })
    .await;
    let stored = ids(&service, "in").await;
    assert!(stored.is_superset(&accepted), "{:?} are missing", accepted.difference(&stored));
    if disk_of == Disk::WithReserve {
        assert_eq!(stored, accepted, "what was refused is not there");
    }
    let done: BTreeSet<String> = stored.iter().map(|id| format!("{id}-double")).collect();
    assert_eq!(ids(&service, "out").await, done, "each was worked on");
    assert_eq!(events(&service, "out").await.len(), done.len(), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_events_are_refused_and_everything_else_goes_on() {
    a_full_disk(Disk::WithReserve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_a_byte_left_is_survived_too() {
    // What deliveries write cannot be written either, so that topics begin again from what is stored, and answer 503 meanwhile.
    a_full_disk(Disk::WithoutReserve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_nothing_accepted_is_lost_and_it_goes_on_when_there_are_some() {
    let receiver = Receiver::start().await;
    let scenario = pipeline(&receiver);
    let service = scenario.start_by(&["prlimit", "--nofile=160:160"], "exec \"$@\"");
    let hook = service.url("/hooks/in");
    // A connection of before, which stays.
    let http = client();
    let (_, first, _) = deliver(&http, &hook, 0).await.expect("accepted");
    let mut accepted = BTreeSet::from([first]);
    let address = service.base.trim_start_matches("http://").to_owned();
    let mut open = Vec::new();
    for _ in 0..300 {
        // The system takes connections for the service, which cannot.
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count();
    eventually("no descriptor to be left", async || {
        let count = fds();
        (count >= 155, count)
    })
    .await;
    for n in 1..20 {
        if let Some((_, id, _)) = deliver(&http, &hook, n).await {
            accepted.insert(id);
        }
    }
    drop(open);
    let fresh = client();
    let (_, last, _) = eventually("an event to be accepted", async || {
        let told = deliver(&fresh, &hook, 99).await;
        (told.is_some(), told)
    })
    .await
    .unwrap();
    accepted.insert(last);
    idle(&service).await;
    let out = ids(&service, "out").await;
    let expected: BTreeSet<String> = accepted.iter().map(|id| format!("{id}-double")).collect();
    assert!(out.is_superset(&expected), "{out:?} {expected:?}");
}
