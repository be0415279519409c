//! Channels and a mutex whose wake order is FIFO: tokio's `watch` picks waiters by OS entropy.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

use openraft::OptionalSend;
use openraft::async_runtime as rt;

use super::executor::lock;

fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

fn park(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
        waiting.push(context.waker().clone());
    }
}

// ---- oneshot ----------------------------------------------------------------------------------

/// One value, once.
#[derive(Debug)]
pub struct Oneshot;

struct OneshotState<T> {
    value: Option<T>,
    waiting: Option<Waker>,
    sender_alive: bool,
    receiver_alive: bool,
}

type OneshotShared<T> = Arc<std::sync::Mutex<OneshotState<T>>>;

/// The sending half.
pub struct OneshotSender<T>(OneshotShared<T>);

/// The receiving half, a future.
pub struct OneshotReceiver<T>(OneshotShared<T>);

/// The sender went away without a value.
#[derive(Debug)]
pub struct Canceled;

impl fmt::Display for Canceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped")
    }
}

impl std::error::Error for Canceled {}

/// A new channel.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let state =
        OneshotState { value: None, waiting: None, sender_alive: true, receiver_alive: true };
    let shared = Arc::new(std::sync::Mutex::new(state));
    (OneshotSender(shared.clone()), OneshotReceiver(shared))
}

impl rt::Oneshot for Oneshot {
    type Sender<T: OptionalSend> = OneshotSender<T>;
    type Receiver<T: OptionalSend> = OneshotReceiver<T>;
    type ReceiverError = Canceled;

    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>) {
        oneshot()
    }
}

impl<T: OptionalSend> rt::OneshotSender<T> for OneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        let mut state = lock(&self.0);
        if !state.receiver_alive {
            return Err(value);
        }
        state.value = Some(value);
        Ok(())
        // Dropping `self` wakes the receiver.
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0);
            state.sender_alive = false;
            state.waiting.take()
        };
        wake_all(waiting);
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, Canceled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if !state.sender_alive {
            return Poll::Ready(Err(Canceled));
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        let value = {
            let mut state = lock(&self.0);
            state.receiver_alive = false;
            state.value.take()
        };
        drop(value);
    }
}

// ---- mpsc -------------------------------------------------------------------------------------

/// Many senders, one receiver, bounded.
#[derive(Debug)]
pub struct Mpsc;

struct MpscState<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_alive: bool,
    receiver_waiting: Option<Waker>,
    senders_waiting: Vec<Waker>,
}

type MpscShared<T> = Arc<std::sync::Mutex<MpscState<T>>>;

/// A sending half.
pub struct MpscSender<T>(MpscShared<T>);

/// A sending half that does not keep the channel open.
pub struct MpscWeakSender<T>(MpscShared<T>);

/// The receiving half.
pub struct MpscReceiver<T>(MpscShared<T>);

impl rt::Mpsc for Mpsc {
    type Sender<T: OptionalSend> = MpscSender<T>;
    type Receiver<T: OptionalSend> = MpscReceiver<T>;
    type WeakSender<T: OptionalSend> = MpscWeakSender<T>;

    fn channel<T: OptionalSend>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        let state = MpscState {
            queue: VecDeque::new(),
            capacity,
            senders: 1,
            receiver_alive: true,
            receiver_waiting: None,
            senders_waiting: Vec::new(),
        };
        let shared = Arc::new(std::sync::Mutex::new(state));
        (MpscSender(shared.clone()), MpscReceiver(shared))
    }
}

impl<T: OptionalSend> rt::MpscSender<Mpsc, T> for MpscSender<T> {
    async fn send(&self, message: T) -> Result<(), rt::SendError<T>> {
        let mut message = Some(message);
        poll_fn(|context| {
            let mut state = lock(&self.0);
            if !state.receiver_alive {
                let message = message.take().expect("mpsc_polled_once: not polled when ready");
                return Poll::Ready(Err(rt::SendError(message)));
            }
            if state.queue.len() >= state.capacity {
                park(&mut state.senders_waiting, context);
                return Poll::Pending;
            }
            state.queue.extend(message.take());
            let waiting = state.receiver_waiting.take();
            drop(state);
            wake_all(waiting);
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn downgrade(&self) -> MpscWeakSender<T> {
        MpscWeakSender(self.0.clone())
    }
}

impl<T> Clone for MpscSender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        MpscSender(self.0.clone())
    }
}

impl<T> Drop for MpscSender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0);
            state.senders -= 1;
            if state.senders == 0 { state.receiver_waiting.take() } else { None }
        };
        wake_all(waiting);
    }
}

impl<T> Clone for MpscWeakSender<T> {
    fn clone(&self) -> Self {
        MpscWeakSender(self.0.clone())
    }
}

impl<T: OptionalSend> rt::MpscWeakSender<Mpsc, T> for MpscWeakSender<T> {
    fn upgrade(&self) -> Option<MpscSender<T>> {
        let mut state = lock(&self.0);
        if state.senders == 0 || !state.receiver_alive {
            return None;
        }
        state.senders += 1;
        Some(MpscSender(self.0.clone()))
    }
}

impl<T: OptionalSend> rt::MpscReceiver<T> for MpscReceiver<T> {
    async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| match self.try_recv() {
            Ok(message) => Poll::Ready(Some(message)),
            Err(rt::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(rt::TryRecvError::Empty) => {
                lock(&self.0).receiver_waiting = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    fn try_recv(&mut self) -> Result<T, rt::TryRecvError> {
        let mut state = lock(&self.0);
        match state.queue.pop_front() {
            Some(message) => {
                let waiting = std::mem::take(&mut state.senders_waiting);
                drop(state);
                wake_all(waiting);
                Ok(message)
            }
            None if state.senders == 0 => Err(rt::TryRecvError::Disconnected),
            None => Err(rt::TryRecvError::Empty),
        }
    }
}

impl<T> Drop for MpscReceiver<T> {
    fn drop(&mut self) {
        let (queue, waiting) = {
            let mut state = lock(&self.0);
            state.receiver_alive = false;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.senders_waiting))
        };
        // Outside the lock: a message's destructor may use the channel.
        drop(queue);
        wake_all(waiting);
    }
}

// ---- watch ------------------------------------------------------------------------------------

/// The last value, for all who look.
#[derive(Debug)]
pub struct Watch;

struct WatchShared<T> {
    value: RwLock<T>,
    state: std::sync::Mutex<WatchState>,
}

struct WatchState {
    version: u64,
    senders: usize,
    receivers: usize,
    waiting: Vec<Waker>,
}

/// A sending half.
pub struct WatchSender<T>(Arc<WatchShared<T>>);

/// A receiving half, with the version it has seen.
pub struct WatchReceiver<T> {
    shared: Arc<WatchShared<T>>,
    seen: u64,
}

/// A look at the value.
pub struct WatchRef<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for WatchRef<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> WatchShared<T> {
    fn read(&self) -> WatchRef<'_, T> {
        WatchRef(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn receiver(shared: &Arc<WatchShared<T>>, seen: u64) -> WatchReceiver<T> {
        lock(&shared.state).receivers += 1;
        WatchReceiver { shared: shared.clone(), seen }
    }
}

impl rt::Watch for Watch {
    type Sender<T: OptionalSend + openraft::OptionalSync> = WatchSender<T>;
    type Receiver<T: OptionalSend + openraft::OptionalSync> = WatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = WatchRef<'a, T>;

    fn channel<T: OptionalSend + openraft::OptionalSync>(
        init: T,
    ) -> (Self::Sender<T>, Self::Receiver<T>) {
        let state = WatchState { version: 0, senders: 1, receivers: 0, waiting: Vec::new() };
        let shared =
            Arc::new(WatchShared { value: RwLock::new(init), state: std::sync::Mutex::new(state) });
        let receiver = WatchShared::receiver(&shared, 0);
        (WatchSender(shared), receiver)
    }
}

impl<T: OptionalSend + openraft::OptionalSync> rt::WatchSender<Watch, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), rt::watch::SendError<T>> {
        if lock(&self.0.state).receivers == 0 {
            return Err(rt::watch::SendError(value));
        }
        let mut value = Some(value);
        self.send_if_modified(|current| {
            if let Some(value) = value.take() {
                *current = value;
            }
            true
        });
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = {
            let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            modify(&mut value)
        };
        if modified {
            let waiting = {
                let mut state = lock(&self.0.state);
                state.version += 1;
                std::mem::take(&mut state.waiting)
            };
            wake_all(waiting);
        }
        modified
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> WatchReceiver<T> {
        let seen = lock(&self.0.state).version;
        WatchShared::receiver(&self.0, seen)
    }
}

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        lock(&self.0.state).senders += 1;
        WatchSender(self.0.clone())
    }
}

impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.senders -= 1;
            if state.senders == 0 { std::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        wake_all(waiting);
    }
}

impl<T: OptionalSend + openraft::OptionalSync> rt::WatchReceiver<Watch, T> for WatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), rt::watch::RecvError> {
        poll_fn(|context| {
            let mut state = lock(&self.shared.state);
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(rt::watch::RecvError(())));
            }
            park(&mut state.waiting, context);
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        self.shared.read()
    }

    fn borrow_and_update(&mut self) -> WatchRef<'_, T> {
        self.seen = lock(&self.shared.state).version;
        self.shared.read()
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        WatchShared::receiver(&self.shared, self.seen)
    }
}

impl<T> Drop for WatchReceiver<T> {
    fn drop(&mut self) {
        lock(&self.shared.state).receivers -= 1;
    }
}

// ---- mutex ------------------------------------------------------------------------------------

/// A mutex whose guard may be held across an await. The guard holds the value itself, so no unsafe
/// code is needed to send it along with its task.
pub struct Mutex<T> {
    value: std::sync::Mutex<Option<T>>,
    waiting: std::sync::Mutex<VecDeque<Waker>>,
}

/// The right to the value; puts it back when dropped.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    value: Option<T>,
}

impl<T: OptionalSend + 'static> rt::Mutex<T> for Mutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;

    fn new(value: T) -> Mutex<T> {
        Mutex { value: std::sync::Mutex::new(Some(value)), waiting: std::sync::Mutex::default() }
    }

    async fn lock(&self) -> MutexGuard<'_, T> {
        poll_fn(|context| {
            if let Some(value) = lock(&self.value).take() {
                return Poll::Ready(MutexGuard { mutex: self, value: Some(value) });
            }
            lock(&self.waiting).push_back(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("guard_holds_value: taken only by drop")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("guard_holds_value: taken only by drop")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        *lock(&self.mutex.value) = self.value.take();
        // All of them: one that was woken may have been dropped since. They line up again in turn.
        let waiting = std::mem::take(&mut *lock(&self.mutex.waiting));
        wake_all(waiting);
    }
}
