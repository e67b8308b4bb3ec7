//! A condition that makes no text allocates nothing; parsing allocates once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use allocation_counter::measure;
use bytes::Bytes;
use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, Data, Input, ProgramKind, SourceText, compile};

const EVENT: &[u8] = br#"{"ref":"refs/heads/main","amount":12.50,"commits":[{"id":"a","size":5},{"id":"b","size":7}],
    "repository":{"id":186853002,"private":false,"labels":["bug","urgent"]}}"#;

#[test]
fn conditions_allocate_nothing() {
    let doc = Doc::parse(Bytes::from_static(EVENT), &Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.kind = "push";
    input.event.data = Data::Json(&doc);
    for text in [
        "event.type == 'push' and len(event.data.commits) > 1",
        "event.type == \"push\" and event.data.repository.private == false and event.data.amount > 12.49",
        "event.data.repository.id + 1 == 186853003",
        "event.type in ['push', 'release'] and 'bug' in event.data.repository.labels",
        "starts_with(event.data.ref, 'refs/heads/') and not ends_with(event.data.ref, 'dev')",
        "any(event.data.commits, c => c.size > 6)",
        "(event.data.missing ?? 5) == 5",
        "let n = len(event.data.commits)\nn > 1 and n < 5",
        "ctx.now - event.time < 5m",
        "trim(event.data.ref) == 'refs/heads/main'",
        "match event.type { 'push' | 'release' => event.data.amount > 1, string s => s == 'x', _ => false }",
        "match event.data { { ref: string r, commits: [{ size }, ...] } if size > 1 => r != '', _ => false }",
        "let { repository: { private }, commits: [_, second] } = event.data\nprivate == false and second.size == 7",
        "try event.data.amount * 2 > 1 else false",
    ] {
        let program = compile(&SourceText { name: "condition", text }, ProgramKind::Condition).unwrap();
        let mut budget = Budget::default();
        let mut truth = false;
        let counted = measure(|| truth = program.test(&input, &mut budget).unwrap());
        assert!(truth, "{text}");
        assert_eq!(counted.count_total, 0, "{text}");
    }
}

/// A pattern or a network that a name holds is prepared with the program: at run time it would allocate, and take steps.
#[test]
fn what_a_name_holds_is_prepared_once() {
    let doc = Doc::parse(Bytes::from_static(EVENT), &Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.data = Data::Json(&doc);
    for text in [
        "let p = '^refs/.*/main$'\nmatches(event.data.ref, p)",
        "const P = '^refs/' + '.*/main$'\nmatches(event.data.ref, P)",
        "fn main(ref) { let p = '^refs/.*/main$'; matches(ref, p) }\nmain(event.data.ref)",
        "const NETS = ['10.0.0.0/8', '::1/128']\nlet nets = NETS\nip_in_cidr('10.1.1.1', nets) ?? false",
    ] {
        let program = compile(&SourceText { name: "condition", text }, ProgramKind::Condition).unwrap();
        let mut budget = Budget::default();
        // The first use of a pattern sets its scratch space up.
        assert!(program.test(&input, &mut budget).unwrap(), "{text}");
        budget.reset();
        let counted = measure(|| assert!(program.test(&input, &mut budget).unwrap()));
        assert_eq!(counted.count_total, 0, "{text}");
        assert!(budget.steps_used() < 100, "{text}: {}", budget.steps_used());
    }
}

#[test]
fn a_document_is_one_allocation() {
    let bytes = Bytes::from(EVENT.to_vec());
    let mut parsed = None;
    let counted = measure(|| parsed = Some(Doc::parse(bytes, &Limits::default())));
    assert!(parsed.unwrap().is_ok());
    assert_eq!(counted.count_total, 1);
}
