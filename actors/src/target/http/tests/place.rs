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
}
