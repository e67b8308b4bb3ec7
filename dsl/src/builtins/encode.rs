//! Codings, hashes, identifiers and network addresses.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Digest;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

use super::numbers::draw;
use super::strings::text;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::Value;

/// What RFC 3986 calls unreserved stays.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

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
        signature: "(text: string) -> string",
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
        signature: "(text: string) -> string",
        doc: "The text of hexadecimal digits; it must be UTF-8.",
        examples: &[("hex_decode('415A')", "\"AZ\"")],
        run: Run::Pure(|m, a| {
            let bytes =
                hex::decode(text(a, 0)).map_err(|why| not_coded(text(a, 0), "hexadecimal", &why.to_string()))?;
            utf8(m, bytes)
        }),
    },
    Row {
        name: "url_encode",
        signature: "(text: string) -> string",
        doc: "The text percent-encoded for one part of a URL.",
        examples: &[("url_encode('a b/ü')", "\"a%20b%2F%C3%BC\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| utf8_percent_encode(text, COMPONENT).to_string())),
    },
    Row {
        name: "url_decode",
        signature: "(text: string) -> string",
        doc: "The text with percent-encoding undone; it must be UTF-8.",
        examples: &[("url_decode('a%20b')", "\"a b\"")],
        run: Run::Pure(|m, a| utf8(m, percent_decode_str(text(a, 0)).collect())),
    },
    Row {
        name: "sha1",
        signature: "(text: string) -> string",
        doc: "The SHA-1 hash in hexadecimal digits; for compatibility, not for security.",
        examples: &[("sha1('abc')", "\"a9993e364706816aba3e25717850c26c9cd0d89d\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(sha1::Sha1::digest(text)))),
    },
    Row {
        name: "sha256",
        signature: "(text: string) -> string",
        doc: "The SHA-256 hash in hexadecimal digits.",
        examples: &[("sha256('abc')", "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(sha2::Sha256::digest(text)))),
    },
    Row {
        name: "sha512",
        signature: "(text: string) -> string",
        doc: "The SHA-512 hash in hexadecimal digits.",
        examples: &[("slice(sha512('abc'), 0, 16)", "\"ddaf35a193617aba\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(sha2::Sha512::digest(text)))),
    },
    Row {
        name: "hmac_sha256",
        signature: "(key: string, text: string) -> string",
        doc: "The HMAC with SHA-256 (RFC 2104) in hexadecimal digits.",
        examples: &[(
            "hmac_sha256(\"It's a Secret to Everybody\", 'Hello, World!')",
            "\"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\"",
        )],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 1).len() as u64 / 4)?;
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(text(a, 0).as_bytes())
                .map_err(|why| Fault::new(codes::BAD_ARGUMENT, why.to_string()))?;
            mac.update(text(a, 1).as_bytes());
            m.string(hex::encode(mac.finalize().into_bytes()))
        }),
    },
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
        name: "uuid",
        signature: "() -> string",
        doc: "A random UUID (RFC 9562, version 4) from the seed of the context: a run that is repeated gives the same.",
        examples: &[("len(uuid())", "36"), ("uuid() == uuid()", "false")],
        run: Run::Context(|m, _| {
            let mut bytes = [0u8; 16];
            bytes[..8].copy_from_slice(&draw(m).to_be_bytes());
            bytes[8..].copy_from_slice(&draw(m).to_be_bytes());
            bytes[6] = bytes[6] & 0x0F | 0x40;
            bytes[8] = bytes[8] & 0x3F | 0x80;
            let hex = hex::encode(bytes);
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            m.string(parts.join("-"))
        }),
    },
    Row {
        name: "is_ip",
        signature: "(text: string) -> bool",
        doc: "Whether the text is an IPv4 or IPv6 address.",
        examples: &[("is_ip('::1')", "true"), ("is_ip('1.2.3')", "false")],
        run: Run::Pure(|_, a| Ok(Value::Bool(text(a, 0).parse::<IpAddr>().is_ok()))),
    },
    Row {
        name: "ip_in_cidr",
        signature: "(address: string, networks: string | array) -> bool",
        doc: "Whether the address lies in the network, or in one of the networks. An IPv4 address in IPv6 form counts as \
              IPv4.",
        examples: &[
            ("ip_in_cidr('10.1.2.3', '10.0.0.0/8')", "true"),
            ("ip_in_cidr('2001:db8::1', ['10.0.0.0/8', '2001:db8::/32'])", "true"),
        ],
        run: Run::Pure(|m, a| {
            let address = address(text(a, 0))?;
            if let Some(network) = a[1].as_str() {
                return within(address, network).map(Value::Bool);
            }
            for network in a[1].items().into_iter().flatten() {
                m.budget.step(1)?;
                if within(address, network.as_str().unwrap_or_default())? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }),
    },
];

fn coded<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], code: impl FnOnce(&str) -> String) -> Result<Value<'e>> {
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 4)?;
    m.budget.make(subject.len().saturating_mul(3))?;
    Ok(Value::string(code(subject)))
}

#[cold]
fn not_coded(subject: &str, what: &str, why: &str) -> Fault {
    let shown = Value::text(subject).preview();
    Fault::new(codes::BAD_ARGUMENT, format!("{shown} is not {what}: {why}"))
}

fn utf8<'e>(m: &mut Machine<'_, 'e>, bytes: Vec<u8>) -> Result<Value<'e>> {
    m.budget.step(bytes.len() as u64 / 4)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::new(codes::BAD_ARGUMENT, "the decoded bytes are not text in UTF-8"))?;
    m.string(text)
}

fn address(text: &str) -> Result<IpAddr> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| Fault::new(codes::BAD_ARGUMENT, format!("{text:?} is not an IP address")))
}

fn within(address: IpAddr, network: &str) -> Result<bool> {
    let bad = || Fault::new(codes::BAD_ARGUMENT, format!("{network:?} is not a network such as 10.0.0.0/8"));
    let (base, length) = network.split_once('/').ok_or_else(bad)?;
    let base: IpAddr = base.parse().map_err(|_| bad())?;
    let length: u32 = length.parse().map_err(|_| bad())?;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((a, a_size), (b, b_size)) = (bits(address), bits(base));
    if length > b_size {
        return Err(bad());
    }
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Ok(a_size == b_size && a & mask == b & mask)
}
