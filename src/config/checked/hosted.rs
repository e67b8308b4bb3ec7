//! `[[function]]` in JavaScript, Lua or WebAssembly: its limits, its grants, its workers.

use hexafn_actors::runtime::{Hosted, Isolation, Logging, PoolSettings, launcher};
use hexafn_actors::target::http::guard;
use hexafn_runtimes::{Engine, Grants, Language, Limits, Settings, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use super::function::{RawEngine, RawFunction, Runtime};
use crate::config::embedded::Embedded;
use crate::config::files::{self, MAX_MODULE};
use crate::config::problem::Problem;
use crate::config::size::Size;
use crate::config::tree::{Node, Step};
use crate::config::{codes, fingerprint};

/// `limits` of `[[function]]`: what one run may use. Beyond, it fails with an error that names the limit.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    /// Instructions of WebAssembly (50,000,000 unless it is set), loops and calls of JavaScript and Lua (without a bound unless it
    /// is set), up to 10,000,000,000.
    fuel: Option<u64>,
    /// Memory, up to `"256MiB"`.
    memory: Size,
    /// Stack, up to `"1MiB"`.
    stack: Size,
    /// Output as JSON; the data of each emitted event, each stored value and each answer to a request, too. Up to `"16MiB"`.
    output: Size,
    /// Log lines together; what is longer is cut. Up to `"1MiB"`.
    logs: Size,
    /// Calls to hexaFn: log lines, emissions, key-value access, requests. Up to 100,000.
    host_calls: u64,
    /// Emitted events, up to 10,000.
    emits: usize,
}

impl Default for RawLimits {
    fn default() -> Self {
        let of = Limits::default();
        let size = |n: usize| Size(n as u64);
        Self {
            fuel: of.fuel,
            memory: size(of.memory),
            stack: size(of.stack),
            output: size(of.output),
            logs: size(of.logs),
            host_calls: of.host_calls,
            emits: of.emits,
        }
    }
}

impl RawLimits {
    /// Reads them from a table that is no part of a configuration.
    ///
    /// # Errors
    /// What is wrong with a value, and what was expected.
    pub(crate) fn read(table: &toml::Table) -> Result<Self, String> {
        table.clone().try_into().map_err(|e: toml::de::Error| e.message().to_owned())
    }

    /// The limits that are out of their range, and the range of each.
    pub(crate) fn out_of_range(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let within = |size: Size, least: u64, most: u64| (least..=most).contains(&size.0);
        let bounds = [
            ("fuel", self.fuel.is_none_or(|fuel| (1..=10_000_000_000).contains(&fuel)), "from 1 to 10000000000"),
            ("memory", within(self.memory, 1 << 20, 256 << 20), "from \"1MiB\" to \"256MiB\""),
            ("stack", within(self.stack, 64 << 10, 1 << 20), "from \"64KiB\" to \"1MiB\""),
            ("output", within(self.output, 1 << 10, 16 << 20), "from \"1KiB\" to \"16MiB\""),
            ("logs", within(self.logs, 0, 1 << 20), "up to \"1MiB\""),
            ("host_calls", self.host_calls <= 100_000, "up to 100000"),
            ("emits", self.emits <= 10_000, "up to 10000"),
        ];
        bounds.into_iter().filter_map(|(key, holds, range)| (!holds).then_some((key, range)))
    }

    /// The limits of a function that may take `timeout`.
    pub(crate) fn within(&self, timeout: Duration) -> Limits {
        let size = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        Limits {
            wall: timeout,
            fuel: self.fuel,
            memory: size(self.memory),
            stack: size(self.stack),
            output: size(self.output),
            logs: size(self.logs),
            host_calls: self.host_calls,
            emits: self.emits,
        }
    }
}

/// `pool` of `[[function]]`: the workers that run it, each one call at a time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawPool {
    /// How many, from 1 to 64.
    workers: usize,
    /// How many of them are made ready before the first call.
    warm: usize,
    /// Calls that may wait for each, from 1 to 10,000; more wait in their topic.
    queue: usize,
    /// Calls after which a worker process makes room for a fresh one.
    recycle_after: u64,
}

impl Default for RawPool {
    fn default() -> Self {
        let PoolSettings { workers, warm, queue, recycle_after } = PoolSettings::default();
        Self { workers, warm, queue, recycle_after }
    }
}

impl Runtime {
    fn language(self) -> Option<Language> {
        match self {
            Self::Dsl => None,
            Self::Js => Some(Language::Js),
            Self::Lua => Some(Language::Lua),
            Self::Wasm => Some(Language::Wasm),
        }
    }
}

impl From<Language> for Runtime {
    fn from(language: Language) -> Self {
        match language {
            Language::Js => Self::Js,
            Language::Lua => Self::Lua,
            Language::Wasm => Self::Wasm,
        }
    }
}

impl Checker<'_> {
    /// A function in the language of hexaFn has no settings of the other languages.
    pub(super) fn only_hosted(&mut self, node: &Node, who: &str) {
        for key in [
            "emit",
            "kv",
            "http",
            "allow_networks",
            "log",
            "log_rate",
            "time",
            "random",
            "limits",
            "pool",
            "trusted",
            "engine",
        ] {
            if let Some(entry) = node.entry(key) {
                let message = format!("`{key}` of {who} is for functions in JavaScript, Lua or WebAssembly");
                let help = "remove it, or name the language: runtime = \"js\", \"lua\" or \"wasm\"";
                self.problems.push(Problem::error(&codes::VALUE, entry.key_span.clone(), message).help(help));
            }
        }
    }

    pub(super) fn hosted(
        &mut self,
        node: &Node,
        raw: &RawFunction,
        who: &str,
        texts: &mut Vec<Vec<u8>>,
    ) -> Option<Hosted> {
        let language = raw.runtime().language()?;
        let runtime = self.engine(node, raw, language, who)?;
        let limits = self.limits(node, raw, who);
        let pool = self.pool(node, raw, who);
        let grants = self.grants(node, raw, who);
        let log_rate = raw.log_rate.unwrap_or(Logging::DEFAULT);
        if let Some(problem) = log_rate.problem() {
            let span = node.span_of(&[Step::Key("log_rate")]);
            self.problems.push(Problem::error(&codes::VALUE, span, format!("`log_rate` of {who}: {problem}")));
        }
        let networks = match guard::parse_networks(&raw.allow_networks) {
            Ok(mut networks) => {
                networks.extend_from_slice(self.allow_networks);
                networks
            }
            Err(error) => {
                let span = node.span_of(&[Step::Key("allow_networks")]);
                self.problems.push(Problem::error(&codes::VALUE, span, format!("`allow_networks` of {who}: {error}")));
                return None;
            }
        };
        let (code, shown, places) = self.code(node, raw, who)?;
        let settings = Arc::new(Settings { limits, grants });
        let source = Source { name: raw.name.as_str().into(), file: shown.as_str().into(), code: code.clone().into() };
        let compiled = match language.compile(&*runtime, &launcher(), &source, &settings) {
            Ok(compiled) => compiled,
            Err(error) => {
                let text = std::str::from_utf8(&code).ok();
                let at = text.zip(places).zip(error.position).map(|((text, places), at)| {
                    let start = offset(text, at.line as usize, at.column as usize);
                    places.span(&(start..start + 1))
                });
                let key = if raw.file.is_some() { "file" } else { "code" };
                let span = at.unwrap_or_else(|| node.span_of(&[Step::Key(key)]));
                self.problems.push(Problem::error(&codes::FUNCTION_CODE, span, format!("{who}: {error}")));
                return None;
            }
        };
        texts.push(code);
        Some(Hosted {
            language: language.name(),
            source,
            compiled,
            settings,
            isolation: if raw.trusted || language.stops_itself() { Isolation::Thread } else { Isolation::Process },
            pool,
            allow_networks: networks.into(),
            logging: Logging::new(log_rate),
        })
    }

    /// What compiles and runs it.
    fn engine(
        &mut self,
        node: &Node,
        raw: &RawFunction,
        language: Language,
        who: &str,
    ) -> Option<Box<dyn hexafn_runtimes::Runtime>> {
        let Some(engine) = raw.engine else { return Some(language.runtime()) };
        let span = node.span_of(&[Step::Key("engine")]);
        if language != Language::Wasm {
            let message = format!("`engine` of {who} is for functions in WebAssembly; its language has one engine");
            self.problems.push(Problem::error(&codes::VALUE, span, message).help("remove it"));
            return None;
        }
        let engine = match engine {
            RawEngine::Wasmtime => Engine::Wasmtime,
            RawEngine::Wasmer => Engine::Wasmer,
        };
        match engine.runtime() {
            Ok(runtime) => Some(runtime),
            Err(error) => {
                self.problems.push(Problem::error(
                    &codes::VALUE,
                    span,
                    format!("`engine` of {who}: {}", error.message),
                ));
                None
            }
        }
    }

    /// The code, how errors name where it is, and the places of its text.
    fn code(&mut self, node: &Node, raw: &RawFunction, who: &str) -> Option<(Vec<u8>, String, Option<Embedded>)> {
        if let Some(code) = &raw.code {
            let span = node.span_of(&[Step::Key("code")]);
            let places = Embedded::new(self.texts, &span, code);
            return Some((code.clone().into_bytes(), raw.name.clone(), Some(places)));
        }
        let file = raw.file.as_ref()?;
        let span = node.span_of(&[Step::Key("file")]);
        match files::bytes_within(self.root, file, MAX_MODULE, &span, who) {
            Ok((path, bytes)) => {
                let places = std::str::from_utf8(&bytes).ok().map(|text| {
                    let base = self.texts.add(path.display().to_string(), text);
                    Embedded::whole(base, text)
                });
                // A module is watched by its hash.
                let watched = match std::str::from_utf8(&bytes) {
                    Ok(text) => text.into(),
                    Err(_) => format!("{:016x}", fingerprint::of_bytes(&bytes)).into(),
                };
                self.function_files.push((path, watched));
                Some((bytes, file.clone(), places))
            }
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }

    fn limits(&mut self, node: &Node, raw: &RawFunction, who: &str) -> Limits {
        let given = raw.limits.clone().unwrap_or_default();
        for (key, range) in given.out_of_range() {
            let span = node.span_of(&[Step::Key("limits"), Step::Key(key)]);
            let message = format!("`limits.{key}` of {who} must be {range}");
            self.problems.push(Problem::error(&codes::VALUE, span, message));
        }
        given.within(raw.timeout)
    }

    fn pool(&mut self, node: &Node, raw: &RawFunction, who: &str) -> PoolSettings {
        let RawPool { workers, warm, queue, recycle_after } = raw.pool.clone().unwrap_or_default();
        let mut bound = |key: &'static str, holds: bool, range: &str| {
            if !holds {
                let span = node.span_of(&[Step::Key("pool"), Step::Key(key)]);
                self.problems.push(Problem::error(
                    &codes::VALUE,
                    span,
                    format!("`pool.{key}` of {who} must be {range}"),
                ));
            }
        };
        bound("workers", (1..=64).contains(&workers), "from 1 to 64");
        bound("warm", warm <= workers, "at most `pool.workers`");
        bound("queue", (1..=10_000).contains(&queue), "from 1 to 10000");
        bound("recycle_after", recycle_after >= 1, "1 or more");
        PoolSettings { workers, warm, queue, recycle_after }
    }

    fn grants(&mut self, node: &Node, raw: &RawFunction, who: &str) -> Grants {
        for (index, topic) in raw.emit.iter().enumerate() {
            if let Err(error) = hexafn_actors::topic::pattern::Pattern::new(topic) {
                let span = node.span_of(&[Step::Key("emit"), Step::Index(index)]);
                self.problems.push(Problem::error(&codes::NAME, span, format!("`emit` of {who}: {error}")));
            } else if topic.split('.').next() == Some("hexafn") && topic != "hexafn" {
                let span = node.span_of(&[Step::Key("emit"), Step::Index(index)]);
                let message = format!("`emit` of {who}: nobody may emit to `{topic}`");
                let help = "names that begin with `hexafn.` are for hexaFn's own topics; name topics of your own";
                self.problems.push(Problem::error(&codes::NAME, span, message).help(help));
            }
        }
        for (index, namespace) in raw.kv.iter().enumerate() {
            if !is_namespace(namespace) {
                let span = node.span_of(&[Step::Key("kv"), Step::Index(index)]);
                let message = format!("`kv` of {who}: {namespace:?} is no namespace");
                let help = "write 1 to 100 letters, digits, `_`, `-` and `.`: \"carts\"";
                self.problems.push(Problem::error(&codes::NAME, span, message).help(help));
            }
        }
        for (index, host) in raw.http.iter().enumerate() {
            if !is_host(host.strip_prefix("*.").unwrap_or(host)) {
                let span = node.span_of(&[Step::Key("http"), Step::Index(index)]);
                let message = format!("`http` of {who}: `{host}` is not a host");
                let help = "write a host, with `:port` if it is not 80 or 443: \"api.example.com\", \"*.example.com\"";
                self.problems.push(Problem::error(&codes::VALUE, span, message).help(help));
            }
        }
        let (log, time, random) = (raw.log, raw.time, raw.random);
        Grants { emit: raw.emit.clone(), kv: raw.kv.clone(), http: raw.http.clone(), log, time, random }
    }
}

/// Whether this can be a namespace of the key-value store.
fn is_namespace(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && name.split('.').all(|part| !part.is_empty())
}

/// Whether this is a host, with a port or without: a name of labels, or an address.
fn is_host(text: &str) -> bool {
    let of_name = |name: &str| {
        !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            })
    };
    let of_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = if rest.is_empty() { Some("80") } else { rest.strip_prefix(':') };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_some_and(of_port);
    }
    match text.split_once(':') {
        Some((name, port)) => of_name(name) && of_port(port),
        None => of_name(text),
    }
}

/// The byte at a line and a column (in characters), both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    before + line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
}
