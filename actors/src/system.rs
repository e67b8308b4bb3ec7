//! The running system: the supervision tree over one log, built from definitions and changed by a reload.
//!
//! ```text
//! /journal            one, on a thread of its own
//! /watch/traces       the recorder of traces
//! /topics/{topic}     the tail and the subscriptions of a topic
//! /triggers/{name}    a trigger
//! /forwarders/{name}  a target outside
//! /functions/{name}/{n}  a worker of a function in another language
//! /timers/{name}      a timer
//! /sources/{name}     a source that fetches from a broker
//! ```

use actix::{Actor, Addr};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::clock::{Tick, Wall};
use crate::definitions::{Definitions, TargetDefinition, TriggerDefinition};
use crate::event::{Event, Str};
use crate::log::journal::{Barrier, Journal, JournalOptions, JournalParts, Sinks};
use crate::log::rocks::{RocksLog, RocksOptions};
use crate::log::{self, Back, Commit, Durability, EventLog, Op, Ops, Receipt};
use crate::metrics::Metrics;
use crate::reply::Replies;
use crate::runtime::{Pool, Store};
use crate::source::pull_actor::PullStatus;
use crate::supervision::front::{Front, SendError};
use crate::supervision::lifeline::Started;
use crate::supervision::{
    ChildSpec, ControlError, DrainStep, OnExhausted, Place, RestartStrategy, Settings, Shutdown, Spawn, Supervisor,
};
use crate::target::forwarder::ForwarderMessage;
use crate::topic::cast::{self, Cast, CastParts};
use crate::topic::{OUTCOMES, TopicHandle, TopicMessage};
use crate::trace::{Ask, Tap, Tracer, Traces};
use crate::trigger::Counts;
use crate::trigger::ways::Ways;

mod apply;
pub mod dead;
pub mod explained;
mod functions;
pub mod graph;
pub mod outside;
pub mod probe;
mod pulls;
mod removal;
mod switches;
mod undecided;
mod versions;
mod waits;

pub use apply::{Applied, chains_of, functions_of, outbox_of, topic_of};
pub use switches::TriggerStatus;

/// How long an actor has to say how it stands. What does not answer is left out, and all are asked at once: whoever looks does
/// so just when something hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Called once when the process must end: the exit code and why.
pub type OnFatal = Arc<dyn Fn(i32, &str) + Send + Sync>;

/// How a system is set up.
pub struct SystemOptions {
    /// The engine's settings.
    pub rocks: RocksOptions,
    /// Threads for topics, triggers and forwarders.
    pub threads: usize,
    /// Traces kept.
    pub traces: usize,
    /// Bytes that one memory topic may hold.
    pub memory_topic: usize,
    /// When an accepted event is answered: once it is on disk, or before.
    pub durability: Durability,
    /// The bytes that all records together may take; beyond, nothing new is accepted.
    pub max_bytes: Option<u64>,
    /// The strategy of an actor.
    pub actor: RestartStrategy,
    /// The strategy of a group of actors.
    pub parent: RestartStrategy,
    /// Who is told of every step of every event, besides the recorder.
    pub tap: Option<Tap>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Called once when the process must end: the exit code and why.
    pub on_fatal: OnFatal,
}

/// What goes wrong with the system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// Topics and subscriptions.
    #[error(transparent)]
    Cast(#[from] cast::Error),
    /// The supervisor refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no such thing.
    #[error("there is no {kind} `{name}`; {near}")]
    Unknown {
        /// `trigger`, `target` …
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        near: String,
    },
    /// Something that is defined uses a topic by its name.
    #[error(
        "topic `{topic}` is used by {by}; take that out of the configuration first, or empty the topic with `hexafn topic trim`"
    )]
    InUse {
        /// The topic.
        topic: Str,
        /// What uses it.
        by: String,
    },
    /// Too busy: answer 503.
    #[error("the journal has as much to do as it may hold; try again in a second")]
    Busy,
    /// Records take more than `storage.max_size`: answer 507.
    #[error("all records together take more than storage.max_size allows; raise it, or let topics keep less")]
    OverSize,
    /// No open dead letter has this number.
    #[error("there is no open dead letter {seq} of `{subscription}`")]
    NoLetter {
        /// The subscription.
        subscription: Str,
        /// What was asked for.
        seq: crate::log::Seq,
    },
    /// What a client asked for cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// A topic is written in the commit of its cause; no attempt is made that could be tried or logged.
    #[error("target `{0}` is a topic: events are appended to it in the commit of their cause, and no attempt is made")]
    NoAttempts(Str),
    /// Something ended in between.
    #[error("{0}")]
    Gone(&'static str),
    /// A thread could not be started.
    #[error("the supervisor could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

struct TriggerEntry {
    definition: Arc<TriggerDefinition>,
    priority: i32,
    enabled: Arc<AtomicBool>,
    counts: Arc<Counts>,
    /// Which ways its results take.
    ways: Arc<Ways>,
    /// Its own definition and those of its functions and targets.
    fingerprint: u64,
    /// Since when its own definition is this one.
    since: Wall,
    /// Since when it runs, with its functions and targets, as it does.
    placed: Wall,
}

struct TargetEntry {
    definition: Arc<TargetDefinition>,
    front: Front<ForwarderMessage>,
    enabled: Arc<AtomicBool>,
}

#[derive(Default)]
struct Running {
    definitions: Definitions,
    /// A change of them has begun, and did not end well.
    torn: bool,
    triggers: BTreeMap<Str, TriggerEntry>,
    targets: BTreeMap<Str, TargetEntry>,
    timers: BTreeMap<Str, u64>,
    pulls: BTreeMap<Str, (u64, Arc<PullStatus>)>,
    /// The workers of functions, with the version that they run.
    pools: BTreeMap<Str, (u64, Arc<Pool>)>,
}

struct Inner {
    supervisor: Addr<Supervisor>,
    cast: Cast,
    log: Arc<dyn EventLog>,
    journal: Front<Commit>,
    journal_healthy: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    replies: Arc<Replies>,
    tracer: Tracer,
    ask: Front<Ask>,
    actor: RestartStrategy,
    durability: Durability,
    max_bytes: Option<u64>,
    over_size: Arc<AtomicBool>,
    /// When the process began.
    began: (Wall, Instant),
    /// What functions stored.
    store: Arc<Store>,
    worker_numbers: AtomicU64,
    running: RwLock<Running>,
    /// Subscriptions of clients outside.
    registered: RwLock<BTreeMap<Str, outside::Registered>>,
    applying: tokio::sync::Mutex<()>,
    /// Held while dead letters are settled.
    settling: tokio::sync::Mutex<()>,
    alerts: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// The running system; cloning shares it.
#[derive(Clone)]
pub struct System(Arc<Inner>);

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl System {
    /// Opens the log and starts the tree without any definition. Call it within an actix `System`.
    pub async fn start(options: SystemOptions) -> Result<Self, Error> {
        let fatal = options.on_fatal.clone();
        let supervisor = Supervisor::start(Settings {
            threads: options.threads,
            name: "pipeline".to_owned(),
            group: options.parent.clone(),
            ..Settings::new(move |path, failure| fatal(70, &format!("{path}: {failure}")))
        })?;
        let log: Arc<dyn EventLog> = Arc::new(RocksLog::open(options.rocks)?);
        let metrics = options.metrics;
        let (journal, barrier) = (Front::new(), Front::new());
        let sinks = Sinks::default();
        let fatal = options.on_fatal.clone();
        let lazy = options.durability == Durability::Lazy;
        let parts = JournalParts {
            sinks: sinks.clone(),
            options: JournalOptions { lazy, ..JournalOptions::default() },
            ..JournalParts::new(log.clone(), Arc::new(move |error| fatal(74, &error.to_string())))
        };
        let journal_healthy = parts.healthy.clone();
        let epochs = parts.epochs.clone();

        crate::journal_metrics::register(&metrics, parts.stats.clone());
        start_journal(&supervisor, parts, options.actor.clone(), &journal, &barrier).await?;
        let cast = Cast::new(CastParts {
            log: log.clone(),
            journal: journal.clone(),
            epochs,
            barrier,
            sinks,
            metrics: metrics.clone(),
            supervisor: supervisor.clone(),
            memory_limit: options.memory_topic,
            strategy: options.actor.clone(),
        });
        let (look, ask) = (Front::new(), Front::new());
        let tracer = Tracer::new(look.clone(), metrics.trace_steps_dropped.clone());
        let (taken, ask_front, limit, tap) = (tracer.clone(), ask.clone(), options.traces, options.tap);
        let recorder = ChildSpec::new("/watch/traces", "recorder", move |life| {
            let addr = Traces::new(limit, taken.clone(), tap.clone(), life).start();
            Ok(Started::new(&addr).capacity(crate::trace::MAILBOX).serves(&look, &addr).serves(&ask_front, &addr))
        });
        supervisor
            .send(Spawn(recorder.strategy(options.actor.clone()).place(Place::Own)))
            .await
            .map_err(|_| Error::Gone("the supervisor ended"))??;
        let system = Self(Arc::new(Inner {
            supervisor,
            cast,
            log,
            journal,
            journal_healthy,
            metrics,
            replies: Arc::default(),
            tracer,
            ask,
            actor: options.actor,
            durability: options.durability,
            max_bytes: options.max_bytes,
            over_size: Arc::default(),
            began: (Wall::now(), Instant::now()),
            store: Arc::default(),
            worker_numbers: AtomicU64::new(1),
            running: RwLock::default(),
            registered: RwLock::default(),
            applying: tokio::sync::Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            alerts: Mutex::new(None),
        }));
        Ok(system)
    }

    /// Topics and subscriptions.
    pub fn cast(&self) -> &Cast {
        &self.0.cast
    }

    /// The supervisor, for controls and the tree.
    pub fn supervisor(&self) -> &Addr<Supervisor> {
        &self.0.supervisor
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Requests that wait for results.
    pub fn replies(&self) -> &Arc<Replies> {
        &self.0.replies
    }

    /// Takes the steps of events.
    pub fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    /// The recorder, for questions.
    pub fn ask(&self) -> &Front<Ask> {
        &self.0.ask
    }

    /// Whether writing works.
    pub fn is_healthy(&self) -> bool {
        self.0.journal_healthy.load(Ordering::Acquire) && self.0.journal.is_open()
    }

    /// What is defined now.
    pub fn definitions(&self) -> Definitions {
        read(&self.0.running).definitions.clone()
    }

    /// What a source that fetches shows of itself: its state, its lag, its last error.
    pub fn pulling(&self, name: &str) -> Option<crate::source::pull_actor::Shown> {
        read(&self.0.running).pulls.get(name).map(|(_, status)| status.show())
    }

    /// Whether an answered event is on disk.
    pub fn is_synced(&self) -> bool {
        self.0.durability == Durability::Synced
    }

    /// Whether records take more than they may, as seen within the last second.
    fn weigh(&self) {
        let Some(limit) = self.0.max_bytes else { return };
        let bytes: u64 = self.0.cast.all().iter().filter_map(|t| self.0.log.bounds(t.id).ok()).map(|b| b.bytes).sum();
        let over = bytes > limit;
        if self.0.over_size.swap(over, Ordering::Relaxed) != over {
            tracing::warn!(bytes, limit, over, "records and storage.max_size");
        }
    }

    /// Writes, and answers when it is on disk (or before, with `storage.sync = "lazy"`).
    pub async fn commit(&self, ops: Ops) -> Result<Receipt, Error> {
        if self.0.over_size.load(Ordering::Relaxed) && ops.iter().any(|op| matches!(op, Op::Append { .. })) {
            return Err(Error::OverSize);
        }
        let (reply, answer) = oneshot::channel();
        match self.0.journal.try_send(Commit { ops, back: Back::Reply(self.0.durability, reply) }) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return Err(Error::Busy),
            Err(SendError::Closed(_)) => return Err(log::Error::Stopped.into()),
        }
        match answer.await.map_err(|_| log::Error::Stopped)? {
            // It was there when its number was asked for.
            Err(log::Error::NoTopic(_)) => Err(Error::Gone("the topic was removed meanwhile; send it again")),
            receipt => Ok(receipt?),
        }
    }

    /// Publishes to a topic, by its durability.
    pub async fn publish(&self, topic: &TopicHandle, event: Event) -> Result<Arc<log::Record>, Error> {
        if topic.durability == crate::definitions::TopicDurability::Memory {
            let (reply, answer) = oneshot::channel();
            match topic.front.try_send(TopicMessage::Publish { event: Box::new(event), reply: Some(reply) }) {
                Ok(()) => {}
                Err(SendError::Full(_)) => return Err(Error::Busy),
                Err(SendError::Closed(_)) => {
                    return Err(Error::Gone("the topic is being restarted; try again in a second"));
                }
            }
            return answer.await.map_err(|_| Error::Gone("the topic was restarted; try again"));
        }
        let op = Op::Append { topic: topic.id, event: Box::new(event), dedupe: None };
        let receipt = self.commit([op].into_iter().collect()).await?;
        match receipt.appended.into_iter().next() {
            Some(log::Appended::Stored(record)) => Ok(record),
            _ => Err(Error::Gone("the journal did not say where the event is")),
        }
    }

    /// Puts an alert on the topic `hexafn.alerts`, where triggers can listen.
    pub async fn alert(&self, kind: &str, subject: &str, message: &str) {
        self.tell("hexafn.alerts", &format!("hexafn.alert.{kind}"), subject, message).await;
    }

    /// Tells on the topic `hexafn.outcomes` what became of a target, unless that is switched off.
    pub async fn outcome(&self, kind: &str, subject: &str, message: &str) {
        if read(&self.0.running).definitions.outcomes != crate::definitions::Told::Off {
            self.tell(OUTCOMES, &format!("hexafn.{kind}"), subject, message).await;
        }
    }

    async fn tell(&self, topic: &str, kind: &str, subject: &str, message: &str) {
        let data = serde_json::json!({ "subject": subject, "message": message, "at": Wall::now().rfc3339() });
        let mut event = Event::new("/hexafn", kind.to_owned(), data.to_string().into());
        event.subject = Some(subject.into());
        event.told = topic == OUTCOMES;
        let published = match self.0.cast.ensure(topic).await {
            Ok(topic) => self.publish(&topic, event).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = published {
            tracing::error!(kind, subject, message, %error, "an event about hexaFn itself could not be stored");
        }
    }

    /// Watches the tree: what is quarantined becomes an alert, and a journal that was restarted takes the topics along,
    /// since what they had sent to it is lost.
    pub async fn watch(&self) -> Result<(), Error> {
        let watch = crate::supervision::Watch;
        let watching = self.0.supervisor.send(watch).await.map_err(|_| Error::Gone("the supervisor ended"))?;
        let system = self.clone();
        let task = actix_rt::spawn(async move {
            let weigh = async {
                let mut interval = tokio::time::interval(Duration::from_secs(1));
                let mut removals = LostLetters::default();
                loop {
                    interval.tick().await;
                    system.weigh();
                    removals.tell(&system, Tick::now()).await;
                }
            };
            tokio::select! {
                () = crate::alerts::run(system.clone(), watching) => {}
                () = weigh => {}
            }
        });
        if let Some(old) = self.0.alerts.lock().unwrap_or_else(PoisonError::into_inner).replace(task) {
            old.abort();
        }
        Ok(())
    }

    /// Stops everything in order: what feeds first, the journal last.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<Str> {
        let step = |path: &str, deadline| DrainStep { path: path.to_owned(), deadline };
        let order = vec![
            step("/timers", Duration::from_secs(1)),
            step("/sources", Duration::from_secs(5)),
            step("/triggers", deadline),
            step("/functions", Duration::from_secs(5)),
            step("/forwarders", deadline),
            step("/topics", Duration::from_secs(5)),
            step("/journal", Duration::from_secs(10)),
        ];
        if let Some(task) = self.0.alerts.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        let drained = self.0.supervisor.send(Shutdown { order, rest: Duration::from_secs(1) }).await;
        drained.map(|d| d.forced).unwrap_or_default()
    }
}

/// How often it is told of a subscription that retention removes its letters.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Letters that retention removed, until they are told.
#[derive(Default)]
struct LostLetters(BTreeMap<Str, (u64, Option<Tick>)>);

impl LostLetters {
    /// Raises an alert for each subscription, the first at once, and then one a minute.
    async fn tell(&mut self, system: &System, now: Tick) {
        for (subscription, count) in system.cast().take_removed_letters() {
            self.0.entry(subscription).or_default().0 += count;
        }
        for (subscription, (count, told)) in &mut self.0 {
            if *count == 0 || told.is_some_and(|at| now.since(at) < TELL_AGAIN) {
                continue;
            }
            let message = format!(
                "retention removed {count} dead letters that nobody had settled; settle letters (`hexafn dlq list \
                 {subscription}`), or let `[[topic]]` of `{}` keep more",
                dead::dead_topic_of(subscription)
            );
            tracing::warn!(%subscription, count, "retention removed dead letters");
            system.alert("letters.removed", subscription, &message).await;
            (*count, *told) = (0, Some(now));
        }
    }
}

async fn start_journal(
    supervisor: &Addr<Supervisor>,
    parts: JournalParts,
    strategy: RestartStrategy,
    commits: &Front<Commit>,
    barriers: &Front<Barrier>,
) -> Result<(), Error> {
    let (commits, barriers) = (commits.clone(), barriers.clone());
    let (ready, is_ready) = oneshot::channel();
    let ready = Mutex::new(Some(ready));
    let capacity = parts.options.mailbox;
    let child = ChildSpec::new("/journal", "journal", move |life| {
        let ready = ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        let addr = Journal::supervised(parts.clone(), life, ready).start();
        Ok(Started::new(&addr).capacity(capacity).serves(&commits, &addr).serves(&barriers, &addr))
    });
    // A service that cannot write is of no use to anybody: beyond its strategy, whoever started the process decides.
    let strategy = RestartStrategy { on_exhausted: OnExhausted::Escalate, ..strategy };
    // It must not exist twice, so a slow sync is waited for.
    let child = child.strategy(strategy).place(Place::Own).hang_after(None);
    supervisor.send(Spawn(child)).await.map_err(|_| Error::Gone("the supervisor ended"))??;
    is_ready.await.map_err(|_| Error::Gone("the journal could not be started"))
}

fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a Str>) -> Error {
    Error::Unknown { kind, name: name.to_owned(), near: crate::names::near(name, known.map(|k| &**k)) }
}
