//! Names for writes: places in a session, or time-ordered keys where the cluster gives none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;
use understudy_plan::names::{Name, Names};
use understudy_proto::v1::{OperationName, SessionSequence, operation_name};

use crate::backend::key;
use crate::error::Error;

/// The client's session.
#[derive(Debug)]
pub(super) struct Session {
    state: Arc<State>,
    /// One asks for a session; the others wait for it.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    /// A name was given back, which may have made room.
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    names: Names,
    id: Option<Arc<str>>,
    /// This cluster gives none, or the caller wants none.
    none: bool,
}

/// A name in use. It is given back when this is dropped: its operation is over for the caller,
/// however it ended.
#[derive(Debug)]
pub(super) struct Taken(Option<(Arc<State>, Name)>);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some((state, name)) = &self.0
            && state.inner().names.give_back(name)
        {
            state.room.notify_waiters();
        }
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Not begun yet; never, unless `wanted`.
    pub(super) fn new(wanted: bool) -> Session {
        let inner = Inner { names: Names::new(), id: None, none: !wanted };
        let state = State { inner: Mutex::new(inner), room: Notify::new() };
        Session { state: Arc::new(state), opening: tokio::sync::Mutex::default() }
    }

    /// A name of `count` sequences. `open` asks for a session, where there is none yet. `None` when
    /// the operations before this one left no room until `deadline`.
    pub(super) async fn take<F>(
        &self,
        count: u64,
        deadline: Instant,
        open: impl Fn() -> F,
    ) -> Result<Option<(Taken, OperationName)>, Error>
    where
        F: Future<Output = Result<Option<String>, Error>>,
    {
        loop {
            let room = self.state.room.notified();
            let begun = {
                let mut inner = self.state.inner();
                if inner.none {
                    return Ok(Some((Taken(None), timed())));
                }
                if let Some(id) = inner.id.clone()
                    && let Some(name) = inner.names.take(count)
                {
                    let session =
                        SessionSequence { session: id.to_string(), sequence: name.sequence };
                    let kind = Some(operation_name::Kind::Session(session));
                    let taken = Taken(Some((self.state.clone(), name)));
                    return Ok(Some((taken, OperationName { kind })));
                }
                inner.id.is_some()
            };
            if begun {
                if tokio::time::timeout_at(deadline, room).await.is_err() {
                    return Ok(None);
                }
                continue;
            }
            let _opening = self.opening.lock().await;
            let has = {
                let inner = self.state.inner();
                inner.id.is_some() || inner.none
            };
            if has {
                continue;
            }
            let opened = open().await?;
            let mut inner = self.state.inner();
            inner.none = opened.is_none();
            if let Some(id) = opened {
                inner.id = Some(id.into());
                inner.names.begin();
            }
        }
    }

    /// The store no longer knows the session of `taken`: the next name is of a new one.
    pub(super) fn renew(&self, taken: Option<Taken>) {
        let Some((state, name)) = taken.as_ref().and_then(|taken| taken.0.as_ref()) else { return };
        let mut inner = state.inner();
        // Others may have noticed before, and gone on.
        if inner.names.generation() == name.generation {
            inner.id = None;
        }
    }
}

/// A time-ordered key: a UUID of version 7 (RFC 9562 §5.7).
fn timed() -> OperationName {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u128::from(u64::try_from(since.as_millis()).unwrap_or(u64::MAX) & 0xffff_ffff_ffff);
    let mut bytes = [0; 16];
    // Without randomness the name would not be one of its own; the time alone has to do then.
    let _ = getrandom::fill(&mut bytes);
    let random = u128::from_le_bytes(bytes);
    let uuid = (ms << 80)
        | (7 << 76)
        | (random >> 64 & 0xfff) << 64
        | (0b10 << 62)
        | (random & 0x3fff_ffff_ffff_ffff);
    let hex = format!("{uuid:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    key(format!("{a}-{b}-{c}-{d}-{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(name: &OperationName) -> (String, u64) {
        match name.kind.clone() {
            Some(operation_name::Kind::Session(SessionSequence { session, sequence })) => {
                (session, sequence)
            }
            other => panic!("{other:?}"),
        }
    }

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_millis(20)
    }

    #[tokio::test]
    async fn names_go_on_in_one_session_until_it_is_renewed() {
        let session = Session::new(true);
        let open = async || Ok(Some("s1".to_owned()));
        let (first, name) = session.take(1, soon(), open).await.unwrap().unwrap();
        assert_eq!(sequence(&name), ("s1".to_owned(), 1));
        let (second, name) = session.take(3, soon(), open).await.unwrap().unwrap();
        assert_eq!(sequence(&name), ("s1".to_owned(), 2));
        drop(first);
        let (third, name) = session.take(1, soon(), open).await.unwrap().unwrap();
        assert_eq!(sequence(&name), ("s1".to_owned(), 5));
        session.renew(Some(third));
        // A second one who noticed the same does not throw the new session away.
        let open = async || Ok(Some("s2".to_owned()));
        let (_fourth, name) = session.take(1, soon(), open).await.unwrap().unwrap();
        assert_eq!(sequence(&name), ("s2".to_owned(), 1));
        session.renew(Some(second));
        let (_fifth, name) = session.take(1, soon(), open).await.unwrap().unwrap();
        assert_eq!(sequence(&name), ("s2".to_owned(), 2));
    }

    #[tokio::test]
    async fn a_full_window_waits_for_the_oldest() {
        let session = Session::new(true);
        let open = async || Ok(Some("s".to_owned()));
        let window = understudy_plan::limits::SESSION_WINDOW;
        let (all, _) = session.take(window, soon(), open).await.unwrap().unwrap();
        assert!(session.take(1, soon(), open).await.unwrap().is_none());
        let late = Instant::now() + std::time::Duration::from_secs(60);
        let waiting = async { session.take(1, late, open).await.unwrap().unwrap() };
        let give_back = async { drop(all) };
        let ((_next, name), ()) = tokio::join!(waiting, give_back);
        assert_eq!(sequence(&name).1, window + 1);
    }

    #[tokio::test]
    async fn without_sessions_names_are_ordered_by_time_and_all_different() {
        let session = Session::new(true);
        let open = async || Ok(None);
        let mut keys = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (_, name) = session.take(1, soon(), open).await.unwrap().unwrap();
            let Some(operation_name::Kind::IdempotencyKey(key)) = name.kind else { panic!() };
            assert_eq!((key.len(), &key[14..15]), (36, "7"), "{key}");
            assert!("89ab".contains(&key[19..20]), "{key}");
            keys.insert(key);
        }
        assert_eq!(keys.len(), 100);
    }
}
