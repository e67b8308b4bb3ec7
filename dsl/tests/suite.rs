//! The data-driven suite: every file of `testdata` holds cases of a program, an event, and what must come out.
//!
//! ```text
//! === name
//! program
//! --- event            (optional: the JSON of event.data)
//! {"a": 1}
//! --- value            (or: condition, error, refused, template)
//! 1
//! ```
//! After `value`, a part `emitted` has a line `topic key K JSON` (or `topic JSON`) for each event that is emitted.
//! `error` expects the code of a run-time error and, after it, a part of the message; `refused` the same of a
//! diagnostic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use hexafn_dsl::json::Doc;
use hexafn_dsl::{Budget, CtxView, Data, Emit, EventView, Input, ProgramKind, SourceText, compile, json};

const FEWEST: usize = 350;

struct Case {
    file: String,
    name: String,
    program: String,
    event: Option<String>,
    kind: String,
    expected: String,
    emitted: Option<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        for block in text.split("=== ").skip(1) {
            let (name, rest) = block.split_once('\n').unwrap();
            let mut parts = rest.split("--- ");
            let program = parts.next().unwrap().trim_end_matches('\n').to_owned();
            let (mut event, mut emitted) = (None, None);
            let mut expectation = None;
            for part in parts {
                let (title, body) = part.split_once('\n').unwrap_or((part, ""));
                match title.trim() {
                    "event" => event = Some(body.trim().to_owned()),
                    "emitted" => emitted = Some(body.trim().to_owned()),
                    kind => expectation = Some((kind.to_owned(), body.trim_end_matches('\n').to_owned())),
                }
            }
            let (kind, expected) = expectation.unwrap_or_else(|| panic!("{file}: {name} expects nothing"));
            cases.push(Case { file: file.clone(), name: name.to_owned(), program, event, kind, expected, emitted });
        }
    }
    cases
}

fn run(case: &Case) -> Result<(), String> {
    let doc = case.event.as_ref().map(|event| {
        Doc::parse(event.clone().into_bytes().into(), &json::Limits::default()).expect("the event of a case is JSON")
    });
    let headers: [(Arc<str>, Arc<str>); 2] =
        [("X-GitHub-Event".into(), "push".into()), ("Accept".into(), "text/plain".into())];
    let env: [(Arc<str>, Arc<str>); 1] = [("REGION".into(), "eu".into())];
    let input = Input {
        event: EventView {
            id: "evt-1",
            source: "github",
            kind: "push",
            subject: None,
            time_us: 1_767_323_045_000_000,
            topic: "github.push",
            seq: 42,
            key: Some("k"),
            content_type: Some("application/json"),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            headers: &headers,
            extensions: &[],
            data: doc.as_ref().map_or(Data::None, Data::Json),
        },
        ctx: CtxView {
            trigger: "big-push",
            function: "summarize",
            attempt: 1,
            now_us: 1_767_323_105_000_000,
            env: &env,
            seed: hexafn_dsl::Seed { number: 7, ..Default::default() },
        },
    };
    let kind = match case.kind.as_str() {
        "condition" => ProgramKind::Condition,
        "template" => ProgramKind::Template,
        _ => ProgramKind::Function,
    };
    let kind = if case.kind == "refused" && case.name.contains("(condition)") { ProgramKind::Condition } else { kind };
    let mut budget = Budget::default();
    let got = match compile(&SourceText { name: "case", text: &case.program }, kind) {
        Err(findings) if case.kind == "refused" => findings.render(false),
        Err(findings) => return Err(findings.render(false)),
        Ok(_) if case.kind == "refused" => return Err("it was accepted".to_owned()),
        Ok(program) => match kind {
            ProgramKind::Condition => program.test(&input, &mut budget).map(|truth| truth.to_string()),
            ProgramKind::Template => program.render(&input, &mut budget),
            ProgramKind::Function => program.run(&input, &mut budget).map(|outcome| {
                let emitted = outcome.emitted.iter().map(line).collect::<Vec<_>>().join("\n");
                if case.emitted.as_ref().is_some_and(|expected| *expected != emitted) {
                    return format!("emitted {emitted}");
                }
                let value = outcome.value;
                if matches!(value, hexafn_dsl::Value::Drop) {
                    "drop".to_owned()
                } else {
                    value.to_json(100_000).unwrap()
                }
            }),
        }
        .unwrap_or_else(|error| error.to_string()),
    };
    let fits = if matches!(case.kind.as_str(), "error" | "refused") {
        case.expected.lines().all(|part| got.contains(part.trim()))
    } else {
        got == case.expected
    };
    if fits { Ok(()) } else { Err(format!("expected {}\ngot      {got}", case.expected)) }
}

/// An emitted event as the cases write it.
fn line(emit: &Emit<'_>) -> String {
    let key = emit.key.as_ref().map_or(String::new(), |key| format!(" key {}", key.as_str()));
    format!("{}{key} {}", emit.topic.as_str(), emit.value.to_json(100_000).unwrap())
}

#[test]
fn every_case_gives_what_it_says() {
    let cases = cases();
    assert!(cases.len() >= FEWEST, "only {} cases", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| run(case).err().map(|why| format!("{} / {}\n{}\n{why}", case.file, case.name, case.program)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}
