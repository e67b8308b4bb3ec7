//! The grammar for editors knows the words of the language.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use hexafn_dsl::tools::KEYWORDS;
use serde_json::Value;

fn grammar() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../editors/hexa.tmLanguage.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_keywords_are_those_of_the_language() {
    let grammar = grammar();
    let words: Vec<String> = ["constants", "keywords"]
        .iter()
        .flat_map(|rule| {
            let pattern = grammar["repository"][rule]["match"].as_str().unwrap();
            let words = pattern.strip_prefix(r"\b(").unwrap().strip_suffix(r")\b").unwrap();
            words.split('|').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let unique: BTreeSet<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), words.len());
    assert_eq!(unique, BTreeSet::from(KEYWORDS));
}

/// Every `#rule` that a part of the grammar includes.
fn included(value: &Value, rules: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(rule) = members.get("include").and_then(Value::as_str) {
                rules.insert(rule.trim_start_matches('#').to_owned());
            }
            members.values().for_each(|member| included(member, rules));
        }
        Value::Array(items) => items.iter().for_each(|item| included(item, rules)),
        _ => {}
    }
}

#[test]
fn every_rule_is_there_and_used() {
    let grammar = grammar();
    let mut rules = BTreeSet::new();
    included(&grammar, &mut rules);
    let there: BTreeSet<String> = grammar["repository"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(rules, there);
}
