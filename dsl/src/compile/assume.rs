//! What a call of a function of the program hands over: the body is checked once more with the types of the arguments, so
//! that an argument that can never work is reported where it is written, and the result has the types that follow from
//! them. Only what the body does in any case counts, since a parameter may decide whether the rest is reached.

use std::collections::HashMap;

use super::{Compiler, fallible};
use crate::ast::{BinaryOp, Clause, Expr, ExprKind, Line, Span};
use crate::check::Types;
use crate::codes::{self, Code};
use crate::diagnostic::{Diagnostic, Severity};

/// Bytes of bodies that are checked once more, in all: a program that calls so much is checked less closely.
const MOST_TEXT: usize = 1 << 20;
/// Levels of the expressions of functions that call one another, as the stack has to hold them.
const DEEPEST: u32 = 64;

/// What was found out about calls so far.
#[derive(Default)]
pub(super) struct Assumed {
    /// Functions and types of their arguments, with what the body gave.
    known: HashMap<(usize, Vec<Types>), Outcome>,
    /// Functions that are being checked, from the outside inwards.
    open: Vec<usize>,
    depth: u32,
    text: usize,
}

#[derive(Clone)]
struct Outcome {
    result: Types,
    /// What can never work.
    wrong: Vec<(Span, Code, String)>,
}

impl Assumed {
    /// Whether a body is being checked for the types of one call.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

impl<'a> Compiler<'a> {
    /// Checks a call with arguments of these types. Tells the types of its result.
    pub(super) fn check_arguments(&mut self, index: usize, args: &[Expr], types: &[Types]) -> Types {
        let usual = self.functions[index].result;
        if types.iter().all(|own| *own == Types::ANY) {
            return usual;
        }
        let Some(given) = self.outcome(index, types) else { return usual };
        if given.wrong.is_empty() {
            return given.result;
        }
        // What is wrong whatever it is called with is reported in the body.
        let anything = vec![Types::ANY; types.len()];
        let Some(always) = self.outcome(index, &anything) else { return usual };
        let new = |outcome: &Outcome| {
            let mut wrong = outcome.wrong.iter();
            wrong.find(|(span, code, _)| !always.wrong.iter().any(|own| (own.0, own.1) == (*span, *code))).cloned()
        };
        let Some(together) = new(&given) else { return usual };
        let name = self.functions[index].name.text.clone();
        let mut found = false;
        for (at, (arg, own)) in args.iter().zip(types).enumerate().filter(|(_, (_, own))| **own != Types::ANY) {
            let mut alone = anything.clone();
            alone[at] = *own;
            let Some((_, _, why)) = self.outcome(index, &alone).and_then(|outcome| new(&outcome)) else { continue };
            found = true;
            let param = self.functions[index].params.get(at).map_or(arg.span, |param| param.span);
            let param = self.source(param).unwrap_or_default();
            self.report(
                Diagnostic::new(codes::ARGUMENT_TYPE, arg.span, format!("`{param}` of `{name}` cannot be {own}"))
                    .label(format!("this is {own}"))
                    .help(format!("in `{name}`: {why}")),
            );
        }
        if let (false, Some(first), Some(last)) = (found, args.first(), args.last()) {
            let span = Span { start: first.span.start, end: last.span.end };
            self.report(
                Diagnostic::new(
                    codes::ARGUMENT_TYPE,
                    span,
                    format!("`{name}` cannot work with these arguments together"),
                )
                .label("never fit one another")
                .help(format!("in `{name}`: {}", together.2)),
            );
        }
        usual
    }

    /// What the body gives for arguments of these types; nothing if that would cost too much to find out.
    fn outcome(&mut self, index: usize, types: &[Types]) -> Option<Outcome> {
        let key = (index, types.to_vec());
        if let Some(outcome) = self.assumed.known.get(&key) {
            return Some(outcome.clone());
        }
        let (body, depth) = (self.functions[index].body, self.functions[index].depth);
        let text = self.assumed.text + body.span.range().len();
        let depth = self.assumed.depth + depth;
        if self.assumed.open.contains(&index) || depth > DEEPEST || text > MOST_TEXT {
            return None;
        }
        self.assumed.text = text;
        let depth = std::mem::replace(&mut self.assumed.depth, depth);
        self.assumed.open.push(index);
        let outcome = self.assuming(index, body, types);
        self.assumed.open.pop();
        self.assumed.depth = depth;
        self.assumed.known.insert(key, outcome.clone());
        Some(outcome)
    }

    /// Compiles the body and keeps nothing of it but what was found out.
    fn assuming(&mut self, index: usize, body: &'a Expr, types: &[Types]) -> Outcome {
        let (findings, statements) = (self.findings.len(), self.statements.len());
        let scope = std::mem::replace(&mut self.scope, self.functions[index].scope);
        let current = std::mem::replace(&mut self.current, index);
        let frame = std::mem::take(&mut self.frame);
        let effects = std::mem::take(&mut self.effects);
        let paths = std::mem::take(&mut self.paths);
        let (trying, handling) = (std::mem::take(&mut self.trying), std::mem::take(&mut self.handling));
        let failures = self.declared_failures;
        for (param, types) in self.functions[index].params.iter().zip(types) {
            let slot = self.frame.bind_param(param);
            self.frame.set_types(slot, *types);
        }
        let (_, result) = self.expr(body);
        self.frame = frame;
        (self.scope, self.current, self.effects, self.paths) = (scope, current, effects, paths);
        (self.trying, self.handling, self.declared_failures) = (trying, handling, failures);
        self.statements.truncate(statements);
        let wrong = self
            .findings
            .drain(findings..)
            .filter(|finding| finding.severity == Severity::Error && (301..=305).contains(&finding.code.0))
            .map(|finding| (Span::new(finding.span.start, finding.span.end), finding.code, finding.message))
            .filter(|(span, ..)| certain(body, *span))
            .collect();
        Outcome { result, wrong }
    }
}

fn holds(outer: Span, inner: Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Whether what stands at a place of an expression is evaluated whenever the expression is.
fn certain(expr: &Expr, at: Span) -> bool {
    let below = |part: &Expr| holds(part.span, at).then(|| certain(part, at));
    match &expr.kind {
        // The first test is made in any case.
        ExprKind::If { arms, .. } => arms.first().and_then(|(test, _)| below(test)).unwrap_or(at == expr.span),
        ExprKind::Logic { operands, .. } => operands.first().and_then(below).unwrap_or(at == expr.span),
        ExprKind::Binary { op: BinaryOp::Default, left, .. } => {
            !fallible::handles(left) && below(left).unwrap_or(false)
        }
        ExprKind::Match { subject, .. } => below(subject).unwrap_or(false),
        ExprKind::Each { clauses, .. } => match clauses.first() {
            Some(Clause::For { items, .. }) => below(items).unwrap_or(false),
            _ => false,
        },
        ExprKind::Try { .. } | ExprKind::Lambda { .. } => false,
        ExprKind::Block(block) => {
            for Line::Let { value, .. } | Line::Do(value) in &block.lines {
                if let Some(found) = below(value) {
                    return found;
                }
                // What may end the function ends it before what follows.
                if ends(value) {
                    return false;
                }
            }
            below(&block.result).unwrap_or(true)
        }
        _ => {
            let mut found = None;
            fallible::parts(expr, &mut |part| found = found.or_else(|| below(part)));
            found.unwrap_or(true)
        }
    }
}

/// Whether an expression may end the function that it stands in. A function of the program, or a mark, might.
fn ends(expr: &Expr) -> bool {
    let own = match &expr.kind {
        ExprKind::Drop | ExprKind::Fail(_) => true,
        ExprKind::Call { name, fails, .. } => *fails || crate::builtins::builtin(&name.text).is_none(),
        _ => false,
    };
    let mut found = own;
    fallible::parts(expr, &mut |part| found = found || ends(part));
    found
}
