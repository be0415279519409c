use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use understudy_core::FileName;
use understudy_core::backend::Row;
use understudy_core::types::Boot;

use super::*;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows in memory, and doors that a test holds shut.
#[derive(Default)]
struct Table {
    rows: Mutex<Rows>,
    batches: AtomicUsize,
    flushes: AtomicUsize,
    full: AtomicBool,
    writes: Door,
    reads: Arc<Door>,
}

/// Whoever holds it makes others wait.
type Door = Mutex<()>;

struct Picture {
    rows: Rows,
    door: Arc<Door>,
}

fn scan(rows: &Rows, from: &[u8], until: &[u8], limit: usize) -> Vec<Row> {
    let within = rows.iter().skip_while(|(key, _)| key.as_slice() < from);
    let within = within.take_while(|(key, _)| key.as_slice() < until);
    within.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl View for Picture {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        drop(self.door.lock());
        Ok(scan(&self.rows, from, until, limit))
    }
}

impl View for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.rows.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        Ok(scan(&self.rows.lock().unwrap(), from, until, limit))
    }
}

impl Backend for Table {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        drop(self.writes.lock());
        if self.full.load(Ordering::SeqCst) {
            return Err(BackendError { reason: "no space".to_owned(), damaged: false });
        }
        self.batches.fetch_add(1, Ordering::SeqCst);
        let mut rows = self.rows.lock().unwrap();
        for change in &batch.changes {
            match change {
                Change::Put(key, value) => drop(rows.insert(key.clone(), value.clone())),
                Change::Delete(key) => drop(rows.remove(key)),
                Change::DeleteRange(from, until) => {
                    rows.retain(|key, _| key < from || key >= until);
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BackendError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        let rows = self.rows.lock().unwrap().clone();
        Ok(Arc::new(Picture { rows, door: self.reads.clone() }))
    }
}

/// A row is a line; the group is not looked at.
const LINES: Format = Format {
    export: |view, _, sink| {
        for (key, value) in view.scan(&[0], &[255], usize::MAX)? {
            sink(&[key.as_slice(), b"=", &value, b"\n"].concat())?;
        }
        Ok(())
    },
    import: |backend, _, source| {
        let mut text = Vec::new();
        loop {
            let piece = source(text.len() as u64, 3)?;
            text.extend_from_slice(&piece);
            if piece.len() < 3 {
                break;
            }
        }
        backend.write(&WriteBatch { changes: vec![Change::DeleteRange(vec![0], vec![255])] })?;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let middle = line.iter().position(|byte| *byte == b'=').unwrap();
            backend.write(&put(&line[..middle], &line[middle + 1..]))?;
        }
        backend.flush()
    },
};

fn put(key: &[u8], value: &[u8]) -> WriteBatch {
    WriteBatch { changes: vec![Change::Put(key.to_vec(), value.to_vec())] }
}

fn rows(values: &[Option<&str>]) -> Result<StoreDone, BackendError> {
    Ok(StoreDone::Rows(values.iter().map(|value| value.map(|v| v.as_bytes().to_vec())).collect()))
}

const DONE: Result<StoreDone, BackendError> = Ok(StoreDone::Done);

/// A thread, its table and its folder.
struct World {
    table: Arc<Table>,
    store: Store,
    folder: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let table = Arc::new(Table::default());
        let folder =
            std::env::temp_dir().join(format!("understudy-store-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("snap")).unwrap();
        let store = start_with(table.clone(), folder.clone(), LINES).unwrap();
        World { table, store, folder }
    }

    fn ask(&self, number: u64, op: StoreOp) {
        let io = IoId { boot: Boot(1), number };
        self.store.ops.send(Operation { io, group: GroupId(1), op }).unwrap();
    }

    fn hear(&self) -> (u64, Result<StoreDone, BackendError>) {
        let (io, result) =
            self.store.completions.recv_timeout(Duration::from_secs(60)).expect("a completion");
        (io.number, result)
    }

    fn file(&self, file: FileName) -> PathBuf {
        self.folder.join(file.to_string())
    }

    fn end(self) {
        drop(self.store.ops);
        self.store.thread.join().unwrap();
        fs::remove_dir_all(self.folder).unwrap();
    }
}

const FILE: FileName = FileName::Part(GroupId(1), 1);

#[test]
fn a_read_sees_the_writes_before_it_and_none_behind_it() {
    let world = World::new("reads");
    world.ask(1, StoreOp::Write(put(b"a", b"1")));
    world.ask(2, StoreOp::Read(vec![b"a".to_vec(), b"b".to_vec()]));
    world.ask(3, StoreOp::Write(put(b"b", b"2")));
    world.ask(4, StoreOp::Flush);
    world.ask(5, StoreOp::Read(vec![b"b".to_vec()]));
    assert_eq!(world.hear(), (1, DONE));
    assert_eq!(world.hear(), (2, rows(&[Some("1"), None])));
    assert_eq!(world.hear(), (3, DONE));
    assert_eq!(world.hear(), (4, DONE));
    assert_eq!(world.hear(), (5, rows(&[Some("2")])));
    assert_eq!(world.table.flushes.load(Ordering::SeqCst), 1);
    world.end();
}

#[test]
fn writes_that_wait_together_become_one_batch_and_are_reported_one_by_one() {
    let world = World::new("batch");
    let held = world.table.writes.lock().unwrap();
    for number in 1..=100 {
        world.ask(number, StoreOp::Write(put(b"last", number.to_string().as_bytes())));
    }
    drop(held);
    for number in 1..=100 {
        assert_eq!(world.hear(), (number, DONE));
    }
    // The first may have been taken alone.
    assert!(world.table.batches.load(Ordering::SeqCst) <= 3);
    world.ask(101, StoreOp::Read(vec![b"last".to_vec()]));
    assert_eq!(world.hear(), (101, rows(&[Some("100")])));
    world.end();
}

#[test]
fn a_batch_stays_within_its_bytes() {
    let world = World::new("bytes");
    let held = world.table.writes.lock().unwrap();
    let value = vec![b'v'; limits::STORE_BATCH_BYTES_MAX / 2];
    for number in 1..=12 {
        world.ask(number, StoreOp::Write(put(b"k", &value)));
    }
    drop(held);
    (1..=12).for_each(|number| assert_eq!(world.hear(), (number, DONE)));
    assert!(world.table.batches.load(Ordering::SeqCst) >= 4, "at most three in each");
    world.end();
}

#[test]
fn after_a_failed_write_no_write_or_flush_succeeds_again() {
    let world = World::new("fails");
    world.ask(1, StoreOp::Write(put(b"a", b"1")));
    assert_eq!(world.hear(), (1, DONE));
    world.table.full.store(true, Ordering::SeqCst);
    world.ask(2, StoreOp::Write(put(b"a", b"2")));
    let failed = Err(BackendError { reason: "no space".to_owned(), damaged: false });
    assert_eq!(world.hear(), (2, failed.clone()));
    world.table.full.store(false, Ordering::SeqCst);
    world.ask(3, StoreOp::Write(put(b"b", b"3")));
    world.ask(4, StoreOp::Flush);
    world.ask(5, StoreOp::Read(vec![b"a".to_vec(), b"b".to_vec()]));
    assert_eq!(world.hear(), (3, failed.clone()));
    assert_eq!(world.hear(), (4, failed));
    assert_eq!(world.hear(), (5, rows(&[Some("1"), None])));
    assert_eq!(world.table.flushes.load(Ordering::SeqCst), 0);
    world.end();
}

#[test]
fn an_export_shows_its_moment_and_nothing_waits_for_it() {
    let world = World::new("export");
    let reads = world.table.reads.clone();
    let held = reads.lock().unwrap();
    world.ask(1, StoreOp::Write(put(b"a", b"1")));
    world.ask(2, StoreOp::Export(FILE));
    world.ask(3, StoreOp::Write(put(b"a", b"2")));
    world.ask(4, StoreOp::Read(vec![b"a".to_vec()]));
    assert_eq!(world.hear(), (1, DONE));
    assert_eq!(world.hear(), (3, DONE));
    assert_eq!(world.hear(), (4, rows(&[Some("2")])));
    assert_eq!(world.store.completions.try_recv(), Err(TryRecvError::Empty));
    drop(held);
    assert_eq!(world.hear(), (2, Ok(StoreDone::Exported(4))));
    assert_eq!(fs::read_to_string(world.file(FILE)).unwrap(), "a=1\n");
    world.end();
}

#[test]
fn an_import_replaces_the_rows_and_is_flushed() {
    let world = World::new("import");
    fs::write(world.file(FILE), "name=hamlet\nlines=1506\n").unwrap();
    world.ask(1, StoreOp::Write(put(b"old", b"1")));
    world.ask(2, StoreOp::Import(FILE));
    world.ask(3, StoreOp::Read(vec![b"old".to_vec(), b"name".to_vec(), b"lines".to_vec()]));
    assert_eq!(world.hear(), (1, DONE));
    assert_eq!(world.hear(), (2, DONE));
    assert_eq!(world.hear(), (3, rows(&[None, Some("hamlet"), Some("1506")])));
    assert_eq!(world.table.flushes.load(Ordering::SeqCst), 1);
    world.end();
}

#[test]
fn the_cores_own_format_comes_out_as_it_went_in() {
    let World { store, folder, .. } = World::new("format");
    drop(store);
    let group = GroupId(3);
    let (old, new) = (FileName::Part(group, 1), FileName::Part(group, 2));
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/frozen/v3/snapshot.bin");
    fs::copy(&frozen, folder.join(old.to_string())).unwrap();
    let store = start(Arc::new(Table::default()), folder.clone()).unwrap();
    let length = fs::metadata(&frozen).unwrap().len();
    let exported = Ok(StoreDone::Exported(length));
    for (number, op, done) in [(1, StoreOp::Import(old), DONE), (2, StoreOp::Export(new), exported)]
    {
        let io = IoId { boot: Boot(1), number };
        store.ops.send(Operation { io, group, op }).unwrap();
        assert_eq!(store.completions.recv().unwrap(), (io, done));
    }
    let exported = fs::read(folder.join(new.to_string())).unwrap();
    assert_eq!(exported, fs::read(frozen).unwrap());
    drop(store.ops);
    store.thread.join().unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_or_read_is_an_error_that_names_it() {
    let world = World::new("files");
    fs::remove_dir_all(world.folder.join("snap")).unwrap();
    for (number, op) in [(1, StoreOp::Export(FILE)), (2, StoreOp::Import(FILE))] {
        world.ask(number, op);
        let (heard, result) = world.hear();
        let BackendError { reason, damaged } = result.unwrap_err();
        assert_eq!((heard, damaged), (number, false));
        assert!(reason.contains("snap/1-1.part"), "{reason}");
    }
    world.ask(3, StoreOp::Write(put(b"a", b"1")));
    assert_eq!(world.hear(), (3, DONE), "other groups' rows are not to blame");
    world.end();
}

#[test]
fn the_thread_ends_with_its_sender_and_gives_up_an_export_under_way() {
    let World { table, store, folder } = World::new("ends");
    let reads = table.reads.clone();
    let held = reads.lock().unwrap();
    let io = IoId { boot: Boot(1), number: 1 };
    let op = StoreOp::Write(put(b"a", b"1"));
    store.ops.send(Operation { io, group: GroupId(1), op }).unwrap();
    let io = IoId { boot: Boot(1), number: 2 };
    store.ops.send(Operation { io, group: GroupId(1), op: StoreOp::Export(FILE) }).unwrap();
    let ops = store.ops;
    let stopper = thread::spawn(move || {
        drop(ops);
        store.thread.join().unwrap();
    });
    // The view's door is shut until the thread was told to stop.
    thread::sleep(Duration::from_millis(100));
    drop(held);
    stopper.join().unwrap();
    assert_eq!(store.completions.iter().map(|(io, _)| io.number).collect::<Vec<_>>(), [1]);
    assert!(!Path::new(&folder.join(FILE.to_string())).exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn memory_alone_needs_no_store_beside_the_core() {
    assert!(open(&config("")).unwrap().is_none());
    assert!(open(&config("storage = { b = \"memory\" }")).unwrap().is_none());
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn without_rocksdb_a_namespace_that_wants_it_is_refused_with_the_way_to_build_it() {
    let Err(error) = open(&config("storage = { b = \"rocksdb\" }")) else { panic!("it opened") };
    assert_eq!(
        format!("{error:#}"),
        "namespace `b` has `storage = \"rocksdb\"`: this binary is built without RocksDB; build \
         it with: cargo build --release -p understudy-node --features rocksdb"
    );
}

fn config(storage: &str) -> NodeConfig {
    let text = format!(
        "data_dir = \"data\"\nnode = 1\n[cluster]\nname = \"play\"\nnamespaces = [\"a\", \"b\"]\n\
         {storage}\n[[cluster.nodes]]\nid = 1\npeer = \"localhost:1\"\napi = \"localhost:2\"\n"
    );
    NodeConfig::parse(Path::new("node.toml"), &text).unwrap()
}
