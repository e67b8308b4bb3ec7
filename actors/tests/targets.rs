//! The contract of targets (docs/adding-a-target.md), held against every kind with its real server.
//!
//! A kind is one `Subject`: how its other side is started, made to hang, to refuse and to recover, and what arrived there.
//! The clauses are in `targets/contract.rs`, written once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod targets {
    use hexafn_actors::target::kinds;
    use std::time::Duration;

    mod brokers;
    mod contract;
    mod line;
    mod local;
    mod mail;
    mod objects;
    mod servers;
    mod web;

    /// How long anything may take that must happen.
    const PATIENCE: Duration = Duration::from_secs(30);

    macro_rules! contract {
        ($($name:ident: $subject:ty),+ $(,)?) => {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    contract::holds::<$subject>().await;
                }
            )+

            /// A kind that is not among these is held to nothing.
            #[test]
            fn every_kind_is_held_to_the_contract() {
                let held = [$(<$subject as contract::Subject>::KIND),+];
                let missing: Vec<_> = kinds::NAMES.iter().filter(|kind| !held.contains(kind)).collect();
                assert!(missing.is_empty(), "without a subject in actors/tests/targets: {missing:?}");
            }
        };
    }

    contract! {
        http: web::Http,
        http_in_batches: web::Batches,
        file: local::Files,
        kafka: brokers::Kafka,
        nats: brokers::Nats,
        s3: objects::S3,
        smtp: mail::Smtp,
        stdout: local::Stdout,
        websocket: web::WebSocket,
    }
}
