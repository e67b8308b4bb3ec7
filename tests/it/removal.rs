//! Topics that are removed: what goes with them, what keeps them, and what a later one of the same name has.

use super::clients::{connect, floor, place, register, say};
use super::sender::{answer, client, get, post, publish};
use super::service::{Scenario, Service};
use super::watch::{Live, events, events_when, eventually, idle, ids_of};
use serde_json::{Value, json};

fn start() -> Service {
    Scenario::new("topics").start()
}

/// The source `routed`, which names the topic by the event.
async fn route(service: &Service, id: &str) -> Value {
    let (status, told) = post(&service.url("/hooks/routed"), &[("idempotency-key", id)], r#"{"region":"eu"}"#).await;
    assert!(status == 202 && told["topic"] == "region.eu", "{id}: {status} {told}");
    told
}

async fn problem(service: &Service, topic: &str) -> (u16, String, String) {
    let told = answer(client().delete(service.url(&format!("/admin/topics/{topic}")))).await;
    let text = |field: &str| told.json[field].as_str().unwrap_or_default().to_owned();
    (told.status, text("code"), text("detail"))
}

/// Whether nothing can be seen of a topic any more.
async fn gone(service: &Service, topic: &str) {
    let (status, told) = get(&service.url(&format!("/admin/topics/{topic}"))).await;
    assert_eq!((status, &told["code"]), (404, &"topic-unknown".into()), "{told}");
    for path in ["/admin/topics", "/admin/actors", "/admin/subscriptions"] {
        let (_, told) = get(&service.url(path)).await;
        assert!(!told.to_string().contains(topic), "{path}: {told}");
    }
    let metrics = answer(client().get(service.url("/metrics"))).await;
    assert!(!metrics.text.contains(topic), "{}", metrics.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_removed_for_good_and_one_of_its_name_begins_anew() {
    let mut service = start();
    for id in ["a", "b", "c"] {
        route(&service, id).await;
    }
    publish(&service, "region.us", "{}").await;
    let mut live = Live::open(&service, "/ws/topics/region.eu?from=2").await;
    assert_eq!([live.json().await["seq"].clone(), live.json().await["seq"].clone()], [2, 3]);
    let before = events_when(&service, "regions", 4).await;

    service.ask(&["sub", "pause", "trigger.regions"]);
    let late = route(&service, "d").await;
    assert_eq!((&live.json().await["id"], &late["seq"]), (&late["id"], &4.into()));
    let refused = service.hexafn(&["topic", "rm", "region.eu"]);
    assert!(refused.code == Some(1) && refused.err.contains("not handled yet by `trigger.regions`"), "{refused:?}");
    assert!(refused.err.contains("--force"), "{refused:?}");
    let (status, code, _) = problem(&service, "region.eu").await;
    assert_eq!((status, &*code), (409, "topic-needed"));
    service.ask(&["sub", "resume", "trigger.regions"]);
    events_when(&service, "regions", before.len() + 1).await;
    idle(&service).await;

    let told = service.ask(&["topic", "rm", "region.eu"]);
    assert_eq!(told, json!({ "topic": "region.eu", "did": "rm" }));
    gone(&service, "region.eu").await;
    assert_eq!(events(&service, "region.us").await.len(), 1, "another topic has what it had");

    // The same delivery id: what it stood for is gone.
    let first = route(&service, "a").await;
    assert_eq!(first["seq"], 1, "{first}");
    assert_eq!(
        live.json().await["id"],
        first["id"],
        "a viewer of before sees it, though it asked for what is from 2 on"
    );
    let copied = events_when(&service, "regions", before.len() + 2).await;
    assert_eq!(copied.last().unwrap()["id"], format!("{}-regions", first["id"].as_str().unwrap()));
    idle(&service).await;

    service.ask(&["topic", "rm", "region.eu"]);
    service.kill_and_restart();
    gone(&service, "region.eu").await;
    let again = route(&service, "a").await;
    assert_eq!(again["seq"], 1, "{again}");
    events_when(&service, "regions", before.len() + 3).await;
    service.kill_and_restart();
    idle(&service).await;
    assert_eq!(ids_of(&events(&service, "region.eu").await), [again["id"].as_str().unwrap()]);
    assert_eq!(events(&service, "regions").await.len(), before.len() + 3, "each was handled once");
    assert_eq!(events(&service, "region.us").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_goes_only_by_force_and_what_is_used_does_not_at_all() {
    let service = start();
    for (topic, by) in [
        ("in", "its settings (`[[topic]]`), source `in`, trigger `copy`, trigger `mirror`"),
        ("ranked", "trigger `high`, trigger `low`"),
        ("out", "target `out`"),
        ("counted", "its settings"),
        ("hexafn.dead.trigger.copy", "trigger `copy`"),
        ("hexafn.outcomes", "`[targets] outcomes`"),
    ] {
        for path in [topic.to_owned(), format!("{topic}?force=true")] {
            let (status, code, detail) = problem(&service, &path).await;
            assert_eq!((status, &*code), (409, "topic-in-use"), "{path}: {detail}");
            assert!(detail.contains(&format!("is used by {by}")) && detail.contains("configuration"), "{detail}");
        }
    }
    let (status, code, detail) = problem(&service, "outt").await;
    assert!(status == 404 && code == "topic-unknown" && detail.contains("did you mean `out`"), "{code}: {detail}");
    let (status, code, _) = problem(&service, "out?forse=true").await;
    assert_eq!((status, &*code), (400, "query-invalid"));

    // What a client gave up is there for a person, also when its subscription is not.
    register(&service, "billing", json!({ "pattern": "orders.*", "retry": { "max_attempts": 1 } })).await;
    publish(&service, "orders.eu", "{}").await;
    let mut live = connect(&service, "billing").await;
    let ack_id = live.json().await["ack_id"].clone();
    say(&mut live, json!({ "term": ack_id })).await;
    events_when(&service, "hexafn.dead.billing", 1).await;
    let (_, code, detail) = problem(&service, "hexafn.dead.billing").await;
    assert!(code == "topic-in-use" && detail.contains("subscription `billing`"), "{detail}");
    service.ask(&["sub", "rm", "billing"]);
    let (_, code, detail) = problem(&service, "hexafn.dead.billing").await;
    assert!(code == "topic-needed" && detail.contains("hexafn dlq list billing"), "{detail}");
    service.ask(&["topic", "rm", "hexafn.dead.billing", "--force"]);
    gone(&service, "hexafn.dead.billing").await;

    service.ask(&["sub", "pause", "trigger.regions"]);
    publish(&service, "region.eu", "{}").await;
    service.ask(&["topic", "rm", "region.eu", "--force"]);
    gone(&service, "region.eu").await;
    let new = publish(&service, "region.eu", "{}").await;
    service.ask(&["sub", "resume", "trigger.regions"]);
    let copied = events_when(&service, "regions", 1).await;
    assert_eq!(ids_of(&copied), [format!("{new}-regions")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_target_or_trigger_that_is_not_defined_any_more_goes_only_by_force() {
    let text = "[targets]\nallow_networks = ['127.0.0.0/8']\n[[source]]\nname = 'in'\nkind = 'webhook'\ntopic = 'in'\n\
                verify = { scheme = 'none' }\n";
    let more = "[[trigger]]\nname = 'send'\non = 'in'\nto = 'gone'\n[[target]]\nname = 'gone'\nkind = 'http'\n\
                url = 'http://127.0.0.1:9/'\n";
    let both = format!("{text}{more}");
    let mut service = Scenario::empty_config().file("hexafn.toml", &both).start();
    for n in 0..3 {
        publish(&service, "in", &n.to_string()).await;
    }
    events_when(&service, "hexafn.out.gone", 3).await;
    service.ask(&["sub", "pause", "trigger.send"]);
    for n in 3..5 {
        publish(&service, "in", &n.to_string()).await;
    }
    service.configure("hexafn.toml", text);
    let told = service.ask(&["reload"]);
    let left: Vec<&str> = told["left"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(left.len() == 2 && left[0].starts_with("3 events wait in `hexafn.out.gone` for target `gone`"), "{left:?}");
    assert!(left[1].starts_with("2 events of `in` wait for trigger `send`"), "{left:?}");
    for restarted in [false, true] {
        if restarted {
            service.kill_and_restart();
        }
        let refused = service.hexafn(&["topic", "rm", "hexafn.out.gone"]);
        assert!(refused.code == Some(1) && refused.err.contains("(3 events wait for it)"), "{restarted}: {refused:?}");
        assert!(refused.err.contains("`target.gone`") && refused.err.contains("--force"), "{refused:?}");
        let (status, code, _) = problem(&service, "hexafn.out.gone").await;
        assert_eq!((status, &*code), (409, "topic-needed"), "{restarted}");
        assert_eq!(events(&service, "hexafn.out.gone").await.len(), 3);
    }
    // The topic of a trigger that was removed is needed by its kept place, until that is given up.
    service.configure("hexafn.toml", &text.replace("topic = 'in'", "topic = 'other'"));
    service.ask(&["reload"]);
    let refused = service.hexafn(&["topic", "rm", "in"]);
    assert!(refused.err.contains("`trigger.send`") && refused.err.contains("(2 events"), "{refused:?}");
    service.ask(&["sub", "rm", "trigger.send"]);
    service.ask(&["topic", "rm", "in"]);
    assert_eq!(get(&service.url("/admin/topics/in")).await.0, 404);

    service.configure("hexafn.toml", &both);
    service.ask(&["reload"]);
    let listed = service.ask(&["target", "show", "gone"]);
    assert_eq!(listed["waiting"].as_u64().unwrap_or(0) + listed["lag"].as_u64().unwrap_or(0), 3, "{listed}");
    service.configure("hexafn.toml", text);
    service.ask(&["reload"]);
    service.ask(&["topic", "rm", "hexafn.out.gone", "--force"]);
    let (status, told) = get(&service.url("/admin/topics/hexafn.out.gone")).await;
    assert_eq!(status, 404, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_target_or_trigger_that_was_changed_is_told_and_can_be_given_up() {
    let text = "[targets]\nallow_networks = ['127.0.0.0/8']\n[[topic]]\nname = 'in'\n[[topic]]\nname = 'in2'\n[[trigger]]\nname = 'send'\n\
                on = 'in'\nto = 'out'\n[[target]]\nname = 'out'\n";
    let outside = format!("{text}kind = 'http'\nurl = 'http://127.0.0.1:9/'\n");
    let changed = format!("{text}kind = 'topic'\ntopic = 'other'\n").replace("on = 'in'", "on = 'in2'");
    let mut service = Scenario::empty_config().file("hexafn.toml", &outside).start();
    for n in 0..3 {
        publish(&service, "in", &n.to_string()).await;
    }
    events_when(&service, "hexafn.out.out", 3).await;
    service.ask(&["sub", "pause", "trigger.send"]);
    for n in 3..5 {
        publish(&service, "in", &n.to_string()).await;
    }
    let in_use = service.hexafn(&["sub", "rm", "trigger.send"]);
    assert!(in_use.code == Some(1) && in_use.err.contains("subscription-in-use"), "{in_use:?}");
    service.configure("hexafn.toml", &changed);
    for restarted in [false, true] {
        if restarted {
            service.kill_and_restart();
        }
        let told = service.ask(&["reload"]);
        let left: Vec<&str> = told["left"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        assert_eq!(left.len(), 2, "{restarted}: {left:?}");
        let target = "3 events wait in `hexafn.out.out` for target `out`, which is the topic `other` now";
        assert!(left[0].starts_with(target), "{left:?}");
        let trigger = "2 events of `in` wait for trigger `send`, which listens to `in2` now";
        assert!(left[1].starts_with(trigger) && left[1].contains("sub rm trigger.send"), "{left:?}");
        assert!(service.ask(&["target", "show", "out"])["left"].as_str().unwrap().starts_with(target));
    }

    service.ask(&["sub", "rm", "trigger.send"]);
    let told = service.ask(&["reload"]);
    assert_eq!(told["left"].as_array().map(Vec::len), Some(1), "the place in `in` is given up: {told}");
    service.ask(&["sub", "resume", "trigger.send"]);
    publish(&service, "in2", "5").await;
    assert_eq!(events_when(&service, "other", 1).await.len(), 1, "the one in `in2` is served");
    let in_use = service.hexafn(&["sub", "rm", "trigger.send"]);
    assert!(in_use.code == Some(1) && in_use.err.contains("subscription-in-use"), "{in_use:?}");
    service.ask(&["topic", "rm", "hexafn.out.out", "--force"]);
    let told = service.ask(&["reload"]);
    assert!(told["left"].is_null(), "{told}");
    assert!(service.ask(&["target", "show", "out"])["left"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_of_a_topic_that_was_removed_settles_nothing_of_the_next() {
    let service = start();
    register(&service, "billing", json!({ "pattern": "orders.*", "from": "all" })).await;
    publish(&service, "orders.eu", "{}").await;
    let mut live = connect(&service, "billing").await;
    let old = live.json().await;
    let refused = service.hexafn(&["topic", "rm", "orders.eu"]);
    assert!(refused.err.contains("not handled yet by `billing`"), "it is with the client: {refused:?}");
    service.ask(&["topic", "rm", "orders.eu", "--force"]);
    let new = publish(&service, "orders.eu", "{}").await;
    say(&mut live, json!({ "ack": old["ack_id"] })).await;
    assert_eq!(live.closed().await, 1013);
    let mut live = connect(&service, "billing").await;
    let event = live.json().await;
    assert_eq!((&event["id"], &event["seq"], &event["ack_id"]), (&new.into(), &1.into(), &old["ack_id"]), "{event}");
    assert!(place(&event).2 >= 1, "{event}");
    say(&mut live, json!({ "ack": event["ack_id"] })).await;
    floor(&service, "billing", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_in_memory_is_removed_too() {
    let service =
        Scenario::new("topics").file("more.toml", "[[topic]]\nname = \"passing\"\ndurability = \"memory\"\n").start();
    publish(&service, "passing", "{}").await;
    let (_, _, detail) = problem(&service, "passing").await;
    assert!(detail.contains("its settings"), "{detail}");
    service.configure("more.toml", "");
    service.ask(&["reload"]);
    service.ask(&["topic", "rm", "passing"]);
    gone(&service, "passing").await;
    let told = service.ask(&["publish", "passing", "-d", "{}"]);
    assert_eq!((&told["durability"], &told["seq"]), (&"disk".into(), &1.into()), "as any other: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_removal_takes_nothing_that_a_trigger_has_not_handled() {
    let mut service = start();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let (url, http) = (service.url("/admin/topics/region.busy/events"), client());
        let load = tokio::spawn(async move {
            let mut told = Vec::new();
            for n in 0..150 {
                let sent = http.post(&url).header("content-type", "application/json").body(format!("{{\"n\":{n}}}"));
                let answered = answer(sent).await;
                assert!(matches!(answered.status, 202 | 503), "{answered:?}");
                if answered.status == 202 {
                    told.push((answered.json["id"].clone(), answered.json["seq"].clone()));
                }
            }
            told
        });
        let url = service.url("/admin/topics/region.busy");
        eventually("a removal amid the load, or after it", async || {
            let told = answer(client().delete(&url)).await;
            (told.status == 204, told)
        })
        .await;
        let told = load.await.unwrap();
        if round % 2 == 0 {
            service.kill_and_restart();
        }
        let kept = events(&service, "region.busy").await;
        // Where the removal came after all of the load there is none.
        if let (Some(kept_last), Some((id, seq))) = (kept.last(), told.last()) {
            assert_eq!((&kept_last["id"], &kept_last["seq"]), (id, seq), "round {round}");
            assert_eq!(kept.len() as u64, seq.as_u64().unwrap(), "from 1 on without gaps");
        }
        acknowledged.extend(told.into_iter().map(|(id, _)| format!("{}-regions", id.as_str().unwrap())));
        idle(&service).await;
    }
    acknowledged.sort();
    let mut copied = ids_of(&events(&service, "regions").await);
    copied.dedup();
    assert_eq!(copied, acknowledged);
}
