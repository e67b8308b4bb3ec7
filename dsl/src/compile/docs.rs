//! What a program declares, with the comments above it, for tools.

use std::ops::Range;

use crate::ast::{Declarations, Expr, ExprKind, Name};

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

/// What a program declares.
pub(super) fn of_program(text: &str, tree: &Expr) -> Vec<Declaration> {
    match &tree.kind {
        ExprKind::Block(block) => declarations(text, &block.declarations),
        _ => Vec::new(),
    }
}

/// What the text of a module declares, in the order of the text, for tools; what can be read of it if it has errors.
pub fn module_declarations(text: &str) -> Vec<Declaration> {
    crate::parser::parse_module(text, 0).0.map_or_else(Vec::new, |own| declarations(text, &own))
}

fn declarations(text: &str, own: &Declarations) -> Vec<Declaration> {
    let declared = |name: &Name, params| Declaration {
        name: name.text.clone(),
        params,
        doc: above(text, name.span.range().start),
        span: name.span.range(),
    };
    let functions = own.functions.iter().map(|function| {
        let params = function.params.iter().map(|param| text.get(param.span.range()).unwrap_or_default().to_owned());
        declared(&function.name, Some(params.collect()))
    });
    let constants = own.constants.iter().map(|constant| declared(&constant.name, None));
    let mut all: Vec<_> = functions.chain(constants).collect();
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
