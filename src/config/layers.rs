//! Where settings come from, lowest first: built-in defaults (in [`settings`](super::settings)), the `*.toml` files of
//! one folder, the environment, the command line.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codes;
use super::de::list;
use super::files::Root;
use super::problem::{Problem, Problems};
use super::read::closest;
use super::texts::{Span, Texts};
use super::tree::{self, Entry, Node, Value};

/// A configuration file is written by people; a larger one is something else.
const MAX_FILE: u64 = 1 << 20;
/// More files than anybody keeps in one folder.
const MAX_FILES: usize = 500;
/// Definitions of one kind.
const MAX_DEFINITIONS: usize = 10_000;

/// The sections of single settings: tables that may be spread over files, and that overrides reach.
pub const SECTIONS: [&str; 7] = ["server", "storage", "log", "telemetry", "supervision", "targets", "functions"];
/// The kinds of definition: arrays of tables.
pub const KINDS: [&str; 7] = ["source", "topic", "trigger", "function", "target", "token", "test"];

/// Everything that was read, put together and not yet understood.
#[derive(Debug, Default)]
pub struct Layers {
    /// The merged sections.
    pub sections: BTreeMap<&'static str, Node>,
    /// The definitions, in the order of files and lines.
    pub definitions: BTreeMap<&'static str, Vec<Node>>,
    /// The files read, with their bytes.
    pub files: Vec<(PathBuf, Arc<str>)>,
    /// The texts with syntax errors: what else is wrong there may only follow from those.
    pub broken: Vec<Span>,
}

impl Layers {
    /// A section; an empty table when nobody wrote it.
    pub fn section(&self, name: &str) -> Node {
        self.sections.get(name).cloned().unwrap_or_else(|| Node::empty(0..0))
    }

    /// The definitions of a kind.
    pub fn of_kind(&self, kind: &str) -> &[Node] {
        self.definitions.get(kind).map_or(&[], Vec::as_slice)
    }
}

/// Reads every `*.toml` of the folder, in the order of their names.
pub fn read_folder(root: Root<'_>, layers: &mut Layers, texts: &mut Texts, problems: &mut Problems) {
    let dir = root.dir;
    let paths = match list_folder(root) {
        Ok(paths) => paths,
        Err(error) => {
            let message = format!("the configuration folder {} cannot be read: {error}", dir.display());
            problems.push(
                Problem::nowhere(&codes::UNREADABLE, message)
                    .help("name a folder with --config DIR, or make one with `hexafn new DIR`"),
            );
            return;
        }
    };
    if paths.is_empty() {
        let message = format!("the configuration folder {} holds no *.toml file", dir.display());
        problems.push(
            Problem::nowhere(&codes::UNREADABLE, message)
                .help("name a folder with --config DIR, or make one with `hexafn new DIR`"),
        );
    }
    if paths.len() > MAX_FILES {
        let message = format!("{} holds {} *.toml files; at most {MAX_FILES} are read", dir.display(), paths.len());
        problems.push(Problem::nowhere(&codes::TOO_LARGE, message));
        return;
    }
    for path in paths {
        let text = match root.shown.get(&path) {
            Some(text) => Ok(text.to_string()),
            None => read_text(&path),
        };
        match text {
            Ok(text) => {
                let text: Arc<str> = text.into();
                let base = texts.add(path.display().to_string(), text.clone());
                let errors = problems.errors();
                let root = tree::parse(&text, base, problems);
                if problems.errors() > errors {
                    layers.broken.push(base..base + text.len() + 1);
                }
                sort_out(root, layers, problems);
                layers.files.push((path, text));
            }
            Err(problem) => problems.push(*problem),
        }
    }
}

fn list_folder(root: Root<'_>) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.dir)? {
        paths.push(entry?.path());
    }
    paths.extend(root.shown.keys().filter(|path| path.parent() == Some(root.dir)).cloned());
    paths.retain(|path| {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|e| e == "toml")
    });
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn read_text(path: &Path) -> Result<String, Box<Problem>> {
    let fail = |why: String| Problem::nowhere(&codes::UNREADABLE, format!("{} cannot be read: {why}", path.display()));
    // Looked at before opening: opening a FIFO would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    if !meta.is_file() {
        return Err(fail("it is not a regular file".into()).boxed());
    }
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("{} is larger than {MAX_FILE} bytes", path.display());
        return Err(Problem::nowhere(&codes::TOO_LARGE, message).help("split it into several files").boxed());
    }
    String::from_utf8(bytes)
        .map_err(|e| fail(format!("it is not UTF-8 at byte {}", e.utf8_error().valid_up_to())).boxed())
}

/// Puts the tables of one file where they belong.
fn sort_out(root: Node, layers: &mut Layers, problems: &mut Problems) {
    let Value::Table(entries) = root.value else { return };
    for entry in entries {
        if let Some(name) = SECTIONS.iter().find(|s| **s == entry.key) {
            if !matches!(entry.node.value, Value::Table(_)) {
                problems.push(not_a(entry.node.kind(), &entry, &format!("[{name}]")));
                continue;
            }
            let section = layers.sections.entry(name).or_insert_with(|| Node::empty(entry.node.span.clone()));
            merge(section, entry.node, Precedence::Same, name, problems);
        } else if let Some(kind) = KINDS.iter().find(|k| **k == entry.key) {
            let all = layers.definitions.entry(kind).or_default();
            match entry.node.value {
                Value::Array(items) => {
                    for item in items {
                        if !matches!(item.value, Value::Table(_)) {
                            let what = format!("each element of `{kind}` must be a table");
                            problems.push(Problem::error(&codes::VALUE, item.span.clone(), what));
                        } else if all.len() < MAX_DEFINITIONS {
                            all.push(item);
                        } else if all.len() == MAX_DEFINITIONS {
                            let what = format!("more than {MAX_DEFINITIONS} definitions of one kind");
                            problems.push(Problem::error(&codes::TOO_LARGE, item.span.clone(), what));
                            break;
                        }
                    }
                }
                _ => problems.push(not_a(entry.node.kind(), &entry, &format!("[[{kind}]]"))),
            }
        } else {
            problems.push(unknown_table(&entry));
        }
    }
}

fn not_a(found: &str, entry: &Entry, written: &str) -> Problem {
    let message = format!("`{}` must be written as {written}", entry.key);
    Problem::error(&codes::VALUE, entry.key_span.clone(), message).label(format!("this is {found}")).help(format!(
        "write the line {written} and the settings below it{}",
        if written.starts_with("[[") { "; one such line for each definition" } else { "" }
    ))
}

fn unknown_table(entry: &Entry) -> Problem {
    let names: Vec<&str> = SECTIONS.iter().chain(&KINDS).copied().collect();
    let problem = Problem::error(
        &codes::UNKNOWN_FIELD,
        entry.key_span.clone(),
        format!("there is no section or kind of definition `{}`", entry.key),
    );
    let sections: Vec<String> = SECTIONS.iter().map(|s| format!("[{s}]")).collect();
    let kinds: Vec<String> = KINDS.iter().map(|k| format!("[[{k}]]")).collect();
    let problem = match closest(&entry.key, &names) {
        Some(close) => problem.label(format!("did you mean `{close}`?")).replace(close),
        None => problem.label("unknown"),
    };
    problem.help(format!("there are {} and {}", sections.join(", "), kinds.join(", ")))
}

/// How two values of one setting get along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Both are written in files: an error.
    Same,
    /// The later one wins.
    Later,
}

fn merge(into: &mut Node, from: Node, precedence: Precedence, path: &str, problems: &mut Problems) {
    let (Value::Table(old), Value::Table(new)) = (&mut into.value, from.value) else { return };
    for entry in new {
        let path = format!("{path}.{}", entry.key);
        let Some(present) = old.iter_mut().find(|e| e.key == entry.key) else {
            old.push(entry);
            continue;
        };
        if matches!((&present.node.value, &entry.node.value), (Value::Table(_), Value::Table(_))) {
            merge(&mut present.node, entry.node, precedence, &path, problems);
        } else if precedence == Precedence::Later {
            *present = entry;
        } else {
            problems.push(
                Problem::error(&codes::SET_TWICE, entry.key_span, format!("`{path}` is set twice"))
                    .label("set again here")
                    .related(present.key_span.clone(), "first set here")
                    .help("keep one of the two; the environment or a flag can override it"),
            );
        }
    }
}

/// A setting from outside the files.
pub struct Override<'a> {
    /// The key, dotted: `server.listen`.
    pub key: String,
    /// The value: TOML, or else a plain string.
    pub value: &'a str,
    /// How it was written: `HEXAFN_SERVER__LISTEN`.
    pub written: &'a str,
    /// What people call its place: `environment`, `command line`.
    pub place: &'static str,
}

/// The overrides among environment variables: `HEXAFN_SERVER__LISTEN` is `server.listen`. Variables of the prefix
/// without `__` are the command line's own.
pub fn from_environment(env: &BTreeMap<String, String>) -> impl Iterator<Item = Override<'_>> {
    env.iter().filter_map(|(name, value)| {
        let rest = name.strip_prefix("HEXAFN_").filter(|r| r.contains("__"))?;
        let key = rest.split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".");
        Some(Override { key, value, written: name, place: "environment" })
    })
}

/// Lays an override over what is there.
pub fn apply(over: &Override<'_>, layers: &mut Layers, texts: &mut Texts, problems: &mut Problems) {
    let line = format!("{}={}", over.written, over.value);
    let base = texts.add(over.place, line.clone());
    let key_span: Span = base..base + over.written.len();
    let value_base = key_span.end + 1;
    if over.value.contains('\n') || over.value.len() > 64 << 10 {
        problems.push(Problem::error(&codes::OVERRIDE, key_span, "a setting of one line is expected"));
        return;
    }
    let mut steps = over.key.split('.');
    let section = steps.next().unwrap_or_default();
    let Some(name) = SECTIONS.iter().find(|s| **s == section) else {
        let problem = Problem::error(
            &codes::OVERRIDE,
            key_span,
            format!("`{}` sets nothing: there is no section `{section}`", over.written),
        );
        let problem = match closest(section, &SECTIONS) {
            Some(close) => problem.label(format!("did you mean `{close}`?")),
            None => problem,
        };
        problems.push(problem.help(format!(
            "the sections are {}; definitions ([[source]] and the like) are written in files only",
            list(&SECTIONS)
        )));
        return;
    };
    let steps: Vec<&str> = steps.collect();
    if steps.is_empty() || steps.iter().any(|s| s.is_empty()) {
        problems.push(
            Problem::error(&codes::OVERRIDE, key_span, format!("`{}` names no setting of [{name}]", over.written))
                .help(format!("for example HEXAFN_{}__NAME=value", name.to_uppercase())),
        );
        return;
    }
    let mut node = tree::parse_value(over.value, value_base);
    for step in steps.iter().rev() {
        let entry = Entry { key: (*step).to_owned(), key_span: key_span.clone(), node };
        node = Node { span: key_span.clone(), value: Value::Table(vec![entry]) };
    }
    let section = layers.sections.entry(name).or_insert_with(|| Node::empty(key_span.clone()));
    merge(section, node, Precedence::Later, name, problems);
}
