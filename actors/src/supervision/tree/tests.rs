//! The tree without actors, on a clock that the test moves: scenes, and invariants over arbitrary events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::supervision::node::Verb;
use crate::supervision::strategy::{Intensity, OnExhausted, Opening};

fn at(seconds: u64) -> Now {
    Now { tick: Tick(seconds * 1_000_000), wall: Wall(0), random: 0.5 }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "x", Wall(0))
}

const GRACE: Duration = Duration::from_secs(5);

/// A tree, and what the supervisor would know: which incarnation of a child exists.
struct Model {
    tree: Tree,
    live: HashMap<Arc<str>, u64>,
    last: u64,
    fatal: u32,
    now: Now,
}

impl Model {
    fn new() -> Self {
        let now = at(1);
        let tree = Tree::new(RestartStrategy::root(), RestartStrategy::parent(), GRACE, now);
        Self { tree, live: HashMap::new(), last: 0, fatal: 0, now }
    }

    fn add(&mut self, path: &str, strategy: RestartStrategy, lifetime: Lifetime) -> Result<Arc<str>, ControlError> {
        let done = self.tree.add(path, "x", strategy, lifetime, self.now);
        self.settle();
        done
    }

    fn up(&mut self, path: &str) -> Arc<str> {
        let path = self.add(path, RestartStrategy::actor(), Lifetime::Permanent).unwrap();
        self.ready(&path);
        path
    }

    fn ready(&mut self, path: &Arc<str>) {
        if let Some(incarnation) = self.live.get(path) {
            self.tree.ready(path, *incarnation, self.now);
        }
        self.settle();
    }

    fn fail(&mut self, path: &Arc<str>, kind: FailureKind) {
        if let Some(incarnation) = self.live.remove(path) {
            self.tree.failed(path, incarnation, failure(kind), self.now);
        }
        self.settle();
    }

    fn finish(&mut self, path: &Arc<str>) {
        if let Some(incarnation) = self.live.remove(path) {
            self.tree.finished(path, incarnation, self.now);
        }
        self.settle();
    }

    fn advance(&mut self, by: Duration) {
        self.now.tick = self.now.tick.plus(by);
        self.tree.due(self.now);
        self.settle();
    }

    fn control(&mut self, path: &str, verb: Verb) -> Result<Arc<str>, ControlError> {
        let done = self.tree.control(path, verb, self.now);
        self.settle();
        done
    }

    fn state(&self, path: &str) -> &'static str {
        self.tree.state(path).map_or("none", State::name)
    }

    /// Takes the effects as the supervisor does, and checks that never two incarnations of a child exist.
    fn settle(&mut self) {
        for effect in self.tree.take_effects() {
            match effect {
                Effect::Start { path, incarnation } => {
                    assert!(incarnation > self.last, "incarnations grow");
                    self.last = incarnation;
                    assert_eq!(self.live.insert(Arc::clone(&path), incarnation), None, "two incarnations of {path}");
                }
                Effect::Revoke { path } | Effect::Removed { path } => {
                    self.live.remove(&path);
                }
                Effect::Fatal { .. } => self.fatal += 1,
                Effect::AskStop { path } => {
                    assert!(self.live.contains_key(&path), "{path} is asked to stop and does not exist")
                }
                Effect::Changed { .. } | Effect::DeadLetter { .. } => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.tree.illegal(), (0, None));
        for (path, entry) in &self.tree.nodes {
            let state = entry.machine.state();
            if !entry.group {
                assert_eq!(state.is_alive(), self.live.contains_key(path), "{path} is {state}");
            }
            if let Some(until) = state.until() {
                assert!(self.tree.next_wake().is_some_and(|wake| wake <= until), "nobody wakes for {path}");
            }
        }
        assert!(self.live.keys().all(|path| self.tree.contains(path)), "an actor outside the tree");
    }
}

#[test]
fn a_child_comes_back_after_its_backoff() {
    let mut m = Model::new();
    let a = m.up("/g/a");
    m.fail(&a, FailureKind::Panicked);
    assert_eq!(m.state("/g/a"), "backing_off");
    m.advance(Duration::from_millis(99));
    assert_eq!(m.state("/g/a"), "backing_off");
    m.advance(Duration::from_millis(1));
    assert_eq!(m.state("/g/a"), "starting");
    m.ready(&a);
    assert_eq!((m.state("/g/a"), m.tree.node("/g/a", m.now).unwrap().restarts), ("running", 1));
}

#[test]
fn counters_start_anew_after_a_healthy_minute() {
    let mut m = Model::new();
    let a = m.up("/g/a");
    m.fail(&a, FailureKind::Panicked);
    m.advance(Duration::from_secs(1));
    m.ready(&a);
    assert_eq!(m.tree.node("/g/a", m.now).unwrap().failures, 1);
    m.advance(Duration::from_secs(60));
    assert_eq!(m.tree.node("/g/a", m.now).unwrap().failures, 0);
}

#[test]
fn an_open_child_is_probed_and_closes_when_it_says_so() {
    let opening = Opening { first: Duration::from_secs(30), max: Duration::from_secs(600), probes_to_close: 2 };
    let strategy = RestartStrategy { on_exhausted: OnExhausted::Open(opening), ..RestartStrategy::actor() };
    let mut m = Model::new();
    let a = m.add("/g/a", strategy, Lifetime::Permanent).unwrap();
    for _ in 0..5 {
        m.ready(&a);
        m.fail(&a, FailureKind::Panicked);
        m.advance(Duration::from_secs(2));
    }
    assert_eq!(m.state("/g/a"), "open");
    m.advance(Duration::from_secs(30));
    assert_eq!(m.state("/g/a"), "half_open");
    m.ready(&a);
    m.fail(&a, FailureKind::Panicked);
    m.advance(Duration::from_secs(59));
    assert_eq!(m.state("/g/a"), "open", "the second time is twice as long");
    m.advance(Duration::from_secs(1));
    m.ready(&a);
    for expected in ["half_open", "running"] {
        m.tree.healthy(&a, m.live[&a], m.now);
        m.settle();
        assert_eq!(m.state("/g/a"), expected);
    }
}

#[test]
fn a_group_is_restarted_as_a_whole_but_not_what_a_person_stopped() {
    let brittle = RestartStrategy {
        on_exhausted: OnExhausted::Escalate,
        intensity: Some(Intensity { failures: 1, within: GRACE }),
        ..RestartStrategy::actor()
    };
    let mut m = Model::new();
    let a = m.add("/g/a", brittle, Lifetime::Permanent).unwrap();
    let (b, c, other) = (m.up("/g/b"), m.up("/g/c"), m.up("/h/d"));
    m.ready(&a);
    m.control("/g/c", Verb::Stop).unwrap();
    m.finish(&c);
    m.fail(&a, FailureKind::Panicked);
    assert_eq!(
        ["/g", "/g/a", "/g/b", "/g/c", "/h/d"].map(|p| m.state(p)),
        ["backing_off", "stopped", "stopping", "stopped", "running"]
    );
    m.advance(Duration::from_secs(1));
    assert_eq!(["/g", "/g/a", "/g/b", "/g/c"].map(|p| m.state(p)), ["running", "starting", "stopping", "stopped"]);
    m.finish(&b);
    assert_eq!(m.state("/g/b"), "starting");
    assert_eq!(m.live.get(&other), Some(&4));
    // The third escalation within 300 s is the parent's own, and the root's end.
    for _ in 0..2 {
        assert_eq!(m.fatal, 0);
        m.fail(&a, FailureKind::Panicked);
        m.finish(&b);
        m.advance(Duration::from_secs(1));
    }
    assert_eq!(m.fatal, 1);
}

#[test]
fn a_stop_that_takes_too_long_is_given_up() {
    let mut m = Model::new();
    m.up("/g/a");
    m.control("/g/a", Verb::Restart).unwrap();
    m.advance(GRACE);
    assert_eq!(m.state("/g/a"), "starting");
}

#[test]
fn transient_children_go_with_the_one_above() {
    let mut m = Model::new();
    let parent = m.up("/f/slack");
    m.add("/f/slack/deliveries/42", RestartStrategy::delivery(), Lifetime::Transient).unwrap();
    m.fail(&parent, FailureKind::Panicked);
    assert_eq!(m.state("/f/slack/deliveries/42"), "none");
    m.advance(Duration::from_secs(1));
    m.add("/f/slack/deliveries/42", RestartStrategy::delivery(), Lifetime::Transient).unwrap();
}

#[test]
fn what_is_not_a_path_is_refused_and_what_is_unknown_is_suggested() {
    let mut m = Model::new();
    m.up("/triggers/big-push");
    for bad in ["", "/", "x", "/a//b", "/a/", "/a b", "/1/2/3/4/5/6/7/8/9", "/\u{1b}[2J"] {
        let error = m.add(bad, RestartStrategy::actor(), Lifetime::Permanent).unwrap_err();
        assert!(matches!(error, ControlError::Path { .. }), "{bad}");
    }
    assert!(matches!(
        m.add("/triggers/big-push", RestartStrategy::actor(), Lifetime::Permanent),
        Err(ControlError::Taken { .. })
    ));
    for near in ["/trigger/big-push", "/triggers/bigpush", "big-push"] {
        let error = m.control(near, Verb::Stop).unwrap_err().to_string();
        assert!(error.contains("/triggers/big-push"), "{error}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize, u8, bool),
    Ready(usize),
    Fail(usize, FailureKind),
    Stale(usize),
    Finish(usize),
    Healthy(usize),
    Displace(usize),
    Control(usize, Verb),
    Remove(usize),
    Advance(u64),
}

const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/f", "/f/g", "/f/g/h"];

fn any_step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    let verb = prop_oneof![Just(Verb::Restart), Just(Verb::Stop), Just(Verb::Start), Just(Verb::Reset)];
    let kind = prop_oneof![4 => Just(FailureKind::Panicked), 1 => Just(FailureKind::Permanent)];
    prop_oneof![
        4 => (path.clone(), 0u8..5, any::<bool>()).prop_map(|(p, s, t)| Step::Add(p, s, t)),
        6 => path.clone().prop_map(Step::Ready),
        6 => (path.clone(), kind).prop_map(|(p, k)| Step::Fail(p, k)),
        1 => path.clone().prop_map(Step::Stale),
        3 => path.clone().prop_map(Step::Finish),
        2 => path.clone().prop_map(Step::Healthy),
        2 => path.clone().prop_map(Step::Displace),
        4 => (path.clone(), verb).prop_map(|(p, v)| Step::Control(p, v)),
        1 => path.prop_map(Step::Remove),
        6 => prop_oneof![0u64..200, 0u64..10_000, 0u64..1_000_000].prop_map(Step::Advance),
    ]
}

fn strategy(number: u8) -> RestartStrategy {
    let opening = Opening { first: Duration::from_secs(1), max: Duration::from_secs(8), probes_to_close: 2 };
    let two = Some(Intensity { failures: 2, within: Duration::from_secs(60) });
    match number {
        0 => RestartStrategy::actor(),
        1 => RestartStrategy { intensity: two, on_exhausted: OnExhausted::Escalate, ..RestartStrategy::actor() },
        2 => RestartStrategy { intensity: two, on_exhausted: OnExhausted::Open(opening), ..RestartStrategy::actor() },
        3 => RestartStrategy { max_attempts: Some(2), ..RestartStrategy::delivery() },
        _ => RestartStrategy::breaker(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Whatever happens: no transition that does not exist, never two incarnations of a child, no actor outside the tree,
    /// nobody waits for a time unseen, and a shutdown ends everything.
    #[test]
    fn the_invariants_hold(steps in prop::collection::vec(any_step(), 0..150)) {
        let mut m = Model::new();
        for step in steps {
            let arc = |p: usize| -> Arc<str> { PATHS[p].into() };
            match step {
                Step::Add(p, s, transient) => {
                    let lifetime = if transient { Lifetime::Transient } else { Lifetime::Permanent };
                    drop(m.add(PATHS[p], strategy(s), lifetime));
                }
                Step::Ready(p) => m.ready(&arc(p)),
                Step::Fail(p, kind) => m.fail(&arc(p), kind),
                Step::Stale(p) => {
                    let before = m.tree.state(PATHS[p]);
                    m.tree.failed(&arc(p), u64::MAX, failure(FailureKind::Panicked), m.now);
                    m.tree.finished(&arc(p), u64::MAX, m.now);
                    m.settle();
                    prop_assert_eq!(before, m.tree.state(PATHS[p]));
                }
                Step::Finish(p) => m.finish(&arc(p)),
                Step::Healthy(p) => {
                    if let Some(incarnation) = m.live.get(PATHS[p]) { m.tree.healthy(&arc(p), *incarnation, m.now); }
                    m.settle();
                }
                Step::Displace(p) => {
                    if m.live.contains_key(PATHS[p]) { m.tree.displaced(&arc(p), m.now); }
                    m.settle();
                }
                Step::Control(p, verb) => drop(m.control(PATHS[p], verb)),
                Step::Remove(p) => {
                    drop(m.tree.remove(PATHS[p], m.now));
                    m.settle();
                }
                Step::Advance(ms) => m.advance(Duration::from_millis(ms)),
            }
        }
        m.tree.close();
        m.tree.drain("/", GRACE, m.now);
        m.settle();
        m.advance(GRACE);
        prop_assert!(m.live.is_empty(), "{:?}", m.live);
        m.advance(Duration::from_secs(1_000_000));
        prop_assert!(m.live.is_empty(), "{:?}", m.live);
    }
}
