//! A function that is a file and nothing more: to try it before it is configured.

use hexafn_actors::definitions::{Body, FunctionDefinition};
use hexafn_actors::runtime::{Hosted, Isolation, PoolSettings};
use hexafn_actors::supervision::duration::Span;
use hexafn_dsl::{ProgramKind, SourceText};
use hexafn_runtimes::{Grants, Language, Limits, Settings, Source};
use std::path::Path;
use std::sync::Arc;

use super::Failure;
use crate::config::size::Size;

/// Compiles the function of a file, with the limits of a configured one and no grants.
pub fn function(
    file: &Path,
    runtime: Option<&str>,
    timeout: &str,
    memory: &str,
) -> Result<FunctionDefinition, Failure> {
    let shown = file.display().to_string();
    let code = std::fs::read(file).map_err(|e| Failure::new(1, format!("{shown}: {e}")))?;
    let end = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let language = match (runtime, end) {
        (Some(name), _) => name,
        (None, "hexa") => "dsl",
        (None, "js" | "mjs") => "js",
        (None, "lua" | "luau") => "lua",
        (None, "wasm" | "wat") => "wasm",
        (None, other) => {
            let message =
                format!("{shown}: `.{other}` does not tell the language; name it: --runtime dsl, js, lua or wasm");
            return Err(Failure::new(2, message));
        }
    };
    let wrong = |message: String| Failure::new(2, message);
    let timeout = Span::parse(timeout).map_err(|e| wrong(format!("--timeout: {e}")))?.0;
    let memory = Size::parse(memory).map_err(|e| wrong(format!("--memory: {e}")))?;
    let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or("function");
    let body = if language == "dsl" {
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
        let memory = usize::try_from(memory.0).unwrap_or(usize::MAX);
        let limits = Limits { wall: timeout, memory, ..Limits::default() };
        let settings = Arc::new(Settings { limits, grants: Grants::default() });
        let source = Source { name: name.into(), file: shown.as_str().into(), code: code.into() };
        let compiled = language
            .runtime()
            .compile(&source, &settings)
            .map_err(|error| Failure::new(1, format!("{shown}: {error}")))?;
        let isolation = if language.stops_itself() { Isolation::Thread } else { Isolation::Process };
        let pool = PoolSettings::default();
        let (language, allow_networks) = (language.name(), Arc::new([]));
        Body::Hosted(Arc::new(Hosted { language, source, compiled, settings, isolation, pool, allow_networks }))
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
