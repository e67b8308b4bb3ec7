//! `hexafn demo`: the service in a temporary folder, sample events, and what came of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::client::Client;
use super::new::write_example;
use super::{Done, Failure, Output, say};

const PUSH: &str = include_str!("../../tests/fixtures/github/push.json");

/// The service, ended and cleaned up however the demo ends.
struct Service {
    child: Child,
    dir: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder may be gone: there is nothing more to do then.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Runs the demo.
pub fn run() -> Done {
    let dir = std::env::temp_dir().join(format!("hexafn-demo-{}", std::process::id()));
    let config = dir.join("config");
    write_example(&config)?;
    let (service, base) = start(&dir, &config)?;
    say(format!("hexaFn runs at {base} in {}", service.dir.display()));
    let client = Client::new(&base, None, Output::Table)?;
    say("\n1. a signed GitHub push of several commits");
    hexafn(&service.dir, &base, &["hook", "send", "github", "--event", "push", "--data", PUSH, "--config", "config"])?;
    say("\n2. an event without a signature");
    hexafn(&service.dir, &base, &["hook", "send", "demo", "--data", r#"{"text":"hello"}"#, "--config", "config"])?;
    say("\n3. what the trigger `big-push` made of the push, in the topic `pushes`");
    // The stream begins with what is stored already and waits for what is not: no need to poll.
    hexafn(&service.dir, &base, &["tail", "pushes", "--from", "all", "-n", "1"])?;
    say("\n4. the journey of each event");
    hexafn(&service.dir, &base, &["trace", "ls"])?;
    say("\n5. the targets: `chat` has nobody listening, so its events wait");
    hexafn(&service.dir, &base, &["target", "ls"])?;
    drop(client);
    say("\nThat was all; the folder is removed. Start for real with `hexafn new DIR` and `hexafn serve --config DIR`.");
    Ok(())
}

/// Starts the service on a free port; its first line says where.
fn start(dir: &Path, config: &Path) -> Result<(Service, String), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", "--set", "server.listen=127.0.0.1:0", "--set", "log.level=error", "--config"])
        .arg(config)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take();
    let service = Service { child, dir: dir.to_path_buf() };
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let base = line.split_whitespace().find(|w| w.starts_with("http://")).map(ToOwned::to_owned);
    let base = base.ok_or_else(|| Failure::new(1, "the service did not start; its messages are above"))?;
    Ok((service, base))
}

/// Runs a command of our own, and shows it.
fn hexafn(dir: &Path, base: &str, args: &[&str]) -> Done {
    let shown: Vec<String> =
        args.iter().map(|a| if a.len() > 60 { "@push.json".to_owned() } else { (*a).to_owned() }).collect();
    say(format!("$ hexafn {}", shown.join(" ")));
    let status =
        Command::new(std::env::current_exe()?).args(args).env("HEXAFN_SERVER", base).current_dir(dir).status()?;
    if status.success() { Ok(()) } else { Err(Failure::new(1, format!("`hexafn {}` failed", shown.join(" ")))) }
}
