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
        let mut command = Command::new(program("standardwebhooks-python"));
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
    assert!(refused.err.contains("leaves the configuration folder"), "{refused:?}");
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
