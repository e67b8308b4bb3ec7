//! Mail through a real mail server.

use super::outlets::{Server, certify, free_port, lines, scenario};
use super::sender::send;
use super::service::{KEY, Scenario};
use super::watch::{events, events_when, eventually, idle, target};
use serde_json::Value;

fn toml(port: u16, more: &str) -> String {
    format!("kind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\nfrom = \"hexaFn <alerts@example.com>\"\n{more}\n")
}

async fn last_of(service: &super::service::Service) -> String {
    let status = eventually("an attempt", async || {
        let status = target(service, "out").await;
        (status["last"].is_string(), status)
    })
    .await;
    status["last"].as_str().unwrap().to_owned()
}

/// A mail server with certificates of its own, and a scenario that trusts them.
fn with_tls(flag: &str, more: &[&str], target: impl Fn(u16) -> String) -> (Server, Scenario) {
    let port = free_port();
    let scenario = scenario(&target(port));
    let folder = scenario.path("certificates");
    std::fs::create_dir(&folder).unwrap();
    certify(&folder);
    std::fs::copy(folder.join("client.pem"), scenario.path("cfg/ca.pem")).unwrap();
    let (cert, key) = (folder.join("server.pem"), folder.join("server.key"));
    let mut args = vec![flag, "--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    args.extend(more);
    (Server::smtp(port, &scenario.path("mails"), &args), scenario)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_becomes_a_mail_whose_headers_it_cannot_break() {
    let more = "tls = \"none\"\nto = [\"Jo <jo@example.org>\", \"${event.data.to}\"]\ncc = [\"${event.data.cc}\"]\n\
                bcc = [\"boss@example.org\"]\nsubject = \"Order: ${event.data.what}\"\nbody = \"Total ${event.data.n}\"\n\
                html = \"<b>${event.data.n}</b>\"";
    let port = free_port();
    let scenario = scenario(&toml(port, more));
    let server = Server::smtp(port, &scenario.path("mails"), &[]);
    let service = scenario.start();
    let id = send(&service, r#"{"n":7,"to":"eve@example.org","cc":null,"what":"tëst\r\nBcc: all@example.org"}"#).await;
    idle(&service).await;
    let mails = lines(&service.path("mails"));
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    assert_eq!(mail["from"], "alerts@example.com");
    let to = serde_json::json!(["jo@example.org", "eve@example.org", "boss@example.org"]);
    assert_eq!(mail["to"], to, "who gets it is what the target says");
    let text = mail["text"].as_str().unwrap();
    let head = text.split_once("\r\n\r\n").unwrap().0;
    assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc:")), "{head}");
    assert!(head.contains("Subject: ") && head.contains("Auto-Submitted: auto-generated"), "{head}");
    assert!(text.contains("Total 7") && text.contains("<b>7</b>") && text.contains("multipart/alternative"), "{text}");

    // The same event again is the same mail.
    service.ask(&["sub", "replay", "trigger.pass", "--from", "all"]);
    let mails = eventually("the mail again", async || {
        let mails = lines(&service.path("mails"));
        (mails.len() == 2, mails)
    })
    .await;
    let message_id = |mail: &Value| {
        let text = mail["text"].as_str().unwrap().to_owned();
        text.lines().find(|l| l.starts_with("Message-ID: <") && l.ends_with("@example.com>")).unwrap().to_owned()
    };
    assert_eq!(message_id(&mails[0]), message_id(&mails[1]), "{id}");
    assert_eq!(mails[0]["peer"], mails[1]["peer"], "over the same connection");
    // An event cannot add recipients.
    send(&service, r#"{"n":8,"to":"a@example.org, b@example.org","what":"x"}"#).await;
    let dead = events_when(&service, "hexafn.dead.target.out", 1).await;
    let why = dead[0]["extensions"]["deadcause"].as_str().unwrap();
    assert!(why.contains("`to`") && why.contains("not one e-mail address"), "{why}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_is_named_and_a_full_mailbox_is_tried_again() {
    let port = free_port();
    let scenario = scenario(&toml(port, "tls = \"none\"\nto = [\"jo@example.org\", \"${event.data.to}\"]"));
    let server = Server::smtp(port, &scenario.path("mails"), &[]);
    let service = scenario.start();
    send(&service, r#"{"to":"gone@example.org"}"#).await;
    let dead = events_when(&service, "hexafn.dead.target.out", 1).await;
    let why = dead[0]["extensions"]["deadcause"].as_str().unwrap();
    assert!(["<gone@example.org>", "550", "nobody of this name"].iter().all(|t| why.contains(t)), "{why}");
    assert_eq!(dead[0]["extensions"]["deadattempts"], "1");
    assert_eq!(lines(&service.path("mails")).len(), 0, "it went to nobody");

    send(&service, r#"{"to":"full@example.org"}"#).await;
    idle(&service).await;
    assert_eq!(lines(&service.path("mails")).len(), 1);
    assert_eq!(events(&service, "hexafn.dead.target.out").await.len(), 1);
    let status = target(&service, "out").await;
    assert_eq!(status["failed"], 3, "one for good, two for now: {status}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_over_tls_from_the_first_byte() {
    let target = |port| {
        toml(port, "ca = \"ca.pem\"\nto = [\"jo@example.org\"]\nusername = \"jo\"\npassword = \"file:secrets/key\"")
            .replace("127.0.0.1", "localhost")
    };
    let (_server, scenario) = with_tls("--smtps", &["--password", KEY], target);
    let scenario = scenario.edit("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]");
    let service = scenario.start();
    send(&service, r#"{"n":1}"#).await;
    idle(&service).await;
    let mails = lines(&service.path("mails"));
    assert_eq!((mails.len(), &mails[0]["tls"], &mails[0]["user"]), (1, &true.into(), &"jo".into()), "{mails:?}");
    // The wrong password is the configuration's fault, and the event waits.
    service.edit("file:secrets/key", "file:secrets/new-key");
    service.ask(&["reload"]);
    send(&service, r#"{"n":2}"#).await;
    let why = eventually("the refusal", async || {
        let why = last_of(&service).await;
        (why.contains("signing in"), why)
    })
    .await;
    assert!(why.contains("535") && why.contains("password"), "{why}");
    service.edit("file:secrets/new-key", "file:secrets/key");
    service.ask(&["reload"]);
    idle(&service).await;
    assert_eq!(lines(&service.path("mails")).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starttls_is_used_and_nothing_is_sent_without_it() {
    let target = |port| {
        toml(port, "tls = \"starttls\"\nca = \"ca.pem\"\nto = [\"jo@example.org\"]").replace("127.0.0.1", "localhost")
    };
    let (server, scenario) = with_tls("--starttls", &[], target);
    let service = scenario.edit("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]").start();
    send(&service, r#"{"n":1}"#).await;
    idle(&service).await;
    let mails = lines(&service.path("mails"));
    assert_eq!((mails.len(), &mails[0]["tls"]), (1, &true.into()), "{mails:?}");
    // Another server at the same place, which does not offer it.
    let port = server.port;
    drop(server);
    let _plain = Server::smtp(port, &service.path("plain"), &[]);
    send(&service, r#"{"n":2}"#).await;
    let why = eventually("the refusal", async || {
        let why = last_of(&service).await;
        (why.starts_with("tls"), why)
    })
    .await;
    assert!(why.contains("does not offer STARTTLS"), "{why}");
    assert_eq!(lines(&service.path("plain")).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_said() {
    let target = |port| toml(port, "to = [\"jo@example.org\"]").replace("127.0.0.1", "localhost");
    let (_server, scenario) = with_tls("--smtps", &[], target);
    let service = scenario.edit("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]").start();
    send(&service, r#"{"n":1}"#).await;
    let why = last_of(&service).await;
    assert!(why.starts_with("tls") && why.contains("cannot be trusted"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_before_the_server_says_that_it_has_the_mail_sends_the_same_mail_again() {
    let port = free_port();
    let scenario = scenario(&toml(port, "tls = \"none\"\nto = [\"${event.data.to}\"]"));
    let _server = Server::smtp(port, &scenario.path("mails"), &[]);
    let mut service = scenario.start();
    send(&service, r#"{"to":"hang@example.org"}"#).await;
    eventually("the mail is there, and not confirmed", async || {
        let mails = lines(&service.path("mails"));
        (mails.len() == 1, mails)
    })
    .await;
    assert_eq!(target(&service, "out").await["attempting"], 1);
    service.kill_and_restart();
    idle(&service).await;
    let mails = lines(&service.path("mails"));
    assert_eq!(mails.len(), 2, "{mails:?}");
    let message_id = |mail: &Value| {
        let text = mail["text"].as_str().unwrap().to_owned();
        text.lines().find(|line| line.starts_with("Message-ID: <")).expect("an id").to_owned()
    };
    assert_eq!(message_id(&mails[0]), message_id(&mails[1]));
}
