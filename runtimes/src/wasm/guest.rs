//! What every engine does with a core module alike: the calls of the interface, and the words for how a call ended.

use super::host::{self, Call, Memory, Range, Stop};
use crate::{Code, Error, Limits};

/// The output, as JSON; nothing when the event is dropped.
pub(crate) type Outcome = Result<Option<Vec<u8>>, Error>;

/// A core module with the interface of hexaFn that an engine has instantiated.
pub(crate) trait Guest: Memory {
    /// Whether it was refused memory, or entries of a table.
    fn refused(&mut self) -> bool;
    /// `hexafn_alloc`.
    fn alloc(&mut self, len: i32) -> Result<i32, Error>;
    /// `hexafn_call`.
    fn handle(&mut self, at: i32, len: i32) -> Result<i64, Error>;
}

/// Hands the input over, calls the function, and takes its result.
pub(crate) fn run(guest: &mut impl Guest, input: Vec<u8>, limits: &Limits) -> Outcome {
    let len = i32::try_from(input.len())
        .map_err(|_| Error::new(Code::Abi, "the event is larger than the memory of a module can be"))?;
    let at = guest.alloc(len)?;
    if at == 0 {
        return Err(match guest.refused() {
            true => no_memory(limits),
            false => Error::new(Code::Abi, format!("`hexafn_alloc` gave no place for the {len} bytes of the input")),
        });
    }
    host::write(guest, at as u32 as usize, &input, "the input, where `hexafn_alloc` said,")?;
    drop(input);
    let result = guest.handle(at, len)?;
    if result == 0 {
        return Ok(None);
    }
    let range = Range::new(result >> 32, result);
    let limit = limits.output;
    // The whole would not have to be copied to know that it is too large.
    let found = range.bytes(guest, "the result of `hexafn_call`", limit.saturating_add(1))?;
    if found.len() > limit {
        return Err(too_large(range.len, limit));
    }
    match output(found) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::new(Code::BadOutput, "the output is empty; return 0 to drop the event")),
    }
}

/// What a command gave; `ended` is what the engine says of its start and its `_start`.
pub(crate) fn command(ended: Result<(), Error>, call: &mut Call) -> Outcome {
    if !matches!(call.stop, Some(Stop::Exit(0))) {
        ended?;
    }
    Ok(output(call.stdout.take().unwrap_or_default()))
}

/// The result of a guest without what surrounds it, or nothing. Whether it is JSON is looked at for all languages alike.
pub(crate) fn output(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let inner = bytes.trim_ascii();
    // Most have nothing around them, and are not copied.
    let bytes = if inner.len() == bytes.len() { bytes } else { inner.to_vec() };
    (!bytes.is_empty()).then_some(bytes)
}

/// Why the host stopped it, or how it ended itself, whatever error the engine made of that.
pub(crate) fn stopped(call: &Call) -> Option<Error> {
    Some(match call.stop.as_ref()? {
        Stop::Failed(error) => error.clone(),
        // A command may do so; it is asked before.
        Stop::Exit(0) => Error::new(
            Code::Abi,
            "it ended itself (`exit(0)`) and so gave no result; return from the function, with nothing to drop the event",
        ),
        Stop::Exit(status) => {
            let said = String::from_utf8_lossy(&call.complaint);
            let said = said.trim();
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            Error::new(Code::Thrown, format!("it ended with status {status}{said}"))
        }
    })
}

/// `has` bytes of output are more than the `limit`.
pub(crate) fn too_large(has: usize, limit: usize) -> Error {
    Error::new(
        Code::OutputTooLarge,
        format!("the output has {has} bytes; at most {limit} are allowed (`limits.output`)"),
    )
}

/// It was refused memory, or entries of a table.
pub(crate) fn no_memory(limits: &Limits) -> Error {
    Error::new(
        Code::Memory,
        format!("it wanted more than {} bytes of memory and tables (`limits.memory`)", limits.memory),
    )
}

/// It is out of fuel.
pub(crate) fn no_fuel(limits: &Limits) -> Error {
    Error::fuel(limits.wasm_fuel(), "instructions")
}

/// Its stack is full.
pub(crate) fn no_stack(limits: &Limits) -> Error {
    Error::new(
        Code::Stack,
        format!("it recursed deeper than its stack of {} bytes allows (`limits.stack`)", limits.stack),
    )
}
