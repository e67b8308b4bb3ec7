//! The supervisor with real actors, threads, panics and hangs. Nothing waits for a time: tests await changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix::prelude::{ActorContext, Handler, Message};

use super::*;
use crate::supervision::arbiters::Place;
use crate::supervision::front::Front;
use crate::supervision::lifeline::{StartError, Started};
use crate::supervision::node::{ControlError, Verb};
use crate::supervision::strategy::{Backoff, Intensity, OnExhausted, RestartStrategy};

/// What the actor under test is told.
#[derive(Message)]
#[rtype(result = "u64")]
enum Do {
    Count,
    Panic,
    Fail,
    Finish,
    /// Blocks the thread until the sender of the channel is dropped.
    Hang(std::sync::mpsc::Receiver<()>),
}

struct Counter {
    life: Lifeline,
    count: Arc<AtomicU64>,
    panic_in_started: bool,
    stop_when: Option<Arc<tokio::sync::Notify>>,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert!(!self.panic_in_started, "no good morning");
    }
}

impl Handler<Do> for Counter {
    type Result = u64;

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) -> u64 {
        let Some(_busy) = self.life.enter() else {
            ctx.stop();
            return u64::MAX;
        };
        self.life.working_on(42);
        match what {
            Do::Count => {}
            Do::Panic => panic!("poison"),
            Do::Fail => self.life.fail(ctx, Failure::new(FailureKind::Reported, "said so", Now::read().wall)),
            Do::Finish => self.life.finish(ctx),
            Do::Hang(until) => {
                until.recv().ok();
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Handler<Stop> for Counter {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        match self.stop_when.take() {
            None => self.life.finish(ctx),
            Some(when) => {
                let wait = async move { when.notified().await };
                let end = actix::fut::wrap_future::<_, Self>(wait);
                ctx.spawn(actix::fut::ActorFutureExt::map(end, |(), me: &mut Self, ctx: &mut Context<Self>| {
                    me.life.finish(ctx)
                }));
            }
        }
    }
}

#[derive(Default, Clone)]
struct Plan {
    panic_in_started: Arc<Mutex<u32>>,
    panic_in_start: Arc<Mutex<u32>>,
    error_in_start: Arc<Mutex<u32>>,
    stop_when: Option<Arc<tokio::sync::Notify>>,
}

fn once(left: &Mutex<u32>) -> bool {
    let mut left = left.lock().unwrap();
    let yes = *left > 0;
    *left = left.saturating_sub(1);
    yes
}

fn spec(path: &str, front: &Front<Do>, plan: Plan) -> ChildSpec {
    let front = front.clone();
    ChildSpec::new(path, "counter", move |life| {
        if once(&plan.error_in_start) {
            return Err(StartError::new("no disk"));
        }
        assert!(!once(&plan.panic_in_start), "no start");
        // A fresh state for each incarnation, as for a real actor.
        let actor = Counter {
            life,
            count: Arc::default(),
            panic_in_started: once(&plan.panic_in_started),
            stop_when: plan.stop_when.clone(),
        };
        let addr = actor.start();
        Ok(Started::new(&addr).serves(&front, &addr).capacity(16))
    })
    .strategy(quick())
}

/// The strategy of actors with a short backoff, so that the tests are fast; what they wait for is a change.
fn quick() -> RestartStrategy {
    let (base, max) = (Duration::from_millis(1), Duration::from_millis(4));
    RestartStrategy {
        backoff: Backoff::Exponential { base, factor: 2.0, max, jitter: 0.0 },
        ..RestartStrategy::actor()
    }
}

struct Rig {
    supervisor: Addr<Supervisor>,
    changes: broadcast::Receiver<Change>,
    fatal: mpsc::UnboundedReceiver<(Arc<str>, Failure)>,
}

impl Rig {
    async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let (tell, fatal) = mpsc::unbounded_channel();
        let mut settings = Settings::new(move |path, failure| {
            tell.send((path, failure)).ok();
        });
        settings.threads = 1;
        settings.tick = Duration::from_millis(10);
        change(&mut settings);
        let supervisor = Supervisor::start(settings).unwrap();
        let changes = supervisor.send(Watch).await.unwrap().changes;
        Self { supervisor, changes, fatal }
    }

    async fn spawn(&mut self, spec: ChildSpec) {
        let path = spec.path.clone();
        self.supervisor.send(Spawn(spec)).await.unwrap().unwrap();
        self.until(&path, "running").await;
    }

    async fn change(&mut self) -> Change {
        let wait = tokio::time::timeout(Duration::from_secs(20), self.changes.recv());
        wait.await.expect("the change did not come within 20 s").unwrap()
    }

    async fn until(&mut self, path: &str, state: &str) -> Node {
        loop {
            if let Change::Node(node) = self.change().await
                && &*node.path == path
                && node.state == state
            {
                return *node;
            }
        }
    }

    async fn node(&self, path: &str) -> Node {
        let nodes = self.supervisor.send(Snapshot).await.unwrap();
        nodes.into_iter().find(|node| &*node.path == path).unwrap()
    }

    async fn control(&self, path: &str, verb: Verb) -> Result<Node, ControlError> {
        self.supervisor.send(Control { path: path.to_owned(), verb }).await.unwrap()
    }
}

#[actix::test]
async fn a_panic_is_contained_and_a_fresh_actor_serves_within_250_ms() {
    let mut rig = Rig::new(|_| {}).await;
    let (front, sibling) = (Front::new(), Front::new());
    // The real strategy: 100 ms of backoff are within the promise.
    rig.spawn(spec("/triggers/big-push", &front, Plan::default()).strategy(RestartStrategy::actor())).await;
    rig.spawn(spec("/triggers/sibling", &sibling, Plan::default())).await;
    for n in 1..=3 {
        assert_eq!(sibling.send(Do::Count).await, Ok(n));
    }
    let before = Instant::now();
    front.send(Do::Panic).await.unwrap_err();
    let down = rig.until("/triggers/big-push", "backing_off").await;
    let failure = down.last_failure.unwrap();
    assert_eq!((failure.kind, failure.culprit), (FailureKind::Panicked, Some(42)));
    assert!(failure.message.starts_with("poison at "), "{}", failure.message);
    assert!(!front.is_open());
    assert!(matches!(front.try_send(Do::Count), Err(crate::supervision::SendError::Closed(Do::Count))));
    let up = rig.until("/triggers/big-push", "running").await;
    assert_eq!((up.restarts, up.failures), (1, 1));
    assert_eq!(front.send(Do::Count).await, Ok(1), "a fresh state");
    assert!(before.elapsed() < Duration::from_millis(250), "{:?}", before.elapsed());
    assert_eq!(sibling.send(Do::Count).await, Ok(4), "the sibling on the same thread kept its state");
    assert_eq!(rig.node("/triggers/sibling").await.restarts, 0);
}

#[actix::test]
async fn every_way_of_not_starting_is_a_failure() {
    let mut rig = Rig::new(|_| {}).await;
    for (what, says) in [("/a/started", "no good morning"), ("/a/start", "no start"), ("/a/error", "no disk")] {
        let plan = Plan::default();
        let (left, kind) = match what {
            "/a/started" => (&plan.panic_in_started, FailureKind::Panicked),
            "/a/start" => (&plan.panic_in_start, FailureKind::Panicked),
            _ => (&plan.error_in_start, FailureKind::StartFailed),
        };
        *left.lock().unwrap() = 1;
        let front = Front::new();
        rig.supervisor.send(Spawn(spec(what, &front, plan))).await.unwrap().unwrap();
        let failure = rig.until(what, "backing_off").await.last_failure.unwrap();
        assert!(failure.kind == kind && failure.message.contains(says), "{failure}");
        rig.until(what, "running").await;
        assert_eq!(front.send(Do::Count).await, Ok(1));
    }
}

#[actix::test]
async fn a_report_and_an_unasked_end_are_failures() {
    let mut rig = Rig::new(|_| {}).await;
    let front = Front::new();
    rig.spawn(spec("/a/b", &front, Plan::default())).await;
    for (what, kind) in [(Do::Fail, FailureKind::Reported), (Do::Finish, FailureKind::StoppedUnasked)] {
        assert!(front.send(what).await.is_ok());
        assert_eq!(rig.until("/a/b", "backing_off").await.last_failure.unwrap().kind, kind);
        rig.until("/a/b", "running").await;
    }
}

#[actix::test]
async fn a_transient_child_goes_when_its_work_is_done() {
    let mut rig = Rig::new(|_| {}).await;
    let front = Front::new();
    rig.spawn(spec("/a/delivery", &front, Plan::default()).transient()).await;
    front.send(Do::Finish).await.unwrap();
    while rig.change().await != (Change::Removed { path: "/a/delivery".into() }) {}
    assert!(!front.is_open());
}

#[actix::test]
async fn a_crash_loop_ends_in_quarantine_and_a_reset_revives() {
    let mut rig = Rig::new(|_| {}).await;
    let (front, sibling) = (Front::new(), Front::new());
    let plan = Plan::default();
    *plan.panic_in_started.lock().unwrap() = 5;
    rig.spawn(spec("/a/sibling", &sibling, Plan::default())).await;
    rig.supervisor.send(Spawn(spec("/a/loop", &front, plan))).await.unwrap().unwrap();
    let node = rig.until("/a/loop", "quarantined").await;
    assert_eq!((node.failures, node.restarts), (5, 4));
    assert_eq!(sibling.send(Do::Count).await, Ok(1));
    let refused = rig.control("/a/loop", Verb::Start).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "/a/loop is quarantined and cannot take `start`; use `reset`, which forgets its failures and starts it"
    );
    rig.control("/a/loop", Verb::Reset).await.unwrap();
    let node = rig.until("/a/loop", "running").await;
    assert_eq!((node.failures, node.failures_total), (0, 5));
    assert_eq!(front.send(Do::Count).await, Ok(1));
}

#[actix::test]
async fn a_hung_thread_is_replaced_and_only_the_culprit_is_blamed() {
    let mut rig = Rig::new(|_| {}).await;
    let (front, neighbour) = (Front::new(), Front::new());
    let hang = Some(Duration::from_millis(30));
    rig.spawn(spec("/a/hangs", &front, Plan::default()).hang_after(hang)).await;
    rig.spawn(spec("/a/neighbour", &neighbour, Plan::default()).hang_after(hang)).await;
    let (release, until) = std::sync::mpsc::channel();
    front.try_send(Do::Hang(until)).unwrap();
    // This one waits in the mailbox of the hung actor: it is told, although that mailbox is never dropped.
    let waiting = front.send(Do::Count);
    assert_eq!(waiting.await, Err(crate::supervision::front::Unanswered::Lost));
    let failure = rig.until("/a/hangs", "backing_off").await.last_failure.unwrap();
    assert_eq!((failure.kind, failure.culprit), (FailureKind::Hung, Some(42)));
    rig.until("/a/hangs", "running").await;
    assert_eq!(front.send(Do::Count).await, Ok(1));
    assert_eq!(neighbour.send(Do::Count).await, Ok(1), "the neighbour serves from the fresh thread");
    let node = rig.node("/a/neighbour").await;
    assert_eq!((node.restarts, node.failures_total, node.last_failure), (1, 0, None));
    // The old incarnation wakes, finds itself revoked, and changes nothing.
    drop(release);
    assert_eq!(front.send(Do::Count).await, Ok(2));
    assert_eq!(rig.node("/a/hangs").await.failures_total, 1);
}

#[actix::test]
async fn a_start_function_that_blocks_is_found() {
    let mut rig = Rig::new(|s| s.hang_after = Duration::from_millis(30)).await;
    let front: Front<Do> = Front::new();
    let (release, until) = std::sync::mpsc::channel::<()>();
    let until = Mutex::new(Some(until));
    let inner = spec("/a/blocks", &front, Plan::default());
    let start = Arc::clone(&inner.start);
    let blocks = ChildSpec::new("/a/blocks", "counter", move |life| {
        let until = until.lock().unwrap().take();
        if let Some(until) = until {
            until.recv().ok();
        }
        start(life)
    });
    rig.supervisor
        .send(Spawn(blocks.strategy(quick()).hang_after(Some(Duration::from_millis(30)))))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rig.until("/a/blocks", "backing_off").await.last_failure.unwrap().kind, FailureKind::Hung);
    rig.until("/a/blocks", "running").await;
    drop(release);
    assert_eq!(front.send(Do::Count).await, Ok(1));
}

#[actix::test]
async fn failures_escalate_from_child_to_parent_to_root() {
    let group = |failures| RestartStrategy {
        intensity: Some(Intensity { failures, within: Duration::from_secs(300) }),
        backoff: quick().backoff,
        ..RestartStrategy::parent()
    };
    let mut rig = Rig::new(|s| s.group = group(2)).await;
    let (front, sibling) = (Front::new(), Front::new());
    let brittle = RestartStrategy {
        on_exhausted: OnExhausted::Escalate,
        intensity: Some(Intensity { failures: 1, within: Duration::from_secs(60) }),
        ..quick()
    };
    rig.spawn(spec("/g/brittle", &front, Plan::default()).strategy(brittle)).await;
    rig.spawn(spec("/g/sibling", &sibling, Plan::default())).await;
    assert_eq!(sibling.send(Do::Count).await, Ok(1));
    front.send(Do::Panic).await.unwrap_err();
    let group = rig.until("/g", "backing_off").await;
    assert!(group.last_failure.unwrap().message.contains("/g/brittle panicked: poison"));
    rig.until("/g/sibling", "running").await;
    while rig.node("/g/brittle").await.state != "running" {
        rig.change().await;
    }
    assert_eq!(sibling.send(Do::Count).await, Ok(1), "the group was restarted as a whole");
    front.send(Do::Panic).await.unwrap_err();
    let (path, failure) = rig.fatal.recv().await.unwrap();
    assert_eq!(&*path, "/g");
    assert_eq!(failure.kind, FailureKind::Escalated);
}

#[actix::test]
async fn stop_and_start_by_hand() {
    let mut rig = Rig::new(|_| {}).await;
    let front = Front::new();
    rig.spawn(spec("/a/b", &front, Plan::default())).await;
    rig.control("/a/b", Verb::Stop).await.unwrap();
    rig.until("/a/b", "stopped").await;
    assert!(!front.is_open());
    rig.control("/a/b", Verb::Start).await.unwrap();
    rig.until("/a/b", "running").await;
    assert_eq!(front.send(Do::Count).await, Ok(1));
    rig.control("/a", Verb::Restart).await.unwrap();
    rig.until("/a/b", "running").await;
    let node = rig.node("/a/b").await;
    assert_eq!((node.restarts, node.failures_total), (2, 0));
    let unknown = rig.control("/a/bb", Verb::Stop).await.unwrap_err().to_string();
    assert!(unknown.starts_with("there is no actor /a/bb; did you mean") && unknown.contains("/a/b"), "{unknown}");
}

#[actix::test]
async fn remove_waits_for_a_graceful_stop() {
    let mut rig = Rig::new(|_| {}).await;
    let front = Front::new();
    let gate = Arc::new(tokio::sync::Notify::new());
    rig.spawn(spec("/a/b", &front, Plan { stop_when: Some(Arc::clone(&gate)), ..Plan::default() })).await;
    let removing = actix_rt::spawn(rig.supervisor.send(Remove("/a/b".to_owned())));
    rig.until("/a/b", "stopping").await;
    assert_eq!(front.send(Do::Count).await, Ok(1), "it still serves while it finishes");
    assert!(!removing.is_finished());
    gate.notify_one();
    removing.await.unwrap().unwrap().unwrap();
    assert!(rig.supervisor.send(Snapshot).await.unwrap().iter().all(|node| &*node.path != "/a/b"));
}

#[actix::test]
async fn shutdown_goes_in_order_and_forces_what_does_not_stop() {
    let mut rig = Rig::new(|_| {}).await;
    let (source, journal) = (Front::new(), Front::new());
    let never = Plan { stop_when: Some(Arc::default()), ..Plan::default() };
    rig.spawn(spec("/sources/github", &source, never)).await;
    rig.spawn(spec("/journal", &journal, Plan::default()).place(Place::Own)).await;
    let order = vec![
        DrainStep { path: "/sources".to_owned(), deadline: Duration::from_millis(20) },
        DrainStep { path: "/journal".to_owned(), deadline: Duration::from_secs(5) },
    ];
    let drained = rig.supervisor.send(Shutdown { order, rest: Duration::from_secs(1) });
    let drained = drained.await.unwrap();
    assert_eq!(drained.forced, ["/sources/github".into()]);
    let mut stopped = Vec::new();
    while stopped.len() < 2 {
        if let Change::Node(node) = rig.change().await
            && node.state == "stopped"
            && &*node.kind == "counter"
        {
            stopped.push(node.path);
        }
    }
    assert_eq!(stopped, ["/sources/github".into(), "/journal".into()]);
    let refused = rig.supervisor.send(Spawn(spec("/late", &source, Plan::default()))).await.unwrap();
    assert_eq!(refused, Err(ControlError::ShuttingDown));
}

#[actix::test]
async fn a_snapshot_shows_the_mailbox_the_thread_and_what_the_actor_shows() {
    let mut rig = Rig::new(|_| {}).await;
    let front: Front<Do> = Front::new();
    let inner = spec("/a/b", &front, Plan::default());
    let start = Arc::clone(&inner.start);
    let shows = ChildSpec::new("/a/b", "counter", move |life| {
        life.observe(|| serde_json::json!({"cursor": 7}));
        start(life)
    });
    rig.spawn(shows).await;
    let (release, until) = std::sync::mpsc::channel();
    front.try_send(Do::Hang(until)).unwrap();
    for _ in 0..3 {
        front.try_send(Do::Count).unwrap();
    }
    let node = loop {
        let node = rig.node("/a/b").await;
        if node.busy_ms.is_some() {
            break node;
        }
    };
    assert_eq!(node.mailbox, Some(Mailbox { depth: 3, capacity: 16 }));
    assert_eq!(node.thread.as_deref(), Some("pipeline-0"));
    assert_eq!(node.observed, Some(serde_json::json!({"cursor": 7})));
    drop(release);
    assert_eq!(front.send(Do::Count).await, Ok(5));
}

#[actix::test]
async fn a_full_mailbox_is_an_answer() {
    let mut rig = Rig::new(|_| {}).await;
    let front: Front<Do> = Front::new();
    rig.spawn(spec("/a/b", &front, Plan::default())).await;
    let (release, until) = std::sync::mpsc::channel();
    front.try_send(Do::Hang(until)).unwrap();
    let full = std::iter::repeat_with(|| front.try_send(Do::Count)).take(1_000).find_map(Result::err);
    assert!(matches!(full, Some(crate::supervision::SendError::Full(Do::Count))));
    drop(release);
}
