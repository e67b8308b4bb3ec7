//! What decided, as `hexafn simulate` shows it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, CompileOptions, Data, Input, ModuleError, Modules, ProgramKind, SourceText, compile_with};

struct Files;

impl Modules for Files {
    fn load(&self, _path: &str) -> Result<Arc<str>, ModuleError> {
        Ok("# Rules.\nfn large(order) = order.total > 100 or order.vip".into())
    }
}

fn explained(text: &str) -> String {
    let event =
        br#"{"kind":"order","total":120,"vip":false,"lines":[{"sku":"pen","n":1},{"sku":"ink","n":9}],"x":"y"}"#;
    let doc = Doc::parse(event.as_slice().into(), &Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.kind = "push";
    input.event.data = Data::Json(&doc);
    let source = SourceText { name: "when", text };
    let program = compile_with(&source, ProgramKind::Function, &CompileOptions::default().modules(&Files)).unwrap();
    let explanation = program.explain(&input, &mut Budget::default()).unwrap();
    format!("{text}\n\n{}", explanation.render())
}

#[test]
fn what_is_shown_is_computed_once() {
    let text = "len(map(range(0, event.data.lines[1].n * 8000), x => x + 1 + 1 + 1 + 1 + 1)) > 0";
    let told = explained(text);
    assert!(told.contains(") > 0 = true\n  len(") && told.contains("= 72000\n"), "{told}");
}

#[test]
fn what_chooses_is_explained() {
    for (name, text) in [
        (
            "match",
            "match event.data {\n  { kind: \"offer\" } => false\n  { kind: \"order\", total: number n } if n > 500 => n > 0\n  \
             { kind: \"order\", total: number n } => n > 100 and event.type == \"push\"\n  _ => false\n}",
        ),
        ("try", "(try to_int(event.data.x) > 5 else event.data.total > 5) and event.data.vip != true"),
        ("any", "any(event.data.lines, l => l.n > 5 and l.sku != \"pen\")"),
        ("all", "all(event.data.lines, l => l.n > 5) or any(event.data.lines, l => l.sku == \"cap\")"),
        ("if", "if event.data.total > 500 { true } else if event.data.vip { 1 > 2 } else { event.data.total > 100 }"),
        (
            "function",
            "fn small(x) = x < 10\nfn f(order, limit) = order.total > limit and not small(order.total)\nf(event.data, 50)",
        ),
        ("module", "import { large } from \"rules.hexa\"\nlarge(event.data) and event.type == \"pull\""),
    ] {
        insta::assert_snapshot!(name, explained(text));
    }
}
