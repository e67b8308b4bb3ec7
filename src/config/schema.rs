//! The JSON Schema of a configuration file, for editors: what may stand where, with the documentation of each setting.
//!
//! It is made of the types that read the configuration, so it cannot say anything else than they do. What only shows
//! when all files are seen together (names, expressions, secrets, bounds of times) is said by `hexafn check`.
//!
//! Every part stands where it is used, without `$ref`: editors ignore the description beside a reference.

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::settings::{
    FunctionsSettings, LogSettings, RawSupervision, ServerSettings, StorageSettings, TargetsSettings, TelemetrySettings,
};
use super::{checked, names};

/// The schema of one `*.toml` file of the configuration folder, by draft 2020-12 of JSON Schema.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let meta_schema = settings.meta_schema.clone();
    let mut generator = settings.into_generator();
    let mut properties = Map::new();
    for (name, section) in sections(&mut generator) {
        properties.insert(name.to_owned(), section.into());
    }
    for (kind, mut definition) in checked::schemas(&mut generator) {
        if let Some(pattern) = names::pattern(kind) {
            each_name(&mut definition, &pattern);
        }
        let array = json!({ "type": "array", "description": definition.get("description"), "items": definition });
        properties.insert(kind.to_owned(), array);
    }
    let mut document = json_schema!({
        "$schema": meta_schema,
        "title": "Configuration of hexaFn",
        "description": concat!("A *.toml file in the configuration folder of hexafn ", env!("CARGO_PKG_VERSION"), "."),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    tidy(&mut document);
    document.into()
}

fn sections(generator: &mut SchemaGenerator) -> [(&'static str, Schema); 7] {
    [
        ("server", ServerSettings::json_schema(generator)),
        ("storage", StorageSettings::json_schema(generator)),
        ("log", LogSettings::json_schema(generator)),
        ("telemetry", TelemetrySettings::json_schema(generator)),
        ("supervision", RawSupervision::json_schema(generator)),
        ("targets", TargetsSettings::json_schema(generator)),
        ("functions", FunctionsSettings::json_schema(generator)),
    ]
}

/// A table that is read as two types: what both say, and refused what neither knows if `special` refuses.
pub fn joined(common: &Schema, mut special: Schema) -> Schema {
    let object = |key: &str| common.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut properties = object("properties");
    properties.append(&mut take_object(&mut special, "properties"));
    let mut required = list(common, "required");
    required.extend(list(&special, "required"));
    special.insert("properties".into(), properties.into());
    special.insert("required".into(), required.into());
    special
}

/// A table whose other settings depend on its `kind`.
pub fn by_kind(description: &str, kinds: impl IntoIterator<Item = (&'static str, Schema)>) -> Schema {
    let branch = |(kind, schema)| {
        joined(&json_schema!({ "properties": { "kind": { "const": kind } }, "required": ["kind"] }), schema)
    };
    let branches: Vec<Schema> = kinds.into_iter().map(branch).collect();
    json_schema!({ "description": description, "oneOf": branches })
}

/// Adds the form of names to the property `name`, in each branch of a definition.
fn each_name(definition: &mut Schema, pattern: &str) {
    if let Some(name) = definition.pointer_mut("/properties/name").and_then(Value::as_object_mut) {
        name.insert("pattern".into(), pattern.into());
    }
    for branch in definition.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Ok(branch) = <&mut Schema>::try_from(branch) {
            each_name(branch, pattern);
        }
    }
}

/// Makes of what serde's types say what TOML can say, here and below.
fn tidy(schema: &mut Schema) {
    transform_subschemas(&mut tidy, schema);
    without_null(schema);
    with_bounds(schema);
    tell_apart(schema);
}

/// TOML has no null: what is optional is left out.
fn without_null(schema: &mut Schema) {
    match schema.get_mut("default") {
        Some(Value::Null) => drop(schema.remove("default")),
        Some(Value::Object(fields)) => fields.retain(|_, value| !value.is_null()),
        _ => {}
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|w| !w.is_null());
    }
    let Some(Value::Array(ways)) = schema.get_mut("anyOf") else { return };
    ways.retain(|way| way.get("type").is_none_or(|t| t != "null"));
    if let [Value::Object(one)] = ways.as_slice() {
        let one = one.clone();
        schema.remove("anyOf");
        for (key, value) in one {
            // What is said of the setting is nearer than what is said of its type.
            if schema.get(&key).is_none() {
                schema.insert(key, value);
            }
        }
    }
}

/// Names of Rust's numbers are no formats that editors know; the bounds are what is meant.
fn with_bounds(schema: &mut Schema) {
    let Some(Value::String(format)) = schema.get("format") else { return };
    let (least, most) = match format.as_str() {
        "uint8" | "uint16" | "uint64" | "uint" | "int8" | "int16" | "int64" | "int" | "float" | "double" => {
            (None, None)
        }
        "uint32" => (Some(0), Some(i64::from(u32::MAX))),
        "int32" => (Some(i64::from(i32::MIN)), Some(i64::from(i32::MAX))),
        _ => return,
    };
    schema.remove("format");
    for (key, bound) in [("minimum", least), ("maximum", most)] {
        if let Some(bound) = bound.filter(|_| schema.get(key).is_none()) {
            schema.insert(key.into(), bound.into());
        }
    }
}

/// A choice between tables that one word tells apart (`kind`, `scheme`) becomes one table with conditions: an editor can
/// then say what is wrong in the table that was meant, instead of "none of these".
fn tell_apart(schema: &mut Schema) {
    let branches: Vec<Schema> =
        list(schema, "oneOf").into_iter().filter_map(|branch| Schema::try_from(branch).ok()).collect();
    let Some(tag) = branches.first().and_then(tag_of) else { return };
    let words: Vec<Value> = branches.iter().filter_map(|branch| word(branch, &tag).cloned()).collect();
    if words.len() != branches.len() {
        return;
    }
    let properties = united(&branches, &tag, &words);
    let required: Vec<Value> = list(&branches[0], "required")
        .into_iter()
        .filter(|name| branches.iter().all(|branch| list(branch, "required").contains(name)))
        .collect();
    let mut conditions = Map::new();
    for (branch, word) in branches.into_iter().zip(words).rev() {
        let then = condition(branch, &tag, &properties);
        let before = std::mem::take(&mut conditions);
        conditions.insert("if".into(), json!({ "properties": { &tag: { "const": word } }, "required": [&tag] }));
        conditions.insert("then".into(), then.into());
        if !before.is_empty() {
            conditions.insert("else".into(), before.into());
        }
    }
    schema.remove("oneOf");
    schema.insert("type".into(), "object".into());
    schema.insert("required".into(), required.into());
    schema.insert("properties".into(), properties.into());
    conditions.into_iter().for_each(|(key, value)| drop(schema.insert(key, value)));
}

/// The property that is a constant in this branch.
fn tag_of(branch: &Schema) -> Option<String> {
    let properties = branch.get("properties")?.as_object()?;
    properties.iter().find(|(_, schema)| schema.get("const").is_some()).map(|(name, _)| name.clone())
}

fn word<'a>(branch: &'a Schema, tag: &str) -> Option<&'a Value> {
    branch.get("properties")?.get(tag)?.get("const")
}

/// The properties of all branches. One that differs between branches may be either.
fn united(branches: &[Schema], tag: &str, words: &[Value]) -> Map<String, Value> {
    let described = branches
        .iter()
        .zip(words)
        .map(|(branch, word)| json!({ "type": "string", "const": word, "description": branch.get("description") }));
    let mut all = Map::new();
    all.insert(tag.to_owned(), json!({ "oneOf": described.collect::<Vec<_>>() }));
    let mut several: Map<String, Value> = Map::new();
    for (name, schema) in branches.iter().filter_map(|b| b.get("properties")?.as_object()).flatten() {
        let Value::Array(ways) = several.entry(name.clone()).or_insert_with(|| json!([])) else { continue };
        if !ways.contains(schema) {
            ways.push(schema.clone());
        }
    }
    for (name, ways) in several {
        let one = ways.as_array().filter(|ways| ways.len() == 1).and_then(|ways| ways.first()).cloned();
        all.entry(name).or_insert_with(|| one.unwrap_or_else(|| json!({ "anyOf": ways })));
    }
    all
}

/// What a branch demands beyond the properties that all share.
fn condition(mut branch: Schema, tag: &str, all: &Map<String, Value>) -> Schema {
    branch.remove("type");
    branch.remove("description");
    let mut own = take_object(&mut branch, "properties");
    for (name, schema) in &mut own {
        if name == tag || all.get(name) == Some(schema) {
            *schema = true.into();
        }
    }
    branch.insert("properties".into(), own.into());
    branch
}

fn list(schema: &Schema, key: &str) -> Vec<Value> {
    schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn take_object(schema: &mut Schema, key: &str) -> Map<String, Value> {
    match schema.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
