#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<Doc, Error> {
    let limits = Limits::default();
    let checked = Doc::validate(text.as_bytes(), &limits);
    let parsed = Doc::parse(Bytes::copy_from_slice(text.as_bytes()), &limits);
    assert_eq!(checked, parsed.as_ref().map(|_| ()).map_err(Clone::clone), "validate and parse differ on {text}");
    parsed
}

fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    format!("{}: {error}", error.code())
}

#[test]
fn values_are_read_where_they_are() {
    let doc = parse(r#" {"a": [1, -2.50, "x\n\u00e9", true, null], "b": {}, "c\"d": "plain"} "#).unwrap();
    let root = doc.root();
    assert_eq!(root.kind(), Kind::Object);
    assert_eq!(root.len(), 3);
    let array = root.get("a").unwrap();
    assert_eq!(array.index(0).unwrap().as_i64(), Some(1));
    assert_eq!(array.index(1).unwrap().as_decimal().unwrap().to_string(), "-2.50");
    assert_eq!(array.index(2).unwrap().as_str().unwrap(), "x\né");
    assert_eq!(array.index(3).unwrap().as_bool(), Some(true));
    assert_eq!(array.index(4).unwrap().kind(), Kind::Null);
    assert!(array.index(5).is_none());
    assert!(root.get("b").unwrap().is_empty());
    assert!(matches!(root.get("c\"d").unwrap().as_str().unwrap(), std::borrow::Cow::Borrowed("plain")));
    assert_eq!(array.raw(), br#"[1, -2.50, "x\n\u00e9", true, null]"#);
    assert_eq!(root.entries().map(|(key, _)| key.into_owned()).collect::<Vec<_>>(), ["a", "b", "c\"d"]);
}

#[test]
fn refusals_say_what_and_where() {
    assert_eq!(
        refused(r#"{"a":1,"b":2,  "a":3}"#),
        "json-duplicate-key: duplicate key \"a\" at byte 15 (line 1, column 16)"
    );
    assert_eq!(
        refused("{\"a\":1,\n\"\\u0061\":3}"),
        "json-duplicate-key: duplicate key \"a\" at byte 8 (line 2, column 1)"
    );
    assert_eq!(
        refused(r#"["\ud800"]"#),
        "json-surrogate: \\u escape is half of a surrogate pair at byte 2 (line 1, column 3)"
    );
    assert_eq!(
        refused(r#"["\ud800\u0041"]"#),
        "json-surrogate: \\u escape is half of a surrogate pair at byte 2 (line 1, column 3)"
    );
    assert_eq!(
        refused(r#"["\udc00"]"#),
        "json-surrogate: \\u escape is half of a surrogate pair at byte 2 (line 1, column 3)"
    );
    assert_eq!(
        refused("[1e999]"),
        "json-number: number beyond the range of a 64-bit float at byte 1 (line 1, column 2)"
    );
    assert_eq!(refused("[1,]"), "json-syntax: expected a value at byte 3 (line 1, column 4)");
    assert_eq!(refused("[01]"), "json-syntax: expected `,` or `]` at byte 2 (line 1, column 3)");
    assert_eq!(refused("{\"a\" 1}"), "json-syntax: expected `:` at byte 5 (line 1, column 6)");
    assert_eq!(refused("true x"), "json-syntax: expected the end of the document at byte 5 (line 1, column 6)");
    assert_eq!(refused(""), "json-syntax: expected a value at byte 0 (line 1, column 1)");
    assert_eq!(
        refused("\"a\nb\""),
        "json-syntax: expected no control character in a string at byte 2 (line 1, column 3)"
    );
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(refused(&deep), "json-depth: nested deeper than 64 levels at byte 64 (line 1, column 65)");
    assert!(parse(&("[".repeat(64) + &"]".repeat(64))).is_ok());
    let bytes = Bytes::from_static(b"\"\xff\"");
    assert_eq!(Doc::parse(bytes, &Limits::default()).unwrap_err().code(), "json-utf8");
}

#[test]
fn many_keys_are_counted_and_compared() {
    let object = |count: usize| {
        let members: Vec<_> = (0..count).map(|at| format!("\"key{at}\":{at}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let doc = parse(&object(10_000)).unwrap();
    assert_eq!(doc.root().get("key9999").unwrap().as_i64(), Some(9999));
    assert!(refused(&object(10_001)).starts_with("json-keys: more than 10000 object keys at byte"));
    let twice = object(100).replace("key77\"", "key3\"");
    assert!(refused(&twice).starts_with("json-duplicate-key: duplicate key \"key3\""), "{}", refused(&twice));
}

#[test]
fn long_strings_end_at_every_offset() {
    for length in 0..40 {
        let text = "x".repeat(length);
        let doc = parse(&format!("[\"{text}\",\"é{text}\\\\\"]")).unwrap();
        assert_eq!(doc.root().index(0).unwrap().as_str().unwrap(), text);
        assert_eq!(doc.root().index(1).unwrap().as_str().unwrap(), format!("é{text}\\"));
    }
}
