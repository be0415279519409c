//! Work on files and on stores that is under way: who waits for which completion.

use std::collections::BTreeMap;

use crate::backend::BackendError;
use crate::disk::{DiskOp, FileName};
use crate::effect::{Effect, StoreOp};
use crate::input::{IoFailed, IoId, StoreDone};
use crate::types::{Boot, GroupId};

type Waiter<T, E> = Box<dyn FnOnce(Result<T, E>) + Send>;

/// What a store was asked.
pub struct Asked {
    /// Whose store.
    pub group: GroupId,
    /// It changes nothing and shows nobody anything: it may fail and be tried again.
    pub may_fail: bool,
    /// Who waits.
    pub then: Waiter<StoreDone, BackendError>,
}

/// See the module. A completion of an earlier life finds nobody.
pub struct Files {
    boot: Boot,
    number: u64,
    files: BTreeMap<u64, Waiter<(), IoFailed>>,
    reads: BTreeMap<u64, Waiter<Vec<u8>, IoFailed>>,
    stores: BTreeMap<u64, Asked>,
}

impl Files {
    /// Nothing is under way.
    pub fn new(boot: Boot) -> Files {
        let (files, reads, stores) = Default::default();
        Files { boot, number: 0, files, reads, stores }
    }

    fn next(&mut self) -> IoId {
        self.number += 1;
        IoId { boot: self.boot, number: self.number }
    }

    /// Asks for `ops`; `then` hears what came of them.
    pub fn work(&mut self, ops: Vec<DiskOp>, then: Waiter<(), IoFailed>) -> Effect {
        let io = self.next();
        self.files.insert(io.number, then);
        Effect::Files { io, ops }
    }

    /// Asks for up to `length` bytes of `file` at `offset`.
    pub fn read(
        &mut self,
        file: FileName,
        offset: u64,
        length: usize,
        then: Waiter<Vec<u8>, IoFailed>,
    ) -> Effect {
        let io = self.next();
        self.reads.insert(io.number, then);
        Effect::FileRead { io, file, offset, length }
    }

    /// Asks for `op` on the store of `group`.
    pub fn store(
        &mut self,
        group: GroupId,
        op: StoreOp,
        then: Waiter<StoreDone, BackendError>,
    ) -> Effect {
        let io = self.next();
        let may_fail = matches!(op, StoreOp::Export(_));
        self.stores.insert(io.number, Asked { group, may_fail, then });
        Effect::Store { io, group, op }
    }

    /// Who waits for `io`, once.
    pub fn worked(&mut self, io: IoId) -> Option<Waiter<(), IoFailed>> {
        if io.boot == self.boot { self.files.remove(&io.number) } else { None }
    }

    /// Who waits for what `io` read, once.
    pub fn has_read(&mut self, io: IoId) -> Option<Waiter<Vec<u8>, IoFailed>> {
        if io.boot == self.boot { self.reads.remove(&io.number) } else { None }
    }

    /// What the store was asked as `io`, once.
    pub fn stored(&mut self, io: IoId) -> Option<Asked> {
        if io.boot == self.boot { self.stores.remove(&io.number) } else { None }
    }
}
