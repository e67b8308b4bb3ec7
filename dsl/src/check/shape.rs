//! What a JSON value looks like: read from a JSON Schema, and used to check programs before they run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rust_decimal::Decimal;

use super::Types;
use crate::json::{Doc, Kind, Limits, NodeRef};

/// Deepest shape; below, everything is possible.
const DEEPEST: u32 = 32;
/// Most parts of one shape, with what it refers to written out; beyond, everything is possible.
const MOST: usize = 20_000;

/// What is known about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The types that it may have.
    pub types: Types,
    /// The members that are known, if it is an object.
    pub fields: BTreeMap<String, Field>,
    /// Whether an object may have other members.
    pub open: bool,
    /// The elements, if it is an array of which they are known.
    pub items: Option<Box<Shape>>,
    /// The strings that it may be, if they are listed.
    pub texts: Option<BTreeSet<String>>,
    /// The numbers that it may be, if they are listed.
    pub numbers: Option<BTreeSet<Decimal>>,
    /// Which of true and false it may be, if that is listed.
    pub bools: Option<BTreeSet<bool>>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it looks like.
    pub shape: Shape,
    /// Whether it is always there.
    pub required: bool,
}

/// A JSON Schema that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    message: String,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ShapeError {}

impl Shape {
    /// A shape that any JSON value has.
    pub fn any() -> Self {
        Self {
            types: Types::JSON,
            fields: BTreeMap::new(),
            open: true,
            items: None,
            texts: None,
            numbers: None,
            bools: None,
        }
    }

    fn of(types: Types) -> Self {
        Self { types, ..Self::any() }
    }

    /// Reads a JSON Schema: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `oneOf`,
    /// `anyOf`, `allOf` and local `$ref`. What else it says restricts values further, and is left to validation.
    ///
    /// # Errors
    /// When the text is no JSON, or one of these keywords has a value that makes no sense, or refers to nothing.
    pub fn from_json_schema(text: &str) -> Result<Self, ShapeError> {
        let doc = Doc::parse(text.as_bytes().to_vec().into(), &Limits::default())
            .map_err(|why| error(format!("the schema is no JSON: {why}")))?;
        let mut reader = Reader { root: doc.root(), way: Vec::new(), parts: 0 };
        reader.read(doc.root(), 0)
    }

    /// The member of a name, if it is known.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// What has one of the two shapes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let has = |of: Types| (self.types.overlaps(of), other.types.overlaps(of));
        let (strings, digits, truths) = (has(Types::STRING), has(Types::NUMBER), has(Types::BOOL));
        let texts = either(strings, self.texts, other.texts);
        let numbers = either(digits, self.numbers, other.numbers);
        let bools = either(truths, self.bools, other.bools);
        let (left, right) = (self.types.overlaps(Types::OBJECT), other.types.overlaps(Types::OBJECT));
        let types = self.types.or(other.types);
        let items = match (self.types.overlaps(Types::ARRAY), other.types.overlaps(Types::ARRAY)) {
            (true, false) => self.items,
            (false, true) => other.items,
            (true, true) => self.items.zip(other.items).map(|(a, b)| Box::new(a.or(*b))),
            (false, false) => None,
        };
        let (fields, open) = match (left, right) {
            (true, false) => (self.fields, self.open),
            (false, true) => (other.fields, other.open),
            (false, false) => (BTreeMap::new(), true),
            (true, true) => {
                let mut fields = self.fields;
                let mut theirs = other.fields;
                for (name, field) in &mut fields {
                    match theirs.remove(name) {
                        Some(their) => {
                            let own = std::mem::replace(&mut field.shape, Self::any());
                            field.shape = own.or(their.shape);
                            field.required &= their.required;
                        }
                        None => field.only_in_one(other.open),
                    }
                }
                for (name, mut field) in theirs {
                    field.only_in_one(self.open);
                    fields.insert(name, field);
                }
                (fields, self.open || other.open)
            }
        };
        Self { types, fields, open, items, texts, numbers, bools }
    }

    /// What has both shapes.
    fn and(self, other: Self) -> Self {
        let mut fields = self.fields;
        for (name, their) in other.fields {
            match fields.remove(&name) {
                Some(own) => {
                    let required = own.required || their.required;
                    fields.insert(name, Field { shape: own.shape.and(their.shape), required });
                }
                None => {
                    fields.insert(name, their);
                }
            }
        }
        let items = match (self.items, other.items) {
            (Some(own), Some(their)) => Some(Box::new(own.and(*their))),
            (own, their) => own.or(their),
        };
        Self {
            types: self.types.and(other.types),
            fields,
            open: self.open && other.open,
            items,
            texts: both(self.texts, other.texts),
            numbers: both(self.numbers, other.numbers),
            bools: both(self.bools, other.bools),
        }
    }
}

/// The values of two alternatives, of which each may have such values or not. What is not listed may be any.
fn either<T: Ord>(has: (bool, bool), own: Option<BTreeSet<T>>, their: Option<BTreeSet<T>>) -> Option<BTreeSet<T>> {
    match has {
        (true, false) => own,
        (false, true) => their,
        (true, true) => own.zip(their).map(|(own, their)| own.into_iter().chain(their).collect()),
        (false, false) => None,
    }
}

/// The values that both lists have.
fn both<T: Ord>(own: Option<BTreeSet<T>>, their: Option<BTreeSet<T>>) -> Option<BTreeSet<T>> {
    match (own, their) {
        (Some(own), Some(their)) => Some(own.into_iter().filter(|value| their.contains(value)).collect()),
        (own, their) => own.or(their),
    }
}

impl Field {
    /// The other alternative does not name it; if that is open, it may hold anything under the name.
    fn only_in_one(&mut self, other_open: bool) {
        self.required = false;
        if other_open {
            self.shape = Shape::any();
        }
    }
}

fn error(message: impl Into<String>) -> ShapeError {
    ShapeError { message: message.into() }
}

struct Reader<'s> {
    root: NodeRef<'s>,
    /// The references that are being followed: a shape that holds itself ends there.
    way: Vec<String>,
    parts: usize,
}

impl<'s> Reader<'s> {
    fn read(&mut self, schema: NodeRef<'s>, depth: u32) -> Result<Shape, ShapeError> {
        self.parts += 1;
        if depth > DEEPEST || self.parts > MOST {
            return Ok(Shape::any());
        }
        match schema.kind() {
            Kind::Bool if schema.as_bool() == Some(true) => return Ok(Shape::any()),
            Kind::Bool => return Ok(Shape::of(Types::NEVER)),
            Kind::Object => {}
            _ => return Err(error("a schema is an object, true or false")),
        }
        let mut shape = self.own(schema, depth)?;
        if let Some(reference) = schema.get("$ref") {
            shape = shape.and(self.reference(reference, depth)?);
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(all) = schema.get(keyword) {
                let alternatives = self.list(keyword, all, depth)?;
                if let Some(either) = alternatives.into_iter().reduce(Shape::or) {
                    shape = shape.and(either);
                }
            }
        }
        if let Some(all) = schema.get("allOf") {
            shape = self.list("allOf", all, depth)?.into_iter().fold(shape, Shape::and);
        }
        Ok(shape)
    }

    fn list(&mut self, keyword: &str, all: NodeRef<'s>, depth: u32) -> Result<Vec<Shape>, ShapeError> {
        if all.kind() != Kind::Array || all.is_empty() {
            return Err(error(format!("`{keyword}` is a list of schemas")));
        }
        all.iter().map(|schema| self.read(schema, depth + 1)).collect()
    }

    /// What the schema says itself.
    fn own(&mut self, schema: NodeRef<'s>, depth: u32) -> Result<Shape, ShapeError> {
        let mut shape = Shape::any();
        if let Some(types) = schema.get("type") {
            shape.types = match types.kind() {
                Kind::Array => {
                    types.iter().try_fold(Types::NEVER, |all, one| Ok::<_, ShapeError>(all.or(type_of(one)?)))?
                }
                _ => type_of(types)?,
            };
        }
        if let Some(values) = schema.get("enum") {
            if values.kind() != Kind::Array {
                return Err(error("`enum` is a list of values"));
            }
            shape = shape.and(listed(values.iter()));
        }
        if let Some(value) = schema.get("const") {
            shape = shape.and(listed([value].into_iter()));
        }
        if let Some(properties) = schema.get("properties") {
            if properties.kind() != Kind::Object {
                return Err(error("`properties` is an object of schemas"));
            }
            for (name, property) in properties.entries() {
                let name = name.into_owned();
                let property = self.read(property, depth + 1).map_err(|why| within(&name, &why))?;
                shape.fields.insert(name, Field { shape: property, required: false });
            }
        }
        if let Some(required) = schema.get("required") {
            for name in required.iter() {
                let Some(name) = name.as_str() else { return Err(error("`required` is a list of names")) };
                let unknown = || Field { shape: Shape::any(), required: true };
                shape.fields.entry(name.into_owned()).or_insert_with(unknown).required = true;
            }
        }
        if let Some(additional) = schema.get("additionalProperties") {
            // Those of a schema of their own have names that nobody knows.
            shape.open = additional.as_bool() != Some(false);
        }
        if schema.get("patternProperties").is_some() {
            shape.open = true;
        }
        if let Some(items) = schema.get("items")
            && schema.get("prefixItems").is_none()
            && items.kind() != Kind::Array
        {
            let items = self.read(items, depth + 1).map_err(|why| within("items", &why))?;
            shape.items = Some(Box::new(items));
        }
        Ok(shape)
    }

    fn reference(&mut self, reference: NodeRef<'s>, depth: u32) -> Result<Shape, ShapeError> {
        let Some(text) = reference.as_str() else { return Err(error("`$ref` is a string")) };
        let Some(pointer) = text.strip_prefix('#') else {
            return Err(error(format!("`$ref` to `{text}`: only references within the schema (`#/$defs/…`) are read")));
        };
        if self.way.iter().any(|open| *open == *text) {
            return Ok(Shape::any());
        }
        let mut at = self.root;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match at.kind() {
                Kind::Array => part.parse().ok().and_then(|position| at.index(position)),
                _ => at.get(&part),
            };
            at = next.ok_or_else(|| error(format!("`$ref` to `{text}` leads to nothing")))?;
        }
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(error(format!("`$ref` to `{text}`: anchors are not read, only pointers (`#/$defs/…`)")));
        }
        self.way.push(text.into_owned());
        let shape = self.read(at, depth + 1);
        self.way.pop();
        shape
    }
}

/// What is one of these values.
fn listed<'s>(values: impl Iterator<Item = NodeRef<'s>> + Clone) -> Shape {
    let types = values.clone().fold(Types::NEVER, |all, value| all.or(type_of_value(value)));
    let numbers = values.clone().filter(|value| value.kind() == Kind::Number);
    Shape {
        texts: Some(values.clone().filter_map(|value| value.as_str().map(Into::into)).collect()),
        // One that no decimal holds exactly makes the list one of which nothing is known.
        numbers: numbers.map(NodeRef::as_decimal).collect(),
        bools: Some(values.filter_map(NodeRef::as_bool).collect()),
        ..Shape::of(types)
    }
}

fn within(name: &str, why: &ShapeError) -> ShapeError {
    error(format!("{name}: {}", why.message))
}

fn type_of(name: NodeRef<'_>) -> Result<Types, ShapeError> {
    let name = name.as_str().ok_or_else(|| error("`type` is a string or a list of strings"))?;
    Ok(match &*name {
        "null" => Types::NULL,
        "boolean" => Types::BOOL,
        // `1.0` is an integer in a schema and a decimal here.
        "integer" | "number" => Types::NUMBER,
        "string" => Types::STRING,
        "array" => Types::ARRAY,
        "object" => Types::OBJECT,
        other => return Err(error(format!("there is no type `{other}`"))),
    })
}

fn type_of_value(value: NodeRef<'_>) -> Types {
    match value.kind() {
        Kind::Null => Types::NULL,
        Kind::Bool => Types::BOOL,
        Kind::Number => Types::NUMBER,
        Kind::String => Types::STRING,
        Kind::Array => Types::ARRAY,
        Kind::Object => Types::OBJECT,
    }
}
