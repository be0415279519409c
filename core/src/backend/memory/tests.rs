//! The suite passes for what is a backend, and fails for what is not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::backend::conformance;

#[test]
fn conforms() {
    conformance::run(&|| Box::new(MemoryBackend::default()));
}

/// Ways to be wrong that are easily overlooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ScanWithoutLimit,
    ScanIncludesUntil,
    RangeIncludesUntil,
    RangeKeepsFirst,
    TextKeys,
    LiveSnapshot,
    BatchInSteps,
    BatchBackwards,
    EmptyValueIsNone,
    LateWrite,
}

use Fault::*;

#[derive(Clone, Debug)]
struct Wrong {
    fault: Fault,
    inner: Arc<MemoryBackend>,
    late: Arc<Mutex<WriteBatch>>,
}

impl Wrong {
    fn new(fault: Fault) -> Wrong {
        Wrong { fault, inner: Arc::default(), late: Arc::default() }
    }

    /// The keys as this store keeps them.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        match self.fault {
            TextKeys => String::from_utf8_lossy(key).into_owned().into_bytes(),
            _ => key.to_vec(),
        }
    }

    fn change(&self, change: &Change) -> Change {
        match change {
            Change::Put(key, value) => Change::Put(self.key(key), value.clone()),
            Change::Delete(key) => Change::Delete(self.key(key)),
            Change::DeleteRange(from, until) => {
                let (mut from, mut until) = (from.clone(), until.clone());
                if self.fault == RangeIncludesUntil {
                    until.push(0);
                }
                if self.fault == RangeKeepsFirst {
                    from.push(0);
                }
                Change::DeleteRange(from, until)
            }
        }
    }
}

impl View for Wrong {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let value = self.inner.get(&self.key(key))?;
        Ok(value.filter(|value| self.fault != EmptyValueIsNone || !value.is_empty()))
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        match self.fault {
            ScanWithoutLimit => self.inner.scan(from, until, usize::MAX),
            ScanIncludesUntil => self.inner.scan(from, &[until, &[0]].concat(), limit),
            _ => self.inner.scan(from, until, limit),
        }
    }
}

impl Backend for Wrong {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        let mut changes: Vec<_> = batch.changes.iter().map(|change| self.change(change)).collect();
        match self.fault {
            BatchInSteps => {
                for change in changes {
                    self.inner.write(&WriteBatch { changes: vec![change] })?;
                    std::thread::yield_now();
                }
                return Ok(());
            }
            BatchBackwards => changes.reverse(),
            LateWrite => {
                let next = WriteBatch { changes };
                let now = std::mem::replace(&mut *self.late.lock().unwrap(), next);
                return self.inner.write(&now);
            }
            _ => {}
        }
        self.inner.write(&WriteBatch { changes })
    }

    fn flush(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        if self.fault == LiveSnapshot { Ok(Arc::new(self.clone())) } else { self.inner.snapshot() }
    }
}

#[test]
fn the_suite_finds_what_is_wrong() {
    let faults = [
        ScanWithoutLimit,
        ScanIncludesUntil,
        RangeIncludesUntil,
        RangeKeepsFirst,
        TextKeys,
        LiveSnapshot,
        BatchInSteps,
        BatchBackwards,
        EmptyValueIsNone,
        LateWrite,
    ];
    for fault in faults {
        let suite = || conformance::run(&|| Box::new(Wrong::new(fault)));
        assert!(catch_unwind(AssertUnwindSafe(suite)).is_err(), "{fault:?} was not found");
    }
}

/// A machine whose stores outlive those who hold them; a crash takes some unflushed batches away.
#[derive(Default)]
struct Machine(Mutex<BTreeMap<String, Arc<Disk>>>);

#[derive(Default)]
struct Disk {
    live: RwLock<Arc<MemoryBackend>>,
    written: Mutex<Vec<WriteBatch>>,
    flushed: Mutex<usize>,
}

struct Handle(Arc<Disk>);

impl Handle {
    fn live(&self) -> Arc<MemoryBackend> {
        self.0.live.read().unwrap().clone()
    }
}

impl View for Handle {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.live().get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.live().scan(from, until, limit)
    }
}

impl Backend for Handle {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        self.0.written.lock().unwrap().push(batch.clone());
        self.live().write(batch)
    }

    fn flush(&self) -> Result<(), BackendError> {
        *self.0.flushed.lock().unwrap() = self.0.written.lock().unwrap().len();
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        self.live().snapshot()
    }
}

impl Machine {
    fn disk(&self, place: &str) -> Arc<Disk> {
        self.0.lock().unwrap().entry(place.to_owned()).or_default().clone()
    }

    /// Keeps what was flushed and `more` batches; of the next one, the first `changes` changes.
    fn crash(&self, place: &str, more: usize, changes: usize) {
        let disk = self.disk(place);
        let mut written = disk.written.lock().unwrap();
        let keep = (*disk.flushed.lock().unwrap()).saturating_add(more).min(written.len());
        let torn = written.get(keep).map(|batch| batch.changes[..changes].to_vec());
        written.truncate(keep);
        written.extend(torn.map(|changes| WriteBatch { changes }));
        let after = MemoryBackend::default();
        written.iter().for_each(|batch| after.write(batch).unwrap());
        *disk.live.write().unwrap() = Arc::new(after);
    }
}

#[test]
fn rows_are_there_after_a_reopen_and_a_crash_leaves_whole_batches() {
    let run = |flushes: bool, more: usize, changes: usize| {
        let machine = Machine::default();
        let crash = |backend: Box<dyn Backend>, place: &str| {
            drop(backend);
            if !flushes {
                *machine.disk(place).flushed.lock().unwrap() = 0;
            }
            machine.crash(place, more, changes);
        };
        let suite = || {
            conformance::reopen(&|place| Box::new(Handle(machine.disk(place))), &crash);
        };
        catch_unwind(AssertUnwindSafe(suite)).is_ok()
    };
    for more in [0, 1, 77, usize::MAX] {
        assert!(run(true, more, 0), "{more} batches more than were flushed");
    }
    assert!(!run(true, 3, 5), "half a batch was not noticed");
    assert!(!run(false, 3, 0), "that a flush did nothing was not noticed");
}
