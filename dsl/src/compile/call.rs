//! Calls: functions of the program, built-ins, lambdas and patterns.

use super::{Compiler, Typed, constant};
use crate::ast::{Expr, ExprKind, Name, Span};
use crate::builtins::{Builtin, Expression, Param, Prepare, Prepared, Run, builtin, pattern};
use crate::check::Types;
use crate::code::{Args, Call, CallLambda, CallPattern, CallPrepared, Lambda, Node, Op};
use crate::codes;
use crate::compile::destructure::Known;
use crate::compile::fallible::Written;
use crate::diagnostic::Diagnostic;
use crate::value::Value;

/// Built-ins that call their function with each element of their first argument, as its last one.
const BY_ELEMENT: [&str; 19] = [
    "map",
    "flat_map",
    "filter",
    "fold",
    "find",
    "find_index",
    "any",
    "all",
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "sort_by",
    "unique",
    "group_by",
    "index_by",
    "partition",
    "sort",
];

impl<'a> Compiler<'a> {
    pub(super) fn call(&mut self, name: &Name, args: &[Expr], written: Written, span: Span) -> Typed {
        if let Some(index) = self.own_function(&name.text) {
            return self.call_own(index, name, args, written, span);
        }
        let Some(builtin) = builtin(&name.text).filter(|_| !self.is_missing(&name.text)) else {
            if !self.is_missing(&name.text) {
                let finding = self.unknown_function(name);
                self.report(finding);
            }
            // Their own mistakes are worth a report all the same.
            for arg in args {
                if !matches!(arg.kind, ExprKind::Lambda { .. }) {
                    self.expr(arg);
                }
            }
            return Self::wrong(span);
        };
        let (fewest, most) = builtin.arity();
        if args.len() < fewest || most.is_some_and(|most| args.len() > most) {
            let finding = wrong_count(name, args.len(), fewest, most, written.piped)
                .help(format!("{}{}", builtin.name, builtin.signature));
            self.report(finding);
            return Self::wrong(span);
        }
        self.call_builtin(builtin, name, args, written, span)
    }

    fn call_own(&mut self, index: usize, name: &Name, args: &[Expr], written: Written, span: Span) -> Typed {
        let arity = self.functions[index].params.len();
        if args.len() != arity {
            self.report(wrong_count(name, args.len(), arity, Some(arity), written.piped));
            return Self::wrong(span);
        }
        self.not_in_constant(name.span, "functions of the program");
        if !self.effects.callees.contains(&index) {
            self.effects.callees.push(index);
        }
        if !self.calls[self.current].contains(&index) {
            self.calls[self.current].push(index);
        }
        let fallible = self.functions[index].fallible;
        self.handled(name, written, fallible, span);
        // What calls a function that can fail is there for that, too.
        self.effects.acts |= fallible;
        let (nodes, types): (Vec<Node>, Vec<Types>) = args.iter().map(|arg| self.expr(arg)).unzip();
        let result = self.check_arguments(index, args, &types);
        (Node { span, op: Op::CallFunction { function: index as u16, args: nodes.into() } }, result)
    }

    fn call_builtin(
        &mut self,
        builtin: &'static Builtin,
        name: &Name,
        args: &[Expr],
        written: Written,
        span: Span,
    ) -> Typed {
        let mut nodes = Vec::with_capacity(args.len());
        let mut expected = Vec::with_capacity(args.len());
        let mut lambda = None;
        let mut first = Types::ANY;
        for (at, arg) in args.iter().enumerate() {
            let Some(param) = builtin.param(at) else { continue };
            if let Some(arity) = param.lambda {
                let items = args.first().filter(|_| BY_ELEMENT.contains(&builtin.name));
                let element = items.map_or((Types::ANY, None), |items| self.element_of(items));
                match self.lambda(builtin, param, (arity, element), arg) {
                    Some(compiled) => lambda = Some(compiled),
                    None => return (Self::wrong(span).0, builtin.result),
                }
                continue;
            }
            let (node, types) = self.expr(arg);
            if types != Types::NEVER && !types.overlaps(param.types) {
                self.report(wrong_argument(builtin, param, arg.span, types));
                return (Self::wrong(span).0, builtin.result);
            }
            if at == 0 {
                first = types;
            }
            nodes.push(node);
            expected.push(param.types);
        }
        let all_constant = nodes.iter().all(constant) && lambda.is_none();
        if written.fails {
            self.handled(name, written, builtin.fallible, span);
        } else if !all_constant {
            self.handled(name, written, builtin.fails_on(first) && builtin.fallible, span);
        } else if builtin.fallible {
            // Where its failure is handled, a constant may fail.
            self.declared_failures += 1;
        }
        let call = Args { name: builtin.name, args: nodes.into(), expected: expected.into() };
        let op = match (builtin.run, lambda) {
            (Run::Pure(run) | Run::Either(run, _), None) => Op::Call(Box::new(Call { call, run })),
            (Run::Context(run), None) => {
                self.not_in_constant(span, "the context");
                let op = Op::Call(Box::new(Call { call, run }));
                return (Node { span, op }, builtin.result);
            }
            (Run::Pattern(run), None) => {
                let regex = match self.constant_pattern(&call, args) {
                    Ok(regex) => regex,
                    Err(()) => return (Self::wrong(span).0, builtin.result),
                };
                Op::CallPattern(Box::new(CallPattern { call, run, regex }))
            }
            (Run::Prepared(prepare, run) | Run::PreparedContext(prepare, run), None) => {
                let Ok(ready) = self.prepared(builtin, &call, prepare) else {
                    return (Self::wrong(span).0, builtin.result);
                };
                let op = Op::CallPrepared(Box::new(CallPrepared { call, prepare, run, ready }));
                if matches!(builtin.run, Run::PreparedContext(..)) {
                    self.not_in_constant(span, "the context");
                    return (Node { span, op }, builtin.result);
                }
                op
            }
            (Run::Lambda(run) | Run::Either(_, run), Some(lambda)) => {
                Op::CallLambda(Box::new(CallLambda { call, run, lambda }))
            }
            _ => return Self::wrong(span),
        };
        let node = Node { span, op };
        if !all_constant {
            return (node, builtin.result);
        }
        let caught = u32::from(builtin.fallible && self.handling > 0);
        self.trying += caught;
        let folded = self.folded(node, builtin.result);
        self.trying -= caught;
        folded
    }

    fn constant_pattern(&mut self, call: &Args, args: &[Expr]) -> Result<Option<Expression>, ()> {
        let Some((Value::Str(text), span)) = self.constant_argument(call) else { return Ok(None) };
        pattern(&text).map(Some).map_err(|why| {
            let in_quotes = args.get(1).is_some_and(|arg| matches!(arg.kind, ExprKind::Text(_)));
            let finding = Diagnostic::new(codes::BAD_PATTERN, span, format!("the pattern is not valid: {why}"))
                .label("not a regular expression");
            self.report(if in_quotes {
                finding.help("patterns follow the `regex` crate: no look-around and no back-references, linear time")
            } else {
                finding
            });
        })
    }

    /// The second argument, if it is a constant, or a name that a `let` gave to one.
    fn constant_argument(&self, call: &Args) -> Option<(Value<'static>, Span)> {
        let node = call.args.get(1)?;
        let value = match &node.op {
            Op::Const(value) => value.clone(),
            Op::Local(slot) => self.frame.constant(*slot)?.clone(),
            _ => return None,
        };
        Some((value, node.span))
    }

    /// What a constant second argument stands for.
    fn prepared(&mut self, builtin: &Builtin, call: &Args, prepare: Prepare) -> Result<Option<Prepared>, ()> {
        let Some((value, span)) = self.constant_argument(call) else { return Ok(None) };
        (prepare.make)(&value).map(Some).map_err(|why| {
            let finding =
                Diagnostic::new(codes::CONSTANT_FAILS, span, format!("argument 2 of `{}`: {why}", builtin.name));
            self.report(finding.label("always fails").help(format!("{}{}", builtin.name, builtin.signature)));
        })
    }

    /// A lambda argument: written as one, or the name of a function.
    fn lambda(&mut self, builtin: &Builtin, param: &Param, called: (usize, Known<'a>), arg: &Expr) -> Option<Lambda> {
        let (arity, element) = called;
        match &arg.kind {
            ExprKind::Lambda { params, body } => {
                if params.len() != arity {
                    self.report(
                        Diagnostic::new(
                            codes::ARITY,
                            arg.span,
                            format!("`{}` calls its function with {}", builtin.name, counted(arity)),
                        )
                        .label(format!("takes {}", params.len()))
                        .help(format!("{}{}", builtin.name, builtin.signature)),
                    );
                    return None;
                }
                let mark = self.frame.mark();
                let params: Box<[u16]> = params.iter().map(|param| self.frame.bind_param(param)).collect();
                if let Some(last) = params.last() {
                    self.frame.set_types(*last, element.0);
                    self.frame.set_shape(*last, element.1);
                }
                let (body, _) = self.expr(body);
                self.release(mark);
                Some(Lambda { params, body })
            }
            ExprKind::Name(name) if !self.is_local(name) && self.is_function(name) => {
                // `map(xs, upper)` is `map(xs, x => upper(x))`; no program can write these names.
                let mark = self.frame.mark();
                let names: Vec<Name> =
                    (0..arity).map(|at| Name { text: format!("argument {at}"), span: arg.span }).collect();
                let params = names.iter().map(|param| self.frame.bind_param(param)).collect();
                let args: Vec<Expr> = names
                    .iter()
                    .map(|param| Expr { span: arg.span, depth: 1, kind: ExprKind::Name(param.text.clone()) })
                    .collect();
                let written = Written { named: Some(arity), ..Written::default() };
                let (body, _) = self.call(&Name { text: name.clone(), span: arg.span }, &args, written, arg.span);
                self.release(mark);
                Some(Lambda { params, body })
            }
            _ => {
                self.report(
                    Diagnostic::new(
                        codes::EXPECTED_LAMBDA,
                        arg.span,
                        format!("`{}` expects a function as `{}`", builtin.name, param.name),
                    )
                    .label("not a function")
                    .help(if arity == 1 { "write `x => …`" } else { "write `(a, b) => …`" }),
                );
                None
            }
        }
    }

    fn is_function(&self, name: &str) -> bool {
        builtin(name).is_some() || self.has_function(name) || self.is_missing(name)
    }
}

fn counted(count: usize) -> String {
    match count {
        0 => "no arguments".to_owned(),
        1 => "1 argument".to_owned(),
        many => format!("{many} arguments"),
    }
}

fn wrong_count(name: &Name, given: usize, fewest: usize, most: Option<usize>, piped: bool) -> Diagnostic {
    let takes = match most {
        None => format!("at least {}", counted(fewest)),
        Some(most) if most == fewest => counted(fewest),
        Some(most) => format!("{fewest} to {}", counted(most)),
    };
    let how = if piped { ", the value before `|>` among them" } else { "" };
    Diagnostic::new(codes::ARITY, name.span, format!("`{}` takes {takes}, not {given}{how}", name.text))
        .label(format!("given {}", counted(given)))
}

fn wrong_argument(builtin: &Builtin, param: &Param, span: Span, types: Types) -> Diagnostic {
    let finding = Diagnostic::new(
        codes::ARGUMENT_TYPE,
        span,
        format!("`{}` of `{}` must be {}, not {types}", param.name, builtin.name, param.types),
    )
    .label(format!("this is {types}"));
    if param.types == Types::STRING {
        finding.help("make a text of it with `to_string(x)` or \"${x}\"")
    } else {
        finding.help(format!("{}{}", builtin.name, builtin.signature))
    }
}
