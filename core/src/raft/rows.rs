//! Rows of a store outside the core: read before they are needed, written before anybody hears.
//!
//! For a store in memory there is nothing to do, and nothing is waited for.

use std::io;
use std::sync::{Arc, Mutex};

use openraft::async_runtime::{AsyncRuntime as _, OneshotSender as _};

use super::channel::{OneshotSender, oneshot};
use super::executor::lock;
use super::runtime::Runtime;
use super::shared::Shared;
use super::snapshot::Whole;
use crate::backend::BackendError;
use crate::change::{Change, ChangesQuery, Since};
use crate::codec;
use crate::command::Batch;
use crate::effect::StoreOp;
use crate::input::StoreDone;
use crate::limits;
use crate::query::{Found, Page, Query, Scan, Seen};
use crate::store::keys::{self, Root};
use crate::store::{Meta, Store};
use crate::types::{ActorId, GroupId, Record, Sequence, Timestamp};

/// See the module.
#[derive(Clone)]
pub struct Rows {
    group: GroupId,
    shared: Arc<Shared>,
    store: Arc<Mutex<Store>>,
    /// While a snapshot takes the place of all rows: who waits for it to be there.
    replaced: Arc<Mutex<Option<Vec<OneshotSender<()>>>>>,
}

/// The rows are being replaced; they are there when this is dropped.
pub struct Replacing(Rows);

impl Drop for Replacing {
    fn drop(&mut self) {
        // Dropping the senders wakes who waits.
        drop(lock(&self.0.replaced).take());
    }
}

impl Rows {
    pub fn new(group: GroupId, shared: Arc<Shared>, store: Arc<Mutex<Store>>) -> Rows {
        Rows { group, shared, store, replaced: Arc::default() }
    }

    /// Until what this gives is dropped, nobody reads: the rows of the state before are going, and
    /// those of the new one are not the store's yet.
    pub fn replace(&self) -> Replacing {
        lock(&self.replaced).get_or_insert_default();
        Replacing(self.clone())
    }

    async fn settled(&self) {
        loop {
            let Some(receiver) = lock(&self.replaced).as_mut().map(|waiting| {
                let (sender, receiver) = oneshot();
                waiting.push(sender);
                receiver
            }) else {
                return;
            };
            receiver.await.ok();
        }
    }

    /// Reads what `batches` need and is not at hand.
    ///
    /// # Errors
    /// What the backend said: fatal for the replica, never an answer.
    pub async fn fetch_for(
        &self,
        batches: impl Iterator<Item = &Batch> + Clone,
    ) -> Result<(), io::Error> {
        loop {
            let mut missing = {
                let mut store = lock(&self.store);
                batches.clone().flat_map(|batch| store.missing(batch)).collect::<Vec<_>>()
            };
            missing.sort();
            missing.dedup();
            if missing.is_empty() {
                return Ok(());
            }
            self.read(missing).await?;
        }
    }

    /// Reads one actor if it is not at hand, so that the store can tell.
    ///
    /// # Errors
    /// As above.
    pub async fn fetch(&self, id: &ActorId) -> Result<(), io::Error> {
        while lock(&self.store).is_missing(id) {
            self.read(vec![id.clone()]).await?;
        }
        Ok(())
    }

    /// What a query finds, and in which state.
    ///
    /// # Errors
    /// As above.
    pub async fn look(&self, query: &Query) -> Result<Seen, io::Error> {
        match query {
            Query::Actor(id) => {
                self.fetch(id).await?;
                let store = lock(&self.store);
                Ok(store.seen(Found::Actor(store.get(id).cloned())))
            }
            Query::Scan(scan) => self.scan(scan).await,
            Query::Changes(query) => self.changes(query).await,
        }
    }

    /// What it finds, if that needs no waiting.
    pub fn look_now(&self, query: &Query) -> Option<Seen> {
        let mut store = lock(&self.store);
        match query {
            Query::Actor(id) if store.is_missing(id) => None,
            Query::Actor(id) => Some(store.seen(Found::Actor(store.get(id).cloned()))),
            Query::Scan(scan) => store.scan(scan).map(|page| store.seen(Found::Page(page))),
            Query::Changes(query) => {
                store.changes(query).map(|changes| store.seen(Found::Changes(changes)))
            }
        }
    }

    /// Every change that was applied is on its way to the backend, and none that is applied later
    /// comes before the question: what it answers is the state of this moment.
    async fn scan(&self, scan: &Scan) -> Result<Seen, io::Error> {
        self.settled().await;
        let (keys, mut seen) = {
            let store = lock(&self.store);
            if let Some(page) = store.scan(scan) {
                return Ok(store.seen(Found::Page(page)));
            }
            (store.scan_keys(scan), store.seen(Found::Actor(None)))
        };
        let Some((from, until)) = keys else {
            return Err(io::Error::other("a store is neither here nor outside"));
        };
        if planted!(ScanOfNewerRows) {
            Runtime::sleep(std::time::Duration::from_millis(5)).await;
        }
        let (limit, bytes) = (scan.limit(), limits::SCAN_BYTES_MAX);
        let StoreDone::Scanned(rows, more) =
            self.ask(StoreOp::Scan { from, until, limit, bytes }).await?
        else {
            return Err(io::Error::other("an answer to another question"));
        };
        let records: Result<Vec<_>, _> = rows.iter().map(Store::actor_row).collect();
        let records = records.map_err(|corrupt: codec::Corrupt| self.damaged(&corrupt.0))?;
        seen.found = Found::Page(Page { records, more });
        Ok(seen)
    }

    async fn changes(&self, query: &ChangesQuery) -> Result<Seen, io::Error> {
        self.settled().await;
        if let Some(seen) = self.look_now(&Query::Changes(*query)) {
            return Ok(seen);
        }
        let after = match query.since {
            Since::After(after) => after,
            Since::Last => lock(&self.store).sequence(),
            Since::Time(time) => {
                let last = self.last_before(time).await?;
                lock(&self.store).since_time(time, last)
            }
        };
        // As for a scan: the page is of this moment.
        let (keys, mut seen, mut page) = {
            let store = lock(&self.store);
            let page = store.changes_page(after, Vec::new());
            (store.changes_keys(after), store.seen(Found::Actor(None)), page)
        };
        if let Some((from, until)) = keys.filter(|_| query.limit() > 0) {
            let (limit, bytes) = (query.limit(), limits::CHANGES_BYTES_MAX);
            let StoreDone::Scanned(rows, _) =
                self.ask(StoreOp::Scan { from, until, limit, bytes }).await?
            else {
                return Err(io::Error::other("an answer to another question"));
            };
            let changes: Result<Vec<_>, _> = rows.iter().map(Store::change_row).collect();
            page.changes = changes.map_err(|corrupt: codec::Corrupt| self.damaged(&corrupt.0))?;
        }
        seen.found = Found::Changes(page);
        Ok(seen)
    }

    /// The last change before `time` that is retained; if none is, the last that is not.
    ///
    /// # Errors
    /// As above.
    pub async fn last_before(&self, time: Timestamp) -> Result<Sequence, io::Error> {
        let Meta { compacted, sequence, .. } = {
            let store = lock(&self.store);
            if let Some(last) = store.last_before(time) {
                return Ok(last);
            }
            store.meta()
        };
        let (mut low, mut high) = (compacted.0 + 1, sequence.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = match self.change_at(Sequence(middle)).await? {
                Some(change) => change.time < time,
                // Forgotten meanwhile.
                None => true,
            };
            if is_before { low = middle + 1 } else { high = middle }
        }
        Ok(Sequence(low - 1))
    }

    async fn change_at(&self, sequence: Sequence) -> Result<Option<Change>, io::Error> {
        let Some(key) = lock(&self.store).change_key(sequence) else { return Ok(None) };
        let row = self.read_keys(vec![key.clone()]).await?.pop().flatten();
        let change = row.map(|value| Store::change_row(&(key, value))).transpose();
        change.map_err(|corrupt| self.damaged(&corrupt.0))
    }

    /// Some of the actors that the index says have ended at `now`, the earliest first.
    ///
    /// # Errors
    /// As above.
    pub async fn ended(&self, now: Timestamp, limit: usize) -> Result<Vec<ActorId>, io::Error> {
        self.settled().await;
        let keys = {
            let mut store = lock(&self.store);
            if let Some(ids) = store.ended(now, limit) {
                return Ok(ids);
            }
            store.ask_ends()
        };
        let Some((from, until)) = keys else {
            return Err(io::Error::other("a store is neither here nor outside"));
        };
        let bytes = limits::SCAN_BYTES_MAX;
        let StoreDone::Scanned(rows, _) =
            self.ask(StoreOp::Scan { from, until, limit, bytes }).await?
        else {
            return Err(io::Error::other("an answer to another question"));
        };
        let mut ids = Vec::new();
        for (key, _) in rows {
            let end = keys::end_from(key.get(keys::PREFIX..).unwrap_or_default());
            let (end, id) = end.map_err(|corrupt| self.damaged(&corrupt.0))?;
            lock(&self.store).saw_end(end);
            if end <= now {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    async fn read(&self, ids: Vec<ActorId>) -> Result<(), io::Error> {
        self.settled().await;
        let keys = {
            let store = lock(&self.store);
            ids.iter().filter_map(|id| store.key(id)).collect::<Vec<_>>()
        };
        let rows = self.read_keys(keys).await?;
        let rows: Result<Vec<_>, _> = ids
            .into_iter()
            .zip(rows)
            .map(|(id, row)| Ok((id, row.map(|row| codec::decode::<Record>(&row)).transpose()?)))
            .collect();
        let rows = rows.map_err(|corrupt: codec::Corrupt| self.damaged(&corrupt.0))?;
        lock(&self.store).fill(rows);
        Ok(())
    }

    async fn read_keys(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, io::Error> {
        let count = keys.len();
        match self.ask(StoreOp::Read(keys)).await? {
            StoreDone::Rows(rows) if rows.len() == count => Ok(rows),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }

    /// Writes everything that was applied since the last call, and waits until it is visible.
    ///
    /// # Errors
    /// As above.
    pub async fn write_changes(&self) -> Result<(), io::Error> {
        let changes = lock(&self.store).take_changes();
        if changes.changes.is_empty() {
            return Ok(());
        }
        if !planted!(StoreWriteForgotten) {
            self.ask(StoreOp::Write(changes)).await?;
        }
        lock(&self.store).written();
        Ok(())
    }

    /// The store to go on with, `received` being what was made of the snapshot `whole`: for rows
    /// outside the core these are replaced first, durably.
    ///
    /// # Errors
    /// As above.
    pub async fn take_over(&self, whole: &Whole, received: Store) -> Result<Store, io::Error> {
        if !received.is_cached() {
            return Ok(received);
        }
        self.ask(StoreOp::Import(whole.file())).await?;
        let root = self.read_keys(vec![keys::root(self.group)]).await?.pop().flatten();
        let root: Option<Root> = root.and_then(|root| codec::decode(&root).ok());
        let root = root.ok_or_else(|| self.damaged("the group's root is missing"))?;
        Ok(received.moved_to(&root))
    }

    /// Everything written before is durable.
    ///
    /// # Errors
    /// As above.
    pub async fn flush(&self) -> Result<(), io::Error> {
        self.ask(StoreOp::Flush).await.map(|_| ())
    }

    /// Works on the group's backend, and waits. Of what fails only an export comes back: anything
    /// else ends the replica in the turn in which it is heard, before anybody hears of it.
    ///
    /// # Errors
    /// As above.
    pub async fn ask(&self, op: StoreOp) -> Result<StoreDone, io::Error> {
        let (sender, receiver) = oneshot();
        let then = Box::new(move |result| drop(sender.send(result)));
        let effect = lock(&self.shared.files).store(self.group, op, then);
        self.shared.emit(effect);
        let result = receiver.await.map_err(|_| io::Error::other("the replica has stopped"))?;
        result.map_err(|BackendError { reason, .. }| io::Error::other(reason))
    }

    /// What is stored is damaged: the replica must not come back with it.
    fn damaged(&self, what: &str) -> io::Error {
        self.shared.set_damaged();
        io::Error::new(io::ErrorKind::InvalidData, format!("stored rows are damaged: {what}"))
    }
}
