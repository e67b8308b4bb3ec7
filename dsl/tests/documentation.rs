//! The generated pages in `docs` are current, and the programs in them do what they say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{
    Budget, CompileOptions, Data, Input, ModuleError, Modules, ProgramKind, SourceText, codes, compile, compile_with,
    reference,
};

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

/// A block of code of a page: what stands behind the quotes, its text, and the line that it begins in.
struct Fence {
    info: String,
    text: String,
    line: usize,
}

fn fences(page: &str) -> Vec<Fence> {
    let mut all = Vec::new();
    let mut open: Option<Fence> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some(Fence { info: info.to_owned(), text: String::new(), line: at + 1 }),
            (Some(_), Some(_)) => all.extend(open.take()),
            (Some(fence), None) => fence.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    all
}

struct Pages(BTreeMap<String, String>);

impl Modules for Pages {
    fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
        self.0.get(path).map(|text| text.as_str().into()).ok_or(ModuleError::NotFound)
    }
}

/// What a program gives, and what it emits.
fn outcome(
    text: &str,
    kind: &str,
    event: &str,
    modules: &Pages,
) -> Result<(serde_json::Value, serde_json::Value), String> {
    let options = CompileOptions::default().modules(modules);
    let program = compile_with(&SourceText { name: "program", text }, ProgramKind::Function, &options)
        .map_err(|findings| findings.render(false))?;
    let warnings = program.warnings();
    if !warnings.is_empty() {
        return Err(warnings.render(false));
    }
    let doc = Doc::parse(event.as_bytes().to_vec().into(), &Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.id = "evt-1";
    input.event.kind = kind;
    input.event.source = "github";
    input.event.time_us = 1_767_323_045_000_000;
    input.event.data = Data::Json(&doc);
    let outcome = program.run(&input, &mut Budget::default()).map_err(|error| error.to_string())?;
    let json = |value: &hexafn_dsl::Value<'_>| {
        serde_json::from_str::<serde_json::Value>(&value.to_json(100_000).unwrap()).unwrap()
    };
    let emitted = outcome.emitted.iter().map(|emit| {
        let key = emit.key.as_ref().map(|key| key.as_str().to_owned());
        serde_json::json!({ "topic": emit.topic.as_str(), "key": key, "data": json(&emit.value) })
    });
    let emitted = emitted.collect();
    let value = match &outcome.value {
        hexafn_dsl::Value::Drop => serde_json::Value::from("drop"),
        value => json(value),
    };
    Ok((value, emitted))
}

/// Runs the `hexa` blocks of a page. A block `json event TYPE` is the event of those that follow; `hexa PATH` is a
/// module. A block `json` behind a program is what it gives, `json emitted` what it emits, `text` what is reported.
fn examples(name: &str, page: &str) -> usize {
    let (mut event, mut kind) = ("{}".to_owned(), "push".to_owned());
    let mut modules = Pages(BTreeMap::new());
    let (mut run, mut wrong) = (0, Vec::new());
    let fences = fences(page);
    for (at, fence) in fences.iter().enumerate() {
        if let Some(rest) = fence.info.strip_prefix("json event") {
            event.clone_from(&fence.text);
            kind = rest.trim().to_owned();
        }
        let Some(rest) = fence.info.strip_prefix("hexa") else { continue };
        let place = format!("{name}:{}", fence.line);
        // The pages are laid out as the formatter does it.
        match hexafn_dsl::format(&fence.text) {
            Ok(laid_out) if laid_out != fence.text => wrong.push(format!("{place}: laid out:\n{laid_out}")),
            _ => {}
        }
        run += 1;
        if let Some(path) = rest.strip_prefix(' ') {
            modules.0.insert(path.to_owned(), fence.text.clone());
            continue;
        }
        let got = outcome(&fence.text, &kind, &event, &modules);
        let mut expected = fences[at + 1..]
            .iter()
            .take_while(|next| matches!(next.info.as_str(), "json" | "json emitted" | "text"))
            .peekable();
        if let (None, Err(why)) = (expected.peek(), &got) {
            wrong.push(format!("{place}: {why}"));
        }
        for next in expected {
            let parsed = serde_json::from_str::<serde_json::Value>(&next.text).ok();
            let fits = match (next.info.as_str(), &got) {
                ("json", Ok((value, _))) => parsed.as_ref() == Some(value),
                ("json emitted", Ok((_, emitted))) => parsed.as_ref() == Some(emitted),
                ("text", Err(why)) => why.trim() == next.text.trim(),
                _ => false,
            };
            if !fits {
                let got = match &got {
                    Ok((value, emitted)) => format!("{value}, emitted {emitted}"),
                    Err(why) => why.clone(),
                };
                wrong.push(format!("{place}: expected\n{}got\n{got}", next.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    run
}

#[test]
fn the_programs_of_the_language_run() {
    assert!(examples("language.md", include_str!("../src/reference/language.md")) >= 2);
}

#[test]
fn the_programs_of_the_tutorial_give_what_it_says() {
    let page = std::fs::read_to_string(docs().join("dsl/tutorial.md")).unwrap();
    assert!(examples("tutorial.md", &page) >= 25);
}
