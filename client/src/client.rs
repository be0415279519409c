//! The API.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tracing::Instrument;
use understudy_proto::v1;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;

use crate::backend::{self, Backend};
use crate::error::Error;
use crate::options::Options;
use crate::remote::Remote;
use crate::types::{
    Change, Content, Deleted, Expected, IntoContent, Level, Page, Receipt, Record, Scan, Write,
    Written,
};
use crate::watch::{ChangeStats, Watch, WatchOptions};

/// A store: a cluster ([`Client::connect`]) or a folder of this process ([`Client::open`]).
///
/// Cheap to clone; clones share connections, the session and what was seen for
/// [`Level::Session`]. Every method takes `&self`, from as many tasks as you like: they share one
/// connection to each node, and what waits leaves together.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
    /// The caller's own key for writes, once.
    key: Option<Arc<str>>,
}

/// The name for those who keep a folder: `Store::open(path)`.
pub type Store = Client;

#[derive(Debug)]
struct Shared {
    backend: Backend,
    /// The highest sequence seen in each namespace.
    seen: RwLock<HashMap<String, u64>>,
}

impl Client {
    /// Of the cluster that some of `endpoints` belong to, each `host:port`. The others are found.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no endpoint; [`Error::NoAnswer`] when none of them answers
    /// within the usual deadline.
    pub async fn connect<I, S>(endpoints: I) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Client::connect_with(endpoints, Options::new()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with<I, S>(endpoints: I, options: Options) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let deadline = options.deadline;
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        let remote = Remote::connect(endpoints, options).await?;
        Ok(Client::of(Backend::Remote(remote), deadline))
    }

    /// A store in this process, in the folder `path`, which is made if it is not there. One node, no
    /// server; a write that returned survives `kill -9` and the loss of power. It belongs to this
    /// process until the last clone is dropped.
    ///
    /// The folder has the format of a node of its own: `understudy serve --config
    /// PATH/understudy.toml` serves it once no process has it open.
    ///
    /// # Errors
    /// [`Error::Refused`] when the folder is another process's, not a store, or damaged.
    #[cfg(feature = "embedded")]
    pub async fn open(path: impl Into<std::path::PathBuf>) -> Result<Client, Error> {
        Client::open_with(path, ["default"], Options::new()).await
    }

    /// The same with these namespaces; more can be added when it is opened again, none goes.
    ///
    /// # Errors
    /// As [`Client::open`].
    #[cfg(feature = "embedded")]
    pub async fn open_with<I, S>(
        path: impl Into<std::path::PathBuf>,
        namespaces: I,
        options: Options,
    ) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let namespaces = namespaces.into_iter().map(Into::into).collect();
        let embedded = crate::embedded::Embedded::open(path.into(), namespaces).await?;
        Ok(Client::of(Backend::Embedded(embedded), options.deadline))
    }

    fn of(backend: Backend, deadline: Duration) -> Client {
        let shared = Arc::new(Shared { backend, seen: RwLock::default() });
        Client { shared, deadline, key: None }
    }

    /// The same store, each operation tried for so long.
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// The same store for one write under a key of yours: a repeat under it, by any process, returns
    /// the recorded outcome. A UUID of version 7 is exact; any other key of up to 255 visible ASCII
    /// characters is recognised for as long as the store remembers it.
    #[must_use]
    pub fn under(&self, key: &str) -> Client {
        Client { key: Some(key.into()), ..self.clone() }
    }

    /// Creates an actor.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], and what any operation may meet.
    pub async fn create(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.create_as(namespace.into(), Some(id.into()), value).await
    }

    /// Creates an actor under an id that the store makes; [`Written::id`] tells it.
    ///
    /// # Errors
    /// What any operation may meet.
    pub async fn create_anonymous(
        &self,
        namespace: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.create_as(namespace.into(), None, value).await
    }

    async fn create_as(
        &self,
        namespace: String,
        id: Option<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        let content = Some(value.into_content()?.into());
        self.write(Call::Create(v1::CreateRequest { namespace, id, content, name: None })).await
    }

    /// Creates or replaces.
    ///
    /// # Errors
    /// What any operation may meet.
    pub async fn put(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        let (namespace, id) = (namespace.into(), id.into());
        let content = Some(value.into_content()?.into());
        self.write(Call::Put(v1::PutRequest { namespace, id, content, name: None })).await
    }

    /// Replaces what is there.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what any operation may meet.
    pub async fn update(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.update_as(namespace.into(), id.into(), value, None).await
    }

    /// Replaces what is there if it is as expected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`], and what any operation may meet.
    pub async fn update_if(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
        expected: impl Into<Expected>,
    ) -> Result<Written, Error> {
        self.update_as(namespace.into(), id.into(), value, Some(expected.into())).await
    }

    async fn update_as(
        &self,
        namespace: String,
        id: String,
        value: impl IntoContent,
        expected: Option<Expected>,
    ) -> Result<Written, Error> {
        let content = Some(value.into_content()?.into());
        let expected = expected.map(Into::into);
        let request = v1::UpdateRequest { namespace, id, content, name: None, expected };
        self.write(Call::Update(request)).await
    }

    /// Replaces if it is as expected; [`Expected::Version`] 0 creates what is not there.
    ///
    /// # Errors
    /// [`Error::Conflict`], and what any operation may meet.
    pub async fn compare_and_swap(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
        expected: impl Into<Expected>,
    ) -> Result<Written, Error> {
        let (namespace, id) = (namespace.into(), id.into());
        let content = Some(value.into_content()?.into());
        let expected = Some(expected.into().into());
        let request = v1::CompareAndSwapRequest { namespace, id, content, name: None, expected };
        self.write(Call::CompareAndSwap(request)).await
    }

    /// Removes and returns what was there.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what any operation may meet.
    pub async fn delete(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<Deleted, Error> {
        self.delete_as(namespace.into(), id.into(), None).await
    }

    /// Removes what is there if it is as expected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`], and what any operation may meet.
    pub async fn delete_if(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        expected: impl Into<Expected>,
    ) -> Result<Deleted, Error> {
        self.delete_as(namespace.into(), id.into(), Some(expected.into())).await
    }

    async fn delete_as(
        &self,
        namespace: String,
        id: String,
        expected: Option<Expected>,
    ) -> Result<Deleted, Error> {
        let expected = expected.map(Into::into);
        let request = v1::DeleteRequest {
            namespace: namespace.clone(),
            id: id.clone(),
            name: None,
            expected,
        };
        match self.perform(&namespace, Call::Delete(request)).await? {
            Answer::Deleted(answer) => {
                self.saw(&namespace, answer.sequence);
                Ok(Deleted::of(id, answer))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Reads an actor; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub async fn get<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<Option<Record<T>>, Error> {
        self.get_with(namespace, id, Level::Linearizable).await
    }

    /// Reads an actor as fresh as `level` says.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub async fn get_with<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        level: Level,
    ) -> Result<Option<Record<T>>, Error> {
        self.get_raw(namespace, id, level).await?.map(Record::json).transpose()
    }

    /// Reads an actor's document byte for byte.
    ///
    /// # Errors
    /// What any operation may meet.
    pub async fn get_raw(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        level: Level,
    ) -> Result<Option<Record>, Error> {
        let (namespace, id) = (namespace.into(), id.into());
        let freshness = Some(level.freshness(self.seen(&namespace)));
        let request = v1::ReadRequest { namespace: namespace.clone(), id: id.clone(), freshness };
        match self.perform(&namespace, Call::Read(request)).await {
            Ok(Answer::Read(answer)) => Ok(self.record(&namespace, id, answer)),
            Ok(other) => Err(unexpected(&other)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads several actors of a namespace, each for itself: they need not be of one moment. As many
    /// results as ids, in their order; `None` where there is none.
    ///
    /// # Errors
    /// What any operation may meet, also when it is met by one of them.
    pub async fn batch_read<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        ids: impl IntoIterator<Item = impl Into<String>>,
        level: Level,
    ) -> Result<Vec<Option<Record<T>>>, Error> {
        let records = self.batch_read_raw(namespace, ids, level).await?;
        records.into_iter().map(|record| record.map(Record::json).transpose()).collect()
    }

    /// The same with documents byte for byte.
    ///
    /// # Errors
    /// As [`Client::batch_read`].
    pub async fn batch_read_raw(
        &self,
        namespace: impl Into<String>,
        ids: impl IntoIterator<Item = impl Into<String>>,
        level: Level,
    ) -> Result<Vec<Option<Record>>, Error> {
        let namespace = namespace.into();
        let ids = ids.into_iter().map(Into::into);
        let items = ids.map(|id| v1::BatchReadItem { id, freshness: None }).collect();
        let freshness = Some(level.freshness(self.seen(&namespace)));
        let request = v1::BatchReadRequest { namespace: namespace.clone(), items, freshness };
        let answer = match self.perform(&namespace, Call::BatchRead(request)).await? {
            Answer::BatchRead(answer) => answer,
            other => return Err(unexpected(&other)),
        };
        let found = answer.results.into_iter().map(|item| match item.result {
            Some(v1::batch_read_result::Result::Found(found)) => {
                Ok(self.record(&namespace, item.id, found))
            }
            Some(v1::batch_read_result::Result::Problem(problem)) => match Error::of(problem) {
                Error::NotFound => Ok(None),
                error => Err(error),
            },
            None => Ok(None),
        });
        found.collect()
    }

    /// Writes several actors of a namespace as one change: all of them, or none.
    ///
    /// # Errors
    /// [`Error::BatchRefused`], and what any operation may meet.
    pub async fn batch_write_atomic(
        &self,
        namespace: impl Into<String>,
        writes: impl IntoIterator<Item = (impl Into<String>, Write)>,
    ) -> Result<Vec<Change>, Error> {
        self.batch(namespace.into(), writes, true).await?.into_iter().collect()
    }

    /// Writes several actors of a namespace, each for itself: as many results as writes, in their
    /// order.
    ///
    /// # Errors
    /// What any operation may meet, when it is met by all.
    pub async fn batch_write(
        &self,
        namespace: impl Into<String>,
        writes: impl IntoIterator<Item = (impl Into<String>, Write)>,
    ) -> Result<Vec<Result<Change, Error>>, Error> {
        self.batch(namespace.into(), writes, false).await
    }

    async fn batch(
        &self,
        namespace: String,
        writes: impl IntoIterator<Item = (impl Into<String>, Write)>,
        atomic: bool,
    ) -> Result<Vec<Result<Change, Error>>, Error> {
        let writes = writes.into_iter().map(|(id, write)| write.message(id.into()));
        let operations: Vec<v1::BatchOperation> = writes.collect();
        let ids: Vec<String> = operations.iter().map(|operation| operation.id.clone()).collect();
        let request = v1::BatchWriteRequest {
            namespace: namespace.clone(),
            atomic: Some(atomic),
            operations,
            name: None,
        };
        let answer = match self.perform(&namespace, Call::BatchWrite(request)).await? {
            Answer::BatchWrite(answer) => answer,
            other => return Err(unexpected(&other)),
        };
        use v1::batch_write_result::Result as Came;
        // Of an atomic batch, one for all of it.
        let receipt = Receipt::of(answer.receipt);
        let changes = answer.results.into_iter().zip(ids).map(|(item, id)| match item.result {
            Some(Came::Written(answer)) => {
                self.saw(&namespace, answer.sequence);
                Ok(Change::Written(Written::of(answer)))
            }
            Some(Came::Deleted(answer)) => {
                self.saw(&namespace, answer.sequence);
                Ok(Change::Deleted(Deleted::of(id, answer)))
            }
            Some(Came::Removed(answer)) => {
                self.saw(&namespace, answer.sequence);
                let (record, sequence) = (None, answer.sequence);
                Ok(Change::Deleted(Deleted { record, sequence, receipt: receipt.clone() }))
            }
            Some(Came::Problem(problem)) => Err(Error::of(problem)),
            None => Err(Error::invalid("the answer lacks a result; is the store newer than this?")),
        });
        Ok(changes.collect())
    }

    /// One page of a namespace's actors, in the order of their ids' bytes.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub async fn page<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        scan: &Scan,
    ) -> Result<Page<T>, Error> {
        let Page { records, next } = self.page_raw(namespace, scan).await?;
        let records: Result<_, _> = records.into_iter().map(Record::json).collect();
        Ok(Page { records: records?, next })
    }

    /// The same with documents byte for byte.
    ///
    /// # Errors
    /// What any operation may meet.
    pub async fn page_raw(&self, namespace: impl Into<String>, scan: &Scan) -> Result<Page, Error> {
        let namespace = namespace.into();
        let request = v1::ScanRequest {
            namespace: namespace.clone(),
            prefix: scan.prefix.clone(),
            after: scan.after.clone(),
            limit: scan.page,
            freshness: Some(scan.level.freshness(self.seen(&namespace))),
        };
        let answer = match self.perform(&namespace, Call::Scan(request)).await? {
            Answer::Scan(answer) => answer,
            other => return Err(unexpected(&other)),
        };
        let at = answer.at;
        self.saw(&namespace, at.unwrap_or_default().sequence);
        let records =
            answer.items.into_iter().filter_map(|item| Some(Record::of(item.id, item.record?, at)));
        Ok(Page { records: records.collect(), next: answer.next })
    }

    /// Every page of a scan, read as they are wanted. Each is of one moment, two are of two. After an
    /// error the stream ends.
    pub fn scan<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        scan: Scan,
    ) -> impl Stream<Item = Result<Page<T>, Error>> {
        let (client, namespace) = (self.clone(), namespace.into());
        futures_util::stream::unfold(Some(scan), move |scan| {
            let (client, namespace) = (client.clone(), namespace.clone());
            async move {
                let mut scan = scan?;
                match client.page(namespace, &scan).await {
                    Ok(page) => {
                        let next = page.next.clone().map(|after| {
                            scan.after = after;
                            scan
                        });
                        Some((Ok(page), next))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        })
    }

    /// Every actor of a namespace, all in memory at once.
    ///
    /// # Errors
    /// As [`Client::page`].
    pub async fn get_all<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
    ) -> Result<Vec<Record<T>>, Error> {
        let (namespace, mut scan, mut all) = (namespace.into(), Scan::all(), Vec::new());
        loop {
            let Page { records, next } = self.page(namespace.clone(), &scan).await?;
            all.extend(records);
            match next {
                Some(after) => scan.after = after,
                None => return Ok(all),
            }
        }
    }

    /// What happens in a namespace, in order. Done when it is settled where it begins: what is written
    /// after that is told.
    ///
    /// # Errors
    /// [`Error::Compacted`] where it should begin, and what any operation may meet.
    pub async fn watch<T: DeserializeOwned + 'static>(
        &self,
        namespace: impl Into<String>,
        options: WatchOptions,
    ) -> Result<Watch<T>, Error> {
        Ok(self.watch_raw(namespace, options).await?.json())
    }

    /// The same with documents byte for byte.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn watch_raw(
        &self,
        namespace: impl Into<String>,
        options: WatchOptions,
    ) -> Result<Watch, Error> {
        Watch::open(self.clone(), namespace.into(), options, self.deadline).await
    }

    /// What the node that answers says of a namespace's change stream.
    ///
    /// # Errors
    /// What any operation may meet.
    pub async fn change_stats(&self, namespace: &str) -> Result<ChangeStats, Error> {
        self.shared.backend.change_stats(namespace, self.deadline).await
    }

    async fn write(&self, call: Call) -> Result<Written, Error> {
        let namespace = match &call {
            Call::Create(request) => request.namespace.clone(),
            Call::Put(request) => request.namespace.clone(),
            Call::Update(request) => request.namespace.clone(),
            Call::CompareAndSwap(request) => request.namespace.clone(),
            _ => String::new(),
        };
        match self.perform(&namespace, call).await? {
            Answer::Written(answer) => {
                self.saw(&namespace, answer.sequence);
                Ok(Written::of(answer))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn perform(&self, namespace: &str, mut call: Call) -> Result<Answer, Error> {
        if let (Some(key), Some(name)) = (&self.key, backend::name_of(&mut call)) {
            *name = Some(backend::key(key.to_string()));
        }
        let span = tracing::debug_span!("understudy", operation = operation(&call), namespace);
        self.shared.backend.perform(namespace, call, self.deadline).instrument(span).await
    }

    fn record(
        &self,
        namespace: &str,
        id: String,
        answer: v1::ReadResponse,
    ) -> Option<Record<Bytes>> {
        self.saw(namespace, answer.at.unwrap_or_default().sequence);
        answer.record.map(|record| Record::of(id, record, answer.at))
    }

    fn seen(&self, namespace: &str) -> u64 {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(namespace).copied().unwrap_or(0)
    }

    /// Remembers for [`Level::Session`].
    fn saw(&self, namespace: &str, sequence: u64) {
        if sequence <= self.seen(namespace) {
            return;
        }
        let mut seen = self.shared.seen.write().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(namespace) {
            Some(highest) => *highest = sequence.max(*highest),
            None => drop(seen.insert(namespace.to_owned(), sequence)),
        }
    }
}

impl AsRef<Backend> for Client {
    fn as_ref(&self) -> &Backend {
        &self.shared.backend
    }
}

fn operation(call: &Call) -> &'static str {
    match call {
        Call::Create(_) => "create",
        Call::Put(_) => "put",
        Call::Update(_) => "update",
        Call::CompareAndSwap(_) => "compare_and_swap",
        Call::Delete(_) => "delete",
        Call::Read(_) => "get",
        Call::BatchRead(_) => "batch_read",
        Call::BatchWrite(_) => "batch_write",
        Call::Scan(_) => "scan",
        Call::OpenSession(_) => "open_session",
    }
}

fn unexpected(answer: &Answer) -> Error {
    let _ = answer;
    Error::invalid("the answer fits another question; is the other side an Understudy node?")
}

impl From<Content> for Write {
    /// A put.
    fn from(content: Content) -> Write {
        Write::Put(content)
    }
}
