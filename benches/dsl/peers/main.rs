//! hexafn-dsl beside VRL, CEL, jaq and Rhai on the same work, in one run:
//!
//! ```text
//! cargo bench --manifest-path benches/dsl/Cargo.toml
//! ```
//!
//! Every contender is compiled once, keeps its parsed event in its own form, and must give the right result before
//! anything is measured. What differs by design: hexaFn counts steps and bytes against a budget, and its numbers are
//! exact; CEL has no fold, and gets a function of ours that adds up a list.

mod cel;
mod hexafn;
mod jaq;
mod rhai;
mod vrl;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use hexafn_dsl_bench::{commits, event, total};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A language, ready to run.
trait Contender {
    /// A result in its own form.
    type Value;
    const NAME: &'static str;

    /// Compiles everything and parses both events.
    fn new(small: &[u8], large: &[u8]) -> Self;
    /// (a) A condition on two fields of the small event.
    fn condition(&mut self) -> bool;
    /// (b) Five fields of the small event, one computed from its commits.
    fn mapping(&mut self) -> Self::Value;
    /// (c) The sum over the commits of the large event.
    fn fold(&mut self) -> i64;
    /// (d) How many of ten conditions hold for the small event.
    fn ten(&mut self) -> usize;
    /// (e) From the bytes of the small event to those of the result: parse, condition, mapping, serialise.
    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>);
    fn json(value: &Self::Value) -> serde_json::Value;
}

fn main() {
    let (small, large) = (event(1024), event(100 * 1024));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .without_plots()
        .configure_from_args();
    run::<hexafn::Hexafn>(&mut criterion, &small, &large);
    run::<vrl::Vrl>(&mut criterion, &small, &large);
    run::<cel::Cel>(&mut criterion, &small, &large);
    run::<jaq::Jaq>(&mut criterion, &small, &large);
    run::<rhai::Rhai>(&mut criterion, &small, &large);
    hexafn::by_hand(&mut criterion, &small);
    hexafn::raw_bytes(&mut criterion, &small, &large);
    criterion.final_summary();
}

fn run<C: Contender>(criterion: &mut Criterion, small: &[u8], large: &[u8]) {
    let mut contender = C::new(small, large);
    let expected = serde_json::json!({
        "repository": "hexafn/hexafn", "branch": "refs/heads/main", "author": "jo", "stars": 1284, "total": total(small),
    });
    let mut out = Vec::with_capacity(4096);
    contender.end_to_end(small, &mut out);
    assert!(contender.condition(), "{}", C::NAME);
    assert_eq!(C::json(&contender.mapping()), expected, "{}", C::NAME);
    assert_eq!(contender.fold(), total(large), "{}", C::NAME);
    assert_eq!(contender.ten(), 6, "{}", C::NAME);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), expected, "{}", C::NAME);

    group(criterion, "a-condition").bench_function(C::NAME, |b| b.iter(|| contender.condition()));
    group(criterion, "b-mapping").bench_function(C::NAME, |b| b.iter(|| black_box(contender.mapping())));
    let mut fold = group(criterion, "c-fold");
    fold.throughput(Throughput::Elements(commits(large) as u64));
    fold.bench_function(C::NAME, |b| b.iter(|| contender.fold()));
    fold.finish();
    group(criterion, "d-ten-conditions").bench_function(C::NAME, |b| b.iter(|| contender.ten()));
    let mut whole = group(criterion, "e-end-to-end");
    whole.throughput(Throughput::Bytes(small.len() as u64));
    whole.bench_function(C::NAME, |b| {
        b.iter(|| {
            out.clear();
            contender.end_to_end(black_box(small), &mut out);
            out.len()
        });
    });
    whole.finish();
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    criterion.benchmark_group(name)
}
