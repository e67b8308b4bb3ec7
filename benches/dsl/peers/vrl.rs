//! VRL, the language of Vector.

use std::collections::BTreeMap;
use std::hint::black_box;

use vrl::compiler::state::{ExternalEnv, LocalEnv, RuntimeState, TypeState};
use vrl::compiler::{CompileConfig, Context, Program, TargetValueRef, TimeZone, compile_with_state};
use vrl::value::kind::Collection;
use vrl::value::{Kind, Secrets, Value};

use crate::Contender;

const CONDITION: &str = r#".branch == "refs/heads/main" && .repository.stars > 100"#;
const MAPPING: &str = r#"
total = 0
for_each(.commits) -> |_i, c| { total = total + c.size }
{
    "repository": .repository.name,
    "branch": .branch,
    "author": .sender.login,
    "stars": .repository.stars,
    "total": total
}"#;
const FOLD: &str = "total = 0\nfor_each(.commits) -> |_i, c| { total = total + c.size }\ntotal";
const TEN: [&str; 10] = [
    CONDITION,
    r#".action == "push" && .forced == false"#,
    ".size >= 2 && .sender.admin == false",
    r#"includes(["go", "java"], .repository.language)"#,
    r#"starts_with(.branch, "refs/tags/")"#,
    "length(.commits) > 1",
    r#".repository.owner.kind == "org" || .sender.id == 18"#,
    r#"includes(.labels, "urgent")"#,
    r#"ends_with(.sender.email, "@example.org")"#,
    "length(filter(.commits) -> |_i, c| { c.size > 30 }) > 0",
];

pub struct Vrl {
    condition: Program,
    mapping: Program,
    fold: Program,
    ten: Vec<Program>,
    small: Value,
    large: Value,
    metadata: Value,
    secrets: Secrets,
    state: RuntimeState,
    zone: TimeZone,
}

/// The types of the event, as a schema would tell them: with these no expression can fail, and none is checked.
fn kind() -> Kind {
    let object = |fields: &[(&'static str, Kind)]| {
        Kind::object(BTreeMap::from_iter(fields.iter().map(|(name, kind)| ((*name).into(), kind.clone()))))
    };
    let array = |kind: Kind| Kind::array(Collection::from_unknown(kind));
    let owner = object(&[("login", Kind::bytes()), ("kind", Kind::bytes())]);
    object(&[
        ("action", Kind::bytes()),
        ("branch", Kind::bytes()),
        ("forced", Kind::boolean()),
        ("size", Kind::integer()),
        ("labels", array(Kind::bytes())),
        (
            "repository",
            object(&[
                ("id", Kind::integer()),
                ("name", Kind::bytes()),
                ("stars", Kind::integer()),
                ("language", Kind::bytes()),
                ("owner", owner),
            ]),
        ),
        (
            "sender",
            object(&[
                ("login", Kind::bytes()),
                ("id", Kind::integer()),
                ("email", Kind::bytes()),
                ("admin", Kind::boolean()),
            ]),
        ),
        ("commits", array(object(&[("size", Kind::integer())]))),
    ])
}

fn program(text: &str) -> Program {
    let state = TypeState {
        local: LocalEnv::default(),
        external: ExternalEnv::new_with_kind(kind(), Kind::object(Collection::any())),
    };
    match compile_with_state(text, &vrl::stdlib::all(), &state, CompileConfig::default()) {
        Ok(result) => result.program,
        Err(why) => panic!("{text}: {why:?}"),
    }
}

/// A macro, since the parts are borrowed apart.
macro_rules! resolve {
    ($self:ident, $program:expr, $value:expr) => {{
        $self.state.clear();
        let mut target = TargetValueRef { value: $value, metadata: &mut $self.metadata, secrets: &mut $self.secrets };
        $program.resolve(&mut Context::new(&mut target, &mut $self.state, &$self.zone)).unwrap()
    }};
}

impl Contender for Vrl {
    type Value = Value;
    const NAME: &'static str = "vrl";

    fn new(small: &[u8], large: &[u8]) -> Self {
        Self {
            condition: program(CONDITION),
            mapping: program(MAPPING),
            fold: program(FOLD),
            ten: TEN.iter().map(|text| program(text)).collect(),
            small: serde_json::from_slice(small).unwrap(),
            large: serde_json::from_slice(large).unwrap(),
            metadata: Value::Object(BTreeMap::new()),
            secrets: Secrets::default(),
            state: RuntimeState::default(),
            zone: TimeZone::default(),
        }
    }

    fn condition(&mut self) -> bool {
        resolve!(self, &self.condition, black_box(&mut self.small)) == Value::Boolean(true)
    }

    fn mapping(&mut self) -> Self::Value {
        resolve!(self, &self.mapping, black_box(&mut self.small))
    }

    fn fold(&mut self) -> i64 {
        match resolve!(self, &self.fold, black_box(&mut self.large)) {
            Value::Integer(total) => total,
            other => panic!("{other:?}"),
        }
    }

    fn ten(&mut self) -> usize {
        let mut count = 0;
        for program in &self.ten {
            count += usize::from(resolve!(self, program, black_box(&mut self.small)) == Value::Boolean(true));
        }
        count
    }

    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut event: Value = serde_json::from_slice(bytes).unwrap();
        if resolve!(self, &self.condition, &mut event) == Value::Boolean(true) {
            let value = resolve!(self, &self.mapping, &mut event);
            serde_json::to_writer(out, &value).unwrap();
        }
    }

    fn json(value: &Self::Value) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }
}
