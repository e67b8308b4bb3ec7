//! Texts of JSON values, with numbers that no double has exactly; those beyond all doubles are refused at the door.

use proptest::prelude::*;

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (-(1i64 << 54)..1 << 54).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON has finite numbers", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        "-?(0|[1-9][0-9]{0,40})",
        "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,25}",
        "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?[eE][+-]?[0-9]{1,2}",
        "-?[1-9](\\.[0-9]{1,18})?[eE][+-]?[12][0-9]{2}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[\"\\\\/a\u{0}-\u{1f}é😀\u{2028}\u{feff}]{0,12}"]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that objects or tables of the languages know.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "__proto__",
        "constructor",
        "toString",
        "toJSON",
        "length",
        "then",
        "rawJSON",
        "__index",
        "__metatable",
        "0",
        "1",
        "-1",
        "1.5",
        "",
    ]);
    prop_oneof![3 => text(), 1 => known.prop_map(str::to_owned)]
}

/// A JSON text whose objects name no member twice.
pub fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        number(),
        number(),
        text().prop_map(|text| quoted(&text)),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::btree_map(name(), inner, 0..6).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("{}: {value}", quoted(name))).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
