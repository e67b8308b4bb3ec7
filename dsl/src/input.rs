//! What a program sees: the event and the context, borrowed.

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
    pub random_seed: u64,
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
        ctx: CtxView { trigger: "", function: "", attempt: 1, now_us: 0, env: &[], random_seed: 0 },
    };
}
