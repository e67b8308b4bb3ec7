//! What only shows when all definitions are seen together: functions that fall back in a circle, triggers that feed
//! each other, topics that nobody writes to, answers that never come, definitions that nobody uses.

use hexafn_actors::definitions::{Body, Definitions, On, SourceKind, TargetKind, TopicDurability, TriggerDefinition};
use hexafn_actors::topic::pattern::Pattern;
use hexafn_runtimes::Language;
use hexafn_runtimes::wasm::{MAX_STACKS, MAX_WORKERS};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::codes;
use crate::config::layers::Layers;
use crate::config::problem::{Problem, Problems};
use crate::config::read::closest;
use crate::config::texts::Span;
use crate::config::tree::{Node, Step};

/// Checks the whole set.
pub fn check(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    fallback_cycles("function", layers, problems);
    fallback_cycles("target", layers, problems);
    fallbacks_in_memory(definitions, layers, problems);
    timers_in_memory(definitions, layers, problems);
    repeats_in_memory(definitions, layers, problems);
    trigger_cycles(definitions, layers, problems);
    replies(definitions, layers, problems);
    workers_of_modules(definitions, layers, problems);
    stacks_of_modules(definitions, layers, problems);
    silent_topics(definitions, layers, problems);
    shared_files(layers, problems);
    unused(layers, problems);
}

/// The table that defines a name.
fn table<'a>(layers: &'a Layers, kind: &str, name: &str) -> Option<&'a Node> {
    layers.of_kind(kind).iter().find(|n| n.get("name").and_then(Node::text) == Some(name))
}

fn place(layers: &Layers, kind: &str, name: &str, key: &str) -> Span {
    table(layers, kind, name).map_or(0..0, |node| node.span_of(&[Step::Key(key)]))
}

/// The functions that a trigger names.
pub(super) fn runs(trigger: &Node) -> impl Iterator<Item = (&str, Span)> {
    let run = trigger.get("run");
    words(run).chain(words(run.and_then(|run| run.get("of"))))
}

/// The strings of an array, or one string.
pub(super) fn words(node: Option<&Node>) -> impl Iterator<Item = (&str, Span)> {
    let one = node.filter(|n| n.text().is_some());
    let all = node.map_or(&[][..], Node::items).iter().chain(one);
    all.filter_map(|n| Some((n.text()?, n.span.clone())))
}

fn fallback_cycles(kind: &str, layers: &Layers, problems: &mut Problems) {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in layers.of_kind(kind) {
        let Some(name) = node.get("name").and_then(Node::text) else { continue };
        edges.entry(name).or_default().extend(words(node.get("fallback")).map(|(to, _)| to));
    }
    for cycle in cycles(&edges) {
        let path = cycle.iter().chain(cycle.first()).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" -> ");
        let span = place(layers, kind, cycle[0], "fallback");
        let message = format!("{kind}s fall back in a circle: {path}");
        problems.push(
            Problem::error(&codes::FALLBACK_CYCLE, span, message)
                .label("here the circle begins")
                .help(format!("the last resort must be a {kind} without `fallback`")),
        );
    }
}

/// What a target gives up is written in the commit that settles it, and a topic in memory takes part in none.
fn fallbacks_in_memory(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    for target in definitions.targets.values() {
        let fallback = target.settings.fallback.as_ref().and_then(|name| definitions.targets.get(name));
        let Some(TargetKind::Topic(topic)) = fallback.map(|fallback| &fallback.kind) else { continue };
        if definitions.topics.get(topic).is_some_and(|topic| topic.durability == TopicDurability::Memory) {
            let message =
                format!("`fallback` of target `{}` is the topic `{topic}`, which lives in memory", target.name);
            let span = place(layers, "target", &target.name, "fallback");
            problems.push(Problem::error(&codes::VALUE, span, message).help("a last resort has to be on disk"));
        }
    }
}

/// A tick is stored together with when it was due, and a topic in memory takes part in no write.
fn timers_in_memory(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    for source in definitions.sources.values() {
        let SourceKind::Timer { topic, .. } = &source.kind else { continue };
        if definitions.topics.get(topic).is_some_and(|topic| topic.durability == TopicDurability::Memory) {
            let message =
                format!("the timer `{}` gives its ticks to the topic `{topic}`, which lives in memory", source.name);
            let span = place(layers, "source", &source.name, "topic");
            problems.push(Problem::error(&codes::VALUE, span, message).help("ticks are stored; name a topic on disk"));
        }
    }
}

/// The ids of deliveries are remembered with what is stored, and a topic in memory takes part in no write.
fn repeats_in_memory(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    for node in layers.of_kind("source") {
        let Some(key) = ["dedupe_header", "dedupe_window"].into_iter().find(|key| node.get(key).is_some()) else {
            continue;
        };
        let topic = node.get("topic").and_then(Node::text).and_then(|topic| definitions.topics.get(topic));
        let Some(topic) = topic.filter(|topic| topic.durability == TopicDurability::Memory) else { continue };
        let message = format!(
            "`{key}` does nothing: the topic `{}` lives in memory, where no delivery id is remembered",
            topic.name
        );
        let problem = Problem::warning(&codes::VALUE, node.span_of(&[Step::Key(key)]), message);
        problems.push(problem.help("name a topic on disk, or leave it out and expect repeated events"));
    }
}

/// A source that answers with the result of a trigger must put its events where that trigger hears of them: else every sender
/// waits in vain.
fn replies(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    for source in definitions.sources.values() {
        let SourceKind::Webhook { settings, .. } = &source.kind else { continue };
        let reply = settings.reply.as_ref().and_then(|reply| definitions.triggers.get(&*reply.trigger));
        let Some(trigger) = reply else { continue };
        let hears = |trigger: &TriggerDefinition| match (&trigger.on, &settings.topic) {
            (On::Topic(pattern), Some(topic)) => Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic)),
            // Where the source computes its topic it is known for each event only.
            (On::Topic(_), None) => true,
            (On::Timer(_) | On::Kv { .. }, _) => false,
        };
        if hears(trigger) {
            continue;
        }
        let to = match &settings.topic {
            Some(topic) => format!("the topic `{topic}`"),
            None => "a topic".to_owned(),
        };
        let span = table(layers, "source", &source.name)
            .map_or(0..0, |node| node.span_of(&[Step::Key("reply"), Step::Key("trigger")]));
        let message = format!(
            "`reply` of source `{}` names trigger `{}`, which does not listen to {to}",
            source.name, trigger.name
        );
        let known: Vec<&str> = definitions.triggers.values().filter(|t| hears(t)).map(|t| &*t.name).collect();
        let help = match &known[..] {
            [] => format!("no trigger listens to {to}; set `on` of trigger `{}` to it", trigger.name),
            _ => format!("triggers that listen to {to}: {}", crate::config::de::list(&known)),
        };
        problems.push(
            Problem::error(&codes::VALUE, span, message)
                .label("its results are not of this source's events")
                .related(place(layers, "trigger", &trigger.name, "on"), "what it listens to")
                .help(help),
        );
    }
}

fn trigger_cycles(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    let listens: Vec<(&str, Pattern)> = definitions
        .triggers
        .values()
        .filter_map(|t| match &t.on {
            On::Topic(text) => Some((&*t.name, Pattern::new(text).ok()?)),
            _ => None,
        })
        .collect();
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // The targets whose `fallback` leads from one trigger to another.
    let mut through: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for trigger in definitions.triggers.values() {
        let out = edges.entry(&trigger.name).or_default();
        for target in trigger.to.iter().filter_map(|t| definitions.targets.get(t)) {
            let (mut target, mut gives_up, mut seen) = (Some(target), None, BTreeSet::new());
            // What a target gives up goes on to its fallback, and to that one's; those in a circle are told by themselves.
            while let Some(at) = target.filter(|target| seen.insert(&*target.name)) {
                if let TargetKind::Topic(topic) = &at.kind {
                    for (name, _) in listens.iter().filter(|(_, p)| p.matches(topic)) {
                        out.push(name);
                        if let Some(gives_up) = gives_up {
                            through.entry((&*trigger.name, name)).or_insert(gives_up);
                        }
                    }
                }
                gives_up = Some(&*at.name);
                target = at.settings.fallback.as_ref().and_then(|name| definitions.targets.get(name));
            }
        }
        for function in hexafn_actors::system::functions_of(trigger, definitions) {
            for topic in function.emits_to() {
                out.extend(listens.iter().filter(|(_, p)| p.matches(&topic)).map(|(name, _)| *name));
            }
        }
    }
    for cycle in cycles(&edges) {
        let path = cycle.iter().chain(cycle.first()).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" -> ");
        let span = place(layers, "trigger", cycle[0], "to");
        let message = format!("triggers feed each other in a circle: {path}");
        let mut problem = Problem::warning(&codes::TRIGGER_CYCLE, span, message)
            .label("here the circle begins")
            .help("an event that goes round 16 times ends in the dead letters; `when` should end the circle before");
        for (from, to) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
            if let Some(target) = through.get(&(*from, *to)) {
                let to = format!("what target `{target}` gives up goes to trigger `{to}`");
                problem = problem.related(place(layers, "target", target, "fallback"), to);
            }
        }
        problems.push(problem);
    }
}

/// Each circle once, beginning with its least name.
fn cycles<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for start in edges.keys() {
        if done.contains(start) {
            continue;
        }
        // The way from `start` back to itself, breadth first: the shortest circle that it is part of.
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([*start]);
        while let Some(at) = queue.pop_front() {
            for next in edges.get(at).into_iter().flatten() {
                if next == start {
                    let mut path = vec![at];
                    let mut back = at;
                    while back != *start {
                        let Some(previous) = before.get(back) else { break };
                        back = previous;
                        path.push(back);
                    }
                    path.reverse();
                    done.extend(&path);
                    found.push(path);
                    queue.clear();
                    break;
                }
                if !before.contains_key(next) {
                    before.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
    }
    found
}

/// The engine of WebAssembly has room for so many calls at once; a call that it had none for would fail.
fn workers_of_modules(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    let of_modules = definitions.functions.values().filter_map(|function| {
        let hosted = function.hosted().filter(|hosted| hosted.language == Language::Wasm.name())?;
        Some((hosted.pool.workers, &*function.name))
    });
    let all: usize = of_modules.clone().map(|(workers, _)| workers).sum();
    let Some((most, name)) = of_modules.max().filter(|_| all > MAX_WORKERS) else { return };
    let span = place(layers, "function", name, "pool");
    let message = format!("functions in WebAssembly have {all} workers together; there is room for {MAX_WORKERS}");
    problems.push(
        Problem::error(&codes::TOO_LARGE, span, message).label(format!("{most} of them are those of `{name}`")).help(
            "lower `pool.workers`: more of them than the machine has processors gain nothing where functions compute",
        ),
    );
}

/// The engine of WebAssembly is there once for each stack limit.
fn stacks_of_modules(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    let of_modules = definitions.functions.values().filter_map(|function| {
        let hosted = function.hosted().filter(|hosted| hosted.language == Language::Wasm.name())?;
        Some((hosted.settings.limits.stack, &*function.name))
    });
    let stacks: BTreeMap<usize, &str> = of_modules.collect();
    let Some((stack, name)) = stacks.iter().nth(MAX_STACKS) else { return };
    let span = place(layers, "function", name, "limits");
    let used: Vec<String> = stacks.keys().map(ToString::to_string).collect();
    let message = format!(
        "functions in WebAssembly have {} different stack limits; at most {MAX_STACKS} are possible",
        stacks.len()
    );
    problems.push(
        Problem::error(&codes::TOO_LARGE, span, message)
            .label(format!("{stack} bytes"))
            .help(format!("give some of them the same `limits.stack`; used are {} bytes", used.join(", "))),
    );
}

/// A trigger on a topic that nothing in the configuration writes to: publishing by hand is possible, a slip likelier.
fn silent_topics(definitions: &Definitions, layers: &Layers, problems: &mut Problems) {
    let mut topics: BTreeSet<&str> = BTreeSet::new();
    let mut computed = false;
    for source in definitions.sources.values() {
        match &source.kind {
            SourceKind::Webhook { topic_expr, .. } => computed |= topic_expr.is_some(),
            SourceKind::Timer { topic, .. } | SourceKind::Pull { topic, .. } => _ = topics.insert(topic),
        }
    }
    for function in definitions.functions.values() {
        match &function.body {
            Body::Dsl(program) => {
                computed |= program.emits().computed;
                topics.extend(program.emits().topics.iter().map(String::as_str));
            }
            Body::Hosted(hosted) => {
                let granted = &hosted.settings.grants.emit;
                computed |= granted.iter().any(|name| name.contains(['*', '>']));
                topics.extend(granted.iter().map(String::as_str));
            }
        }
    }
    // Also those of sources and targets with another error: they are not to blame.
    topics.extend(layers.of_kind("source").iter().filter_map(|node| node.get("topic")?.text()));
    // The topic of a target of another kind is a broker's.
    let ours = layers.of_kind("target").iter().filter(|node| node.get("kind").and_then(Node::text) == Some("topic"));
    topics.extend(ours.filter_map(|node| node.get("topic").or_else(|| node.get("name"))?.text()));
    topics.extend(layers.of_kind("topic").iter().filter_map(|n| n.get("name")?.text()));
    for trigger in definitions.triggers.values() {
        let On::Topic(text) = &trigger.on else { continue };
        let Ok(pattern) = Pattern::new(text) else { continue };
        if computed || text.starts_with("hexafn.") || topics.iter().any(|t| pattern.matches(t)) {
            continue;
        }
        let known: Vec<&str> = topics.iter().copied().collect();
        let span = place(layers, "trigger", &trigger.name, "on");
        let message = format!("nothing here writes to `{text}`, which trigger `{}` listens to", trigger.name);
        let problem = Problem::warning(&codes::UNKNOWN_NAME, span, message);
        let problem = match closest(text, &known) {
            Some(close) => problem.label(format!("did you mean `{close}`?")).replace(format!("\"{close}\"")),
            None => problem,
        };
        problems.push(problem.help(format!("topics that are written to: {}", crate::config::de::list(&known))));
    }
}

/// A file has one writer: of two targets with one file the second would be refused at each attempt.
fn shared_files(layers: &Layers, problems: &mut Problems) {
    let mut files: BTreeMap<std::path::PathBuf, (&str, &Node)> = BTreeMap::new();
    for node in layers.of_kind("target") {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let (Some("file"), Some(name), Some(path)) = (text("kind"), text("name"), node.get("path")) else { continue };
        let Some(written) = path.text().filter(|written| !written.contains("${")) else { continue };
        // `components` takes `./a` and `a//b` for what they are.
        let file = std::path::Path::new(text("directory").unwrap_or_default()).join(written);
        let file = file.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect();
        match files.entry(file) {
            Entry::Vacant(entry) => _ = entry.insert((name, path)),
            Entry::Occupied(first) => {
                let (other, there) = first.get();
                let message =
                    format!("targets `{other}` and `{name}` write to the same file, and a file has one writer");
                problems.push(
                    Problem::error(&codes::VALUE, path.span.clone(), message)
                        .related(there.span.clone(), "the first writer")
                        .help("give each its own file, or name one target in both triggers"),
                );
            }
        }
    }
}

/// Functions and targets that nobody names.
fn unused(layers: &Layers, problems: &mut Problems) {
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for node in layers.of_kind("trigger") {
        used.extend(runs(node).map(|(n, _)| ("function", n)));
        used.extend(words(node.get("to")).map(|(n, _)| ("target", n)));
    }
    for node in layers.of_kind("function") {
        used.extend(words(node.get("fallback")).map(|(n, _)| ("function", n)));
    }
    for node in layers.of_kind("target") {
        used.extend(words(node.get("fallback")).map(|(n, _)| ("target", n)));
    }
    for (kind, does) in [("function", "runs"), ("target", "sends to")] {
        for node in layers.of_kind(kind) {
            let Some(value) = node.get("name") else { continue };
            let Some(name) = value.text().filter(|name| !used.contains(&(kind, *name))) else { continue };
            let message = format!("no trigger {does} the {kind} `{name}`");
            problems.push(Problem::warning(&codes::UNUSED, value.span.clone(), message));
        }
    }
}
