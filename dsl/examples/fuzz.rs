//! A fuzzer for the language: `cargo run --release -p hexafn-dsl --example fuzz -- [TARGET] [SECONDS] [SEED]`, or `scripts/fuzz`.
//!
//! Programs of `dsl/testdata` are taken apart at tokens and bytes, mixed and put together again. Targets: `parse` (compile in
//! every kind, diagnostics rendered), `eval` (what compiles is run on hostile events within a small budget), `format` (what
//! parses is laid out; doing so twice changes nothing, and both parse). A panic, or a run past its budget, ends it with the
//! program printed.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use hexafn_dsl::{
    Budget, CompileOptions, CtxView, Data, EventView, Input, Limits, ProgramKind, SourceText, compile, compile_with,
    format, json,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// xorshift64*, so that a seed gives the same programs everywhere.
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
}

const TOKENS: [&str; 60] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "${",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    ".",
    "?.",
    "??",
    "...",
    ",",
    ":",
    ";",
    "=>",
    "|>",
    "!",
    "parse_json!(",
    "==",
    "!=",
    "<=",
    "=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "\n",
    "# c\n",
    "/// d\n",
    " and ",
    " or ",
    " not ",
    " in ",
    "if ",
    " else ",
    "let ",
    "fn f(a) = ",
    "match x {",
    " for x in ",
    "emit \"t\" ",
    "drop",
    "fail ",
    "try ",
    " with {",
    " without {",
    "const C = ",
    "null",
    "9223372036854775807",
    "1e400",
    "0.1",
    "1h30m",
    "event.data",
    "\u{202e}",
    "\u{1f600}",
    "\0",
];

const EVENTS: [&str; 5] = [
    "null",
    r#"{"a":1,"b":"x","xs":[1,2,{"c":null}],"n":1e400,"big":123456789012345678901234567890}"#,
    r#"[[[[[[[[1]]]]]]]]"#,
    r#""text""#,
    r#"{"commits":[{"message":"a\nb","author":{"name":"\ud83d\ude00"}}],"ref":"refs/heads/main"}"#,
];

/// The programs of the test data: what stands between `=== name` and `---`.
fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut programs = Vec::new();
    let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = files.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for case in text.split("\n=== ").skip(1) {
            let body = case.split_once('\n').map_or("", |(_, body)| body);
            let program = body.split("\n---").next().unwrap_or_default().trim();
            programs.push(program.to_owned());
        }
    }
    programs
}

fn cut(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn mutated(corpus: &[String], random: &mut Random) -> String {
    let pick = |random: &mut Random| corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    let mut text = pick(random);
    for _ in 0..=random.below(6) {
        let (a, b) = (cut(&text, random.below(text.len() + 1)), cut(&text, random.below(text.len() + 1)));
        let (from, to) = (a.min(b), a.max(b));
        match random.below(7) {
            0 => text.insert_str(a, TOKENS[random.below(TOKENS.len())]),
            1 => text.replace_range(from..to, ""),
            2 => text.replace_range(from..to, TOKENS[random.below(TOKENS.len())]),
            3 => {
                let again = text[from..to].to_owned();
                text.insert_str(a, &again);
            }
            4 => {
                let other = pick(random);
                text.insert_str(a, &other);
            }
            5 => {
                let other = pick(random);
                let end = cut(&other, random.below(other.len() + 1));
                text.truncate(a);
                text.push_str(&other[end..]);
            }
            _ => {
                let deep = TOKENS[random.below(5)].repeat(random.below(200));
                text.insert_str(a, &deep);
            }
        }
        if text.len() > 20_000 {
            text.truncate(cut(&text, 20_000));
        }
    }
    text
}

fn parse(text: &str) {
    for kind in [ProgramKind::Condition, ProgramKind::Function, ProgramKind::Template] {
        match compile(&SourceText { name: "fuzz", text }, kind) {
            Ok(program) => drop(program.warnings().render(false)),
            Err(found) => assert!(!found.render(true).is_empty()),
        }
    }
}

fn eval(text: &str) {
    for kind in [ProgramKind::Function, ProgramKind::Template, ProgramKind::Condition] {
        let Ok(program) = compile(&SourceText { name: "fuzz", text }, kind) else { continue };
        for event in EVENTS {
            let doc = json::Doc::parse(event.as_bytes().to_vec().into(), &json::Limits::default());
            let data = doc.as_ref().map_or(Data::Text(event), Data::Json);
            let view = EventView {
                id: "1",
                source: "/fuzz",
                kind: "fuzz",
                subject: None,
                time_us: 0,
                topic: "t",
                seq: 1,
                key: Some("k"),
                content_type: None,
                trace_id: "",
                headers: &[],
                extensions: &[],
                data,
            };
            let ctx = CtxView {
                trigger: "",
                function: "",
                attempt: 1,
                now_us: 0,
                env: &[],
                seed: hexafn_dsl::Seed { number: 7, ..Default::default() },
            };
            let limits = Limits { steps: 20_000, bytes: 1 << 20, depth: 64 };
            let mut budget = Budget::new(limits);
            let input = Input { event: view, ctx };
            let began = Instant::now();
            match program.run(&input, &mut budget) {
                Ok(outcome) => drop(outcome.value.write_json(&mut Vec::new(), 1 << 20)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            // What it reads of the document gives the same as all of it.
            if let Ok(doc) = &doc
                && !program.reads().is_whole()
                && let Ok(part) = json::Doc::parse_part(doc.bytes(), program.reads(), &json::Limits::default())
            {
                let mut less = input;
                less.event.data = Data::Json(&part);
                let results = [input, less].map(|input| match program.run(&input, &mut Budget::new(limits)) {
                    Ok(outcome) => format!("{:?}", outcome.value.to_json(1 << 20)),
                    Err(error) => error.to_string(),
                });
                assert_eq!(results[0], results[1], "a part of {event} gives something else");
            }
            // Nor do marks for coverage change what it gives, or costs.
            let counted = CompileOptions::default().coverage();
            if let Ok(counting) = compile_with(&SourceText { name: "fuzz", text }, kind, &counted) {
                let (mut one, mut other) = (Budget::new(limits), Budget::new(limits));
                let same = counting.run(&input, &mut one).is_ok() == program.run(&input, &mut other).is_ok();
                assert!(same && one.steps_used() == other.steps_used(), "counting branches makes a difference");
            }
            if kind == ProgramKind::Condition {
                drop(program.explain(&input, &mut Budget::new(limits)).map(|e| e.render()));
            }
            assert!(began.elapsed() < Duration::from_secs(2), "20,000 steps took {:?}", began.elapsed());
        }
    }
}

fn layout(text: &str) {
    let Ok(once) = format(text) else { return };
    match format(&once) {
        Ok(twice) => assert_eq!(once, twice, "laid out twice it differs"),
        Err(found) => panic!("what was laid out does not parse: {}", found.render(false)),
    }
}

type Target = fn(&str);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_else(|| "all".into());
    let seconds: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(10);
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(fresh).max(1);
    let corpus = corpus();
    let targets: [(&str, Target); 3] = [("parse", parse), ("eval", eval), ("format", layout)];
    if wanted != "all" && !targets.iter().any(|(name, _)| *name == wanted) {
        eprintln!("there is no target `{wanted}`; there are parse, eval, format and all");
        return ExitCode::from(2);
    }
    // What a target says of a panic is printed below, with the program.
    std::panic::set_hook(Box::new(|_| {}));
    for (name, target) in targets.into_iter().filter(|(name, _)| wanted == "all" || wanted == *name) {
        let (mut random, mut runs, began) = (Random(seed), 0u64, Instant::now());
        while began.elapsed() < Duration::from_secs(seconds) {
            let text = mutated(&corpus, &mut random);
            runs += 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&text))) {
                let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                eprintln!(
                    "{name} failed after {runs} programs (seed {seed}): {}\n---\n{text}\n---\n{text:?}",
                    said.unwrap_or("?")
                );
                return ExitCode::FAILURE;
            }
        }
        println!("{name}: {runs} programs in {seconds} s, nothing found (seed {seed}, {} in the corpus)", corpus.len());
    }
    ExitCode::SUCCESS
}
