//! The engine of the log on RocksDB, the only module that names it.
//!
//! What a reader may rely on:
//! - A group is one write batch: after a crash it is there as a whole or not at all. A synced group that was answered
//!   is there. How a loss of synced data is noticed at start: `rocks/wal.rs` (holes and bad records of the
//!   write-ahead files) and `rocks/mark.rs` (files cut or removed).
//! - Bounds come from counters that are written in the same batch as the records; at start only the first and the
//!   last record of each topic are looked up, so opening does not depend on how much is stored.
//! - A record is shown (`read`, `bounds`, `high`) only after its group's sync, where the group is synced. Table keys are visible
//!   from the write on, some hundred microseconds before.
//! - Disk full: appends are refused below the reserve. When a write runs into a full disk all the same, RocksDB
//!   refuses every further write; as soon as there is space above the reserve the next commit reopens the engine.
//! - Any other failure of a write or sync is final ([`Error::Failed`]): after a failed sync the kernel may have dropped
//!   the dirty pages, so a later sync that succeeds proves nothing.

use rocksdb::{ColumnFamily, DB, FlushOptions, Options, WriteBatch, WriteOptions};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::keys::{self, Counters, Unswept};
use super::{Batch, Bounds, Entries, Error, EventLog, Op, Receipt, Record, Seq, Str, Table, TopicId};
use crate::clock::{Tick, Wall};

mod format;
mod group;
mod mark;
mod options;
mod read;
mod shared;
mod wal;

#[cfg(test)]
mod tests;

pub use options::RocksOptions;

/// How long an answer about free space is believed.
const SPACE_EVERY: Duration = Duration::from_millis(100);
/// How long to wait between two attempts to reopen after a full disk.
const REOPEN_EVERY: Duration = Duration::from_millis(500);
/// A trim of so many bytes also drops whole files at once, instead of when compaction comes by.
const DROP_FILES_FROM: u64 = 16 << 20;

/// The log in a data directory.
pub struct RocksLog {
    options: RocksOptions,
    /// `None` only while the engine is reopened after a full disk, or when that failed.
    db: RwLock<Option<DB>>,
    writer: Mutex<Writer>,
    topics: RwLock<Topics>,
    mark: mark::Mark,
    /// Why nothing is written any more.
    failed: OnceLock<Str>,
    /// The time as of the last group: what the compaction filter goes by.
    now: Arc<AtomicI64>,
    space: Space,
    /// Whether [`Writer::unswept`] has something.
    unswept: AtomicBool,
    /// See [`EventLog::shared_bytes`].
    shared_bytes: AtomicU64,
    /// Held while the log is open; the kernel lets go of it when the process dies.
    _lock: File,
}

/// What only the committing thread touches.
struct Writer {
    /// The number of the last group written.
    group: u64,
    /// The last group known to be synced.
    synced: u64,
    /// A write met a full disk at this time: the engine must be reopened.
    full_since: Option<Tick>,
    /// Between the write of a group and the moment it is shown. Still set at the next commit only when a panic came
    /// in between: then the counters in memory are behind the disk.
    in_doubt: bool,
    /// Trimmed records that nobody has looked at.
    unswept: VecDeque<Unswept>,
    /// The bytes that trims of topics freed, of which files could not go while there was something to be swept.
    held_back: HashMap<TopicId, u64>,
    write: WriteOptions,
    chain: wal::Chain,
    scratch: group::Scratch,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<Str, TopicId>,
    by_id: HashMap<u32, Arc<Topic>>,
    /// The highest number of a topic that was removed.
    removed: u32,
}

impl Topics {
    /// The highest number that was ever given.
    fn highest(&self) -> u32 {
        self.by_id.keys().max().copied().unwrap_or(0).max(self.removed)
    }
}

/// A topic as readers see it.
struct Topic {
    id: TopicId,
    name: Str,
    high: Arc<AtomicU64>,
    counters: Mutex<Counters>,
    /// Where removing could not end, as it was said last.
    untrimmed: AtomicU64,
}

impl Topic {
    fn new(id: TopicId, name: Str, counters: Counters) -> Arc<Self> {
        let high = Arc::new(AtomicU64::new(counters.next - 1));
        Arc::new(Self { id, name, high, counters: Mutex::new(counters), untrimmed: AtomicU64::new(0) })
    }

    fn counters(&self) -> Counters {
        *lock(&self.counters)
    }

    fn show(&self, counters: Counters) {
        *lock(&self.counters) = counters;
        self.high.store(counters.next - 1, Ordering::Release);
    }
}

/// Free space on the disk of the data directory.
struct Space {
    path: PathBuf,
    reserve: u64,
    asked: AtomicU64,
    low: AtomicBool,
}

impl Space {
    fn low(&self, now: Tick) -> bool {
        let asked = Tick(self.asked.load(Ordering::Relaxed));
        if asked.0 != 0 && now.since(asked) < SPACE_EVERY {
            return self.low.load(Ordering::Relaxed);
        }
        let low = match nix::sys::statvfs::statvfs(&self.path) {
            Ok(s) => s.blocks_available().saturating_mul(s.fragment_size()) < self.reserve,
            Err(e) => {
                tracing::warn!(error = %e, "asking for the free space of the data directory failed");
                false
            }
        };
        if low != self.low.swap(low, Ordering::Relaxed) {
            let min_free = self.reserve;
            if low {
                tracing::warn!(
                    min_free,
                    "less space is free in the data directory than `storage.min_free` asks for: new events are answered 507"
                );
            } else {
                tracing::warn!(min_free, "enough space is free in the data directory: new events are taken again");
            }
        }
        self.asked.store(now.0.max(1), Ordering::Relaxed);
        low
    }
}

/// A lock whose data stays consistent when a thread panicked: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RocksLog {
    /// Opens or creates the log of a data directory, checking it as the module documentation says.
    pub fn open(options: RocksOptions) -> Result<Self, Error> {
        let failed = |what: &str, e: std::io::Error| Error::Open(format!("{what} failed ({e})").into());
        fs::create_dir_all(&options.path).map_err(|e| failed(&format!("creating {}", options.path.display()), e))?;
        let lock = File::create(options.path.join("log.lock")).map_err(|e| failed("creating log.lock", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(shown(&options.path))),
            Err(TryLockError::Error(e)) => return Err(failed("locking log.lock", e)),
        }
        // Before anything else is read, or mended: what is right for this format may destroy a later one.
        format::claim(&options.path)?;
        let (mark, marked) =
            mark::Mark::open(&options.path.join("log.mark")).map_err(|e| failed("opening log.mark", e))?;
        let now = Arc::new(AtomicI64::new(Wall::now().0));
        let opened = open_engine(&options, marked, now.clone())?;
        if opened.group < marked {
            mark.reset(opened.group).map_err(|e| failed("writing log.mark", e))?;
        }
        let space = Space {
            path: options.path.clone(),
            reserve: options.reserve,
            asked: AtomicU64::new(0),
            low: AtomicBool::new(false),
        };
        // Said at the start, and not with the first event that is refused.
        space.low(Tick::now());
        let writer = Writer {
            group: opened.group,
            // What was recovered is in the page cache at least; the first sync covers it.
            synced: marked.min(opened.group),
            full_since: None,
            in_doubt: false,
            unswept: opened.unswept,
            held_back: HashMap::new(),
            write: options::write(),
            chain: wal::Chain::default(),
            scratch: group::Scratch::default(),
        };
        Ok(Self {
            options,
            db: RwLock::new(Some(opened.db)),
            unswept: AtomicBool::new(!writer.unswept.is_empty()),
            writer: Mutex::new(writer),
            topics: RwLock::new(opened.topics),
            mark,
            failed: OnceLock::new(),
            now,
            space,
            shared_bytes: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Writes all memtables to tables: before a backup or a planned stop, so that the next start replays nothing.
    pub fn flush(&self) -> Result<(), Error> {
        let db = self.db();
        flush(engine(&db)?, true).map_err(|e| {
            let text: String = e.into();
            if is_full(&text) { Error::Full } else { self.fail(text) }
        })
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_of(&self, id: TopicId) -> Result<Arc<Topic>, Error> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.by_id.get(&id.0).cloned().ok_or(Error::NoTopic(id.0))
    }

    fn check_failed(&self) -> Result<(), Error> {
        self.failed.get().map_or(Ok(()), |why| Err(Error::Failed(why.clone())))
    }

    /// Remembers for good that writing failed.
    fn fail(&self, why: impl std::fmt::Display) -> Error {
        let why = self.failed.get_or_init(|| why.to_string().into());
        tracing::error!(%why, "writing the log failed");
        Error::Failed(why.clone())
    }

    /// Makes the engine usable again after a full disk or a panic in a commit, or says why not.
    fn usable(&self, writer: &mut Writer) -> Result<(), Error> {
        self.check_failed()?;
        if let Some(since) = writer.full_since {
            let now = Tick::now();
            if self.space.low(now) || now.since(since) < REOPEN_EVERY {
                return Err(Error::Full);
            }
            writer.full_since = Some(now);
        } else if !writer.in_doubt {
            return Ok(());
        }
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: RocksDB refuses a second handle on the same directory.
        drop(db.take());
        let opened = match open_engine(&self.options, writer.synced, self.now.clone()) {
            Ok(opened) => opened,
            Err(Error::Full) => {
                writer.full_since = Some(Tick::now());
                return Err(Error::Full);
            }
            Err(e) => return Err(self.fail(format!("reopening the log: {e}"))),
        };
        *db = Some(opened.db);
        writer.group = opened.group;
        writer.unswept = opened.unswept;
        self.tell_unswept(writer);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        // A removal may have been written and not been shown.
        topics.by_id.retain(|id, _| opened.topics.by_id.contains_key(id));
        topics.by_name.retain(|_, id| opened.topics.by_id.contains_key(&id.0));
        topics.removed = opened.topics.removed;
        for (id, topic) in opened.topics.by_id {
            // The shared watermarks stay the same objects; the counters are what is on disk.
            match topics.by_id.get(&id) {
                Some(known) => known.show(topic.counters()),
                None => {
                    topics.by_name.insert(topic.name.clone(), topic.id);
                    topics.by_id.insert(id, topic);
                }
            }
        }
        (writer.full_since, writer.in_doubt) = (None, false);
        tracing::warn!("the log was reopened and goes on");
        Ok(())
    }

    /// Writes a batch as group `writer.group + 1`, synced or not.
    fn write(&self, writer: &mut Writer, db: &DB, batch: WriteBatch, synced: bool) -> Result<(), Error> {
        fail::fail_point!("journal-before-write");
        writer.in_doubt = true;
        if let Err(text) = write_engine(db, batch, &writer.write) {
            if !is_full(&text) {
                return Err(self.fail(text));
            }
            tracing::error!(error = %text, "the disk is full");
            writer.full_since = Some(Tick::now());
            return Err(Error::Full);
        }
        writer.group += 1;
        if synced { self.sync(writer, db) } else { Ok(()) }
    }

    /// Syncs everything written so far and says so in the mark.
    fn sync(&self, writer: &mut Writer, db: &DB) -> Result<(), Error> {
        fail::fail_point!("journal-before-sync");
        fail::fail_point!("journal-slow-sync");
        fail::fail_point!("journal-sync-fails", |_| Err(self.fail("injected: sync failed")));
        // A sync that fails for want of space is as final as any other: pages may be gone.
        db.flush_wal(true).map_err(|e| self.fail(e))?;
        fail::fail_point!("journal-after-sync");
        writer.synced = writer.group;
        self.mark.raise(writer.group).map_err(|e| self.fail(format!("writing log.mark: {e}")))
    }
}

impl EventLog for RocksLog {
    fn is_low(&self) -> bool {
        self.space.low(Tick::now())
    }

    fn admits(&self, ops: &[Op]) -> Result<(), Error> {
        self.check_failed()?;
        let mut appends = false;
        for op in ops {
            if let Op::Append { topic, .. } | Op::Trim { topic, .. } | Op::Remove { topic, .. } = op {
                self.topic_of(*topic)?;
                appends |= matches!(op, Op::Append { .. });
            }
        }
        if appends && self.space.low(Tick::now()) { Err(Error::Full) } else { Ok(()) }
    }

    fn commit(&self, group: Vec<Batch>, synced: bool) -> Result<Vec<Receipt>, Error> {
        let mut writer = lock(&self.writer);
        self.usable(&mut writer)?;
        self.commit_group(&mut writer, group, synced)
    }

    fn has_unswept(&self) -> bool {
        self.unswept.load(Ordering::Acquire)
    }

    fn sweep(&self) -> Result<bool, Error> {
        self.sweep_piece()
    }

    fn shared_bytes(&self) -> u64 {
        self.shared_bytes.load(Ordering::Relaxed)
    }

    fn read(&self, topic: TopicId, from: Seq, max_records: usize, max_bytes: usize) -> Result<Vec<Arc<Record>>, Error> {
        self.read_records(topic, from, max_records, max_bytes)
    }

    fn bounds(&self, topic: TopicId) -> Result<Bounds, Error> {
        Ok(self.topic_of(topic)?.counters().bounds())
    }

    fn high(&self, topic: TopicId) -> Result<Arc<AtomicU64>, Error> {
        Ok(self.topic_of(topic)?.high.clone())
    }

    fn seq_at(&self, topic: TopicId, time: Wall) -> Result<Seq, Error> {
        self.first_seq_where(topic, |_, header| header.stored >= time)
    }

    fn seq_keeping(&self, topic: TopicId, bytes: u64) -> Result<Seq, Error> {
        self.first_seq_where(topic, |counters, header| counters.total.saturating_sub(header.offset) <= bytes)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let db = self.db();
        let db = engine(&db)?;
        let mut stored = Vec::with_capacity(1 + key.len());
        keys::table(&mut stored, table, key);
        db.get_cf(family(db, keys::CF_STATE)?, stored).map_err(|e| read_error(&e))
    }

    fn scan(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Entries, Error> {
        self.scan_table(table, prefix, limit)
    }

    fn topic(&self, name: &str) -> Result<TopicId, Error> {
        let known = |log: &Self| log.topics.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied();
        if let Some(id) = known(self) {
            return Ok(id);
        }
        let mut writer = lock(&self.writer);
        // Somebody else may have made it meanwhile.
        if let Some(id) = known(self) {
            return Ok(id);
        }
        self.usable(&mut writer)?;
        self.create_topic(&mut writer, name)
    }

    fn topics(&self) -> Result<Vec<(Str, TopicId)>, Error> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = topics.by_name.iter().map(|(name, id)| (name.clone(), *id)).collect();
        all.sort();
        Ok(all)
    }
}

fn write_engine(db: &DB, batch: WriteBatch, options: &WriteOptions) -> Result<(), String> {
    fail::fail_point!("journal-disk-full", |_| Err("injected: No space left on device".into()));
    db.write_opt(batch, options).map_err(Into::into)
}

/// What RocksDB says of ENOSPC, whether its own or the reason of an earlier background error.
fn is_full(text: &str) -> bool {
    text.contains("No space left")
}

struct Opened {
    db: DB,
    group: u64,
    topics: Topics,
    unswept: VecDeque<Unswept>,
}

/// Opens RocksDB after checking its write-ahead files, and reads what is kept in memory.
fn open_engine(options: &RocksOptions, marked: u64, now: Arc<AtomicI64>) -> Result<Opened, Error> {
    let dir = options.path.join("log");
    let open = |database: &Options| {
        DB::open_cf_descriptors(database, &dir, options::families(options, now.clone()))
            .map_err(|e| open_error(&e, &options.path))
    };
    wal::check(&dir, marked, &options.path.join("torn"), options.accept_loss)
        .map_err(|what| if is_full(&what) { Error::Full } else { loss(&what) })?;
    if dir.join("CURRENT").exists() {
        // What was in write-ahead files is in tables after this.
        drop(open(&options::recovery(options)?)?);
    }
    let db = open(&options::database(options)?)?;
    let state = family(&db, keys::CF_STATE)?;
    let number = |key: &[u8]| db.get_cf(state, key).map_err(|e| open_error(&e, &options.path));
    match number(&keys::KEY_FORMAT)?.map(|v| <[u8; 4]>::try_from(v.as_slice()).map_or(u32::MAX, u32::from_be_bytes)) {
        Some(found) if found > keys::FORMAT => return Err(Error::Format { found, known: keys::FORMAT }),
        Some(keys::FORMAT) => {}
        // What is written from now on an older version cannot read.
        Some(_) | None => {
            let mut synced = WriteOptions::default();
            synced.set_sync(true);
            db.put_cf_opt(state, keys::KEY_FORMAT, keys::FORMAT.to_be_bytes(), &synced)
                .map_err(|e| open_error(&e, &options.path))?;
        }
    }
    let group =
        number(&keys::KEY_GROUP)?.map_or(0, |v| <[u8; 8]>::try_from(v.as_slice()).map_or(0, u64::from_be_bytes));
    if group < marked && !options.accept_loss {
        return Err(loss(&format!("group {marked} had been synced, but the log ends at group {group}")));
    }
    let unswept = shared::load_unswept(&db)?;
    let topics = read::load_topics(&db, &unswept, options.accept_loss)?;
    Ok(Opened { db, group, topics, unswept })
}

fn loss(what: &str) -> Error {
    Error::Open(
        format!(
            "acknowledged data is missing: {what}. Write-ahead files were removed, cut or damaged; put them back or \
             restore a backup. To go on with what is left, start once with `hexafn serve --set storage.accept_loss=true`"
        )
        .into(),
    )
}

fn open_error(e: &rocksdb::Error, path: &Path) -> Error {
    let text = e.as_ref();
    if text.contains("lock hold by current process") || text.contains("While lock file") {
        Error::Locked(shown(path))
    } else if is_full(text) {
        Error::Full
    } else if e.kind() == rocksdb::ErrorKind::Corruption {
        loss(text)
    } else {
        Error::Open(text.into())
    }
}

fn read_error(e: &rocksdb::Error) -> Error {
    Error::Unreadable(e.as_ref().into())
}

fn shown(path: &Path) -> Str {
    path.display().to_string().into()
}

/// Writes all memtables to tables, all of them together; without `wait` it is begun.
fn flush(db: &DB, wait: bool) -> Result<(), rocksdb::Error> {
    let mut options = FlushOptions::default();
    options.set_wait(wait);
    let families = [keys::CF_LOG, keys::CF_DEDUPE, keys::CF_STATE].map(|name| db.cf_handle(name));
    let families: Vec<_> = families.iter().flatten().collect();
    db.flush_cfs_opt(&families, &options)
}

fn engine(db: &Option<DB>) -> Result<&DB, Error> {
    db.as_ref().ok_or(Error::Full)
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, Error> {
    db.cf_handle(name).ok_or_else(|| Error::Open(format!("column family `{name}` is missing").into()))
}
