//! The raw shape of a configuration: TOML as a tree in which every key and value knows where it was written.

use std::borrow::Cow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::codes;
use super::problem::{Problem, Problems};
use super::texts::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it is written; of a table, its header.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value of TOML.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string, decoded.
    String(String),
    /// An integer; TOML asks for 64 bits, more is refused by whoever reads it.
    Integer(i128),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date or a time, as written.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table, in the order written.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub key_span: Span,
    /// Its value.
    pub node: Node,
}

/// A step into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An element of an array.
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

impl Node {
    /// An empty table that is written nowhere but at `span`.
    pub fn empty(span: Span) -> Self {
        Self { span, value: Value::Table(Vec::new()) }
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of an array; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The value at the end of `path`.
    pub fn at(&self, path: &[Step<'_>]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        })
    }

    /// The place of the value at the end of `path`; as near to it as the tree goes.
    pub fn span_of(&self, path: &[Step<'_>]) -> Span {
        (0..=path.len()).rev().find_map(|n| self.at(&path[..n])).unwrap_or(self).span.clone()
    }

    /// What TOML calls this kind of value, with its article.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// A text that is equal for equal values, whatever the spelling: what fingerprints are made of.
    pub fn canonical(&self, out: &mut String) {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ignored: std::fmt::Result = match &self.value {
            Value::String(text) => write!(out, "{text:?}"),
            Value::Integer(n) => write!(out, "{n}"),
            Value::Float(n) => write!(out, "{n:?}"),
            Value::Boolean(b) => write!(out, "{b}"),
            Value::Datetime(text) => write!(out, "@{text}"),
            Value::Array(items) => {
                out.push('[');
                for item in items {
                    item.canonical(out);
                    out.push(',');
                }
                write!(out, "]")
            }
            Value::Table(entries) => {
                let mut sorted: Vec<&Entry> = entries.iter().collect();
                sorted.sort_by(|a, b| a.key.cmp(&b.key));
                out.push('{');
                for entry in sorted {
                    let _ignored: std::fmt::Result = write!(out, "{:?}:", entry.key);
                    entry.node.canonical(out);
                    out.push(',');
                }
                write!(out, "}}")
            }
        };
    }
}

/// Reads TOML whose first byte has the position `base`. Every syntax error is reported; what could be read is in the
/// tree all the same, so that errors of other kinds are found in the same go.
pub fn parse(text: &str, base: usize, problems: &mut Problems) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let mut message = error.message().trim().replace('\n', ", ");
        if message.is_empty() {
            message = "not TOML".to_owned();
        }
        problems.push(Problem::error(&codes::SYNTAX, base + span.start..base + span.end, message));
    }
    let span = table.span();
    convert_table(table.into_inner(), shift(span, base), base)
}

/// Reads one TOML value, as an environment variable or a flag gives it. What is not TOML is a string.
pub fn parse_value(text: &str, base: usize) -> Node {
    match DeValue::parse(text) {
        Ok(value) if !matches!(value.get_ref(), DeValue::Datetime(_)) => convert(value, base),
        _ => Node { span: base..base + text.len(), value: Value::String(text.to_owned()) },
    }
}

fn shift(span: Span, base: usize) -> Span {
    base + span.start..base + span.end
}

fn convert(value: Spanned<DeValue<'_>>, base: usize) -> Node {
    let span = shift(value.span(), base);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(n) => Value::Integer(i128::from_str_radix(n.as_str(), n.radix()).unwrap_or(i128::MAX)),
        DeValue::Float(n) => Value::Float(n.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Boolean(b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|v| convert(v, base)).collect()),
        DeValue::Table(table) => return convert_table(table, span, base),
    };
    Node { span, value }
}

fn convert_table(table: DeTable<'_>, span: Span, base: usize) -> Node {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: shift(key.span(), base),
            key: Cow::into_owned(key.into_inner()),
            node: convert(value, base),
        })
        .collect();
    entries.sort_by_key(|e| (e.key_span.start, e.node.span.start));
    Node { span, value: Value::Table(entries) }
}
