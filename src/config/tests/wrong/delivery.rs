//! What targets are told that cannot work.

use super::*;

#[test]
fn what_redacts_nothing() {
    toml(
        "redaction",
        r#"[[target]]
name = "a"
kind = "topic"
redact = { paths = ["$.user.name"] }

[[target]]
name = "b"
kind = "topic"
redact = { paths = ["user.name", "items[0].x"] }

[[target]]
name = "c"
kind = "topic"
redact = { paths = ["data.user.name"] }

[[target]]
name = "d"
kind = "topic"
redact = { paths = ["event.user"] }

[[target]]
name = "e"
kind = "topic"
redact = { paths = ["a..b"] }
"#,
    );
}

#[test]
fn what_is_wrong_beside_an_absent_secret() {
    let text = r#"[[target]]
name = "header"
kind = "http"
url = "https://example.org/"
headers = { host = "x" }
auth = { kind = "bearer", access_token = "env:NOTSET" }

[[target]]
name = "token"
kind = "http"
url = "https://example.org/"
auth = { kind = "oauth2", token_url = "x", client_id = "c", secret = "file:secrets/absent" }

[[target]]
name = "address"
kind = "http"
url = "env:NOTSET"
method = "POKE"

[[target]]
name = "mail"
kind = "smtp"
host = "mail.example.org"
tls = "none"
username = "u"
password = "env:NOTSET"
from = "a@example.org"
to = ["b@example.org"]

[[target]]
name = "records"
kind = "kafka"
brokers = ["kafka.example.org:9092"]
topic = "t"
sasl = { mechanism = "PLAIN", username = "u", password = "env:NOTSET" }

[[target]]
name = "right"
kind = "http"
url = "https://example.org/"
sign = { secrets = ["env:NOTSET"] }
auth = { kind = "bearer", access_token = "env:NOTSET" }
"#;
    refused("beside_absent_secrets", &Case::toml(text).without_secrets(), &[("hexafn.toml", text)]);
}

#[test]
fn settings_that_cannot_work() {
    toml(
        "settings_that_cannot_work",
        r#"[[target]]
name = "first"
kind = "file"
path = "out/a.jsonl"

[[target]]
name = "second"
kind = "file"
directory = "./out"
path = "a.jsonl"

[[target]]
name = "rest"
kind = "http"
url = "https://example.org/"
breaker = { open = "10m", open_max = "1s" }

[[target]]
name = "rest-by-default"
kind = "http"
url = "https://example.org/"
breaker = { open = "1h" }

[[target]]
name = "records"
kind = "kafka"
brokers = ["kafka.example.org:9092"]
topic = "orders.eu"
timeout = "100ms"

[[target]]
name = "mail"
kind = "smtp"
host = "mail.example.org"
port = 0
from = "a@example.org"
to = ["b@example.org"]

[[target]]
name = "board"
kind = "websocket"
url = "wss://example.org/"
ack = "reply"
body = "${event.data.id} ${event.type}"

[[target]]
name = "board-with-id"
kind = "websocket"
url = "wss://example.org/"
ack = "reply"
body = '{"id":"${event.id}"}'

[[target]]
name = "tunnel"
kind = "http"
url = "http://example.org/"
http_version = "2"
proxy = "http://proxy.example.org:3128"

[[target]]
name = "inner"
kind = "topic"
topic = "orders.large"
retry = { schedule = ["1s"] }
rate = "5/s"
timeout = "2s"
fallback = "first"
"#,
    );
}

#[test]
fn a_topic_of_a_broker_is_none_of_ours() {
    toml(
        "topic_of_a_broker",
        r#"[[trigger]]
name = "listens"
on = "orders.eu"
to = ["records", "inner"]

[[trigger]]
name = "after"
on = "inner"
to = ["records"]

[[target]]
name = "records"
kind = "kafka"
brokers = ["kafka.example.org:9092"]
topic = "orders.eu"

[[target]]
name = "inner"
kind = "topic"
"#,
    );
}

#[test]
fn secrets_that_others_may_get() {
    let text = r#"[[target]]
name = "chosen"
kind = "http"
url = "https://${event.data.host}/x"
sign = { secrets = ["env:KEY"] }

[[target]]
name = "plain"
kind = "http"
url = "http://example.org/${event.id}"
headers = { x-key = "env:KEY" }

[[target]]
name = "token"
kind = "http"
url = "https://example.org/"
auth = { kind = "oauth2", token_url = "http://example.org/token", client_id = "c", secret = "env:KEY" }

[[target]]
name = "socket"
kind = "websocket"
url = "ws://example.org/"
headers = { authorization = "env:KEY" }

[[target]]
name = "inside"
kind = "websocket"
url = "ws://board.internal/"
headers = { authorization = "env:KEY" }
allow_networks = ["10.0.0.0/8"]
"#;
    refused(
        "exposed_secrets",
        &Case::toml(text).env("KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        &[("hexafn.toml", text)],
    );
}
