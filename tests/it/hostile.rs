//! The hostile programs of `runtimes/tests/hostile` once more, each in a worker process of the built binary: also those
//! that no engine can stop from within. Each is stopped in time, whoever stops it, and its process
//! grows by no more than a bound. After each the next call finds a process that serves, the same or a fresh one.

use hexafn_runtimes::process::{Launcher, Process};
use hexafn_runtimes::{Code, Ctx, Error, Grants, Limits, NoHost, Settings, Source};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WALL: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_millis(250);
/// What a call may add to the memory of a process, in KiB.
const GROWTH: u64 = 64 << 10;
/// How often a program is tried that took too long: the machine is busy with other tests, and one that is not stopped in time
/// never is.
const TRIES: usize = 4;

fn settings() -> Arc<Settings> {
    let grants = Grants {
        emit: vec!["orders.*".into()],
        kv: vec!["carts".into()],
        http: vec!["api.example.com".into()],
        log: true,
        time: true,
        random: true,
    };
    Arc::new(Settings {
        limits: Limits { wall: WALL, memory: 16 << 20, output: 64 << 10, ..Limits::default() },
        grants,
    })
}

fn programs(language: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes/tests/hostile").join(language);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

/// A line of what the kernel says of a process, in KiB; none when it is gone.
fn kib(process: u32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix(line))?.trim().trim_end_matches(" kB").parse().ok()
}

/// How a call ended.
struct Called {
    result: Result<(), Error>,
    /// Whether the process is gone.
    lost: bool,
    took: Duration,
    /// By how much its memory grew, in KiB, as far as it was seen.
    grew: u64,
}

fn call(process: &mut Process) -> Called {
    let (id, over) = (process.id(), AtomicBool::new(false));
    let before = kib(id, "VmRSS:").unwrap();
    std::thread::scope(|scope| {
        // The most that it ever had; the last look is a few milliseconds before a process is gone.
        let seen = scope.spawn(|| {
            let mut most = before;
            while !over.load(Ordering::Relaxed) {
                most = kib(id, "VmHWM:").unwrap_or(0).max(most);
                std::thread::sleep(Duration::from_millis(5));
            }
            kib(id, "VmHWM:").unwrap_or(0).max(most)
        });
        let began = Instant::now();
        let called = process.call(br#"{"id":"1","data":{}}"#, &Ctx::default(), &NoHost);
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        let grew = seen.join().unwrap() - before;
        match called {
            Ok(done) => Called { result: done.result.map(drop), lost: false, took, grew },
            Err(lost) => Called { result: lost.done.result.map(drop), lost: true, took, grew },
        }
    })
}

fn walk(language: &str) {
    let launcher = Launcher { program: env!("CARGO_BIN_EXE_hexafn").into(), args: vec!["worker".into()] };
    let settings = settings();
    let (mut killed, mut wrong) = (0, Vec::new());
    for path in programs(language) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let code = fs::read(&path).unwrap();
        let first = String::from_utf8_lossy(code.split(|b| *b == b'\n').next().unwrap()).into_owned();
        let expected = first.split_once("expect: ").unwrap().1.to_owned();
        let source = Source { name: "hostile".into(), file: name.as_str().into(), code: code.into() };
        let start = || Process::start(&launcher, language, &source, &settings);
        let mut process = match start() {
            Ok(process) => process,
            // Refused when it is compiled.
            Err(error) => {
                if !expected.split(" or ").any(|e| e == error.code.as_str()) {
                    wrong.push(format!("{name}: {error}, expected {expected}"));
                }
                continue;
            }
        };
        let mut called = call(&mut process);
        for _ in 1..TRIES {
            if called.took <= WALL + SLACK {
                break;
            }
            process = start().unwrap();
            called = call(&mut process);
        }
        let Called { result: ended, lost, took, grew } = called;
        let code = ended.as_ref().map_or_else(|e| e.code.as_str(), |()| "ok");
        let fits = match &*expected {
            // Or by a limit that it happens to reach first.
            "killed" => ended.is_err(),
            expected => expected.split(" or ").any(|e| e == code),
        };
        killed += usize::from(lost && code == Code::Timeout.as_str());
        // A machine that is busy with the other tests makes an engine late, and then a kill comes first.
        let late = lost && code == Code::Timeout.as_str();
        if !(fits || late) {
            wrong.push(format!("{name}: {ended:?}, expected {expected}"));
        }
        if took > WALL + SLACK {
            wrong.push(format!("{name}: {took:?} in each of {TRIES} tries"));
        }
        if grew > GROWTH {
            wrong.push(format!("{name}: its process grew by {grew} KiB"));
        }
        if !lost && expected != "killed" {
            // It may end late once more, but not crash.
            let again = call(&mut process);
            let late = again.result.as_ref().is_err_and(|e| e.code == Code::Timeout);
            if again.lost && !late {
                wrong.push(format!("{name}: its process was lost by the second call: {:?}", again.result));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(killed > 0, "those that only a kill stops were killed");
}

#[test]
fn hostile_javascript_is_stopped_in_its_process() {
    walk("js");
}

#[test]
fn hostile_lua_is_stopped_in_its_process() {
    walk("lua");
}
