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
