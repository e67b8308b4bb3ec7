//! What a program sees: the event and the context, borrowed.

use sha2::{Digest, Sha256};
use std::sync::Arc;

use crate::json::Doc;

/// Everything that an evaluation depends on; the same input always gives the same result.
#[derive(Clone, Copy, Debug)]
pub struct Input<'e> {
    /// The event.
    pub event: EventView<'e>,
    /// The context.
    pub ctx: CtxView<'e>,
}

/// The event as programs see it, under `event`.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'e> {
    /// `event.id`
    pub id: &'e str,
    /// `event.source`
    pub source: &'e str,
    /// `event.type`
    pub kind: &'e str,
    /// `event.subject`
    pub subject: Option<&'e str>,
    /// `event.time`, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// `event.topic`
    pub topic: &'e str,
    /// `event.seq`
    pub seq: u64,
    /// `event.key`
    pub key: Option<&'e str>,
    /// `event.content_type`
    pub content_type: Option<&'e str>,
    /// `event.trace_id`
    pub trace_id: &'e str,
    /// `event.headers`; names are compared without regard to case.
    pub headers: &'e [(Arc<str>, Arc<str>)],
    /// `event.extensions`
    pub extensions: &'e [(Arc<str>, Arc<str>)],
    /// `event.data`
    pub data: Data<'e>,
}

/// What the event carries.
#[derive(Clone, Copy, Debug)]
pub enum Data<'e> {
    /// Nothing: null.
    None,
    /// A JSON document.
    Json(&'e Doc),
    /// Text: a string.
    Text(&'e str),
    /// Bytes: a string in base64.
    Bytes(&'e [u8]),
}

/// The context as programs see it, under `ctx`.
#[derive(Clone, Copy, Debug)]
pub struct CtxView<'e> {
    /// `ctx.trigger`
    pub trigger: &'e str,
    /// `ctx.function`
    pub function: &'e str,
    /// `ctx.attempt`, counted from 1.
    pub attempt: u32,
    /// `ctx.now`, in microseconds since 1970-01-01T00:00:00Z.
    pub now_us: i64,
    /// `ctx.env`
    pub env: &'e [(Arc<str>, Arc<str>)],
    /// What `uuid()` and `random()` are computed from.
    pub seed: Seed<'e>,
}

/// What tells a run from all others, and is the same when it is repeated. Read when a program draws its first random number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed<'e> {
    /// Texts, such as the names of the trigger and the function.
    pub texts: [&'e str; 4],
    /// A number, such as the place of the record.
    pub number: u64,
}

impl Seed<'_> {
    /// 128 bits of it: the beginning of the SHA-256 of all parts, each text behind its length.
    pub fn words(&self) -> [u64; 2] {
        let mut hash = Sha256::new();
        for text in self.texts {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update(self.number.to_be_bytes());
        let digest = hash.finalize();
        let word = |from: usize| digest.iter().skip(from).take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
        [word(0), word(8)]
    }
}

impl Input<'_> {
    /// An input without an event, for expressions that use none.
    pub const EMPTY: Input<'static> = Input {
        event: EventView {
            id: "",
            source: "",
            kind: "",
            subject: None,
            time_us: 0,
            topic: "",
            seq: 0,
            key: None,
            content_type: None,
            trace_id: "",
            headers: &[],
            extensions: &[],
            data: Data::None,
        },
        ctx: CtxView {
            trigger: "",
            function: "",
            attempt: 1,
            now_us: 0,
            env: &[],
            seed: Seed { texts: [""; 4], number: 0 },
        },
    };
}
