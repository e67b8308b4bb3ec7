//! The load client of scripts/bench. Prints one JSON line.
//!
//! ```text
//! load --address HOST:PORT --path PATH --body FILE [--seconds S] [--connections C] [--secret S --prefix P] [--first N]
//!      [--rate N]                               requests at a fixed rate, latency from when each was due
//!      [--stamp]                                each body carries the time at which it was due, as "t", and ids of its own
//!      [--viewers N --watch PATH --window N]    WebSockets that must get every event
//! ```

use hexafn_rig::request::Template;
use hexafn_rig::{Result, fan, http};
use std::collections::HashMap;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let mut options: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--") else { return Err(format!("expected --NAME, found {word}").into()) };
        let value = words.next_if(|w| !w.starts_with("--")).unwrap_or_default();
        options.insert(name.to_owned(), value);
    }
    let text = |name: &str, default: &str| options.get(name).cloned().unwrap_or_else(|| default.to_owned());
    let number = |name: &str, default: f64| -> Result<f64> {
        let given = text(name, &default.to_string());
        given.parse().map_err(|_| format!("--{name} expects a number, found {given}").into())
    };
    let template = Template {
        address: text("address", "127.0.0.1:8080"),
        path: text("path", "/"),
        body: std::fs::read(text("body", "body.json"))?,
        secret: options.get("secret").cloned(),
        prefix: text("prefix", "rig-"),
        stamped: options.contains_key("stamp"),
    };
    let connections = number("connections", 64.0)? as usize;
    let (time, first) = (Duration::from_secs_f64(number("seconds", 5.0)?), number("first", 0.0)? as u64);
    let (rate, viewers) = (number("rate", 0.0)? as u64, number("viewers", 0.0)? as usize);
    let mut seen = None;
    let outcome = if viewers > 0 {
        let (warm, window) = (Duration::from_secs_f64(number("warm", 1.0)?), number("window", 1000.0)? as u64);
        let (outcome, got) = fan::run(&template, connections, time, &text("watch", "/"), viewers, window, warm)?;
        seen = Some(got);
        outcome
    } else if rate > 0 {
        http::at_rate(&template, connections, time, rate, first)?
    } else {
        http::flat_out(&template, connections, time, first, &|| u64::MAX)?
    };
    let (mut line, l) = (String::new(), &outcome.latency);
    line += &format!(
        "{{\"accepted\":{},\"refused\":{},\"broken\":{},\"open\":{},\"seconds\":{:.6},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1}",
        outcome.accepted,
        outcome.refused,
        outcome.broken,
        outcome.open,
        outcome.seconds,
        l.micros(0.5),
        l.micros(0.99),
        l.micros(1.0)
    );
    if let Some(seen) = seen {
        line += &format!(
            ",\"delivered_rate\":{:.1},\"missing\":{},\"seen_p50_us\":{:.1},\"seen_p99_us\":{:.1}",
            seen.rate,
            outcome.accepted.saturating_sub(seen.least),
            seen.latency.micros(0.5),
            seen.latency.micros(0.99)
        );
    }
    println!("{line}}}");
    Ok(())
}
