//! Arguments, as implementations read them: their types were checked before.

use crate::codes;
use crate::eval::Result;
use crate::fault::Fault;
use crate::value::Value;

/// The text of a string argument; its type was checked before.
pub(super) fn text<'a>(args: &'a [Value<'_>], at: usize) -> &'a str {
    args.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// A string argument that may be missing.
pub(super) fn optional_text<'a>(args: &'a [Value<'_>], at: usize) -> Option<&'a str> {
    args.get(at).map(|_| text(args, at))
}

/// An integer argument that counts something.
pub(super) fn count(args: &[Value<'_>], at: usize, name: &str) -> Result<usize> {
    match args.get(at) {
        Some(Value::Int(n)) if *n >= 0 => Ok(usize::try_from(*n).unwrap_or(usize::MAX)),
        Some(other) => Err(Fault::new(
            codes::BAD_ARGUMENT,
            format!("`{name}` must be a whole number from 0 on, not {}", other.preview()),
        )),
        None => Ok(0),
    }
}

pub(super) fn direction(args: &[Value<'_>], at: usize) -> Result<bool> {
    match args.get(at).map(|_| text(args, at)) {
        None | Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(other) => Err(Fault::new(codes::BAD_ARGUMENT, format!("an order is 'asc' or 'desc', not {other:?}"))),
    }
}
