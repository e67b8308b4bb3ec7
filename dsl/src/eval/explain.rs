//! Which part of a condition decided, and with which values.

use std::ops::Range;

use super::{Machine, Result};
use crate::code::{Line, Node, Op};
use crate::fault::Fault;
use crate::value::Value;

/// An expression of a condition with what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The text of the expression.
    pub text: String,
    /// Where it stands, in bytes.
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
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
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
    pub(crate) fn explain(&mut self, node: &'p Node, source: &str) -> (Explanation, Result<Value<'e>>) {
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
            Op::Call(call) => {
                for arg in &call.call.args {
                    if !matches!(arg.op, Op::Const(_)) {
                        let before = self.drawn;
                        // Shown only; the call evaluates its arguments itself, and draws the same random numbers.
                        drop(self.child(arg, source, &mut children));
                        self.drawn = before;
                    }
                }
                self.eval(node)
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

    fn child(&mut self, node: &'p Node, source: &str, children: &mut Vec<Explanation>) -> Result<Value<'e>> {
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
        source: &str,
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
        source: &str,
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
        source: &str,
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

fn describe(node: &Node, source: &str, outcome: PartOutcome, children: Vec<Explanation>) -> Explanation {
    let span = node.span.range();
    let text = source.get(span.clone()).unwrap_or_default().to_owned();
    Explanation { text, span, outcome, children }
}
