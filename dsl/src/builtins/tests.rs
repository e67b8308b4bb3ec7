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
