//! The service under test, a receiver for HTTP targets, and waiting with an end.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A running service in a folder of its own.
pub struct Service {
    pub dir: tempfile::TempDir,
    pub base: String,
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hexafn"))
}

fn launch(dir: &Path) -> (Child, String) {
    let mut child = binary()
        .args(["serve", "--config", "cfg", "--set", "server.listen=127.0.0.1:0", "--set", "log.level=error"])
        .current_dir(dir)
        .env("IT_SECRET", "a secret of the tests, 32 bytes.")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.split_whitespace().find(|w| w.starts_with("http://")).expect("the first line names the address");
    (child, base.to_owned())
}

impl Service {
    /// Starts with these files in the configuration folder.
    pub fn start(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("cfg")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("cfg").join(name), text).unwrap();
        }
        let (child, base) = launch(dir.path());
        Self { dir, base, child }
    }

    /// SIGKILL, then a start on the same data.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.base) = launch(self.dir.path());
    }

    /// SIGTERM; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    pub fn start_again(&mut self) {
        (self.child, self.base) = launch(self.dir.path());
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Runs the command line against this service.
    pub fn hexafn(&self, args: &[&str]) -> Output {
        binary().args(args).env("HEXAFN_SERVER", &self.base).current_dir(self.dir.path()).output().unwrap()
    }

    /// The same, which must succeed, as JSON.
    pub fn ask(&self, args: &[&str]) -> Value {
        let output = self.hexafn(&[&["-o", "json"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// POST of JSON text: the status and the answer.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = client().post(url).header("content-type", "application/json").body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

pub async fn get(url: &str) -> (u16, Value) {
    let response = client().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// Asks again until it holds; fails with what was seen last. What is waited for crosses processes, and has no event to
/// wait on but the question itself.
pub async fn eventually<T: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> (bool, T)) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        pause.tick().await;
        let (holds, seen) = ask().await;
        if holds {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: {seen:?}");
    }
}

/// One request as a receiver saw it.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim().to_owned())
        })
    }
}

/// An HTTP server that answers with the statuses of a script, the last one from then on; 0 is no answer at all.
pub async fn receiver(script: &'static [u16]) -> (String, Arc<Mutex<Vec<Received>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<Received>>> = Arc::default();
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let shared = shared.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                loop {
                    let end = loop {
                        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                            break at;
                        }
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    };
                    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
                    let received = Received { head, body: String::new() };
                    let length: usize = received.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
                    while buffer.len() < end + 4 + length {
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
                    buffer.drain(..end + 4 + length);
                    let status = {
                        let mut seen = shared.lock().unwrap();
                        seen.push(Received { body, ..received });
                        script[(seen.len() - 1).min(script.len() - 1)]
                    };
                    if status == 0 {
                        return std::future::pending().await;
                    }
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            });
        }
    });
    (format!("http://{address}/in"), seen)
}
