//! HTTP targets over TLS: an authority of one's own, a certificate of the client, and certificates that nobody should trust.

use super::sender::{publish, send};
use super::servers::program;
use super::service::Scenario;
use super::watch::eventually;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use tokio::task::block_in_place;

struct Https {
    child: Child,
    said: BufReader<ChildStdout>,
    ports: Value,
}

impl Https {
    fn start(folder: &std::path::Path) -> Self {
        Self::run("https.py", &[folder.to_str().unwrap()])
    }

    fn run(script: &str, args: &[&str]) -> Self {
        let language = if script.ends_with(".cjs") { "node" } else { "standardwebhooks-python" };
        let mut command = Command::new(program(language));
        command
            .arg(format!("{}/tests/servers/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut this = Self { said: BufReader::new(child.stdout.take().unwrap()), child, ports: Value::Null };
        this.ports = this.next();
        this
    }

    /// The next line that it says.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const CONFIG: &str = r#"
[targets]
allow_networks = ["127.0.0.0/8", "::1/128"]

[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }

[[trigger]]
name = "send"
on = "in"
to = ["good", "expired", "other", "stranger", "nobody"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_is_what_the_target_says_it_is() {
    let scenario = Scenario::empty();
    let config = scenario.path("cfg");
    std::fs::create_dir_all(&config).unwrap();
    let mut https = block_in_place(|| Https::start(&config));
    let mut text = CONFIG.to_owned();
    let own = "tls = { ca = \"ca.pem\" }";
    let whole = "tls = { ca = \"ca.pem\", cert = \"client.pem\", private_key = \"file:client.key\" }";
    for (name, port, tls) in [
        ("good", "good", whole),
        ("expired", "expired", own),
        ("other", "other", own),
        ("stranger", "expired", ""),
        ("nobody", "good", own),
    ] {
        let port = &https.ports[port];
        text += &format!(
            "[[target]]\nname = \"{name}\"\nkind = \"http\"\nurl = \"https://localhost:{port}/{name}\"\n\
             retry = {{ schedule = [] }}\n{tls}\n"
        );
    }
    let service = scenario.file("hexafn.toml", &text).start();
    send(&service, r#"{"n":1}"#).await;
    let got = block_in_place(|| https.next());
    assert_eq!(got, json!({ "path": "/good", "body": "{\"n\":1}", "client": ["client@example.org"] }));
    for (name, said) in [
        ("expired", "xpired"),
        ("other", "elsewhere.example"),
        ("stranger", "nvalid peer certificate"),
        ("nobody", "ertificate"),
    ] {
        let log = eventually(&format!("an attempt of {name}"), async || {
            let log = service.ask(&["target", "log", name]);
            (log.as_array().is_some_and(|log| !log.is_empty()), log)
        })
        .await;
        assert_ne!(log[0]["result"], "delivered", "{name}: {log}");
        assert!(log[0]["message"].as_str().unwrap().contains(said), "{name}: {log}");
    }

    // What is wrong with the files is said at their place.
    service.edit("cert = \"client.pem\"", "cert = \"clint.pem\"");
    let refused = service.hexafn(&["reload"]);
    assert!(refused.err.contains("clint.pem") && refused.err.contains("tls.cert"), "{refused:?}");
    service.edit("cert = \"clint.pem\"", "cert = \"../client.pem\"");
    let refused = service.hexafn(&["reload"]);
    assert!(refused.err.contains("leads out of the configuration folder"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_and_a_proxy_that_wants_a_password() {
    let scenario = Scenario::empty();
    let config = scenario.path("cfg");
    std::fs::create_dir_all(&config).unwrap();
    let _certificates = block_in_place(|| Https::start(&config));
    let mut servers = block_in_place(|| Https::run("http2.cjs", &[config.to_str().unwrap()]));
    let [tls, plain, proxy] = ["tls", "plain", "proxy"].map(|name| servers.ports[name].as_u64().unwrap());
    let secret = |name: &str, text: String| {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(config.join(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    secret("right.url", format!("http://jo:secret@127.0.0.1:{proxy}"));
    secret("wrong.url", format!("http://jo:%77rong@127.0.0.1:{proxy}"));
    let mut text = CONFIG.replace(
        "\"good\", \"expired\", \"other\", \"stranger\", \"nobody\"",
        "\"alpn\", \"known\", \"tunnel\", \"read\", \"closed\"",
    );
    for (name, url, more) in [
        ("alpn", format!("https://localhost:{tls}"), ""),
        ("known", format!("http://localhost:{plain}"), "http_version = \"2\"\n"),
        ("tunnel", format!("https://localhost:{tls}"), "proxy = \"file:right.url\"\n"),
        ("read", "http://sink.example".to_owned(), "proxy = \"file:right.url\"\n"),
        ("closed", format!("https://localhost:{tls}"), "proxy = \"file:wrong.url\"\n"),
    ] {
        let tls = if url.starts_with("https") { "tls = { ca = \"ca.pem\" }\n" } else { "" };
        text += &format!(
            "[[target]]\nname = \"{name}\"\nkind = \"http\"\nurl = \"{url}/{name}\"\nretry = {{ schedule = [] }}\n{tls}{more}"
        );
    }
    let service = scenario.file("hexafn.toml", &text).start();
    send(&service, r#"{"n":1}"#).await;
    let mut seen: Vec<Value> = block_in_place(|| (0..6).map(|_| servers.next()).collect());
    let arrived =
        |server: &str, path: &str| json!({ "server": server, "version": "2.0", "path": path, "body": "{\"n\":1}" });
    for expected in [
        arrived("tls", "/alpn"),
        arrived("plain", "/known"),
        json!({ "server": "proxy", "tunnel": format!("localhost:{tls}"), "known": true }),
        arrived("tls", "/tunnel"),
        json!({ "server": "proxy", "read": "http://sink.example/read", "known": true }),
        json!({ "server": "proxy", "tunnel": format!("localhost:{tls}"), "known": false }),
    ] {
        let at = seen.iter().position(|line| *line == expected);
        seen.remove(at.unwrap_or_else(|| panic!("{expected} is missing in {seen:?}")));
    }
    let log = eventually("what the proxy refused", async || {
        let log = service.ask(&["target", "log", "closed"]);
        (log.as_array().is_some_and(|log| !log.is_empty()), log)
    })
    .await;
    let said = log.to_string();
    assert!(said.contains(&format!("the proxy `127.0.0.1:{proxy}` answered CONNECT with 407")), "{said}");
    assert!(!said.contains("rong"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_reaches_a_service_behind_tls_with_requests_and_streams() {
    let service = Scenario::new("topics").start();
    let id = publish(&service, "in", r#"{"n":1}"#).await;
    let folder = service.path(".");
    let behind = service.base.rsplit(':').next().unwrap();
    let proxy = block_in_place(|| Https::run("tlsproxy.py", &[folder.to_str().unwrap(), behind]));
    let server = format!("https://localhost:{}", proxy.ports["port"]);
    let ca = service.path("ca.pem");
    let ask =
        |args: &[&str], trust: &[(&str, &str)]| service.hexafn_with(trust, &[&["--server", &*server], args].concat());
    let trust = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    let tail = ["-o", "json", "tail", "in", "--from", "all", "-n", "1"];
    assert_eq!(ask(&tail, &trust).json()["id"], id);
    assert!(ask(&["-o", "json", "topic", "ls"], &trust).json().is_array());
    for args in [&tail[..], &["topic", "ls"]] {
        let refused = ask(args, &[]);
        assert!(refused.code == Some(69) && refused.err.to_lowercase().contains("certificate"), "{refused:?}");
    }
}
