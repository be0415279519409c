//! What an attempt tells, and what it means to the pure half of the client (`plan/`), whose verdicts
//! the simulator's clients follow as the real one does.

use std::time::Duration;

use understudy_plan::{Attempts, Instant, Kind};

use crate::history::Ask;

/// What one attempt tells.
pub enum Lesson<Known> {
    /// The operation's fate.
    Known(Known),
    /// This attempt did nothing; try again after a while.
    NotNow(Duration),
    /// This attempt may have done it.
    Perhaps,
}

impl<Known> Lesson<Known> {
    /// The same in the plan's words.
    pub fn heard(&self) -> understudy_plan::Heard {
        match self {
            Lesson::Known(_) => understudy_plan::Heard::Outcome,
            Lesson::NotNow(pause) => understudy_plan::Heard::NotNow(Some(*pause)),
            Lesson::Perhaps => understudy_plan::Heard::Perhaps,
        }
    }
}

/// The attempts of a client that gives up by chance, not by a deadline.
pub fn attempts(kind: Kind) -> Attempts {
    Attempts::new(kind, Instant(u64::MAX))
}

/// What the plan needs to know of what is asked.
pub fn kind(ask: &Ask) -> Kind {
    match ask {
        Ask::Write { .. } => Kind::Write,
        Ask::Read { .. } | Ask::Scan { .. } => Kind::Read,
    }
}
