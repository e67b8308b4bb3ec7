//! What is known about the inside of values: the shape of `event.data`, followed along paths, names and elements.

use rust_decimal::Decimal;

use super::{Compiler, destructure::Known};
use crate::ast::{BinaryOp, Element, Expr, ExprKind, Part, Span, UnaryOp};
use crate::check::{Shape, Types};
use crate::code::{Step, StepKind};
use crate::codes;
use crate::diagnostic::{Diagnostic, listed};

/// Built-ins that give some of the elements of their first argument, or one of them.
const SOME: [&str; 7] = ["filter", "sort", "sort_by", "unique", "reverse", "slice", "compact"];
const ONE: [&str; 3] = ["first", "last", "find"];

impl<'a> Compiler<'a> {
    /// The shape of a value, as far as it comes from `event.data`.
    pub(super) fn shape_of(&self, expr: &Expr) -> Option<&'a Shape> {
        match &expr.kind {
            ExprKind::Name(name) => self.frame.shape(name),
            ExprKind::Field { base, name, .. } => match &base.kind {
                ExprKind::Name(root) if root == "event" && self.frame.slot(root).is_none() => {
                    self.data.filter(|_| name.text == "data")
                }
                _ => self.shape_of(base)?.field(&name.text).map(|field| &field.shape),
            },
            ExprKind::Index { base, index, .. } => {
                let shape = self.shape_of(base)?;
                match &index.kind {
                    ExprKind::Text(parts) => match parts.as_slice() {
                        [Part::Text(key)] => shape.field(key).map(|field| &field.shape),
                        _ => None,
                    },
                    // Whatever position it is.
                    _ => shape.items.as_deref().filter(|_| shape.fields.is_empty()),
                }
            }
            ExprKind::Binary { op: BinaryOp::Default, left, right, .. } => {
                let shape = self.shape_of(left)?;
                let stays = match &right.kind {
                    ExprKind::Null | ExprKind::Fail(_) | ExprKind::Drop => true,
                    ExprKind::Array(elements) => elements.is_empty(),
                    // It lacks what the schema says is always there.
                    ExprKind::Object(entries) => {
                        entries.is_empty() && shape.fields.values().all(|field| !field.required)
                    }
                    _ => false,
                };
                Some(shape).filter(|_| stays)
            }
            ExprKind::Array(elements) => match elements.as_slice() {
                [Element::Spread(all)] => self.shape_of(all),
                _ => None,
            },
            ExprKind::Call { name, args, .. } if !self.has_function(&name.text) => {
                let shape = self.shape_of(args.first()?)?;
                if SOME.contains(&name.text.as_str()) {
                    // Some of these take strings too, of which they give parts.
                    return Some(shape).filter(|shape| !shape.types.overlaps(Types::STRING));
                }
                shape.items.as_deref().filter(|_| ONE.contains(&name.text.as_str()))
            }
            _ => None,
        }
    }

    /// What is known about the elements of an array.
    pub(super) fn element_of(&self, items: &Expr) -> Known<'a> {
        match self.shape_of(items).and_then(|shape| shape.items.as_deref()) {
            Some(element) => (element.types, Some(element)),
            None => (Types::ANY, None),
        }
    }

    /// Follows the steps of a path from a value that has these types, and this inside where it is there; reports fields
    /// that are not there. Tells the types at its end.
    pub(super) fn walk_shape(&mut self, root: Known<'a>, steps: &[Step], places: &[Span]) -> Known<'a> {
        let (types, Some(mut at)) = root else { return (Types::ANY, None) };
        // Below something that may be missing, everything may be.
        let mut missing = types.overlaps(Types::NULL);
        for (step, place) in steps.iter().zip(places) {
            let fits = match step.kind {
                StepKind::Key { .. } => Types::OBJECT,
                StepKind::Index(_) => Types::ARRAY,
            };
            if !at.types.overlaps(fits) {
                if !step.safe && at.types != Types::NEVER && !at.types.overlaps(Types::NULL) {
                    self.no_fields(step.span, at.types);
                }
                return (Types::ANY, None);
            }
            missing |= at.types.overlaps(Types::NULL) || step.safe;
            let next = match &step.kind {
                StepKind::Index(_) => {
                    missing = true;
                    at.items.as_deref()
                }
                StepKind::Key { key, .. } => match at.field(key) {
                    Some(field) => {
                        missing |= !field.required;
                        Some(&field.shape)
                    }
                    None => {
                        self.not_in_shape(at, key, *place, step.span == *place);
                        None
                    }
                },
            };
            match next {
                Some(next) => at = next,
                None => return (Types::ANY, None),
            }
        }
        (if missing { at.types.or(Types::NULL) } else { at.types }, Some(at))
    }

    /// `x == "text"`, `x in ["text"]`: reports texts that the schema excludes.
    pub(super) fn check_choices(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        match (op, &right.kind) {
            (BinaryOp::Equal | BinaryOp::NotEqual, _) => {
                let shapes = (self.shape_of(left), self.shape_of(right));
                self.check_choice(shapes.0, right);
                self.check_choice(shapes.1, left);
            }
            (BinaryOp::In | BinaryOp::NotIn, ExprKind::Array(elements)) => {
                let shape = self.shape_of(left);
                for element in elements {
                    if let Element::Item(item) = element {
                        self.check_choice(shape, item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Reports a value that is written out and none of those that the schema lists. Where none of its type is listed, the
    /// types say that it never is one.
    pub(super) fn check_choice(&mut self, shape: Option<&'a Shape>, value: &Expr) {
        let Some(shape) = shape else { return };
        match (literal(value), &shape.texts, &shape.numbers, &shape.bools) {
            (Some(Literal::Text(text)), Some(texts), ..) if !texts.is_empty() && !texts.contains(text) => {
                let all = || texts.iter().map(String::as_str);
                let finding = not_a_choice(value.span, text, all());
                self.report(match self.nearest(text, all()) {
                    // What would have to be escaped is left to whoever writes it.
                    Some(near) if !near.contains(['$', '"', '\\']) => {
                        finding.replace(value.span, format!("\"{near}\""))
                    }
                    _ => finding,
                });
            }
            (Some(Literal::Number(number)), _, Some(numbers), _)
                if !numbers.is_empty() && !numbers.contains(&number) =>
            {
                let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                self.report(not_a_choice(value.span, &number.to_string(), all.iter().map(String::as_str)));
            }
            (Some(Literal::Bool(truth)), .., Some(bools)) if !bools.is_empty() && !bools.contains(&truth) => {
                let all = bools.iter().map(|truth| if *truth { "true" } else { "false" });
                self.report(not_a_choice(value.span, if truth { "true" } else { "false" }, all));
            }
            _ => {}
        }
    }

    /// A field that the schema does not name: an error if it names all, and a warning if it looks like a slip.
    pub(super) fn not_in_shape(&mut self, shape: &Shape, key: &str, place: Span, shorthand: bool) {
        let names = || shape.fields.keys().map(String::as_str);
        let near = self.nearest(key, names());
        if shape.open && near.is_none() {
            return;
        }
        let message = format!("the schema has no field `{key}` here");
        let mut finding = if shape.open {
            Diagnostic::warning(codes::NOT_IN_SCHEMA, place, message).label("it allows others, and this may be a slip")
        } else {
            Diagnostic::new(codes::NOT_IN_SCHEMA, place, message).label("never there")
        };
        finding = finding.help(format!("the fields are {}", listed(names())));
        if let Some(near) = near {
            // A key in brackets stands in quotes.
            let quoted = (place.end - place.start) as usize != key.len();
            let bare = near.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if shorthand && bare {
                // A pattern binds the name that it takes; the program goes on to use that.
                finding = finding.replace(place, format!("{near}: {key}"));
            } else if quoted && bare {
                finding = finding.replace(place, format!("\"{near}\""));
            } else if bare {
                finding = finding.replace(place, near);
            }
        }
        self.report(finding);
    }
}

/// A value that is written out.
enum Literal<'t> {
    Text(&'t str),
    Number(Decimal),
    Bool(bool),
}

fn literal(value: &Expr) -> Option<Literal<'_>> {
    Some(match &value.kind {
        ExprKind::Text(parts) => match parts.as_slice() {
            [] => Literal::Text(""),
            [Part::Text(text)] => Literal::Text(text),
            _ => return None,
        },
        ExprKind::Int(int) => Literal::Number(Decimal::from(*int)),
        ExprKind::Dec(dec) => Literal::Number(*dec),
        ExprKind::Unary { op: UnaryOp::Negate, operand } => match literal(operand)? {
            Literal::Number(number) => Literal::Number(-number),
            _ => return None,
        },
        ExprKind::Bool(truth) => Literal::Bool(*truth),
        _ => return None,
    })
}

fn not_a_choice<'v>(span: Span, value: &str, all: impl Iterator<Item = &'v str>) -> Diagnostic {
    Diagnostic::new(codes::NOT_A_CHOICE, span, format!("`{value}` is none of the values that the schema lists"))
        .label("never equal")
        .help(format!("the values are {}", listed(all)))
}
