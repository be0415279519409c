//! RocksDB as a [`Backend`]: one database for all groups of a node, in a folder of its own.
//!
//! Its own log is off: what it lost in a crash, the node's WAL brings back. So a write is durable at
//! the next flush, of one buffer after the other in the order they were filled, and a crash leaves
//! the rows as after some batch. Every block that is read from disk is checked against its checksum.
//!
//! A failure is never overcome here, though RocksDB would try: a write that follows a failed flush
//! or merge is an error.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, ErrorKind, ReadOptions,
    Snapshot, WriteOptions,
};
use self_cell::self_cell;
use understudy_core::backend::{Backend, BackendError, Change, Row, View, WriteBatch};

use crate::limits;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
mod mark;
#[cfg(test)]
mod tests;

use mark::Mark;

/// How much memory the database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For blocks of its files.
    pub cache_bytes: usize,
    /// For one of its [`limits::ROCKS_BUFFERS_MAX`] buffers of rows not yet written out.
    pub buffer_bytes: usize,
}

impl Options {
    /// A node's.
    pub fn production() -> Options {
        Options { cache_bytes: limits::ROCKS_CACHE_BYTES, buffer_bytes: limits::ROCKS_BUFFER_BYTES }
    }

    /// So little that a test reaches files, merges and evictions.
    pub fn tiny() -> Options {
        Options { cache_bytes: 64 * 1024, buffer_bytes: 64 * 1024 }
    }

    fn database(self) -> rocksdb::Options {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_atomic_flush(true);
        options.set_write_buffer_size(self.buffer_bytes);
        options.set_max_write_buffer_number(limits::ROCKS_BUFFERS_MAX);
        options.set_max_open_files(limits::ROCKS_FILES_MAX);
        options.set_max_background_jobs(limits::ROCKS_JOBS_MAX);
        options.set_max_manifest_file_size(limits::ROCKS_MANIFEST_BYTES_MAX);
        options.set_max_log_file_size(limits::ROCKS_LOG_BYTES_MAX);
        options.set_keep_log_file_num(limits::ROCKS_LOGS_MAX);
        // No table of counters in its log every ten minutes.
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_compression_type(DBCompressionType::Lz4);
        // A long write-out does not leave one long sync for its end.
        options.set_bytes_per_sync(1024 * 1024);
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache(self.cache_bytes));
        // Otherwise their memory would grow with the data, outside the cache's bound.
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        tables.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&tables);
        options
    }
}

/// See the module.
#[derive(Debug)]
pub struct RocksStore {
    db: Arc<DB>,
    mark: Mark,
}

impl RocksStore {
    /// Opens the database in the folder `path`, or makes it there.
    ///
    /// # Errors
    /// What is wrong with it. It is a [`BackendError`] inside when RocksDB said so.
    pub fn open(path: &Path, options: Options) -> anyhow::Result<RocksStore> {
        open(path, options).with_context(|| format!("cannot open RocksDB in `{}`", path.display()))
    }

    /// RocksDB retries a failed flush by itself and takes writes meanwhile. What it could not write
    /// once is not trusted here a second time, so the first failure is the last.
    fn refuse_after_background_error(&self) -> Result<(), BackendError> {
        let errors =
            self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS).map_err(failure)?;
        if errors == Some(0) {
            return Ok(());
        }
        let folder = self.db.path().display();
        let reason = format!("RocksDB could not write its files; `{folder}/LOG` says why");
        Err(BackendError { reason, damaged: false })
    }
}

/// A database that is only looked at: nothing in its folder changes, and its rows are those of its
/// last flush.
pub struct RocksReader(DB);

impl RocksReader {
    /// Opens the database in the folder `path`.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open(path: &Path) -> anyhow::Result<RocksReader> {
        let flushed = Mark::of(path).read()?;
        refuse_headless(path)?;
        let mut options = Options::tiny().database();
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, path, false).map_err(failure)?;
        refuse_older(&db, flushed)?;
        Ok(RocksReader(db))
    }
}

impl View for RocksReader {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.get_opt(key, &read_options()).map_err(failure)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        collect(self.0.raw_iterator_opt(scan_options(until)), from, limit)
    }
}

fn open(path: &Path, options: Options) -> anyhow::Result<RocksStore> {
    let mark = Mark::of(path);
    let flushed = mark.read()?;
    make_folder(path)?;
    refuse_headless(path)?;
    let db = DB::open(&options.database(), path).map_err(failure)?;
    refuse_older(&db, flushed)?;
    Ok(RocksStore { db: Arc::new(db), mark })
}

fn refuse_older(db: &DB, flushed: u64) -> Result<(), BackendError> {
    let found = db.latest_sequence_number();
    if found >= flushed {
        return Ok(());
    }
    let reason = format!("it is at change {found}, and had flushed change {flushed}");
    Err(BackendError { reason, damaged: true })
}

/// Makes the folder, with a name that outlives a power failure.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir(path)?;
    mark::sync_parent(path)
}

/// Without the file `CURRENT` RocksDB takes the folder for a new one, and removes the tables in it.
fn refuse_headless(path: &Path) -> anyhow::Result<()> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        if entry?.path().extension().is_some_and(|kind| kind == "sst") {
            let reason = "its file `CURRENT` is missing, and its tables are not".to_owned();
            return Err(BackendError { reason, damaged: true }.into());
        }
    }
    Ok(())
}

/// A table that is gone is damage as much as one that is altered.
fn failure(error: rocksdb::Error) -> BackendError {
    let reason = error.as_ref().replace('\n', " ");
    let damaged = match error.kind() {
        ErrorKind::Corruption => true,
        ErrorKind::IOError => reason.contains("No such file or directory"),
        _ => false,
    };
    BackendError { reason, damaged }
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// For rows before `until`: the iterator does not look further, not even at what was deleted there.
fn scan_options(until: &[u8]) -> ReadOptions {
    let mut options = read_options();
    options.set_iterate_upper_bound(until);
    options
}

fn collect(
    mut iterator: DBRawIterator<'_>,
    from: &[u8],
    limit: usize,
) -> Result<Vec<Row>, BackendError> {
    let mut rows = Vec::new();
    iterator.seek(from);
    while rows.len() < limit {
        let Some((key, value)) = iterator.item() else {
            // The end, or an error: which of them, only the status tells.
            iterator.status().map_err(failure)?;
            break;
        };
        rows.push((key.to_vec(), value.to_vec()));
        iterator.next();
    }
    Ok(rows)
}

fn changes(batch: &WriteBatch) -> rocksdb::WriteBatch {
    let mut changes = rocksdb::WriteBatch::default();
    for change in &batch.changes {
        match change {
            Change::Put(key, value) => changes.put(key, value),
            Change::Delete(key) => changes.delete(key),
            Change::DeleteRange(from, until) if from < until => changes.delete_range(from, until),
            // RocksDB would refuse the whole batch.
            Change::DeleteRange(..) => {}
        }
    }
    changes
}

impl View for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.db.get_opt(key, &read_options()).map_err(failure)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        collect(self.db.raw_iterator_opt(scan_options(until)), from, limit)
    }
}

impl Backend for RocksStore {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        // Where RocksDB waits for space, it waits for ever, so the waiting is done here.
        options.set_no_slowdown(true);
        loop {
            match self.db.write_opt(changes(batch), &options) {
                Ok(()) => return self.refuse_after_background_error(),
                Err(error) if error.kind() == ErrorKind::Incomplete => {
                    self.refuse_after_background_error()?;
                    thread::sleep(limits::ROCKS_STALL_POLL);
                }
                Err(error) => return Err(failure(error)),
            }
        }
    }

    fn flush(&self) -> Result<(), BackendError> {
        // Before the flush: another thread may write meanwhile.
        let sequence = self.db.latest_sequence_number();
        self.db.flush().map_err(failure)?;
        self.refuse_after_background_error()?;
        self.mark.write(sequence)
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        Ok(Arc::new(RocksView(OwnedSnapshot::new(self.db.clone(), |db| db.snapshot()))))
    }
}

self_cell!(
    /// A snapshot together with the database it borrows, which so stays open as long as the snapshot.
    struct OwnedSnapshot {
        owner: Arc<DB>,
        #[covariant]
        dependent: Snapshot,
    }
);

/// The rows as they were once.
struct RocksView(OwnedSnapshot);

impl fmt::Debug for RocksView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksView({})", self.0.borrow_dependent().sequence_number())
    }
}

impl View for RocksView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.borrow_dependent().get_opt(key, read_options()).map_err(failure)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        let mut options = scan_options(until);
        // An export walks over everything once; what others read often stays in the cache.
        options.fill_cache(false);
        collect(self.0.borrow_dependent().raw_iterator_opt(options), from, limit)
    }
}
