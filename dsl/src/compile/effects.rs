//! What expressions do besides giving a value: `emit`, `drop`, `fail`; and `try`.

use super::{Compiler, Typed};
use crate::ast::{Expr, ExprKind, Name, Span};
use crate::check::Types;
use crate::code::{Emission, Node, Op, Try};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::program::ProgramKind;
use crate::value::Value;

/// What an expression, a function or a program does.
#[derive(Default)]
pub(super) struct Effects {
    /// It emits, drops or fails by itself.
    pub(super) acts: bool,
    /// The topics that it emits to; nothing for one that is computed.
    topics: Vec<Option<String>>,
    pub(super) callees: Vec<usize>,
    /// What a function of a module does and this kind of program may not; it matters when the function is called.
    misplaced: Vec<Diagnostic>,
}

impl Effects {
    fn join(&mut self, other: Self) {
        self.acts |= other.acts;
        self.topics.extend(other.topics);
        self.misplaced.extend(other.misplaced);
        for callee in other.callees {
            if !self.callees.contains(&callee) {
                self.callees.push(callee);
            }
        }
    }
}

/// An expression that is not the last of its block, and what it calls.
pub(super) struct Statement {
    span: Span,
    callees: Vec<usize>,
}

/// What a program may emit, known before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emits {
    /// Topics that are written out, in the order of the alphabet.
    pub topics: Vec<String>,
    /// Whether there are topics that are computed.
    pub computed: bool,
}

impl Emits {
    /// Whether the program emits nothing.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && !self.computed
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn emission(&mut self, topic: &Expr, value: &Expr, key: Option<&Expr>, span: Span) -> Typed {
        self.not_in_constant(span, "what is emitted");
        if self.kind != ProgramKind::Function {
            self.misplaced(
                Diagnostic::new(codes::NOT_HERE, span, "`emit` belongs into functions")
                    .label("this program cannot emit")
                    .help("conditions decide and templates render; a function emits and gives a value"),
            );
        }
        let topic_node = self.expr(topic).0;
        let known = match &topic_node.op {
            Op::Const(Value::Str(text)) => Some(text.as_str().to_owned()),
            _ => None,
        };
        if known.as_deref() == Some("") {
            self.report(
                Diagnostic::new(codes::OPERAND_TYPE, topic.span, "the topic of an `emit` has no name")
                    .label("an empty text"),
            );
        }
        self.effects.acts = true;
        self.effects.topics.push(known);
        let value = self.expr(value).0;
        let key = key.map(|key| {
            let (node, types) = self.expr(key);
            if types != Types::NEVER && !types.overlaps(Types::ANY.without(Types::ARRAY).without(Types::OBJECT)) {
                self.report(
                    Diagnostic::new(codes::OPERAND_TYPE, key.span, format!("the key of an `emit` is never {types}"))
                        .label(format!("this is {types}"))
                        .help("a key is a text, a number or another plain value; null stands for no key"),
                );
            }
            node
        });
        (Node { span, op: Op::Emit(Box::new(Emission { topic: topic_node, value, key })) }, Types::NULL)
    }

    pub(super) fn attempt(&mut self, body: &Expr, error: Option<&Name>, otherwise: &Expr, span: Span) -> Typed {
        self.trying += 1;
        self.handling += 1;
        let (body, types) = self.expr(body);
        self.handling -= 1;
        self.trying -= 1;
        let mark = self.frame.mark();
        let error = error.filter(|name| name.text != "_").map(|name| self.bind(name, Types::OBJECT));
        let (otherwise, otherwise_types) = self.expr(otherwise);
        self.release(mark);
        // Nothing about a constant can fail any more.
        if let Op::Const(_) = body.op {
            return (body, types);
        }
        (
            Node { span, op: Op::Try(Box::new(Try { body, error, otherwise, handles_call: false })) },
            types.or(otherwise_types),
        )
    }

    /// Reports what only functions may do: of a module, when the function that does it is called.
    pub(super) fn misplaced(&mut self, finding: Diagnostic) {
        if self.scope + 1 == self.scopes.len() {
            self.report(finding);
        } else {
            self.effects.misplaced.push(finding);
        }
    }

    /// An expression that is not the last of its block: it is there for what it does.
    pub(super) fn statement(&mut self, expr: &Expr) -> Node {
        let before = std::mem::take(&mut self.effects);
        let (node, types) = self.expr(expr);
        let own = std::mem::replace(&mut self.effects, before);
        let span = expr.span;
        if types == Types::NEVER {
            self.report(
                Diagnostic::warning(codes::UNREACHABLE, span, "what follows is never reached").label("ends here"),
            );
        } else if !own.acts && !matches!(expr.kind, ExprKind::Error) {
            self.statements.push(Statement { span, callees: own.callees.clone() });
        }
        self.effects.join(own);
        node
    }

    /// Reports the expressions that do nothing and whose value is not used.
    pub(super) fn check_statements(&mut self) {
        let main = self.all_effects.len().saturating_sub(1);
        for function in self.reachable(&[main]) {
            let mut misplaced = std::mem::take(&mut self.all_effects[function].misplaced);
            self.findings.append(&mut misplaced);
        }
        let statements = std::mem::take(&mut self.statements);
        for statement in &statements {
            let reached = self.reachable(&statement.callees);
            if !reached.iter().any(|function| self.all_effects[*function].acts) {
                self.report(
                    Diagnostic::new(codes::UNUSED_VALUE, statement.span, "the value of this expression is not used")
                        .label("does nothing")
                        .help("only the last expression is the result; name this one with `let`, or join the lines"),
                );
            }
        }
    }

    /// The functions that these call, directly and through others.
    fn reachable(&self, from: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.all_effects.len()];
        let mut open = from.to_vec();
        let mut reached = Vec::new();
        while let Some(function) = open.pop() {
            if !std::mem::replace(&mut seen[function], true) {
                reached.push(function);
                open.extend(&self.all_effects[function].callees);
            }
        }
        reached
    }

    /// What the main program emits, directly and through the functions that it calls.
    pub(super) fn emits(&self) -> Emits {
        let Some(main) = self.all_effects.len().checked_sub(1) else { return Emits::default() };
        let reached = self.reachable(&[main]);
        let topics = || reached.iter().flat_map(|function| &self.all_effects[*function].topics);
        let mut known: Vec<String> = topics().flatten().cloned().collect();
        known.sort_unstable();
        known.dedup();
        Emits { topics: known, computed: topics().any(Option::is_none) }
    }
}
