//! Patterns of `match`, `let`, parameters and comprehensions.

use super::{Context, Expr, ExprKind, Name, Part, Span};
use crate::codes;
use crate::diagnostic::Diagnostic;

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) span: Span,
    pub(crate) kind: PatternKind,
}

#[derive(Clone, Debug)]
pub(crate) enum PatternKind {
    /// `_`
    Any,
    Bind(Name),
    /// A value that is written out; only `match` has them.
    Literal(Expr),
    /// `string s`
    Type {
        name: Name,
        bind: Option<Name>,
    },
    Array {
        before: Vec<Pattern>,
        rest: Option<Rest>,
        after: Vec<Pattern>,
    },
    Object {
        members: Vec<(Name, Pattern)>,
        rest: Option<Rest>,
    },
    Or(Vec<Pattern>),
}

/// `...rest`, or `...` alone.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub(crate) name: Option<Name>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ArrayPart {
    Item(Pattern),
    Rest(Rest),
}

#[derive(Clone, Debug)]
pub(crate) enum ObjectPart {
    Member(Name, Pattern),
    Rest(Rest),
}

impl Pattern {
    fn new(l: usize, r: usize, kind: PatternKind) -> Self {
        Self { span: Span::new(l, r), kind }
    }

    /// A name, or `_`.
    pub(crate) fn name(name: Name) -> Self {
        let span = name.span;
        let kind = if name.text == "_" { PatternKind::Any } else { PatternKind::Bind(name) };
        Self { span, kind }
    }
}

impl Rest {
    pub(crate) fn new(l: usize, r: usize, name: Option<Name>) -> Self {
        Self { name: name.filter(|name| name.text != "_"), span: Span::new(l, r) }
    }
}

impl Context {
    pub(crate) fn alternatives(&mut self, l: usize, r: usize, first: Pattern, rest: Vec<Pattern>) -> Pattern {
        if rest.is_empty() {
            return first;
        }
        let mut all = vec![first];
        all.extend(rest);
        Pattern::new(l, r, PatternKind::Or(all))
    }

    pub(crate) fn literal_pattern(&mut self, value: Expr) -> Pattern {
        if let ExprKind::Text(parts) = &value.kind
            && parts.iter().any(|part| matches!(part, Part::Value(_)))
        {
            self.findings.push(
                Diagnostic::new(codes::WRONG_PATTERN, value.span, "a pattern holds no `${…}`")
                    .label("not known before the program runs")
                    .help("bind a name and compare it in a guard: `x if x == \"…\" => …`"),
            );
        }
        Pattern { span: value.span, kind: PatternKind::Literal(value) }
    }

    pub(crate) fn type_pattern(&mut self, l: usize, r: usize, name: Name, bind: Name) -> Pattern {
        let bind = Some(bind).filter(|bind| bind.text != "_");
        Pattern::new(l, r, PatternKind::Type { name, bind })
    }

    pub(crate) fn array_pattern(&mut self, l: usize, r: usize, parts: Vec<ArrayPart>) -> Pattern {
        let (mut before, mut rest, mut after) = (Vec::new(), None, Vec::new());
        for part in parts {
            match part {
                ArrayPart::Item(pattern) if rest.is_none() => before.push(pattern),
                ArrayPart::Item(pattern) => after.push(pattern),
                ArrayPart::Rest(second) if rest.is_some() => self.second_rest(second.span),
                ArrayPart::Rest(only) => rest = Some(only),
            }
        }
        Pattern::new(l, r, PatternKind::Array { before, rest, after })
    }

    pub(crate) fn object_pattern(&mut self, l: usize, r: usize, parts: Vec<ObjectPart>) -> Pattern {
        let (mut members, mut rest): (Vec<(Name, Pattern)>, Option<Rest>) = (Vec::new(), None);
        for part in parts {
            match part {
                ObjectPart::Member(key, pattern) => {
                    if members.iter().any(|(other, _)| other.text == key.text) {
                        self.findings.push(
                            Diagnostic::new(
                                codes::DUPLICATE_KEY,
                                key.span,
                                format!("the key `{}` comes twice", key.text),
                            )
                            .label("second pattern for this key"),
                        );
                    }
                    members.push((key, pattern));
                }
                ObjectPart::Rest(second) if rest.is_some() => self.second_rest(second.span),
                ObjectPart::Rest(only) => rest = Some(only),
            }
        }
        Pattern::new(l, r, PatternKind::Object { members, rest })
    }

    /// A member whose key is a string.
    pub(crate) fn pattern_key(&mut self, key: Expr) -> Name {
        let span = key.span;
        let text = match &key.kind {
            ExprKind::Text(parts) => match parts.as_slice() {
                [] => String::new(),
                [Part::Text(text)] => text.clone(),
                _ => {
                    self.literal_pattern(key);
                    String::new()
                }
            },
            _ => String::new(),
        };
        Name { text, span }
    }

    fn second_rest(&mut self, span: Span) {
        self.findings.push(
            Diagnostic::new(codes::WRONG_PATTERN, span, "a pattern has one `...`")
                .label("second one")
                .help("nothing says which of them takes what"),
        );
    }
}
