//! What tests say about the types of names: `is_string(x)`, `x != null`, `type_of(x) == "string"`, and what `and`, `or`
//! and `not` make of them. In the branches of an `if` and in the operands behind, the names have these types.

use super::Compiler;
use crate::ast::{BinaryOp, Expr, ExprKind, Part, UnaryOp};
use crate::check::Types;

/// A name, by its slot, and the types that it has where the fact holds.
type Fact = (u16, Types);

/// What holds where a test is true, and where it is not.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) yes: Vec<Fact>,
    pub(super) no: Vec<Fact>,
}

impl Facts {
    fn about(slot: u16, yes: Types, no: Types) -> Self {
        Self { yes: vec![(slot, yes)], no: vec![(slot, no)] }
    }
}

impl<'a> Compiler<'a> {
    /// What a test says about names.
    pub(super) fn facts(&self, test: &Expr) -> Facts {
        match &test.kind {
            // False and null are no truth.
            ExprKind::Name(_) => self
                .slot_of(test)
                .map_or_else(Facts::default, |slot| Facts::about(slot, Types::BOOL, Types::BOOL.or(Types::NULL))),
            ExprKind::Unary { op: UnaryOp::Not, operand } => {
                let Facts { yes, no } = self.facts(operand);
                Facts { yes: no, no: yes }
            }
            ExprKind::Logic { all, operands } => {
                let mut both = Facts::default();
                for operand in operands {
                    let Facts { yes, no } = self.facts(operand);
                    both.yes.extend(yes);
                    both.no.extend(no);
                }
                // That not all hold does not say which; that none holds says it of each.
                if *all {
                    both.no.clear();
                } else {
                    both.yes.clear();
                }
                both
            }
            ExprKind::Call { name, args, .. } if !self.has_function(&name.text) => {
                let tested = name.text.strip_prefix("is_").map(Types::parse).filter(|types| *types != Types::NEVER);
                match (tested, args.as_slice()) {
                    (Some(types), [arg]) => self
                        .slot_of(arg)
                        .map_or_else(Facts::default, |slot| Facts::about(slot, types, Types::ANY.without(types))),
                    _ => Facts::default(),
                }
            }
            ExprKind::Binary { op: op @ (BinaryOp::Equal | BinaryOp::NotEqual), left, right, .. } => {
                let Some(Facts { yes, no }) = self.equality(left, right).or_else(|| self.equality(right, left)) else {
                    return Facts::default();
                };
                if *op == BinaryOp::Equal { Facts { yes, no } } else { Facts { yes: no, no: yes } }
            }
            _ => Facts::default(),
        }
    }

    /// `x == null`, `x == 5`, `type_of(x) == "string"`.
    fn equality(&self, left: &Expr, right: &Expr) -> Option<Facts> {
        if let (ExprKind::Call { name, args, .. }, ExprKind::Text(parts)) = (&left.kind, &right.kind)
            && let ("type_of", [arg], [Part::Text(text)]) = (name.text.as_str(), args.as_slice(), parts.as_slice())
            && !self.has_function("type_of")
        {
            let types = Types::parse(text);
            let slot = self.slot_of(arg).filter(|_| types != Types::NEVER && text != "any" && text != "number")?;
            return Some(Facts::about(slot, types, Types::ANY.without(types)));
        }
        let slot = self.slot_of(left)?;
        let (types, whole) = match &right.kind {
            ExprKind::Null => (Types::NULL, true),
            ExprKind::Bool(_) => (Types::BOOL, false),
            ExprKind::Int(_) | ExprKind::Dec(_) => (Types::NUMBER, false),
            ExprKind::Duration(_) => (Types::DURATION, false),
            ExprKind::Text(_) => (Types::STRING, false),
            _ => return None,
        };
        Some(Facts::about(slot, types, if whole { Types::ANY.without(types) } else { Types::ANY }))
    }

    fn slot_of(&self, expr: &Expr) -> Option<u16> {
        match &expr.kind {
            ExprKind::Name(name) => self.frame.slot(name),
            _ => None,
        }
    }

    /// Lets facts hold, and tells what is to be put back with [`Compiler::restore`]. A name of which nothing is left has
    /// no type at all there: nothing is reported about it, since that part never runs.
    pub(super) fn assume(&mut self, facts: &[Fact]) -> Vec<Fact> {
        facts.iter().map(|(slot, types)| (*slot, self.frame.narrow(*slot, *types))).collect()
    }

    pub(super) fn restore(&mut self, before: Vec<Fact>) {
        for (slot, types) in before.into_iter().rev() {
            self.frame.set_types(slot, types);
        }
    }
}
