//! Static types: the set of types that a value may have, and what operators make of such sets. A set that is too wide
//! never reports anything; what is reported here can never work.

mod shape;

use std::fmt;

use crate::ast::BinaryOp;
use crate::json::Kind;
use crate::value::Value;

pub use shape::{Field, Shape, ShapeError};

/// A set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Types(u16);

impl Types {
    /// No type: an expression that never gives a value, such as `fail`.
    pub const NEVER: Self = Self(0);
    /// `null`
    pub const NULL: Self = Self(1);
    /// `true` and `false`
    pub const BOOL: Self = Self(2);
    /// 64-bit integers.
    pub const INT: Self = Self(4);
    /// Other numbers.
    pub const DEC: Self = Self(8);
    /// Text.
    pub const STRING: Self = Self(16);
    /// Arrays.
    pub const ARRAY: Self = Self(32);
    /// Objects.
    pub const OBJECT: Self = Self(64);
    /// Points in time.
    pub const TIME: Self = Self(128);
    /// Lengths of time.
    pub const DURATION: Self = Self(256);
    /// Every number.
    pub const NUMBER: Self = Self(4 | 8);
    /// What JSON has.
    pub const JSON: Self = Self(127);
    /// Every type.
    pub const ANY: Self = Self(511);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::NULL, "null"),
        (Self::BOOL, "bool"),
        (Self::INT, "int"),
        (Self::DEC, "decimal"),
        (Self::STRING, "string"),
        (Self::ARRAY, "array"),
        (Self::OBJECT, "object"),
        (Self::TIME, "timestamp"),
        (Self::DURATION, "duration"),
    ];

    /// The type of a value.
    #[inline]
    pub fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Int(_) => Self::INT,
            Value::Dec(_) | Value::Number(_) => Self::DEC,
            Value::Str(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Node(node) if node.kind() == Kind::Array => Self::ARRAY,
            Value::Node(_) | Value::Object(_) => Self::OBJECT,
            Value::Timestamp(_) => Self::TIME,
            Value::Duration(_) => Self::DURATION,
            Value::Drop => Self::NEVER,
        }
    }

    /// Whether every type of `other` is in the set.
    #[inline]
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the sets have a type in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without the types of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names that programs write.
    pub(crate) fn names() -> Vec<&'static str> {
        Self::NAMES.iter().map(|(_, name)| *name).chain(["number", "any"]).collect()
    }

    /// Integers and decimals are compared with one another.
    const fn numbers_joined(self) -> Self {
        if self.overlaps(Self::NUMBER) { self.or(Self::NUMBER) } else { self }
    }

    /// Reads `string | array` as signatures write it.
    pub(crate) fn parse(text: &str) -> Self {
        text.split('|').fold(Self::NEVER, |set, name| {
            set.or(match name.trim() {
                "any" => Self::ANY,
                "number" => Self::NUMBER,
                name => Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::NEVER, |(ty, _)| *ty),
            })
        })
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any value");
        }
        if *self == Self::JSON {
            return f.write_str("any JSON value");
        }
        let mut rest = *self;
        let mut names = Vec::new();
        if rest.holds(Self::NUMBER) {
            rest = rest.without(Self::NUMBER);
            names.push("number");
        }
        names.extend(Self::NAMES.iter().filter(|(ty, _)| rest.overlaps(*ty)).map(|(_, name)| *name));
        match names.as_slice() {
            [] => f.write_str("nothing"),
            [one] => f.write_str(one),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}

/// Whether values of the two sets can ever be equal.
pub(crate) fn equatable(a: Types, b: Types) -> bool {
    a == Types::NEVER || b == Types::NEVER || a.numbers_joined().overlaps(b.numbers_joined())
}

/// Whether values of the two sets can ever have an order.
pub(crate) fn orderable(a: Types, b: Types) -> bool {
    let unordered = Types::NULL.or(Types::ARRAY).or(Types::OBJECT);
    a == Types::NEVER
        || b == Types::NEVER
        || a.without(unordered).numbers_joined().overlaps(b.without(unordered).numbers_joined())
}

/// The types that an arithmetic operator can give; nothing if it can never work.
pub(crate) fn arithmetic(op: BinaryOp, a: Types, b: Types) -> Option<Types> {
    if a == Types::NEVER || b == Types::NEVER {
        return Some(Types::ANY);
    }
    let both = |left: Types, right: Types| a.overlaps(left) && b.overlaps(right);
    let mut result = Types::NEVER;
    if both(Types::NUMBER, Types::NUMBER) {
        let whole = op != BinaryOp::Divide && !a.overlaps(Types::DEC) && !b.overlaps(Types::DEC);
        result = result.or(if whole { Types::INT } else { Types::NUMBER });
    }
    let rules: &[(Types, Types, Types)] = match op {
        BinaryOp::Add => &[
            (Types::STRING, Types::STRING, Types::STRING),
            (Types::ARRAY, Types::ARRAY, Types::ARRAY),
            (Types::TIME, Types::DURATION, Types::TIME),
            (Types::DURATION, Types::TIME, Types::TIME),
            (Types::DURATION, Types::DURATION, Types::DURATION),
        ],
        BinaryOp::Subtract => &[
            (Types::TIME, Types::TIME, Types::DURATION),
            (Types::TIME, Types::DURATION, Types::TIME),
            (Types::DURATION, Types::DURATION, Types::DURATION),
        ],
        BinaryOp::Multiply => {
            &[(Types::DURATION, Types::INT, Types::DURATION), (Types::INT, Types::DURATION, Types::DURATION)]
        }
        BinaryOp::Divide => &[(Types::DURATION, Types::DURATION, Types::NUMBER)],
        BinaryOp::Remainder => &[(Types::DURATION, Types::DURATION, Types::DURATION)],
        _ => &[],
    };
    for (left, right, gives) in rules {
        if both(*left, *right) {
            result = result.or(*gives);
        }
    }
    (result != Types::NEVER).then_some(result)
}
