//! `hexafn run --watch`: again at each change of what it was made of.

use super::service::Scenario;
use super::watch::PATIENCE;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

/// The lines of a stream, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    });
    rx
}

/// A command that watches, ended with its test.
struct Watching {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Watching {
    fn start(scenario: &Scenario, args: &[&str]) -> Self {
        let mut child = scenario.spawn(&[&["run", "--watch"], args].concat());
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    fn printed(&self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{e}: {:?}", self.err.try_iter().collect::<Vec<_>>()))
    }

    /// Waits for a line on the standard error.
    fn said(&self, part: &str) {
        while !self.err.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{e}: no line with {part}")).contains(part) {}
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_file_runs_again_when_it_or_its_event_changes() {
    let scenario = Scenario::empty();
    let write = |name: &str, text: &str| std::fs::write(scenario.path(name), text).unwrap();
    write("times.js", "export default (event) => event.data.n * 2");
    write("event.json", r#"{"data":{"n":21}}"#);
    let run = Watching::start(&scenario, &["times.js", "--event", "event.json"]);
    assert_eq!(run.printed(), "42");
    // In place, as some editors write.
    write("times.js", "export default (event) => event.data.n * 3");
    assert_eq!(run.printed(), "63");
    // By a new file that is put in its place, as others do.
    write("new", r#"{"data":{"n":1}}"#);
    std::fs::rename(scenario.path("new"), scenario.path("event.json")).unwrap();
    assert_eq!(run.printed(), "3");
    // What is wrong is told, and the next change is waited for.
    write("times.js", "export default (event) =>\n  event..data");
    run.said("line 2");
    std::fs::remove_file(scenario.path("event.json")).unwrap();
    run.said("event.json");
    write("event.json", r#"{"data":{"n":2}}"#);
    write("times.js", "export default (event) => event.data.n * 5");
    assert_eq!(run.printed(), "10");
}

#[test]
fn a_configured_function_runs_again_when_its_configuration_changes() {
    let scenario = Scenario::empty_config().file("f.toml", "[[function]]\nname = \"n\"\nfile = \"n.hexa\"\n");
    std::fs::write(scenario.path("cfg/n.hexa"), "event.data.n + 1").unwrap();
    std::fs::write(scenario.path("data.json"), r#"{"n":1}"#).unwrap();
    let run = Watching::start(&scenario, &["n", "--config", "cfg", "--data", "@data.json"]);
    assert_eq!(run.printed(), "2");
    std::fs::write(scenario.path("cfg/n.hexa"), "event.data.n + 2").unwrap();
    assert_eq!(run.printed(), "3");
    std::fs::write(scenario.path("cfg/f.toml"), "[[function]]\nname = \"n\"\ncode = \"event.data.n + 3\"\n").unwrap();
    assert_eq!(run.printed(), "4");
    std::fs::write(scenario.path("data.json"), r#"{"n":2}"#).unwrap();
    assert_eq!(run.printed(), "5");
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let scenario = Scenario::empty_config();
    std::fs::write(scenario.path("f.js"), "export default () => 1").unwrap();
    for (args, code, said) in [
        (&["f.js", "--data", "-"][..], 2, "standard input can be read once"),
        (&["f.js", "--event", "-"], 2, "standard input can be read once"),
        (&["none/f.js", "--data", "1"], 1, "none/f.js"),
        (&["f", "--config", "none", "--data", "1"], 1, "none"),
    ] {
        let ran = scenario.run(&[&["run", "--watch"], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}
