//! What QuickJS throws, as errors of the contract with the place in the user's file.

use rquickjs::{CaughtError, Coerced, Ctx, Exception, Object, String as JsString, Type, Value};

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
            CaughtError::Exception(e) => self.of_exception(&e),
            // What the engine throws when it has no memory left to make an error of: null, or nothing at all.
            CaughtError::Value(value)
                if self.refused() && matches!(value.type_of(), Type::Null | Type::Uninitialized) =>
            {
                out_of_memory()
            }
            CaughtError::Value(value) if value.type_of() == Type::Uninitialized => {
                Error::new(Code::Trap, "the engine failed and did not say why")
            }
            CaughtError::Value(value) => Error::new(Code::Thrown, format!("it threw {}", self.shown(&value))),
            CaughtError::Error(rquickjs::Error::Allocation) => out_of_memory(),
            // What the binding says where the engine gave it nothing.
            CaughtError::Error(_) if self.refused() => out_of_memory(),
            CaughtError::Error(e) => Error::new(Code::Thrown, e.to_string()),
        };
        // Looking at the error may have run the function's code.
        if self.call.watch.must_stop() {
            return self.stopped();
        }
        if let Some(host) = &*self.call.thrown.borrow()
            && error.code == Code::Thrown
            && error.message == host.message
        {
            error.code = host.code;
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
        // What had no memory to be done is not there to be done.
        if self.refused() {
            return out_of_memory();
        }
        Error::new(Code::BadOutput, "the function's promise can never settle: nothing is left that could do it")
    }

    /// Whether the call was refused memory.
    fn refused(&self) -> bool {
        self.call.memory.refused()
    }

    fn shown(&self, value: &Value<'js>) -> String {
        match value.as_string() {
            Some(text) => format!("{:?}", self.text(text)),
            None => match (value.as_number(), value.as_bool()) {
                (Some(number), _) => number.to_string(),
                (_, Some(flag)) => flag.to_string(),
                _ => format!("{} (throw an Error: it has a message and a place)", self.content(value)),
            },
        }
    }

    /// What a thrown object holds.
    fn content(&self, value: &Value<'js>) -> String {
        let shown = value.is_object().then(|| self.call.tools(self.ctx)?.show(value.clone()));
        let text = match shown {
            Some(Ok(text)) => text.map(|text| self.text(&text)),
            Some(Err(_)) => {
                drop(self.ctx.catch());
                None
            }
            None => None,
        };
        text.unwrap_or_else(|| value.type_name().to_owned())
    }

    /// What else an error says: the errors that it is made of or that met in it, and its cause.
    fn more(&self, object: &Object<'js>, depth: usize, into: &mut Brief) {
        const MOST: usize = 5;
        let say = |value: &Value<'js>, into: &mut Brief| match value.as_object().filter(|_| value.is_error()) {
            _ if into.is_full() => {}
            Some(error) if depth < MOST => {
                into.push(&self.property(error, "name"));
                into.push(": ");
                into.push(&self.property(error, "message"));
                self.more(error, depth + 1, into);
            }
            Some(_) => into.push("…"),
            None => into.push(&self.shown(value)),
        };
        let held = |name: &str| match object.get::<_, Option<Value<'js>>>(name) {
            Ok(value) => value,
            Err(_) => {
                drop(self.ctx.catch());
                None
            }
        };
        if into.is_full() || self.call.watch.must_stop() {
            return;
        }
        if let Some(errors) = held("errors").as_ref().and_then(Value::as_array) {
            into.push(" [");
            for (place, error) in errors.iter::<Value<'js>>().take(MOST).flatten().enumerate() {
                into.push(if place == 0 { "" } else { ", " });
                say(&error, into);
            }
            into.push(if errors.len() > MOST { ", …]" } else { "]" });
        }
        // A `SuppressedError` has the two that met.
        let suppressed = held("suppressed");
        let parts = [("cause", held("cause")), ("error", suppressed.as_ref().and_then(|_| held("error")))];
        for (what, part) in parts.into_iter().chain([("suppressed", suppressed)]) {
            if let Some(part) = part {
                into.push(&format!(" ({what}: "));
                say(&part, into);
                into.push(")");
            }
        }
    }

    /// The beginning of a text, for people. A text whose parts are shared may be longer than any memory, and cannot be read then.
    fn text(&self, text: &JsString<'js>) -> String {
        match self.call.memory.doubled(|| text.to_string()) {
            Ok(mut text) => {
                text.truncate(text.floor_char_boundary(Error::LONGEST));
                text.shrink_to_fit();
                text
            }
            Err(rquickjs::Error::Utf8(_)) => "(a text with half of a surrogate pair)".to_owned(),
            Err(_) => {
                drop(self.ctx.catch());
                "(a text that takes more memory than there is)".to_owned()
            }
        }
    }

    /// A property of an error that is meant to be text; reading it may run the function's code.
    fn property(&self, object: &Object<'js>, name: &str) -> String {
        match object.get::<_, Option<Coerced<JsString<'js>>>>(name) {
            Ok(text) => text.map(|Coerced(text)| self.text(&text)).unwrap_or_default(),
            Err(_) => {
                // It failed in turn; what that threw is of no interest.
                drop(self.ctx.catch());
                String::new()
            }
        }
    }

    fn of_exception(&self, exception: &Exception<'js>) -> Error {
        let object = exception.as_object();
        let refused = self.refused();
        // Before more is looked at, which may need memory, too.
        let name = self.property(object, "name");
        if name == "InternalError" && refused {
            return out_of_memory();
        }
        let message = self.property(object, "message");
        let code = match (name.as_str(), message.as_str()) {
            ("RangeError", "Maximum call stack size exceeded") => Code::Stack,
            // Of parts that are shared, so that it is longer than any memory without taking it.
            ("InternalError", "string too long") => return out_of_memory(),
            // To the engine, a pattern that does not fit is one that cannot be read.
            ("SyntaxError", "out of memory") if refused => return out_of_memory(),
            _ => Code::Thrown,
        };
        let message = match (code, name.as_str()) {
            (Code::Stack, _) => "it recursed deeper than its stack (`limits.stack`)".to_owned(),
            (_, "" | "Error") => message,
            _ => format!("{name}: {message}"),
        };
        let mut more = Brief { text: String::new(), room: Error::LONGEST / 4 };
        if code == Code::Thrown {
            self.more(object, 0, &mut more);
        }
        let message = message + &more.text;
        placed(Error::new(code, message), &self.property(object, "stack"), self.file)
    }
}

/// A text that does not grow beyond a length in bytes.
struct Brief {
    text: String,
    room: usize,
}

impl Brief {
    fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Appends it as far as there is room.
    fn push(&mut self, part: &str) {
        let fits = part.floor_char_boundary(self.room);
        self.text.push_str(&part[..fits]);
        // What is cut is the end of it.
        self.room = if fits < part.len() { 0 } else { self.room - fits };
    }
}

/// What the compiler failed with.
pub(super) fn of_compiler(error: CaughtError<'_>, file: &str) -> Error {
    match error {
        CaughtError::Exception(e) => {
            let name = e.as_object().get::<_, String>("name").unwrap_or_default();
            let message = e.message().unwrap_or_default();
            let message = if matches!(&*name, "" | "Error") { message } else { format!("{name}: {message}") };
            let mut error = placed(Error::new(Code::Compile, message), &e.stack().unwrap_or_default(), file);
            error.stack = None;
            error
        }
        other => Error::new(Code::Compile, other.to_string()),
    }
}

/// The error with its place in the user's file, and the stack as far as it is the function's.
fn placed(mut error: Error, stack: &str, file: &str) -> Error {
    if let Some((line, column)) = place(stack, file) {
        error = error.at(line, column);
    }
    let frames = stack.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains("hexafn:prelude"));
    let stack = frames.collect::<Vec<_>>().join("\n");
    if stack.is_empty() { error } else { error.stack(stack) }
}

fn out_of_memory() -> Error {
    Error::new(Code::Memory, "it wanted more memory than it may have (`limits.memory`)")
}

/// The innermost place in the user's file: `    at name (file:line:column)`.
fn place(stack: &str, file: &str) -> Option<(u32, u32)> {
    stack.lines().find_map(|frame| {
        // The last one: inline code is a file of the function's name, which a function in it may have as well.
        let (_, rest) = frame.rsplit_once(file)?;
        let rest = rest.strip_prefix(':')?.trim_end_matches(')');
        let (line, column) = rest.split_once(':').unwrap_or((rest, "0"));
        Some((line.parse().ok()?, column.parse().ok()?))
    })
}
