//! A part of a document stands for the whole of it, for the programs whose reads it was made of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, Data, Input, Program, ProgramKind, Reads, SourceText, compile};
use proptest::prelude::*;

fn compiled(text: &str) -> Option<Program> {
    compile(&SourceText { name: "part", text }, ProgramKind::Function).ok()
}

/// The result with a document, or the error that is met.
fn with(program: &Program, doc: &Doc) -> String {
    let mut input = Input::EMPTY;
    input.event.data = Data::Json(doc);
    match program.run(&input, &mut Budget::default()) {
        Ok(outcome) => {
            let emitted: Vec<_> = outcome.emitted.iter().map(|emit| emit.value.to_json(100_000)).collect();
            format!("{} {:?} {emitted:?}", outcome.value.type_name(), outcome.value.to_json(100_000))
        }
        Err(error) => error.to_string(),
    }
}

fn same(text: &str, json: &str) {
    let Some(program) = compiled(text) else { return };
    let bytes = Bytes::from(json.to_owned());
    let whole = Doc::parse(bytes.clone(), &Limits::default()).expect(json);
    let part = Doc::parse_part(&bytes, program.reads(), &Limits::default()).expect(json);
    assert_eq!(with(&program, &part), with(&program, &whole), "{text}\n{json}\n{}", part.text());
}

/// Names of which some are in the way of others, and some have to be escaped.
const KEYS: [&str; 7] = ["a", "b", "c", "ab", "", "ü\\n", "a.b"];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(KEYS.to_vec()).prop_map(|key| format!("\"{key}\"")),
        1 => Just("\"\\u0061\"".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-1.50",
        "1e400",
        "12345678901234567890123456789012",
        "\"\"",
        "\"a\"",
        "\"]}\\\"{[\"",
        "\"\\\\\"",
        "\"ü and a text that is longer than what is searched by hand \\\" with } in it\"",
        "[]",
        "{}",
        "[ ]",
    ])
    .prop_map(str::to_owned);
    let space = prop::sample::select(vec!["", "", "", " ", "\n\t"]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..6), space.clone())
            .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},{space}"))));
        let object = (prop::collection::btree_map(key(), inner, 0..6), space.clone()).prop_map(|(members, space)| {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{space}{key}{space}:{space}{value}{space}")).collect();
            format!("{{{}}}", members.join(","))
        });
        prop_oneof![1 => array, 2 => object]
    })
    // The escaped and the plain writing of a key are the same one.
    .prop_filter("a key comes twice", |text| Doc::validate(text.as_bytes(), &Limits::default()).is_ok())
}

fn path() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        4 => prop::sample::select(KEYS.to_vec()).prop_map(|key| format!("[\"{key}\"]")),
        2 => (-2i64..4).prop_map(|at| format!("[{at}]")),
        2 => prop::sample::select(vec![".a", ".b", "?.a", "?[\"b\"]", "?[0]", "?.c"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(step, 1..5).prop_map(|steps| format!("event.data{}", steps.concat()))
}

fn program() -> impl Strategy<Value = String> {
    prop_oneof![
        path(),
        (path(), path()).prop_map(|(a, b)| format!("[{a}, {b}, try {a} == {b} else err => err]")),
        (path(), path()).prop_map(|(a, b)| format!("{a} == \"a\" or ({b} ?? 1) == 0 and len({a} ?? []) > 1")),
        (path(), path()).prop_map(|(a, b)| format!("map({a} ?? [], x => [x, {b}])")),
        (path(), path()).prop_map(|(a, b)| format!("fn f(x) = x ?? {b}\nlet y = {a}\n[f(y), y, type_of({b})]")),
        (path(), path()).prop_map(|(a, b)| format!("match {a} {{ {{ a: x }} => [x, {b}], [x, ...] => x, x => [x] }}")),
        (path(), path(), path()).prop_map(|(a, b, c)| format!("if {a} == null {{ {b} }} else {{ emit \"t\" {c} }}")),
        path().prop_map(|a| format!("{{ a: {a}, n: len(event.data) }}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_gives_what_the_whole_gives(text in program(), json in document()) {
        same(&text, &json);
    }

    #[test]
    fn parts_of_several_programs(a in program(), b in program(), json in document()) {
        let (Some(a), Some(b)) = (compiled(&a), compiled(&b)) else { return Ok(()) };
        let reads = a.reads().clone().and(b.reads());
        let bytes = Bytes::from(json);
        let whole = Doc::parse(bytes.clone(), &Limits::default()).unwrap();
        let part = Doc::parse_part(&bytes, &reads, &Limits::default()).unwrap();
        for program in [a, b] {
            prop_assert_eq!(with(&program, &part), with(&program, &whole));
        }
    }

    #[test]
    fn bytes_that_nobody_checked_do_no_harm(text in path(), json in document(), cut in 0usize..400, bytes in any::<Vec<u8>>()) {
        let Some(program) = compiled(&text) else { return Ok(()) };
        let mut json = json.into_bytes();
        json.truncate(cut);
        for bytes in [json.clone(), bytes.clone(), [json, bytes].concat()] {
            drop(Doc::parse_part(&bytes.into(), program.reads(), &Limits::default()));
        }
    }
}

#[test]
fn only_what_is_read_is_there() {
    let part = |text: &str, json: &str| {
        let program = compiled(text).unwrap();
        Doc::parse_part(&Bytes::from(json.to_owned()), program.reads(), &Limits::default()).unwrap().text().to_owned()
    };
    let long = "x".repeat(200);
    let json =
        format!(r#"{{ "x" : "{long}", "a" : {{ "b" : [ 1, {{ "c" : 5.0, "d" : [] }} ], "e": 1 }}, "y" : "{long}" }}"#);
    assert_eq!(part("event.data.a.b[1].c", &json), r#"{"a":{"b":[null,{"c":5.0}]}}"#);
    let apart = format!("{{\"a\": {{\"e\" : 1}}, \"x\": \"{long}\", \"y\":2}}");
    assert_eq!(part("[event.data.a.e, event.data.y]", &apart), r#"{"a":{"e":1},"y":2}"#);
    // What is there instead is shown in the error.
    assert_eq!(part("event.data.x.y", &json), format!("{{\"x\":\"{long}\"}}"));
    assert_eq!(part("event.type", &json), "{}");
    assert_eq!(part("event.data.a.none", &json), r#"{"a":{}}"#);
}

#[test]
fn what_is_read_is_known() {
    let reads = |text: &str| compiled(text).unwrap().reads().clone();
    for text in [
        "event.data",
        "event",
        "let { a } = event.data\na",
        "keys(event.data)",
        "event.data[event.type]",
        "event.data[-1]",
    ] {
        assert!(reads(text).is_whole(), "{text}");
    }
    for text in [
        "event.data.a",
        "fn f() = event.data.a\nf()",
        "event.data.xs[0].a",
        "event.data[\"a\"] ?? 1",
        "event.data.xs[-1]",
    ] {
        assert!(!reads(text).is_whole() && !reads(text).is_empty(), "{text}");
    }
    assert!(reads("event.type == \"x\"").is_empty());
    assert_eq!(reads("[event.data.a, event.data.b.c]"), reads("event.data.a").and(&reads("event.data.b.c")));
    assert!(Reads::default().and(&reads("event.data")).is_whole());
}

#[test]
fn a_key_that_comes_twice_is_the_first() {
    let reads = compiled("[event.data.a, event.data.b]").unwrap().reads().clone();
    let bytes = Bytes::from_static(br#"{"a":1,"a":2,"b":3}"#);
    assert!(Doc::parse(bytes.clone(), &Limits::default()).is_err());
    assert_eq!(Doc::parse_part(&bytes, &reads, &Limits::default()).unwrap().text(), r#"{"a":1,"b":3}"#);
}
