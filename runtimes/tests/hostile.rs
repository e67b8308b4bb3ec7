//! Programs that mean harm, or are as bad as if they did: each file of `hostile/` names in its first line how it ends.
//! `killed` marks those that no engine can stop from within; the worker process stops them, so they are left out here.
#![allow(clippy::unwrap_used)]

#[path = "support/scripts.rs"]
mod scripts;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hexafn_runtimes::{Ctx, Error, JsRuntime, Limits, LuaRuntime, Runtime, Session, Settings, Source, run};
use scripts::{TestHost, grants};

const WALL: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(250);
/// How far the memory of the process may grow meanwhile, in bytes.
const GROWTH: usize = 64 << 20;

/// What is measured is the process's: one corpus at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        limits: Limits { wall: WALL, memory: 16 << 20, output: 64 << 10, ..Limits::default() },
        grants: grants(),
    })
}

/// How long this thread has run. Nothing here waits for anything, so it is the wall-clock time less that of other
/// processes, which would make the test fail for no fault of the engine.
fn running() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() << 10
}

fn end(runtime: &dyn Runtime, file: &str, code: Vec<u8>) -> Result<(), Error> {
    let source = Source { name: "hostile".into(), file: file.into(), code: code.into() };
    let settings = settings();
    let mut instance = runtime.compile(&source, &settings)?.open()?;
    let session = Session::new(settings, Arc::new(Ctx::default()), Arc::new(TestHost::default()));
    run(&mut *instance, b"{}", session).result.map(drop)
}

fn walk(runtime: &'static dyn Runtime, good: &'static str, at_least: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(runtime.name());
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} programs", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let code = fs::read(&path).unwrap();
        let first = code.split(|b| *b == b'\n').next().unwrap();
        let first = String::from_utf8_lossy(first);
        let expected = first.split_once("expect: ").unwrap_or_else(|| panic!("{name} says nothing")).1.to_owned();
        if expected == "killed" {
            continue;
        }
        // The peak of the resident memory begins anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS:");
        let started = running();
        let ended = end(runtime, &name, code);
        let (took, grew) = (running() - started, status("VmHWM:").saturating_sub(before));
        let (code, said) = ended.map_or_else(|e| (e.code.as_str(), e.to_string()), |()| ("ok", String::new()));
        if !expected.split(" or ").any(|e| e == code) {
            wrong.push(format!("{name}: {code}, expected {expected}: {said}"));
        }
        if took > WALL + SLACK {
            wrong.push(format!("{name}: took {took:?}"));
        }
        if grew > GROWTH {
            wrong.push(format!("{name}: grew by {} MiB", grew >> 20));
        }
        // And the next one is none the worse.
        let neighbour = end(runtime, "good", good.as_bytes().to_vec());
        assert_eq!(neighbour, Ok(()), "after {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn javascript_is_stopped() {
    walk(&JsRuntime, "export default (event, ctx) => ({ ...event, ok: [1, 2].map((n) => n + 1) })", 40);
}

#[test]
fn lua_is_stopped() {
    walk(&LuaRuntime, "return function(event, ctx) return {ok = string.rep('x', 3)} end", 30);
}
