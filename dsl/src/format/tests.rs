#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::{format, lay_out, tree};
use crate::builtins;

#[path = "../../tests/support/programs.rs"]
mod programs;

fn check(text: &str) {
    let Ok(before) = tree(text) else {
        assert!(format(text).is_err());
        return;
    };
    let once = lay_out(text).unwrap_or_else(|| panic!("not laid out:\n{text}"));
    let after = tree(&once).unwrap_or_else(|_| panic!("does not parse any more:\n{text}\n---\n{once}"));
    assert_eq!(before, after, "reads differently:\n{text}\n---\n{once}");
    let twice = lay_out(&once).unwrap();
    assert_eq!(once, twice, "not the same twice:\n{text}");
    let comments = |text: &str| text.matches("#c").count();
    assert!(!text.contains("#c\n") || comments(text) == comments(&once), "lost a comment:\n{text}\n---\n{once}");
}

/// Breaks lines and puts comments where there are spaces.
fn spread(text: &str, seed: u64) -> String {
    let mut state = seed;
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (c, state >> 60) {
            (' ' | ',', 0) => out.push('\n'),
            (' ' | ',' | '(' | '{', 1) => out.push_str(" #c\n"),
            (' ' | ',' | '{', 2) => out.push_str("\n\n\n#c\n"),
            _ => {}
        }
    }
    out
}

#[test]
fn a_chain_within_a_chain_is_broken_at_once() {
    check(
        "let x = 1\n[(x > if true == 1 {} else if if some_very_long_name_of_a_local_value_abcd == 1 {} else if 2 {} else {} > 2 {} \
         else {})]",
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_programs_keep_their_meaning(text in programs::expression()) {
        check(&text);
        check(&format!("fn f(x, [y]) = {text}\nlet a = {text}\n\n\n{text}; -{text}\nf({text}, x => {text})"));
    }

    #[test]
    fn so_do_programs_with_comments(text in programs::expression(), seed in any::<u64>()) {
        check(&spread(&text, seed));
        check(&spread(&format!("fn f(x, [y]) {{ {text} }} let a = {text} ; if {text} {{ {text} ; 1 }} else {{ x, }}"), seed));
    }

    #[test]
    fn any_tokens_are_laid_out_or_refused(text in programs::tokens(), other in any::<String>()) {
        check(&text);
        check(&other);
    }
}

#[test]
fn programs_of_the_tests_keep_their_meaning() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for case in text.split("=== ").skip(1) {
            let program = case.split_once('\n').map_or("", |(_, rest)| rest);
            let program = program.split("--- ").next().unwrap_or_default();
            seen += usize::from(tree(program).is_ok());
            check(program);
            check(&spread(program, seen as u64));
        }
    }
    assert!(seen > 300, "only {seen} programs");
}

#[test]
fn layout() {
    let text = r#"
import { gross,RATE as VAT } from "lib/money.hexa"
## Adds up.
fn total(lines)=lines|>map(l=>l.price*l.count)|>sum()   # exact


const  LIMIT=-100 ;
fn big(order) { let {total:t,...rest}=order; t>LIMIT }
let items = event.data.items
  |> filter(i => i.ok) |> map((i) => { id: i.id })  // kept broken
let all = map(event.data.orders, order => { id: order.id, customer: order.customer.name, total: total(order.lines), seen: true })
# who
let who = event.data.user.name ?? event.data.sender.name ?? event.data.organisation.name ?? fail "nobody sent this event"
if not (event.data.amount>LIMIT and event.type in ["order.created","order.changed","order.cancelled"]) or who=="x" { drop }
if len(items)==0 { drop } else if a { emit "orders.${ region }" { id:1 } key 'k' } else { 
  items   # here
}
match event.data { {kind:"a"|"b",total:number n} if n>1 => n,
 -1 => 2
 # the rest
 _ => { x, [k]: v, ...rest }
}
let found = [x.identifier for x in event.data.somewhere.deep.inside if x.size > 100 and x.kind != "ignored" if x.ok]
let text = trim("""
    a ${ x }
      b
  """)
let t = try parse_int(event.data.n) else err => { code: err.code }
let id = event.data.payload|>base64_decode|>parse_json!( )??{  }|>get! ( 'id' )
all with { a.b[0]:1,"c d":t } without { e , f[-1] }
# the end
"#;
    check(text);
    insta::assert_snapshot!(format(text).unwrap());
}

#[test]
fn what_does_not_parse_is_left_alone() {
    let findings = format("let x = (1 +\nx").unwrap_err();
    insta::assert_snapshot!(findings.render(false));
}
