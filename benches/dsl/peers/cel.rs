//! CEL, by the crate `cel`.

use std::hint::black_box;
use std::sync::Arc;

use cel::{Context, Program, Value};

use crate::Contender;

const CONDITION: &str = "event.branch == 'refs/heads/main' && event.repository.stars > 100";
const MAPPING: &str = "{
    'repository': event.repository.name,
    'branch': event.branch,
    'author': event.sender.login,
    'stars': event.repository.stars,
    'total': sum(event.commits.map(c, c.size))
}";
const FOLD: &str = "sum(event.commits.map(c, c.size))";
const TEN: [&str; 10] = [
    CONDITION,
    "event.action == 'push' && event.forced == false",
    "event.size >= 2 && event.sender.admin == false",
    "event.repository.language in ['go', 'java']",
    "event.branch.startsWith('refs/tags/')",
    "size(event.commits) > 1",
    "event.repository.owner.kind == 'org' || event.sender.id == 18",
    "'urgent' in event.labels",
    "event.sender.email.endsWith('@example.org')",
    "event.commits.exists(c, c.size > 30)",
];

pub struct Cel {
    condition: Program,
    mapping: Program,
    fold: Program,
    ten: Vec<Program>,
    small: Context<'static, 'static>,
    large: Context<'static, 'static>,
    /// The functions, for events that come one by one.
    functions: Context<'static, 'static>,
}

/// CEL has no fold and no sum. Numbers of JSON that are not negative come as `UInt`.
fn sum(list: Arc<Vec<Value>>) -> i64 {
    let number = |value: &Value| match value {
        Value::Int(value) => *value,
        Value::UInt(value) => i64::try_from(*value).unwrap(),
        other => panic!("{other:?}"),
    };
    list.iter().map(number).sum()
}

fn functions() -> Context<'static, 'static> {
    let mut context = Context::default();
    context.add_function("sum", sum).unwrap();
    context
}

fn parsed(bytes: &[u8]) -> Value {
    cel::to_value(serde_json::from_slice::<serde_json::Value>(bytes).unwrap()).unwrap()
}

fn context(bytes: &[u8]) -> Context<'static, 'static> {
    let mut context = functions();
    context.add_variable_from_value("event", parsed(bytes));
    context
}

impl Contender for Cel {
    type Value = Value;
    const NAME: &'static str = "cel";

    fn new(small: &[u8], large: &[u8]) -> Self {
        let program = |text: &str| Program::compile(text).unwrap();
        Self {
            condition: program(CONDITION),
            mapping: program(MAPPING),
            fold: program(FOLD),
            ten: TEN.iter().map(|text| program(text)).collect(),
            small: context(small),
            large: context(large),
            functions: functions(),
        }
    }

    fn condition(&mut self) -> bool {
        self.condition.execute(black_box(&self.small)).unwrap() == Value::Bool(true)
    }

    fn mapping(&mut self) -> Self::Value {
        self.mapping.execute(black_box(&self.small)).unwrap()
    }

    fn fold(&mut self) -> i64 {
        match self.fold.execute(black_box(&self.large)).unwrap() {
            Value::Int(total) => total,
            other => panic!("{other:?}"),
        }
    }

    fn ten(&mut self) -> usize {
        let holds = |program: &&Program| program.execute(black_box(&self.small)).unwrap() == Value::Bool(true);
        self.ten.iter().filter(holds).count()
    }

    fn end_to_end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut context = self.functions.new_inner_scope();
        context.add_variable_from_value("event", parsed(bytes));
        if self.condition.execute(&context).unwrap() == Value::Bool(true) {
            let value = self.mapping.execute(&context).unwrap();
            serde_json::to_writer(out, &value.json().unwrap()).unwrap();
        }
    }

    fn json(value: &Self::Value) -> serde_json::Value {
        value.json().unwrap()
    }
}
