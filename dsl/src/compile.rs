//! From the syntax tree to the compiled form. One walk resolves names to slots, infers types, reports what can never
//! work, folds constants, and chooses the operations.

mod call;
mod names;
mod ops;
mod path;

use std::sync::Arc;

use crate::ast::{self, Expr, ExprKind, MAX_DEPTH, Part, Span};
use crate::budget::{Budget, Limits};
use crate::check::Types;
use crate::code::{Code, Function, Node, Op, Piece};
use crate::codes;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::eval::Machine;
use crate::fault::Fault;
use crate::input::Input;
use crate::program::{Inner, Program, ProgramKind, SourceText};
use crate::value::{Text, Value};

use names::Frame;

/// Checks and compiles a program.
///
/// # Errors
/// Everything that is wrong with it, at once. Warnings do not fail; [`Program::warnings`] has them.
pub fn compile(source: &SourceText<'_>, kind: ProgramKind) -> Result<Program, Diagnostics> {
    let (tree, mut findings) = crate::parser::parse(source.text, kind == ProgramKind::Template);
    let Some(tree) = tree else {
        return Err(Diagnostics::new(source.name, source.text, findings));
    };
    let mut compiler = Compiler::new(kind);
    let code = compiler.program(&tree);
    let has = |code| findings.iter().any(|finding| finding.code == code);
    let (syntax, number) = (has(codes::UNEXPECTED), has(codes::BAD_NUMBER));
    // What follows from an error is not reported: a line that could not be parsed may have bound the name, and a number
    // that is none has no type.
    findings.extend(compiler.findings.drain(..).filter(|finding| {
        !(syntax && finding.code == codes::UNKNOWN_NAME || number && (301..=306).contains(&finding.code.0))
    }));
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        // A warning beside an error is often its consequence.
        findings.retain(|finding| finding.severity == Severity::Error);
        return Err(Diagnostics::new(source.name, source.text, findings));
    }
    let warnings = Diagnostics::new(source.name, source.text, findings);
    Ok(Program(Arc::new(Inner {
        name: source.name.into(),
        text: source.text.into(),
        kind,
        code,
        reads_data: compiler.reads_data,
        warnings,
    })))
}

/// A node and the types that it can give.
type Typed = (Node, Types);

pub(super) struct Compiler {
    kind: ProgramKind,
    findings: Vec<Diagnostic>,
    reads_data: bool,
    /// The functions of the program, in the order of their declaration.
    functions: Vec<Declared>,
    frame: Frame,
    /// Which function calls which; the last one is the main program.
    calls: Vec<Vec<usize>>,
    /// The function that is being compiled; the number of functions for the main program.
    current: usize,
    /// Names bound at the top, for functions that try to use them.
    outer: Vec<String>,
}

struct Declared {
    name: ast::Name,
    arity: usize,
    depth: u32,
    result: Types,
}

impl Compiler {
    fn new(kind: ProgramKind) -> Self {
        Self {
            kind,
            findings: Vec::new(),
            reads_data: false,
            functions: Vec::new(),
            frame: Frame::default(),
            calls: Vec::new(),
            current: 0,
            outer: Vec::new(),
        }
    }

    fn report(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
    }

    /// Stands for an expression that was reported: of any type and not a constant, so that nothing else is reported
    /// about it. It is never run.
    fn wrong(span: Span) -> Typed {
        (Node { span, op: Op::Drop }, Types::ANY)
    }

    fn program(&mut self, tree: &Expr) -> Code {
        let declared = match &tree.kind {
            ExprKind::Block(block) => block.functions.as_slice(),
            _ => &[],
        };
        self.declare(declared);
        if let ExprKind::Block(block) = &tree.kind {
            self.outer = block.lets.iter().map(|binding| binding.name.text.clone()).collect();
        }
        self.current = self.functions.len();
        self.calls = vec![Vec::new(); self.functions.len() + 1];
        let mut functions = Vec::with_capacity(declared.len());
        for (index, function) in declared.iter().enumerate() {
            functions.push(self.function(index, function));
        }
        self.current = self.functions.len();
        self.frame = Frame::default();
        let (main, types) = match &tree.kind {
            ExprKind::Block(block) => self.block(block, tree.span),
            _ => self.expr(tree),
        };
        if self.kind == ProgramKind::Condition {
            self.require_condition(&main, types, "the condition");
        }
        self.check_calls(tree.depth, tree.span);
        Code { main, slots: self.frame.size(), functions }
    }

    fn declare(&mut self, functions: &[ast::Function]) {
        for function in functions {
            let name = &function.name;
            // A function of the program hides a built-in of its name, so that new built-ins never break a program.
            if self.functions.iter().any(|other| other.name.text == name.text) {
                self.findings.push(
                    Diagnostic::new(codes::DEFINED_TWICE, name.span, format!("`{}` is defined twice", name.text))
                        .label("second definition"),
                );
            }
            self.functions.push(Declared {
                name: name.clone(),
                arity: function.params.len(),
                depth: function.body.depth,
                result: Types::ANY,
            });
        }
    }

    fn function(&mut self, index: usize, function: &ast::Function) -> Function {
        self.current = index;
        self.frame = Frame::default();
        for (at, param) in function.params.iter().enumerate() {
            if function.params[..at].iter().any(|earlier| earlier.text == param.text && param.text != "_") {
                self.report(
                    Diagnostic::new(codes::DEFINED_TWICE, param.span, format!("two parameters named `{}`", param.text))
                        .label("second one"),
                );
            }
            self.frame.bind_param(param);
        }
        let (body, types) = self.expr(&function.body);
        self.functions[index].result = types;
        Function { slots: self.frame.size(), body }
    }

    /// No function reaches itself, and the deepest chain of calls fits the stack.
    fn check_calls(&mut self, depth: u32, span: Span) {
        let count = self.functions.len();
        // 0: not seen, 1: on the way, 2: done. The order of finishing is a topological one, callees first.
        let mut state = vec![0u8; count];
        let mut total: Vec<u32> = self.functions.iter().map(|function| function.depth).collect();
        for start in 0..count {
            let mut stack = vec![(start, 0usize)];
            while let Some((function, next)) = stack.pop() {
                if next == 0 {
                    if state[function] != 0 {
                        continue;
                    }
                    state[function] = 1;
                }
                let Some(&callee) = self.calls[function].get(next) else {
                    state[function] = 2;
                    let below = self.calls[function].iter().map(|callee| total[*callee]).max().unwrap_or(0);
                    total[function] = total[function].saturating_add(below);
                    continue;
                };
                stack.push((function, next + 1));
                match state[callee] {
                    0 => stack.push((callee, 0)),
                    1 => {
                        let name = self.functions[callee].name.clone();
                        self.report(
                            Diagnostic::new(
                                codes::RECURSION,
                                name.span,
                                format!("the function `{}` calls itself", name.text),
                            )
                            .label(if callee == function {
                                "calls itself in its body"
                            } else {
                                "through other functions"
                            })
                            .help(
                                "every program ends: use `map`, `filter` or `fold` over a collection, or `range(a, b)`",
                            ),
                        );
                        return;
                    }
                    _ => {}
                }
            }
        }
        let below = self.calls[count].iter().map(|callee| total[*callee]).max().unwrap_or(0);
        let deepest = total.iter().copied().max().unwrap_or(0).max(depth.saturating_add(below));
        if deepest > MAX_DEPTH {
            self.report(
                Diagnostic::new(
                    codes::TOO_DEEP,
                    span,
                    format!("calls and expressions together are deeper than {MAX_DEPTH} levels"),
                )
                .label(format!("{deepest} levels"))
                .help("split the work over the elements of a collection instead of functions calling functions"),
            );
        }
    }

    fn block(&mut self, block: &ast::Block, span: Span) -> Typed {
        let mark = self.frame.mark();
        let mut lets = Vec::with_capacity(block.lets.len());
        for binding in &block.lets {
            let (value, types) = self.expr(&binding.value);
            let slot = self.bind(&binding.name, types);
            lets.push((slot, value));
        }
        let (result, types) = self.expr(&block.result);
        self.release(mark);
        (Node { span, op: Op::Block { lets: lets.into(), result: Box::new(result) } }, types)
    }

    fn expr(&mut self, expr: &Expr) -> Typed {
        let span = expr.span;
        let constant = |value: Value<'static>, types| (Node { span, op: Op::Const(value) }, types);
        match &expr.kind {
            ExprKind::Null => constant(Value::Null, Types::NULL),
            ExprKind::Bool(value) => constant(Value::Bool(*value), Types::BOOL),
            ExprKind::Int(value) => constant(Value::Int(*value), Types::INT),
            ExprKind::Dec(value) => constant(Value::Dec(*value), Types::DEC),
            ExprKind::Duration(value) => constant(Value::Duration(*value), Types::DURATION),
            ExprKind::Text(parts) => self.text(parts, span),
            ExprKind::Array(elements) => self.array(elements, span),
            ExprKind::Object(entries) => self.object(entries, span),
            ExprKind::Name(name) => self.name(name, span),
            ExprKind::Field { .. } | ExprKind::Index { .. } => self.path(expr),
            ExprKind::Unary { op, operand } => self.unary(*op, operand, span),
            ExprKind::Binary { op, op_span, left, right } => self.binary(*op, *op_span, left, right, span),
            ExprKind::Logic { all, operands } => self.logic(*all, operands, span),
            ExprKind::If { arms, otherwise } => self.choice(arms, otherwise.as_deref(), span),
            ExprKind::Block(block) => {
                for function in &block.functions {
                    self.report(
                        Diagnostic::new(
                            codes::MISPLACED_FUNCTION,
                            function.name.span,
                            format!("`{}` is declared inside of a block", function.name.text),
                        )
                        .label("move it to the top of the program"),
                    );
                }
                self.block(block, span)
            }
            ExprKind::Lambda { .. } => {
                self.report(
                    Diagnostic::new(codes::MISPLACED_LAMBDA, span, "a lambda is not a value")
                        .label("no function calls this argument")
                        .help("functions such as `map` and `filter` take lambdas; name one with `fn f(x) = …`"),
                );
                Self::wrong(span)
            }
            ExprKind::Call { name, args, piped } => self.call(name, args, *piped, span),
            ExprKind::Drop => {
                if self.kind != ProgramKind::Function {
                    self.report(
                        Diagnostic::new(codes::NOT_HERE, span, "`drop` belongs into functions")
                            .label("this program cannot drop the event")
                            .help("a condition that is false keeps its trigger from firing"),
                    );
                }
                (Node { span, op: Op::Drop }, Types::NEVER)
            }
            ExprKind::Fail(reason) => {
                let (reason, _) = self.expr(reason);
                (Node { span, op: Op::Fail(Box::new(reason)) }, Types::NEVER)
            }
            ExprKind::Error => Self::wrong(span),
        }
    }

    fn text(&mut self, parts: &[Part], span: Span) -> Typed {
        let mut pieces = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Text(text) => pieces.push(Piece::Text(text.as_str().into())),
                Part::Value(expr) => {
                    let (node, _) = self.expr(expr);
                    pieces.push(Piece::Value(node));
                }
            }
        }
        match pieces.as_slice() {
            [] => (Node { span, op: Op::Const(Value::text("")) }, Types::STRING),
            [Piece::Text(text)] => {
                let value = Value::Str(Text::Shared(text.as_ref().into()));
                (Node { span, op: Op::Const(value) }, Types::STRING)
            }
            _ => self.folded(Node { span, op: Op::Text(pieces.into()) }, Types::STRING),
        }
    }

    /// Computes ahead what depends on constants only. A failure is reported: it would happen every time.
    fn folded(&mut self, node: Node, types: Types) -> Typed {
        if !is_constant(&node.op) {
            return (node, types);
        }
        let span = node.span;
        let code = Code { main: node, slots: 0, functions: Vec::new() };
        let input = Input::EMPTY;
        // Large results stay computations: a constant lives as long as its program.
        let mut budget = Budget::new(Limits { steps: 10_000, bytes: 16 * 1024, ..Limits::default() });
        let result = Machine::new(&code, &input, &mut budget).eval(&code.main);
        match result {
            Ok(value) => {
                let types = Types::of(&value);
                (Node { span, op: Op::Const(value) }, types)
            }
            Err(Fault::Error(failure)) if ![codes::STEPS, codes::SIZE].contains(&failure.code) => {
                let at = failure.span.unwrap_or(span);
                self.report(
                    Diagnostic::new(codes::CONSTANT_FAILS, at, failure.message)
                        .label("always fails")
                        .help(format!("it does not depend on the event; at run time this would be {}", failure.code)),
                );
                Self::wrong(span)
            }
            Err(_) => (code.main, types),
        }
    }
}

fn constant(node: &Node) -> bool {
    matches!(node.op, Op::Const(_))
}

/// Whether an operation depends on constants only.
fn is_constant(op: &Op) -> bool {
    match op {
        Op::Not(a) | Op::Negate(a) => constant(a),
        Op::All(all) | Op::Any(all) => all.iter().all(constant),
        Op::Arith(_, sides) | Op::Compare(_, sides) | Op::Default(sides) => constant(&sides.0) && constant(&sides.1),
        Op::CompareConst(_, sides) => constant(&sides.0),
        Op::In { sides, .. } => constant(&sides.0) && constant(&sides.1),
        Op::Index { base, index, .. } => constant(base) && constant(index),
        Op::Text(pieces) => pieces.iter().all(|piece| match piece {
            Piece::Text(_) => true,
            Piece::Value(node) => constant(node),
        }),
        Op::Array(elements) => elements.iter().all(|element| match element {
            crate::code::Element::Item(node) | crate::code::Element::Spread(node) => constant(node),
        }),
        Op::Object { values, .. } => values.iter().all(constant),
        Op::Call(call) => call.call.args.iter().all(constant),
        Op::CallPrepared(call) => call.call.args.iter().all(constant),
        Op::CallPattern(call) => call.call.args.iter().all(constant),
        _ => false,
    }
}
