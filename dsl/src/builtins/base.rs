//! Bytes as text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::args::text;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "base64_encode",
        signature: "(text: string) -> string",
        doc: "The bytes of the text in base64 (RFC 4648).",
        examples: &[("base64_encode('hi?')", "\"aGk/\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| STANDARD.encode(text))),
    },
    Row {
        name: "base64url_encode",
        signature: "(text: string) -> string",
        doc: "The bytes of the text in the base64 of URLs, without padding.",
        examples: &[("base64url_encode('hi?')", "\"aGk_\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| URL_SAFE_NO_PAD.encode(text))),
    },
    Row {
        name: "base64_decode",
        signature: "(text: string) -> string!",
        doc: "The text of base64 in either alphabet, with or without padding; it must be UTF-8.",
        examples: &[("base64_decode('aGk/')", "\"hi?\""), ("base64_decode('aGk_')", "\"hi?\"")],
        run: Run::Pure(|m, a| {
            let plain = text(a, 0).trim_end_matches('=');
            let bytes = STANDARD_NO_PAD.decode(plain).or_else(|_| URL_SAFE_NO_PAD.decode(plain));
            utf8(m, bytes.map_err(|why| not_coded(text(a, 0), "base64", &why.to_string()))?)
        }),
    },
    Row {
        name: "hex_encode",
        signature: "(text: string) -> string",
        doc: "The bytes of the text in hexadecimal digits.",
        examples: &[("hex_encode('AZ')", "\"415a\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(text))),
    },
    Row {
        name: "hex_decode",
        signature: "(text: string) -> string!",
        doc: "The text of hexadecimal digits; it must be UTF-8.",
        examples: &[("hex_decode('415A')", "\"AZ\"")],
        run: Run::Pure(|m, a| {
            let bytes =
                hex::decode(text(a, 0)).map_err(|why| not_coded(text(a, 0), "hexadecimal", &why.to_string()))?;
            utf8(m, bytes)
        }),
    },
    Row {
        name: "is_base64",
        signature: "(text: string) -> bool",
        doc: "Whether the text is base64 in either alphabet, with or without padding.",
        examples: &[("is_base64('aGk/')", "true"), ("is_base64('a')", "false")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 4)?;
            m.budget.make(text(a, 0).len())?;
            let plain = text(a, 0).trim_end_matches('=');
            Ok(Value::Bool(STANDARD_NO_PAD.decode(plain).or_else(|_| URL_SAFE_NO_PAD.decode(plain)).is_ok()))
        }),
    },
];

pub(super) fn coded<'e>(
    m: &mut Machine<'_, 'e>,
    args: &[Value<'e>],
    code: impl FnOnce(&str) -> String,
) -> Result<Value<'e>> {
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 4)?;
    m.budget.make(subject.len().saturating_mul(3))?;
    Ok(Value::string(code(subject)))
}

#[cold]
pub(super) fn not_coded(subject: &str, what: &str, why: &str) -> Fault {
    let shown = Value::text(subject).preview();
    Fault::new(codes::BAD_ARGUMENT, format!("{shown} is not {what}: {why}"))
}

pub(super) fn utf8<'e>(m: &mut Machine<'_, 'e>, bytes: Vec<u8>) -> Result<Value<'e>> {
    m.budget.step(bytes.len() as u64 / 4)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::new(codes::BAD_ARGUMENT, "the decoded bytes are not text in UTF-8"))?;
    m.string(text)
}
