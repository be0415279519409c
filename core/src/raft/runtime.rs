//! openraft's `AsyncRuntime`, implemented on the executor that runs inside a step.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use openraft::async_runtime::{AsyncRuntime, OneshotSender as _};
use openraft::{OptionalSend, async_runtime as rt};

use super::channel::{self, OneshotReceiver};
use super::executor::{self, Executor, Sleep};
use crate::seed::Seed;
use crate::types::{Instant, Now};

/// The runtime. As a value it is only used by openraft's conformance suite.
pub struct Runtime {
    executor: Option<Box<Executor>>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// A spawned task's result.
pub struct JoinHandle<T>(OneshotReceiver<T>);

/// The task was dropped before it ended: its replica was.
#[derive(Debug)]
pub struct JoinError;

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was dropped with its replica")
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| JoinError)
    }
}

/// The deadline passed first.
#[derive(Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline passed")
    }
}

/// A future with a deadline.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// `future`, unless `deadline` comes first.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), sleep: Sleep::until(deadline) }
}

/// Draws from the stepping replica's stream.
pub struct StepRng;

impl rand_core::TryRng for StepRng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(executor::random(|rng| rng.u32()))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(executor::random(|rng| rng.u64()))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        executor::random(|rng| rng.fill(bytes));
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = StepRng;
    type Mpsc = channel::Mpsc;
    type Watch = channel::Watch;
    type Oneshot = channel::Oneshot;
    type Mutex<T: OptionalSend + 'static> = channel::Mutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (sender, receiver) = channel::oneshot();
        executor::spawn(async move {
            // Nobody may be waiting: the handle was dropped, the task goes on.
            sender.send(future.await).ok();
        });
        JoinHandle(receiver)
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::until(executor::now().mono.after(duration))
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        Sleep::until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        timeout_at(executor::now().mono.after(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Instant,
        future: F,
    ) -> Timeout<F> {
        timeout_at(deadline, future)
    }

    fn is_panic(_: &JoinError) -> bool {
        // A panic is not caught: it ends the process, as a broken invariant must.
        false
    }

    fn thread_rng() -> StepRng {
        StepRng
    }

    fn new(_threads: usize) -> Runtime {
        Runtime { executor: Some(Box::new(Executor::new(Seed(0)))) }
    }

    /// Runs with a clock of its own that jumps to the next timer when nothing else is left to do.
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        struct Nothing;
        impl Wake for Nothing {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let waker = Waker::from(std::sync::Arc::new(Nothing));
        Executor::enter(&mut self.executor, Now::default(), || {
            let mut future = pin!(future);
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
                executor::run_until_stalled();
                // Polled after every round: woken or not, the outcome is the same.
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
                executor::run_until_stalled();
                executor::advance_to_next_timer();
            }
        })
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // There is no other thread to block.
        Ok(work())
    }
}

impl rt::Instant for Instant {
    fn now() -> Instant {
        executor::now().mono
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        self.after(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.after(duration);
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::Runtime;

    #[test]
    fn openraft_runtime_conformance_suite_passes() {
        openraft::testing::runtime::Suite::<Runtime>::test_all();
    }
}
