//! Where an event may take a request: to nowhere but its place in the URL.

use super::*;

#[tokio::test]
async fn an_event_stays_where_the_url_puts_it() {
    let server = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let base = format!("http://{}", server.address);
    let encoded = target(&format!("{base}/t/${{url_encode(event.data.v)}}/hook"), "");
    let raw = target(&format!("{base}/t/${{event.data.v}}"), "");
    let query = target(&format!("{base}/t?of=${{event.data.v}}"), "");
    let whole = target("${event.data.v}", "");
    let batched = target(&format!("{base}/t/${{url_encode(event.data.v)}}"), "batch = { max_records = 10 }");
    let of = |value: &str| serde_json::json!({ "v": value }).to_string();
    let elsewhere = format!("{base}/a/../b");
    for (target, value) in [
        (&encoded, ".."),
        (&encoded, "."),
        (&batched, ".."),
        (&raw, "../../etc/x"),
        (&raw, "a/./b"),
        (&raw, "%2e%2E/x"),
        (&raw, ".%2E"),
        (&raw, "%2e./x"),
        (&raw, "%2E"),
        (&raw, ".. "),
        (&raw, "..?x=1"),
        (&raw, "..#x"),
        (&raw, "..\\x"),
        (&raw, "a\\..\\b"),
        (&whole, &elsewhere),
    ] {
        let record = record(&of(value));
        let delivery = Delivery { record: &record, attempt: 1, now: NOW };
        let previewed = target.preview(delivery).expect_err(value);
        let outcome = match target.mode() {
            Mode::Each { .. } => attempt(&**target, delivery).await,
            Mode::Batch { .. } => target.deliver_batch(&[Arc::clone(&record)], NOW).await.remove(0),
        };
        let Outcome::Failed(failure) = outcome else { panic!("`{value}` was sent") };
        for failure in [failure, previewed] {
            assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{failure:?}");
            assert!(failure.message.starts_with("`url` of the target"), "{failure:?}");
        }
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    // What has dots in it, and what is not about the path.
    for (target, value, path) in [
        (&encoded, "...", "/t/.../hook"),
        (&encoded, "..a", "/t/..a/hook"),
        (&encoded, "a\\..", "/t/a%5C../hook"),
        (&raw, ".well-known/x.y", "/t/.well-known/x.y"),
        (&query, "../..", "/t?of=../.."),
    ] {
        let outcome = send(&**target, &of(value)).await;
        assert!(outcome.is_delivered(), "{value}: {outcome:?}");
        assert!(server.request().starts_with(&format!("POST {path} ")), "{value}: {}", server.request());
    }
    // What the operator writes is the operator's.
    assert!(send(&*target(&format!("{base}/a/../b"), ""), "{}").await.is_delivered());
    assert!(server.request().starts_with("POST /b "), "{}", server.request());
}

/// The URL that an event gives, or `None` where it is a dead letter by the event.
fn url_for(url: &str, event: &str) -> Option<String> {
    let target = build(&format!("name = \"t\"\nkind = \"http\"\nurl = \"{url}\"")).unwrap();
    let record = record(event);
    match target.preview(Delivery { record: &record, attempt: 1, now: NOW }) {
        Ok(preview) => Some(preview.destination.replace("POST ", "")),
        Err(failure) => {
            assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{failure:?}");
            None
        }
    }
}

#[test]
fn an_event_adds_to_a_host_but_what_a_name_consists_of() {
    let within = "https://${event.data.v}.example.com/hook";
    let rest = "https://api.example.com${event.data.v}";
    let before_query = "https://api.example.com${event.data.v}?a=1";
    let before_path = "https://api.example.com${event.data.v}/hook";
    let host = "https://${event.data.v}/hook";
    for (url, value, expected) in [
        (within, "a.b-c_d", Some("https://a.b-c_d.example.com/hook")),
        (within, "EU", Some("https://eu.example.com/hook")),
        (within, "bücher", Some("https://xn--bcher-kva.example.com/hook")),
        (within, "203.0.114.9:18361/?", None),
        (within, "evil.example/?", None),
        (within, "evil.example#", None),
        (within, "a.example.com/admin?", None),
        (within, "evil.example\\\\", None),
        (within, "user@", None),
        (within, "a:80", None),
        (within, "evil.example%2f", None),
        (within, "a b", None),
        ("https://${event.data.v}.Example.COM/", "a", Some("https://a.example.com/")),
        ("https://${event.data.v}.example.com", "a", Some("https://a.example.com/")),
        ("https://${event.data.v}.example.com", "a.example.com/x", None),
        ("https://${event.data.v}.example.com:8443/x", "a", Some("https://a.example.com:8443/x")),
        ("https://${event.data.v}.bücher.example/", "a", Some("https://a.xn--bcher-kva.example/")),
        ("https://a.${event.data.v}.example.com?x=1", "b", Some("https://a.b.example.com/?x=1")),
        (rest, "/orders?x=1", Some("https://api.example.com/orders?x=1")),
        (rest, "", Some("https://api.example.com/")),
        (rest, "?x=1", Some("https://api.example.com/?x=1")),
        (rest, ".evil.example/", None),
        (rest, ".evil.example", None),
        (rest, ":18361/steal", None),
        (rest, "@evil.example/", None),
        ("https://api.example.com:8443${event.data.v}", "/x", Some("https://api.example.com:8443/x")),
        ("https://api.example.com:8443${event.data.v}", "1/x", None),
        ("https://api.example.com:${event.data.v}", "8443/x", Some("https://api.example.com:8443/x")),
        ("https://api.example.com:${event.data.v}", "8443@evil.example/", None),
        ("https://[2606:4700::1111]${event.data.v}", "/x", Some("https://[2606:4700::1111]/x")),
        ("https://[2606:4700::1111]${event.data.v}", ".evil.example/x", None),
        ("https://[2606:4700::1111]:${event.data.v}/x", "8443", Some("https://[2606:4700::1111]:8443/x")),
        (before_query, "/x", Some("https://api.example.com/x?a=1")),
        (before_query, "", Some("https://api.example.com/?a=1")),
        (before_query, ".evil.example", None),
        (before_path, "/v1", Some("https://api.example.com/v1/hook")),
        (before_path, ".eu", Some("https://api.example.com.eu/hook")),
        (before_path, ":80", None),
        ("https://api.${event.data.v}", "example.com/x", Some("https://api.example.com/x")),
        ("https://api.${event.data.v}/x", "example.com", Some("https://api.example.com/x")),
        // Where the setting writes nothing of it, the whole host is of the event.
        (host, "a.example:8443", Some("https://a.example:8443/hook")),
        (host, "[2606:4700::1111]:8443", Some("https://[2606:4700::1111]:8443/hook")),
        (host, "a.example/x?", None),
        (host, "a.example?", None),
        (host, "", None),
        (host, "user@a.example", None),
        ("https://${event.data.v}", "a.example:8443/x", Some("https://a.example:8443/x")),
        ("https://${event.data.v}:8443/x", "a.example", Some("https://a.example:8443/x")),
        ("https://${event.data.v}:8443/x", "a.example/?", None),
        ("${event.data.v}://api.example.com/x", "https", Some("https://api.example.com/x")),
        ("${event.data.v}://api.example.com/x", "https://evil.example/?", None),
        ("${event.data.v}", "https://a.example:8443/x", Some("https://a.example:8443/x")),
        (
            "${event.data.v}/x?to=http://b.example/",
            "https://a.example",
            Some("https://a.example/x?to=http://b.example/"),
        ),
        // A brace of an expression, and a text that is none.
        ("https://${ { 'a/b': event.data.v }['a/b'] }.example.com/", "a", Some("https://a.example.com/")),
        ("https://example.com/$${x}/${event.data.v}", "a", Some("https://example.com/$%7Bx%7D/a")),
    ] {
        let event = format!("{{\"v\":\"{value}\"}}");
        assert_eq!(url_for(url, &event).as_deref(), expected, "{url}, {value}");
    }
}

#[test]
fn secrets_that_go_where_an_event_or_everybody_on_the_way_gets_them() {
    let bearer = "auth = { kind = \"bearer\", access_token = \"env:TOKEN\" }";
    let oauth = "auth = { kind = \"oauth2\", token_url = \"http://login.example.com/\", client_id = \"c\", secret = \"env:TOKEN\" }";
    let (header, sign) = ("headers = { x = \"env:TOKEN\" }", "sign = { secrets = [\"env:SIGN\"] }");
    let networks = "allow_networks = [\"10.0.0.0/8\"]";
    let proxy = "proxy = \"http://proxy.example.com:3128\"";
    for (url, more, expected) in [
        ("https://${event.data.v}/x", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://${event.data.v}/x", [header, ""], vec![("url", "what `headers` sends")]),
        ("https://${event.data.v}/x", [sign, ""], vec![("url", "what `sign` sends")]),
        ("https://${event.data.v}/x", ["", ""], vec![]),
        ("${event.data.v}", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://api.${event.data.v}", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://${event.data.v}example.com/", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://${event.data.v}:8443/", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://api.example.com${event.data.v}/x", [bearer, ""], vec![("url", "an event chooses the host")]),
        ("https://api.example.com${event.data.v}", [bearer, ""], vec![]),
        ("https://${event.data.v}.example.com:8443/", [bearer, ""], vec![]),
        ("https://api.example.com/${event.data.v}", [bearer, ""], vec![]),
        ("http://api.example.com/", [bearer, ""], vec![("url", "the secret of `auth`: begin it with `https://`")]),
        ("http://api.example.com/${event.id}", [header, ""], vec![("url", "the secret of `headers`")]),
        ("http://api.example.com/", [sign, ""], vec![]),
        ("http://api.example.com/", [bearer, networks], vec![]),
        ("http://api.example.com/", [bearer, proxy], vec![]),
        ("http://10.1.1.1/", [bearer, networks], vec![]),
        ("http://9.9.9.9/", [bearer, networks], vec![("url", "without TLS")]),
        ("https://api.example.com/", [bearer, ""], vec![]),
        ("https://api.example.com/", [oauth, ""], vec![("auth.token_url", "without TLS")]),
    ] {
        let target =
            build(&format!("name = \"t\"\nkind = \"http\"\nurl = \"{url}\"\n{}\n{}", more[0], more[1])).unwrap();
        let warnings = target.warnings();
        let right = warnings.len() == expected.len()
            && warnings
                .iter()
                .zip(&expected)
                .all(|(told, expected)| told.0 == expected.0 && told.1.contains(expected.1));
        assert!(right, "{url}, {more:?}: {warnings:?}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_let_through_is_not_folded(text in r"[./\\%2eEa ?#]{0,12}") {
        let text = format!("http://h/t/{text}");
        if settings::stays_in_place(&text).is_ok() {
            let written = text.trim().split(['?', '#']).next().unwrap();
            let parsed = url::Url::parse(&text).unwrap();
            assert_eq!(parsed.path().split('/').count(), written.split('/').count() - 2, "{text}: {parsed}");
        }
    }

    #[test]
    fn the_host_stays_the_one_that_is_written(v in r"[a-zA-Z0-9./:?#@%\\\[\] ü_\t-]{0,12}|\PC{0,6}") {
        let event = serde_json::json!({ "v": v }).to_string();
        for (url, end) in [
            ("https://${event.data.v}.example.com/hook", ".example.com/hook"),
            ("https://${event.data.v}.example.com", ".example.com/"),
        ] {
            if let Some(url) = url_for(url, &event) {
                let parsed = url::Url::parse(&url).unwrap();
                let place = format!("{}{}", parsed.host_str().unwrap(), parsed.path());
                assert!(place.ends_with(end) && (parsed.port(), parsed.query()) == (None, None), "{url}");
            }
        }
        if let Some(url) = url_for("https://api.example.com${event.data.v}", &event) {
            let parsed = url::Url::parse(&url).unwrap();
            assert_eq!((parsed.host_str(), parsed.port()), (Some("api.example.com"), None), "{url}");
        }
    }
}
