//! The end of the series of what is not defined any more.

use super::Metrics;
use crate::definitions::Definitions;

/// What becomes of what comes to a source, of whatever kind.
const OF_SOURCES: [&str; 8] =
    ["accepted", "duplicate", "unauthorized", "invalid", "mismatched", "limited", "overloaded", "dead-lettered"];

impl Metrics {
    /// A target is not defined any more: its series end, else its breaker would be open for ever. Dead letters stay counted, as
    /// they stay.
    pub fn forget_target(&self, name: &str) {
        for outcome in ["delivered", "failed", "dead-lettered"] {
            self.target_attempts.remove_label_values(&[name, outcome]).ok();
        }
        self.target_seconds.remove_label_values(&[name]).ok();
        self.target_breaker.remove_label_values(&[name]).ok();
    }

    /// Ends the series of the sources, triggers and functions of before that are not defined any more.
    pub fn forget_gone(&self, before: &Definitions, now: &Definitions) {
        let gone = |name: &&_| !now.sources.contains_key(*name);
        before.sources.keys().filter(gone).for_each(|name| self.forget_source(name));
        let gone = |name: &&_| !now.triggers.contains_key(*name);
        before.triggers.keys().filter(gone).for_each(|name| self.forget_trigger(name));
        let gone = |name: &&_| !now.functions.contains_key(*name);
        before.functions.keys().filter(gone).for_each(|name| self.forget_function(name));
    }

    /// Nobody could work off its lag.
    fn forget_source(&self, name: &str) {
        for outcome in OF_SOURCES {
            self.source_requests.remove_label_values(&[name, outcome]).ok();
        }
        self.source_seconds.remove_label_values(&[name]).ok();
        self.source_lag.remove_label_values(&[name]).ok();
        self.source_failures.remove_label_values(&[name]).ok();
    }

    fn forget_trigger(&self, name: &str) {
        for outcome in ["fired", "skipped", "dropped", "failed"] {
            self.trigger_evaluations.remove_label_values(&[name, outcome]).ok();
        }
    }

    fn forget_function(&self, name: &str) {
        for outcome in ["ok", "failed", "timeout"] {
            self.function_runs.remove_label_values(&[name, outcome]).ok();
        }
        for code in self.errors_of(name).keys() {
            self.function_errors.remove_label_values(&[name, code]).ok();
        }
        for counts in [&self.function_host_calls, &self.function_log_lines_dropped, &self.function_fuel] {
            counts.remove_label_values(&[name]).ok();
        }
        self.function_cpu.remove_label_values(&[name]).ok();
        self.function_memory.remove_label_values(&[name]).ok();
        self.function_seconds.remove_label_values(&[name]).ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_series_of_what_is_gone_end_and_those_of_others_stay() {
        let metrics = Metrics::new();
        for name in ["goes", "stays"] {
            OF_SOURCES.iter().for_each(|o| metrics.source_requests.with_label_values(&[name, o]).inc());
            metrics.source_seconds.with_label_values(&[name]).observe(1.0);
            metrics.pull(name).lag.set(7);
            metrics.trigger(name).fired.inc();
            let function = metrics.function(name);
            function.errors.with_label_values(&[name, "thrown"]).inc();
            function.memory.with_label_values(&[name]).set(1);
            function.fuel.with_label_values(&[name]).inc();
            function.log_lines_dropped.with_label_values(&[name]).inc();
            metrics.target(name).breaker.set(1);
        }
        let lines = |name: &str| metrics.render().unwrap().lines().filter(|line| line.contains(name)).count();
        let all = lines("\"stays\"");
        assert_eq!(lines("\"goes\""), all);
        metrics.forget_source("goes");
        metrics.forget_trigger("goes");
        metrics.forget_function("goes");
        metrics.forget_target("goes");
        assert_eq!((lines("\"goes\""), lines("\"stays\"")), (0, all));
    }
}
