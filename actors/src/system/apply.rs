//! Definitions put in place: only what changed is stopped and started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::dead::dead_topic_of;
use super::switches::Switch;
use super::versions::made_by;
use super::{Error, System, TargetEntry, TriggerEntry, read, unknown, write};
use crate::clock::Wall;
use crate::definitions::{
    Definitions, FunctionDefinition, On, SourceKind, TargetDefinition, TargetKind, Told, TriggerDefinition,
};
use crate::event::Str;
use crate::function::Function;
use crate::log::{Op, Ops, Table, keys};
use crate::source::timer::Schedule;
use crate::source::timer_actor::{Timer, TimerSpec};
use crate::supervision::front::Front;
use crate::supervision::lifeline::Started;
use crate::supervision::{ChildSpec, ControlError, HANG_AFTER, Place, Remove, Spawn};
use crate::target::forwarder::{self, Forwarder, ForwarderSpec};
use crate::topic::cast::{self, slot};
use crate::topic::pattern::Pattern;
use crate::topic::{DeliverFrom, Feedback, Limit, OUTCOMES, Subscriber, subscription};
use crate::trigger::run::{Output, Runner};
use crate::trigger::told::EXECUTIONS;
use crate::trigger::ways::Ways;
use crate::trigger::{self, Trigger, TriggerSpec};
use actix::Actor;

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Applied {
    /// Started for the first time.
    pub added: Vec<String>,
    /// Replaced; their places in topics are kept.
    pub changed: Vec<String>,
    /// Stopped; their places are kept in case they come back.
    pub removed: Vec<String>,
    /// Left alone.
    pub unchanged: usize,
    /// Events that wait for targets and triggers that are gone or get theirs from elsewhere, and what can be done about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Targets that are disabled, since when, by whom and why; also those that are defined anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled: Vec<String>,
}

impl System {
    /// Replaces what is defined: only what changed is stopped and started. Everything was checked before, and what a full disk
    /// or too many topics can refuse is asked for before anything is changed.
    ///
    /// # Errors
    /// Nothing was changed; or the log cannot be read, and the next call puts all in place again; or the supervisor has ended,
    /// which ends the process.
    pub async fn apply(&self, definitions: Definitions) -> Result<Applied, Error> {
        let _one_at_a_time = self.0.applying.lock().await;
        let mut applied = Applied::default();
        let inner = &self.0;
        let old = read(&inner.running).definitions.clone();
        inner.cast.configure(definitions.topics.values().cloned());
        for topic in topics_of(&definitions) {
            if let Err(error) = inner.cast.ensure(&topic).await {
                inner.cast.configure(old.topics.values().cloned());
                return Err(error.into());
            }
        }
        // After an attempt that ended half way nobody knows what of it runs: all of it is put in place again.
        let torn = std::mem::replace(&mut write(&inner.running).torn, true);
        // Targets first, so that no trigger produces for one that is not there.
        for (name, target) in &definitions.targets {
            match old.targets.get(name) {
                Some(known)
                    if !torn
                        && target_fingerprint(known, &old) == target_fingerprint(target, &definitions)
                        && old.outcomes == definitions.outcomes =>
                {
                    applied.unchanged += 1
                }
                known => {
                    self.start_target(target.clone(), &definitions, torn || known.is_some()).await?;
                    let list = if known.is_some() { &mut applied.changed } else { &mut applied.added };
                    list.push(format!("target {name}"));
                }
            }
        }
        let outdated = self.start_workers(&definitions, &mut applied).await?;
        for (name, definition) in &definitions.triggers {
            let fingerprint = whole_fingerprint(definition, &definitions);
            let known = read(&inner.running).triggers.get(name).map(|t| t.fingerprint);
            if !torn && known == Some(fingerprint) {
                applied.unchanged += 1;
                continue;
            }
            self.start_trigger(definition.clone(), &definitions, fingerprint, torn || known.is_some()).await?;
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
        // No trigger knows them any more.
        for path in outdated {
            self.remove(&path).await?;
        }
        let known: BTreeSet<Str> = old.targets.keys().chain(read(&inner.running).targets.keys()).cloned().collect();
        for name in known.into_iter().filter(|name| !definitions.targets.contains_key(name)) {
            if write(&inner.running).targets.remove(&name).is_some() {
                self.remove(&format!("/forwarders/{name}")).await?;
                inner.cast.unsubscribe(&forwarder::subscription_name(&name), false).await;
                inner.metrics.forget_target(&name);
            }
            applied.removed.push(format!("target {name}"));
        }
        count_webhooks(&old, &definitions, &mut applied);
        self.apply_timers(&definitions, &mut applied).await?;
        self.apply_pulls(&definitions, &mut applied).await?;
        inner.cast.complete();
        // What was handled just now is not told as left. For that alone a journal that is being restarted stops nobody.
        inner.cast.written().await.ok();
        applied.left = self.left(&definitions).into_values().collect();
        applied.disabled = self.disabled(&definitions);
        for told in applied.left.iter().chain(&applied.disabled) {
            tracing::warn!("{told}");
        }
        inner.metrics.forget_gone(&old, &definitions);
        let mut running = write(&inner.running);
        (running.definitions, running.torn) = (definitions, false);
        Ok(applied)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Error> {
        match self.0.supervisor.send(Remove(path.to_owned())).await {
            Ok(Ok(())) | Ok(Err(ControlError::Unknown { .. })) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Gone("the supervisor ended")),
        }
    }

    pub(super) async fn spawn(&self, child: ChildSpec) -> Result<(), Error> {
        self.0.supervisor.send(Spawn(child)).await.map_err(|_| Error::Gone("the supervisor ended"))??;
        Ok(())
    }

    pub(super) async fn feedback(&self, topic: &str, source: String, told: Told) -> Result<Option<Feedback>, Error> {
        if told == Told::Off {
            return Ok(None);
        }
        let topic = self.0.cast.ensure(topic).await?.id;
        Ok(Some(Feedback { topic, source: source.into(), delivered: told == Told::All }))
    }

    async fn start_target(
        &self,
        definition: Arc<TargetDefinition>,
        all: &Definitions,
        replaces: bool,
    ) -> Result<(), Error> {
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
                if replaces {
                    inner.cast.unsubscribe(&forwarder::subscription_name(&name), false).await;
                    inner.metrics.forget_target(&name);
                }
                return Ok(());
            }
            TargetKind::Outside(target) => target.clone(),
        };
        let outbox = inner.cast.ensure(&outbox_of(&name)).await?;
        let enabled = Arc::new(AtomicBool::new(self.switched("target", &name, true)?));
        let (deliveries, overdue, front, limit) = (Front::new(), Front::new(), Front::new(), Limit::default());
        limit.switch(!enabled.load(std::sync::atomic::Ordering::Relaxed));
        let subscription = forwarder::subscription_name(&name);
        let dead = inner.cast.ensure(&dead_topic_of(&subscription)).await?;
        let fallback = self.fallback(&definition, all).await?;
        let (credit, patience) = pace(&definition.settings, target.mode());
        let settings = subscription::Settings {
            max_in_flight: credit,
            max_bytes_in_flight: match target.mode() {
                crate::target::Mode::Batch { max_bytes, concurrency, .. } => {
                    (max_bytes.saturating_mul(concurrency + 1)).max(32 << 20)
                }
                crate::target::Mode::Each { .. } => 32 << 20,
            },
            ack_wait: patience,
            retry_budget: definition.settings.retry.budget,
            max_age: definition.settings.retry.max_age.map(|age| age.0),
            together: match target.mode() {
                crate::target::Mode::Batch { max_records, .. } => max_records,
                crate::target::Mode::Each { .. } => 1,
            },
            ordering: match definition.settings.ordering {
                crate::target::Ordering::None => crate::definitions::Ordering::None,
                crate::target::Ordering::Key => crate::definitions::Ordering::Key,
                crate::target::Ordering::Strict => crate::definitions::Ordering::Strict,
            },
            retry: definition.retry.clone(),
            ..Default::default()
        };
        let (weak, weak_too) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let runtime = tokio::runtime::Handle::current();
        let runtime_too = runtime.clone();
        let spec = ForwarderSpec {
            name: name.clone(),
            subscription: subscription.clone(),
            target,
            veil: definition.veil.clone(),
            redact: definition.redact.clone().map(|redactor| (redactor, Wall::now())),
            limit: limit.clone(),
            breaker: definition.breaker.clone(),
            rate: definition.settings.rate,
            ordering: definition.settings.ordering,
            enabled: enabled.clone(),
            cast: inner.cast.clone(),
            outbox: outbox.front.clone(),
            tracer: inner.tracer.clone(),
            metrics: inner.metrics.target(&name),
            on_disabled: Arc::new(move |name, by, why| {
                let (weak, name, why) = (weak.clone(), name.to_owned(), why.to_owned());
                runtime.spawn(async move {
                    if let Some(inner) = weak.upgrade() {
                        let system = System(inner);
                        let op = Switch::new(false, by, &why).op("target", &name);
                        if let Err(error) = system.commit([op].into_iter().collect()).await {
                            tracing::error!(to = name, %error, "the switch could not be stored");
                        }
                        system.alert("target.disabled", &name, &why).await;
                        system.outcome("target.disabled", &name, &why).await;
                    }
                });
            }),
            on_breaker: Arc::new(move |name, turn, why| {
                let (weak, name, why) = (weak_too.clone(), name.to_owned(), why.to_owned());
                runtime_too.spawn(async move {
                    if let Some(inner) = weak.upgrade() {
                        System(inner).outcome(&format!("breaker.{turn}"), &name, &why).await;
                    }
                });
            }),
        };
        let serves = (deliveries.clone(), overdue.clone(), front.clone());
        let child = ChildSpec::new(path, "forwarder", move |life| {
            let addr = Forwarder::new(spec.clone(), life).start();
            let started = Started::new(&addr).capacity(2048).serves(&serves.0, &addr);
            Ok(started.serves(&serves.1, &addr).serves(&serves.2, &addr))
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
                fallback,
                version: definition.fingerprint,
                to: deliveries,
                asks: Some(overdue),
                limit,
                feedback: self.feedback(OUTCOMES, format!("/targets/{name}"), all.outcomes).await?,
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
        let settings = subscription::Settings::default();
        // Longer than its functions may take, each behind a full queue. Those in the language of hexaFn run one after the
        // other for all that is in flight.
        let inline = runner.is_inline();
        let run = self.patience(&runner.chains);
        let ahead = if inline { u32::try_from(settings.max_in_flight).unwrap_or(u32::MAX) } else { 1 };
        let ack_wait = settings.ack_wait + run.saturating_mul(ahead);
        if replaces {
            self.remove(&path).await?;
        }
        if let Err(error) = self.note_version(&definition, all).await {
            // A letter can do without; what is put in place already cannot be left half done for it.
            tracing::warn!(trigger = %name, %error, "the version of the trigger could not be stored");
        }
        let enabled = Arc::new(AtomicBool::new(self.switched("trigger", &name, definition.enabled)?));
        let counts = read(&inner.running).triggers.get(&name).map_or_else(Arc::default, |t| t.counts.clone());
        let ways = Arc::new(Ways::of(&runner));
        let subscription = trigger::subscription_name(&name);
        let dead = inner.cast.ensure(&dead_topic_of(&subscription)).await?;
        let deliveries = Front::new();
        let spec = TriggerSpec {
            runner,
            enabled: enabled.clone(),
            answers: is_answer(&name, all),
            replies: inner.replies.clone(),
            cast: inner.cast.clone(),
            tracer: inner.tracer.clone(),
            metrics: inner.metrics.trigger(&name),
            counts: counts.clone(),
            ways: ways.clone(),
            health: trigger::health(),
            store: inner.store.clone(),
            working: Arc::default(),
            dead_letters: inner.metrics.dead_letters.clone(),
            fell_back: inner.metrics.fell_back.clone(),
            executions: self.feedback(EXECUTIONS, path.clone(), all.executions).await?,
        };
        let serves = deliveries.clone();
        let child = ChildSpec::new(path.clone(), "trigger", move |life| {
            let addr = Trigger::new(spec.clone(), life).start();
            Ok(Started::new(&addr).serves(&serves, &addr))
        });
        // One that may keep its thread for long has one of its own.
        let place = if inline && run > LONG_RUN { Place::Own } else { slot(&topic) };
        // Steps bound the time of a run on an ordinary machine; a slow one takes longer, and does not hang.
        let child = if inline { child.hang_after(Some(HANG_AFTER + run * 2)) } else { child };
        let priority = self.priority_of(&definition)?;
        inner
            .cast
            .subscribe(Subscriber {
                name: subscription,
                pattern: Pattern::new(&topic).map_err(cast::Error::from)?,
                settings: subscription::Settings {
                    ordering: definition.ordering,
                    retry: definition.retry.clone(),
                    ack_wait,
                    ..settings
                },
                filter: None,
                from: DeliverFrom::New,
                durable: true,
                priority,
                dead_letter: Some(dead.id),
                fallback: None,
                version: definition.fingerprint,
                to: deliveries,
                asks: None,
                limit: Limit::default(),
                // A trigger's results are seen where they arrive; only its failures are told.
                feedback: self.feedback(OUTCOMES, path.clone(), all.outcomes.min(Told::Failures)).await?,
            })
            .await?;
        let placed = Wall::now();
        let same = |known: &TriggerEntry| known.definition.fingerprint == definition.fingerprint;
        let since = read(&inner.running).triggers.get(&name).filter(|known| same(known)).map_or(placed, |t| t.since);
        let entry = TriggerEntry { definition, priority, enabled, counts, ways, fingerprint, since, placed };
        write(&inner.running).triggers.insert(name, entry);
        self.spawn(child.strategy(inner.actor.clone()).place(place)).await
    }

    /// Names to functions and topics.
    async fn resolve(&self, definition: Arc<TriggerDefinition>, all: &Definitions) -> Result<Runner, Error> {
        let chains = chains_of(&definition, all, |f| Function {
            metrics: self.0.metrics.function(&f.name),
            workers: self.workers_of(&f),
            definition: f,
        });
        let mut outputs = Vec::with_capacity(definition.to.len());
        for name in &definition.to {
            let Some(target) = all.targets.get(name) else {
                return Err(unknown("target", name, all.targets.keys()));
            };
            let topic = topic_of_target(target);
            let handle = self.0.cast.ensure(&topic).await?;
            let durability = handle.durability;
            outputs.push(Output {
                target: name.clone(),
                topic: handle.id,
                topic_name: topic,
                when: target.when.clone(),
                redact: target.redact.clone(),
                memory: (durability == crate::definitions::TopicDurability::Memory).then(|| handle.front.clone()),
                undecided: match &target.when {
                    Some(_) => Some(self.undecided(target, made_by(&definition, all), all).await?),
                    None => None,
                },
            });
        }
        // What functions name in so many words is there before the first event; other topics are made when they are named.
        for function in chains.iter().flatten() {
            for topic in function.definition.emits_to() {
                self.0.cast.ensure(&topic).await?;
            }
        }
        Ok(Runner::new(definition, chains, outputs, Arc::new(self.0.cast.clone())))
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
                let list = if wanted.contains_key(name) { &mut applied.changed } else { &mut applied.removed };
                list.push(format!("timer {name}"));
            }
        }
        if let Err(error) = self.forget_timers(|name| wanted.contains_key(name)).await {
            tracing::warn!(%error, "where timers stood that are gone could not be forgotten");
        }
        for (name, (fingerprint, schedule, topic, data)) in wanted {
            if running.get(&name) == Some(&fingerprint) {
                applied.unchanged += 1;
                continue;
            }
            if !running.contains_key(&name) {
                applied.added.push(format!("timer {name}"));
            }
            let topic = self.0.cast.ensure(&topic).await?;
            let spec = TimerSpec {
                name: name.clone(),
                schedule,
                topic: topic.id,
                data,
                log: self.0.log.clone(),
                journal: self.0.journal.clone(),
                over_size: self.0.over_size.clone(),
                tracer: self.0.tracer.clone(),
                ticks: self.0.metrics.source_requests.with_label_values(&[&*name, "accepted"]),
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

    /// Forgets where timers stood that are gone, now or since the process ran last: one of the same name that comes later owes
    /// nothing for the time between.
    async fn forget_timers(&self, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
        let stored = self.0.log.scan(Table::State, keys::TIMERS.as_bytes(), usize::MAX)?;
        let gone = stored.into_iter().map(|(key, _)| key).filter(|key| {
            let name = key.get(keys::TIMERS.len()..).and_then(|name| std::str::from_utf8(name).ok());
            name.is_none_or(|name| !stays(name))
        });
        let ops: Ops = gone.map(|key| Op::Delete { table: Table::State, key }).collect();
        if !ops.is_empty() {
            self.commit(ops).await?;
        }
        Ok(())
    }
}

/// What a reload does to webhooks, which are no actors: they are put in place all together, behind the rest.
fn count_webhooks(old: &Definitions, new: &Definitions, applied: &mut Applied) {
    let webhooks = |all: &Definitions| -> BTreeMap<Str, u64> {
        let webhooks = all.sources.values().filter(|source| matches!(source.kind, SourceKind::Webhook { .. }));
        webhooks.map(|source| (source.name.clone(), source.fingerprint)).collect()
    };
    let (mut old, new) = (webhooks(old), webhooks(new));
    for (name, fingerprint) in new {
        match old.remove(&name) {
            Some(known) if known == fingerprint => applied.unchanged += 1,
            Some(_) => applied.changed.push(format!("source {name}")),
            None => applied.added.push(format!("source {name}")),
        }
    }
    applied.removed.extend(old.into_keys().map(|name| format!("source {name}")));
}

/// Every topic that a set of definitions needs to be there.
fn topics_of(all: &Definitions) -> BTreeSet<Str> {
    let mut topics: BTreeSet<Str> = all.topics.keys().cloned().collect();
    for target in all.targets.values() {
        topics.insert(topic_of_target(target));
        // A topic gives nothing up, but its condition may fail.
        if matches!(target.kind, TargetKind::Outside(_)) || target.when.is_some() {
            topics.insert(dead_topic_of(&forwarder::subscription_name(&target.name)));
        }
    }
    for trigger in all.triggers.values() {
        topics.insert(dead_topic_of(&trigger::subscription_name(&trigger.name)));
        if matches!(trigger.on, On::Timer(_)) {
            topics.insert(topic_of(trigger));
        }
        topics.extend(functions_of(trigger, all).iter().flat_map(|f| f.emits_to()).map(|topic| Str::from(&*topic)));
    }
    for source in all.sources.values() {
        match &source.kind {
            SourceKind::Webhook { settings, .. } => topics.extend(settings.topic.as_deref().map(Str::from)),
            SourceKind::Timer { topic, .. } => {
                topics.insert(topic.clone());
            }
            SourceKind::Pull { topic, .. } => {
                topics.insert(topic.clone());
                topics.insert(dead_topic_of(&format!("source.{}", source.name)));
            }
        }
    }
    for (topic, told) in [(OUTCOMES, all.outcomes), (EXECUTIONS, all.executions)] {
        topics.extend((told != Told::Off).then(|| topic.into()));
    }
    topics
}

/// A trigger whose runs may take longer has a thread of its own.
const LONG_RUN: Duration = Duration::from_secs(1);

/// How many deliveries a target holds at a time, and how long an attempt may take until it is settled.
fn pace(settings: &crate::target::Common, mode: crate::target::Mode) -> (usize, Duration) {
    let mut patience = settings.timeout.0.saturating_mul(4).max(Duration::from_secs(60));
    let mut credit = match mode {
        crate::target::Mode::Each { concurrency } => concurrency * 2,
        crate::target::Mode::Batch { max_records, concurrency, .. } => {
            // A batch that is refused is sent again in parts.
            patience = patience.max(settings.timeout.0.saturating_mul(8));
            max_records * (concurrency + 1)
        }
    };
    if let Some(rate) = settings.rate {
        // No more than ten seconds' worth waits for its turn.
        let each = rate.per / rate.limit.max(1);
        let batch = if let crate::target::Mode::Batch { max_records, .. } = mode { max_records } else { 1 };
        let in_ten_seconds = Duration::from_secs(10).as_nanos() / each.as_nanos().max(1);
        credit = credit.min(usize::try_from(in_ten_seconds).unwrap_or(usize::MAX).max(1).saturating_mul(batch));
    }
    (credit.max(1), patience)
}

/// What the names of outboxes begin with.
pub(super) const OUTBOX: &str = "hexafn.out.";

/// The outbox of a target.
pub fn outbox_of(target: &str) -> Str {
    format!("{OUTBOX}{target}").into()
}

/// Where what is meant for a target is appended: its topic, or its outbox.
pub fn topic_of_target(target: &TargetDefinition) -> Str {
    match &target.kind {
        TargetKind::Topic(topic) => topic.clone(),
        TargetKind::Outside(_) => outbox_of(&target.name),
    }
}

/// A hash of a target and of what its fallback sees.
fn target_fingerprint(target: &TargetDefinition, all: &Definitions) -> (u64, u64) {
    let fallback = target.settings.fallback.as_ref().and_then(|name| all.targets.get(name));
    (target.fingerprint, fallback.map_or(0, |fallback| fallback.fingerprint))
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
pub fn functions_of(trigger: &TriggerDefinition, all: &Definitions) -> Vec<Arc<FunctionDefinition>> {
    with_fallbacks(trigger.run.of.iter().cloned().collect(), all)
}

/// Each function that a trigger may run, followed by its fallbacks.
pub fn chains_of(
    trigger: &TriggerDefinition,
    all: &Definitions,
    function: impl Fn(Arc<FunctionDefinition>) -> Function,
) -> Vec<Vec<Function>> {
    let chain = |first: &Str| with_fallbacks([first.clone()].into(), all).into_iter().map(&function).collect();
    trigger.run.of.iter().map(chain).collect()
}

fn with_fallbacks(mut next: std::collections::VecDeque<Str>, all: &Definitions) -> Vec<Arc<FunctionDefinition>> {
    let mut chain: Vec<Arc<FunctionDefinition>> = Vec::new();
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
    all.outcomes.hash(&mut hasher);
    all.executions.hash(&mut hasher);
    for function in functions_of(trigger, all) {
        function.fingerprint.hash(&mut hasher);
    }
    for target in trigger.to.iter().filter_map(|name| all.targets.get(name)) {
        // The fallback gets what a condition fails on.
        target_fingerprint(target, all).hash(&mut hasher);
    }
    is_answer(&trigger.name, all).hash(&mut hasher);
    hasher.finish()
}

/// Whether a source answers with what this trigger makes.
fn is_answer(trigger: &str, all: &Definitions) -> bool {
    all.sources.values().any(|source| match &source.kind {
        SourceKind::Webhook { settings, .. } => settings.reply.as_ref().is_some_and(|r| *r.trigger == *trigger),
        SourceKind::Timer { .. } | SourceKind::Pull { .. } => false,
    })
}
