//! How something failed. All ways of failing reach the same decision.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Wall;

/// The longest wait that anybody outside can ask for (`Retry-After`); longer requests are cut to this.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(24 * 3600);

/// Longest message that is kept; a panic message can be as long as the value that it prints.
const MESSAGE_CAP: usize = 1_000;

/// The exit reasons, as for Unix processes: what ended, and who noticed.
///
/// | kind | like | noticed by |
/// |---|---|---|
/// | `Reported` | `exit(1)` | the child itself, `Lifeline::fail` |
/// | `Permanent` | `EX_CONFIG` (78): trying again cannot help | the child itself |
/// | `StartFailed` | `exec` failed | the start function returned an error |
/// | `Panicked` | `SIGABRT` | the guard in the actor, dropped while unwinding |
/// | `Deadline` | `timeout(1)`, 124 | whoever waited |
/// | `Hung` | `SIGKILL` by a watchdog | the supervisor's tick |
/// | `StoppedUnasked` | `exit(0)` of a daemon | the guard, dropped without a word |
/// | `Escalated` | a child of mine is beyond my help | the supervisor below |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The child said so.
    Reported,
    /// The child said so, and that trying again cannot help: exhausts the strategy at once.
    Permanent,
    /// It could not be started.
    StartFailed,
    /// A handler, a spawned future or the start function panicked.
    Panicked,
    /// It did not answer in time.
    Deadline,
    /// It blocked its thread for longer than the watchdog allows.
    Hung,
    /// It stopped without having been asked.
    StoppedUnasked,
    /// Something below it exhausted its own strategy.
    Escalated,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reported => "failed",
            Self::Permanent => "failed for good",
            Self::StartFailed => "could not start",
            Self::Panicked => "panicked",
            Self::Deadline => "missed its deadline",
            Self::Hung => "hung",
            Self::StoppedUnasked => "stopped unasked",
            Self::Escalated => "has a child beyond help",
        })
    }
}

/// One failure: what the decision reads and what people see.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// What was said; at most 1,000 bytes.
    pub message: Arc<str>,
    /// When, for people; decisions use the monotonic clock.
    pub at: Wall,
    /// Asked for by the other side: do not try earlier than this after now. A floor, cut to [`RETRY_AFTER_CAP`].
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Whether it uses up attempts and intensity. A victim of another's failure does not.
    pub counts: bool,
    /// The record that was being worked on ([`Lifeline::working_on`](super::Lifeline::working_on)), if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<u64>,
    /// What ran, with its versions, for dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran: Option<Arc<str>>,
}

impl Failure {
    /// A counted failure; the message is cut to 1,000 bytes.
    pub fn new(kind: FailureKind, message: impl AsRef<str>, at: Wall) -> Self {
        let message = cut(message.as_ref()).into();
        Self { kind, message, at, retry_after: None, counts: true, culprit: None, ran: None }
    }

    /// Asks for no earlier attempt than `wait` from now.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Not the fault of the one that failed: uses up no attempt and no intensity.
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.counts = false;
        self
    }

    /// Names the record that was being worked on.
    #[must_use]
    pub fn culprit(mut self, record: Option<u64>) -> Self {
        self.culprit = record;
        self
    }

    /// Says what ran, with its versions.
    #[must_use]
    pub fn ran(mut self, ran: Option<Arc<str>>) -> Self {
        self.ran = ran;
        self
    }

    /// The wait that was asked for, within its cap.
    pub fn floor(&self) -> Duration {
        self.retry_after.unwrap_or_default().min(RETRY_AFTER_CAP)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        match self.culprit {
            Some(record) => write!(f, " (while working on record {record})"),
            None => Ok(()),
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_CAP);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_at_a_character() {
        let failure = Failure::new(FailureKind::Panicked, "ä".repeat(800), Wall(0));
        assert_eq!(failure.message.len(), 1_000);
        let odd = Failure::new(FailureKind::Panicked, format!("x{}", "ä".repeat(800)), Wall(0));
        assert_eq!(odd.message.len(), 999);
    }

    #[test]
    fn an_absurd_wait_is_cut() {
        let failure = Failure::new(FailureKind::Reported, "429", Wall(0)).retry_after(Duration::MAX);
        assert_eq!(failure.floor(), RETRY_AFTER_CAP);
    }
}
