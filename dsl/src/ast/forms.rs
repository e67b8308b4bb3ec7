//! Nodes of `match`, comprehensions, updates, `emit`, `try`, and parameters that are patterns.

use super::*;
use crate::codes;
use crate::diagnostic::Diagnostic;

fn deepest<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> u32 {
    exprs.into_iter().map(|expr| expr.depth).max().unwrap_or(0)
}

fn keys_depth(keys: &[Key]) -> u32 {
    let computed = keys.iter().filter_map(|key| if let Key::Computed(expr) = key { Some(expr) } else { None });
    // Updates walk down the keys.
    deepest(computed).saturating_add(keys.len() as u32)
}

impl Context {
    pub(crate) fn matching(&mut self, l: usize, r: usize, subject: Expr, arms: Vec<Arm>) -> Expr {
        let below = deepest(arms.iter().flat_map(|arm| arm.guard.iter().chain([&arm.body])).chain([&subject]));
        if arms.is_empty() {
            self.findings.push(
                Diagnostic::new(codes::NO_RESULT, l..r, "this `match` has no arm")
                    .label("expected `pattern => value`")
                    .help("an arm is `pattern => value`; `_ => value` takes everything"),
            );
        }
        self.expr(l, r, below, ExprKind::Match { subject: Box::new(subject), arms })
    }

    pub(crate) fn each(&mut self, l: usize, r: usize, yields: Yield, clauses: Vec<Clause>) -> Expr {
        let inner = match &yields {
            Yield::Element(Element::Item(e) | Element::Spread(e)) => e.depth,
            Yield::Entry(Entry::Member { value, .. } | Entry::Spread(value)) => value.depth,
            Yield::Entry(Entry::Computed { key, value }) => key.depth.max(value.depth),
        };
        let parts = clauses.iter().map(|(Clause::For { items: expr, .. } | Clause::If(expr))| expr);
        // Each clause is a level: the evaluator nests them.
        let below = deepest(parts).max(inner).saturating_add(clauses.len() as u32);
        if let Yield::Entry(Entry::Member { key, .. }) = &yields {
            self.findings.push(
                Diagnostic::new(
                    codes::DUPLICATE_KEY,
                    key.span,
                    format!("every round gives the same key `{}`", key.text),
                )
                .label("a key that is written out")
                .help("a key that is computed stands in brackets, or is a string with `${…}`")
                .replace(key.span, format!("[{}]", key.text)),
            );
        }
        self.expr(l, r, below, ExprKind::Each { yields: Box::new(yields), clauses })
    }

    /// `[key]: value`: what is between the brackets was read as the elements of an array.
    pub(crate) fn bracket_key(&mut self, l: usize, r: usize, mut elements: Vec<Element>) -> Expr {
        if let (1, Some(Element::Item(key))) = (elements.len(), elements.pop()) {
            return key;
        }
        self.findings.push(
            Diagnostic::new(codes::UNEXPECTED, l..r, "a computed key is one expression")
                .label("expected one expression between the brackets"),
        );
        self.leaf(l, r, ExprKind::Error)
    }

    pub(crate) fn with(&mut self, r: usize, base: Expr, changes: Vec<(Vec<Key>, Expr)>) -> Expr {
        let l = base.span.start as usize;
        let keys = changes.iter().map(|(keys, _)| keys_depth(keys)).max().unwrap_or(0);
        let below = deepest(changes.iter().map(|(_, value)| value).chain([&base])).max(keys);
        self.expr(l, r, below, ExprKind::With { base: Box::new(base), changes })
    }

    pub(crate) fn without(&mut self, r: usize, base: Expr, paths: Vec<Vec<Key>>) -> Expr {
        let l = base.span.start as usize;
        let keys = paths.iter().map(|keys| keys_depth(keys)).max().unwrap_or(0);
        let below = base.depth.max(keys);
        self.expr(l, r, below, ExprKind::Without { base: Box::new(base), paths })
    }

    /// A key that is a string: known unless it interpolates.
    pub(crate) fn text_key(&mut self, key: Expr) -> Key {
        match self.text_member(key, Expr { span: Span::default(), depth: 1, kind: ExprKind::Null }) {
            Entry::Member { key, .. } => Key::Name(key),
            Entry::Computed { key, .. } | Entry::Spread(key) => Key::Computed(key),
        }
    }

    pub(crate) fn emit(&mut self, l: usize, r: usize, topic: Expr, value: Expr, key: Option<Expr>) -> Expr {
        let below = deepest([&topic, &value].into_iter().chain(&key));
        let kind = ExprKind::Emit { topic: Box::new(topic), value: Box::new(value), key: key.map(Box::new) };
        self.expr(l, r, below, kind)
    }

    pub(crate) fn attempt(&mut self, l: usize, r: usize, body: Expr, error: Option<Name>, otherwise: Expr) -> Expr {
        let below = deepest([&body, &otherwise]);
        let kind = ExprKind::Try { body: Box::new(body), error, otherwise: Box::new(otherwise) };
        self.expr(l, r, below, kind)
    }

    /// Parameters that are patterns become names that no program can write, and `let`s that take them apart.
    pub(crate) fn params(&mut self, patterns: Vec<Pattern>, body: Expr) -> (Vec<Name>, Expr) {
        let mut names = Vec::with_capacity(patterns.len());
        let mut lines = Vec::new();
        for (at, pattern) in patterns.into_iter().enumerate() {
            let span = pattern.span;
            match pattern.kind {
                PatternKind::Bind(name) => names.push(name),
                PatternKind::Any => names.push(Name { text: "_".to_owned(), span }),
                _ => {
                    let text = format!("parameter {at}");
                    let value = self.leaf(span.start as usize, span.end as usize, ExprKind::Name(text.clone()));
                    names.push(Name { text, span });
                    lines.push(Line::Let { pattern, value });
                }
            }
        }
        if lines.is_empty() {
            return (names, body);
        }
        let (l, r, below) = (body.span.start as usize, body.span.end as usize, body.depth.max(1));
        let block = Block { lines, declarations: Declarations::default(), result: body };
        (names, self.expr(l, r, below, ExprKind::Block(Box::new(block))))
    }
}
