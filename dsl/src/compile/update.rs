//! Updating copies: `with` and `without`.

use super::{Compiler, Typed};
use crate::ast::{self, Expr, Span};
use crate::check::Types;
use crate::code::{Key, Node, Op, With, Without};
use crate::codes;
use crate::diagnostic::Diagnostic;

impl<'a> Compiler<'a> {
    pub(super) fn with(&mut self, base: &Expr, changes: &[(Vec<ast::Key>, Expr)], span: Span) -> Typed {
        let (base_node, types) = self.updated(base, "with");
        let mut seen: Vec<Vec<&str>> = Vec::new();
        for (keys, _) in changes {
            let Some(path) = written(keys) else { continue };
            if seen.contains(&path) {
                let at = Span { start: start(keys), end: end(keys) };
                self.report(
                    Diagnostic::new(codes::DUPLICATE_KEY, at, format!("`{}` is set twice", path.join(".")))
                        .label("second value for it"),
                );
            }
            seen.push(path);
        }
        let changes = changes.iter().map(|(keys, value)| (self.keys(keys), self.expr(value).0)).collect();
        let kept = if types.overlaps(Types::ARRAY) { Types::ARRAY.or(Types::OBJECT) } else { Types::OBJECT };
        (Node { span, op: Op::With(Box::new(With { base: base_node, changes })) }, kept)
    }

    pub(super) fn without(&mut self, base: &Expr, paths: &[Vec<ast::Key>], span: Span) -> Typed {
        let (base, types) = self.updated(base, "without");
        let paths = paths.iter().map(|keys| self.keys(keys)).collect();
        let fits = [Types::NULL, Types::ARRAY, Types::OBJECT];
        let kept = fits.into_iter().filter(|fit| types.overlaps(*fit)).fold(Types::NEVER, Types::or);
        (Node { span, op: Op::Without(Box::new(Without { base, paths })) }, kept)
    }

    fn updated(&mut self, base: &Expr, word: &str) -> Typed {
        let (node, types) = self.expr(base);
        if types != Types::NEVER && !types.overlaps(Types::OBJECT.or(Types::ARRAY).or(Types::NULL)) {
            self.report(
                Diagnostic::new(
                    codes::OPERAND_TYPE,
                    base.span,
                    format!("`{word}` makes a changed copy of an object or an array, not of {types}"),
                )
                .label(format!("this is {types}")),
            );
        }
        (node, types)
    }

    fn keys(&mut self, keys: &[ast::Key]) -> Box<[Key]> {
        keys.iter()
            .map(|key| match key {
                ast::Key::Name(name) => Key::Known(name.text.as_str().into()),
                ast::Key::Computed(expr) => {
                    let (node, types) = self.expr(expr);
                    if types != Types::NEVER && !types.overlaps(Types::STRING.or(Types::INT)) {
                        self.report(
                            Diagnostic::new(
                                codes::OPERAND_TYPE,
                                expr.span,
                                format!("a position or a key is never {types}"),
                            )
                            .label(format!("this is {types}")),
                        );
                    }
                    Key::Computed(node)
                }
            })
            .collect()
    }
}

/// The keys, if all of them are written out.
fn written(keys: &[ast::Key]) -> Option<Vec<&str>> {
    keys.iter().map(|key| if let ast::Key::Name(name) = key { Some(name.text.as_str()) } else { None }).collect()
}

fn start(keys: &[ast::Key]) -> u32 {
    keys.first().map_or(0, |key| span_of(key).start)
}

fn end(keys: &[ast::Key]) -> u32 {
    keys.last().map_or(0, |key| span_of(key).end)
}

fn span_of(key: &ast::Key) -> Span {
    match key {
        ast::Key::Name(name) => name.span,
        ast::Key::Computed(expr) => expr.span,
    }
}
