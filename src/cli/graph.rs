//! `hexafn graph`: the flow from sources to targets with its rates, as DOT (Graphviz) or Mermaid.

use clap::{Args, ValueEnum};
use hexafn_actors::topic::pattern::Pattern;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::client::Client;
use super::{Done, say};

/// `hexafn graph`
#[derive(Debug, Args)]
pub struct Graph {
    /// The language of the picture.
    #[arg(long, value_enum, default_value_t = Format::Dot)]
    format: Format,
    /// Seconds over which rates are measured; 0 leaves them out.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds, e.g. 1".to_owned())?;
    if (0.0..=60.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 60 seconds".to_owned()) }
}

/// The languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid, as GitHub and GitLab show it.
    Mermaid,
}

/// A box of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Source,
    Topic,
    Trigger,
    Function,
    Target,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Topic => "topic",
            Self::Trigger => "trigger",
            Self::Function => "function",
            Self::Target => "target",
        }
    }
}

type Id = (Kind, String);

/// What is drawn: boxes with what is written under their names, and arrows.
#[derive(Default)]
struct Picture {
    boxes: BTreeMap<Id, String>,
    arrows: BTreeSet<(Id, Id)>,
    /// From a target to the one that gets what it gives up.
    fallbacks: BTreeSet<(Id, Id)>,
}

struct Seen {
    sources: Value,
    triggers: Value,
    targets: Value,
    topics: Value,
    /// Whether an actor runs; nothing where the token may not see that. The same for subscriptions.
    actors: Value,
    subscriptions: Value,
    at: Instant,
}

fn look(client: &Client) -> Result<Seen, super::Failure> {
    Ok(Seen {
        sources: client.get("/admin/sources")?,
        triggers: client.get("/admin/triggers")?,
        targets: client.get("/admin/targets")?,
        topics: client.get("/admin/topics")?,
        actors: client.get("/admin/actors").unwrap_or_default(),
        subscriptions: client.get("/admin/subscriptions").unwrap_or_default(),
        at: Instant::now(),
    })
}

/// Draws what runs.
pub fn graph(client: &Client, args: &Graph) -> Done {
    let before = look(client)?;
    let after = if args.seconds > 0.0 {
        std::thread::sleep(Duration::from_secs_f64(args.seconds));
        Some(look(client)?)
    } else {
        None
    };
    let picture = picture(&before, after.as_ref());
    say(match args.format {
        Format::Dot => dot(&picture),
        Format::Mermaid => mermaid(&picture),
    });
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What keeps a part from its work: `quarantined`, `paused`; nothing where it runs.
fn trouble(seen: &Seen, actor: &str, subscription: Option<&str>) -> String {
    let state = list(&seen.actors).find(|node| node["path"] == actor).map(|node| text(&node["state"]));
    let state = state.filter(|state| state != "running");
    let paused = subscription
        .is_some_and(|name| list(&seen.subscriptions).any(|row| row["name"] == name && row["paused"] == true));
    let all: Vec<String> = state.into_iter().chain(paused.then(|| "paused".to_owned())).collect();
    all.iter().map(|one| format!(" {one}")).collect()
}

/// How often a counter grew, a second.
fn rate(before: &Value, after: Option<(&Value, f64)>, name: &str, counter: &str) -> String {
    let count = |all: &Value| list(all).find(|row| row["name"] == name).and_then(|row| row[counter].as_u64());
    match after.and_then(|(all, seconds)| Some((count(all)?, seconds))) {
        Some((now, seconds)) => {
            let grown = now.saturating_sub(count(before).unwrap_or(now));
            format!("{:.1}/s", grown as f64 / seconds)
        }
        None => String::new(),
    }
}

fn picture(before: &Seen, after: Option<&Seen>) -> Picture {
    let seconds = after.map_or(1.0, |after| after.at.duration_since(before.at).as_secs_f64());
    let later = |of: fn(&Seen) -> &Value| after.map(|seen| (of(seen), seconds));
    let mut picture = Picture::default();
    let now = after.unwrap_or(before);
    let topic_names: Vec<String> = list(&now.topics).map(|topic| text(&topic["name"])).collect();
    let topic_box = |picture: &mut Picture, name: &str| {
        let id = (Kind::Topic, name.to_owned());
        let rate = rate(&before.topics, later(|seen| &seen.topics), name, "last");
        picture.boxes.entry(id.clone()).or_insert(rate);
        id
    };
    for source in list(&now.sources) {
        let name = text(&source["name"]);
        let accepted = rate(&before.sources, later(|seen| &seen.sources), &name, "accepted");
        let actor = format!("/{}/{name}", if source["kind"] == "timer" { "timers" } else { "sources" });
        let id = (Kind::Source, name);
        picture.boxes.insert(id.clone(), format!("{accepted}{}", trouble(now, &actor, None)));
        if let Some(topic) = source["topic"].as_str() {
            let topic = topic_box(&mut picture, topic);
            picture.arrows.insert((id, topic));
        }
    }
    for target in list(&now.targets) {
        let name = text(&target["name"]);
        let id = (Kind::Target, name.clone());
        if target["kind"] == "topic" {
            let destination = text(&target["destination"]);
            // Its events are those of its topic, which others may write to as well.
            let writers =
                list(&now.targets).filter(|t| t["kind"] == "topic" && t["destination"] == *destination).count()
                    + list(&now.sources).filter(|source| source["topic"] == *destination).count();
            let written = rate(&before.topics, later(|seen| &seen.topics), &destination, "last");
            let most = if writers > 1 && !written.is_empty() { "at most " } else { "" };
            picture.boxes.insert(id.clone(), format!("{most}{written}"));
            let topic = topic_box(&mut picture, &destination);
            picture.arrows.insert((id, topic));
        } else {
            let delivered = rate(&before.targets, later(|seen| &seen.targets), &name, "delivered");
            let breaker = text(&target["breaker"]);
            let mut shown = if breaker == "closed" { delivered } else { format!("{delivered} breaker {breaker}") };
            for queue in ["lag", "waiting"] {
                if let Some(count) = target[queue].as_u64().filter(|count| *count > 0) {
                    shown.push_str(&format!(" {queue} {count}"));
                }
            }
            shown.push_str(&trouble(now, &format!("/forwarders/{name}"), Some(&format!("target.{name}"))));
            picture.boxes.insert(id.clone(), shown);
            if let Some(fallback) = target["fallback"].as_str() {
                picture.fallbacks.insert((id, (Kind::Target, fallback.to_owned())));
            }
        }
    }
    for trigger in list(&now.triggers) {
        let name = text(&trigger["name"]);
        let fired = rate(&before.triggers, later(|seen| &seen.triggers), &name, "fired");
        let trouble = trouble(now, &format!("/triggers/{name}"), Some(&format!("trigger.{name}")));
        let id = (Kind::Trigger, name);
        let off = if trigger["enabled"] == false { " off" } else { "" };
        picture.boxes.insert(id.clone(), format!("{fired}{off}{trouble}"));
        let on = text(&trigger["on"]);
        let pattern = Pattern::new(&on).ok().filter(|p| p.literal().is_none());
        let heard: Vec<&str> = match &pattern {
            Some(pattern) => topic_names.iter().map(String::as_str).filter(|topic| pattern.matches(topic)).collect(),
            None => vec![on.as_str()],
        };
        for topic in heard {
            let topic = topic_box(&mut picture, topic);
            picture.arrows.insert((topic, id.clone()));
        }
        let mut last = Vec::new();
        for function in list(&trigger["run"]) {
            let function = (Kind::Function, text(function));
            picture.boxes.entry(function.clone()).or_default();
            picture.arrows.insert((id.clone(), function.clone()));
            last.push(function);
        }
        if last.is_empty() {
            last.push(id);
        }
        for target in list(&trigger["to"]) {
            let arrows = last.iter().map(|from| (from.clone(), (Kind::Target, text(target))));
            picture.arrows.extend(arrows);
        }
    }
    picture
}

/// Text between double quotes in both languages: names are checked, destinations are not shown.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).map(|c| if c == '"' { '\'' } else { c }).collect()
}

fn label((kind, name): &Id, under: &str, line: &str) -> String {
    let under = if under.trim().is_empty() { String::new() } else { format!("{line}{}", quoted(under.trim())) };
    format!("{} {}{under}", kind.name(), quoted(name))
}

fn dot(picture: &Picture) -> String {
    let mut out = String::from("digraph hexafn {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (id, under) in &picture.boxes {
        let shape = match id.0 {
            Kind::Source => "cds",
            Kind::Topic => "cylinder",
            Kind::Trigger => "diamond",
            Kind::Function => "box",
            Kind::Target => "house",
        };
        // Writing to a string cannot fail.
        writeln!(
            out,
            "  \"{}.{}\" [label=\"{}\", shape={shape}];",
            id.0.name(),
            quoted(&id.1),
            label(id, under, "\\n")
        )
        .unwrap_or_default();
    }
    for (from, to) in &picture.arrows {
        let name = |id: &Id| format!("{}.{}", id.0.name(), quoted(&id.1));
        writeln!(out, "  \"{}\" -> \"{}\";", name(from), name(to)).unwrap_or_default();
    }
    for (from, to) in &picture.fallbacks {
        let name = |id: &Id| format!("{}.{}", id.0.name(), quoted(&id.1));
        writeln!(out, "  \"{}\" -> \"{}\" [style=dashed, label=\"fallback\"];", name(from), name(to))
            .unwrap_or_default();
    }
    out.push('}');
    out
}

fn mermaid(picture: &Picture) -> String {
    let numbers: BTreeMap<&Id, usize> = picture.boxes.keys().enumerate().map(|(number, id)| (id, number)).collect();
    let mut out = String::from("flowchart LR\n");
    for (id, under) in &picture.boxes {
        let (open, close) = match id.0 {
            Kind::Source => ("([", "])"),
            Kind::Topic => ("[(", ")]"),
            Kind::Trigger => ("{", "}"),
            Kind::Function => ("[", "]"),
            Kind::Target => ("[/", "/]"),
        };
        writeln!(out, "  n{}{open}\"{}\"{close}", numbers[id], label(id, under, "<br/>")).unwrap_or_default();
    }
    for (from, to) in &picture.arrows {
        if let (Some(from), Some(to)) = (numbers.get(from), numbers.get(to)) {
            writeln!(out, "  n{from} --> n{to}").unwrap_or_default();
        }
    }
    for (from, to) in &picture.fallbacks {
        if let (Some(from), Some(to)) = (numbers.get(from), numbers.get(to)) {
            writeln!(out, "  n{from} -. fallback .-> n{to}").unwrap_or_default();
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(accepted: u64) -> Seen {
        Seen {
            sources: json!([{ "name": "in", "topic": "orders.eu", "accepted": accepted }]),
            triggers: json!([{ "name": "t", "on": "orders.*", "run": ["f"], "to": ["web"], "enabled": false, "fired": 0 }]),
            targets: json!([
                { "name": "web", "kind": "http", "breaker": "open", "delivered": 3, "lag": 4, "fallback": "kept" },
                { "name": "kept", "kind": "topic", "destination": "kept" },
            ]),
            topics: json!([{ "name": "orders.eu", "last": accepted }, { "name": "kept", "last": 2 * accepted }]),
            actors: json!([{ "path": "/triggers/t", "state": "quarantined" }, { "path": "/forwarders/web", "state": "running" }]),
            subscriptions: json!([{ "name": "target.web", "paused": true }]),
            at: Instant::now(),
        }
    }

    #[test]
    fn the_flow_is_drawn_from_sources_to_targets() {
        let text = dot(&picture(&seen(0), None));
        for line in [
            "\"source.in\" -> \"topic.orders.eu\"",
            "\"topic.orders.eu\" -> \"trigger.t\"",
            "\"trigger.t\" -> \"function.f\"",
            "\"function.f\" -> \"target.web\"",
            "breaker open lag 4 paused",
            "label=\"trigger t\\noff quarantined\"",
            "\"target.web\" -> \"target.kept\" [style=dashed, label=\"fallback\"]",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let mut after = seen(50);
        let mut before = seen(0);
        after.at = before.at + Duration::from_secs(5);
        let text = mermaid(&picture(&before, Some(&after)));
        assert!(text.contains("source in<br/>10.0/s") && text.contains("n0 --> "), "{text}");
        assert!(text.contains("target kept<br/>20.0/s") && text.contains(" -. fallback .-> "), "{text}");
        before.targets = json!([
            { "name": "kept", "kind": "topic", "destination": "kept" },
            { "name": "too", "kind": "topic", "destination": "kept" },
        ]);
        after.targets = before.targets.clone();
        let text = mermaid(&picture(&before, Some(&after)));
        assert!(text.contains("target too<br/>at most 20.0/s"), "others write to its topic, too: {text}");
    }
}
