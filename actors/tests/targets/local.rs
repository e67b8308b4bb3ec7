//! What needs no server: files, and the standard output of this process.

use super::contract::{SLOW, Subject, build, once, record};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::dup2_stdout;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use tempfile::TempDir;

/// The ids of the CloudEvents on these lines.
fn ids<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Files in a folder of the test. A file system that hangs cannot be had without more rights than a test has.
pub struct Files {
    folder: TempDir,
}

impl Subject for Files {
    const KIND: &'static str = "file";

    async fn start() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn toml(&self) -> String {
        "path = 'out/${event.data.to}.jsonl'\nformat = \"cloudevents\"".into()
    }

    fn places(&self) -> Vec<String> {
        vec!["out/".into()]
    }

    fn base_dir(&self) -> &Path {
        self.folder.path()
    }

    fn good(&self) -> Value {
        json!({ "to": "orders" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "../../orders" })
    }

    async fn refuse(&self) -> Option<Value> {
        std::fs::create_dir_all(self.folder.path().join("out/taken.jsonl")).unwrap();
        Some(json!({ "to": "taken" }))
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("out/orders.jsonl")).unwrap_or_default();
        ids(text.lines()).into_iter().filter(|found| found == id).collect()
    }
}

/// The standard output, read by somebody who may stop reading. All targets of the process write to the same handle, made
/// at the first write: at that moment the standard output is a pipe, and right after it is again what it was.
pub struct Stdout {
    reader: Arc<Reader>,
    /// The end that is written to.
    pipe: File,
}

/// Who reads the pipe, on a thread of its own.
#[derive(Default)]
struct Reader {
    seen: Mutex<Vec<String>>,
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default, PartialEq, Clone, Copy)]
enum Turn {
    #[default]
    Reads,
    ShouldStop,
    Stopped,
}

impl Reader {
    /// Lines that are no events are of tests that ended in the moment that is spoken of above.
    fn run(&self, pipe: PipeReader, mut elsewhere: File) {
        for line in BufReader::new(pipe).lines() {
            let line = line.unwrap();
            if line.starts_with('{') {
                self.seen.lock().unwrap().extend(ids(std::iter::once(line.as_str())));
            } else if !line.is_empty() {
                writeln!(elsewhere, "{line}").unwrap();
            }
            if *self.turn.lock().unwrap() == Turn::ShouldStop {
                self.set(Turn::Stopped);
                self.wait_for(Turn::Reads);
            }
        }
    }

    fn set(&self, turn: Turn) {
        *self.turn.lock().unwrap() = turn;
        self.changed.notify_all();
    }

    fn wait_for(&self, turn: Turn) {
        drop(self.changed.wait_while(self.turn.lock().unwrap(), |now| *now != turn).unwrap());
    }
}

impl Stdout {
    /// Fills the pipe, so that nobody can write any more.
    fn fill(&self) {
        fcntl(&self.pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while (&self.pipe).write(&[b'\n'; 4096]).is_ok() || (&self.pipe).write(b"\n").is_ok() {}
        fcntl(&self.pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    }
}

impl Drop for Stdout {
    /// What a test that failed has left in the way is written, so that its runtime ends.
    fn drop(&mut self) {
        self.reader.set(Turn::Reads);
    }
}

impl Subject for Stdout {
    const KIND: &'static str = "stdout";

    async fn start() -> Self {
        let (read, write) = std::io::pipe().unwrap();
        let before = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let (reader, elsewhere): (Arc<Reader>, _) = (Arc::default(), File::from(before.try_clone().unwrap()));
        let reading = reader.clone();
        std::thread::spawn(move || reading.run(read, elsewhere));
        let subject = Self { reader, pipe: File::from(OwnedFd::from(write)) };
        let (target, record) = (build(&subject), record(&subject.good()));
        dup2_stdout(&subject.pipe).unwrap();
        let outcome = once(&*target, &record).await;
        dup2_stdout(&before).unwrap();
        assert!(outcome.is_delivered(), "{outcome:?}");
        subject
    }

    fn toml(&self) -> String {
        "format = \"template\"\nbody = '{\"id\":${to_json(event.id)},\"n\":${event.data.n + 1}}'".into()
    }

    fn places(&self) -> Vec<String> {
        vec!["standard output".into()]
    }

    fn good(&self) -> Value {
        json!({ "n": 1 })
    }

    fn bad(&self) -> Value {
        json!({ "n": "one" })
    }

    /// Who reads it cannot refuse a line.
    async fn refuse(&self) -> Option<Value> {
        None
    }

    async fn hang(&self) -> bool {
        self.reader.set(Turn::ShouldStop);
        // It looks whether it should go on after each line.
        (&self.pipe).write_all(b"\n").unwrap();
        tokio::task::block_in_place(|| self.reader.wait_for(Turn::Stopped));
        self.fill();
        true
    }

    /// A line that waits for room in a full pipe leaves no trace that could be waited for.
    async fn reached(&self) {
        tokio::time::sleep(SLOW).await;
    }

    async fn slow(&self) {
        self.hang().await;
        let reader = self.reader.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SLOW).await;
            reader.set(Turn::Reads);
        });
    }

    async fn recover(&self) {
        self.reader.set(Turn::Reads);
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        self.reader.seen.lock().unwrap().iter().filter(|seen| *seen == id).cloned().collect()
    }
}
