//! Every language of functions on the same cases: `tests/conformance/*.toml`, which says what a case is.
//!
//! JavaScript and Lua run in a worker process of the built binary and once more in this one, as a trusted function does;
//! WebAssembly in the three shapes that it has. Each program runs on its event twice, since the first run must leave
//! nothing for the second. What a language does otherwise stands in the case, and in `docs/runtimes/differences.md`.

#![allow(clippy::print_stdout)]

use super::cases::{Case, Failed, Outcome, groups};
use super::guests;
use futures_executor::block_on;
use hexafn_actors::definitions::Body;
use hexafn_actors::function::Function;
use hexafn_actors::metrics::Metrics;
use hexafn_actors::runtime::{Hosted, Isolation, Logging, PoolSettings, event_json, launch_with};
use hexafn_dsl::{ProgramKind, SourceText};
use hexafn_runtimes::process::{Launcher, Process};
use hexafn_runtimes::{Done, Host, HostError, HttpRequest, HttpResponse, Language, Session, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// How many cases every language passes, at least: what is left out does not count.
const AT_LEAST: usize = 120;

/// A language, as the keys of the programs are called.
const LANGUAGES: [&str; 4] = ["dsl", "js", "lua", "wasm"];

/// A store and a network for one case.
struct Outside {
    stored: BTreeMap<String, String>,
}

impl Host for Outside {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        if key == "broken" {
            return Err(HostError("the store is closed".to_owned()));
        }
        Ok(self.stored.get(key).filter(|_| namespace == "carts").cloned())
    }

    fn http(&self, request: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        if request.url.ends_with("/gone") {
            return Err(HostError("nobody answers".to_owned()));
        }
        let body = format!("{} {} {}", request.method, request.url, request.body.unwrap_or_default());
        Ok(HttpResponse { status: 404, headers: Vec::new(), body })
    }
}

/// Runs each case in a language: `run` gives, for a case and its program, what came of each run with its name.
fn walk(language: &str, mut run: impl FnMut(&Case, &str) -> Vec<(String, Outcome)>) {
    let mut wrong = String::new();
    let mut passed = 0;
    for (group, cases) in groups() {
        for case in cases {
            let program = match language {
                "dsl" => &case.dsl,
                "js" => &case.js,
                "lua" => &case.lua,
                _ => &case.c,
            };
            let place = format!("{group}: {}", case.name);
            let (program, why) = match (program, case.differs.get(language)) {
                (Some(program), why) => (program, why),
                (None, Some(_)) => continue,
                (None, None) => {
                    writeln!(wrong, "{place}: there is no program in `{language}`; write one, or why not in `differs`")
                        .unwrap();
                    continue;
                }
            };
            let runs = run(&case, program);
            let faults: Vec<(&str, Vec<String>)> =
                runs.iter().map(|(how, outcome)| (&**how, case.wrong(language, outcome))).collect();
            match why {
                None => faults.iter().filter(|(_, found)| !found.is_empty()).for_each(|(how, found)| {
                    writeln!(wrong, "{place} ({how}): {}", found.join("; ")).unwrap();
                }),
                Some(_) if faults.iter().all(|(_, found)| found.is_empty()) => {
                    writeln!(wrong, "{place}: it passes, but `differs` says that it does not").unwrap();
                }
                Some(_) => {}
            }
            passed += usize::from(why.is_none());
        }
    }
    assert!(wrong.is_empty(), "{} faults\n{wrong}", wrong.lines().count());
    println!("{passed} cases in {language}");
}

/// One run of the whole function, as a trigger has it.
fn run(function: &Function, case: &Case) -> Outcome {
    let record = case.record();
    let (result, execution) = block_on(function.run(&record, "trigger", case.attempt.unwrap_or(1), case.at()));
    let produced = match result {
        Ok(produced) => produced,
        Err(error) => return Failed::of(&error.code, error.message),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        value: produced.output.as_deref().map(text),
        emitted: produced
            .emitted
            .iter()
            .map(|one| (one.topic.to_string(), one.key.as_ref().map(ToString::to_string), text(&one.data)))
            .collect(),
        writes: produced.writes.into_iter().map(|w| (w.namespace, w.key, w.value)).collect(),
        host_calls: execution.usage.map(|usage| usage.host_calls),
        ..Outcome::default()
    }
}

/// What an engine says of a call, with its log.
fn called(done: Done) -> Outcome {
    let logs = done.logs.into_iter().map(|line| (format!("{:?}", line.level).to_lowercase(), line.message)).collect();
    let output = match done.result {
        Ok(output) => output,
        Err(error) => return Outcome { logs: Some(logs), ..Failed::of(error.code.as_str(), error.to_string()) },
    };
    Outcome {
        value: output.value.map(|value| String::from_utf8_lossy(&value).into_owned()),
        emitted: output.emitted.into_iter().map(|e| (e.topic, e.key, e.data)).collect(),
        writes: output.writes.into_iter().map(|w| (w.namespace, w.key, w.value)).collect(),
        error: None,
        logs: Some(logs),
        host_calls: Some(done.usage.host_calls),
    }
}

fn launcher() -> Launcher {
    Launcher { program: env!("CARGO_BIN_EXE_hexafn").into(), args: vec!["worker".to_owned()] }
}

/// Two runs of a program in a language with an engine.
fn hosted(case: &Case, language: Language, file: &str, code: &[u8], isolation: Isolation) -> Vec<Outcome> {
    launch_with(launcher());
    let settings = case.settings();
    let source = Source { name: "test".into(), file: file.into(), code: code.into() };
    let compiled = match language.runtime().compile(&source, &settings) {
        Ok(compiled) => compiled,
        Err(error) => return vec![Failed::of(error.code.as_str(), error.to_string())],
    };
    if !case.needs_host() {
        let wall = settings.limits.wall;
        let hosted = Hosted {
            logging: Logging::default(),
            language: language.name(),
            source,
            compiled,
            settings,
            isolation,
            pool: PoolSettings::default(),
            allow_networks: Arc::new([]),
        };
        let definition = case.definition(Body::Hosted(Arc::new(hosted)), wall);
        let function = Function::local(definition, Metrics::new().function("test"));
        return (0..2).map(|_| run(&function, case)).collect();
    }
    let (event, ctx) = (event_json(&case.record()), case.ctx());
    let host = Arc::new(Outside { stored: case.stored.clone() });
    if isolation == Isolation::Process {
        let mut process = Process::start(&launcher(), language.name(), &source, &settings).unwrap();
        let mut call = || process.call(&event, &ctx, &*host).unwrap_or_else(|lost| lost.done);
        return (0..2).map(|_| called(call())).collect();
    }
    let mut instance = compiled.open().unwrap();
    let mut call = || {
        let session = Session::new(settings.clone(), ctx.clone(), host.clone());
        hexafn_runtimes::run(&mut *instance, &event, session)
    };
    (0..2).map(|_| called(call())).collect()
}

fn in_both_places(case: &Case, language: Language, code: &str) -> Vec<(String, Outcome)> {
    let file = format!("test.{}", language.name());
    let places = [(Isolation::Process, "in a process"), (Isolation::Thread, "in a thread")];
    let all = places.into_iter().flat_map(|(isolation, place)| {
        let runs = hosted(case, language, &file, code.as_bytes(), isolation);
        runs.into_iter().enumerate().map(move |(number, run)| (format!("{place}, run {}", number + 1), run))
    });
    all.collect()
}

#[test]
fn functions_in_the_language_of_hexafn_pass() {
    walk("dsl", |case, program| {
        let source = SourceText { name: "test", text: program };
        let program = match hexafn_dsl::compile(&source, ProgramKind::Function) {
            Ok(program) => program,
            Err(errors) => return vec![("checked".to_owned(), Failed::of("compile", format!("{errors:?}")))],
        };
        let definition = case.definition(Body::Dsl(program), case.settings().limits.wall);
        let function = Function::local(definition, Metrics::new().function("test"));
        (1..=2).map(|number| (format!("run {number}"), run(&function, case))).collect()
    });
}

#[test]
fn functions_in_javascript_pass() {
    walk("js", |case, program| {
        let whole = if program.contains("export") {
            program.to_owned()
        } else {
            format!("export default (event, ctx) => {{{program}}}")
        };
        in_both_places(case, Language::Js, &whole)
    });
}

#[test]
fn functions_in_lua_pass() {
    walk("lua", |case, program| {
        let whole = if program.contains("return function") {
            program.to_owned()
        } else {
            format!("return function(event, ctx) {program} end")
        };
        in_both_places(case, Language::Lua, &whole)
    });
}

#[test]
fn functions_in_webassembly_pass() {
    let whole = |program: &str| match program.contains("void handle") {
        true => program.to_owned(),
        false => format!("void handle(void) {{{program}}}"),
    };
    let programs: Vec<String> = groups().values().flatten().filter_map(|case| case.c.as_deref().map(whole)).collect();
    let modules = guests::build(&programs);
    walk("wasm", |case, program| {
        let all = modules[&whole(program)].iter().flat_map(|(shape, module)| {
            let runs = hosted(case, Language::Wasm, "test.wasm", module, Isolation::Thread);
            runs.into_iter().enumerate().map(move |(number, run)| (format!("{shape:?}, run {}", number + 1), run))
        });
        all.collect()
    });
}

#[test]
fn there_are_enough_cases_and_each_says_one_outcome() {
    let groups = groups();
    let mut names = BTreeSet::new();
    let mut everywhere = 0;
    for (group, cases) in &groups {
        for case in cases {
            let place = format!("{group}: {}", case.name);
            assert!(names.insert(case.name.clone()), "{place}: there are two cases of this name");
            assert_eq!(case.outcomes(), 1, "{place}: value, dropped or error, and one of them");
            for language in case.differs.keys().chain(case.places.keys()) {
                assert!(LANGUAGES.contains(&&**language), "{place}: there is no language `{language}`");
            }
            everywhere += usize::from(case.differs.is_empty());
        }
        println!("{group}: {} cases", cases.len());
    }
    println!("{} cases, {everywhere} of them in every language", names.len());
    assert!(everywhere >= AT_LEAST, "every language passes {everywhere} cases, which should be {AT_LEAST} at least");
}

#[test]
fn the_page_of_differences_lists_what_the_cases_say() {
    let mut expected = String::new();
    for (group, cases) in groups() {
        let mut rows: Vec<(String, String, Vec<String>)> = Vec::new();
        for case in cases {
            for (language, why) in case.differs {
                match rows.iter_mut().find(|(l, w, _)| (l, w) == (&language, &why)) {
                    Some((.., names)) => names.push(case.name.clone()),
                    None => rows.push((language, why, vec![case.name.clone()])),
                }
            }
        }
        if rows.is_empty() {
            continue;
        }
        writeln!(expected, "\n### {group}\n\n| runtime | what it does instead | cases |\n|---|---|---|").unwrap();
        for (language, why, names) in rows {
            writeln!(expected, "| `{language}` | {why} | {} |", names.join("; ")).unwrap();
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runtimes/differences.md");
    let page = std::fs::read_to_string(page).unwrap();
    let listed = page.split_once("\n## Case by case\n").map_or("", |(_, rest)| rest);
    assert_eq!(
        listed.trim(),
        expected.trim(),
        "below `## Case by case` of docs/runtimes/differences.md should stand:\n{expected}"
    );
}
