//! Hashes, in hexadecimal digits.

use sha2::Digest as _;

use super::args::{count, text};
use super::base::coded;
use super::{Row, Run};
use crate::codes;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
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
        name: "md5",
        signature: "(text: string) -> string",
        doc: "The MD5 hash in hexadecimal digits; for compatibility, not for security.",
        examples: &[("md5('abc')", "\"900150983cd24fb0d6963f7d28e17f72\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(md5::Md5::digest(text)))),
    },
    Row {
        name: "sha384",
        signature: "(text: string) -> string",
        doc: "The SHA-384 hash in hexadecimal digits.",
        examples: &[("slice(sha384('abc'), 0, 16)", "\"cb00753f45a35e8b\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| hex::encode(sha2::Sha384::digest(text)))),
    },
    Row {
        name: "crc32",
        signature: "(text: string) -> int",
        doc: "The CRC-32 check sum (that of zip, gzip and Ethernet).",
        examples: &[("crc32('123456789')", "3421780262")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 16)?;
            Ok(Value::Int(i64::from(crc32fast::hash(text(a, 0).as_bytes()))))
        }),
    },
    Row {
        name: "bucket",
        signature: "(text: string, count: int) -> int",
        doc: "A number from 0 to before `count` that is always the same for a text: for sampling and for gradual \
              roll-outs.",
        examples: &[("bucket('user-17', 100)", "61"), ("bucket(event.id, 10) < 10", "true")],
        run: Run::Pure(|m, a| {
            let count = count(a, 1, "count")?;
            if count == 0 {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`count` of `bucket` must be at least 1"));
            }
            m.budget.step(text(a, 0).len() as u64 / 4)?;
            let hash = sha2::Sha256::digest(text(a, 0));
            let first = hash.iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
            Ok(Value::Int(((u128::from(first) * count as u128) >> 64) as i64))
        }),
    },
];
