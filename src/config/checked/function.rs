//! `[[function]]`: a body in the language of hexaFn, in place or in a file.

use hexafn_actors::definitions::FunctionDefinition;
use hexafn_actors::event::Str;
use hexafn_dsl::ProgramKind;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

use super::{Checker, who};
use crate::config::embedded::Embedded;
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::tree::{Node, Step};
use crate::config::{codes, files, fingerprint, settings};

/// The longest time that a function may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFunction {
    name: String,
    #[serde(default, rename = "runtime")]
    _runtime: Runtime,
    file: Option<String>,
    code: Option<String>,
    #[serde(default = "second", deserialize_with = "settings::length")]
    timeout: Duration,
    #[serde(default)]
    fallback: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default, rename = "description")]
    _description: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Runtime {
    #[default]
    Dsl,
}

fn second() -> Duration {
    Duration::from_secs(1)
}

impl Checker<'_> {
    pub(super) fn function(&mut self, node: &Node) -> Option<FunctionDefinition> {
        let who = who("function", node);
        let errors = self.problems.errors();
        let raw: RawFunction = Reader::new(node, &who).read_what_fits(self.problems).0?;
        if raw.timeout.is_zero() || raw.timeout > MAX_TIMEOUT {
            let span = node.span_of(&[Step::Key("timeout")]);
            let message = format!("`timeout` of {who} must be from \"1ms\" to \"30s\"");
            self.problems.push(Problem::error(&codes::VALUE, span, message));
        }
        for (index, name) in raw.fallback.iter().enumerate() {
            if !self.names.functions.contains(name) {
                let span = node.span_of(&[Step::Key("fallback"), Step::Index(index)]);
                self.problems.push(self.names.functions.unknown(name, span, &format!("`fallback` of {who}")));
            }
        }
        let env = self.function_env(node, &raw.env, &who);
        let (program, text) = match (&raw.code, &raw.file) {
            (Some(code), None) => {
                (self.compile(node, &[Step::Key("code")], ProgramKind::Function, &who)?, code.clone())
            }
            (None, Some(file)) => self.function_file(node, file, &who)?,
            // A body of another type has been reported.
            (None, None) if node.get("code").or(node.get("file")).is_some() => return None,
            (both, _) => {
                let (span, message) = match (both, node.entry("file")) {
                    (Some(_), Some(file)) => (file.key_span.clone(), format!("{who} has both `code` and `file`")),
                    _ => (node.span.clone(), format!("{who} has no body")),
                };
                self.problems.push(
                    Problem::error(&codes::FUNCTION_BODY, span, message)
                        .help("write either code = '''…''' or file = \"functions/name.hexa\""),
                );
                return None;
            }
        };
        for topic in &program.emits().topics {
            if let Err(error) = hexafn_actors::topic::pattern::check_name(topic) {
                let span = node.span_of(&[Step::Key(if raw.file.is_some() { "file" } else { "code" })]);
                self.problems.push(Problem::error(&codes::NAME, span, format!("{who} emits to `{topic}`: {error}")));
            }
        }
        if self.problems.errors() > errors {
            return None;
        }
        let modules = self.modules.texts_of(&program);
        let parts: Vec<&[u8]> = std::iter::once(text.as_bytes()).chain(modules.iter().map(|m| m.as_bytes())).collect();
        Some(FunctionDefinition {
            name: raw.name.into(),
            program,
            timeout: raw.timeout,
            fallback: raw.fallback.into_iter().map(Into::into).collect(),
            fingerprint: fingerprint::of(node, &parts),
            env,
        })
    }

    fn function_file(&mut self, node: &Node, file: &str, who: &str) -> Option<(hexafn_dsl::Program, String)> {
        let span = node.span_of(&[Step::Key("file")]);
        match files::read_within(self.dir, file, &span, who) {
            Ok((path, text)) => {
                let shared: Arc<str> = text.as_str().into();
                let base = self.texts.add(path.display().to_string(), shared.clone());
                self.function_files.push((path, shared));
                let program = self.compile_text(&text, &Embedded::whole(base, &text), ProgramKind::Function, who)?;
                Some((program, text))
            }
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }

    /// The values of the environment variables that a function may read: never one that holds a secret.
    fn function_env(&mut self, node: &Node, names: &[String], who: &str) -> Vec<(Str, Str)> {
        const SECRET: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PRIVATE_KEY", "CREDENTIAL"];
        let mut out = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let span = node.span_of(&[Step::Key("env"), Step::Index(index)]);
            let upper = name.to_uppercase();
            if SECRET.iter().any(|word| upper.contains(word)) || self.vault.is_secret(name) {
                self.problems.push(
                    Problem::error(&codes::SECRET_UNFIT, span, format!("{who} cannot read the variable `{name}`"))
                        .label("this looks like a secret")
                        .help(
                            "what a function reads can end in its output; secrets belong to sources and targets only",
                        ),
                );
                continue;
            }
            match self.vault.variable(name) {
                Some(value) => out.push((name.as_str().into(), value.into())),
                None => {
                    let message = format!("{who} reads the environment variable `{name}`, which is not set");
                    let problem = Problem::error(&codes::SECRET_MISSING, span, message)
                        .help(format!("set it before the start, e.g. `export {name}=…`, or remove it from `env`"));
                    self.problems.push(self.vault.absent(problem));
                }
            }
        }
        out
    }
}
