//! Webhooks of GitHub, signed as GitHub signs them, and what a configuration makes of them, field by field.

use super::receiver::Receiver;
use super::sender::{hex_hmac, post};
use super::service::{KEY, Scenario, Service};
use super::watch::{events, events_when};
use serde_json::{Value, json};

const PULL_REQUEST: &str = include_str!("../fixtures/github/pull_request.json");
const ISSUES: &str = include_str!("../fixtures/github/issues.json");
const RELEASE: &str = include_str!("../fixtures/github/release.json");

/// A delivery with a signature of `signed`, and `body` as its body.
async fn deliver(service: &Service, kind: &str, id: &str, signed: &str, body: &str) -> (u16, Value) {
    let signature = format!("sha256={}", hex_hmac(KEY, signed));
    let headers = [
        ("x-github-event", kind),
        ("x-github-delivery", id),
        ("x-hub-signature-256", &*signature),
        ("user-agent", "GitHub-Hookshot/044aadd"),
    ];
    post(&service.url("/hooks/github"), &headers, body).await
}

/// Sends a fixture; what was stored of it, and the summary, which topic and receiver must have alike.
async fn summary(kind: &str, trigger: &str, body: &str) -> (Value, Value) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("github").receiver(&receiver.base).start();
    let forged = body.replacen("\"action\"", "\"Action\"", 1);
    assert_eq!(deliver(&service, kind, "f", body, &forged).await.0, 401, "a body that was not signed");
    let (status, told) = deliver(&service, kind, "72d3162e", body, body).await;
    assert_eq!((status, &told["seq"]), (202, &1.into()), "{told}");

    let stored = events(&service, "github").await.remove(0);
    assert_eq!((&stored["id"], &stored["trace_id"]), (&told["id"], &told["trace_id"]));
    assert_eq!((&stored["type"], &stored["source"]), (&kind.into(), &"/hooks/github".into()));
    assert_eq!(stored["datacontenttype"], "application/json");
    assert_eq!(stored["data"], serde_json::from_str::<Value>(body).unwrap(), "the body as it was sent");

    let result = events_when(&service, "summaries", 1).await.remove(0);
    assert_eq!(result["id"], format!("{}-{trigger}", told["id"].as_str().unwrap()));
    assert_eq!((&result["source"], &result["type"]), (&format!("/triggers/{trigger}").into(), &kind.into()));
    assert_eq!(result["trace_id"], told["trace_id"]);
    let arrived = receiver.arrivals("/web", 1).await.remove(0);
    assert_eq!(serde_json::from_str::<Value>(&arrived.body).unwrap(), result["data"], "the receiver has the same");
    // Of the three triggers one fired: had another, its result would be in the same topic by now.
    super::watch::idle(&service).await;
    assert_eq!(events(&service, "summaries").await.len(), 1);
    (stored, result["data"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_is_summarised() {
    let (stored, summary) = summary("pull_request", "pull-request", PULL_REQUEST).await;
    assert_eq!(
        summary,
        json!({
            "number": 1352,
            "title": "One booking for a stay over several tides (\"Gezeitenübergreifend\")",
            "by": "bo",
            "from": "stay-over-tides",
            "into": "main",
            "labels": ["priority/1 🔥", "größe: XL"],
            "lines": 612 + 187,
            "opened": "2025-03-14T09:12:47Z",
            "repository": "pier/quay",
            "delivery": stored["id"],
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issue_keeps_its_large_number_and_its_text() {
    let (_, summary) = summary("issues", "issue", ISSUES).await;
    let sent: Value = serde_json::from_str(ISSUES).unwrap();
    assert_eq!(
        summary,
        json!({
            // 2^53 + 5, which a float would round.
            "id": 9_007_199_254_740_997_u64,
            "number": 1347,
            "title": "Berth 4 takes ships that are too deep at low water 🌊",
            "body": sent["issue"]["body"],
            "label": sent["label"]["name"],
            "closed": null,
            "open": true,
        })
    );
    assert!(
        summary["body"].as_str().unwrap().contains(r"\u00e9 and \n stay as written"),
        "escapes are not undone twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_summed_up_with_its_assets() {
    let (_, summary) = summary("release", "release", RELEASE).await;
    assert_eq!(
        summary,
        json!({
            "tag": "v2.4.0-rc.1+größe",
            "name": "v2.4.0-rc.1 – “Flood tide” 🚀",
            "prerelease": true,
            "assets": [
                { "name": "quay-x86_64-linux.tar.gz", "mib": 18 },
                { "name": "quay-aarch64-linux.tar.gz", "mib": 16 },
                // Larger than 32 bits hold.
                { "name": "quay-disk-image.raw.zst", "mib": 5120 },
            ],
            "size": 18_874_368_u64 + 17_301_504 + 5_368_709_120,
            "notes": "## Flood tide, first candidate",
        })
    );
}
