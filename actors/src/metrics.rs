//! The metrics, in one place: every family with its labels. Components keep a handle to their own series, so that
//! counting is one atomic addition; labels are names from the configuration, and topic names beyond
//! [`MAX_TOPIC_SERIES`] share the series `other`, so cardinality is bounded. A gauge of `other` is the sum of its topics.

use prometheus::core::{Collector, Metric};
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::Str;

mod gone;

/// Topics with a series of their own.
pub const MAX_TOPIC_SERIES: usize = 500;

/// Seconds, from 10 us to 10 s.
const SECONDS: [f64; 14] =
    [0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// All families and their registry.
pub struct Metrics {
    registry: Registry,
    /// Requests to webhook sources, records of sources that fetch and ticks of timers, by outcome (`accepted`, `duplicate`,
    /// `unauthorized`, `invalid`, `limited`, `overloaded`, `dead-lettered`, …).
    pub source_requests: IntCounterVec,
    /// Seconds from the whole body to the answer of an accepted request.
    pub source_seconds: HistogramVec,
    /// Records that a source that fetches has not fetched yet; -1 where nobody knows.
    pub source_lag: IntGaugeVec,
    /// Connections to a broker that a source lost, or could not make.
    pub source_failures: IntCounterVec,
    /// Records appended per topic.
    pub topic_records: IntCounterVec,
    /// Evaluations per trigger by outcome (`fired`, `skipped`, `dropped`, `failed`).
    pub trigger_evaluations: IntCounterVec,
    /// Runs per function by outcome (`ok`, `failed`, `timeout`).
    pub function_runs: IntCounterVec,
    /// Runs that failed per function by the code of the error.
    pub function_errors: IntCounterVec,
    /// Processor time per function that runs on workers, in seconds.
    pub function_cpu: CounterVec,
    /// Calls to the host per function that runs on workers.
    pub function_host_calls: IntCounterVec,
    /// Log lines per function that were left out.
    pub function_log_lines_dropped: IntCounterVec,
    /// Instructions per function in WebAssembly.
    pub function_fuel: IntCounterVec,
    /// The most memory that one run of a function used, in bytes.
    pub function_memory: IntGaugeVec,
    /// Seconds per run of a function.
    pub function_seconds: HistogramVec,
    /// Delivery attempts per target by outcome (`delivered`, `failed`, `dead-lettered`), each under one.
    pub target_attempts: IntCounterVec,
    /// Seconds per delivery attempt.
    pub target_seconds: HistogramVec,
    /// The breaker of a target: 0 closed, 1 open, 2 half-open, 3 disabled.
    pub target_breaker: IntGaugeVec,
    /// Records between the newest and the ack floor of a subscription.
    pub subscription_lag: IntGaugeVec,
    /// Deliveries with the subscriber.
    pub subscription_in_flight: IntGaugeVec,
    /// Deliveries that wait for another attempt.
    pub subscription_waiting: IntGaugeVec,
    /// Dead letters written per subscription.
    pub dead_letters: IntCounterVec,
    /// Events given up for their age, per subscription.
    pub expired: IntCounterVec,
    /// Events given up that went to the fallback, per subscription.
    pub fell_back: IntCounterVec,
    /// Letters that retention removed before anybody settled them, per subscription.
    pub dead_letters_removed: IntCounterVec,
    /// Bytes that the bodies of open requests hold.
    pub request_bodies: IntGauge,
    /// Live viewers over WebSocket.
    pub viewers: IntGauge,
    /// Viewers closed because they were too slow.
    pub viewers_slow: IntCounter,
    /// Steps of traces that were dropped because the recorder was busy.
    pub trace_steps_dropped: IntCounter,
    /// Spans by what became of them: `exported`, `dropped`.
    pub spans: IntCounterVec,
    topics: Mutex<TopicSeries>,
}

/// Which topics have series of their own, and what the others say together.
#[derive(Default)]
struct TopicSeries {
    /// Each topic, and whether it has its own.
    own: HashMap<Str, bool>,
    /// How many have.
    named: usize,
    /// What each subscription last said of each topic that has none: lag, in flight, waiting.
    others: HashMap<(Str, Str), [i64; 3]>,
}

/// The label of all topics beyond the bound.
const OTHER: &str = "other";

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, c: prometheus::Result<C>) -> C {
    // Names and labels are constants of this file and a test makes the whole set, so neither step can fail at run time.
    #[expect(clippy::expect_used, reason = "constant names, proven by a test")]
    let c = c.expect("a valid metric");
    #[expect(clippy::expect_used, reason = "constant names, proven by a test")]
    registry.register(Box::new(c.clone())).expect("a metric registered once");
    c
}

impl Metrics {
    /// A fresh set.
    pub fn new() -> Self {
        let r = Registry::new();
        let float_counter = |n: &str, h: &str, l: &[&str]| register(&r, CounterVec::new(Opts::new(n, h), l));
        let counter = |n: &str, h: &str, l: &[&str]| register(&r, IntCounterVec::new(Opts::new(n, h), l));
        let gauge = |n: &str, h: &str, l: &[&str]| register(&r, IntGaugeVec::new(Opts::new(n, h), l));
        let seconds = |n: &str, h: &str, l: &[&str]| {
            register(&r, HistogramVec::new(HistogramOpts::new(n, h).buckets(SECONDS.to_vec()), l))
        };
        Self {
            source_requests: counter(
                "hexafn_source_requests_total",
                "Requests to webhook sources, records of sources that fetch and ticks of timers, by outcome.",
                &["source", "outcome"],
            ),
            source_seconds: seconds(
                "hexafn_source_accept_seconds",
                "Seconds from the whole body to the answer of an accepted request.",
                &["source"],
            ),
            source_lag: gauge(
                "hexafn_source_lag_records",
                "Records upstream that are not fetched yet; -1 where that is not known.",
                &["source"],
            ),
            source_failures: counter(
                "hexafn_source_failures_total",
                "Connections to a broker that were lost or not made.",
                &["source"],
            ),
            topic_records: counter("hexafn_topic_records_total", "Records appended.", &["topic"]),
            trigger_evaluations: counter(
                "hexafn_trigger_evaluations_total",
                "Evaluations of triggers by outcome.",
                &["trigger", "outcome"],
            ),
            function_runs: counter(
                "hexafn_function_runs_total",
                "Runs of functions by outcome.",
                &["function", "outcome"],
            ),
            function_errors: counter(
                "hexafn_function_errors_total",
                "Runs of functions that failed, by the code of the error.",
                &["function", "code"],
            ),
            function_cpu: float_counter(
                "hexafn_function_cpu_seconds_total",
                "Processor time of functions on workers.",
                &["function"],
            ),
            function_host_calls: counter(
                "hexafn_function_host_calls_total",
                "Calls of functions on workers to the host.",
                &["function"],
            ),
            function_log_lines_dropped: counter(
                "hexafn_function_log_lines_dropped_total",
                "Log lines of functions that were left out, since there were more than `log_rate` allows.",
                &["function"],
            ),
            function_fuel: counter(
                "hexafn_function_fuel_total",
                "Instructions of functions in WebAssembly; loops and calls of those in JavaScript and Lua.",
                &["function"],
            ),
            function_memory: gauge(
                "hexafn_function_peak_memory_bytes",
                "The most memory that one run of a function on workers used since the start.",
                &["function"],
            ),
            function_seconds: seconds("hexafn_function_run_seconds", "Seconds per run of a function.", &["function"]),
            target_attempts: counter(
                "hexafn_target_attempts_total",
                "Delivery attempts by outcome.",
                &["target", "outcome"],
            ),
            target_seconds: seconds("hexafn_target_attempt_seconds", "Seconds per delivery attempt.", &["target"]),
            target_breaker: gauge(
                "hexafn_target_breaker_state",
                "Circuit breaker: 0 closed, 1 open, 2 half-open; 3 disabled: it waits for a person.",
                &["target"],
            ),
            subscription_lag: gauge(
                "hexafn_subscription_lag_records",
                "Records between the newest and the ack floor.",
                &["subscription", "topic"],
            ),
            subscription_in_flight: gauge(
                "hexafn_subscription_in_flight_records",
                "Deliveries with the subscriber.",
                &["subscription", "topic"],
            ),
            subscription_waiting: gauge(
                "hexafn_subscription_waiting_records",
                "Deliveries that wait for another attempt.",
                &["subscription", "topic"],
            ),
            dead_letters: counter("hexafn_dead_letters_total", "Dead letters written.", &["subscription"]),
            expired: counter(
                "hexafn_subscription_expired_total",
                "Events given up for their age: dead letters, or at the fallback.",
                &["subscription"],
            ),
            fell_back: counter(
                "hexafn_subscription_fell_back_total",
                "Events given up that went to the fallback, and so are no dead letters.",
                &["subscription"],
            ),
            dead_letters_removed: counter(
                "hexafn_dead_letters_removed_total",
                "Dead letters that retention removed before anybody settled them.",
                &["subscription"],
            ),
            request_bodies: register(
                &r,
                IntGauge::new("hexafn_request_body_bytes", "Bytes that the bodies of open requests hold."),
            ),
            viewers: register(&r, IntGauge::new("hexafn_viewers", "Live viewers over WebSocket.")),
            viewers_slow: register(
                &r,
                IntCounter::new("hexafn_viewers_closed_slow_total", "Viewers closed because they were too slow."),
            ),
            trace_steps_dropped: register(
                &r,
                IntCounter::new("hexafn_trace_steps_dropped_total", "Trace steps dropped, the recorder being busy."),
            ),
            spans: counter("hexafn_spans_total", "Spans of traces by what became of them.", &["outcome"]),
            topics: Mutex::default(),
            registry: r,
        }
    }

    fn topics(&self) -> MutexGuard<'_, TopicSeries> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The label of a topic's series: its name, or `other` beyond the bound. It stays until the topic is
    /// [forgotten](Self::forget_topic).
    pub fn topic_label<'a>(&self, topic: &'a str) -> &'a str {
        if self.topics().is_own(topic) { topic } else { OTHER }
    }

    /// Says how a subscription stands on a topic: its lag, what is in flight, what waits for another attempt.
    pub fn subscription(&self, subscription: &Str, topic: &Str, now: [i64; 3]) {
        let gauges = [&self.subscription_lag, &self.subscription_in_flight, &self.subscription_waiting];
        let mut topics = self.topics();
        if topics.is_own(topic) {
            for (gauge, now) in gauges.iter().zip(now) {
                gauge.with_label_values(&[&**subscription, &**topic]).set(now);
            }
            return;
        }
        let before = topics.others.insert((subscription.clone(), topic.clone()), now).unwrap_or_default();
        for (gauge, change) in gauges.iter().zip(now.iter().zip(before).map(|(now, before)| now - before)) {
            gauge.with_label_values(&[&**subscription, OTHER]).add(change);
        }
    }

    /// A subscription is not served on a topic any more.
    pub fn forget_subscription(&self, subscription: &Str, topic: &Str) {
        let gauges = [&self.subscription_lag, &self.subscription_in_flight, &self.subscription_waiting];
        let mut topics = self.topics();
        let Some(said) = topics.others.remove(&(subscription.clone(), topic.clone())) else {
            for gauge in gauges {
                // It has none when it left before it was first looked at.
                gauge.remove_label_values(&[&**subscription, &**topic]).ok();
            }
            return;
        };
        let last = !topics.others.keys().any(|(name, _)| name == subscription);
        for (gauge, said) in gauges.iter().zip(said) {
            gauge.with_label_values(&[&**subscription, OTHER]).sub(said);
            if last {
                gauge.remove_label_values(&[&**subscription, OTHER]).ok();
            }
        }
    }

    /// A topic is gone; these subscriptions were served on it.
    pub fn forget_topic(&self, topic: &Str, served: &[Str]) {
        for subscription in served {
            self.forget_subscription(subscription, topic);
        }
        let mut topics = self.topics();
        if topics.own.remove(topic) == Some(true) {
            topics.named -= 1;
            // It has none when nothing was appended.
            self.topic_records.remove_label_values(&[&**topic]).ok();
        }
    }

    /// Adds a further collector (the journal's, the process's).
    pub fn add(&self, collector: Box<dyn prometheus::core::Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// The exposition text (Prometheus text format 0.0.4).
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl TopicSeries {
    fn is_own(&mut self, topic: &str) -> bool {
        if let Some(own) = self.own.get(topic) {
            return *own;
        }
        let own = self.named < MAX_TOPIC_SERIES;
        self.named += usize::from(own);
        self.own.insert(topic.into(), own);
        own
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The series of one trigger.
#[derive(Clone)]
pub struct TriggerMetrics {
    /// The condition held and the result went out.
    pub fired: IntCounter,
    /// The condition did not hold.
    pub skipped: IntCounter,
    /// The function dropped the event.
    pub dropped: IntCounter,
    /// The condition or the whole function chain failed.
    pub failed: IntCounter,
}

impl Metrics {
    /// The series of one trigger.
    pub fn trigger(&self, name: &str) -> TriggerMetrics {
        let of = |outcome| self.trigger_evaluations.with_label_values(&[name, outcome]);
        TriggerMetrics { fired: of("fired"), skipped: of("skipped"), dropped: of("dropped"), failed: of("failed") }
    }

    /// The series of one function.
    pub fn function(&self, name: &str) -> FunctionMetrics {
        let of = |outcome| self.function_runs.with_label_values(&[name, outcome]);
        FunctionMetrics {
            ok: of("ok"),
            failed: of("failed"),
            timeout: of("timeout"),
            errors: self.function_errors.clone(),
            cpu: self.function_cpu.with_label_values(&[name]),
            host_calls: self.function_host_calls.with_label_values(&[name]),
            log_lines_dropped: self.function_log_lines_dropped.clone(),
            fuel: self.function_fuel.clone(),
            memory: self.function_memory.clone(),
            seconds: self.function_seconds.with_label_values(&[name]),
        }
    }

    /// The failures of one function, by their code.
    pub fn errors_of(&self, name: &str) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for family in self.function_errors.collect() {
            for metric in family.get_metric() {
                let label = |key| metric.get_label().iter().find(|l| l.name() == key).map(|l| l.value());
                if label("function") == Some(name)
                    && let Some(code) = label("code")
                {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a counter of integers"
                    )]
                    found.insert(code.to_owned(), metric.get_counter().get_value() as u64);
                }
            }
        }
        found
    }

    /// The series of one source that fetches.
    pub fn pull(&self, name: &str) -> PullMetrics {
        let of = |outcome| self.source_requests.with_label_values(&[name, outcome]);
        PullMetrics {
            accepted: of("accepted"),
            duplicate: of("duplicate"),
            dead: of("dead-lettered"),
            lag: self.source_lag.with_label_values(&[name]),
            failures: self.source_failures.with_label_values(&[name]),
        }
    }

    /// The series of one target.
    pub fn target(&self, name: &str) -> TargetMetrics {
        let of = |outcome| self.target_attempts.with_label_values(&[name, outcome]);
        TargetMetrics {
            delivered: of("delivered"),
            failed: of("failed"),
            dead: of("dead-lettered"),
            seconds: self.target_seconds.with_label_values(&[name]),
            breaker: self.target_breaker.with_label_values(&[name]),
        }
    }
}

/// The series of one function.
#[derive(Clone)]
pub struct FunctionMetrics {
    /// Ended with a value.
    pub ok: IntCounter,
    /// Ended with an error.
    pub failed: IntCounter,
    /// Ran out of time or steps.
    pub timeout: IntCounter,
    /// Failures by their code; of all functions.
    pub errors: IntCounterVec,
    /// Processor time on workers, in seconds.
    pub cpu: Counter,
    /// Calls to the host.
    pub host_calls: IntCounter,
    /// Log lines that were left out; of all functions, since most have none.
    pub log_lines_dropped: IntCounterVec,
    /// Instructions; of all functions, since not every language has them.
    pub fuel: IntCounterVec,
    /// The most memory of one run, in bytes; of all functions.
    pub memory: IntGaugeVec,
    /// Seconds per run.
    pub seconds: Histogram,
}

/// How long things took: a histogram as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// All together, in seconds.
    pub sum: f64,
    /// Bounds in seconds, rising, each with the number of those that took no longer.
    pub buckets: Vec<(f64, u64)>,
}

impl From<&Histogram> for Times {
    fn from(histogram: &Histogram) -> Self {
        let proto = histogram.metric();
        let seen = proto.get_histogram();
        let buckets = seen.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        Self { count: seen.get_sample_count(), sum: seen.get_sample_sum(), buckets }
    }
}

impl Times {
    /// The time in seconds that this part of them, from 0 to 1, took at most; `None` when there is none. Within a bucket
    /// they are taken to lie evenly, as Prometheus' `histogram_quantile` does, and what is beyond the last bound is said
    /// to be at the last bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of one process stay far below 2^52")]
        let (of, rank) = (|count: u64| count as f64, part * self.count as f64);
        let (mut low, mut below) = (0.0, 0);
        for (high, count) in &self.buckets {
            if of(*count) >= rank && *count > below {
                return Some(low + (high - low) * (rank - of(below)).max(0.0) / of(count - below));
            }
            (low, below) = (*high, *count);
        }
        Some(low)
    }

    /// Those that came after an earlier look at the same histogram. Of one that was begun anew since then, all.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        if self.count < earlier.count {
            return self;
        }
        self.count -= earlier.count;
        self.sum -= earlier.sum;
        for ((_, count), (_, then)) in self.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.saturating_sub(*then);
        }
        self
    }
}

/// The series of one source that fetches.
#[derive(Clone)]
pub struct PullMetrics {
    /// Records stored.
    pub accepted: IntCounter,
    /// Records that had been stored before.
    pub duplicate: IntCounter,
    /// Records that cannot be read.
    pub dead: IntCounter,
    /// Records not fetched yet.
    pub lag: IntGauge,
    /// Connections lost or not made.
    pub failures: IntCounter,
}

/// The series of one target.
#[derive(Clone)]
pub struct TargetMetrics {
    /// Attempts that the target accepted.
    pub delivered: IntCounter,
    /// Attempts that failed, and are made again while there are any left.
    pub failed: IntCounter,
    /// Attempts after which the delivery is given up at once.
    pub dead: IntCounter,
    /// Seconds per attempt.
    pub seconds: Histogram,
    /// The breaker's state.
    pub breaker: IntGauge,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_whole_set_registers_and_renders() {
        let metrics = Metrics::new();
        metrics.trigger("big-push").fired.inc();
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"hexafn_trigger_evaluations_total{outcome="fired",trigger="big-push"} 1"#), "{text}");
    }

    #[test]
    fn times_between_two_looks() {
        let metrics = Metrics::new();
        let seconds = metrics.function("f").seconds;
        assert_eq!(Times::from(&seconds).quantile(0.5), None);
        (0..100).for_each(|_| seconds.observe(0.0002));
        let before = Times::from(&seconds);
        let half = before.quantile(0.5).unwrap();
        assert!((0.0001..=0.0005).contains(&half), "{half}");
        (0..99).for_each(|_| seconds.observe(0.007));
        seconds.observe(60.0);
        let since = Times::from(&seconds).since(&before);
        assert_eq!(since.count, 100);
        let half = since.quantile(0.5).unwrap();
        assert!((0.005..=0.01).contains(&half), "{half}");
        assert_eq!(since.quantile(1.0), Some(10.0), "beyond the last bound");
        assert_eq!(before.clone().since(&Times::from(&seconds)), before, "begun anew");
    }

    #[test]
    fn failures_by_code() {
        let metrics = Metrics::new();
        metrics.function_errors.with_label_values(&["f", "thrown"]).inc_by(2);
        metrics.function_errors.with_label_values(&["g", "timeout"]).inc();
        assert_eq!(metrics.errors_of("f"), [("thrown".to_owned(), 2)].into());
        assert_eq!(metrics.errors_of("h"), [].into());
    }

    #[test]
    fn topic_series_are_bounded() {
        let metrics = Metrics::new();
        for n in 0..MAX_TOPIC_SERIES {
            let name = format!("t{n}");
            assert_eq!(
                (metrics.topic_label(&name), metrics.topic_label(&name)),
                (&*name, &*name),
                "a restart takes no other"
            );
        }
        assert_eq!(metrics.topic_label("more"), "other");
        metrics.forget_topic(&"t7".into(), &[]);
        assert_eq!(metrics.topic_label("more"), "other", "a counter that goes on under another name would count twice");
        assert_eq!(metrics.topic_label("new"), "new", "in place of the one that is gone");
    }

    #[test]
    fn a_gauge_of_all_other_topics_is_their_sum() {
        let metrics = Metrics::new();
        let (s, t, a, b): (Str, Str, Str, Str) = ("s".into(), "t0".into(), "a".into(), "b".into());
        for n in 0..MAX_TOPIC_SERIES {
            assert_ne!(metrics.topic_label(&format!("t{n}")), OTHER);
        }
        let lag = |topic: &str| metrics.subscription_lag.with_label_values(&["s", topic]).get();
        for (topic, said) in [(&t, 1), (&a, 10), (&b, 100), (&a, 20), (&a, 20)] {
            metrics.subscription(&s, topic, [said, 0, 0]);
        }
        assert_eq!((lag("t0"), lag("other")), (1, 120));
        metrics.forget_subscription(&s, &a);
        assert_eq!((lag("t0"), lag("other")), (1, 100));
        metrics.forget_topic(&b, std::slice::from_ref(&s));
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"lag_records{subscription="s",topic="t0"} 1"#), "{text}");
        assert!(!text.contains(r#"topic="other""#), "{text}");
    }
}
