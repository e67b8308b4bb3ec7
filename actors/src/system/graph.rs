//! The picture of the flow as data: what events pass on their way from sources to targets, how each part stands, and which
//! ways events take between them. `GET /admin/graph`, the console and `hexafn graph` show the same.
//!
//! There are counts and no rates: whoever looks twice works them out over the time of their own choice, and nothing is kept
//! for those who look.

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::apply::{outbox_of, topic_of};
use super::switches::inspect;
use super::{Error, PATIENCE, System, TriggerStatus, read};
use crate::clock::Wall;
use crate::definitions::{Definitions, FunctionDefinition, SourceDefinition, SourceKind, TargetKind};
use crate::event::Str;
use crate::supervision::{Node as Child, Snapshot};
use crate::target::forwarder::TargetStatus;
use crate::topic::pattern::Pattern;
use crate::topic::{SubscriptionStatus, TopicStatus};
use crate::trigger::ways::Ways;

mod draw;

use draw::{draw_target, draw_told, draw_topic, draw_trigger};

/// Topics of one picture. A pattern can match ten thousand.
const MAX_TOPICS: usize = 500;
/// A part of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Takes events in.
    Source,
    /// Keeps them.
    Topic,
    /// Decides.
    Trigger,
    /// Runs.
    Function,
    /// Takes results out.
    Target,
}

impl Kind {
    /// `source`, `topic` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Topic => "topic",
            Self::Trigger => "trigger",
            Self::Function => "function",
            Self::Target => "target",
        }
    }
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does its work.
    Running,
    /// Its actor is on its way up.
    Starting,
    /// A source connects to its broker.
    Connecting,
    /// Its actor failed and is started again.
    Restarting,
    /// Its actor is on its way down.
    Stopping,
    /// Its actor was stopped by hand.
    Stopped,
    /// Its subscription was paused by hand, or its source waits for room.
    Paused,
    /// It was switched off.
    Disabled,
    /// A source has lost its broker.
    Failed,
    /// A target failed too often; nothing is sent to it.
    BreakerOpen,
    /// A target that failed too often is being tried.
    BreakerHalfOpen,
    /// It failed too often or for good; a person resets it.
    Quarantined,
}

/// A part of the flow, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Node {
    /// Kind and name, `trigger.big-push`: what edges refer to.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Str,
    /// What of its kind: `webhook`, `disk`, `dsl`, `http` …
    pub r#type: String,
    /// How it stands.
    pub state: State,
    /// Events that passed since the process began: accepted, stored, fired, run, delivered. Of a topic, the newest sequence.
    pub count: Option<u64>,
    /// What failed since the process began.
    pub failed: Option<u64>,
    /// Events that wait: not fetched, not handled, not run, not delivered.
    pub waiting: Option<u64>,
    /// Of those, the ones that failed and wait for another attempt.
    pub retrying: Option<u64>,
    /// What failed last.
    pub last_error: Option<String>,
    /// What else there is to know, by kind.
    pub details: Map<String, Value>,
}

/// What an edge stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Events go here.
    Event,
    /// Events go here when what is before it fails.
    Fallback,
    /// What hexaFn tells of its own work, and what it gave up.
    Told,
    /// A source that computes its topics may use this one.
    Possible,
}

/// A way between two parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edge {
    /// The id of a node.
    pub from: String,
    /// The id of another.
    pub to: String,
    /// What it stands for.
    pub way: Way,
    /// Events that went here since the process began, or since what is at its ends was changed; null where nobody counts.
    pub count: Option<u64>,
}

/// The picture.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Graph {
    /// When the process began: counts begin anew with it.
    pub began: String,
    /// Seconds since then, to divide counts by.
    pub seconds: f64,
    /// The parts, by kind and name.
    pub nodes: Vec<Node>,
    /// The ways between them.
    pub edges: Vec<Edge>,
    /// Topics that a pattern matches and that are left out, since there are too many.
    pub topics_left_out: usize,
}

impl Graph {
    /// Leaves the parts for which this holds, and the ways between those.
    pub fn retain(&mut self, shown: impl Fn(&Node) -> bool) {
        self.nodes.retain(shown);
        let left: BTreeSet<&str> = self.nodes.iter().map(|node| &*node.id).collect();
        self.edges.retain(|edge| left.contains(&*edge.from) && left.contains(&*edge.to));
    }
}

fn id(kind: Kind, name: &str) -> String {
    format!("{}.{name}", kind.name())
}

/// What is put together.
#[derive(Default)]
struct Drawing {
    nodes: BTreeMap<(Kind, Str), Node>,
    edges: BTreeMap<(String, String, Way), Option<u64>>,
}

impl Drawing {
    fn node(&mut self, kind: Kind, name: &Str, of: &str) -> &mut Node {
        self.nodes.entry((kind, name.clone())).or_insert_with(|| Node {
            id: id(kind, name),
            kind,
            name: name.clone(),
            r#type: of.to_owned(),
            state: State::Running,
            count: None,
            failed: None,
            waiting: None,
            retrying: None,
            last_error: None,
            details: Map::new(),
        })
    }

    fn edge(&mut self, from: (Kind, &str), to: (Kind, &str), way: Way, count: Option<u64>) {
        let known = self.edges.entry((id(from.0, from.1), id(to.0, to.1), way)).or_default();
        // Several triggers that share a function and a target share the way between them.
        *known = known.map_or(count, |known| Some(known + count.unwrap_or(0)));
    }
}

/// What was asked of the actors, before anything is drawn.
struct Seen {
    tree: HashMap<std::sync::Arc<str>, Child>,
    topics: HashMap<Str, TopicStatus>,
    targets: HashMap<Str, TargetStatus>,
}

impl Seen {
    /// How an actor stands; what is not in the tree has none, and runs.
    fn actor(&self, path: &str) -> (State, Option<String>) {
        let Some(child) = self.tree.get(path) else { return (State::Running, None) };
        let state = match child.state {
            "starting" => State::Starting,
            "stopping" => State::Stopping,
            "stopped" => State::Stopped,
            "quarantined" => State::Quarantined,
            "backing_off" | "open" | "half_open" => State::Restarting,
            _ => State::Running,
        };
        let failure = child.last_failure.as_ref().filter(|_| state != State::Running);
        (state, failure.map(ToString::to_string))
    }

    fn subscriptions<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s SubscriptionStatus> {
        self.topics.values().flat_map(|topic| &topic.subscriptions).filter(move |s| *s.name == *name)
    }

    /// Puts how a subscription stands, on all topics that were looked at, into the node that it feeds.
    fn waits(&self, node: &mut Node, subscription: &str) {
        let (mut waiting, mut retrying, mut in_flight, mut dead) = (0, 0, 0, 0);
        for row in self.subscriptions(subscription) {
            // What waits for another attempt is not part of the lag.
            waiting += row.lag + row.waiting as u64;
            retrying += row.waiting as u64;
            in_flight += row.in_flight as u64;
            dead += row.dead_lettered;
            if row.paused && node.state == State::Running {
                node.state = State::Paused;
            }
            let cause = row.next_attempts.iter().find_map(|next| next.cause.as_ref()).map(ToString::to_string);
            node.last_error = node.last_error.take().or(cause);
        }
        (node.waiting, node.retrying) = (Some(waiting), Some(retrying));
        node.details.insert("in_flight".to_owned(), in_flight.into());
        node.details.insert("dead_lettered".to_owned(), dead.into());
    }
}

impl System {
    /// The flow as it is now.
    ///
    /// # Errors
    /// The supervisor has ended.
    pub async fn graph(&self) -> Result<Graph, Error> {
        let all = self.definitions();
        let triggers: Vec<(TriggerStatus, std::sync::Arc<Ways>)> = {
            let running = read(&self.0.running);
            // How its actor stands is drawn from the tree.
            let of = |entry: &super::TriggerEntry| (super::switches::trigger_status(entry, None), entry.ways.clone());
            running.triggers.values().map(of).collect()
        };
        let (drawn, topics_left_out) = self.drawn_topics(&all, &triggers);
        let seen = self.look(&all, &drawn).await?;

        let mut drawing = Drawing::default();
        for name in &drawn {
            draw_topic(&mut drawing, name, &seen);
        }
        for source in all.sources.values() {
            self.draw_source(&mut drawing, source, &drawn, &seen);
        }
        for target in all.targets.values() {
            draw_target(&mut drawing, target, &all, &seen);
        }
        for function in all.functions.values() {
            self.draw_function(&mut drawing, function, &all, &seen);
        }
        for (status, ways) in &triggers {
            draw_trigger(&mut drawing, status, ways, &all, &drawn, &seen);
        }
        draw_told(&mut drawing, &all, &seen);
        let (began, since) = self.0.began;
        Ok(Graph {
            began: began.rfc3339(),
            seconds: since.elapsed().as_secs_f64(),
            nodes: drawing.nodes.into_values().collect(),
            edges: drawing.edges.into_iter().map(|((from, to, way), count)| Edge { from, to, way, count }).collect(),
            topics_left_out,
        })
    }

    /// The topics of the picture: those that something names, and those that a pattern matches; how many of these are left
    /// out.
    fn drawn_topics(
        &self,
        all: &Definitions,
        triggers: &[(TriggerStatus, std::sync::Arc<Ways>)],
    ) -> (BTreeSet<Str>, usize) {
        let mut drawn: BTreeSet<Str> = all.topics.keys().cloned().collect();
        let mut patterns = Vec::new();
        let mut prefixes = Vec::new();
        for source in all.sources.values() {
            match (&source.kind, computed_prefix(source)) {
                (SourceKind::Timer { topic, .. } | SourceKind::Pull { topic, .. }, _) => drawn.extend([topic.clone()]),
                (SourceKind::Webhook { .. }, Some(prefix)) => prefixes.push(prefix),
                (SourceKind::Webhook { settings, .. }, None) => drawn.extend(settings.topic.as_deref().map(Str::from)),
            }
        }
        for target in all.targets.values() {
            if let TargetKind::Topic(topic) = &target.kind {
                drawn.insert(topic.clone());
            }
        }
        for trigger in all.triggers.values() {
            match Pattern::new(&topic_of(trigger)) {
                Ok(pattern) if pattern.literal().is_none() => patterns.push(pattern),
                _ => drawn.extend([topic_of(trigger)]),
            }
        }
        for function in all.functions.values() {
            drawn.extend(function.emits_to());
        }
        for (_, ways) in triggers {
            drawn.extend(ways.emitted().into_iter().map(|(_, topic, _)| topic));
        }
        let mut left_out = 0;
        for topic in self.0.cast.all() {
            let own = topic.name.starts_with("hexafn.");
            let heard = patterns.iter().any(|pattern| pattern.matches(&topic.name))
                || (!own && prefixes.iter().any(|prefix| !prefix.is_empty() && topic.name.starts_with(prefix)));
            if !heard || drawn.contains(&topic.name) {
                continue;
            }
            if drawn.len() < MAX_TOPICS {
                drawn.insert(topic.name);
            } else {
                left_out += 1;
            }
        }
        (drawn, left_out)
    }

    /// Asks everybody at once.
    async fn look(&self, all: &Definitions, drawn: &BTreeSet<Str>) -> Result<Seen, Error> {
        let outboxes = all.targets.values().filter(|target| matches!(target.kind, TargetKind::Outside(_)));
        let names = drawn.iter().cloned().chain(outboxes.map(|target| outbox_of(&target.name)));
        let handles: Vec<_> = names.filter_map(|name| self.0.cast.get(&name)).collect();
        let topics = handles.iter().map(|handle| self.topic(handle));
        let fronts: Vec<_> = read(&self.0.running).targets.values().map(|entry| entry.front.clone()).collect();
        let targets =
            fronts.iter().map(async |front| tokio::time::timeout(PATIENCE, inspect(front)).await.ok().flatten());
        let tree = self.0.supervisor.send(Snapshot);
        let (topics, targets, tree) = futures_util::join!(join_all(topics), join_all(targets), tree);
        Ok(Seen {
            tree: tree
                .map_err(|_| Error::Gone("the supervisor ended"))?
                .into_iter()
                .map(|child| (child.path.clone(), child))
                .collect(),
            topics: topics.into_iter().flatten().map(|topic| (topic.name.clone(), topic)).collect(),
            targets: targets.into_iter().flatten().map(|target| (target.name.clone(), target)).collect(),
        })
    }

    fn draw_source(&self, drawing: &mut Drawing, source: &SourceDefinition, drawn: &BTreeSet<Str>, seen: &Seen) {
        let counted = |outcome| self.0.metrics.source_requests.with_label_values(&[&*source.name, outcome]).get();
        let accepted = counted("accepted");
        let refused = ["unauthorized", "invalid", "mismatched", "limited", "overloaded"];
        let node = drawing.node(Kind::Source, &source.name, "webhook");
        node.count = Some(accepted);
        let name = &*source.name;
        let topic = match &source.kind {
            SourceKind::Webhook { settings, .. } => {
                node.failed = Some(refused.into_iter().map(counted).sum());
                node.details.insert("path".to_owned(), format!("/hooks/{name}").into());
                node.details.insert("scheme".to_owned(), settings.verify.name().into());
                node.details.insert("duplicates".to_owned(), counted("duplicate").into());
                for outcome in refused {
                    node.details.insert(outcome.to_owned(), counted(outcome).into());
                }
                settings.topic.as_deref().map(Str::from)
            }
            SourceKind::Pull { upstream, topic, .. } => {
                upstream.kind().clone_into(&mut node.r#type);
                node.failed = Some(counted("dead-lettered"));
                node.details.insert("origin".to_owned(), upstream.origin().into());
                node.details.insert("duplicates".to_owned(), counted("duplicate").into());
                (node.state, node.last_error) = seen.actor(&format!("/sources/{name}"));
                if let Some(shown) = self.pulling(name) {
                    node.waiting = shown.lag;
                    if node.state == State::Running {
                        node.state = match shown.state {
                            "connecting" => State::Connecting,
                            "paused" => State::Paused,
                            "failed" => State::Failed,
                            "stopped" => State::Stopped,
                            _ => State::Running,
                        };
                        node.last_error = shown.last_error.filter(|_| node.state != State::Running);
                    }
                }
                Some(topic.clone())
            }
            SourceKind::Timer { schedule, topic, .. } => {
                "timer".clone_into(&mut node.r#type);
                let next = schedule.next(Wall::now()).map(|at| at.rfc3339());
                node.details.insert("next".to_owned(), next.into());
                (node.state, node.last_error) = seen.actor(&format!("/timers/{name}"));
                Some(topic.clone())
            }
        };
        if let Some(topic) = topic {
            return drawing.edge((Kind::Source, name), (Kind::Topic, &topic), Way::Event, Some(accepted));
        }
        let SourceKind::Webhook { settings, .. } = &source.kind else { return };
        let template = settings.topic_expr.clone().unwrap_or_default();
        node.details.insert("topic".to_owned(), template.into());
        let prefix = computed_prefix(source).filter(|prefix| !prefix.is_empty());
        for topic in prefix.iter().flat_map(|prefix| drawn.iter().filter(|topic| topic.starts_with(&**prefix))) {
            drawing.edge((Kind::Source, name), (Kind::Topic, topic), Way::Possible, None);
        }
    }

    fn draw_function(&self, drawing: &mut Drawing, function: &FunctionDefinition, all: &Definitions, seen: &Seen) {
        let metrics = &self.0.metrics;
        let counted = |outcome| metrics.function_runs.with_label_values(&[&*function.name, outcome]).get();
        let name = &*function.name;
        let pool = self.pool(name);
        let node = drawing.node(Kind::Function, &function.name, function.language());
        let (failed, timed_out) = (counted("failed"), counted("timeout"));
        node.count = Some(counted("ok") + failed + timed_out);
        node.failed = Some(failed + timed_out);
        node.waiting = pool.as_ref().map(|pool| pool.pending() as u64);
        node.details.insert("timed_out".to_owned(), timed_out.into());
        let errors = metrics.errors_of(name);
        if !errors.is_empty() {
            node.details.insert("errors".to_owned(), json!(errors));
        }
        if let Some(pool) = &pool {
            node.details.insert("workers".to_owned(), pool.seats().len().into());
        }
        node.details.insert("version".to_owned(), format!("{:016x}", function.fingerprint).into());
        // The worker that stands worst speaks for all: `/functions/{name}/{n}`.
        let below = format!("/functions/{name}/");
        for path in seen.tree.keys().filter(|path| path.starts_with(&below)) {
            let (state, error) = seen.actor(path);
            if state != State::Running && node.state != State::Quarantined {
                (node.state, node.last_error) = (state, error);
            }
        }
        for fallback in function.fallback.iter().filter(|fallback| all.functions.contains_key(*fallback)) {
            drawing.edge((Kind::Function, name), (Kind::Function, fallback), Way::Fallback, None);
        }
        for topic in function.emits_to() {
            drawing.edge((Kind::Function, name), (Kind::Topic, &topic), Way::Event, Some(0));
        }
    }
}

/// What the topics of a source that computes them begin with; `None` for another.
fn computed_prefix(source: &SourceDefinition) -> Option<String> {
    let SourceKind::Webhook { settings, topic_expr: Some(_), .. } = &source.kind else { return None };
    let template = settings.topic_expr.as_deref()?;
    Some(template.split("${").next().unwrap_or_default().to_owned())
}
