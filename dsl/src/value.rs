//! Values that programs compute with. What comes from the event is borrowed; what a program makes is shared.

mod object;
mod ops;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::json::{Kind, NodeRef};
use crate::number::{self, Number};

pub use object::{Object, Shape};
pub(crate) use object::{ObjectBuilder, SEARCHED, remove};
pub(crate) use ops::{Incomparable, compare, equal, unique_key};
pub use write::TooLarge;

/// Text: a slice of the event, or shared.
#[derive(Clone, Debug)]
pub enum Text<'e> {
    /// A slice of the event or of the context.
    Borrowed(&'e str),
    /// Made by the program, or one of its constants.
    Shared(Arc<str>),
}

impl Text<'_> {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl<'e> From<Cow<'e, str>> for Text<'e> {
    fn from(text: Cow<'e, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Shared(text.into()),
        }
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// The elements of an array, with their measure.
#[derive(Clone, Debug)]
pub struct Array<'e> {
    pub(crate) items: Vec<Value<'e>>,
    pub(crate) measure: Measure,
}

/// How deep a value is nested, and about how much there is to walk. Both are computed when a value is made: the depth is
/// capped there, so that nothing that walks values needs a cap of its own; the weight is what a walk costs, and counts a
/// shared part as often as it occurs (sixty doublings are sixty small arrays in memory, and 2^60 elements to walk).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    pub(crate) depth: u32,
    pub(crate) weight: u64,
}

impl Measure {
    pub(crate) fn around(values: &[Value<'_>]) -> Self {
        values.iter().fold(Self { depth: 1, weight: 0 }, |all, value| {
            let inner = value.measure();
            Self {
                depth: all.depth.max(inner.depth + 1),
                weight: all.weight.saturating_add(inner.weight).saturating_add(1),
            }
        })
    }
}

/// A value.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Value<'e> {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// An exact decimal.
    Dec(Decimal),
    /// A number that neither of the two holds exactly: its text, which passes through unchanged.
    Number(Text<'e>),
    /// Text.
    Str(Text<'e>),
    /// An array or object of the event, read when it is used.
    Node(NodeRef<'e>),
    /// An array that the program made.
    Array(Arc<Array<'e>>),
    /// An object that the program made.
    Object(Arc<Object<'e>>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A length of time in microseconds.
    Duration(i64),
    /// `drop`: the event is dropped. Only ever the result of a whole function.
    Drop,
}

impl<'e> Value<'e> {
    /// The value of a node: scalars are read, arrays and objects stay where they are.
    #[inline]
    pub fn from_node(node: NodeRef<'e>) -> Self {
        match node.kind() {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(node.as_bool() == Some(true)),
            Kind::String => Self::Str(node.as_str().unwrap_or_default().into()),
            Kind::Number => match node.number() {
                Some(Number::Int(value)) => Self::Int(value),
                Some(Number::Dec(value)) => Self::Dec(value),
                _ => Self::Number(Text::Borrowed(node.raw_text())),
            },
            Kind::Array | Kind::Object => Self::Node(node),
        }
    }

    /// A copy of a node that borrows nothing, for documents that a program parsed itself.
    pub(crate) fn owned_from_node(node: NodeRef<'_>) -> Value<'e> {
        match node.kind() {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(node.as_bool() == Some(true)),
            Kind::String => Self::text(&node.as_str().unwrap_or_default()),
            Kind::Number => match node.number() {
                Some(Number::Int(value)) => Self::Int(value),
                Some(Number::Dec(value)) => Self::Dec(value),
                _ => Self::Number(Text::Shared(node.raw_text().into())),
            },
            Kind::Array => Self::array(node.iter().map(Self::owned_from_node).collect()),
            Kind::Object => {
                let mut object = ObjectBuilder::with_capacity(node.len());
                for (key, value) in node.entries() {
                    object.push_new(Text::Shared(key.into()), Self::owned_from_node(value));
                }
                object.finish()
            }
        }
    }

    /// Shared text.
    pub fn text(text: &str) -> Self {
        Self::Str(Text::Shared(text.into()))
    }

    /// Shared text from an owned string.
    pub(crate) fn string(text: String) -> Self {
        Self::Str(Text::Shared(text.into()))
    }

    /// An array.
    pub fn array(items: Vec<Value<'e>>) -> Self {
        let measure = Measure::around(&items);
        Self::Array(Arc::new(Array { items, measure }))
    }

    /// A decimal, or the integer that it is.
    pub(crate) fn number(value: Decimal) -> Self {
        number::whole(value).map_or(Self::Dec(value), Self::Int)
    }

    /// What comes from an event counts as one level: its parser has a limit of its own.
    #[inline]
    pub(crate) fn measure(&self) -> Measure {
        match self {
            Self::Array(array) => array.measure,
            Self::Object(object) => object.measure,
            Self::Node(node) => Measure { depth: 1, weight: node.raw().len() as u64 / 8 },
            _ => Measure::default(),
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The name of the type, as `type_of` gives it and messages say it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Dec(_) => "decimal",
            Self::Number(_) => "number",
            Self::Str(_) => "string",
            Self::Node(node) if node.kind() == Kind::Array => "array",
            Self::Node(_) | Self::Object(_) => "object",
            Self::Array(_) => "array",
            Self::Timestamp(_) => "timestamp",
            Self::Duration(_) => "duration",
            Self::Drop => "drop",
        }
    }

    /// The elements of an array.
    pub fn elements(&self) -> Option<Vec<Value<'e>>> {
        match self {
            Self::Array(array) => Some(array.items.clone()),
            Self::Node(node) if node.kind() == Kind::Array => Some(node.iter().map(Value::from_node).collect()),
            _ => None,
        }
    }

    /// The number of elements of an array.
    pub(crate) fn array_len(&self) -> Option<usize> {
        match self {
            Self::Array(array) => Some(array.items.len()),
            Self::Node(node) if node.kind() == Kind::Array => Some(node.len()),
            _ => None,
        }
    }

    /// The members of an object, in order.
    pub fn members(&self) -> Option<Vec<(Text<'e>, Value<'e>)>> {
        match self {
            Self::Object(object) => Some(object.iter_texts().map(|(key, value)| (key, value.clone())).collect()),
            Self::Node(node) if node.kind() == Kind::Object => {
                Some(node.entries().map(|(key, value)| (key.into(), Value::from_node(value))).collect())
            }
            _ => None,
        }
    }

    /// The member of an object; nothing if it is missing or this is not an object.
    pub fn get(&self, key: &str) -> Option<Value<'e>> {
        match self {
            Self::Object(object) => object.get(key).cloned(),
            Self::Node(node) => node.get(key).map(Value::from_node),
            _ => None,
        }
    }

    /// For messages: the value as JSON, cut after about 60 characters.
    pub fn preview(&self) -> String {
        const LONGEST: usize = 60;
        let mut out = Vec::new();
        // Too large only means that the preview is cut.
        let cut = self.write_json(&mut out, 4 * LONGEST).is_err();
        let text = String::from_utf8_lossy(&out);
        if !cut && text.chars().count() <= LONGEST {
            return text.into_owned();
        }
        text.chars().take(LONGEST).chain("…".chars()).collect()
    }
}

/// Loops over the elements of an array wherever they are, without collecting them first.
pub(crate) enum Items<'a, 'e> {
    Made(std::slice::Iter<'a, Value<'e>>),
    Read(crate::json::Elements<'e>),
}

impl<'e> Value<'e> {
    pub(crate) fn items(&self) -> Option<Items<'_, 'e>> {
        match self {
            Self::Array(array) => Some(Items::Made(array.items.iter())),
            Self::Node(node) if node.kind() == Kind::Array => Some(Items::Read(node.iter())),
            _ => None,
        }
    }
}

impl<'e> Iterator for Items<'_, 'e> {
    type Item = Value<'e>;

    #[inline]
    fn next(&mut self) -> Option<Value<'e>> {
        match self {
            Self::Made(items) => items.next().cloned(),
            Self::Read(nodes) => nodes.next().map(Value::from_node),
        }
    }
}
