//! JSON Schema: a constant schema is prepared with the program.

use super::{Prepare, Prepared, Row, Run};
use crate::codes;
use crate::eval::{Machine, Result, weight};
use crate::fault::Fault;
use crate::schema::SchemaFault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "matches_schema",
        signature: "(value: any, schema: object | bool) -> bool",
        doc: "Whether the value conforms to a JSON Schema (2020-12 unless `$schema` names another draft). References \
              reach into the schema itself only; patterns take linear time. Numbers with a fraction, or of more than 64 \
              bits, are compared as floats, here and in the functions below.",
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
            for wrong in schema.wrong(&value, MOST) {
                m.budget.step(10)?;
                out.push(described(m, wrong)?);
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
            match schema.wrong(&value, 1).into_iter().next() {
                None => Ok(std::mem::take(&mut a[0])),
                Some(SchemaFault { path, message, .. }) => {
                    let place = if path.is_empty() { "the value".to_owned() } else { format!("`{path}`") };
                    Err(Fault::new(codes::BAD_ARGUMENT, format!("{place} does not conform to the schema: {message}")))
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
    /// References to itself that can look at one place of a value.
    width: u64,
}

/// What a schema is with every reference followed.
#[derive(Debug, Default)]
struct Extent {
    /// Its parts, each as often as it is referred to.
    parts: u64,
    /// References to what is being defined, by where in its value each looks: a schema that has two for one place may double
    /// the work with each level of a value.
    recursions: Vec<Vec<Step>>,
    /// References that are not followed here: by anchor, by `$id`, dynamic ones.
    others: u32,
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// To this member.
    Member(String),
    /// To elements, or to members of any name.
    Any,
}

const PREPARE: Prepare = Prepare { make: prepare, each: 2_000 };
const LONGEST_MESSAGE: usize = 300;
const MOST_PARTS: u64 = 50_000;
/// References to itself whose places are compared; more of them are as if all looked at one.
const MOST_COMPARED: usize = 500;
/// The most ways through a schema that refers to itself more than once, as far as its value is deep: to be tested, ...
const MOST_WAYS: u64 = 1 << 16;
/// ... and to be told what is wrong, for which the validator keeps the errors of every way.
const MOST_WAYS_TOLD: u64 = 1 << 10;

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
        open: &mut Vec<(&'s str, usize)>,
        way: &mut Vec<Step>,
    ) -> std::result::Result<(), String> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(format!("the schema has more than {MOST_PARTS} parts when its references are followed"));
        }
        match part {
            serde_json::Value::Array(items) => items.iter().try_for_each(|item| self.walk(root, item, open, way)),
            serde_json::Value::Object(members) => {
                members.iter().try_for_each(|(key, member)| match (key.as_str(), member) {
                    // Definitions of the root count where they are referred to.
                    ("$defs" | "definitions", _) if std::ptr::eq(part, root) => Ok(()),
                    ("$ref", serde_json::Value::String(target)) if open.iter().any(|(opened, _)| opened == target) => {
                        let from = open.iter().rev().find(|(opened, _)| opened == target).map_or(0, |(_, at)| *at);
                        match self.recursions.len() < MOST_COMPARED {
                            true => self.recursions.push(way.get(from..).unwrap_or_default().to_vec()),
                            false => self.others += 1,
                        }
                        Ok(())
                    }
                    ("$ref", serde_json::Value::String(target)) => {
                        let pointer = target.strip_prefix('#').filter(|_| open.len() < 64);
                        let Some(found) = pointer.and_then(|pointer| root.pointer(pointer)) else {
                            self.others += 1;
                            return Ok(());
                        };
                        open.push((target, way.len()));
                        let walked = self.walk(root, found, open, way);
                        open.pop();
                        walked
                    }
                    ("$dynamicRef" | "$recursiveRef", serde_json::Value::String(_)) => {
                        self.others += 1;
                        Ok(())
                    }
                    ("properties", serde_json::Value::Object(members)) => members
                        .iter()
                        .try_for_each(|(name, member)| self.step(Step::Member(name.clone()), root, member, open, way)),
                    (
                        "items"
                        | "prefixItems"
                        | "additionalItems"
                        | "contains"
                        | "additionalProperties"
                        | "patternProperties"
                        | "unevaluatedItems"
                        | "unevaluatedProperties"
                        | "propertyNames",
                        _,
                    ) => self.step(Step::Any, root, member, open, way),
                    _ => self.walk(root, member, open, way),
                })
            }
            _ => Ok(()),
        }
    }

    fn step<'s>(
        &mut self,
        step: Step,
        root: &'s serde_json::Value,
        part: &'s serde_json::Value,
        open: &mut Vec<(&'s str, usize)>,
        way: &mut Vec<Step>,
    ) -> std::result::Result<(), String> {
        way.push(step);
        let walked = self.walk(root, part, open, way);
        way.pop();
        walked
    }

    /// How many references to itself can look at one place of a value, at most. Those that are not followed may look anywhere.
    fn width(&self) -> u64 {
        let meets = |a: &[Step], b: &[Step]| a.iter().zip(b).all(|(a, b)| a == b || *a == Step::Any || *b == Step::Any);
        let followed = &self.recursions;
        let most = followed.iter().map(|a| followed.iter().filter(|b| meets(a, b)).count()).max().unwrap_or(0);
        most as u64 + u64::from(self.others)
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
        extent.walk(&json, &json, &mut vec![("#", 0)], &mut Vec::new())?;
        let width = extent.width();
        let patterns = jsonschema::PatternOptions::regex().size_limit(LARGEST).dfa_size_limit(2 * LARGEST);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .offline()
            .build(&json)
            .map_err(|why| format!("not a JSON Schema: {}", cut(&why.to_string())))?;
        Ok(Self { validator, extent, width })
    }

    /// The first things that keep a value from conforming.
    pub(crate) fn wrong(&self, value: &serde_json::Value, most: usize) -> Vec<SchemaFault> {
        let whole = |message: String| vec![SchemaFault { path: String::new(), keyword: "$ref".to_owned(), message }];
        if let Some(too_deep) = self.too_deep(value) {
            return whole(too_deep);
        }
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        if self.ways(value) > MOST_WAYS_TOLD {
            return whole(format!(
                "does not conform, and is nested too deep to say where: the schema refers to itself {} times for one place",
                self.width
            ));
        }
        let told = |error: jsonschema::ValidationError<'_>| SchemaFault {
            path: error.instance_path().to_string(),
            keyword: error.kind().keyword().to_owned(),
            message: cut(&error.to_string()),
        };
        self.validator.iter_errors(value).take(most).map(told).collect()
    }

    /// In how many ways the schema can be followed through a value, at most: each reference to itself may be tried at each level.
    fn ways(&self, value: &serde_json::Value) -> u64 {
        let levels = u32::try_from(depth(value)).unwrap_or(u32::MAX);
        if self.width < 2 { 1 } else { self.width.saturating_pow(levels) }
    }

    /// Why a value is not validated, if validating it could take endless.
    fn too_deep(&self, value: &serde_json::Value) -> Option<String> {
        (self.ways(value) > MOST_WAYS).then(|| {
            format!(
                "is nested too deep: of a schema that refers to itself {} times for one place, {} levels are tested",
                self.width,
                MOST_WAYS.ilog(self.width.max(2))
            )
        })
    }

    /// A schema that came with an event must not be able to make its validation endless.
    pub(super) fn untrusted(&self) -> std::result::Result<(), String> {
        if self.extent.others > 0 {
            return Err("a schema that is not a constant refers to its parts by `#/…` only".to_owned());
        }
        if self.extent.recursions.len() > 1 {
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
    if let Some(too_deep) = schema.too_deep(&value) {
        return Err(Fault::new(codes::BAD_ARGUMENT, too_deep));
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

fn described<'e>(m: &mut Machine<'_, 'e>, wrong: SchemaFault) -> Result<Value<'e>> {
    let (path, keyword, message) = (m.string(wrong.path)?, m.string(wrong.keyword)?, m.string(wrong.message)?);
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
