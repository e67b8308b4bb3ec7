//! Paths: `event.data.commits[0].author?.name` becomes one node.

use super::{Compiler, Typed};
use crate::ast::{Expr, ExprKind, Part, Span, UnaryOp};
use crate::check::Types;
use crate::code::{Base, Field, Node, Op, Path, Step, StepKind};
use crate::codes;
use crate::diagnostic::{Diagnostic, listed};
use crate::eval::{CTX_FIELDS, EVENT_FIELDS};
use crate::json::key_tag;

fn fields_of(base: &str) -> &'static [(&'static str, Field)] {
    match base {
        "event" => EVENT_FIELDS,
        _ => CTX_FIELDS,
    }
}

pub(super) fn field_names(base: &str) -> Vec<&'static str> {
    fields_of(base).iter().map(|(name, _)| *name).collect()
}

fn field_types(field: Field) -> Types {
    match field {
        Field::Id | Field::Source | Field::Type | Field::Topic | Field::TraceId | Field::Trigger | Field::Function => {
            Types::STRING
        }
        Field::Subject | Field::Key | Field::ContentType => Types::STRING.or(Types::NULL),
        Field::Time | Field::Now => Types::TIME,
        Field::Seq | Field::Attempt => Types::INT,
        Field::Headers | Field::Extensions | Field::Env | Field::Event | Field::Ctx => Types::OBJECT,
        Field::Data => Types::JSON,
    }
}

/// The key or position of a step, if it is a constant.
fn constant_step(index: &Expr) -> Option<StepKind> {
    match &index.kind {
        ExprKind::Int(at) => Some(StepKind::Index(*at)),
        ExprKind::Unary { op: UnaryOp::Negate, operand } => match operand.kind {
            ExprKind::Int(at) => at.checked_neg().map(StepKind::Index),
            _ => None,
        },
        ExprKind::Text(parts) => match parts.as_slice() {
            [] => Some(key("")),
            [Part::Text(text)] => Some(key(text)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn key(text: &str) -> StepKind {
    StepKind::Key { key: text.into(), tag: key_tag(text.as_bytes()) }
}

impl<'a> Compiler<'a> {
    pub(super) fn path(&mut self, expr: &Expr) -> Typed {
        if self.paths.is_empty() {
            return self.stepped(expr);
        }
        // What was tested is known to have something inside, or nothing.
        if let ExprKind::Field { base, safe, .. } | ExprKind::Index { base, safe, .. } = &expr.kind
            && let known = self.narrowed_path(base)
            && !*safe
            && known != Types::NEVER
            && !known.overlaps(Types::OBJECT.or(Types::ARRAY).or(Types::NULL))
        {
            self.no_fields(expr.span, known);
            return Self::wrong(expr.span);
        }
        let (node, types) = self.stepped(expr);
        let known = self.narrowed_path(expr);
        (node, if known == Types::ANY { types } else { types.and(known) })
    }

    fn stepped(&mut self, expr: &Expr) -> Typed {
        // Walk down to the base, collecting constant steps on the way.
        let (mut steps, mut places) = (Vec::new(), Vec::new());
        let mut at = expr;
        loop {
            let (base, kind, safe, place) = match &at.kind {
                ExprKind::Field { base, name, safe } => (base, Some(key(&name.text)), *safe, name.span),
                ExprKind::Index { base, index, safe } => (base, constant_step(index), *safe, index.span),
                _ => break,
            };
            let Some(kind) = kind else { break };
            steps.push(Step { kind, safe, span: at.span });
            places.push(place);
            at = base;
        }
        steps.reverse();
        places.reverse();
        if steps.is_empty() {
            return self.computed_index(expr);
        }
        self.rooted(at, steps, &places, expr.span)
    }

    fn computed_index(&mut self, expr: &Expr) -> Typed {
        let ExprKind::Index { base, index, safe } = &expr.kind else { return Self::wrong(expr.span) };
        let (base_node, base_types) = self.expr(base);
        let (index_node, index_types) = self.expr(index);
        if !index_types.overlaps(Types::INT.or(Types::STRING).or(Types::NULL)) && index_types != Types::NEVER {
            self.report(
                Diagnostic::new(codes::OPERAND_TYPE, index.span, format!("an index is never {index_types}"))
                    .label("a position or a key"),
            );
        } else if !base_types.overlaps(Types::OBJECT.or(Types::ARRAY).or(Types::NULL)) && base_types != Types::NEVER {
            self.no_fields(base.span, base_types);
        }
        let op = Op::Index { base: Box::new(base_node), index: Box::new(index_node), safe: *safe };
        self.folded(Node { span: expr.span, op }, Types::ANY)
    }

    fn rooted(&mut self, root: &Expr, mut steps: Vec<Step>, places: &[Span], span: Span) -> Typed {
        if let ExprKind::Name(name) = &root.kind {
            if let Some((slot, types)) = self.local(name) {
                self.check_step(types, &steps[0]);
                let (types, _) = self.walk_shape(self.frame.known(name), &steps, places);
                let path = Path { base: Base::Local(slot), steps: steps.into() };
                return (Node { span, op: Op::Path(Box::new(path)) }, types);
            }
            if matches!(name.as_str(), "event" | "ctx")
                && !self.is_constant(name)
                && let StepKind::Key { key, .. } = &steps[0].kind
            {
                self.not_in_constant(root.span, &format!("`{name}`"));
                let known = fields_of(name).iter().find(|(field, _)| **field == **key);
                let Some((_, field)) = known else {
                    let finding = self.unknown_field(name, &key.clone(), &steps, root.span);
                    self.report(finding);
                    return Self::wrong(span);
                };
                let field_span = steps.remove(0).span;
                return self.field_path(*field, steps, places.get(1..).unwrap_or_default(), (field_span, span));
            }
        }
        let (base, types) = self.expr(root);
        self.check_step(types, &steps[0]);
        let shape = self.shape_of(root);
        let (types, _) = self.walk_shape((types, shape), &steps, places);
        let path = Path { base: Base::Node(base), steps: steps.into() };
        self.folded(Node { span, op: Op::Path(Box::new(path)) }, types)
    }

    fn field_path(&mut self, field: Field, steps: Vec<Step>, places: &[Span], spans: (Span, Span)) -> Typed {
        let (field_span, span) = spans;
        let mut types = field_types(field);
        if field == Field::Data {
            self.reads_data = true;
            types = self.data.map_or(types, |shape| shape.types);
        }
        let Some(first) = steps.first() else {
            return (Node { span, op: Op::Field(field) }, types);
        };
        self.check_step(types, first);
        let single = steps.len() == 1;
        let (base, types) = match field {
            Field::Data => {
                let (types, _) = self.walk_shape((Types::NEVER, self.data), &steps, places);
                (Base::Data, if self.data.is_some() { types } else { Types::JSON })
            }
            Field::Headers | Field::Extensions | Field::Env => {
                let base = match field {
                    Field::Headers => Base::Headers,
                    Field::Extensions => Base::Extensions,
                    _ => Base::Env,
                };
                (base, if single { Types::STRING.or(Types::NULL) } else { Types::ANY })
            }
            other => (Base::Node(Node { span: field_span, op: Op::Field(other) }), Types::ANY),
        };
        let path = Path { base, steps: steps.into() };
        (Node { span, op: Op::Path(Box::new(path)) }, types)
    }

    fn check_step(&mut self, types: Types, step: &Step) {
        let fits = match step.kind {
            StepKind::Key { .. } => Types::OBJECT,
            StepKind::Index(_) => Types::ARRAY,
        };
        if !step.safe && types != Types::NEVER && !types.overlaps(fits.or(Types::NULL)) {
            self.no_fields(step.span, types);
        }
    }

    pub(super) fn no_fields(&mut self, span: Span, types: Types) {
        self.report(
            Diagnostic::new(codes::NO_FIELDS, span, format!("a value of type {types} has nothing inside"))
                .label("never an object or an array")
                .help("what the sender sent is below `event.data`"),
        );
    }

    fn unknown_field(&self, base: &str, field: &str, steps: &[Step], root: Span) -> Diagnostic {
        let names = field_names(base);
        let step = steps[0].span;
        // The name alone, behind the dot.
        let start = step.end.saturating_sub(field.len() as u32).max(root.end);
        let span = Span { start, end: step.end };
        let finding = Diagnostic::new(codes::UNKNOWN_FIELD, span, format!("`{base}` has no field `{field}`"))
            .label("unknown field");
        match self.nearest(field, names.iter().copied()) {
            Some(near) => finding.replace(span, near).help(format!("the fields are {}", listed(names))),
            None if base == "event" => finding
                .replace(span.start as usize..span.start as usize, "data.")
                .help(format!("the fields are {}; what the sender sent is below `event.data`", listed(names))),
            None => finding.help(format!("the fields are {}", listed(names))),
        }
    }
}
