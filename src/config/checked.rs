//! From raw tables to checked definitions: names resolved, expressions compiled, secrets found.
//!
//! A definition that is wrong is reported and left out; the others are checked all the same, so that one run tells
//! everything.

mod absent;
mod expected;
mod function;
mod graph;
mod hosted;
mod source;
mod target;
mod test;
mod token;
mod topic;
mod trigger;

use expected::{Expected, Known};
use hexafn_actors::definitions::{Definitions, SourceKind};
use hexafn_actors::event::Str;
use hexafn_dsl::{Branch, CompileOptions, Program, ProgramKind, SourceText};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;
use std::path::Path;

use super::embedded::Embedded;
use super::files::Root;
use super::layers::Layers;
use super::modules::Folder;
use super::names::Names;
use super::problem::{Problem, Problems, Severity};
use super::secrets::Vault;
use super::texts::{Place, Span, Texts};
use super::tree::{Node, Step};

pub(crate) use function::is_timeout;
pub(crate) use hosted::RawLimits;
pub use test::{Answer, ExpectSettings, MockSettings, SendSettings, TestSettings};
pub use token::TokenSettings;

/// The schema of a definition of each kind.
pub fn schemas(generator: &mut SchemaGenerator) -> [(&'static str, Schema); 7] {
    [
        ("source", source::schema(generator)),
        ("topic", topic::RawTopic::json_schema(generator)),
        ("trigger", trigger::RawTrigger::json_schema(generator)),
        ("function", function::RawFunction::json_schema(generator)),
        ("target", target::schema(generator)),
        ("token", TokenSettings::json_schema(generator)),
        ("test", test::RawTest::json_schema(generator)),
    ]
}

/// What checking a definition needs.
pub struct Checker<'a> {
    /// The folder of the configuration.
    pub root: Root<'a>,
    /// The folder that relative paths of data start from.
    pub base_dir: &'a Path,
    /// All texts; function files are added.
    pub texts: &'a mut Texts,
    /// What is wrong.
    pub problems: &'a mut Problems,
    /// Where secrets and environment variables come from.
    pub vault: &'a Vault,
    /// `allow_networks` of `[targets]`.
    pub allow_networks: &'a [IpNet],
    /// Whether other machines reach this one.
    pub open: bool,
    modules: Folder,
    /// Whether what is compiled counts its branches.
    counting: bool,
    counted: Vec<Counted>,
    /// What the data of the event is like, for the program that is compiled next.
    known: Option<Known>,
    /// What is known of the events of sources, and whom they reach.
    expected: Expected,
    names: AllNames,
    function_files: Vec<(std::path::PathBuf, std::sync::Arc<str>)>,
    /// Functions that emit events by themselves.
    emitting: std::collections::BTreeSet<String>,
    /// Triggers whose result is the answer of a source.
    answering: std::collections::BTreeSet<String>,
}

#[derive(Default)]
struct AllNames {
    sources: Names,
    functions: Names,
    targets: Names,
    topics: Names,
    triggers: Names,
}

/// A program that counts which of its branches are taken.
#[derive(Debug, Clone)]
pub struct Counted {
    /// What it is: `function `double``.
    pub who: String,
    /// The program.
    pub program: Program,
    /// Where each of its branches stands: file, line, column.
    pub places: Vec<Place>,
}

/// What came out.
#[derive(Default)]
pub struct Checked {
    /// The definitions.
    pub definitions: Definitions,
    /// `[[token]]`.
    pub tokens: Vec<TokenSettings>,
    /// `[[test]]`.
    pub tests: Vec<TestSettings>,
    /// The function files that were read.
    pub function_files: Vec<(std::path::PathBuf, std::sync::Arc<str>)>,
    /// Programs that count their branches.
    pub counted: Vec<Counted>,
}

impl<'a> Checker<'a> {
    /// A checker without names.
    pub fn new(
        root: Root<'a>,
        base_dir: &'a Path,
        texts: &'a mut Texts,
        problems: &'a mut Problems,
        vault: &'a Vault,
        allow_networks: &'a [IpNet],
        open: bool,
    ) -> Self {
        let (names, function_files) = (AllNames::default(), Vec::new());
        let (answering, emitting) = Default::default();
        let modules = Folder::new(root.dir).showing(root.shown);
        Self {
            modules,
            counting: false,
            counted: Vec::new(),
            known: None,
            expected: Expected::default(),
            root,
            base_dir,
            texts,
            problems,
            vault,
            allow_networks,
            open,
            names,
            function_files,
            emitting,
            answering,
        }
    }

    /// Conditions and functions count which of their branches are taken.
    #[must_use]
    pub fn counting(self, counting: bool) -> Self {
        Self { counting, ..self }
    }

    /// Checks everything.
    pub fn check(mut self, layers: &Layers) -> Checked {
        let mut names = |kind| Names::collect(kind, layers.of_kind(kind), self.problems);
        let (_tokens, _tests) = (names("token"), names("test"));
        self.names = AllNames {
            sources: names("source"),
            functions: names("function"),
            targets: names("target"),
            topics: names("topic"),
            triggers: names("trigger"),
        };
        self.expected = self.expect(layers);
        let mut out = Checked::default();
        let definitions = &mut out.definitions;
        for node in layers.of_kind("topic") {
            insert(&mut definitions.topics, self.topic(node), |d| &d.name);
        }
        for node in layers.of_kind("function") {
            insert(&mut definitions.functions, self.function(node), |d| &d.name);
        }
        let emits = definitions.functions.values().filter(|f| f.emits());
        self.emitting = emits.map(|f| f.name.to_string()).collect();
        for node in layers.of_kind("target") {
            insert(&mut definitions.targets, self.target(node), |d| &d.name);
        }
        for node in layers.of_kind("source") {
            insert(&mut definitions.sources, self.source(node), |d| &d.name);
        }
        self.answering = definitions
            .sources
            .values()
            .filter_map(|source| match &source.kind {
                SourceKind::Webhook { settings, .. } => settings.reply.as_ref().map(|r| r.trigger.clone()),
                SourceKind::Timer { .. } | SourceKind::Pull { .. } => None,
            })
            .collect();
        for node in layers.of_kind("trigger") {
            insert(&mut definitions.triggers, self.trigger(node), |d| &d.name);
        }
        out.tokens = layers.of_kind("token").iter().filter_map(|node| self.token(node)).collect();
        // What a test asserts is no part of what it tests.
        self.counting = false;
        out.tests = layers.of_kind("test").iter().filter_map(|node| self.test(node)).collect();
        graph::check(&out.definitions, layers, self.problems);
        out.counted = self.counted;
        out.function_files = self.function_files;
        out.function_files.extend(self.modules.files());
        out
    }

    /// Compiles the expression that is written at `path` of `node`. What is wrong with it is reported at its place.
    fn compile(&mut self, node: &Node, path: &[Step<'_>], kind: ProgramKind, who: &str) -> Option<Program> {
        let value = node.at(path)?;
        let text = value.text()?;
        let at = Embedded::new(self.texts, &value.span, text);
        self.compile_text(text, &at, kind, who)
    }

    fn compile_text(&mut self, text: &str, at: &Embedded, kind: ProgramKind, who: &str) -> Option<Program> {
        let mut problem = |d: &hexafn_dsl::Diagnostic| {
            let module = d.module.as_ref().and_then(|module| {
                let base = self.modules.base(&module.path, self.texts)?;
                Some(Embedded::whole(base, &module.text))
            });
            let at = module.as_ref().unwrap_or(at);
            let of_schema = [hexafn_dsl::codes::NOT_IN_SCHEMA, hexafn_dsl::codes::NOT_A_CHOICE].contains(&d.code);
            let said = self.known.as_ref().filter(|_| of_schema).map(|known| format!("the schema: {}", known.by));
            Problem {
                code: Cow::Owned(d.code.to_string()),
                severity: match d.severity {
                    hexafn_dsl::Severity::Error => Severity::Error,
                    hexafn_dsl::Severity::Warning => Severity::Warning,
                },
                span: Some(at.span(&d.span)),
                message: format!("{who}: {}", d.message),
                label: Some(d.label.clone()).filter(|l| !l.is_empty()),
                related: Vec::new(),
                help: d.help.iter().cloned().chain(said).collect(),
                replacement: d.replacement.as_ref().map(|(span, text)| (at.span(span), text.clone())),
            }
        };
        let mut options = CompileOptions::default().modules(&self.modules);
        if let Some(known) = &self.known {
            options = options.data(&known.shape);
        }
        let counting = self.counting && kind != ProgramKind::Template;
        if counting {
            options = options.coverage();
        }
        let compiled = hexafn_dsl::compile_with(&SourceText { name: who, text }, kind, &options);
        match compiled {
            Ok(program) => {
                program.warnings().iter().for_each(|d| self.problems.push(problem(d)));
                if counting {
                    self.count(&program, at, who);
                }
                Some(program)
            }
            Err(diagnostics) => {
                diagnostics.iter().for_each(|d| self.problems.push(problem(d)));
                None
            }
        }
    }

    fn count(&mut self, program: &Program, at: &Embedded, who: &str) {
        let nowhere = || Place { name: "".into(), line: 0, column: 0 };
        let place = |branch: &Branch| {
            let start = match &branch.module {
                Some(module) => self.modules.base(module, self.texts)? + branch.span.start,
                None => at.span(&branch.span).start,
            };
            self.texts.place(start)
        };
        let places = program.branches().iter().map(place).map(|place| place.unwrap_or_else(nowhere)).collect();
        self.counted.push(Counted { who: who.to_owned(), program: program.clone(), places });
    }

    /// Where a definition stands, e.g. `config/triggers.toml:12`.
    fn origin(&self, span: &Span) -> Str {
        self.texts.place(span.start).map_or_else(String::new, |p| format!("{}:{}", p.name, p.line)).into()
    }
}

/// Keeps a checked definition; of two with one name (an error already) the first.
fn insert<T>(
    into: &mut std::collections::BTreeMap<Str, std::sync::Arc<T>>,
    definition: Option<T>,
    name: impl Fn(&T) -> &Str,
) {
    if let Some(definition) = definition {
        into.entry(name(&definition).clone()).or_insert_with(|| std::sync::Arc::new(definition));
    }
}

/// How people know a definition: `trigger "big-push"`.
fn who(kind: &str, node: &Node) -> String {
    match node.get("name").and_then(Node::text) {
        Some(name) => format!("{kind} `{}`", name.chars().take(64).collect::<String>()),
        None => format!("this {kind}"),
    }
}
