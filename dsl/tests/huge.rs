//! Programs that mean harm by their size, and patterns that would cost exponential time: refused, or done in linear time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, Data, Input, Limits as Spend, ProgramKind, SourceText, compile};
use std::time::{Duration, Instant};

/// Far beyond what anything here takes, also where nothing is optimised; what is exponential does not end within years.
const SOON: Duration = Duration::from_secs(20);

/// Of the program: what it gives as JSON, or the codes that it is refused with. Whatever it is, soon.
fn ends(what: &str, kind: ProgramKind, text: &str, data: &str) -> Result<String, String> {
    let began = Instant::now();
    let result = match compile(&SourceText { name: "huge", text }, kind) {
        Err(findings) => {
            let shown = findings.render(false);
            assert!(!shown.is_empty() && shown.len() < 16 << 10, "{what}: {} bytes of errors", shown.len());
            Err(shown)
        }
        Ok(program) => {
            let doc = Doc::parse(Bytes::copy_from_slice(data.as_bytes()), &Limits::default()).unwrap();
            let mut input = Input::EMPTY;
            input.event.data = Data::Json(&doc);
            let value = program.eval(&input, &mut Budget::new(Spend::default()));
            value.map_err(|e| e.to_string()).map(|value| value.to_json(usize::MAX).unwrap())
        }
    };
    let took = began.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
    result
}

#[test]
fn huge_literals_are_refused_with_their_place_or_are_what_they_say() {
    let function = |what: &str, text: &str| ends(what, ProgramKind::Function, text, "{}");
    let digits = "9".repeat(200 << 10);
    for (what, text) in [
        ("an integer", digits.clone()),
        ("a fraction", format!("0.{digits}")),
        ("an exponent", format!("1e{digits}")),
        ("a negative one", format!("-{digits}")),
        ("a duration", format!("{digits}s")),
        ("a key", format!("{{ a: {digits} }}")),
    ] {
        let refused = function(what, &text).expect_err(what);
        assert!(refused.contains("HX0105") && refused.contains("huge:1:"), "{what}: {}", &refused[..200]);
    }
    // A text, an array and an object as large as a program may be are what they say.
    let long = "x".repeat(200 << 10);
    assert_eq!(function("a text", &format!("len('{long}')")).as_deref(), Ok("204800"));
    let elements = vec!["1"; 60_000].join(",");
    assert_eq!(function("an array", &format!("len([{elements}])")).as_deref(), Ok("60000"));
    let members: Vec<String> = (0..15_000).map(|n| format!("a{n}: 1")).collect();
    assert_eq!(function("an object", &format!("len({{ {} }})", members.join(", "))).as_deref(), Ok("15000"));
    let name = "x".repeat(100 << 10);
    assert_eq!(function("a name", &format!("let {name} = 1\n{name}")).as_deref(), Ok("1"));
    let refused = function("an unknown name", &format!("let a = 1\n{name}")).expect_err("unknown");
    assert!(refused.contains("HX0201"), "{refused}");
    let sum = vec!["1"; 2_000].join(" + ");
    match function("a sum", &sum) {
        Ok(value) => assert_eq!(value, "2000"),
        Err(refused) => assert!(refused.contains("HX0106"), "{refused}"),
    }
    // One more byte is too long, whatever it is.
    let refused = function("a program", &format!("'{}'", "x".repeat(256 << 10))).expect_err("too long");
    assert!(refused.contains("HX0108") && refused.contains("256 KiB"), "{refused}");
}

#[test]
fn patterns_that_cost_others_exponential_time_cost_linear_time_here() {
    // With an engine that tries every way, each further `a` doubles the time.
    let data = format!("{{\"s\":\"{}!\",\"p\":\"^(a+)+$\"}}", "a".repeat(20_000));
    let condition = |what: &str, text: &str| ends(what, ProgramKind::Condition, text, &data);
    for pattern in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(a*)*b", "^(.*a){12}$", r"^([a-z]+)*\d", "(x+x+)+y"] {
        let found = condition(pattern, &format!("matches(event.data.s, '{pattern}')"));
        assert_eq!(found.as_deref(), Ok("false"), "{pattern}");
    }
    // Also one that comes with the event.
    assert_eq!(condition("of the event", "matches(event.data.s, event.data.p)").as_deref(), Ok("false"));
    // What takes no exponential time but exponential space is refused.
    for pattern in ["(a{1000}){1000}", "((a{100}){100}){100}", "(?:[\\p{L}]{500}){500}"] {
        let refused = condition(pattern, &format!("matches(event.data.s, '{pattern}')")).expect_err(pattern);
        assert!(refused.contains("HX0307"), "{refused}");
    }
    // Nor does going back to what was matched exist.
    let refused = condition("a back reference", r"matches(event.data.s, '^(a+)\1$')").expect_err("refused");
    assert!(refused.contains("HX0307"), "{refused}");
}

#[test]
fn what_comes_with_an_event_costs_in_proportion_to_its_size() {
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let function = |what: &str, text: &str, data: &str| ends(what, ProgramKind::Function, text, data);
    let ids: Vec<String> = (0..60_000).map(|n| format!("\"{n:08}\"")).collect();
    let ids = format!("[{}]", ids.join(","));
    // All that the program made is looked for in it.
    for found in ["x in idx", "has(idx, x)", "get(idx, x) != null", "contains(idx, x)", "idx[x] == x"] {
        let text = format!("let idx = index_by(event.data, x => x)\ncount(event.data, x => {found})");
        assert_eq!(function(found, &text, &ids).as_deref(), Ok("60000"), "{found}");
    }
    // What the event has is looked through each time.
    let members: Vec<String> = (0..10_000).map(|n| format!("\"{n:08}\":1")).collect();
    let members = format!("{{{}}}", members.join(","));
    let why = function("members", "count(keys(event.data), x => x in event.data)", &members).expect_err("dear");
    assert!(why.contains("HX0506"), "{why}");
    // No white space between the pairs.
    let pairs = json(&"a=\"x\"".repeat(200_000));
    assert_eq!(function("pairs", "parse_key_value!(event.data)", &pairs).as_deref(), Ok("{\"a\":\"x\"}"));
    // A pattern that makes an automaton too large is followed in all of its places.
    let mut state = 1u32;
    let bits: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 0 { '0' } else { '1' }
    })
    .take(1_000_000)
    .collect();
    for pattern in ["[01]*1[01]{1000}x", "1(0|1|01){500}x"] {
        let why = function(pattern, &format!("matches(event.data, '{pattern}')"), &json(&bits)).expect_err(pattern);
        assert!(why.contains("HX0506"), "{why}");
    }
    // A list of words is one way, and costs what it did.
    let words: Vec<String> = (0..300).map(|n| format!("word{n}")).collect();
    let text = format!("matches(event.data, '(?i)\\b({})\\b')", words.join("|"));
    assert_eq!(function("words", &text, &json(&bits)).as_deref(), Ok("false"));
}

#[test]
fn names_that_are_not_known_are_told_soon() {
    let function = |what: &str, text: &str| ends(what, ProgramKind::Function, text, "{}").expect_err(what);
    let long = "a".repeat(100_000);
    let refused = function("two long names", &format!("let {long} = 1\n{long}b"));
    assert!(refused.contains("HX0201"), "{refused}");
    let lets: String = (0..6_000).map(|n| format!("let name{n} = {n}\n")).collect();
    let names: Vec<String> = (0..6_000).map(|n| format!("nome{n}")).collect();
    let refused = function("many names", &format!("{lets}[{}]", names.join(", ")));
    assert!(refused.contains("write `name"), "{refused}");
}
