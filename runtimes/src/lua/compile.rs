//! From source to byte code, without running any of it.

use mlua::chunk::Compiler;

use crate::{Code, Error, Source};

/// The most source, in bytes: more is no function but an application.
const MOST_SOURCE: usize = 1 << 20;

/// The byte code of a function.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::Compile`] with the line.
pub(super) fn compile(source: &Source) -> Result<Vec<u8>, Error> {
    if source.code.len() > MOST_SOURCE {
        return Err(Error::new(
            Code::TooLarge,
            format!("`{}` has {} bytes; a function may have {MOST_SOURCE}", source.file, source.code.len()),
        ));
    }
    let text = std::str::from_utf8(&source.code).map_err(|_| not_text())?;
    // Some editors put a byte order mark before it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Byte code begins with the number of its version; the compiler would take it for text, the loader would not.
    if text.bytes().any(|b| b < b' ' && !b.is_ascii_whitespace() && b != 0x0b) {
        return Err(not_text());
    }
    let compiler = Compiler::new().set_optimization_level(1).set_debug_level(1);
    compiler.compile(text).map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => syntax_error(&message),
        other => Error::new(Code::Compile, other.to_string()),
    })
}

fn not_text() -> Error {
    Error::new(
        Code::Compile,
        "there are bytes in it that no source has; functions are UTF-8 text, byte code is not taken",
    )
}

/// `:3: Expected …` or `3: Expected …`.
fn syntax_error(message: &str) -> Error {
    let trimmed = message.trim_start_matches(':');
    match trimmed.split_once(':').and_then(|(line, what)| Some((line.parse().ok()?, what.trim()))) {
        Some((line, what)) => Error::new(Code::Compile, what).at(line, 0),
        None => Error::new(Code::Compile, message),
    }
}
