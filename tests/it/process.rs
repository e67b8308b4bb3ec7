//! The process and what it leaves behind: its limit of open files, the folder of `hexafn demo`.

use super::service::Scenario;
use super::watch::eventually;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// The limits of open files of a process, soft and hard.
fn open_files(pid: u32) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(|w| w.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_open_files_is_raised_and_one_that_is_too_low_is_told() {
    let script = "exec \"$@\" --set log.level=warn 2>told";
    for (limits, told) in [("3000:5000", false), ("300:900", true)] {
        let scenario = Scenario::new("doors");
        let service = scenario.start_by(&["prlimit", &format!("--nofile={limits}")], script);
        let hard = limits.split_once(':').unwrap().1.parse().unwrap();
        assert_eq!(open_files(service.pid()), (hard, hard));
        // It is said before the address is, which was read.
        let log = fs::read_to_string(service.path("told")).unwrap();
        assert_eq!(log.contains("the limit of open files is less than"), told, "{limits}: {log}");
        assert_eq!(log.contains("or set max_connections to 194 or less"), told, "{limits}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_interrupted_stops_its_service_and_leaves_no_folder() {
    let scenario = Scenario::empty();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hexafn"))
        .arg("demo")
        .env("TMPDIR", scenario.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folders = || fs::read_dir(scenario.path("")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    // The data folder is there: the service runs.
    let folder = eventually("the demo's service", async || {
        let folder = folders().pop();
        let runs = folder.as_ref().is_some_and(|f| f.join("data").exists());
        (runs, folder)
    })
    .await
    .unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "for this user alone");
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!name.ends_with(&demo.id().to_string()), "{name} can be guessed");
    let of_demo = |pid: &str| {
        let here = fs::read_link(format!("/proc/{pid}/cwd"));
        here.is_ok_and(|here| here.to_string_lossy().contains(&name))
    };
    let inside = || {
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.filter(|pid| of_demo(pid)).count()
    };
    assert!(inside() >= 1, "its service");
    // To it alone, as a supervisor would; a terminal also tells what it has started.
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    let code = eventually("the demo to end", async || {
        let ended = demo.try_wait().unwrap();
        (ended.is_some(), ended)
    })
    .await;
    assert_eq!(code.unwrap().code(), Some(130));
    assert_eq!(folders(), [] as [std::path::PathBuf; 0]);
    assert_eq!(inside(), 0, "nothing of it runs any more");
}
