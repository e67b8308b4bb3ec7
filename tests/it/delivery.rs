//! What a target can be told beside its address.

use super::receiver::{Answer, Receiver};
use super::sender::send;
use super::service::{KEY, SIGN, Scenario, Service};
use super::watch::{events_when, eventually, idle};
use serde_json::{Value, json};
use std::io::Read;
use std::process::Command;

async fn start() -> (Receiver, Service) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("delivery").receiver(&receiver.base).start();
    (receiver, service)
}

async fn give(service: &Service, to: &str, mut data: Value) -> String {
    data["for"] = to.into();
    send(service, &data.to_string()).await
}

fn numbers(body: &str) -> Vec<i64> {
    let all: Vec<Value> = serde_json::from_str(body).unwrap();
    all.iter().map(|event| event["n"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_when_it_is_full_or_old_and_one_bad_event_spoils_no_other() {
    let (receiver, service) = start().await;
    receiver.answer("/batched", Answer::Refuse("bad".into()));
    for n in 0..4 {
        give(&service, "batched", json!({ "n": n })).await;
    }
    let full = receiver.arrivals("/batched", 1).await.remove(0);
    let mut all = numbers(&full.body);
    all.sort_unstable();
    assert_eq!((all, full.header("content-type")), (vec![0, 1, 2, 3], Some("application/json")));
    assert!(full.id().starts_with("batch_"), "{full:?}");

    give(&service, "batched", json!({ "n": 4 })).await;
    let old = receiver.arrivals("/batched", 2).await.remove(1);
    assert_eq!(numbers(&old.body), [4]);

    for n in 5..9 {
        give(&service, "batched", json!({ "n": n, "note": if n == 6 { "bad" } else { "good" } })).await;
    }
    let dead = events_when(&service, "hexafn.dead.target.batched", 1).await;
    assert_eq!((dead.len(), &dead[0]["data"]["n"]), (1, &json!(6)), "{dead:?}");
    idle(&service).await;
    let taken = receiver.seen("/batched").into_iter().skip(2).filter(|r| !r.body.contains("bad"));
    let mut taken: Vec<i64> = taken.flat_map(|r| numbers(&r.body)).collect();
    taken.sort_unstable();
    assert_eq!(taken, [5, 7, 8], "each once, whatever it was sent with at first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_207_says_it_of_each_event() {
    let (receiver, service) = start().await;
    let refused = give(&service, "batched", json!({ "n": 0 })).await;
    receiver.answer(
        "/batched",
        Answer::Json(207, json!([{ "id": format!("{refused}-send"), "status": 500, "message": "full" }]).to_string()),
    );
    for n in 1..4 {
        give(&service, "batched", json!({ "n": n })).await;
    }
    let dead = events_when(&service, "hexafn.dead.target.batched", 1).await;
    assert_eq!((dead.len(), &dead[0]["data"]["n"]), (1, &json!(0)), "{dead:?}");
    idle(&service).await;
    assert_eq!(receiver.seen("/batched").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept() {
    let (receiver, service) = start().await;
    for n in 0..12 {
        give(&service, "paced", json!({ "n": n })).await;
    }
    let seen = receiver.arrivals("/paced", 12).await;
    // Twelve at ten a second: the last is due after 1.1 seconds. How much later it comes is the machine's business.
    let took = seen[11].at.duration_since(seen[0].at);
    assert!(took.as_millis() >= 1000, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_body_is_signed_as_it_was_and_the_official_libraries_agree() {
    let (receiver, service) = start().await;
    give(&service, "packed", json!({ "text": "x".repeat(2000) })).await;
    let got = receiver.arrivals("/packed", 1).await.remove(0);
    assert_eq!(got.header("content-encoding"), Some("gzip"));
    assert!(got.bytes.len() < 500, "{}", got.bytes.len());
    let mut body = String::new();
    flate2::read::GzDecoder::new(&got.bytes[..]).read_to_string(&mut body).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["text"].as_str().unwrap().len(), 2000);

    // The reference implementation, from its own package.
    let check = "import sys, json; from standardwebhooks import Webhook; \
                 h = json.loads(sys.argv[2]); Webhook(sys.argv[1]).verify(sys.argv[3], h); print('genuine')";
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Value = headers.iter().map(|name| (*name, got.header(name))).collect();
    let python = super::servers::program("standardwebhooks-python");
    let verify =
        |body: &str| Command::new(&python).args(["-c", check, SIGN, &headers.to_string(), body]).output().unwrap();
    let verified = verify(&body);
    assert_eq!(String::from_utf8_lossy(&verified.stdout).trim(), "genuine", "{verified:?}");
    assert!(!verify(&format!("{body} ")).status.success(), "a changed body is refused");

    let check = "const { Webhook } = require('standardwebhooks'); const [secret, headers, body] = process.argv.slice(1); \
                 new Webhook(secret).verify(body, JSON.parse(headers)); console.log('genuine')";
    let verify = |body: &str| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", super::servers::node_modules()).args(["-e", check, SIGN, &headers.to_string(), body]);
        node.output().expect("node is not installed; run scripts/deps test")
    };
    let verified = verify(&body);
    assert_eq!(String::from_utf8_lossy(&verified.stdout).trim(), "genuine", "{verified:?}");
    assert!(!verify(&format!("{body} ")).status.success(), "a changed body is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_token_is_told_as_what_it_is() {
    let (receiver, service) = start().await;
    for (status, body, class, says) in [
        (200, "<html>sign in</html>".to_owned(), "protocol", "answered 200 with what is no token"),
        (200, json!({ "access_token": "xyzzy" }).to_string(), "protocol", "answered 200 with what is no token"),
        (503, "<html>busy</html>".to_owned(), "status_5xx", "answered 503 and names no error"),
        (400, json!({ "error": "invalid_client" }).to_string(), "status_4xx", "answered `invalid_client`"),
    ] {
        receiver.answer("/token", Answer::Json(status, body));
        let tried = service.hexafn(&["-o", "json", "target", "test", "signed-in"]);
        let told: Value = serde_json::from_str(&tried.out).unwrap();
        assert!(told["class"] == class && told["message"].as_str().unwrap().contains(says), "{status}: {told}");
        assert!(!tried.out.contains("xyzzy"), "what may be a token is not told: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_once_and_again_when_it_is_refused() {
    let (receiver, service) = start().await;
    let token = |token: &str| {
        Answer::Json(200, json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 }).to_string())
    };
    receiver.answer("/token", token("one"));
    for n in 0..3 {
        give(&service, "signed-in", json!({ "n": n })).await;
    }
    let seen = receiver.arrivals("/signed-in", 3).await;
    assert!(seen.iter().all(|r| r.header("authorization") == Some("Bearer one")), "{seen:?}");
    let asked = receiver.seen("/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].body.contains("grant_type=client_credentials") && asked[0].body.contains("scope=a+b"),
        "{asked:?}"
    );
    assert!(asked[0].body.contains("audience=x") && asked[0].header("authorization").is_some(), "{asked:?}");

    receiver.answer("/token", token("two"));
    receiver.answer("/signed-in", Answer::Status(401));
    give(&service, "signed-in", json!({ "n": 3 })).await;
    eventually("the new token is used", async || {
        let last = receiver.seen("/signed-in").pop().unwrap();
        (last.header("authorization") == Some("Bearer two"), last)
    })
    .await;
    receiver.answer(
        "/token",
        Answer::Json(400, json!({ "error": "invalid_client", "error_description": "who?" }).to_string()),
    );
    let log = eventually("the refusal is in the log", async || {
        let log = service.ask(&["target", "log", "signed-in"]);
        (log[0]["message"].as_str().is_some_and(|m| m.contains("invalid_client")), log)
    })
    .await;
    assert!(log[0]["message"].as_str().unwrap().contains("who?"), "{}", log[0]);
    assert!(!log.to_string().contains(KEY), "no secret in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_a_proxy() {
    let (receiver, service) = start().await;
    give(&service, "basic", json!({})).await;
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("jo:{KEY}"));
    let basic = receiver.arrivals("/basic", 1).await.remove(0);
    assert_eq!(basic.header("authorization"), Some(&*format!("Basic {expected}")));
    give(&service, "proxied", json!({})).await;
    let proxied = receiver.arrivals("http://sink.example/in", 1).await.remove(0);
    assert_eq!(proxied.header("host"), Some("sink.example"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_redacted_is_nowhere_behind_the_trigger() {
    let (receiver, service) = start().await;
    receiver.answer("/masked", Answer::Status(500));
    give(&service, "masked", json!({ "user": { "name": "Ada L", "n": 7 }, "text": "to ada@example.org" })).await;
    let dead = events_when(&service, "hexafn.dead.target.masked", 1).await.remove(0);
    let expected = json!({ "for": "masked", "user": { "name": "[redacted]", "n": 7 }, "text": "to [redacted]" });
    assert_eq!(dead["data"], expected);
    assert_eq!(serde_json::from_str::<Value>(&receiver.seen("/masked")[0].body).unwrap(), expected);
    let outbox = events_when(&service, "hexafn.out.masked", 1).await;
    assert_eq!(outbox[0]["data"], expected);
    let probed = service.ask(&["target", "log", "masked"]);
    assert!(!probed.to_string().contains("Ada"), "{probed}");

    give(&service, "old", json!({ "secret": 1, "kept": 2 })).await;
    let stored = events_when(&service, "old", 1).await;
    assert_eq!(stored[0]["data"], json!({ "for": "old", "secret": "[redacted]", "kept": 2 }), "topics, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_target_gives_up_its_fallback_gets() {
    let (receiver, mut service) = start().await;
    receiver.answer("/first", Answer::Status(503));
    receiver.answer("/second", Answer::Status(503));
    let id = give(&service, "first", json!({ "secret": "s", "n": 1 })).await;
    receiver.arrivals("/second", 1).await;
    service.kill_and_restart();
    receiver.answer("/second", Answer::Status(200));
    service.ask(&["target", "reset", "second"]);
    let last = eventually("the fallback delivers", async || {
        let seen = receiver.seen("/second");
        (seen.len() >= 2, seen)
    })
    .await
    .pop()
    .unwrap();
    assert_eq!(last.id(), format!("{id}-send"));
    let body: Value = serde_json::from_str(&last.body).unwrap();
    assert_eq!(body, json!({ "for": "first", "secret": "[redacted]", "n": 1 }), "as the fallback may see it");
    assert_eq!(receiver.seen("/first").len(), 2, "its own attempts first");
    assert_eq!(events_when(&service, "hexafn.dead.target.first", 0).await.len(), 0, "no dead letter");
    let told = events_when(&service, "hexafn.outcomes", 1).await;
    assert!(told.iter().any(|e| e["type"] == "hexafn.delivery.fell-back"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_by_hand_says_what_was_sent_and_what_came_back() {
    let (receiver, service) = start().await;
    let probed = service.ask(&["target", "test", "masked", "--type", "try", "--data", r#"{"user":{"name":"Ada"}}"#]);
    assert_eq!((&probed["delivered"], &probed["status"]), (&json!(true), &json!(200)), "{probed}");
    assert!(probed["request"]["body"].as_str().unwrap().contains("[redacted]"), "{probed}");
    assert_eq!(receiver.seen("/masked").len(), 1);
    receiver.answer("/masked", Answer::Json(500, r#"{"why":"tired"}"#.into()));
    let failed = service.hexafn(&["-o", "json", "target", "test", "masked"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.out.contains("tired") && failed.err.contains("answered 500"), "{failed:?}");
    let log = service.ask(&["target", "log", "masked"]);
    assert_eq!(log, json!([]), "attempts by hand are no deliveries");
    for (args, said) in [
        (["target", "test", "nobody"], "there are: basic, batched"),
        (["target", "test", "old"], "is a topic"),
        (["target", "log", "old"], "is a topic"),
        (["target", "log", "maskd"], "did you mean `masked`"),
    ] {
        let failed = service.hexafn(&args);
        assert!(failed.code != Some(0) && failed.err.contains(said), "{args:?}: {failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_redacted_for_the_target_that_it_is_replayed_to() {
    let (receiver, service) = start().await;
    receiver.answer("/batched", Answer::Refuse("bad".into()));
    give(&service, "batched", json!({ "n": 1, "secret": "s", "note": "bad" })).await;
    let dead = events_when(&service, "hexafn.dead.target.batched", 1).await;
    assert_eq!(dead[0]["data"]["secret"], "s");
    service.ask(&["dlq", "replay", "target.batched", "--all", "--target", "second"]);
    let got = receiver.arrivals("/second", 1).await.remove(0);
    assert_eq!(serde_json::from_str::<Value>(&got.body).unwrap()["secret"], "[redacted]", "{got:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_attempt_to_the_breaker() {
    let (receiver, service) = start().await;
    receiver.answer("/many", Answer::Status(503));
    for n in 0..8 {
        give(&service, "many", json!({ "n": n })).await;
    }
    receiver.arrivals("/many", 2).await;
    let state = service.ask(&["target", "show", "many"]);
    assert_eq!(state["breaker"], "closed", "two calls with eight events: {state}");
    receiver.answer("/many", Answer::Status(200));
    idle(&service).await;
    let taken: usize = receiver.seen("/many").iter().skip(2).map(|r| numbers(&r.body).len()).sum();
    assert_eq!(taken, 8);
}
