//! Reads Rust types out of a [`Node`] by serde, with errors that keep their parts: what was found, what was expected,
//! and where. A plain message could not be turned into a suggestion.

use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use std::collections::HashSet;
use std::fmt;

use super::texts::Span;
use super::tree::{Entry, Node, Value};

/// What serde had to say about a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where; the innermost value that was being read.
    pub span: Option<Span>,
}

/// The kinds of fault.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// A key that the type does not have.
    UnknownField {
        /// The key.
        name: String,
        /// The keys that there are.
        expected: &'static [&'static str],
    },
    /// A word that is none of the allowed ones.
    UnknownVariant {
        /// The word.
        name: String,
        /// The words that there are.
        expected: &'static [&'static str],
    },
    /// A key that must be there.
    Missing(&'static str),
    /// A value of another type.
    Type {
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// Anything else, in the words of the type.
    Other(String),
}

impl Fault {
    fn of(kind: FaultKind) -> Self {
        Self { kind, span: None }
    }

    fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::UnknownField { name, expected } => {
                write!(f, "no setting `{name}`; there are {}", list(expected))
            }
            FaultKind::UnknownVariant { name, expected } => write!(f, "not \"{name}\"; there are {}", list(expected)),
            FaultKind::Missing(name) => write!(f, "`{name}` is missing"),
            FaultKind::Type { found, expected } => write!(f, "must be {expected}; this is {found}"),
            FaultKind::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(FaultKind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(FaultKind::Type { found: name_found(found), expected: name_expected(&expected.to_string()) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Self::of(FaultKind::UnknownVariant { name: name.to_owned(), expected })
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Self::of(FaultKind::UnknownField { name: name.to_owned(), expected })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::of(FaultKind::Missing(name))
    }
}

fn name_found(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Map | Unexpected::StructVariant => "a table".into(),
        Unexpected::Seq | Unexpected::TupleVariant => "an array".into(),
        Unexpected::Bool(b) => format!("the boolean {b}"),
        Unexpected::Str(_) => "a string".into(),
        Unexpected::Signed(n) => format!("the integer {n}"),
        Unexpected::Unsigned(n) => format!("the integer {n}"),
        Unexpected::Float(n) => format!("the number {n}"),
        other => other.to_string(),
    }
}

/// serde's names of Rust types, in the words of TOML.
fn name_expected(expected: &str) -> String {
    let range = |low: &str, high: &str| format!("an integer from {low} to {high}");
    match expected {
        "u8" => range("0", "255"),
        "u16" => range("0", "65535"),
        "u32" => range("0", "4294967295"),
        "u64" | "usize" | "u128" => "an integer that is not negative".into(),
        "i32" => range("-2147483648", "2147483647"),
        "i8" | "i16" | "i64" | "isize" | "i128" => "an integer".into(),
        "f32" | "f64" => "a number".into(),
        other if other.starts_with("tuple struct ") => "a value of another type".into(),
        "a map" => "a table".into(),
        "a sequence" => "an array".into(),
        "string" => "a string".into(),
        other if other.starts_with("struct ") || other.contains("internally tagged enum") => "a table".into(),
        other if other.starts_with("enum ") => "a string".into(),
        other => other.to_owned(),
    }
}

/// The keys (by the position of the key) and elements (by the position of the value) to pass over, since their error is
/// known.
pub type Skip = HashSet<usize>;

/// A node as serde reads it.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The value.
    pub node: &'a Node,
    /// What is passed over.
    pub skip: &'a Skip,
}

impl<'de> de::Deserializer<'de> for At<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (Ok(n), _) => visitor.visit_i64(n),
                (_, Ok(n)) => visitor.visit_u64(n),
                _ => Err(Fault::of(FaultKind::Other("integers have at most 64 bits".into()))),
            },
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Boolean(b) => visitor.visit_bool(*b),
            Value::Datetime(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), skip: self.skip }),
            Value::Table(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None, skip: self.skip })
            }
        }
        .map_err(|fault| fault.at(&self.node.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self).map_err(|fault| fault.at(&self.node.span))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(&self.node.span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::String(text) => {
                let word: de::value::StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                de::Deserializer::deserialize_enum(word, name, variants, visitor)
            }
            Value::Table(entries) if entries.len() == 1 => {
                visitor.visit_enum(Choice { entry: &entries[0], skip: self.skip })
            }
            _ => Err(Fault::of(FaultKind::Type {
                found: self.node.kind().into(),
                expected: format!("one of {}", list(variants)),
            })),
        }
        .map_err(|fault| fault.at(&self.node.span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for At<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    skip: &'a Skip,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let skip = self.skip;
        let next = self.items.find(|node| !skip.contains(&node.span.start));
        next.map(|node| seed.deserialize(At { node, skip }).map_err(|fault| fault.at(&node.span))).transpose()
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Node>,
    skip: &'a Skip,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let skip = self.skip;
        let Some(entry) = self.entries.find(|entry| !skip.contains(&entry.key_span.start)) else { return Ok(None) };
        self.value = Some(&entry.node);
        let key: de::value::StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.at(&entry.key_span))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        match self.value.take() {
            Some(node) => seed.deserialize(At { node, skip: self.skip }).map_err(|fault| fault.at(&node.span)),
            None => Err(Fault::of(FaultKind::Other("a value was asked for before its key".into()))),
        }
    }
}

struct Choice<'a> {
    entry: &'a Entry,
    skip: &'a Skip,
}

impl<'de> de::EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        let word: de::value::StrDeserializer<'_, Fault> = self.entry.key.as_str().into_deserializer();
        let value = seed.deserialize(word).map_err(|fault| fault.at(&self.entry.key_span))?;
        Ok((value, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::of(FaultKind::Type {
            found: "a table".into(),
            expected: format!("the string \"{}\"", self.entry.key),
        }))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(At { node: &self.entry.node, skip: self.skip })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(At { node: &self.entry.node, skip: self.skip }, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(At { node: &self.entry.node, skip: self.skip }, visitor)
    }
}

/// `a`, `b` and `c`, in backquotes.
pub fn list(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [start @ .., last] => format!("{} and {last}", start.join(", ")),
    }
}
