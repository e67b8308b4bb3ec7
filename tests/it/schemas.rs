//! Schemas of sources: what is refused at the door, what is counted, and what is found before anything is started.

use super::sender::{answer, client, get, post};
use super::service::Scenario;
use super::watch::events;
use serde_json::json;

const PUSH: &str = r#"{ "type": "object", "required": ["ref"], "additionalProperties": false,
  "properties": { "ref": { "type": "string" }, "commits": { "type": "array", "items": { "type": "object" } } } }"#;

const SOURCE: &str = r#"
[[source]]
name = "push"
kind = "webhook"
topic = "pushes"
verify = { scheme = "none" }
schema = "push.json"

[[trigger]]
name = "big"
on = "pushes"
when = "len(event.data.commits ?? []) > 1"
to = ["big"]

[[target]]
name = "big"
kind = "topic"
"#;

fn scenario() -> Scenario {
    Scenario::empty_config().file("push.json", PUSH).file("hexafn.toml", SOURCE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_do_not_meet_the_schema_of_their_source_are_refused_with_the_place() {
    let service = scenario().start();
    let url = service.url("/hooks/push");
    assert_eq!(post(&url, &[], r#"{"ref":"main","commits":[{}]}"#).await.0, 202);

    let (status, problem) = post(&url, &[], r#"{"ref":7,"commits":[{},"x"],"more":1}"#).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("schema-mismatch")), "{problem}");
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert!(["/ref", "/commits/1", ""].iter().all(|place| places.contains(place)), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{problem}");

    let text = client().post(&url).header("content-type", "text/plain").body("hello");
    assert_eq!(answer(text).await.problem(), (422, Some("schema-mismatch")), "text is no JSON data");
    // A batch is refused whole, and says which event it is.
    let event =
        |id: &str, data: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{data}}}"#);
    let batch = format!("[{},{}]", event("1", r#"{"ref":"a"}"#), event("2", r#"{"ref":null}"#));
    let request = client().post(&url).header("content-type", "application/cloudevents-batch+json").body(batch);
    let refused = answer(request).await;
    assert_eq!(refused.problem(), (422, Some("schema-mismatch")), "{refused:?}");
    assert!(refused.json["detail"].as_str().unwrap().starts_with("events[1]: /ref"), "{refused:?}");

    assert_eq!(events(&service, "pushes").await.len(), 1, "nothing else was taken in");
    let metrics = answer(client().get(service.url("/metrics"))).await.text;
    let counted = r#"hexafn_source_requests_total{outcome="mismatched",source="push"} 3"#;
    assert!(metrics.contains(counted), "{metrics}");
    let (_, sources) = get(&service.url("/admin/sources")).await;
    assert_eq!((&sources[0]["mismatched"], &sources[0]["schema"]), (&json!(3), &json!("push.json")), "{sources}");

    // Without validation everything is taken in, and a changed schema is a change of the source.
    service.edit("schema = \"push.json\"", "schema = \"push.json\"\nvalidate = false");
    service.ask(&["reload"]);
    assert_eq!(post(&url, &[], r#"{"ref":7}"#).await.0, 202);
    service.edit("\nvalidate = false", "");
    service.configure("push.json", &PUSH.replace(r#""ref": { "type": "string" }"#, r#""ref": { "type": "integer" }"#));
    service.ask(&["reload"]);
    assert_eq!(post(&url, &[], r#"{"ref":7}"#).await.0, 202);
    assert_eq!(post(&url, &[], r#"{"ref":"main"}"#).await.0, 422);
}

#[test]
fn a_field_that_the_schema_does_not_have_is_found_before_anything_is_started() {
    let wrong = SOURCE.replace("event.data.commits", "event.data.comits");
    let checked = scenario().file("hexafn.toml", &wrong).run(&["check", "--config", "cfg"]);
    assert_eq!(checked.code, Some(78), "{checked:?}");
    for part in ["HX0312", "`comits`", "hexafn.toml:12:", "push.json of source `push`", "write `commits`"] {
        assert!(checked.err.contains(part), "{part}: {}", checked.err);
    }
    let fine = scenario().run(&["check", "--config", "cfg"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
}

#[test]
fn tests_of_a_configuration_see_what_the_door_refuses() {
    let test = "\n[[test]]\nname = \"refused\"\nsend = [{ source = \"push\", data = { ref = 1 } }]\n\
                expect = [{ status = 422, code = \"schema-mismatch\" }]\n";
    let ran = scenario().file("tests.toml", test).run(&["test", "--config", "cfg"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
