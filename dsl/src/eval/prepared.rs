//! Calls of functions that prepare an argument: a schema, keys, networks.

use super::{Machine, Result, weight};
use crate::code::CallPrepared;
use crate::codes;
use crate::fault::Fault;
use crate::value::Value;

impl<'p, 'e> Machine<'p, 'e> {
    #[inline(never)]
    pub(super) fn call_prepared(&mut self, call: &'p CallPrepared) -> Result<Value<'e>> {
        let mut values = self.args(&call.call)?;
        self.check(&call.call, &values)?;
        if let Some(ready) = &call.ready {
            return (call.run)(self, &mut values, ready);
        }
        let subject = values.get(1).cloned().unwrap_or_default();
        let size = weight(&subject) + subject.as_str().map_or(0, |text| text.len() as u64 / 8);
        // Preparing costs about as much as this many steps; a constant is prepared once.
        self.budget.step(call.prepare.each.saturating_mul(10 + size))?;
        let ready = (call.prepare.make)(&subject)
            .map_err(|why| Fault::new(codes::BAD_ARGUMENT, format!("argument 2 of `{}`: {why}", call.call.name)))?;
        (call.run)(self, &mut values, &ready)
    }
}
