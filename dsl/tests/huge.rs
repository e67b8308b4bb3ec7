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
            assert!(!shown.is_empty() && shown.len() < 8 << 10, "{what}: {} bytes of errors", shown.len());
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
