//! The syntax tree. Depth is counted as the tree is built, and what is too deep never enters it, so that everything
//! which walks a tree, its destructor included, may recurse.

mod build;
mod forms;
mod pattern;

use std::fmt;
use std::ops::Range;

use rust_decimal::Decimal;

pub(crate) use build::{Context, Item, Recovery};
pub(crate) use pattern::{ArrayPart, ObjectPart, Pattern, PatternKind, Rest};

/// Deepest expression, including the functions that it calls.
pub(crate) const MAX_DEPTH: u32 = 256;

/// A place in the source, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Shows nothing, so that trees of the same meaning show the same.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Sources are at most 256 KiB long.
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.range()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) span: Span,
    pub(crate) depth: u32,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Null,
    Bool(bool),
    Int(i64),
    Dec(Decimal),
    Duration(i64),
    Text(Vec<Part>),
    Array(Vec<Element>),
    Object(Vec<Entry>),
    Name(String),
    Field {
        base: Box<Expr>,
        name: Name,
        safe: bool,
    },
    Index {
        base: Box<Expr>,
        index: Box<Expr>,
        safe: bool,
    },
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        op_span: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `and` or `or` over two or more operands.
    Logic {
        all: bool,
        operands: Vec<Expr>,
    },
    If {
        arms: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Block(Box<Block>),
    Lambda {
        params: Vec<Name>,
        body: Box<Expr>,
    },
    Call {
        name: Name,
        args: Vec<Expr>,
        piped: bool,
        /// Written with `!`: its failure is the caller's.
        fails: bool,
    },
    Match {
        subject: Box<Expr>,
        arms: Vec<Arm>,
    },
    /// `[element for … if …]`, or an object of such entries.
    Each {
        yields: Box<Yield>,
        clauses: Vec<Clause>,
    },
    /// `x with { a.b: 1 }`
    With {
        base: Box<Expr>,
        changes: Vec<(Vec<Key>, Expr)>,
    },
    /// `x without { a.b }`
    Without {
        base: Box<Expr>,
        paths: Vec<Vec<Key>>,
    },
    /// `emit "topic" value key k`
    Emit {
        topic: Box<Expr>,
        value: Box<Expr>,
        key: Option<Box<Expr>>,
    },
    /// `try body else otherwise`, with or without a name for the error.
    Try {
        body: Box<Expr>,
        error: Option<Name>,
        otherwise: Box<Expr>,
    },
    Drop,
    Fail(Box<Expr>),
    /// Stands where something could not be parsed; it was reported.
    Error,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    Value(Expr),
}

#[derive(Clone, Debug)]
pub(crate) enum Element {
    Item(Expr),
    Spread(Expr),
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A key that is known.
    Member {
        key: Name,
        value: Expr,
    },
    /// A key with interpolation.
    Computed {
        key: Expr,
        value: Expr,
    },
    Spread(Expr),
}

/// `pattern if guard => body`
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) pattern: Pattern,
    pub(crate) guard: Option<Expr>,
    pub(crate) body: Expr,
}

/// What each round of a comprehension gives.
#[derive(Clone, Debug)]
pub(crate) enum Yield {
    Element(Element),
    Entry(Entry),
}

/// `for x in items`, `for key, value in members`, `if test`.
#[derive(Clone, Debug)]
pub(crate) enum Clause {
    For { first: Pattern, second: Option<Pattern>, items: Expr },
    If(Expr),
}

/// A step of a path that is written: `a`, `"a b"`, `[expr]`.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    Name(Name),
    Computed(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnaryOp {
    Not,
    Negate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Default,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

impl BinaryOp {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Default => "??",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::NotIn => "not in",
        }
    }
}

/// A line of a block.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// `let pattern = value`
    Let { pattern: Pattern, value: Expr },
    /// An expression that is evaluated for what it does: it may emit, drop or fail.
    Do(Expr),
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: Name,
    pub(crate) params: Vec<Name>,
    pub(crate) body: Expr,
}

/// `const NAME = value`
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    pub(crate) name: Name,
    pub(crate) value: Expr,
}

/// `import { name, name as other } from "path"`
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// What the module calls it, and what it is called here.
    pub(crate) names: Vec<(Name, Name)>,
    /// Nothing if it is not written out, which was reported.
    pub(crate) path: Option<Name>,
}

/// What a module, or the top of a program, declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) imports: Vec<Import>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) functions: Vec<Function>,
}

impl Declarations {
    pub(crate) const NOTHING: Self = Self { imports: Vec::new(), constants: Vec::new(), functions: Vec::new() };

    pub(crate) fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.constants.is_empty() && self.functions.is_empty()
    }
}

/// Lines and a result; only the block of a program declares something.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) lines: Vec<Line>,
    pub(crate) declarations: Declarations,
    pub(crate) result: Expr,
}
