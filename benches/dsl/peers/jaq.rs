//! jq, by the crate `jaq`.

use std::hint::black_box;

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, unwrap_valr};
use jaq_json::{Val, read, write};

use crate::Contender;

const CONDITION: &str = r#".branch == "refs/heads/main" and .repository.stars > 100"#;
const MAPPING: &str = "{
    repository: .repository.name,
    branch,
    author: .sender.login,
    stars: .repository.stars,
    total: (reduce .commits[].size as $size (0; . + $size))
}";
const FOLD: &str = "reduce .commits[].size as $size (0; . + $size)";
const TEN: [&str; 10] = [
    CONDITION,
    r#".action == "push" and .forced == false"#,
    ".size >= 2 and .sender.admin == false",
    r#".repository.language == ("go", "java") | select(.) // false"#,
    r#".branch | startswith("refs/tags/")"#,
    ".commits | length > 1",
    r#".repository.owner.kind == "org" or .sender.id == 18"#,
    r#"any(.labels[]; . == "urgent")"#,
    r#".sender.email | endswith("@example.org")"#,
    "any(.commits[]; .size > 30)",
];

type Compiled = Filter<JustLut<Val>>;

pub struct Jaq {
    condition: Compiled,
    mapping: Compiled,
    fold: Compiled,
    ten: Vec<Compiled>,
    small: Val,
    large: Val,
}

fn program(text: &'static str) -> Compiled {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: text, path: () });
    let modules = modules.unwrap_or_else(|why| panic!("{text}: {why:?}"));
    let compiled = Compiler::default().with_funs(funs).compile(modules);
    compiled.unwrap_or_else(|why| panic!("{text}: {why:?}"))
}

fn run(filter: &Compiled, input: Val) -> Val {
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    filter.id.run((context, input)).map(unwrap_valr).next().unwrap().unwrap()
}

fn holds(filter: &Compiled, input: &Val) -> bool {
    matches!(run(filter, input.clone()), Val::Bool(true))
}

impl Contender for Jaq {
    type Value = Val;
    const NAME: &'static str = "jaq";

    fn new(small: &[u8], large: &[u8]) -> Self {
        Self {
            condition: program(CONDITION),
            mapping: program(MAPPING),
            fold: program(FOLD),
            ten: TEN.iter().map(|text| program(text)).collect(),
            small: read::parse_single(small).unwrap(),
            large: read::parse_single(large).unwrap(),
        }
    }

    fn condition(&mut self) -> bool {
        holds(&self.condition, black_box(&self.small))
    }

    fn mapping(&mut self) -> Self::Value {
        run(&self.mapping, black_box(&self.small).clone())
    }

    fn fold(&mut self) -> i64 {
        match run(&self.fold, black_box(&self.large).clone()) {
            Val::Num(total) => total.as_isize().unwrap() as i64,
            other => panic!("{other:?}"),
        }
    }

    fn ten(&mut self) -> usize {
        self.ten.iter().filter(|filter| holds(filter, black_box(&self.small))).count()
    }

    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let event = read::parse_single(bytes).unwrap();
        if holds(&self.condition, &event) {
            write::write(out, &write::Pp::default(), 0, &run(&self.mapping, event)).unwrap();
        }
    }

    fn json(value: &Self::Value) -> serde_json::Value {
        serde_json::from_str(&value.to_string()).unwrap()
    }
}
