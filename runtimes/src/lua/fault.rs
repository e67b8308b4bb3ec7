//! What Luau raises, as errors of the contract with the line in the user's file.

use mlua::Value;

use super::Call;
use super::value::{Builder, Output, kind};
use crate::{Code, Error};

/// What the engine calls our own text that runs before the function.
pub(super) const PRELUDE: &str = "hexafn";

/// Makes errors of a call.
pub(super) struct Fault<'a> {
    pub builder: &'a Builder<'a>,
    pub call: &'a Call,
    pub file: &'a str,
    /// Whether nearly all of its memory is used.
    pub full: bool,
}

impl Fault<'_> {
    /// What an operation of the engine failed with.
    pub fn of(&self, error: mlua::Error) -> Error {
        if let Some(broken) = self.call.watch.broken() {
            return broken;
        }
        let (traceback, error) = innermost(&error);
        let text = match error {
            mlua::Error::MemoryError(text) if self.raised(text) => text.clone(),
            mlua::Error::MemoryError(_) => return out_of_memory(),
            mlua::Error::RuntimeError(text) => text.clone(),
            mlua::Error::SyntaxError { message, .. } => message.clone(),
            other => other.to_string(),
        };
        let (message, stack) = text.split_once("stack traceback:\n").unwrap_or((&text, traceback.unwrap_or_default()));
        let (place, message) = split_places(message.trim_end(), self.file);
        // A line of the prelude is nobody's but ours.
        let message = split_places(message, PRELUDE).1;
        let mut error = match &*self.call.thrown.borrow() {
            Some(host) if host.message == message => Error::new(host.code, message),
            _ => self.engine(message).unwrap_or_else(|| Error::new(Code::Thrown, self.shown(message))),
        };
        if error.code == Code::Memory {
            return error;
        }
        let frames: Vec<&str> = stack.lines().map(str::trim).filter(|f| f.starts_with(self.file)).collect();
        let place = place.or_else(|| frames.first().and_then(|frame| split_place(frame, self.file).0));
        if let Some(line) = place {
            error = error.at(line, 0);
        }
        if frames.is_empty() { error } else { error.stack(frames.join("\n")) }
    }

    /// What the engine raises for a limit of its own, which reaches us as a text like any other.
    fn engine(&self, message: &str) -> Option<Error> {
        // The engine says the second when the handler of an error failed: for a `__tostring` that does, or for no memory.
        let memory = message.ends_with("not enough memory") || (message == "error in error handling" && self.full);
        // With a reason in brackets it is one call with too many values.
        let deep = message.strip_prefix("C ").unwrap_or(message).strip_prefix("stack overflow");
        let stack = deep.is_some_and(|rest| !rest.starts_with(" ("));
        if !(memory || stack) || self.raised(message) {
            return None;
        }
        Some(match memory {
            true => out_of_memory(),
            false => Error::new(Code::Stack, "it recursed deeper than the engine allows"),
        })
    }

    /// Whether the function said this by itself.
    fn raised(&self, message: &str) -> bool {
        match &*self.call.raised.borrow() {
            Some(Value::String(text)) => text.to_string_lossy().ends_with(message),
            // What it raised and caught before may be another one: its text tells them apart.
            Some(table @ Value::Table(_)) => table.to_string().is_ok_and(|text| text.ends_with(message)),
            _ => false,
        }
    }

    /// The message; of what is no text its content, not where it lies in memory.
    fn shown(&self, message: &str) -> String {
        let raised = self.call.raised.borrow();
        let Some(raised) = raised.as_ref().filter(|raised| !raised.is_string()) else { return message.to_owned() };
        let kind = kind(raised);
        let plain = raised.is_null()
            || message.strip_prefix(raised.type_name()).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "));
        if !plain {
            return message.to_owned();
        }
        let content = raised.is_table().then(|| {
            let json = Output::new(self.call, self.builder, Error::LONGEST / 2).write(raised.clone()).ok()?;
            String::from_utf8(json).ok()
        });
        let content = content.flatten();
        let content = content.unwrap_or_else(|| format!("a value of the type {kind}"));
        format!("it raised {content} (raise a string: it has a place)")
    }
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

/// The innermost line and what follows: a coroutine puts its own before that of the error that it hands on.
fn split_places<'t>(text: &'t str, file: &str) -> (Option<u32>, &'t str) {
    let (mut place, mut rest) = (None, text);
    while let (Some(line), inner) = split_place(rest, file) {
        (place, rest) = (Some(line), inner);
    }
    (place, rest)
}

/// The line and what follows: `functions/score.lua:3: attempt to …`.
fn split_place<'t>(text: &'t str, file: &str) -> (Option<u32>, &'t str) {
    let Some(rest) = text.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')) else { return (None, text) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (line, rest) = rest.split_at(digits);
    (line.parse().ok(), rest.trim_start_matches(':').trim_start())
}
