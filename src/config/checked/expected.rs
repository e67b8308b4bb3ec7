//! What the data of events is like: the JSON Schemas of sources, and the triggers and functions that such events alone
//! reach. What reads them is compiled against the schema.

use hexafn_actors::topic::pattern::Pattern;
use hexafn_dsl::{CompileOptions, ProgramKind, Shape, SourceText, Validator};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::graph::words;
use super::{Checker, who};
use crate::config::layers::Layers;
use crate::config::problem::Problem;
use crate::config::tree::Node;
use crate::config::{codes, files};

/// What the data of an event is like, and who says so.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub shape: Shape,
    /// For people: `schemas/push.json of source `github``.
    pub by: String,
}

impl Known {
    /// What has one of two shapes.
    fn or(self, other: &Self) -> Self {
        let by = if self.by.contains(&other.by) { self.by } else { format!("{}, {}", self.by, other.by) };
        Self { shape: self.shape.or(other.shape.clone()), by }
    }
}

/// The schema of a source.
pub(super) struct SourceSchema {
    known: Known,
    pub validator: Arc<Validator>,
    pub text: String,
}

/// What is known of events, before anything is compiled.
#[derive(Default)]
pub(super) struct Expected {
    pub sources: BTreeMap<String, SourceSchema>,
    pub triggers: BTreeMap<String, Known>,
    pub functions: BTreeMap<String, Known>,
}

impl Expected {
    /// What is known of the events of a source.
    pub fn of_source(&self, name: &str) -> Option<Known> {
        self.sources.get(name).map(|schema| schema.known.clone())
    }
}

/// Somebody who writes events.
struct Writer<'a> {
    /// The topic; what its name begins with when it is computed.
    topic: &'a str,
    computed: bool,
    known: Option<&'a Known>,
}

impl Writer<'_> {
    /// Whether its events may reach a pattern. Of a computed topic only the beginning is known.
    fn may_reach(&self, pattern: &Pattern) -> bool {
        if !self.computed {
            return pattern.matches(self.topic);
        }
        let fixed = pattern.as_str().split(['*', '>']).next().unwrap_or_default();
        fixed.starts_with(self.topic) || self.topic.starts_with(fixed)
    }
}

fn name(node: &Node) -> Option<&str> {
    node.get("name").and_then(Node::text)
}

impl Checker<'_> {
    /// Reads the schemas of sources, and works out whom their events reach.
    pub(super) fn expect(&mut self, layers: &Layers) -> Expected {
        let mut expected = Expected::default();
        let webhook = |node: &&Node| node.get("kind").and_then(Node::text) == Some("webhook");
        for node in layers.of_kind("source").iter().filter(webhook) {
            let Some(name) = name(node) else { continue };
            if let Some(schema) = self.source_schema(node, name) {
                expected.sources.entry(name.to_owned()).or_insert(schema);
            }
        }
        if expected.sources.is_empty() {
            return expected;
        }
        let (emitted, anywhere) = self.emitted(layers);
        let writers = writers(layers, &expected.sources, &emitted);
        if !anywhere {
            for node in layers.of_kind("trigger") {
                let pattern = node.get("on").and_then(Node::text).and_then(|text| Pattern::new(text).ok());
                let (Some(name), Some(pattern)) = (name(node), pattern) else { continue };
                // hexaFn itself writes to its own topics.
                if pattern.as_str().starts_with("hexafn.") {
                    continue;
                }
                let reaching = writers.iter().filter(|w| w.may_reach(&pattern)).map(|w| w.known);
                if let Some(known) = joined(reaching) {
                    expected.triggers.entry(name.to_owned()).or_insert(known);
                }
            }
        }
        drop(writers);
        for (function, triggers) in runs(layers) {
            let of = triggers.iter().map(|trigger| expected.triggers.get(*trigger));
            if let Some(known) = joined(of) {
                expected.functions.insert(function.to_owned(), known);
            }
        }
        expected
    }

    fn source_schema(&mut self, node: &Node, name: &str) -> Option<SourceSchema> {
        let setting = node.get("schema")?;
        let (file, span) = (setting.text()?, setting.span.clone());
        let who = who("source", node);
        let text = match files::read_within(self.root, file, &span, &who) {
            Ok((path, text)) => {
                self.function_files.push((path, text.as_str().into()));
                text
            }
            Err(problem) => {
                self.problems.push(*problem);
                return None;
            }
        };
        let read = Shape::from_json_schema(&text).map_err(|e| e.to_string());
        match read.and_then(|shape| Ok((shape, Validator::new(&text)?))) {
            Ok((shape, validator)) => {
                let by = format!("{file} of source `{name}`");
                Some(SourceSchema { known: Known { shape, by }, validator: Arc::new(validator), text })
            }
            Err(error) => {
                let message = format!("`schema` of {who}: {file} is not a JSON Schema that can be used: {error}");
                self.problems.push(Problem::error(&codes::VALUE, span, message));
                None
            }
        }
    }

    /// The topics that functions emit to, and whether one computes them. What is wrong with a function is told when it
    /// is compiled for good.
    fn emitted(&mut self, layers: &Layers) -> (BTreeSet<String>, bool) {
        let (mut topics, mut computed) = (BTreeSet::new(), false);
        for node in layers.of_kind("function") {
            let text = match (node.get("code").and_then(Node::text), node.get("file").and_then(Node::text)) {
                (Some(code), _) => code.to_owned(),
                (None, Some(file)) => match files::read_within(self.root, file, &node.span, "") {
                    Ok((_, text)) => text,
                    Err(_) => continue,
                },
                (None, None) => continue,
            };
            let options = CompileOptions::default().modules(&self.modules);
            let source = SourceText { name: "", text: &text };
            if let Ok(program) = hexafn_dsl::compile_with(&source, ProgramKind::Function, &options) {
                topics.extend(program.emits().topics.iter().cloned());
                computed |= program.emits().computed;
            }
        }
        (topics, computed)
    }
}

/// Everything that writes events, as far as it is known.
fn writers<'a>(
    layers: &'a Layers,
    sources: &'a BTreeMap<String, SourceSchema>,
    emitted: &'a BTreeSet<String>,
) -> Vec<Writer<'a>> {
    let mut writers: Vec<Writer<'_>> =
        emitted.iter().map(|topic| Writer { topic, computed: false, known: None }).collect();
    for node in layers.of_kind("source") {
        let known = name(node).and_then(|name| sources.get(name)).map(|schema| &schema.known);
        let text = |key| node.get(key).and_then(Node::text);
        if let Some(topic) = text("topic") {
            writers.push(Writer { topic, computed: false, known });
        } else if let Some(template) = text("topic_expr") {
            let topic = template.split('$').next().unwrap_or_default();
            writers.push(Writer { topic, computed: true, known });
        }
    }
    for node in layers.of_kind("target") {
        if node.get("kind").and_then(Node::text) == Some("topic") {
            let topic = node.get("topic").or(node.get("name")).and_then(Node::text);
            writers.extend(topic.map(|topic| Writer { topic, computed: false, known: None }));
        }
    }
    writers
}

/// What is known of events from several places: nothing as soon as nothing is known of one, or where there is none.
fn joined<'k>(all: impl Iterator<Item = Option<&'k Known>>) -> Option<Known> {
    let mut joined: Option<Known> = None;
    for known in all {
        let known = known?;
        joined = Some(joined.map_or_else(|| known.clone(), |so_far| so_far.or(known)));
    }
    joined
}

/// The triggers that run each function, by itself or as a fallback of another.
fn runs(layers: &Layers) -> BTreeMap<&str, Vec<&str>> {
    let fallbacks: BTreeMap<&str, Vec<&str>> = layers
        .of_kind("function")
        .iter()
        .filter_map(|node| Some((name(node)?, words(node.get("fallback")).map(|(to, _)| to).collect())))
        .collect();
    let mut runs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in layers.of_kind("trigger") {
        let Some(trigger) = name(node) else { continue };
        let (mut seen, mut next) =
            (BTreeSet::new(), super::graph::runs(node).map(|(name, _)| name).collect::<VecDeque<_>>());
        while let Some(function) = next.pop_front() {
            if seen.insert(function) {
                runs.entry(function).or_default().push(trigger);
                next.extend(fallbacks.get(function).into_iter().flatten());
            }
        }
    }
    runs
}
