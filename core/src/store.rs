//! The state of one group: rows, op-log, sequence, committed time, applied position.
//!
//! All of it changes together, entry by entry; nothing of it may exist without the rest.

use imbl::{OrdMap, Vector};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::apply::{Row, Turn, apply, apply_all};
use crate::change::{Change, ChangeKind, Changes, ChangesQuery, EventId, Fields, Lineage};
use crate::codec::{self, Corrupt};
use crate::command::{Batch, Command, Due, Outcome, Work, Write};
use crate::message::{Applied, LogPosition, Members};
use crate::oplog::{Admission, OpLog, payload_hash};
use crate::query::{Found, Page, Scan, Seen};
use crate::types::{ActorId, OpId, Record, Sequence, Timestamp};

mod cache;
mod ends;
mod feed;
pub mod keys;
mod meta;
mod outside;
mod view;

use ends::Ends;
use feed::Feed;
pub use meta::{Meta, row_hash};
pub use view::StoreView;

/// See the module.
#[derive(Debug, Default)]
pub struct Store {
    rows: Rows,
    ends: Ends,
    oplog: OpLog,
    feed: Feed,
    /// Actors that were removed because their end had come, since the last [`Store::take_expired`].
    expired: Vec<Expired>,
    /// But for what the op-log itself knows: see [`Store::meta`].
    meta: Meta,
    /// For planted bugs.
    #[cfg(sim_mutant)]
    pub sabotage: crate::mutant::sabotage::Sabotage,
}

/// An actor that was removed because its end had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The actor.
    pub id: ActorId,
    /// What it was; it had an end.
    pub record: Record,
    /// The change's place in the shard's order.
    pub sequence: Sequence,
    /// The committed time of the change.
    pub time: Timestamp,
}

/// What a change comes from.
#[derive(Clone, Copy)]
struct Cause<'a> {
    position: LogPosition,
    /// None: an actor's time was over.
    op: Option<&'a OpId>,
}

/// Where the rows are.
#[derive(Debug)]
enum Rows {
    /// All of them are here.
    Whole(OrdMap<ActorId, Record>),
    /// In a backend; those that are needed are here too.
    Outside(Box<outside::Outside>),
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::Whole(OrdMap::default())
    }
}

impl Rows {
    fn get(&self, id: &ActorId) -> Option<&Record> {
        match self {
            Rows::Whole(rows) => rows.get(id),
            Rows::Outside(outside) => {
                let known = outside.cache.get(id);
                known.unwrap_or_else(|| panic!("rows_are_prefetched: {id} is not at hand"))
            }
        }
    }

    fn replace(&mut self, id: &ActorId, record: Option<Record>) -> Option<Record> {
        match (self, record) {
            (Rows::Whole(rows), Some(record)) => rows.insert(id.clone(), record),
            (Rows::Whole(rows), None) => rows.remove(id),
            (Rows::Outside(outside), record) => outside.cache.replace(id, record),
        }
    }

    /// Something was applied.
    fn applied(&mut self) {
        if let Rows::Outside(outside) = self {
            outside.changed = true;
            outside.cache.applied();
        }
    }
}

impl Store {
    /// A store with this content, as read back from a file.
    ///
    /// # Errors
    /// [`Corrupt`] when the rows or the op-log are not those that `meta` speaks of.
    pub fn whole(
        meta: Meta,
        rows: OrdMap<ActorId, Record>,
        oplog: OpLog,
        changes: Vector<Change>,
    ) -> Result<Store, Corrupt> {
        feed::verify(&meta, &changes)?;
        let hashes = rows.iter().map(|(id, record)| row_hash(id, record));
        let rows_hash = hashes.fold(0, u64::wrapping_add);
        if rows_hash != meta.rows_hash || count(rows.len()) != meta.actors {
            return Err(Corrupt("its rows are not those it was written with".to_owned()));
        }
        if count(oplog.len()) != meta.outcomes
            || oplog.floor() != meta.floor
            || oplog.session_floor() != meta.session_floor
        {
            return Err(Corrupt("its op-log is not the one it was written with".to_owned()));
        }
        Ok(Store::with(Rows::Whole(rows), oplog, Feed::of(changes), meta))
    }

    fn with(rows: Rows, oplog: OpLog, feed: Feed, meta: Meta) -> Store {
        let ends = match &rows {
            Rows::Whole(rows) => Ends::of(rows.iter()),
            Rows::Outside(_) => Ends::outside(),
        };
        Store {
            rows,
            ends,
            oplog,
            feed,
            expired: Vec::new(),
            meta,
            #[cfg(sim_mutant)]
            sabotage: Default::default(),
        }
    }

    /// Applies one entry; `batch` is `None` for blank and membership entries.
    ///
    /// # Panics
    /// `apply_in_order`: entries are applied one after the other, without gap.
    /// `rows_are_prefetched`: of a store with its rows in a backend, none is [`Store::missing`].
    pub fn apply(&mut self, position: LogPosition, batch: Option<&Batch>) -> Vec<Applied> {
        let next = self.meta.applied.map_or(0, |applied| applied.index + 1);
        assert!(position.index == next, "apply_in_order: {} after {next}", position.index);
        let mut results = Vec::new();
        if let Some(batch) = batch {
            let time = batch.time;
            #[cfg(sim_mutant)]
            let time = crate::mutant::sabotage::time_of_apply(time);
            self.meta.committed_time = self.meta.committed_time.max(time);
            batch.due.iter().for_each(|due| self.expire(position, due));
            results = self.run_all(position, &batch.commands);
            self.feed.compact(&mut self.meta, batch.compact);
        }
        self.meta.applied = Some(position);
        self.rows.applied();
        let Meta { sequence, committed_time, rows_hash, compacted, .. } = self.meta;
        let mark = (position, &results, sequence, committed_time, rows_hash, compacted);
        let mark = codec::encode(&mark);
        self.meta.state_hash = xxh3_64_with_seed(&mark, self.meta.state_hash);
        results
    }

    /// The entry at `position`, just applied, brought these members.
    pub fn set_members(&mut self, position: LogPosition, members: Members) {
        if self.meta.lineage == Lineage::default() {
            self.meta.lineage = Lineage(xxh3_64(&codec::encode(&members)).max(1));
        }
        self.meta.members = Some((position, members));
        self.rows.applied();
    }

    fn run_all(&mut self, position: LogPosition, commands: &[Command]) -> Vec<Applied> {
        #[cfg(sim_mutant)]
        if planted!(UnorderedApply) {
            let order = self.sabotage.order(commands.len());
            return crate::mutant::sabotage::run(order, |place| {
                self.run(position, &commands[place])
            });
        }
        commands.iter().map(|command| self.run(position, command)).collect()
    }

    fn run(&mut self, position: LogPosition, command: &Command) -> Applied {
        let payload = payload_hash(command);
        self.meta.state_hash = xxh3_64_with_seed(&payload.to_le_bytes(), self.meta.state_hash);
        let now = self.meta.committed_time;
        match self.oplog.admit(command, payload) {
            Admission::Done { outcome, recorded } => Applied { outcome, replayed: true, recorded },
            Admission::Refused(refusal) => {
                Applied { outcome: Outcome::Refused(refusal), replayed: false, recorded: now }
            }
            Admission::New => {
                let cause = Cause { position, op: Some(&command.op) };
                let outcome = match &command.work {
                    Work::One(write) => self.change(cause, write),
                    Work::Batch(writes) => self.change_all(cause, writes),
                };
                let applied = Applied { outcome, replayed: false, recorded: now };
                #[cfg(sim_mutant)]
                if self.sabotage.forgets(self.meta.applied, &applied.outcome) {
                    return applied;
                }
                self.oplog.record(command, payload, applied.outcome.clone(), now);
                applied
            }
        }
    }

    /// Removes an actor if its end has come, as committed time says; decided here alone, the same on
    /// every replica.
    fn expire(&mut self, position: LogPosition, Due { id, token }: &Due) {
        let Turn { next, now } = self.turn();
        #[cfg(sim_mutant)]
        let now = crate::mutant::sabotage::time_of_expiry(now);
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        let found = self.rows.get(id).filter(|found| found.token == *token);
        let Some(record) = found.filter(|found| found.expires().is_some_and(|end| end <= now))
        else {
            return;
        };
        let record = record.clone();
        let before = self.replace(id, None);
        self.tell(Cause { position, op: None }, id, before, None);
        let time = self.meta.committed_time;
        let expired = Expired { id: id.clone(), record, sequence: next, time };
        self.expired.push(expired);
    }

    /// The actors that were removed because their end had come, since the last call.
    pub fn take_expired(&mut self) -> Vec<Expired> {
        std::mem::take(&mut self.expired)
    }

    /// No actor's end is before this; `None`: none has one.
    pub fn earliest_end(&self) -> Option<Timestamp> {
        self.ends.earliest()
    }

    /// The first of the actors that end at or before `now`; `None` where the rows are in a backend,
    /// which is asked by [`Store::ask_ends`].
    pub fn ended(&self, now: Timestamp, limit: usize) -> Option<Vec<ActorId>> {
        self.ends.due(now, limit)
    }

    /// An end that the backend has shown.
    pub fn saw_end(&mut self, end: Timestamp) {
        self.ends.saw(end);
    }

    /// The turn of the next change.
    fn turn(&self) -> Turn {
        Turn { next: Sequence(self.meta.sequence.0 + 1), now: self.meta.committed_time }
    }

    fn change(&mut self, cause: Cause<'_>, Write { id, operation }: &Write) -> Outcome {
        let turn = self.turn();
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        let (outcome, row) = apply(operation, self.rows.get(id), turn);
        #[cfg(sim_mutant)]
        let row = if self.sabotage.skips(self.meta.applied) { Row::Keep } else { row };
        let after = match row {
            Row::Keep => return outcome,
            Row::Put(record) => Some(record),
            Row::Remove => None,
        };
        let before = self.replace(id, after.clone());
        self.tell(cause, id, before, after);
        outcome
    }

    /// Adds what has just happened to the shard's order of changes.
    fn tell(
        &mut self,
        Cause { position, op }: Cause<'_>,
        id: &ActorId,
        before: Option<Record>,
        after: Option<Record>,
    ) {
        let kind = match (&before, &after, op) {
            (None, _, _) => ChangeKind::Create,
            (Some(_), Some(_), _) => ChangeKind::Update,
            (Some(_), None, Some(_)) => ChangeKind::Delete,
            (Some(_), None, None) => ChangeKind::Expire,
        };
        let Turn { next: sequence, now: time } = self.turn();
        let (id, event) = (id.clone(), EventId::new(op, sequence));
        #[cfg(sim_mutant)]
        let event = crate::mutant::sabotage::event(event);
        let change = Fields { sequence, id, kind, event, time, position, before, after };
        self.meta.sequence = sequence;
        self.feed.push(&mut self.meta, change.into());
    }

    fn change_all(&mut self, cause: Cause<'_>, writes: &[Write]) -> Outcome {
        #[cfg(sim_mutant)]
        let writes = &crate::mutant::sabotage::row_keys(writes);
        let found = |id: &ActorId| self.rows.get(id).cloned();
        let (outcomes, steps, rows) = match apply_all(writes, found, self.turn()) {
            Ok(all) => all,
            Err(refusal) => {
                #[cfg(sim_mutant)]
                for write in crate::mutant::sabotage::happens_anyway(writes, &refusal) {
                    self.change(cause, write);
                }
                return Outcome::Refused(refusal);
            }
        };
        for (id, row) in rows {
            // One that was made and removed again is as absent as before.
            if row.is_some() || self.rows.get(id).is_some() {
                self.replace(id, row);
            }
        }
        for (id, before, after) in steps {
            self.tell(cause, id, before, after);
        }
        Outcome::Batch(outcomes)
    }

    fn replace(&mut self, id: &ActorId, new: Option<Record>) -> Option<Record> {
        let mut hash = self.meta.rows_hash;
        if let Some(new) = &new {
            hash = hash.wrapping_add(row_hash(id, new));
            self.meta.actors += 1;
        }
        let end = new.as_ref().and_then(Record::expires);
        let old = self.rows.replace(id, new);
        self.ends.moved(id, old.as_ref().and_then(Record::expires), end);
        if let Some(old) = &old {
            hash = hash.wrapping_sub(row_hash(id, old));
            self.meta.actors -= 1;
        }
        self.meta.rows_hash = hash;
        old
    }

    /// A look at everything as it is now: O(1), and nothing that is applied later changes it.
    ///
    /// # Panics
    /// `view_of_whole_rows`: where the rows are in a backend, a view is that backend's.
    pub fn view(&self) -> StoreView {
        let Rows::Whole(rows) = &self.rows else {
            panic!("view_of_whole_rows: take a snapshot of the backend instead")
        };
        let changes = self.feed.here().cloned().unwrap_or_default();
        StoreView { meta: self.meta(), rows: rows.clone(), oplog: self.oplog.clone(), changes }
    }

    /// For `snapshot_without_op_log`.
    #[cfg(sim_mutant)]
    pub fn without_op_log(self) -> Store {
        Store { oplog: OpLog::default(), ..self }
    }

    /// For `snapshot_without_metadata`.
    #[cfg(sim_mutant)]
    pub fn without_metadata(mut self) -> Store {
        if let Rows::Whole(rows) = &mut self.rows {
            let plain = |(id, record): (&ActorId, &Record)| {
                let (value, end) = (record.value().clone(), record.expires());
                (id.clone(), Record::new(record.token, value, Default::default(), end))
            };
            *rows = rows.iter().map(plain).collect();
        }
        self
    }

    /// For `changes_not_in_snapshot`.
    #[cfg(sim_mutant)]
    pub fn without_changes(mut self) -> Store {
        self.feed.compact(&mut self.meta, Sequence(u64::MAX));
        self
    }

    /// One actor.
    ///
    /// # Panics
    /// `rows_are_prefetched`: where the rows are in a backend, not if [`Store::is_missing`].
    pub fn get(&self, id: &ActorId) -> Option<&Record> {
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        self.rows.get(id)
    }

    /// A page of actors as they are now; `None` where the rows are in a backend, which is asked by
    /// [`Store::scan_keys`].
    pub fn scan(&self, scan: &Scan) -> Option<Page> {
        match &self.rows {
            Rows::Whole(rows) => Some(view::page(rows, scan)),
            Rows::Outside(_) => None,
        }
    }

    /// A page of changes; `None` where they are in a backend, which is asked by
    /// [`Store::changes_keys`].
    pub fn changes(&self, query: &ChangesQuery) -> Option<Changes> {
        self.feed.page(&self.meta, query)
    }

    /// The last change before `time` that is retained, or that is not if none is; `None` where they
    /// are in a backend.
    pub fn last_before(&self, time: Timestamp) -> Option<Sequence> {
        self.feed.last_before(&self.meta, time)
    }

    /// The changes that were applied since the last call, and what came before them.
    pub fn take_fresh(&mut self) -> (Sequence, Vec<Change>) {
        let fresh = self.feed.take_fresh();
        (Sequence(self.meta.sequence.0 - count(fresh.len())), fresh)
    }

    /// Up to where changes are to be forgotten when `bytes` of them are to stay.
    pub fn too_many_changes(&self, bytes: u64) -> Option<Sequence> {
        self.feed.over(&self.meta, bytes)
    }

    /// What was found now, with the state that this is.
    pub fn seen(&self, found: Found) -> Seen {
        let applied = self.meta.applied.map_or(0, |applied| applied.index + 1);
        Seen { found, applied, sequence: self.meta.sequence }
    }

    /// What has run.
    pub fn oplog(&self) -> &OpLog {
        &self.oplog
    }

    /// Which state this is.
    pub fn meta(&self) -> Meta {
        let outcomes = count(self.oplog.len());
        let (floor, session_floor) = (self.oplog.floor(), self.oplog.session_floor());
        Meta { floor, session_floor, outcomes, ..self.meta.clone() }
    }

    /// Actors.
    pub fn actors(&self) -> u64 {
        self.meta.actors
    }

    /// The last change's place in the shard's order.
    pub fn sequence(&self) -> Sequence {
        self.meta.sequence
    }

    /// The leaders' clocks, made monotone.
    pub fn committed_time(&self) -> Timestamp {
        self.meta.committed_time
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<LogPosition> {
        self.meta.applied
    }

    /// The last applied membership, and the entry that brought it.
    pub fn members(&self) -> Option<&(LogPosition, Members)> {
        self.meta.members.as_ref()
    }

    /// A hash over everything applied, what came of it, and the rows: equal on all replicas at
    /// equal index.
    pub fn state_hash(&self) -> u64 {
        self.meta.state_hash
    }

    /// Named invariants.
    pub fn check(&self) {
        self.oplog.check();
        self.feed.check(&self.meta);
        if let Rows::Whole(rows) = &self.rows {
            assert!(self.meta.actors == count(rows.len()), "rows_are_counted");
            let ends = self.ends.len().is_some_and(|ends| ends <= rows.len());
            assert!(ends, "ends_are_of_rows");
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
