//! Rhai.

use std::hint::black_box;

use rhai::{AST, Dynamic, Engine, OptimizationLevel, Scope};

use crate::Contender;

const CONDITION: &str = r#"event.branch == "refs/heads/main" && event.repository.stars > 100"#;
/// By position: `for c in event.commits` copies the array, `reduce` copies each commit.
const MAPPING: &str = "
let total = 0;
for i in 0..event.commits.len() { total += event.commits[i].size; }
#{
    repository: event.repository.name,
    branch: event.branch,
    author: event.sender.login,
    stars: event.repository.stars,
    total: total
}";
const FOLD: &str = "
let total = 0;
for i in 0..event.commits.len() { total += event.commits[i].size; }
total";
const TEN: [&str; 10] = [
    CONDITION,
    r#"event.action == "push" && event.forced == false"#,
    "event.size >= 2 && event.sender.admin == false",
    r#"event.repository.language in ["go", "java"]"#,
    r#"event.branch.starts_with("refs/tags/")"#,
    "event.commits.len() > 1",
    r#"event.repository.owner.kind == "org" || event.sender.id == 18"#,
    r#""urgent" in event.labels"#,
    r#"event.sender.email.ends_with("@example.org")"#,
    "event.commits.some(|c| c.size > 30)",
];

pub struct Rhai {
    engine: Engine,
    condition: AST,
    mapping: AST,
    fold: AST,
    ten: Vec<AST>,
    small: Scope<'static>,
    large: Scope<'static>,
}

fn scope(bytes: &[u8]) -> Scope<'static> {
    let mut scope = Scope::new();
    scope.push_dynamic("event", serde_json::from_slice::<Dynamic>(bytes).unwrap());
    scope
}

impl Rhai {
    fn run<T: Clone + 'static>(engine: &Engine, scope: &mut Scope<'_>, ast: &AST) -> T {
        let result = engine.eval_ast_with_scope(scope, ast).unwrap();
        scope.rewind(1);
        result
    }
}

impl Contender for Rhai {
    type Value = Dynamic;
    const NAME: &'static str = "rhai";

    fn new(small: &[u8], large: &[u8]) -> Self {
        let mut engine = Engine::new();
        engine.set_optimization_level(OptimizationLevel::Full);
        let program = |text: &str| engine.compile(text).unwrap();
        Self {
            condition: program(CONDITION),
            mapping: program(MAPPING),
            fold: program(FOLD),
            ten: TEN.iter().map(|text| program(text)).collect(),
            small: scope(small),
            large: scope(large),
            engine,
        }
    }

    fn condition(&mut self) -> bool {
        Self::run(&self.engine, black_box(&mut self.small), &self.condition)
    }

    fn mapping(&mut self) -> Self::Value {
        Self::run(&self.engine, black_box(&mut self.small), &self.mapping)
    }

    fn fold(&mut self) -> i64 {
        Self::run(&self.engine, black_box(&mut self.large), &self.fold)
    }

    fn ten(&mut self) -> usize {
        let mut count = 0;
        for ast in &self.ten {
            count += usize::from(Self::run::<bool>(&self.engine, black_box(&mut self.small), ast));
        }
        count
    }

    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut scope = scope(bytes);
        if Self::run(&self.engine, &mut scope, &self.condition) {
            let value: Dynamic = Self::run(&self.engine, &mut scope, &self.mapping);
            serde_json::to_writer(out, &value).unwrap();
        }
    }

    fn json(value: &Self::Value) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }
}
