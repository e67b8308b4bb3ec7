//! Sources that fetch from a broker, put in place.

use std::sync::Arc;

use super::apply::Applied;
use super::dead::dead_topic_of;
use super::{Error, System, read, write};
use crate::definitions::{Definitions, SourceKind};
use crate::event::Str;
use crate::source::pull_actor::{self, PullSpec, PullStatus, Puller};
use crate::supervision::ChildSpec;
use crate::supervision::lifeline::Started;
use actix::Actor;

impl System {
    pub(super) async fn apply_pulls(&self, definitions: &Definitions, applied: &mut Applied) -> Result<(), Error> {
        let inner = &self.0;
        let is_pull = |name: &Str| {
            let source = definitions.sources.get(name);
            source.filter(|source| matches!(source.kind, SourceKind::Pull { .. })).map(|source| source.fingerprint)
        };
        let running = read(&inner.running).pulls.clone();
        for (name, (fingerprint, _)) in &running {
            if is_pull(name) != Some(*fingerprint) {
                self.remove(&format!("/sources/{name}")).await?;
                write(&inner.running).pulls.remove(name);
                if is_pull(name).is_none() {
                    applied.removed.push(format!("source {name}"));
                }
            }
        }
        for source in definitions.sources.values() {
            let SourceKind::Pull { upstream, decoder, topic } = &source.kind else { continue };
            let name = source.name.clone();
            match running.get(&name) {
                Some((fingerprint, _)) if *fingerprint == source.fingerprint => {
                    applied.unchanged += 1;
                    continue;
                }
                Some(_) => applied.changed.push(format!("source {name}")),
                None => applied.added.push(format!("source {name}")),
            }
            let status = Arc::new(PullStatus::default());
            let spec = PullSpec {
                name: name.clone(),
                upstream: upstream.clone(),
                decoder: decoder.clone(),
                topic: inner.cast.ensure(topic).await?,
                dead: inner.cast.ensure(&dead_topic_of(&format!("source.{name}"))).await?.id,
                journal: inner.journal.clone(),
                durability: inner.durability,
                over_size: inner.over_size.clone(),
                tracer: inner.tracer.clone(),
                metrics: inner.metrics.pull(&name),
                status: status.clone(),
            };
            let child = ChildSpec::new(format!("/sources/{name}"), "source", move |life| {
                let addr = Puller::new(spec.clone(), life).start();
                Ok(Started::new(&addr))
            });
            self.spawn(child.strategy(pull_actor::strategy())).await?;
            write(&inner.running).pulls.insert(name, (source.fingerprint, status));
        }
        Ok(())
    }
}
