//! A server of objects (moto, which speaks Amazon's S3).

use super::contract::Subject;
use super::line::Line;
use super::servers::{Server, free_port, program};
use serde_json::{Value, json};
use std::process::Command;
use tokio::net::TcpListener;

const BUCKET: &str = "events";

pub struct S3 {
    server: Server,
    line: Line,
    client: reqwest::Client,
}

impl S3 {
    async fn get(&self, path: &str) -> String {
        let request = self.client.get(format!("http://127.0.0.1:{}/{path}", self.server.port));
        // The server looks at who asks, and checks no signature.
        let who =
            "AWS4-HMAC-SHA256 Credential=reader/20261124/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let answer = request.header("authorization", who).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    async fn make_bucket(&self) {
        let made = self.client.put(format!("http://127.0.0.1:{}/{BUCKET}", self.server.port)).send().await.unwrap();
        assert_eq!(made.status(), 200);
    }
}

impl Subject for S3 {
    const KIND: &'static str = "s3";
    /// The same events are the same object.
    const ONCE: bool = true;

    async fn start() -> Self {
        let port = free_port();
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Server::start(command, port).await;
        let line = Line::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), port).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let subject = Self { server, line, client };
        subject.make_bucket().await;
        subject
    }

    fn toml(&self) -> String {
        let more = "prefix = 'log/${event.data.to}/'\nformat = \"cloudevents\"\n\
                    credentials = { access_key_id = \"writer\", secret = \"env:KEY\" }";
        format!("bucket = \"{BUCKET}\"\nendpoint = \"http://{}\"\n{more}", self.line.address)
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string(), format!("`{BUCKET}`"), format!("s3://{BUCKET}/")]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": "a" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "../a" })
    }

    /// Without a bucket.
    async fn refuse(&self) -> Option<Value> {
        let reset = self.client.post(format!("http://127.0.0.1:{}/moto-api/reset", self.server.port));
        assert_eq!(reset.send().await.unwrap().status(), 200);
        Some(self.good())
    }

    async fn recover(&self) {
        self.line.recover();
        self.make_bucket().await;
    }

    /// The keys of the objects that hold the event.
    async fn arrived(&self, id: &str) -> Vec<String> {
        let list = self.get(&format!("{BUCKET}?list-type=2")).await;
        let keys = list.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0.to_owned());
        let mut found = Vec::new();
        for key in keys {
            if self.get(&format!("{BUCKET}/{key}")).await.contains(&format!("\"{id}\"")) {
                found.push(key);
            }
        }
        found
    }
}
