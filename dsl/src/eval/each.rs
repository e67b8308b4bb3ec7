//! Comprehensions: loops over what exists, so that they end.

use super::{Machine, Result, null_hint, spread_of};
use crate::code::{Clause, Each, Yield};
use crate::codes;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

/// What the rounds have given so far.
enum Made<'e> {
    Array(Vec<Value<'e>>),
    Object(ObjectBuilder<'e>),
}

impl<'p, 'e> Machine<'p, 'e> {
    #[inline(never)]
    pub(super) fn each(&mut self, each: &'p Each) -> Result<Value<'e>> {
        let mut made = match each.yields {
            Yield::Item(_) | Yield::Items(_) => Made::Array(Vec::new()),
            Yield::Member(..) | Yield::Members(_) => Made::Object(ObjectBuilder::default()),
        };
        self.rounds(each, &each.clauses, &mut made)?;
        match made {
            Made::Array(items) => self.array(items),
            Made::Object(members) => self.object(members),
        }
    }

    fn rounds(&mut self, each: &'p Each, clauses: &'p [Clause], made: &mut Made<'e>) -> Result<()> {
        match clauses.split_first() {
            None => self.round(&each.yields, made),
            Some((Clause::If(test), rest)) => {
                if self.test(test)? {
                    self.rounds(each, rest, made)?;
                }
                Ok(())
            }
            Some((Clause::For { items, first, second, lines }, rest)) => {
                let walked = self.eval(items)?;
                if let Some(elements) = walked.items() {
                    for (at, element) in elements.enumerate() {
                        self.budget.step(1)?;
                        match second {
                            None => self.set(*first, element),
                            Some(second) => {
                                self.set(*first, Value::Int(at as i64));
                                self.set(*second, element);
                            }
                        }
                        self.lines(lines)?;
                        self.rounds(each, rest, made)?;
                    }
                    return Ok(());
                }
                let (Some(second), Some(members)) = (second, walked.members()) else {
                    return Err(not_walked(&walked, second.is_some()).at(items.span));
                };
                self.budget.step(members.len() as u64)?;
                for (key, value) in members {
                    self.set(*first, Value::Str(key));
                    self.set(*second, value);
                    self.lines(lines)?;
                    self.rounds(each, rest, made)?;
                }
                Ok(())
            }
        }
    }

    fn round(&mut self, yields: &'p Yield, made: &mut Made<'e>) -> Result<()> {
        match (yields, made) {
            (Yield::Item(node), Made::Array(items)) => {
                let item = self.eval(node)?;
                items.push(item);
            }
            (Yield::Items(node), Made::Array(items)) => {
                let value = self.eval(node)?;
                let len = value.array_len().unwrap_or(0);
                self.budget.step(len as u64)?;
                self.budget.make(len * size_of::<Value<'_>>())?;
                match value.items() {
                    Some(more) => items.extend(more),
                    None if matches!(value, Value::Null) => {}
                    None => return Err(spread_of("an array", &value).at(node.span)),
                }
            }
            (Yield::Member(key, node), Made::Object(members)) => {
                let name = self.eval(key)?;
                let name = key_of(name).map_err(|fault| fault.at(key.span))?;
                let value = self.eval(node)?;
                members.insert(name, value);
            }
            (Yield::Members(node), Made::Object(members)) => {
                let value = self.eval(node)?;
                match value.members() {
                    Some(more) => {
                        self.budget.step(more.len() as u64)?;
                        self.budget.make(more.len() * 2 * size_of::<Value<'_>>())?;
                        for (key, value) in more {
                            members.insert(key, value);
                        }
                    }
                    None if matches!(value, Value::Null) => {}
                    None => return Err(spread_of("an object", &value).at(node.span)),
                }
            }
            // What is made is chosen by what is yielded.
            _ => {}
        }
        Ok(())
    }
}

/// The text of a computed key.
pub(super) fn key_of(key: Value<'_>) -> Result<Text<'_>> {
    match key {
        Value::Str(text) => Ok(text),
        other => Err(Fault::new(
            codes::WRONG_TYPE,
            format!("a key is a string, not {} {} (make a text of it: \"${{x}}\")", other.type_name(), other.preview()),
        )),
    }
}

#[cold]
fn not_walked(value: &Value<'_>, by_key: bool) -> Fault {
    let what = match value {
        Value::Null => "null".to_owned(),
        other => format!("{} {}", other.type_name(), other.preview()),
    };
    let hint = match value {
        Value::Node(_) | Value::Object(_) => " (its members: `for key, value in x`)",
        _ => null_hint(value),
    };
    let fits = if by_key { "an array or an object" } else { "an array" };
    Fault::new(codes::WRONG_TYPE, format!("this `for` walks over {fits}, not over {what}{hint}"))
}
