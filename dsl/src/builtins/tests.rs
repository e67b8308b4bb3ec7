//! The examples of the documentation are the tests of the built-ins.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::builtins;
use crate::{Budget, Input, ProgramKind, SourceText, compile};

#[test]
fn every_example_gives_what_its_documentation_says() {
    let mut wrong = Vec::new();
    for builtin in builtins() {
        assert!(!builtin.examples.is_empty(), "{} has no example", builtin.name);
        for (program, expected) in builtin.examples {
            let source = SourceText { name: builtin.name, text: program };
            let got = match compile(&source, ProgramKind::Function) {
                Err(findings) => findings.render(false),
                Ok(program) => match program.eval(&Input::EMPTY, &mut Budget::default()) {
                    Ok(value) => value.to_json(10_000).unwrap(),
                    Err(error) => error.to_string(),
                },
            };
            if got != *expected {
                wrong.push(format!("{program}\n  expected {expected}\n  got      {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn signatures_are_readable_and_names_unique() {
    let mut names: Vec<_> = builtins().iter().map(|builtin| builtin.name).collect();
    assert!(names.len() >= 170, "{} built-ins", names.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), builtins().len());
    for builtin in builtins() {
        for param in &builtin.params {
            assert!(
                param.lambda.is_some() || param.types != crate::Types::NEVER,
                "{}: unknown type of {}",
                builtin.name,
                param.name
            );
        }
        assert!(builtin.result != crate::Types::NEVER, "{}: unknown result", builtin.name);
    }
}

#[test]
fn foreign_names_lead_to_functions() {
    let mut earlier = "";
    for (theirs, ours) in super::foreign::NAMES {
        assert!(earlier < *theirs, "{theirs} is out of order");
        assert!(super::builtin(ours).is_some(), "{theirs} leads to {ours}, which there is not");
        assert!(super::builtin(theirs).is_none(), "{theirs} is one of ours");
        assert_eq!(*theirs, theirs.to_ascii_lowercase());
        earlier = theirs;
    }
    assert_eq!(super::elsewhere("startsWith"), Some("starts_with"));
}

#[test]
fn families_are_small() {
    for (group, rows) in super::GROUPS {
        assert!((1..=10).contains(&rows.len()), "{group}: {} begins a file of {} functions", rows[0].name, rows.len());
    }
}

/// What hostile events hold, as expressions that are not constant, with their types.
const HOSTILE: [(&str, &str); 45] = [
    ("event.data.none", "null"),
    ("event.data.t", "bool"),
    ("event.data.i[0]", "int"),
    ("event.data.i[1]", "int"),
    ("event.data.i[2]", "int"),
    ("event.data.i[3]", "int"),
    ("event.data.i[4]", "int"),
    ("event.data.i[5]", "int"),
    ("event.data.d[0]", "decimal"),
    ("event.data.d[1]", "decimal"),
    ("event.data.d[2]", "decimal"),
    ("event.data.d[3]", "decimal"),
    ("event.data.s[0]", "string"),
    ("event.data.s[1]", "string"),
    ("event.data.s[2]", "string"),
    ("event.data.s[3]", "string"),
    ("event.data.s[4]", "string"),
    ("event.data.s[5]", "string"),
    ("event.data.s[6]", "string"),
    ("event.data.s[7]", "string"),
    ("event.data.s[8]", "string"),
    ("event.data.s[9]", "string"),
    ("event.data.s[10]", "string"),
    ("event.data.s[11]", "string"),
    ("event.data.s[12]", "string"),
    ("event.data.s[13]", "string"),
    ("event.data.s[14]", "string"),
    ("event.data.s[15]", "string"),
    ("event.data.s[16]", "string"),
    ("event.data.s[17]", "string"),
    ("event.data.a[0]", "array"),
    ("event.data.a[1]", "array"),
    ("event.data.a[2]", "array"),
    ("event.data.a[3]", "array"),
    ("event.data.a[4]", "array"),
    ("event.data.o[0]", "object"),
    ("event.data.o[1]", "object"),
    ("event.data.o[2]", "object"),
    ("event.data.o[3]", "object"),
    ("event.time", "timestamp"),
    ("event.time + duration(event.data.i[4], 'us')", "timestamp"),
    ("(event.time - 292000000h)", "timestamp"),
    ("duration(event.data.i[0], 'h')", "duration"),
    ("duration(event.data.i[4], 'us')", "duration"),
    ("duration(event.data.i[5], 'us')", "duration"),
];

const HOSTILE_EVENT: &str = r##"{
    "t": true,
    "i": [0, 1, -1, 70, 9223372036854775807, -9223372036854775808],
    "d": [0.5, -79228162514264337593543950335.0, 1e-28, 0.12345678901234567890123456789012],
    "s": ["", "a", " ", "é\u0000😀ﬀ", "1.2.3-rc.1", "10.0.0.0/8", "::ffff:1.2.3.4", "https://u:p@[::1]:1/a?b=%ff%zz#c",
          "Europe/Berlin", "month", "%Y-%Q-%%-%", "=&=;\"\\", "a,\"b\nc", "-9999999999999999999.99e9", "P9999999W",
          "(a*)*(?<n>.)|", "&#x;&#99999999;&", "4111 1111-1111 11114111111111111111"],
    "a": [[], [1, null, "x", [2.5], {"k": 1}], [["a", 1], ["b"]], [[], [[[]]]], ["a", "a", ""]],
    "o": [{}, {"a": {"b": [1]}, "": null, "a.b": 1}, {"type": "object", "pattern": "(", "$ref": "#"},
          {"keys": [{"kty": "RSA", "n": "AA", "e": "AA"}], "scheme": "x", "host": "h", "port": -1}]
}"##;

/// Every function with every hostile value in every place: an answer or an error, never a panic, within the budget.
#[test]
fn no_argument_makes_a_function_panic() {
    /// Combinations for each function.
    const MOST: usize = 1500;
    let doc = crate::json::Doc::parse(HOSTILE_EVENT.as_bytes().into(), &crate::json::Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.time_us = 1_767_323_045_000_000;
    input.event.data = crate::Data::Json(&doc);
    let mut answered = 0;
    let mut failed = std::collections::BTreeSet::new();
    for builtin in builtins() {
        let (fewest, most) = builtin.arity();
        for count in fewest..=most.unwrap_or(2).max(fewest) {
            let choices: Vec<Vec<&str>> = (0..count)
                .map(|at| {
                    let param = builtin.param(at).unwrap();
                    match param.lambda {
                        Some(1) => vec!["x => x", "x => [x, x]", "x => true", "x => to_string(x)"],
                        Some(_) => vec!["(x, y) => y", "(x, y) => [x]"],
                        None => HOSTILE
                            .iter()
                            .filter(|(_, ty)| param.types.overlaps(crate::Types::parse(ty)))
                            .map(|(text, _)| *text)
                            .collect(),
                    }
                })
                .collect();
            let all: usize = choices.iter().map(Vec::len).product();
            // A stride that has no factor in common with the numbers of choices reaches all of them.
            let stride = (all / MOST + 1) | 1;
            for pick in (0..all).step_by(stride) {
                let mut rest = pick;
                let args = choices.iter().map(|choice| {
                    let chosen = choice[rest % choice.len()];
                    rest /= choice.len();
                    chosen
                });
                let mark = if builtin.fallible { "!" } else { "" };
                let text = format!("{}{mark}({})", builtin.name, args.collect::<Vec<_>>().join(", "));
                let source = SourceText { name: "hostile", text: &text };
                let program = compile(&source, ProgramKind::Function).unwrap_or_else(|why| panic!("{why}"));
                let limits = crate::Limits { steps: 200_000, bytes: 1 << 20, ..crate::Limits::default() };
                let outcome = program.eval(&input, &mut Budget::new(limits));
                if outcome.as_ref().is_err_and(|error| error.code == crate::codes::BAD_ARGUMENT) {
                    failed.insert(builtin.name);
                }
                if let Ok(value) = outcome {
                    assert!(
                        builtin.result.holds(crate::Types::of(&value)),
                        "{text} gives {}, and not {}",
                        value.type_name(),
                        builtin.result
                    );
                    answered += 1;
                }
            }
        }
    }
    assert!(answered > 10_000, "{answered}");
    let never: Vec<_> =
        builtins().iter().filter(|own| own.fallible && !failed.contains(own.name)).map(|own| own.name).collect();
    assert!(never.is_empty(), "the signatures of these say that they can fail: {never:?}");
}

#[test]
fn programs_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<crate::Program>();
}
