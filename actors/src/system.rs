//! The running system: the supervision tree over one log, built from definitions and changed by a reload.
//!
//! ```text
//! /journal            one, on a thread of its own
//! /watch/traces       the recorder of traces
//! /topics/{topic}     the tail and the subscriptions of a topic
//! /triggers/{name}    a trigger
//! /forwarders/{name}  a target outside
//! /timers/{name}      a timer
//! ```

use actix::{Actor, Addr};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::oneshot;

use crate::clock::Wall;
use crate::definitions::{
    Definitions, FunctionDefinition, On, SourceKind, TargetDefinition, TargetKind, TriggerDefinition,
};
use crate::event::{Event, Str};
use crate::function::Function;
use crate::log::journal::{Barrier, Journal, JournalParts, Sinks};
use crate::log::rocks::{RocksLog, RocksOptions};
use crate::log::{self, Commit, Durability, EventLog, Op, Ops, Receipt, Table};
use crate::metrics::Metrics;
use crate::reply::Replies;
use crate::source::timer::Schedule;
use crate::source::timer_actor::{Timer, TimerSpec};
use crate::supervision::front::{Front, SendError};
use crate::supervision::lifeline::Started;
use crate::supervision::{
    ChildSpec, Control, ControlError, DrainStep, Place, Remove, RestartStrategy, Settings, Shutdown, Spawn, Supervisor,
    Verb,
};
use crate::target::forwarder::{self, Forwarder, ForwarderMessage, ForwarderSpec, TargetStatus};
use crate::topic::cast::{self, Cast, CastParts, slot};
use crate::topic::pattern::Pattern;
use crate::topic::{DeliverFrom, Subscriber, TopicHandle, TopicMessage, subscription};
use crate::trace::{Ask, Steps, Traces};
use crate::trigger::run::{Output, Runner};
use crate::trigger::{self, Counts, Trigger, TriggerSpec};

/// Called once when the process must end: the exit code and why.
pub type OnFatal = Arc<dyn Fn(i32, &str) + Send + Sync>;

/// How a system is set up.
pub struct SystemOptions {
    /// The data folder.
    pub data: PathBuf,
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
    /// Too busy: answer 503.
    #[error("the journal has as much to do as it may hold; try again in a second")]
    Busy,
    /// Records take more than `storage.max_size`: answer 507.
    #[error("all records together take more than storage.max_size allows; raise it, or let topics keep less")]
    OverSize,
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
    /// Its own definition and those of its functions and targets.
    fingerprint: u64,
}

struct TargetEntry {
    definition: Arc<TargetDefinition>,
    front: Front<ForwarderMessage>,
    enabled: Arc<AtomicBool>,
}

#[derive(Default)]
struct Running {
    definitions: Definitions,
    triggers: BTreeMap<Str, TriggerEntry>,
    targets: BTreeMap<Str, TargetEntry>,
    timers: BTreeMap<Str, u64>,
}

struct Inner {
    supervisor: Addr<Supervisor>,
    cast: Cast,
    log: Arc<dyn EventLog>,
    journal: Front<Commit>,
    journal_healthy: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    replies: Arc<Replies>,
    traces: Front<Steps>,
    ask: Front<Ask>,
    actor: RestartStrategy,
    durability: Durability,
    max_bytes: Option<u64>,
    over_size: AtomicBool,
    running: RwLock<Running>,
    applying: tokio::sync::Mutex<()>,
    alerts: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// The running system; cloning shares it.
#[derive(Clone)]
pub struct System(Arc<Inner>);

/// The state of a trigger, for tables.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TriggerStatus {
    /// Its name.
    pub name: Str,
    /// What it listens to.
    pub on: String,
    /// The condition.
    pub when: Option<String>,
    /// The function.
    pub run: Option<Str>,
    /// The targets.
    pub to: Vec<Str>,
    /// Its priority.
    pub priority: i32,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Fired since the start.
    pub fired: u64,
    /// Passed over since the start.
    pub skipped: u64,
    /// Failed since the start.
    pub failed: u64,
    /// Where it is defined.
    pub origin: Str,
    /// Its version.
    pub version: String,
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// Started for the first time.
    pub added: Vec<String>,
    /// Replaced; their places in topics are kept.
    pub changed: Vec<String>,
    /// Stopped; their places are kept in case they come back.
    pub removed: Vec<String>,
    /// Left alone.
    pub unchanged: usize,
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn priority_key(trigger: &str) -> Vec<u8> {
    format!("priority/trigger/{trigger}").into_bytes()
}

fn switch_key(kind: &str, name: &str) -> Vec<u8> {
    format!("switch/{kind}/{name}").into_bytes()
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
        let metrics = Arc::new(Metrics::new());
        let (journal, barrier) = (Front::new(), Front::new());
        let sinks = Sinks::default();
        let fatal = options.on_fatal.clone();
        let parts = JournalParts {
            sinks: sinks.clone(),
            ..JournalParts::new(log.clone(), Arc::new(move |error| fatal(74, &error.to_string())))
        };
        let journal_healthy = parts.healthy.clone();

        crate::journal_metrics::register(&metrics, parts.stats.clone());
        start_journal(&supervisor, parts, &journal, &barrier).await?;
        let cast = Cast::new(CastParts {
            log: log.clone(),
            journal: journal.clone(),
            barrier,
            sinks,
            metrics: metrics.clone(),
            supervisor: supervisor.clone(),
            memory_limit: options.memory_topic,
        });
        let (traces, ask) = (Front::new(), Front::new());
        let (steps_front, ask_front, limit) = (traces.clone(), ask.clone(), options.traces);
        let recorder = ChildSpec::new("/watch/traces", "recorder", move |life| {
            let addr = Traces::new(limit, life).start();
            Ok(Started::new(&addr).capacity(4096).serves(&steps_front, &addr).serves(&ask_front, &addr))
        });
        supervisor
            .send(Spawn(recorder.place(Place::Slot(1))))
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
            traces,
            ask,
            actor: options.actor,
            durability: options.durability,
            max_bytes: options.max_bytes,
            over_size: AtomicBool::new(false),
            running: RwLock::default(),
            applying: tokio::sync::Mutex::default(),
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

    /// The recorder, for steps.
    pub fn traces(&self) -> &Front<Steps> {
        &self.0.traces
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
        match self.0.journal.try_send(Commit { ops, durability: self.0.durability, reply: Some(reply) }) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return Err(Error::Busy),
            Err(SendError::Closed(_)) => return Err(log::Error::Stopped.into()),
        }
        Ok(answer.await.map_err(|_| log::Error::Stopped)??)
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

    /// Replaces what is defined: only what changed is stopped and started. Everything was checked before; what can still
    /// fail here is the log or the supervisor.
    pub async fn apply(&self, definitions: Definitions) -> Result<Applied, Error> {
        let _one_at_a_time = self.0.applying.lock().await;
        let mut applied = Applied::default();
        let inner = &self.0;
        inner.cast.configure(definitions.topics.values().cloned());
        for topic in definitions.topics.keys() {
            inner.cast.ensure(topic).await?;
        }
        let old = read(&inner.running).definitions.clone();
        // Targets first, so that no trigger produces for one that is not there.
        for (name, target) in &definitions.targets {
            match old.targets.get(name) {
                Some(known) if known.fingerprint == target.fingerprint => applied.unchanged += 1,
                known => {
                    self.start_target(target.clone(), known.is_some()).await?;
                    let list = if known.is_some() { &mut applied.changed } else { &mut applied.added };
                    list.push(format!("target {name}"));
                }
            }
        }
        for (name, definition) in &definitions.triggers {
            let fingerprint = whole_fingerprint(definition, &definitions);
            let known = read(&inner.running).triggers.get(name).map(|t| t.fingerprint);
            if known == Some(fingerprint) {
                applied.unchanged += 1;
                continue;
            }
            self.start_trigger(definition.clone(), &definitions, fingerprint, known.is_some()).await?;
            let list = if known.is_some() { &mut applied.changed } else { &mut applied.added };
            list.push(format!("trigger {name}"));
        }
        let gone: Vec<Str> =
            read(&inner.running).triggers.keys().filter(|n| !definitions.triggers.contains_key(*n)).cloned().collect();
        for name in gone {
            self.remove(&format!("/triggers/{name}")).await?;
            inner.cast.unsubscribe(&trigger::subscription_name(&name), false).await;
            write(&inner.running).triggers.remove(&name);
            applied.removed.push(format!("trigger {name}"));
        }
        let gone: Vec<Str> = old.targets.keys().filter(|n| !definitions.targets.contains_key(*n)).cloned().collect();
        for name in gone {
            if write(&inner.running).targets.remove(&name).is_some() {
                self.remove(&format!("/forwarders/{name}")).await?;
                inner.cast.unsubscribe(&forwarder::subscription_name(&name), false).await;
            }
            applied.removed.push(format!("target {name}"));
        }
        self.apply_timers(&definitions, &mut applied).await?;
        write(&inner.running).definitions = definitions;
        Ok(applied)
    }

    async fn remove(&self, path: &str) -> Result<(), Error> {
        match self.0.supervisor.send(Remove(path.to_owned())).await {
            Ok(Ok(())) | Ok(Err(ControlError::Unknown { .. })) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Gone("the supervisor ended")),
        }
    }

    async fn spawn(&self, child: ChildSpec) -> Result<(), Error> {
        self.0.supervisor.send(Spawn(child)).await.map_err(|_| Error::Gone("the supervisor ended"))??;
        Ok(())
    }

    fn switched(&self, kind: &str, name: &str, default: bool) -> Result<bool, Error> {
        let stored = self.0.log.get(Table::State, &switch_key(kind, name))?;
        Ok(stored.map_or(default, |value| value == b"on"))
    }

    async fn start_target(&self, definition: Arc<TargetDefinition>, replaces: bool) -> Result<(), Error> {
        let inner = &self.0;
        let name = definition.name.clone();
        let path = format!("/forwarders/{name}");
        if replaces {
            self.remove(&path).await?;
            write(&inner.running).targets.remove(&name);
        }
        let target = match &definition.kind {
            TargetKind::Topic(topic) => {
                inner.cast.ensure(topic).await?;
                return Ok(());
            }
            TargetKind::Outside(target) => target.clone(),
        };
        let outbox = inner.cast.ensure(&outbox_of(&name)).await?;
        let enabled = Arc::new(AtomicBool::new(self.switched("target", &name, true)?));
        let (deliveries, front) = (Front::new(), Front::new());
        let subscription = forwarder::subscription_name(&name);
        let dead = inner.cast.ensure(&format!("hexafn.dead.{subscription}")).await?;
        let credit = match target.mode() {
            crate::target::Mode::Each { concurrency } => concurrency * 2,
            crate::target::Mode::Batch { max_records, .. } => max_records * 2,
        };
        let timeout = definition.settings.timeout.0;
        let settings = subscription::Settings {
            max_in_flight: credit.max(1),
            // Twice as long as an attempt can take: one waits for its slot, one runs.
            ack_wait: timeout.saturating_mul(4).max(Duration::from_secs(60)),
            ordering: match definition.settings.ordering {
                crate::target::Ordering::None => crate::definitions::Ordering::None,
                crate::target::Ordering::Key => crate::definitions::Ordering::Key,
                crate::target::Ordering::Strict => crate::definitions::Ordering::Strict,
            },
            retry: definition.retry.clone(),
            ..Default::default()
        };
        let weak = Arc::downgrade(&self.0);
        let runtime = tokio::runtime::Handle::current();
        let spec = ForwarderSpec {
            name: name.clone(),
            subscription: subscription.clone(),
            target,
            breaker: definition.breaker.clone(),
            enabled: enabled.clone(),
            cast: inner.cast.clone(),
            outbox: outbox.front.clone(),
            traces: inner.traces.clone(),
            metrics: inner.metrics.target(&name),
            steps_dropped: inner.metrics.trace_steps_dropped.clone(),
            on_disabled: Arc::new(move |name, why| {
                let (weak, name, why) = (weak.clone(), name.to_owned(), why.to_owned());
                runtime.spawn(async move {
                    if let Some(inner) = weak.upgrade() {
                        let system = System(inner);
                        let op = switch_op("target", &name, false);
                        if let Err(error) = system.commit([op].into_iter().collect()).await {
                            tracing::error!(target = name, %error, "the switch could not be stored");
                        }
                        system.alert("target.disabled", &name, &why).await;
                    }
                });
            }),
        };
        let (serves_deliveries, serves_control) = (deliveries.clone(), front.clone());
        let child = ChildSpec::new(path, "forwarder", move |life| {
            let addr = Forwarder::new(spec.clone(), life).start();
            Ok(Started::new(&addr).capacity(2048).serves(&serves_deliveries, &addr).serves(&serves_control, &addr))
        });
        inner
            .cast
            .subscribe(Subscriber {
                name: subscription,
                pattern: Pattern::new(&outbox.name).map_err(cast::Error::from)?,
                settings,
                filter: None,
                from: DeliverFrom::All,
                durable: true,
                priority: 0,
                dead_letter: Some(dead.id),
                version: definition.fingerprint,
                to: deliveries,
            })
            .await?;
        write(&inner.running).targets.insert(name, TargetEntry { definition, front, enabled });
        self.spawn(child.strategy(inner.actor.clone()).place(slot(&outbox.name))).await
    }

    async fn start_trigger(
        &self,
        definition: Arc<TriggerDefinition>,
        all: &Definitions,
        fingerprint: u64,
        replaces: bool,
    ) -> Result<(), Error> {
        let inner = &self.0;
        let name = definition.name.clone();
        let path = format!("/triggers/{name}");
        let topic = topic_of(&definition);
        let runner = Arc::new(self.resolve(definition.clone(), all).await?);
        if replaces {
            self.remove(&path).await?;
        }
        let enabled = Arc::new(AtomicBool::new(self.switched("trigger", &name, definition.enabled)?));
        let counts = read(&inner.running).triggers.get(&name).map_or_else(Arc::default, |t| t.counts.clone());
        let subscription = trigger::subscription_name(&name);
        let dead = inner.cast.ensure(&format!("hexafn.dead.{subscription}")).await?;
        let deliveries = Front::new();
        let answers = all.sources.values().any(|source| match &source.kind {
            SourceKind::Webhook { settings, .. } => settings.reply.as_ref().is_some_and(|r| *r.trigger == *name),
            SourceKind::Timer { .. } => false,
        });
        let spec = TriggerSpec {
            runner,
            enabled: enabled.clone(),
            answers,
            replies: inner.replies.clone(),
            cast: inner.cast.clone(),
            traces: inner.traces.clone(),
            metrics: inner.metrics.trigger(&name),
            counts: counts.clone(),
            health: trigger::health(),
            steps_dropped: inner.metrics.trace_steps_dropped.clone(),
            working: Arc::new(AtomicU64::new(0)),
        };
        let serves = deliveries.clone();
        let child = ChildSpec::new(path, "trigger", move |life| {
            let addr = Trigger::new(spec.clone(), life).start();
            Ok(Started::new(&addr).serves(&serves, &addr))
        });
        let place = slot(&topic);
        let priority = self.priority_of(&definition)?;
        inner
            .cast
            .subscribe(Subscriber {
                name: subscription,
                pattern: Pattern::new(&topic).map_err(cast::Error::from)?,
                settings: subscription::Settings {
                    ordering: definition.ordering,
                    retry: definition.retry.clone(),
                    ..Default::default()
                },
                filter: None,
                from: DeliverFrom::New,
                durable: true,
                priority,
                dead_letter: Some(dead.id),
                version: definition.fingerprint,
                to: deliveries,
            })
            .await?;
        let entry = TriggerEntry { definition, priority, enabled, counts, fingerprint };
        write(&inner.running).triggers.insert(name, entry);
        self.spawn(child.strategy(inner.actor.clone()).place(place)).await
    }

    /// Names to functions and topics.
    async fn resolve(&self, definition: Arc<TriggerDefinition>, all: &Definitions) -> Result<Runner, Error> {
        let chain = chain_of(&definition, all)
            .into_iter()
            .map(|f| Function { metrics: self.0.metrics.function(&f.name), definition: f })
            .collect();
        let mut outputs = Vec::with_capacity(definition.to.len());
        for name in &definition.to {
            let Some(target) = all.targets.get(name) else {
                return Err(unknown("target", name, all.targets.keys()));
            };
            let topic = match &target.kind {
                TargetKind::Topic(topic) => topic.clone(),
                TargetKind::Outside(_) => outbox_of(name),
            };
            let handle = self.0.cast.ensure(&topic).await?;
            let durability = handle.durability;
            outputs.push(Output {
                target: name.clone(),
                topic: handle.id,
                topic_name: topic,
                when: target.when.clone(),
                memory: (durability == crate::definitions::TopicDurability::Memory).then(|| handle.front.clone()),
            });
        }
        Ok(Runner::new(definition, chain, outputs))
    }

    async fn apply_timers(&self, definitions: &Definitions, applied: &mut Applied) -> Result<(), Error> {
        let mut wanted: BTreeMap<Str, (u64, Schedule, Str, Option<bytes::Bytes>)> = BTreeMap::new();
        for source in definitions.sources.values() {
            if let SourceKind::Timer { schedule, topic, data } = &source.kind {
                wanted.insert(source.name.clone(), (source.fingerprint, schedule.clone(), topic.clone(), data.clone()));
            }
        }
        for trigger in definitions.triggers.values() {
            if let On::Timer(schedule) = &trigger.on {
                let name: Str = format!("trigger.{}", trigger.name).into();
                wanted.insert(name, (trigger.fingerprint, schedule.clone(), topic_of(trigger), None));
            }
        }
        let running = read(&self.0.running).timers.clone();
        for (name, fingerprint) in &running {
            if wanted.get(name).is_none_or(|w| w.0 != *fingerprint) {
                self.remove(&format!("/timers/{name}")).await?;
                write(&self.0.running).timers.remove(name);
                if !wanted.contains_key(name) {
                    applied.removed.push(format!("timer {name}"));
                }
            }
        }
        for (name, (fingerprint, schedule, topic, data)) in wanted {
            if running.get(&name) == Some(&fingerprint) {
                continue;
            }
            let topic = self.0.cast.ensure(&topic).await?;
            let spec = TimerSpec {
                name: name.clone(),
                schedule,
                topic: topic.id,
                data,
                log: self.0.log.clone(),
                journal: self.0.journal.clone(),
            };
            let child = ChildSpec::new(format!("/timers/{name}"), "timer", move |life| {
                let addr = Timer::new(spec.clone(), life).start();
                Ok(Started::new(&addr))
            });
            self.spawn(child.strategy(self.0.actor.clone())).await?;
            write(&self.0.running).timers.insert(name, fingerprint);
        }
        Ok(())
    }

    /// The triggers, by name.
    pub fn triggers(&self) -> Vec<TriggerStatus> {
        read(&self.0.running).triggers.values().map(trigger_status).collect()
    }

    /// One trigger.
    pub fn trigger(&self, name: &str) -> Result<TriggerStatus, Error> {
        let running = read(&self.0.running);
        running.triggers.get(name).map(trigger_status).ok_or_else(|| unknown("trigger", name, running.triggers.keys()))
    }

    /// Changes the order in which a trigger is served; stored, so that it survives a restart, until its definition
    /// changes.
    pub async fn prioritise(&self, name: &str, priority: i32) -> Result<TriggerStatus, Error> {
        self.trigger(name)?;
        let fingerprint = read(&self.0.running).triggers.get(name).map_or(0, |t| t.definition.fingerprint);
        let mut value = fingerprint.to_be_bytes().to_vec();
        value.extend_from_slice(&priority.to_be_bytes());
        let op = Op::Put { table: Table::State, key: priority_key(name), value };
        self.commit([op].into_iter().collect()).await?;
        let subscription = trigger::subscription_name(name);
        if let Some(known) = self.0.cast.subscribers().iter().find(|s| s.name == subscription) {
            self.0.cast.subscribe(Subscriber { priority, ..(**known).clone() }).await?;
        }
        if let Some(entry) = write(&self.0.running).triggers.get_mut(name) {
            entry.priority = priority;
        }
        self.trigger(name)
    }

    fn priority_of(&self, definition: &TriggerDefinition) -> Result<i32, Error> {
        let stored = self.0.log.get(Table::State, &priority_key(&definition.name))?;
        let stored = stored.as_deref().and_then(|v| v.split_first_chunk::<8>());
        Ok(match stored {
            Some((version, rest)) if u64::from_be_bytes(*version) == definition.fingerprint => {
                rest.try_into().map_or(definition.priority, i32::from_be_bytes)
            }
            _ => definition.priority,
        })
    }

    /// Switches a trigger on or off; stored, so that it survives a restart. On also brings back a quarantined one.
    pub async fn switch_trigger(&self, name: &str, on: bool) -> Result<TriggerStatus, Error> {
        self.trigger(name)?;
        self.commit([switch_op("trigger", name, on)].into_iter().collect()).await?;
        if let Some(entry) = read(&self.0.running).triggers.get(name) {
            entry.enabled.store(on, Ordering::Relaxed);
        }
        if on {
            let control = Control { path: format!("/triggers/{name}"), verb: Verb::Reset };
            self.0.supervisor.send(control).await.map_err(|_| Error::Gone("the supervisor ended"))??;
        }
        self.trigger(name)
    }

    /// The targets outside, by name.
    pub async fn targets(&self) -> Vec<TargetStatus> {
        let entries: Vec<(Str, Front<ForwarderMessage>)> =
            read(&self.0.running).targets.iter().map(|(n, t)| (n.clone(), t.front.clone())).collect();
        let mut all = Vec::with_capacity(entries.len());
        for (name, front) in entries {
            if let Some(status) = inspect(&front).await {
                all.push(status);
            } else {
                tracing::debug!(target = %name, "the forwarder is being restarted");
            }
        }
        all
    }

    /// One target outside.
    pub async fn target(&self, name: &str) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        inspect(&front).await.ok_or(Error::Gone("the forwarder is being restarted; try again in a second"))
    }

    fn target_front(&self, name: &str) -> Result<Front<ForwarderMessage>, Error> {
        let running = read(&self.0.running);
        running
            .targets
            .get(name)
            .map(|t| t.front.clone())
            .ok_or_else(|| unknown("target", name, running.targets.keys()))
    }

    /// Switches a target on or off; stored. While off its events are kept.
    pub async fn switch_target(&self, name: &str, on: bool) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        self.commit([switch_op("target", name, on)].into_iter().collect()).await?;
        if let Some(entry) = read(&self.0.running).targets.get(name) {
            entry.enabled.store(on, Ordering::Relaxed);
        }
        front.send(ForwarderMessage::Switch(on)).await.map_err(|_| Error::Gone("the forwarder is being restarted"))?;
        self.target(name).await
    }

    /// Closes a target's breaker and makes what waits due now.
    pub async fn reset_target(&self, name: &str) -> Result<TargetStatus, Error> {
        let front = self.target_front(name)?;
        front.send(ForwarderMessage::Reset).await.map_err(|_| Error::Gone("the forwarder is being restarted"))?;
        self.target(name).await
    }

    /// How targets are defined, by name.
    pub fn target_definition(&self, name: &str) -> Option<Arc<TargetDefinition>> {
        read(&self.0.running).targets.get(name).map(|t| t.definition.clone())
    }

    /// Puts an alert on the topic `hexafn.alerts`, where triggers can listen.
    pub async fn alert(&self, kind: &str, subject: &str, message: &str) {
        let data = serde_json::json!({ "subject": subject, "message": message, "at": Wall::now().rfc3339() });
        let mut event = Event::new("/hexafn", format!("hexafn.alert.{kind}"), data.to_string().into());
        event.subject = Some(subject.into());
        let published = match self.0.cast.ensure("hexafn.alerts").await {
            Ok(topic) => self.publish(&topic, event).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = published {
            tracing::error!(kind, subject, message, %error, "alert could not be stored");
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
                loop {
                    interval.tick().await;
                    system.weigh();
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
            step("/triggers", deadline),
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

async fn start_journal(
    supervisor: &Addr<Supervisor>,
    parts: JournalParts,
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
    // It must not exist twice, so a slow sync is waited for.
    let child = child.place(Place::Own).hang_after(None);
    supervisor.send(Spawn(child)).await.map_err(|_| Error::Gone("the supervisor ended"))??;
    is_ready.await.map_err(|_| Error::Gone("the journal could not be started"))
}

async fn inspect(front: &Front<ForwarderMessage>) -> Option<TargetStatus> {
    let (reply, answer) = oneshot::channel();
    front.send(ForwarderMessage::Inspect(reply)).await.ok()?;
    answer.await.ok()
}

fn trigger_status(entry: &TriggerEntry) -> TriggerStatus {
    let definition = &entry.definition;
    TriggerStatus {
        name: definition.name.clone(),
        on: match &definition.on {
            On::Topic(pattern) => pattern.to_string(),
            On::Timer(_) => "timer".to_owned(),
            On::Kv { namespace, prefix } => format!("kv {namespace}/{prefix}*"),
        },
        when: definition.when.as_ref().map(|w| w.text().to_owned()),
        run: definition.run.clone(),
        to: definition.to.clone(),
        priority: entry.priority,
        enabled: entry.enabled.load(Ordering::Relaxed),
        fired: entry.counts.fired.load(Ordering::Relaxed),
        skipped: entry.counts.skipped.load(Ordering::Relaxed),
        failed: entry.counts.failed.load(Ordering::Relaxed),
        origin: definition.origin.clone(),
        version: format!("{:016x}", definition.fingerprint),
    }
}

fn switch_op(kind: &str, name: &str, on: bool) -> Op {
    Op::Put {
        table: Table::State,
        key: switch_key(kind, name),
        value: if on { b"on".to_vec() } else { b"off".to_vec() },
    }
}

fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a Str>) -> Error {
    Error::Unknown { kind, name: name.to_owned(), near: crate::names::near(name, known.map(|k| &**k)) }
}

/// The outbox of a target.
pub fn outbox_of(target: &str) -> Str {
    format!("hexafn.out.{target}").into()
}

/// The topic or pattern that a trigger listens to.
pub fn topic_of(trigger: &TriggerDefinition) -> Str {
    match &trigger.on {
        On::Topic(pattern) => pattern.clone(),
        On::Timer(_) => format!("hexafn.timer.{}", trigger.name).into(),
        On::Kv { namespace, .. } => format!("hexafn.kv.{namespace}").into(),
    }
}

/// The function of a trigger and its fallbacks, each once, in order.
pub fn chain_of(trigger: &TriggerDefinition, all: &Definitions) -> Vec<Arc<FunctionDefinition>> {
    let mut chain: Vec<Arc<FunctionDefinition>> = Vec::new();
    let mut next: std::collections::VecDeque<Str> = trigger.run.iter().cloned().collect();
    while let Some(name) = next.pop_front() {
        if chain.iter().any(|f| f.name == name) {
            continue;
        }
        if let Some(function) = all.functions.get(&name) {
            next.extend(function.fallback.iter().cloned());
            chain.push(function.clone());
        }
    }
    chain
}

fn whole_fingerprint(trigger: &TriggerDefinition, all: &Definitions) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    trigger.fingerprint.hash(&mut hasher);
    for function in chain_of(trigger, all) {
        function.fingerprint.hash(&mut hasher);
    }
    for target in trigger.to.iter().filter_map(|name| all.targets.get(name)) {
        target.fingerprint.hash(&mut hasher);
    }
    for source in all.sources.values() {
        if let SourceKind::Webhook { settings, .. } = &source.kind {
            settings.reply.as_ref().is_some_and(|r| *r.trigger == *trigger.name).hash(&mut hasher);
        }
    }
    hasher.finish()
}
