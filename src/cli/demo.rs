//! `hexafn demo`: the service in a temporary folder, sample events, and what came of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::new::write_example;
use super::{Done, Failure, say};

const PUSH: &str = include_str!("../../tests/fixtures/github/push.json");

/// Runs the demo. However it ends, also by Ctrl-C: the service is stopped, and the folder removed.
pub fn run() -> Done {
    // With a name that nobody can guess, for this user alone: in a folder of others a stranger could lay links out.
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("hexafn-demo-").permissions(Permissions::from_mode(0o700)).tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut service = None;
        let shown = tokio::select! {
            shown = show(folder.path(), &mut service) => shown,
            _ = interrupt.recv() => Err(Failure::new(130, "interrupted; the folder is removed")),
            _ = terminate.recv() => Err(Failure::new(143, "terminated; the folder is removed")),
        };
        if let Some(mut service) = service {
            // Waited for, so that it writes nothing where the folder was. It may have ended by itself.
            service.kill().await.ok();
        }
        shown
    });
    folder.close()?;
    shown?;
    say("\nThat was all; the folder is removed. Start for real with `hexafn new DIR` and `hexafn serve --config DIR`.");
    Ok(())
}

async fn show(folder: &Path, service: &mut Option<Child>) -> Done {
    write_example(&folder.join("config"))?;
    let base = start(folder, service).await?;
    say(format!("hexaFn runs at {base} in {}", folder.display()));
    let hexafn = async |args: &[&str]| hexafn(folder, &base, args).await;
    say("\n1. a signed GitHub push of several commits");
    hexafn(&["hook", "send", "github", "--event", "push", "--data", PUSH, "--config", "config"]).await?;
    say("\n2. an event without a signature");
    hexafn(&["hook", "send", "demo", "--data", r#"{"text":"hello"}"#, "--config", "config"]).await?;
    say("\n3. what the trigger `big-push` made of the push, in the topic `pushes`");
    // The stream begins with what is stored already and waits for what is not: no need to poll.
    hexafn(&["tail", "pushes", "--from", "all", "-n", "1"]).await?;
    say("\n4. the journey of each event");
    hexafn(&["trace", "ls"]).await?;
    say("\n5. the targets: `chat` has nobody listening, so its events wait");
    hexafn(&["target", "ls"]).await
}

/// Starts the service on a free port; its first line says where.
async fn start(folder: &Path, service: &mut Option<Child>) -> Result<String, Failure> {
    let child = Command::new(std::env::current_exe()?)
        .args(["serve", "--set", "server.listen=127.0.0.1:0", "--set", "log.level=error", "--config", "config"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = service.insert(child).stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    let base = line.split_whitespace().find(|w| w.starts_with("http://")).map(ToOwned::to_owned);
    base.ok_or_else(|| Failure::new(1, "the service did not start; its messages are above"))
}

/// Runs a command of our own, and shows it.
async fn hexafn(folder: &Path, base: &str, args: &[&str]) -> Done {
    let shown: Vec<String> =
        args.iter().map(|a| if a.len() > 60 { "@push.json".to_owned() } else { (*a).to_owned() }).collect();
    say(format!("$ hexafn {}", shown.join(" ")));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).env("HEXAFN_SERVER", base).current_dir(folder).kill_on_drop(true);
    if command.status().await?.success() {
        return Ok(());
    }
    Err(Failure::new(1, format!("`hexafn {}` failed", shown.join(" "))))
}
