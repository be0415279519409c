//! What a node keeps: its disk, its store of rows, and the work on both that is under way.
//!
//! The store's work is done in the order asked, each piece after a while; a snapshot of it is taken
//! when it is its turn, and written by the disk's lane for files beside whatever comes then.

use std::collections::{BTreeMap, VecDeque};

use understudy_core::backend::{self, Backend, BackendError, View};
use understudy_core::disk::{DiskOp, FileName, Folder};
use understudy_core::effect::StoreOp;
use understudy_core::input::{IoFailed, StoreDone};
use understudy_core::snapshot::{self, Decoder, Item};
use understudy_core::{GroupId, Input, IoId, NodeId, Rng};

use super::{Happening, World, place};
use crate::checks::replicas_equal::Dump;
use crate::dice::fold;
use crate::faults::Fault;
use crate::files::store::SimStore;
use crate::files::{Completion, Due, FileDisk, Latency};
use crate::marks::Mark;
use crate::plan::{MICRO, MILLI};
use crate::recording::Kind;

/// A node's store outside the core, and the work on it that waits.
pub struct Rows {
    pub(super) store: SimStore,
    rng: Rng,
    latency: Latency,
    jobs: VecDeque<(IoId, GroupId, StoreOp)>,
    /// Snapshots that are being written: how many bytes each has.
    exports: BTreeMap<IoId, u64>,
}

impl Rows {
    /// An empty store; a flush takes as long as a sync.
    pub fn new(latency: Latency, rng: Rng) -> Rows {
        let (store, jobs, exports) = (SimStore::new(), VecDeque::new(), BTreeMap::new());
        Rows { store, rng, latency, jobs, exports }
    }

    /// The process dies. Returns how many batches are lost.
    pub fn crash(&mut self) -> usize {
        self.jobs.clear();
        self.exports.clear();
        self.store.crash(&mut self.rng)
    }

    /// How long the first piece of work takes.
    fn takes(&mut self) -> u64 {
        let Latency { min, max } = self.latency;
        match self.jobs.front() {
            Some((_, _, StoreOp::Flush | StoreOp::Import(_))) => self.rng.between(min, max),
            // Mostly from memory, now and then not.
            _ if self.rng.ppm(800_000) => self.rng.between(MICRO, 50 * MICRO),
            _ => self.rng.between(50 * MICRO, 3 * MILLI),
        }
    }

    /// Nothing waits to be read or written.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The store says that it is damaged.
    pub fn is_damaged(&self) -> bool {
        self.store.get(&[]).is_err_and(|error| error.damaged)
    }

    /// Every actor of a group, in order of id; `None` if the store cannot be read.
    pub fn dump(&self, group: GroupId) -> Option<Dump> {
        let mut decoder = Decoder::default();
        let pushed = snapshot::export(&self.store, group, &mut |block| {
            decoder.push(block);
            Ok(())
        });
        let mut dump = Dump::new();
        while let Some(item) = pushed.as_ref().ok().and_then(|_| decoder.next_item().ok()?) {
            if let Item::Actor(id, record) = item {
                dump.push((id, record));
            }
        }
        pushed.ok().map(|_| dump)
    }
}

/// What came of a piece of work, or what the disk has to do for it.
enum Stored {
    Done(Result<StoreDone, BackendError>),
    Write(Vec<DiskOp>, u64),
}

fn run(store: &SimStore, disk: &FileDisk, group: GroupId, op: StoreOp) -> Stored {
    let done = |result: Result<(), BackendError>| Stored::Done(result.map(|()| StoreDone::Done));
    match op {
        StoreOp::Read(keys) => {
            let rows = keys.iter().map(|key| store.get(key)).collect::<Result<_, _>>();
            Stored::Done(rows.map(StoreDone::Rows))
        }
        StoreOp::Scan { from, until, limit, bytes } => {
            let rows = backend::scan(store, &from, &until, limit, bytes);
            Stored::Done(rows.map(|(rows, more)| StoreDone::Scanned(rows, more)))
        }
        StoreOp::Write(batch) => done(store.write(&batch)),
        StoreOp::Flush => done(store.flush()),
        StoreOp::Import(file) => done(snapshot::import(store, group, &mut |offset, length| {
            let read = disk.peek(file, offset, length);
            read.map_err(|IoFailed { reason, .. }| BackendError { reason, damaged: false })
        })),
        StoreOp::Export(file) => {
            let mut bytes = Vec::new();
            let exported = snapshot::export(store, group, &mut |block| {
                bytes.extend_from_slice(block);
                Ok(())
            });
            match exported {
                Err(error) => Stored::Done(Err(error)),
                Ok(_) => {
                    let length = bytes.len() as u64;
                    let ops = vec![
                        DiskOp::Create { file, size: 0 },
                        DiskOp::Write { file, offset: 0, bytes },
                        DiskOp::Sync { file },
                        DiskOp::SyncFolder { folder: Folder::Snap },
                    ];
                    Stored::Write(ops, length)
                }
            }
        }
    }
}

fn op_words(op: &DiskOp) -> String {
    match op {
        DiskOp::Create { file, size } => format!("create {file} of {size}"),
        DiskOp::Write { file, offset, bytes } => {
            format!("write {} at {offset} of {file}", bytes.len())
        }
        DiskOp::Resize { file, size } => format!("resize {file} to {size}"),
        DiskOp::Sync { file } => format!("sync {file}"),
        DiskOp::Rename { from, to } => format!("rename {from} to {to}"),
        DiskOp::Delete { file } => format!("delete {file}"),
        DiskOp::SyncFolder { folder } => format!("sync {}", folder.as_str()),
    }
}

fn store_words(op: &StoreOp) -> String {
    match op {
        StoreOp::Read(keys) => format!("read {} rows", keys.len()),
        StoreOp::Scan { limit, .. } => format!("scan for {limit} rows"),
        StoreOp::Write(batch) => format!("write {} rows", batch.changes.len()),
        StoreOp::Flush => "flush".to_owned(),
        StoreOp::Export(file) => format!("export to {file}"),
        StoreOp::Import(file) => format!("import {file}"),
    }
}

impl World {
    // ---- asked --------------------------------------------------------------------------------

    pub(super) fn write_wal(&mut self, id: NodeId, io: IoId, offset: u64, bytes: Vec<u8>) {
        self.note(id.0, Kind::Write, &bytes, |line| {
            let length = bytes.len();
            line.text = format!("write {} of {length} bytes at {offset}", io.number);
        });
        let node = &mut self.nodes[place(id)];
        if offset / self.plan.log.segment_bytes > node.disk.wal_end() / self.plan.log.segment_bytes
        {
            self.marks.met(Mark::SegmentRotated);
        }
        node.disk.wal_write(self.now, io, offset, bytes, &mut self.counts);
        self.plan_disk(id);
    }

    pub(super) fn work_on_files(&mut self, id: NodeId, io: IoId, ops: Vec<DiskOp>) {
        let mut content = io.number.to_le_bytes().to_vec();
        for op in &ops {
            content.extend(op_words(op).into_bytes());
            if let DiskOp::Write { bytes, .. } = op {
                content.extend(bytes);
            }
        }
        self.note(id.0, Kind::Write, &content, |line| {
            let each: Vec<_> = ops.iter().map(op_words).collect();
            line.text = format!("files {}: {}", io.number, each.join(", "));
        });
        self.nodes[place(id)].disk.files(self.now, io, ops);
        self.plan_disk(id);
    }

    pub(super) fn read_file(
        &mut self,
        id: NodeId,
        io: IoId,
        (file, offset, length): (FileName, u64, usize),
    ) {
        let content = [io.number, offset, length as u64].map(u64::to_le_bytes).concat();
        self.note(id.0, Kind::Write, &content, |line| {
            line.text = format!("files {}: read {length} at {offset} of {file}", io.number);
        });
        self.nodes[place(id)].disk.read(self.now, io, file, offset, length);
        self.plan_disk(id);
    }

    pub(super) fn work_on_rows(&mut self, id: NodeId, io: IoId, group: GroupId, op: StoreOp) {
        let words = store_words(&op);
        self.note(id.0, Kind::Write, words.as_bytes(), |line| {
            line.group = u64::from(group.0);
            line.text = format!("store {}: {words}", io.number);
        });
        let rows = &mut self.nodes[place(id)].rows;
        rows.jobs.push_back((io, group, op));
        if rows.jobs.len() == 1 {
            self.plan_rows(id);
        }
    }

    // ---- done ---------------------------------------------------------------------------------

    /// Schedules what the disk does next.
    pub(super) fn plan_disk(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let at = node.disk.deadline().map(|at| at.max(self.now));
        if at.is_some() && at != node.disk_at {
            let life = node.life;
            self.nodes[place(id)].disk_at = at;
            at.into_iter().for_each(|at| self.schedule(at, Happening::Disk { node: id, life }));
        }
    }

    fn plan_rows(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        if !node.rows.jobs.is_empty() {
            let (at, life) = (self.now + node.rows.takes(), node.life);
            self.schedule(at, Happening::Rows { node: id, life });
        }
    }

    /// The disk does what is due, unless the node dies at it.
    pub(super) fn disk_done(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        if node.life != life {
            return;
        }
        node.disk_at = None;
        while let Some(due) = self.nodes[place(id)].disk.due(self.now) {
            let (fault, rate) = match due {
                Due::WalSync => (Fault::CrashAtIo, self.plan.crash_at_io_ppm),
                Due::Op { .. } => (Fault::CrashAtFile, self.plan.crash_at_file_ppm),
                Due::Read { .. } => (Fault::CrashAtFile, 0),
            };
            let removes = matches!(
                due,
                Due::Op { op: Some(DiskOp::Delete { file: FileName::Segment(_) }), .. }
            );
            let what = match due {
                Due::WalSync => String::new(),
                Due::Op { op, number, of, .. } if self.trace.keeps() => {
                    let op = op.map_or_else(String::new, op_words);
                    format!("{op} ({} of {of})", number + 1)
                }
                Due::Op { .. } | Due::Read { .. } => String::new(),
            };
            let dies = self.dice.roll(fault, id.0, rate, &mut self.counts);
            let before = dies.is_some_and(|value| value % 2 == 0);
            if !before {
                self.complete_disk(id, removes);
            }
            if let Some(value) = dies {
                self.note_fault(id.0, || match (fault, before) {
                    (Fault::CrashAtFile, true) => format!("crash just before `{what}`"),
                    (Fault::CrashAtFile, false) => format!("crash just after `{what}`"),
                    (_, true) => "crash at a sync: just before its sync is done".to_owned(),
                    (_, false) => "crash at a sync: before it hears of it".to_owned(),
                });
                return self.crash(id, fold(value >> 8, MILLI, 300 * MILLI));
            }
        }
        self.plan_disk(id);
    }

    fn complete_disk(&mut self, id: NodeId, removes: bool) {
        let completions = self.nodes[place(id)].disk.complete(self.now, &mut self.counts);
        let failed = |done: &Completion| matches!(done, Completion::Files { result: Err(_), .. });
        if removes && !completions.iter().any(failed) {
            self.marks.met(Mark::SegmentRemoved);
        }
        self.complete_each(id, completions);
    }

    fn complete_each(&mut self, id: NodeId, completions: Vec<Completion>) {
        for done in completions {
            match done {
                Completion::Wal { io, end, result } => self.wal_written(id, io, end, result),
                Completion::Files { io, result } => self.files_worked(id, io, result),
                Completion::Read { io, result, damaged } => {
                    // A node that reads its own checkpoint and finds it damaged may end.
                    self.nodes[place(id)].disk_failed |= damaged;
                    self.note_done(id, "read", io, result.is_err());
                    self.hand(id, Input::FileRead { io, result });
                }
            }
        }
    }

    fn note_done(&mut self, id: NodeId, what: &str, io: IoId, failed: bool) {
        let content = [io.number, u64::from(failed)].map(u64::to_le_bytes).concat();
        self.note(id.0, Kind::Synced, &content, |line| {
            let how = match (what, failed) {
                (_, true) => "failed",
                ("write", false) => "is durable",
                (_, false) => "done",
            };
            line.text = format!("{what} {} {how}", io.number);
        });
    }

    fn wal_written(&mut self, id: NodeId, io: IoId, end: u64, result: Result<(), IoFailed>) {
        self.note_done(id, "write", io, result.is_err());
        let node = &mut self.nodes[place(id)];
        match &result {
            Ok(()) => node.heard_end = end,
            Err(_) => node.disk_failed = true,
        }
        self.hand(id, Input::Io { io, result });
    }

    fn files_worked(&mut self, id: NodeId, io: IoId, result: Result<(), IoFailed>) {
        self.note_done(id, "files", io, result.is_err());
        let node = &mut self.nodes[place(id)];
        node.disk_failed |= result.as_ref().is_err_and(|failed| failed.lost_names);
        let Some(length) = node.rows.exports.remove(&io) else {
            return self.hand(id, Input::Files { io, result });
        };
        let result = result.map(|()| StoreDone::Exported(length));
        let result =
            result.map_err(|IoFailed { reason, .. }| BackendError { reason, damaged: false });
        self.stored(id, io, result);
    }

    pub(super) fn rows_done(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        if node.life != life {
            return;
        }
        let Some((io, group, op)) = node.rows.jobs.pop_front() else { return };
        match run(&node.rows.store, &node.disk, group, op) {
            Stored::Done(result) => self.stored(id, io, result),
            Stored::Write(ops, length) => {
                node.rows.exports.insert(io, length);
                node.disk.files(self.now, io, ops);
                self.plan_disk(id);
            }
        }
        self.plan_rows(id);
    }

    fn stored(&mut self, id: NodeId, io: IoId, result: Result<StoreDone, BackendError>) {
        self.note_done(id, "store", io, result.is_err());
        if let Err(error) = &result {
            self.nodes[place(id)].disk_failed = true;
            let fault = if error.damaged { Fault::DamagedStore } else { Fault::StoreFailed };
            self.counts.fired(fault);
        }
        self.hand(id, Input::Store { io, result });
    }
}
