//! `emit` and `try`.

use super::{Machine, Result, weight};
use crate::code::{Emission, Try};
use crate::codes;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

/// Most events of one evaluation.
const MOST: usize = 100;

/// An event that a function emitted, beside its value.
#[derive(Clone, Debug)]
pub struct Emit<'e> {
    /// The topic; never empty.
    pub topic: Text<'e>,
    /// The key, if one was given that is not null.
    pub key: Option<Text<'e>>,
    /// What the event carries.
    pub value: Value<'e>,
}

impl<'p, 'e> Machine<'p, 'e> {
    #[inline(never)]
    pub(super) fn emit(&mut self, emission: &'p Emission) -> Result<Value<'e>> {
        let topic = match self.eval(&emission.topic)? {
            Value::Str(topic) if !topic.is_empty() => topic,
            other => {
                let message = format!("the topic of an `emit` is a text with a name, not {}", other.preview());
                return Err(Fault::new(codes::BAD_ARGUMENT, message).at(emission.topic.span));
            }
        };
        let value = self.eval(&emission.value)?;
        let key = match &emission.key {
            None => None,
            Some(node) => {
                let key = self.eval(node)?;
                self.key(key).map_err(|fault| fault.at(node.span))?
            }
        };
        if self.emitted.len() >= MOST {
            return Err(Fault::new(
                codes::TOO_MANY_EMITTED,
                format!("an evaluation emits at most {MOST} events; emit one that holds an array"),
            ));
        }
        // Each is written out once more, whatever it shares with others.
        let texts = topic.len() + key.as_ref().map_or(0, |key| key.len()) + value.as_str().map_or(0, str::len);
        let values = usize::try_from(weight(&value).saturating_mul(8)).unwrap_or(usize::MAX);
        self.budget.make(values.saturating_add(texts + size_of::<Emit<'_>>()))?;
        self.emitted.push(Emit { topic, key, value });
        Ok(Value::Null)
    }

    fn key(&mut self, key: Value<'e>) -> Result<Option<Text<'e>>> {
        match key {
            Value::Null => Ok(None),
            Value::Str(text) => Ok(Some(text)),
            Value::Array(_) | Value::Object(_) | Value::Node(_) => Err(Fault::new(
                codes::WRONG_TYPE,
                format!("the key of an `emit` is a plain value, not {} {}", key.type_name(), key.preview()),
            )),
            other => {
                let mut text = String::new();
                other.write_text(&mut text, 256).map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
                Ok(Some(Text::Shared(text.into())))
            }
        }
    }

    /// Catches what went wrong in the expression, and nothing that was a limit or meant to end the function.
    #[inline(never)]
    pub(super) fn attempt(&mut self, attempt: &'p Try) -> Result<Value<'e>> {
        let emitted = self.emitted.len();
        let result = self.eval(&attempt.body);
        match self.caught(attempt, emitted, result) {
            Some(result) => result,
            None => self.eval(&attempt.otherwise),
        }
    }

    /// What the body of a `try` gave; nothing if the failure is caught, and the error has its name.
    #[inline]
    pub(super) fn caught(
        &mut self,
        attempt: &'p Try,
        emitted: usize,
        result: Result<Value<'e>>,
    ) -> Option<Result<Value<'e>>> {
        let failure = match result {
            Err(Fault::Error(failure)) if !is_limit(failure.code) => failure,
            other => return Some(other),
        };
        // All or nothing: what the part that failed emitted is taken back.
        self.emitted.truncate(emitted);
        if let Some(slot) = attempt.error {
            let mut error = ObjectBuilder::with_capacity(2);
            error.push_new(Text::Borrowed("code"), Value::text(&failure.code.to_string()));
            let made = self.string(failure.message).and_then(|message| {
                error.push_new(Text::Borrowed("message"), message);
                self.object(error)
            });
            match made {
                Ok(error) => self.set(slot, error),
                Err(fault) => return Some(Err(fault)),
            }
        }
        None
    }
}

/// Limits end the evaluation whatever the program says.
fn is_limit(code: codes::Code) -> bool {
    [codes::STEPS, codes::SIZE, codes::VALUE_DEPTH, codes::TOO_MANY_EMITTED].contains(&code)
}
