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

/// What all constants of a program may cost: they live as long as it does.
pub(super) fn budget() -> Budget {
    Budget::new(Limits { steps: 1_000_000, bytes: 4 << 20, ..Limits::default() })
}

/// A constant of the program.
pub(super) struct Known {
    pub(super) name: ast::Name,
    pub(super) value: Value<'static>,
    pub(super) types: Types,
    pub(super) used: bool,
}

impl<'a> Compiler<'a> {
    pub(super) fn constant(&mut self, constant: &ast::Constant) {
        let name = &constant.name;
        if self.is_constant(&name.text) {
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
        if let Some(scope) = self.scopes.get_mut(self.scope) {
            scope.constants.insert(name.text.clone(), self.constants.len());
        }
        self.constants.push(Known { name: name.clone(), value, types, used: name.text.starts_with('_') });
    }

    fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    fn computed(&mut self, node: Node, types: Types) -> (Value<'static>, Types) {
        let span = node.span;
        let code = Code { main: node, slots: self.frame.size(), functions: Vec::new() };
        let result = Machine::new(&code, &Input::EMPTY, &mut self.constant_budget).eval(&code.main);
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
        let index = self.own_constant(name)?;
        let known = self.constants.get_mut(index)?;
        known.used = true;
        Some((Node { span, op: Op::Const(known.value.clone()) }, known.types))
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
}
