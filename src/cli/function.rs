//! `hexafn function`: the functions of the service, and what they cost while one looks.

use clap::{Args, Subcommand, ValueEnum};
use hexafn_actors::metrics::Times;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::client::{Client, part};
use super::online::{Columns, fields, rows};
use super::{Done, Failure, Output, print, say, table};

/// `hexafn function`
#[derive(Debug, Subcommand)]
pub enum Function {
    /// List them, with their runs since the start.
    Ls,
    /// Show one: its grants, limits, workers, triggers and runs.
    Show {
        /// The function.
        name: String,
    },
    /// What they do now: rates and times over an interval, the costliest first.
    Top(Top),
}

/// `hexafn function top`
#[derive(Debug, Args)]
pub struct Top {
    /// What the list is ordered by.
    #[arg(long, value_enum, default_value_t = By::Time)]
    by: By,
    /// Seconds that each list is about.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    interval: f64,
    /// End after so many lists; without it, at Ctrl-C, or after one where the output is no terminal.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds, e.g. 2".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 3600 seconds".to_owned()) }
}

/// What costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The time that runs took together.
    Time,
    /// Runs.
    Runs,
    /// Runs that failed.
    Failed,
    /// The time of the slowest hundredth.
    P99,
    /// Processor time.
    Cpu,
}

/// Functions.
pub fn function(client: &Client, function: &Function) -> Done {
    match function {
        Function::Ls => ls(client),
        Function::Show { name } => show(client, name),
        Function::Top(args) => top(client, args),
    }
}

fn ls(client: &Client) -> Done {
    let mut all = client.get("/admin/functions")?;
    if client.output == Output::Table {
        for row in all.as_array_mut().into_iter().flatten() {
            row["errors"] = shown(&row["errors"]).into();
        }
    }
    let columns = &[
        ("NAME", "name"),
        ("RUNTIME", "runtime"),
        ("VERSION", "version"),
        ("TIMEOUT ms", "timeout_ms"),
        ("FALLBACK", "fallback"),
        ("OK", "ok"),
        ("FAILED", "failed"),
        ("TIMED OUT", "timed_out"),
        ("P50 ms", "p50_ms"),
        ("P99 ms", "p99_ms"),
        ("MEMORY", "peak_memory"),
        ("WORKERS", "workers"),
        ("ERRORS", "errors"),
    ];
    rows(client, &all, columns)
}

fn show(client: &Client, name: &str) -> Done {
    let mut function = client.get(&format!("/admin/functions/{}", part(name)))?;
    if client.output == Output::Table {
        function["errors"] = shown(&function["errors"]).into();
        for group in ["limits", "pool"] {
            let pairs =
                function[group].as_object().into_iter().flatten().map(|(name, value)| format!("{name} {value}"));
            function[group] = pairs.collect::<Vec<_>>().join(", ").into();
        }
        // What `function ls` and the metrics are made of.
        if let Some(function) = function.as_object_mut() {
            function.remove("run_seconds");
            function.retain(|_, value| value.as_str() != Some(""));
        }
    }
    fields(client, &function)
}

/// Codes with their counts, the most frequent first.
fn shown(errors: &Value) -> String {
    let mut all: Vec<_> = errors.as_object().into_iter().flatten().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(count.as_u64()));
    all.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
}

fn top(client: &Client, args: &Top) -> Done {
    let live = std::io::stdout().is_terminal() && client.output == Output::Table;
    let mut left = args.count.unwrap_or(if live { u64::MAX } else { 1 });
    let (mut before, mut at) = (client.get("/admin/functions")?, Instant::now());
    while left > 0 && !print::is_closed() {
        std::thread::sleep(Duration::from_secs_f64(args.interval));
        let (after, now) = (client.get("/admin/functions")?, Instant::now());
        let list = between(&before, &after, now.duration_since(at).as_secs_f64(), args.by)?;
        if live {
            // To the top left, and what is below it is cleared.
            say("\u{1b}[H\u{1b}[2J");
        }
        if client.output == Output::Json {
            say(Value::Array(list).to_string());
        } else {
            say(table::of(&list, COLUMNS));
        }
        (before, at, left) = (after, now, left - 1);
    }
    Ok(())
}

const COLUMNS: Columns<'static> = &[
    ("NAME", "name"),
    ("RUNTIME", "runtime"),
    ("RUNS/s", "runs_per_second"),
    ("FAILED/s", "failed_per_second"),
    ("TIME %", "time_percent"),
    ("CPU %", "cpu_percent"),
    ("P50 ms", "p50_ms"),
    ("P99 ms", "p99_ms"),
    ("WAITING", "waiting"),
    ("WORKERS", "workers"),
    ("ERRORS", "errors"),
];

/// What a counter has grown by; one that was begun anew has grown by all it has.
fn since<N: PartialOrd + std::ops::Sub<Output = N>>(then: N, now: N) -> N {
    if now < then { now } else { now - then }
}

/// What happened between two looks. A service that was started anew meanwhile counts from nothing.
fn between(before: &Value, after: &Value, seconds: f64, by: By) -> Result<Vec<Value>, Failure> {
    let rounded = |value: f64, places: i32| (value * 10f64.powi(places)).round() / 10f64.powi(places);
    let mut list = Vec::new();
    for row in after.as_array().into_iter().flatten() {
        let old = before.as_array().into_iter().flatten().find(|old| old["name"] == row["name"]);
        let grown = |field: &str| {
            let count = |row: &Value| row[field].as_f64().unwrap_or_default();
            since(old.map_or(0.0, count), count(row))
        };
        let times = |row: &Value| serde_json::from_value::<Times>(row["run_seconds"].clone());
        let unknown =
            |e| Failure::new(1, format!("the service answers in a form that this program does not know: {e}"));
        let spent = times(row).map_err(unknown)?;
        let spent = match old.map(times).transpose().map_err(unknown)? {
            Some(old) => spent.since(&old),
            None => spent,
        };
        let ms = |q| spent.quantile(q).map(|seconds| rounded(seconds * 1e3, 3));
        let failed = grown("failed") + grown("timed_out");
        let errors = row["errors"].as_object().into_iter().flatten().map(|(code, count)| {
            let then = old.and_then(|old| old["errors"][code].as_u64()).unwrap_or(0);
            (code.clone(), json!(since(then, count.as_u64().unwrap_or(0))))
        });
        let errors = Value::Object(errors.filter(|(_, count)| *count != 0).collect());
        list.push(json!({
            "name": row["name"],
            "runtime": row["runtime"],
            "runs_per_second": rounded((grown("ok") + failed) / seconds, 1),
            "failed_per_second": rounded(failed / seconds, 1),
            "time_percent": rounded(spent.sum / seconds * 100.0, 1),
            "cpu_percent": row["cpu_seconds"].as_f64().map(|_| rounded(grown("cpu_seconds") / seconds * 100.0, 1)),
            "p50_ms": ms(0.5),
            "p99_ms": ms(0.99),
            "waiting": row["waiting"],
            "workers": row["workers"],
            "errors": shown(&errors),
        }));
    }
    let key = match by {
        By::Time => "time_percent",
        By::Runs => "runs_per_second",
        By::Failed => "failed_per_second",
        By::P99 => "p99_ms",
        By::Cpu => "cpu_percent",
    };
    list.sort_by(|a, b| b[key].as_f64().unwrap_or(0.0).total_cmp(&a[key].as_f64().unwrap_or(0.0)));
    Ok(list)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(name: &str, ok: u64, failed: u64, times: Value) -> Value {
        json!({ "name": name, "runtime": "js", "ok": ok, "failed": failed, "timed_out": 0, "cpu_seconds": 0.0,
            "errors": if failed == 0 { json!({}) } else { json!({ "thrown": failed }) }, "run_seconds": times })
    }

    #[test]
    fn what_happened_between_two_looks() {
        let times = |low: u64, high: u64, sum: f64| json!({ "count": low + high, "sum": sum, "buckets": [[0.001, low], [0.01, low + high]] });
        let before = json!([seen("a", 10, 0, times(10, 0, 0.005)), seen("b", 0, 0, times(0, 0, 0.0))]);
        let after = json!([seen("a", 30, 0, times(30, 0, 0.015)), seen("b", 4, 6, times(0, 10, 0.05))]);
        let list = between(&before, &after, 2.0, By::Time).unwrap();
        assert_eq!(list[0]["name"], "b", "it took more time, though it ran less often");
        assert_eq!(list[0]["failed_per_second"], 3.0);
        assert_eq!(list[0]["errors"], "thrown 6");
        assert_eq!(list[0]["time_percent"], 2.5);
        assert!(list[0]["p99_ms"].as_f64().unwrap() > 1.0);
        assert_eq!(list[1]["runs_per_second"], 10.0);
        assert_eq!(list[1]["errors"], "");
        assert!(list[1]["p99_ms"].as_f64().unwrap() <= 1.0);
        assert_eq!(between(&before, &after, 2.0, By::Runs).unwrap()[0]["name"], "a");
        // A service that was started anew.
        let anew = json!([seen("a", 4, 0, times(4, 0, 0.002))]);
        assert_eq!(between(&before, &anew, 2.0, By::Time).unwrap()[0]["runs_per_second"], 2.0);
        let anew = between(&after, &json!([seen("b", 0, 2, times(2, 0, 0.001))]), 2.0, By::Time).unwrap();
        assert_eq!((&anew[0]["failed_per_second"], &anew[0]["errors"]), (&json!(1.0), &json!("thrown 2")));
    }
}
