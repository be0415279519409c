//! The storage thread: it does what the core asks of its [`Backend`], in order, and says when.
//!
//! Writes that wait one behind the other become one batch. An export takes its snapshot in order and
//! is written to its file by a second thread, so that nothing waits for it.
//!
//! A write or flush that failed is never retried as if it had worked: after the first, every later
//! one fails with the same reason. Reads and exports of what is there go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use understudy_core::backend::{Backend, BackendError, Change, View, WriteBatch, scan};
use understudy_core::effect::StoreOp;
use understudy_core::input::StoreDone;
use understudy_core::{GroupId, IoId, Storage, snapshot};

use crate::abort::AbortOnPanic;
use crate::config::NodeConfig;
use crate::limits;

mod export;
mod failed;
mod import;
#[cfg(test)]
mod tests;

use export::{Export, Exporter};
use failed::FailsOnce;

/// One [`understudy_core::Effect::Store`].
#[derive(Debug)]
pub struct Operation {
    /// Names the completion.
    pub io: IoId,
    /// Whose rows.
    pub group: GroupId,
    /// What.
    pub op: StoreOp,
}

/// What came of an operation: every one is reported once.
pub type Completion = (IoId, Result<StoreDone, BackendError>);

/// The way to the thread, and back.
#[derive(Debug)]
pub struct Store {
    /// Bounded: the core waits for a store that is far behind.
    pub ops: Sender<Operation>,
    /// Unbounded in type only, like the WAL thread's. In the order of the operations, but that an
    /// export is reported when its file is written.
    pub completions: Receiver<Completion>,
    /// Ends when `ops` is dropped; an export under way is given up, and not reported.
    pub thread: JoinHandle<()>,
}

/// Opens the store that the configuration's namespaces need beside the core's own memory, if any.
///
/// # Errors
/// One line that says what to do.
pub fn open(config: &NodeConfig) -> anyhow::Result<Option<Arc<dyn Backend>>> {
    let mut storage = config.cluster.storage.iter();
    match storage.find(|(_, storage)| **storage == Storage::Backend) {
        Some((namespace, _)) => open_rocksdb(config)
            .map(Some)
            .with_context(|| format!("namespace `{namespace}` has `storage = \"rocksdb\"`")),
        None => Ok(None),
    }
}

#[cfg(feature = "rocksdb")]
fn open_rocksdb(config: &NodeConfig) -> anyhow::Result<Arc<dyn Backend>> {
    use crate::rocks::{Options, RocksStore};
    let store = RocksStore::open(&config.data_dir.join("rocksdb"), Options::production())?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocksdb(_: &NodeConfig) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!(
        "this binary is built without RocksDB; build it with: cargo build --release -p \
         understudy-node --features rocksdb"
    )
}

/// Starts the thread. `folder` is the data folder, in which exports are written and imports found.
///
/// # Errors
/// When the system gives no thread.
pub fn start(backend: Arc<dyn Backend>, folder: PathBuf) -> std::io::Result<Store> {
    start_with(backend, folder, Format { export: snapshot::export, import: snapshot::import })
}

/// How a group's state stands in a file: the core's way, and a test's own.
#[derive(Clone, Copy)]
struct Format {
    export: for<'a> fn(&dyn View, GroupId, &'a mut Sink<'a>) -> Result<(), BackendError>,
    import: for<'a> fn(&dyn Backend, GroupId, &'a mut Source<'a>) -> Result<(), BackendError>,
}

type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), BackendError> + 'a;
type Source<'a> = dyn FnMut(u64, usize) -> Result<Vec<u8>, BackendError> + 'a;

fn start_with(
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    format: Format,
) -> std::io::Result<Store> {
    let (ops, waiting) = bounded(limits::STORE_QUEUE_MAX);
    let (done, completions) = unbounded();
    let exporter = Exporter::start(folder.clone(), format, done.clone())?;
    let server = Server { backend: FailsOnce::new(backend), folder, format, exporter, done };
    let thread = thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || AbortOnPanic::run(|| server.serve(&waiting)))?;
    Ok(Store { ops, completions, thread })
}

struct Server {
    backend: FailsOnce,
    folder: PathBuf,
    format: Format,
    exporter: Exporter,
    done: Sender<Completion>,
}

/// Nobody listens any more: the node stops.
struct Stopped;

impl Server {
    fn serve(self, waiting: &Receiver<Operation>) {
        while let Ok(first) = waiting.recv() {
            let rest: Vec<Operation> =
                waiting.try_iter().take(limits::STORE_QUEUE_MAX - 1).collect();
            if self.turn(first, rest).is_err() {
                break;
            }
        }
        self.exporter.stop();
    }

    fn turn(&self, first: Operation, rest: Vec<Operation>) -> Result<(), Stopped> {
        let mut writes = Writes::default();
        for Operation { io, group, op } in std::iter::once(first).chain(rest) {
            if let StoreOp::Write(batch) = op {
                if writes.bytes > limits::STORE_BATCH_BYTES_MAX {
                    self.write(&mut writes)?;
                }
                writes.add(io, batch);
            } else {
                self.write(&mut writes)?;
                self.run(io, group, op)?;
            }
        }
        self.write(&mut writes)
    }

    fn write(&self, writes: &mut Writes) -> Result<(), Stopped> {
        let Writes { ids, batch, .. } = std::mem::take(writes);
        if ids.is_empty() {
            return Ok(());
        }
        let result = self.backend.write(&batch).map(|()| StoreDone::Done);
        ids.into_iter().try_for_each(|io| self.report(io, result.clone()))
    }

    fn run(&self, io: IoId, group: GroupId, op: StoreOp) -> Result<(), Stopped> {
        let backend = &self.backend;
        let result = match op {
            StoreOp::Read(keys) => {
                let rows: Result<Vec<_>, _> = keys.iter().map(|key| backend.get(key)).collect();
                rows.map(StoreDone::Rows)
            }
            StoreOp::Scan { from, until, limit, bytes } => {
                let rows = scan(backend, &from, &until, limit, bytes);
                rows.map(|(rows, more)| StoreDone::Scanned(rows, more))
            }
            StoreOp::Write(batch) => backend.write(&batch).map(|()| StoreDone::Done),
            StoreOp::Flush => backend.flush().map(|()| StoreDone::Done),
            StoreOp::Export(file) => match backend.snapshot() {
                Ok(view) => return self.exporter.begin(Export { io, group, file, view }),
                Err(error) => Err(error),
            },
            StoreOp::Import(file) => {
                let source = self.folder.join(file.to_string());
                import::run(self.format, backend, group, &source).map(|()| StoreDone::Done)
            }
        };
        self.report(io, result)
    }

    fn report(&self, io: IoId, result: Result<StoreDone, BackendError>) -> Result<(), Stopped> {
        self.done.send((io, result)).map_err(|_| Stopped)
    }
}

/// Writes that become one batch.
#[derive(Default)]
struct Writes {
    ids: Vec<IoId>,
    batch: WriteBatch,
    bytes: usize,
}

impl Writes {
    fn add(&mut self, io: IoId, mut batch: WriteBatch) {
        self.ids.push(io);
        self.bytes += batch.changes.iter().map(size).sum::<usize>();
        self.batch.changes.append(&mut batch.changes);
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put(key, value) => key.len() + value.len(),
        Change::Delete(key) => key.len(),
        Change::DeleteRange(from, until) => from.len() + until.len(),
    }
}
