//! `match`: patterns, what they leave for later arms, and the names that they bind.

use super::destructure::Known;
use super::{Compiler, Typed};
use crate::ast::{self, Expr, ExprKind, Name, PatternKind, Span};
use crate::check::{Shape, Types};
use crate::code::{Arm, Match, Node, Op, Pattern};
use crate::codes;
use crate::diagnostic::{Diagnostic, listed};
use crate::value::{Value, equal};

/// The names of one pattern.
#[derive(Default)]
struct Names {
    own: Vec<(String, u16)>,
    /// In the second and further alternatives: the names of the first, which bind the same slots.
    given: Option<Vec<(String, u16)>>,
    /// Of parts of a value: what a name takes there is not missing.
    inside: bool,
}

/// What the arms so far have taken.
struct Taken {
    /// Types of which no value is left.
    types: Types,
    literals: Vec<Value<'static>>,
}

impl Taken {
    fn everything(&self, subject: Types) -> bool {
        subject.without(self.types) == Types::NEVER && subject != Types::NEVER
    }

    fn literal(&mut self, value: &Value<'static>) {
        self.literals.push(value.clone());
        let has = |truth: bool| self.literals.iter().any(|taken| matches!(taken, Value::Bool(own) if *own == truth));
        if has(true) && has(false) {
            self.types = self.types.or(Types::BOOL);
        }
        if matches!(value, Value::Null) {
            self.types = self.types.or(Types::NULL);
        }
    }

    fn add(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Any | Pattern::Bind(_) => self.types = Types::ANY,
            Pattern::Equal(value) => self.literal(value),
            Pattern::Type { types, .. } => self.types = self.types.or(*types),
            Pattern::Array { before, rest, after } => {
                if before.is_empty() && after.is_empty() && rest.is_some() {
                    self.types = self.types.or(Types::ARRAY);
                }
            }
            Pattern::Object { members, .. } => {
                if members.is_empty() {
                    self.types = self.types.or(Types::OBJECT);
                }
            }
            Pattern::Or(all) => all.iter().for_each(|pattern| self.add(pattern)),
        }
    }

    /// Whether all that the pattern could take was taken.
    fn covers(&self, pattern: &Pattern) -> bool {
        match pattern {
            Pattern::Equal(value) => self.literals.iter().any(|taken| equal(taken, value)) || self.holds(pattern),
            Pattern::Or(all) => all.iter().all(|pattern| self.covers(pattern)),
            _ => self.holds(pattern),
        }
    }

    fn holds(&self, pattern: &Pattern) -> bool {
        self.types.holds(possible(pattern))
    }
}

/// The types of the values that a pattern may take.
fn possible(pattern: &Pattern) -> Types {
    match pattern {
        Pattern::Any | Pattern::Bind(_) => Types::ANY,
        Pattern::Equal(Value::Int(_) | Value::Dec(_)) => Types::NUMBER,
        Pattern::Equal(value) => Types::of(value),
        Pattern::Type { types, .. } => *types,
        Pattern::Array { .. } => Types::ARRAY,
        Pattern::Object { .. } => Types::OBJECT,
        Pattern::Or(all) => all.iter().map(possible).fold(Types::NEVER, Types::or),
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn matching(&mut self, subject: &Expr, arms: &[ast::Arm], span: Span) -> Typed {
        let shape = self.shape_of(subject);
        let (subject_node, subject_types) = self.expr(subject);
        let local = match subject_node.op {
            Op::Local(slot) => Some(slot),
            _ => None,
        };
        let mut taken = Taken { types: Types::NEVER, literals: Vec::new() };
        let mut result = Types::NEVER;
        let mut compiled = Vec::with_capacity(arms.len());
        for arm in arms {
            let mark = self.frame.mark();
            let left = subject_types.without(taken.types);
            let left = if left == Types::NEVER { subject_types } else { left };
            let mut names = Names::default();
            let pattern = self.pattern(&arm.pattern, (left, shape), &mut names);
            self.check_reach(&taken, &pattern, subject_types, arm.pattern.span);
            // What the pattern says about the subject holds in its arm.
            let fits = narrowed(left, possible(&pattern));
            let known = local.map(|slot| (slot, self.frame.set_types(slot, fits)));
            let guard = arm.guard.as_ref().map(|guard| self.tested(guard, "the guard"));
            let facts = arm.guard.as_ref().map(|guard| self.facts(guard).yes).unwrap_or_default();
            let before = self.assume(&facts);
            let (body, types) = self.expr(&arm.body);
            self.restore(before);
            if let Some((slot, types)) = known {
                self.frame.set_types(slot, types);
            }
            self.release(mark);
            result = result.or(types);
            if guard.is_none() {
                taken.add(&pattern);
            }
            compiled.push(Arm { span: arm.pattern.span, pattern, guard, body });
        }
        if !taken.everything(subject_types) && !arms.is_empty() && subject_types != Types::NEVER {
            let left = subject_types.without(taken.types);
            let at = Span { start: span.start, end: span.start + 5 };
            self.report(
                Diagnostic::warning(codes::NOT_EXHAUSTIVE, at, "no arm of this `match` takes every value that is left")
                    .label(format!("{left} may be left"))
                    .help("add an arm `_ => …`; a value that no arm takes is an error at run time"),
            );
        }
        let op = Op::Match(Box::new(Match { subject: subject_node, arms: compiled.into() }));
        (Node { span, op }, result)
    }

    fn check_reach(&mut self, taken: &Taken, pattern: &Pattern, subject: Types, span: Span) {
        let label = if taken.everything(subject) || taken.covers(pattern) {
            "arms before this one take all of it".to_owned()
        } else if subject != Types::NEVER && !possible(pattern).overlaps(subject) {
            format!("the value is {subject}, never {}", possible(pattern))
        } else {
            return;
        };
        self.report(Diagnostic::warning(codes::UNREACHABLE, span, "this arm is never reached").label(label));
    }

    fn pattern(&mut self, pattern: &ast::Pattern, known: Known<'a>, names: &mut Names) -> Pattern {
        let (types, shape) = known;
        match &pattern.kind {
            PatternKind::Any => Pattern::Any,
            PatternKind::Bind(name) => match self.known(&name.text, name.span) {
                // The name of a constant stands for its value.
                Some((Node { op: Op::Const(value), .. }, _)) => Pattern::Equal(value),
                _ => {
                    let slot = self.bind_once(name, types, names);
                    self.frame.set_shape(slot, shape);
                    if names.inside {
                        self.frame.set_there(slot);
                    }
                    Pattern::Bind(slot)
                }
            },
            PatternKind::Literal(value) => {
                self.check_choice(shape, value);
                self.literal(value).map_or(Pattern::Any, Pattern::Equal)
            }
            PatternKind::Type { name, bind } => {
                let own = self.type_named(name);
                let bind = bind.as_ref().map(|bind| self.bind_once(bind, narrowed(types, own), names));
                if let Some(slot) = bind {
                    self.frame.set_shape(slot, shape);
                }
                Pattern::Type { types: own, bind }
            }
            PatternKind::Array { before, rest, after } => {
                let element = (Types::ANY, shape.and_then(|shape| shape.items.as_deref()));
                let outside = std::mem::replace(&mut names.inside, true);
                let before = before.iter().map(|item| self.pattern(item, element, names)).collect();
                let rest =
                    rest.as_ref().map(|rest| rest.name.as_ref().map(|name| self.bind_once(name, Types::ARRAY, names)));
                let after = after.iter().map(|item| self.pattern(item, element, names)).collect();
                names.inside = outside;
                Pattern::Array { before, rest, after }
            }
            PatternKind::Object { members, rest } => {
                let outside = std::mem::replace(&mut names.inside, true);
                let members = members
                    .iter()
                    .map(|(key, item)| {
                        let member = self.member_shape(shape, key, key.span == item.span);
                        (key.text.as_str().into(), self.pattern(item, (Types::ANY, member), names))
                    })
                    .collect();
                names.inside = outside;
                let name = rest.as_ref().and_then(|rest| rest.name.as_ref());
                let rest = name.map(|name| self.bind_once(name, Types::OBJECT, names));
                Pattern::Object { members, rest }
            }
            PatternKind::Or(all) => self.alternatives(all, known, names),
        }
    }

    fn alternatives(&mut self, all: &[ast::Pattern], known: Known<'a>, names: &mut Names) -> Pattern {
        let before = names.own.len();
        let mut compiled = Vec::with_capacity(all.len());
        let mut first: Vec<(String, u16)> = Vec::new();
        for (at, alternative) in all.iter().enumerate() {
            if at == 0 {
                compiled.push(self.pattern(alternative, known, names));
                first = names.own.get(before..).unwrap_or_default().to_vec();
                for (_, slot) in &first {
                    // Another alternative may bind a value of another type.
                    self.frame.set_types(*slot, Types::ANY);
                }
                continue;
            }
            let mut own = Names { own: Vec::new(), given: Some(first.clone()), inside: names.inside };
            compiled.push(self.pattern(alternative, known, &mut own));
            for (_, slot) in &own.own {
                self.frame.set_shape(*slot, None);
            }
            if let Some((missing, _)) = first.iter().find(|(name, _)| !own.own.iter().any(|(own, _)| own == name)) {
                self.report(
                    Diagnostic::new(
                        codes::WRONG_PATTERN,
                        alternative.span,
                        format!("this alternative does not bind `{missing}`"),
                    )
                    .label("the first one does")
                    .help("all alternatives bind the same names; `_` takes a value without a name"),
                );
            }
        }
        Pattern::Or(compiled.into())
    }

    fn bind_once(&mut self, name: &Name, types: Types, names: &mut Names) -> u16 {
        if names.own.iter().any(|(own, _)| *own == name.text) {
            self.report(
                Diagnostic::new(codes::DEFINED_TWICE, name.span, format!("the pattern binds `{}` twice", name.text))
                    .label("second one")
                    .help("compare in a guard: `[a, b] if a == b => …`"),
            );
        }
        let given = names.given.as_ref().map(|given| given.iter().find(|(own, _)| *own == name.text).map(|own| own.1));
        let slot = match given {
            Some(Some(slot)) => slot,
            Some(None) => {
                self.report(
                    Diagnostic::new(
                        codes::WRONG_PATTERN,
                        name.span,
                        format!("the first alternative does not bind `{}`", name.text),
                    )
                    .label("bound in this alternative only")
                    .help("all alternatives bind the same names; the value of a constant is compared by its name"),
                );
                self.bind(name, types)
            }
            None => self.bind(name, types),
        };
        names.own.push((name.text.clone(), slot));
        slot
    }

    fn literal(&mut self, value: &Expr) -> Option<Value<'static>> {
        // Reported when it was parsed.
        if matches!(&value.kind, ExprKind::Text(parts) if parts.len() > 1) {
            return None;
        }
        match self.expr(value).0.op {
            Op::Const(value) => Some(value),
            _ => None,
        }
    }

    /// What is known about a member that a pattern names; reports one that is never there.
    fn member_shape(&mut self, shape: Option<&'a Shape>, key: &Name, shorthand: bool) -> Option<&'a Shape> {
        let shape = shape.filter(|shape| shape.types.overlaps(Types::OBJECT))?;
        match shape.field(&key.text) {
            Some(field) => Some(&field.shape),
            None => {
                self.not_in_shape(shape, &key.text, key.span, shorthand);
                None
            }
        }
    }

    fn type_named(&mut self, name: &Name) -> Types {
        let types = Types::parse(&name.text);
        if types == Types::NEVER {
            let names = Types::names();
            let mut finding =
                Diagnostic::new(codes::WRONG_PATTERN, name.span, format!("there is no type `{}`", name.text))
                    .label("not a type")
                    .help(format!("the types are {}", listed(names.iter().copied())));
            /// What schemas and other languages call them.
            const ELSEWHERE: [(&str, &str); 9] = [
                ("text", "string"),
                ("str", "string"),
                ("boolean", "bool"),
                ("integer", "int"),
                ("float", "decimal"),
                ("double", "decimal"),
                ("list", "array"),
                ("map", "object"),
                ("time", "timestamp"),
            ];
            let elsewhere = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name.text).map(|(_, ours)| *ours);
            if let Some(near) = elsewhere.or_else(|| self.nearest(&name.text, names.iter().copied())) {
                finding = finding.replace(name.span, near);
            }
            self.report(finding);
            return Types::ANY;
        }
        types
    }
}

fn narrowed(types: Types, to: Types) -> Types {
    let both = types.and(to);
    if both == Types::NEVER { to } else { both }
}
