//! One operation from its first attempt to the word that its caller gets.

use std::time::Duration;

use crate::{Certainty, Instant, limits, planted};

/// What a repeat of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes nothing, so it can be asked again at will, and a failed one is always refused.
    Read,
    /// A write whose name the client made: it may get another one while it cannot have happened.
    Write,
    /// A write under a name that the caller chose.
    NamedByCaller,
}

/// What one attempt brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The operation's own result: an answer, or a refusal that is recorded under its name.
    Outcome,
    /// This attempt did nothing, and another may do it, after the node's hint.
    NotNow(Option<Duration>),
    /// This attempt did nothing, and asking again brings the same.
    Never,
    /// The store no longer knows the name: this attempt did nothing, an earlier one may have.
    NameExpired,
    /// It may have happened, or may yet.
    Perhaps,
}

impl Heard {
    /// What a failure means: its stable code, whether it says that nothing happened, its hint.
    pub fn of(code: &str, certainty: Certainty, retry_after: Option<Duration>) -> Heard {
        match (code, certainty) {
            (_, Certainty::Unknown) => Heard::Perhaps,
            // Decided when the operation was applied, and recorded with its name; and a name that
            // stands for another request can never have stood for this one.
            (
                "already_exists"
                | "not_found"
                | "conflict"
                | "batch_refused"
                | "idempotency_key_reused",
                Certainty::Refused,
            ) => Heard::Outcome,
            ("session_expired", Certainty::Refused) => Heard::NameExpired,
            ("busy" | "unavailable", Certainty::Refused) => Heard::NotNow(retry_after),
            (_, Certainty::Refused) => Heard::Never,
        }
    }
}

/// What to do with what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the caller what was heard: it is the operation's result.
    Settled,
    /// Try again, not before this time; under a new name where it says so.
    Again {
        /// When.
        at: Instant,
        /// The old name is of no more use, and nothing happened under it.
        rename: bool,
    },
    /// Tell the caller that it failed, and whether it may have happened.
    GiveUp(Certainty),
}

/// The attempts of one operation.
#[derive(Clone, Debug)]
pub struct Attempts {
    kind: Kind,
    deadline: Instant,
    failed: u32,
    renames: u32,
    /// An attempt under the present name may have done it.
    perhaps: bool,
}

impl Attempts {
    /// None yet.
    pub fn new(kind: Kind, deadline: Instant) -> Attempts {
        Attempts { kind, deadline, failed: 0, renames: 0, perhaps: false }
    }

    /// How long the next attempt may take.
    pub fn patience(&self, now: Instant) -> Duration {
        self.deadline.since(now).min(limits::ATTEMPT_TIMEOUT)
    }

    /// Attempts that brought no result.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Whether the operation may have happened although there is no result: what a caller must be
    /// told who stops waiting now. An attempt under way is the caller's to add.
    pub fn certainty(&self) -> Certainty {
        match self.kind {
            Kind::Read => Certainty::Refused,
            Kind::Write | Kind::NamedByCaller if self.perhaps => Certainty::Unknown,
            Kind::Write | Kind::NamedByCaller => Certainty::Refused,
        }
    }

    /// Takes what an attempt brought at `now`. `chance` is any number, each as likely as the others.
    pub fn heard(&mut self, heard: Heard, now: Instant, chance: u64) -> Step {
        let wait = match heard {
            Heard::Outcome => return Step::Settled,
            // It tells of this attempt alone: an earlier one may have done it.
            Heard::Never => return self.last_word(),
            Heard::NameExpired => {
                if self.kind != Kind::Write || self.perhaps || self.renames >= limits::RENAMES_MAX {
                    return self.last_word();
                }
                self.renames += 1;
                return self.again(now, Duration::ZERO, true, chance);
            }
            Heard::NotNow(hint) => hint.unwrap_or_default().min(limits::HINT_MAX),
            Heard::Perhaps => {
                self.perhaps = true;
                Duration::ZERO
            }
        };
        if planted!("client_believes_refusal") && matches!(heard, Heard::NotNow(_)) && self.perhaps
        {
            return Step::GiveUp(Certainty::Refused);
        }
        let rename = planted!("client_renames_retries") && self.perhaps;
        self.again(now, wait, rename, chance)
    }

    fn last_word(&self) -> Step {
        match self.certainty() {
            Certainty::Refused => Step::Settled,
            Certainty::Unknown => Step::GiveUp(Certainty::Unknown),
        }
    }

    /// Full jitter: everybody who lost the same leader comes back at another time.
    fn again(&mut self, now: Instant, hint: Duration, rename: bool, chance: u64) -> Step {
        let doubled = limits::BACKOFF_MIN.saturating_mul(1 << self.failed.min(16));
        let longest =
            u64::try_from(doubled.min(limits::BACKOFF_MAX).as_nanos()).unwrap_or(u64::MAX);
        self.failed = self.failed.saturating_add(1);
        let at = now.after(hint).after(Duration::from_nanos(chance % longest.saturating_add(1)));
        if at >= self.deadline {
            return Step::GiveUp(self.certainty());
        }
        Step::Again { at, rename }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn attempts(kind: Kind) -> Attempts {
        Attempts::new(kind, Instant(10 * SECOND))
    }

    fn waits(step: Step) -> (Instant, bool) {
        match step {
            Step::Again { at, rename } => (at, rename),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_after_an_attempt_without_answer_is_not_the_last_word() {
        for refusal in [Heard::Never, Heard::NameExpired] {
            let mut write = attempts(Kind::Write);
            waits(write.heard(Heard::Perhaps, Instant(0), 7));
            assert_eq!(write.heard(refusal, Instant(1), 7), Step::GiveUp(Certainty::Unknown));
        }
        // At the deadline too, however many attempts said in between that they did nothing.
        let mut write = attempts(Kind::Write);
        waits(write.heard(Heard::Perhaps, Instant(0), 7));
        waits(write.heard(Heard::NotNow(None), Instant(1), 7));
        let late = write.heard(Heard::NotNow(None), Instant(10 * SECOND), 7);
        assert_eq!(late, Step::GiveUp(Certainty::Unknown));
    }

    #[test]
    fn a_recorded_outcome_settles_whatever_came_before() {
        let mut write = attempts(Kind::Write);
        waits(write.heard(Heard::Perhaps, Instant(0), 7));
        let conflict = Heard::of("conflict", Certainty::Refused, None);
        assert_eq!(write.heard(conflict, Instant(1), 7), Step::Settled);
    }

    #[test]
    fn what_never_reached_a_log_is_refused_and_a_read_always_is() {
        let mut write = attempts(Kind::Write);
        waits(write.heard(Heard::NotNow(None), Instant(0), 7));
        assert_eq!(write.heard(Heard::Never, Instant(1), 7), Step::Settled);
        let late = attempts(Kind::Write).heard(Heard::NotNow(None), Instant(10 * SECOND), 0);
        assert_eq!(late, Step::GiveUp(Certainty::Refused));
        let late = attempts(Kind::Read).heard(Heard::Perhaps, Instant(10 * SECOND), 0);
        assert_eq!(late, Step::GiveUp(Certainty::Refused));
    }

    #[test]
    fn a_new_name_is_drawn_only_while_nothing_can_have_happened() {
        let mut write = attempts(Kind::Write);
        for _ in 0..limits::RENAMES_MAX {
            assert!(waits(write.heard(Heard::NameExpired, Instant(0), 7)).1);
        }
        assert_eq!(write.heard(Heard::NameExpired, Instant(0), 7), Step::Settled);
        let mut named = attempts(Kind::NamedByCaller);
        assert_eq!(named.heard(Heard::NameExpired, Instant(0), 7), Step::Settled);
        let mut retried = attempts(Kind::Write);
        assert!(!waits(retried.heard(Heard::Perhaps, Instant(0), 7)).1, "under the same name");
    }

    #[test]
    fn waits_grow_to_a_limit_and_never_undercut_a_hint() {
        let mut write = attempts(Kind::Write);
        let longest = |write: &mut Attempts| {
            let before = write.clone();
            let most = (0..2_000).map(|chance| {
                waits(before.clone().heard(Heard::NotNow(None), Instant(0), chance * 131_071)).0
            });
            let most = most.max().unwrap();
            waits(write.heard(Heard::NotNow(None), Instant(0), 0));
            most
        };
        let grown: Vec<Instant> = (0..12).map(|_| longest(&mut write)).collect();
        assert!(grown.windows(2).all(|two| two[0] <= two[1].after(Duration::from_millis(5))));
        assert!(grown[11] <= Instant(0).after(limits::BACKOFF_MAX), "{grown:?}");
        let hint = Duration::from_millis(800);
        let at = waits(write.heard(Heard::NotNow(Some(hint)), Instant(5), 0)).0;
        assert_eq!(at, Instant(5).after(hint));
    }
}
