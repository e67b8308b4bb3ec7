//! `hexafn lsp` and `hexafn fmt`: the language server as a real editor (Neovim) uses it, and layout of files.

use super::service::Scenario;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const PROGRAM: &str = "import { double } from \"lib/m.hexa\"\n\n{ n: len(double(event.data.xs)) }\n";
const MODULE: &str = "/// Twice each of them.\nfn double(xs) = [x * 2 for x in xs]\n";
const CONFIG: &str = "[[source]]\nname = \"in\"\nkind = \"webhook\"\ntopic = \"in\"\nverify = { scheme = \"standard\", secrets = [\"env:SECRET\"] }\n\n\
[[function]]\nname = \"f\"\nfile = \"functions/f.hexa\"\n\n[[trigger]]\nname = \"t\"\non = \"in\"\nwhen = \"len(event.data.xs) > 0\"\nrun = \"f\"\nto = [\"out\"]\n\n\
[[target]]\nname = \"out\"\nkind = \"topic\"\n";

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What the editor was told, of a folder with a program, a module and their configuration.
fn edited() -> Value {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cfg");
    write(&folder, "functions/f.hexa", PROGRAM);
    write(&folder, "lib/m.hexa", MODULE);
    write(&folder, "hexafn.toml", CONFIG);
    let out = dir.path().join("seen.json");
    let ran = Command::new("nvim")
        .args(["--headless", "--clean", "-n", "-S", "tests/editor/client.lua"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("HEXAFN", env!("CARGO_BIN_EXE_hexafn"))
        .env("FOLDER", &folder)
        .env("OUT", &out)
        .env("XDG_STATE_HOME", dir.path())
        .output()
        .expect("nvim is not there; run: scripts/deps test");
    let told = std::fs::read_to_string(&out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let seen: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(seen.get("failed"), None, "{seen}");
    seen
}

fn labels(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap()).collect()
}

#[test]
fn an_editor_finds_what_is_wrong_what_words_mean_and_where_they_are_declared() {
    let seen = edited();
    let nothing: Vec<&str> = Vec::new();
    for right in ["right", "module_right", "toml_right", "toml_again"] {
        assert_eq!(seen[right], serde_json::json!(nothing), "{right}: {seen}");
    }
    // Columns are bytes in Neovim: the umlaut before the second one is two, the emoji four.
    assert_eq!(
        seen["wrong"],
        serde_json::json!(["2:5 HX0203 unknown function `lenn`", "2:49 HX0201 unknown name `nope`"])
    );
    assert_eq!(seen["module_wrong"], serde_json::json!(["1:21 HX0201 unknown name `two`"]));
    assert!(seen["toml_wrong"][0].as_str().unwrap().starts_with("0:1 HX1003"), "{}", seen["toml_wrong"]);

    assert_eq!(seen["toml_typed"], serde_json::json!(["13:35 HX0201 `when` of trigger `t`: unknown name `nope`"]));
    let hover = seen["toml_hover"]["contents"]["value"].as_str().unwrap();
    assert!(hover.contains("len("), "{hover}");
    assert_eq!(seen["toml_hover"]["range"]["start"], serde_json::json!({ "line": 13, "character": 8 }));
    assert!(labels(&seen["toml_fields"]).contains(&"headers"));
    assert_eq!(seen["toml_words"], Value::Null, "a name is no program");
    assert_eq!(seen["toml_definition"]["range"]["start"], serde_json::json!({ "line": 7, "character": 7 }));
    assert!(seen["toml_file"]["uri"].as_str().unwrap().ends_with("/cfg/functions/f.hexa"), "{seen}");

    let hover = seen["hover_builtin"]["contents"]["value"].as_str().unwrap();
    assert!(hover.contains("len(") && hover.contains("```hexa"), "{hover}");
    let hover = seen["hover_import"]["contents"]["value"].as_str().unwrap();
    assert!(hover.contains("fn double(xs)") && hover.contains("Twice each of them."), "{hover}");
    assert!(seen["definition"]["uri"].as_str().unwrap().ends_with("/cfg/lib/m.hexa"), "{seen}");
    assert_eq!(seen["definition"]["range"]["start"], serde_json::json!({ "line": 1, "character": 3 }));

    assert!(labels(&seen["fields"]).contains(&"headers") && !labels(&seen["fields"]).contains(&"len"));
    let words = labels(&seen["words"]);
    assert!(["double", "len", "match", "event"].iter().all(|word| words.contains(word)), "{words:?}");
    assert_eq!(seen["layout"], serde_json::json!([]), "it is laid out already");
    assert_eq!(seen["stopped"], true);
}

/// A client that writes and reads the messages of the protocol itself.
struct Client {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Client {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hexafn"));
        let mut child = command.arg("lsp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Writes messages in one go.
    fn write(&mut self, messages: &[Value]) {
        let mut text = String::new();
        for message in messages {
            let message = message.to_string();
            text.push_str(&format!("Content-Length: {}\r\n\r\n{message}", message.len()));
        }
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "the server is gone");
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", n)) => length = n.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.out.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

fn told(method: &str, params: Value) -> Value {
    serde_json::json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

#[test]
fn a_burst_of_changes_of_the_toml_is_checked_once_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "hexafn.toml", CONFIG);
    write(dir.path(), "functions/f.hexa", "event.data\n");
    let uri = format!("file://{}", dir.path().join("hexafn.toml").display());
    let mut client = Client::start();
    let request = |id: i32, method: &str| {
        let mut request = told(method, serde_json::json!({ "capabilities": {} }));
        request["id"] = id.into();
        request
    };
    client.write(&[request(1, "initialize")]);
    assert_eq!(client.read()["id"], 1);
    let open = serde_json::json!({ "uri": uri, "languageId": "toml", "version": 0, "text": CONFIG });
    let mut messages = vec![
        told("initialized", serde_json::json!({})),
        told("textDocument/didOpen", serde_json::json!({ "textDocument": open })),
    ];
    const CHANGES: usize = 200;
    for version in 1..=CHANGES {
        let text = CONFIG.replace("event.data.xs", &format!("event.data.xs{version}.nope("));
        let document = serde_json::json!({ "uri": uri, "version": version });
        let params = serde_json::json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        messages.push(told("textDocument/didChange", params));
    }
    client.write(&messages);
    // What was asked for after the changes is answered in their order.
    client.write(&[request(2, "textDocument/unknown")]);
    let mut published = Vec::new();
    loop {
        let message = client.read();
        if message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == uri.as_str() {
            let findings = message["params"]["diagnostics"].as_array().unwrap().len();
            let version = message["params"]["version"].as_u64().unwrap();
            published.push((version, findings));
            if version == CHANGES as u64 {
                break;
            }
        }
    }
    assert!(published.last().unwrap().1 > 0, "the last text is wrong, and is told of: {published:?}");
    assert!(published.len() < CHANGES / 2, "each text was checked: {} times", published.len());
    client.write(&[request(3, "shutdown"), told("exit", Value::Null)]);
    assert!(client.child.wait().unwrap().success());
}

#[test]
fn a_message_that_says_nothing_does_not_end_the_server() {
    let mut client = Client::start();
    let request = |id: i32, method: &str, params: Value| {
        let mut request = told(method, params);
        request["id"] = id.into();
        request
    };
    client.write(&[request(1, "initialize", serde_json::json!({ "capabilities": {} }))]);
    assert_eq!(client.read()["id"], 1);
    let document = serde_json::json!({ "uri": "file:///f.hexa", "version": 1 });
    client.write(&[
        told("initialized", serde_json::json!({})),
        told("textDocument/didChange", serde_json::json!({ "textDocument": document })),
    ]);
    let logged = client.read();
    assert_eq!(logged["method"], "window/logMessage", "{logged}");
    assert!(logged["params"]["message"].as_str().unwrap().contains("contentChanges"), "{logged}");
    // It goes on, and knows what is behind `?.`, too.
    let open = serde_json::json!({ "uri": "file:///f.hexa", "languageId": "hexa", "version": 2, "text": "event?." });
    let at = serde_json::json!({ "textDocument": document, "position": { "line": 0, "character": 7 } });
    client.write(&[
        told("textDocument/didOpen", serde_json::json!({ "textDocument": open })),
        request(2, "textDocument/completion", at),
    ]);
    assert_eq!(client.read()["method"], "textDocument/publishDiagnostics");
    assert!(labels(&client.read()["result"]).contains(&"headers"));
    client.write(&[request(3, "shutdown", Value::Null), told("exit", Value::Null)]);
    assert!(client.child.wait().unwrap().success());
}

#[test]
fn files_are_laid_out_and_broken_ones_are_left_alone() {
    let scenario = Scenario::new("pipeline");
    let path = |name: &str| scenario.path("cfg/functions").join(name);
    write(&scenario.path("cfg/functions"), "a.hexa", "{a:1,   b:[1,2]} # kept");
    write(&scenario.path("cfg/functions"), "b.hexa", "{ (");
    let ran = scenario.run(&["fmt", "--check", "cfg"]);
    assert!(ran.code == Some(1) && ran.out.contains("a.hexa") && ran.err.contains("b.hexa"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(path("a.hexa")).unwrap(), "{a:1,   b:[1,2]} # kept", "--check changes nothing");

    let ran = scenario.run(&["fmt", "cfg"]);
    assert!(ran.code == Some(1) && ran.err.contains("HX0111"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(path("a.hexa")).unwrap(), "{ a: 1, b: [1, 2] } # kept\n");
    assert_eq!(std::fs::read_to_string(path("b.hexa")).unwrap(), "{ (");

    std::fs::remove_file(path("b.hexa")).unwrap();
    assert_eq!(scenario.run(&["fmt", "--check", "cfg"]).code, Some(0));
}
