//! What to do about failures: the one configuration for restarts, retries, breakers, quarantine and dead letters.
//!
//! [`RawStrategy`] is what stands in TOML; [`RawStrategy::over`] checks it and lays it over a default. The defaults
//! are constructors of [`RestartStrategy`], each with its reason.

use std::time::Duration;

use super::duration::{LONGEST, Span};

/// The policy of one child, delivery or target. Read by [`decide`](super::decide).
#[derive(Debug, Clone, PartialEq)]
pub struct RestartStrategy {
    /// How long to wait before the next attempt.
    pub backoff: Backoff,
    /// Exhausted by the `failures`-th failure within `within`.
    pub intensity: Option<Intensity>,
    /// Exhausted by this many failures in a row, however slowly they come.
    pub consecutive: Option<u32>,
    /// Exhausted by a share of failures among enough results; needs successes to be recorded.
    pub rate: Option<FailureRate>,
    /// What happens when it is exhausted.
    pub on_exhausted: OnExhausted,
    /// Exhausted for good by the `n`-th failure since the last reset.
    pub max_attempts: Option<u32>,
    /// Exhausted for good by a failure this long after the first one since the last reset.
    pub max_elapsed: Option<Duration>,
    /// After running this long without a failure all counters start anew. `None`: a start says nothing about health,
    /// as for a delivery, whose attempts must not be forgotten because one of them took long.
    pub reset_after: Option<Duration>,
}

/// The wait before the next attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Backoff {
    /// `base`, times `factor` for each further failure in a row, at most `max`; then moved by up to ±`jitter`
    /// (a fraction: 0.2 is ±20 %), so that what failed together does not come back together.
    Exponential {
        /// First wait.
        base: Duration,
        /// At least 1.
        factor: f64,
        /// Longest wait before the jitter.
        max: Duration,
        /// 0 to 1.
        jitter: f64,
    },
    /// The n-th wait is the n-th of `delays` (the last one from then on), times a random factor.
    Schedule {
        /// Not empty.
        delays: Vec<Duration>,
        /// Smallest factor.
        jitter_low: f64,
        /// Largest factor.
        jitter_high: f64,
    },
}

/// So many failures within a time exhaust the strategy: the `failures`-th one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// 1 to 1,000.
    pub failures: u32,
    /// The window that slides over them.
    pub within: Duration,
}

/// A share of failures exhausts the strategy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureRate {
    /// Share of failures among the results, above 0, at most 1.
    pub ratio: f64,
    /// Not before so many results are within the window.
    pub of_at_least: u32,
    /// The window; counted in twelve parts, so it is exact to a twelfth.
    pub within: Duration,
}

/// What an exhausted strategy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// Nothing is tried for a while, then one probe decides (a circuit breaker). Exhausted for good
    /// (`max_attempts`, `max_elapsed`, a permanent failure) it is quarantined.
    Open(Opening),
    /// It stays down until a person resets it; its siblings live on, its events wait.
    Quarantine,
    /// Its parent fails in its place.
    Escalate,
    /// It is given up; its event goes to the dead-letter topic.
    DeadLetter,
}

/// How a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// How long it is open the first time.
    pub first: Duration,
    /// Doubled each further time, up to this.
    pub max: Duration,
    /// Successes in a row, one probe at a time, that close it.
    pub probes_to_close: u32,
}

impl Opening {
    /// How long it stays open for the time number `opens` (0 the first time). Doubles, saturates at `max`.
    pub fn open_for(&self, opens: u32) -> Duration {
        let factor = 2u32.saturating_pow(opens.min(31));
        self.first.saturating_mul(factor).min(self.max)
    }
}

impl Backoff {
    /// The wait after failure number `failures` in a row (1 the first time). `random` is within 0..1; anything else
    /// is treated as the middle.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let random = if (0.0..=1.0).contains(&random) { random } else { 0.5 };
        let n = failures.max(1) - 1;
        match self {
            Self::Exponential { base, factor, max, jitter } => {
                let power = factor.powi(i32::try_from(n).unwrap_or(i32::MAX));
                let plain = (base.as_secs_f64() * power).min(max.as_secs_f64());
                seconds(plain * (1.0 + jitter * (2.0 * random - 1.0)))
            }
            Self::Schedule { delays, jitter_low, jitter_high } => {
                let last = delays.len().saturating_sub(1);
                let plain = delays.get((n as usize).min(last)).copied().unwrap_or_default();
                seconds(plain.as_secs_f64() * (jitter_low + random * (jitter_high - jitter_low)))
            }
        }
    }
}

/// A duration of so many seconds; not a number and negative are zero, too many are the longest.
fn seconds(s: f64) -> Duration {
    if s.is_nan() || s <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(s).unwrap_or(LONGEST)
}

impl RestartStrategy {
    /// An actor: 5 failures in 60 s; 100 ms doubling to 30 s, ±20 %; anew after 60 s; then quarantine. Soon enough that a
    /// fresh actor serves within 250 ms, rare enough that a crash loop costs nothing.
    pub fn actor() -> Self {
        Self {
            backoff: Backoff::Exponential {
                base: Duration::from_millis(100),
                factor: 2.0,
                max: Duration::from_secs(30),
                jitter: 0.2,
            },
            intensity: Some(Intensity { failures: 5, within: Duration::from_secs(60) }),
            consecutive: None,
            rate: None,
            on_exhausted: OnExhausted::Quarantine,
            max_attempts: None,
            max_elapsed: None,
            reset_after: Some(Duration::from_secs(60)),
        }
    }

    /// A group of children: 3 escalations in 300 s, then its own parent.
    pub fn parent() -> Self {
        Self {
            intensity: Some(Intensity { failures: 3, within: Duration::from_secs(300) }),
            on_exhausted: OnExhausted::Escalate,
            reset_after: Some(Duration::from_secs(300)),
            ..Self::actor()
        }
    }

    /// The root: whatever reaches it ends the process (drain, exit 70), since a fresh process is the one thing left.
    pub fn root() -> Self {
        Self { intensity: Some(Intensity { failures: 1, within: Duration::from_secs(300) }), ..Self::parent() }
    }

    /// A delivery: 13 attempts over 75.7 h, each wait times 0.5 to 1.5, then dead letter. Long enough for a weekend.
    pub fn delivery() -> Self {
        const DELAYS: [u64; 12] = [1, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        Self {
            backoff: Backoff::Schedule {
                delays: DELAYS.into_iter().map(Duration::from_secs).collect(),
                jitter_low: 0.5,
                jitter_high: 1.5,
            },
            intensity: None,
            on_exhausted: OnExhausted::DeadLetter,
            max_attempts: Some(13),
            reset_after: None,
            ..Self::actor()
        }
    }

    /// The breaker of a target: 5 failures in a row, or half of at least 20 within 60 s; open 30 s doubling to 10 min;
    /// one probe at a time, 3 successes close; 5 days of failure disable the target, with its events kept.
    pub fn breaker() -> Self {
        Self {
            intensity: None,
            consecutive: Some(5),
            rate: Some(FailureRate { ratio: 0.5, of_at_least: 20, within: Duration::from_secs(60) }),
            on_exhausted: OnExhausted::Open(Opening {
                first: Duration::from_secs(30),
                max: Duration::from_secs(600),
                probes_to_close: 3,
            }),
            max_elapsed: Some(Duration::from_secs(5 * 24 * 3600)),
            reset_after: None,
            ..Self::actor()
        }
    }
}

/// When to try again, how long to wait, and when to give up. What is absent keeps its default.
///
/// ```toml
/// restart = { backoff = { base = "100ms", factor = 2, max = "30s", jitter = 0.2 },
///             intensity = { failures = 5, within = "60s" }, on_exhausted = "quarantine" }
/// retry = { backoff = { delays = ["1s", "5s", "30s"], jitter_low = 0.5, jitter_high = 1.5 }, max_attempts = 4 }
/// breaker = { consecutive = 5, on_exhausted = { open = { first = "30s", max = "10m", probes_to_close = 3 } } }
/// ```
#[derive(Debug, Clone, PartialEq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStrategy {
    /// How long to wait before the next attempt.
    pub backoff: Option<RawBackoff>,
    /// Exhausted by the last of so many failures within a time.
    pub intensity: Option<RawIntensity>,
    /// Exhausted by this many failures in a row, however slowly they come.
    pub consecutive: Option<u32>,
    /// Exhausted by a share of failures among enough results.
    pub rate: Option<RawRate>,
    /// What happens when it is exhausted.
    pub on_exhausted: Option<RawOnExhausted>,
    /// Exhausted for good by this many failures.
    pub max_attempts: Option<u32>,
    /// Exhausted for good by a failure this long after the first one.
    pub max_elapsed: Option<Span>,
    /// After running this long without a failure all is forgotten.
    pub reset_after: Option<Span>,
}

/// Either `base`, `factor`, `max`, `jitter`, or `delays`, `jitter_low`, `jitter_high`.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBackoff {
    /// The first wait.
    pub base: Option<Span>,
    /// Each further wait is so many times the one before: 1 to 100.
    pub factor: Option<f64>,
    /// The longest wait, before the jitter.
    pub max: Option<Span>,
    /// Waits are moved by up to this fraction, so that what failed together does not come back together: 0.2 is ±20 %.
    pub jitter: Option<f64>,
    /// The waits one after the other; the last one from then on.
    pub delays: Option<Vec<Span>>,
    /// The smallest random factor of a delay.
    pub jitter_low: Option<f64>,
    /// The largest random factor of a delay, up to 10.
    pub jitter_high: Option<f64>,
}

/// So many failures within a time exhaust the strategy: the last of them does.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawIntensity {
    /// 1 to 1,000.
    pub failures: u32,
    /// The window that slides over them.
    pub within: Span,
}

/// A share of failures exhausts the strategy.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRate {
    /// The share of failures among the results, above 0, at most 1.
    pub ratio: f64,
    /// Not before so many results are within the window.
    pub of_at_least: u32,
    /// The window.
    pub within: Span,
}

/// What an exhausted strategy does.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawOnExhausted {
    /// Nothing is tried for a while, then one probe decides (a circuit breaker).
    Open(RawOpening),
    /// It stays down until a person resets it; its siblings live on, its events wait.
    Quarantine,
    /// Its parent fails in its place.
    Escalate,
    /// It is given up; its event goes to the dead-letter topic.
    DeadLetter,
}

/// How a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOpening {
    /// How long it is open the first time.
    pub first: Span,
    /// Doubled each further time, up to this.
    pub max: Span,
    /// Successes in a row, one probe at a time, that close it.
    pub probes_to_close: u32,
}

/// A strategy that was written and cannot be meant. `field` is the path inside the strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {advice}")]
pub struct Error {
    /// E.g. `backoff.factor`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub advice: &'static str,
}

fn check(ok: bool, field: &'static str, found: impl std::fmt::Display, advice: &'static str) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error { field, problem: format!("{found} is not possible"), advice }) }
}

impl RawStrategy {
    /// Lays what is written over `base` and checks the whole.
    ///
    /// # Errors
    /// The first field that cannot be meant, with what to write instead.
    pub fn over(&self, base: RestartStrategy) -> Result<RestartStrategy, Error> {
        let mut out = base;
        if let Some(raw) = &self.backoff {
            out.backoff = raw.over(out.backoff)?;
        }
        if let Some(raw) = self.intensity {
            check((1..=1_000).contains(&raw.failures), "intensity.failures", raw.failures, "write 1 to 1000")?;
            check(!raw.within.0.is_zero(), "intensity.within", raw.within, "write e.g. \"60s\"")?;
            out.intensity = Some(Intensity { failures: raw.failures, within: raw.within.0 });
        }
        if let Some(n) = self.consecutive {
            check(n >= 1, "consecutive", n, "write at least 1")?;
            out.consecutive = Some(n);
        }
        if let Some(raw) = self.rate {
            check(raw.ratio > 0.0 && raw.ratio <= 1.0, "rate.ratio", raw.ratio, "write a share such as 0.5")?;
            check(raw.of_at_least >= 1, "rate.of_at_least", raw.of_at_least, "write at least 1")?;
            check(!raw.within.0.is_zero(), "rate.within", raw.within, "write e.g. \"60s\"")?;
            out.rate = Some(FailureRate { ratio: raw.ratio, of_at_least: raw.of_at_least, within: raw.within.0 });
        }
        if let Some(raw) = self.on_exhausted {
            out.on_exhausted = raw.checked()?;
        }
        if let Some(n) = self.max_attempts {
            check(n >= 1, "max_attempts", n, "write at least 1")?;
            out.max_attempts = Some(n);
        }
        if let Some(span) = self.max_elapsed {
            check(!span.0.is_zero(), "max_elapsed", span, "write e.g. \"3d\"")?;
            out.max_elapsed = Some(span.0);
        }
        if let Some(span) = self.reset_after {
            check(!span.0.is_zero(), "reset_after", span, "write e.g. \"60s\"")?;
            out.reset_after = Some(span.0);
        }
        Ok(out)
    }
}

impl RawBackoff {
    /// Lays what is written over `base` and checks the whole.
    ///
    /// # Errors
    /// The first field that cannot be meant, with what to write instead.
    pub fn over(&self, base: Backoff) -> Result<Backoff, Error> {
        let scheduled = self.delays.is_some() || self.jitter_low.is_some() || self.jitter_high.is_some();
        let exponential = self.base.is_some() || self.factor.is_some() || self.max.is_some() || self.jitter.is_some();
        let mixed = scheduled && exponential;
        check(
            !mixed,
            "backoff",
            "`delays` together with `base`, `factor`, `max` or `jitter`",
            "write one of the two forms",
        )?;
        if scheduled {
            let (old, old_low, old_high) = match base {
                Backoff::Schedule { delays, jitter_low, jitter_high } => (delays, jitter_low, jitter_high),
                Backoff::Exponential { .. } => (Vec::new(), 0.5, 1.5),
            };
            let delays = self.delays.as_ref().map_or(old, |spans| spans.iter().map(|s| s.0).collect());
            let low = self.jitter_low.unwrap_or(old_low);
            let high = self.jitter_high.unwrap_or(old_high);
            check(
                (1..=100).contains(&delays.len()),
                "backoff.delays",
                delays.len(),
                "write 1 to 100 delays, or `max_attempts = 1` for a single attempt",
            )?;
            let waits = !delays.iter().any(Duration::is_zero);
            check(waits, "backoff.delays", "0s", "a restart loop without a wait burns a core: write e.g. \"100ms\"")?;
            check((0.0..=10.0).contains(&low), "backoff.jitter_low", low, "write a factor such as 0.5")?;
            check(high >= low && high <= 10.0, "backoff.jitter_high", high, "write a factor from jitter_low to 10")?;
            return Ok(Backoff::Schedule { delays, jitter_low: low, jitter_high: high });
        }
        let second = Duration::from_secs(1);
        let (old_base, old_factor, old_max, old_jitter) = match base {
            Backoff::Exponential { base, factor, max, jitter } => (base, factor, max, jitter),
            Backoff::Schedule { .. } => (second, 2.0, 30 * second, 0.2),
        };
        let base = self.base.map_or(old_base, |s| s.0);
        let factor = self.factor.unwrap_or(old_factor);
        let max = self.max.map_or(old_max, |s| s.0);
        let jitter = self.jitter.unwrap_or(old_jitter);
        check(
            !base.is_zero(),
            "backoff.base",
            Span(base),
            "a restart loop without a wait burns a core: write e.g. \"100ms\"",
        )?;
        check((1.0..=100.0).contains(&factor), "backoff.factor", factor, "write 1 to 100")?;
        check(max >= base, "backoff.max", Span(max), "write at least `base`")?;
        check((0.0..1.0).contains(&jitter), "backoff.jitter", jitter, "write a fraction such as 0.2 (±20 %)")?;
        Ok(Backoff::Exponential { base, factor, max, jitter })
    }
}

impl RawOnExhausted {
    fn checked(self) -> Result<OnExhausted, Error> {
        Ok(match self {
            Self::Quarantine => OnExhausted::Quarantine,
            Self::Escalate => OnExhausted::Escalate,
            Self::DeadLetter => OnExhausted::DeadLetter,
            Self::Open(RawOpening { first, max, probes_to_close }) => {
                check(!first.0.is_zero(), "on_exhausted.open.first", first, "write e.g. \"30s\"")?;
                check(max >= first, "on_exhausted.open.max", max, "write at least `first`")?;
                check(probes_to_close >= 1, "on_exhausted.open.probes_to_close", probes_to_close, "write at least 1")?;
                OnExhausted::Open(Opening { first: first.0, max: max.0, probes_to_close })
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> RawStrategy {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_delivery_schedule_spans_75_7_hours() {
        let delivery = RestartStrategy::delivery();
        let total: Duration = (1..=12).map(|n| delivery.backoff.delay(n, 0.5)).sum();
        assert_eq!(
            total.as_secs(),
            1 + 5 + 30 + 120 + 600 + 1_800 + 7_200 + 18_000 + 36_000 + 50_400 + 72_000 + 86_400
        );
        assert_eq!((total.as_secs_f64() / 360.0).round() / 10.0, 75.7);
        assert_eq!(delivery.max_attempts, Some(13));
    }

    #[test]
    fn an_actor_is_back_within_a_quarter_of_a_second() {
        assert!(RestartStrategy::actor().backoff.delay(1, 1.0) <= Duration::from_millis(120));
    }

    #[test]
    fn what_is_written_is_laid_over_the_default() {
        let raw = read(
            r#"{"backoff": {"max": "5m"}, "intensity": {"failures": 2, "within": "1m30s"}, "on_exhausted": "escalate"}"#,
        );
        let strategy = raw.over(RestartStrategy::actor()).unwrap();
        let Backoff::Exponential { base, max, .. } = strategy.backoff else { unreachable!() };
        assert_eq!((base, max), (Duration::from_millis(100), Duration::from_secs(300)));
        assert_eq!(strategy.intensity, Some(Intensity { failures: 2, within: Duration::from_secs(90) }));
        assert_eq!(strategy.on_exhausted, OnExhausted::Escalate);
        let raw = read(
            r#"{"backoff": {"delays": ["1s", "5s"]}, "on_exhausted": {"open": {"first": "30s", "max": "10m", "probes_to_close": 3}}}"#,
        );
        let strategy = raw.over(RestartStrategy::actor()).unwrap();
        assert!(matches!(strategy.backoff, Backoff::Schedule { ref delays, .. } if delays.len() == 2));
        assert!(matches!(strategy.on_exhausted, OnExhausted::Open(o) if o.max == Duration::from_secs(600)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (json, says) in [
            (r#"{"backoff": {"base": "0s"}}"#, "backoff.base: 0s is not possible; a restart loop without a wait"),
            (r#"{"backoff": {"base": "1s", "delays": ["1s"]}}"#, "write one of the two forms"),
            (r#"{"backoff": {"delays": []}}"#, "write 1 to 100 delays"),
            (
                r#"{"backoff": {"delays": ["1s", "0s"]}}"#,
                "backoff.delays: 0s is not possible; a restart loop without a wait",
            ),
            (r#"{"backoff": {"factor": 0.5}}"#, "backoff.factor: 0.5"),
            (r#"{"backoff": {"jitter": 1.0}}"#, "backoff.jitter"),
            (r#"{"backoff": {"max": "1ms"}}"#, "backoff.max"),
            (r#"{"intensity": {"failures": 0, "within": "1s"}}"#, "intensity.failures"),
            (r#"{"rate": {"ratio": 0.0, "of_at_least": 1, "within": "1s"}}"#, "rate.ratio"),
            (r#"{"max_attempts": 0}"#, "max_attempts"),
        ] {
            let error = read(json).over(RestartStrategy::actor()).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
        assert!(serde_json::from_str::<RawStrategy>(r#"{"backof": {}}"#).is_err());
        assert!(serde_json::from_str::<RawStrategy>(r#"{"on_exhausted": "die"}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(n in any::<u32>(), random in any::<f64>()) {
            let actor = RestartStrategy::actor().backoff.delay(n, random);
            prop_assert!(actor >= Duration::from_millis(80) && actor <= Duration::from_secs(36));
            let delivery = RestartStrategy::delivery().backoff.delay(n, random);
            prop_assert!(delivery >= Duration::from_millis(500) && delivery <= Duration::from_secs(129_600));
        }

        #[test]
        fn open_times_double_up_to_the_longest(opens in any::<u32>()) {
            let opening = Opening { first: Duration::from_secs(30), max: Duration::from_secs(600), probes_to_close: 3 };
            let now = opening.open_for(opens);
            let next = opening.open_for(opens.saturating_add(1));
            prop_assert!(now >= opening.first && now <= opening.max && next >= now);
        }
    }
}
