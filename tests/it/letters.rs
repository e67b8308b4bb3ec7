//! Dead letters in the hands of a person: chosen by filters, edited, dropped, tried on another configuration; over crashes.

use super::dead::{bad, letters, letters_when, start};
use super::sender::{answer, client, get, post, publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// So many letters of `half`, whose `n` are 1, 2, …
async fn given_up(service: &Service, count: i64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 1..=count {
        ids.push(bad(service, n).await);
        // Ten failures in a row would be a quarantine.
        send(service, r#"{"n":0,"by":1}"#).await;
        letters_when(service, "trigger.half", ids.len()).await;
    }
    events_when(service, "halves", ids.len()).await;
    ids
}

/// A target whose condition fails on texts; each of them becomes a letter of `target.picky`.
fn picky() -> Service {
    let text = "[[topic]]\nname = 'in'\n[[trigger]]\nname = 't'\non = 'in'\nto = 'picky'\n[[target]]\nname = 'picky'\n\
                kind = 'topic'\ntopic = 'out'\nwhen = 'event.data.n > 5'\n";
    Scenario::empty_config().file("hexafn.toml", text).start()
}

/// The `n` of the letters.
fn ns(letters: &[Value]) -> Vec<i64> {
    letters.iter().map(|l| l["event"]["data"]["n"].as_i64().unwrap()).collect()
}

/// From now on everything can be halved.
fn repair(service: &Service) {
    service.edit("event.data.n / event.data.by", "event.data.n / 2");
    service.ask(&["reload"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_chosen_by_a_filter_by_pages_and_by_number_and_dropped_for_good() {
    let mut service = start();
    given_up(&service, 4).await;
    let large = service.ask(&["dlq", "list", "trigger.half", "--filter", "event.data.n > 2"]);
    assert_eq!(ns(large.as_array().unwrap()), [3, 4]);
    let by_cause = ["dlq", "list", "trigger.half", "--filter", "contains(event.extensions.deadcause, '3 / 0')"];
    assert_eq!(ns(service.ask(&by_cause).as_array().unwrap()), [3], "what a letter says of itself can be asked for");
    let (status, page) = get(&service.url("/admin/dead/trigger.half?from=2&limit=2")).await;
    assert_eq!((status, ns(page["letters"].as_array().unwrap()), &page["next"]), (200, vec![2, 3], &4.into()));

    let told = service.ask(&["dlq", "drop", "trigger.half", "--filter", "event.data.n > 2", "--limit", "1"]);
    assert_eq!((told, ns(&letters(&service, "trigger.half"))), (json!({ "settled": 1, "left": 3 }), vec![1, 2, 4]));
    let dropped = service.hexafn(&["-o", "json", "dlq", "drop", "trigger.half", "1", "9"]);
    let told: Value = serde_json::from_str(&dropped.out).unwrap();
    assert_eq!(told, json!({ "settled": 1, "left": 2, "absent": [9] }));
    assert!(dropped.code == Some(1) && dropped.err.contains("no open dead letter 9 of trigger.half"), "{dropped:?}");
    service.kill_and_restart();
    assert_eq!(ns(&letters(&service, "trigger.half")), [2, 4], "what is dropped stays so");
    repair(&service);
    let told = service.ask(&["dlq", "replay", "trigger.half", "--filter", "event.data.n == 4"]);
    assert_eq!(told, json!({ "settled": 1, "left": 1 }));
    assert_eq!(events_when(&service, "halves", 5).await[4]["data"]["half"], 2);
    assert_eq!(service.ask(&["dlq", "drop", "trigger.half", "--all"]), json!({ "settled": 1, "left": 0 }));
    idle(&service).await;
    assert_eq!(events(&service, "halves").await.len(), 5);
    let refused = service.hexafn(&["topic", "rm", "hexafn.again.trigger.half", "--force"]);
    assert!(refused.code == Some(1) && refused.err.contains("is used by trigger `half`"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_costly_choice_holds_up_nobody() {
    let scenario = Scenario::new("dead").receiver("http://127.0.0.1:9").file("one.toml", "[server]\nworkers = 1\n");
    let service = scenario.start();
    given_up(&service, 4).await;
    let filter = "fold(range(0, 1300), 0, (a, x) => a + fold(range(0, 1300), 0, (b, y) => b + y)) < 0";
    let url = service.url("/admin/dead/trigger.half/drop");
    let dropping = tokio::spawn(async move { post(&url, &[], &json!({ "filter": filter }).to_string()).await });
    let mut answered = 0;
    while !dropping.is_finished() {
        assert_eq!(get(&service.url("/health/live")).await.0, 200);
        answered += 1;
    }
    let (status, told) = dropping.await.unwrap();
    assert_eq!((status, &told["settled"]), (200, &0.into()), "{told}");
    // On the only worker the choice would let one answer through before it begins, and one after it.
    assert!(answered > 5, "{answered} answers meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_choice_that_is_none_is_refused_and_settles_nothing() {
    let service = start();
    given_up(&service, 1).await;
    for act in ["replay", "drop"] {
        let ran = service.hexafn(&["dlq", act, "trigger.half"]);
        assert!(ran.code == Some(2) && ran.err.contains("--all"), "all must be said: {ran:?}");
        let ran = service.hexafn(&["dlq", act, "trigger.half", "--filter", "event.data.n >"]);
        assert!(ran.code == Some(1) && ran.err.contains("filter"), "{ran:?}");
        let url = service.url(&format!("/admin/dead/trigger.half/{act}"));
        for (body, code) in [
            (json!({ "seq": [1] }), "body-invalid"),
            (json!({ "limit": 0 }), "limit-invalid"),
            (json!({ "limit": 1001 }), "limit-invalid"),
            (json!({ "seqs": vec![1; 1001] }), "limit-invalid"),
        ] {
            let (status, problem) = post(&url, &[], &body.to_string()).await;
            assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{act} {problem}");
        }
    }
    for query in ["limit=0", "limit=1001", "from=x", "order=asc", "filter=event.data.n%20%3E"] {
        assert_eq!(get(&service.url(&format!("/admin/dead/trigger.half?{query}"))).await.0, 400, "{query}");
    }
    assert_eq!(letters(&service, "trigger.half").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_list_of_letters_is_nobody() {
    let service = start();
    given_up(&service, 2).await;
    for act in ["replay", "drop"] {
        let url = service.url(&format!("/admin/dead/trigger.half/{act}"));
        for body in [r#"{"seqs":[]}"#, r#"{"seqs":[],"filter":"true","limit":5}"#] {
            let (status, told) = post(&url, &[], body).await;
            assert_eq!((status, &told["settled"], &told["left"]), (200, &0.into(), &2.into()), "{act} {body}: {told}");
        }
    }
    let (status, told) = post(&service.url("/admin/dead/trigger.half/replay"), &[], r#"{"seqs":[],"rate":5}"#).await;
    assert_eq!((status, &told["settled"]), (200, &0.into()), "{told}");
    let (_, told) = post(&service.url("/admin/dead/trigger.half/drop"), &[], "{}").await;
    assert_eq!((&told["settled"], &told["left"]), (&2.into(), &0.into()), "without a list it is all: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_fails_on_all_letters_is_told_and_finds_not_nothing() {
    let service = start();
    given_up(&service, 2).await;
    let filter = r#"event.data.n > "x""#;
    for args in [&["dlq", "list"][..], &["dlq", "drop"], &["dlq", "replay"]] {
        let args = [args, &["trigger.half", "--filter", filter]].concat();
        let ran = service.hexafn(&args);
        assert!(ran.code == Some(1) && ran.err.contains("the filter failed on 2 letters"), "{args:?}: {ran:?}");
        assert!(ran.err.contains("HX05"), "{ran:?}");
    }
    // It fails on one and holds for the other, which is what was asked for.
    let some = "event.data.by / (event.data.n - 1) == 0";
    let ran = service.hexafn(&["dlq", "list", "trigger.half", "--filter", some]);
    assert!(ran.code == Some(0) && ran.err.contains("the filter failed on 1 letters"), "{ran:?}");
    let query = "filter=event.data.n%20%3E%20%22x%22";
    let (_, page) = get(&service.url(&format!("/admin/dead/trigger.half?{query}"))).await;
    assert_eq!((&page["filter_failed"]["letters"], &page["open"]), (&2.into(), &2.into()), "{page}");
    let ran = service.hexafn(&["dlq", "list", "trigger.half", "--limit", "1"]);
    assert!(ran.out.contains("1 of 2 letters; go on with `--from"), "{ran:?}");
    let shown = service.hexafn(&["dlq", "show", "trigger.half", "2"]).out;
    assert!(shown.starts_with("letter    2\n") && shown.contains("\"deadcause\""), "{shown}");
    assert!(!shown.contains("deadlog"), "the attempts are told once: {shown}");
    assert_eq!(service.ask(&["dlq", "list", "trigger.half", "--filter", "event.data.n > 5"]), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_letters_that_are_not_there_is_told_what_there_is() {
    let service = start();
    given_up(&service, 1).await;
    for args in [
        &["list", "trigger.hafl"][..],
        &["show", "trigger.hafl", "1"],
        &["edit", "trigger.hafl", "1", "-d", "{}"],
        &["drop", "trigger.hafl", "--all"],
        &["replay", "trigger.hafl", "--all"],
        &["check", "trigger.hafl", "-c", "cfg"],
    ] {
        let ran = service.hexafn(&[&["dlq"], args].concat());
        assert!(ran.code == Some(1) && ran.err.contains("trigger.half"), "{args:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_letter_takes_the_place_of_the_old_one_and_what_is_no_json_is_refused() {
    let mut service = start();
    let ids = given_up(&service, 2).await;
    let broken = service.hexafn(&["dlq", "edit", "trigger.half", "1", "-d", r#"{"n":6,"by":}"#]);
    assert!(broken.code == Some(1) && broken.err.contains("not JSON"), "{broken:?}");
    let absent = service.hexafn(&["dlq", "edit", "trigger.half", "7", "-d", "{}"]);
    assert!(absent.code == Some(1) && absent.err.contains('7'), "{absent:?}");
    let put = client().put(service.url("/admin/dead/trigger.half/7")).header("content-type", "application/json");
    assert_eq!(answer(put.body("{}")).await.problem(), (404, Some("letter-unknown")));
    assert_eq!(ns(&letters(&service, "trigger.half")), [1, 2], "as they were");

    let told = service.ask(&["dlq", "edit", "trigger.half", "1", "-d", r#"{"n":60,"by":2}"#]);
    assert_eq!(told, json!({ "subscription": "trigger.half", "was": 1, "seq": 3 }));
    service.kill_and_restart();
    let now = letters(&service, "trigger.half");
    assert_eq!(ns(&now), [2, 60]);
    assert!(now[1]["edited"].is_string() && now[0]["edited"].is_null(), "{now:?}");
    assert_eq!((&now[1]["topic_seq"], &now[1]["event"]["id"]), (&1.into(), &ids[0].clone().into()), "{now:?}");
    let failures = now[1]["failures"].as_array().map(Vec::len);
    assert_eq!(failures, Some(2), "why it was given up is not forgotten: {now:?}");
    assert_eq!(service.hexafn(&["dlq", "edit", "trigger.half", "1", "-d", "{}"]).code, Some(1), "the old one is gone");

    assert_eq!(service.ask(&["dlq", "replay", "trigger.half", "3"]), json!({ "settled": 1, "left": 1 }));
    let half = events_when(&service, "halves", 3).await.remove(2);
    assert_eq!((&half["id"], &half["data"]["half"]), (&format!("{}-half", ids[0]).into(), &30.into()), "{half}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_tells_the_number_of_its_own_letter_while_others_come_in() {
    const EDITS: u64 = 40;
    let service = picky();
    publish(&service, "in", r#"{"n":"first"}"#).await;
    letters_when(&service, "target.picky", 1).await;
    let done = AtomicBool::new(false);
    let others = async {
        while !done.load(Ordering::Relaxed) {
            let all = (0..8).map(|_| publish(&service, "in", r#"{"n":"other"}"#));
            futures_util::future::join_all(all).await;
        }
    };
    let edits = async {
        let mut seq = 1;
        for n in 1..=EDITS {
            let put = client().put(service.url(&format!("/admin/dead/target.picky/{seq}")));
            let put = put.header("content-type", "application/json").body(format!("{{\"n\":{n}}}"));
            let told = answer(put).await;
            assert_eq!((told.status, told.json["was"].as_u64()), (200, Some(seq)), "{told:?}");
            seq = told.json["seq"].as_u64().unwrap();
            let (status, letter) = get(&service.url(&format!("/admin/dead/target.picky?from={seq}&limit=1"))).await;
            let letter = &letter["letters"][0];
            assert_eq!((status, &letter["seq"], &letter["event"]["data"]["n"]), (200, &seq.into(), &n.into()));
        }
        done.store(true, Ordering::Relaxed);
    };
    futures_util::join!(others, edits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_letters_are_the_same_after_kill_9_and_what_was_replayed_before_is_not_replayed_again() {
    let mut service = start();
    given_up(&service, 4).await;
    let before = (service.ask(&["dlq", "list"]), letters(&service, "trigger.half"));
    service.kill_and_restart();
    assert_eq!((service.ask(&["dlq", "list"]), letters(&service, "trigger.half")), before);
    repair(&service);
    service.ask(&["dlq", "replay", "trigger.half", "2", "3"]);
    service.kill_and_restart();
    assert_eq!(ns(&letters(&service, "trigger.half")), [1, 4]);
    assert_eq!(service.ask(&["dlq", "list"])[0]["letters"], 2);
    events_when(&service, "halves", 6).await;
    idle(&service).await;
    let halves = events(&service, "halves").await;
    let mut values: Vec<String> = halves[4..].iter().map(|e| e["data"]["half"].to_string()).collect();
    values.sort();
    assert_eq!(values, ["1", "1.5"], "each once: {halves:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_replayed_twice_however_often_it_is_asked_for_at_once() {
    let service = start();
    let ids = given_up(&service, 4).await;
    repair(&service);
    let url = service.url("/admin/dead/trigger.half/replay");
    let mut asks = tokio::task::JoinSet::new();
    for at in 0..8 {
        let url = url.clone();
        let body = if at % 2 == 0 { json!({}) } else { json!({ "seqs": [4, 2, 3, 1] }) };
        asks.spawn(async move { answer(client().post(url).json(&body)).await });
    }
    let told = asks.join_all().await;
    assert!(told.iter().all(|t| t.status == 200), "{told:?}");
    assert_eq!(told.iter().map(|t| t.json["settled"].as_u64().unwrap()).sum::<u64>(), 4, "{told:?}");
    events_when(&service, "halves", 8).await;
    idle(&service).await;
    let mut expected: Vec<String> = ids.iter().map(|id| format!("{id}-half")).collect();
    expected.sort();
    assert_eq!(ids_of(&events(&service, "halves").await[4..]), expected);
    assert_eq!(letters(&service, "trigger.half"), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_choice_in_portions_goes_on_where_the_last_one_ended() {
    const MANY: usize = 1_050;
    let service = picky();
    for _ in 0..3 {
        publish(&service, "in", r#"{"n":"a text"}"#).await;
    }
    for chunk in (0..MANY).collect::<Vec<_>>().chunks(50) {
        let one = async |k: &usize| publish(&service, "in", &format!(r#"{{"n":{{"k":{k}}}}}"#)).await;
        let all = chunk.iter().map(one);
        futures_util::future::join_all(all).await;
    }
    eventually("the letters", async || {
        let summary = service.ask(&["dlq", "list"]);
        (summary[0]["letters"] == MANY + 3, summary)
    })
    .await;
    // It fails on the texts and holds for all others.
    let mut body = json!({ "filter": "event.data.n.k >= 0", "limit": 10 });
    let url = service.url("/admin/dead/target.picky/drop");
    let (status, first) = post(&url, &[], &body.to_string()).await;
    assert_eq!((status, &first["settled"], &first["from"]), (200, &10.into(), &14.into()), "{first}");
    assert_eq!(first["filter_failed"]["letters"], 3, "{first}");
    (body["from"], body["below"]) = (first["from"].clone(), 20.into());
    let (_, second) = post(&url, &[], &body.to_string()).await;
    assert_eq!((&second["settled"], &second["from"]), (&6.into(), &20.into()), "{second}");
    assert!(second["filter_failed"].is_null(), "the texts are behind it: {second}");

    let dropped = service.hexafn(&["dlq", "drop", "target.picky", "--all", "--filter", "event.data.n.k >= 0"]);
    assert_eq!(dropped.code, Some(0), "{dropped:?}");
    assert!(dropped.out.contains(&format!("{} letters; 3 are left", MANY - 16)), "{dropped:?}");
    assert!(dropped.err.contains("failed on 3 letters"), "{dropped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_named_twice_is_replayed_once() {
    let service = start();
    given_up(&service, 1).await;
    let (_, told) =
        post(&service.url("/admin/dead/trigger.half/replay"), &[], r#"{"seqs":[1,1],"topic":"aside"}"#).await;
    assert_eq!(told, json!({ "settled": 1, "left": 0, "next": 2 }));
    assert_eq!(events_when(&service, "aside", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_not_deployed_is_tried_on_the_letters_without_an_effect() {
    let service = start();
    given_up(&service, 3).await;
    let candidate = service.path("candidate");
    std::fs::create_dir(&candidate).unwrap();
    let propose = |half: &str| {
        let text = service.scenario.text().replace("event.data.n / event.data.by", half);
        std::fs::write(candidate.join("hexafn.toml"), text).unwrap();
    };
    let check = || service.hexafn(&["-o", "json", "dlq", "check", "trigger.half", "--config", "candidate"]);
    let outcomes = |told: &str| {
        let told: Value = serde_json::from_str(told).unwrap_or_else(|e| panic!("{e}: {told}"));
        let of = |l: &Value| l["outcome"].as_str().unwrap().to_owned();
        (told["failed"].as_u64(), told["letters"].as_array().unwrap().iter().map(of).collect::<Vec<_>>())
    };
    propose("event.data.n / event.data.by");
    let same = check();
    assert_eq!((same.code, outcomes(&same.out)), (Some(1), (Some(3), vec!["failed".to_owned(); 3])), "{same:?}");
    propose("if event.data.n == 2 { fail \"two\" } else { 1 }");
    let most = check();
    let expected = ["fired", "failed", "fired"].map(str::to_owned).to_vec();
    assert_eq!((most.code, outcomes(&most.out)), (Some(1), (Some(1), expected)), "{most:?}");
    propose("event.data.n / 2");
    let right = check();
    assert_eq!((right.code, outcomes(&right.out)), (Some(0), (Some(0), vec!["fired".to_owned(); 3])), "{right:?}");
    let people = service.hexafn(&["dlq", "check", "trigger.half", "-c", "candidate"]);
    assert!(people.code == Some(0) && people.out.contains("0 of 3 letters would fail again"), "{people:?}");
    propose("event.data.n / ");
    assert_eq!(check().code, Some(78), "one that is not valid is told");
    propose("event.data.n / 2");
    for (name, said) in
        [("target.gone", "has no target `gone`; it has aside, copies, halves"), ("target.halves", "is a topic")]
    {
        let target = service.hexafn(&["dlq", "check", name, "-c", "candidate"]);
        assert!(target.code == Some(1) && target.err.contains(said), "{target:?}");
    }
    assert_eq!(letters(&service, "trigger.half").len(), 3, "nothing was settled");
    assert_eq!(events(&service, "halves").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_again_meanwhile_is_not_sent_round_in_a_circle() {
    let service = start();
    given_up(&service, 2).await;
    // One letter at a time, and each is given up again before the next is asked for.
    let told = service.ask(&["dlq", "replay", "trigger.half", "--all", "--rate", "1"]);
    assert_eq!(told["settled"], 2, "{told}");
    idle(&service).await;
    let again = letters_when(&service, "trigger.half", 2).await;
    assert_eq!(again.iter().map(|l| l["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_letters_is_bounded_by_bytes_and_numbers_are_as_they_were() {
    let service = start();
    let numbers = r#""i":123456789012345678901234567890,"d":0.12345678901234567891"#;
    let padding = "x".repeat(900 << 10);
    for n in 1..=10 {
        send(&service, &format!("{{\"n\":{n},\"by\":0,{numbers},\"p\":\"{padding}\"}}")).await;
        // Ten failures in a row would be a quarantine, and so would half of twenty: it is tried twice.
        for _ in 0..3 {
            send(&service, r#"{"n":0,"by":1}"#).await;
        }
        eventually("the letter", async || {
            let summary = service.ask(&["dlq", "list"]);
            (summary[0]["letters"] == n, summary)
        })
        .await;
    }
    let mut from = json!(1);
    let mut pages = Vec::new();
    while pages.iter().sum::<usize>() < 10 {
        let page = answer(client().get(service.url(&format!("/admin/dead/trigger.half?from={from}&limit=1000")))).await;
        let count = page.json["letters"].as_array().unwrap().len();
        assert!(count > 0 && page.text.len() < 9 << 20, "{from}: {count} letters of {} bytes", page.text.len());
        assert_eq!(page.text.matches(numbers).count(), count, "no number is rounded");
        from = page.json["next"].clone();
        pages.push(count);
    }
    assert_eq!(pages.iter().sum::<usize>(), 10, "{pages:?}");
    assert!(pages.len() > 1, "10 letters of 900 KiB are more than 8 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_choice_that_finds_nothing_or_would_go_too_slowly_is_told() {
    let service = start();
    given_up(&service, 3).await;
    let ran = service.hexafn(&["dlq", "replay", "trigger.half", "99"]);
    assert!(ran.code == Some(1) && ran.err.contains("no open dead letter 99 of trigger.half"), "{ran:?}");
    let ran = service.hexafn(&["dlq", "replay", "trigger.half", "--all", "--rate", "0"]);
    assert!(ran.code == Some(2) && ran.err.contains("--rate"), "{ran:?}");
    for args in [&["drop", "trigger.half", "--all"][..], &["replay", "trigger.half", "2"], &["list", "trigger.half"]] {
        let ran = service.hexafn(&[&["dlq"], args, &["--limit", "0"]].concat());
        assert!(ran.code == Some(2) && ran.err.contains("--limit") && ran.out.is_empty(), "{ran:?}");
        assert!(ran.err.contains("1 or more letters"), "{ran:?}");
    }
    let ran = service.hexafn(&["dlq", "list", "--filter", "event.data.n > 1"]);
    assert!(ran.code == Some(2) && ran.err.to_lowercase().contains("subscription"), "{ran:?}");
    let ran = service.hexafn(&["dlq", "list", "trigger.half", "--filter", "event.datta"]);
    assert!(ran.code == Some(1) && ran.err.lines().count() > 3 && !ran.err.contains("u{a}"), "{}", ran.err);

    let url = service.url("/admin/dead/trigger.half/replay");
    let all = vec![1; 61];
    for (body, code) in [
        (json!({ "rate": 0 }), "rate-invalid"),
        (json!({ "rate": 1, "limit": 61 }), "limit-invalid"),
        (json!({ "rate": 1, "seqs": all }), "limit-invalid"),
        (json!({ "rate": 1, "limit": 0 }), "limit-invalid"),
    ] {
        let (status, problem) = post(&url, &[], &body.to_string()).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{body}: {problem}");
    }
    assert_eq!(letters(&service, "trigger.half").len(), 3, "nothing was settled");
    repair(&service);
    let began = std::time::Instant::now();
    let (status, told) = post(&url, &[], &json!({ "rate": 1, "seqs": [1, 2, 8] }).to_string()).await;
    assert_eq!((status, told), (200, json!({ "settled": 2, "left": 1, "next": 4, "absent": [8] })));
    assert!(began.elapsed() >= std::time::Duration::from_millis(1_900), "{:?}", began.elapsed());
    let (status, told) = post(&url, &[], &json!({ "rate": 500 }).to_string()).await;
    assert_eq!((status, &told["settled"], &told["left"]), (200, &json!(1), &json!(0)), "{told}");
    assert_eq!(post(&service.url("/admin/dead/trigger.half/drop"), &[], r#"{"rate":1}"#).await.0, 400);
    idle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_not_deployed_is_tried_on_letters_that_a_target_could_not_send() {
    let target = "\n[[target]]\nname = \"shout\"\nkind = \"http\"\nurl = \"http://127.0.0.1:9/${event.data.n + 0}\"\n\
                  \n[[trigger]]\nname = \"shout\"\non = \"in\"\nto = [\"shout\"]\n";
    let scenario = Scenario::new("dead").receiver("http://127.0.0.1:9").file("shout.toml", target);
    let service = scenario.start();
    send(&service, r#"{"n":"one","by":1}"#).await;
    send(&service, r#"{"n":"two","by":1}"#).await;
    let given_up = letters_when(&service, "target.shout", 2).await;
    assert!(given_up[0]["cause"].as_str().unwrap().starts_with("template"), "{given_up:?}");
    let candidate = service.path("candidate");
    std::fs::create_dir(&candidate).unwrap();
    std::fs::write(candidate.join("hexafn.toml"), service.scenario.text()).unwrap();
    let check = |path: &str| {
        std::fs::write(candidate.join("shout.toml"), target.replace("${event.data.n + 0}", path)).unwrap();
        service.hexafn(&["-o", "json", "dlq", "check", "target.shout", "--config", "candidate"])
    };
    let same = check("${event.data.n + 0}");
    let told: Value = serde_json::from_str(&same.out).unwrap();
    assert_eq!((same.code, &told["failed"], &told["letters"][0]["outcome"]), (Some(1), &json!(2), &json!("failed")));
    assert!(told["letters"][1]["error"].as_str().unwrap().contains("url"), "{told}");
    let right = check("${event.data.n}");
    let told: Value = serde_json::from_str(&right.out).unwrap();
    let first = json!({ "seq": 1, "outcome": "sendable", "destination": "POST http://127.0.0.1:9/one", "error": null });
    assert_eq!((right.code, &told["failed"], &told["letters"][0]), (Some(0), &json!(0), &first), "{told}");
    let people = service.hexafn(&["dlq", "check", "target.shout", "-c", "candidate"]);
    assert!(
        people.out.contains("0 of 2 letters would fail again") && people.out.contains("only an attempt"),
        "{people:?}"
    );
    assert_eq!(letters(&service, "target.shout").len(), 2, "nothing was settled");

    // As a replay sends it: bytes as they are, without data where there is none, and without what the candidate redacts.
    let bytes = service.path("bytes");
    std::fs::write(&bytes, [0xff; 30]).unwrap();
    for data in [format!("@{}", bytes.display()), String::new()] {
        service.ask(&["publish", "in", "--data", &data, "--content-type", "application/octet-stream"]);
    }
    letters_when(&service, "target.shout", 4).await;
    let told: Value = serde_json::from_str(&check("${len(event.data)}").out).unwrap();
    let ends: Vec<&str> = (0..4).map(|at| told["letters"][at]["destination"].as_str().unwrap_or_default()).collect();
    assert_eq!(ends[2], "POST http://127.0.0.1:9/40", "thirty bytes are forty characters of Base64: {told}");
    assert_ne!(ends[3], "POST http://127.0.0.1:9/4", "no data is not `null`: {told}");
    let veiled = target
        .replace("${event.data.n + 0}", "${event.data.n}")
        .replace("kind = \"http\"", "kind = \"http\"\nredact = { paths = [\"n\"], with = \"veil\" }");
    std::fs::write(candidate.join("shout.toml"), veiled).unwrap();
    let told = service.hexafn(&["-o", "json", "dlq", "check", "target.shout", "--config", "candidate"]).out;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["letters"][0]["destination"], "POST http://127.0.0.1:9/veil", "{told}");
}
