//! The compiled form: what the evaluator runs. Names are slots, paths are one node, constants are folded, patterns are
//! compiled, and object literals carry their keys ready for output.

use std::sync::Arc;

use crate::ast::Span;
use crate::builtins::{Expression, LambdaFn, PatternFn, Prepare, Prepared, PreparedFn, PureFn, Types};
use crate::coverage::Covered;
use crate::value::{Shape, Value};

mod forms;
mod walk;

pub(crate) use forms::{
    Arm, Clause, Each, Emission, Key, Line, Match, Pattern, Rest, RestKind, Try, With, Without, Yield,
};

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) main: Node,
    /// Slots of the main frame.
    pub(crate) slots: usize,
    pub(crate) functions: Vec<Function>,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) slots: usize,
    pub(crate) body: Node,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) op: Op,
}

#[derive(Debug)]
pub(crate) enum Op {
    Const(Value<'static>),
    Local(u16),
    /// A field of the event or of the context.
    Field(Field),
    /// Constant steps from a base.
    Path(Box<Path>),
    Index {
        base: Box<Node>,
        index: Box<Node>,
        safe: bool,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Arith(Arith, Box<(Node, Node)>),
    Compare(Compare, Box<(Node, Node)>),
    /// The common case: something of the event against a constant, which is not copied.
    CompareConst(Compare, Box<(Node, Value<'static>)>),
    In {
        negated: bool,
        sides: Box<(Node, Node)>,
    },
    Default(Box<(Node, Node)>),
    If {
        arms: Box<[(Node, Node)]>,
        otherwise: Option<Box<Node>>,
    },
    Block {
        lines: Box<[Line]>,
        result: Box<Node>,
    },
    Match(Box<Match>),
    Each(Box<Each>),
    With(Box<With>),
    Without(Box<Without>),
    Emit(Box<Emission>),
    Try(Box<Try>),
    Rest(Box<Rest>),
    Text(Box<[Piece]>),
    Array(Box<[Element]>),
    Object {
        shape: Arc<Shape>,
        values: Box<[Node]>,
    },
    ObjectOf(Box<[Member]>),
    Call(Box<Call>),
    CallPattern(Box<CallPattern>),
    CallPrepared(Box<CallPrepared>),
    CallLambda(Box<CallLambda>),
    CallFunction {
        function: u16,
        args: Box<[Node]>,
    },
    Drop,
    Fail(Box<Node>),
    /// Counts a branch; only in programs that were compiled to do so.
    Covered(Box<Covered>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Event,
    Id,
    Source,
    Type,
    Subject,
    Time,
    Topic,
    Seq,
    Key,
    ContentType,
    TraceId,
    Headers,
    Extensions,
    Data,
    Ctx,
    Trigger,
    Function,
    Attempt,
    Now,
    Env,
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) base: Base,
    pub(crate) steps: Box<[Step]>,
}

#[derive(Debug)]
pub(crate) enum Base {
    Data,
    Headers,
    Extensions,
    Env,
    Local(u16),
    Node(Node),
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    /// `?.` or `?[`: null instead of an error where there is nothing to reach into.
    pub(crate) safe: bool,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Key { key: Arc<str>, tag: u32 },
    Index(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arith {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug)]
pub(crate) enum Piece {
    Text(Box<str>),
    Value(Node),
}

#[derive(Debug)]
pub(crate) enum Element {
    Item(Node),
    Spread(Node),
}

#[derive(Debug)]
pub(crate) enum Member {
    Known(Arc<str>, Node),
    Computed(Node, Node),
    Spread(Node),
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) call: Args,
    pub(crate) run: PureFn,
}

#[derive(Debug)]
pub(crate) struct CallPattern {
    pub(crate) call: Args,
    pub(crate) run: PatternFn,
    /// Compiled already if the pattern is a constant.
    pub(crate) regex: Option<Expression>,
}

#[derive(Debug)]
pub(crate) struct CallPrepared {
    pub(crate) call: Args,
    pub(crate) prepare: Prepare,
    pub(crate) run: PreparedFn,
    /// Prepared already if the argument is a constant.
    pub(crate) ready: Option<Prepared>,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) name: &'static str,
    pub(crate) args: Box<[Node]>,
    /// The types that each argument may have, checked before the function sees them.
    pub(crate) expected: Box<[Types]>,
}

#[derive(Debug)]
pub(crate) struct CallLambda {
    pub(crate) call: Args,
    pub(crate) run: LambdaFn,
    pub(crate) lambda: Lambda,
}

/// A lambda: its parameters are slots of the frame around it.
#[derive(Debug)]
pub(crate) struct Lambda {
    pub(crate) params: Box<[u16]>,
    pub(crate) body: Node,
}
