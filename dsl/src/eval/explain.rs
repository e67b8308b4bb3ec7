//! Which part of a condition decided, and with which values.

use std::ops::Range;

use super::{Machine, Result};
use crate::code::{Line, Node, Op};
use crate::fault::Fault;
use crate::modules::Files;
use crate::value::Value;

mod forms;

/// Where the texts of expressions are.
#[derive(Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) text: &'s str,
    pub(crate) files: &'s Files,
    /// Within a function of the program, whose own calls are not looked into.
    pub(crate) called: bool,
}

impl Source<'_> {
    fn of(&self, span: crate::ast::Span) -> String {
        let range = span.range();
        let text = match self.files.of(range.start) {
            Some((base, module)) => module.text.get(range.start - base..range.end - base),
            None => self.text.get(range),
        };
        text.unwrap_or_default().to_owned()
    }
}

/// An expression of a condition with what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The text of the expression or the pattern, or which element of a list it is.
    pub text: String,
    /// Where it stands, in bytes; in the text of a module behind that of the program.
    pub span: Range<usize>,
    /// What it gave.
    pub outcome: PartOutcome,
    /// The expressions inside.
    pub children: Vec<Explanation>,
}

/// What an expression gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartOutcome {
    /// A value, as JSON, cut when it is long.
    Value(String),
    /// It failed.
    Failed(String),
    /// It did not matter any more.
    NotReached,
}

impl Explanation {
    /// The tree as indented lines: `text = value`.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.render_into(0, &mut out);
        out
    }

    fn render_into(&self, depth: usize, out: &mut String) {
        /// Characters of an expression that are shown; its parts follow below.
        const MOST: usize = 120;
        let mut text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((cut, _)) = text.char_indices().nth(MOST) {
            text.truncate(cut);
            text.push('…');
        }
        let outcome = match &self.outcome {
            PartOutcome::Value(value) => format!("= {value}"),
            PartOutcome::Failed(why) => format!("failed: {why}"),
            PartOutcome::NotReached => "(not reached)".to_owned(),
        };
        out.push_str(&format!("{}{text} {outcome}\n", "  ".repeat(depth)));
        for child in &self.children {
            child.render_into(depth + 1, out);
        }
    }
}

impl<'p, 'e> Machine<'p, 'e> {
    /// Evaluates like [`Machine::eval`] and keeps what every part gave.
    #[cold]
    #[inline(never)]
    pub(crate) fn explain(&mut self, node: &'p Node, source: Source<'_>) -> (Explanation, Result<Value<'e>>) {
        if let Op::Covered(covered) = &node.op
            && covered.reached()
        {
            let (explanation, result) = self.explain(&covered.node, source);
            covered.gave(&result);
            return (explanation, result);
        }
        let mut children = Vec::new();
        let result = match &node.op {
            Op::All(operands) => self.explain_logic(operands, true, source, &mut children),
            Op::Any(operands) => self.explain_logic(operands, false, source, &mut children),
            Op::Not(operand) => {
                let result = self.child(operand, source, &mut children);
                result.and_then(|value| super::truth_of(&value)).map(|truth| Value::Bool(!truth))
            }
            Op::Compare(op, sides) => self
                .explain_sides(&sides.0, &sides.1, source, &mut children)
                .and_then(|(a, b)| super::ops::holds(self.budget, *op, &a, &b).map(Value::Bool)),
            Op::CompareConst(op, sides) => self
                .child(&sides.0, source, &mut children)
                .and_then(|left| super::ops::holds(self.budget, *op, &left, &sides.1).map(Value::Bool)),
            Op::In { negated, sides } => self
                .explain_sides(&sides.0, &sides.1, source, &mut children)
                .and_then(|(needle, hay)| self.within(&needle, &hay))
                .map(|found| Value::Bool(found != *negated)),
            Op::Block { lines, result } => self.explain_block(lines, result, source, &mut children),
            Op::If { arms, otherwise } => self.explain_choice(arms, otherwise.as_deref(), source, &mut children),
            Op::Match(choice) => self.explain_match(choice, source, &mut children),
            Op::Try(attempt) => self.explain_try(attempt, source, &mut children),
            Op::CallLambda(call) if matches!(call.call.name, "any" | "all") => {
                self.explain_elements(node, call, source, &mut children)
            }
            Op::CallFunction { function, args } if !source.called => {
                self.explain_function(*function, args, source, &mut children)
            }
            Op::Call(call) => {
                let args = call.call.args.iter().map(|arg| self.child(arg, source, &mut children));
                args.collect::<Result<super::Values<'e>>>().and_then(|mut args| self.called(call, &mut args))
            }
            _ => self.eval(node),
        };
        let result = result.map_err(|fault| fault.at(node.span));
        let outcome = match &result {
            Ok(value) => PartOutcome::Value(value.preview()),
            Err(Fault::Drop) => PartOutcome::Value("drop".to_owned()),
            Err(Fault::Error(failure)) => PartOutcome::Failed(failure.message.clone()),
        };
        (describe(node, source, outcome, children), result)
    }

    fn child(&mut self, node: &'p Node, source: Source<'_>, children: &mut Vec<Explanation>) -> Result<Value<'e>> {
        let (explanation, result) = self.explain(node, source);
        if !matches!(node.op, Op::Const(_)) {
            children.push(explanation);
        }
        result
    }

    fn explain_sides(
        &mut self,
        left: &'p Node,
        right: &'p Node,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<(Value<'e>, Value<'e>)> {
        let left = self.child(left, source, children)?;
        let right = self.child(right, source, children)?;
        Ok((left, right))
    }

    fn explain_logic(
        &mut self,
        operands: &'p [Node],
        all: bool,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        let mut decided: Option<Result<Value<'e>>> = None;
        for operand in operands {
            if decided.is_some() {
                children.push(describe(operand, source, PartOutcome::NotReached, Vec::new()));
                continue;
            }
            match self.child(operand, source, children).and_then(|value| super::truth_of(&value)) {
                Ok(truth) if truth == all => {}
                Ok(truth) => decided = Some(Ok(Value::Bool(truth))),
                Err(fault) => decided = Some(Err(fault.at(operand.span))),
            }
        }
        decided.unwrap_or(Ok(Value::Bool(all)))
    }

    fn explain_block(
        &mut self,
        lines: &'p [Line],
        result: &'p Node,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        for line in lines {
            match line {
                Line::Let(slot, value) => {
                    let value = self.child(value, source, children)?;
                    self.set(*slot, value);
                }
                Line::Do(node) => {
                    self.child(node, source, children)?;
                }
            }
        }
        self.child(result, source, children)
    }
}

fn describe(node: &Node, source: Source<'_>, outcome: PartOutcome, children: Vec<Explanation>) -> Explanation {
    Explanation { text: source.of(node.span), span: node.span.range(), outcome, children }
}
