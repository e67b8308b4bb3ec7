//! The versions that triggers and their functions had, so that the dead letter of a target can say what made its event. Kept by
//! time, and looked up when a letter is written: an event carries nothing of it.

use super::{Error, System};
use crate::clock::Wall;
use crate::definitions::{Definitions, TriggerDefinition};
use crate::event::Str;
use crate::log::{Op, Table};
use crate::topic::keys;
use crate::topic::letter::Made;

use super::apply::functions_of;

/// Versions of a trigger that are kept.
const KEPT: usize = 50;

/// A trigger and the functions that it may run, with their versions: `big-push@0123456789abcdef, total@…`.
pub(super) fn made_by(trigger: &TriggerDefinition, all: &Definitions) -> Str {
    let mut text = format!("{}@{:016x}", trigger.name, trigger.fingerprint);
    for function in functions_of(trigger, all) {
        text.push_str(&format!(", {}@{:016x}", function.name, function.fingerprint));
    }
    text.into()
}

impl System {
    /// Notes that a trigger runs like this from now on; nothing is written where it ran so before.
    pub(super) async fn note_version(&self, trigger: &TriggerDefinition, all: &Definitions) -> Result<(), Error> {
        let (table, key, by) = (Table::State, keys::versions(&trigger.name), made_by(trigger, all));
        let stored = self.0.log.get(table, &key)?;
        let mut made = stored.as_deref().map(Made::read).unwrap_or_default();
        if made.last().is_some_and(|last| last.by == by) {
            return Ok(());
        }
        made.push(Made { since: Wall::now(), by });
        made.drain(..made.len().saturating_sub(KEPT));
        let value = serde_json::to_vec(&made).unwrap_or_default();
        self.commit([Op::Put { table, key, value }].into_iter().collect()).await?;
        Ok(())
    }
}
