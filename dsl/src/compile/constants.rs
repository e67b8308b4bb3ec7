//! Constants: computed when the program is checked.

use super::{Compiler, Typed};
use crate::ast::{self, Span};
use crate::budget::{Budget, Limits};
use crate::check::Types;
use crate::code::{Code, Node, Op};
use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::eval::Machine;
use crate::fault::Fault;
use crate::input::Input;
use crate::value::Value;

use super::names::Frame;

/// What a constant may cost: it lives as long as its program.
const LIMITS: Limits = Limits { steps: 100_000, bytes: 256 * 1024, depth: 64 };

/// A constant of the program.
pub(super) struct Known {
    pub(super) name: ast::Name,
    pub(super) value: Value<'static>,
    pub(super) types: Types,
    pub(super) used: bool,
}

impl Compiler {
    pub(super) fn constant(&mut self, constant: &ast::Constant) {
        let name = &constant.name;
        if self.constants.iter().any(|other| other.name.text == name.text) {
            self.report(
                Diagnostic::new(codes::DEFINED_TWICE, name.span, format!("`{}` is defined twice", name.text))
                    .label("second definition"),
            );
        }
        let errors = self.errors();
        self.in_constant = true;
        self.frame = Frame::default();
        let (node, types) = self.expr(&constant.value);
        self.in_constant = false;
        let (value, types) =
            if self.errors() > errors { (Value::Null, Types::ANY) } else { self.computed(node, types) };
        self.constants.push(Known { name: name.clone(), value, types, used: name.text.starts_with('_') });
    }

    fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    fn computed(&mut self, node: Node, types: Types) -> (Value<'static>, Types) {
        let span = node.span;
        let code = Code { main: node, slots: self.frame.size(), functions: Vec::new() };
        let mut budget = Budget::new(LIMITS);
        let result = Machine::new(&code, &Input::EMPTY, &mut budget).eval(&code.main);
        match result {
            Ok(value) => {
                let types = Types::of(&value);
                (value, types)
            }
            Err(Fault::Error(failure)) => {
                let at = failure.span.unwrap_or(span);
                self.report(
                    Diagnostic::new(codes::CONSTANT_FAILS, at, failure.message)
                        .label("always fails")
                        .help("a constant is computed when the program is checked"),
                );
                (Value::Null, types)
            }
            Err(Fault::Drop) => (Value::Null, types),
        }
    }

    /// The constant of a name, where no nearer binding hides it.
    pub(super) fn known(&mut self, name: &str, span: Span) -> Option<Typed> {
        let known = self.constants.iter_mut().find(|known| known.name.text == name)?;
        known.used = true;
        Some((Node { span, op: Op::Const(known.value.clone()) }, known.types))
    }

    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.iter().any(|known| known.name.text == name)
    }

    /// Reports what a constant may not use.
    pub(super) fn not_in_constant(&mut self, span: Span, what: &str) {
        if self.in_constant {
            self.report(
                Diagnostic::new(codes::NOT_CONSTANT, span, format!("a constant does not depend on {what}"))
                    .label("not known when the program is checked")
                    .help("bind it with `let` where it is used, or write a function"),
            );
        }
    }

    pub(super) fn unused_constants(&mut self) {
        for known in &self.constants {
            if !known.used {
                self.findings.push(
                    Diagnostic::warning(
                        codes::UNUSED_BINDING,
                        known.name.span,
                        format!("`{}` is never used", known.name.text),
                    )
                    .label("defined here")
                    .help(format!("remove it, or name it `_{}`", known.name.text)),
                );
            }
        }
    }
}
