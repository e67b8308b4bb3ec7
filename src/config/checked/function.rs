//! `[[function]]`: a body in the language of hexaFn or in another one, in place or in a file.

use hexafn_actors::definitions::{Body, FunctionDefinition};
use hexafn_actors::event::Str;
use hexafn_actors::source::rate::Limit;
use hexafn_dsl::{Program, ProgramKind, Shape, Validator};
use hexafn_runtimes::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

use super::expected::Known;
use super::hosted::{RawLimits, RawPool};
use super::{Checker, who};
use crate::config::embedded::Embedded;
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::tree::{Node, Step};
use crate::config::{codes, files, fingerprint, settings};

/// Whether a function may ask for this time: from `"1ms"` to `"30s"`.
pub(crate) fn is_timeout(time: Duration) -> bool {
    (Duration::from_millis(1)..=Duration::from_secs(30)).contains(&time)
}

/// `[[function]]`: what a trigger runs on an event; its value is the output.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["code"] }, { "required": ["file"] }]))]
pub(super) struct RawFunction {
    /// Its name.
    pub(super) name: String,
    /// The language; when absent what the end of `file` tells (`.js`, `.mjs`, `.lua`, `.luau`, `.wasm`, `.wat`), and else `"dsl"`.
    runtime: Option<Runtime>,
    /// The engine of a function in WebAssembly: `"wasmtime"` when absent. `"wasmer"` takes a hexafn that was built with it.
    pub(super) engine: Option<RawEngine>,
    /// A file of the configuration folder that holds the body. Either this or `code`.
    pub(super) file: Option<String>,
    /// The body.
    pub(super) code: Option<String>,
    /// A JSON Schema in a file of the configuration folder that the data of its events meets: what a body in the language of
    /// hexaFn reads is checked against it when the configuration is checked, and each event before the function runs.
    input: Option<String>,
    /// A JSON Schema in a file of the configuration folder that its output meets: checked after each run.
    output: Option<String>,
    /// How long it may take, up to `"30s"`.
    #[serde(default = "second", with = "settings::length")]
    #[schemars(schema_with = "settings::length::schema")]
    pub(super) timeout: Duration,
    /// Functions that run when it fails or takes too long, in order.
    #[serde(default)]
    fallback: Vec<String>,
    /// Environment variables that it may read as `ctx.env.NAME`; never secrets.
    #[serde(default)]
    env: Vec<String>,
    /// Topics that it may emit to: names, or patterns with `*` and `>`. Not for `dsl`, which names them in its text.
    #[serde(default)]
    pub(super) emit: Vec<String>,
    /// Namespaces of the key-value store that it may use. Not for `dsl`.
    #[serde(default)]
    pub(super) kv: Vec<String>,
    /// Hosts that it may send requests to: `"api.example.com"`, `"*.example.com"`, `"localhost:9000"`. Not for `dsl`.
    #[serde(default)]
    pub(super) http: Vec<String>,
    /// Private networks that its requests may reach, such as `"127.0.0.0/8"`. Not for `dsl`.
    #[serde(default)]
    pub(super) allow_networks: Vec<String>,
    /// What a run may use. Not for `dsl`, whose steps follow from `timeout`.
    pub(super) limits: Option<RawLimits>,
    /// Its workers. Not for `dsl`, which runs within its trigger.
    pub(super) pool: Option<RawPool>,
    /// Whether it may write log lines. Not for `dsl`, which logs nothing.
    #[serde(default)]
    pub(super) log: bool,
    /// Whether it may know how time goes on; for one that may not the clock stands where the run began. Not for `dsl`.
    #[serde(default)]
    pub(super) time: bool,
    /// Whether its random numbers are the system's; those of one that may not are the same whenever the record is run. Not for
    /// `dsl`.
    #[serde(default)]
    pub(super) random: bool,
    /// How many of its log lines are written into the log of the service: 100 a second, and 1,000 at once, unless it is told.
    /// Not for `dsl`, which logs nothing.
    pub(super) log_rate: Option<Limit>,
    /// JavaScript and Lua run in worker processes, where nothing can be reached and everything can be killed. A trusted
    /// function runs in a thread of the service: faster, and an endless loop in it can cost that thread.
    #[serde(default)]
    pub(super) trusted: bool,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
}

impl RawFunction {
    /// The language that it is in.
    pub(super) fn runtime(&self) -> Runtime {
        self.runtime.or_else(|| self.file.as_deref().and_then(Language::of_file).map(Into::into)).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Runtime {
    /// The language of hexaFn.
    #[default]
    Dsl,
    /// JavaScript, on QuickJS.
    Js,
    /// Lua, on Luau.
    Lua,
    /// WebAssembly.
    Wasm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawEngine {
    /// Wasmtime.
    Wasmtime,
    /// Wasmer.
    Wasmer,
}

/// Whether a shell could set a variable of this name.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn second() -> Duration {
    Duration::from_secs(1)
}

impl Checker<'_> {
    pub(super) fn function(&mut self, node: &Node) -> Option<FunctionDefinition> {
        let who = who("function", node);
        let errors = self.problems.errors();
        let raw: RawFunction = Reader::new(node, &who).read_what_fits(self.problems).0?;
        if !is_timeout(raw.timeout) {
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
        let (mut texts, mut schemas) = (Vec::new(), [None, None]);
        for ((key, file), slot) in [("input", &raw.input), ("output", &raw.output)].into_iter().zip(&mut schemas) {
            if let Some(file) = file {
                let (text, validator) = self.schema_file(node, key, file, &who)?;
                texts.push(text);
                *slot = Some(Arc::new(validator));
            }
        }
        let [input, output] = schemas;
        match (&raw.code, &raw.file) {
            (Some(_), None) | (None, Some(_)) => {}
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
        }
        let body = if raw.runtime() == Runtime::Dsl {
            self.only_hosted(node, &who);
            self.program(node, &raw, &who, &mut texts).map(Body::Dsl)
        } else {
            self.hosted(node, &raw, &who, &mut texts).map(|hosted| Body::Hosted(Arc::new(hosted)))
        }?;
        if self.problems.errors() > errors {
            return None;
        }
        let parts: Vec<&[u8]> = texts.iter().map(|text| &**text).collect();
        Some(FunctionDefinition {
            name: raw.name.into(),
            body,
            input,
            output,
            timeout: raw.timeout,
            fallback: raw.fallback.into_iter().map(Into::into).collect(),
            fingerprint: fingerprint::of(node, &parts),
            env,
        })
    }

    /// The body in the language of hexaFn.
    fn program(&mut self, node: &Node, raw: &RawFunction, who: &str, texts: &mut Vec<Vec<u8>>) -> Option<Program> {
        match &raw.input {
            Some(file) => self.known = Some(self.shape_of(node, file, texts.first()?, who)?),
            // Those that run it see events of sources with a schema alone.
            None => self.known = self.expected.functions.get(&raw.name).cloned(),
        }
        let body = match (&raw.code, &raw.file) {
            (Some(code), _) => self
                .compile(node, &[Step::Key("code")], ProgramKind::Function, who)
                .map(|program| (program, code.clone())),
            (_, Some(file)) => self.function_file(node, file, who),
            _ => None,
        };
        self.known = None;
        let (program, text) = body?;
        for topic in &program.emits().topics {
            if let Err(error) = hexafn_actors::topic::pattern::check_name(topic) {
                let span = node.span_of(&[Step::Key(if raw.file.is_some() { "file" } else { "code" })]);
                self.problems.push(Problem::error(&codes::NAME, span, format!("{who} emits to `{topic}`: {error}")));
            }
        }
        texts.push(text.into_bytes());
        texts.extend(self.modules.texts_of(&program).iter().map(|m| m.as_bytes().to_vec()));
        Some(program)
    }

    /// Reads the schema of the events or of the output.
    fn schema_file(&mut self, node: &Node, key: &str, file: &str, who: &str) -> Option<(Vec<u8>, Validator)> {
        let span = node.span_of(&[Step::Key(key)]);
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
        match Validator::new(&text) {
            Ok(validator) => Some((text.into_bytes(), validator)),
            Err(error) => {
                let message = format!("`{key}` of {who}: {file} is not a JSON Schema that can be used: {error}");
                self.problems.push(Problem::error(&codes::VALUE, span, message));
                None
            }
        }
    }

    /// What a schema says of the data that the next program reads.
    fn shape_of(&mut self, node: &Node, file: &str, schema: &[u8], who: &str) -> Option<Known> {
        match Shape::from_json_schema(&String::from_utf8_lossy(schema)) {
            Ok(shape) => Some(Known { shape, by: file.to_owned() }),
            Err(error) => {
                let span = node.span_of(&[Step::Key("input")]);
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
            if !is_variable(name) {
                let message = format!("`env` of {who}: {name:?} is no name of an environment variable");
                let help = "write letters, digits and `_`, not a digit first: \"REGION\"";
                self.problems.push(Problem::error(&codes::NAME, span, message).help(help));
                continue;
            }
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
