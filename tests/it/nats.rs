//! NATS as a target and as a source, with a real server.

use super::brokers::Nats;
use super::sender::{get, post};
use super::servers::program;
use super::service::{KEY, Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of};
use futures_util::StreamExt;
use serde_json::Value;
use std::process::Command;

async fn start() -> (Nats, Service) {
    let nats = Nats::start(&[]).await;
    nats.stream("ORDERS", &["orders.>"]).await;
    let service = Scenario::new("nats").receiver(&nats.address).start();
    source_state(&service, "back", "running").await;
    source_state(&service, "ticker", "running").await;
    (nats, service)
}

/// Sends an order; the event's id as the trigger's output has it.
async fn order(service: &Service, region: &str, n: u64) -> String {
    let body = format!(r#"{{"region":"{region}","n":{n}}}"#);
    let (status, answer) = post(&service.url("/hooks/in"), &[], &body).await;
    assert_eq!(status, 202, "{answer}");
    format!("{}-forward", answer["id"].as_str().unwrap())
}

async fn source_state(service: &Service, name: &str, state: &str) -> Value {
    eventually(&format!("source {name} {state}"), async || {
        let (_, rows) = get(&service.url("/admin/sources")).await;
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap();
        (row["state"] == state, row)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_to_a_stream_and_comes_back_as_what_it_was() {
    let (nats, service) = start().await;
    let mut sent = Vec::new();
    for n in 0..30 {
        sent.push(order(&service, if n % 2 == 0 { "eu" } else { "us" }, n).await);
    }
    sent.sort();
    let back = events_when(&service, "back", 30).await;
    assert_eq!(ids_of(&back), sent);
    let origin = &events(&service, "in").await[0];
    let first = back.iter().find(|e| e["data"]["n"] == 0).unwrap();
    assert_eq!(first["trace_id"], origin["trace_id"]);
    assert_eq!(first["extensions"]["natsstream"], "ORDERS");

    let stream = nats.stream("ORDERS", &["orders.>"]).await;
    let message = stream.get_raw_message(1).await.unwrap();
    let header = |name: &str| message.headers.get(name).map(|v| v.as_str().to_owned());
    // It names the delivery: another target may send the same event into the same stream.
    let id = header("webhook-id").unwrap();
    assert!(header("Nats-Msg-Id").is_some_and(|m| m.starts_with("hexafn.out.") && m.ends_with(&format!("/{id}"))));
    assert_eq!(header("ce-id"), header("webhook-id"));
    assert!(message.subject.starts_with("orders."));
    let consumer = stream.consumer_info("hexafn-back").await;
    eventually("all is acknowledged", async || {
        let info = stream.consumer_info("hexafn-back").await.unwrap();
        (info.num_ack_pending == 0 && info.num_pending == 0, format!("{info:?}"))
    })
    .await;
    assert!(consumer.is_ok());
    let row = source_state(&service, "back", "running").await;
    assert_eq!((&row["kind"], &row["accepted"], &row["duplicates"]), (&"nats".into(), &30.into(), &0.into()), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_gets_and_gives_everything() {
    let (mut nats, mut service) = start().await;
    let mut sent = Vec::new();
    for n in 0..50 {
        sent.push(order(&service, "eu", n).await);
    }
    nats.kill();
    for n in 50..100 {
        sent.push(order(&service, "eu", n).await);
    }
    let row = source_state(&service, "back", "failed").await;
    assert!(row["last_error"].as_str().unwrap().contains(&nats.address), "{row}");
    nats.start_again().await;
    for n in 100..150 {
        sent.push(order(&service, "eu", n).await);
    }
    sent.sort();
    events_when(&service, "back", 150).await;
    service.kill_and_restart();
    source_state(&service, "back", "running").await;
    for n in 150..200 {
        sent.push(order(&service, "eu", n).await);
    }
    sent.sort();
    let back = events_when(&service, "back", 200).await;
    assert_eq!(ids_of(&back), sent, "each once");
    idle(&service).await;
    let mut stream = nats.stream("ORDERS", &["orders.>"]).await;
    assert_eq!(stream.info().await.unwrap().state.messages, 200, "the stream knew repetitions by their id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_alone_gives_what_comes_while_it_listens() {
    let (nats, service) = start().await;
    let mut listener = nats.client().await.subscribe("ticker").await.unwrap();
    let id = order(&service, "core", 1).await;
    let stored = events_when(&service, "ticker", 1).await;
    assert_eq!(stored[0]["data"]["n"], 1);
    let message = tokio::time::timeout(super::watch::PATIENCE, listener.next()).await.unwrap().unwrap();
    assert_eq!(message.headers.unwrap().get("webhook-id").map(|v| v.as_str()), Some(id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_refuses_is_explained() {
    let nats = Nats::start(&["--auth", "the-right-token"]).await;
    let service = Scenario::new("nats")
        .receiver(&nats.address)
        .edit("stream = \"ORDERS\"", "stream = \"ORDERS\"\nauth = { access_token = \"file:secrets/key\" }")
        .start();
    let row = source_state(&service, "back", "failed").await;
    let why = row["last_error"].as_str().unwrap();
    assert!(why.contains("authorization") && why.contains("check `auth`"), "{why}");
    assert!(!why.contains(KEY), "{why}");
    drop(service);

    // A stream that is not there, and a subject that no stream takes.
    let nats = Nats::start(&[]).await;
    let service = Scenario::new("nats").receiver(&nats.address).start();
    let row = source_state(&service, "back", "failed").await;
    assert!(row["last_error"].as_str().unwrap().contains("stream `ORDERS`"), "{row}");
    order(&service, "eu", 1).await;
    let target = eventually("an attempt failed", async || {
        let target = super::watch::target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    assert!(target["last"].as_str().unwrap().contains("no stream"), "{target}");
    nats.stream("ORDERS", &["orders.>"]).await;
    events_when(&service, "back", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_works() {
    let nats = Nats::start(&[]).await;
    let orders = nats.stream("ORDERS", &["orders.>"]).await;
    nats.stream("PAYMENTS", &["payments.>"]).await;
    let text = include_str!("../../config/examples/nats.toml").replace("127.0.0.1:4222", &nats.address);
    let scenario = Scenario::new("nats").file("hexafn.toml", &text.replace("env:ORDERS_TOKEN", "file:secrets/key"));
    let service = scenario.start();
    let bearer = format!("Bearer {}", KEY);
    let (status, answer) =
        post(&service.url("/hooks/orders"), &[("authorization", &bearer)], r#"{"region":"eu"}"#).await;
    assert_eq!(status, 202, "{answer}");
    let jetstream = async_nats::jetstream::new(nats.client().await);
    jetstream.publish("payments.card", r#"{"state":"paid","n":7}"#.into()).await.unwrap().await.unwrap();
    let subjects = eventually("both are in the stream", async || {
        let (mut subjects, mut at) = (Vec::new(), 1);
        while let Ok(message) = orders.get_raw_message(at).await {
            subjects.push(message.subject.to_string());
            at += 1;
        }
        subjects.sort();
        (subjects.len() == 2, subjects)
    })
    .await;
    assert_eq!(subjects, ["orders.eu", "orders.none"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_with_an_authority_of_its_own_and_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let python = program("standardwebhooks-python");
    let made = Command::new(python).args(["-m", "trustme", "-q", "-d"]).arg(folder.path()).status().unwrap();
    assert!(made.success());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (at("server.pem"), at("server.key"));
    let nats = Nats::start(&["--tls", "--tlscert", &cert, "--tlskey", &key, "--user", "hexafn", "--pass", KEY]).await;
    let port = nats.address.rsplit(':').next().unwrap().to_owned();
    let stream = async_nats::jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        ..Default::default()
    };
    let options = async_nats::ConnectOptions::with_user_and_password("hexafn".into(), KEY.into());
    let client = options.add_root_certificates(at("client.pem").into()).connect(format!("tls://localhost:{port}"));
    async_nats::jetstream::new(client.await.unwrap()).create_stream(stream).await.unwrap();

    let auth = "auth = { username = \"hexafn\", password = \"file:secrets/key\" }";
    let server = |more: &str| format!("servers = [\"tls://localhost:{port}\"]\n{auth}\n{more}");
    let text = include_str!("../scenarios/nats/hexafn.toml");
    let text = text.replace("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]");
    let plain = "servers = [\"nats://{{receiver}}\"]";
    // The target does not know the authority yet.
    let (before, target) = text.split_once("name = \"orders\"\n").unwrap();
    let before = before.replace(plain, &server("tls = { ca = \"ca.pem\" }"));
    let whole = format!("{before}name = \"orders\"\n{}", target.replace(plain, &server("tls = {}")));
    let ca = std::fs::read_to_string(at("client.pem")).unwrap();
    let mut service = Scenario::new("nats").file("hexafn.toml", &whole).file("ca.pem", &ca).start();
    source_state(&service, "back", "running").await;
    let id = order(&service, "eu", 1).await;
    let failed = eventually("an attempt failed", async || {
        let target = super::watch::target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    assert!(failed["last"].as_str().unwrap().starts_with("tls:"), "{failed}");
    service.configure("hexafn.toml", &whole.replace("tls = {}", "tls = { ca = \"ca.pem\" }"));
    service.kill_and_restart();
    assert_eq!(ids_of(&events_when(&service, "back", 1).await), [id]);
}

/// Made for this test: seeds of users, and the public key of the first.
const SEED: &str = "SUADGZGA3AVMURFM7VIFJBEYGOMQN5HJOGHVEVK6HOGFYLFSV6ZWCDTHUI";
const OTHER_SEED: &str = "SUADVXTIWYZEJG4U467VLQ74CCWBPT2R3B2V2SU73AEPVZN34R6BCY5L5Q";
const PUBLIC: &str = "UDLKRVNYK4Q727GY6C6NC5A6Y4BU2D2VVKAFDMXG7PT7ILL7LCQ2V2QV";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_an_nkey() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.conf");
    std::fs::write(&users, format!("authorization {{ users = [{{ nkey: {PUBLIC} }}] }}")).unwrap();
    let nats = Nats::start(&["-c", users.to_str().unwrap()]).await;
    let client = async_nats::ConnectOptions::with_nkey(SEED.into()).connect(&nats.address).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(config).await.unwrap();

    // The target signs with a seed that the server does not know.
    let server =
        |file: &str| format!("servers = [\"nats://{}\"]\nauth = {{ nkey = \"file:secrets/{file}\" }}", nats.address);
    let text = include_str!("../scenarios/nats/hexafn.toml");
    let (before, target) = text.split_once("name = \"orders\"\n").unwrap();
    let plain = "servers = [\"nats://{{receiver}}\"]";
    let whole = |seed: &str| {
        format!("{}name = \"orders\"\n{}", before.replace(plain, &server("key")), target.replace(plain, &server(seed)))
    };
    let scenario = Scenario::new("nats").file("hexafn.toml", &whole("new-key"));
    std::fs::write(scenario.path("cfg/secrets/key"), SEED).unwrap();
    std::fs::write(scenario.path("cfg/secrets/new-key"), OTHER_SEED).unwrap();
    let service = scenario.start();
    source_state(&service, "back", "running").await;
    let id = order(&service, "eu", 1).await;
    let failed = eventually("an attempt failed", async || {
        let target = super::watch::target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    let why = failed["last"].as_str().unwrap();
    assert!(why.contains("check `auth`") && !why.contains(OTHER_SEED), "{failed}");
    service.configure("hexafn.toml", &whole("key"));
    service.ask(&["reload"]);
    assert_eq!(ids_of(&events_when(&service, "back", 1).await), [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_events_of_a_key_one_by_one_and_nobody_waits_for_company() {
    let nats = Nats::start(&[]).await;
    let stream = nats.stream("ORDERS", &["orders.>"]).await;
    let target = |name: &str, ordering: &str| {
        format!(
            "[[trigger]]\nname = '{name}'\non = 'in.{name}'\nto = '{name}'\n[[target]]\nname = '{name}'\nkind = 'nats'\n\
             servers = ['nats://{}']\nsubject = 'orders.{name}'\nordering = '{ordering}'\n\
             batch = {{ max_records = 20, max_age = '5m' }}\n",
            nats.address
        )
    };
    let networks = "[targets]\nallow_networks = ['127.0.0.0/8']\n";
    let text = format!("{networks}{}{}", target("keyed", "key"), target("strict", "strict"));
    let service = Scenario::empty_config().file("hexafn.toml", &text).start();
    for name in ["keyed", "strict"] {
        for n in 0..10 {
            let path = format!("/admin/topics/in.{name}/events?key=k");
            assert_eq!(post(&service.url(&path), &[], &format!("{{\"n\":{n}}}")).await.0, 202);
        }
    }
    let all = eventually("what can have no company goes", async || {
        // The last of a key may wait: nothing is behind it.
        let mut seen = Vec::new();
        for at in 1..=stream.get_info().await.unwrap().state.messages {
            seen.push(stream.get_raw_message(at).await.unwrap());
        }
        (seen.len() >= 19, seen)
    })
    .await;
    for name in ["keyed", "strict"] {
        let of_target = all.iter().filter(|message| message.subject.as_str() == format!("orders.{name}"));
        let numbers: Vec<u64> = of_target
            .map(|message| serde_json::from_slice::<Value>(&message.payload).unwrap()["n"].as_u64().unwrap())
            .collect();
        assert!(numbers.len() >= 9 && numbers.is_sorted(), "{name}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_commands_no_server() {
    let nats = Nats::start(&[]).await;
    let stream = nats.stream("ORDERS", &["orders.>"]).await;
    let target = |name: &str, delivery: &str| {
        format!(
            "[[target]]\nname = '{name}'\nkind = 'nats'\nservers = ['nats://{}']\nsubject = '${{event.subject}}'\n\
             delivery = '{delivery}'\n",
            nats.address
        )
    };
    let config = format!(
        "[targets]\nallow_networks = ['127.0.0.0/8']\n[[trigger]]\nname = 'go'\non = 'in'\nto = ['kept', 'plain']\n{}{}",
        target("kept", "jetstream"),
        target("plain", "core")
    );
    let service = Scenario::empty_config().file("hexafn.toml", &config).start();
    let publish = async |subject: &str| {
        let path = format!("/admin/topics/in/events?subject={subject}");
        assert_eq!(post(&service.url(&path), &[], "{}").await.0, 202);
    };
    publish("orders.eu").await;
    eventually("it is in the stream, once by each target", async || {
        let messages = stream.get_info().await.unwrap().state.messages;
        (messages == 2, messages)
    })
    .await;
    publish("$JS.API.STREAM.PURGE.ORDERS").await;
    publish("$JS.API.STREAM.DELETE.ORDERS").await;
    for name in ["target.kept", "target.plain"] {
        let letters = eventually("both are dead letters", async || {
            let (_, page) = get(&service.url(&format!("/admin/dead/{name}"))).await;
            let letters = page["letters"].as_array().cloned().unwrap_or_default();
            (letters.len() == 2, letters)
        })
        .await;
        for letter in letters {
            let cause = letter["cause"].as_str().unwrap();
            assert!(cause.starts_with("template:") && cause.contains("`$JS.API."), "{letter}");
            assert_eq!(letter["attempts"], 1, "{letter}");
        }
    }
    assert_eq!(stream.get_info().await.unwrap().state.messages, 2, "nothing was purged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_a_source_go_where_they_are_told_to() {
    let (nats, service) = start().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("content-type", "application/json");
    let jetstream = async_nats::jetstream::new(nats.client().await);
    jetstream.publish_with_headers("orders.eu", headers, r#"{"n":"#.into()).await.unwrap().await.unwrap();
    events_when(&service, "hexafn.dead.source.back", 1).await;
    let refused = service.hexafn(&["dlq", "replay", "source.back", "--all"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("--topic") && refused.err.contains("--target"),
        "{refused:?}"
    );
    let misspelt = service.hexafn(&["dlq", "replay", "source.bak", "--all"]);
    assert!(misspelt.code == Some(1) && misspelt.err.contains("source.back"), "{misspelt:?}");
    let told = service.ask(&["dlq", "replay", "source.back", "--all", "--topic", "repaired"]);
    assert_eq!(told, serde_json::json!({ "settled": 1, "left": 0 }));
    events_when(&service, "repaired", 1).await;
}
