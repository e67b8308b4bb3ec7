//! hexafn-dsl.

use std::hint::black_box;

use criterion::Criterion;
use hexafn_dsl::json::{Doc, Limits};
use hexafn_dsl::{Budget, Data, Input, Program, ProgramKind, SourceText, Value, compile};

use crate::Contender;

const CONDITION: &str = "event.data.branch == 'refs/heads/main' and event.data.repository.stars > 100";
const MAPPING: &str = "{
    repository: event.data.repository.name,
    branch: event.data.branch,
    author: event.data.sender.login,
    stars: event.data.repository.stars,
    total: sum(event.data.commits, c => c.size),
}";
const FOLD: &str = "fold(event.data.commits, 0, (total, c) => total + c.size)";
const TEN: [&str; 10] = [
    CONDITION,
    "event.data.action == 'push' and event.data.forced == false",
    "event.data.size >= 2 and event.data.sender.admin == false",
    "event.data.repository.language in ['go', 'java']",
    "starts_with(event.data.branch, 'refs/tags/')",
    "len(event.data.commits) > 1",
    "event.data.repository.owner.kind == 'org' or event.data.sender.id == 18",
    "'urgent' in event.data.labels",
    "ends_with(event.data.sender.email, '@example.org')",
    "any(event.data.commits, c => c.size > 30)",
];

pub struct Hexafn {
    condition: Program,
    mapping: Program,
    fold: Program,
    ten: Vec<Program>,
    small: Input<'static>,
    large: Input<'static>,
    budget: Budget,
    limits: Limits,
}

fn program(text: &str, kind: ProgramKind) -> Program {
    compile(&SourceText { name: "bench", text }, kind).unwrap()
}

fn parsed(bytes: &[u8], limits: &Limits) -> Input<'static> {
    // Kept to the end: what is parsed is borrowed by the input.
    let doc = Box::leak(Box::new(Doc::parse(bytes.to_vec().into(), limits).unwrap()));
    let mut input = Input::EMPTY;
    input.event.data = Data::Json(doc);
    input
}

impl Contender for Hexafn {
    type Value = Value<'static>;
    const NAME: &'static str = "hexafn";

    fn new(small: &[u8], large: &[u8]) -> Self {
        let limits = Limits::default();
        Self {
            condition: program(CONDITION, ProgramKind::Condition),
            mapping: program(MAPPING, ProgramKind::Function),
            fold: program(FOLD, ProgramKind::Function),
            ten: TEN.iter().map(|text| program(text, ProgramKind::Condition)).collect(),
            small: parsed(small, &limits),
            large: parsed(large, &limits),
            budget: Budget::default(),
            limits,
        }
    }

    fn condition(&mut self) -> bool {
        self.budget.reset();
        self.condition.test(black_box(&self.small), &mut self.budget).unwrap()
    }

    fn mapping(&mut self) -> Self::Value {
        self.budget.reset();
        self.mapping.eval(black_box(&self.small), &mut self.budget).unwrap()
    }

    fn fold(&mut self) -> i64 {
        self.budget.reset();
        match self.fold.eval(black_box(&self.large), &mut self.budget).unwrap() {
            Value::Int(total) => total,
            other => panic!("{other:?}"),
        }
    }

    fn ten(&mut self) -> usize {
        let mut count = 0;
        for program in &self.ten {
            self.budget.reset();
            count += usize::from(program.test(black_box(&self.small), &mut self.budget).unwrap());
        }
        count
    }

    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let doc = Doc::parse(bytes::Bytes::copy_from_slice(bytes), &self.limits).unwrap();
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        self.budget.reset();
        if self.condition.test(&input, &mut self.budget).unwrap() {
            let value = self.mapping.eval(&input, &mut self.budget).unwrap();
            value.write_json(out, 1 << 20).unwrap();
        }
    }

    fn json(value: &Self::Value) -> serde_json::Value {
        serde_json::from_str(&value.to_json(1 << 20).unwrap()).unwrap()
    }
}

#[derive(serde::Deserialize)]
struct Push {
    branch: String,
    repository: Repository,
}

#[derive(serde::Deserialize)]
struct Repository {
    stars: i64,
}

/// The condition as a closure in Rust: over the same document, and over a structure of its own.
pub fn by_hand(criterion: &mut Criterion, small: &[u8]) {
    let doc = Doc::parse(small.to_vec().into(), &Limits::default()).unwrap();
    let over_document = |doc: &Doc| {
        let root = doc.root();
        root.get("branch").and_then(|branch| branch.as_str()).is_some_and(|branch| branch == "refs/heads/main")
            && root.get("repository").and_then(|repo| repo.get("stars")?.as_i64()).is_some_and(|stars| stars > 100)
    };
    let push: Push = serde_json::from_slice(small).unwrap();
    let over_struct = |push: &Push| push.branch == "refs/heads/main" && push.repository.stars > 100;
    assert!(over_document(&doc) && over_struct(&push));
    let mut group = criterion.benchmark_group("a-condition");
    group.bench_function("rust, same document", |b| b.iter(|| over_document(black_box(&doc))));
    group.bench_function("rust, structure", |b| b.iter(|| over_struct(black_box(&push))));
    group.finish();
}

/// (f) The condition on bytes that were checked before: with the whole document parsed, and with what it reads. The last
/// case looks for a field that is not there, so that all of the event is stepped over.
pub fn raw_bytes(criterion: &mut Criterion, small: &[u8], large: &[u8]) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("f-condition-on-bytes");
    for (what, text) in [("", CONDITION), (", missing", "event.data.deleted == true or event.data.size == 3")] {
        let program = program(text, ProgramKind::Condition);
        for (size, bytes) in [("1 KiB", small), ("100 KiB", large)] {
            let bytes = bytes::Bytes::copy_from_slice(bytes);
            let mut budget = Budget::default();
            let mut test = |doc: Doc| {
                budget.reset();
                let mut input = Input::EMPTY;
                input.event.data = Data::Json(&doc);
                program.test(&input, &mut budget).unwrap()
            };
            assert!(test(Doc::parse_part(&bytes, program.reads(), &limits).unwrap()));
            group.throughput(criterion::Throughput::Bytes(bytes.len() as u64));
            group.bench_function(format!("whole, {size}{what}"), |b| {
                b.iter(|| test(Doc::parse(black_box(&bytes).clone(), &limits).unwrap()));
            });
            group.bench_function(format!("its reads, {size}{what}"), |b| {
                b.iter(|| test(Doc::parse_part(black_box(&bytes), program.reads(), &limits).unwrap()));
            });
        }
    }
    group.finish();
}
