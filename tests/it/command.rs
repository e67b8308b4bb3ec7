//! The command line: exit codes, what it says when something is wrong, what it tries without effect, what it shows.

use super::clients::register;
use super::receiver::{Answer, Receiver};
use super::sender::{post, send};
use super::service::{KEY, Ran, SERVE, Scenario};
use super::watch::{events_when, subscription};
use serde_json::{Value, json};
use std::fs::File;
use std::process::Stdio;
use tokio::task::block_in_place;

/// A scenario whose receiver nobody is.
fn pipeline() -> Scenario {
    Scenario::new("pipeline").receiver("http://127.0.0.1:9")
}

#[test]
fn exit_codes_are_those_of_the_documentation() {
    let scenario = pipeline();
    for args in [&["topic", "ls"][..], &["reload"], &["tail", ">"], &["publish", "a", "-d", "{}"], &["actors", "ls"]] {
        let ran = scenario.run(args);
        assert_eq!(ran.code, Some(69), "{args:?}: {ran:?}");
        assert!(ran.err.contains("127.0.0.1:9"), "{args:?} names the address: {ran:?}");
    }
    for args in [&["topic"][..], &["nothing"], &["tail"], &["serve", "--set", "nonsense"], &["publish", "a"]] {
        assert_eq!(scenario.run(args).code, Some(2), "{args:?}");
    }
    let ran = scenario.run(&["-o", "json", "topic", "ls"]);
    let json: Value = serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((ran.code, json["exit"].as_u64()), (Some(69), Some(69)), "{json}");
    assert!(json["error"].as_str().unwrap().contains("hexafn serve"), "what to do is told: {json}");

    assert_eq!(scenario.run(&["check", "--config", "cfg"]).code, Some(0));
    for command in ["check", "serve"] {
        let ran = scenario.run(&[command, "--config", "absent"]);
        assert!(ran.code == Some(78) && ran.err.contains("absent"), "{command}: {ran:?}");
    }
    assert_eq!(scenario.run(&["explain", "HX1009"]).code, Some(0));
    assert_eq!(scenario.run(&["explain", "HX9999"]).code, Some(1));
    let ran = scenario.run(&["schema"]);
    let schema: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((ran.code, &schema["type"]), (Some(0), &json!("object")));
    let ran = scenario.run(&["completion", "bash"]);
    assert_eq!((ran.code, ran.out.contains("hexafn")), (Some(0), true));
    let ran = scenario.run(&["hook", "send", "inn", "--config", "cfg", "--data", "{}"]);
    assert!(ran.code == Some(1) && ran.err.contains("`in`"), "what was probably meant is named: {ran:?}");
}

/// Where nothing can be written.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// What nobody reads any more.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_output_that_nobody_reads_is_none() {
    let scenario = Scenario::new("tested");
    for args in [&["schema"][..], &["token", "new", "ci"], &["check", "--config", "cfg"], &["--help"]] {
        let ran = scenario.run_to(args, full(), Stdio::piped());
        assert!(ran.code == Some(74) && ran.err.contains("output cannot be written"), "{args:?}: {ran:?}");
        let ran = scenario.run_to(args, unread(), Stdio::piped());
        assert!(ran.code == Some(0) && !ran.err.contains("output"), "{args:?}: {ran:?}");
    }
    let ran = scenario.run_to(&["-o", "json", "schema"], full(), Stdio::piped());
    let json: Value = serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!(json["exit"], 74, "{json}");
    // A token that nobody has seen is none.
    assert_eq!(scenario.run_to(&["token", "new", "ci"], Stdio::piped(), full()).code, Some(74));

    // What a command came to by itself is its code.
    let tests = std::fs::read_to_string(scenario.path("cfg/tests.toml")).unwrap();
    let scenario = scenario.file("tests.toml", &tests.replace("attempts = 3", "attempts = 2"));
    for (args, code) in [(&["test", "--config", "cfg"][..], 1), (&["topic", "ls"], 69), (&["nothing"], 2)] {
        assert_eq!(scenario.run(args).code, Some(code), "{args:?}");
        for (out, err) in [(full(), full()), (full(), File::create(scenario.path("err")).unwrap())] {
            assert_eq!(scenario.run_to(args, out, err).code, Some(code), "{args:?}");
        }
        assert_eq!(scenario.run_to(args, unread(), unread()).code, Some(code), "{args:?}");
    }
    let told = std::fs::read_to_string(scenario.path("err")).unwrap();
    assert!(told.contains("nothing"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_printed_is_not_settled() {
    let service = pipeline().start();
    register(&service, "billing", json!({ "pattern": "in", "from": "all" })).await;
    send(&service, r#"{"n":1}"#).await;
    let args = ["--server", &service.base, "sub", "read", "billing", "-n", "1"];
    for (out, code) in [(Stdio::from(full()), 74), (Stdio::from(unread()), 0)] {
        let ran = block_in_place(|| service.scenario.run_to(&args, out, Stdio::piped()));
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(subscription(&service, "billing").await["ack_floor"], 0);
    }
    let ran = service.hexafn(&["-o", "json", "sub", "read", "billing", "-n", "1"]);
    assert!(ran.code == Some(0) && ran.out.contains("\"n\":1"), "it comes again: {ran:?}");
}

#[test]
fn standard_input_that_is_too_long_is_refused_and_not_cut() {
    let scenario = pipeline();
    for (args, longest) in
        [(&["fmt", "-"][..], 256 << 10), (&["simulate", "--config", "cfg", "--topic", "in", "-d", "-"], 26 << 20)]
    {
        std::fs::write(scenario.path("long"), format!("1{}", " ".repeat(longest))).unwrap();
        let ran = scenario.run_with(args, "long");
        assert!(ran.err.contains(&format!("longer than {longest} bytes")), "{args:?}: {ran:?}");
        assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{args:?}");
        std::fs::write(scenario.path("long"), format!("1{}", " ".repeat(longest - 1))).unwrap();
        let ran = scenario.run_with(args, "long");
        assert!(ran.code == Some(0) && !ran.out.is_empty(), "{args:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_of_the_service_is_told_as_an_error_like_others() {
    let (scenario, proxy) = (pipeline(), Receiver::start().await);
    proxy.answer_others(Answer::Status(502));
    for command in [&["tail", "in"][..], &["topic", "ls"]] {
        let args = [&["--server", &*proxy.base, "-o", "json"], command].concat();
        let ran = block_in_place(|| scenario.run(&args));
        let json: Value = serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        assert_eq!((ran.code, &json["exit"]), (Some(1), &json!(1)), "{ran:?}");
        assert!(json["error"].as_str().is_some_and(|error| error.contains("502")), "{json}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let scenario = pipeline()
        .edit("kind = \"file\"", "kind = \"fiel\"")
        .edit("when = \"event.data.n >= 0\"", "when = \"event.dat.n >= \"")
        .edit("topic = \"in\"", "topic = \"in\"\ntopics = 1");
    let bad = scenario.text();
    let ran = scenario.run(&["check", "--config", "cfg"]);
    assert_eq!(ran.code, Some(78));
    for needle in ["topics = 1", "kind = \"fiel\"", "when = "] {
        let line = bad.lines().position(|l| l.starts_with(needle)).unwrap();
        assert!(ran.err.contains(&format!("hexafn.toml:{}:", line + 1)), "{needle}: {}", ran.err);
        assert!(ran.err.contains(bad.lines().nth(line).unwrap()), "the excerpt shows {needle}: {}", ran.err);
    }
    assert!(ran.err.contains("`file`") || ran.err.contains("\"file\""), "what exists is named: {}", ran.err);
    let ran = scenario.run(&["-o", "json", "check", "--config", "cfg"]);
    let json: Value = serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let codes: Vec<&Value> = json["errors"].as_array().unwrap().iter().map(|e| &e["code"]).collect();
    assert_eq!(codes, ["HX1003", "HX0202", "HX0101", "HX1006"], "{json}");
    let ran = scenario.run(&SERVE);
    assert_eq!((ran.code, ran.out.as_str()), (Some(78), ""), "{ran:?}");
    assert!(!scenario.path("data").exists(), "nothing was opened");
}

#[test]
fn a_service_that_would_be_unsafe_does_not_start() {
    let none = "{ scheme = \"none\" }";
    for (from, to, expected) in [
        (none, "{ scheme = \"github\", secrets = [\"env:IT_NOT_SET\"] }", "IT_NOT_SET"),
        (none, "{ scheme = \"github\", secrets = [\"written here, in the open\"] }", "env:"),
        (
            none,
            "{ scheme = \"github\", secrets = [\"file:../../etc/passwd\"] }",
            "leads out of the configuration folder",
        ),
        ("[targets]", "[server]\nlisten = \"0.0.0.0:0\"\n[targets]", "token"),
    ] {
        let scenario = pipeline().edit(from, to);
        let ran = scenario.run(&["serve", "--config", "cfg"]);
        assert!(ran.code == Some(78) && ran.err.contains(expected), "{to}: {ran:?}");
        assert!(!ran.err.contains("in the open"), "a secret is never shown, wherever it stands: {ran:?}");
        assert!(!scenario.path("data").exists(), "{to}: nothing was opened");
    }
    use std::os::unix::fs::PermissionsExt;
    let scenario = pipeline().edit(none, "{ scheme = \"github\", secrets = [\"file:secrets/key\"] }");
    std::fs::set_permissions(scenario.path("cfg/secrets/key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = scenario.run(&["serve", "--config", "cfg"]);
    assert!(ran.code == Some(78) && ran.err.contains("600"), "a secret that others can read: {ran:?}");
    assert!(!ran.err.contains(KEY), "a secret is never shown: {ran:?}");
    // Where a platform puts secrets.
    let elsewhere = scenario.path("elsewhere");
    std::fs::rename(scenario.path("cfg/secrets/key"), &elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o600)).unwrap();
    let scenario = scenario.edit("file:secrets/key", &format!("file:{}", elsewhere.display()));
    assert_eq!(scenario.run(&["check", "--config", "cfg"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_and_the_first_goes_on() {
    let service = pipeline().start();
    let ran = service.scenario.run(&SERVE);
    assert_eq!((ran.code, ran.out.as_str()), (Some(74), ""), "{ran:?}");
    assert!(ran.err.contains("data") && ran.err.contains("in use"), "{ran:?}");
    let address = service.base.trim_start_matches("http://");
    let taken = format!("server.listen={address}");
    let ran = service.scenario.run(&["serve", "--config", "cfg", "--set", &taken, "--set", "storage.path=other"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.err.contains(address) && ran.err.contains("server.listen"), "{ran:?}");
    send(&service, r#"{"n":1}"#).await;
    events_when(&service, "out", 1).await;
}

/// The dry run as JSON, without what differs from run to run.
fn simulated(scenario: &Scenario, topic: &str, data: &str) -> Value {
    let ran = scenario.run(&["-o", "json", "simulate", "--config", "cfg", "--topic", topic, "-d", data]);
    let mut runs = ran.json();
    for run in runs.as_array_mut().unwrap() {
        for function in run["functions"].as_array_mut().unwrap() {
            let took = function.as_object_mut().unwrap().remove("took_us");
            assert!(took.is_some_and(|t| t.is_u64()), "{ran:?}");
        }
        if let Some(output) = run["output"].as_object_mut() {
            output.remove("id");
        }
    }
    runs
}

#[test]
fn simulate_tells_what_would_happen_and_why_and_does_nothing() {
    let scenario = pipeline();
    let explained = |value: &str, holds: bool| format!("event.data.n >= 0 = {holds}\n  event.data.n = {value}\n");
    let trimmed = |runs: &Value| runs[0]["explanation"].as_str().unwrap().trim_end().to_owned() + "\n";
    let fired = simulated(&scenario, "in", r#"{"n":21}"#);
    assert_eq!(trimmed(&fired), explained("21", true), "{fired}");
    let mut rest = fired.clone();
    rest[0].as_object_mut().unwrap().remove("explanation");
    let expected = json!([{
        "trigger": "double",
        "outcome": "fired",
        "functions": [{ "name": "double" }],
        "output": { "n": 21, "twice": 42 },
        "to": ["out", "file", "web"],
        "not_to": [],
    }]);
    assert_eq!(rest, expected);

    let skipped = simulated(&scenario, "in", r#"{"n":-1}"#);
    assert_eq!(trimmed(&skipped), explained("-1", false), "{skipped}");
    let outcome = |runs: &Value| (runs[0]["outcome"].clone(), runs[0]["to"].clone(), runs[0]["output"].clone());
    assert_eq!(outcome(&skipped), (json!("skipped"), json!([]), Value::Null), "{skipped}");
    let failed = simulated(&scenario, "in", r#"{"n":"x"}"#);
    assert_eq!(outcome(&failed), (json!("failed"), json!([]), Value::Null), "{failed}");
    assert!(failed[0]["error"].as_str().unwrap().starts_with("condition: "), "{failed}");
    assert_eq!(simulated(&scenario, "nobody-listens", "{}"), json!([]));
    let off = scenario.edit("run = \"double\"", "run = \"double\"\nenabled = false");
    assert_eq!(outcome(&simulated(&off, "in", r#"{"n":21}"#)).0, "disabled");

    let ran = off.run(&["simulate", "--config", "cfg", "--topic", "in", "-d", "{"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!off.path("data").exists(), "nothing was written");
}

#[test]
fn simulate_shows_every_trigger_by_rank_every_fallback_and_the_targets_that_do_not_want_it() {
    let ranked = simulated(&Scenario::new("topics"), "ranked", "{}");
    let triggers: Vec<&Value> = ranked.as_array().unwrap().iter().map(|r| &r["trigger"]).collect();
    assert_eq!(triggers, ["high", "low"]);
    let chain = simulated(&Scenario::new("supervision"), "chain", r#"{"n":1}"#);
    let functions: Vec<(&Value, bool)> =
        chain[0]["functions"].as_array().unwrap().iter().map(|f| (&f["name"], f["error"].is_null())).collect();
    assert_eq!(functions, [(&json!("first"), false), (&json!("second"), false), (&json!("third"), true)], "{chain}");
    assert_eq!(chain[0]["output"], json!({ "by": "third", "n": 1 }));
    let spread = simulated(&Scenario::new("targets").receiver("http://127.0.0.1:9"), "in", r#"{"for":"flaky"}"#);
    let wanted = (&spread[0]["to"], &spread[0]["not_to"]);
    let others = json!(["gone", "broken", "polite", "moved", "quits", "escape", "strict"]);
    assert_eq!(wanted, (&json!(["good", "flaky"]), &others));
    let people =
        Scenario::new("supervision").run(&["simulate", "--config", "cfg", "--topic", "picked", "-d", r#"{"n":3}"#]);
    assert_eq!(people.code, Some(0));
    assert!(["picky: failed", "poison"].iter().all(|t| people.out.contains(t)), "{people:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulate_of_a_running_service_knows_its_switches_and_moves_no_count() {
    let service = pipeline().start();
    let trial = r#"{"topic":"in","data":{"n":21}}"#;
    let (status, runs) = post(&service.url("/admin/simulate"), &[], trial).await;
    assert_eq!(
        (status, &runs[0]["outcome"], &runs[0]["output"]["twice"]),
        (200, &json!("fired"), &json!(42)),
        "{runs}"
    );
    assert!(runs[0]["explanation"].as_str().unwrap().starts_with("event.data.n >= 0 = true"), "{runs}");
    service.ask(&["trigger", "disable", "double"]);
    let (_, runs) = post(&service.url("/admin/simulate"), &[], trial).await;
    assert_eq!(runs[0]["outcome"], "disabled", "{runs}");
    let shown = service.ask(&["trigger", "show", "double"]);
    assert_eq!((&shown["fired"], &shown["skipped"]), (&json!(0), &json!(0)), "{shown}");
    assert_eq!(super::watch::events(&service, "out").await.len(), 0);
}

#[test]
fn run_tries_one_function() {
    let scenario = pipeline();
    let run = |name: &str, data: &str| scenario.run(&["run", "--config", "cfg", name, "-d", data]);
    assert_eq!(run("double", r#"{"n":4}"#).json()["twice"], 8);
    let Ran { code, err, .. } = run("double", r#"{"n":"x"}"#);
    assert!(code == Some(1) && err.contains("HX"), "{err}");
    let Ran { code, err, .. } = run("duoble", "{}");
    assert!(code == Some(1) && err.contains("double"), "{err}");
    assert!(!scenario.path("data").exists(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_events_hold_is_shown_without_being_obeyed() {
    let service = pipeline().start();
    send(&service, r#"{"n":1,"x":"a\u001b[2Jb\nc\u202ed"}"#).await;
    service.ask(&["publish", "in", "-d", "{\"n\":1}", "--type", "t\u{202e}[31m"]);
    for args in [&["tail", "in", "--from", "all", "-n", "2"][..], &["topic", "events", "in"], &["trace", "ls"]] {
        let ran = service.hexafn(args);
        assert!(ran.code == Some(0) && ran.out.contains("in"), "{args:?}: {ran:?}");
        assert!(!ran.out.contains('\u{1b}') && !ran.out.contains('\u{202e}'), "{args:?}: {:?}", ran.out);
    }
    // A line for each event, for programs, whatever line ends its data has.
    send(&service, "{\n  \"n\": 2\n}").await;
    let ran = service.hexafn(&["-o", "json", "tail", "in", "--from", "all", "-n", "3"]);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let seqs: Vec<&Value> = lines.iter().map(|l| &l["seq"]).collect();
    assert_eq!(seqs, [1, 2, 3], "{ran:?}");
    assert_eq!(lines[0]["data"]["x"], "a\u{1b}[2Jb\nc\u{202e}d", "programs get it as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_by_hand_is_told_as_json_when_json_is_asked_for() {
    let service = pipeline().start();
    send(&service, r#"{"n":1}"#).await;
    for act in ["pause", "resume", "retry"] {
        let told = service.ask(&["sub", act, "trigger.double"]);
        assert_eq!(told, json!({ "subscription": "trigger.double", "did": act }));
    }
    let told = service.ask(&["sub", "replay", "trigger.double", "--from", "all"]);
    assert_eq!(told, json!({ "subscription": "trigger.double", "did": "replay" }));
    let told = service.ask(&["topic", "trim", "in", "--below", "1"]);
    assert_eq!(told["topic"], "in", "{told}");
}

#[test]
fn the_prompt_keeps_what_is_declared_and_shows_what_is_emitted() {
    let scenario = pipeline();
    let lines = "let x = event.data.a\nfn twice(n) = n * 2\ntwice(x)\nemit \"t\" { x } key \"k\"\n:event {\"a\": 5}\ntwice(x)\nfn twice(n) = n * 3\nconst K = 1\nconst K = 2\ntwice(x) + K\nlen(\n:nothing\n:quit\n1\n";
    std::fs::write(scenario.path("lines"), lines).unwrap();
    let ran = scenario.run_with(&["repl", "-d", r#"{"a":20}"#], "lines");
    let shown: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        (ran.code, &shown[..5]),
        (Some(0), &["40", "emit t key k: {\"x\":20}", "null", "10", "17"][..]),
        "{ran:?}"
    );
    assert!(ran.out.contains("HX0111") && ran.out.contains("no command `:nothing`"), "{ran:?}");
    assert!(!ran.out.ends_with("1\n"), "nothing is read after :quit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_events_are_shown_as_they_are() {
    let exact = [r#""i":123456789012345678901234567890"#, r#""d":0.12345678901234567891"#];
    let numbers = exact.join(",");
    let all = |shown: &str| exact.iter().all(|number| shown.replace("\": ", "\":").contains(number));
    let scenario = Scenario::new("dead").receiver("http://127.0.0.1:9");
    let data = format!("{{\"n\":1,\"by\":0,{numbers}}}");
    for output in [&["-o", "json"][..], &[]] {
        let simulated = [output, &["simulate", "--config", "cfg", "--topic", "sent", "-d", &data]].concat();
        let ran = scenario.run(&simulated);
        assert!(ran.code == Some(0) && all(&ran.out), "{ran:?}");
    }
    let ran =
        scenario.run(&["-o", "json", "run", "--config", "cfg", "half", "-d", &data.replace("\"by\":0", "\"by\":1")]);
    assert_eq!(ran.json()["output"]["half"], 1, "{ran:?}");
    let service = scenario.start();
    send(&service, &data).await;
    super::dead::letters_when(&service, "trigger.half", 1).await;
    for args in
        [&["topic", "events", "in"][..], &["dlq", "list", "trigger.half"], &["dlq", "show", "trigger.half", "1"]]
    {
        let ran = service.hexafn(&[&["-o", "json"], args].concat());
        assert!(ran.code == Some(0) && all(&ran.out), "{args:?}: {ran:?}");
        assert_eq!(ran.out.lines().count(), 1, "{args:?}: {ran:?}");
        let people = service.hexafn(args);
        assert!(args[1] == "list" || all(&people.out), "{args:?}: {people:?}");
    }
    let probed = service.hexafn(&["-o", "json", "target", "test", "web", "--data", &data]);
    assert!(all(&probed.out.replace("\\\"", "\"")), "{probed:?}");
    // What is fed back is what was shown, and what is tried is what was given up.
    let checked = service.hexafn(&["-o", "json", "dlq", "check", "trigger.half", "--config", "cfg"]);
    assert_eq!(checked.code, Some(1), "it would fail again: {checked:?}");
    let trial = format!("{{\"topic\":\"sent\",\"data\":{data}}}");
    let request =
        super::sender::client().post(service.url("/admin/simulate")).header("content-type", "application/json");
    let answered = super::sender::answer(request.body(trial)).await;
    assert!(answered.status == 200 && all(&answered.text), "{answered:?}");
}
