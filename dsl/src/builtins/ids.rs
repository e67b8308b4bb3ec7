//! Unique identifiers, from the seed and the time of the context: a run that is repeated gives the same.

use sha1::Digest as _;

use super::args::text;
use super::random::draw;
use super::time::out_of_range;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, timestamp};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
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
        name: "uuid_v5",
        signature: "(namespace: string, name: string) -> string",
        doc: "The UUID of a name (version 5, SHA-1), always the same. A namespace is `'dns'`, `'url'`, `'oid'`, \
              `'x500'` or a UUID.",
        examples: &[("uuid_v5('dns', 'www.example.com')", "\"2ed6657d-e927-568b-95e1-2665a8aea6a2\"")],
        run: Run::Pure(|m, a| {
            let namespace: u128 = match text(a, 0) {
                "dns" => 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8,
                "url" => 0x6ba7_b811_9dad_11d1_80b4_00c0_4fd4_30c8,
                "oid" => 0x6ba7_b812_9dad_11d1_80b4_00c0_4fd4_30c8,
                "x500" => 0x6ba7_b814_9dad_11d1_80b4_00c0_4fd4_30c8,
                other => uuid_bits(other).ok_or_else(|| {
                    let why = format!("a namespace is 'dns', 'url', 'oid', 'x500' or a UUID, not {other:?}");
                    Fault::new(codes::BAD_ARGUMENT, why)
                })?,
            };
            m.budget.step(text(a, 1).len() as u64 / 4)?;
            let mut hash = sha1::Sha1::new();
            hash.update(namespace.to_be_bytes());
            hash.update(text(a, 1).as_bytes());
            let first = hash.finalize().iter().take(16).fold(0u128, |all, byte| all << 8 | u128::from(*byte));
            m.string(uuid_text(first, 5))
        }),
    },
    Row {
        name: "uuid_v7",
        signature: "() -> string",
        doc: "A UUID (RFC 9562, version 7) that sorts by the time of the context, random from its seed.",
        examples: &[("len(uuid_v7())", "36")],
        run: Run::Context(|m, _| {
            let bits = timed(m);
            m.string(uuid_text(bits, 7))
        }),
    },
    Row {
        name: "ulid",
        signature: "() -> string",
        doc: "A ULID: 26 characters that sort by the time of the context, random from its seed.",
        examples: &[("len(ulid())", "26")],
        run: Run::Context(|m, _| {
            let bits = timed(m);
            let digits = (0..26).rev().map(|at| char::from(CROCKFORD[(bits >> (5 * at)) as usize & 31]));
            m.string(digits.collect())
        }),
    },
    Row {
        name: "is_uuid",
        signature: "(text: string) -> bool",
        doc: "Whether the text is a UUID with its dashes.",
        examples: &[("is_uuid('2ed6657d-e927-568b-95e1-2665a8aea6a2')", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(uuid_bits(text(a, 0)).is_some()))),
    },
    Row {
        name: "is_ulid",
        signature: "(text: string) -> bool",
        doc: "Whether the text is a ULID.",
        examples: &[("is_ulid('01ARZ3NDEKTSV4RRFFQ69G5FAV')", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(ulid_bits(text(a, 0)).is_some()))),
    },
    Row {
        name: "id_time",
        signature: "(id: string) -> timestamp | null!",
        doc: "When a UUID of version 7 or a ULID was made, to the millisecond; null for other UUIDs.",
        examples: &[
            ("id_time('01ARZ3NDEKTSV4RRFFQ69G5FAV')", "\"2016-07-30T23:54:10.259Z\""),
            ("id_time('2ed6657d-e927-568b-95e1-2665a8aea6a2')", "null"),
        ],
        run: Run::Pure(|_, a| {
            let subject = text(a, 0);
            let bits = match (uuid_bits(subject), ulid_bits(subject)) {
                (Some(uuid), _) if uuid >> 76 & 0xF == 7 => uuid,
                (Some(_), _) => return Ok(Value::Null),
                (_, Some(ulid)) => ulid,
                _ => {
                    let why = format!("{} is neither a UUID nor a ULID", a[0].preview());
                    return Err(Fault::new(codes::BAD_ARGUMENT, why));
                }
            };
            // 48 bits of milliseconds reach beyond the years that a timestamp has.
            let us = i64::try_from(bits >> 80).ok().and_then(|ms| ms.checked_mul(1000)).and_then(timestamp);
            us.ok_or_else(out_of_range)
        }),
    },
];

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 48 bits of the milliseconds of the context, and 80 random ones.
fn timed(m: &mut Machine<'_, '_>) -> u128 {
    let ms = m.input.ctx.now_us.max(0) as u128 / 1000;
    let random = u128::from(draw(m)) << 64 | u128::from(draw(m));
    ms << 80 | random >> 48
}

fn uuid_text(bits: u128, version: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0x3 << 62) | version << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn uuid_bits(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    let dash = |at: usize| [8, 13, 18, 23].contains(&at);
    let fits = |(at, byte): (usize, &u8)| if dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    if bytes.len() != 36 || !bytes.iter().enumerate().all(fits) {
        return None;
    }
    u128::from_str_radix(&text.replace('-', ""), 16).ok()
}

fn ulid_bits(text: &str) -> Option<u128> {
    // 26 digits are 130 bits: the first one is at most 7.
    if text.len() != 26 || !text.starts_with(|c: char| ('0'..='7').contains(&c)) {
        return None;
    }
    text.bytes().try_fold(0u128, |all, byte| {
        let digit = CROCKFORD.iter().position(|known| *known == byte.to_ascii_uppercase())?;
        Some(all << 5 | digit as u128)
    })
}
