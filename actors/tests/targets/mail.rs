//! A mail server (aiosmtpd), the one that the tests of the binary use, too.

use super::contract::Subject;
use super::line::Line;
use super::servers::{Server, free_port, program};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub struct Smtp {
    _server: Server,
    line: Line,
    folder: TempDir,
}

impl Smtp {
    fn mails(&self) -> PathBuf {
        self.folder.path().join("mails")
    }
}

impl Subject for Smtp {
    const KIND: &'static str = "smtp";

    async fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        // The Python that the server is installed for.
        let mut command = Command::new(program("aiosmtpd").with_file_name("python3"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/smtp.py"));
        command.arg(port.to_string()).arg(folder.path().join("mails"));
        let server = Server::start(command, port).await;
        let line = Line::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), port).await;
        Self { _server: server, line, folder }
    }

    fn toml(&self) -> String {
        let more = "tls = \"none\"\nfrom = \"hexafn@example.com\"\nto = ['${event.data.to}']\nsubject = '${event.id}'";
        format!("host = \"{}\"\nport = {}\n{more}", self.line.address.ip(), self.line.address.port())
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string()]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": "jo@example.org" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "jo@example.org\r\nbcc: all@example.org" })
    }

    async fn refuse(&self) -> Option<Value> {
        Some(json!({ "to": "gone@example.org" }))
    }

    /// The `Message-ID` of the mails whose subject is the event's id.
    async fn arrived(&self, id: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.mails()).unwrap_or_default();
        // A last line that is being written is not read.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mails = whole.map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned());
        let header = |mail: &str, name: &str| {
            let mut named = mail.lines().filter_map(|line| line.split_once(": "));
            named.find_map(|(n, value)| (n == name).then(|| value.to_owned())).expect("the header")
        };
        let of_event = mails.filter(|mail| header(mail, "Subject") == id);
        of_event.map(|mail| header(&mail, "Message-ID")).collect()
    }
}
