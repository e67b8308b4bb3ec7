//! The syntax tree. Depth is counted as the tree is built, and what is too deep never enters it, so that everything
//! which walks a tree, its destructor included, may recurse.

mod build;

use std::ops::Range;

use rust_decimal::Decimal;

pub(crate) use build::{Context, Item, Recovery};

/// Deepest expression, including the functions that it calls.
pub(crate) const MAX_DEPTH: u32 = 256;

/// A place in the source, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
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

#[derive(Clone, Debug)]
pub(crate) struct Let {
    pub(crate) name: Name,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: Name,
    pub(crate) params: Vec<Name>,
    pub(crate) body: Expr,
}

/// `let`s and a result; only the block of a program has functions.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) lets: Vec<Let>,
    pub(crate) functions: Vec<Function>,
    pub(crate) result: Expr,
}
