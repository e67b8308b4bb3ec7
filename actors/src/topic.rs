//! Topics (Cast): every topic is an actor that keeps the recent tail in memory, serves subscriptions by credit, and
//! hands live viewers what is new. A slow subscriber costs disk, not memory, and slows no other.
//!
//! [`cast::Cast`] is the registry: names to topics, patterns to subscriptions.

use actix::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;

use crate::clock::{Tick, Wall};
use crate::definitions::TopicDurability;
use crate::event::{Event, Str};
use crate::log::{self, Op, Ops, Published, Record, Seq, TopicId};
use crate::supervision::front::Front;
use crate::target::redact::Redactor;
use pattern::Pattern;
use subscription::waits::Hold;
use subscription::{Settings, Verdict};

pub mod actor;
pub mod cast;
pub mod cursor;
pub mod keys;
pub mod letter;
pub mod pattern;
pub mod subscription;
pub mod tail;

/// Where a new subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliverFrom {
    /// After the newest record.
    #[default]
    New,
    /// At the oldest record kept.
    All,
    /// At a sequence.
    Sequence(Seq),
    /// At the first record stored at or after a time.
    Time(Wall),
}

impl std::str::FromStr for DeliverFrom {
    type Err = String;

    /// `new`, `all`, a sequence, or an RFC 3339 time.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => return Ok(Self::New),
            "all" => return Ok(Self::All),
            _ => {}
        }
        if let Ok(seq) = text.parse() {
            return Ok(Self::Sequence(seq));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
            format!("`{shown}` is neither new, all, a sequence nor an RFC 3339 time such as 2026-11-24T08:00:00Z")
        })?;
        Ok(Self::Time(Wall(time.as_microsecond())))
    }
}

/// Who subscribes, and how.
#[derive(Clone)]
pub struct Subscriber {
    /// The subscription's name, unique in the system.
    pub name: Str,
    /// The topics.
    pub pattern: Pattern,
    /// How it is served.
    pub settings: Settings,
    /// Only records for which this holds; others count as handled.
    pub filter: Option<hexafn_dsl::Program>,
    /// Where it begins when no cursor is stored.
    pub from: DeliverFrom,
    /// Whether its cursor is stored.
    pub durable: bool,
    /// Higher ones are served first.
    pub priority: i32,
    /// Where exhausted records go; `None` drops them (they are counted).
    pub dead_letter: Option<TopicId>,
    /// The target that gets exhausted records instead of the dead letters.
    pub fallback: Option<Fallback>,
    /// The version of what handles the records, for dead letters.
    pub version: u64,
    /// The actor that handles them.
    pub to: Front<Deliveries>,
    /// The same actor, where it can say how far it is with a delivery: the time of one then runs from the beginning of its
    /// attempt. With others it runs from the moment it was handed over.
    pub asks: Option<Front<Overdue>>,
    /// What that actor lets be with it.
    pub limit: Limit,
    /// Where to tell what became of its deliveries.
    pub feedback: Option<Feedback>,
}

/// A subscriber's own bound on its deliveries in flight, beside that of its settings: 0 while its breaker is open or it is
/// switched off, 1 for a probe. Its topics read it whenever they hand out, so the word that it has changed may be lost.
#[derive(Debug, Clone)]
pub struct Limit {
    most: Arc<AtomicUsize>,
    off: Arc<AtomicBool>,
}

impl Default for Limit {
    fn default() -> Self {
        Self { most: Arc::new(AtomicUsize::new(usize::MAX)), off: Arc::default() }
    }
}

impl Limit {
    /// Sets the bound; `None` is none.
    pub fn set(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// Says whether the subscriber is switched off, or about to end: what waits then waits for a person.
    pub fn switch(&self, off: bool) {
        self.off.store(off, Ordering::Release);
    }

    /// The bound; the greatest number when there is none.
    pub fn get(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }

    /// Whether it is switched off.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Acquire)
    }
}

/// The target that gets what another gave up.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// Its name.
    pub target: Str,
    /// Its outbox, or its topic.
    pub topic: TopicId,
    /// Takes out what it must not see.
    pub redact: Option<Arc<Redactor>>,
}

/// Events about deliveries (`hexafn.outcomes`) or runs of functions (`hexafn.executions`), for triggers that listen to them.
#[derive(Debug, Clone)]
pub struct Feedback {
    /// The number of the topic.
    pub topic: TopicId,
    /// `/targets/chat`, `/triggers/big-push`: the source of the events.
    pub source: Str,
    /// Whether what went well is told, too.
    pub delivered: bool,
}

/// The topic of what became of deliveries.
pub const OUTCOMES: &str = "hexafn.outcomes";

/// What the topics of events that are delivered again to one subscription alone begin with; its name follows.
pub const AGAIN: &str = "hexafn.again.";
/// The extension attribute of an event that is delivered again: `topic/sequence` of the first time.
pub const REPLAY_OF: &str = "replayof";

/// Where a record stood the first time, also when it is delivered again.
pub fn first_place(record: &Record) -> (&str, Seq) {
    if !record.topic.starts_with(AGAIN) {
        return (&record.topic, record.seq);
    }
    let first = record.event.extensions.iter().find(|(name, _)| &**name == REPLAY_OF);
    let place = first.and_then(|(_, place)| place.rsplit_once('/'));
    let place = place.and_then(|(topic, seq)| Some((topic, seq.parse().ok()?)));
    place.unwrap_or((&record.topic, record.seq))
}

impl Fallback {
    /// An event as it sees it.
    pub fn event(&self, event: &Event) -> Event {
        self.redact.as_ref().map_or_else(|| event.clone(), |redactor| redactor.redact(event))
    }
}

impl Subscriber {
    /// Whether it gets the records of a topic.
    pub fn serves(&self, topic: &str) -> bool {
        self.pattern.matches(topic) || topic.strip_prefix(AGAIN) == Some(&*self.name)
    }
}

/// One record for a subscriber.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The record.
    pub record: Arc<Record>,
    /// 1 at the first attempt. The answer names it, so that a late one is recognised.
    pub attempt: u32,
}

/// From a topic to a subscriber: at most as many as its credit allows.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliveries {
    /// The topic.
    pub topic: Str,
    /// The topic's front, for the answers.
    pub reply_to: Front<TopicMessage>,
    /// The records, oldest first.
    pub items: Vec<Delivery>,
    /// What the topic had heard of the subscriber when it handed these over.
    pub heard: Round,
}

/// From a topic to a subscriber: deliveries of which it has heard nothing for the time that an attempt may take. It is answered
/// with [`TopicMessage::Progress`], after all that was settled before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Overdue {
    /// The topic.
    pub topic: Str,
    /// The topic's front, for the answer.
    pub reply_to: Front<TopicMessage>,
    /// The number of the question, which the answer gives back.
    pub question: Round,
    /// The deliveries, with their attempts.
    pub items: Vec<(Seq, u32)>,
}

/// How far a subscriber is with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits for its turn: no attempt has begun.
    Waits,
    /// An attempt is being made since then.
    Begun(Tick),
    /// The subscriber does not have it.
    Unknown,
}

/// A number that grows with each message of settlements and each question, in the whole process. With it a subscriber that may have several
/// events of a key knows those that were on their way when an earlier one failed: they must not overtake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Round(u64);

/// The newest.
static ROUND: AtomicU64 = AtomicU64::new(1);

impl Round {
    /// The newest so far: a topic that starts anew has heard of all before, in the log.
    pub fn newest() -> Self {
        Self(ROUND.load(Ordering::Acquire))
    }

    /// One after all so far.
    pub fn begin() -> Self {
        Self(ROUND.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// What became of one delivery, and what to write in the same commit.
#[derive(Debug)]
pub struct Settlement {
    /// The record.
    pub seq: Seq,
    /// The attempt that it answers.
    pub attempt: u32,
    /// The verdict.
    pub verdict: Verdict,
    /// Outputs and other writes that take effect with it, or not at all.
    pub ops: Ops,
    /// Written whatever the verdict, unless it comes too late to count.
    pub told: Vec<Op>,
}

impl Settlement {
    /// One that writes nothing.
    pub fn new(seq: Seq, attempt: u32, verdict: Verdict) -> Self {
        Self { seq, attempt, verdict, ops: Ops::new(), told: Vec::new() }
    }
}

/// When a settlement is written, and who is told.
#[derive(Debug, Default)]
pub struct Write {
    /// At once: else one that brings nothing but the place of its subscription may wait for others a moment, to share a write.
    pub soon: bool,
    /// Told when it is written, so that it outlives the process; dropped where nothing is.
    pub told: Option<oneshot::Sender<()>>,
}

/// From a topic to a live viewer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Live {
    /// The new records, ascending.
    pub records: Arc<[Arc<Record>]>,
}

/// A live viewer: sees what is new from now on, without acks. One that does not keep up is dropped and told.
#[derive(Clone)]
pub struct Viewer {
    /// Identifies it.
    pub id: u64,
    /// Where to send.
    pub to: actix::Recipient<Live>,
    /// Raised when its mailbox was full, so that something is missing.
    pub overrun: Arc<AtomicBool>,
}

/// What can be done to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Stop deliveries by hand.
    Pause,
    /// Go on.
    Resume,
    /// Deliver from another place on (replay).
    Seek(DeliverFrom),
    /// Make what waits due now.
    RetryNow,
}

/// The state of a subscription on one topic.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: Str,
    /// The topic.
    pub topic: Str,
    /// Whether its cursor is stored.
    pub durable: bool,
    /// Whether it is served: else its trigger or target is not defined any more, or not for this topic, and its place is kept.
    pub configured: bool,
    /// Stopped by hand.
    pub paused: bool,
    /// Everything up to and including this is handled.
    pub ack_floor: Seq,
    /// Records between the newest and the floor.
    pub lag: u64,
    /// Deliveries with the subscriber.
    pub in_flight: usize,
    /// Deliveries that wait for another attempt.
    pub waiting: usize,
    /// Handed to the subscriber since the start: each attempt counts.
    pub attempts: u64,
    /// Handled well since the start.
    pub delivered: u64,
    /// Dead letters so far, since the start.
    pub dead_lettered: u64,
    /// All that wait, for another attempt or anything else, but for what an attempt is being made with.
    pub waits: u64,
    /// The first 20 of those that wait.
    pub next_attempts: Vec<WaitingStatus>,
}

impl SubscriptionStatus {
    /// A place that is kept and not served.
    pub fn kept(place: cast::KeptPlace) -> Self {
        Self {
            waits: place.events(),
            name: place.subscription,
            topic: place.topic,
            durable: true,
            configured: false,
            paused: false,
            ack_floor: place.floor,
            lag: place.lag,
            in_flight: 0,
            waiting: place.waiting,
            attempts: 0,
            delivered: 0,
            dead_lettered: 0,
            next_attempts: Vec::new(),
        }
    }
}

/// A delivery that waits.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct WaitingStatus {
    /// The record.
    pub seq: Seq,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is looked at next, where that is known.
    pub due: Option<String>,
    /// What it waits for.
    pub reason: Hold,
    /// Why the last failed.
    pub cause: Option<Str>,
    /// The same as `due`, to compare.
    #[serde(skip)]
    pub next: Option<Wall>,
}

impl WaitingStatus {
    /// What waits for something else until then.
    pub fn held(mut self, reason: Hold, next: Option<Wall>) -> Self {
        (self.reason, self.next, self.due) = (reason, next, next.map(Wall::rfc3339));
        self
    }
}

/// Events of a subscription that are shown of those that wait.
pub const SHOWN_WAITS: usize = 20;

/// The state of a topic.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct TopicStatus {
    /// Its name.
    pub name: Str,
    /// `disk` or `memory`.
    pub durability: &'static str,
    /// The oldest record kept.
    pub first: Seq,
    /// The newest record.
    pub last: Seq,
    /// Records kept.
    pub records: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Live viewers.
    pub viewers: usize,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// Everything a topic actor is told.
#[derive(Message)]
#[rtype(result = "()")]
pub enum TopicMessage {
    /// New records are stored.
    Published(Published),
    /// Publish to a memory topic.
    Publish {
        /// The event.
        event: Box<Event>,
        /// Answered with its place.
        reply: Option<oneshot::Sender<Arc<Record>>>,
    },
    /// Publish to a memory topic what nobody waits for.
    PublishAll(Vec<Event>),
    /// Deliveries are settled.
    Settle {
        /// The subscription.
        subscription: Str,
        /// One entry a delivery.
        items: Vec<Settlement>,
        /// Its number, where the subscriber looks at it.
        round: Option<Round>,
        /// When it is written.
        write: Write,
    },
    /// How far a subscriber is with deliveries that it was asked for by [`Overdue`].
    Progress {
        /// The subscription.
        subscription: Str,
        /// The number of the question.
        question: Round,
        /// One entry for each delivery of the question.
        items: Vec<(Seq, Progress)>,
    },
    /// Serve a subscription from now on; replaces one of the same name, which keeps its place.
    Attach(Arc<Subscriber>),
    /// Serve it no longer; `forget` also removes its cursor.
    Detach {
        /// The subscription.
        subscription: Str,
        /// Whether its stored cursor goes too.
        forget: bool,
    },
    /// The subscriber's actor was started anew: what it had in flight is lost with it.
    Restarted {
        /// The subscription.
        subscription: Str,
        /// The record it was working on when it failed; that one's attempt counts.
        culprit: Option<(Seq, Str)>,
        /// Where the subscriber looks at it: what was handed over without having heard of this it forgets.
        round: Option<Round>,
    },
    /// Look at what can be handed out: a subscriber's limit has changed, or another receiver serves it. A topic looks after
    /// every message, so one that finds the mailbox full may be dropped.
    Look,
    /// Change a subscription.
    Act {
        /// The subscription.
        subscription: Str,
        /// What to do.
        act: Act,
        /// Answered when it is done, or was not since the log failed; one that is not served here has nothing to do.
        reply: Option<oneshot::Sender<Result<(), log::Error>>>,
    },
    /// Show new records to a viewer.
    View {
        /// Who.
        viewer: Viewer,
        /// Answered with the sequence after which it sees everything.
        reply: oneshot::Sender<Seq>,
    },
    /// A viewer is gone.
    Unview(u64),
    /// Describe the state.
    Inspect(oneshot::Sender<TopicStatus>),
    /// Remove records below a sequence, by hand.
    Trim(Seq),
}

impl std::fmt::Debug for TopicMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Published(_) => "Published",
            Self::Publish { .. } => "Publish",
            Self::PublishAll(_) => "PublishAll",
            Self::Settle { .. } => "Settle",
            Self::Progress { .. } => "Progress",
            Self::Attach(_) => "Attach",
            Self::Detach { .. } => "Detach",
            Self::Restarted { .. } => "Restarted",
            Self::Look => "Look",
            Self::Act { .. } => "Act",
            Self::View { .. } => "View",
            Self::Unview(_) => "Unview",
            Self::Inspect(_) => "Inspect",
            Self::Trim(_) => "Trim",
        })
    }
}

/// What everybody else knows of a topic.
#[derive(Clone)]
pub struct TopicHandle {
    /// Its name.
    pub name: Str,
    /// Its number in the log.
    pub id: TopicId,
    /// Disk or memory.
    pub durability: TopicDurability,
    /// The actor, wherever it lives after a restart.
    pub front: Front<TopicMessage>,
    /// The newest sequence that is stored: raised by the journal before it tells the topic, so that a message which found
    /// the mailbox full is made up for.
    pub newest: Arc<AtomicU64>,
    /// The last sequence that viewers were shown, or had read by themselves when they joined: outlives the actor, so
    /// that its successor shows what came between.
    pub shown: Arc<AtomicU64>,
}
