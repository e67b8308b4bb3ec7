//! Removing a topic, unless something uses it; and what targets and triggers that were removed or changed leave behind.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{functions_of, topic_of, topic_of_target};
use super::dead::{DEAD, dead_topic_of};
use super::{Error, System, read};
use crate::definitions::{Definitions, SourceKind, TargetKind, Told};
use crate::event::Str;
use crate::target::forwarder;
use crate::topic::{AGAIN, OUTCOMES, Subscriber, TopicMessage, cast};
use crate::trigger;
use crate::trigger::told::EXECUTIONS;

impl System {
    /// What waits for targets and triggers that are not there any more, or get their events from elsewhere now, and what can be
    /// done about it, by subscription.
    pub fn left(&self, definitions: &Definitions) -> BTreeMap<Str, String> {
        let kept = self.0.cast.kept_places().unwrap_or_else(|error| {
            tracing::warn!(%error, "what waits for targets and triggers that were removed cannot be told");
            Vec::new()
        });
        let mut by_subscription: BTreeMap<Str, (u64, Vec<Str>)> = BTreeMap::new();
        for place in kept.into_iter().filter(|place| place.events() > 0) {
            let (events, topics) = by_subscription.entry(place.subscription.clone()).or_default();
            *events += place.events();
            topics.push(place.topic);
        }
        let left = by_subscription.into_iter().filter_map(|(subscription, (events, topics))| {
            let others = match topics.len() {
                0 | 1 => String::new(),
                all => format!(" and {} other topics", all - 1),
            };
            let topic = topics.first()?;
            let told = if let Some(name) = subscription.strip_prefix("target.") {
                let (now, again) = match definitions.targets.get(name) {
                    None => ("is not defined any more".to_owned(), "define it again"),
                    Some(target) => {
                        (format!("is the topic `{}` now", topic_of_target(target)), "let it be of another kind again")
                    }
                };
                format!(
                    "{events} events wait in `{topic}`{others} for target `{name}`, which {now}: {again} to deliver them, or remove \
                     them with `hexafn topic rm {topic} --force`"
                )
            } else {
                let name = subscription.strip_prefix("trigger.")?;
                let (now, again) = match definitions.triggers.get(name) {
                    None => ("is not defined any more".to_owned(), "define it again"),
                    Some(trigger) => {
                        (format!("listens to `{}` now", topic_of(trigger)), "let it listen to that again, too,")
                    }
                };
                format!(
                    "{events} events of `{topic}`{others} wait for trigger `{name}`, which {now}: {again} to handle them, or give \
                     up its place there with `hexafn sub rm {subscription}`"
                )
            };
            Some((subscription, told))
        });
        left.collect()
    }

    /// Forgets the places of a subscription where nothing serves it any more; how many there were. Where it is served it stays.
    ///
    /// # Errors
    /// The log failed; a topic is being restarted.
    pub async fn give_up_places(&self, subscription: &str) -> Result<usize, Error> {
        // Nothing begins to serve them meanwhile.
        let _one_at_a_time = self.0.applying.lock().await;
        let mut given_up = 0;
        for place in self.0.cast.kept_places()?.into_iter().filter(|place| *place.subscription == *subscription) {
            let topic = self.0.cast.find(&place.topic)?;
            let message = TopicMessage::Detach { subscription: place.subscription, forget: true };
            let sent = topic.front.send(message).await;
            sent.map_err(|_| Error::Gone("a topic is being restarted; try again in a second"))?;
            given_up += 1;
        }
        if given_up > 0 {
            self.0.cast.written().await?;
        }
        Ok(given_up)
    }

    /// Removes a topic with all that is stored of it. One of the same name that comes later begins at sequence 1. What is on
    /// its way there at that moment goes with it.
    ///
    /// # Errors
    /// There is no such topic; something that is defined uses it by its name; without `force`, a durable subscription, or one
    /// that is not defined any more, has not handled all of it; the log failed. Then it is there still.
    pub async fn remove_topic(&self, name: &str, force: bool) -> Result<(), Error> {
        // In a task of its own: whoever asks may hang up in the middle.
        let (system, name) = (self.clone(), name.to_owned());
        let removed = tokio::spawn(async move { system.remove_unused(&name, force).await });
        removed.await.unwrap_or(Err(Error::Gone("the removal ended; see the log of the service")))
    }

    async fn remove_unused(&self, name: &str, force: bool) -> Result<(), Error> {
        // Nothing begins to use it meanwhile, and no letter of it is settled.
        let _one_at_a_time = self.0.applying.lock().await;
        let _unsettled = self.0.settling.lock().await;
        let topic = self.0.cast.find(name)?;
        let mut by = users_of(&read(&self.0.running).definitions, name);
        if by.is_empty() {
            let ids = |s: &Subscriber| {
                [s.dead_letter, s.fallback.as_ref().map(|f| f.topic), s.feedback.as_ref().map(|f| f.topic)]
            };
            let writing = self.0.cast.subscribers().into_iter().filter(|s| ids(s).contains(&Some(topic.id)));
            by = writing.map(|s| format!("subscription `{}`", s.name)).collect();
        }
        if !by.is_empty() {
            let by = by.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::InUse { topic: topic.name, by });
        }
        if let Some(subscription) = name.strip_prefix(DEAD).filter(|_| !force)
            && self.dead_summary()?.iter().any(|open| *open.subscription == *subscription)
        {
            let by = format!("anybody: they are open dead letters (`hexafn dlq list {subscription}`)");
            return Err(cast::Error::Needed { topic: topic.name, by }.into());
        }
        self.0.cast.remove(name, force).await?;
        tracing::info!(topic = name, force, "topic removed by hand");
        Ok(())
    }
}

/// Whether a topic holds what a subscription gave up, or gets again. A forwarder answers to the latter as it first knew it.
fn is_kept_for(subscription: &str, topic: &str) -> bool {
    *dead_topic_of(subscription) == *topic || topic.strip_prefix(AGAIN) == Some(subscription)
}

/// What uses a topic by its name.
fn users_of(all: &Definitions, topic: &str) -> BTreeSet<String> {
    let mut by = BTreeSet::new();
    if all.topics.contains_key(topic) {
        by.insert("its settings (`[[topic]]`)".to_owned());
    }
    for source in all.sources.values() {
        let uses = match &source.kind {
            SourceKind::Webhook { settings, .. } => settings.topic.as_deref() == Some(topic),
            SourceKind::Timer { topic: named, .. } => **named == *topic,
            SourceKind::Pull { topic: named, .. } => {
                **named == *topic || *dead_topic_of(&format!("source.{}", source.name)) == *topic
            }
        };
        if uses {
            by.insert(format!("source `{}`", source.name));
        }
    }
    for trigger in all.triggers.values() {
        if *topic_of(trigger) == *topic || is_kept_for(&trigger::subscription_name(&trigger.name), topic) {
            by.insert(format!("trigger `{}`", trigger.name));
        }
        for function in functions_of(trigger, all) {
            if function.emits_to().iter().any(|named| **named == *topic) {
                by.insert(format!("function `{}`", function.name));
            }
        }
    }
    for target in all.targets.values() {
        let outside = matches!(target.kind, TargetKind::Outside(_));
        let kept =
            (outside || target.when.is_some()) && is_kept_for(&forwarder::subscription_name(&target.name), topic);
        if *topic_of_target(target) == *topic || kept {
            by.insert(format!("target `{}`", target.name));
        }
    }
    for (setting, told, named) in
        [("`[targets] outcomes`", all.outcomes, OUTCOMES), ("`[functions] executions`", all.executions, EXECUTIONS)]
    {
        if told != Told::Off && named == topic {
            by.insert(setting.to_owned());
        }
    }
    by
}
