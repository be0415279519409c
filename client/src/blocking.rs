//! The same store for code without async: every method waits for its answer.
//!
//! Not to be called from async code, where it would hold a thread that others need.
//!
//! | a client of an embedded actor store has | here | async |
//! |---|---|---|
//! | `new()`, `with_config(config)` | [`Client::open`], [`Client::open_with`], [`Client::connect_with`] | the same |
//! | `insert(type, id, value)` | [`Client::insert`] (the first version is 1) | [`crate::Client::create`] |
//! | `get(type, id)` | [`Client::get`] | [`crate::Client::get`] |
//! | `update(type, id, value)` | [`Client::update`] | [`crate::Client::update`] |
//! | `update_versioned(type, id, value, version)` | [`Client::update_versioned`] | [`crate::Client::update_if`] |
//! | `delete(type, id)` | [`Client::delete`] | [`crate::Client::delete`] |
//! | `get_all(type)` | [`Client::get_all`] (in the order of ids) | [`crate::Client::get_all`], [`crate::Client::scan`] |
//! | `subscribe(options)` and `recv()` | [`Client::watch`], an iterator | [`crate::Client::watch`], a stream |
//! | `cdc_stats()` | [`Client::change_stats`] | [`crate::Client::change_stats`] |
//!
//! A type is a namespace. What has no counterpart above ([`crate::Client::batch_write_atomic`] and
//! others) is reached with [`Client::wait`].

use std::sync::Arc;

use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::error::Error;
use crate::options::Options;
use crate::types::{Deleted, Expected, IntoContent, Level, Record, Written};
use crate::watch::{ChangeStats, Watch, WatchEvent, WatchOptions};

/// A store: a cluster or a folder of this process. Cheap to clone, and shared by any threads.
#[derive(Clone, Debug)]
pub struct Client {
    store: crate::Client,
    threads: Arc<Threads>,
}

/// The name for those who keep a folder: `Store::open(path)`.
pub type Store = Client;

/// What happens in a namespace. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Events<T> {
    watch: Watch<T>,
    threads: Arc<Threads>,
}

impl<T> Iterator for Events<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.threads.wait(self.watch.next())
    }
}

/// What async code underneath runs on.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Threads, Error> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("understudy").enable_all().build();
        let runtime = runtime
            .map_err(|error| Error::invalid(format!("the system gives no thread: {error}")))?;
        Ok(Threads(Some(runtime)))
    }

    fn wait<F: Future>(&self, operation: F) -> F::Output {
        let runtime = self.0.as_ref();
        runtime.expect("runs_until_dropped: it is taken only when this is").block_on(operation)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // To wait for it is not allowed where the last clone may be dropped.
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// See [`crate::Client::connect_with`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_with<I, S>(endpoints: I, options: Options) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let threads = Threads::start()?;
        let store = threads.wait(crate::Client::connect_with(endpoints, options))?;
        Ok(Client { store, threads: Arc::new(threads) })
    }

    /// See [`crate::Client::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect<I, S>(endpoints: I) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Client::connect_with(endpoints, Options::new())
    }

    /// See [`crate::Client::open`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "embedded")]
    pub fn open(path: impl Into<std::path::PathBuf>) -> Result<Client, Error> {
        Client::open_with(path, ["default"], Options::new())
    }

    /// See [`crate::Client::open_with`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "embedded")]
    pub fn open_with<I, S>(
        path: impl Into<std::path::PathBuf>,
        namespaces: I,
        options: Options,
    ) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let threads = Threads::start()?;
        let store = threads.wait(crate::Client::open_with(path, namespaces, options))?;
        Ok(Client { store, threads: Arc::new(threads) })
    }

    /// Runs any operation of the async store and waits for it:
    /// `store.wait(|store| async move { store.batch_read("carts", ids, level).await })`.
    pub fn wait<F: Future>(&self, operation: impl FnOnce(crate::Client) -> F) -> F::Output {
        self.threads.wait(operation(self.store.clone()))
    }

    /// Creates an actor; its version is 1.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], and what any operation may meet.
    pub fn insert(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.threads.wait(self.store.create(namespace, id, value))
    }

    /// Creates or replaces.
    ///
    /// # Errors
    /// What any operation may meet.
    pub fn put(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.threads.wait(self.store.put(namespace, id, value))
    }

    /// Reads an actor; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub fn get<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<Option<Record<T>>, Error> {
        self.threads.wait(self.store.get(namespace, id))
    }

    /// Reads an actor as fresh as `level` says.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub fn get_with<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        level: Level,
    ) -> Result<Option<Record<T>>, Error> {
        self.threads.wait(self.store.get_with(namespace, id, level))
    }

    /// Replaces what is there; its version grows by 1.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what any operation may meet.
    pub fn update(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
    ) -> Result<Written, Error> {
        self.threads.wait(self.store.update(namespace, id, value))
    }

    /// Replaces what is there if it has this version. A [`crate::Token`] is the stronger form:
    /// delete and create cannot fool it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] with what is there; what any operation may meet.
    pub fn update_versioned(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
        version: u64,
    ) -> Result<Written, Error> {
        let expected = Expected::Version(version);
        self.threads.wait(self.store.update_if(namespace, id, value, expected))
    }

    /// Replaces if it is as expected; version 0 creates what is not there.
    ///
    /// # Errors
    /// [`Error::Conflict`], and what any operation may meet.
    pub fn compare_and_swap(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
        value: impl IntoContent,
        expected: impl Into<Expected>,
    ) -> Result<Written, Error> {
        self.threads.wait(self.store.compare_and_swap(namespace, id, value, expected))
    }

    /// Removes and returns what was there.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what any operation may meet.
    pub fn delete(
        &self,
        namespace: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<Deleted, Error> {
        self.threads.wait(self.store.delete(namespace, id))
    }

    /// What happens in a namespace, in order: see [`crate::Client::watch`]. Each step waits for the
    /// next event.
    ///
    /// # Errors
    /// As there.
    pub fn watch<T: DeserializeOwned + 'static>(
        &self,
        namespace: impl Into<String>,
        options: WatchOptions,
    ) -> Result<Events<T>, Error> {
        let watch = self.threads.wait(self.store.watch(namespace, options))?;
        Ok(Events { threads: self.threads.clone(), watch })
    }

    /// What there is to say of a namespace's change stream.
    ///
    /// # Errors
    /// What any operation may meet.
    pub fn change_stats(&self, namespace: &str) -> Result<ChangeStats, Error> {
        self.threads.wait(self.store.change_stats(namespace))
    }

    /// Every actor of a namespace, in the order of ids, all in memory at once.
    ///
    /// # Errors
    /// [`Error::Decode`], and what any operation may meet.
    pub fn get_all<T: DeserializeOwned>(
        &self,
        namespace: impl Into<String>,
    ) -> Result<Vec<Record<T>>, Error> {
        self.threads.wait(self.store.get_all(namespace))
    }
}
