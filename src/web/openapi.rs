//! The OpenAPI document of the API: one table of operations, which a test holds against the routes, and one of what
//! goes in and out, whose schemas are made of the types that are read and written.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

mod bodies;

use bodies::{Answer, BODIES};

/// One operation: method, path, what it does, the scope it needs.
pub const OPERATIONS: &[(&str, &str, &str, &str)] = &[
    ("get", "/", "Where everything is; to a browser, the console", ""),
    ("post", "/hooks/{source}", "Receive a webhook; 202 after it is on disk", ""),
    ("get", "/health/live", "Whether the process answers", ""),
    ("get", "/health/ready", "Whether it takes events", ""),
    ("get", "/metrics", "Metrics in the Prometheus text format", "metrics:read:*"),
    ("get", "/ws/topics/{pattern}", "Watch topics over WebSocket: replay, then live", "topics:read:{pattern}"),
    ("get", "/ws/targets/{name}", "Watch what a target is given over WebSocket", "targets:read:{name}"),
    (
        "get",
        "/ws/subscriptions/{name}",
        "Receive and settle the events of a registered one",
        "subscriptions:write:{name}",
    ),
    ("get", "/ws/actors", "Watch the supervision tree over WebSocket", "actors:read:*"),
    ("get", "/ws/logs", "Watch log lines over WebSocket", "logs:read:*"),
    ("get", "/admin/openapi.json", "This document", ""),
    ("get", "/admin/actors", "The supervision tree", "actors:read:*"),
    ("post", "/admin/actors/control", "Restart, stop, start or reset a node of the tree", "actors:write:*"),
    ("post", "/admin/tickets", "A single-use ticket for a WebSocket", "that of the stream, when it is opened"),
    (
        "get",
        "/admin/graph",
        "The flow from sources to targets, with counts; what the token may not read is left out",
        "{kind}s:read:{name}, of each that is shown",
    ),
    ("get", "/admin/config", "What is loaded, and how the last reload went", "config:read:*"),
    ("post", "/admin/reload", "Take over changes of the configuration: all of them, or none", "config:write:*"),
    ("get", "/admin/logs/level", "Which log lines are written", "logs:read:*"),
    ("put", "/admin/logs/level", "Change that, until the process ends", "logs:write:*"),
    ("post", "/admin/simulate", "What triggers would do with an event, without any effect", "triggers:read:*"),
    ("get", "/admin/topics", "Topics with their subscriptions", "topics:read:*"),
    ("get", "/admin/topics/{name}", "One topic", "topics:read:{name}"),
    (
        "delete",
        "/admin/topics/{name}",
        "Remove one that nothing is configured to use, with all that is stored of it",
        "topics:write:{name}",
    ),
    ("get", "/admin/topics/{name}/events", "Read events from a sequence on", "topics:read:{name}"),
    ("post", "/admin/topics/{name}/events", "Publish an event; 202 after it is on disk", "events:write:{name}"),
    ("delete", "/admin/topics/{name}/events", "Remove the events below a sequence", "topics:write:{name}"),
    ("get", "/admin/subscriptions", "Subscriptions with their lag", "subscriptions:read:*"),
    ("get", "/admin/subscriptions/{name}", "One subscription, on each of its topics", "subscriptions:read:{name}"),
    (
        "put",
        "/admin/subscriptions/{name}",
        "Register one for a client, or change it; takes topics:read:{pattern}, too",
        "subscriptions:write:{name}",
    ),
    ("delete", "/admin/subscriptions/{name}", "Forget one that nothing uses", "subscriptions:write:{name}"),
    ("post", "/admin/subscriptions/{name}/{act}", "pause, resume, retry, replay", "subscriptions:write:{name}"),
    ("get", "/admin/dead", "Subscriptions that have dead letters", "subscriptions:read:*"),
    ("get", "/admin/dead/{subscription}", "Dead letters with every attempt", "subscriptions:read:{subscription}"),
    ("post", "/admin/dead/{subscription}/replay", "Deliver dead letters again", "subscriptions:write:{subscription}"),
    ("post", "/admin/dead/{subscription}/drop", "Remove dead letters", "subscriptions:write:{subscription}"),
    ("put", "/admin/dead/{subscription}/{seq}", "Change the data of a letter", "subscriptions:write:{subscription}"),
    ("get", "/admin/sources", "Sources with their counts", "sources:read:*"),
    ("get", "/admin/triggers", "Triggers", "triggers:read:*"),
    ("get", "/admin/triggers/{name}", "One trigger", "triggers:read:{name}"),
    ("patch", "/admin/triggers/{name}", "Change its priority", "triggers:write:{name}"),
    ("post", "/admin/triggers/{name}/{act}", "enable, disable", "triggers:write:{name}"),
    ("get", "/admin/functions", "Functions with their counts", "functions:read:*"),
    ("get", "/admin/functions/{name}", "One function with its grants and limits", "functions:read:{name}"),
    ("get", "/admin/targets", "Targets with breaker and last result", "targets:read:*"),
    ("get", "/admin/targets/{name}", "One target", "targets:read:{name}"),
    ("get", "/admin/targets/{name}/log", "The newest attempts, the last first", "targets:read:{name}"),
    ("post", "/admin/targets/{name}/test", "Make one attempt now, past the queue", "targets:write:{name}"),
    ("post", "/admin/targets/{name}/{act}", "enable, disable, reset", "targets:write:{name}"),
    ("get", "/admin/traces", "The newest traces", "traces:read:*"),
    ("get", "/admin/traces/{id}", "Every step of one event, by event or trace id", "traces:read:*"),
];

/// The document.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

/// What goes in is read, what comes out is written: a setting with a default may be left out of the one, and is always
/// there in the other.
fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.contract = contract;
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    settings.into_generator()
}

fn content(media: &str, schema: Schema) -> Value {
    json!({ media: { "schema": schema } })
}

fn answers(answers: &[Answer], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in answers {
        let mut response = json!({ "description": answer.what });
        if let Some((media, make)) = answer.body {
            response["content"] = content(media, make(generator));
        }
        responses.insert(answer.status.to_owned(), response);
    }
    responses
}

fn make() -> Value {
    let (mut read, mut written) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let problem = content("application/problem+json", written.subschema_for::<super::problem::Problem>());
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, summary, scope) in OPERATIONS {
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let mut operation = json!({ "summary": summary, "parameters": parameters });
        let mut responses = Map::new();
        if let Some(bodies) = BODIES.iter().find(|b| b.method == *method && b.path == *path) {
            if let Some((media, make)) = bodies.request {
                operation["requestBody"] =
                    json!({ "required": bodies.required, "content": content(media, make(&mut read)) });
            }
            responses = answers(bodies.answers, &mut written);
        }
        responses.insert("default".to_owned(), json!({ "description": "A problem (RFC 9457)", "content": problem }));
        operation["responses"] = responses.into();
        if !scope.is_empty() {
            operation["security"] = json!([{ "token": [] }]);
            operation["x-scope"] = json!(scope);
        }
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        item[*method] = operation;
    }
    let mut schemas = written.take_definitions(true);
    schemas.append(&mut read.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "hexaFn", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT", "identifier": "MIT" } },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

/// A schema of anything.
fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "description": "Of any media type." })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_operation_says_what_goes_in_and_out() {
        for (method, path, ..) in OPERATIONS {
            let told = BODIES.iter().filter(|b| b.method == *method && b.path == *path).count();
            assert_eq!(told, 1, "{method} {path}");
            let answers = &document()["paths"][*path][*method]["responses"];
            for (status, answer) in answers.as_object().unwrap() {
                let without = ["101", "204"].contains(&status.as_str());
                assert_eq!(answer.get("content").is_none(), without, "{method} {path} {status}: {answer}");
            }
        }
        assert_eq!(BODIES.len(), OPERATIONS.len(), "bodies of an operation that is not there");
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        fn follow(value: &Value, root: &Value, seen: &mut usize) {
            match value {
                Value::Object(entries) => {
                    if let Some(target) = entries.get("$ref").and_then(Value::as_str) {
                        assert!(root.pointer(&target[1..]).is_some(), "{target}");
                        *seen += 1;
                    }
                    entries.values().for_each(|value| follow(value, root, seen));
                }
                Value::Array(items) => items.iter().for_each(|value| follow(value, root, seen)),
                _ => {}
            }
        }
        let mut seen = 0;
        follow(document(), document(), &mut seen);
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn a_type_that_is_read_and_written_has_one_schema() {
        let (mut read, mut written) = (generator(Contract::Deserialize), generator(Contract::Serialize));
        for bodies in BODIES {
            bodies.request.map(|(_, make)| make(&mut read));
            answers(bodies.answers, &mut written);
        }
        let (read, written) = (read.take_definitions(true), written.take_definitions(true));
        for (name, schema) in &read {
            assert!(written.get(name).is_none_or(|other| other == schema), "{name}");
        }
    }
}
