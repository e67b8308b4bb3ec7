//! Endpoints that give no token.

use super::*;

#[tokio::test]
async fn what_a_token_endpoint_does_is_told_of_it_and_not_of_the_target() {
    let receiver = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let refusal = "{\"error\":\"invalid_client\"}";
    let refusal = format!(
        "HTTP/1.1 400 X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{refusal}",
        refusal.len()
    );
    for (answer, class, said) in [
        (Answer::Hang(""), FailureClass::Timeout, "did not answer within 150ms (`timeout` of the target)"),
        (Answer::Drip, FailureClass::Timeout, "did not answer within 150ms"),
        (Answer::Cut(String::new()), FailureClass::Protocol, "did not answer in HTTP"),
        (Answer::Text(refusal), FailureClass::Status(400), "answered `invalid_client`; check `auth`"),
    ] {
        let endpoint = Server::start(answer).await;
        let auth = format!(
            "auth = {{ kind = \"oauth2\", token_url = \"http://{}/token\", client_id = \"c\", secret = \"env:SIGN\" }}",
            endpoint.address
        );
        let failure = fail(&receiver, &format!("{auth}\ntimeout = \"150ms\"")).await;
        assert_eq!((failure.class, failure.verdict), (class, Verdict::Retry), "{failure:?}");
        let begin = format!("no access token: the token endpoint `{}` {said}", endpoint.address);
        assert!(failure.message.starts_with(&begin), "`{begin}` does not begin {failure:?}");
        assert_eq!((failure.detail.sent, failure.detail.status, failure.detail.remote), (0, None, None), "{failure:?}");

        let batched = target(&receiver.url(), &format!("{auth}\ntimeout = \"150ms\"\nbatch = {{ max_records = 10 }}"));
        let before = endpoint.seen.lock().unwrap().len();
        let outcomes = batched.deliver_batch(&[record("1"), record("2"), record("3"), record("4")], NOW).await;
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(f) if f.class == class)),
            "{outcomes:?}"
        );
        assert_eq!(endpoint.seen.lock().unwrap().len() - before, 1, "no half of the batch is to blame");
    }
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 0);
    let refused = build(&format!(
        "name = \"t\"\nkind = \"http\"\nurl = \"https://e.com/\"\nauth = {{ kind = \"oauth2\", client_id = \"c\", \
         secret = \"env:SIGN\", token_url = \"http://localhost:{}/\" }}",
        receiver.address.port()
    ));
    let Outcome::Failed(failure) = send(&*refused.unwrap(), "{}").await else { panic!("delivered") };
    assert_eq!(failure.class, FailureClass::Refused, "{failure:?}");
    assert!(failure.message.starts_with("no access token: the token endpoint `localhost:"), "{failure:?}");
}

#[tokio::test]
async fn a_token_is_used_however_its_end_is_written() {
    let later = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    for (expires_in, kept) in [
        ("3600", 3569),
        ("\"3600\"", 3569),
        ("\" 3600 \"", 3569),
        ("3599.5", 3569),
        ("\"3599.5\"", 3569),
        // As when it is not said: five minutes, less half a one.
        ("-1", 269),
        ("0", 269),
        ("\"soon\"", 269),
        ("null", 269),
        ("{}", 269),
        ("1e300", 269),
        ("\"NaN\"", 269),
    ] {
        let receiver = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let given = format!("{{\"access_token\":\"t0k3n\",\"token_type\":\"Bearer\",\"expires_in\":{expires_in}}}");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
        let endpoint = Server::text(&format!("{head}\r\nContent-Length: {}\r\n\r\n{given}", given.len())).await;
        let target = target(
            &receiver.url(),
            &format!(
                "auth = {{ kind = \"oauth2\", token_url = \"http://{}/token\", client_id = \"c\", secret = \"env:SIGN\" }}",
                endpoint.address
            ),
        );
        let asked = async |now: Wall| {
            let record = record("{}");
            let outcome = attempt(&*target, Delivery { record: &record, attempt: 1, now }).await;
            assert!(outcome.is_delivered(), "{expires_in}: {outcome:?}");
            endpoint.seen.lock().unwrap().len()
        };
        assert_eq!(asked(NOW).await, 1, "{expires_in}");
        assert!(receiver.request().contains("\r\nauthorization: Bearer t0k3n\r\n"), "{}", receiver.request());
        assert_eq!(asked(later(kept)).await, 1, "{expires_in}: it is kept");
        assert_eq!(asked(later(kept + 1)).await, 2, "{expires_in}: it is asked for anew");
    }
}
