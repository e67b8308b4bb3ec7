//! One thing that is wrong with a configuration, and all of them together.

use std::borrow::Cow;

use super::codes::{self, Code};
use super::texts::{Span, Texts};

/// Whether the configuration can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and somebody should know.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code, `HX1…` of this module or a code of the language.
    pub code: Cow<'static, str>,
    /// Whether it stops the configuration from being used.
    pub severity: Severity,
    /// Where; nowhere when a folder or the environment as a whole is meant.
    pub span: Option<Span>,
    /// What is wrong, in one line.
    pub message: String,
    /// What the marked place is, or should be.
    pub label: Option<String>,
    /// Other places that matter.
    pub related: Vec<(Span, String)>,
    /// What to do.
    pub help: Vec<String>,
    /// A change of the text that removes the problem.
    pub replacement: Option<(Span, String)>,
}

impl Problem {
    /// An error at a place.
    pub fn error(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code.id),
            severity: Severity::Error,
            span: Some(span),
            message: message.into(),
            label: None,
            related: Vec::new(),
            help: Vec::new(),
            replacement: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// An error of no place in a text.
    pub fn nowhere(code: &'static Code, message: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(code, 0..0, message) }
    }

    /// In a box, for a `Result`: a problem is large and rare.
    pub fn boxed(self) -> Box<Self> {
        Box::new(self)
    }

    /// Says what the marked place is.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Suggests what to write instead of the marked place.
    #[must_use]
    pub fn replace(mut self, replacement: impl Into<String>) -> Self {
        self.replacement = self.span.clone().map(|span| (span, replacement.into()));
        self
    }
}

/// What was found wrong so far.
#[derive(Debug, Clone, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// How many errors there are; warnings do not count.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Error).count()
    }

    /// Removes what may only follow from a syntax error: everything else in a broken text, and names that nothing defines
    /// (the definition may stand in the part that could not be read).
    pub fn without_consequences(&mut self, broken: &[Span]) {
        if broken.is_empty() {
            return;
        }
        let syntax = |p: &Problem| p.code == codes::SYNTAX.id;
        let within = |p: &Problem| p.span.as_ref().is_some_and(|s| broken.iter().any(|b| b.contains(&s.start)));
        let unknown = |p: &Problem| p.code == codes::UNKNOWN_NAME.id || p.code == codes::UNUSED.id;
        self.0.retain(|p| syntax(p) || !(within(p) || unknown(p)));
    }

    /// All, in the order of the texts, each once. What nothing uses is told only when nothing is wrong: most often it
    /// is unused because of what is wrong.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        if self.errors() > 0 {
            self.0.retain(|p| p.code != codes::UNUSED.id);
        }
        self.0.sort_by_key(|p| p.span.as_ref().map_or((0, 0), |s| (s.start + 1, s.end)));
        self.0.dedup();
        self.0
    }
}

/// Everything that is wrong with a configuration that cannot be used.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    pub(super) texts: Texts,
    pub(super) problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The problems, errors and warnings, in the order of the texts.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All of them for people, with excerpts; with colour when `colour`.
    pub fn render(&self, colour: bool) -> String {
        super::render::report(&self.texts, &self.problems, colour)
    }

    /// All of them for programs: `{"errors": [...], "warnings": [...]}`.
    pub fn to_json(&self) -> serde_json::Value {
        super::render::json(&self.texts, &self.problems)
    }
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// The warnings of a configuration that can be used.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    pub(super) texts: Texts,
    pub(super) problems: Vec<Problem>,
}

impl Warnings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The warnings, in the order of the texts.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All of them for people; with colour when `colour`.
    pub fn render(&self, colour: bool) -> String {
        super::render::report(&self.texts, &self.problems, colour)
    }

    /// All of them for programs, as [`ConfigErrors::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        super::render::json(&self.texts, &self.problems)
    }
}
