//! A real browser (Chromium), driven by its DevTools protocol: a page is looked at, clicked in and typed into as a person does.

use super::service::Service;
use super::watch::{PATIENCE, eventually};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page.
pub struct Browser {
    child: Child,
    /// Its folder, which goes with it.
    _profile: TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    questions: u64,
    /// What the page said without being asked.
    events: Vec<Value>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Browser {
    /// Starts one, and opens a page of the service.
    pub async fn open(service: &Service, path: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let path_of_programs = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path_of_programs).collect();
        let program = PROGRAMS.iter().find_map(|name| folders.iter().map(|f| f.join(name)).find(|p| p.is_file()));
        let program = program.expect("there is no Chromium; run: scripts/deps test");
        // Without its sandbox, which containers refuse: the only page it sees is ours.
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-port=0", "--window-size=1400,900", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says where it listens in a file, which is there before it is whole.
        let told = profile.path().join("DevToolsActivePort");
        let address = eventually("the browser listens", async || {
            let text = std::fs::read_to_string(&told).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() == 2, lines)
        })
        .await;
        let url = format!("ws://127.0.0.1:{}{}", address[0], address[1]);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut browser =
            Self { child, _profile: profile, socket, session: String::new(), questions: 0, events: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.ask("Target.attachToTarget", attach).await["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({})).await;
        }
        browser.go(&service.url(path)).await;
        browser
    }

    /// Goes to an address, and waits until it is loaded.
    pub async fn go(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url })).await;
        self.until(
            "the page is loaded",
            &format!("location.href.startsWith({}) && document.readyState == 'complete'", json!(url)),
        )
        .await;
    }

    /// Asks the browser, and waits for the answer; what it says meanwhile is kept.
    pub async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.questions += 1;
        let id = self.questions;
        let mut question = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            question["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(question.to_string())).await.unwrap();
        let answered = async {
            loop {
                let message = self.socket.next().await.expect("the browser goes on").unwrap();
                let Ok(text) = message.to_text() else { continue };
                let message: Value = serde_json::from_str(text).unwrap();
                if message["id"] == id {
                    return message;
                }
                self.events.push(message);
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("{method}: no answer"));
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", question).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds in the page. A page that is on its way to another is asked again.
    pub async fn until(&mut self, what: &str, expression: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            pause.tick().await;
            let guarded =
                format!("(() => {{ try {{ return Boolean({expression}) }} catch (e) {{ return String(e) }} }})()");
            let seen = self.value(&guarded).await;
            if seen == true {
                return;
            }
            if std::time::Instant::now() >= end {
                let text = self.value("document.body.innerText").await;
                panic!("{what}: {expression}: {seen}\n{}", text.as_str().unwrap_or_default());
            }
        }
    }

    /// The text of the first element of a selector.
    pub async fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).textContent", json!(selector))).await;
        text.as_str().unwrap_or_else(|| panic!("{selector}: {text}")).to_owned()
    }

    /// Waits until the element is shown and holds the text.
    pub async fn shows(&mut self, selector: &str, text: &str) {
        let of = format!("document.querySelector({})", json!(selector));
        let holds = format!("{of}.checkVisibility() && {of}.textContent.includes({})", json!(text));
        self.until(&format!("{selector} shows `{text}`"), &holds).await;
    }

    /// Clicks with the mouse into the middle of an element.
    pub async fn click(&mut self, selector: &str) {
        let of = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'center', inline: 'center' }}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()",
            json!(selector)
        );
        let place = self.value(&of).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", mouse).await;
        }
    }

    /// Types into what has the keyboard.
    pub async fn types(&mut self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses a key, by its name.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            other => panic!("{other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event).await;
        }
    }

    /// The events of a method so far.
    pub fn said(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).map(|event| &event["params"]).collect()
    }

    /// What went wrong in the page: exceptions, errors and warnings in its console, violations of its policy. An answer
    /// that is an error and a service that is gone are told as such by the browser, and are no fault of the page.
    pub async fn faults(&mut self) -> Vec<String> {
        // What was said before the answer to this is here.
        self.value("1").await;
        let exceptions = self.said("Runtime.exceptionThrown").into_iter().map(|e| e["exceptionDetails"].to_string());
        let calls = self.said("Runtime.consoleAPICalled").into_iter().filter(|call| call["type"] != "log");
        let entries = self.said("Log.entryAdded").into_iter().map(|entry| &entry["entry"]);
        let entries = entries.filter(|entry| entry["level"] != "verbose" && entry["source"] != "network");
        exceptions.chain(calls.map(Value::to_string)).chain(entries.map(Value::to_string)).collect()
    }

    /// The addresses that the page asked.
    pub fn asked(&self) -> Vec<String> {
        let urls = self.said("Network.requestWillBeSent").into_iter().map(|sent| &sent["request"]["url"]);
        urls.map(|url| url.as_str().unwrap().to_owned()).collect()
    }
}
