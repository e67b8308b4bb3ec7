//! Settings and mails; conversations with servers are tested through the binary.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::clock::Wall;
use crate::event::Event;
use crate::log::{Record, TopicId};
use crate::target::kinds::sample::Sample;
use crate::target::{Lookup, Secrets, Verdict, attempt};
use std::net::Ipv4Addr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

struct Known;

impl Secrets for Known {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if reference == "env:KEY" { Ok("secret\n".to_owned().into()) } else { Err(format!("`{reference}` is not set")) }
    }
}

/// A host that is at a public address.
struct Outside;

impl Lookup for Outside {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        async { Ok(vec![IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1))]) }.boxed()
    }
}

fn build(toml: &str) -> Result<Arc<dyn Target>, String> {
    let sample = Sample::read(&format!("name = \"t\"\nkind = \"smtp\"\n{toml}"))?;
    let lookup: Arc<dyn Lookup> = Arc::new(Outside);
    let context =
        Context { base_dir: std::path::Path::new("/"), secrets: &Known, allow_networks: &[], lookup: Some(&lookup) };
    sample.build(&context).map_err(|e| e.to_string())
}

fn record(data: &str) -> Arc<Record> {
    let event = Event::new("s", "order.paid", bytes::Bytes::copy_from_slice(data.as_bytes()));
    Arc::new(Record::new("t".into(), TopicId(1), 1, Wall(0), event))
}

const MAIL: &str = "host = \"mail.example.com\"\nfrom = \"a@example.com\"\n";

#[test]
fn settings_that_are_refused() {
    for (toml, said) in [
        ("to = []", "needs somebody"),
        ("to = [\"nobody\"]", "`to.0`: `nobody` is not one e-mail address"),
        ("to = [\"a@b.org, c@d.org\"]", "not one e-mail address"),
        ("to = [\"a@b.org\\nBcc: c@d.org\"]", "control character"),
        ("to = [\"a@b.org\"]\nusername = \"u\"", "needs a `password`"),
        ("to = [\"a@b.org\"]\nusername = \"u\"\npassword = \"p\"", "not the password itself"),
        ("to = [\"a@b.org\"]\nusername = \"u\"\npassword = \"env:NO\"", "is not set"),
        ("to = [\"a@b.org\"]\nusername = \"u\"\npassword = \"env:KEY\"\ntls = \"none\"", "without TLS"),
        ("to = [\"a@b.org\"]\ntls = \"maybe\"", "starttls"),
        ("to = [\"a@b.org\"]\nhello = \"a b\"", "`hello`"),
        ("to = [\"a@b.org\"]\nhtml = \"${\"", "`html`"),
    ] {
        let error = build(&format!("{MAIL}{toml}")).expect_err(toml);
        assert!(error.contains(said), "{toml}: {error}");
    }
    for host in ["", "mail.example.com:25", "http://x", "10.0.0.1", "::1", "a\\nb"] {
        let error = build(&format!("host = \"{host}\"\nfrom = \"a@b.org\"\nto = [\"a@b.org\"]")).expect_err(host);
        assert!(error.contains("`host`"), "{host}: {error}");
    }
}

#[test]
fn a_mail_is_the_same_at_every_attempt() {
    let to = "to = [\"Jo Ü <jo@example.org>\", \"${event.data.to}\"]\nsubject = \"${event.data.what}\"\nreply_to = \"r@example.org\"";
    let target = build(&format!("{MAIL}{to}")).unwrap();
    let preview = |data: &str, attempt| {
        let record = record(data);
        let mut event = record.event.clone();
        event.id = "a b\r\n\"7\"".into();
        let record = Arc::new(Record::new("t".into(), TopicId(1), 1, Wall(0), event));
        target.preview(Delivery { record: &record, attempt, now: Wall(0) })
    };
    let mail = preview("{\"to\":\"x@example.org\",\"what\":\"a\\r\\nTo: y@example.org\"}", 1).unwrap();
    let header = |name: &str| {
        let found: Vec<&str> = mail.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        assert_eq!(found.len(), 1, "{name}: {mail:?}");
        found[0].to_owned()
    };
    assert_eq!(header("Subject"), "a  To: y@example.org");
    assert!(header("To").contains("x@example.org") && !header("To").contains("y@example.org"));
    assert!(header("Message-ID").ends_with("@example.com>"));
    assert_eq!(header("Date"), "Thu, 01 Jan 1970 00:00:00 +0000");
    assert_eq!(preview("{\"to\":\"x@example.org\",\"what\":\"a\\r\\nTo: y@example.org\"}", 7).unwrap(), mail);
    assert!(mail.destination.starts_with("jo@example.org, x@example.org by mail.example.com:465"), "{mail:?}");

    for data in ["{\"to\":\"x@example.org\\r\\nX: y\"}", "{\"to\":\"x@a.org, y@b.org\"}", "{\"to\":\"<x>\"}"] {
        let failure = preview(data, 1).unwrap_err();
        assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{failure:?}");
    }
    let long = format!("{{\"to\":null,\"what\":\"{}\"}}", "x".repeat(1000));
    let mail = preview(&long, 1).unwrap();
    let (_, subject) = mail.headers.iter().find(|(n, _)| n == "Subject").unwrap();
    assert!(subject.len() < 600, "{subject}");
}

#[tokio::test]
async fn without_tls_nothing_goes_to_a_public_address() {
    let target = build(&format!("{MAIL}to = [\"a@b.org\"]\ntls = \"none\"")).unwrap();
    let outcome = attempt(&*target, Delivery { record: &record("{}"), attempt: 1, now: Wall(0) }).await;
    let Outcome::Failed(failure) = outcome else { panic!("delivered") };
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(failure.message.contains("a public address"), "{failure:?}");
}

/// A mail server that greets, and then answers each line that begins with one of these words in its way, others with 250.
/// Endless answers go on until the client is gone.
async fn answering(lines: &'static [(&'static str, Answer)]) -> Arc<dyn Target> {
    answering_to("none", lines).await
}

async fn answering_to(tls: &str, lines: &'static [(&'static str, Answer)]) -> Arc<dyn Target> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut said = BufReader::new(read).lines();
        let mut line = String::new();
        loop {
            let answer = lines.iter().find(|(word, _)| line.starts_with(word)).map(|(_, answer)| *answer);
            match answer.unwrap_or(Answer::Line(if line.is_empty() { "220 hello" } else { "250 ok" })) {
                Answer::Line(text) => write.write_all(format!("{text}\r\n").as_bytes()).await.unwrap(),
                Answer::Endless => while write.write_all(&[b'2'; 64 << 10]).await.is_ok() {},
                Answer::Nothing => {}
            }
            match said.next_line().await {
                Ok(Some(next)) => line = next,
                _ => return,
            }
        }
    });
    let more = format!("host = \"127.0.0.1\"\nport = {port}\nallow_networks = [\"127.0.0.0/8\"]\ntls = \"{tls}\"");
    build(&format!("from = \"a@example.com\"\nto = [\"jo@example.org\"]\ntimeout = \"5s\"\n{more}")).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Line(&'static str),
    /// A line that does not end.
    Endless,
    Nothing,
}

async fn failure(target: &dyn Target) -> Failure {
    match attempt(target, Delivery { record: &record("{}"), attempt: 1, now: Wall(0) }).await {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered { .. } => panic!("delivered"),
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_read_to_a_bound() {
    for lines in [&[("", Answer::Endless)], &[("MAIL", Answer::Endless)], &[("DATA", Answer::Endless)]] {
        let target = answering(lines).await;
        let failure = failure(&*target).await;
        assert_eq!(
            (failure.class, failure.verdict),
            (FailureClass::Protocol, Verdict::Retry),
            "{lines:?}: {failure:?}"
        );
        assert!(failure.message.contains("more than 128 KiB"), "{lines:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_refusal_counts_also_when_the_server_says_no_goodbye() {
    let target = answering(&[("RCPT", Answer::Line("550 nobody of this name")), ("QUIT", Answer::Nothing)]).await;
    let failure = failure(&*target).await;
    assert_eq!((failure.class, failure.verdict), (FailureClass::Status(550), Verdict::DeadLetter), "{failure:?}");
    assert!(failure.message.contains("nobody of this name"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_too_many_is_no_answer_to_the_next_step() {
    for (lines, said) in [
        (&[("RCPT", Answer::Line("250 ok\r\n250 once more"))][..], "(the mail): 250, where 3xx"),
        (&[("MAIL", Answer::Line("354 go on"))], "(the sender): 354, where 2xx"),
        (&[("DATA", Answer::Line("354 go on\r\n354 go on"))], "(the mail): 354, where 2xx"),
    ] {
        let target = answering(lines).await;
        let failure = failure(&*target).await;
        assert_eq!((failure.class, failure.verdict), (FailureClass::Protocol, Verdict::Retry), "{failure:?}");
        assert!(failure.message.contains("answers out of turn") && failure.message.contains(said), "{failure:?}");
    }
}

#[tokio::test]
async fn what_was_said_before_tls_is_no_answer_under_it() {
    let offered = ("EHLO", Answer::Line("250-mail.example.com\r\n250 STARTTLS"));
    let lines = vec![offered, ("STARTTLS", Answer::Line("220 go on\r\n250 injected"))];
    let target = answering_to("starttls", lines.leak()).await;
    let failure = failure(&*target).await;
    assert_eq!((failure.class, failure.verdict), (FailureClass::Tls, Verdict::Retry), "{failure:?}");
    assert!(failure.message.contains("InvalidContentType"), "it is no handshake: {failure:?}");
}
