//! `hexafn graph`: the flow from sources to targets with its rates, as DOT (Graphviz) or Mermaid. What is drawn is what
//! `GET /admin/graph` gives, at two moments.

use clap::{Args, ValueEnum};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use super::client::Client;
use super::{Done, say, tell};

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

/// Draws what runs.
pub fn graph(client: &Client, args: &Graph) -> Done {
    let mut before = None;
    if args.seconds > 0.0 {
        before = Some(client.get("/admin/graph")?);
        std::thread::sleep(Duration::from_secs_f64(args.seconds));
    }
    let now = client.get("/admin/graph")?;
    let picture = Picture { now: &now, before: before.as_ref() };
    say(match args.format {
        Format::Dot => dot(&picture),
        Format::Mermaid => mermaid(&picture),
    });
    let hidden: Vec<&str> = list(&now["partly_hidden"]).filter_map(Value::as_str).collect();
    if !hidden.is_empty() {
        tell(format!("the token may not read all {}; what it may not is left out", hidden.join(", ")));
    }
    Ok(())
}

/// The flow at a moment, and at an earlier one where rates are asked for.
struct Picture<'v> {
    now: &'v Value,
    before: Option<&'v Value>,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Picture<'_> {
    fn nodes(&self) -> impl Iterator<Item = &Value> {
        list(&self.now["nodes"])
    }

    fn edges(&self) -> impl Iterator<Item = &Value> {
        list(&self.now["edges"])
    }

    /// How often a count grew, a second; `None` where there is no earlier one of the same process.
    fn rate(&self, now: &Value, before: impl FnOnce(&Value) -> Option<u64>) -> Option<f64> {
        let earlier = self.before.filter(|earlier| earlier["began"] == self.now["began"])?;
        let seconds = self.now["seconds"].as_f64()? - earlier["seconds"].as_f64()?;
        // What was put in place anew meanwhile counts anew.
        let grown = now["count"].as_u64()?.checked_sub(before(earlier)?)?;
        (seconds > 0.0).then_some(grown as f64 / seconds)
    }

    /// What is written under the name of a node: its rate, and how it stands where it does not simply run.
    fn under(&self, node: &Value) -> String {
        let same = |other: &&Value| other["id"] == node["id"];
        let rate = self.rate(node, |earlier| list(&earlier["nodes"]).find(same)?["count"].as_u64());
        let mut under = rate.map_or_else(String::new, |rate| format!("{rate:.1}/s"));
        let state = text(&node["state"]);
        if state != "running" {
            under.push(' ');
            under.push_str(&state.replace('-', " "));
        }
        under.trim().to_owned()
    }

    /// What is written at an edge.
    fn at(&self, edge: &Value) -> Option<String> {
        let same = |other: &&Value| ["from", "to", "way"].iter().all(|key| other[key] == edge[key]);
        let rate = self.rate(edge, |earlier| list(&earlier["edges"]).find(same)?["count"].as_u64());
        match text(&edge["way"]) {
            "event" => rate.map(|rate| format!("{rate:.1}/s")),
            way => Some(way.to_owned()),
        }
    }
}

/// Text between double quotes in both languages: names are checked, destinations are not shown.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).map(|c| if c == '"' { '\'' } else { c }).collect()
}

fn label(picture: &Picture, node: &Value, line: &str) -> String {
    let under = picture.under(node);
    let under = if under.is_empty() { under } else { format!("{line}{}", quoted(&under)) };
    format!("{} {}{under}", text(&node["kind"]), quoted(text(&node["name"])))
}

fn dot(picture: &Picture) -> String {
    let mut out = String::from("digraph hexafn {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for node in picture.nodes() {
        let shape = match text(&node["kind"]) {
            "source" => "cds",
            "topic" => "cylinder",
            "trigger" => "diamond",
            "target" => "house",
            _ => "box",
        };
        let (id, label) = (quoted(text(&node["id"])), label(picture, node, "\\n"));
        // Writing to a string cannot fail.
        writeln!(out, "  \"{id}\" [label=\"{label}\", shape={shape}];").unwrap_or_default();
    }
    for edge in picture.edges() {
        let (from, to) = (quoted(text(&edge["from"])), quoted(text(&edge["to"])));
        let mut with = Vec::new();
        if let Some(at) = picture.at(edge) {
            with.push(format!("label=\"{at}\""));
        }
        if edge["way"] != "event" {
            with.push("style=dashed".to_owned());
        }
        let with = if with.is_empty() { String::new() } else { format!(" [{}]", with.join(", ")) };
        writeln!(out, "  \"{from}\" -> \"{to}\"{with};").unwrap_or_default();
    }
    out.push('}');
    out
}

fn mermaid(picture: &Picture) -> String {
    let numbers: HashMap<&str, usize> =
        picture.nodes().enumerate().map(|(number, node)| (text(&node["id"]), number)).collect();
    let mut out = String::from("flowchart LR\n");
    for (number, node) in picture.nodes().enumerate() {
        let (open, close) = match text(&node["kind"]) {
            "source" => ("([", "])"),
            "topic" => ("[(", ")]"),
            "trigger" => ("{", "}"),
            "target" => ("[/", "/]"),
            _ => ("[", "]"),
        };
        writeln!(out, "  n{number}{open}\"{}\"{close}", label(picture, node, "<br/>")).unwrap_or_default();
    }
    for edge in picture.edges() {
        let number = |end: &str| numbers.get(text(&edge[end]));
        if let (Some(from), Some(to)) = (number("from"), number("to")) {
            let arrow = if edge["way"] == "event" { "-->" } else { "-.->" };
            let at = picture.at(edge).map_or_else(String::new, |at| format!("|{at}|"));
            writeln!(out, "  n{from} {arrow}{at} n{to}").unwrap_or_default();
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(seconds: f64, count: u64) -> Value {
        json!({ "began": "2026-11-24T10:21:13Z", "seconds": seconds, "partly_hidden": [], "nodes": [
            { "id": "source.in", "kind": "source", "name": "in", "state": "running", "count": count },
            { "id": "topic.orders.eu", "kind": "topic", "name": "orders.eu", "state": "running", "count": count },
            { "id": "trigger.t", "kind": "trigger", "name": "t", "state": "disabled", "count": 0 },
            { "id": "target.web", "kind": "target", "name": "web", "state": "breaker-open", "count": null },
        ], "edges": [
            { "from": "source.in", "to": "topic.orders.eu", "way": "event", "count": count },
            { "from": "topic.orders.eu", "to": "trigger.t", "way": "event", "count": 0 },
            { "from": "trigger.t", "to": "target.web", "way": "event", "count": 0 },
            { "from": "target.web", "to": "topic.orders.eu", "way": "told", "count": null },
        ] })
    }

    #[test]
    fn the_flow_is_drawn_from_sources_to_targets() {
        let now = seen(1.0, 0);
        let text = dot(&Picture { now: &now, before: None });
        for line in [
            "\"source.in\" -> \"topic.orders.eu\";",
            "\"trigger.t\" -> \"target.web\";",
            "\"target.web\" -> \"topic.orders.eu\" [label=\"told\", style=dashed];",
            "label=\"target web\\nbreaker open\", shape=house",
            "label=\"trigger t\\ndisabled\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let after = seen(6.0, 50);
        let text = mermaid(&Picture { now: &after, before: Some(&now) });
        for line in ["source in<br/>10.0/s", "n0 -->|10.0/s| n1", "n3 -.->|told| n1"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let mut restarted = after.clone();
        restarted["began"] = json!("2026-11-24T10:22:00Z");
        let text = mermaid(&Picture { now: &restarted, before: Some(&now) });
        assert!(text.contains("\"source in\""), "counts of two processes give no rate: {text}");
    }
}
