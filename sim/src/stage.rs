//! What the tasks of one run share: the world and the client oracle, on one thread.

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use madsim::time::{TimeHandle, sleep, sleep_until};
use understudy_core::{NodeId, Request};

use crate::oracle::Oracle;
use crate::schedule::Schedule;
use crate::simulation::Report;
use crate::world::{Asker, Heard, World};

/// Shared by all tasks of one run.
pub struct Stage {
    world: RefCell<World>,
    oracle: RefCell<Oracle>,
    /// The runtime's clock when the world began.
    began: Duration,
    /// What is played.
    pub schedule: Schedule,
}

impl Stage {
    /// A stage for `world`, which begins now.
    pub fn new(world: World, schedule: Schedule) -> Rc<Stage> {
        let oracle = RefCell::new(Oracle::default());
        Rc::new(Stage {
            world: RefCell::new(world),
            oracle,
            schedule,
            began: TimeHandle::current().elapsed(),
        })
    }

    /// The world, brought to the present. Never held across an await.
    pub fn world(&self) -> RefMut<'_, World> {
        let mut world = self.world.borrow_mut();
        let elapsed = TimeHandle::current().elapsed() - self.began;
        world.advance(u64::try_from(elapsed.as_nanos()).expect("short_worlds"));
        world
    }

    /// The client oracle. Never held across an await.
    pub fn oracle(&self) -> RefMut<'_, Oracle> {
        self.oracle.borrow_mut()
    }

    /// Asks a node and waits for what the client hears.
    pub async fn ask(&self, asker: Asker, to: NodeId, timeout: Duration, body: Request) -> Heard {
        let request = self.world().ask(asker, to, timeout, body);
        poll_fn(|context| {
            let mut world = self.world.borrow_mut();
            if world.is_over() {
                Poll::Ready(Heard::Silence)
            } else {
                world.poll_heard(request, context)
            }
        })
        .await
    }

    /// Keeps what is known, for the card of a run that panics.
    fn keep_report(&self) {
        let keeps = self.world.borrow().trace.keeps();
        if keeps {
            crate::simulation::keep(Report::of(self));
        }
    }

    /// Lets the world happen, until it is over.
    pub async fn pump(&self) {
        loop {
            let (now, next) = {
                let world = self.world();
                if world.is_over() {
                    return;
                }
                (world.now(), world.next_deadline())
            };
            self.keep_report();
            let idle = Duration::from_millis(50);
            let wait = next.map_or(idle, |at| Duration::from_nanos(at.saturating_sub(now)));
            let mut until = pin!(sleep_until(madsim::time::Instant::now() + wait));
            let mut asleep = false;
            poll_fn(|context| {
                // Woken: by the sleep's end, or by a task that has put something on the heap.
                if std::mem::replace(&mut asleep, true) {
                    return Poll::Ready(());
                }
                self.world.borrow_mut().pump_waits(context.waker());
                until.as_mut().poll(context)
            })
            .await;
        }
    }

    /// Sleeps, but not past the end of the world. The runtime rounds up to a millisecond.
    pub async fn sleep(&self, nanos: u64) {
        const LOOK_UP: u64 = 100_000_000;
        let mut left = nanos;
        while left > 0 && !self.world.borrow().is_over() {
            sleep(Duration::from_nanos(left.min(LOOK_UP))).await;
            left = left.saturating_sub(LOOK_UP);
        }
    }
}
