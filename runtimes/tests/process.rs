//! Worker processes that do not keep to what was agreed: taken over by their function, or ended by the system. A shell stands in
//! for them, whose standard input is the socket.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hexafn_runtimes::process::{Launcher, Lost, Process};
use hexafn_runtimes::protocol::{DoneHead, Kind, Load, Ready, write};
use hexafn_runtimes::{Code, Ctx, Error, Grants, Level, Limits, Line, NoHost, Settings, Source, Usage};

/// Bytes as `printf` of a shell writes them.
fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

fn frame(kind: Kind, head: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, kind, head, b"").unwrap();
    bytes
}

/// A process that says that it is ready, and then runs this.
fn process(then: &str) -> Process {
    granted(then, true)
}

/// The same, that may log or not.
fn granted(then: &str, log: bool) -> Process {
    let limits = Limits { wall: Duration::from_millis(500), logs: 100, host_calls: 3, ..Limits::default() };
    let grants = Grants { log, ..Grants::default() };
    let settings = Arc::new(Settings { limits, grants });
    let (language, name, file) = ("js".to_owned(), "test".to_owned(), "test".to_owned());
    let load = frame(Kind::Load, &Load { language, name, file, settings: Settings::clone(&settings), prove: false });
    let ready = octal(&frame(Kind::Ready, &Ready { sandbox: String::new() }));
    // What it is to load is read, so that what it reads after that is the call, and its end breaks nothing off.
    let script = format!("/usr/bin/head -c {} >/dev/null <&0; printf '{ready}' >&0; {then}", load.len());
    let launcher = Launcher { program: "/bin/sh".into(), args: vec!["-c".into(), script] };
    let source = Source { name: "test".into(), file: "test".into(), code: Arc::from(&b""[..]) };
    Process::start(&launcher, "js", &source, &settings).unwrap()
}

fn lost(mut process: Process) -> Box<Lost> {
    process.call(b"{}", &Ctx::default(), &NoHost).expect_err("it is of no use any more")
}

#[test]
fn one_that_closes_its_socket_and_stays_is_killed_at_once() {
    let began = Instant::now();
    let lost = lost(process("exec /bin/sleep 1000 </dev/null >/dev/null"));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!lost.killed);
    let error = lost.done.result.unwrap_err();
    assert_eq!(error.code, Code::Crashed);
    assert!(error.message.contains("signal 9"), "{error}");
}

#[test]
fn what_one_ends_with_by_itself_is_told() {
    // The call is read first, so that the end is in it.
    let first = "/usr/bin/head -c 1 >/dev/null <&0;";
    for (end, said) in [("exit 7", "status 7"), ("kill -SEGV $$", "signal 11 (SIGSEGV)")] {
        let lost = lost(process(&format!("{first} {end}")));
        let error = lost.done.result.unwrap_err();
        assert!(error.code == Code::Crashed && error.message.contains(said), "{end}: {error}");
    }
}

#[test]
fn what_one_writes_on_its_standard_error_is_told_with_its_end_and_bounded() {
    let script = "echo no room >&2; exit 7";
    let launcher = Launcher { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let source = Source { name: "test".into(), file: "test".into(), code: Arc::from(&b""[..]) };
    let settings = Arc::new(Settings::default());
    let error = Process::start(&launcher, "js", &source, &settings).expect_err("it has ended");
    assert!(error.code == Code::Crashed && error.message.ends_with("status 7: no room"), "{error}");
    // More than anybody reads holds it up as little as it fills the log of the service.
    let much = "/usr/bin/head -c 1 >/dev/null <&0; echo first >&2; /usr/bin/yes >&2; exit 7";
    let error = lost(process(much)).done.result.unwrap_err();
    assert!(error.message.contains("status 7: first") && error.message.len() < 1_100, "{error}");
    // What an engine fails on is in its own words.
    let head = DoneHead { error: Some(Error::new(Code::Trap, "it failed")), ..DoneHead::default() };
    let done = octal(&frame(Kind::Done, &head));
    let mut trapped = process(&format!("echo why >&2; printf '{done}' >&0; exec /bin/sleep 1000"));
    let error = trapped.call(b"{}", &Ctx::default(), &NoHost).unwrap().result.unwrap_err();
    assert_eq!((error.code, &*error.message), (Code::Trap, "it failed: why"));
}

#[test]
fn a_call_that_reached_nobody_had_not_begun() {
    let mut gone = process("exit 0");
    // Its socket is closed when it is a zombie.
    let stat = format!("/proc/{}/stat", gone.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let lost = gone.call(b"{}", &Ctx::default(), &NoHost).expect_err("nobody is there");
    assert!(!lost.begun && !lost.killed);
    assert!(self::lost(process("/usr/bin/head -c 1 >/dev/null <&0; exit 0")).begun);
}

#[test]
fn what_one_says_is_held_against_limits_however_it_is_said() {
    let line = |message: &str| Line { level: Level::Info, message: message.to_owned() };
    let logs = |logs| DoneHead { dropped: true, logs, ..DoneHead::default() };
    let long = Error { message: "x".repeat(2 * Error::LONGEST), ..Error::new(Code::Thrown, "") };
    let said = |head: &DoneHead, log: bool| {
        let done = octal(&frame(Kind::Done, head));
        granted(&format!("printf '{done}' >&0; exec /bin/sleep 1000"), log).call(b"{}", &Ctx::default(), &NoHost)
    };
    for wrong in [
        logs(vec![line(&"x".repeat(101))]),
        logs(vec![line(""); 4]),
        DoneHead { error: Some(long), ..DoneHead::default() },
    ] {
        let error = said(&wrong, true).expect_err("it breaks a limit").done.result.unwrap_err();
        assert!(error.code == Code::Crashed && error.message.contains("protocol"), "{error}");
    }
    let mut right = logs(vec![line("one"), line("two")]);
    right.usage = Usage {
        wall: Duration::MAX,
        cpu: Some(Duration::MAX),
        fuel: Some(u64::MAX),
        peak_memory: Some(u64::MAX),
        host_calls: u64::MAX,
        output_bytes: u64::MAX,
        logs_refused: u64::MAX,
    };
    let ungranted = said(&right, false).expect_err("it may not log").done.result.unwrap_err();
    assert!(ungranted.message.contains("not granted"), "{ungranted}");
    let done = said(&right, true).unwrap();
    let Usage { peak_memory, host_calls, output_bytes, logs_refused, .. } = done.usage;
    assert!(peak_memory < Some(1 << 30) && output_bytes < 1 << 20, "{:?}", done.usage);
    assert_eq!((host_calls, logs_refused), (3, 3));
    assert_eq!(done.logs, [line("one"), line("two")]);
    assert!(done.usage.wall < Duration::from_secs(1) && done.usage.cpu < Some(Duration::from_secs(1)));
    // What is announced and is longer than anything it may say is not waited for.
    let began = Instant::now();
    let frame = octal(&[0xff, 0xff, 0xff, 0x03, 7]);
    let lost = lost(process(&format!("printf '{frame}' >&0; exec /bin/sleep 1000")));
    assert!(!lost.killed && began.elapsed() < Duration::from_millis(500), "{:?}", lost.done);
}
