//! The service under test: the built binary in a folder of its own, with the configuration of a scenario.

use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use tokio::task::block_in_place;

/// The secret of Standard Webhooks: what is sent to scenarios and what they send is signed with it.
pub const SIGN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The secret of the other schemes.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The one that replaces it.
pub const NEW_KEY: &str = "fedcba9876543210fedcba9876543210";

/// The built binary, in a folder.
fn binary(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexafn"));
    command.args(args).current_dir(dir);
    command
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The standard output as JSON; the command must have succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// Replaces what must be there: an edit that misses would leave a test without its subject.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration holds no `{from}`:\n{text}");
    text.replace(from, to)
}

/// A folder with the configuration of `tests/scenarios/<name>` in `cfg`, before anything is started.
pub struct Scenario {
    dir: TempDir,
}

impl Scenario {
    /// The scenario, with the secrets that it may refer to.
    pub fn new(name: &str) -> Self {
        let scenario = Self::empty();
        scenario.lay(name);
        scenario
    }

    /// A folder with nothing in it.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder whose `cfg` holds nothing yet.
    pub fn empty_config() -> Self {
        let scenario = Self::empty();
        std::fs::create_dir_all(scenario.path("cfg")).unwrap();
        scenario
    }

    /// Lays the files of a scenario over what is there.
    pub fn lay(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name);
        let to = self.path("cfg");
        std::fs::create_dir_all(to.join("secrets")).unwrap();
        for entry in std::fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        for (name, secret) in [("sign", SIGN), ("key", KEY), ("new-key", NEW_KEY)] {
            let path = to.join("secrets").join(name);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
            file.write_all(secret.as_bytes()).unwrap();
        }
    }

    /// Puts an address where the scenario says `{{receiver}}`.
    pub fn receiver(self, base: &str) -> Self {
        for entry in std::fs::read_dir(self.path("cfg")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, text.replace("{{receiver}}", base)).unwrap();
            }
        }
        self
    }

    /// Changes `hexafn.toml`.
    pub fn edit(self, from: &str, to: &str) -> Self {
        let text = replaced(&self.text(), from, to);
        self.file("hexafn.toml", &text)
    }

    /// Writes a file of the configuration.
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path("cfg").join(name), text).unwrap();
        self
    }

    /// The text of `hexafn.toml`.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.path("cfg/hexafn.toml")).unwrap()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Runs the command line in the folder; no service is there.
    pub fn run(&self, args: &[&str]) -> Ran {
        // A port that nothing listens on: a developer's own service on 8080 is not asked.
        let mut command = binary(self.dir.path(), args);
        Ran::of(command.env("HEXAFN_SERVER", "http://127.0.0.1:9").output().unwrap())
    }

    /// Runs the command line in the folder, with its output and its errors where they are wanted.
    pub fn run_to(&self, args: &[&str], out: impl Into<Stdio>, err: impl Into<Stdio>) -> Ran {
        let mut command = binary(self.dir.path(), args);
        Ran::of(command.env("HEXAFN_SERVER", "http://127.0.0.1:9").stdout(out).stderr(err).output().unwrap())
    }

    /// Starts the command line in the folder, with its output to be read.
    pub fn spawn(&self, args: &[&str]) -> Child {
        binary(self.dir.path(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command line with a file of the folder as its standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let input = std::fs::File::open(self.path(input)).unwrap();
        Ran::of(binary(self.dir.path(), args).stdin(input).output().unwrap())
    }

    /// Starts the service.
    pub fn start(self) -> Service {
        let (child, base) = launch(binary(self.dir.path(), &SERVE));
        Service { scenario: self, base, child }
    }

    /// Starts the service with this log level; the log is in the file `log`.
    pub fn start_logged(self, level: &str) -> Service {
        let level = format!("log.level={level}");
        let mut args = SERVE;
        args[SERVE.len() - 1] = &level;
        let mut command = binary(self.dir.path(), &args);
        command.stderr(std::fs::File::create(self.path("log")).unwrap());
        let (child, base) = launch(command);
        Service { scenario: self, base, child }
    }

    /// Starts the service by a shell, which does something before: `script` ends with `exec "$@"`.
    pub fn start_by(self, program: &[&str], script: &str) -> Service {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_hexafn")]).args(SERVE);
        command.current_dir(self.dir.path());
        let (child, base) = launch(command);
        Service { scenario: self, base, child }
    }
}

/// A running service.
pub struct Service {
    pub scenario: Scenario,
    pub base: String,
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The arguments of a start on a free port.
pub const SERVE: [&str; 7] =
    ["serve", "--config", "cfg", "--set", "server.listen=127.0.0.1:0", "--set", "log.level=error"];

/// Starts, and reads the address. The pipe is dropped with the first line read: a service whose standard output is gone goes on.
fn launch(mut command: Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.split_whitespace().find(|w| w.starts_with("http://")).expect("the first line names the address");
    (child, base.to_owned())
}

impl Service {
    /// Changes `hexafn.toml`, without a reload.
    pub fn edit(&self, from: &str, to: &str) {
        self.configure("hexafn.toml", &replaced(&self.scenario.text(), from, to));
    }

    /// Writes a file of the configuration in one step: a reload sees the old text or the new one, and never a part.
    pub fn configure(&self, name: &str, text: &str) {
        std::fs::write(self.path("written"), text).unwrap();
        std::fs::rename(self.path("written"), self.path("cfg").join(name)).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        block_in_place(|| {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        });
    }

    /// SIGKILL, then a start on the same data.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// SIGTERM; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    /// The exit code of a process that was told to end.
    pub fn ended(&mut self) -> Option<i32> {
        block_in_place(|| self.child.wait().unwrap().code())
    }

    /// Starts on the same data after the process has ended.
    pub fn start_again(&mut self) {
        (self.child, self.base) = block_in_place(|| launch(binary(self.scenario.dir.path(), &SERVE)));
    }

    /// Starts on the same data and at the same address, where those who were connected look for it.
    pub fn start_again_there(&mut self) {
        let listen = format!("server.listen={}", self.base.trim_start_matches("http://"));
        let mut args = SERVE;
        args[4] = &listen;
        (self.child, self.base) = block_in_place(|| launch(binary(self.scenario.dir.path(), &args)));
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.scenario.path(relative)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Runs the command line against this service. The receivers and senders of the test go on meanwhile.
    pub fn hexafn(&self, args: &[&str]) -> Ran {
        self.hexafn_with(&[], args)
    }

    /// The same with further variables of the environment.
    pub fn hexafn_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = binary(self.scenario.dir.path(), args);
        command.env("HEXAFN_SERVER", &self.base).envs(variables.iter().copied());
        Ran::of(block_in_place(|| command.output().unwrap()))
    }

    /// The same, which must succeed, as JSON.
    pub fn ask(&self, args: &[&str]) -> Value {
        self.hexafn(&[&["-o", "json"], args].concat()).json()
    }
}
