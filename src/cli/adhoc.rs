//! A function that is a file and nothing more: to try it before it is configured.

use hexafn_actors::definitions::{Body, FunctionDefinition};
use hexafn_actors::names::near;
use hexafn_actors::runtime::{Hosted, Isolation, Logging, PoolSettings, launcher};
use hexafn_actors::supervision::duration::Span;
use hexafn_actors::topic::pattern::Pattern;
use hexafn_dsl::{ProgramKind, SourceText};
use hexafn_runtimes::{Grants, Language, Settings, Source};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use crate::config::{RawLimits, is_timeout};

/// What `--limits` may name.
const LIMITS: [&str; 8] = ["timeout", "memory", "stack", "output", "logs", "host_calls", "emits", "fuel"];

/// What is said of the function beside its text.
pub struct Given<'a> {
    /// Its language, when the name of the file does not tell.
    pub runtime: Option<&'a str>,
    /// Limits, each `name=value`.
    pub limits: &'a [String],
    /// Topics that it may emit to.
    pub emit: &'a [String],
}

fn wrong(message: String) -> Failure {
    Failure::new(2, message)
}

/// Compiles the function of a file, with the limits of a configured one unless others are given.
pub fn function(file: &Path, given: &Given<'_>) -> Result<FunctionDefinition, Failure> {
    let shown = file.display().to_string();
    let code = std::fs::read(file).map_err(|e| Failure::new(1, format!("{shown}: {e}")))?;
    let end = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let told = if end == "hexa" { Some("dsl") } else { Language::of_file(&shown).map(Language::name) };
    let Some(language) = given.runtime.or(told) else {
        let what = match end {
            "ts" | "mts" | "tsx" | "jsx" => "is compiled to JavaScript first; run the `.js` that comes of it",
            "c" | "h" | "cc" | "cpp" | "rs" | "go" | "zig" => {
                "is compiled to WebAssembly first; run the `.wasm` that comes of it"
            }
            _ => "does not tell the language; name it: --runtime dsl, js, lua or wasm",
        };
        return Err(wrong(format!("{shown}: `.{end}` {what}")));
    };
    let (timeout, limits) = limits(given.limits, language)?;
    let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or("function");
    let body = if language == "dsl" {
        if !given.emit.is_empty() {
            return Err(wrong("--emit: the text of a program in the language of hexaFn names its topics".to_owned()));
        }
        let text = std::str::from_utf8(&code).map_err(|e| Failure::new(1, format!("{shown}: {e}")))?;
        let program = hexafn_dsl::compile(&SourceText { name: &shown, text }, ProgramKind::Function)
            .map_err(|problems| Failure::new(1, problems.to_string()))?;
        Body::Dsl(program)
    } else {
        let Some(language) = Language::named(language) else {
            return Err(wrong(format!(
                "--runtime: there is no language `{language}`; there are dsl, js, lua and wasm"
            )));
        };
        for topic in given.emit {
            Pattern::new(topic).map_err(|e| wrong(format!("--emit: {e}")))?;
        }
        // At a terminal its lines are what is wanted.
        let grants = Grants { emit: given.emit.to_vec(), log: true, ..Grants::default() };
        let settings = Arc::new(Settings { limits: limits.within(timeout), grants });
        let source = Source { name: name.into(), file: shown.as_str().into(), code: code.into() };
        let compiled = language
            .compile(&*language.runtime(), &launcher(), &source, &settings)
            .map_err(|error| Failure::new(1, format!("{shown}: {error}")))?;
        let isolation = if language.stops_itself() { Isolation::Thread } else { Isolation::Process };
        let pool = PoolSettings::default();
        let (language, allow_networks) = (language.name(), Arc::new([]));
        Body::Hosted(Arc::new(Hosted {
            language,
            source,
            compiled,
            settings,
            isolation,
            pool,
            allow_networks,
            logging: Logging::default(),
        }))
    };
    Ok(FunctionDefinition {
        name: name.into(),
        body,
        input: None,
        output: None,
        timeout,
        fallback: Vec::new(),
        env: Vec::new(),
        fingerprint: 0,
    })
}

/// Reads `--limits`, by the rules of `timeout` and `limits` of the configuration.
fn limits(given: &[String], language: &str) -> Result<(Duration, RawLimits), Failure> {
    let mut timeout = Duration::from_secs(1);
    let mut limits = toml::Table::new();
    let mut seen = Vec::new();
    for one in given {
        let (name, value) = one.split_once('=').ok_or_else(|| {
            wrong(format!("--limits: `{one}` is not NAME=VALUE; write e.g. --limits memory=64MiB,timeout=1s"))
        })?;
        let (name, value) = (name.trim(), value.trim());
        if !LIMITS.contains(&name) {
            return Err(wrong(format!("--limits: there is no limit `{name}`; {}", near(name, LIMITS.into_iter()))));
        }
        if seen.contains(&name) {
            return Err(wrong(format!("--limits: `{name}` is given twice")));
        }
        seen.push(name);
        if name == "timeout" {
            timeout = Span::parse(value).map_err(|e| wrong(format!("--limits: `timeout`: {e}")))?.0;
            if !is_timeout(timeout) {
                return Err(wrong("--limits: `timeout` must be from \"1ms\" to \"30s\"".to_owned()));
            }
            continue;
        }
        if language == "dsl" {
            return Err(wrong(format!(
                "--limits: `{name}` is for js, lua and wasm; the language of hexaFn has `timeout` alone"
            )));
        }
        let value = value.parse().map_or_else(|_| toml::Value::String(value.to_owned()), toml::Value::Integer);
        let one = toml::Table::from_iter([(name.to_owned(), value)]);
        RawLimits::read(&one).map_err(|e| wrong(format!("--limits: `{name}`: {e}")))?;
        limits.extend(one);
    }
    let limits = RawLimits::read(&limits).map_err(|e| wrong(format!("--limits: {e}")))?;
    if let Some((name, range)) = limits.out_of_range().next() {
        return Err(wrong(format!("--limits: `{name}` must be {range}")));
    }
    Ok((timeout, limits))
}
