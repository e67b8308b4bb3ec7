//! Which branches of a program its evaluations take. A program that is compiled with [`CompileOptions::coverage`] has
//! marks in its code that count; any other has none, so that its evaluations do nothing for this.
//!
//! [`CompileOptions::coverage`]: crate::CompileOptions::coverage

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ast::Span;
use crate::code::{Code, Node, Op};
use crate::diagnostic::position;
use crate::eval::{Result, truth_of};
use crate::modules::Files;
use crate::value::Value;

/// What a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BranchKind {
    /// The whole condition, true.
    Holds,
    /// The whole condition, false or null.
    HoldsNot,
    /// The block behind a test of `if`.
    Then,
    /// The block behind `else`; of an `if` without one, that no test held.
    Else,
    /// An arm of `match`.
    Arm,
    /// The left side of `??`, not null.
    Value,
    /// The right side of `??`.
    Default,
    /// What `try` tries, without a failure.
    Tried,
    /// What stands behind the `else` of a `try`.
    Caught,
    /// An operand of `and` or `or` behind the first, evaluated because those before it did not decide.
    Operand,
}

impl BranchKind {
    /// The kind in a word or two, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "true",
            Self::HoldsNot => "false",
            Self::Then => "then",
            Self::Else => "else",
            Self::Arm => "arm",
            Self::Value => "value of `??`",
            Self::Default => "default of `??`",
            Self::Tried => "try",
            Self::Caught => "else of `try`",
            Self::Operand => "operand",
        }
    }
}

/// A branch of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Branch {
    /// What it is.
    pub kind: BranchKind,
    /// The path of the module that it is in; nothing for the program itself.
    pub module: Option<Arc<str>>,
    /// The function that it is in; nothing for the program's own lines.
    pub function: Option<String>,
    /// Where it stands, in bytes of the text of the program or of the module.
    pub span: Range<usize>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The beginning of its text, on one line.
    pub text: String,
}

/// How often a branch was taken.
type Count = Arc<AtomicU64>;

/// The branches of a program, and how often each was taken.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) branches: Vec<Branch>,
    counts: Vec<Count>,
}

impl Coverage {
    pub(crate) fn taken(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// A mark in the code.
#[derive(Debug)]
pub(crate) struct Covered {
    pub(crate) node: Node,
    when: When,
}

/// When a mark counts.
#[derive(Debug)]
enum When {
    /// It is reached.
    Reached(Count),
    /// It is reached; the program does not have it, so that nothing is evaluated.
    Implied(Count),
    /// It gave something that is not null.
    Value(Count),
    /// It did not fail.
    Done(Count),
    /// It is true, or it is not.
    Truth(Count, Count),
}

impl Covered {
    /// Counts what is counted before the node is evaluated. Tells whether there is something to evaluate; the value is
    /// null otherwise.
    pub(crate) fn reached(&self) -> bool {
        if let When::Reached(count) | When::Implied(count) = &self.when {
            add(count);
        }
        !matches!(self.when, When::Implied(_))
    }

    /// Counts by what the node gave.
    pub(crate) fn gave(&self, result: &Result<Value<'_>>) {
        let Ok(value) = result else { return };
        match &self.when {
            When::Reached(_) | When::Implied(_) => {}
            When::Done(count) => add(count),
            When::Value(count) => {
                if !matches!(value, Value::Null) {
                    add(count);
                }
            }
            When::Truth(yes, no) => match truth_of(value) {
                Ok(true) => add(yes),
                Ok(false) => add(no),
                Err(_) => {}
            },
        }
    }
}

fn add(count: &Count) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Puts marks into the code of a program; `functions` are the names of its functions.
pub(crate) fn instrument(
    code: &mut Code,
    condition: bool,
    functions: &[String],
    text: &str,
    files: &Files,
) -> Coverage {
    let mut marker = Marker { text, files, function: None, coverage: Coverage::default() };
    let span = code.main.span;
    let whole =
        condition.then(|| When::Truth(marker.count(BranchKind::Holds, span), marker.count(BranchKind::HoldsNot, span)));
    marker.node(&mut code.main);
    if let Some(when) = whole {
        wrap(&mut code.main, when);
    }
    for (function, name) in code.functions.iter_mut().zip(functions) {
        marker.function = Some(name);
        marker.node(&mut function.body);
    }
    marker.coverage
}

/// Makes a node one that counts.
fn wrap(node: &mut Node, when: When) {
    let span = node.span;
    let inner = std::mem::replace(node, Node { span, op: Op::Drop });
    node.op = Op::Covered(Box::new(Covered { node: inner, when }));
}

struct Marker<'a> {
    text: &'a str,
    files: &'a Files,
    function: Option<&'a String>,
    coverage: Coverage,
}

impl Marker<'_> {
    fn count(&mut self, kind: BranchKind, span: Span) -> Count {
        let count = Count::default();
        self.coverage.counts.push(count.clone());
        self.coverage.branches.push(described(kind, span, self.function.cloned(), self.text, self.files));
        count
    }

    fn mark(&mut self, node: &mut Node, kind: BranchKind, when: fn(Count) -> When) {
        let count = self.count(kind, node.span);
        self.node(node);
        wrap(node, when(count));
    }

    fn node(&mut self, node: &mut Node) {
        let span = node.span;
        match &mut node.op {
            Op::If { arms, otherwise } => {
                for (test, then) in arms {
                    self.node(test);
                    self.mark(then, BranchKind::Then, When::Reached);
                }
                match otherwise {
                    Some(otherwise) => self.mark(otherwise, BranchKind::Else, When::Reached),
                    None => {
                        let mut implied = Node { span, op: Op::Const(Value::Null) };
                        self.mark(&mut implied, BranchKind::Else, When::Implied);
                        *otherwise = Some(Box::new(implied));
                    }
                }
            }
            Op::Match(choice) => {
                self.node(&mut choice.subject);
                for arm in &mut choice.arms {
                    arm.guard.iter_mut().for_each(|guard| self.node(guard));
                    self.mark(&mut arm.body, BranchKind::Arm, When::Reached);
                }
            }
            Op::Default(sides) => {
                let (left, right) = &mut **sides;
                self.value(left);
                self.mark(right, BranchKind::Default, When::Reached);
            }
            Op::Try(attempt) => {
                self.mark(&mut attempt.body, BranchKind::Tried, When::Done);
                self.mark(&mut attempt.otherwise, BranchKind::Caught, When::Reached);
            }
            Op::All(operands) | Op::Any(operands) => {
                for (at, operand) in operands.iter_mut().enumerate() {
                    match at {
                        0 => self.node(operand),
                        _ => self.mark(operand, BranchKind::Operand, When::Reached),
                    }
                }
            }
            _ => node.parts(&mut |part| self.node(part)),
        }
    }

    /// The left side of `??`. Where the failure of a call counts as null, that is no branch of its own.
    fn value(&mut self, left: &mut Node) {
        let count = self.count(BranchKind::Value, left.span);
        match &mut left.op {
            Op::Try(attempt) if attempt.handles_call => self.node(&mut attempt.body),
            _ => self.node(left),
        }
        wrap(left, When::Value(count));
    }
}

fn described(kind: BranchKind, span: Span, function: Option<String>, text: &str, files: &Files) -> Branch {
    /// Characters of the text that are kept.
    const LONGEST: usize = 60;
    let range = span.range();
    let (base, module) = files.of(range.start).map_or((0, None), |(base, module)| (base, Some(module)));
    let source = module.map_or(text, |module| &module.text);
    let span = range.start - base..range.end - base;
    let (line, column) = position(source, span.start);
    let full = source.get(span.clone()).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match full.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &full[..cut]),
        None => full,
    };
    Branch { kind, module: module.map(|module| module.path.clone()), function, span, line, column, text }
}
