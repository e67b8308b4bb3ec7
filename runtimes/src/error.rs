//! Why a function could not be compiled or did not end well: one vocabulary for all languages.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What kind of failure it is; the same for the same fault in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// It is not a valid program.
    Compile,
    /// The program or module is larger than the compiler may take.
    TooLarge,
    /// It took longer than `timeout`.
    Timeout,
    /// It used up `limits.fuel`.
    Fuel,
    /// It wanted more than `limits.memory`.
    Memory,
    /// It recursed deeper than `limits.stack`.
    Stack,
    /// Its output, or the data of an emitted event, is larger than `limits.output`.
    OutputTooLarge,
    /// Its output is not JSON, or not a value that an event may have.
    BadOutput,
    /// It made more than `limits.host_calls` calls to the host.
    HostCalls,
    /// It emitted more than `limits.emits` events.
    Emits,
    /// It emitted to what is no topic name.
    EmitTopic,
    /// It asked for what it is not granted.
    Denied,
    /// It threw an error of its own.
    Thrown,
    /// The engine stopped it for a fault: out of bounds, unreachable, division by zero.
    Trap,
    /// It broke the binary interface: a pointer or length outside its memory.
    Abi,
    /// What it asked of the host failed: a request, the key-value store.
    Host,
    /// Its worker process ended under it.
    Crashed,
    /// The input does not match the function's schema.
    Input,
    /// The output does not match the function's schema.
    OutputSchema,
    /// No worker could take it.
    Busy,
}

impl Code {
    /// Whether it says that a limit was broken. Where the host says so the call ends with it, whatever the function catches.
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Fuel
                | Self::Memory
                | Self::Stack
                | Self::OutputTooLarge
                | Self::HostCalls
                | Self::Emits
        )
    }

    /// The code as shown and counted: `output-too-large`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::TooLarge => "too-large",
            Self::Timeout => "timeout",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::OutputTooLarge => "output-too-large",
            Self::BadOutput => "bad-output",
            Self::HostCalls => "host-calls",
            Self::Emits => "emits",
            Self::EmitTopic => "emit-topic",
            Self::Denied => "denied",
            Self::Thrown => "thrown",
            Self::Trap => "trap",
            Self::Abi => "abi",
            Self::Host => "host",
            Self::Crashed => "crashed",
            Self::Input => "input",
            Self::OutputSchema => "output-schema",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in the user's source, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, where the language knows it; else 0.
    pub column: u32,
}

/// A failure of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What kind.
    pub code: Code,
    /// What happened, for people; at most [`Error::LONGEST`] bytes.
    pub message: String,
    /// Where in the user's source.
    pub position: Option<Position>,
    /// The stack in the user's language, innermost first; at most [`Error::LONGEST`] bytes.
    pub stack: Option<String>,
}

impl Error {
    /// The most bytes of a message or a stack.
    pub const LONGEST: usize = 4 << 10;

    /// An error without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: cut(message.into()), position: None, stack: None }
    }

    /// It took too long.
    pub fn timeout(limit: Duration) -> Self {
        Self::new(Code::Timeout, format!("it ran longer than its timeout of {limit:?} and was stopped"))
    }

    /// It used up its fuel.
    pub(crate) fn fuel(limit: u64, of: &str) -> Self {
        Self::new(Code::Fuel, format!("it used up its {limit} {of} (`limits.fuel`)"))
    }

    /// Whether its texts are within [`Error::LONGEST`], as those of all errors that were made here.
    pub(crate) fn is_short(&self) -> bool {
        let most = Self::LONGEST + CUT.len();
        self.message.len() <= most && self.stack.as_ref().is_none_or(|stack| stack.len() <= most)
    }

    /// The same within [`Error::LONGEST`], where it was not made here.
    pub(crate) fn shortened(self) -> Self {
        Self { message: cut(self.message), stack: self.stack.map(cut), ..self }
    }

    /// With a place.
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.position = Some(Position { line, column });
        self
    }

    /// With a stack.
    pub fn stack(mut self, stack: impl Into<String>) -> Self {
        self.stack = Some(cut(stack.into()));
        self
    }
}

/// What a text ends with that was cut.
const CUT: &str = "…";

/// The text without what is beyond [`Error::LONGEST`] bytes.
fn cut(mut text: String) -> String {
    if text.len() > Error::LONGEST {
        let mut end = Error::LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match self.position {
            Some(Position { line, column: 0 }) => write!(f, " (line {line})"),
            Some(Position { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
