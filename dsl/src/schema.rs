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
        let faults = self.0.faults(&value, most.max(1)).into_iter();
        faults.map(|(path, keyword, message)| SchemaFault { path, keyword, message }).collect()
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
        assert_eq!(validator.faults(nested(60).as_bytes(), 1).len(), 1);
    }
}
