//! The delivery log of a target: its newest attempts, in memory.

use serde::Serialize;
use std::collections::VecDeque;

use super::http::reply::EXCERPT;
use super::veil::Veil;
use super::{Detail, Outcome};
use crate::clock::Wall;
use crate::event::Str;
use crate::topic::Delivery;

/// Attempts that the log of a target keeps.
const KEPT: usize = 200;

/// An attempt, for the delivery log.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Attempted {
    /// When it ended.
    #[serde(serialize_with = "written_out")]
    #[schemars(with = "String")]
    pub at: Wall,
    /// The event.
    pub event_id: Str,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Str,
    /// Its place in the outbox.
    pub seq: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// `delivered`, or the class of the failure.
    pub result: &'static str,
    /// What happened, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Str>,
    /// What was seen on the way.
    #[serde(flatten)]
    pub seen: Seen,
}

fn written_out<S: serde::Serializer>(at: &Wall, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&at.rfc3339())
}

/// What was seen on the way of an attempt, as JSON.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Seen {
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The address that was connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<std::net::SocketAddr>,
    /// The file that was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Str>,
    /// Bytes sent.
    pub sent: u64,
    /// The beginning of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Str>,
    /// Milliseconds.
    pub took_ms: f64,
}

impl Seen {
    /// What may be shown of what was seen.
    pub fn through(veil: Option<&Veil>, detail: &Detail) -> Self {
        Self { reply: detail.reply.as_ref().map(|reply| shown(veil, reply)), ..Self::whole(detail) }
    }

    fn whole(detail: &Detail) -> Self {
        Self {
            status: detail.status,
            remote: detail.remote,
            path: detail.path.clone(),
            sent: detail.sent,
            reply: detail.reply.clone(),
            took_ms: (detail.took.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

/// The beginning of an answer as it may be shown: masked while it is whole, and cut then.
fn shown(veil: Option<&Veil>, reply: &Str) -> Str {
    let masked = veil.map_or_else(|| reply.clone(), |veil| veil.text(reply));
    let end = masked.floor_char_boundary(EXCERPT);
    if end == masked.len() { masked } else { masked[..end].into() }
}

/// The log; the oldest attempt goes when it is full.
#[derive(Debug)]
pub struct DeliveryLog(VecDeque<Attempted>);

impl Default for DeliveryLog {
    fn default() -> Self {
        Self(VecDeque::with_capacity(KEPT))
    }
}

impl DeliveryLog {
    /// The attempts, the last first.
    pub fn newest(&self, veil: Option<&Veil>) -> Vec<Attempted> {
        // Here and not when it is noted: most answers are never looked at.
        let veiled = |noted: &Attempted| {
            let mut attempted = noted.clone();
            attempted.seen.reply = noted.seen.reply.as_ref().map(|reply| shown(veil, reply));
            attempted
        };
        self.0.iter().rev().map(veiled).collect()
    }

    /// Notes an attempt.
    pub fn note(&mut self, delivery: &Delivery, outcome: &Outcome, now: Wall) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let event = &delivery.record.event;
        let (result, message) = match outcome {
            Outcome::Delivered { .. } => ("delivered", None),
            Outcome::Failed(failure) => (failure.class.name(), Some(failure.message.clone())),
        };
        self.0.push_back(Attempted {
            at: now,
            event_id: event.id.clone(),
            kind: event.kind.clone(),
            seq: delivery.record.seq,
            attempt: delivery.attempt,
            result,
            message,
            seen: Seen::whole(outcome.detail()),
        });
    }
}
