//! Updating copies: `with` and `without`.

use smallvec::SmallVec;

use super::{Machine, Result, position};
use crate::code::{Key, With, Without};
use crate::codes;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value, remove};

/// A step of a path that is written.
enum Step<'e> {
    Key(Text<'e>),
    At(i64),
}

type Steps<'e> = SmallVec<[Step<'e>; 4]>;

/// A container that is being changed.
enum Open<'e> {
    Object(ObjectBuilder<'e>),
    Array(Vec<Value<'e>>),
}

impl<'p, 'e> Machine<'p, 'e> {
    #[inline(never)]
    pub(super) fn with(&mut self, with: &'p With) -> Result<Value<'e>> {
        let base = self.eval(&with.base)?;
        let mut open = None;
        for (keys, value) in &with.changes {
            let steps = self.steps(keys)?;
            let value = self.eval(value)?;
            // Opened once for all changes.
            let target = match &mut open {
                Some(target) => target,
                None => open.insert(self.open(&base, steps.first())?),
            };
            self.put(target, &steps, value)?;
        }
        match open {
            Some(open) => self.close(open),
            None => Ok(base),
        }
    }

    #[inline(never)]
    pub(super) fn without(&mut self, without: &'p Without) -> Result<Value<'e>> {
        let value = self.eval(&without.base)?;
        let paths = without.paths.iter().map(|keys| self.steps(keys)).collect::<Result<Vec<_>>>()?;
        self.removed(value, &mut paths.iter().map(|steps| &**steps))
    }

    fn steps(&mut self, keys: &'p [Key]) -> Result<Steps<'e>> {
        let mut steps = Steps::new();
        for key in keys {
            steps.push(match key {
                Key::Known(key) => Step::Key(Text::Shared(key.clone())),
                Key::Computed(node) => match self.eval(node)? {
                    Value::Str(key) => Step::Key(key),
                    Value::Int(at) => Step::At(at),
                    other => {
                        let what = format!("a position or a key, not {} {}", other.type_name(), other.preview());
                        return Err(
                            Fault::new(codes::WRONG_TYPE, format!("between the brackets stands {what}")).at(node.span)
                        );
                    }
                },
            });
        }
        Ok(steps)
    }

    fn open(&mut self, value: &Value<'e>, step: Option<&Step<'e>>) -> Result<Open<'e>> {
        match (value, step) {
            // What is missing is made on the way.
            (Value::Null, Some(Step::Key(_))) => Ok(Open::Object(ObjectBuilder::with_capacity(4))),
            (_, Some(Step::Key(_))) => match value.members() {
                Some(members) => {
                    self.budget.step(members.len() as u64)?;
                    let mut object = ObjectBuilder::with_capacity(members.len() + 1);
                    for (key, member) in members {
                        object.push_new(key, member);
                    }
                    Ok(Open::Object(object))
                }
                None => Err(no_member(value, step)),
            },
            _ => match value.elements() {
                Some(items) => {
                    self.budget.step(items.len() as u64)?;
                    Ok(Open::Array(items))
                }
                None => Err(no_member(value, step)),
            },
        }
    }

    fn close(&mut self, open: Open<'e>) -> Result<Value<'e>> {
        match open {
            Open::Object(object) => self.object(object),
            Open::Array(items) => self.array(items),
        }
    }

    fn put(&mut self, target: &mut Open<'e>, steps: &[Step<'e>], value: Value<'e>) -> Result<()> {
        let Some((first, rest)) = steps.split_first() else { return Ok(()) };
        match (target, first) {
            (Open::Object(object), Step::Key(key)) => {
                let old = object.position(key).and_then(|at| object.value_mut(at)).map(std::mem::take);
                let new = self.put_below(old.unwrap_or_default(), rest, value)?;
                object.insert(key.clone(), new);
            }
            (Open::Array(items), Step::At(at)) => {
                let len = items.len();
                let Some(item) = position(*at, len).and_then(|at| items.get_mut(at)) else {
                    return Err(Fault::new(
                        codes::BAD_ARGUMENT,
                        format!("an array of {len} elements has no element {at}"),
                    ));
                };
                let old = std::mem::take(item);
                let new = self.put_below(old, rest, value)?;
                *item = new;
            }
            (Open::Object(_), Step::At(at)) => {
                return Err(Fault::new(codes::WRONG_TYPE, format!("an object has no position {at}: it has keys")));
            }
            (Open::Array(_), Step::Key(key)) => {
                return Err(Fault::new(
                    codes::WRONG_TYPE,
                    format!("an array has no key `{}`: it has positions", key.as_str()),
                ));
            }
        }
        Ok(())
    }

    fn put_below(&mut self, old: Value<'e>, steps: &[Step<'e>], value: Value<'e>) -> Result<Value<'e>> {
        if steps.is_empty() {
            return Ok(value);
        }
        let mut open = self.open(&old, steps.first())?;
        self.put(&mut open, steps, value)?;
        self.close(open)
    }

    /// A value without what is at the paths, whose positions are those of the value as it was.
    fn removed<'s>(&mut self, value: Value<'e>, paths: &mut dyn Iterator<Item = &'s [Step<'e>]>) -> Result<Value<'e>>
    where
        'e: 's,
    {
        if matches!(value, Value::Null) {
            return Ok(value);
        }
        let mut there = Vec::new();
        for (first, rest) in paths.filter_map(<[_]>::split_first) {
            let found = match (first, value.array_len()) {
                (Step::At(at), Some(len)) => position(*at, len).is_some_and(|at| at < len),
                (Step::Key(key), None) if matches!(value, Value::Node(_) | Value::Object(_)) => {
                    self.member(&value, key)?.is_some()
                }
                _ => return Err(no_member(&value, Some(first))),
            };
            if found {
                there.push((first, rest));
            }
        }
        let Some((first, _)) = there.first() else { return Ok(value) };
        let mut open = self.open(&value, Some(first))?;
        let mut places: Vec<_> =
            there.iter().filter_map(|(first, rest)| Some((open.position(first)?, *rest))).collect();
        places.sort_by_key(|(at, _)| *at);
        let mut gone = Vec::new();
        for here in places.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((at, _)) = here.first() else { continue };
            if here.iter().any(|(_, rest)| rest.is_empty()) {
                gone.push(*at);
            } else if let Some(item) = open.value_mut(*at) {
                let old = std::mem::take(item);
                *item = self.removed(old, &mut here.iter().map(|(_, rest)| *rest))?;
            }
        }
        open.remove(&gone);
        self.close(open)
    }
}

impl<'e> Open<'e> {
    /// The place of what a step leads to.
    fn position(&mut self, step: &Step<'e>) -> Option<usize> {
        match (self, step) {
            (Self::Object(object), Step::Key(key)) => object.position(key),
            (Self::Array(items), Step::At(at)) => position(*at, items.len()),
            _ => None,
        }
    }

    fn value_mut(&mut self, at: usize) -> Option<&mut Value<'e>> {
        match self {
            Self::Object(object) => object.value_mut(at),
            Self::Array(items) => items.get_mut(at),
        }
    }

    /// Takes out what is at places in order.
    fn remove(&mut self, places: &[usize]) {
        match self {
            Self::Object(object) => object.remove(places),
            Self::Array(items) => remove(items, places),
        }
    }
}

#[cold]
fn no_member(value: &Value<'_>, step: Option<&Step<'_>>) -> Fault {
    let what = match step {
        Some(Step::At(at)) => format!("no element {at}"),
        Some(Step::Key(key)) => format!("no field `{}`", key.as_str()),
        None => "nothing inside".to_owned(),
    };
    let shown = match value {
        Value::Null => "null".to_owned(),
        other => format!("{} {}", other.type_name(), other.preview()),
    };
    Fault::new(codes::WRONG_TYPE, format!("{shown} has {what}"))
}
