//! What QuickJS throws, as errors of the contract with the place in the user's file.

use rquickjs::{CaughtError, Ctx, Exception, Object, Value};

use super::Call;
use crate::{Code, Error};

/// Makes errors of a call.
pub(super) struct Fault<'a, 'js> {
    pub ctx: &'a Ctx<'js>,
    pub call: &'a Call,
    pub file: &'a str,
}

impl<'js> Fault<'_, 'js> {
    /// What an operation of the engine failed with.
    pub fn of(&self, error: rquickjs::Error) -> Error {
        let caught = CaughtError::from_error(self.ctx, error);
        if self.call.watch.must_stop() {
            return self.stopped();
        }
        let mut error = match caught {
            CaughtError::Exception(e) => of_exception(&e, self.file),
            CaughtError::Value(value) if value.is_null() => {
                // What the engine throws when it has no memory left to make an error of.
                Error::new(
                    Code::Memory,
                    "it ran out of memory (`limits.memory`), or threw null; throw an Error instead",
                )
            }
            CaughtError::Value(value) => Error::new(Code::Thrown, format!("it threw {}", self.shown(&value))),
            CaughtError::Error(rquickjs::Error::Allocation) => out_of_memory(),
            CaughtError::Error(e) => Error::new(Code::Thrown, e.to_string()),
        };
        // Looking at the error may have run the function's code.
        if self.call.watch.must_stop() {
            return self.stopped();
        }
        if let Some(host) = &*self.call.thrown.borrow()
            && error.code == Code::Thrown
            && error.message.ends_with(&host.message)
        {
            error.code = host.code;
            error.message.clone_from(&host.message);
        }
        error
    }

    /// What the event failed with, on its way in.
    pub fn of_input(&self, error: String) -> Error {
        let engine = self.ctx.has_exception().then(|| self.of(rquickjs::Error::Exception));
        match engine {
            Some(engine) if engine.code != Code::Thrown => engine,
            Some(engine) => Error::new(Code::Input, format!("the event is not JSON: {}", engine.message)),
            None => Error::new(Code::Input, format!("the event is not JSON: {error}")),
        }
    }

    /// The limit that the call broke.
    pub fn stopped(&self) -> Error {
        self.call.watch.broken().unwrap_or_else(|| Error::new(Code::Timeout, "it was stopped"))
    }

    /// Its promise waits for what nothing will do.
    pub fn never(&self) -> Error {
        Error::new(
            Code::BadOutput,
            "the function's promise can never settle: nothing is left that could do it (or there was no memory to do it)",
        )
    }

    fn shown(&self, value: &Value<'js>) -> String {
        match value.as_string() {
            Some(text) => format!("{:?}", text.to_string().unwrap_or_else(|_| "…".to_owned())),
            None => match (value.as_number(), value.as_bool()) {
                (Some(number), _) => number.to_string(),
                (_, Some(flag)) => flag.to_string(),
                _ => format!("{} (throw an Error: it has a message and a place)", value.type_name()),
            },
        }
    }
}

/// What the compiler failed with.
pub(super) fn of_compiler(error: CaughtError<'_>, file: &str) -> Error {
    match error {
        CaughtError::Exception(e) => {
            let mut error = of_exception(&e, file);
            error.code = Code::Compile;
            error.stack = None;
            error
        }
        other => Error::new(Code::Compile, other.to_string()),
    }
}

fn of_exception(exception: &Exception<'_>, file: &str) -> Error {
    let message = exception.message().unwrap_or_default();
    let name = name(exception.as_object());
    let code = match (name.as_str(), message.as_str()) {
        ("InternalError", "out of memory" | "string too long" | "") => return out_of_memory(),
        ("InternalError", "interrupted") => Code::Timeout,
        ("RangeError", "Maximum call stack size exceeded") => Code::Stack,
        _ => Code::Thrown,
    };
    let message = match (code, name.as_str()) {
        (Code::Stack, _) => "it recursed deeper than its stack (`limits.stack`)".to_owned(),
        (_, "" | "Error") => message,
        _ => format!("{name}: {message}"),
    };
    let mut error = Error::new(code, message);
    let stack = exception.stack().unwrap_or_default();
    if let Some((line, column)) = place(&stack, file) {
        error = error.at(line, column);
    }
    let frames = stack.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains("hexafn:prelude"));
    let stack = frames.collect::<Vec<_>>().join("\n");
    if stack.is_empty() { error } else { error.stack(stack) }
}

fn name(object: &Object<'_>) -> String {
    object.get::<_, String>("name").unwrap_or_default()
}

fn out_of_memory() -> Error {
    Error::new(Code::Memory, "it wanted more memory than it may have (`limits.memory`)")
}

/// The innermost place in the user's file: `    at name (file:line:column)`.
fn place(stack: &str, file: &str) -> Option<(u32, u32)> {
    stack.lines().find_map(|frame| {
        let (_, rest) = frame.split_once(file)?;
        let rest = rest.strip_prefix(':')?.trim_end_matches(')');
        let (line, column) = rest.split_once(':').unwrap_or((rest, "0"));
        Some((line.parse().ok()?, column.parse().ok()?))
    })
}
