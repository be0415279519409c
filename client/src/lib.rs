//! Rust client of Understudy, and the same API as a store inside the process.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use understudy_client::{Client, Error, Level, Scan};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Cart {
//!     items: Vec<String>,
//! }
//!
//! # async fn example() -> Result<(), Error> {
//! let store = Client::connect(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"]).await?;
//! let written = store.put("carts", "42", &Cart { items: vec!["tea".into()] }).await?;
//! let cart = store.get::<Cart>("carts", "42").await?.expect("it was just written");
//! assert_eq!(cart.token, written.token);
//! store.compare_and_swap("carts", "42", &Cart { items: vec![] }, cart.token).await?;
//! let recent = store.get_with::<Cart>("carts", "42", Level::Session).await?;
//! # let _ = recent;
//! let mut pages = std::pin::pin!(store.scan::<Cart>("carts", Scan::all()));
//! # Ok(())
//! # }
//! ```
//!
//! # One API, two places
//! [`Client::connect`] speaks to a cluster, [`Client::open`] keeps a folder in this process. What comes
//! back is the same type, so an application changes its construction and nothing else.
//!
//! # Exactly once
//! Every write gets a name before it is first sent: a place in a session that the store minted. It is
//! repeated under that name, at one node after the other, until its outcome is known or the deadline
//! comes; however often it is sent it happens once. [`Error::certainty`] says what is known when there
//! is no outcome.
//!
//! # Dropping a future
//! A call that is dropped before it is done leaves nothing behind in the client: other calls on the
//! same connection go on, and its answer is thrown away. A write that was dropped may have happened or
//! may yet, as if its answer had been [`Certainty::Unknown`], and this client never repeats it. If you
//! must know later, write under a key of your own ([`Client::under`]) and repeat it.
//!
//! # Changes
//! [`Client::watch`] tells what happens in a namespace, in order, and goes on by itself when a node is
//! lost. An event is told at least once: keep its [`WatchEvent::resume_token`] once it is dealt with,
//! and know a repeat by its [`ChangeEvent::event_id`].
//!
//! ```no_run
//! # use futures_util::StreamExt;
//! # use understudy_client::{Client, Error, Start, WatchItem, WatchOptions};
//! # async fn example(store: Client) -> Result<(), Error> {
//! let options = WatchOptions::from(Start::Beginning).prefix("cart-");
//! let mut events = store.watch::<Vec<String>>("carts", options).await?;
//! while let Some(event) = events.next().await {
//!     if let WatchItem::Change(change) = event?.item {
//!         println!("{} {:?}: {:?}", change.sequence, change.kind, change.after);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # TLS and tokens
//! [`Options::ca`], [`Options::identity`] and [`Options::token`] say whom this client believes and what
//! it shows. What a node refuses for want of a good token is not tried again: [`Error::Refused`] with
//! the code `unauthenticated`, `token_expired`, `token_revoked` or `forbidden`.
//!
//! ```no_run
//! # use understudy_client::{Client, Error, Options, Pem};
//! # async fn example(token: String) -> Result<(), Error> {
//! let options = Options::new()
//!     .ca(Pem::file("certs/ca.pem"))
//!     .identity(Pem::file("certs/ann.pem"), Pem::file("certs/ann.key"))
//!     .token(token);
//! let store = Client::connect_with(["node-1:7401", "node-2:7401"], options).await?;
//! # let _ = store;
//! # Ok(())
//! # }
//! ```
//!
//! # What is deliberately absent
//! Decisions about whom to ask and when to try again: they are in `understudy-plan`, pure, and the
//! simulator drives them too.
#![forbid(unsafe_code)]

mod backend;
pub mod blocking;
mod client;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod options;
mod remote;
mod types;
mod watch;

pub use client::{Client, Store};
pub use error::{Certainty, Error};
pub use options::Options;
pub use types::{
    Change, Content, Deleted, Expected, IntoContent, Level, Page, Receipt, Record, Scan, Token,
    Write, Written,
};
pub use understudy_tls::Pem;
pub use watch::{
    ChangeEvent, ChangeKind, ChangeStats, Policy, Start, Watch, WatchEvent, WatchItem, WatchOptions,
};
