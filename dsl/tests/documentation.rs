//! The generated pages in `docs` are current, and the programs in them do what they say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use hexafn_dsl::{Budget, Input, ProgramKind, SourceText, codes, compile, reference};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap().join("../docs")
}

const REFRESH: &str = "run `cargo run -p hexafn-dsl --example reference`; see dsl/examples/reference.rs";

#[test]
fn the_reference_is_current() {
    let page = std::fs::read_to_string(docs().join("dsl/reference.md")).unwrap_or_default();
    assert!(page == reference(), "docs/dsl/reference.md is not current: {REFRESH} > docs/dsl/reference.md");
}

#[test]
fn every_code_has_its_page() {
    for explanation in codes::ALL {
        let path = docs().join(format!("errors/{}.md", explanation.code));
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page == explanation.page(), "{} is not current: {REFRESH} errors docs/errors", path.display());
        assert!(codes::explain(&explanation.code.to_string().to_lowercase()).is_some());
    }
    assert!(codes::explain("HX0000").is_none());
    assert!(codes::explain("éé").is_none());
}

#[test]
fn the_examples_of_codes_are_refused_and_accepted() {
    for explanation in codes::ALL {
        let check = |text: &str| {
            let kind = if explanation.title.contains("condition") && !explanation.wrong.is_empty() {
                ProgramKind::Condition
            } else {
                ProgramKind::Function
            };
            compile(&SourceText { name: "example", text }, kind)
        };
        if !explanation.wrong.is_empty() {
            let findings = check(explanation.wrong).expect_err(explanation.wrong);
            assert!(
                findings.iter().any(|finding| finding.code == explanation.code),
                "{}\n{findings}",
                explanation.code
            );
        }
        if !explanation.right.is_empty() {
            let result = check(explanation.right);
            assert!(result.is_ok(), "{}: {}", explanation.code, result.unwrap_err());
        }
    }
}

#[test]
fn the_program_of_the_reference_runs() {
    let text = reference();
    let program = text.split("```hexa\n").nth(1).unwrap().split("```").next().unwrap();
    let program = compile(&SourceText { name: "reference", text: program }, ProgramKind::Function).unwrap();
    let value = program.eval(&Input::EMPTY, &mut Budget::default()).unwrap();
    assert!(matches!(value, hexafn_dsl::Value::Drop));
}
