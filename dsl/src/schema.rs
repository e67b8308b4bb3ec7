//! Validation of whole documents, for whoever lets events in.

use crate::builtins::schema::Schema;

/// A JSON Schema, prepared once, that documents are held against. References reach into the schema itself only, patterns
/// take linear time, and nothing is fetched.
#[derive(Debug)]
pub struct Validator(Schema);

/// What keeps a document from conforming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// Where in the document, as a JSON pointer; empty for the document itself.
    pub path: String,
    /// The keyword of the schema that says so.
    pub keyword: String,
    /// What is wrong; it may repeat values of the document.
    pub message: String,
}

impl Validator {
    /// Reads a schema (2020-12 unless `$schema` names another draft).
    ///
    /// # Errors
    /// It is no JSON, no JSON Schema, or too large.
    pub fn new(json_schema: &str) -> Result<Self, String> {
        Schema::read(json_schema).map(Self)
    }

    /// What keeps a document from conforming, at most so many; nothing when it does.
    pub fn faults(&self, json: &[u8], most: usize) -> Vec<SchemaFault> {
        let value = match serde_json::from_slice(json) {
            Ok(value) => value,
            Err(why) => {
                let (path, keyword) = (String::new(), String::new());
                return vec![SchemaFault { path, keyword, message: format!("the document is not JSON: {why}") }];
            }
        };
        self.0.wrong(&value, most.max(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn faults_name_the_place_and_the_keyword() {
        let schema = r#"{ "type": "object", "required": ["id"], "properties": { "n": { "type": "integer" } } }"#;
        let validator = Validator::new(schema).unwrap();
        assert_eq!(validator.faults(br#"{ "id": 1, "n": 2 }"#, 10), []);
        let faults = validator.faults(br#"{ "n": "x" }"#, 10);
        let told: Vec<(&str, &str)> = faults.iter().map(|f| (&*f.path, &*f.keyword)).collect();
        assert!(told.contains(&("/n", "type")) && told.contains(&("", "required")), "{faults:?}");
        assert_eq!(validator.faults(br#"{ "n": "x" }"#, 1).len(), 1);
        assert_eq!(validator.faults(b"{", 9).len(), 1);
        assert!(Validator::new("{").is_err() && Validator::new(r#"{ "type": 7 }"#).is_err());
    }

    #[test]
    fn a_schema_that_could_double_the_work_with_each_level_takes_flat_documents_only() {
        let schema = r##"{ "anyOf": [{ "items": { "$ref": "#" } }, { "prefixItems": [{ "$ref": "#" }] }] }"##;
        let validator = Validator::new(schema).unwrap();
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(validator.faults(nested(8).as_bytes(), 1), []);
        let faults = validator.faults(nested(60).as_bytes(), 1);
        assert!(faults[0].message.contains("2 times for one place, 16 levels"), "{faults:?}");
    }

    /// An expression with several operators, each of which has an expression.
    fn expressions(operators: &[&str]) -> Validator {
        let node = |operator: &&str| {
            format!(
                r##"{{"type":"object","required":["op","arg"],"properties":{{"arg":{{"$ref":"#/$defs/expr"}},"op":{{"const":"{operator}"}}}}}}"##
            )
        };
        let nodes: Vec<String> = operators.iter().map(node).collect();
        let nodes = nodes.join(",");
        let schema =
            format!(r##"{{"$defs":{{"expr":{{"oneOf":[{{"type":"number"}},{nodes}]}}}},"$ref":"#/$defs/expr"}}"##);
        Validator::new(&schema).unwrap()
    }

    fn expression(levels: usize, leaf: &str) -> String {
        (0..levels).fold(leaf.to_owned(), |inner, _| format!(r#"{{"arg":{inner},"op":"abs"}}"#))
    }

    #[test]
    fn the_faults_of_a_nested_document_take_no_more_than_those_of_a_flat_one() {
        let validator = expressions(&["neg", "abs", "sqrt", "not"]);
        for levels in [0, 1, 4, 8] {
            assert_eq!(validator.faults(expression(levels, "7").as_bytes(), 8), [], "{levels}");
        }
        // Four times as many errors for each level: eight levels were 450 MB, and eleven 24 GB.
        let flat = validator.faults(expression(3, r#""x""#).as_bytes(), 8);
        assert!(!flat.is_empty() && !flat[0].message.contains("too deep"), "{flat:?}");
        for (levels, said) in [(8, "nested too deep to say where"), (9, "4 times for one place, 8 levels")] {
            let faults = validator.faults(expression(levels, r#""x""#).as_bytes(), 8);
            assert!(faults.len() == 1 && faults[0].message.contains(said), "{levels}: {faults:?}");
        }
    }

    #[test]
    fn a_tree_may_be_deep_since_each_place_has_one_reference() {
        let schema = r##"{ "type": "object", "additionalProperties": false, "properties":
            { "left": { "$ref": "#" }, "right": { "$ref": "#" }, "value": { "type": "integer" } } }"##;
        let validator = Validator::new(schema).unwrap();
        let tree = |leaf: &str| (0..50).fold(leaf.to_owned(), |inner, _| format!(r#"{{"left":{inner},"value":1}}"#));
        assert_eq!(validator.faults(tree("{}").as_bytes(), 1), []);
        let faults = validator.faults(tree(r#"{"value":"x"}"#).as_bytes(), 1);
        assert_eq!(faults[0].keyword, "type", "{faults:?}");
        // One that looks at members of any name meets those with a name.
        let both = r##"{ "properties": { "a": { "$ref": "#" } }, "unevaluatedProperties": { "$ref": "#" } }"##;
        let deep = (0..40).fold("{}".to_owned(), |inner, _| format!(r#"{{"a":{inner}}}"#));
        assert_eq!(Validator::new(both).unwrap().faults(deep.as_bytes(), 1).len(), 1);
    }
}
