//! Where targets may not go: into the private network by any spelling, and out of their directory.

use super::receiver::{Answer, Receiver};
use super::sender::send;
use super::service::{SERVE, Scenario};
use super::watch::{events_when, eventually, idle, target};
use serde_json::Value;

const ALLOWED: &str = "allow_networks = [\"127.0.0.0/8\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_is_refused_and_the_line_that_allows_it_works() {
    let receiver = Receiver::start().await;
    // An address that is written is refused before anything is started, at its line.
    let scenario = Scenario::new("pipeline").receiver(&receiver.base).edit(ALLOWED, "");
    let at = 1 + scenario.text().lines().position(|l| l.starts_with("url = ")).unwrap();
    for args in [&["check", "--config", "cfg"][..], &SERVE] {
        let refused = scenario.run(args);
        let place = format!("hexafn.toml:{at}:");
        assert_eq!(refused.code, Some(78), "{args:?}");
        assert!([&*place, ALLOWED, "[targets]"].iter().all(|t| refused.err.contains(t)), "{args:?}: {}", refused.err);
    }
    assert!(!scenario.path("data").exists(), "nothing was made");

    // A name is refused when it resolves to one.
    let service = scenario.edit("http://127.0.0.1", "http://localhost").start();
    let id = send(&service, r#"{"n":1}"#).await;
    let status = eventually("the refusal", async || {
        let status = target(&service, "web").await;
        (status["last"].is_string(), status)
    })
    .await;
    let why = status["last"].as_str().unwrap();
    assert!(why.starts_with("refused") && why.contains("allow_networks = [\""), "{why}");
    assert!(why.contains("[targets]"), "the place where the line belongs: {why}");
    assert_eq!(receiver.seen("/web").len(), 0);
    service.edit("[targets]", "[targets]\nallow_networks = [\"127.0.0.0/8\", \"::1\"]");
    service.ask(&["reload"]);
    receiver.arrivals("/web", 1).await;
    assert_eq!(receiver.ids("/web"), [format!("{id}-double")], "the event waited for it");

    // And back: what is taken away is not reachable any more.
    service.edit("allow_networks = [\"127.0.0.0/8\", \"::1\"]", "");
    service.ask(&["reload"]);
    send(&service, r#"{"n":2}"#).await;
    eventually("the refusal of the second", async || {
        let status = target(&service, "web").await;
        (status["last"].as_str().is_some_and(|l| l.starts_with("refused")), status)
    })
    .await;
    assert_eq!(receiver.seen("/web").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_an_event_names_is_refused_in_every_spelling() {
    let receiver = Receiver::start().await;
    // Beside it a target that may reach this machine: what is refused is the network, not the event.
    let near = "\n[[target]]\nname = \"near\"\nkind = \"http\"\nurl = \"http://${event.data.near}/near\"\nALLOWED\n";
    let scenario = Scenario::new("pipeline").receiver("http://${event.data.to}").edit(ALLOWED, "");
    let scenario = scenario.edit("run = \"double\"\n", "").edit("event.data.n >= 0", "true");
    let scenario = scenario.edit("\"file\", \"web\"]", "\"file\", \"web\", \"near\"]");
    let text = scenario.text();
    let service = scenario.file("hexafn.toml", &(text + &near.replace("ALLOWED", ALLOWED))).start();
    let port = receiver.base.rsplit(':').next().unwrap();
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "user@127.0.0.1",
    ];
    for host in spellings {
        send(&service, &format!(r#"{{"to":"{host}:{port}","near":"127.0.0.1:{port}"}}"#)).await;
    }
    let dead = events_when(&service, "hexafn.dead.target.web", spellings.len()).await;
    for letter in &dead {
        let why = &letter["extensions"];
        assert_eq!(why["deadattempts"], "1", "what the event named is not tried again: {why}");
        let cause = why["deadcause"].as_str().unwrap();
        assert!(cause.starts_with("refused: ") || cause.contains("user name"), "{why}");
    }
    receiver.arrivals("/near", spellings.len()).await;
    idle(&service).await;
    assert_eq!(receiver.seen("/web").len(), 0);
    assert_eq!(receiver.seen("/near").len(), spellings.len(), "each once");
    let file = std::fs::read_to_string(service.path("data/out.jsonl")).unwrap();
    assert_eq!(file.lines().count(), spellings.len(), "and the file has all of them");
    assert_eq!(target(&service, "web").await["breaker"], "closed", "one event's address does not stop the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_does_not_take_a_request_to_another_host_and_its_url_stops_no_other() {
    let (receiver, thief) = (Receiver::start().await, Receiver::start().await);
    for status in [404, 410] {
        receiver.answer(&format!("/web/{status}"), Answer::Status(status));
    }
    let scenario = Scenario::new("pipeline").receiver(&format!("{}${{event.data.to}}", receiver.base));
    let scenario = scenario.edit("}/web\"", "}\"").edit("run = \"double\"\n", "").edit("event.data.n >= 0", "true");
    // As often as any tries, the breaker of the default would open.
    let scenario = scenario.edit("max_attempts = 50", "max_attempts = 10").edit("breaker = { failures = 1000 }\n", "");
    let service = scenario.start();
    let port = thief.base.rsplit(':').next().unwrap();
    let to = async |path: &str| send(&service, &format!(r#"{{"to":"{path}"}}"#)).await;
    let elsewhere = [&*format!("@127.0.0.1:{port}/web"), ".example.com/web", "0/web"];
    for path in elsewhere {
        to(path).await;
    }
    to("/web/410").await;
    let dead = events_when(&service, "hexafn.dead.target.web", elsewhere.len() + 1).await;
    for letter in &dead {
        let why = &letter["extensions"];
        let cause = why["deadcause"].as_str().unwrap();
        assert!(cause.starts_with("template: `url`") || cause.contains("no more events at this URL"), "{why}");
        assert_eq!(why["deadattempts"], "1", "{why}");
    }
    to("/web/404").await;
    events_when(&service, "hexafn.dead.target.web", elsewhere.len() + 2).await;
    assert_eq!(receiver.seen("/web/404").len(), 10, "it is tried again, as any 404");
    to("/web/good").await;
    receiver.arrivals("/web/good", 1).await;
    assert_eq!(target(&service, "web").await["breaker"], "closed");
    assert_eq!(thief.count().0, 0, "nobody came here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_an_event_names_does_not_leave_its_directory() {
    let receiver = Receiver::start().await;
    let service = Scenario::new("targets").receiver(&receiver.base).start();
    let outside = tempfile::tempdir().unwrap();
    let absolute = format!("{}/escaped", outside.path().display());
    let names = ["../../escaped", &absolute, "a/../../../b", "line\\nend", "ok"];
    for name in names {
        send(&service, &format!(r#"{{"for":"escape","name":"{name}"}}"#)).await;
    }
    idle(&service).await;
    let dead = events_when(&service, "hexafn.dead.target.escape", 3).await;
    let refused = |e: &Value| e["extensions"]["deadcause"].as_str().unwrap().contains("refused");
    assert!(dead.iter().all(refused), "{dead:?}");
    for bad in ["../../escaped", "a/../../../b", "line\nend"] {
        assert!(dead.iter().any(|e| e["data"]["name"] == bad), "{bad} is refused: {dead:?}");
    }
    assert!(service.path("data/files/ok.jsonl").is_file());
    assert!(!service.path("escaped.jsonl").exists() && !service.path("data/escaped.jsonl").exists());
    // An absolute path is refused, or taken for one below the directory of the target.
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
