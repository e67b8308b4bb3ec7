//! The API beyond its operations: problem documents, methods, limits of queries and bodies, and the document that
//! describes it.

use super::sender::{answer, client, get, post, send};
use super::service::{Scenario, Service};
use super::watch::eventually;
use reqwest::Method;
use serde_json::Value;

fn start() -> Service {
    Scenario::new("doors").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_of_the_document_is_there() {
    let service = start();
    let (_, document) = get(&service.url("/admin/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{name}", "in").replace("{pattern}", "in").replace("{source}", "open");
            let path = path.replace("{act}", "pause").replace("{id}", "x");
            let method: Method = method.to_uppercase().parse().unwrap();
            let answered = answer(client().request(method.clone(), service.url(&path))).await;
            let code = answered.json["code"].as_str();
            assert!(!matches!(code, Some("not-found" | "method-not-allowed")), "{method} {path}: {answered:?}");
        }
    }
    assert_eq!(get(&service.url("/admin/absent")).await.1["code"], "not-found", "what that code is for");
}

/// What keeps a value from the schema that the document gives an operation's answer.
fn faults(document: &Value, (method, path, status): (&str, &str, &str), value: &Value) -> Vec<String> {
    let at = &document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"];
    assert!(at.is_object(), "{method} {path} {status}");
    let schema = serde_json::json!({ "allOf": [at], "components": document["components"] });
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_is_what_the_document_says() {
    let service = Scenario::new("pipeline").receiver("http://127.0.0.1:9").start();
    let (_, document) = get(&service.url("/admin/openapi.json")).await;
    let id = send(&service, r#"{"n":21}"#).await;
    eventually("the trace of the event", async || {
        (get(&service.url(&format!("/admin/traces/{id}"))).await.0 == 200, ())
    })
    .await;
    let json = |body: &str| Some(body.to_owned());
    let asked = [
        ("get", "/", "/", "200", None),
        ("post", "/hooks/{source}", "/hooks/in", "202", json(r#"{"n":1}"#)),
        ("get", "/health/live", "/health/live", "200", None),
        ("get", "/health/ready", "/health/ready", "200", None),
        ("get", "/admin/actors", "/admin/actors", "200", None),
        (
            "post",
            "/admin/actors/control",
            "/admin/actors/control",
            "200",
            json(r#"{"path":"/watch/traces","verb":"reset"}"#),
        ),
        ("post", "/admin/tickets", "/admin/tickets", "201", None),
        ("get", "/admin/graph", "/admin/graph", "200", None),
        ("get", "/admin/config", "/admin/config", "200", None),
        ("get", "/admin/logs/level", "/admin/logs/level", "200", None),
        ("put", "/admin/logs/level", "/admin/logs/level", "200", json(r#"{"module":"a::b","level":"debug"}"#)),
        ("post", "/admin/reload", "/admin/reload", "200", None),
        ("post", "/admin/simulate", "/admin/simulate", "200", json(r#"{"topic":"in","data":{"n":3}}"#)),
        ("get", "/admin/topics", "/admin/topics", "200", None),
        ("get", "/admin/topics/{name}", "/admin/topics/in", "200", None),
        ("get", "/admin/topics/{name}/events", "/admin/topics/in/events", "200", None),
        ("post", "/admin/topics/{name}/events", "/admin/topics/new/events", "202", json("{}")),
        ("get", "/admin/subscriptions", "/admin/subscriptions", "200", None),
        ("put", "/admin/subscriptions/{name}", "/admin/subscriptions/mine", "201", json(r#"{"pattern":"in"}"#)),
        ("get", "/admin/subscriptions/{name}", "/admin/subscriptions/trigger.double", "200", None),
        ("get", "/admin/dead", "/admin/dead", "200", None),
        ("get", "/admin/dead/{subscription}", "/admin/dead/trigger.double", "200", None),
        ("get", "/admin/sources", "/admin/sources", "200", None),
        ("get", "/admin/triggers", "/admin/triggers", "200", None),
        ("get", "/admin/triggers/{name}", "/admin/triggers/double", "200", None),
        ("patch", "/admin/triggers/{name}", "/admin/triggers/double", "200", json(r#"{"priority":1}"#)),
        ("post", "/admin/triggers/{name}/{act}", "/admin/triggers/double/enable", "200", None),
        ("get", "/admin/functions", "/admin/functions", "200", None),
        ("get", "/admin/functions/{name}", "/admin/functions/double", "200", None),
        ("get", "/admin/targets", "/admin/targets", "200", None),
        ("get", "/admin/targets/{name}", "/admin/targets/out", "200", None),
        ("post", "/admin/targets/{name}/{act}", "/admin/targets/web/reset", "200", None),
        ("get", "/admin/traces", "/admin/traces", "200", None),
        ("get", "/admin/traces/{id}", &*format!("/admin/traces/{id}"), "200", None),
    ];
    for (method, path, url, status, body) in asked {
        let mut request = client().request(method.to_uppercase().parse().unwrap(), service.url(url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answered = answer(request).await;
        assert_eq!(answered.status.to_string(), status, "{method} {url}: {answered:?}");
        let faults = faults(&document, (method, path, status), &answered.json);
        assert!(faults.is_empty(), "{method} {path}: {faults:?}\n{}", answered.text);
        // Fields that the document does not name would be found by nobody.
        let schema = &document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"];
        assert!(schema.as_object().is_some_and(|s| !s.is_empty()), "{method} {path}: {schema}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_bodies_and_letters_that_cannot_be_meant_are_named() {
    let service = start();
    for path in
        ["targets/web/log?limt=3", "targets/web/log?limit=5", "targets?x=1", "subscriptions?x=1", "topics/in?x=1"]
    {
        let answered = answer(client().get(service.url(&format!("/admin/{path}")))).await;
        assert_eq!(answered.problem(), (400, Some("query-invalid")), "{path}: {answered:?}");
    }
    for (query, says) in
        [("limit=abc", "`limit=abc`: expected a number"), ("from=", "`from=`"), ("limt=3", "unknown field `limt`")]
    {
        let answered = answer(client().get(service.url(&format!("/admin/topics/in/events?{query}")))).await;
        let detail = answered.json["detail"].as_str().unwrap_or_default();
        assert!(
            answered.status == 400 && detail.contains(says) && !detail.contains("deserialize"),
            "{query}: {detail}"
        );
    }
    let test = client().post(service.url("/admin/targets/web/test")).header("content-type", "application/json");
    let answered = answer(test.body(" []")).await;
    assert_eq!(answered.problem(), (400, Some("body-invalid")));
    assert_eq!(answered.json["detail"], "the body is an array; expected an object, {…}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_with_less_space_than_is_to_be_kept_free_is_told_at_the_start() {
    let scenario = Scenario::new("pipeline").receiver("http://127.0.0.1:9");
    let service = scenario.file("storage.toml", "[storage]\nmin_free = \"900000GiB\"\n").start_logged("warn");
    let log = std::fs::read_to_string(service.path("log")).unwrap();
    assert!(log.contains("`storage.min_free`"), "before the first event: {log}");
    let ready = answer(client().get(service.url("/health/ready"))).await;
    assert!(ready.status == 200 && ready.json["status"] == "ready", "what is stored is delivered: {ready:?}");
    assert!(ready.json["warning"].as_str().is_some_and(|warning| warning.contains("`storage.min_free`")), "{ready:?}");
    let refused =
        answer(client().post(service.url("/hooks/in")).body("{}").header("content-type", "application/json")).await;
    assert_eq!(refused.status, 507);
    assert!(refused.json["detail"].as_str().unwrap().contains("`storage.min_free`"), "{refused:?}");
}

#[test]
fn what_a_failed_delivery_is_told_as_is_explained() {
    let scenario = Scenario::empty();
    for class in ["template", "status_5xx", "expired"] {
        let told = scenario.run(&["explain", class]);
        assert!(told.code == Some(0) && told.out.starts_with(&format!("{class}: how a delivery failed. ")), "{told:?}");
    }
    let told = scenario.run(&["explain", "target-unknown"]);
    assert!(told.code == Some(1) && told.err.contains("docs/rest.md"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_is_refused_with_a_code_and_gives_no_paths_away() {
    let service = start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let deep_trial = format!(r#"{{"topic":"open","data":{deep}}}"#);
    let cases = [
        ("POST", "/admin/actors/control", r#"{"path":"/topics","verb":"stop","force":true}"#, 400, "body-invalid"),
        ("PATCH", "/admin/triggers/none", r#"{"priority":1,"enabled":false}"#, 400, "body-invalid"),
        ("POST", "/admin/simulate", r#"{"topic":"open","data":{},"extra":1}"#, 400, "body-invalid"),
        ("POST", "/admin/subscriptions/x/replay", r#"{"from":"all","to":"x"}"#, 400, "body-invalid"),
        ("POST", "/admin/subscriptions/x/replay", r#"{"from":"yesterday"}"#, 400, "from-invalid"),
        ("POST", "/admin/subscriptions/x/pause", "", 404, "subscription-unknown"),
        ("DELETE", "/admin/subscriptions/x", "", 404, "subscription-unknown"),
        ("GET", "/admin/topics/open/events?limit=0", "", 400, "limit-invalid"),
        ("GET", "/admin/topics/open/events?limit=1001", "", 400, "limit-invalid"),
        ("GET", "/admin/topics/open/events?limit=-1", "", 400, "query-invalid"),
        ("GET", "/admin/topics/open/events?limits=1", "", 400, "query-invalid"),
        ("GET", "/admin/topics/open/events?from=99999999999999999999", "", 400, "query-invalid"),
        ("GET", "/admin/traces?limit=1000000", "", 400, "limit-invalid"),
        ("GET", "/admin/traces/nobody", "", 404, "trace-unknown"),
        ("GET", "/admin/triggers/nobody", "", 404, "trigger-unknown"),
        ("GET", "/admin/targets/nobody", "", 404, "target-unknown"),
        ("GET", "/admin/topics/opne", "", 404, "topic-unknown"),
        ("GET", "/admin/topics/..%2f..%2fetc%2fpasswd", "", 404, "topic-unknown"),
        ("GET", "/admin/nothing", "", 404, "not-found"),
        ("GET", "/nothing", "", 404, "not-found"),
        ("POST", "/admin/topics/a%20b/events", "{}", 400, "topic-name"),
        ("POST", "/admin/topics/a/events", r#"{"a":1,"a":2}"#, 400, "json-duplicate-key"),
        ("POST", "/admin/simulate", r#"{"topic":"open","data":{"a":1,"a":2}}"#, 400, "json-duplicate-key"),
        ("POST", "/admin/topics/a/events", &*deep, 400, "json-depth"),
        ("POST", "/admin/simulate", &*deep_trial, 400, "json-depth"),
        ("POST", "/admin/topics/a/events?kind=x", "{}", 400, "query-invalid"),
        ("POST", "/admin/topics/a/events?type=", "{}", 400, "cloudevent-invalid"),
        ("POST", "/admin/topics/a/events?type=a%0Ab", "{}", 400, "cloudevent-invalid"),
        ("POST", "/admin/simulate", r#"{"topic":"open","subject":"","data":{}}"#, 400, "cloudevent-invalid"),
        ("POST", "/admin/targets/none/test", r#"{"key":"\n"}"#, 400, "cloudevent-invalid"),
        ("POST", "/admin/targets/none/test", r#"{"data":{"a":1,"a":2}}"#, 400, "json-duplicate-key"),
        ("GET", "/ws/targets/nobody", "", 404, "target-unknown"),
        ("GET", "/ws/topics/a..b", "", 400, "topic-name"),
        ("GET", "/ws/topics/nothing-here", "", 404, "topic-unknown"),
        ("GET", "/ws/topics/open?from=sometimes", "", 400, "from-invalid"),
        ("GET", "/ws/topics/open?filter=1%20%2B", "", 400, "filter-invalid"),
        ("GET", "/ws/topics/open", "", 400, "websocket-expected"),
        ("DELETE", "/admin/topics/open/events?below=x", "", 400, "query-invalid"),
        ("POST", "/admin/tickets?access_token=x", "", 400, "token-in-query"),
    ];
    let folder = service.path("").display().to_string();
    for (method, path, body, status, code) in cases {
        let request = client().request(method.parse().unwrap(), service.url(path));
        let mut request = request.header("content-type", "application/json").body(body.to_owned());
        // A browser opens a stream; without this it would be refused before its topic is looked at.
        if path.starts_with("/ws/") && code != "websocket-expected" {
            for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
            {
                request = request.header(name, value);
            }
            request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let answered = answer(request).await;
        assert_eq!(answered.problem(), (status, Some(code)), "{method} {path}: {answered:?}");
        assert_eq!(answered.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(answered.json["status"], status, "{method} {path}");
        let filled = |field: &&str| answered.json[*field].as_str().is_some_and(|t| !t.is_empty());
        assert!(["title", "detail"].iter().all(filled), "{answered:?}");
        assert!(!answered.text.contains(&folder) && !answered.text.contains("/src/"), "{answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_told_which_ones_there_are() {
    let service = start();
    for (method, path, allowed) in [
        ("PUT", "/admin/topics", "GET"),
        ("DELETE", "/admin/reload", "POST"),
        ("PUT", "/admin/topics/open/events", "DELETE, GET, POST"),
        ("POST", "/admin/triggers/x", "GET, PATCH"),
        ("POST", "/metrics", "GET"),
    ] {
        let answered = answer(client().request(method.parse().unwrap(), service.url(path))).await;
        assert_eq!(answered.problem(), (405, Some("method-not-allowed")), "{method} {path}: {answered:?}");
        assert_eq!(answered.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let mut methods: Vec<&str> = answered.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        methods.retain(|m| *m != "HEAD");
        methods.sort_unstable();
        assert_eq!(methods.join(", "), allowed, "{method} {path}");
    }
    for path in ["/", "/hooks/open", "/admin/topics", "/metrics", "/nothing"] {
        let request = client().request(Method::TRACE, service.url(path)).header("x-secret", "do not echo");
        let answered = answer(request).await;
        assert_eq!(answered.status, 405, "{path}");
        assert!(!answered.text.contains("do not echo"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused_before_it_is_read_as_anything() {
    let service = Scenario::new("doors").file("limits.toml", "[server.limits]\nmax_body = \"4KiB\"\n").start();
    let json = |size: usize| format!("{{\"topic\":\"open\",\"data\":\"{}\"}}", "x".repeat(size));
    let paths = ["/admin/topics/a/events", "/admin/simulate", "/admin/actors/control", "/admin/subscriptions/x/replay"];
    for path in paths {
        let request = client().post(service.url(path)).header("content-type", "application/json");
        let answered = answer(request.body(json(4096))).await;
        assert_eq!(answered.problem(), (413, Some("body-too-large")), "{path}: {answered:?}");
        assert_eq!(answered.header("content-type"), Some("application/problem+json"), "{path}");
    }
    assert_eq!(post(&service.url("/admin/simulate"), &[], &json(3000)).await.0, 200, "below it there is an answer");
    assert_eq!(get(&service.url("/admin/topics/a")).await.0, 404, "nothing was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_later_is_not_said_to_be_there() {
    let storage = "[storage]\nsync = \"lazy\"\n[[topic]]\nname = \"quick\"\ndurability = \"memory\"\n";
    let service = Scenario::new("doors").file("lazy.toml", storage).start();
    for (path, expected) in [
        ("/admin/topics/open/events", "disk-later"),
        ("/admin/topics/quick/events", "memory"),
        ("/hooks/open", "disk-later"),
    ] {
        let (status, told) = post(&service.url(path), &[], "{}").await;
        assert_eq!((status, told["durability"].as_str()), (202, Some(expected)), "{path}: {told}");
    }
    let service = start();
    let (_, told) = post(&service.url("/admin/topics/open/events"), &[], "{}").await;
    assert_eq!(told["durability"], "disk");
}
