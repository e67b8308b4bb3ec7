//! Who gets in: tokens and their scopes, strangers, foreign hosts and pages, tickets of live streams.

use super::sender::{answer, client, get, post};
use super::service::{Scenario, Service};
use super::watch::Live;
use std::net::IpAddr;

/// A new token: its text, and what goes into the configuration.
pub fn token(name: &str, more: &[&str]) -> (String, String) {
    let made = Scenario::empty().run(&[&["token", "new", name], more].concat());
    assert_eq!(made.code, Some(0), "{}", made.err);
    let text = made.err.lines().find(|l| l.starts_with("hxf_")).expect("the token is told, once");
    assert!(!made.out.contains(text), "what is stored is the hash");
    (text.to_owned(), made.out)
}

/// A request with a token, or without; status and code.
async fn ask(service: &Service, token: Option<&str>, method: &str, path: &str) -> (u16, String) {
    let request = client().request(method.parse().unwrap(), service.url(path));
    let request = request.header("content-type", "application/json").body("{}");
    let answered = answer(if let Some(token) = token { request.bearer_auth(token) } else { request }).await;
    (answered.status, answered.json["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_its_scopes_say_and_nothing_else() {
    let (narrow, block) = token("narrow", &["--scope", "topics:read:open", "--scope", "events:write:open"]);
    let (old, expired) = token("old", &["--expires", "2020-01-01T00:00:00Z"]);
    // What `token new` prints is appended as it is.
    let scenario = Scenario::new("doors");
    let text = scenario.text();
    let service = scenario.file("hexafn.toml", &format!("{text}{block}{expired}")).start();
    assert_eq!(post(&service.url("/hooks/open"), &[], "{}").await.0, 202, "hooks have their own signatures");
    assert_eq!(get(&service.url("/health/ready")).await.0, 200, "a load balancer has no token");
    for (method, path, status) in [
        ("GET", "/admin/topics/open", 200),
        ("POST", "/admin/topics/open/events", 202),
        ("GET", "/admin/topics/other", 403),
        ("GET", "/admin/topics", 403),
        ("GET", "/admin/triggers", 403),
        ("POST", "/admin/topics/other/events", 403),
        ("DELETE", "/admin/topics/open/events?below=1", 403),
        ("POST", "/admin/reload", 403),
        ("GET", "/metrics", 403),
    ] {
        let (got, code) = ask(&service, Some(&narrow), method, path).await;
        let expected = if status == 403 { "scope-missing" } else { "" };
        assert_eq!((got, &*code), (status, expected), "{method} {path}");
    }
    let refused = answer(client().get(service.url("/admin/topics/other")).bearer_auth(&narrow)).await;
    assert!(refused.json["detail"].as_str().unwrap().contains("topics:read:other"), "the scope is named: {refused:?}");
    assert_eq!(ask(&service, Some(&old), "GET", "/admin/topics/open").await.0, 401, "expired");
    assert_eq!(ask(&service, None, "GET", "/metrics").await.0, 401);

    let bearer = format!("Bearer {narrow}");
    let authorized = [("authorization", &*bearer)];
    assert!(Live::with(&service, "/ws/topics/open", &authorized).await.is_ok());
    assert_eq!(Live::with(&service, "/ws/topics/open", &[]).await.err(), Some(401));
    assert_eq!(Live::with(&service, "/ws/topics/%3E", &authorized).await.err(), Some(403), "all is more than one");
    assert_eq!(Live::with(&service, "/ws/actors", &authorized).await.err(), Some(403));

    std::fs::write(service.path("token"), &narrow).unwrap();
    let with_file = service.hexafn(&["--token-file", "token", "topic", "show", "open"]);
    assert_eq!(with_file.code, Some(0), "{}", with_file.err);
    assert_eq!(service.hexafn(&["topic", "ls"]).code, Some(77));
    let told = service.hexafn(&["--token", &narrow, "topic", "ls"]);
    assert_eq!(told.code, Some(2), "on the command line others could read it in the list of processes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_in_other_letters_and_a_scheme_in_any_case_are_the_same() {
    let (right, block) = token("right", &[]);
    let service = Scenario::new("doors").file("tokens.toml", &block).start();
    for path in ["/%61dmin/simulate", "/admi%6e/topics/open/events?bogus=1", "/%77s/topics/open", "/m%65trics"] {
        let method = if path.contains("simulate") { "POST" } else { "GET" };
        assert_eq!(ask(&service, None, method, path).await, (401, "token-required".to_owned()), "{path}");
    }
    assert_eq!(ask(&service, Some(&right), "GET", "/%61dmin/topics?x=1").await.1, "query-invalid");
    let with = async |header: String| {
        answer(client().get(service.url("/admin/topics")).header("authorization", header)).await.status
    };
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(with(format!("{scheme} {right}")).await, 200, "{scheme}");
    }
    for header in [format!("Basic_ {right}"), format!("Bearer{right}"), right.clone()] {
        assert_eq!(with(header.clone()).await, 401, "{header}");
    }
    let made = answer(client().post(service.url("/admin/tickets")).header("authorization", format!("BEARER {right}")));
    let ticket = made.await.json["ticket"].as_str().unwrap().to_owned();
    assert!(Live::with(&service, &format!("/ws/actors?ticket={ticket}"), &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_told_to_whoever_may_list_them() {
    let (narrow, narrow_block) = token("narrow", &["--scope", "*:*:zz.*"]);
    let (all, all_block) = token("all", &["--scope", "*:read:*"]);
    let service = Scenario::new("topics").file("tokens.toml", &format!("{narrow_block}{all_block}")).start();
    for (kind, path) in [
        ("topic", "/admin/topics/zz.none"),
        ("topic", "/ws/topics/zz.none"),
        ("trigger", "/admin/triggers/zz.none"),
        ("function", "/admin/functions/zz.none"),
        ("target", "/admin/targets/zz.none"),
        ("target", "/ws/targets/zz.none"),
        ("subscription", "/admin/subscriptions/zz.none"),
        ("subscription", "/admin/dead/zz.none"),
    ] {
        let asked = |token: &str| answer(client().get(service.url(path)).bearer_auth(token));
        let told = asked(&narrow).await;
        let (detail, code) = (format!("there is no {kind} `zz.none`"), format!("{kind}-unknown"));
        assert_eq!((told.problem(), &told.json["detail"]), ((404, Some(&*code)), &detail.clone().into()), "{path}");
        let told = asked(&all).await;
        let more = told.json["detail"].as_str().unwrap().strip_prefix(&detail).unwrap_or_default();
        assert!(told.status == 404 && more.starts_with("; there "), "{path}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_a_reload_takes_away_is_refused_and_its_stream_ends() {
    let ((leaves, leaving), (stays, staying)) = (token("leaves", &[]), token("stays", &[]));
    let service = Scenario::new("doors").file("tokens.toml", &format!("{leaving}{staying}")).start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    let bearer = format!("Bearer {leaves}");
    let mut stream = Live::with(&service, "/ws/topics/open", &[("authorization", &bearer)]).await.unwrap();
    service.configure("tokens.toml", &staying);
    assert_eq!(ask(&service, Some(&stays), "POST", "/admin/reload").await.0, 200);
    let began = std::time::Instant::now();
    assert_eq!(stream.closed().await, 1008);
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ask(&service, Some(&leaves), "GET", "/admin/topics").await.0, 401);
    assert_eq!(ask(&service, Some(&stays), "GET", "/admin/topics").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_last_token_does_not_leave_its_stream_open() {
    let (last, block) = token("last", &[]);
    let service = Scenario::new("doors").file("tokens.toml", &block).start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    let bearer = format!("Bearer {last}");
    let mut stream = Live::with(&service, "/ws/topics/open", &[("authorization", &bearer)]).await.unwrap();
    service.configure("tokens.toml", "");
    let reloaded = answer(client().post(service.url("/admin/reload")).bearer_auth(&last)).await;
    assert_eq!(reloaded.status, 200);
    assert!(reloaded.text.contains("token"), "whoever revokes it is told that the API is open now: {reloaded:?}");
    assert_eq!(stream.closed().await, 1008, "it was revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_tokens_is_stopped_after_ten() {
    let (right, block) = token("right", &[]);
    let service = Scenario::new("doors").file("tokens.toml", &block).start();
    assert_eq!(ask(&service, Some(&right), "GET", "/admin/topics").await.0, 200);
    for guess in 0..10 {
        assert_eq!(ask(&service, Some(&format!("hxf_{guess}")), "GET", "/admin/topics").await.0, 401);
    }
    let stopped = answer(client().get(service.url("/admin/topics")).bearer_auth("hxf_10")).await;
    assert_eq!(stopped.problem(), (429, Some("too-many-failures")), "{stopped:?}");
    assert!(stopped.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok_and(|s| (1..=60).contains(&s))));
    // Others share the address with whoever guesses, behind a proxy for one: the right token is no guess, and neither is none.
    assert_eq!(ask(&service, Some(&right), "GET", "/admin/topics").await.0, 200);
    assert_eq!(ask(&service, None, "GET", "/admin/topics").await, (401, "token-required".to_owned()));
    for command in [&["topic", "ls"][..], &["tail", "open"]] {
        let ran = service.hexafn_with(&[("HEXAFN_TOKEN", "hxf_10")], command);
        assert!(ran.code == Some(77) && ran.err.contains("too-many-failures"), "{command:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_while_its_token_asks_too_often() {
    let (busy, block) = token("busy", &[]);
    let limits = "[server.limits]\ntoken_rate = 1\n";
    let service = Scenario::new("doors").file("tokens.toml", &block).file("limits.toml", limits).start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    let bearer = format!("Bearer {busy}");
    let mut stream = Live::with(&service, "/ws/topics/open?from=all", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(stream.json().await["seq"], 1);
    // Over the time in which the token of a stream is looked at again more than once.
    let (began, mut refused) = (std::time::Instant::now(), 0);
    while began.elapsed() < std::time::Duration::from_secs(5) {
        refused += u32::from(ask(&service, Some(&busy), "GET", "/admin/topics").await.0 == 429);
    }
    assert!(refused > 0, "the token is busy");
    post(&service.url("/hooks/open"), &[], "{}").await;
    assert_eq!(stream.json().await["seq"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_may_be_a_pattern_and_what_is_no_scope_is_refused_everywhere() {
    let (some, block) = token("some", &["--scope", "topics:read:open.>", "--scope", "events:write:open.*"]);
    let scenario = Scenario::new("doors").file("tokens.toml", &block);
    assert_eq!(scenario.run(&["check", "--config", "cfg"]).code, Some(0), "what `token new` prints is taken");
    let service = scenario.start();
    for (method, path, status) in [
        ("POST", "/admin/topics/open.eu/events", 202),
        ("POST", "/admin/topics/open.eu.paid/events", 403),
        ("POST", "/admin/topics/other/events", 403),
        ("GET", "/admin/topics/open.eu", 200),
        ("GET", "/admin/topics/open", 403),
        ("GET", "/admin/topics", 403),
    ] {
        assert_eq!(ask(&service, Some(&some), method, path).await.0, status, "{method} {path}");
    }
    let bearer = format!("Bearer {some}");
    let authorized = [("authorization", &*bearer)];
    for (path, refused) in [
        ("open.*?from=all", None),
        ("open.%3E?from=all", None),
        ("open.eu?from=all", None),
        ("%3E", Some(403)),
        ("*", Some(403)),
    ] {
        let stream = Live::with(&service, &format!("/ws/topics/{path}"), &authorized).await;
        assert_eq!(stream.err(), refused, "{path}");
    }
    for (scope, told) in [("topics:raed:*", "`raed` is not a verb"), ("topic:read:*", "did you mean `topics`")] {
        let made = Scenario::empty().run(&["token", "new", "x", "--scope", scope]);
        assert!(made.code == Some(2) && made.err.contains(told), "{made:?}");
        let wrong = block.replace("topics:read:open.>", scope);
        service.configure("tokens.toml", &wrong);
        let checked = service.scenario.run(&["check", "--config", "cfg"]);
        assert!(checked.code == Some(78) && checked.err.contains(told), "{checked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_learn_nothing_from_any_operation() {
    let limits = "[server.limits]\nmax_body = \"4KiB\"\n";
    let service =
        Scenario::new("doors").file("tokens.toml", &token("somebody", &[]).1).file("limits.toml", limits).start();
    // The document describes the API, and holds nothing of this service.
    let (status, document) = get(&service.url("/admin/openapi.json")).await;
    assert_eq!(status, 200, "{document}");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["x-scope"].is_null() {
                continue;
            }
            asked += 1;
            // An address of its own for each: ten failures of one are answered 429.
            let stranger = IpAddr::from([127, 0, 1, asked]);
            let client = reqwest::Client::builder().no_proxy().local_address(stranger).build().unwrap();
            let path = path.replace("{name}", "open").replace("{pattern}", "open").replace("{act}", "enable");
            let url = service.url(&format!("{}?nonsense=1", path.replace("{id}", "x")));
            let request = client.request(method.to_uppercase().parse().unwrap(), url);
            let answered = answer(request.header("content-type", "application/json").body("{")).await;
            assert_eq!(answered.problem(), (401, Some("token-required")), "{method} {path}: {answered:?}");
        }
    }
    assert!(asked > 20, "{asked}");
    // Nor by what is too large, or not there.
    let stranger = |last| {
        let from = IpAddr::from([127, 0, 2, last]);
        reqwest::Client::builder().no_proxy().local_address(from).build().unwrap()
    };
    let large = stranger(1).post(service.url("/admin/simulate")).header("content-type", "application/json");
    assert_eq!(answer(large.body("x".repeat(5 << 10))).await.status, 401);
    assert_eq!(answer(stranger(2).get(service.url("/admin/nothing"))).await.status, 401);
    assert_eq!(answer(stranger(3).put(service.url("/admin/topics"))).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_hosts_and_pages_and_tokens_in_the_query_are_refused() {
    let service = Scenario::new("doors").start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    let refused = [
        ("host", "evil.example", 421, "host-unknown"),
        ("origin", "https://evil.example", 403, "origin-unknown"),
        ("origin", "null", 403, "origin-unknown"),
    ];
    for (header, value, status, code) in refused {
        let answered = answer(client().get(service.url("/admin/topics")).header(header, value)).await;
        assert_eq!(answered.problem(), (status, Some(code)), "{header}: {value}");
        for path in ["/ws/topics/open", "/ws/actors"] {
            assert_eq!(Live::with(&service, path, &[(header, value)]).await.err(), Some(status), "{path} {header}");
        }
    }
    for name in ["token", "access_token"] {
        let (status, problem) = get(&service.url(&format!("/admin/topics?{name}=x"))).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("token-in-query")));
        assert_eq!(Live::with(&service, &format!("/ws/actors?{name}=x"), &[]).await.err(), Some(400));
    }
    let own = service.base.clone();
    assert!(Live::with(&service, "/ws/topics/open", &[("origin", &own)]).await.is_ok(), "its own page may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_one_stream_once() {
    let (owner, block) = token("owner", &[]);
    let service = Scenario::new("doors").file("tokens.toml", &block).start();
    post(&service.url("/hooks/open"), &[], "{}").await;
    assert_eq!(ask(&service, None, "POST", "/admin/tickets").await.0, 401);
    let ticket = answer(client().post(service.url("/admin/tickets")).bearer_auth(&owner)).await;
    assert_eq!(ticket.status, 201, "{ticket:?}");
    let path = format!("/ws/topics/open?from=all&ticket={}", ticket.json["ticket"].as_str().unwrap());
    assert_eq!(Live::open(&service, &path).await.json().await["topic"], "open");
    assert_eq!(Live::with(&service, &path, &[]).await.err(), Some(401), "a ticket is used once");
    // Any token has one; what it opens is what the token may see.
    let (lines, limited) = token("lines", &["--scope", "logs:read:*"]);
    service.configure("tokens.toml", &format!("{block}{limited}"));
    assert_eq!(ask(&service, Some(&owner), "POST", "/admin/reload").await.0, 200);
    for (path, refused) in [("/ws/logs?level=error", None), ("/ws/topics/open", Some(403)), ("/ws/actors", Some(403))] {
        let ticket = answer(client().post(service.url("/admin/tickets")).bearer_auth(&lines)).await;
        assert_eq!(ticket.status, 201, "{ticket:?}");
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}ticket={}", ticket.json["ticket"].as_str().unwrap());
        assert_eq!(Live::with(&service, &path, &[]).await.err(), refused, "{path}");
    }
    let forged = "/ws/topics/open?ticket=0123456789";
    assert_eq!(Live::with(&service, forged, &[]).await.err(), Some(401));
}
