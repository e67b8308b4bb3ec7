//! How RocksDB is set up, and why.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, CompactionDecision, DBCompressionType, DBRecoveryMode, LogLevel,
    Options, WriteOptions,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Wall;
use crate::log::{Error, keys};

const MIB: usize = 1024 * 1024;

/// Where the log is and how it behaves.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// The data directory. The engine is in `log/`, the mark in `log.mark`, cut-off tails in `torn/`.
    pub path: PathBuf,
    /// Below this many free bytes on its disk, appends are refused with `Full`; acks and trims still go on.
    pub reserve: u64,
    /// Open although data that was acknowledged is gone: what is left is served, and the mark is set back. A person
    /// sets this once, after reading the error.
    pub accept_loss: bool,
    /// The bytes of records that gather in memory before they become a table. At most three times as much is held.
    pub memtable: usize,
}

impl RocksOptions {
    /// The defaults for a data directory: 64 MiB reserve, 32 MiB memtable.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), reserve: 64 << 20, accept_loss: false, memtable: 32 * MIB }
    }
}

/// So many removals in a row come from a backlog that was trimmed, not from what was delivered between two flushes.
const REMOVALS: usize = 1 << 16;

/// How many write-ahead files whose content is in tables are kept to be written again.
const RECYCLED: usize = 3;

/// Options of the database as a whole, to write. The write-ahead files are recycled: their blocks are there already, so
/// a sync has to write data only (about two thirds of the time of one that makes a file longer), and they are seldom
/// removed, which held up syncs for tens of milliseconds where the file system discards (docs/adr/0010).
pub(super) fn database(options: &RocksOptions) -> Result<Options, Error> {
    let mut db = common(options)?;
    // The strictest mode that goes with recycling. It never meets content: see `recovery`.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_recycle_log_file_num(RECYCLED);
    // Each write-ahead file begins with the number and the length of the one before it: how `wal.rs` knows where the
    // content of that one ends and its former content begins.
    further(&mut db, "track_and_verify_wals=true")
}

/// Options to recover what is in write-ahead files, without writing any but empty ones: with these a database that is
/// there is opened before [`database`], since RocksDB has its strictest mode only without recycling. It also makes a
/// write-ahead file where there is none, which the other one would take for a loss.
pub(super) fn recovery(options: &RocksOptions) -> Result<Options, Error> {
    let mut db = common(options)?;
    // `wal.rs` has cut a torn tail and what is left over of a recycled file by now, so anything that does not fit is
    // damage. Closed files that were synced are listed in the manifest: a missing or shortened one refuses to open.
    db.set_wal_recovery_mode(match options.accept_loss {
        false => DBRecoveryMode::AbsoluteConsistency,
        true => DBRecoveryMode::PointInTime,
    });
    db.set_recycle_log_file_num(0);
    Ok(db)
}

/// Options that the crate has no functions for.
fn further(db: &mut Options, options: &str) -> Result<Options, Error> {
    db.get_options_from_string(options).map_err(|e| Error::Open(e.into_string().into()))
}

fn common(options: &RocksOptions) -> Result<Options, Error> {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_paranoid_checks(true);
    db.set_track_and_verify_wals_in_manifest(!options.accept_loss);
    // All column families go to tables together. Else one that is written seldom would keep old write-ahead files, and a
    // small one end them early: they would be short, and have to grow again when they are recycled.
    db.set_atomic_flush(true);
    db.set_max_total_wal_size(4 * options.memtable as u64);
    // One thread writes: nothing to run in parallel.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    db.set_enable_pipelined_write(false);
    db.set_max_background_jobs(2);
    // A long table is written back while it is made, so that its sync does not stall the sync of the log.
    db.set_bytes_per_sync(MIB as u64);
    // Memory: memtables, open files, block cache.
    db.set_db_write_buffer_size(3 * options.memtable);
    db.set_max_open_files(256);
    db.set_table_cache_num_shard_bits(4);
    // Start-up and noise.
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_max_manifest_file_size(4 * MIB);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(MIB);
    db.set_log_level(LogLevel::Warn);
    // Reserving a new file as a whole takes 25 ms on tmpfs, and gains nothing on ext4; and what was reserved and not used
    // is given back when a file is closed, which holds up syncs.
    further(&mut db, "allow_fallocate=false")
}

/// The column families. `now` is what the compaction filter of dedupe keys takes for the time.
pub(super) fn families(options: &RocksOptions, now: Arc<AtomicI64>) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(16 * MIB);
    vec![
        ColumnFamilyDescriptor::new(keys::CF_STATE, state(&cache)),
        ColumnFamilyDescriptor::new(keys::CF_LOG, log(options, &cache)),
        ColumnFamilyDescriptor::new(keys::CF_DEDUPE, dedupe(&cache, now)),
    ]
}

fn tables(cache: &Cache, block: usize, bloom: bool) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_block_size(block);
    tables.set_format_version(6);
    // In the cache, so that memory does not grow with what is stored.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if bloom {
        tables.set_bloom_filter(10.0, false);
        tables.set_optimize_filters_for_memory(true);
    }
    tables
}

fn family(write_buffer: usize) -> Options {
    let mut cf = Options::default();
    // Ids and numbers do not get smaller.
    cf.set_compression_type(DBCompressionType::None);
    cf.set_write_buffer_size(write_buffer);
    cf.set_max_write_buffer_number(3);
    cf.set_level_compaction_dynamic_level_bytes(true);
    cf
}

/// Records come in ascending order, are read in that order and go in that order. Large ones are kept out of the
/// sorted tables (in blob files), so that compaction moves their keys only; a blob file goes when its last record went.
fn log(options: &RocksOptions, cache: &Cache) -> Options {
    let mut cf = family(options.memtable);
    cf.set_block_based_table_factory(&tables(cache, 16 * 1024, false));
    cf.set_enable_blob_files(true);
    // A blob is read by a call to the system each, so records that are not large stay in the tables: a backlog of small
    // ones is delivered in half the time, and writing for half a minute took no more (docs/adr/0008).
    cf.set_min_blob_size(4096);
    cf.set_blob_file_size(64 * MIB as u64);
    // Events of one source are much alike. What is not written to a table does not hold up the syncs of the log, which wait for
    // the same disk (docs/performance.md); it is done on a background thread.
    cf.set_compression_type(DBCompressionType::Lz4);
    cf.set_blob_compression_type(DBCompressionType::Lz4);
    // A table with so many removals of shared data, one after the other, is compacted with what they remove.
    cf.add_compact_on_deletion_collector_factory(2 * REMOVALS, REMOVALS, 0.0);
    // Topics of different retention share blob files: the oldest quarter is rewritten when half of it is garbage.
    cf.set_enable_blob_gc(true);
    cf.set_blob_gc_age_cutoff(0.25);
    cf.set_blob_gc_force_threshold(0.5);
    cf
}

/// Cursors and counters are overwritten all the time: the memtable absorbs that. It is large enough for the log's to be
/// full first, mostly.
fn state(cache: &Cache) -> Options {
    let mut cf = family(16 * MIB);
    cf.set_block_based_table_factory(&tables(cache, 4 * 1024, true));
    cf
}

/// Mostly asked for keys that are not there: bloom filters in the tables and in the memtable.
fn dedupe(cache: &Cache, now: Arc<AtomicI64>) -> Options {
    let mut cf = family(16 * MIB);
    cf.set_block_based_table_factory(&tables(cache, 4 * 1024, true));
    cf.set_memtable_prefix_bloom_ratio(0.05);
    cf.set_memtable_whole_key_filtering(true);
    // Expired keys go when they are compacted, at the latest after a day.
    cf.set_compaction_filter("hexafn.dedupe.expired", move |_level, _key, value: &[u8]| {
        match keys::expires_of(value) {
            Some(expires) if expires < Wall(now.load(Ordering::Relaxed)) => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        }
    });
    cf.set_periodic_compaction_seconds(24 * 3600);
    cf
}

/// Options of the write of a group. The sync is a step of its own (see `RocksLog::commit`).
pub(super) fn write() -> WriteOptions {
    let mut write = WriteOptions::default();
    write.set_sync(false);
    write
}
