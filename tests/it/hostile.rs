//! The hostile programs of `runtimes/tests/hostile` once more, each in a worker process of the built binary: also those
//! that no engine can stop from within. After each the next call finds a process that serves, the same or a fresh one.

use hexafn_runtimes::process::{Launcher, Process};
use hexafn_runtimes::{Code, Ctx, Error, Grants, Limits, NoHost, Settings, Source};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WALL: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_millis(250);

fn settings() -> Arc<Settings> {
    let grants =
        Grants { emit: vec!["orders.*".into()], kv: vec!["carts".into()], http: vec!["api.example.com".into()] };
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

/// How a call ended, whether the process is gone, and how long it took.
fn call(process: &mut Process) -> (Result<(), Error>, bool, Duration) {
    let began = Instant::now();
    let called = process.call(br#"{"id":"1","data":{}}"#, &Ctx::default(), &NoHost);
    let took = began.elapsed();
    match called {
        Ok(done) => (done.result.map(drop), false, took),
        Err(lost) => (lost.done.result.map(drop), true, took),
    }
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
        let mut process = match Process::start(&launcher, language, &source, &settings) {
            Ok(process) => process,
            // Refused when it is compiled.
            Err(error) => {
                if !expected.split(" or ").any(|e| e == error.code.as_str()) {
                    wrong.push(format!("{name}: {error}, expected {expected}"));
                }
                continue;
            }
        };
        let (ended, lost, took) = call(&mut process);
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
        if took > WALL + SLACK + Duration::from_secs(1) {
            wrong.push(format!("{name}: {took:?}"));
        }
        if !lost && call(&mut process).1 && expected != "killed" {
            // It may end late once more, but not crash.
            let (ended, ..) = call(&mut process);
            wrong.push(format!("{name}: its process was lost by the second call: {ended:?}"));
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
