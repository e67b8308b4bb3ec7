//! The attempt: an actor that lives as long as one delivery takes, and fails alone.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Message, Recipient, WrapFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::supervision::breaker::Permit;
use crate::supervision::running::named;
use crate::target::{self, Mode, Outcome, Target};
use crate::topic::Delivery;

/// An attempt is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Done {
    pub(super) results: Vec<(Delivery, Outcome)>,
    pub(super) permit: Permit,
    pub(super) took: Duration,
}

/// One attempt: lives as long as it takes, and fails alone.
pub(super) struct Attempt {
    pub(super) target: Arc<dyn Target>,
    pub(super) batch: Option<Vec<Delivery>>,
    pub(super) permit: Permit,
    pub(super) to: Recipient<Done>,
    /// Whose attempt it is: what its log lines are marked with.
    pub(super) actor: Arc<str>,
}

impl Actor for Attempt {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (target, to, permit) = (self.target.clone(), self.to.clone(), self.permit);
        let batch = self.batch.take().unwrap_or_default();
        let made = async move {
            let started = Instant::now();
            let results = make(&*target, batch).await;
            // The forwarder has room for every attempt that it started; when it was replaced, nobody needs the answer.
            let sent = to.send(Done { results, permit, took: started.elapsed() }).await;
            if sent.is_err() {
                tracing::debug!("the forwarder was restarted during an attempt");
            }
        };
        ctx.spawn(named(self.actor.clone(), made).into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

async fn make(target: &dyn Target, batch: Vec<Delivery>) -> Vec<(Delivery, Outcome)> {
    let now = Wall::now();
    if let Mode::Batch { .. } = target.mode() {
        let records: Vec<Arc<Record>> = batch.iter().map(|d| d.record.clone()).collect();
        let outcomes = target::attempt_batch(target, &records, now).await;
        return batch.into_iter().zip(outcomes).collect();
    }
    let mut results = Vec::with_capacity(batch.len());
    for delivery in batch {
        let outcome =
            target::attempt(target, target::Delivery { record: &delivery.record, attempt: delivery.attempt, now })
                .await;
        results.push((delivery, outcome));
    }
    results
}

/// What an attempt came to, in a line.
pub(super) fn describe(outcome: &Outcome) -> Str {
    match outcome {
        Outcome::Delivered { detail } => match (detail.status, &detail.path) {
            (Some(204), _) => "delivered, status 204".into(),
            (Some(200), _) => "delivered, status 200".into(),
            (Some(status), _) => format!("delivered, status {status}").into(),
            (None, Some(path)) => path.clone(),
            (None, None) => "delivered".into(),
        },
        Outcome::Failed(failure) => format!("{}: {}", failure.class.name(), failure.message).into(),
    }
}
