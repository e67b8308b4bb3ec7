//! What tests say about the types of names and of paths below names and events: `is_string(x)`, `x != null`, `type_of(x) == "string"`, and what `and`, `or`
//! and `not` make of them. In the branches of an `if` and in the operands behind, the names have these types.

use super::Compiler;
use crate::ast::{BinaryOp, Expr, ExprKind, Part, UnaryOp};
use crate::check::Types;

/// What a fact is about. Nothing of it ever changes: names are bound once, and an event is what it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name, by its slot.
    Slot(u16),
    /// Constant steps below a name or the event.
    Path(String),
}

/// A place, and the types that it has where the fact holds.
type Fact = (Place, Types);

/// What holds where a test is true, and where it is not.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) yes: Vec<Fact>,
    pub(super) no: Vec<Fact>,
}

impl Facts {
    fn about(place: Place, yes: Types, no: Types) -> Self {
        Self { yes: vec![(place.clone(), yes)], no: vec![(place, no)] }
    }
}

impl<'a> Compiler<'a> {
    /// What a test says about names.
    pub(super) fn facts(&self, test: &Expr) -> Facts {
        match &test.kind {
            // False and null are no truth.
            ExprKind::Name(_) | ExprKind::Field { .. } | ExprKind::Index { .. } => self
                .place_of(test)
                .map_or_else(Facts::default, |place| Facts::about(place, Types::BOOL, Types::BOOL.or(Types::NULL))),
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
                        .place_of(arg)
                        .map_or_else(Facts::default, |place| Facts::about(place, types, Types::ANY.without(types))),
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
            let place = self.place_of(arg).filter(|_| types != Types::NEVER && text != "any" && text != "number")?;
            return Some(Facts::about(place, types, Types::ANY.without(types)));
        }
        let place = self.place_of(left)?;
        let (types, whole) = match &right.kind {
            ExprKind::Null => (Types::NULL, true),
            ExprKind::Bool(_) => (Types::BOOL, false),
            ExprKind::Int(_) | ExprKind::Dec(_) => (Types::NUMBER, false),
            ExprKind::Duration(_) => (Types::DURATION, false),
            ExprKind::Text(_) => (Types::STRING, false),
            _ => return None,
        };
        Some(Facts::about(place, types, if whole { Types::ANY.without(types) } else { Types::ANY }))
    }

    fn place_of(&self, expr: &Expr) -> Option<Place> {
        match &expr.kind {
            ExprKind::Name(name) => self.frame.slot(name).map(Place::Slot),
            _ => self.path_of(expr).map(Place::Path),
        }
    }

    /// The path of constant steps that an expression is, as a key. However it is written, a place has one key.
    pub(super) fn path_of(&self, expr: &Expr) -> Option<String> {
        let (base, step) = match &expr.kind {
            ExprKind::Name(name) => {
                return match self.frame.slot(name) {
                    Some(slot) => Some(format!("{slot}")),
                    None => (name == "event" && !self.is_constant(name)).then(|| name.clone()),
                };
            }
            ExprKind::Field { base, name, .. } => (base, format!(".{:?}", name.text)),
            ExprKind::Index { base, index, .. } => match &index.kind {
                ExprKind::Int(at) => (base, format!("[{at}]")),
                ExprKind::Text(parts) => match parts.as_slice() {
                    [Part::Text(text)] => (base, format!(".{text:?}")),
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        let mut path = self.path_of(base)?;
        path.push_str(&step);
        Some(path)
    }

    /// What tests have said about a path; any type if nothing was.
    pub(super) fn narrowed_path(&self, expr: &Expr) -> Types {
        if self.paths.is_empty() {
            return Types::ANY;
        }
        let Some(path) = self.path_of(expr) else { return Types::ANY };
        self.paths.iter().filter(|(known, _)| *known == path).fold(Types::ANY, |types, (_, own)| types.and(*own))
    }

    /// Lets facts hold, and tells what is to be put back with [`Compiler::restore`]. A place of which nothing is left has
    /// no type at all there: nothing is reported about it, since that part never runs.
    pub(super) fn assume(&mut self, facts: &[Fact]) -> Vec<Fact> {
        facts
            .iter()
            .map(|(place, types)| {
                let before = match place {
                    Place::Slot(slot) => self.frame.narrow(*slot, *types),
                    Place::Path(path) => {
                        self.paths.push((path.clone(), *types));
                        Types::ANY
                    }
                };
                (place.clone(), before)
            })
            .collect()
    }

    /// What was assumed last is restored first.
    pub(super) fn restore(&mut self, before: Vec<Fact>) {
        for (place, types) in before.into_iter().rev() {
            match place {
                Place::Slot(slot) => {
                    self.frame.set_types(slot, types);
                }
                Place::Path(path) => {
                    if let Some(at) = self.paths.iter().rposition(|(known, _)| *known == path) {
                        self.paths.remove(at);
                    }
                }
            }
        }
    }
}
