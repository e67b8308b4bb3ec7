//! Operators, choices, arrays and objects.

use std::sync::Arc;

use super::{Compiler, Typed, constant};
use crate::ast::{BinaryOp, Element, Entry, Expr, ExprKind, Span, UnaryOp};
use crate::check::{Types, arithmetic, equatable, orderable};
use crate::code::{self, Arith, Compare, Member, Node, Op, Try};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::value::{Shape, Value};

impl<'a> Compiler<'a> {
    /// Reports an expression that can never be true or false.
    pub(super) fn require_condition(&mut self, node: &Node, types: Types, what: &str) {
        if types != Types::NEVER && !types.overlaps(Types::BOOL) {
            self.report(
                Diagnostic::new(codes::NOT_A_CONDITION, node.span, format!("{what} is never true or false"))
                    .label(format!("this is {types}"))
                    .help("compare it, for example with `!= null`, `!= \"\"` or `> 0`"),
            );
        }
    }

    /// An operand of `and`, `or`, `not`, or the test of an `if`.
    pub(super) fn tested(&mut self, expr: &Expr, what: &str) -> Node {
        let (node, types) = self.expr(expr);
        self.require_condition(&node, types, what);
        if constant(&node) && types == Types::BOOL && !matches!(expr.kind, ExprKind::Bool(_)) {
            self.report(
                Diagnostic::warning(
                    codes::CONSTANT_CONDITION,
                    expr.span,
                    format!("{what} does not depend on the event"),
                )
                .label("always the same"),
            );
        }
        node
    }

    pub(super) fn unary(&mut self, op: UnaryOp, operand: &Expr, span: Span) -> Typed {
        match op {
            UnaryOp::Not => {
                let node = self.tested(operand, "the operand of `not`");
                self.folded(Node { span, op: Op::Not(Box::new(node)) }, Types::BOOL)
            }
            UnaryOp::Negate => {
                let (node, types) = self.expr(operand);
                let fits = Types::NUMBER.or(Types::DURATION);
                if types != Types::NEVER && !types.overlaps(fits) {
                    self.report(
                        Diagnostic::new(codes::OPERAND_TYPE, span, format!("`-` does not negate {types}"))
                            .label("takes a number or a duration"),
                    );
                    return Self::wrong(span);
                }
                let kept = [Types::INT, Types::DEC, Types::DURATION];
                let types = kept.into_iter().filter(|ty| types.overlaps(*ty)).fold(Types::NEVER, Types::or);
                self.folded(Node { span, op: Op::Negate(Box::new(node)) }, types)
            }
        }
    }

    pub(super) fn logic(&mut self, all: bool, operands: &[Expr], span: Span) -> Typed {
        let what = if all { "an operand of `and`" } else { "an operand of `or`" };
        let mut before = Vec::new();
        let nodes: Box<[Node]> = operands
            .iter()
            .map(|operand| {
                let node = self.tested(operand, what);
                // An operand is reached when those before it were true, or false.
                let facts = self.facts(operand);
                before.extend(self.assume(if all { &facts.yes } else { &facts.no }));
                node
            })
            .collect();
        self.restore(before);
        let op = if all { Op::All(nodes) } else { Op::Any(nodes) };
        self.folded(Node { span, op }, Types::BOOL)
    }

    pub(super) fn choice(&mut self, arms: &[(Expr, Expr)], otherwise: Option<&Expr>, span: Span) -> Typed {
        let mut types = if otherwise.is_some() { Types::NEVER } else { Types::NULL };
        let mut nodes = Vec::with_capacity(arms.len());
        let mut before = Vec::new();
        for (test, then) in arms {
            let facts = self.facts(test);
            let test = self.tested(test, "the test of `if`");
            let outside = self.assume(&facts.yes);
            let (then, then_types) = self.expr(then);
            self.restore(outside);
            before.extend(self.assume(&facts.no));
            types = types.or(then_types);
            nodes.push((test, then));
        }
        let otherwise = otherwise.map(|otherwise| {
            let (node, else_types) = self.expr(otherwise);
            types = types.or(else_types);
            Box::new(node)
        });
        self.restore(before);
        (Node { span, op: Op::If { arms: nodes.into(), otherwise } }, types)
    }

    pub(super) fn binary(&mut self, op: BinaryOp, op_span: Span, left: &Expr, right: &Expr, span: Span) -> Typed {
        let (left_node, left_types) = if op == BinaryOp::Default { self.defaulted(left) } else { self.expr(left) };
        let (right_node, right_types) = self.expr(right);
        self.check_choices(op, left, right);
        let finding = match op {
            BinaryOp::Default => None,
            BinaryOp::Equal | BinaryOp::NotEqual => {
                // A function may compare what one of its callers hands over.
                let impossible_here = !equatable(left_types, right_types) && !self.assumed.is_open();
                impossible_here.then(|| impossible(op, left_types, right_types, span))
            }
            BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual => {
                (!orderable(left_types, right_types)).then(|| unordered(op, left_types, right_types, span))
            }
            BinaryOp::In | BinaryOp::NotIn => {
                let holders = Types::ARRAY.or(Types::OBJECT).or(Types::STRING);
                (right_types != Types::NEVER && !right_types.overlaps(holders)).then(|| {
                    Diagnostic::new(
                        codes::OPERAND_TYPE,
                        right.span,
                        format!("nothing is in a value of type {right_types}"),
                    )
                    .label("expected an array, an object or a string")
                })
            }
            _ => arithmetic(op, left_types, right_types)
                .is_none()
                .then(|| inoperable(op, op_span, left_types, right_types)),
        };
        if let Some(finding) = finding {
            self.report(finding);
            return Self::wrong(span);
        }
        let types = match op {
            BinaryOp::Default => left_types.without(Types::NULL).or(right_types),
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => {
                arithmetic(op, left_types, right_types).unwrap_or(Types::ANY)
            }
            _ => Types::BOOL,
        };
        let sides = (left_node, right_node);
        self.folded(Node { span, op: operation(op, sides) }, types)
    }

    /// The left side of `??`: where a call that can fail does so, the right side stands in as for null.
    fn defaulted(&mut self, left: &Expr) -> Typed {
        if !super::fallible::handles(left) {
            return self.expr(left);
        }
        let before = self.declared_failures;
        self.handling += 1;
        let (body, types) = self.expr(left);
        self.handling -= 1;
        if self.declared_failures == before || constant(&body) {
            return (body, types);
        }
        let otherwise = Node { span: left.span, op: Op::Const(Value::Null) };
        let op = Op::Try(Box::new(Try { body, error: None, otherwise, handles_call: true }));
        (Node { span: left.span, op }, types.or(Types::NULL))
    }

    pub(super) fn array(&mut self, elements: &[Element], span: Span) -> Typed {
        let nodes: Box<[code::Element]> = elements
            .iter()
            .map(|element| match element {
                Element::Item(expr) => code::Element::Item(self.expr(expr).0),
                Element::Spread(expr) => code::Element::Spread(self.spread(expr, Types::ARRAY)),
            })
            .collect();
        self.folded(Node { span, op: Op::Array(nodes) }, Types::ARRAY)
    }

    pub(super) fn spread(&mut self, expr: &Expr, fits: Types) -> Node {
        let (node, types) = self.expr(expr);
        if types != Types::NEVER && !types.overlaps(fits.or(Types::NULL)) {
            self.report(
                Diagnostic::new(codes::OPERAND_TYPE, expr.span, format!("`...` spreads {fits} here, not {types}"))
                    .label("cannot be spread"),
            );
        }
        node
    }

    pub(super) fn object(&mut self, entries: &[Entry], span: Span) -> Typed {
        let mut seen: Vec<&str> = Vec::new();
        for entry in entries {
            if let Entry::Member { key, .. } = entry {
                if seen.contains(&key.text.as_str()) {
                    self.report(
                        Diagnostic::new(codes::DUPLICATE_KEY, key.span, format!("the key `{}` comes twice", key.text))
                            .label("second value for this key"),
                    );
                }
                seen.push(&key.text);
            }
        }
        let fixed = entries.iter().all(|entry| matches!(entry, Entry::Member { .. }));
        if fixed {
            let mut keys: Vec<Arc<str>> = Vec::with_capacity(entries.len());
            let mut values = Vec::with_capacity(entries.len());
            for entry in entries {
                if let Entry::Member { key, value } = entry {
                    keys.push(key.text.as_str().into());
                    values.push(self.expr(value).0);
                }
            }
            let op = Op::Object { shape: Arc::new(Shape::new(keys)), values: values.into() };
            return self.folded(Node { span, op }, Types::OBJECT);
        }
        let members: Box<[Member]> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Member { key, value } => Member::Known(key.text.as_str().into(), self.expr(value).0),
                Entry::Computed { key, value } => {
                    let key = self.object_key(key);
                    Member::Computed(key, self.expr(value).0)
                }
                Entry::Spread(expr) => Member::Spread(self.spread(expr, Types::OBJECT)),
            })
            .collect();
        (Node { span, op: Op::ObjectOf(members) }, Types::OBJECT)
    }
}

fn operation(op: BinaryOp, sides: (Node, Node)) -> Op {
    let compare = |op: Compare, (left, right): (Node, Node)| match right {
        Node { op: Op::Const(value), .. } => Op::CompareConst(op, Box::new((left, value))),
        right => Op::Compare(op, Box::new((left, right))),
    };
    match op {
        BinaryOp::Add => Op::Arith(Arith::Add, Box::new(sides)),
        BinaryOp::Subtract => Op::Arith(Arith::Subtract, Box::new(sides)),
        BinaryOp::Multiply => Op::Arith(Arith::Multiply, Box::new(sides)),
        BinaryOp::Divide => Op::Arith(Arith::Divide, Box::new(sides)),
        BinaryOp::Remainder => Op::Arith(Arith::Remainder, Box::new(sides)),
        BinaryOp::Default => Op::Default(Box::new(sides)),
        BinaryOp::Equal => compare(Compare::Equal, sides),
        BinaryOp::NotEqual => compare(Compare::NotEqual, sides),
        BinaryOp::Less => compare(Compare::Less, sides),
        BinaryOp::LessEqual => compare(Compare::LessEqual, sides),
        BinaryOp::Greater => compare(Compare::Greater, sides),
        BinaryOp::GreaterEqual => compare(Compare::GreaterEqual, sides),
        BinaryOp::In => Op::In { negated: false, sides: Box::new(sides) },
        BinaryOp::NotIn => Op::In { negated: true, sides: Box::new(sides) },
    }
}

fn impossible(op: BinaryOp, left: Types, right: Types, span: Span) -> Diagnostic {
    let always = if op == BinaryOp::Equal { "false" } else { "true" };
    Diagnostic::new(
        codes::IMPOSSIBLE_COMPARISON,
        span,
        format!("this comparison is always {always}: {left} against {right}"),
    )
    .label(format!("{left} is never equal to {right}"))
    .help("convert one side: `to_string(x)`, `to_int!(x)`, `parse_time!(x)`")
}

fn unordered(op: BinaryOp, left: Types, right: Types, span: Span) -> Diagnostic {
    let finding = Diagnostic::new(
        codes::IMPOSSIBLE_COMPARISON,
        span,
        format!("`{}` finds no order between {left} and {right}", op.symbol()),
    )
    .label("always fails");
    let time = |types: Types| types.overlaps(Types::TIME);
    if (time(left) && right.overlaps(Types::STRING)) || (time(right) && left.overlaps(Types::STRING)) {
        return finding.help("read the text as a time first: `parse_time!(x)`");
    }
    finding.help("numbers, strings, bools, timestamps and durations are ordered among themselves")
}

fn inoperable(op: BinaryOp, op_span: Span, left: Types, right: Types) -> Diagnostic {
    let finding =
        Diagnostic::new(codes::OPERAND_TYPE, op_span, format!("`{}` does not work on {left} and {right}", op.symbol()))
            .label(format!("{left} {} {right}", op.symbol()));
    if op == BinaryOp::Add && (left.overlaps(Types::STRING) || right.overlaps(Types::STRING)) {
        return finding.help("text is made of other values by interpolation: \"count: ${x}\"");
    }
    finding
}
