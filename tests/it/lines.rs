//! Events as lines: on the standard output, in files that are compressed, and in the live stream of a target.

use super::outlets::scenario;
use super::sender::send;
use super::service::{SERVE, Scenario};
use super::watch::{Live, PATIENCE, eventually, idle, target};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A service whose standard output is read to its end.
struct Piped {
    child: Child,
    base: String,
    _scenario: Scenario,
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn piped(scenario: Scenario) -> Piped {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexafn"));
    command.args(SERVE).current_dir(scenario.path(""));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut announced = String::new();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    err.read_line(&mut announced).unwrap();
    std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()).ok());
    let base = announced.split_whitespace().find(|w| w.starts_with("http://"));
    let base = base.unwrap_or_else(|| panic!("the address on the standard error: {announced}")).to_owned();
    Piped { child, base, _scenario: scenario }
}

async fn post(base: &str, body: &str) {
    let request = super::sender::client().post(format!("{base}/hooks/in")).header("content-type", "application/json");
    assert_eq!(request.body(body.to_owned()).send().await.unwrap().status(), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_output_holds_events_and_nothing_else() {
    let mut service = piped(scenario("kind = \"stdout\"\n"));
    for n in 0..20 {
        post(&service.base, &format!("{{\"n\":{n}}}")).await;
    }
    let mut out = BufReader::new(service.child.stdout.take().unwrap());
    let read = tokio::task::spawn_blocking(move || {
        let mut lines = Vec::new();
        for _ in 0..20 {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            lines.push(line);
        }
        (lines, out)
    });
    let (lines, mut out) = tokio::time::timeout(PATIENCE, read).await.expect("20 lines").unwrap();
    let numbers: Vec<i64> =
        lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["n"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    service.child.kill().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing else is written there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_output_that_nobody_reads_is_a_failure_and_the_service_goes_on() {
    let mut service = piped(scenario("kind = \"stdout\"\n"));
    drop(service.child.stdout.take());
    post(&service.base, "{\"n\":1}").await;
    let status = eventually("the failure", async || {
        let (_, status) = super::sender::get(&format!("{}/admin/targets/out", service.base)).await;
        (status["last"].is_string(), status)
    })
    .await;
    assert!(status["last"].as_str().unwrap().starts_with("io: writing to the standard output failed"), "{status}");
    post(&service.base, "{\"n\":2}").await;
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_files_are_compressed_and_none_is_lost_in_a_crash() {
    let toml = "kind = \"file\"\npath = \"out/rows.csv\"\ncolumns = [{ name = \"n\", value = \"${event.data.n}\" }]\n\
                rotate = { size = \"1KiB\", compress = \"gzip\" }\nbatch = { max_records = 20, max_age = \"10ms\" }\n";
    let mut service = scenario(toml).start();
    let row = "x".repeat(200);
    for n in 0..30 {
        send(&service, &format!("{{\"n\":\"{n}{row}\"}}")).await;
    }
    service.kill_and_restart();
    send(&service, &format!("{{\"n\":\"30{row}\"}}")).await;
    idle(&service).await;
    let folder = service.path("out");
    let files = eventually("one plain file", async || {
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        (files.len() > 5 && files.iter().filter(|f| f.extension().is_none_or(|e| e != "gz")).count() == 1, files)
    })
    .await;
    let mut numbers = Vec::new();
    for file in &files {
        let text = match file.extension().unwrap().to_str().unwrap() {
            "gz" => unpacked(file),
            _ => std::fs::read_to_string(file).unwrap(),
        };
        let (head, rows) = text.split_once('\n').unwrap();
        assert_eq!(head, "n", "each file begins with the names: {file:?}");
        numbers.extend(rows.lines().map(|l| l.trim_end_matches('x').trim_end().parse::<u32>().unwrap()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..31).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_target_is_given_can_be_watched_redacted() {
    let toml = "kind = \"file\"\npath = \"out/all.jsonl\"\nredact = { paths = [\"mail\"] }\n";
    let service = scenario(toml).start();
    let mut live = Live::open(&service, "/ws/targets/out?filter=event.data.n%20%3E%201").await;
    send(&service, r#"{"n":1,"mail":"jo@example.org"}"#).await;
    let id = send(&service, r#"{"n":2,"mail":"jo@example.org"}"#).await;
    let seen = live.json().await;
    assert_eq!((&seen["id"], &seen["topic"]), (&format!("{id}-pass").into(), &"hexafn.out.out".into()), "{seen}");
    assert_eq!((&seen["data"]["mail"], &seen["data"]["n"]), (&"[redacted]".into(), &2.into()), "{seen}");
    assert_eq!(Live::with(&service, "/ws/targets/nobody", &[]).await.err(), Some(404));
    let unknown = service.hexafn(&["tail", "target:otu"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("out"), "{unknown:?}");
    idle(&service).await;
    assert!(target(&service, "out").await["delivered"].as_u64() >= Some(2));

    // A target that is a topic is watched there.
    // A topic is written to without attempts.
    let attempts = "retry = { schedule = [\"50ms\"], max_attempts = 200, jitter = 0.0 }\nbreaker = { failures = 1000, min_attempts = 1000 }\n";
    let pipeline = Scenario::new("outlet").edit(attempts, "").start();
    let id = send(&pipeline, r#"{"n":1}"#).await;
    let tailed = pipeline.hexafn(&["-o", "json", "tail", "target:out", "--from", "all", "-n", "1"]);
    let event: Value = serde_json::from_str(&tailed.out).unwrap_or_else(|e| panic!("{e}: {tailed:?}"));
    assert_eq!((&event["id"], &event["topic"]), (&format!("{id}-pass").into(), &"out".into()));
}
