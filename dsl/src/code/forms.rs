//! The compiled form of `match`, comprehensions, updates, `emit`, `try`, and of the lines of a block.

use std::sync::Arc;

use super::Node;
use crate::ast::Span;
use crate::check::Types;
use crate::value::Value;

/// A line of a block. What a `let` takes apart is a line for each name.
#[derive(Debug)]
pub(crate) enum Line {
    Let(u16, Node),
    Do(Node),
}

/// What is left of a container in a slot when a pattern has taken its parts.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) slot: u16,
    pub(crate) kind: RestKind,
}

#[derive(Debug)]
pub(crate) enum RestKind {
    /// Elements behind the first and before the last ones.
    Array { before: usize, after: usize },
    /// Members of other keys.
    Object(Box<[Arc<str>]>),
}

#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) subject: Node,
    pub(crate) arms: Box<[Arm]>,
}

#[derive(Debug)]
pub(crate) struct Arm {
    /// Of the pattern.
    pub(crate) span: Span,
    pub(crate) pattern: Pattern,
    pub(crate) guard: Option<Node>,
    pub(crate) body: Node,
}

#[derive(Debug)]
pub(crate) enum Pattern {
    Any,
    Bind(u16),
    Equal(Value<'static>),
    Type {
        types: Types,
        bind: Option<u16>,
    },
    Array {
        before: Box<[Pattern]>,
        /// Nothing if the length is exact; the slot of `...rest` if it has a name.
        rest: Option<Option<u16>>,
        after: Box<[Pattern]>,
    },
    Object {
        members: Box<[(Arc<str>, Pattern)]>,
        rest: Option<u16>,
    },
    Or(Box<[Pattern]>),
}

#[derive(Debug)]
pub(crate) struct Each {
    pub(crate) yields: Yield,
    pub(crate) clauses: Box<[Clause]>,
}

#[derive(Debug)]
pub(crate) enum Yield {
    Item(Node),
    Items(Node),
    Member(Node, Node),
    Members(Node),
}

#[derive(Debug)]
pub(crate) enum Clause {
    For {
        items: Node,
        /// The element; or the key or position, and the value.
        first: u16,
        second: Option<u16>,
        /// What takes them apart.
        lines: Box<[Line]>,
    },
    If(Node),
}

#[derive(Debug)]
pub(crate) enum Key {
    Known(Arc<str>),
    Computed(Node),
}

#[derive(Debug)]
pub(crate) struct With {
    pub(crate) base: Node,
    pub(crate) changes: Box<[(Box<[Key]>, Node)]>,
}

#[derive(Debug)]
pub(crate) struct Without {
    pub(crate) base: Node,
    pub(crate) paths: Box<[Box<[Key]>]>,
}

#[derive(Debug)]
pub(crate) struct Emission {
    pub(crate) topic: Node,
    pub(crate) value: Node,
    pub(crate) key: Option<Node>,
}

#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) body: Node,
    /// Where the error is put for `otherwise`.
    pub(crate) error: Option<u16>,
    pub(crate) otherwise: Node,
    /// Stands for a call on the left of `??`.
    pub(crate) handles_call: bool,
}
