//! The log: what is durable. Topics are sequences of records; cursors, switches and key-value entries are keys of
//! tables; one [`Commit`] writes any of them atomically.
//!
//! The engine is behind [`EventLog`]; only `log::rocks` names RocksDB. The [`Journal`](journal::Journal) is the one
//! writer: it drains its mailbox and makes one synced write of it.

use actix::Message;
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;

use crate::clock::Wall;
use crate::event::{Event, Str};

pub mod journal;
pub mod keys;
pub mod rocks;

/// The number of a record in its topic: 1, 2, 3 …, without gaps at append.
pub type Seq = u64;

/// The number that stands for a topic's name in keys; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// One event at its place in a topic.
#[derive(Debug)]
pub struct Record {
    /// The topic's name.
    pub topic: Str,
    /// The topic's number.
    pub topic_id: TopicId,
    /// Its place in the topic.
    pub seq: Seq,
    /// When it was stored.
    pub stored: Wall,
    /// The event.
    pub event: Event,
    /// The text that live streams send for it: made once, shared by all viewers.
    frame: OnceLock<Bytes>,
}

impl Record {
    /// A record at its place.
    pub fn new(topic: Str, topic_id: TopicId, seq: Seq, stored: Wall, event: Event) -> Self {
        Self { topic, topic_id, seq, stored, event, frame: OnceLock::new() }
    }

    /// The shared text for live streams; `make` runs at the first call only.
    pub fn frame(&self, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.frame.get_or_init(|| make(self)).clone()
    }
}

/// Identifies an event that may arrive again: within `window` of the first, it is not appended a second time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    /// The source (or trigger) in which the id is unique.
    pub scope: Str,
    /// The sender's delivery id, or a deterministic id of an output.
    pub id: Str,
    /// How long an id is remembered.
    pub window: Duration,
}

/// The tables beside the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Cursors of durable subscriptions.
    Cursor,
    /// Deliveries that wait for their next attempt.
    Waiting,
    /// Switches set at run time, tokens, definitions made over REST.
    State,
    /// Key-value entries.
    Kv,
}

/// One change of the log.
#[derive(Debug)]
pub enum Op {
    /// Appends an event, unless its dedupe key is known.
    Append {
        /// The topic.
        topic: TopicId,
        /// The event.
        event: Box<Event>,
        /// How a repetition is recognised.
        dedupe: Option<DedupeKey>,
    },
    /// Writes a key.
    Put {
        /// The table.
        table: Table,
        /// The key in it.
        key: Vec<u8>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Deletes a key; one that does not exist is no error.
    Delete {
        /// The table.
        table: Table,
        /// The key in it.
        key: Vec<u8>,
    },
    /// Removes the records below a sequence (retention).
    Trim {
        /// The topic.
        topic: TopicId,
        /// The first record that stays.
        below: Seq,
    },
    /// Removes a topic with all that is stored of it. Its number is not given again. Nothing of the same group may follow
    /// that is about the topic.
    Remove {
        /// The topic.
        topic: TopicId,
        /// Only when this is its next sequence: where something came meanwhile, nothing of it is removed.
        next: Option<Seq>,
        /// What else belongs to it.
        keys: Vec<(Table, Vec<u8>)>,
    },
}

/// When a commit is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After it is on disk.
    Synced,
    /// As soon as it is written; it reaches the disk with the next synced group. For what costs only a repetition when it is lost.
    Lazy,
}

/// The changes of one atomic write: all of them or none.
pub type Ops = SmallVec<[Op; 2]>;

/// Asks the journal for one atomic write.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Commit {
    /// The changes.
    pub ops: Ops,
    /// Who hears of it.
    pub back: Back,
}

/// Who hears what became of a commit.
#[derive(Debug)]
pub enum Back {
    /// Somebody waits for the answer, which comes when it is as durable as this.
    Reply(Durability, oneshot::Sender<Result<Receipt, Error>>),
    /// Nobody waits. It is visible as soon as it is written, ahead of what others in its group wait for, and synced with what
    /// is synced next: losing it costs a repetition. Such a commit builds on those that its sender sent before it, so it is written
    /// only by the incarnation of the journal that was given all of them: another one drops it.
    Unawaited(Epoch, Told),
}

/// Who is told when a commit is written; dropped where it is not.
pub type Told = Vec<oneshot::Sender<()>>;

/// An incarnation of the journal, as its senders saw it before they read what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

/// The present [`Epoch`]: each incarnation of the journal begins the next one before it takes its first commit.
#[derive(Debug, Clone, Default)]
pub struct Epochs(Arc<AtomicU64>);

impl Epochs {
    /// The epoch of the journal that takes commits now, or took them last.
    pub fn now(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    /// Begins the next.
    pub fn begin(&self) -> Epoch {
        Epoch(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// What became of the appends of a commit, in their order.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// One entry per [`Op::Append`].
    pub appended: SmallVec<[Appended; 2]>,
    /// Whether a topic was removed.
    pub removed: bool,
}

/// What became of one append.
#[derive(Debug, Clone)]
pub enum Appended {
    /// It is in the topic.
    Stored(Arc<Record>),
    /// It had come before.
    Duplicate {
        /// Where the first one went.
        topic: Str,
        /// Its place there.
        seq: Seq,
        /// Its event id.
        event_id: Str,
    },
}

/// From the journal to a topic, once they are as durable as was asked for: its new records, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Published {
    /// The new records, ascending without gaps.
    pub records: Vec<Arc<Record>>,
}

/// What a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The oldest record kept; equal to `next` when the topic is empty.
    pub first: Seq,
    /// The sequence that the next append gets.
    pub next: Seq,
    /// The bytes of the records kept (as stored, before the engine's compression).
    pub bytes: u64,
    /// When the oldest kept record was stored.
    pub oldest: Option<Wall>,
    /// When the newest was stored.
    pub newest: Option<Wall>,
}

/// What can go wrong with the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk is full: nothing was written; reading and delivery go on.
    #[error(
        "the disk that holds the data directory has less free space than `storage.min_free` asks for, or none; free space, lower \
         `storage.min_free`, or move `storage.path`"
    )]
    Full,
    /// A write or sync failed: nothing after it can be trusted, so nothing is acknowledged any more.
    #[error("writing the log failed ({0}); hexaFn stops acknowledging and must be restarted after the disk is checked")]
    Failed(Str),
    /// A stored record does not match its checksum or place.
    #[error("record {seq} of topic `{topic}` is damaged ({what}); restore it from a backup or trim the topic past it")]
    Corrupt {
        /// The topic.
        topic: Str,
        /// The record.
        seq: Seq,
        /// What does not match.
        what: Str,
    },
    /// Reading from the engine failed, not for one record only.
    #[error("reading the log failed ({0}); check the disk and the memory of the process")]
    Unreadable(Str),
    /// Another process has the data directory open.
    #[error("the data directory `{0}` is in use by another hexaFn process; stop it, or set another `storage.path`")]
    Locked(Str),
    /// The data directory is behind what was acknowledged, or cannot be opened.
    #[error("the data directory cannot be opened: {0}")]
    Open(Str),
    /// Written by a later version.
    #[error("the data directory has format {found}; this hexaFn reads up to {known}: use the newer hexaFn")]
    Format {
        /// The version found.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// No such topic number.
    #[error("topic number {0} does not exist")]
    NoTopic(u32),
    /// The journal is gone or stopping.
    #[error("the journal is not running")]
    Stopped,
}

/// One commit as the engine sees it: the changes, without the reply.
#[derive(Debug)]
pub struct Batch {
    /// The changes, applied all or none.
    pub ops: Ops,
}

/// Keys and values of a table, in the order of the keys.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The engine under the journal. One thread commits; any thread reads.
pub trait EventLog: Send + Sync + 'static {
    /// Whether these changes can be taken now, asked for each commit before it joins a group so that it cannot spoil
    /// the others: [`Error::Full`] for appends while the disk is below its reserve (acks and trims still go on),
    /// [`Error::NoTopic`], or what [`commit`](Self::commit) would say of any group.
    fn admits(&self, ops: &[Op]) -> Result<(), Error>;
    /// Whether appends are refused for want of free space, as far as the engine looks at it.
    fn is_low(&self) -> bool {
        false
    }
    /// Writes a whole group in one write and, when `synced`, one sync; the receipts are in the order of the batches.
    /// On an error nothing of the group is visible in a topic, except after [`Error::Failed`], when nothing is sure.
    /// An empty group with `synced` syncs what was written unsynced.
    fn commit(&self, group: Vec<Batch>, synced: bool) -> Result<Vec<Receipt>, Error>;
    /// Whether a trim left something to [`sweep`](Self::sweep).
    fn has_unswept(&self) -> bool {
        false
    }
    /// Does a piece of what a trim was too large to do at once; tells whether there is more. Losing it costs that it is done again.
    fn sweep(&self) -> Result<bool, Error> {
        Ok(false)
    }
    /// The bytes of data since the start that were not written, since another record of the same group has the same data.
    fn shared_bytes(&self) -> u64 {
        0
    }
    /// Reads records from a sequence on, oldest first, until a limit; at least one record when there is one.
    fn read(&self, topic: TopicId, from: Seq, max_records: usize, max_bytes: usize) -> Result<Vec<Arc<Record>>, Error>;
    /// What a topic holds.
    fn bounds(&self, topic: TopicId) -> Result<Bounds, Error>;
    /// The last sequence of a topic that may be read, shared: it is raised when a group is durable, before the journal
    /// tells anybody. A topic that missed a [`Published`] sees it here and reads on from disk.
    fn high(&self, topic: TopicId) -> Result<Arc<AtomicU64>, Error>;
    /// The first record stored at or after a time; the next sequence when there is none.
    fn seq_at(&self, topic: TopicId, time: Wall) -> Result<Seq, Error>;
    /// The first of the newest records that together take at most `bytes`: where retention by size trims to.
    fn seq_keeping(&self, topic: TopicId, bytes: u64) -> Result<Seq, Error>;
    /// Reads a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Reads the keys with a prefix in their order, at most `limit`.
    fn scan(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Entries, Error>;
    /// The number of a topic; a new name gets one, durably.
    fn topic(&self, name: &str) -> Result<TopicId, Error>;
    /// All topics with a number.
    fn topics(&self) -> Result<Vec<(Str, TopicId)>, Error>;
}
