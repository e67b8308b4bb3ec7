//! Texts for properties: programs, and what is nearly one. Whoever includes this file has `builtins` in sight.

use proptest::prelude::*;

use super::builtins;

/// Texts that are nearly programs.
pub(crate) fn tokens() -> impl Strategy<Value = String> {
    let words: Vec<String> = [
        "event",
        "ctx",
        ".",
        "?.",
        "data",
        "type",
        "x",
        "y",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?[",
        "??",
        ",",
        ":",
        ";",
        "\n",
        "=>",
        "|>",
        "upper!(",
        "|> parse_json!",
        "!",
        "==",
        "!=",
        "<",
        ">=",
        "=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "and",
        "or",
        "not",
        "in",
        "if",
        "else",
        "let",
        "fn",
        "true",
        "null",
        "drop",
        "fail",
        "match",
        "for",
        "with",
        "without",
        "emit",
        "key",
        "try",
        "const",
        "import",
        "from",
        "|",
        "_",
        "string s",
        "1",
        "2.5",
        "1h",
        "\"a${x}\"",
        "\"\"\"\n  a ${x}\n  \"\"\"",
        "\"\"\"",
        "'''",
        "'b'",
        "\"",
        "${",
        "...",
        "0",
        "9223372036854775807",
        "&&",
        "#c\n",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(builtins().iter().map(|builtin| builtin.name.to_owned()))
    .collect();
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.join(" "))
}

/// Patterns of `match`.
fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "_", "x", "1", "-2.5", "1h", "'text'", "null", "true", "string s", "number n", "array xs", "object _",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|parts| format!("[{}]", parts.join(", "))),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|parts| format!("[...r, {}]", parts.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{ a: {a}, \"b\": {b}, ...rest }}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} | {b}")),
        ]
    })
}

/// Programs that are well formed by construction.
pub(crate) fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-50i64..1000).prop_map(|n| n.to_string()),
        prop::sample::select(vec![
            "event.data",
            "event.data.a",
            "event.data[0]",
            "event.type",
            "event.time",
            "ctx.now",
            "null",
            "true",
            "'text'",
            "1.5",
            "1h",
            "[]",
            "{}",
            "[1, 2, 3]",
            "9223372036854775807",
            "event",
            "'{\"a\":1}'",
            "'''\n  a\n b'''",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let names: Vec<&'static str> = builtins().iter().map(|builtin| builtin.name).collect();
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "and", "or", "in", "??"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (prop::sample::select(names), prop::collection::vec(inner.clone(), 0..4)).prop_map(|(name, args)| {
                let mark = if builtins().iter().any(|own| own.name == name && own.fallible) { "!" } else { "" };
                format!("{name}{mark}({})", args.join(", "))
            }),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(parse_json({a}).x ?? {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} |> to_int() ?? {b} |> to_string)")),
            (
                prop::sample::select(vec!["map", "filter", "sort_by", "group_by", "any", "sum", "unique"]),
                inner.clone(),
                inner.clone()
            )
                .prop_map(|(name, items, body)| format!("{name}({items} ?? [], x => {body})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("if {a} {{ {b} }} else {{ {c} }}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{ a: {a}, b: [{b}], \"c\": \"${{{a}}}\" }}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("fold([{a}, {b}], {a}, (t, x) => [t, x])")),
            (inner.clone(), pattern(), inner.clone(), inner.clone()).prop_map(|(subject, pattern, guard, body)| {
                format!("match {subject} {{ {pattern} if ({guard}) => {body}, {pattern} => ({body}), _ => {guard} }}")
            }),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(item, items, test)| format!("[{item} for x in {items} ?? [] if {test}]")),
            (inner.clone(), inner.clone())
                .prop_map(|(value, items)| format!("{{ [to_string(k)]: {value} for k, v in {items} }}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(base, index, value)| format!("({base} with {{ a: {value}, b.c: 1, d[{index}]: 2 }})")),
            (inner.clone(), inner.clone()).prop_map(|(base, key)| format!("({base} without {{ a, b[{key}].c }})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(try {a} else err => [err, {b}])")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(topic, value, key)| format!("(emit \"t${{{topic}}}\" {value} key {key})")),
            inner.clone().prop_map(|value| format!("\"\"\"\n  a ${{{value}}}\n\n   b\n  \"\"\"")),
            (inner.clone(), inner).prop_map(|(value, result)| {
                format!("{{ let {{ a, b: [c, ...d], ...e }} = {value}; [a, c, d, e, {result}] }}")
            }),
        ]
    })
}
