//! From the syntax tree to the compiled form. One walk resolves names to slots, infers types, reports what can never
//! work, folds constants, and chooses the operations.

mod assume;
mod call;
mod constants;
mod destructure;
mod docs;
mod each;
mod effects;
mod fallible;
mod flow;
mod graph;
mod imports;
mod matching;
mod names;
mod ops;
mod path;
mod shapes;
mod update;

use std::sync::Arc;

use crate::ast::{self, Expr, ExprKind, Part, Span};
use crate::budget::{Budget, Limits};
use crate::check::{Shape, Types};
use crate::code::{Base, Code, Function, Line, Node, Op, Piece};
use crate::codes;
use crate::coverage::{self, Coverage};
use crate::diagnostic::{self, Diagnostic, Diagnostics, Severity};
use crate::eval::Machine;
use crate::fault::Fault;
use crate::input::Input;
use crate::modules::{Loaded, Loader, Modules};
use crate::program::{Inner, Program, ProgramKind, SourceText};
use crate::reads::Reads;
use crate::value::{Text, Value};

pub use docs::{Declaration, module_declarations};
pub use effects::Emits;

use constants::Known;
use effects::{Effects, Statement};
use fallible::Written;
use imports::Scope;
use names::Frame;

/// What a program is compiled with besides its text.
#[derive(Clone, Copy, Default)]
pub struct CompileOptions<'a> {
    modules: Option<&'a dyn Modules>,
    data: Option<&'a Shape>,
    coverage: bool,
}

impl<'a> CompileOptions<'a> {
    /// Where `import` finds its modules; without, a program cannot import.
    #[must_use]
    pub fn modules(mut self, modules: &'a dyn Modules) -> Self {
        self.modules = Some(modules);
        self
    }

    /// What `event.data` looks like, so that fields that are not there are found before anything runs.
    #[must_use]
    pub fn data(mut self, shape: &'a Shape) -> Self {
        self.data = Some(shape);
        self
    }

    /// Counts in all evaluations which branches are taken: [`Program::branches`] and [`Program::taken`]. Without, a program
    /// has no branches, and its evaluations do nothing for this.
    #[must_use]
    pub fn coverage(mut self) -> Self {
        self.coverage = true;
        self
    }
}

impl std::fmt::Debug for CompileOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompileOptions")
            .field("modules", &self.modules.is_some())
            .field("data", &self.data)
            .field("coverage", &self.coverage)
            .finish()
    }
}

/// Checks and compiles a program that imports nothing.
///
/// # Errors
/// Everything that is wrong with it, at once. Warnings do not fail; [`Program::warnings`] has them.
pub fn compile(source: &SourceText<'_>, kind: ProgramKind) -> Result<Program, Diagnostics> {
    compile_with(source, kind, &CompileOptions::default())
}

/// Checks and compiles a program.
///
/// # Errors
/// As [`compile`]. A finding about a module says so in [`Diagnostic::module`].
pub fn compile_with(
    source: &SourceText<'_>,
    kind: ProgramKind,
    options: &CompileOptions<'_>,
) -> Result<Program, Diagnostics> {
    let (tree, mut findings) = crate::parser::parse(source.text, kind == ProgramKind::Template);
    let Some(tree) = tree else {
        return Err(Diagnostics::new(source.name, source.text, findings));
    };
    let mut loader = Loader::new(options.modules, source.text.len());
    let imports = match &tree.kind {
        ExprKind::Block(block) => loader.resolve(&block.declarations.imports),
        _ => Vec::new(),
    };
    findings.append(&mut loader.findings);
    let mut compiler = Compiler::new(kind, options.data);
    compiler.texts.push((0, source.text));
    compiler.texts.extend(loader.files.texts());
    let mut code = compiler.program(&tree, &imports, &loader.loaded);
    let has = |code| findings.iter().any(|finding| finding.code == code);
    let (syntax, number) = (has(codes::UNEXPECTED), has(codes::BAD_NUMBER));
    // What follows from an error is not reported: a line that could not be parsed may have bound the name, and a number
    // that is none has no type.
    findings.extend(compiler.findings.drain(..).filter(|finding| {
        !(syntax && finding.code == codes::UNKNOWN_NAME || number && (301..=306).contains(&finding.code.0))
    }));
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    if failed {
        // A warning beside an error is often its consequence.
        findings.retain(|finding| finding.severity == Severity::Error);
    }
    loader.files.attribute(&mut findings);
    let findings = Diagnostics::new(source.name, source.text, findings);
    if failed {
        return Err(findings);
    }
    let reads = Reads::of_code(&mut code);
    let coverage = if options.coverage {
        let names: Vec<String> = compiler.functions.iter().map(|function| function.name.text.clone()).collect();
        coverage::instrument(&mut code, kind == ProgramKind::Condition, &names, source.text, &loader.files)
    } else {
        Coverage::default()
    };
    Ok(Program(Arc::new(Inner {
        name: source.name.into(),
        text: source.text.into(),
        kind,
        code,
        reads_data: compiler.reads_data,
        reads,
        emits: compiler.emits(),
        declarations: docs::of_program(source.text, &tree),
        coverage,
        files: loader.files,
        warnings: findings,
    })))
}

/// A node and the types that it can give.
type Typed = (Node, Types);

pub(super) struct Compiler<'a> {
    kind: ProgramKind,
    findings: Vec<Diagnostic>,
    reads_data: bool,
    /// The functions of all modules and of the program, in the order in which they are compiled.
    functions: Vec<Declared<'a>>,
    /// The names of each module, and last those of the program.
    scopes: Vec<Scope>,
    /// The one that is being compiled.
    scope: usize,
    frame: Frame<'a>,
    /// What is known about `event.data`.
    data: Option<&'a Shape>,
    /// Which function calls which; the last one is the main program.
    calls: Vec<Vec<usize>>,
    /// The function that is being compiled; the number of functions for the main program.
    current: usize,
    /// Names bound at the top, for functions that try to use them.
    outer: Vec<String>,
    constants: Vec<Known>,
    /// What the constants may still cost.
    constant_budget: Budget,
    /// A constant is being compiled: nothing else may be used.
    in_constant: bool,
    /// How many `try` are around: failures of what is constant are caught there.
    trying: u32,
    /// What tests said about the paths that they tested, where they hold.
    paths: Vec<(String, Types)>,
    /// How many `try` and `??` are around that handle failures.
    handling: u32,
    /// Calls that can fail, and `fail`, so far.
    declared_failures: usize,
    /// What calls hand over.
    assumed: assume::Assumed,
    /// Where the places of the program and of its modules begin, with their texts.
    texts: Vec<(usize, &'a str)>,
    /// What the expression that is being compiled does besides giving a value.
    effects: Effects,
    /// The same of each function, and of the main program at the end.
    all_effects: Vec<Effects>,
    statements: Vec<Statement>,
}

struct Declared<'a> {
    name: ast::Name,
    params: &'a [ast::Name],
    body: &'a Expr,
    /// Whose names it sees.
    scope: usize,
    depth: u32,
    result: Types,
    /// Its callers must say what happens when it fails.
    fallible: bool,
}

impl<'a> Compiler<'a> {
    fn new(kind: ProgramKind, data: Option<&'a Shape>) -> Self {
        Self {
            kind,
            findings: Vec::new(),
            reads_data: false,
            functions: Vec::new(),
            scopes: Vec::new(),
            scope: 0,
            frame: Frame::default(),
            data,
            calls: Vec::new(),
            current: 0,
            outer: Vec::new(),
            constants: Vec::new(),
            constant_budget: constants::budget(),
            in_constant: false,
            trying: 0,
            paths: Vec::new(),
            handling: 0,
            declared_failures: 0,
            assumed: assume::Assumed::default(),
            texts: Vec::new(),
            effects: Effects::default(),
            all_effects: Vec::new(),
            statements: Vec::new(),
        }
    }

    fn report(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
    }

    /// The name that was meant, if one is near; not any more for findings that nobody is shown.
    fn nearest<'n>(&self, wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        if self.findings.len() < diagnostic::MOST { diagnostic::nearest(wanted, names) } else { None }
    }

    /// Stands for an expression that was reported: of any type and not a constant, so that nothing else is reported
    /// about it. It is never run.
    fn wrong(span: Span) -> Typed {
        (Node { span, op: Op::Drop }, Types::ANY)
    }

    fn program(&mut self, tree: &'a Expr, imports: &[Option<usize>], modules: &'a [Loaded]) -> Code {
        static NOTHING: ast::Declarations = ast::Declarations::NOTHING;
        let own = match &tree.kind {
            ExprKind::Block(block) => &block.declarations,
            _ => &NOTHING,
        };
        for module in modules {
            self.declare(&module.declarations, &module.imports, modules);
        }
        self.declare(own, imports, modules);
        let total = self.functions.len();
        let files = modules.iter().map(|module| &module.declarations).chain([own]);
        let fallible = fallible::of_functions(files.zip(&self.scopes));
        for (function, fallible) in self.functions.iter_mut().zip(fallible) {
            function.fallible = fallible;
        }
        self.calls = vec![Vec::new(); total + 1];
        let mut functions = Vec::with_capacity(total);
        for (scope, declarations) in modules.iter().map(|module| &module.declarations).chain([own]).enumerate() {
            self.scope = scope;
            self.current = total;
            for constant in &declarations.constants {
                self.constant(constant);
            }
            if let (ExprKind::Block(block), true) = (&tree.kind, scope == modules.len()) {
                for line in &block.lines {
                    if let ast::Line::Let { pattern, .. } = line {
                        pattern.names(&mut self.outer);
                    }
                }
            }
            for function in &declarations.functions {
                let index = functions.len();
                functions.push(self.function(index, function));
                let effects = std::mem::take(&mut self.effects);
                self.all_effects.push(effects);
            }
        }
        self.current = self.functions.len();
        self.frame = Frame::default();
        let (main, types) = match &tree.kind {
            ExprKind::Block(block) => self.block(block, tree.span),
            _ => self.expr(tree),
        };
        let effects = std::mem::take(&mut self.effects);
        self.all_effects.push(effects);
        if self.kind == ProgramKind::Condition {
            self.require_condition(&main, types, "the condition");
        }
        self.check_calls(tree.depth, tree.span);
        self.check_statements();
        self.unused_declarations();
        Code { main, slots: self.frame.size(), functions }
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
        self.release(0);
        self.functions[index].result = types;
        Function { slots: self.frame.size(), body }
    }

    fn block(&mut self, block: &ast::Block, span: Span) -> Typed {
        let mark = self.frame.mark();
        let mut lines = Vec::with_capacity(block.lines.len());
        for line in &block.lines {
            match line {
                ast::Line::Let { pattern, value } => {
                    let shape = self.shape_of(value);
                    let (value, types) = self.expr(value);
                    self.bind_pattern(pattern, value, (types, shape), &mut lines);
                }
                ast::Line::Do(expr) => {
                    let node = self.statement(expr);
                    lines.push(Line::Do(node));
                }
            }
        }
        let (result, types) = self.expr(&block.result);
        self.release(mark);
        if lines.is_empty() {
            return (result, types);
        }
        (Node { span, op: Op::Block { lines: lines.into(), result: Box::new(result) } }, types)
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
                let declared = &block.declarations;
                let functions = declared.functions.iter().map(|function| &function.name);
                let constants = declared.constants.iter().map(|constant| &constant.name);
                let imports = declared.imports.iter().filter_map(|import| import.path.as_ref());
                for name in functions.chain(constants).chain(imports) {
                    self.report(
                        Diagnostic::new(
                            codes::MISPLACED_FUNCTION,
                            name.span,
                            format!("`{}` is declared inside of a block", name.text),
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
            ExprKind::Call { name, args, piped, fails } => {
                let written = Written { piped: *piped, fails: *fails, named: None };
                self.call(name, args, written, span)
            }
            ExprKind::Match { subject, arms } => self.matching(subject, arms, span),
            ExprKind::Each { yields, clauses } => self.each(yields, clauses, span),
            ExprKind::With { base, changes } => self.with(base, changes, span),
            ExprKind::Without { base, paths } => self.without(base, paths, span),
            ExprKind::Emit { topic, value, key } => self.emission(topic, value, key.as_deref(), span),
            ExprKind::Try { body, error, otherwise } => self.attempt(body, error.as_ref(), otherwise, span),
            ExprKind::Drop => {
                self.effects.acts = true;
                if self.kind != ProgramKind::Function {
                    self.misplaced(
                        Diagnostic::new(codes::NOT_HERE, span, "`drop` belongs into functions")
                            .label("this program cannot drop the event")
                            .help("a condition that is false keeps its trigger from firing"),
                    );
                }
                (Node { span, op: Op::Drop }, Types::NEVER)
            }
            ExprKind::Fail(reason) => {
                self.effects.acts = true;
                self.declared_failures += 1;
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
            // It is caught, and the value that stands instead is a constant in most cases.
            Err(_) if self.trying > 0 => (code.main, types),
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
        Op::Path(path) => matches!(&path.base, Base::Node(base) if constant(base)),
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
