//! Where results go that a target does not get: its fallback, and what its condition fails on.

use super::apply::topic_of_target;
use super::dead::dead_topic_of;
use super::{Error, System, unknown};
use crate::definitions::{Definitions, TargetDefinition};
use crate::event::Str;
use crate::target::forwarder;
use crate::topic::letter::Undecided;
use crate::topic::{Fallback, OUTCOMES};

impl System {
    pub(super) async fn fallback(
        &self,
        target: &TargetDefinition,
        all: &Definitions,
    ) -> Result<Option<Fallback>, Error> {
        let Some(name) = &target.settings.fallback else { return Ok(None) };
        let Some(target) = all.targets.get(name) else { return Err(unknown("target", name, all.targets.keys())) };
        let (topic, redact) = (topic_of_target(target), target.redact.clone());
        let topic = self.0.cast.ensure(&topic).await?.id;
        Ok(Some(Fallback { target: name.clone(), topic, redact }))
    }

    /// What becomes of results that a target cannot be asked about.
    pub(super) async fn undecided(
        &self,
        target: &TargetDefinition,
        made: Str,
        all: &Definitions,
    ) -> Result<Undecided, Error> {
        let subscription = forwarder::subscription_name(&target.name);
        Ok(Undecided {
            version: target.fingerprint,
            made,
            dead_letter: self.0.cast.ensure(&dead_topic_of(&subscription)).await?.id,
            fallback: self.fallback(target, all).await?,
            feedback: self.feedback(OUTCOMES, format!("/targets/{}", target.name), all.outcomes).await?,
            subscription,
        })
    }
}
