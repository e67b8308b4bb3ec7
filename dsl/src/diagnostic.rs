//! What is wrong with a program, for people: code, place, cause, and what to do.

mod render;

use std::borrow::Cow;
use std::ops::Range;

use crate::codes::Code;
use crate::modules::ModuleText;

pub use render::Style;

/// Whether a diagnostic stops the program from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The program is not used.
    Error,
    /// The program is used; something in it is probably not meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where, in bytes of the program's text.
    pub span: Range<usize>,
    /// What to say under the carets.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// A change of the text that removes the finding.
    pub replacement: Option<(Range<usize>, String)>,
    /// Another change that removes it, where there is a choice.
    pub alternative: Option<(Range<usize>, String)>,
    /// The module that the finding is about, and that its places are in; nothing for the program itself.
    pub module: Option<ModuleText>,
}

/// Findings that are shown: more than this is noise that follows from the first ones.
pub(crate) const MOST: usize = 20;

/// Characters of a message.
const LONGEST: usize = 1_000;

impl Diagnostic {
    pub(crate) fn new(code: Code, span: impl Into<Range<usize>>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // A name in it may be as long as a program.
        if let Some((at, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(at);
            message.push('…');
        }
        Self {
            code,
            severity: Severity::Error,
            message,
            span: span.into(),
            label: String::new(),
            help: None,
            replacement: None,
            alternative: None,
            module: None,
        }
    }

    pub(crate) fn warning(code: Code, span: impl Into<Range<usize>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(code, span, message) }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn replace(mut self, span: impl Into<Range<usize>>, text: impl Into<String>) -> Self {
        self.replacement = Some((span.into(), text.into()));
        self
    }

    /// The other change that would do.
    pub(crate) fn or_replace(mut self, span: impl Into<Range<usize>>, text: impl Into<String>) -> Self {
        self.alternative = Some((span.into(), text.into()));
        self
    }

    /// Moves all places.
    pub(crate) fn shift(&mut self, by: isize) {
        let moved = |range: &Range<usize>| range.start.saturating_add_signed(by)..range.end.saturating_add_signed(by);
        self.span = moved(&self.span);
        for (span, _) in self.replacement.iter_mut().chain(&mut self.alternative) {
            *span = moved(span);
        }
    }
}

/// The findings about one program, in the order of the text; at least one.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(name: &str, text: &str, mut list: Vec<Diagnostic>) -> Self {
        let module = |finding: &Diagnostic| finding.module.as_ref().map(|module| module.path.clone());
        list.sort_by_key(|finding| (module(finding), finding.span.start, finding.severity));
        list.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.module == b.module);
        list.truncate(MOST);
        Self { name: name.to_owned(), text: text.to_owned(), list }
    }

    /// The name of the source, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// The number of findings.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none: never for the error of [`crate::compile`].
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The name and the text that the places of a finding are in: those of the program, or of a module.
    pub fn source_of<'a>(&'a self, finding: &'a Diagnostic) -> (&'a str, &'a str) {
        finding.module.as_ref().map_or((&self.name, &self.text), |module| (&module.path, &module.text))
    }

    /// Line and column of a byte offset of the program, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        position(&self.text, offset)
    }

    /// The findings with source excerpts, carets, causes and suggestions.
    pub fn render(&self, colour: bool) -> String {
        render::all(self, if colour { Style::Ansi } else { Style::Plain })
    }

    /// The findings as a JSON array, for programs.
    pub fn to_json(&self) -> String {
        render::json(self)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The comparison of two names costs the product of their lengths, and whoever writes longer ones copies them.
const LONG_NAME: usize = 64;

/// The name nearest to `wanted`, if one is near enough to be a slip.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |name: &str| (wanted.len().max(name.len()) / 3).max(1);
    let low = wanted.to_lowercase();
    names
        .into_iter()
        .filter(|name| wanted.len().max(name.len()) <= LONG_NAME)
        // Each letter more is a slip; letters of other scripts may change their size with their case.
        .filter(|name| !name.is_ascii() || !wanted.is_ascii() || wanted.len().abs_diff(name.len()) <= slips(name))
        .map(|name| (strsim::damerau_levenshtein(&low, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= slips(name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(LONG_NAME) {
        Some((at, _)) => Cow::Owned(format!("{}…", &name[..at])),
        None => Cow::Borrowed(name),
    }
}

/// "`a`, `b` and `c`"; cut after a dozen.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 14;
    let mut all = names.into_iter();
    let names: Vec<_> = all.by_ref().take(MOST).map(|name| format!("`{}`", shortened(name))).collect();
    let more = all.count();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        many if more > 0 => format!("{} and {more} more", many.join(", ")),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
