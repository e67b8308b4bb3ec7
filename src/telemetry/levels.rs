//! Which lines are written: the directives of the configuration, and those that somebody has laid over them by hand. The latter
//! outlive a reload, and end with the process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The client of NATS calls each connection that it does not get an error, and the verifier of certificates each that it does
/// not trust, beside the failure of who wanted it, which says more; a directive of the configuration shows what they say.
const QUIET: &str = "async_nats=off,rustls_platform_verifier=off";
/// Modules whose level is changed by hand at a time.
const MOST: usize = 100;
/// The longest name of a module.
const LONGEST: usize = 200;

/// A level, or an end to what was said by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LogLevel")]
pub enum Level {
    /// Nothing.
    Off,
    /// What is broken.
    Error,
    /// What fails.
    Warn,
    /// What happens seldom.
    Info,
    /// Each evaluation, run and delivery.
    Debug,
    /// What libraries do.
    Trace,
    /// What the configuration says.
    Default,
}

impl Level {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
            Self::Default => "default",
        }
    }
}

/// A change of a level.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogLevelChange")]
pub struct Change {
    /// E.g. `hexafn_actors::trigger`; what is below it is meant, too. Absent: everything that no other directive names.
    #[serde(default)]
    pub module: Option<String>,
    /// The level.
    pub level: Level,
}

/// The levels that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LogLevels")]
pub struct Levels {
    /// What the configuration says (`log.level`).
    pub configured: String,
    /// The level of everything that no directive names, when it was changed by hand.
    pub level: Option<&'static str>,
    /// The levels of modules that were changed by hand.
    pub modules: BTreeMap<String, &'static str>,
}

static LEVELS: Mutex<Option<Levels>> = Mutex::new(None);

impl Levels {
    /// Later directives for a module replace earlier ones.
    fn directives(&self) -> String {
        let mut directives = format!("{QUIET},{}", self.configured);
        if let Some(level) = self.level {
            directives.push(',');
            directives.push_str(level);
        }
        for (module, level) in &self.modules {
            directives.push_str(&format!(",{module}={level}"));
        }
        directives
    }

    fn change(&mut self, change: Change) -> Result<(), String> {
        let level = (change.level != Level::Default).then(|| change.level.name());
        let Some(module) = change.module else {
            self.level = level;
            return Ok(());
        };
        let fits = !module.is_empty()
            && module.len() <= LONGEST
            && module.split("::").all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            });
        if !fits {
            return Err(
                "a module is written like `hexafn_actors::trigger`: names joined by `::`, as log lines show them in \
                        `target`"
                    .to_owned(),
            );
        }
        match level {
            None => drop(self.modules.remove(&module)),
            Some(level) => {
                if self.modules.len() >= MOST && !self.modules.contains_key(&module) {
                    return Err(format!(
                        "the levels of {MOST} modules are changed already; set one of them to `default` first"
                    ));
                }
                self.modules.insert(module, level);
            }
        }
        Ok(())
    }
}

fn with<T>(act: impl FnOnce(&mut Levels) -> T) -> T {
    act(LEVELS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// The directives to begin with.
pub(super) fn begin(configured: &str) -> String {
    with(|levels| {
        levels.configured = configured.to_owned();
        levels.directives()
    })
}

/// Takes over `log.level`; what was changed by hand stays.
pub fn configure(configured: &str) {
    let directives = with(|levels| {
        let same = levels.configured == configured;
        levels.configured = configured.to_owned();
        (!same).then(|| levels.directives())
    });
    if let Some(directives) = directives {
        super::apply(&directives);
    }
}

/// What is in force.
pub fn now() -> Levels {
    with(|levels| levels.clone())
}

/// Changes a level by hand.
///
/// # Errors
/// Why it cannot be: for the person who asked.
pub fn change(change: Change) -> Result<Levels, String> {
    let (levels, directives) = with(|levels| {
        levels.change(change)?;
        Ok::<_, String>((levels.clone(), levels.directives()))
    })?;
    super::apply(&directives);
    Ok(levels)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn module(name: &str, level: Level) -> Change {
        Change { module: Some(name.to_owned()), level }
    }

    #[test]
    fn what_is_said_by_hand_comes_last_and_can_be_taken_back() {
        let mut levels = Levels { configured: "info,a=warn".into(), ..Levels::default() };
        levels.change(module("a", Level::Debug)).unwrap();
        levels.change(Change { module: None, level: Level::Error }).unwrap();
        assert_eq!(levels.directives(), format!("{QUIET},info,a=warn,error,a=debug"));
        levels.change(module("a", Level::Default)).unwrap();
        levels.change(Change { module: None, level: Level::Default }).unwrap();
        assert_eq!(levels.directives(), format!("{QUIET},info,a=warn"));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let mut levels = Levels::default();
        let long = "a".repeat(LONGEST + 1);
        for name in ["", "a,b", "a=debug", "a::", "[span]", "a b", "a\nb", &long] {
            let why = levels.change(module(name, Level::Debug)).unwrap_err();
            assert!(why.contains("hexafn_actors::trigger"), "{name}: {why}");
        }
        for n in 0..MOST {
            levels.change(module(&format!("m{n}"), Level::Debug)).unwrap();
        }
        assert!(levels.change(module("one_more", Level::Debug)).unwrap_err().contains("default"));
        levels.change(module("m7", Level::Warn)).unwrap();
    }
}
