//! `hexafn test`: the tests of the configuration.

use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::{Config, Done, Failure, Output, say, table};
use crate::config::{self, Options, SecretMode};
use crate::trial::{self, coverage, expect};

/// `hexafn test`
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    config: Config,
    /// Only tests whose name contains one of these.
    names: Vec<String>,
    /// Fails when less of the branches of conditions and functions is taken, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    coverage_min: Option<f64>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100 is expected".to_owned()),
    }
}

/// Runs the tests; exit code 1 when one fails.
pub fn test(args: &Test, output: Output) -> Done {
    let dir = &args.config.config;
    let options = Options { secrets: SecretMode::Sample, coverage: true, ..Options::new(dir) };
    let loaded = config::load(&options).map_err(|errors| Failure {
        code: 78,
        message: errors.render(false),
        json: Some(errors.to_json()),
    })?;
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|n| name.contains(n.as_str()));
    let chosen: Vec<_> = loaded.tests.iter().filter(|t| wanted(&t.name)).collect();
    if chosen.is_empty() {
        let names = loaded.tests.iter().map(|t| format!("\n  {}", t.name)).collect::<String>();
        let message = if names.is_empty() {
            format!("{} holds no [[test]]; see docs/testing.md", dir.display())
        } else {
            format!("no test has such a name; there are:{names}")
        };
        return Err(Failure::new(1, message));
    }
    let (mut results, mut failed) = (Vec::new(), 0);
    let (mut fired, mut reached, mut ran) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for test in &chosen {
        let misses = match trial::run(&loaded, dir, test) {
            Ok(seen) => {
                for (name, outcomes) in &seen.triggers {
                    reached.insert(name.clone());
                    if outcomes.iter().any(|o| o.name == "fired" || o.name == "dropped") {
                        fired.insert(name.clone());
                    }
                }
                ran.extend(seen.functions.keys().cloned());
                expect::misses(&seen, &test.expect)
            }
            Err(message) => vec![expect::Miss { origin: test.origin.to_string(), message }],
        };
        failed += usize::from(!misses.is_empty());
        if output == Output::Table {
            let mark = if misses.is_empty() { "ok    " } else { "FAILED" };
            say(format!("{mark}  {}", table::plain(&test.name)));
            for miss in &misses {
                let mut lines = miss.message.lines();
                say(format!("  {}: {}", miss.origin, table::plain(lines.next().unwrap_or_default())));
                lines.for_each(|line| say(format!("  {}", table::plain(line))));
            }
        }
        results.push(json!({ "name": test.name, "origin": test.origin, "ok": misses.is_empty(), "misses": misses }));
    }
    let all = &loaded.definitions;
    let never = |known: Vec<&str>, seen: &BTreeSet<_>| -> Vec<String> {
        known.into_iter().filter(|name| !seen.contains(*name)).map(ToOwned::to_owned).collect()
    };
    let triggers: Vec<&str> = all.triggers.keys().map(|n| &**n).collect();
    let functions: Vec<&str> = all.functions.keys().map(|n| &**n).collect();
    let names = [
        ("triggers that fired", triggers.len(), never(triggers.clone(), &fired)),
        ("triggers that an event reached", triggers.len(), never(triggers, &reached)),
        ("functions that ran", functions.len(), never(functions, &ran)),
    ];
    let branches = coverage::branches(&loaded.counted);
    match output {
        Output::Json => {
            let coverage: Vec<Value> = names
                .iter()
                .map(|(what, of, never)| json!({ "what": what, "covered": of - never.len(), "of": of, "never": never }))
                .collect();
            say(json!({ "tests": results, "failed": failed, "coverage": coverage, "branches": branches }).to_string());
        }
        Output::Table => {
            say(format!("{} of {} tests passed", chosen.len() - failed, chosen.len()));
            for (what, of, never) in names {
                let missing = if never.is_empty() { String::new() } else { format!("; never: {}", never.join(", ")) };
                say(format!("  {what}: {} of {of}{missing}", of - never.len()));
            }
            let never = if branches.never.is_empty() { "" } else { "; never:" };
            say(format!("  branches that were taken: {} of {}{never}", branches.covered, branches.of));
            branches.never.iter().for_each(|missed| say(format!("    {}", table::plain(&missed.to_string()))));
        }
    }
    match args.coverage_min {
        _ if failed > 0 => Err(Failure::new(1, "")),
        Some(least) if branches.percent < least => {
            let (percent, covered, of) = (branches.percent, branches.covered, branches.of);
            let message = format!("{covered} of {of} branches were taken: {percent:.1} %, less than {least} %");
            Err(Failure::new(1, message))
        }
        _ => Ok(()),
    }
}
