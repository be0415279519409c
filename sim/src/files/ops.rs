//! The files lane: operations and reads, one after the other.

use std::collections::VecDeque;

use understudy_core::Rng;
use understudy_core::disk::{DiskOp, FileName};
use understudy_core::input::{IoFailed, IoId};

use super::file::{Author, File};
use super::lies::Written;
use super::names::FileId;
use super::{Completion, Due, Fail, FileDisk, Latency, Lie, NO_SPACE, failed};
use crate::faults::{Counts, Fault};

/// What moving a byte to the platter adds to a sync: 100 MB a second.
const BYTE_NS: u64 = 10;
/// What does not wait for the platter is this much quicker than a sync.
const CACHED_PART: u64 = 50;

/// See the module.
pub(super) struct FilesLane {
    rng: Rng,
    pub fail_next: Option<Fail>,
    pub lie_next: Option<(Lie, u64)>,
    jobs: VecDeque<Job>,
    /// When the first job's next operation is done.
    done_at: Option<u64>,
}

enum Job {
    Ops { io: IoId, ops: Vec<DiskOp>, done: usize },
    Read { io: IoId, file: FileName, offset: u64, length: usize },
}

impl FilesLane {
    pub fn new(rng: Rng) -> FilesLane {
        FilesLane { rng, fail_next: None, lie_next: None, jobs: VecDeque::new(), done_at: None }
    }

    pub fn done_at(&self) -> Option<u64> {
        self.done_at
    }

    pub fn due(&self) -> Option<Due<'_>> {
        self.jobs.front().map(|job| match job {
            Job::Ops { io, ops, done } => {
                Due::Op { io: *io, number: *done, of: ops.len(), op: ops.get(*done) }
            }
            Job::Read { io, file, .. } => Due::Read { io: *io, file: *file },
        })
    }

    pub fn crash(&mut self) {
        self.jobs.clear();
        self.done_at = None;
        self.fail_next = None;
    }

    pub fn calm(&mut self) {
        self.fail_next = None;
        self.lie_next = None;
    }

    /// The operation of the first job that is due, if it is one.
    fn next_op(&self) -> Option<&DiskOp> {
        match self.jobs.front() {
            Some(Job::Ops { ops, done, .. }) => ops.get(*done),
            Some(Job::Read { .. }) | None => None,
        }
    }
}

impl FileDisk {
    /// Queues the operations of an effect.
    pub fn files(&mut self, now: u64, io: IoId, ops: Vec<DiskOp>) {
        self.files.jobs.push_back(Job::Ops { io, ops, done: 0 });
        self.start_step(now);
    }

    /// Queues a read.
    pub fn read(&mut self, now: u64, io: IoId, file: FileName, offset: u64, length: usize) {
        self.files.jobs.push_back(Job::Read { io, file, offset, length });
        self.start_step(now);
    }

    /// What a read would find at this moment.
    ///
    /// # Errors
    /// There is no such file.
    pub fn peek(&self, file: FileName, offset: u64, length: usize) -> Result<Vec<u8>, IoFailed> {
        let content = &self.contents[&self.id(file)?];
        Ok(content.read(place(offset), length, self.damage_limit(file)))
    }

    fn start_step(&mut self, now: u64) {
        if self.files.done_at.is_some() || self.files.jobs.is_empty() {
            return;
        }
        let bytes = self.bytes_to_move();
        let waits =
            matches!(self.files.next_op(), Some(DiskOp::Sync { .. } | DiskOp::SyncFolder { .. }));
        let part = if waits { 1 } else { CACHED_PART };
        let Latency { min, max } = self.latency(now);
        let takes = self.files.rng.between(min / part, max / part) + bytes * BYTE_NS / part;
        self.files.done_at = Some(now + takes.max(1));
    }

    fn bytes_to_move(&self) -> u64 {
        let bytes = match (self.files.jobs.front(), self.files.next_op()) {
            (_, Some(DiskOp::Write { bytes, .. })) => bytes.len(),
            (_, Some(DiskOp::Sync { file })) => {
                self.id(*file).map_or(0, |id| self.contents[&id].unsynced_bytes())
            }
            (Some(Job::Read { length, .. }), _) => *length,
            _ => 0,
        };
        bytes as u64
    }

    /// Runs the next operation or read, and starts the one behind it.
    pub(super) fn complete_step(&mut self, now: u64, counts: &mut Counts) -> Option<Completion> {
        self.files.done_at = None;
        let completion = match self.files.jobs.pop_front()? {
            Job::Read { io, file, offset, length } => {
                Some(self.complete_read(io, file, offset, length))
            }
            Job::Ops { io, ops, done } => {
                let result = match ops.get(done) {
                    Some(op) => self.run_or_fail(now, op, counts),
                    None => Ok(()),
                };
                if result.is_ok() && done + 1 < ops.len() {
                    self.files.jobs.push_front(Job::Ops { io, ops, done: done + 1 });
                    None
                } else {
                    if result.is_ok() {
                        self.promise_settled();
                    }
                    Some(Completion::Files { io, result })
                }
            }
        };
        self.start_step(now);
        completion
    }

    fn complete_read(&self, io: IoId, file: FileName, offset: u64, length: usize) -> Completion {
        let result = self.peek(file, offset, length);
        let right = self.id(file).map(|id| self.contents[&id].read(place(offset), length, 0));
        Completion::Read { io, damaged: result != right, result }
    }

    /// Runs an operation of a process, unless a fault is due.
    fn run_or_fail(&mut self, now: u64, op: &DiskOp, counts: &mut Counts) -> Result<(), IoFailed> {
        let fail_next = &mut self.files.fail_next;
        match op {
            DiskOp::Sync { .. } | DiskOp::SyncFolder { .. } => {
                if fail_next.take_if(|fail| *fail == Fail::Sync).is_some() {
                    counts.fired(Fault::SyncFailed);
                    return Err(self.fail_sync(op));
                }
                return self.sync_and_lie(op, counts);
            }
            DiskOp::Create { .. } | DiskOp::Write { .. } | DiskOp::Resize { .. }
                if now < self.full_until =>
            {
                counts.fired(Fault::DiskFull);
                return Err(failed(NO_SPACE));
            }
            DiskOp::Create { .. } | DiskOp::Write { .. } | DiskOp::Resize { .. }
                if now < self.files_full_until =>
            {
                counts.fired(Fault::FilesFull);
                return Err(failed(NO_SPACE));
            }
            _ if fail_next.take_if(|fail| *fail == Fail::Write).is_some() => {
                counts.fired(Fault::WriteFailed);
                return Err(failed("write: input/output error"));
            }
            _ => {}
        }
        let result = self.run(op);
        if result.as_ref().is_err_and(|failed| failed.reason == NO_SPACE) {
            counts.fired(Fault::DiskFull);
        }
        result
    }

    fn fail_sync(&mut self, op: &DiskOp) -> IoFailed {
        match op {
            DiskOp::Sync { file } => {
                if let Ok(id) = self.id(*file) {
                    self.content(id).fail_sync(Author::Files);
                }
            }
            DiskOp::SyncFolder { folder } => self.names.fail_sync(*folder),
            _ => {}
        }
        let lost_names = matches!(op, DiskOp::SyncFolder { .. });
        IoFailed { lost_names, ..failed("fsync: input/output error") }
    }

    fn sync_and_lie(&mut self, op: &DiskOp, counts: &mut Counts) -> Result<(), IoFailed> {
        let lied_about = match op {
            DiskOp::Sync { file: file @ (FileName::Part(..) | FileName::Snapshot(..)) } => {
                self.id(*file).ok()
            }
            _ => None,
        };
        let lie = self.files.lie_next.zip(lied_about.map(|id| self.about_to_sync(id)));
        self.run(op)?;
        if let Some((lie, written)) = lie
            && self.lie_about(lie, &[written], counts)
        {
            self.files.lie_next = None;
        }
        Ok(())
    }

    fn about_to_sync(&self, id: FileId) -> Written {
        let file = &self.contents[&id];
        Written { id, bytes: file.unsynced_ranges(), before: file.synced().to_vec() }
    }

    /// Runs one operation.
    pub(super) fn run(&mut self, op: &DiskOp) -> Result<(), IoFailed> {
        self.promise_no_more(op);
        match op {
            DiskOp::Create { file, size } => self.create(*file, *size),
            DiskOp::Write { file, offset, bytes } => {
                let id = self.id(*file)?;
                let end = offset + bytes.len() as u64;
                self.make_room(id, end.max(self.contents[&id].cached().len() as u64))?;
                self.content(id).write(place(*offset), bytes.clone(), Author::Files);
                Ok(())
            }
            DiskOp::Resize { file, size } => {
                let id = self.id(*file)?;
                self.make_room(id, *size)?;
                self.content(id).resize(place(*size));
                Ok(())
            }
            DiskOp::Sync { file } => {
                let id = self.id(*file)?;
                self.content(id).sync(Author::Files);
                Ok(())
            }
            DiskOp::Rename { from, to } => {
                assert!(
                    from.folder() == to.folder(),
                    "rename_in_one_folder: one sync could not make {from} to {to} durable"
                );
                let id = self.id(*from)?;
                if let Some(replaced) = self.names.get(*to).filter(|&replaced| replaced != id) {
                    self.content(replaced).forsake();
                }
                self.names.rename(*from, *to);
                Ok(())
            }
            DiskOp::Delete { file } => {
                if let Ok(id) = self.id(*file) {
                    self.content(id).forsake();
                    self.names.delete(*file);
                }
                Ok(())
            }
            DiskOp::SyncFolder { folder } => {
                self.names.sync(*folder);
                self.forget_unreachable();
                Ok(())
            }
        }
    }

    fn create(&mut self, name: FileName, size: u64) -> Result<(), IoFailed> {
        let id = match self.names.get(name) {
            Some(id) => id,
            None => {
                self.last_id += 1;
                self.contents.insert(self.last_id, File::default());
                self.last_id
            }
        };
        let made = self.make_room(id, size);
        if self.names.get(name).is_none() {
            // As `open` does it: the name is there, also when no space is found for the bytes.
            self.names.create(name, id);
        } else {
            self.content(id).resize(0);
        }
        made?;
        self.content(id).resize(place(size));
        Ok(())
    }

    /// Whether file `id` may be `size` bytes long.
    fn make_room(&self, id: FileId, size: u64) -> Result<(), IoFailed> {
        let now = self.contents[&id].cached().len() as u64;
        let others = self.used() - if self.is_named(id) { now } else { 0 };
        if size > now && others.saturating_add(size) > self.capacity {
            return Err(failed(NO_SPACE));
        }
        Ok(())
    }

    fn is_named(&self, id: FileId) -> bool {
        self.names.iter().any(|(_, named)| named == id)
    }

    /// What a process wants otherwise from now on is no promise any more, done or not.
    fn promise_no_more(&mut self, op: &DiskOp) {
        let names = match op {
            DiskOp::Create { file, .. }
            | DiskOp::Write { file, .. }
            | DiskOp::Resize { file, .. }
            | DiskOp::Delete { file } => [*file; 2],
            DiskOp::Rename { from, to } => [*from, *to],
            DiskOp::Sync { .. } | DiskOp::SyncFolder { .. } => return,
        };
        for name in names {
            self.promised.files.remove(&name);
        }
    }
}

/// Where in a file.
pub(super) fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
