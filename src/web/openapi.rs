//! The OpenAPI document of the API: one table of operations, which a test holds against the routes.

use serde_json::{Map, Value, json};

/// One operation: method, path, what it does, the scope it needs.
pub const OPERATIONS: &[(&str, &str, &str, &str)] = &[
    ("get", "/", "Where everything is", ""),
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
    ("get", "/admin/openapi.json", "This document", ""),
    ("get", "/admin/actors", "The supervision tree", "actors:read:*"),
    ("post", "/admin/actors/control", "Restart, stop, start or reset a node of the tree", "actors:write:*"),
    ("post", "/admin/tickets", "A single-use ticket for a WebSocket", "topics:read:*"),
    ("get", "/admin/config", "What is loaded, and how the last reload went", "config:read:*"),
    ("post", "/admin/reload", "Take over changes of the configuration: all of them, or none", "config:write:*"),
    ("post", "/admin/simulate", "What triggers would do with an event, without any effect", "triggers:read:*"),
    ("get", "/admin/topics", "Topics with their subscriptions", "topics:read:*"),
    ("get", "/admin/topics/{name}", "One topic", "topics:read:{name}"),
    ("get", "/admin/topics/{name}/events", "Read events from a sequence on", "topics:read:{name}"),
    ("post", "/admin/topics/{name}/events", "Publish an event; 202 after it is on disk", "events:write:{name}"),
    ("delete", "/admin/topics/{name}/events", "Remove the events below a sequence", "topics:write:{name}"),
    ("get", "/admin/subscriptions", "Subscriptions with their lag", "subscriptions:read:*"),
    ("get", "/admin/subscriptions/{name}", "One subscription, on each of its topics", "subscriptions:read:{name}"),
    ("put", "/admin/subscriptions/{name}", "Register one for a client, or change it", "subscriptions:write:{name}"),
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
    ("get", "/admin/targets", "Targets with breaker and last result", "targets:read:*"),
    ("get", "/admin/targets/{name}", "One target", "targets:read:{name}"),
    ("get", "/admin/targets/{name}/log", "The newest attempts, the last first", "targets:read:{name}"),
    ("post", "/admin/targets/{name}/test", "Make one attempt now, past the queue", "targets:write:{name}"),
    ("post", "/admin/targets/{name}/{act}", "enable, disable, reset", "targets:write:{name}"),
    ("get", "/admin/traces", "The newest traces", "traces:read:*"),
    ("get", "/admin/traces/{id}", "Every step of one event, by event or trace id", "traces:read:*"),
];

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, summary, scope) in OPERATIONS {
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let mut operation = json!({
            "summary": summary,
            "parameters": parameters,
            "responses": {
                "2XX": { "description": "Done" },
                "default": {
                    "description": "A problem (RFC 9457)",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
        });
        if !scope.is_empty() {
            operation["security"] = json!([{ "token": [] }]);
            operation["x-scope"] = json!(scope);
        }
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        item[*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "hexaFn", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT", "identifier": "MIT" } },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": {
                "type": "object",
                "required": ["status", "code", "title", "detail"],
                "properties": {
                    "status": { "type": "integer" },
                    "code": { "type": "string", "description": "Stable, for programs" },
                    "title": { "type": "string" },
                    "detail": { "type": "string", "description": "Where, what was expected, what to do" },
                    "errors": { "description": "For a refused reload: each problem with file and line" },
                },
            } },
        },
    })
}
