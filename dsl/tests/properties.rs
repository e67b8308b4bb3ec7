//! What holds for every input: no panic, budgets stop, documents agree with serde_json, values survive writing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use hexafn_dsl::json::{Doc, Kind, Limits, NodeRef};
use hexafn_dsl::{
    Budget, CompileOptions, Data, Input, Limits as Spend, ModuleError, Modules, PartOutcome, ProgramKind, Shape,
    SourceText, Value, builtins, compile, compile_with, module_declarations,
};
use proptest::prelude::*;

#[path = "support/programs.rs"]
mod programs;

use programs::{expression, tokens};

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        (-1e6f64..1e6).prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
        "[\"\\\\/a\u{0}-\u{1f}é😀]{0,12}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn same(node: NodeRef<'_>, value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => node.kind() == Kind::Null,
        serde_json::Value::Bool(truth) => node.as_bool() == Some(*truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(int) => node.as_i64() == Some(int),
            None => node.raw() == number.to_string().as_bytes(),
        },
        serde_json::Value::String(text) => node.as_str().as_deref() == Some(text),
        serde_json::Value::Array(items) => {
            node.len() == items.len() && node.iter().zip(items).all(|(node, item)| same(node, item))
        }
        serde_json::Value::Object(members) => {
            node.len() == members.len()
                && members.iter().all(|(key, value)| node.get(key).is_some_and(|node| same(node, value)))
        }
    }
}

fn run(text: &str, kind: ProgramKind) {
    let source = SourceText { name: "property", text };
    match compile(&source, kind) {
        Err(findings) => {
            assert!(!findings.is_empty());
            assert!(!findings.render(true).is_empty());
            serde_json::from_str::<serde_json::Value>(&findings.to_json()).unwrap();
        }
        Ok(program) => {
            let doc =
                Doc::parse(Bytes::from_static(br#"{"a":[1,"x",{"b":2.5}],"n":1e40}"#), &Limits::default()).unwrap();
            let mut input = Input::EMPTY;
            input.event.data = Data::Json(&doc);
            let limits = Spend { steps: 20_000, bytes: 1 << 20, depth: 32 };
            let mut budget = Budget::new(limits);
            match program.run(&input, &mut budget) {
                Ok(outcome) => {
                    let emitted = outcome.emitted.iter().map(|emit| &emit.value);
                    for value in emitted.chain([&outcome.value]) {
                        let json = value.to_json(usize::MAX).unwrap();
                        serde_json::from_str::<serde_json::Value>(&json).unwrap();
                    }
                    assert!(outcome.emitted.is_empty() || !program.emits().is_empty());
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            // The same input, the same result.
            let first = format!("{:?}", program.eval(&input, &mut Budget::new(limits)).map(|value| value.preview()));
            let second = format!("{:?}", program.eval(&input, &mut Budget::new(limits)).map(|value| value.preview()));
            assert_eq!(first, second);
            if let Ok(explanation) = program.explain(&input, &mut Budget::new(limits)) {
                assert!(!explanation.render().is_empty());
                // What is explained is what happens, unless the explanation needs more than there is.
                if let (Ok(value), PartOutcome::Value(shown)) =
                    (program.eval(&input, &mut Budget::new(limits)), &explanation.outcome)
                {
                    let value = if matches!(value, Value::Drop) { "drop".to_owned() } else { value.preview() };
                    assert_eq!(value, *shown, "{}", explanation.render());
                }
            }
        }
    }
}

/// Schemas of the keywords that are read.
fn schema() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::json;
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        Just(json!({})),
        prop::sample::select(vec!["null", "string", "integer", "number", "boolean", "array", "object"])
            .prop_map(|name| json!({ "type": name })),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "enum": [1, "a", null] })),
        Just(json!({ "const": [] })),
        Just(json!({ "$ref": "#" })),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, b, closed)| json!({
                "type": "object", "properties": { "a": a, "b": b }, "required": ["a"], "additionalProperties": !closed
            })),
            inner.clone().prop_map(|items| json!({ "items": items })),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({ "oneOf": [a, b] })),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({ "anyOf": [a], "allOf": [b] })),
        ]
    })
}

/// A closed schema of one value.
fn schema_of(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::json;
    match value {
        serde_json::Value::Object(members) => {
            let properties: serde_json::Map<_, _> =
                members.iter().map(|(name, member)| (name.clone(), schema_of(member))).collect();
            let required: Vec<_> = members.keys().collect();
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
        }
        serde_json::Value::Array(items) if items.is_empty() => json!({ "type": "array" }),
        serde_json::Value::Array(items) => {
            json!({ "type": "array", "items": { "anyOf": items.iter().map(schema_of).collect::<Vec<_>>() } })
        }
        other => json!({ "const": other }),
    }
}

fn paths_of(value: &serde_json::Value, path: &str, paths: &mut Vec<String>) {
    paths.push(path.to_owned());
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                if !name.contains(['\'', '\n']) && !name.chars().any(|c| c.is_control() || "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(c)) {
                    paths_of(member, &format!("{path}?['{name}']"), paths);
                }
            }
        }
        serde_json::Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                paths_of(item, &format!("{path}?[{at}]"), paths);
            }
        }
        _ => {}
    }
}

struct One(String);

impl Modules for One {
    fn load(&self, _path: &str) -> Result<std::sync::Arc<str>, ModuleError> {
        Ok(self.0.as_str().into())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_accepted_or_refused(text in any::<String>()) {
        for kind in [ProgramKind::Function, ProgramKind::Condition, ProgramKind::Template] {
            run(&text, kind);
        }
    }

    #[test]
    fn any_tokens_are_accepted_or_refused(text in tokens()) {
        run(&text, ProgramKind::Function);
        run(&text, ProgramKind::Template);
    }

    #[test]
    fn any_module_is_accepted_or_refused(text in tokens(), other in any::<String>()) {
        for module in [text, other] {
            module_declarations(&module);
            let modules = One(module);
            let source = SourceText { name: "p", text: "import { x, y as z } from \"m\"\n[x(1), z]" };
            match compile_with(&source, ProgramKind::Function, &CompileOptions::default().modules(&modules)) {
                Err(findings) => prop_assert!(!findings.render(false).is_empty() && !findings.to_json().is_empty()),
                Ok(program) => drop(program.eval(&Input::EMPTY, &mut Budget::default())),
            }
        }
    }

    #[test]
    fn any_schema_is_read_or_refused(schema in schema(), text in expression(), other in any::<String>()) {
        drop(Shape::from_json_schema(&other));
        let shape = Shape::from_json_schema(&schema.to_string()).unwrap();
        let source = SourceText { name: "p", text: &text };
        match compile_with(&source, ProgramKind::Function, &CompileOptions::default().data(&shape)) {
            Err(findings) => prop_assert!(!findings.render(false).is_empty()),
            Ok(program) => prop_assert!(program.warnings().iter().all(|warning| !warning.message.is_empty())),
        }
    }

    #[test]
    fn what_has_the_shape_is_not_refused(value in json_value()) {
        // A schema that the value has, and a program that reaches every part of it.
        let (schema, mut paths) = (schema_of(&value), Vec::new());
        paths_of(&value, "event.data", &mut paths);
        paths.truncate(40);
        let shape = Shape::from_json_schema(&schema.to_string()).unwrap();
        let text = format!("[{}]", paths.join(", "));
        let source = SourceText { name: "p", text: &text };
        let result = compile_with(&source, ProgramKind::Function, &CompileOptions::default().data(&shape));
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn any_expression_ends(text in expression()) {
        run(&text, ProgramKind::Function);
    }

    #[test]
    fn documents_agree_with_serde_json(value in json_value()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let doc = Doc::parse(Bytes::from(text.clone()), &Limits::default()).unwrap();
            prop_assert!(same(doc.root(), &value), "{}", text);
            prop_assert!(Doc::validate(text.as_bytes(), &Limits::default()).is_ok());
        }
    }

    #[test]
    fn damaged_documents_agree_with_serde_json(value in json_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = value.to_string().into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let ours = Doc::parse(Bytes::from(bytes.clone()), &Limits::default());
        let checked = Doc::validate(&bytes, &Limits::default());
        prop_assert_eq!(checked.is_ok(), ours.is_ok());
        // serde_json keeps the last of duplicate keys; we refuse them.
        let duplicate = ours.as_ref().is_err_and(|error| error.code() == "json-duplicate-key");
        prop_assert!(duplicate || serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() == ours.is_ok(), "{:?}", ours);
    }

    #[test]
    fn what_passes_through_is_unchanged(value in json_value()) {
        let text = value.to_string();
        let doc = Doc::parse(Bytes::from(text.clone()), &Limits::default()).unwrap();
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        let program = compile(&SourceText { name: "p", text: "{ data: [event.data] }" }, ProgramKind::Function).unwrap();
        let out = program.eval(&input, &mut Budget::default()).unwrap().to_json(1 << 20).unwrap();
        if value.is_array() || value.is_object() {
            prop_assert_eq!(out, format!("{{\"data\":[{text}]}}"));
        } else if !value.is_f64() {
            let back: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(&back["data"][0], &value);
        }
    }

    #[test]
    fn any_budget_stops(steps in 0u64..5000, bytes in 0usize..100_000) {
        let text = "fold(range(0, 1000), [], (all, x) => fold(range(0, 100), all + [x], (a, y) => a + [\"${y}\"]))";
        let program = compile(&SourceText { name: "p", text }, ProgramKind::Function).unwrap();
        let mut budget = Budget::new(Spend { steps, bytes, depth: 16 });
        let error = program.eval(&Input::EMPTY, &mut budget).unwrap_err();
        prop_assert!(["HX0506", "HX0507"].contains(&error.code.to_string().as_str()), "{}", error);
    }
}

#[test]
fn the_deepest_programs_fit_a_small_stack() {
    let chain = |count: usize| (0..count).map(|at| format!("event.data.a{at}")).collect::<Vec<_>>();
    let mut programs = vec![
        "(".repeat(63) + "1" + &")".repeat(63),
        "[".repeat(63) + "1" + &"]".repeat(63),
        "not ".repeat(250) + "true",
        "- ".repeat(100_000) + "1",
        chain(250).join(" + "),
        chain(100_000 / 16).join(" ?? "),
        chain(5_000).join(" == 1 or "),
        chain(5_000).join(" == 1 and "),
        (0..2_000).map(|at| format!("if event.seq == {at} {{ {at} }} else ")).collect::<String>() + "{ 0 }",
        "a".to_owned() + &"[0]".repeat(5_000),
        "event.data".to_owned() + &".a".repeat(200),
        "\"${".repeat(40) + "1" + &"}\"".repeat(40),
        "match 1 { _ => ".repeat(63) + "1" + &" }".repeat(63),
        "match 1 { ".to_owned() + &"[".repeat(62) + "a" + &"]".repeat(62) + " => 1, _ => 2 }",
        "let ".to_owned() + &"[".repeat(63) + "a" + &"]".repeat(63) + " = event.data\na",
        "[".repeat(63) + "1" + &" for x in [1]]".repeat(63),
        "[1".to_owned() + &" for x in [1, 2]".repeat(240) + "]",
        "[1".to_owned() + &" for x in [1, 2]".repeat(5_000) + "]",
        "(try ".repeat(63) + "fail 1" + &" else 2)".repeat(63),
        "try 1 else ".repeat(240) + "2",
        "try 1 else ".repeat(5_000) + "2",
        "null with { a".to_owned() + &".a".repeat(240) + ": 1 }",
        "null with { a".to_owned() + &".a".repeat(50) + ": 1 } without { a" + &".a".repeat(50) + " }",
        "null".to_owned() + &" with { a: 1 }".repeat(240),
        "null".to_owned() + &" with { a: 1 }".repeat(5_000),
        "{ [\"a\"]: ".repeat(63) + "1" + &" }".repeat(63),
    ];
    let functions: String = (1..200).map(|at| format!("fn f{at}(x) = 1 + (2 * f{}(x))\n", at - 1)).collect();
    programs.push(format!("fn f0(x) = x\n{functions}f199(1)"));
    let functions: String = (1..60).map(|at| format!("fn f{at}(x) = map([x], y => f{}(y))\n", at - 1)).collect();
    programs.push(format!("fn f0(x) = x\n{functions}f59(1)"));
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for text in &programs {
            run(text, ProgramKind::Function);
        }
    });
    thread.unwrap().join().unwrap();
}
