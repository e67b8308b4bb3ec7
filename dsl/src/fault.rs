//! Failures at run time: inside, a small [`Fault`] that travels up; outside, a [`RuntimeError`] with the place and the
//! text of the expression.

use std::fmt;
use std::ops::Range;

use crate::ast::Span;
use crate::codes::Code;

/// Why an evaluation stopped. One word, so that results of the evaluator stay small.
#[derive(Debug)]
pub(crate) enum Fault {
    /// `drop` was reached: an answer, not an error.
    Drop,
    Error(Box<Failure>),
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) span: Option<Span>,
    pub(crate) message: String,
}

impl Fault {
    #[cold]
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Error(Box::new(Failure { code, span: None, message: message.into() }))
    }

    /// Names the place, unless a narrower one is named already.
    #[cold]
    pub(crate) fn at(mut self, span: Span) -> Self {
        if let Self::Error(failure) = &mut self {
            failure.span.get_or_insert(span);
        }
        self
    }
}

/// A failed evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeError {
    /// The stable code.
    pub code: Code,
    /// Where, in bytes of the text of the source: the program's, or a module's.
    pub span: Range<usize>,
    /// What happened, with the values involved.
    pub message: String,
    /// The name of the source, or the path of the module.
    pub source: String,
    /// The text of the expression that failed, cut when it is long.
    pub expression: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl RuntimeError {
    #[cold]
    pub(crate) fn new(failure: Failure, base: usize, source: &str, text: &str) -> Self {
        /// Longer expressions are cut to this many characters.
        const LONGEST: usize = 80;
        let span = failure.span.unwrap_or_default().range();
        let span = span.start - base..span.end - base;
        let (line, column) = crate::diagnostic::position(text, span.start);
        let full = text.get(span.clone()).unwrap_or_default();
        let mut expression: String = full.split_whitespace().collect::<Vec<_>>().join(" ");
        if expression.chars().count() > LONGEST {
            expression = expression.chars().take(LONGEST).chain("…".chars()).collect();
        }
        Self { code: failure.code, span, message: failure.message, source: source.to_owned(), expression, line, column }
    }

    /// Whether the budget of steps or of bytes ran out, rather than the program being wrong about its input.
    pub fn is_exhausted(&self) -> bool {
        self.code == crate::codes::STEPS
    }

    /// Whether the program failed on purpose, with `fail`.
    pub fn is_deliberate(&self) -> bool {
        self.code == crate::codes::FAILED
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.source, self.line, self.column, self.code, self.message)?;
        if !self.expression.is_empty() {
            write!(f, " in `{}`", self.expression)?;
        }
        Ok(())
    }
}

impl std::error::Error for RuntimeError {}
