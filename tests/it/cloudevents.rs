//! CloudEvents over HTTP: the three modes, the handshake, and what is malformed.

use super::receiver::Receiver;
use super::sender::{answer, client, get, post};
use super::service::{Scenario, Service};
use super::watch::{Live, events};
use serde_json::{Value, json};

fn start() -> Service {
    Scenario::new("doors").start()
}

async fn send(service: &Service, kind: &str, body: &str) -> super::sender::Answered {
    let request = client().post(service.url("/hooks/open")).header("content-type", kind);
    answer(request.body(body.to_owned())).await
}

const BINARY: [(&str, &str); 4] = [("ce-id", "b1"), ("ce-source", "/s"), ("ce-type", "t.b"), ("ce-specversion", "1.0")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_all_three_modes_and_keep_what_they_say_of_themselves() {
    let service = start();
    let traceparent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let headers = [&BINARY[..], &[traceparent]].concat();
    let (status, told) = post(&service.url("/hooks/open"), &headers, r#"{"n":1}"#).await;
    assert_eq!((status, told["id"].as_str()), (202, Some("b1")), "{told}");
    assert_eq!(told["trace_id"], "0af7651916cd43dd8448eb211c80319c", "the trace goes on");

    let structured = include_str!("../fixtures/cloudevents-structured.json");
    let sent: Value = serde_json::from_str(structured).unwrap();
    let answered = send(&service, "application/cloudevents+json", structured).await;
    assert_eq!((answered.status, &answered.json["id"]), (202, &sent["id"]), "{answered:?}");

    let batch = include_str!("../fixtures/cloudevents-batch.json");
    let parts: Vec<Value> = serde_json::from_str(batch).unwrap();
    assert!(parts.len() > 1);
    let answered = send(&service, "application/cloudevents-batch+json", batch).await;
    let told: Vec<&Value> = answered.json["events"].as_array().unwrap().iter().map(|e| &e["id"]).collect();
    assert_eq!((answered.status, told), (202, parts.iter().map(|p| &p["id"]).collect()));

    let stored = events(&service, "open").await;
    let all: Vec<&Value> = std::iter::once(&sent).chain(&parts).collect();
    assert_eq!(stored.len(), 1 + all.len());
    assert_eq!(
        (&stored[0]["type"], &stored[0]["source"], &stored[0]["data"]),
        (&"t.b".into(), &"/s".into(), &json!({ "n": 1 }))
    );
    for (event, sent) in stored[1..].iter().zip(all) {
        for field in ["id", "source", "type", "subject", "data"] {
            if let Some(value) = sent.get(field) {
                assert_eq!(&event[field], value, "{field} of {}", sent["id"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_told_and_a_batch_is_taken_whole_or_not_at_all() {
    let service = start();
    let batch =
        r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"specversion":"1.0","id":"2","source":"/s"}]"#;
    let answered = send(&service, "application/cloudevents-batch+json", batch).await;
    assert_eq!(answered.problem(), (400, Some("cloudevent-invalid")), "{answered:?}");
    assert!(answered.json["detail"].as_str().unwrap().contains('1'), "the index is told: {answered:?}");
    let old = r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#;
    let answered = send(&service, "application/cloudevents+json", old).await;
    assert_eq!(answered.problem(), (400, Some("cloudevent-invalid")), "{answered:?}");
    let forbidden = [&BINARY[..], &[("ce-datacontenttype", "application/json")]].concat();
    let (status, problem) = post(&service.url("/hooks/open"), &forbidden, "{}").await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("cloudevent-invalid")), "{problem}");
    assert_eq!(events(&service, "open").await.len(), 0, "nothing of it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_shakes_hands_is_told_that_it_may_send_and_how_often() {
    let service = start();
    let request = client().request(reqwest::Method::OPTIONS, service.url("/hooks/open"));
    let answered = answer(request.header("webhook-request-origin", "events.example")).await;
    assert_eq!(answered.status, 200);
    assert_eq!(answered.header("webhook-allowed-origin"), Some("events.example"));
    assert_eq!(answered.header("webhook-allowed-rate"), Some("6000000"), "per minute, of 100,000 a second");
    let other = answer(client().request(reqwest::Method::OPTIONS, service.url("/hooks/open"))).await;
    assert_eq!((other.status, other.header("allow")), (405, Some("POST")), "no handshake: {other:?}");
}

/// A CloudEvent of a batch, whose data names a region.
fn of_region(id: &str, region: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "datacontenttype": "application/json",
        "data": { "region": region } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_topics_are_computed_is_taken_whole_or_not_at_all() {
    let memory = "[[topic]]\nname = \"region.quick\"\ndurability = \"memory\"\n";
    let service = Scenario::new("topics").file("memory.toml", memory).start();
    let send = async |batch: Value| {
        let request = client().post(service.url("/hooks/routed"));
        answer(request.header("content-type", "application/cloudevents-batch+json").body(batch.to_string())).await
    };
    let mut watched = Live::open(&service, "/ws/topics/region.*").await;
    let refused = send(json!([of_region("1", "quick"), of_region("2", "eu"), of_region("3", "no name")])).await;
    assert_eq!(refused.problem(), (422, Some("topic-expression")), "{refused:?}");
    assert_eq!(get(&service.url("/admin/topics/region.eu")).await.0, 404, "not even its topic is made");
    let counted = service.ask(&["source", "ls"]);
    let routed = counted.as_array().unwrap().iter().find(|s| s["name"] == "routed").unwrap();
    assert_eq!((&routed["invalid"], &routed["overloaded"]), (&1.into(), &0.into()), "the sender's mistake: {routed}");

    let taken = send(json!([of_region("1", "quick"), of_region("2", "eu"), of_region("4", "quick")])).await;
    let told: Vec<(&Value, &Value)> =
        taken.json["events"].as_array().unwrap().iter().map(|e| (&e["id"], &e["durability"])).collect();
    let (disk, memory) = (json!("disk"), json!("memory"));
    assert_eq!((taken.status, told), (202, vec![(&json!("2"), &disk), (&json!("1"), &memory), (&json!("4"), &memory)]));
    let mut seen = [watched.json().await, watched.json().await, watched.json().await];
    seen.sort_by_key(|e| e["id"].to_string());
    let seen: Vec<(&Value, &Value)> = seen.iter().map(|e| (&e["id"], &e["topic"])).collect();
    let (eu, quick) = (json!("region.eu"), json!("region.quick"));
    assert_eq!(seen, [(&json!("1"), &quick), (&json!("2"), &eu), (&json!("4"), &quick)], "once each");
}

const ONWARD: &str = r#"
[targets]
allow_networks = ["127.0.0.0/8"]

[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }

[[trigger]]
name = "pass"
on = "in"
to = ["structured", "binary"]

[[trigger]]
name = "made"
on = "in"
run = "make"
to = ["of-result"]

[[trigger]]
name = "sent"
on = "side"
to = ["of-emission"]

[[function]]
name = "make"
code = '''
emit "side" { other: 1 }
{ other: 2 }
'''

[[target]]
name = "structured"
kind = "http"
url = "{{receiver}}/structured"
format = "cloudevents"

[[target]]
name = "binary"
kind = "http"
url = "{{receiver}}/binary"
format = "cloudevents-binary"

[[target]]
name = "of-result"
kind = "http"
url = "{{receiver}}/of-result"
format = "cloudevents"

[[target]]
name = "of-emission"
kind = "http"
url = "{{receiver}}/of-emission"
format = "cloudevents-binary"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_data_goes_on_with_that_data_and_with_no_other() {
    let receiver = Receiver::start().await;
    let service = Scenario::empty_config().file("hexafn.toml", ONWARD).receiver(&receiver.base).start();
    let schema = "https://example.com/order.json";
    let sent = [&BINARY[..], &[("ce-dataschema", schema), ("ce-shop", "7")]].concat();
    let (status, answer) = post(&service.url("/hooks/in"), &sent, r#"{"n":1}"#).await;
    assert_eq!(status, 202, "{answer}");
    let first = async |path: &str| receiver.arrivals(path, 1).await.remove(0);
    let structured: Value = serde_json::from_str(&first("/structured").await.body).unwrap();
    assert_eq!((&structured["dataschema"], &structured["data"]), (&schema.into(), &json!({ "n": 1 })));
    assert_eq!(first("/binary").await.header("ce-dataschema"), Some(schema));
    let made: Value = serde_json::from_str(&first("/of-result").await.body).unwrap();
    assert_eq!((made.get("dataschema"), &made["shop"], &made["data"]), (None, &"7".into(), &json!({ "other": 2 })));
    let emitted = first("/of-emission").await;
    assert_eq!((emitted.header("ce-dataschema"), emitted.header("ce-shop")), (None, Some("7")), "{}", emitted.head);
}
