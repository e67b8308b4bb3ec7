#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::TopicId;
use crate::target::kinds::sample::Sample;
use crate::target::{Secrets, attempt_batch};
use std::path::Path;
use zeroize::Zeroizing;

struct Vault;

impl Secrets for Vault {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        Err(format!("`{reference}` is not set"))
    }
}

fn build(more: &str) -> Result<Arc<dyn Target>, String> {
    let context = Context { base_dir: Path::new("."), secrets: &Vault, allow_networks: &[], lookup: None };
    let text = format!("name = 'n'\nkind = 'nats'\n{more}");
    Sample::read(&text)?.build(&context).map_err(|e| e.to_string())
}

fn record() -> Arc<Record> {
    let mut event = Event::new("/s", "order", bytes::Bytes::from_static(b"{\"n\":1}"));
    event.id = "e 1".into();
    event.subject = Some("50% off".into());
    event.content_type = Some("application/json".into());
    Arc::new(Record::new("orders".into(), TopicId(1), 1, Wall(0), event))
}

#[test]
fn what_is_sent_is_shown_before() {
    let servers = "servers = ['nats://127.0.0.1:4222']\n";
    let target =
        build(&format!("{servers}subject = 'orders.${{event.data.n}}'\nformat = 'cloudevents-binary'\n")).unwrap();
    let record = record();
    let delivery = Delivery { record: &record, attempt: 1, now: Wall(0) };
    let preview = target.preview(delivery).unwrap();
    assert_eq!(preview.destination, "127.0.0.1:4222 orders.1");
    let header = |name: &str| preview.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    let message_id = format!("orders/1/{}/e%201", record.event.trace.span_id);
    assert_eq!((header("Nats-Msg-Id"), header("webhook-id")), (Some(&*message_id), Some("e%201")));
    assert_eq!(header("ce-subject"), Some("50%25%20off"));
    let bad = build(&format!("{servers}subject = 'orders.${{event.subject}}'\n")).unwrap();
    let failure = bad.preview(delivery).unwrap_err();
    assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter));
}

#[test]
fn an_event_names_no_subject_of_the_server() {
    let preview = |subject: &str, kind: &str| {
        let target = build(&format!("servers = ['nats://127.0.0.1:4222']\nsubject = '{subject}'\n")).unwrap();
        let mut record = Arc::into_inner(record()).unwrap();
        record.event.kind = kind.into();
        target.preview(Delivery { record: &Arc::new(record), attempt: 1, now: Wall(0) })
    };
    for kind in ["$JS.API.STREAM.PURGE.ORDERS", "$SYS.REQ.SERVER.PING", "$KV.settings.a", "$"] {
        let failure = preview("${event.type}", kind).unwrap_err();
        assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{kind}");
        assert!(failure.message.contains("which an event must not name"), "{failure:?}");
    }
    // In a later word it commands nobody; and what the setting itself begins with is the operator's word.
    for (subject, kind) in
        [("orders.${event.type}", "$JS.API"), ("$KV.settings.${event.type}", "a"), ("${event.type}", "a.$b")]
    {
        preview(subject, kind).unwrap_or_else(|failure| panic!("{subject}, {kind}: {failure:?}"));
    }
}

#[test]
fn settings_that_cannot_be_used_are_told() {
    for (more, part) in [
        ("subject = 's'\n", "servers"),
        ("servers = []\nsubject = 's'\n", "at least one"),
        ("servers = ['nats://u:hunter2@h']\nsubject = 's'\n", "set `auth`"),
        ("servers = ['h']\nsubject = 'a.*'\n", "`subject`"),
        ("servers = ['h']\nsubject = 's'\nheaders = { Nats-Msg-Id = 'x' }\n", "belongs to NATS"),
        ("servers = ['h']\nsubject = 's'\nauth = { access_token = 'hunter2' }\n", "not the secret itself"),
        ("servers = ['h']\nsubject = 's'\nauth = { username = 'u' }\n", "one way"),
        ("servers = ['h']\nsubject = 's'\ntls = { cert = 'c.pem' }\n", "belong together"),
    ] {
        let message = build(more).unwrap_err();
        assert!(message.contains(part) && !message.contains("hunter2"), "{more}: {message}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_and_nobody_there_is_a_failed_connection() {
    let class = async |more: &str| {
        let target = build(&format!("servers = ['127.0.0.1:9']\nsubject = 's'\ntimeout = '1s'\n{more}")).unwrap();
        let outcomes = attempt_batch(&*target, &[record()], Wall(0)).await;
        let Outcome::Failed(failure) = &outcomes[0] else { panic!("{outcomes:?}") };
        (failure.class, failure.message.to_string())
    };
    let (refused, message) = class("").await;
    assert_eq!(refused, FailureClass::Refused);
    assert!(message.contains("allow_networks"), "{message}");
    let (away, message) = class("allow_networks = ['127.0.0.0/8']\n").await;
    assert_eq!(away, FailureClass::Connect, "{message}");
    assert!(message.contains("127.0.0.1:9"), "{message}");
}
