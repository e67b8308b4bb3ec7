//! Quick timings: `cargo run --release --example speed`. Medians of many short rounds; no harness.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, Data, Input, ProgramKind, SourceText, compile};

fn main() {
    let body = event(1024);
    let large = event(100 * 1024);
    println!("event: {} bytes; large event: {} bytes", body.len(), large.len());
    let bytes = bytes::Bytes::from(body.clone());
    let limits = Limits::default();
    measure("parse 1 KiB", 1, || Doc::parse(bytes.clone(), &limits).unwrap().node_count());
    measure("validate 1 KiB", 1, || Doc::validate(&bytes, &limits).is_ok());
    measure("utf-8 check 1 KiB alone", 1, || std::str::from_utf8(&bytes).is_ok());
    let large_bytes = bytes::Bytes::from(large);
    measure("parse 100 KiB", 1, || Doc::parse(large_bytes.clone(), &limits).unwrap().node_count());

    raw(&bytes, &large_bytes);

    let doc = Doc::parse(bytes.clone(), &limits).unwrap();
    let large_doc = Doc::parse(large_bytes, &limits).unwrap();
    let mut input = Input::EMPTY;
    input.event.kind = "push";
    input.event.data = Data::Json(&doc);
    let mut large_input = input;
    large_input.event.data = Data::Json(&large_doc);
    let mut budget = Budget::default();

    for text in [
        "event.type == 'push' and len(event.data.commits) > 1",
        "event.data.ref == 'refs/heads/main' and event.data.repository.private == false",
        "event.data.repository.id > 5 and starts_with(event.data.ref, 'refs/heads/')",
    ] {
        let program = compile(&SourceText { name: "condition", text }, ProgramKind::Condition).unwrap();
        measure(text, 10, || {
            budget.reset();
            (0..10).filter(|_| program.test(black_box(&input), &mut budget).unwrap()).count()
        });
    }
    let mapping = "{
        id: event.id, repository: event.data.repository.full_name, branch: event.data.ref,
        pusher: event.data.pusher.name, total: event.data.commits |> map(c => c.size) |> sum
    }";
    let program = compile(&SourceText { name: "mapping", text: mapping }, ProgramKind::Function).unwrap();
    measure("mapping of five fields", 10, || {
        budget.reset();
        (0..10).map(|_| black_box(program.eval(&input, &mut budget).unwrap())).count()
    });
    let mut out = Vec::with_capacity(4096);
    measure("mapping of five fields, written", 10, || {
        budget.reset();
        for _ in 0..10 {
            out.clear();
            program.eval(&input, &mut budget).unwrap().write_json(&mut out, 4096).unwrap();
        }
        out.len()
    });
    measure("parse, condition, mapping, write", 1, || {
        budget.reset();
        let doc = Doc::parse(bytes.clone(), &limits).unwrap();
        let mut input = input;
        input.event.data = Data::Json(&doc);
        out.clear();
        program.eval(&input, &mut budget).unwrap().write_json(&mut out, 4096).unwrap();
        out.len()
    });
    let fold = compile(
        &SourceText { name: "fold", text: "fold(event.data.commits, 0, (total, c) => total + c.size)" },
        ProgramKind::Function,
    )
    .unwrap();
    measure("fold over 100 KiB", 1, || {
        budget.reset();
        fold.eval(&large_input, &mut budget).unwrap().preview().len()
    });
}

/// Conditions on bytes that were checked before: the whole document is parsed, or what the condition reads of it.
fn raw(small: &bytes::Bytes, large: &bytes::Bytes) {
    let limits = Limits::default();
    for (what, text) in [
        ("first fields", "event.data.ref == 'refs/heads/main' and event.data.repository.private == false"),
        ("a field that is missing", "event.data.ref == 'refs/heads/main' and event.data.deleted == true"),
    ] {
        let program = compile(&SourceText { name: "condition", text }, ProgramKind::Condition).unwrap();
        for (size, bytes) in [("1 KiB", small), ("100 KiB", large)] {
            let mut budget = Budget::default();
            let mut test = |doc: Doc| {
                budget.reset();
                let mut input = Input::EMPTY;
                input.event.data = Data::Json(&doc);
                program.test(&input, &mut budget).unwrap()
            };
            measure(&format!("raw {size}, {what}: parse all, condition"), 1, || {
                test(Doc::parse(bytes.clone(), &limits).unwrap())
            });
            measure(&format!("raw {size}, {what}: parse its reads, condition"), 1, || {
                test(Doc::parse_part(bytes, program.reads(), &limits).unwrap())
            });
        }
    }
}

fn event(size: usize) -> Vec<u8> {
    let mut text = String::from(
        r#"{"ref":"refs/heads/main","repository":{"id":186853002,"name":"hexafn","full_name":"hexafn/hexafn","private":false,"owner":{"login":"hexafn","id":21031067}},"pusher":{"name":"ada","email":"ada@example.org"},"commits":["#,
    );
    let mut at = 0;
    while text.len() < size - 120 {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&format!(
            r#"{{"id":"{:040x}","message":"Fix the \"retry\" of {at}","size":{},"added":["a/b.rs"]}}"#,
            at * 7919,
            at * 3
        ));
        at += 1;
    }
    text.push_str("]}");
    text.into_bytes()
}

fn measure<R>(name: &str, per_round: u32, mut work: impl FnMut() -> R) {
    const ROUNDS: usize = 301;
    let mut times = Vec::with_capacity(ROUNDS);
    let mut inner = 1u32;
    loop {
        let start = Instant::now();
        for _ in 0..inner {
            black_box(work());
        }
        if start.elapsed().as_micros() > 200 {
            break;
        }
        inner *= 2;
    }
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..inner {
            black_box(work());
        }
        times.push(start.elapsed().as_nanos() as f64 / f64::from(inner * per_round));
    }
    times.sort_by(f64::total_cmp);
    println!("{:>10.1} ns  {name}", times[ROUNDS / 2]);
}
