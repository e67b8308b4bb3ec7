//! Branches of programs, and which of them evaluations take.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{
    Budget, CompileOptions, Data, Input, ModuleError, Modules, Program, ProgramKind, SourceText, compile_with,
};

struct Lib;

impl Modules for Lib {
    fn load(&self, _: &str) -> Result<Arc<str>, ModuleError> {
        Ok("## Who it is.\nfn who(x) = x.name ?? if x.id != null { \"#${x.id}\" } else { \"nobody\" }\n".into())
    }
}

fn compiled(text: &str, kind: ProgramKind, covered: bool) -> Program {
    let mut options = CompileOptions::default().modules(&Lib);
    if covered {
        options = options.coverage();
    }
    compile_with(&SourceText { name: "f.hexa", text }, kind, &options).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// What each branch is, where it stands, and how often it was taken.
fn report(program: &Program) -> String {
    let branches = program.branches().iter().zip(program.taken());
    let lines = branches.map(|(branch, taken)| {
        let place = branch.module.as_deref().unwrap_or("f.hexa");
        let function = branch.function.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        format!("{taken} {}{function} {place}:{}:{} {}\n", branch.kind.name(), branch.line, branch.column, branch.text)
    });
    lines.collect()
}

const PROGRAM: &str = r#"import { who } from "lib.hexa"
fn unused(x) = x ?? 0
let n = parse_bytes(event.data.size) ?? 0
let kind = match event.data { { kind: "a" } => "A", { kind: string k } if len(k) > 3 => k, _ => "other" }
if event.data.skip == true and n > 1 { drop }
let sizes = map(event.data.xs ?? [], x => if x > 10 { "large" } else if x > 5 { "middle" } else { "small" })
{ n, kind, sizes, by: who(event.data.by), t: try to_int!(event.data.t) else -1 }"#;

const EVENTS: [&str; 4] = [
    r#"{"kind":"a","size":"1 KiB","by":{"name":"Ada"},"t":"5","xs":[20,1,2]}"#,
    r#"{"kind":"long one","by":{"id":7},"t":"x"}"#,
    r#"{"kind":"b","skip":true,"size":"1 MiB"}"#,
    r#"{"kind":"b","skip":true,"size":"?","by":{"id":1}}"#,
];

#[test]
fn branches_are_counted() {
    let (covered, plain) =
        (compiled(PROGRAM, ProgramKind::Function, true), compiled(PROGRAM, ProgramKind::Function, false));
    assert!(plain.branches().is_empty() && plain.taken().is_empty());
    for event in EVENTS {
        let doc = Doc::parse(event.as_bytes().into(), &Limits::default()).unwrap();
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        let (mut one, mut other) = (Budget::default(), Budget::default());
        let gave = [covered.run(&input, &mut one), plain.run(&input, &mut other)];
        let [left, right] = gave.map(|outcome| outcome.map(|outcome| format!("{:?}", outcome.value)));
        assert_eq!(left, right, "{event}");
        // Marks cost nothing, so that a limit is met at the same place.
        assert_eq!((one.steps_used(), one.bytes_used()), (other.steps_used(), other.bytes_used()), "{event}");
    }
    insta::assert_snapshot!("branches", report(&covered));
}

#[test]
fn conditions_hold_or_do_not() {
    let text = "event.type == \"push\" and (event.data.n > 5 or event.data.vip ?? false)";
    let program = compiled(text, ProgramKind::Condition, true);
    for (kind, event) in
        [("push", "{\"n\":9}"), ("push", "{\"n\":1}"), ("push", "{\"n\":1,\"vip\":true}"), ("pull", "{}")]
    {
        let doc = Doc::parse(event.as_bytes().into(), &Limits::default()).unwrap();
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        input.event.kind = kind;
        program.test(&input, &mut Budget::default()).unwrap();
    }
    insta::assert_snapshot!("branches_of_a_condition", report(&program));
    let before = program.clone().taken();
    let explained = program.explain(&Input::EMPTY, &mut Budget::default()).unwrap();
    assert!(explained.render().contains("event.type == \"push\" = false"), "{}", explained.render());
    let after = program.taken();
    assert_eq!(after[..2], [before[0], before[1] + 1], "what is explained is counted");
}

/// Marks make evaluation deeper, and the deepest program still fits the stack of a small thread.
#[test]
fn the_deepest_program_is_counted() {
    for (levels, open, close) in
        [(60, "if event.type != \"x\" { ", " }"), (240, "event.data ?? ", ""), (60, "try (", ") else 0")]
    {
        let text = format!("{}event.data{}", open.repeat(levels), close.repeat(levels));
        let run = move || {
            let program = compiled(&text, ProgramKind::Function, true);
            program.eval(&Input::EMPTY, &mut Budget::default()).unwrap();
            program.taken().iter().filter(|taken| **taken > 0).count()
        };
        let taken = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
        assert!(taken >= levels, "{taken}");
    }
}
