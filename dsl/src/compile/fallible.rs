//! Calls that can fail, and what handles that: `f(x) ?? y`, `try f(x) else y`, or `f!(x)`, by which the failure is that of
//! whatever the call stands in. A function of the program can fail if its body lets a call fail by `!`, or says `fail`;
//! that follows from the text alone, so it is known before any body is compiled.

use super::Compiler;
use crate::ast::{BinaryOp, Clause, Declarations, Element, Entry, Expr, ExprKind, Key, Line, Name, Part, Yield};
use crate::builtins::{Builtin, builtin};
use crate::check::Types;
use crate::codes;
use crate::compile::imports::Scope;
use crate::diagnostic::Diagnostic;

/// How a call is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    /// `x |> f(…)`
    pub(super) piped: bool,
    /// `f!(…)`
    pub(super) fails: bool,
    /// The name alone, where a lambda is expected of so many parameters.
    pub(super) named: Option<usize>,
}

/// Whether `expr ?? y` handles the failures of `expr`: a call without `!`, or a path below one.
pub(super) fn handles(left: &Expr) -> bool {
    match &left.kind {
        ExprKind::Field { base, .. } | ExprKind::Index { base, .. } => handles(base),
        ExprKind::Call { fails, .. } => !fails,
        _ => false,
    }
}

/// What the body of a function lets fail.
#[derive(Default)]
struct Body {
    fails: bool,
    /// Functions that are called with `!`.
    through: Vec<usize>,
}

/// Which functions can fail, in the order in which they were declared.
pub(super) fn of_functions<'t>(files: impl Iterator<Item = (&'t Declarations, &'t Scope)>) -> Vec<bool> {
    let mut bodies = Vec::new();
    for (declarations, scope) in files {
        for function in &declarations.functions {
            let mut body = Body::default();
            body.walk(&function.body, false, scope);
            bodies.push(body);
        }
    }
    let mut fallible: Vec<bool> = bodies.iter().map(|body| body.fails).collect();
    loop {
        let mut changed = false;
        for (at, body) in bodies.iter().enumerate() {
            if !fallible[at] && body.through.iter().any(|callee| fallible.get(*callee) == Some(&true)) {
                fallible[at] = true;
                changed = true;
            }
        }
        if !changed {
            return fallible;
        }
    }
}

impl Body {
    fn walk(&mut self, expr: &Expr, handled: bool, scope: &Scope) {
        let inside = match &expr.kind {
            ExprKind::Fail(_) => {
                self.fails |= !handled;
                handled
            }
            ExprKind::Call { name, fails: true, .. } if !handled => {
                match scope.functions.get(&name.text) {
                    Some(callee) => self.through.push(*callee),
                    None => self.fails |= builtin(&name.text).is_some_and(|builtin| builtin.fallible),
                }
                false
            }
            ExprKind::Try { body, otherwise, .. } => {
                self.walk(body, true, scope);
                return self.walk(otherwise, handled, scope);
            }
            ExprKind::Binary { op: BinaryOp::Default, left, right, .. } => {
                self.walk(left, handled || handles(left), scope);
                return self.walk(right, handled, scope);
            }
            _ => handled,
        };
        parts(expr, &mut |part| self.walk(part, inside, scope));
    }
}

/// The expressions directly within an expression.
pub(super) fn parts<'t>(expr: &'t Expr, each: &mut dyn FnMut(&'t Expr)) {
    match &expr.kind {
        ExprKind::Null
        | ExprKind::Bool(_)
        | ExprKind::Int(_)
        | ExprKind::Dec(_)
        | ExprKind::Duration(_)
        | ExprKind::Name(_)
        | ExprKind::Drop
        | ExprKind::Error => {}
        ExprKind::Text(all) => all.iter().for_each(|part| {
            if let Part::Value(value) = part {
                each(value);
            }
        }),
        ExprKind::Array(elements) => elements.iter().for_each(|element| in_element(element, each)),
        ExprKind::Object(entries) => entries.iter().for_each(|entry| in_entry(entry, each)),
        ExprKind::Field { base, .. } => each(base),
        ExprKind::Index { base, index, .. } => [base, index].into_iter().for_each(|part| each(part)),
        ExprKind::Unary { operand, .. } => each(operand),
        ExprKind::Binary { left, right, .. } => [left, right].into_iter().for_each(|part| each(part)),
        ExprKind::Logic { operands, .. } => operands.iter().for_each(each),
        ExprKind::If { arms, otherwise } => {
            arms.iter().for_each(|(test, then)| [test, then].into_iter().for_each(&mut *each));
            otherwise.iter().for_each(|part| each(part));
        }
        ExprKind::Block(block) => {
            block.lines.iter().for_each(|(Line::Let { value, .. } | Line::Do(value))| each(value));
            each(&block.result);
        }
        ExprKind::Lambda { body, .. } => each(body),
        ExprKind::Call { args, .. } => args.iter().for_each(each),
        ExprKind::Match { subject, arms } => {
            each(subject);
            arms.iter().for_each(|arm| arm.guard.iter().chain([&arm.body]).for_each(&mut *each));
        }
        ExprKind::Each { yields, clauses } => {
            for clause in clauses {
                let (Clause::For { items: part, .. } | Clause::If(part)) = clause;
                each(part);
            }
            match &**yields {
                Yield::Element(element) => in_element(element, each),
                Yield::Entry(entry) => in_entry(entry, each),
            }
        }
        ExprKind::With { base, changes } => {
            each(base);
            for (keys, value) in changes {
                in_keys(keys, each);
                each(value);
            }
        }
        ExprKind::Without { base, paths } => {
            each(base);
            paths.iter().for_each(|keys| in_keys(keys, each));
        }
        ExprKind::Emit { topic, value, key } => {
            each(topic);
            each(value);
            key.iter().for_each(|part| each(part));
        }
        ExprKind::Try { body, otherwise, .. } => [body, otherwise].into_iter().for_each(|part| each(part)),
        ExprKind::Fail(reason) => each(reason),
    }
}

fn in_element<'t>(element: &'t Element, each: &mut dyn FnMut(&'t Expr)) {
    let (Element::Item(part) | Element::Spread(part)) = element;
    each(part);
}

fn in_entry<'t>(entry: &'t Entry, each: &mut dyn FnMut(&'t Expr)) {
    match entry {
        Entry::Member { value, .. } | Entry::Spread(value) => each(value),
        Entry::Computed { key, value } => [key, value].into_iter().for_each(each),
    }
}

fn in_keys<'t>(keys: &'t [Key], each: &mut dyn FnMut(&'t Expr)) {
    for key in keys {
        if let Key::Computed(part) = key {
            each(part);
        }
    }
}

impl<'a> Compiler<'a> {
    /// What a call means for failures: one that can fail must be handled.
    pub(super) fn handled(&mut self, name: &Name, written: Written, fallible: bool, span: crate::ast::Span) {
        if written.fails {
            self.let_fail(name, fallible);
            return;
        }
        if !fallible {
            return;
        }
        self.declared_failures += 1;
        // What is constant was computed, or its failure was reported.
        if self.handling > 0 || self.in_constant {
            return;
        }
        let text = &name.text;
        let finding = Diagnostic::new(
            codes::UNHANDLED_FAILURE,
            span,
            format!("`{text}` can fail, and nothing handles that"),
        )
        .label("may end the whole run")
        .help(format!(
            "`{text}!(…)` ends the run with the reason, `{text}(…) ?? null` goes on with null, `try {text}(…) else …` \
                 with what you say"
        ));
        // What would fill the screen is left to whoever reads the help.
        let whole = self.source(span).filter(|whole| whole.len() <= 120 && !whole.contains('\n')).map(str::to_owned);
        let finding = match written.named {
            None => {
                let finding = finding.replace(name.span, format!("{text}!"));
                match whole {
                    Some(whole) => finding.or_replace(span, format!("({whole} ?? null)")),
                    None => finding,
                }
            }
            Some(params) => {
                let names = ["x", "y", "z"].get(..params).unwrap_or(&["x"]).join(", ");
                let lambda = if params == 1 { names.clone() } else { format!("({names})") };
                finding
                    .replace(name.span, format!("{lambda} => {text}!({names})"))
                    .or_replace(name.span, format!("{lambda} => {text}({names}) ?? null"))
            }
        };
        self.report(finding);
    }

    fn let_fail(&mut self, name: &Name, fallible: bool) {
        self.declared_failures += 1;
        self.effects.acts = true;
        if fallible {
            return;
        }
        let mark = name.span.end as usize..name.span.end as usize + 1;
        self.report(
            Diagnostic::warning(codes::NEEDLESS_MARK, mark.clone(), format!("`{}` cannot fail", name.text))
                .label("says nothing here")
                .replace(mark, ""),
        );
    }

    /// The text of a place: of the program, or of a module.
    pub(super) fn source(&self, span: crate::ast::Span) -> Option<&'a str> {
        let range = span.range();
        match self.texts.iter().rev().find(|(base, _)| *base <= range.start) {
            Some((base, text)) => text.get(range.start - base..range.end - base),
            None => None,
        }
    }
}

impl Builtin {
    /// Whether it can fail on a first argument of these types. Conversions fail on some types only; that the argument has
    /// a type that the function does not take at all is another matter.
    pub(super) fn fails_on(&self, types: Types) -> bool {
        let reads = match self.name {
            "to_int" => Types::STRING.or(Types::DEC),
            // Decimals may be numbers that are kept as text.
            "to_decimal" => Types::STRING.or(Types::DEC),
            "to_bool" => Types::STRING.or(Types::INT),
            _ => return self.fallible,
        };
        types.overlaps(reads) || types == Types::NEVER
    }
}
