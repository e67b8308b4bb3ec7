//! What the grammar's actions do: build nodes, count depth, and report what the grammar lets through on purpose.

use rust_decimal::Decimal;

use super::*;
use crate::codes;
use crate::diagnostic::Diagnostic;

/// What the actions of the grammar share.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) findings: Vec<Diagnostic>,
    pub(crate) recoveries: Vec<Recovery>,
}

/// A syntax error after which the parser went on.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) at: std::ops::Range<usize>,
    pub(crate) expected: Vec<String>,
}

/// One line of a block.
#[derive(Debug)]
pub(crate) enum Item {
    Let(Pattern, Expr),
    Function(Function),
    Constant(Constant),
    Import(Import),
    Expr(Expr),
}

impl Context {
    /// Makes an expression of `kind`, one deeper than the deepest of `children`.
    pub(crate) fn expr(&mut self, l: usize, r: usize, children: u32, kind: ExprKind) -> Expr {
        let span = Span::new(l, r);
        let depth = children + 1;
        if depth > MAX_DEPTH {
            // Reported once: the chain that follows is of the same kind.
            if !self.findings.iter().any(|finding| finding.code == codes::TOO_DEEP) {
                self.findings.push(
                    Diagnostic::new(codes::TOO_DEEP, span, format!("an expression deeper than {MAX_DEPTH} levels"))
                        .label("too many operations on one another")
                        .help("name parts of the expression with `let`, or move them into a function"),
                );
            }
            return Expr { span, depth: 1, kind: ExprKind::Error };
        }
        Expr { span, depth, kind }
    }

    pub(crate) fn leaf(&mut self, l: usize, r: usize, kind: ExprKind) -> Expr {
        self.expr(l, r, 0, kind)
    }

    pub(crate) fn error(&mut self, l: usize, r: usize, found: Option<(usize, usize)>, expected: Vec<String>) -> Expr {
        let at = found.map_or(l..r.max(l), |(start, end)| start..end);
        self.recoveries.push(Recovery { at, expected });
        self.leaf(l, r, ExprKind::Error)
    }

    pub(crate) fn text(&mut self, l: usize, r: usize, parts: Vec<Part>) -> Expr {
        let depth = parts.iter().map(|part| if let Part::Value(value) = part { value.depth } else { 0 }).max();
        self.expr(l, r, depth.unwrap_or(0), ExprKind::Text(parts))
    }

    pub(crate) fn array(&mut self, l: usize, r: usize, elements: Vec<Element>) -> Expr {
        let depth = elements.iter().map(|(Element::Item(e) | Element::Spread(e))| e.depth).max();
        self.expr(l, r, depth.unwrap_or(0), ExprKind::Array(elements))
    }

    pub(crate) fn object(&mut self, l: usize, r: usize, entries: Vec<Entry>) -> Expr {
        let depth = entries.iter().map(|entry| match entry {
            Entry::Member { value, .. } | Entry::Spread(value) => value.depth,
            Entry::Computed { key, value } => key.depth.max(value.depth),
        });
        let depth = depth.max().unwrap_or(0);
        self.expr(l, r, depth, ExprKind::Object(entries))
    }

    /// A member whose key is a string literal: known unless it interpolates.
    pub(crate) fn text_member(&mut self, key: Expr, value: Expr) -> Entry {
        let text = match &key.kind {
            ExprKind::Text(parts) => match parts.as_slice() {
                [] => Some(String::new()),
                [Part::Text(text)] => Some(text.clone()),
                _ => None,
            },
            _ => None,
        };
        match text {
            Some(text) => Entry::Member { key: Name { text, span: key.span }, value },
            None => Entry::Computed { key, value },
        }
    }

    pub(crate) fn field(&mut self, l: usize, r: usize, base: Expr, name: Name, safe: bool) -> Expr {
        let depth = base.depth;
        self.expr(l, r, depth, ExprKind::Field { base: Box::new(base), name, safe })
    }

    pub(crate) fn index(&mut self, l: usize, r: usize, base: Expr, index: Expr, safe: bool) -> Expr {
        let depth = base.depth.max(index.depth);
        self.expr(l, r, depth, ExprKind::Index { base: Box::new(base), index: Box::new(index), safe })
    }

    pub(crate) fn unary(&mut self, l: usize, r: usize, op: UnaryOp, operand: Expr) -> Expr {
        let depth = operand.depth;
        // The smallest integer has a sign, and without it is no integer.
        let smallest = |dec: &Decimal| op == UnaryOp::Negate && *dec == -Decimal::from(i64::MIN) && dec.scale() == 0;
        if matches!(&operand.kind, ExprKind::Dec(dec) if smallest(dec)) {
            return self.expr(l, r, depth, ExprKind::Int(i64::MIN));
        }
        self.expr(l, r, depth, ExprKind::Unary { op, operand: Box::new(operand) })
    }

    pub(crate) fn binary(&mut self, left: Expr, op: (usize, BinaryOp, usize), right: Expr) -> Expr {
        let depth = left.depth.max(right.depth);
        let (l, r) = (left.span.start as usize, right.span.end as usize);
        let (op_start, op, op_end) = op;
        let op_span = Span::new(op_start, op_end);
        self.expr(l, r, depth, ExprKind::Binary { op, op_span, left: Box::new(left), right: Box::new(right) })
    }

    pub(crate) fn logic(&mut self, left: Expr, all: bool, right: Expr) -> Expr {
        let (l, r) = (left.span.start as usize, right.span.end as usize);
        let depth = left.depth.max(right.depth + 1);
        match left.kind {
            // A chain is one node, however long it is.
            ExprKind::Logic { all: same, mut operands } if same == all => {
                operands.push(right);
                self.expr(l, r, depth - 1, ExprKind::Logic { all, operands })
            }
            kind => {
                let left = Expr { kind, ..left };
                self.expr(l, r, depth, ExprKind::Logic { all, operands: vec![left, right] })
            }
        }
    }

    pub(crate) fn condition(&mut self, l: usize, r: usize, test: Expr, then: Expr, otherwise: Option<Expr>) -> Expr {
        let depth = test.depth.max(then.depth);
        let mut arms = vec![(test, then)];
        let (depth, otherwise) = match otherwise {
            // `else if` continues the chain of the same node.
            Some(Expr { kind: ExprKind::If { arms: more, otherwise }, depth: below, .. }) => {
                arms.extend(more);
                (depth.max(below - 1), otherwise)
            }
            Some(other) => (depth.max(other.depth), Some(Box::new(other))),
            None => (depth, None),
        };
        self.expr(l, r, depth, ExprKind::If { arms, otherwise })
    }

    pub(crate) fn lambda(&mut self, l: usize, r: usize, params: Vec<Pattern>, body: Expr) -> Expr {
        let (params, body) = self.params(params, body);
        let depth = body.depth;
        self.expr(l, r, depth, ExprKind::Lambda { params, body: Box::new(body) })
    }

    pub(crate) fn call(&mut self, l: usize, r: usize, name: Name, fails: bool, args: Vec<Expr>) -> Expr {
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0);
        self.expr(l, r, depth, ExprKind::Call { name, args, piped: false, fails })
    }

    pub(crate) fn pipe(&mut self, value: Expr, name: Name, fails: bool, rest: Option<Vec<Expr>>, r: usize) -> Expr {
        let l = value.span.start as usize;
        let mut args = vec![value];
        args.extend(rest.unwrap_or_default());
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0);
        self.expr(l, r, depth, ExprKind::Call { name, args, piped: true, fails })
    }

    pub(crate) fn fail(&mut self, l: usize, r: usize, reason: Expr) -> Expr {
        let depth = reason.depth;
        self.expr(l, r, depth, ExprKind::Fail(Box::new(reason)))
    }

    /// The lines between braces, or of a whole program.
    pub(crate) fn block(&mut self, l: usize, r: usize, items: Vec<Item>) -> Expr {
        let (mut lines, mut declarations) = (Vec::new(), Declarations::default());
        let mut result: Option<Expr> = None;
        for item in items {
            // What stands before the last line is there for what it does; the compiler reports what does nothing.
            lines.extend(result.take().map(Line::Do));
            match item {
                Item::Let(pattern, value) => lines.push(Line::Let { pattern, value }),
                Item::Function(function) => declarations.functions.push(function),
                Item::Constant(constant) => declarations.constants.push(constant),
                Item::Import(import) => declarations.imports.push(import),
                Item::Expr(expr) => result = Some(expr),
            }
        }
        let result = result.unwrap_or_else(|| {
            if self.recoveries.is_empty() {
                self.findings.push(
                    Diagnostic::new(codes::NO_RESULT, r.saturating_sub(1).max(l)..r, "there is no result")
                        .label("expected an expression before this end")
                        .help("the last line of a program, a block or a function is its value"),
                );
            }
            self.leaf(r, r, ExprKind::Error)
        });
        if lines.is_empty() && declarations.is_empty() {
            return result;
        }
        let below = lines.iter().map(|(Line::Let { value, .. } | Line::Do(value))| value.depth);
        let below = below.chain([result.depth]).fold(0, u32::max);
        let below = declarations.functions.iter().map(|function| function.body.depth).fold(below, u32::max);
        let below = declarations.constants.iter().map(|constant| constant.value.depth).fold(below, u32::max);
        self.expr(l, r, below, ExprKind::Block(Box::new(Block { lines, declarations, result })))
    }

    /// The lines of a module, which only declares.
    pub(crate) fn module(&mut self, items: Vec<Item>) -> Declarations {
        let mut declarations = Declarations::default();
        for item in items {
            let span = match item {
                Item::Function(function) => {
                    declarations.functions.push(function);
                    continue;
                }
                Item::Constant(constant) => {
                    declarations.constants.push(constant);
                    continue;
                }
                Item::Import(import) => {
                    declarations.imports.push(import);
                    continue;
                }
                Item::Expr(Expr { kind: ExprKind::Error, .. }) => continue,
                Item::Let(pattern, _) => pattern.span,
                Item::Expr(expr) => expr.span,
            };
            self.findings.push(
                Diagnostic::new(codes::NOT_IN_MODULE, span, "a module has no values of its own")
                    .label("neither `fn`, `const` nor `import`")
                    .help("a module declares functions and constants; what is computed once is a `const`"),
            );
        }
        declarations
    }

    pub(crate) fn import(&mut self, names: Vec<(Name, Name)>, from: Name, path: Expr) -> Item {
        self.expect_word(&from, "from");
        let span = path.span;
        let path = self.text_key(path);
        let path = if let Key::Name(path) = path { Some(path) } else { None };
        if path.is_none() {
            self.findings.push(
                Diagnostic::new(codes::NO_MODULE, span, "the path of a module holds no `${…}`")
                    .label("not known before the program runs"),
            );
        }
        Item::Import(Import { names, path })
    }

    /// Words that mean something in an `import` only, and are names elsewhere.
    pub(crate) fn expect_word(&mut self, word: &Name, expected: &str) {
        if word.text != expected {
            self.findings.push(
                Diagnostic::new(codes::UNEXPECTED, word.span, format!("unexpected `{}`", word.text))
                    .label(format!("expected `{expected}`"))
                    .help("`import { name, name as other } from \"lib/file.hexa\"`")
                    .replace(word.span, expected),
            );
        }
    }
}
