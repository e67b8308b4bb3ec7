//! Programs checked against the JSON Schema of the event's data.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{
    Budget, CompileOptions, Data, Diagnostics, Input, Program, ProgramKind, Shape, SourceText, Types, compile_with,
};

const SCHEMA: &str = r##"{
  "$defs": {
    "money": {
      "type": "object",
      "properties": { "amount": { "type": "number" }, "currency": { "enum": ["EUR", "USD"] } },
      "required": ["amount", "currency"],
      "additionalProperties": false
    },
    "tree": { "type": "object", "properties": { "name": { "type": "string" }, "children": { "type": "array", "items": { "$ref": "#/$defs/tree" } } }, "additionalProperties": false }
  },
  "type": "object",
  "required": ["id", "total", "lines"],
  "additionalProperties": false,
  "properties": {
    "id": { "type": "integer" },
    "total": { "$ref": "#/$defs/money" },
    "note": { "type": ["string", "null"] },
    "lines": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": { "sku": { "type": "string" }, "price": { "$ref": "#/$defs/money" }, "count": { "type": "integer" } },
        "required": ["sku", "price"],
        "additionalProperties": false
      }
    },
    "payment": {
      "oneOf": [
        { "type": "object", "properties": { "kind": { "const": "card" }, "last4": { "type": "string" } }, "required": ["kind"], "additionalProperties": false },
        { "type": "object", "properties": { "kind": { "const": "bank" }, "iban": { "type": "string" } }, "required": ["kind"], "additionalProperties": false }
      ]
    },
    "extra": { "type": "object", "properties": { "reference": { "type": "string" } } },
    "tree": { "$ref": "#/$defs/tree" },
    "a b": { "type": "string" }
  }
}"##;

fn compiled(text: &str) -> Result<Program, Diagnostics> {
    let shape = Shape::from_json_schema(SCHEMA).unwrap();
    let options = CompileOptions::default().data(&shape);
    compile_with(&SourceText { name: "f.hexa", text }, ProgramKind::Function, &options)
}

#[test]
fn what_the_schema_says_is_found() {
    for (name, text) in [
        ("unknown_field", "event.data.totl.amount"),
        ("unknown_field_below", "event.data.total.amuont"),
        ("unknown_field_of_an_element", "event.data.lines[0].pric"),
        ("unknown_field_in_a_lambda", "event.data.lines |> filter(l => l.count > 1) |> map(l => l.pirce.amount)"),
        ("unknown_field_in_a_fold", "fold(event.data.lines, 0, (all, l) => all + l.price.amonut)"),
        ("unknown_field_in_a_comprehension", "[line.skew for line in event.data.lines ?? []]"),
        ("unknown_field_of_a_name", "let data = event.data\nlet first = data.lines[0]\nfirst.price.curency"),
        ("unknown_field_taken_apart", "let { id, totl, lines: [{ skuu }] } = event.data\n[id, totl, skuu]"),
        ("unknown_field_in_brackets", "event.data[\"ttoal\"]"),
        ("unknown_field_in_the_lambda_of_a_pattern", "map(event.data.lines, ({ sku, prize }) => [sku, prize])"),
        ("field_of_no_alternative", "event.data.payment.pin"),
        ("types_of_fields", "[event.data.id + \"x\", upper(event.data.total), event.data.note > 5, event.data.id.x]"),
        ("impossible_by_schema", "event.data.id == \"5\""),
        ("field_of_a_match", "match event.data.payment { { kind: \"card\", lst4 } => lst4, p => p.kid }"),
        ("element_of_a_match", "match event.data.lines { [{ sku: s }, ...] => s, [l] => l.prise, _ => null }"),
        ("value_of_no_enum", "[event.data.total.currency == \"EURO\", \"usd\" != event.data.lines[0].price.currency]"),
        ("value_of_no_enum_in_a_list", "let c = event.data.total.currency\nc in [\"EUR\", \"GBP\"]"),
        ("value_of_no_const", "match event.data.payment { { kind: \"crad\" } => 1, { kind: \"bank\" } => 2, _ => 3 }"),
        ("first_of_the_lines", "first(event.data.lines).coutn"),
    ] {
        let findings = compiled(text).expect_err(name);
        insta::assert_snapshot!(name, format!("{text}\n\n{}", findings.render(false)));
    }
}

#[test]
fn what_the_schema_allows_is_accepted() {
    for text in [
        "event.data",
        "event.data.total.amount * 2",
        "event.data.note ?? \"none\" |> upper",
        "event.data.lines[0].count ?? 0 + 1",
        "[event.data.payment.last4, event.data.payment.iban, event.data.payment.kind]",
        "event.data.extra.anything.below",
        "event.data[\"a b\"]",
        "event.data.tree.children[0].children[1].name",
        "event.data.tree.children[0].children[1].anything",
        "sum(event.data.lines, l => l.price.amount * (l.count ?? 1))",
        "match event.data.note { null => 1, string s => len(s) }",
        "let { id, ...rest } = event.data\n[id, rest.whatever]",
        "[k for k, v in event.data.total if v != null]",
        "event.data.note == null or event.data.note == \"x\"",
        "match event.data.payment { { iban: i } | { last4: i } => i, _ => null }",
        "match event.data { { total: { amount: number n }, note: null } => n, { lines: [l, ...] } => l.sku, _ => 0 }",
        "let event2 = event\nevent2.data.nothing",
        "event.data.total.currency == \"EUR\" or event.data.payment.kind in [\"card\", \"bank\"]",
        "lower(event.data.total.currency) == \"eur\"",
        "slice(event.data.total.currency, 0, 2) == \"EU\"",
        "event.data.payment.kind ?? \"none\" == \"none\"",
        "event.data.extra.kind == \"anything\"",
    ] {
        let result = compiled(text);
        assert!(result.is_ok(), "{text}: {}", result.unwrap_err());
        assert!(result.unwrap().warnings().is_empty(), "{text}");
    }
}

#[test]
fn an_open_object_warns_about_slips() {
    let program = compiled("event.data.extra.refrence").unwrap();
    insta::assert_snapshot!("open_object", program.warnings().render(false));
}

#[test]
fn suggestions_compile_when_applied() {
    for text in [
        "event.data.totl.amount",
        "event.data[\"ttoal\"]",
        "event.data['ttoal']",
        "event.data.lines[0].pric",
        "let { totl } = event.data\ntotl",
        "let { totl: x } = event.data\nx",
        "event.data.total.currency == \"EURO\"",
        "match event.data.payment { { kind: 'crad' } => 1, _ => 2 }",
    ] {
        let findings = compiled(text).unwrap_err();
        let (span, new) = findings.iter().next().unwrap().replacement.clone().expect(text);
        let mut repaired = text.to_owned();
        repaired.replace_range(span, &new);
        assert!(compiled(&repaired).is_ok(), "{repaired}");
    }
}

#[test]
fn shapes_of_schemas() {
    let shape = |text: &str| Shape::from_json_schema(text).unwrap();
    assert_eq!(shape("true"), Shape::any());
    assert_eq!(shape("false").types, Types::NEVER);
    assert_eq!(shape(r#"{"type":["string","null"]}"#).types, Types::STRING.or(Types::NULL));
    assert_eq!(shape(r#"{"enum":["a",null]}"#).types, Types::STRING.or(Types::NULL));
    assert_eq!(shape(r#"{"type":"string","enum":["a",1]}"#).types, Types::STRING);
    assert_eq!(shape(r#"{"anyOf":[{"type":"string"},{"type":"integer"}]}"#).types, Types::STRING.or(Types::NUMBER));
    let both = shape(r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{}},"required":["a"]}]}"#);
    assert!(both.field("a").unwrap().required && !both.field("b").unwrap().required && both.open);
    let one =
        shape(r#"{"oneOf":[{"properties":{"a":{"type":"string"}},"additionalProperties":false},{"type":"object"}]}"#);
    assert!(one.open);
    assert_eq!(one.field("a").unwrap().shape, Shape::any());
    // What holds itself ends, and what is written out a million times is cut.
    assert_eq!(shape(r##"{"properties":{"a":{"$ref":"#"}}}"##).field("a").unwrap().shape.types, Types::JSON);
    let doubled: String = (0..60)
        .map(|at| {
            format!(
                r##""d{at}":{{"properties":{{"a":{{"$ref":"#/$defs/d{}"}},"b":{{"$ref":"#/$defs/d{}"}}}}}},"##,
                at + 1,
                at + 1
            )
        })
        .collect();
    shape(&format!(r##"{{"$defs":{{{doubled}"d60":true}},"$ref":"#/$defs/d0"}}"##));
    for (text, why) in [
        ("{", "no JSON"),
        ("5", "a schema is"),
        (r#"{"type":"text"}"#, "there is no type `text`"),
        (r#"{"type":5}"#, "a string"),
        (r#"{"properties":{"a":{"type":"int"}}}"#, "a: there is no type `int`"),
        (r#"{"properties":[]}"#, "an object of schemas"),
        (r#"{"required":[1]}"#, "a list of names"),
        (r#"{"enum":1}"#, "a list of values"),
        (r#"{"oneOf":[]}"#, "a list of schemas"),
        (r##"{"$ref":"#/$defs/none"}"##, "leads to nothing"),
        (r##"{"$ref":"#anchor"}"##, "anchors"),
        (r#"{"$ref":"http://a/b"}"#, "only references within"),
    ] {
        let error = Shape::from_json_schema(text).unwrap_err();
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

const LISTED: &str = r#"{
  "type": "object",
  "required": ["level", "flag", "state", "rate"],
  "properties": {
    "level": { "enum": [1, 2.0, 3] },
    "flag": { "const": true },
    "state": { "enum": ["on", 0, null, false] },
    "rate": { "oneOf": [{ "const": 0.5 }, { "enum": [1, 2] }] },
    "huge": { "enum": [1e40, 1] },
    "maybe": { "enum": [7] },
    "any": { "anyOf": [{ "const": 5 }, { "type": "integer" }] }
  }
}"#;

fn condition(text: &str) -> Result<Program, Diagnostics> {
    let shape = Shape::from_json_schema(LISTED).unwrap();
    let options = CompileOptions::default().data(&shape);
    compile_with(&SourceText { name: "trigger big, when", text }, ProgramKind::Condition, &options)
}

#[test]
fn listed_values_of_all_types_are_checked_in_conditions() {
    let mut rendered = String::new();
    for text in [
        "event.data.level == 4",
        "event.data.level in [1, 2, 5]",
        "event.data.level == -1",
        "event.data.flag == false",
        "event.data.flag != false",
        "event.data.state == \"off\"",
        "event.data.state == 1",
        "event.data.state == true",
        "event.data.rate == 0.25",
        "event.data.maybe == 8",
        "match event.data.level { 9 => true, _ => false }",
        "event.data.levl == 4",
        // Null is a type, and this is never one.
        "event.data.level == null",
    ] {
        match condition(text) {
            Err(findings) => rendered.push_str(&format!("{text}\n\n{}\n", findings.render(false))),
            Ok(program) => rendered.push_str(&format!("{text}\n\n{}\n", program.warnings().render(false))),
        }
    }
    insta::assert_snapshot!("listed_values", rendered);
    for text in [
        "event.data.level == 2",
        "event.data.level == 3.0",
        "event.data.level > 2",
        "event.data.flag == true",
        "event.data.state == null or event.data.state == 0 or event.data.state == \"on\" or event.data.state == false",
        "event.data.rate in [0.5, 1, 2]",
        "event.data.huge == 5",
        "event.data.maybe == null",
        "event.data.any == 6",
    ] {
        let result = condition(text);
        assert!(result.is_ok(), "{text}: {}", result.unwrap_err());
        assert!(result.unwrap().warnings().is_empty(), "{text}");
    }
}

/// What is refused since it "always" is so, is so in every event of the schema: of those that lack what may be missing, too.
#[test]
fn what_may_be_missing_is_missing_whatever_the_way_to_it() {
    const OPTIONAL: &str = r#"{
      "type": "object",
      "required": ["items"],
      "additionalProperties": false,
      "properties": {
        "a": { "type": "object", "required": ["b"], "properties": { "b": { "type": "string" } } },
        "o": { "type": "object", "properties": { "b": { "type": "string" } }, "additionalProperties": false },
        "items": { "type": "array", "items": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } }
      }
    }"#;
    let shape = Shape::from_json_schema(OPTIONAL).unwrap();
    let options = CompileOptions::default().data(&shape);
    let compiled = |text: &str| compile_with(&SourceText { name: "f", text }, ProgramKind::Function, &options);
    let gives = |text: &str, data: &str| {
        let doc = Doc::parse(Bytes::copy_from_slice(data.as_bytes()), &Limits::default()).unwrap();
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        let program = compiled(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        program.eval(&input, &mut Budget::default()).unwrap().to_json(1000).unwrap()
    };
    for text in [
        "event.data.a.b == null",
        "let a = event.data.a\na.b == null",
        "(event.data.a ?? {}).b == null",
        "let { b } = event.data.a ?? {}\nb == null",
        "let { b } = event.data.a\nb == null",
        "let { a: { b } } = event.data\nb == null",
        "let a = event.data.a ?? {}\na.b == null",
        "(event.data.a ?? null).b == null",
        "first(event.data.items).name == null",
        "let x = last(event.data.items)\nx.name == null",
        "find(event.data.items, x => x.name != \"\").name == null",
        "event.data.items[len(event.data.items) - 1].name == null",
        "let [x, ...r] = event.data.items\nx.name == null",
        "match event.data.a { { b } => b == null, a => a.b == null }",
    ] {
        assert_eq!(gives(text, r#"{"items":[]}"#), "true", "{text}");
        assert_eq!(gives(text, r#"{"a":{"b":"x"},"items":[{"name":"y"}]}"#), "false", "{text}");
    }
    // What is tested, or is in an array, is there.
    for text in [
        "let a = event.data.a\nif a != null { a.b == null } else { true }",
        "let a = event.data.a ?? fail \"none\"\na.b == null",
        "any(event.data.items, x => x.name == null)",
        "[x.name == null for x in event.data.items]",
        "match event.data { { items: [x, ...] } => x.name == null, _ => true }",
        "match event.data { { a } => a.b == null, _ => true }",
        "match event.data.a { object a => a.b == null, _ => true }",
    ] {
        let why = compiled(text).expect_err(text).render(false);
        assert!(why.contains("HX0302"), "{text}: {why}");
    }
    // All of it may be missing in `{}`, as the schema has it: what is no field at all is found.
    let why = compiled("(event.data.o ?? {}).bb").expect_err("unknown").render(false);
    assert!(why.contains("the schema has no field `bb`"), "{why}");
    // The fields are found whatever may be missing.
    let program = compiled("let a = event.data.a\nmatch a.b { string s => s }").unwrap();
    assert!(program.warnings().render(false).contains("HX0310"), "{}", program.warnings().render(false));
}
