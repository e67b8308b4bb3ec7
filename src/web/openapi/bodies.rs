//! What goes into each operation and comes out of it.

use hexafn_actors::supervision::Node;
use hexafn_actors::system::TriggerStatus;
use hexafn_actors::system::dead::{DeadSummary, Settled};
use hexafn_actors::system::outside::Asked;
use hexafn_actors::system::probe::Probed;
use hexafn_actors::target::forwarder::TargetStatus;
use hexafn_actors::target::log::Attempted;
use hexafn_actors::topic::{SubscriptionStatus, TopicStatus};
use hexafn_actors::trigger::dry::DryRun;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use std::collections::BTreeMap;

use super::super::admin::dead::{Chosen, Edited, Letters};
use super::super::admin::flow::{Change, Journey, Probe, SourceStatus, TargetRow, TraceRow};
use super::super::admin::functions::{FunctionStatus, Shown};
use super::super::admin::graph::Picture;
use super::super::admin::topics::{Published, Registration, ReplayBody};
use super::super::admin::{ControlBody, Ticket};
use super::super::hooks::Accepted;
use super::super::simulate::Trial;
use super::{anything, of};
use crate::reload::{Reloaded, Status};
use crate::telemetry::levels;

/// Makes a schema.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// The bodies of one operation.
pub(super) struct Bodies {
    pub method: &'static str,
    pub path: &'static str,
    pub request: Option<(&'static str, Make)>,
    pub required: bool,
    pub answers: &'static [Answer],
}

/// One way that an operation ends well.
pub(super) struct Answer {
    pub status: &'static str,
    pub what: &'static str,
    pub body: Option<(&'static str, Make)>,
}

const JSON: &str = "application/json";

const fn json(status: &'static str, what: &'static str, make: Make) -> Answer {
    Answer { status, what, body: Some((JSON, make)) }
}

const fn nothing(status: &'static str, what: &'static str) -> Answer {
    Answer { status, what, body: None }
}

const fn get(path: &'static str, answers: &'static [Answer]) -> Bodies {
    Bodies { method: "get", path, request: None, required: false, answers }
}

const fn sent(method: &'static str, path: &'static str, make: Make, answers: &'static [Answer]) -> Bodies {
    Bodies { method, path, request: Some((JSON, make)), required: true, answers }
}

const fn done(method: &'static str, path: &'static str, answers: &'static [Answer]) -> Bodies {
    Bodies { method, path, request: None, required: false, answers }
}

/// `GET /`
#[derive(JsonSchema)]
#[expect(dead_code, reason = "written by hand; here for the schema")]
struct Index {
    service: String,
    version: String,
    hooks: String,
    api: String,
    streams: Vec<String>,
    health: Vec<String>,
    metrics: String,
}

/// How the process is.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct Health {
    status: String,
    /// Why it is not ready.
    #[schemars(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What a webhook is told.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "as above")]
enum Receipt {
    /// One event.
    One(Accepted<'static>),
    /// A batch of CloudEvents.
    Batch {
        /// Each, in the order sent.
        events: Vec<Accepted<'static>>,
    },
}

/// A stored event: its place, the CloudEvents attributes, its trace, its data.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct Event {
    topic: String,
    seq: u64,
    /// When it was stored.
    stored: String,
    id: String,
    source: String,
    #[schemars(rename = "type")]
    kind: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    /// The ordering key.
    #[schemars(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    trace_id: String,
    #[schemars(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, String>,
    /// The headers that its source keeps.
    #[schemars(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// JSON as it came in; other text as a string. Absent where there is none.
    #[schemars(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// Data that is no text.
    #[schemars(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// A page of events.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct Events {
    events: Vec<Event>,
    /// Where to go on.
    next: u64,
}

/// What goes in and out, in the order of the operations.
pub(super) const BODIES: &[Bodies] = &[
    get("/", &[json("200", "What there is", of::<Index>)]),
    Bodies {
        method: "post",
        path: "/hooks/{source}",
        request: Some(("*/*", anything)),
        required: false,
        answers: &[
            json("200", "Seen before; or the result of the trigger that answers", anything),
            json("202", "On disk", of::<Receipt>),
            nothing("204", "The trigger that answers has no result"),
        ],
    },
    get("/health/live", &[json("200", "It answers", of::<Health>)]),
    get("/health/ready", &[json("200", "It takes events", of::<Health>), json("503", "It does not", of::<Health>)]),
    get("/metrics", &[Answer { status: "200", what: "The metrics", body: Some(("text/plain", of::<String>)) }]),
    get("/ws/topics/{pattern}", &[nothing("101", "A stream of events, each as in a page of them")]),
    get("/ws/targets/{name}", &[nothing("101", "A stream of events, as of topics")]),
    get("/ws/subscriptions/{name}", &[nothing("101", "A stream of deliveries, which are settled on it")]),
    get("/ws/actors", &[nothing("101", "The tree, then its changes")]),
    get("/ws/logs", &[nothing("101", "A stream of lines")]),
    get("/admin/openapi.json", &[json("200", "This document", of::<BTreeMap<String, Value>>)]),
    get("/admin/actors", &[json("200", "The nodes", of::<Vec<Node>>)]),
    sent("post", "/admin/actors/control", of::<ControlBody>, &[json("200", "The node then", of::<Node>)]),
    done("post", "/admin/tickets", &[json("201", "The ticket", of::<Ticket>)]),
    get("/admin/graph", &[json("200", "The picture", of::<Picture>)]),
    get("/admin/config", &[json("200", "The status", of::<Status>)]),
    done("post", "/admin/reload", &[json("200", "What was done", of::<Reloaded>)]),
    get("/admin/logs/level", &[json("200", "What is in force", of::<levels::Levels>)]),
    sent(
        "put",
        "/admin/logs/level",
        of::<levels::Change>,
        &[json("200", "What is in force then", of::<levels::Levels>)],
    ),
    sent("post", "/admin/simulate", of::<Trial>, &[json("200", "Each trigger that listens", of::<Vec<DryRun>>)]),
    get("/admin/topics", &[json("200", "All of them", of::<Vec<TopicStatus>>)]),
    get("/admin/topics/{name}", &[json("200", "The topic", of::<TopicStatus>)]),
    done("delete", "/admin/topics/{name}", &[nothing("204", "Removed")]),
    get("/admin/topics/{name}/events", &[json("200", "A page", of::<Events>)]),
    Bodies {
        method: "post",
        path: "/admin/topics/{name}/events",
        request: Some(("*/*", anything)),
        required: false,
        answers: &[json("202", "Stored", of::<Published>)],
    },
    done("delete", "/admin/topics/{name}/events", &[nothing("204", "Removed")]),
    get("/admin/subscriptions", &[json("200", "On each topic", of::<Vec<SubscriptionStatus>>)]),
    get("/admin/subscriptions/{name}", &[json("200", "On each topic", of::<Vec<SubscriptionStatus>>)]),
    sent(
        "put",
        "/admin/subscriptions/{name}",
        of::<Asked>,
        &[json("200", "Changed", of::<Registration>), json("201", "New", of::<Registration>)],
    ),
    done("delete", "/admin/subscriptions/{name}", &[nothing("204", "Forgotten")]),
    Bodies {
        method: "post",
        path: "/admin/subscriptions/{name}/{act}",
        request: Some((JSON, of::<ReplayBody>)),
        required: false,
        answers: &[nothing("204", "Done")],
    },
    get("/admin/dead", &[json("200", "Those with letters", of::<Vec<DeadSummary>>)]),
    get("/admin/dead/{subscription}", &[json("200", "A page", of::<Letters>)]),
    sent("post", "/admin/dead/{subscription}/replay", of::<Chosen>, &[json("200", "Replayed", of::<Settled>)]),
    sent("post", "/admin/dead/{subscription}/drop", of::<Chosen>, &[json("200", "Dropped", of::<Settled>)]),
    Bodies {
        method: "put",
        path: "/admin/dead/{subscription}/{seq}",
        request: Some(("*/*", anything)),
        required: true,
        answers: &[json("200", "Its new place", of::<Edited>)],
    },
    get("/admin/sources", &[json("200", "All of them", of::<Vec<SourceStatus>>)]),
    get("/admin/triggers", &[json("200", "All of them", of::<Vec<TriggerStatus>>)]),
    get("/admin/triggers/{name}", &[json("200", "The trigger", of::<TriggerStatus>)]),
    sent("patch", "/admin/triggers/{name}", of::<Change>, &[json("200", "The trigger then", of::<TriggerStatus>)]),
    done("post", "/admin/triggers/{name}/{act}", &[json("200", "The trigger then", of::<TriggerStatus>)]),
    get("/admin/functions", &[json("200", "All of them", of::<Vec<FunctionStatus>>)]),
    get("/admin/functions/{name}", &[json("200", "The function", of::<Shown>)]),
    get("/admin/targets", &[json("200", "All of them", of::<Vec<TargetRow>>)]),
    get("/admin/targets/{name}", &[json("200", "The target", of::<TargetRow>)]),
    done("post", "/admin/targets/{name}/{act}", &[json("200", "The target then", of::<TargetStatus>)]),
    get("/admin/targets/{name}/log", &[json("200", "The last first", of::<Vec<Attempted>>)]),
    sent("post", "/admin/targets/{name}/test", of::<Probe>, &[json("200", "What came of it", of::<Probed>)]),
    get("/admin/traces", &[json("200", "The newest first", of::<Vec<TraceRow>>)]),
    get("/admin/traces/{id}", &[json("200", "Its steps, and what decided", of::<Journey>)]),
];
