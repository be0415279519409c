//! A single-threaded executor that runs inside one step: the reason openraft can be sans-IO.
//!
//! Tasks are polled in the order they were woken, timers fire in order of (deadline, age), the
//! clock stands still during a step, and random numbers come from the replica's seed. openraft's
//! runtime trait has static functions, so the executor of the replica that is stepping lies in a
//! thread-local while it steps; using it at any other time is a panic that says so.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use crate::seed::{Rng, Seed};
use crate::types::{Instant, Now};

thread_local! {
    static CURRENT: RefCell<Option<Box<Executor>>> = const { RefCell::new(None) };
}

type BoxedTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everything the tasks of one replica share with the outside: time, randomness, each other.
pub struct Executor {
    now: Now,
    rng: Rng,
    tasks: BTreeMap<u64, Task>,
    tasks_spawned: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
    /// By (deadline, age): equal deadlines fire in the order they were set.
    timers: BTreeMap<(Instant, u64), Waker>,
    timers_set: u64,
}

struct Task {
    /// Taken out while it is polled.
    future: Option<BoxedTask>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    task: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push_back(self.task);
        }
    }
}

impl Executor {
    /// An executor with nothing to do.
    pub fn new(seed: Seed) -> Executor {
        Executor {
            now: Now::default(),
            rng: seed.rng(),
            tasks: BTreeMap::new(),
            tasks_spawned: 0,
            ready: Arc::default(),
            timers: BTreeMap::new(),
            timers_set: 0,
        }
    }

    /// Makes `slot` current while `body` runs, at time `now`; fires the timers that are due first.
    ///
    /// # Panics
    /// When another executor is current on this thread: steps do not nest.
    pub fn enter<R>(slot: &mut Option<Box<Executor>>, now: Now, body: impl FnOnce() -> R) -> R {
        struct TakeBack<'a>(&'a mut Option<Box<Executor>>);
        impl Drop for TakeBack<'_> {
            fn drop(&mut self) {
                *self.0 = CURRENT.with_borrow_mut(Option::take);
            }
        }
        let mut executor = slot.take().expect("executor_present: taken only while stepping");
        // The driver's clock may not go backwards; if it does, ours stands still.
        executor.now = Now { mono: executor.now.mono.max(now.mono), wall: now.wall };
        CURRENT.with_borrow_mut(|current| {
            assert!(current.is_none(), "steps_do_not_nest: a replica is stepping on this thread");
            *current = Some(executor);
        });
        let _take_back = TakeBack(slot);
        fire_timers();
        body()
    }

    /// When the next timer is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.keys().next().map(|&(deadline, _)| deadline)
    }
}

/// Runs `body` on the executor that is stepping.
fn with_current<R>(body: impl FnOnce(&mut Executor) -> R) -> R {
    CURRENT.with_borrow_mut(|current| {
        body(current.as_mut().expect(
            "inside_a_step: openraft's runtime exists only while `Replica::step` is running",
        ))
    })
}

/// The clocks of the step that is running.
pub fn now() -> Now {
    with_current(|executor| executor.now)
}

/// A draw from the stepping replica's stream.
pub fn random<R>(draw: impl FnOnce(&mut Rng) -> R) -> R {
    with_current(|executor| draw(&mut executor.rng))
}

/// Adds a task; it is polled later in this step.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    let future: BoxedTask = Box::pin(future);
    let waker = with_current(|executor| {
        executor.tasks_spawned += 1;
        let task = executor.tasks_spawned;
        let ready = executor.ready.clone();
        let waker = Arc::new(TaskWaker { task, queued: AtomicBool::new(false), ready });
        executor.tasks.insert(task, Task { future: Some(future), waker: waker.clone() });
        waker
    });
    waker.wake();
}

/// Polls until no task is ready. The step's effects are what was emitted meanwhile.
pub fn run_until_stalled() {
    while let Some((task, mut future, waker)) = with_current(take_ready) {
        let std_waker = Waker::from(waker);
        let polled = future.as_mut().poll(&mut Context::from_waker(&std_waker));
        match polled {
            Poll::Pending => with_current(|executor| {
                if let Some(slot) = executor.tasks.get_mut(&task) {
                    slot.future = Some(future);
                }
            }),
            Poll::Ready(()) => {
                let done = with_current(|executor| executor.tasks.remove(&task));
                // Dropped outside the borrow: a destructor may wake or spawn.
                drop(done);
                drop(future);
            }
        }
    }
}

fn take_ready(executor: &mut Executor) -> Option<(u64, BoxedTask, Arc<TaskWaker>)> {
    loop {
        let task = lock(&executor.ready).pop_front()?;
        let Some(slot) = executor.tasks.get_mut(&task) else { continue };
        slot.waker.queued.store(false, Ordering::Relaxed);
        if let Some(future) = slot.future.take() {
            return Some((task, future, slot.waker.clone()));
        }
    }
}

/// Ends every task, as a crash would: nothing they hold runs again.
pub fn drop_tasks() {
    while let Some((_, task)) = with_current(|executor| executor.tasks.pop_first()) {
        drop(task);
    }
}

/// Jumps to the next timer and fires it; false when there is none. For tests of the runtime, where
/// no driver owns the clock.
pub fn advance_to_next_timer() -> bool {
    let due = with_current(|executor| {
        let due = executor.deadline()?;
        executor.now.mono = executor.now.mono.max(due);
        Some(())
    });
    if due.is_some() {
        fire_timers();
    }
    due.is_some()
}

fn fire_timers() {
    let due = with_current(|executor| {
        let later = executor.timers.split_off(&(Instant(executor.now.mono.0 + 1), 0));
        std::mem::replace(&mut executor.timers, later)
    });
    for waker in due.into_values() {
        waker.wake();
    }
}

/// Ready once the step's clock has reached `deadline`.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    timer: Option<(Instant, u64)>,
}

impl Sleep {
    /// See the type.
    pub fn until(deadline: Instant) -> Sleep {
        Sleep { deadline, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let previous = self.timer.take();
        self.timer = with_current(|executor| {
            if executor.now.mono >= deadline {
                return None;
            }
            let key = previous.unwrap_or_else(|| {
                executor.timers_set += 1;
                (deadline, executor.timers_set)
            });
            executor.timers.insert(key, context.waker().clone());
            Some(key)
        });
        if self.timer.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(timer) = self.timer else { return };
        // Outside a step the whole executor is being dropped, and its timers with it.
        CURRENT.with_borrow_mut(|current| {
            if let Some(executor) = current {
                executor.timers.remove(&timer);
            }
        });
    }
}

/// Locks a mutex that only this thread uses; poison means a panic is already on its way.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
