//! Modules: files of functions and constants that programs import from. This crate reads no files; whoever compiles
//! hands over a [`Modules`].
//!
//! Names are imported one by one, `import { total, RATE as VAT } from "lib/money.hexa"`, rather than as members of a name
//! for the module: what a program uses of a module stands in its first lines, a call looks the same wherever its function
//! comes from, and `money.total` stays a path into a value.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ast::{Declarations, Import};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::parser::parse_module;

/// Most modules of a program.
const MOST: usize = 64;
/// Longest path of a module.
const LONGEST: usize = 255;

/// Where modules come from.
pub trait Modules {
    /// The text of the module at a path such as `lib/money.hexa`. The path is relative, with `/` between its parts, none
    /// of which is empty, `.` or `..`.
    ///
    /// # Errors
    /// When there is no such module, or it cannot be read.
    fn load(&self, path: &str) -> Result<Arc<str>, ModuleError>;
}

/// Why a module was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleError {
    /// There is no such file.
    NotFound,
    /// It is there and cannot be used; why.
    Unreadable(String),
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such file"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ModuleError {}

/// The path and the text of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleText {
    /// As it is imported.
    pub path: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

/// A module that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) source: ModuleText,
    pub(crate) declarations: Declarations,
    /// It has errors, so that it may declare more than could be read.
    pub(crate) broken: bool,
    /// For each of its imports: which module that is, if it was loaded.
    pub(crate) imports: Vec<Option<usize>>,
}

/// The files of a program besides its own. The places of all files follow on one another, so that a place says which
/// file it is in.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<(usize, ModuleText)>);

impl Files {
    /// The module that a place is in, and where its places begin.
    pub(crate) fn of(&self, at: usize) -> Option<(usize, &ModuleText)> {
        let behind = self.0.partition_point(|(base, _)| *base <= at);
        self.0.get(behind.checked_sub(1)?).map(|(base, source)| (*base, source))
    }

    /// The texts of the modules, and where their places begin.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().map(|(base, source)| (*base, &*source.text))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, source)| &*source.path)
    }

    /// Says of each finding which module it is in.
    pub(crate) fn attribute(&self, findings: &mut [Diagnostic]) {
        for finding in findings {
            if let Some((base, source)) = self.of(finding.span.start) {
                finding.shift(-(base as isize));
                finding.module = Some(source.clone());
            }
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    Open,
    Done(usize),
    Failed,
}

/// Reads the modules of a program, each once, those that others need first.
pub(crate) struct Loader<'a> {
    from: Option<&'a dyn Modules>,
    states: HashMap<String, State>,
    /// The paths on the way from the program to the module that is being read.
    way: Vec<String>,
    next: usize,
    pub(crate) loaded: Vec<Loaded>,
    pub(crate) files: Files,
    pub(crate) findings: Vec<Diagnostic>,
}

impl<'a> Loader<'a> {
    /// A loader; the places of the program end at `end`.
    pub(crate) fn new(from: Option<&'a dyn Modules>, end: usize) -> Self {
        Self {
            from,
            states: HashMap::new(),
            way: Vec::new(),
            next: end + 1,
            loaded: Vec::new(),
            files: Files::default(),
            findings: Vec::new(),
        }
    }

    /// Which modules the imports are.
    pub(crate) fn resolve(&mut self, imports: &[Import]) -> Vec<Option<usize>> {
        imports.iter().map(|import| self.module(import)).collect()
    }

    fn module(&mut self, import: &Import) -> Option<usize> {
        let path = import.path.as_ref()?;
        let (path, span) = (path.text.as_str(), path.span);
        if let Some(why) = refused(path) {
            self.findings.push(
                Diagnostic::new(codes::NO_MODULE, span, format!("`{path}` is not the path of a module"))
                    .label(why)
                    .help("a path is relative to the folder of the configuration, as in \"lib/money.hexa\""),
            );
            return None;
        }
        match self.states.get(path) {
            Some(State::Done(index)) => return Some(*index),
            Some(State::Failed) => return None,
            Some(State::Open) => {
                let begin = self.way.iter().position(|open| open == path).unwrap_or(0);
                let cycle = [self.way.get(begin..).unwrap_or_default(), &[path.to_owned()]].concat();
                self.findings.push(
                    Diagnostic::new(codes::IMPORT_CYCLE, span, format!("`{path}` imports itself"))
                        .label("closes the cycle")
                        .help(format!("{}: move what both need into a module of its own", cycle.join(" -> "))),
                );
                return None;
            }
            None => {}
        }
        let missing =
            |label: String| Diagnostic::new(codes::NO_MODULE, span, format!("no module `{path}`")).label(label);
        let finding = match self.from {
            None => missing("this program cannot import".to_owned())
                .help("programs of a configuration import from files below its folder"),
            Some(_) if self.states.len() >= MOST => missing(format!("a program has at most {MOST} modules"))
                .help("put functions that belong together into one module"),
            Some(from) => match from.load(path) {
                Ok(text) => return self.read(path, text),
                Err(why) => missing(why.to_string()).help("the path is relative to the folder of the configuration"),
            },
        };
        self.states.insert(path.to_owned(), State::Failed);
        self.findings.push(finding);
        None
    }

    fn read(&mut self, path: &str, text: Arc<str>) -> Option<usize> {
        let source = ModuleText { path: path.into(), text };
        let base = self.next;
        // Of a source that is too long nothing is read.
        self.next += source.text.len().min(crate::lexer::MAX_SOURCE) + 1;
        self.files.0.push((base, source.clone()));
        self.states.insert(path.to_owned(), State::Open);
        let (declarations, mut findings) = parse_module(&source.text, base);
        let broken = !findings.is_empty();
        self.findings.append(&mut findings);
        let Some(declarations) = declarations else {
            self.states.insert(path.to_owned(), State::Failed);
            return None;
        };
        self.way.push(path.to_owned());
        let imports = self.resolve(&declarations.imports);
        self.way.pop();
        let index = self.loaded.len();
        self.loaded.push(Loaded { source, declarations, broken, imports });
        self.states.insert(path.to_owned(), State::Done(index));
        Some(index)
    }
}

/// Why a path is refused.
fn refused(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("an empty path");
    }
    if path.len() > LONGEST {
        return Some("longer than 255 bytes");
    }
    if path.starts_with('/') || path.contains(':') {
        return Some("not an absolute path, nor an address");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return Some("`/` separates the parts of a path");
    }
    path.split('/').any(|part| matches!(part, "" | "." | "..")).then_some("a part is empty, `.` or `..`")
}
