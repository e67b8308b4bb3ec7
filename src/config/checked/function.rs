//! `[[function]]`: a body in the language of hexaFn, in place or in a file.

use hexafn_actors::definitions::FunctionDefinition;
use hexafn_actors::event::Str;
use hexafn_dsl::{ProgramKind, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

use super::expected::Known;
use super::{Checker, who};
use crate::config::embedded::Embedded;
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::tree::{Node, Step};
use crate::config::{codes, files, fingerprint, settings};

/// The longest time that a function may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// `[[function]]`: what a trigger runs on an event; its value is the output.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["code"] }, { "required": ["file"] }]))]
pub(super) struct RawFunction {
    /// Its name.
    name: String,
    /// The language.
    #[serde(default, rename = "runtime")]
    _runtime: Runtime,
    /// A file of the configuration folder that holds the body. Either this or `code`.
    file: Option<String>,
    /// The body.
    code: Option<String>,
    /// A JSON Schema in a file of the configuration folder that the data of its events meets: what the body reads is checked
    /// against it when the configuration is checked.
    input: Option<String>,
    /// How long it may take, up to `"30s"`.
    #[serde(default = "second", with = "settings::length")]
    #[schemars(schema_with = "settings::length::schema")]
    timeout: Duration,
    /// Functions that run when it fails or takes too long, in order.
    #[serde(default)]
    fallback: Vec<String>,
    /// Environment variables that it may read as `ctx.env.NAME`; never secrets.
    #[serde(default)]
    env: Vec<String>,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
enum Runtime {
    /// The language of hexaFn.
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
        let schema = match &raw.input {
            Some(file) => Some(self.input_schema(node, file, &who)?),
            None => {
                // Those that run it see events of sources with a schema alone.
                self.known = self.expected.functions.get(&raw.name).cloned();
                None
            }
        };
        let body = match (&raw.code, &raw.file) {
            (Some(code), None) => self
                .compile(node, &[Step::Key("code")], ProgramKind::Function, &who)
                .map(|program| (program, code.clone())),
            (None, Some(file)) => self.function_file(node, file, &who),
            _ => None,
        };
        self.known = None;
        let (program, text) = match (&raw.code, &raw.file) {
            (Some(_), None) | (None, Some(_)) => body?,
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
        let parts: Vec<&[u8]> = std::iter::once(text.as_bytes())
            .chain(modules.iter().map(|m| m.as_bytes()))
            .chain(schema.iter().map(|s| s.as_bytes()))
            .collect();
        Some(FunctionDefinition {
            name: raw.name.into(),
            program,
            timeout: raw.timeout,
            fallback: raw.fallback.into_iter().map(Into::into).collect(),
            fingerprint: fingerprint::of(node, &parts),
            env,
        })
    }

    /// Reads the schema of the events; what is compiled next is checked against it.
    fn input_schema(&mut self, node: &Node, file: &str, who: &str) -> Option<String> {
        let span = node.span_of(&[Step::Key("input")]);
        let text = match files::read_within(self.root, file, &span, who) {
            Ok((path, text)) => {
                self.function_files.push((path, text.as_str().into()));
                text
            }
            Err(problem) => {
                self.problems.push(*problem);
                return None;
            }
        };
        match Shape::from_json_schema(&text) {
            Ok(shape) => {
                self.known = Some(Known { shape, by: file.to_owned() });
                Some(text)
            }
            Err(error) => {
                let message = format!("`input` of {who}: {file} is not a JSON Schema that can be used: {error}");
                self.problems.push(Problem::error(&codes::VALUE, span, message));
                None
            }
        }
    }

    fn function_file(&mut self, node: &Node, file: &str, who: &str) -> Option<(hexafn_dsl::Program, String)> {
        let span = node.span_of(&[Step::Key("file")]);
        match files::read_within(self.root, file, &span, who) {
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
