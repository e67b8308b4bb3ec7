//! The journal's statistics and the process's memory as metrics: read when the page is asked for.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, Opts};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::journal::{JournalStats, SYNC_BUCKETS};
use crate::metrics::Metrics;

/// Adds the journal's and the process's families.
pub fn register(metrics: &Metrics, stats: Arc<JournalStats>) {
    for collector in [
        Box::new(JournalCollector(stats, desc("hexafn_journal_groups_total", "Groups written."))) as Box<dyn Collector>,
        Box::new(ProcessCollector(desc("process_resident_memory_bytes", "Resident memory size in bytes."))),
    ] {
        if let Err(error) = metrics.add(collector) {
            tracing::error!(%error, "metrics are missing");
        }
    }
}

/// A description, so that the registry tells collectors apart.
fn desc(name: &str, help: &str) -> Vec<Desc> {
    Desc::new(name.to_owned(), help.to_owned(), Vec::new(), Default::default()).into_iter().collect()
}

struct JournalCollector(Arc<JournalStats>, Vec<Desc>);

impl JournalCollector {
    fn counters(&self) -> [(&'static str, &'static str, &AtomicU64); 10] {
        let s = &*self.0;
        [
            ("hexafn_journal_groups_total", "Groups written.", &s.groups),
            ("hexafn_journal_syncs_total", "Groups synced to disk.", &s.synced),
            ("hexafn_journal_commits_total", "Commits in those groups.", &s.commits),
            ("hexafn_journal_records_total", "Records appended.", &s.records),
            ("hexafn_journal_data_bytes_total", "Data bytes of the records appended.", &s.bytes),
            (
                "hexafn_journal_shared_bytes_total",
                "Of the data bytes, those not written since another record of the same group has the same data.",
                &s.shared,
            ),
            ("hexafn_journal_duplicates_total", "Appends that had come before.", &s.duplicates),
            ("hexafn_journal_refused_full_total", "Commits refused for want of space.", &s.refused_full),
            ("hexafn_journal_failed_total", "Commits that failed.", &s.failed),
            (
                "hexafn_journal_stale_total",
                "Commits dropped after a restart of the journal, since what came before them was lost; they are repeated.",
                &s.stale,
            ),
        ]
    }
}

impl Collector for JournalCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.1.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        for (name, help, value) in self.counters() {
            if let Ok(counter) = IntCounter::new(name, help) {
                counter.inc_by(value.load(Ordering::Relaxed));
                families.extend(counter.collect());
            }
        }
        families.push(self.sync_seconds());
        families
    }
}

impl JournalCollector {
    fn sync_seconds(&self) -> MetricFamily {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(SYNC_BUCKETS.len());
        for (at, count) in self.0.sync_micros.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            if let Some(bound) = SYNC_BUCKETS.get(at) {
                let mut bucket = prometheus::proto::Bucket::default();
                bucket.set_cumulative_count(total);
                bucket.set_upper_bound(*bound as f64 / 1e6);
                buckets.push(bucket);
            }
        }
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(total);
        histogram.set_sample_sum(self.0.sync_micros_sum.load(Ordering::Relaxed) as f64 / 1e6);
        let mut metric = prometheus::proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name("hexafn_journal_sync_seconds".to_owned());
        family.set_help("Seconds that a group took to be written and synced.".to_owned());
        family.set_field_type(prometheus::proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        family
    }
}

/// `process_resident_memory_bytes`, `process_open_fds`: the names that dashboards know.
struct ProcessCollector(Vec<Desc>);

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let mut gauge = |name: &str, help: &str, value: Option<i64>| {
            if let (Some(value), Ok(gauge)) = (value, IntGauge::with_opts(Opts::new(name, help))) {
                gauge.set(value);
                families.extend(gauge.collect());
            }
        };
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident());
        let open = std::fs::read_dir("/proc/self/fd").ok().and_then(|d| i64::try_from(d.count()).ok());
        gauge("process_open_fds", "Number of open file descriptors.", open);
        families
    }
}

fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<i64>().ok().map(|kib| kib * 1024)
}
