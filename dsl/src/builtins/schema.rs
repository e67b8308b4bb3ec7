//! JSON Schema: a constant schema is prepared with the program.

use super::{Prepare, Prepared, Row, Run};
use crate::codes;
use crate::eval::{Machine, Result, weight};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "matches_schema",
        signature: "(value: any, schema: object | bool) -> bool",
        doc: "Whether the value conforms to a JSON Schema (2020-12 unless `$schema` names another draft). References \
              reach into the schema itself only; patterns take linear time.",
        examples: &[
            (
                "matches_schema({ id: 5 }, { type: 'object', required: ['id'], properties: { id: { type: 'integer' } } })",
                "true",
            ),
            ("matches_schema('x', { type: 'integer' })", "false"),
        ],
        run: Run::Prepared(PREPARE, |m, a, prepared| {
            let Prepared::Schema(schema) = prepared else { return Ok(Value::Null) };
            let value = instance(m, &a[0], schema)?;
            Ok(Value::Bool(schema.validator.is_valid(&value)))
        }),
    },
    Row {
        name: "schema_errors",
        signature: "(value: any, schema: object | bool) -> array",
        doc: "What keeps the value from conforming to a JSON Schema: at most 100 objects `{ path, keyword, message }`; \
              none if it does.",
        examples: &[(
            "schema_errors({ id: 'x' }, { properties: { id: { type: 'integer' } } })",
            "[{\"path\":\"/id\",\"keyword\":\"type\",\"message\":\"\\\"x\\\" is not of type \\\"integer\\\"\"}]",
        )],
        run: Run::Prepared(PREPARE, |m, a, prepared| {
            const MOST: usize = 100;
            let Prepared::Schema(schema) = prepared else { return Ok(Value::Null) };
            let value = instance(m, &a[0], schema)?;
            let mut out = Vec::new();
            for error in schema.validator.iter_errors(&value).take(MOST) {
                m.budget.step(10)?;
                out.push(described(m, &error)?);
            }
            m.array(out)
        }),
    },
    Row {
        name: "require_schema",
        signature: "(value: any, schema: object | bool) -> any!",
        doc: "The value if it conforms to a JSON Schema; fails with the first thing that is wrong otherwise.",
        examples: &[("require_schema({ id: 5 }, { required: ['id'] }).id", "5")],
        run: Run::Prepared(PREPARE, |m, a, prepared| {
            let Prepared::Schema(schema) = prepared else { return Ok(Value::Null) };
            let value = instance(m, &a[0], schema)?;
            match schema.validator.validate(&value) {
                Ok(()) => Ok(std::mem::take(&mut a[0])),
                Err(error) => {
                    let path = error.instance_path().to_string();
                    let place = if path.is_empty() { "the value".to_owned() } else { format!("`{path}`") };
                    let why = cut(&error.to_string());
                    Err(Fault::new(codes::BAD_ARGUMENT, format!("{place} does not conform to the schema: {why}")))
                }
            }
        }),
    },
];

/// A schema ready for use, and how much work it is.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: jsonschema::Validator,
    extent: Extent,
}

/// What a schema is with every reference followed.
#[derive(Debug, Default)]
struct Extent {
    /// Its parts, each as often as it is referred to.
    parts: u64,
    /// References to what is being defined: with two of them the work may double with each level of a value.
    recursions: u32,
    /// References that are not followed here: by anchor, by `$id`, dynamic ones.
    others: u32,
}

const PREPARE: Prepare = Prepare { make: prepare, each: 2_000 };
const LONGEST_MESSAGE: usize = 300;
const MOST_PARTS: u64 = 50_000;
/// Levels of a value for a schema that refers to itself more than once.
const DEEPEST: usize = 16;
const TOO_DEEP: &str = "a value for a schema that refers to itself more than once has at most 16 levels";

const LARGEST: usize = 1 << 20;

fn prepare(schema: &Value<'_>) -> std::result::Result<Prepared, String> {
    let json = schema.to_json(LARGEST).map_err(|_| format!("a schema has at most {LARGEST} bytes"))?;
    Ok(Prepared::Schema(Box::new(Schema::read(&json)?)))
}

impl Extent {
    fn walk<'s>(
        &mut self,
        root: &'s serde_json::Value,
        part: &'s serde_json::Value,
        open: &mut Vec<&'s str>,
    ) -> std::result::Result<(), String> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(format!("the schema has more than {MOST_PARTS} parts when its references are followed"));
        }
        match part {
            serde_json::Value::Array(items) => items.iter().try_for_each(|item| self.walk(root, item, open)),
            serde_json::Value::Object(members) => {
                members.iter().try_for_each(|(key, member)| match (key.as_str(), member) {
                    // Definitions of the root count where they are referred to.
                    ("$defs" | "definitions", _) if std::ptr::eq(part, root) => Ok(()),
                    ("$ref", serde_json::Value::String(target)) if open.contains(&target.as_str()) => {
                        self.recursions += 1;
                        Ok(())
                    }
                    ("$ref", serde_json::Value::String(target)) => {
                        let pointer = target.strip_prefix('#').filter(|_| open.len() < 64);
                        let Some(found) = pointer.and_then(|pointer| root.pointer(pointer)) else {
                            self.others += 1;
                            return Ok(());
                        };
                        open.push(target);
                        let walked = self.walk(root, found, open);
                        open.pop();
                        walked
                    }
                    ("$dynamicRef" | "$recursiveRef", serde_json::Value::String(_)) => {
                        self.others += 1;
                        Ok(())
                    }
                    _ => self.walk(root, member, open),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Schema {
    /// Reads a schema and prepares it.
    pub(crate) fn read(json: &str) -> std::result::Result<Self, String> {
        if json.len() > LARGEST {
            return Err(format!("a schema has at most {LARGEST} bytes"));
        }
        let json = serde_json::from_str(json).map_err(|why| format!("the schema is not JSON: {why}"))?;
        let mut extent = Extent::default();
        extent.walk(&json, &json, &mut vec!["#"])?;
        let patterns = jsonschema::PatternOptions::regex().size_limit(LARGEST).dfa_size_limit(2 * LARGEST);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .offline()
            .build(&json)
            .map_err(|why| format!("not a JSON Schema: {}", cut(&why.to_string())))?;
        Ok(Self { validator, extent })
    }

    /// The first things that keep a value from conforming: path, keyword, message.
    pub(crate) fn faults(&self, value: &serde_json::Value, most: usize) -> Vec<(String, String, String)> {
        if self.is_too_deep(value) {
            return vec![(String::new(), "$ref".to_owned(), TOO_DEEP.to_owned())];
        }
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let told = |error: jsonschema::ValidationError<'_>| {
            (error.instance_path().to_string(), error.kind().keyword().to_owned(), cut(&error.to_string()))
        };
        self.validator.iter_errors(value).take(most).map(told).collect()
    }

    /// Whether validating a value could take endless: with two references of a schema to itself the work may double with
    /// each level.
    fn is_too_deep(&self, value: &serde_json::Value) -> bool {
        self.extent.recursions + self.extent.others > 1 && depth(value) > DEEPEST
    }

    /// A schema that came with an event must not be able to make its validation endless.
    pub(super) fn untrusted(&self) -> std::result::Result<(), String> {
        if self.extent.others > 0 {
            return Err("a schema that is not a constant refers to its parts by `#/…` only".to_owned());
        }
        if self.extent.recursions > 1 {
            return Err("a schema that is not a constant refers to itself once at most".to_owned());
        }
        Ok(())
    }
}

/// The value as the validator takes it; numbers are 64-bit integers or floats there.
fn instance(m: &mut Machine<'_, '_>, value: &Value<'_>, schema: &Schema) -> Result<serde_json::Value> {
    let weight = 1 + weight(value);
    m.budget.step(weight.saturating_mul(2 + schema.extent.parts / 8))?;
    m.budget.make(usize::try_from(weight).unwrap_or(usize::MAX).saturating_mul(64))?;
    let json = value.to_json(m.budget.bytes_left()).map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&json)
        .map_err(|why| Fault::new(codes::BAD_ARGUMENT, format!("the value cannot be validated: {why}")))?;
    if schema.is_too_deep(&value) {
        return Err(Fault::new(codes::BAD_ARGUMENT, TOO_DEEP));
    }
    Ok(value)
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn described<'e>(m: &mut Machine<'_, 'e>, error: &jsonschema::ValidationError<'_>) -> Result<Value<'e>> {
    let path = m.string(error.instance_path().to_string())?;
    let keyword = m.string(error.kind().keyword().to_owned())?;
    let message = m.string(cut(&error.to_string()))?;
    let mut object = ObjectBuilder::with_capacity(3);
    object.push_new(Text::Borrowed("path"), path);
    object.push_new(Text::Borrowed("keyword"), keyword);
    object.push_new(Text::Borrowed("message"), message);
    m.object(object)
}

/// Messages repeat the value, which may be large.
fn cut(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((at, _)) => [&message[..at], "…"].concat(),
        None => message.to_owned(),
    }
}
