//! Keyed hashes, and the comparison that goes with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use super::args::{optional_text, text};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "constant_time_eq",
        signature: "(a: string, b: string) -> bool",
        doc: "Whether two texts are equal, in a time that does not tell where they differ.",
        examples: &[("constant_time_eq('abc', 'abc')", "true")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 8)?;
            Ok(Value::Bool(bool::from(text(a, 0).as_bytes().ct_eq(text(a, 1).as_bytes()))))
        }),
    },
    Row {
        name: "hmac_sha256",
        signature: "(key: string, text: string, coding?: string) -> string",
        doc: "The HMAC with SHA-256 (RFC 2104), in hexadecimal digits (`'hex'`) or in `'base64'`.",
        examples: &[
            (
                "hmac_sha256(\"It's a Secret to Everybody\", 'Hello, World!')",
                "\"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\"",
            ),
            (
                "hmac_sha256('key', 'The quick brown fox jumps over the lazy dog', 'base64')",
                "\"97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=\"",
            ),
        ],
        run: Run::Pure(|m, a| keyed_hash::<Hmac<sha2::Sha256>>(m, a)),
    },
    Row {
        name: "hmac_sha1",
        signature: "(key: string, text: string, coding?: string) -> string",
        doc: "The HMAC with SHA-1, for services that sign with it still; codings as for `hmac_sha256`.",
        examples: &[(
            "hmac_sha1('key', 'The quick brown fox jumps over the lazy dog')",
            "\"de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9\"",
        )],
        run: Run::Pure(|m, a| keyed_hash::<Hmac<sha1::Sha1>>(m, a)),
    },
    Row {
        name: "hmac_sha384",
        signature: "(key: string, text: string, coding?: string) -> string",
        doc: "The HMAC with SHA-384; codings as for `hmac_sha256`.",
        examples: &[("len(hmac_sha384('key', 'text'))", "96")],
        run: Run::Pure(|m, a| keyed_hash::<Hmac<sha2::Sha384>>(m, a)),
    },
    Row {
        name: "hmac_sha512",
        signature: "(key: string, text: string, coding?: string) -> string",
        doc: "The HMAC with SHA-512; codings as for `hmac_sha256`.",
        examples: &[(
            "slice(hmac_sha512('key', 'The quick brown fox jumps over the lazy dog'), 0, 16)",
            "\"b42af09057bac1e2\"",
        )],
        run: Run::Pure(|m, a| keyed_hash::<Hmac<sha2::Sha512>>(m, a)),
    },
];

fn keyed_hash<'e, M: Mac + KeyInit>(m: &mut Machine<'_, 'e>, args: &[Value<'e>]) -> Result<Value<'e>> {
    m.budget.step((text(args, 0).len() + text(args, 1).len()) as u64 / 4)?;
    let mut mac = <M as KeyInit>::new_from_slice(text(args, 0).as_bytes())
        .map_err(|why| Fault::new(codes::BAD_ARGUMENT, why.to_string()))?;
    mac.update(text(args, 1).as_bytes());
    let hash = mac.finalize().into_bytes();
    match optional_text(args, 2) {
        None | Some("hex") => m.string(hex::encode(hash)),
        Some("base64") => m.string(STANDARD.encode(hash)),
        Some(other) => Err(Fault::new(codes::BAD_ARGUMENT, format!("a coding is 'hex' or 'base64', not {other:?}"))),
    }
}
