//! A fuzzer for what surrounds functions: `cargo run --release -p hexafn-runtimes --example fuzz_runtimes -- [TARGET] [SECONDS] [SEED]`, or
//! `scripts/fuzz`.
//!
//! Targets: `protocol` (frames between service and worker, taken apart and put together again), `abi` (modules that call the
//! host with any pointers and lengths, and give any result), `values` (JSON that JavaScript and Lua hand on with all its
//! digits). A panic, a run past its deadline, or a value that changed ends it with the input printed.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/support/canonical.rs"]
mod canonical;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canonical::canonical;
use hexafn_runtimes::protocol::{Answer, Ask, DoneHead, Kind, Load, Ready, read, write};
use hexafn_runtimes::{
    Code, Ctx, Done, Emit, Grants, HttpRequest, HttpResponse, Language, Level, Limits, Line, NoHost, Output, Session,
    Settings, Source, Usage, Write, run,
};

/// xorshift64*, so that a seed gives the same inputs everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap_or(0)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// One frame of each kind.
fn frames() -> Vec<Vec<u8>> {
    let framed = |kind, head: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut bytes = Vec::new();
        head(&mut bytes).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        bytes
    };
    let load = Load {
        language: "js".into(),
        name: "f".into(),
        file: "f.js".into(),
        settings: Settings::default(),
        prove: false,
    };
    let ask = Ask::KvGet { namespace: "carts".into(), key: "a".into() };
    let request = Ask::Http(HttpRequest { url: "http://a/".into(), ..HttpRequest::default() });
    let answer =
        Answer::Http(Ok(HttpResponse { status: 200, headers: vec![("a".into(), "b".into())], body: "c".into() }));
    let output = Output {
        value: Some(b"[1]".to_vec().into()),
        emitted: vec![Emit { topic: "t".into(), key: Some("k".into()), data: "{}".into() }],
        writes: vec![Write { namespace: "n".into(), key: "k".into(), value: None }],
    };
    let logs = vec![Line { level: Level::Info, message: "x".into() }];
    let (head, tail) = DoneHead::of(Done { result: Ok(output), usage: Usage::default(), logs, logs_cut: false });
    vec![
        framed(Kind::Load, &|to| write(to, Kind::Load, &load, b"export default () => 1")),
        framed(Kind::Call, &|to| write(to, Kind::Call, &Ctx::default(), b"{}")),
        framed(Kind::Answer, &|to| write(to, Kind::Answer, &answer, b"")),
        framed(Kind::Ready, &|to| write(to, Kind::Ready, &Ready { sandbox: "none".into() }, b"")),
        framed(Kind::Ask, &|to| write(to, Kind::Ask, &ask, b"")),
        framed(Kind::Ask, &|to| write(to, Kind::Ask, &request, b"")),
        framed(Kind::Done, &|to| write(to, Kind::Done, &head, &tail)),
    ]
}

fn protocol(random: &mut Random) -> String {
    let corpus = frames();
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        bytes.extend(&corpus[random.below(corpus.len())]);
    }
    for _ in 0..random.below(6) {
        let (a, b) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        match random.below(6) {
            0 if a < bytes.len() => bytes[a] = random.next() as u8,
            1 => drop(bytes.drain(from..to)),
            2 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(a..a, again);
            }
            3 => bytes.truncate(a),
            4 if bytes.len() > 8 => {
                let length = random.of(&[0, 1, 5, 9, 255, 64 << 20, (64 << 20) + 1, u32::MAX]);
                let at = random.of(&[0, 5]);
                bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
            _ => {
                let more = random.next().to_le_bytes();
                bytes.splice(a..a, more);
            }
        }
    }
    let mut from = &bytes[..];
    while let Ok(Some(frame)) = read(&mut from) {
        drop(frame.head::<Load>());
        drop(frame.head::<Ready>());
        drop(frame.head::<Ask>());
        drop(frame.head::<Answer>());
        drop(frame.head::<Ctx>());
        drop(frame.head::<DoneHead>().map(|head| head.done(frame.tail.clone())));
    }
    format!("{bytes:?}")
}

/// The imports of `hexafn` and of WASI with their parameters; `I` has 64 bits.
const IMPORTS: [(&str, &str, &str, &str); 24] = [
    ("hexafn", "log", "iii", ""),
    ("hexafn", "emit", "iiiiii", ""),
    ("hexafn", "env", "ii", "i"),
    ("hexafn", "kv_get", "iiii", "i"),
    ("hexafn", "kv_put", "iiiiii", ""),
    ("hexafn", "kv_delete", "iiii", ""),
    ("hexafn", "http", "ii", "i"),
    ("hexafn", "take", "ii", "i"),
    ("hexafn", "now_ms", "", "I"),
    ("hexafn", "random", "", "I"),
    ("hexafn", "fail", "ii", ""),
    ("wasi_snapshot_preview1", "args_sizes_get", "ii", "i"),
    ("wasi_snapshot_preview1", "clock_time_get", "iIi", "i"),
    ("wasi_snapshot_preview1", "environ_get", "ii", "i"),
    ("wasi_snapshot_preview1", "environ_sizes_get", "ii", "i"),
    ("wasi_snapshot_preview1", "fd_fdstat_get", "ii", "i"),
    ("wasi_snapshot_preview1", "fd_filestat_get", "ii", "i"),
    ("wasi_snapshot_preview1", "fd_read", "iiii", "i"),
    ("wasi_snapshot_preview1", "fd_seek", "iIii", "i"),
    ("wasi_snapshot_preview1", "fd_write", "iiii", "i"),
    ("wasi_snapshot_preview1", "path_open", "iiiiiIIii", "i"),
    ("wasi_snapshot_preview1", "poll_oneoff", "iiii", "i"),
    ("wasi_snapshot_preview1", "proc_exit", "i", ""),
    ("wasi_snapshot_preview1", "random_get", "ii", "i"),
];

fn types(letters: &str, kind: &str) -> String {
    letters.chars().map(|l| format!(" ({kind} {})", if l == 'I' { "i64" } else { "i32" })).collect()
}

/// A pointer, a length or a number: most of all what is nearly right in a memory of one page.
fn argument(random: &mut Random) -> i64 {
    match random.below(5) {
        0 => random.below(64) as i64,
        1 => random.below(65_536) as i64,
        2 => 65_536 - 8 + random.below(16) as i64,
        3 => random.of(&[-1, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX]),
        _ => random.next() as i64,
    }
}

fn abi(random: &mut Random) -> String {
    let (mut imports, mut body) = (String::new(), String::new());
    for number in 0..=random.below(5) {
        let (module, name, params, results) = random.of(&IMPORTS);
        let ty = types(params, "param") + &types(results, "result");
        writeln!(imports, r#"(import "{module}" "{name}" (func $f{number}{ty}))"#).unwrap();
        let args: String = params
            .chars()
            .map(|letter| match letter {
                'I' => format!(" (i64.const {})", argument(random)),
                _ => format!(" (i32.const {})", argument(random) as i32),
            })
            .collect();
        let call = format!("(call $f{number}{args})");
        writeln!(body, "{}", if results.is_empty() { call } else { format!("(drop {call})") }).unwrap();
    }
    let data = random.of(&[
        r#"a\00\00\00\04\00\00\00{}"#,
        r#"{\"url\":\"http://a/\"}"#,
        r#"\00\01\00\00\10\00\00\00\00\02\00\00\ff\ff\00\00"#,
        "orders.a",
    ]);
    let text = format!(
        r#"(module
        {imports}
        (memory (export "memory") 1)
        (data (i32.const 0) "{data}")
        (func (export "hexafn_alloc") (param i32) (result i32) (i32.const {}))
        (func (export "hexafn_call") (param i32 i32) (result i64)
        {body}(i64.const {})))"#,
        argument(random) as i32,
        argument(random) << 32 | argument(random) & 0xffff_ffff,
    );
    let wall = Duration::from_millis(20);
    let grants = Grants {
        emit: vec![">".into()],
        kv: vec!["a".into()],
        http: vec!["a".into()],
        log: true,
        time: true,
        random: true,
    };
    let settings = Arc::new(Settings { limits: Limits { wall, ..Limits::default() }, grants });
    let source = Source { name: "fuzz".into(), file: "fuzz.wat".into(), code: text.as_bytes().into() };
    let compiled = Language::Wasm.runtime().compile(&source, &settings).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let ctx = Ctx { env: vec![("a".into(), "value".into())], ..Ctx::default() };
    let session = Session::new(settings, Arc::new(ctx), Arc::new(NoHost));
    let done = run(&mut *compiled.open().unwrap_or_else(|e| panic!("{e}\n{text}")), br#"{"data":[1,2]}"#, session);
    assert!(done.usage.wall < wall + Duration::from_secs(2), "it took {:?}\n{text}", done.usage.wall);
    if let Ok(Some(value)) = done.result.map(|output| output.value) {
        assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok(), "no JSON came out\n{text}");
    }
    text
}

fn digits(random: &mut Random, most: usize) -> String {
    let mut text: String = (0..=random.below(most)).map(|_| (b'0' + random.below(10) as u8) as char).collect();
    if text.starts_with('0') {
        text = "0".to_owned();
    }
    text
}

fn number(random: &mut Random) -> String {
    let sign = random.of(&["", "-"]);
    let whole = digits(random, 30);
    let fraction = if random.below(2) == 0 { String::new() } else { format!(".{}", random.next()) };
    let exponent = if random.below(3) > 0 {
        String::new()
    } else {
        format!("{}{}", random.of(&["e", "E-", "e+"]), random.below(250))
    };
    format!("{sign}{whole}{fraction}{exponent}")
}

const NAMES: [&str; 12] = [
    "a",
    "b",
    "",
    "__proto__",
    "constructor",
    "toJSON",
    "rawJSON",
    "length",
    "1",
    "__index",
    "é\u{2028}",
    "\\ud83d\\ude00",
];

/// A JSON text, `levels` deep at most.
fn json(random: &mut Random, levels: usize) -> String {
    match random.below(if levels == 0 { 6 } else { 9 }) {
        0 => random.of(&["null", "true", "false"]).to_owned(),
        1..=3 => number(random),
        4 => format!("\"{}\"", random.of(&NAMES)),
        5 => random.of(&[r#""\u0000\n\"\\""#, r#""\u00e4\/""#, r#""9007199254740993""#]).to_owned(),
        6 => format!("[{}]", (0..random.below(6)).map(|_| json(random, levels - 1)).collect::<Vec<_>>().join(" ,")),
        _ => {
            let first = random.below(NAMES.len());
            let names = (0..random.below(5)).map(|n| NAMES[(first + n) % NAMES.len()]);
            let members: Vec<_> = names.map(|name| format!("\"{name}\" : {}", json(random, levels - 1))).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn values(random: &mut Random) -> String {
    let text = json(random, 8);
    for (language, code) in [
        (Language::Js, "export default (event) => event.data"),
        (Language::Lua, "return function(event) return event.data end"),
    ] {
        let settings = Arc::new(Settings::default());
        let source = Source { name: "fuzz".into(), file: "fuzz".into(), code: code.as_bytes().into() };
        let compiled = language.runtime().compile(&source, &settings).unwrap();
        let session = Session::new(settings, Arc::default(), Arc::new(NoHost));
        let done = run(&mut *compiled.open().unwrap(), format!("{{\"data\":{text}}}").as_bytes(), session);
        match done.result {
            Ok(output) => {
                let found = String::from_utf8(output.value.unwrap().into()).unwrap();
                assert_eq!(canonical(&found), canonical(&text), "{} changed {text}", language.name());
            }
            Err(error) if matches!(error.code, Code::Timeout) => {}
            Err(error) => panic!("{} failed: {error}\n{text}", language.name()),
        }
    }
    text
}

type Target = fn(&mut Random) -> String;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_else(|| "all".into());
    let seconds: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(10);
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(fresh).max(1);
    let targets: [(&str, Target); 3] = [("protocol", protocol), ("abi", abi), ("values", values)];
    if wanted != "all" && !targets.iter().any(|(name, _)| *name == wanted) {
        eprintln!("there is no target `{wanted}`; there are protocol, abi, values and all");
        return ExitCode::from(2);
    }
    for (name, target) in targets.into_iter().filter(|(name, _)| wanted == "all" || wanted == *name) {
        let (mut random, mut runs, began) = (Random(seed), 0u64, Instant::now());
        while began.elapsed() < Duration::from_secs(seconds) {
            runs += 1;
            // Each input has a seed of its own, so that a single one can be made again.
            let one = random.next() | 1;
            let input = AssertUnwindSafe(|| target(&mut Random(one)));
            if catch_unwind(input).is_err() {
                eprintln!("{name} failed at input {runs} (seed {seed}); the message above has the input");
                return ExitCode::FAILURE;
            }
        }
        println!("{name}: {runs} inputs in {seconds} s, nothing found (seed {seed})");
    }
    ExitCode::SUCCESS
}
