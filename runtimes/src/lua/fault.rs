//! What Luau raises, as errors of the contract with the line in the user's file.

use super::Call;
use crate::{Code, Error};

/// What an operation of the engine failed with. `full` says that nearly all of its memory is used.
pub(super) fn of(error: mlua::Error, call: &Call, file: &str, full: bool) -> Error {
    if let Some(broken) = call.watch.broken() {
        return broken;
    }
    let (traceback, error) = innermost(&error);
    let text = match error {
        mlua::Error::MemoryError(_) => return out_of_memory(),
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let (message, stack) = text.split_once("stack traceback:\n").unwrap_or((&text, traceback.unwrap_or_default()));
    let message = message.trim_end();
    // The engine says the second when the handler of an error failed: for a `__tostring` that does, or for no memory.
    if message.ends_with("not enough memory") || (message == "error in error handling" && full) {
        return out_of_memory();
    }
    let (place, message) = split_place(message, file);
    let mut error = match &*call.thrown.borrow() {
        Some(host) if host.message == message => Error::new(host.code, message),
        _ if message.starts_with("stack overflow") || message.starts_with("C stack overflow") => {
            Error::new(Code::Stack, "it recursed deeper than the engine allows")
        }
        _ => Error::new(Code::Thrown, message),
    };
    let frames: Vec<&str> = stack.lines().map(str::trim).filter(|f| f.starts_with(file)).collect();
    let place = place.or_else(|| frames.first().and_then(|frame| split_place(frame, file).0));
    if let Some(line) = place {
        error = error.at(line, 0);
    }
    if frames.is_empty() { error } else { error.stack(frames.join("\n")) }
}

fn out_of_memory() -> Error {
    Error::new(Code::Memory, "it wanted more memory than it may have (`limits.memory`)")
}

/// What a callback or a context wraps, and the traceback of the innermost callback.
fn innermost(mut error: &mlua::Error) -> (Option<&str>, &mlua::Error) {
    let mut stack = None;
    loop {
        match error {
            mlua::Error::CallbackError { traceback, cause } => {
                stack = Some(traceback.trim_start_matches("stack traceback:\n"));
                error = cause;
            }
            mlua::Error::WithContext { cause, .. } => error = cause,
            _ => return (stack, error),
        }
    }
}

/// The line and what follows: `functions/score.lua:3: attempt to …`.
fn split_place<'t>(text: &'t str, file: &str) -> (Option<u32>, &'t str) {
    let Some(rest) = text.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')) else { return (None, text) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (line, rest) = rest.split_at(digits);
    (line.parse().ok(), rest.trim_start_matches(':').trim_start())
}
