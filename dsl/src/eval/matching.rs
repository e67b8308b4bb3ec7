//! `match`, and what is left when a pattern has taken its parts.

use std::sync::Arc;

use super::{Machine, Result, weight};
use crate::check::Types;
use crate::code::{Match, Pattern, Rest, RestKind};
use crate::codes;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Value, equal};

impl<'p, 'e> Machine<'p, 'e> {
    #[inline(never)]
    pub(super) fn matching(&mut self, choice: &'p Match) -> Result<Value<'e>> {
        let subject = self.eval(&choice.subject)?;
        for arm in &choice.arms {
            if !self.fits(&arm.pattern, &subject)? {
                continue;
            }
            if let Some(guard) = &arm.guard
                && !self.test(guard)?
            {
                continue;
            }
            return self.eval(&arm.body);
        }
        Err(no_arm(&subject))
    }

    /// Whether the pattern takes the value; binds its names on the way.
    pub(super) fn fits(&mut self, pattern: &'p Pattern, value: &Value<'e>) -> Result<bool> {
        self.budget.step(1)?;
        match pattern {
            Pattern::Any => Ok(true),
            Pattern::Bind(slot) => {
                self.set(*slot, value.clone());
                Ok(true)
            }
            Pattern::Equal(constant) => {
                // The value of a constant may be an array or an object.
                self.budget.step(weight(constant))?;
                Ok(equal(value, constant))
            }
            Pattern::Type { types, bind } => {
                let fits = types.holds(Types::of(value));
                if let (true, Some(slot)) = (fits, bind) {
                    self.set(*slot, value.clone());
                }
                Ok(fits)
            }
            Pattern::Array { before, rest, after } => self.fits_array(before, *rest, after, value),
            Pattern::Object { members, rest } => self.fits_object(members, *rest, value),
            Pattern::Or(all) => {
                for alternative in all {
                    if self.fits(alternative, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn fits_array(
        &mut self,
        before: &'p [Pattern],
        rest: Option<Option<u16>>,
        after: &'p [Pattern],
        value: &Value<'e>,
    ) -> Result<bool> {
        let (Some(len), Some(items)) = (value.array_len(), value.items()) else { return Ok(false) };
        let fewest = before.len() + after.len();
        if len < fewest || (rest.is_none() && len > fewest) {
            return Ok(false);
        }
        self.budget.step(len as u64 / 16)?;
        let mut items = items;
        for (pattern, item) in before.iter().zip(items.by_ref()) {
            if !self.fits(pattern, &item)? {
                return Ok(false);
            }
        }
        let middle = len - fewest;
        if let Some(Some(slot)) = rest {
            self.budget.step(middle as u64)?;
            let taken = items.by_ref().take(middle).collect();
            let taken = self.array(taken)?;
            self.set(slot, taken);
        } else if middle > 0 {
            items.nth(middle - 1);
        }
        for (pattern, item) in after.iter().zip(items) {
            if !self.fits(pattern, &item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fits_object(
        &mut self,
        members: &'p [(Arc<str>, Pattern)],
        rest: Option<u16>,
        value: &Value<'e>,
    ) -> Result<bool> {
        if !Types::OBJECT.holds(Types::of(value)) {
            return Ok(false);
        }
        for (key, pattern) in members {
            let fits = match self.member(value, key)? {
                Some(member) => self.fits(pattern, &member)?,
                // A member that is missing is null for a pattern that says null, and nothing else.
                None => says_null(pattern) && self.fits(pattern, &Value::Null)?,
            };
            if !fits {
                return Ok(false);
            }
        }
        if let Some(slot) = rest {
            let left = self.other_members(value, |key| members.iter().any(|(own, _)| **own == *key))?;
            self.set(slot, left);
        }
        Ok(true)
    }

    fn other_members(&mut self, value: &Value<'e>, taken: impl Fn(&str) -> bool) -> Result<Value<'e>> {
        let members = value.members().unwrap_or_default();
        self.budget.step(members.len() as u64)?;
        let mut left = ObjectBuilder::with_capacity(members.len());
        for (key, member) in members {
            if !taken(&key) {
                left.push_new(key, member);
            }
        }
        self.object(left)
    }

    /// `...rest` of a `let`: null counts as empty, as it does in paths.
    #[inline(never)]
    pub(super) fn rest(&mut self, rest: &'p Rest) -> Result<Value<'e>> {
        let value = self.local(rest.slot).clone();
        match &rest.kind {
            RestKind::Array { before, after } => {
                let len = value.array_len().unwrap_or(0);
                self.budget.step(len as u64)?;
                let Some(items) = value.items() else {
                    return if matches!(value, Value::Null) {
                        self.array(Vec::new())
                    } else {
                        Err(apart("array", &value))
                    };
                };
                let left = items.skip(*before).take(len.saturating_sub(before + after)).collect();
                self.array(left)
            }
            RestKind::Object(keys) => {
                if !(Types::OBJECT.or(Types::NULL)).holds(Types::of(&value)) {
                    return Err(apart("object", &value));
                }
                self.budget.step(keys.len() as u64)?;
                self.other_members(&value, |key| keys.iter().any(|own| **own == *key))
            }
        }
    }
}

#[cold]
pub(super) fn no_arm(subject: &Value<'_>) -> Fault {
    Fault::new(
        codes::NO_MATCH,
        match subject {
            Value::Null => "no arm of the `match` takes null".to_owned(),
            other => format!("no arm of the `match` takes the {} {}", other.type_name(), other.preview()),
        },
    )
}

fn says_null(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Equal(Value::Null) => true,
        Pattern::Type { types, .. } => *types == Types::NULL,
        Pattern::Or(all) => all.iter().any(says_null),
        _ => false,
    }
}

#[cold]
fn apart(what: &str, value: &Value<'_>) -> Fault {
    Fault::new(
        codes::WRONG_TYPE,
        format!("the pattern takes an {what} apart, not {} {}", value.type_name(), value.preview()),
    )
}
