//! The console: what is served to whom, and the page in a real browser.

use super::access::token;
use super::browser::Browser;
use super::receiver::{Answer, Receiver};
use super::sender::{Answered, answer, client, get, post};
use super::service::{Scenario, Service};
use super::watch::eventually;
use serde_json::{Value, json};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What a browser sends with a page that a person asks for.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const HOSTILE: &str = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";

async fn page(service: &Service) -> Answered {
    answer(client().get(service.url("/")).header("accept", BROWSER)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_its_files_come_with_their_policy_and_are_asked_for_once() {
    // With tokens: the page is open, since it holds nothing.
    let (_, block) = token("admin", &[]);
    let service = Scenario::new("doors").file("tokens.toml", &block).start();
    let first = page(&service).await;
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let named = first.text.split(['"', '\'']).filter(|text| text.starts_with('/'));
    let mut files: Vec<String> = named.map(str::to_owned).collect();
    assert!(files.len() >= 3, "{files:?}");
    let main = answer(client().get(service.url("/console/main.js"))).await;
    let modules =
        main.text.split(" from \"./").skip(1).map(|rest| format!("/console/{}", rest.split('"').next().unwrap()));
    files.extend(modules);
    files.push("/".to_owned());
    for path in &files {
        let ask = |method: reqwest::Method| client().request(method, service.url(path)).header("accept", BROWSER);
        let got = answer(ask(reqwest::Method::GET)).await;
        assert_eq!(got.status, 200, "{path}");
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(got.header(name), Some(value), "{path}");
        }
        let media = got.header("content-type").unwrap();
        let known =
            ["text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"];
        assert!(known.contains(&media), "{path}: {media}");
        let tag = got.header("etag").unwrap();
        assert!(tag.starts_with('"'), "{path}: {tag}");
        for known in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let same = answer(ask(reqwest::Method::GET).header("if-none-match", &known)).await;
            assert_eq!((same.status, &*same.text, same.header("etag")), (304, "", Some(tag)), "{path}: {known}");
        }
        let other = answer(ask(reqwest::Method::GET).header("if-none-match", "\"other\"")).await;
        assert_eq!(other.status, 200, "{path}");
        let head = answer(ask(reqwest::Method::HEAD)).await;
        assert_eq!((head.status, &*head.text, head.header("etag")), (200, "", Some(tag)), "{path}");
        assert_eq!(head.header("content-length"), Some(&*got.text.len().to_string()), "{path}");
        let written = answer(ask(reqwest::Method::POST)).await;
        assert_eq!(written.problem(), (405, Some("method-not-allowed")), "{path}");
        let strange = answer(ask(reqwest::Method::GET).header("host", "evil.example.com")).await;
        assert_eq!(strange.problem(), (421, Some("host-unknown")), "{path}");
    }
    let refused = answer(client().post(service.url("/console/main.js"))).await;
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_find_at_the_root_what_they_found_and_what_is_not_there_is_not_found() {
    let service = Scenario::new("doors").start();
    for accept in [None, Some("*/*"), Some("application/json")] {
        let request = client().get(service.url("/"));
        let got = answer(if let Some(accept) = accept { request.header("accept", accept) } else { request }).await;
        assert_eq!((got.status, &got.json["api"]), (200, &json!("/admin/openapi.json")), "{accept:?}");
        assert_eq!(got.header("vary"), Some("Accept"), "a cache in between keeps the page and this apart");
    }
    for path in [
        "/console",
        "/console/",
        "/console/absent.js",
        "/console/index.html",
        "/console/..%2fmain.js",
        "/absent",
        "/index.html",
    ] {
        let got = answer(client().get(service.url(path)).header("accept", BROWSER)).await;
        assert_eq!(got.problem(), (404, Some("not-found")), "{path}: {got:?}");
    }
}

fn node<'g>(graph: &'g Value, id: &str) -> &'g Value {
    let found = graph["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {graph:#}"))
}

fn edges(graph: &Value) -> Vec<(&str, &str, &str, Option<u64>)> {
    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }
    let of = graph["edges"].as_array().unwrap();
    of.iter().map(|e| (text(&e["from"]), text(&e["to"]), text(&e["way"]), e["count"].as_u64())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_counts_what_passes_each_part_and_each_way() {
    let receiver = Receiver::start().await;
    receiver.answer("/bad", Answer::Status(503));
    let service = Scenario::new("console").receiver(&receiver.base).start();
    for n in 0..5 {
        post(&service.url("/hooks/in"), &[], &json!({ "n": n }).to_string()).await;
    }
    post(&service.url("/hooks/in"), &[], &json!({ "n": -1, "text": HOSTILE }).to_string()).await;
    let graph = eventually("all of it is counted", async || {
        let (_, graph) = get(&service.url("/admin/graph")).await;
        let of = |id: &str, what: &str| {
            graph["nodes"].as_array().unwrap().iter().any(|n| n["id"] == id && n["state"] == what)
        };
        let done = node(&graph, "target.good")["count"].as_u64() >= Some(5)
            && of("target.bad", "breaker-open")
            && !node(&graph, "trigger.shout")["last_error"].is_null()
            && node(&graph, "target.bad")["waiting"].as_u64() >= Some(5)
            && node(&graph, "topic.kept")["count"] == 5;
        (done, graph)
    })
    .await;
    assert_eq!((&node(&graph, "source.in")["count"], &node(&graph, "topic.in")["count"]), (&json!(6), &json!(6)));
    assert_eq!(node(&graph, "trigger.off")["state"], "disabled");
    assert_eq!(
        (&node(&graph, "trigger.double")["count"], &node(&graph, "function.double")["count"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(node(&graph, "target.kept")["count"], 5);
    assert!(node(&graph, "trigger.shout")["last_error"].as_str().unwrap().contains("<img src=x"), "{graph:#}");
    assert_eq!(node(&graph, "trigger.shout")["retrying"], 1);
    let bad = node(&graph, "target.bad");
    assert!(bad["failed"].as_u64().unwrap() >= 2, "{bad}");
    assert!(bad["last_error"].as_str().unwrap().contains("503"), "{bad}");
    let edges = edges(&graph);
    for way in [
        ("source.in", "topic.in", "event", Some(6)),
        ("trigger.double", "function.double", "event", Some(5)),
        ("function.double", "function.nothing", "fallback", None),
        ("function.double", "target.good", "event", Some(5)),
        ("function.double", "target.bad", "event", Some(5)),
        ("function.nothing", "target.good", "event", Some(0)),
        ("target.kept", "topic.kept", "event", Some(5)),
        ("trigger.off", "target.kept", "event", Some(0)),
        ("target.bad", "topic.hexafn.outcomes", "told", None),
    ] {
        assert!(edges.contains(&way), "{way:?} is not in {edges:#?}");
    }
    assert!(edges.iter().any(|e| (e.0, e.1) == ("topic.in", "trigger.double") && e.3 >= Some(6)), "{edges:#?}");

    let drawn = service.hexafn(&["graph", "--seconds", "0"]).out;
    assert!(drawn.contains("\"target.bad\" [label=\"target bad\\nbreaker open\""), "{drawn}");
    assert!(
        drawn.contains("\"function.double\" -> \"function.nothing\" [label=\"fallback\", style=dashed]"),
        "{drawn}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_shows_what_the_token_may_read() {
    let receiver = Receiver::start().await;
    let (topics, of_topics) = token("topics", &["--scope", "topics:read:*", "--scope", "targets:read:good"]);
    let (nothing, of_nothing) = token("nothing", &["--scope", "events:write:*"]);
    let service =
        Scenario::new("console").receiver(&receiver.base).file("t.toml", &format!("{of_topics}{of_nothing}")).start();
    let graph = |token: Option<&str>| {
        let request = client().get(service.url("/admin/graph"));
        answer(if let Some(token) = token { request.bearer_auth(token) } else { request })
    };
    assert_eq!(graph(None).await.problem(), (401, Some("token-required")));
    assert_eq!(graph(Some(&nothing)).await.problem(), (403, Some("scope-missing")));
    let seen = graph(Some(&topics)).await;
    let ids: Vec<&str> = seen.json["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["topic.hexafn.outcomes", "topic.in", "topic.kept", "target.good"], "{seen:?}");
    assert_eq!(seen.json["partly_hidden"], json!(["sources", "triggers", "functions", "targets"]));
    assert_eq!(
        edges(&seen.json),
        [("target.good", "topic.hexafn.outcomes", "told", None)],
        "names at the other end are hidden"
    );
    std::fs::write(service.path("token"), &topics).unwrap();
    let drawn = service.hexafn(&["--token-file", "token", "graph", "--seconds", "0"]);
    assert!(drawn.out.contains("topic.kept") && !drawn.out.contains("trigger."), "{}", drawn.out);
    assert!(drawn.err.contains("triggers"), "{}", drawn.err);
}

/// How a part is drawn.
fn card(id: &str) -> String {
    format!("document.querySelector('svg.flow [data-id=\"{id}\"]')")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_and_sees_the_flow_at_work_fail_and_come_back() {
    let receiver = Receiver::start().await;
    receiver.answer("/bad", Answer::Status(503));
    let (right, block) = token("admin", &[]);
    let scenario = Scenario::new("console").receiver(&receiver.base).file("tokens.toml", &block);
    let mut service = scenario.start();
    let mut browser = Browser::open(&service, "/").await;

    browser.shows("#sign-in", "asks for a token").await;
    assert_eq!(browser.value("document.activeElement.id").await, "token", "one can type at once");
    browser.types("hxf_wrong").await;
    browser.press("Enter").await;
    browser.shows("#sign-in-message", "not known here").await;
    assert_eq!(browser.value("sessionStorage.length").await, 0, "what is wrong is not kept");
    browser.types(&right).await;
    browser.press("Enter").await;
    browser.until("the flow is drawn", &format!("{} !== null", card("trigger.double"))).await;
    browser.shows("#link", "Live").await;
    assert_eq!(browser.value("document.getElementById('token').value").await, "");

    // Every part and every way, in columns from left to right.
    let (_, graph) = {
        let answered = answer(client().get(service.url("/admin/graph")).bearer_auth(&right)).await;
        (answered.status, answered.json)
    };
    let drawn =
        browser.value("[...document.querySelectorAll('svg.flow [data-id]')].map((n) => n.dataset.id).sort()").await;
    let mut ids: Vec<&str> = graph["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(drawn, json!(ids));
    let lines = browser.value("document.querySelectorAll('svg.flow path.edge').length").await;
    assert_eq!(lines, graph["edges"].as_array().unwrap().len());
    let lefts = browser
        .value(&format!(
            "[{}].map((card) => card.getBoundingClientRect().left)",
            ["source.in", "topic.in", "trigger.double", "function.double", "target.kept", "topic.kept"]
                .map(card)
                .join(",")
        ))
        .await;
    let lefts: Vec<f64> = lefts.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert!(lefts.is_sorted_by(|a, b| a < b), "{lefts:?}");
    let rows = browser.value("[...document.querySelectorAll('#rows tr')].map((row) => row.dataset.id).sort()").await;
    assert_eq!(rows, json!(ids), "the table has the same");
    assert_eq!(browser.value(&format!("{}.dataset.state", card("trigger.off"))).await, "disabled");
    assert!(browser.text("svg.flow [data-id=\"trigger.off\"] .state").await.contains("disabled"), "in words too");

    // Events: rates, in the picture, at the ways, in the table and in the totals.
    let rated = |id: &str| format!("parseFloat({}.querySelector('.rate').textContent) > 0", card(id));
    let mut n = 0;
    for (what, expression) in [
        ("a rate of the source", rated("source.in")),
        ("a rate of the target", rated("target.good")),
        (
            "a way with a rate",
            "[...document.querySelectorAll('.labels .at')].some((l) => parseFloat(l.textContent) > 0)".to_owned(),
        ),
        (
            "a thicker line",
            "[...document.querySelectorAll('path.edge.live')].some((l) => l.getAttribute('stroke-width') > 1.7)"
                .to_owned(),
        ),
        (
            "a rate in the table",
            "parseFloat(document.querySelector('#rows [data-id=\"source.in\"] td.n').textContent) > 0".to_owned(),
        ),
        ("a total", "parseFloat(document.getElementById('total-in').textContent) > 0".to_owned()),
    ] {
        eventually(what, async || {
            n += 1;
            post(&service.url("/hooks/in"), &[], &json!({ "n": n }).to_string()).await;
            let seen = browser.value(&format!("({expression})")).await;
            (seen == true, seen)
        })
        .await;
    }

    // What fails is told by words and by a sign, and what came from outside is text.
    post(&service.url("/hooks/in"), &[], &json!({ "n": -1, "text": HOSTILE }).to_string()).await;
    browser.until("the breaker is open", &format!("{}.dataset.state === 'breaker-open'", card("target.bad"))).await;
    assert_eq!(browser.text("svg.flow [data-id=\"target.bad\"] .state").await, "breaker open");
    browser
        .until(
            "what waits is told",
            &format!("{}.querySelector('.waits').textContent.includes('waiting')", card("target.bad")),
        )
        .await;
    browser.shows("#rows [data-id=\"target.bad\"]", "breaker open").await;
    browser.shows("#attention", "bad: breaker open").await;
    browser.click("svg.flow [data-id=\"target.bad\"]").await;
    browser.shows("#details", "503").await;
    browser.shows("#details .error", "503").await;
    browser.press("Escape").await;
    browser.until("the details are closed", "!document.getElementById('details').checkVisibility()").await;
    browser
        .until(
            "the error is there",
            &format!("{}.querySelector('title').textContent.includes('<script>')", card("trigger.shout")),
        )
        .await;
    browser.click("#rows [data-id=\"trigger.shout\"] button").await;
    browser.shows("#details .error", HOSTILE).await;
    // By the keyboard: from the source to the topic and on.
    browser.value(&format!("{}.focus()", card("source.in"))).await;
    for _ in 0..2 {
        browser.press("ArrowRight").await;
    }
    assert_eq!(browser.value("document.activeElement.classList.contains('trigger')").await, true);
    browser.value(&format!("{}.focus()", card("trigger.double"))).await;
    browser.press("Enter").await;
    browser.shows("#details h2", "double").await;
    browser.shows("#details", "<img src=x onerror=alert(1)>").await;
    let strange = "document.querySelectorAll('img:not([src=\"/favicon.ico\"]), body script, iframe').length";
    assert_eq!(browser.value(strange).await, 0);
    assert_ne!(browser.value("document.title").await, "taken");

    // The service is killed, and the page goes on by itself.
    service.kill();
    browser.shows("#lost", "Connection lost").await;
    browser.shows("#link", "Lost").await;
    assert_eq!(browser.value(&format!("{}.checkVisibility()", card("target.bad"))).await, true, "what was seen stays");
    service.start_again_there();
    browser.shows("#link", "Live").await;
    browser.until("the message is gone", "!document.getElementById('lost').checkVisibility()").await;
    eventually("rates of the new process", async || {
        post(&service.url("/hooks/in"), &[], r#"{"n":1}"#).await;
        let seen = browser.value(&format!("({})", rated("source.in"))).await;
        (seen == true, seen)
    })
    .await;

    // A token that is taken away leads back.
    let (newer, block) = token("newer", &[]);
    service.configure("tokens.toml", &block);
    let reloaded = answer(client().post(service.url("/admin/reload")).bearer_auth(&right)).await;
    assert!([200, 401].contains(&reloaded.status), "by hand or by the change of the file: {reloaded:?}");
    browser.shows("#sign-in-message", "not valid any more").await;
    assert_eq!(browser.value("sessionStorage.length").await, 0);
    browser.types(&newer).await;
    browser.press("Enter").await;
    browser.shows("#link", "Live").await;
    browser.click("#sign-out").await;
    browser.shows("#sign-in", "Sign in").await;
    assert_eq!(browser.value("sessionStorage.length").await, 0);

    assert_eq!(browser.faults().await, Vec::<String>::new());
    for url in browser.asked() {
        assert!(url.starts_with(&service.base), "nothing is asked of others: {url}");
        assert!(
            !url.contains(&right) && !url.contains(&newer) && !url.contains("hxf_"),
            "no token in an address: {url}"
        );
    }
    // The control: what the policy refuses is noticed by this test.
    browser.value("document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = \"taken\"' }))").await;
    assert!(!browser.faults().await.is_empty());
    assert_ne!(browser.value("document.title").await, "taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_nobody_signs_in_and_an_empty_flow_says_how_to_begin() {
    let service = Scenario::empty_config().file("hexafn.toml", "# Nothing yet.\n").start();
    let mut browser = Browser::open(&service, "/").await;
    browser.shows("#empty", "Nothing is configured").await;
    assert_eq!(browser.value("document.getElementById('sign-in').checkVisibility()").await, false);
    assert_eq!(browser.value("document.getElementById('sign-out').checkVisibility()").await, false);

    // A flow that is loaded later shows by itself. What is narrow reads the table.
    let flow = "[[source]]\nname = \"in\"\nkind = \"webhook\"\ntopic = \"in\"\nverify = { scheme = \"none\" }\n\
                [[trigger]]\nname = \"on\"\non = \"in\"\nto = [\"out\"]\n[[target]]\nname = \"out\"\nkind = \"topic\"\n";
    service.configure("flow.toml", flow);
    assert_eq!(service.hexafn(&["reload"]).code, Some(0));
    browser.until("the flow is drawn", &format!("{}?.checkVisibility()", card("trigger.on"))).await;
    browser
        .ask(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": false }),
        )
        .await;
    browser.until("the table is what is left", &format!("!{}.checkVisibility()", card("trigger.on"))).await;
    browser.shows("#rows [data-id=\"trigger.on\"]", "running").await;
    let wide = browser.value("document.documentElement.scrollWidth - innerWidth").await;
    assert_eq!(wide, 0, "nothing but the table scrolls sideways");

    // Nobody looks: nobody asks.
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    let looks = |browser: &Browser| browser.asked().iter().filter(|url| url.ends_with("/admin/graph")).count();
    // What the page has set itself to do later.
    let later = "globalThis.later = new Set(); const [set, clear] = [setTimeout, clearTimeout]; \
                 globalThis.setTimeout = (f, ms) => { const id = set(() => { later.delete(id); f(); }, ms); later.add(id); return id; }; \
                 globalThis.clearTimeout = (id) => { later.delete(id); clear(id); };";
    browser.value(later).await;
    browser.until("it means to look again", "later.size > 0").await;
    browser.value(&hide(true)).await;
    assert_eq!(browser.value("later.size").await, 0);
    let before = looks(&browser);
    browser.value(&hide(false)).await;
    eventually("it looks again", async || {
        browser.value("1").await;
        (looks(&browser) > before, looks(&browser))
    })
    .await;
    assert_eq!(browser.faults().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_token_shows_what_it_may_and_says_what_is_missing() {
    let receiver = Receiver::start().await;
    let (narrow, of_narrow) = token("narrow", &["--scope", "topics:read:*", "--scope", "triggers:read:double"]);
    let (nothing, of_nothing) = token("nothing", &["--scope", "events:write:*"]);
    let service =
        Scenario::new("console").receiver(&receiver.base).file("t.toml", &format!("{of_narrow}{of_nothing}")).start();
    let mut browser = Browser::open(&service, "/").await;
    browser.shows("#sign-in", "Sign in").await;
    browser.types(&nothing).await;
    browser.click("#sign-in-form button").await;
    browser.shows("#sign-in-message", "topics:read:*").await;
    browser.types(&narrow).await;
    browser.click("#sign-in-form button").await;
    browser.until("what it may see", &format!("{}?.checkVisibility()", card("trigger.double"))).await;
    browser.shows("#hidden-parts", "may not read all sources, triggers, functions, targets").await;
    assert_eq!(browser.value(&format!("{} === null", card("trigger.off"))).await, true);
    // The session lasts as long as the tab.
    browser.go(&service.url("/")).await;
    browser.until("still signed in", &format!("{}?.checkVisibility()", card("trigger.double"))).await;

    // Parts are found by words.
    browser.value("document.getElementById('find').focus()").await;
    browser.types("trigger").await;
    browser.shows("#found", "1 of").await;
    assert_eq!(browser.value(&format!("{}.classList.contains('dim')", card("topic.in"))).await, true);
    assert_eq!(browser.faults().await, Vec::<String>::new());
}
