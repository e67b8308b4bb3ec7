//! The examples of `config/examples` are valid, each by itself, and their own tests pass.

use super::brokers::{Kafka, Nats};
use super::outlets::{Server, certify, free_port, lines};
use super::receiver::{Answer, Receiver};
use super::s3::{keys, make_bucket};
use super::sender::{get, publish};
use super::service::{KEY, SIGN, Scenario, Service};
use super::watch::{events_when, eventually, idle};
use super::websocket;
use serde_json::json;
use std::path::Path;

/// A configuration that is this example, with the folder of its files.
fn example(path: &Path) -> Scenario {
    let scenario = Scenario::empty();
    std::fs::create_dir_all(scenario.path("cfg/functions")).unwrap();
    std::fs::copy(path, scenario.path("cfg/hexafn.toml")).unwrap();
    for entry in std::fs::read_dir(path.with_file_name("functions")).unwrap() {
        let file = entry.unwrap();
        std::fs::copy(file.path(), scenario.path("cfg/functions").join(file.file_name())).unwrap();
    }
    scenario
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples")
}

#[test]
fn every_example_is_a_valid_configuration() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let scenario = example(&path);
        let checked = scenario.run(&["check", "--config", "cfg"]);
        assert_eq!(checked.code, Some(0), "{}: {}{}", path.display(), checked.out, checked.err);
        let tested = scenario.run(&["test", "--config", "cfg"]);
        assert_eq!(tested.code, Some(0), "{}: {}{}", path.display(), tested.out, tested.err);
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["[[test]]", "[[test.expect]]"] {
            assert!(text.contains(part), "{}: holds no {part}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 11, "{seen} examples in {}", folder().display());
}

#[test]
fn one_job_in_three_languages_gives_the_same_to_the_byte() {
    let scenario = example(&folder().join("functions.toml"));
    let run = |function: &str, data: &str| {
        std::fs::write(scenario.path("order.json"), data).unwrap();
        let ran = scenario.run(&["run", function, "--config", "cfg", "--data", "@order.json"]);
        assert_eq!(ran.code, Some(0), "{function}: {}{}", ran.out, ran.err);
        ran.out
    };
    for (order, expected) in [
        (
            r#"{"id":"o-1","lines":[{"price":4999,"count":2},{"price":3,"count":1}]}"#,
            "emit orders.large key o-1: {\"id\":\"o-1\",\"total\":10001}\n{\"id\":\"o-1\",\"items\":3,\"total\":10001}\n",
        ),
        (r#"{"id":"ö\n","lines":[]}"#, "{\"id\":\"ö\\n\",\"items\":0,\"total\":0}\n"),
    ] {
        for function in ["price-dsl", "price-js", "price-lua"] {
            assert_eq!(run(function, order), expected, "{function}");
        }
    }
    let large = format!(r#"{{"id":"{}"}}"#, "x".repeat(200_000));
    for order in [r#"{"id":"o-1"}"#, &large] {
        let passed: serde_json::Value = serde_json::from_str(&run("pass-wasm", order)).unwrap();
        assert_eq!(passed["event"]["data"].to_string(), order);
        assert_eq!(passed["ctx"]["function"], "pass-wasm");
    }
}

/// An example that is started for real: these addresses are replaced, and secrets are given by the environment. Servers of the test
/// are on this machine, which has to be allowed.
fn start(name: &str, addresses: &[(&str, &str)]) -> Service {
    start_with(name, addresses, None)
}

fn start_with(name: &str, addresses: &[(&str, &str)], ca: Option<&str>) -> Service {
    let scenario = example(&folder().join(format!("{name}.toml")));
    let mut text = scenario.text();
    for (from, to) in addresses {
        assert!(text.contains(from), "{name} holds no `{from}`");
        text = text.replace(from, to);
    }
    let scenario = match ca {
        Some(ca) => scenario.file("functions/ca.pem", ca),
        None => scenario,
    };
    start_text(scenario, &text)
}

fn start_text(scenario: Scenario, text: &str) -> Service {
    let mut scenario = scenario.file("hexafn.toml", text);
    if !scenario.text().contains("allow_networks") {
        scenario = scenario.file("local.toml", "[targets]\nallow_networks = [\"127.0.0.0/8\"]\n");
    }
    let names =
        ["ORDERS_TOKEN", "OAUTH_SECRET", "BOARD_TOKEN", "SMTP_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let secrets: Vec<String> = names.iter().map(|name| format!("{name}={KEY}")).collect();
    let script = format!("export {} ERP_SIGNING={SIGN}; exec \"$@\"", secrets.join(" "));
    scenario.start_by(&["env"], &script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_http_delivers() {
    let receiver = Receiver::start().await;
    let token = json!({ "access_token": "t-1", "token_type": "bearer", "expires_in": 3600 });
    receiver.answer("/oauth/token", Answer::Json(200, token.to_string()));
    let service =
        start("http", &[("https://erp.example.com", &receiver.base), ("https://login.example.com", &receiver.base)]);
    publish(&service, "orders", r#"{"id":"o-1","total":7}"#).await;
    let arrived = receiver.arrivals("/events", 1).await.remove(0);
    assert_eq!(arrived.header("authorization"), Some("Bearer t-1"));
    assert!(arrived.header("webhook-signature").is_some() && arrived.id().starts_with("batch_"), "{}", arrived.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_files_and_topics_deliver() {
    let service = start("file", &[]);
    let id = publish(&service, "orders", r#"{"total":7.50}"#).await;
    idle(&service).await;
    let rows = std::fs::read_to_string(service.path("out/orders.csv")).unwrap();
    assert!(rows.starts_with(&format!("id,time,total\n{id}")) && rows.ends_with(",7.50\n"), "{rows}");

    let service = start("topic", &[]);
    publish(&service, "orders", r#"{"total":2500,"customer":{"email":"jo@example.org"}}"#).await;
    let large = events_when(&service, "orders.large", 1).await.remove(0);
    assert_eq!(large["data"]["customer"]["email"], "[redacted]");
    idle(&service).await;
    assert_eq!(lines(&service.path("out/review.jsonl")), [large["data"].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_objects_delivers() {
    let server = Server::s3(free_port());
    make_bucket(server.port, "acme-events").await;
    let endpoint = format!("endpoint = \"http://127.0.0.1:{}\"\nregion = ", server.port);
    // A minute is long for a test.
    let service = start("s3", &[("region = ", &endpoint), ("max_age = \"1m\"", "max_age = \"100ms\"")]);
    publish(&service, "orders", r#"{"id":"o-1"}"#).await;
    idle(&service).await;
    let found = keys(server.port, "acme-events").await;
    assert!(found.len() == 1 && found[0].starts_with("orders/20") && found[0].ends_with(".json.zst"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_mails_delivers() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let args = ["--starttls", "--cert", &at("server.pem"), "--key", &at("server.key")];
    let port = free_port();
    let server = Server::smtp(port, &folder.path().join("mails"), &[&args[..], &["--password", KEY]].concat());
    let scenario_ca = std::fs::read_to_string(at("client.pem")).unwrap();
    let host = format!("host = \"localhost\"\nport = {}\nca = \"functions/ca.pem\"", server.port);
    // The server knows one account.
    let account = ("username = \"alerts@example.com\"", "username = \"jo\"");
    let service = start_with("smtp", &[("host = \"smtp.example.com\"", &host), account], Some(&scenario_ca));
    publish(&service, "orders", r#"{"id":"o-1","status":"failed","customer":"Acme","contact":"jo@example.org"}"#).await;
    idle(&service).await;
    let mails = lines(&folder.path().join("mails"));
    assert_eq!((mails.len(), &mails[0]["to"]), (1, &json!(["oncall@example.com", "jo@example.org"])), "{mails:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_websockets_delivers() {
    let mut server = websocket::Server::start(None).await;
    let service = start("websocket", &[("wss://board.example.com", &format!("ws://127.0.0.1:{}", server.port))]);
    publish(&service, "orders", r#"{"id":"o-1"}"#).await;
    let mut board = server.client().await;
    assert_eq!(board.authorization.as_deref(), Some(KEY));
    let event = board.json().await;
    board.say(json!({ "ack": event["id"] })).await;
    idle(&service).await;
    assert_eq!(service.ask(&["target", "show", "board"])["delivered"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_kafka_delivers() {
    let kafka = Kafka::start(&[("orders.eu", 1), ("orders.none", 1), ("payments", 1)]).await;
    let scenario = example(&folder().join("kafka.toml"));
    let text = scenario.text().replace("127.0.0.1:9092", &kafka.address);
    let service = start_text(scenario, &text);
    publish(&service, "orders", r#"{"id":"o-1","region":"eu","customer":"c-7"}"#).await;
    let record = kafka.records("orders.eu", 1, 1).remove(0);
    assert_eq!((record.key.as_deref(), record.header("ce_type").is_some()), (Some("c-7"), true));
    kafka.send("payments", "c-8", &[], br#"{"state":"paid","customer":"c-8"}"#).await;
    assert_eq!(kafka.records("orders.none", 1, 1)[0].key.as_deref(), Some("c-8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_nats_delivers() {
    let nats = Nats::start(&[]).await;
    let payments = nats.stream("PAYMENTS", &["payments.>"]).await;
    let orders = nats.stream("ORDERS", &["orders.>"]).await;
    let scenario = example(&folder().join("nats.toml"));
    let text = scenario.text().replace("127.0.0.1:4222", &nats.address);
    let service = start_text(scenario, &text);
    publish(&service, "orders", r#"{"id":"o-1","region":"eu"}"#).await;
    idle(&service).await;
    assert_eq!(&*orders.get_raw_message(1).await.unwrap().subject, "orders.eu");
    // The source hears what comes after its consumer was made.
    eventually("the source runs", async || {
        let sources = get(&service.url("/admin/sources")).await.1;
        let runs = sources.as_array().unwrap().iter().any(|s| s["name"] == "payments" && s["state"] == "running");
        (runs, sources)
    })
    .await;
    let client = nats.client().await;
    client.publish("payments.card", r#"{"state":"paid"}"#.into()).await.unwrap();
    client.flush().await.unwrap();
    eventually("the payment goes on", async || {
        let message = orders.get_raw_message(2).await.map(|message| message.subject.to_string());
        (message.as_deref().is_ok_and(|subject| subject == "orders.none"), format!("{message:?}"))
    })
    .await;
    drop(payments);
}
