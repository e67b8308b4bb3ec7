//! What a 207 says of many events: it is read as far as so many may need.

use super::*;

/// Answers to a batch of `count` events what a receiver says that names each of them in so many bytes.
async fn answered(count: usize, bytes: usize, more: &str) -> (Vec<Outcome>, usize) {
    let named = |at: usize| {
        let status = if at == 0 { 500 } else { 200 };
        let line = format!("{{\"id\":\"ev-{at}\",\"status\":{status},\"message\":\"\"}}");
        format!("{}\"}}", line[..line.len() - 2].to_owned() + &"m".repeat(bytes.saturating_sub(line.len() + 1)))
    };
    let body = format!("[{}]", (0..count).map(named).collect::<Vec<_>>().join(","));
    let server =
        Server::text(&format!("HTTP/1.1 207 Multi-Status\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    let target = target(&server.url(), &format!("format = \"cloudevents\"\nbatch = {{ max_records = 1000 }}\n{more}"));
    let records = (0..count).map(|at| {
        let mut event = record("1").event.clone();
        event.id = format!("ev-{at}").as_str().into();
        Arc::new(Record::new("t".into(), TopicId(1), at as u64 + 1, NOW, event))
    });
    let records: Vec<_> = records.collect();
    (target.deliver_batch(&records, NOW).await, body.len())
}

#[tokio::test]
async fn a_207_may_be_as_long_as_its_events_need() {
    let (outcomes, length) = answered(300, 900, "").await;
    assert!(length > 64 * 1024, "longer than `max_reply`: {length}");
    let Outcome::Failed(failure) = &outcomes[0] else { panic!("{:?}", outcomes[0]) };
    assert_eq!(failure.class, FailureClass::Status(500), "{failure:?}");
    assert_eq!(failure.detail.received, length as u64);
    assert!(outcomes[1..].iter().all(Outcome::is_delivered), "{:?}", outcomes[1]);
}

#[tokio::test]
async fn a_207_that_is_longer_than_is_read_names_the_setting() {
    let (outcomes, length) = answered(3, 4000, "max_reply = \"2KiB\"").await;
    assert!(length > 5 * 1024, "{length}");
    for outcome in &outcomes {
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Body, Verdict::Retry), "{failure:?}");
        let said = "answered 207 with more than 5120 bytes, and so what became of each event is not known: raise `max_reply` \
                    (2KiB; 1KiB more for each event), or lower `batch.max_records`";
        assert!(failure.message.ends_with(said), "{failure:?}");
    }
    let (outcomes, _) = answered(3, 4000, "max_reply = \"16KiB\"").await;
    assert!(outcomes[2].is_delivered(), "{:?}", outcomes[2]);
}
