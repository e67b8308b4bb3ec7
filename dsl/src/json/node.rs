//! Reading a document through its tape.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::{Doc, Node, decode};
use crate::number::{self, Number};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Null = 0,
    True = 1,
    False = 2,
    /// A number without fraction and exponent.
    Integer = 3,
    Number = 4,
    /// A string without escapes.
    Plain = 5,
    Escaped = 6,
    Array = 7,
    Object = 8,
}

const START_BITS: u32 = 28;
const START_MASK: u32 = (1 << START_BITS) - 1;

impl Node {
    #[inline]
    pub(super) fn new(tag: Tag, start: usize, end: usize, next: u32, count: u32) -> Self {
        Self { head: start as u32 & START_MASK | (tag as u32) << START_BITS, end: end as u32, next, count }
    }

    #[inline]
    pub(super) fn tag(self) -> Tag {
        match self.head >> START_BITS {
            0 => Tag::Null,
            1 => Tag::True,
            2 => Tag::False,
            3 => Tag::Integer,
            4 => Tag::Number,
            5 => Tag::Plain,
            6 => Tag::Escaped,
            7 => Tag::Array,
            _ => Tag::Object,
        }
    }

    #[inline]
    pub(super) fn start(self) -> usize {
        (self.head & START_MASK) as usize
    }

    /// The inside of a string, without its quotes.
    #[inline]
    pub(super) fn inner(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start() + 1..(self.end as usize).saturating_sub(1)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn inner_text(self, text: &str) -> &str {
        text.get(self.start() + 1..(self.end as usize).saturating_sub(1)).unwrap_or_default()
    }
}

/// What a lookup compares before bytes: the length and the first and last bytes of a key.
#[inline]
pub(crate) fn key_tag(key: &[u8]) -> u32 {
    let length = (key.len() as u32) << 24;
    match key {
        [] => 0,
        [a] => length | *a as u32,
        [a, .., z] => length | (key[key.len() / 2] as u32) << 16 | (*z as u32) << 8 | *a as u32,
    }
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'e> {
    doc: &'e Doc,
    index: u32,
}

impl<'e> NodeRef<'e> {
    pub(super) fn new(doc: &'e Doc, index: u32) -> Self {
        Self { doc, index }
    }

    #[inline]
    fn node(self) -> Node {
        self.doc.tape[self.index as usize]
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match self.node().tag() {
            Tag::Null => Kind::Null,
            Tag::True | Tag::False => Kind::Bool,
            Tag::Integer | Tag::Number => Kind::Number,
            Tag::Plain | Tag::Escaped => Kind::String,
            Tag::Array => Kind::Array,
            Tag::Object => Kind::Object,
        }
    }

    /// The member of an object; nothing for other kinds.
    pub fn get(self, key: &str) -> Option<NodeRef<'e>> {
        self.get_tagged(key, key_tag(key.as_bytes()))
    }

    /// [`NodeRef::get`] with the tag of the key computed before.
    #[inline]
    pub(crate) fn get_tagged(self, key: &str, tag: u32) -> Option<NodeRef<'e>> {
        let tape = self.doc.tape.as_slice();
        let node = tape[self.index as usize];
        if node.tag() != Tag::Object {
            return None;
        }
        let text = self.doc.text.as_bytes();
        let mut at = self.index + 1;
        while at < node.next {
            let candidate = tape[at as usize];
            let hit = if candidate.tag() == Tag::Escaped {
                decode(candidate.inner_text(&self.doc.text)) == key
            } else {
                candidate.count == tag && candidate.inner(text) == key.as_bytes()
            };
            if hit {
                return Some(NodeRef { doc: self.doc, index: at + 1 });
            }
            at = candidate.next;
        }
        None
    }

    /// The element of an array, counted from 0; nothing for other kinds. Costs a step for each element before it.
    pub fn index(self, position: usize) -> Option<NodeRef<'e>> {
        let node = self.node();
        if node.tag() != Tag::Array || position >= node.count as usize {
            return None;
        }
        self.iter().nth(position)
    }

    /// The number of elements or members; 0 for scalars.
    #[inline]
    pub fn len(self) -> usize {
        let node = self.node();
        if matches!(node.tag(), Tag::Array | Tag::Object) { node.count as usize } else { 0 }
    }

    /// Whether there are no elements or members.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The elements of an array; nothing for other kinds.
    pub fn iter(self) -> Elements<'e> {
        let node = self.node();
        let end = if node.tag() == Tag::Array { node.next } else { 0 };
        Elements { doc: self.doc, at: self.index + 1, end }
    }

    /// The members of an object in their order; nothing for other kinds.
    pub fn entries(self) -> Entries<'e> {
        let node = self.node();
        let end = if node.tag() == Tag::Object { node.next } else { 0 };
        Entries { doc: self.doc, at: self.index + 1, end }
    }

    /// The text of a string: borrowed unless it holds escapes.
    pub fn as_str(self) -> Option<Cow<'e, str>> {
        let node = self.node();
        match node.tag() {
            Tag::Plain => Some(Cow::Borrowed(node.inner_text(&self.doc.text))),
            Tag::Escaped => Some(Cow::Owned(decode(node.inner_text(&self.doc.text)))),
            _ => None,
        }
    }

    /// Whether a string without escapes is this text; nothing for other values.
    #[inline]
    pub(crate) fn is_text(self, text: &str) -> Option<bool> {
        let node = self.node();
        (node.tag() == Tag::Plain).then(|| node.inner(self.doc.text.as_bytes()) == text.as_bytes())
    }

    /// `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        match self.node().tag() {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }

    /// A whole number that fits 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        match self.number()? {
            Number::Int(value) => Some(value),
            Number::Dec(value) => number::whole(value),
            Number::Raw => None,
        }
    }

    /// A number that a decimal of 28 digits holds exactly.
    pub fn as_decimal(self) -> Option<Decimal> {
        match self.number()? {
            Number::Int(value) => Some(Decimal::from(value)),
            Number::Dec(value) => Some(value),
            Number::Raw => None,
        }
    }

    pub(crate) fn number(self) -> Option<Number> {
        let node = self.node();
        match node.tag() {
            Tag::Integer => Some(number::read(self.raw_text(), true)),
            Tag::Number => Some(number::read(self.raw_text(), false)),
            _ => None,
        }
    }

    /// The bytes as they were received, quotes and brackets included.
    pub fn raw(self) -> &'e [u8] {
        self.raw_text().as_bytes()
    }

    /// [`NodeRef::raw`] as text.
    pub fn raw_text(self) -> &'e str {
        let node = self.node();
        self.doc.text.get(node.start()..node.end as usize).unwrap_or_default()
    }
}

/// Iterator over the elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'e> {
    doc: &'e Doc,
    at: u32,
    end: u32,
}

impl<'e> Iterator for Elements<'e> {
    type Item = NodeRef<'e>;

    #[inline]
    fn next(&mut self) -> Option<NodeRef<'e>> {
        if self.at >= self.end {
            return None;
        }
        let element = NodeRef { doc: self.doc, index: self.at };
        self.at = element.node().next;
        Some(element)
    }
}

/// Iterator over the members of an object.
#[derive(Clone, Debug)]
pub struct Entries<'e> {
    doc: &'e Doc,
    at: u32,
    end: u32,
}

impl<'e> Iterator for Entries<'e> {
    type Item = (Cow<'e, str>, NodeRef<'e>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let key = NodeRef { doc: self.doc, index: self.at };
        let value = NodeRef { doc: self.doc, index: self.at + 1 };
        self.at = key.node().next;
        Some((key.as_str().unwrap_or_default(), value))
    }
}
