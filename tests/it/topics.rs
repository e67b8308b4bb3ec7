//! Topics: in memory, bounded by count and size, named by the events themselves, matched by patterns.

use super::sender::{get, post, publish, send};
use super::service::{Scenario, Service};
use super::watch::{Live, events, events_when, eventually, ids_of, subscription};
use serde_json::{Value, json};

fn start() -> Service {
    Scenario::new("topics").start()
}

async fn topic(service: &Service, name: &str) -> Value {
    let (status, topic) = get(&service.url(&format!("/admin/topics/{name}"))).await;
    assert_eq!(status, 200, "{topic}");
    topic
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_in_memory_says_so_serves_who_listens_and_is_empty_after_a_restart() {
    let mut service = start();
    let (status, told) = post(&service.url("/hooks/quick"), &[], r#"{"n":1}"#).await;
    assert_eq!((status, &told["durability"], &told["seq"]), (202, &"memory".into(), &1.into()), "{told}");
    let published = service.ask(&["publish", "quick", "-d", r#"{"n":2}"#]);
    assert_eq!((&published["durability"], &published["seq"]), (&"memory".into(), &2.into()), "{published}");
    let (_, on_disk) = post(&service.url("/hooks/in"), &[], "{}").await;
    assert_eq!(on_disk["durability"], "disk", "{on_disk}");
    let results = events_when(&service, "out", 3).await;
    let expected = [&told, &published].map(|t| format!("{}-quick", t["id"].as_str().unwrap()));
    assert!(expected.iter().all(|id| results.iter().any(|e| e["id"] == **id)), "{results:?}");

    let shown = topic(&service, "quick").await;
    assert_eq!((&shown["durability"], &shown["records"]), (&"memory".into(), &2.into()), "{shown}");
    let (status, problem) = get(&service.url("/admin/topics/quick/events")).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("topic-in-memory")), "{problem}");
    let mut live = Live::open(&service, "/ws/topics/quick").await;
    // Nothing is replayed from memory: the viewer must be there before the event.
    eventually("the viewer", async || {
        let shown = topic(&service, "quick").await;
        (shown["viewers"] == 1, shown)
    })
    .await;
    post(&service.url("/hooks/quick"), &[], r#"{"n":3}"#).await;
    assert_eq!(live.json().await["data"], json!({ "n": 3 }), "it can be watched");

    events_when(&service, "out", 4).await;
    service.kill_and_restart();
    let shown = topic(&service, "quick").await;
    assert_eq!((&shown["durability"], &shown["records"]), (&"memory".into(), &0.into()), "{shown}");
    assert_eq!(events(&service, "out").await.len(), 4, "what was made of it is on disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_as_many_events_as_its_retention_says() {
    let mut service = start();
    let mut sent = Vec::new();
    for n in 0..25 {
        sent.push(publish(&service, "counted", &format!("{{\"n\":{n}}}")).await);
    }
    let shown = eventually("the first fifteen to go", async || {
        let shown = topic(&service, "counted").await;
        (shown["first"] == 16, shown)
    })
    .await;
    assert_eq!((&shown["last"], &shown["records"]), (&25.into(), &10.into()), "{shown}");
    let kept: Vec<String> =
        events(&service, "counted").await.iter().map(|e| e["id"].as_str().unwrap().into()).collect();
    assert_eq!(kept, sent[15..], "the newest ten, in order");
    service.kill_and_restart();
    assert_eq!(events(&service, "counted").await.len(), 10);
    let told = service.ask(&["publish", "counted", "-d", "{}"]);
    assert_eq!(told["seq"], 26, "numbers are not used twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_in_memory_keeps_what_its_retention_says_and_what_is_needed() {
    let bounds =
        [("few", "count = 3"), ("light", "size = \"4KiB\""), ("short", "age = \"1s\""), ("asked", "count = 1")];
    let topics = bounds.map(|(name, bound)| {
        format!("[[topic]]\nname = \"{name}\"\ndurability = \"memory\"\nretention = {{ {bound} }}\n")
    });
    let service = Scenario::new("topics").file("memory.toml", &topics.concat()).start();
    service.ask(&["sub", "add", "needs", "asked", "--from", "all"]);
    let body = format!("\"{}\"", "x".repeat(1_000));
    for name in bounds.map(|(name, _)| name) {
        for _ in 0..10 {
            publish(&service, name, &body).await;
        }
    }
    // A record counts with 512 bytes beside its data, so 4 KiB hold two.
    for (name, first) in [("few", 8), ("light", 9), ("short", 11)] {
        let shown = eventually("what is too much to go", async || {
            let shown = topic(&service, name).await;
            (shown["first"] == first, shown)
        })
        .await;
        assert_eq!((&shown["last"], &shown["records"]), (&10.into(), &(11 - first).into()), "{name}: {shown}");
    }
    // Looked at in the same second as those above, and before: it has not been cut since.
    assert_eq!(topic(&service, "asked").await["records"], 10, "a subscription has handled none of them");
    let read = service.hexafn(&["sub", "read", "needs", "-n", "10"]);
    assert_eq!(read.code, Some(0), "{read:?}");
    eventually("all but the newest to go", async || {
        let shown = topic(&service, "asked").await;
        (shown["first"] == 10, shown)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_events_as_long_as_its_retention_says() {
    let mut service = start();
    let began = std::time::Instant::now();
    for n in 0..5 {
        publish(&service, "aged", &format!("{{\"n\":{n}}}")).await;
        publish(&service, "plain", &format!("{{\"n\":{n}}}")).await;
    }
    let shown = eventually("the five to go", async || {
        let shown = topic(&service, "aged").await;
        (shown["records"] == 0, shown)
    })
    .await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "not before their time: {:?}", began.elapsed());
    assert_eq!((&shown["first"], &shown["last"]), (&6.into(), &5.into()), "{shown}");
    assert_eq!(events(&service, "aged").await.len(), 0);
    assert_eq!(topic(&service, "plain").await["records"], 5, "a topic without a bound keeps them");
    service.kill_and_restart();
    assert_eq!(service.ask(&["publish", "aged", "-d", "{}"])["seq"], 6, "numbers are not used twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_as_many_bytes_as_its_retention_says() {
    let service = start();
    let body = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..20 {
        publish(&service, "weighed", &body).await;
    }
    let shown = eventually("at most 64 KiB", async || {
        let shown = topic(&service, "weighed").await;
        (shown["bytes"].as_u64().unwrap() <= 64 << 10, shown)
    })
    .await;
    // Of 10,002 bytes and their attributes six are below the bound, and seven beyond.
    assert_eq!((&shown["records"], &shown["last"]), (&6.into(), &20.into()), "{shown}");
    let kept = events(&service, "weighed").await;
    let seqs: Vec<&Value> = kept.iter().map(|e| &e["seq"]).collect();
    assert_eq!(seqs, [15, 16, 17, 18, 19, 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscription_still_needs_is_kept_beyond_the_retention() {
    let service = start();
    service.ask(&["sub", "pause", "trigger.copy"]);
    let mut sent = Vec::new();
    for n in 0..8 {
        sent.push(format!("{}-copy", send(&service, &format!("{{\"n\":{n}}}")).await));
    }
    // That nothing goes cannot be waited for. Retention looks at every topic once a second: once a topic that was filled
    // after this one, and that nobody needs, has been cut, this one has been looked at, too.
    for _ in 0..12 {
        publish(&service, "counted", "{}").await;
    }
    eventually("retention", async || {
        let shown = topic(&service, "counted").await;
        (shown["first"] == 3, shown)
    })
    .await;
    assert_eq!(topic(&service, "in").await["first"], 1, "a count of 2, and 8 are needed");
    service.ask(&["sub", "resume", "trigger.copy"]);
    let out = events_when(&service, "out", sent.len()).await;
    sent.sort();
    assert_eq!(ids_of(&out), sent);
    eventually("what is not needed any more to go", async || {
        let shown = topic(&service, "in").await;
        (shown["first"] == 7, shown)
    })
    .await;
    assert_eq!(subscription(&service, "trigger.copy").await["ack_floor"], 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_names_its_topic_and_a_pattern_finds_it() {
    let service = start();
    let route = async |body: &str| post(&service.url("/hooks/routed"), &[], body).await;
    let mut expected = Vec::new();
    for (body, topic, seq) in [
        (r#"{"region":"eu"}"#, "region.eu", 1),
        (r#"{"region":"us"}"#, "region.us", 1),
        (r#"{"region":"eu"}"#, "region.eu", 2),
        (r#"{"region":7}"#, "region.7", 1),
    ] {
        let (status, told) = route(body).await;
        assert_eq!((status, &told["topic"], &told["seq"]), (202, &topic.into(), &seq.into()), "{body}: {told}");
        expected.push(format!("{}-regions", told["id"].as_str().unwrap()));
    }
    expected.sort();
    assert_eq!(ids_of(&events_when(&service, "regions", 4).await), expected, "topics that were new were found");
    let before = service.ask(&["topic", "ls"]).as_array().unwrap().len();
    for bad in [r#"{"region":"../x"}"#, r#"{"region":"a b"}"#, r#"{"region":">"}"#, "{}", r#"{"region":"a\u0000b"}"#] {
        let (status, problem) = route(bad).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("topic-expression")), "{bad}: {problem}");
    }
    assert_eq!(service.ask(&["topic", "ls"]).as_array().unwrap().len(), before, "no topic was made");
}
