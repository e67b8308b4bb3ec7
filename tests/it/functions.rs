//! Functions in other languages: on workers that are actors, in processes that can do nothing but compute, and that are
//! killed when they do that for too long.

use super::dead::letters_when;
use super::receiver::{Answer, Receiver};
use super::sender::{get, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, node};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ORDER: &str = r#"{"job":"total","lines":[{"price":2,"count":3},{"price":0.5,"count":4}]}"#;

fn start() -> Service {
    start_with("http://127.0.0.1:9")
}

fn start_with(receiver: &str) -> Service {
    let host = receiver.trim_start_matches("http://").to_owned();
    let scenario = Scenario::new("functions").receiver(receiver);
    scenario.edit("{{host}}", &host).start()
}

/// The data of the events of a topic, in order.
async fn data_when(service: &Service, topic: &str, count: usize) -> Vec<Value> {
    events_when(service, topic, count).await.into_iter().map(|event| event["data"].clone()).collect()
}

/// The workers of a function, as the tree shows them.
async fn workers(service: &Service, function: &str) -> Vec<Value> {
    let (_, nodes) = get(&service.url("/admin/actors")).await;
    let prefix = format!("/functions/{function}/");
    let is_worker = |n: &&Value| n["path"].as_str().is_some_and(|path| path.starts_with(&prefix));
    nodes.as_array().unwrap().iter().filter(is_worker).cloned().collect()
}

/// The process of a worker of a function, once there is one.
async fn process(service: &Service, function: &str) -> i32 {
    eventually("a worker process", async || {
        let seen = workers(service, function).await;
        let process = seen.iter().find_map(|w| w["observed"]["process"].as_i64());
        (process.is_some(), process)
    })
    .await
    .and_then(|id| i32::try_from(id).ok())
    .unwrap()
}

fn is_there(process: i32) -> bool {
    // One that has ended and was not waited for yet is not there any more.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processors that a process may run on, as the kernel says it: `0-1`.
fn processors(process: impl std::fmt::Display) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_else(|| panic!("{status}")).trim().to_owned()
}

/// Sends a signal; whether there was a process to send it to.
fn kill(process: i32, signal: &str) -> bool {
    let mut kill = std::process::Command::new("kill");
    kill.args(["-s", signal, &process.to_string()]).stderr(std::process::Stdio::null()).status().unwrap().success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_in_two_languages_gives_one_result_and_its_trace_says_what_it_used() {
    let service = start();
    let id = send(&service, ORDER).await;
    let mut done = data_when(&service, "done", 2).await;
    done.sort_by_key(|d| d["by"].to_string());
    assert_eq!(done, [json!({"by":"js","total":8}), json!({"by":"lua","total":8})]);
    let trace = service.ask(&["trace", "show", &id]).to_string();
    assert!(trace.contains("host calls") && trace.contains("version"), "{trace}");
    let listed = service.ask(&["function", "ls"]);
    let js = listed.as_array().unwrap().iter().find(|f| f["name"] == "js").unwrap();
    assert_eq!((&js["runtime"], &js["ok"]), (&json!("js"), &json!(1)), "{js}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_process_can_do_nothing_but_compute() {
    let service = start();
    send(&service, ORDER).await;
    data_when(&service, "done", 2).await;
    let process = process(&service, "js").await;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap().to_owned();
    assert_eq!((line("Seccomp:"), line("NoNewPrivs:")), ("2".into(), "1".into()), "a filter of system calls");
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    for limit in ["Max processes             0", "Max core file size        0", "Max open files            8"] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    assert!(!limits.contains("Max address space         unlimited"), "{limits}");
    assert_eq!(std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default(), b"", "no environment");
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    assert!(open <= 5, "its socket, its bell and its standard streams alone: {open}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_engine_can_stop_is_killed_in_time_and_holds_up_nobody_else() {
    let service = start();
    send(&service, r#"{"job":"stuck","lines":[]}"#).await;
    send(&service, r#"{"job":"stuck-alone"}"#).await;
    let id = send(&service, ORDER).await;
    let done = events_when(&service, "done", 3).await;
    // Its fallback, in another language, stepped in.
    assert!(done.iter().any(|e| e["data"] == json!({"by":"lua","total":0})), "{done:?}");
    assert_eq!(done.iter().filter(|e| e["id"].as_str().is_some_and(|i| i.starts_with(&id))).count(), 2);
    let letter = letters_when(&service, "trigger.stuck-alone", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.contains("timeout") && cause.contains("150ms"), "{cause}");
    // Killed as agreed: no failure of the actor.
    for worker in workers(&service, "stuck-alone").await {
        assert_eq!((&worker["state"], &worker["restarts"]), (&json!("running"), &json!(0)), "{worker}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_computes_for_long_leaves_a_processor_to_what_does_not() {
    let service = start();
    let all = processors(service.pid());
    // A new process stands aside until a call of it was short; on a busy machine that need not be the first.
    let short = async || {
        eventually("a short call ends it", async || {
            send(&service, r#"{"job":"held","n":1}"#).await;
            let now = processors(process(&service, "held").await);
            (now == all, now)
        })
        .await
    };
    short().await;
    send(&service, r#"{"job":"held","n":2,"busy":true}"#).await;
    let held = process(&service, "held").await;
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let aside = eventually("it stands aside", async || {
            let now = processors(held);
            (now != all, now)
        });
        let aside = aside.await;
        assert!(all.starts_with('0') && !aside.starts_with('0'), "{all}: {aside}");
        eventually("the long one ends", async || {
            let done = events(&service, "done").await;
            (done.iter().any(|event| event["data"]["n"] == 2), done.len())
        })
        .await;
        assert_eq!(processors(held), aside, "what was long is likely to be long again");
    }
    assert_eq!(processors(service.pid()), all, "the service stays where it is");
    short().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_process_that_dies_hurts_one_event_which_is_tried_again() {
    let service = start();
    let id = send(&service, r#"{"job":"die"}"#).await;
    for (call, signal) in ["KILL", "SEGV", "ABRT"].into_iter().enumerate() {
        eventually("it runs", async || {
            let worker = workers(&service, "dies").await.remove(0);
            (worker["observed"]["calls"].as_u64() == Some(call as u64 + 1), worker)
        })
        .await;
        let process = process(&service, "dies").await;
        // The first SIGSEGV is taken for a stack overflow that is none; a fault in the code comes again by itself.
        eventually("it is gone", async || (!is_there(process) || !kill(process, signal), process)).await;
    }
    let done = events_when(&service, "done", 1).await;
    assert_eq!((done[0]["id"].as_str(), &done[0]["data"]), (Some(&*format!("{id}-dies")), &json!({"attempt":4})));
    let worker = workers(&service, "dies").await.remove(0);
    assert_eq!(worker["restarts"], 3, "{worker}");
    assert!(worker["last_failure"].to_string().contains("signal 6 (SIGABRT)"), "{worker}");
}

/// Sends the first event of a job, the rest behind it while it runs, and does something then; gives what came of all.
async fn behind_a_first(service: &Service, job: &str, then: impl AsyncFnOnce()) -> Vec<Value> {
    const BEHIND: usize = 20;
    send(service, &json!({ "job": job, "n": 0 }).to_string()).await;
    eventually("it runs", async || {
        let worker = workers(service, job).await.remove(0);
        (worker["observed"]["calls"].as_u64() == Some(1), worker)
    })
    .await;
    for n in 1..=BEHIND {
        send(service, &json!({ "job": job, "n": n }).to_string()).await;
    }
    then().await;
    let mut done = data_when(service, "done", BEHIND + 1).await;
    done.sort_by_key(|d| d["n"].as_u64());
    let expected = (0..=BEHIND).map(|n| json!({ "n": n, "attempt": if n == 0 { 2 } else { 1 } }));
    assert_eq!(done, expected.collect::<Vec<_>>(), "only the first was hurt");
    workers(service, job).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_was_given_ahead_is_not_hurt_when_it_dies_or_is_killed() {
    let service = start();
    let worker = behind_a_first(&service, "ahead", async || {
        assert!(kill(process(&service, "ahead").await, "KILL"));
    });
    assert_eq!(worker.await[0]["restarts"], 1);
    let service = start();
    let worker = behind_a_first(&service, "late", async || {}).await.remove(0);
    assert_eq!((&worker["state"], &worker["restarts"]), (&json!("running"), &json!(0)), "{worker}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_has_said_is_heard_while_its_next_call_hangs() {
    let service = start();
    // The others are given to the process while it runs the first, and it says them all before it hangs.
    for event in [r#""busy":true,"n":0"#, r#""n":1"#, r#""n":2"#, r#""n":3"#, r#""stuck":true"#] {
        send(&service, &format!(r#"{{"job":"held",{event}}}"#)).await;
    }
    let mut done = data_when(&service, "done", 4).await;
    done.sort_by_key(|d| d["n"].as_u64());
    assert_eq!(done, (0..4).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    let (_, letters) = get(&service.url("/admin/dead-letters/trigger.held")).await;
    assert!(!letters.to_string().contains("timeout"), "the last still runs: {letters}");
    let letter = letters_when(&service, "trigger.held", 1).await.remove(0);
    assert!(letter["cause"].as_str().unwrap().contains("timeout"), "{letter}");
    // A kill leaves nobody who could say what the call used.
    let listed = service.ask(&["function", "ls"]);
    let held = listed.as_array().unwrap().iter().find(|f| f["name"] == "held").unwrap();
    assert!(held["cpu_seconds"].as_f64().unwrap() > 0.7, "of 0.5 and 5 seconds that it computed: {held}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_fit_one_by_one_and_not_together_fail_that_call_alone() {
    let service = start();
    send(&service, r#"{"job":"much"}"#).await;
    let letter = letters_when(&service, "trigger.much", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.contains("output-too-large") && cause.contains("64 MiB"), "{cause}");
    assert_eq!(workers(&service, "much").await[0]["restarts"], 0, "its process is not to blame");
    // What a run that failed used is on its trace, too.
    let trace = service.ask(&["trace", "show", letter["event"]["id"].as_str().unwrap()]).to_string();
    assert!(trace.contains("host calls") && trace.contains("output-too-large"), "{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_takes_so_many_lines_of_a_function_and_the_rest_is_counted() {
    let service =
        Scenario::new("functions").receiver("http://127.0.0.1:9").edit("{{host}}", "127.0.0.1:9").start_logged("info");
    send(&service, r#"{"job":"talk","lines":40}"#).await;
    data_when(&service, "done", 1).await;
    let metrics = reqwest::get(service.url("/metrics")).await.unwrap().text().await.unwrap();
    let dropped =
        metrics.lines().find_map(|l| l.strip_prefix(r#"hexafn_function_log_lines_dropped_total{function="talks"} "#));
    let dropped: u64 = dropped.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
    // One more for each second that the run took.
    assert!((30..=35).contains(&dropped), "{dropped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_may_ask_hundreds_of_times_and_get_much() {
    let receiver = Receiver::start().await;
    let service = start_with(&receiver.base);
    receiver.answer("/ask", Answer::Json(200, "1".to_owned()));
    send(&service, r#"{"job":"ask","times":400}"#).await;
    assert_eq!(data_when(&service, "done", 1).await, [json!({"status":200,"body":"1"})]);
    assert_eq!(receiver.seen("/ask").len(), 400);
    receiver.answer("/ask", Answer::Json(200, "x".repeat(4 << 20)));
    send(&service, r#"{"job":"ask","size":true}"#).await;
    assert_eq!(data_when(&service, "done", 2).await[1], json!({"status":200,"body":4 << 20}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_and_results_fill_the_socket_and_stop_nobody() {
    let service = start();
    // Several times what the socket of a process holds, in both directions.
    let body = |n: usize| json!({ "job": "echo", "n": n, "pad": "x".repeat(200 << 10) }).to_string();
    let bodies: Vec<_> = (0..12).map(body).collect();
    futures_util::future::join_all(bodies.iter().map(|body| send(&service, body))).await;
    let done = data_when(&service, "done", bodies.len()).await;
    let mut came: Vec<_> = done.iter().map(|d| (d["n"].as_u64(), d["pad"].as_str().map(str::len))).collect();
    came.sort_unstable();
    assert_eq!(came, (0..12).map(|n| (Some(n), Some(200 << 10))).collect::<Vec<_>>());
    assert_eq!(workers(&service, "echoes").await[0]["restarts"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_asks_a_host_that_it_is_granted() {
    let receiver = Receiver::start().await;
    receiver.answer("/ask", Answer::Json(201, r#"{"a":1}"#.to_owned()));
    let service = start_with(&receiver.base);
    let id = send(&service, r#"{"job":"ask"}"#).await;
    assert_eq!(data_when(&service, "done", 1).await, [json!({"status":201,"body":r#"{"a":1}"#})]);
    let asked = receiver.seen("/ask").remove(0);
    assert_eq!((&*asked.body, asked.header("x-a")), (&*id, Some("1")));
    // Its answers are told from the calls that were given to its process meanwhile.
    let mut ids = vec![id];
    for _ in 0..30 {
        ids.push(send(&service, r#"{"job":"ask"}"#).await);
    }
    data_when(&service, "done", ids.len()).await;
    let mut asked: Vec<String> = receiver.seen("/ask").iter().map(|seen| seen.body.clone()).collect();
    asked.sort();
    ids.sort();
    assert_eq!(asked, ids, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_call_but_what_it_stored_and_that_only_when_it_ended_well() {
    let service = start();
    for body in [
        r#"{"job":"count","who":"a"}"#,
        r#"{"job":"count","who":"b"}"#,
        r#"{"job":"count","who":"a","fail":true}"#,
        r#"{"job":"count","who":"a"}"#,
        r#"{"job":"count","who":"a"}"#,
    ] {
        send(&service, body).await;
    }
    let done = data_when(&service, "done", 4).await;
    let of = |seen: u64| json!({ "seen": seen, "left": 1 });
    assert_eq!(done, [of(1), of(1), of(2), of(3)], "what failed counted nothing, and no global was left");
    assert_eq!(data_when(&service, "milestones", 1).await, [json!({"who":"a"})]);
    let letter = letters_when(&service, "trigger.counts", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.contains("thrown") && cause.contains("as asked") && cause.contains("line 6"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_is_denied() {
    let service = start();
    send(&service, r#"{"job":"grasp"}"#).await;
    let denied = json!({"emit":"denied","kv":"denied","http":"denied"});
    assert_eq!(data_when(&service, "done", 1).await, [denied]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_function_is_shown_with_what_it_may_do_and_use() {
    let service = start();
    let (status, talks) = get(&service.url("/admin/functions/talks")).await;
    assert_eq!(
        (status, &talks["isolation"], &talks["triggers"]),
        (200, &json!("process"), &json!(["talks"])),
        "{talks:#}"
    );
    assert_eq!((&talks["log"], &talks["time"], &talks["kv"]), (&json!(true), &json!(false), &json!([])), "{talks:#}");
    assert_eq!((&talks["limits"]["memory"], &talks["pool"]["workers"]), (&json!(32 << 20), &json!(2)), "{talks:#}");
    let (_, strict) = get(&service.url("/admin/functions/strict")).await;
    assert_eq!((&strict["input"], &strict["output"]), (&json!(true), &json!(true)), "{strict:#}");
    let shown = service.hexafn(&["function", "show", "talks"]).out;
    assert!(shown.contains("host_calls 1000") && shown.contains("isolation"), "{shown}");
    let unknown = service.hexafn(&["function", "show", "talk"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("`talks`"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_or_a_result_that_does_not_meet_its_schema_fails_and_says_where() {
    let service = start();
    for body in [r#"{"job":"strict","n":4}"#, r#"{"job":"strict","n":"four"}"#, r#"{"job":"strict","n":3}"#] {
        send(&service, body).await;
    }
    assert_eq!(data_when(&service, "done", 1).await, [json!({"half":2})]);
    let letters = letters_when(&service, "trigger.strict", 2).await;
    let mut causes: Vec<_> = letters.iter().map(|l| l["cause"].as_str().unwrap()).collect();
    causes.sort_unstable();
    assert!(causes[0].contains("input: its input") && causes[0].contains("`/n`"), "{causes:?}");
    assert!(causes[1].contains("output-schema: its output") && causes[1].contains("`/half`"), "{causes:?}");
    // However many such events come, the trigger goes on with the others.
    for _ in 0..12 {
        send(&service, r#"{"job":"strict","n":"four"}"#).await;
    }
    letters_when(&service, "trigger.strict", 14).await;
    send(&service, r#"{"job":"strict","n":4}"#).await;
    data_when(&service, "done", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_the_new_text_without_a_lost_event_and_the_old_processes_go() {
    let service = start();
    send(&service, ORDER).await;
    data_when(&service, "done", 2).await;
    let (old, unchanged) = (process(&service, "js").await, process(&service, "lua").await);
    service.configure("total.js", "export default (event) => ({ by: 'new', total: 0 })");
    let reload = service.hexafn(&["reload"]);
    assert_eq!(reload.code, Some(0), "{}", reload.err);
    for _ in 0..20 {
        send(&service, ORDER).await;
    }
    let done = data_when(&service, "done", 42).await;
    assert_eq!(done.iter().filter(|d| d["by"] == "new").count(), 20);
    eventually("the old process is gone", async || (!is_there(old), old)).await;
    assert!(is_there(unchanged), "another function's workers are left alone");
    // A text that its language refuses changes nothing.
    service.configure("total.js", "export default (event) => {");
    let refused = service.hexafn(&["reload"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("HX1026") && refused.err.contains("total.js:1"), "{}", refused.err);
    send(&service, ORDER).await;
    data_when(&service, "done", 44).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_leaves_no_process_and_loses_nothing_that_was_accepted() {
    let mut service = start();
    let mut sent = 0;
    // In the middle of what reads nothing from its socket any more.
    send(&service, r#"{"job":"stuck-long"}"#).await;
    let stuck = process(&service, "stuck-long").await;
    for _ in 0..3 {
        for _ in 0..40 {
            send(&service, ORDER).await;
            sent += 1;
        }
        let process = process(&service, "js").await;
        service.kill_and_restart();
        eventually("its process ends with it", async || (!is_there(process), process)).await;
    }
    assert!(!is_there(stuck), "also one that is stuck");
    events_when(&service, "done", 2 * sent).await;
    let done = events(&service, "done").await;
    let mut ids: Vec<_> = done.iter().map(|e| e["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((done.len(), ids.len()), (2 * sent, 2 * sent), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_actors_that_a_person_can_restart() {
    let service = start();
    send(&service, ORDER).await;
    data_when(&service, "done", 2).await;
    let old = process(&service, "js").await;
    // The one that is made ready before its first call.
    let seen = workers(&service, "js").await;
    let path = seen.iter().find(|w| w["observed"]["process"] == old).unwrap()["path"].as_str().unwrap();
    assert_eq!(service.hexafn(&["actors", "restart", path]).code, Some(0));
    eventually("a new process", async || {
        let seen = node(&service, path).await;
        let new = seen["observed"]["process"].as_i64().is_some_and(|id| id != i64::from(old));
        (new && seen["state"] == "running", seen)
    })
    .await;
    let began = Instant::now();
    send(&service, ORDER).await;
    data_when(&service, "done", 4).await;
    assert!(began.elapsed() < Duration::from_secs(20), "it serves");
}

#[test]
fn the_first_start_keeps_what_it_compiled() {
    const MODULE: &str =
        "[[function]]\nname = \"nothing\"\nruntime = \"wasm\"\ncode = '(module (func (export \"_start\")))'\n";
    let service = Scenario::empty_config().file("hexafn.toml", MODULE).start();
    let kept = service.scenario.path("data/compiled/modules");
    let compiler = std::fs::read_dir(&kept).unwrap_or_else(|e| panic!("{}: {e}", kept.display())).next();
    let modules = std::fs::read_dir(compiler.expect("a compiler has a folder").unwrap().path()).unwrap();
    assert!(modules.count() > 0, "{} has no module", kept.display());
    drop(service);
    // A command that only looks makes no folder.
    let scenario = Scenario::empty_config().file("hexafn.toml", MODULE);
    assert_eq!(scenario.run(&["check", "--config", "cfg"]).code, Some(0));
    assert!(!scenario.path("data").exists());
}
