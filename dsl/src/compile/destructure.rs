//! Patterns that take a value apart: `let`, `for` and parameters. Each name becomes a path into the slot of the value,
//! so what is missing is null, as it is in paths.

use std::sync::Arc;

use super::{Compiler, path};
use crate::ast::{self, Name, Pattern, PatternKind, Span};
use crate::check::{Shape, Types};
use crate::code::{Base, Line, Node, Op, Path, Rest, RestKind, Step, StepKind};
use crate::codes;
use crate::diagnostic::Diagnostic;

/// The types of a value, and what is known about its inside.
pub(super) type Known<'a> = (Types, Option<&'a Shape>);

/// The way from the value that is taken apart to one of its parts.
#[derive(Default)]
struct Way {
    steps: Vec<Step>,
    /// Where the key of each step is written.
    places: Vec<Span>,
}

impl Way {
    fn push(&mut self, kind: StepKind, span: Span, place: Span) {
        self.steps.push(Step { kind, safe: false, span });
        self.places.push(place);
    }

    fn pop(&mut self) {
        self.steps.pop();
        self.places.pop();
    }
}

impl Pattern {
    /// The names that it binds.
    pub(crate) fn names(&self, into: &mut Vec<String>) {
        let rest_name = |rest: &Option<ast::Rest>, into: &mut Vec<String>| {
            into.extend(rest.iter().filter_map(|rest| rest.name.as_ref()).map(|name| name.text.clone()));
        };
        match &self.kind {
            PatternKind::Any | PatternKind::Literal(_) => {}
            PatternKind::Bind(name) => into.push(name.text.clone()),
            PatternKind::Type { bind, .. } => into.extend(bind.iter().map(|name| name.text.clone())),
            PatternKind::Array { before, rest, after } => {
                before.iter().chain(after).for_each(|pattern| pattern.names(into));
                rest_name(rest, into);
            }
            PatternKind::Object { members, rest } => {
                members.iter().for_each(|(_, pattern)| pattern.names(into));
                rest_name(rest, into);
            }
            PatternKind::Or(all) => all.iter().for_each(|pattern| pattern.names(into)),
        }
    }
}

impl<'a> Compiler<'a> {
    /// Binds what a `let` has on its left to the value on its right.
    pub(super) fn bind_pattern(&mut self, pattern: &Pattern, value: Node, known: Known<'a>, lines: &mut Vec<Line>) {
        let (types, shape) = known;
        match &pattern.kind {
            PatternKind::Bind(name) => {
                let slot = self.bind(name, types);
                self.frame.set_shape(slot, shape);
                if let Op::Const(constant) = &value.op {
                    self.frame.set_constant(slot, constant);
                }
                lines.push(Line::Let(slot, value));
            }
            PatternKind::Any => lines.push(Line::Do(value)),
            _ => {
                let slot = self.hidden(pattern.span, types);
                lines.push(Line::Let(slot, value));
                self.take_apart(pattern, slot, known, lines);
            }
        }
    }

    /// A slot for a value that has no name of its own.
    pub(super) fn hidden(&mut self, span: Span, types: Types) -> u16 {
        self.hidden_slot(&Name { text: "the value".to_owned(), span }, types)
    }

    /// The slot of an element of a `for`, and what takes the element apart.
    pub(super) fn bind_element(&mut self, pattern: &Pattern, known: Known<'a>, lines: &mut Vec<Line>) -> u16 {
        let (types, shape) = known;
        match &pattern.kind {
            PatternKind::Bind(name) => {
                let slot = self.bind(name, types);
                self.frame.set_shape(slot, shape);
                slot
            }
            PatternKind::Any => self.hidden(pattern.span, types),
            _ => {
                let slot = self.hidden(pattern.span, types);
                self.take_apart(pattern, slot, known, lines);
                slot
            }
        }
    }

    pub(super) fn take_apart(&mut self, pattern: &Pattern, slot: u16, known: Known<'a>, lines: &mut Vec<Line>) {
        let (types, _) = known;
        let mut names = Vec::new();
        pattern.names(&mut names);
        self.check_distinct(&names, pattern.span);
        let (fits, what) = match pattern.kind {
            PatternKind::Array { .. } => (Types::ARRAY, "an array"),
            _ => (Types::OBJECT, "an object"),
        };
        if types != Types::NEVER && !types.overlaps(fits.or(Types::NULL)) {
            self.report(
                Diagnostic::new(codes::NO_FIELDS, pattern.span, format!("a value of type {types} has no such parts"))
                    .label(format!("takes {what} apart"))
                    .help("what the sender sent is below `event.data`"),
            );
            return;
        }
        self.parts(pattern, (slot, known), &mut Way::default(), lines);
    }

    pub(super) fn check_distinct(&mut self, names: &[String], span: Span) {
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("the pattern binds `{}` twice", twice[0]);
            self.report(Diagnostic::new(codes::DEFINED_TWICE, span, message).label("each name once"));
        }
    }

    fn parts(&mut self, pattern: &Pattern, from: (u16, Known<'a>), way: &mut Way, lines: &mut Vec<Line>) {
        match &pattern.kind {
            PatternKind::Bind(name) => {
                let (types, shape) = self.walk_shape(from.1, &way.steps, &way.places);
                let path = Path { base: Base::Local(from.0), steps: way.steps.clone().into() };
                let node = Node { span: name.span, op: Op::Path(Box::new(path)) };
                let bound = self.bind(name, types);
                self.frame.set_shape(bound, shape);
                lines.push(Line::Let(bound, node));
            }
            PatternKind::Array { before, rest, after } => {
                let behind = after.len() as i64;
                let firsts = before.iter().zip(0i64..);
                for (item, at) in firsts.chain(after.iter().zip(-behind..)) {
                    way.push(StepKind::Index(at), item.span, item.span);
                    self.parts(item, from, way, lines);
                    way.pop();
                }
                let kind = RestKind::Array { before: before.len(), after: after.len() };
                self.rest(rest.as_ref(), kind, from, way, lines);
            }
            PatternKind::Object { members, rest } => {
                for (key, item) in members {
                    way.push(path::key(&key.text), item.span, key.span);
                    self.parts(item, from, way, lines);
                    way.pop();
                }
                let keys: Box<[Arc<str>]> = members.iter().map(|(key, _)| key.text.as_str().into()).collect();
                self.rest(rest.as_ref(), RestKind::Object(keys), from, way, lines);
            }
            // The grammar has no others here.
            _ => {}
        }
    }

    fn rest(
        &mut self,
        rest: Option<&ast::Rest>,
        kind: RestKind,
        from: (u16, Known<'a>),
        way: &Way,
        lines: &mut Vec<Line>,
    ) {
        let Some(name) = rest.and_then(|rest| rest.name.as_ref()) else { return };
        let (_, shape) = self.walk_shape(from.1, &way.steps, &way.places);
        let mut slot = from.0;
        if !way.steps.is_empty() {
            let path = Path { base: Base::Local(slot), steps: way.steps.clone().into() };
            slot = self.hidden(name.span, Types::ANY);
            lines.push(Line::Let(slot, Node { span: name.span, op: Op::Path(Box::new(path)) }));
        }
        let array = matches!(kind, RestKind::Array { .. });
        let bound = self.bind(name, if array { Types::ARRAY } else { Types::OBJECT });
        // The elements of what is left are as those of the whole.
        self.frame.set_shape(bound, shape.filter(|_| array));
        lines.push(Line::Let(bound, Node { span: name.span, op: Op::Rest(Box::new(Rest { slot, kind })) }));
    }
}
