//! The evaluator: a walk over the compiled form with a small stack of slots. Recursion is as deep as the program text,
//! which the compiler caps.

mod each;
mod emit;
mod explain;
mod matching;
mod ops;
mod path;
mod prepared;
mod update;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::budget::Budget;
use crate::builtins::Types;
use crate::code::{Args, Call, CallLambda, CallPattern, Code, Compare, Element, Lambda, Line, Member, Node, Op, Piece};
use crate::codes;
use crate::coverage::Covered;
use crate::fault::Fault;
use crate::input::Input;
use crate::value::{Object, ObjectBuilder, SEARCHED, Shape, Text, Value, equal};

pub use emit::Emit;
pub(crate) use explain::Source;
pub use explain::{Explanation, PartOutcome};
pub(crate) use ops::{arith, order, timestamp, weight};
pub(crate) use path::{CTX_FIELDS, EVENT_FIELDS, position};

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// One evaluation.
pub(crate) struct Machine<'p, 'e> {
    code: &'p Code,
    pub(crate) input: &'p Input<'e>,
    pub(crate) budget: &'p mut Budget,
    stack: SmallVec<[Value<'e>; 8]>,
    base: usize,
    /// How many random numbers were taken.
    pub(crate) drawn: u64,
    /// What they follow from, once one was drawn.
    pub(crate) seed: Option<[u64; 2]>,
    /// What was emitted.
    pub(crate) emitted: Vec<Emit<'e>>,
}

type Values<'e> = SmallVec<[Value<'e>; 4]>;

impl<'p, 'e> Machine<'p, 'e> {
    pub(crate) fn new(code: &'p Code, input: &'p Input<'e>, budget: &'p mut Budget) -> Self {
        let mut stack = SmallVec::new();
        if code.slots > 0 {
            stack.resize(code.slots, Value::Null);
        }
        Self { code, input, budget, stack, base: 0, drawn: 0, seed: None, emitted: Vec::new() }
    }

    pub(crate) fn local(&self, slot: u16) -> &Value<'e> {
        &self.stack[self.base + slot as usize]
    }

    fn set(&mut self, slot: u16, value: Value<'e>) {
        self.stack[self.base + slot as usize] = value;
    }

    pub(crate) fn eval(&mut self, node: &'p Node) -> Result<Value<'e>> {
        self.budget.step(1).map_err(|fault| fault.at(node.span))?;
        match &node.op {
            Op::Const(value) => Ok(value.clone()),
            Op::Local(slot) => Ok(self.local(*slot).clone()),
            Op::Field(field) => self.field(*field),
            Op::Path(path) => self.path(path),
            Op::Index { base, index, safe } => {
                let base = self.eval(base)?;
                let index = self.eval(index)?;
                self.index(&base, &index, *safe).map_err(|fault| fault.at(node.span))
            }
            Op::Not(_) | Op::All(_) | Op::Any(_) | Op::Compare(..) | Op::CompareConst(..) | Op::In { .. } => {
                self.truth(node).map(Value::Bool)
            }
            Op::Negate(operand) => {
                let value = self.eval(operand)?;
                ops::negate(&value).map_err(|fault| fault.at(node.span))
            }
            Op::Arith(op, sides) => {
                let left = self.eval(&sides.0)?;
                let right = self.eval(&sides.1)?;
                arith(self.budget, *op, &left, &right).map_err(|fault| fault.at(node.span))
            }
            Op::Default(sides) => match self.eval(&sides.0)? {
                Value::Null => self.eval(&sides.1),
                value => Ok(value),
            },
            Op::If { arms, otherwise } => {
                for (test, then) in arms {
                    if self.test(test)? {
                        return self.eval(then);
                    }
                }
                otherwise.as_ref().map_or(Ok(Value::Null), |otherwise| self.eval(otherwise))
            }
            Op::Block { lines, result } => {
                self.lines(lines)?;
                self.eval(result)
            }
            Op::Text(pieces) => self.text(pieces).map(Value::string).map_err(|fault| fault.at(node.span)),
            Op::Array(elements) => self.array_literal(elements).map_err(|fault| fault.at(node.span)),
            Op::Object { shape, values } => self.shaped(shape, values).map_err(|fault| fault.at(node.span)),
            Op::ObjectOf(members) => self.object_literal(members).map_err(|fault| fault.at(node.span)),
            Op::Call(call) => self.call(call).map_err(|fault| fault.at(node.span)),
            Op::CallPattern(call) => self.call_pattern(call).map_err(|fault| fault.at(node.span)),
            Op::CallPrepared(call) => self.call_prepared(call).map_err(|fault| fault.at(node.span)),
            Op::CallLambda(call) => self.call_lambda(call).map_err(|fault| fault.at(node.span)),
            Op::CallFunction { function, args } => self.call_function(*function, args),
            Op::Match(choice) => self.matching(choice).map_err(|fault| fault.at(node.span)),
            Op::Each(each) => self.each(each).map_err(|fault| fault.at(node.span)),
            Op::With(with) => self.with(with).map_err(|fault| fault.at(node.span)),
            Op::Without(without) => self.without(without).map_err(|fault| fault.at(node.span)),
            Op::Emit(emission) => self.emit(emission).map_err(|fault| fault.at(node.span)),
            Op::Try(attempt) => self.attempt(attempt),
            Op::Rest(rest) => self.rest(rest).map_err(|fault| fault.at(node.span)),
            Op::Drop => Err(Fault::Drop),
            Op::Covered(covered) => self.covered(covered),
            Op::Fail(reason) => {
                let reason = self.eval(reason)?;
                let mut text = String::new();
                reason.write_text(&mut text, 4096).unwrap_or_else(|_| text.push('…'));
                Err(Fault::new(codes::FAILED, text).at(node.span))
            }
        }
    }

    /// A mark costs no steps: what is measured behaves as what is not.
    #[cold]
    #[inline(never)]
    fn covered(&mut self, covered: &'p Covered) -> Result<Value<'e>> {
        self.budget.give_back(1);
        if !covered.reached() {
            return Ok(Value::Null);
        }
        let result = self.eval(&covered.node);
        covered.gave(&result);
        result
    }

    /// The lines of a block before its result.
    #[inline]
    pub(super) fn lines(&mut self, lines: &'p [Line]) -> Result<()> {
        for line in lines {
            match line {
                Line::Let(slot, value) => {
                    let value = self.eval(value)?;
                    self.set(*slot, value);
                }
                Line::Do(node) => {
                    self.eval(node)?;
                }
            }
        }
        Ok(())
    }

    /// The truth of a condition: true, false, or null, which counts as false.
    pub(crate) fn test(&mut self, node: &'p Node) -> Result<bool> {
        match &node.op {
            Op::Not(_) | Op::All(_) | Op::Any(_) | Op::Compare(..) | Op::CompareConst(..) | Op::In { .. } => {
                self.budget.step(1).map_err(|fault| fault.at(node.span))?;
                self.truth(node)
            }
            _ => {
                let value = self.eval(node)?;
                truth_of(&value).map_err(|fault| fault.at(node.span))
            }
        }
    }

    /// Operations whose result is true or false.
    fn truth(&mut self, node: &'p Node) -> Result<bool> {
        match &node.op {
            Op::Not(operand) => self.test(operand).map(|truth| !truth),
            Op::All(operands) => {
                for operand in operands {
                    if !self.test(operand)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Op::Any(operands) => {
                for operand in operands {
                    if self.test(operand)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Op::CompareConst(op, sides) => {
                // The most frequent test, a member of the event against a text, compares bytes and makes no value.
                if let (Op::Path(path), Value::Str(text)) = (&sides.0.op, &sides.1)
                    && let Compare::Equal | Compare::NotEqual = op
                    && let Some(node) = self.data_node(path)?
                    && let Some(same) = node.is_text(text)
                {
                    return Ok(same == (*op == Compare::Equal));
                }
                let left = self.eval(&sides.0)?;
                ops::holds(self.budget, *op, &left, &sides.1).map_err(|fault| fault.at(node.span))
            }
            Op::Compare(op, sides) => {
                let left = self.eval(&sides.0)?;
                let right = self.eval(&sides.1)?;
                ops::holds(self.budget, *op, &left, &right).map_err(|fault| fault.at(node.span))
            }
            Op::In { negated, sides } => {
                let needle = self.eval(&sides.0)?;
                let found = if let Op::Const(hay) = &sides.1.op {
                    self.within(&needle, hay)
                } else {
                    let hay = self.eval(&sides.1)?;
                    self.within(&needle, &hay)
                };
                found.map(|found| found != *negated).map_err(|fault| fault.at(node.span))
            }
            _ => self.eval(node).and_then(|value| truth_of(&value)),
        }
    }

    pub(crate) fn within(&mut self, needle: &Value<'e>, hay: &Value<'_>) -> Result<bool> {
        match hay {
            Value::Str(text) => match needle {
                Value::Str(part) => {
                    self.budget.step(text.len() as u64 / 16)?;
                    Ok(memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some())
                }
                _ => Err(Fault::new(
                    codes::WRONG_TYPE,
                    format!("a text holds texts, not {} {}", needle.type_name(), needle.preview()),
                )),
            },
            _ => {
                if let Some(items) = hay.items() {
                    let each = 1 + weight(needle);
                    for item in items {
                        self.budget.step(each)?;
                        if equal(needle, &item) {
                            return Ok(true);
                        }
                    }
                    return Ok(false);
                }
                match (hay, needle) {
                    (Value::Object(_) | Value::Node(_), Value::Str(key)) => Ok(self.member(hay, key)?.is_some()),
                    _ => Err(Fault::new(
                        codes::WRONG_TYPE,
                        format!(
                            "`in` looks into an array, an object or a string, not into {} {}{}",
                            hay.type_name(),
                            hay.preview(),
                            null_hint(hay)
                        ),
                    )),
                }
            }
        }
    }

    fn args(&mut self, call: &'p Args) -> Result<Values<'e>> {
        let mut values = Values::new();
        for arg in &call.args {
            values.push(self.eval(arg)?);
        }
        Ok(values)
    }

    /// Compares the arguments with what the function declares.
    #[inline]
    fn check(&mut self, call: &'p Args, values: &[Value<'e>]) -> Result<()> {
        for (at, (value, expected)) in values.iter().zip(&call.expected).enumerate() {
            if !expected.holds(Types::of(value)) {
                return Err(wrong_argument(call.name, at, value, *expected));
            }
        }
        Ok(())
    }

    // The calls stay out of `eval`, whose frame every level of an expression pays for.
    #[inline(never)]
    fn call(&mut self, call: &'p Call) -> Result<Value<'e>> {
        match &*call.call.args {
            [a] => {
                let mut args = [self.eval(a)?];
                self.called(call, &mut args)
            }
            [a, b] => {
                let mut args = [self.eval(a)?, self.eval(b)?];
                self.called(call, &mut args)
            }
            _ => {
                let mut args = self.args(&call.call)?;
                self.called(call, &mut args)
            }
        }
    }

    #[inline]
    fn called(&mut self, call: &'p Call, args: &mut [Value<'e>]) -> Result<Value<'e>> {
        self.check(&call.call, args)?;
        (call.run)(self, args)
    }

    #[inline(never)]
    fn call_lambda(&mut self, call: &'p CallLambda) -> Result<Value<'e>> {
        let mut args = self.args(&call.call)?;
        self.check(&call.call, &args)?;
        (call.run)(self, &mut args, &call.lambda)
    }

    #[inline(never)]
    fn call_pattern(&mut self, call: &'p CallPattern) -> Result<Value<'e>> {
        let mut values = self.args(&call.call)?;
        self.check(&call.call, &values)?;
        if let Some(regex) = &call.regex {
            return (call.run)(self, &mut values, regex);
        }
        let pattern = values.get(1).and_then(Value::as_str).unwrap_or_default();
        // Compiling costs about as much as this many steps; a constant pattern is compiled once.
        self.budget.step(20_000 + 200 * pattern.len() as u64)?;
        let regex = crate::builtins::pattern(pattern).map_err(|why| Fault::new(codes::BAD_ARGUMENT, why))?;
        (call.run)(self, &mut values, &regex)
    }

    #[inline(never)]
    fn call_function(&mut self, function: u16, args: &'p [Node]) -> Result<Value<'e>> {
        let mut values = Values::new();
        for arg in args {
            values.push(self.eval(arg)?);
        }
        self.framed(function, values, |machine, body| machine.eval(body))
    }

    /// Runs the body of a function with its arguments on a frame of its own.
    #[inline]
    fn framed(
        &mut self,
        function: u16,
        values: impl IntoIterator<Item = Value<'e>>,
        run: impl FnOnce(&mut Self, &'p Node) -> Result<Value<'e>>,
    ) -> Result<Value<'e>> {
        let callee = &self.code.functions[function as usize];
        let (base, height) = (self.base, self.stack.len());
        self.base = height;
        self.stack.extend(values);
        self.stack.resize(height + callee.slots, Value::Null);
        let result = run(self, &callee.body);
        self.stack.truncate(height);
        self.base = base;
        result
    }

    /// Calls a lambda with one argument.
    #[inline]
    pub(crate) fn call1(&mut self, lambda: &'p Lambda, argument: Value<'e>) -> Result<Value<'e>> {
        if let Some(slot) = lambda.params.first() {
            self.set(*slot, argument);
        }
        self.eval(&lambda.body)
    }

    /// Calls a lambda with one argument and takes its truth.
    #[inline]
    pub(crate) fn test1(&mut self, lambda: &'p Lambda, argument: Value<'e>) -> Result<bool> {
        if let Some(slot) = lambda.params.first() {
            self.set(*slot, argument);
        }
        self.test(&lambda.body)
    }

    /// Calls a lambda with two arguments.
    pub(crate) fn call2(&mut self, lambda: &'p Lambda, first: Value<'e>, second: Value<'e>) -> Result<Value<'e>> {
        if let [a, b, ..] = &*lambda.params {
            self.set(*a, first);
            self.set(*b, second);
        }
        self.eval(&lambda.body)
    }

    pub(crate) fn text(&mut self, pieces: &'p [Piece]) -> Result<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(node) => {
                    let value = self.eval(node)?;
                    value
                        .write_text(&mut out, self.budget.bytes_left())
                        .map_err(|large| Fault::new(codes::SIZE, large.to_string()).at(node.span))?;
                }
            }
        }
        self.budget.make(out.len())?;
        Ok(out)
    }

    #[inline(never)]
    fn shaped(&mut self, shape: &Arc<Shape>, values: &'p [Node]) -> Result<Value<'e>> {
        self.budget.make(size_of::<Value<'_>>() * values.len())?;
        let mut made = Vec::with_capacity(values.len());
        for value in values {
            made.push(self.eval(value)?);
        }
        self.made(Value::Object(Arc::new(Object::shaped(shape.clone(), made))))
    }

    #[inline(never)]
    fn array_literal(&mut self, elements: &'p [Element]) -> Result<Value<'e>> {
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            match element {
                Element::Item(node) => items.push(self.eval(node)?),
                Element::Spread(node) => {
                    let value = self.eval(node)?;
                    let len = value.array_len();
                    self.budget.step(len.unwrap_or(0) as u64)?;
                    match value.items() {
                        Some(more) => items.extend(more),
                        None if matches!(value, Value::Null) => {}
                        None => return Err(spread_of("an array", &value).at(node.span)),
                    }
                }
            }
        }
        self.array(items)
    }

    #[inline(never)]
    fn object_literal(&mut self, members: &'p [Member]) -> Result<Value<'e>> {
        let mut object = ObjectBuilder::with_capacity(members.len());
        for member in members {
            match member {
                Member::Known(key, node) => {
                    let value = self.eval(node)?;
                    object.insert(Text::Shared(key.clone()), value);
                }
                Member::Computed(key, node) => {
                    let key = self.eval(key)?;
                    let value = self.eval(node)?;
                    object.insert(each::key_of(key)?, value);
                }
                Member::Spread(node) => {
                    let value = self.eval(node)?;
                    match value.members() {
                        Some(members) => {
                            self.budget.step(members.len() as u64)?;
                            for (key, value) in members {
                                object.insert(key, value);
                            }
                        }
                        None if matches!(value, Value::Null) => {}
                        None => return Err(spread_of("an object", &value).at(node.span)),
                    }
                }
            }
        }
        self.object(object)
    }

    /// An array that was made: its size and depth are counted.
    pub(crate) fn array(&mut self, items: Vec<Value<'e>>) -> Result<Value<'e>> {
        self.budget.make(size_of::<Value<'_>>() * items.len() + 32)?;
        let array = Value::array(items);
        self.made(array)
    }

    /// An object that was made: its size and depth are counted.
    pub(crate) fn object(&mut self, object: ObjectBuilder<'e>) -> Result<Value<'e>> {
        let value = object.finish();
        if let Value::Object(object) = &value {
            self.budget.make(2 * size_of::<Value<'_>>() * object.len() + 48)?;
            if object.len() > SEARCHED {
                // Long keys cost something to compare, too.
                self.budget.step(object.iter().map(|(key, _)| key.len() as u64 / 256).sum())?;
            }
        }
        self.made(value)
    }

    /// A text that was made: its size is counted.
    pub(crate) fn string(&mut self, text: String) -> Result<Value<'e>> {
        self.budget.make(text.len() + 16)?;
        Ok(Value::string(text))
    }

    fn made(&mut self, value: Value<'e>) -> Result<Value<'e>> {
        let limit = self.budget.limits().depth;
        if value.measure().depth > limit {
            return Err(Fault::new(codes::VALUE_DEPTH, format!("the value is nested deeper than {limit} levels")));
        }
        Ok(value)
    }
}

pub(crate) fn truth_of(value: &Value<'_>) -> Result<bool> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Null => Ok(false),
        other => Err(Fault::new(
            codes::NOT_BOOLEAN,
            format!("a condition is true or false, and this is {} {}", other.type_name(), other.preview()),
        )),
    }
}

#[cold]
fn spread_of(what: &str, value: &Value<'_>) -> Fault {
    Fault::new(codes::WRONG_TYPE, format!("`...` spreads {what} here, not {} {}", value.type_name(), value.preview()))
}

#[cold]
fn wrong_argument(name: &str, at: usize, value: &Value<'_>, expected: Types) -> Fault {
    Fault::new(
        codes::WRONG_TYPE,
        format!(
            "argument {} of `{name}` must be {expected}, not {}{}{}",
            at + 1,
            value.type_name(),
            if matches!(value, Value::Null) { String::new() } else { format!(" {}", value.preview()) },
            null_hint(value)
        ),
    )
}

pub(crate) fn null_hint(value: &Value<'_>) -> &'static str {
    if matches!(value, Value::Null) { " (give a default with `??`)" } else { "" }
}
