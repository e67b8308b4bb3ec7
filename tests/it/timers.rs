//! Timers over time: what a changed one, one that comes back, and one without room make of the time before.

use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually};
use serde_json::Value;

fn timer(every: &str) -> String {
    format!(
        "[[source]]\nname = 'tick'\nkind = 'timer'\ntopic = 'ticks'\nevery = '{every}'\nmissed = 'all'\n[[topic]]\nname = 'ticks'\n"
    )
}

fn start(every: &str) -> Service {
    Scenario::empty_config().file("hexafn.toml", "").file("timer.toml", &timer(every)).start()
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_microsecond() as f64 / 1e6
}

fn now() -> f64 {
    jiff::Timestamp::now().as_microsecond() as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_owes_nothing_for_a_time_in_which_it_did_not_tick_like_that() {
    let mut service = start("1s");
    events_when(&service, "ticks", 2).await;
    // Away while the process is down, and for longer than it ticks.
    std::fs::remove_file(service.path("cfg/timer.toml")).unwrap();
    service.terminate();
    service.start_again();
    let away = events(&service, "ticks").await.len();
    let gone = now();
    eventually("some seconds", async || (now() > gone + 4.0, ())).await;
    let back = now();
    service.configure("timer.toml", &timer("1s"));
    service.ask(&["reload"]);
    let ticks = events_when(&service, "ticks", away + 2).await;
    for tick in &ticks[away..] {
        assert!(seconds(&tick["time"]) > back.floor(), "a tick of the time without the timer: {tick}");
    }
    // Another schedule is another timer, wherever the first one stood.
    service.configure("timer.toml", &timer("1h"));
    service.ask(&["reload"]);
    let stood = events(&service, "ticks").await.len();
    let slow = now();
    eventually("some seconds", async || (now() > slow + 4.0, ())).await;
    service.configure("timer.toml", &timer("1s"));
    let fast = now();
    service.ask(&["reload"]);
    let ticks = events_when(&service, "ticks", stood + 2).await;
    let owed: Vec<_> = ticks[stood..].iter().filter(|tick| seconds(&tick["time"]) <= fast.floor()).collect();
    // One may be of the hour.
    assert!(owed.len() <= 1, "{owed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_without_room_waits_for_it_and_says_so_once() {
    let scenario = Scenario::empty_config().file("hexafn.toml", "[storage]\nmin_free = '900TiB'\n");
    let service = scenario.file("timer.toml", &timer("1s")).start_logged("info");
    let began = now();
    eventually("some seconds", async || (now() > began + 4.0, ())).await;
    let said = std::fs::read_to_string(service.path("log")).unwrap();
    assert_eq!(said.matches("ticks wait for room").count(), 1, "{said}");
    assert!(!said.contains("a child failed"), "{said}");
    assert!(events(&service, "ticks").await.is_empty());
}
