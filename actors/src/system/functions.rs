//! The workers of functions: started before the triggers that call them, and stopped after.

use std::sync::Arc;
use std::time::Duration;

use super::{Applied, Error, System, read, write};
use crate::definitions::{Definitions, FunctionDefinition};
use crate::function::Function;
use crate::runtime::pool::{Seat, Worker};
use crate::runtime::{Hosted, Pool, ServiceHost, Workers, worker_path};
use crate::supervision::lifeline::Started;
use crate::supervision::{ChildSpec, Place};
use actix::Actor;
use tokio::sync::Notify;

impl System {
    /// Who runs a function.
    pub(super) fn workers_of(&self, function: &FunctionDefinition) -> Workers {
        match function.hosted() {
            None => Workers::Own,
            // Started before the triggers; without it calls say that nobody is there.
            Some(_) => match read(&self.0.running).pools.get(&function.name) {
                Some((_, pool)) => Workers::Pool(pool.clone()),
                None => Workers::Pool(Arc::new(Pool::new(Vec::new(), Arc::default()))),
            },
        }
    }

    /// The workers of a function that has any.
    pub fn pool(&self, function: &str) -> Option<Arc<Pool>> {
        read(&self.0.running).pools.get(function).map(|(_, pool)| pool.clone())
    }

    /// How long the functions of a trigger may take beyond what others may: each of a chain its time, behind a full queue.
    pub(super) fn patience(&self, chains: &[Vec<Function>]) -> Duration {
        let of = |f: &Function| {
            let queue = f.definition.hosted().map_or(0, |hosted| hosted.pool.queue);
            f.definition.timeout.saturating_mul(u32::try_from(queue).unwrap_or(u32::MAX).saturating_add(1))
        };
        chains.iter().map(|chain| chain.iter().map(of).sum()).max().unwrap_or_default()
    }

    /// Starts the workers of functions that are new or have changed. Gives the paths of those that nobody needs once the
    /// triggers know the new ones.
    pub(super) async fn start_workers(&self, all: &Definitions, applied: &mut Applied) -> Result<Vec<String>, Error> {
        let mut outdated = Vec::new();
        let known: Vec<_> = read(&self.0.running).pools.keys().cloned().collect();
        for name in known {
            if all.functions.get(&name).is_none_or(|f| f.hosted().is_none())
                && let Some((_, pool)) = write(&self.0.running).pools.remove(&name)
            {
                outdated.extend(pool.seats().iter().map(|seat| seat.path.clone()));
                applied.removed.push(format!("function {name}"));
            }
        }
        for (name, definition) in &all.functions {
            let Some(hosted) = definition.hosted() else { continue };
            let known = read(&self.0.running).pools.get(name).map(|(version, _)| *version);
            if known == Some(definition.fingerprint) {
                applied.unchanged += 1;
                continue;
            }
            let pool = Arc::new(self.start_pool(definition, hosted).await?);
            let old = write(&self.0.running).pools.insert(name.clone(), (definition.fingerprint, pool));
            outdated.extend(old.iter().flat_map(|(_, pool)| pool.seats()).map(|seat| seat.path.clone()));
            let list = if old.is_some() { &mut applied.changed } else { &mut applied.added };
            list.push(format!("function {name}"));
        }
        Ok(outdated)
    }

    async fn start_pool(&self, definition: &FunctionDefinition, hosted: &Arc<Hosted>) -> Result<Pool, Error> {
        let runtime = tokio::runtime::Handle::current();
        let host = ServiceHost::new(hosted, self.0.store.clone(), runtime).map_err(Error::Invalid)?;
        let host = Arc::new(host);
        let ready = Arc::new(Notify::new());
        let mut seats = Vec::with_capacity(hosted.pool.workers);
        for index in 0..hosted.pool.workers {
            // Numbers go on, so that the workers of the new text run beside those of the old one.
            let number = self.0.worker_numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let seat = Seat::new(worker_path(&definition.name, number));
            let (front, status) = (seat.front.clone(), seat.status.clone());
            let (function, host, warm, ready) = (hosted.clone(), host.clone(), index < hosted.pool.warm, ready.clone());
            let child = ChildSpec::new(seat.path.clone(), "worker", move |life| {
                let addr =
                    Worker::new(function.clone(), host.clone(), status.clone(), warm, ready.clone(), life).start();
                Ok(Started::new(&addr).capacity(function.pool.queue).serves(&front, &addr))
            });
            // An engine that cannot be stopped in its thread is the watchdog's; a process is killed before.
            let limit = definition.timeout + Duration::from_secs(15);
            self.spawn(child.strategy(self.0.actor.clone()).place(Place::Own).hang_after(Some(limit))).await?;
            seats.push(seat);
        }
        Ok(Pool::new(seats, ready))
    }
}
