//! What a program declares, with the comments above it, for tools.

use std::ops::Range;

use crate::ast::{Block, Expr, ExprKind, Name};

/// A function or a constant that a program declares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// The parameters of a function, as they are written; nothing for a constant.
    pub params: Option<Vec<String>>,
    /// The lines of `##` or `///` directly above it, without their marks.
    pub doc: String,
    /// Where the name stands, in bytes of the program's text.
    pub span: Range<usize>,
}

pub(super) fn declarations(text: &str, base: usize, tree: &Expr) -> Vec<Declaration> {
    let ExprKind::Block(block) = &tree.kind else { return Vec::new() };
    let Block { functions, constants, .. } = &**block;
    let place = |name: &Name| name.span.start as usize - base..name.span.end as usize - base;
    let declared = |name: &Name, params| Declaration {
        name: name.text.clone(),
        params,
        doc: above(text, place(name).start),
        span: place(name),
    };
    let functions = functions.iter().map(|function| {
        let params = function.params.iter().map(|param| text.get(place(param)).unwrap_or_default().to_owned());
        declared(&function.name, Some(params.collect()))
    });
    let mut all: Vec<_> = functions.chain(constants.iter().map(|constant| declared(&constant.name, None))).collect();
    all.sort_by_key(|declaration| declaration.span.start);
    all
}

/// The comment directly above the line of a place.
fn above(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let mut lines: Vec<&str> = before
        .rsplit('\n')
        .skip(1)
        .map_while(|line| {
            let line = line.trim();
            line.strip_prefix("##").or_else(|| line.strip_prefix("///"))
        })
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.reverse();
    lines.join("\n")
}
