//! Every diagnostic as people see it: the program and the whole rendering, kept as snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use hexafn_dsl::{ProgramKind, SourceText, compile};

const PROGRAMS: &[(&str, ProgramKind, &str)] = &[
    ("unexpected_token", ProgramKind::Condition, "len(event.data.commits) > > 3"),
    ("program_ends_early", ProgramKind::Condition, "event.type == "),
    ("unknown_character", ProgramKind::Condition, "event.type == “push”"),
    ("unterminated_string", ProgramKind::Condition, "event.type == \"push"),
    ("unclosed_interpolation", ProgramKind::Template, "hello ${event.type"),
    ("bad_escape", ProgramKind::Condition, "matches(event.type, \"\\d+\")"),
    ("bad_number", ProgramKind::Condition, "ctx.now - event.time < 5min"),
    ("long_number", ProgramKind::Function, "1.00000000000000000000000000000000001"),
    ("too_many_brackets", ProgramKind::Function, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1"),
    ("unused_value", ProgramKind::Function, "upper(event.type)\nlower(event.type)"),
    ("bidirectional", ProgramKind::Condition, "event.type == 'a\u{202e}b' # \u{2066}"),
    ("foreign_operators", ProgramKind::Condition, "event.type === 'push' && !event.data.forced"),
    ("unclosed_bracket", ProgramKind::Condition, "len(event.data.commits > 3"),
    ("mismatched_bracket", ProgramKind::Condition, "first([1, 2) == 1"),
    ("no_result", ProgramKind::Function, "let kind = event.type"),
    ("unknown_name", ProgramKind::Function, "let commits = event.data.commits\nlen(comits)"),
    ("name_of_a_field", ProgramKind::Condition, "subject == 'x'"),
    ("unknown_event_field", ProgramKind::Condition, "event.tpe == 'push'"),
    ("field_of_the_data", ProgramKind::Condition, "len(event.commits) > 3"),
    ("unknown_ctx_field", ProgramKind::Condition, "ctx.user == 'x'"),
    ("unknown_function", ProgramKind::Condition, "length(event.data.commits) > 3"),
    ("function_of_nobody", ProgramKind::Condition, "frobnicate(event.data)"),
    ("arity", ProgramKind::Function, "event.type |> split(',', 2, 3)"),
    ("defined_twice", ProgramKind::Function, "fn f(a, a) = a\nfn f(b) = b\nfn len(x) = x\nf(1)"),
    (
        "recursion",
        ProgramKind::Function,
        "fn even(n) = if n == 0 { true } else { odd(n - 1) }\nfn odd(n) = even(n - 1)\nodd(3)",
    ),
    ("lambda_as_value", ProgramKind::Function, "let f = x => x + 1\nf"),
    ("lambda_for_a_value", ProgramKind::Function, "upper(x => x)"),
    ("value_for_a_lambda", ProgramKind::Function, "map(event.data.commits, 'id')"),
    ("outer_binding", ProgramKind::Function, "let limit = 3\nfn big(xs) = len(xs) > limit\nbig([1])"),
    ("function_as_value", ProgramKind::Function, "{ size: len }"),
    ("duplicate_key", ProgramKind::Function, "{ a: 1, \"a\": 2 }"),
    ("function_in_a_block", ProgramKind::Function, "let x = { fn f() = 1; f() }\nx"),
    ("not_a_condition", ProgramKind::Condition, "len(event.data.commits)"),
    ("text_in_an_and", ProgramKind::Condition, "event.type and event.data.x"),
    ("impossible_comparison", ProgramKind::Condition, "event.seq == 'one'"),
    ("time_against_text", ProgramKind::Condition, "event.time > '2026-01-01'"),
    ("text_plus_number", ProgramKind::Function, "\"commits: \" + len(event.data.commits)"),
    ("wrong_argument", ProgramKind::Function, "upper(len(event.type))"),
    ("field_of_text", ProgramKind::Function, "event.type.name"),
    ("constant_fails", ProgramKind::Function, "1 + 2 / 0"),
    ("bad_pattern", ProgramKind::Condition, "matches(event.type, '(push')"),
    ("drop_in_a_condition", ProgramKind::Condition, "if event.seq > 1 { drop } else { true }"),
    ("several_errors", ProgramKind::Function, "let a = foo(1)\nlet b = (1 + )\n{ a: a, b: evnt.type, c: event.typ }"),
    ("type_of_a_pattern", ProgramKind::Function, "match event.subject { text s => s, _ => null }"),
    ("alternatives", ProgramKind::Function, "match event.data { { a } | { b } => 1, _ => 2 }"),
    ("pattern_of_a_value", ProgramKind::Function, "match event.type { \"${event.id}\" => 1, _ => 2 }"),
    ("two_rests", ProgramKind::Function, "let [...a, ...b] = event.data\na"),
    ("bar_as_or", ProgramKind::Condition, "event.seq == 1 | event.seq == 2"),
    ("key_of_a_comprehension", ProgramKind::Function, "{ k: v for k, v in event.data }"),
    ("for_over_an_object", ProgramKind::Function, "[v for v in event.headers]"),
    ("emit_in_a_condition", ProgramKind::Condition, "if event.seq > 1 { emit \"a\" 1; true } else { false }"),
    ("constant_of_the_event", ProgramKind::Function, "const KIND = event.type\nKIND"),
    ("constant_in_a_block", ProgramKind::Function, "if event.seq > 1 { const A = 1; A } else { 2 }"),
    ("else_without_if", ProgramKind::Function, "event.seq else 1"),
    ("with_twice", ProgramKind::Function, "event.data with { a: 1, a: 2 }"),
    ("with_of_text", ProgramKind::Function, "event.type with { a: 1 }"),
    ("unterminated_block", ProgramKind::Function, "let x = \"\"\"\n  a\nx"),
    ("unterminated_raw", ProgramKind::Function, "let x = '''\n  a\nx"),
    ("narrowed_by_a_test", ProgramKind::Function, "let x = event.data.x\nif is_string(x) { x + 1 } else { x + \"a\" }"),
    ("narrowed_in_an_and", ProgramKind::Condition, "let x = event.data.x\nis_number(x) and starts_with(x, \"a\")"),
    ("narrowed_by_an_arm", ProgramKind::Function, "let x = event.data.x\nmatch x { string _ => x * 2, _ => 1 }"),
    ("tabs_and_wide_text", ProgramKind::Condition, "\tevent.subject == 'größe 漢字' and\tevnt.x"),
];

#[test]
fn rendered_diagnostics() {
    for (name, kind, text) in PROGRAMS {
        let source = SourceText { name: "config/triggers.toml: trigger big-push, when", text };
        let findings = compile(&source, *kind).expect_err(name);
        assert!(!findings.is_empty());
        insta::assert_snapshot!(*name, format!("{text}\n\n{}", findings.render(false)));
    }
}

#[test]
fn rendered_warnings() {
    let text = "let unused = 1\nlet _quiet = 2\nif 1 < 2 { 'a' } else { 'b' }";
    let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
    insta::assert_snapshot!("warnings", program.warnings().render(false));
}

#[test]
fn tests_narrow_types() {
    let compiled = |text: &str| {
        let text = format!("let x = event.data.x\nlet y = event.data.y\n{text}");
        compile(&SourceText { name: "f.hexa", text: &text }, ProgramKind::Function)
    };
    // (what can never work, what may)
    for (wrong, right) in [
        ("if is_string(x) { x / y } else { 0 }", "if is_string(x) { 0 } else { x / y }"),
        ("if not is_string(x) { 0 } else { x / y }", "if not is_string(x) { x / y } else { 0 }"),
        ("if x == null { upper(x) } else { y }", "if x == null { y } else { upper(x) }"),
        ("if x != null { y } else { upper(x) }", "if x != null { upper(x) } else { y }"),
        (
            "if null == x or x == y { y } else if x == null { 1 } else { 2 }; if x == null { -x } else { 1 }",
            "if x == null or upper(x) == y { 1 } else { 2 }",
        ),
        (
            "if is_string(x) and is_string(y) { x - y } else { 0 }",
            "if is_string(x) or is_string(y) { x / y } else { 0 }",
        ),
        (
            "if is_string(x) or x == null { 0 } else { upper(x) + 1 }",
            "if is_string(x) or x == null { 0 } else { x / y }",
        ),
        ("if type_of(x) == \"array\" { x / y } else { 0 }", "if type_of(x) == \"array\" { 0 } else { x / y }"),
        ("if x == 5 { upper(x) } else { 0 }", "if x == 5 { x / y } else { upper(x) }"),
        ("if x { upper(x) } else { 0 }", "if not x { 0 } else { not x }"),
        ("[upper(n) for n in x if is_number(n)]", "[n / 2 for n in x if is_number(n)]"),
        ("match x { n if is_number(n) => upper(n), _ => 0 }", "match x { n if is_number(n) => n / 2, _ => 0 }"),
        (
            "match x { null => 0, _ => 1 }; match x { string s => s, _ => x } - { a: 1 }",
            "match x { string _ => upper(x), number _ => x / y, _ => x }",
        ),
        (
            "if is_int(x) { [x] |> map(x => x) } else { x / y }; if is_string(x) { x.a } else { 0 }",
            "if is_int(x) { [\"a\"] |> map(x => upper(x)) } else { x / y }",
        ),
    ] {
        assert!(compiled(wrong).is_err(), "{wrong}");
        let result = compiled(right);
        assert!(result.is_ok(), "{right}: {}", result.unwrap_err());
    }
}

#[test]
fn rendered_warnings_of_matches() {
    for (name, text) in [
        ("not_exhaustive", "match event.data.n { 1 => 2, null => 3 }"),
        ("unreachable_arm", "match event.data.n { 1 => 1, n if n > 5 => 2, 1 => 3, _ => 4, 9 => 5 }"),
        ("never_of_the_type", "match event.seq { string s => s, _ => 1 }"),
        ("after_drop", "drop\n1"),
        ("unused_parameters", "fn f(a, _b, { c, d }) = d\nmap(event.data, x => f(1, 2, {}))"),
        ("unused_names", "const A = 1\nlet { a, b } = event.data\nmatch event.seq { n => a }"),
    ] {
        let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
        insta::assert_snapshot!(name, format!("{text}\n\n{}", program.warnings().render(false)));
    }
    for text in [
        "match event.data.x { true => 1, false => 2, null => 3, string _ | number _ | object _ | array _ => 4 }",
        "match event.seq > 1 { true => 1, false => 2 }",
        "match event.subject { null => 1, string s => s }",
        "match event.headers { { a } => a, {} => 1 }",
    ] {
        let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
        assert!(program.warnings().is_empty(), "{text}: {}", program.warnings());
    }
}

#[test]
fn emitted_topics_are_known() {
    let compiled = |text| compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
    let program =
        compiled("const B = \"b\"\nfn f(x) = emit \"${B}.x\" x\nfn never() = emit \"never\" 1\nemit \"a\" 1\nf(2)");
    assert_eq!(program.emits().topics, ["a", "b.x"]);
    assert!(!program.emits().computed && !program.emits().is_empty());
    assert!(compiled("emit \"${event.type}\" 1").emits().computed);
    assert!(compiled("event.type").emits().is_empty());
}

#[test]
fn declarations_keep_their_comments() {
    let text = "# no\n\n## The rate.\nconst RATE = 2\n\n/// Twice.\n///   Really.\nfn twice(x, { y }) = x * RATE + y\n\nfn bare() = 1\ntwice(1, {}) + bare()";
    let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
    let all: Vec<_> = program
        .declarations()
        .iter()
        .map(|own| {
            assert_eq!(&text[own.span.clone()], own.name);
            (own.name.as_str(), own.params.clone().map(|params| params.join("; ")), own.doc.as_str())
        })
        .collect();
    let params = |text: &str| Some(text.to_owned());
    assert_eq!(
        all,
        [("RATE", None, "The rate."), ("twice", params("x; { y }"), "Twice.\n  Really."), ("bare", params(""), "")]
    );
}

#[test]
fn colours_and_json() {
    let findings = compile(&SourceText { name: "x", text: "event.typ" }, ProgramKind::Function).unwrap_err();
    assert!(findings.render(true).contains("\u{1b}[1;31m"));
    insta::assert_snapshot!("json", findings.to_json());
    let parsed: serde_json::Value = serde_json::from_str(&findings.to_json()).unwrap();
    assert_eq!(parsed[0]["code"], "HX0202");
}

#[test]
fn suggestions_compile_when_applied() {
    let repairable = [
        "event.tpe == 'push'",
        "event.type = 'push'",
        "event.type === 'push'",
        "length(event.type) > 1",
        "subject == 'x'",
        "match event.data { nubmer n => n > 1, _ => false }",
        "len({ k: v for k, v in event.data }) > 1",
    ];
    for text in repairable {
        let findings = compile(&SourceText { name: "x", text }, ProgramKind::Condition).unwrap_err();
        let (span, replacement) = findings.iter().next().unwrap().replacement.clone().expect(text);
        let mut repaired = text.to_owned();
        repaired.replace_range(span, &replacement);
        let again = compile(&SourceText { name: "x", text: &repaired }, ProgramKind::Condition);
        assert!(again.is_ok(), "{text} -> {repaired}: {}", again.unwrap_err());
    }
}

/// Calls that can fail, and nothing that handles that.
const UNHANDLED: [&str; 14] = [
    "parse_json(event.data.a)",
    "parse_json(event.data.a).b.c",
    "event.data.n ?? to_int(event.data.a) + 1",
    "(1 + to_int(event.data.a)) ?? 0",
    "event.data.a |> base64_decode |> parse_json!",
    "upper(base64_decode(event.data.a))",
    "map(event.data.xs, parse_bytes)",
    "map(event.data.xs, x => to_int(x) * 2)",
    "sort_by(event.data.xs, parse_time)",
    "if parse_bytes(event.data.a) > 1 { 1 } else { 2 }",
    "\"at ${parse_time(event.data.at)}\"",
    "fn f(x) = parse_json!(x)\nf(event.data.a)",
    "fn g(x) = f!(x)\nfn f(x) = x ?? fail \"none\"\n[1] |> map(g)",
    "try 1 else parse_json(event.data.a)",
];

#[test]
fn failures_that_nothing_handles() {
    let compiled = |text: &str| compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function);
    let mut rendered = String::new();
    for text in UNHANDLED {
        let findings = compiled(text).map(drop).expect_err(text);
        rendered.push_str(&format!("{text}\n\n{}\n", findings.render(false)));
        let finding = findings.iter().next().unwrap();
        assert_eq!((findings.len(), finding.code.to_string()), (1, "HX0313".to_owned()), "{findings}");
        for (span, with) in [finding.replacement.clone().unwrap(), finding.alternative.clone().unwrap()] {
            let mut repaired = text.to_owned();
            repaired.replace_range(span, &with);
            let program = compiled(&repaired).unwrap_or_else(|why| panic!("{text} -> {repaired}: {why}"));
            assert!(program.warnings().is_empty(), "{repaired}: {}", program.warnings());
        }
    }
    insta::assert_snapshot!("unhandled_failures", rendered);
}

#[test]
fn failures_that_are_handled() {
    for text in [
        "parse_json!(event.data.a)",
        "parse_json(event.data.a) ?? {}",
        "parse_json(event.data.a).user.tags[0] ?? \"none\"",
        "event.data.a |> base64_decode() |> parse_json() ?? {} |> keys",
        "upper(base64_decode(event.data.a)) ?? \"\"",
        "try parse_json(event.data.a) else null",
        "try map(event.data.a, parse_json) else []",
        "map(event.data.a, parse_json) ?? []",
        "try_parse_json(event.data.a)",
        "fn f(x) = parse_json!(x)\ntry f(event.data.a) else err => err.message",
        "fn f(x) = parse_json!(x)\nf!(event.data.a)",
        "fn f(x) = parse_json!(x)\nf(event.data.a) ?? 1",
        "fn f(x) = parse_json(x) ?? null\nf(event.data.a)",
        "fn f(x) = try x ?? fail \"none\" else 1\nf(event.data.a)",
        "require_schema!(event.data, { type: \"object\" })\nevent.data",
        "fn check(x) = if x == null { fail \"none\" } else { x }\ncheck!(event.data.a)\nevent.data",
        // What is constant was computed already, and ints are ints.
        "parse_json(\"[1]\")",
        "to_int(event.seq) + to_int(true)",
        "const XS = map([\"1\", \"2\"], to_int)\nXS",
        "parse_json(\"{\") ?? 5",
        "event.data.a ?? fail \"none\"",
    ] {
        let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function)
            .unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(program.warnings().is_empty(), "{text}: {}", program.warnings());
    }
}

#[test]
fn marks_that_say_nothing() {
    let text = "fn f(x) = try parse_json!(x) else null\n[upper!(event.type), f!(event.data), event.data.xs |> len!]";
    let program = compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function).unwrap();
    insta::assert_snapshot!("needless_marks", format!("{text}\n\n{}", program.warnings().render(false)));
    let mut repaired = text.to_owned();
    for finding in program.warnings().iter().collect::<Vec<_>>().into_iter().rev() {
        let (span, with) = finding.replacement.clone().unwrap();
        repaired.replace_range(span, &with);
    }
    let program = compile(&SourceText { name: "f.hexa", text: &repaired }, ProgramKind::Function).unwrap();
    assert!(program.warnings().is_empty(), "{repaired}: {}", program.warnings());
}

#[test]
fn tests_narrow_paths() {
    let compiled = |text| compile(&SourceText { name: "f.hexa", text }, ProgramKind::Function);
    for (name, text) in [
        ("narrowed_path", "if is_string(event.data.a) { event.data.a + 1 } else { event.data.a }"),
        ("below_a_narrowed_path", "if event.data[\"a\"] == 5 { event.data.a.b } else { 0 }"),
        ("narrowed_path_of_a_name", "let d = event.data\nis_array(d.xs[0]) and upper(d.xs[0]) == \"X\""),
        ("narrowed_by_not", "if event.data.a != null { 0 } else { len(event.data.a) }"),
    ] {
        let findings = compiled(text).expect_err(name);
        insta::assert_snapshot!(name, format!("{text}\n\n{}", findings.render(false)));
    }
    for text in [
        "if event.data.a != null { event.data.a.b } else { event.data.a }",
        "if is_string(event.data.a) { upper(event.data.a) } else { event.data.a + 1 }",
        "if is_string(event.data.a) { 0 } else { event.data.a.b }",
        "(is_string(event.data.a) or is_array(event.data.a)) and len(event.data.a) > 1",
        "if event.data.a { 1 } else { event.data?.a }",
        "if is_string(event.data.a) { event.data.a?.b } else { 1 }",
        "let event2 = event.data\nif is_string(event2.a) { upper(event2.a) } else { event2.a.b }",
        "fn f(x) = if is_object(x.y) { x.y.z } else { x.y + 1 }\nf(event.data)",
        "map(event.data.xs, x => if is_string(x.n) { upper(x.n) } else { x.n * 2 })",
        "if event.data.a == \"x\" { map([event.data.a], x => upper(x)) } else { event.data.a.b }",
    ] {
        let program = compiled(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(program.warnings().is_empty(), "{text}: {}", program.warnings());
    }
}

#[test]
fn the_end_of_a_line_is_not_shown_as_a_character() {
    let source = SourceText { name: "test", text: "let y = 1\r\nlenn(y)\r\n" };
    let shown = compile(&source, ProgramKind::Function).unwrap_err().render(false);
    assert!(shown.contains("2 | lenn(y)\n"), "{shown}");
}
