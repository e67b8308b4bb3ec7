//! Tests through the built binary: real sockets, real data folders, the real command line.
//!
//! A test lays out a scenario (`tests/scenarios/<name>`), starts the service on it, acts as its senders, receivers and
//! people do, and looks at what can be seen from outside. Nothing sleeps: what takes time is asked for with an end
//! (`watch::eventually`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

// What stands around the service.
#[path = "it/brokers.rs"]
mod brokers;
#[path = "it/browser.rs"]
mod browser;
#[path = "../runtimes/tests/support/canonical.rs"]
mod canonical;
#[path = "it/cases.rs"]
mod cases;
#[path = "it/compilers.rs"]
mod compilers;
#[path = "it/guests.rs"]
mod guests;
#[path = "it/outlets.rs"]
mod outlets;
#[path = "it/receiver.rs"]
mod receiver;
#[path = "it/sender.rs"]
mod sender;
#[path = "it/servers.rs"]
mod servers;
#[path = "it/service.rs"]
mod service;
#[path = "it/watch.rs"]
mod watch;

// The tests, by subject.
#[path = "it/access.rs"]
mod access;
#[path = "it/adhoc.rs"]
mod adhoc;
#[path = "it/api.rs"]
mod api;
#[path = "it/clients.rs"]
mod clients;
#[path = "it/cloudevents.rs"]
mod cloudevents;
#[path = "it/command.rs"]
mod command;
#[path = "it/conformance.rs"]
mod conformance;
#[path = "it/connections.rs"]
mod connections;
#[path = "it/console.rs"]
mod console;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/damage.rs"]
mod damage;
#[path = "it/dead.rs"]
mod dead;
#[path = "it/delivery.rs"]
mod delivery;
#[path = "it/door.rs"]
mod door;
#[path = "it/editor.rs"]
mod editor;
#[path = "it/egress.rs"]
mod egress;
#[path = "it/emit.rs"]
mod emit;
#[path = "it/examples.rs"]
mod examples;
#[path = "it/executions.rs"]
mod executions;
#[path = "it/expiry.rs"]
mod expiry;
#[path = "it/explained.rs"]
mod explained;
#[path = "it/flow.rs"]
mod flow;
#[path = "it/functions.rs"]
mod functions;
#[path = "it/github.rs"]
mod github;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/https.rs"]
mod https;
#[path = "it/isolation.rs"]
mod isolation;
#[path = "it/kafka.rs"]
mod kafka;
#[path = "it/kept.rs"]
mod kept;
#[path = "it/languages.rs"]
mod languages;
#[path = "it/letters.rs"]
mod letters;
#[path = "it/lines.rs"]
mod lines;
#[path = "it/live.rs"]
mod live;
#[path = "it/logs.rs"]
mod logs;
#[path = "it/nats.rs"]
mod nats;
#[path = "it/operate.rs"]
mod operate;
#[path = "it/otlp.rs"]
mod otlp;
#[path = "it/outcomes.rs"]
mod outcomes;
#[path = "it/overload.rs"]
mod overload;
#[path = "it/parts.rs"]
mod parts;
#[path = "it/process.rs"]
mod process;
#[path = "it/redaction.rs"]
mod redaction;
#[path = "it/reload.rs"]
mod reload;
#[path = "it/removal.rs"]
mod removal;
#[path = "it/rerun.rs"]
mod rerun;
#[path = "it/s3.rs"]
mod s3;
#[path = "it/sasl.rs"]
mod sasl;
#[path = "it/schemas.rs"]
mod schemas;
#[path = "it/shortage.rs"]
mod shortage;
#[path = "it/signatures.rs"]
mod signatures;
#[path = "it/smtp.rs"]
mod smtp;
#[path = "it/subscriptions.rs"]
mod subscriptions;
#[path = "it/supervision.rs"]
mod supervision;
#[path = "it/targets.rs"]
mod targets;
#[path = "it/testing.rs"]
mod testing;
#[path = "it/timers.rs"]
mod timers;
#[path = "it/topics.rs"]
mod topics;
#[path = "it/triggers.rs"]
mod triggers;
#[path = "it/types.rs"]
mod types;
#[path = "it/undecided.rs"]
mod undecided;
#[path = "it/waits.rs"]
mod waits;
#[path = "it/websocket.rs"]
mod websocket;
