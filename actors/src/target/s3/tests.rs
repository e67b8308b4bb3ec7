//! Settings, names of objects, and what answers mean.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::TopicId;
use crate::target::kinds::sample::Sample;
use crate::target::{Secrets, attempt_batch};
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

struct Known;

impl Secrets for Known {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if reference == "env:KEY" { Ok("secret\n".to_owned().into()) } else { Err(format!("`{reference}` is not set")) }
    }
}

fn build(toml: &str) -> Result<Arc<dyn Target>, String> {
    named("t", toml)
}

fn named(name: &str, toml: &str) -> Result<Arc<dyn Target>, String> {
    let sample = Sample::read(&format!("name = \"{name}\"\nkind = \"s3\"\n{toml}"))?;
    let loopback = [ipnet::IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    let context =
        Context { base_dir: std::path::Path::new("/"), secrets: &Known, allow_networks: &loopback, lookup: None };
    sample.build(&context).map_err(|e| e.to_string())
}

fn record(seq: u64, kind: &str) -> Arc<Record> {
    let mut event = Event::new("s", kind, Bytes::from_static(b"{}"));
    (event.id, event.time) = (format!("e{seq}").into(), Wall(1_795_507_200_000_000));
    Arc::new(Record::new("t".into(), TopicId(1), seq, Wall(0), event))
}

const CREDENTIALS: &str = "credentials = { access_key_id = \"id\", secret = \"env:KEY\" }\n";

#[test]
fn settings_that_are_refused() {
    for (toml, said) in [
        ("bucket = \"A\"", "`bucket`"),
        ("bucket = \"abc\"\nprefix = \"/a\"", "begins with `/`"),
        ("bucket = \"abc\"\nprefix = \"a//b\"", "`prefix`"),
        ("bucket = \"abc\"\nprefix = \"../b\"", "`prefix`"),
        ("bucket = \"abc\"\nformat = \"data\"", "`format`"),
        ("bucket = \"abc\"\nregion = \"a/b\"", "`region`"),
        ("bucket = \"abc\"\nendpoint = \"ftp://x\"", "`endpoint`"),
        ("bucket = \"abc\"\nendpoint = \"http://10.0.0.1\"", "allow_networks"),
        ("bucket = \"abc\"\nendpoint = \"http://127.0.0.1:9\"\npath_style = false", "path_style"),
        ("bucket = \"abc\"\nkms_key_id = \"k\"", "aws:kms"),
        ("bucket = \"abc\"\nencryption = \"rot13\"", "AES256"),
        ("bucket = \"abc\"\ncredentials = { access_key_id = \"a\", secret = \"b\" }", "not the secret itself"),
        ("bucket = \"abc\"\ncredentials = { access_key_id = \"a\", secret = \"env:NO\" }", "is not set"),
        ("bucket = \"abc\"\ncontent_type = \"a\\nb\"", "`content_type`"),
        ("bucket = \"abc\"\nnope = 1", "nope"),
    ] {
        let error = build(toml).expect_err(toml);
        assert!(error.contains(said), "{toml}: {error}");
        assert!(!error.contains("secret\n"), "{error}");
    }
}

#[test]
fn the_same_events_have_the_same_name() {
    let target = build(&format!("bucket = \"abc\"\nprefix = \"${{event.type}}/\"\ncompress = \"zstd\"\n{CREDENTIALS}"));
    let target = target.unwrap();
    let shown =
        |record: &Arc<Record>| target.preview(Delivery { record, attempt: 3, now: Wall(9) }).unwrap().destination;
    let (first, second) = (shown(&record(1, "a")), shown(&record(2, "a")));
    assert!(first.starts_with("s3://abc/a/20261124T080000Z-") && first.ends_with(".jsonl.zst"), "{first}");
    assert_eq!(first, shown(&record(1, "a")));
    assert_ne!(first, second);
    let refused = target.preview(Delivery { record: &record(1, "a/../b"), attempt: 1, now: Wall(0) }).unwrap_err();
    assert_eq!((refused.class, refused.verdict), (FailureClass::Template, Verdict::DeadLetter));
}

#[test]
fn the_same_events_of_two_targets_are_two_objects() {
    let record = record(1, "a");
    let shown = |name: &str| {
        let target = named(name, "bucket = \"abc\"\nprefix = \"day/\"").unwrap();
        target.preview(Delivery { record: &record, attempt: 1, now: Wall(0) }).unwrap().destination
    };
    assert_ne!(shown("a"), shown("b"));
    assert_eq!(shown("a"), shown("a"));
}

/// What becomes of a batch of two that is answered so, and the requests.
async fn answered(answer: &'static str, toml: &str) -> (Vec<Outcome>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut requests = String::new();
        while let Ok(Ok((mut stream, _))) = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await {
            let mut buffer = vec![0; 64 << 10];
            let read = stream.read(&mut buffer).await.unwrap();
            requests += &String::from_utf8_lossy(&buffer[..read]);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    let target = build(&format!("bucket = \"abc\"\nendpoint = \"http://127.0.0.1:{port}\"\n{toml}")).unwrap();
    let outcomes = attempt_batch(&*target, &[record(1, "a"), record(2, "a")], Wall(0)).await;
    (outcomes, server.await.unwrap())
}

#[tokio::test]
async fn answers_are_read_once_and_explained() {
    let error = |head: &str, code: &str| {
        let body = format!("<Error><Code>{code}</Code><Message>said\u{1b}[2J</Message></Error>");
        let length = body.len();
        &*Box::leak(
            format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_boxed_str(),
        )
    };
    for (answer, class, said) in [
        (error("503 X\r\nretry-after: 7", "SlowDown"), FailureClass::Status(503), "SlowDown"),
        (error("500 X", "InternalError"), FailureClass::Status(500), "500"),
        (error("403 X", "AccessDenied"), FailureClass::Status(403), "s3:PutObject"),
        (error("403 X", "SignatureDoesNotMatch"), FailureClass::Status(403), "`credentials`"),
        (error("404 X", "NoSuchBucket"), FailureClass::Status(404), "make the bucket"),
        (error("301 X", "PermanentRedirect"), FailureClass::Redirect, "another `region`"),
        ("SSH-2.0-x\r\n\r\n", FailureClass::Protocol, "HTTP"),
    ] {
        let (outcomes, requests) = answered(answer, CREDENTIALS).await;
        assert_eq!(requests.matches("PUT /abc/t/").count(), 1, "one attempt: {requests}");
        assert!(requests.contains("authorization: AWS4-HMAC-SHA256"), "{requests}");
        for outcome in &outcomes {
            let Outcome::Failed(failure) = outcome else { panic!("{answer}: {outcome:?}") };
            assert_eq!((failure.class, failure.verdict), (class, Verdict::Retry), "{failure:?}");
            assert!(failure.message.contains(said) && !failure.message.contains('\u{1b}'), "{failure:?}");
            let after = (failure.class == FailureClass::Status(503)).then_some(Duration::from_secs(7));
            assert_eq!(failure.retry_after, after);
        }
    }
}

#[tokio::test]
async fn a_status_that_is_never_tried_again_is_a_dead_letter() {
    let lists = format!("{CREDENTIALS}\nretry = {{ never = [\"4xx\"], again = [403] }}");
    for (answer, expected) in [
        ("HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Verdict::DeadLetter),
        ("HTTP/1.1 403 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Verdict::Retry),
        ("HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Verdict::Retry),
    ] {
        let (outcomes, _) = answered(answer, &lists).await;
        for outcome in &outcomes {
            let Outcome::Failed(failure) = outcome else { panic!("{answer}: {outcome:?}") };
            assert_eq!(failure.verdict, expected, "{failure:?}");
        }
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_signed() {
    let (outcomes, requests) = answered("HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n", "").await;
    assert!(outcomes.iter().all(Outcome::is_delivered), "{outcomes:?}");
    assert!(!requests.contains("authorization"), "{requests}");
}

#[tokio::test]
async fn a_name_is_looked_up_by_the_guard() {
    struct Inside;
    impl crate::target::Lookup for Inside {
        fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            async { Ok(vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))]) }.boxed()
        }
    }
    let sample = Sample::read(&format!("name = \"t\"\nkind = \"s3\"\nbucket = \"abc\"\n{CREDENTIALS}")).unwrap();
    let inside: Arc<dyn crate::target::Lookup> = Arc::new(Inside);
    let base = std::path::Path::new("/");
    let context = Context { base_dir: base, secrets: &Known, allow_networks: &[], lookup: Some(&inside) };
    let target = sample.build(&context).unwrap();
    let outcomes = attempt_batch(&*target, &[record(1, "a")], Wall(0)).await;
    let Outcome::Failed(failure) = &outcomes[0] else { panic!("delivered") };
    assert_eq!(failure.class, FailureClass::Refused, "{failure:?}");
}
