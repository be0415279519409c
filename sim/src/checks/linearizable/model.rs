//! The model: one actor, as far as the answers tell.

use understudy_core::{Expected, Operation, Outcome, Record, Refusal, Sequence, Token, Version};

use super::evidence::Evidence;
use crate::history::{self, Entry, Fate};
use crate::linearizability::Model;

/// One actor, and what is known before the search begins.
pub(super) struct Actor {
    /// Its acknowledged changes by sequence: the order must take them so.
    acked: Vec<Acked>,
    evidence: Evidence,
    /// Whether a state that leads nowhere is a dead end at once. It changes no verdict; a search is
    /// shorter with it, a witness easier to read without it.
    looks_ahead: bool,
}

/// An acknowledged change.
struct Acked {
    sequence: u64,
    /// What the actor must be right before it.
    before: Option<Token>,
}

/// What the actor is, as far as the answers so far have told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// No later change has a sequence up to this.
    passed: u64,
    /// How many acknowledged changes have happened.
    acked: usize,
    pub(super) live: Option<Live>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Live {
    /// The sequence that began this life; `None` until an answer tells.
    pub(super) created: Option<u64>,
    /// It is no lower than this.
    since: u64,
    pub(super) version: u64,
    /// The operation that wrote the document; `NOBODY` if nobody ever saw it.
    pub(super) writer: u64,
}

/// Writes the documents that no answer shows: they need not be told apart.
pub(super) const NOBODY: u64 = 0;

#[derive(Clone, Debug)]
pub(super) enum Input {
    Write {
        number: u64,
        operation: Operation,
        /// The token that a read showed of a change of unknown outcome.
        seen: Option<Token>,
    },
    Read,
}

#[derive(Clone, Debug)]
pub(super) enum Output {
    Outcome(Outcome),
    Saw(Option<Record>),
    /// Nobody was told, but an answer shows that it wrote this.
    Wrote(Token),
}

impl Actor {
    /// The actor of these entries.
    pub(super) fn of(entries: &[&Entry]) -> Actor {
        let mut acked: Vec<Acked> = entries.iter().filter_map(|entry| Acked::of(entry)).collect();
        acked.sort_by_key(|acked| acked.sequence);
        Actor { acked, evidence: Evidence::of(entries), looks_ahead: true }
    }

    /// The same, but a dead end is noticed only where it ends.
    pub(super) fn without_looking_ahead(self) -> Actor {
        Actor { looks_ahead: false, ..self }
    }
}

impl Actor {
    /// Whether a change that nobody was told of, and that led from `state` to `next`, can explain an
    /// answer. One whose document was shown can only be what was shown. Any other writes a version
    /// that has no other writer, and a version that no answer and no precondition goes beyond explains
    /// nothing: whatever follows it could follow without it.
    fn is_of_use(&self, state: &State, input: &Input, next: &State) -> bool {
        let Some(live) = next.live.filter(|_| next != state) else { return true };
        match (input, live.created) {
            (Input::Read | Input::Write { seen: Some(_), .. }, _) => true,
            (Input::Write { seen: None, .. }, Some(created)) => {
                self.evidence.is_unclaimed(created, live.version)
            }
            (Input::Write { seen: None, .. }, None) => self
                .evidence
                .lives_begun_unheard(live.since)
                .any(|created| self.evidence.is_unclaimed(created, live.version)),
        }
    }
}

impl Acked {
    fn of(entry: &Entry) -> Option<Acked> {
        let Fate::Outcome(outcome) = &entry.fate else { return None };
        let before = match outcome {
            Outcome::Written { token, .. } => {
                let version = token.version.0.saturating_sub(1);
                (version > 0).then_some(Token { version: Version(version), ..*token })
            }
            Outcome::Deleted { record, .. } => Some(record.token),
            Outcome::Removed { token, .. } => Some(*token),
            Outcome::Batch(_) | Outcome::Refused(_) => return None,
        };
        entry.sequence().map(|Sequence(sequence)| Acked { sequence, before })
    }
}

impl Model for Actor {
    type State = State;
    type Input = Input;
    type Output = Output;

    fn init(&self) -> State {
        State { passed: 0, acked: 0, live: None }
    }

    fn step(&self, state: &State, input: &Input, output: Option<&Output>) -> Option<State> {
        let next = state.after(input, output)?;
        if next.acked > state.acked && self.acked[state.acked].sequence != next.passed {
            return None;
        }
        let is_dead_end = || {
            let reaches_next = self.acked.get(next.acked).is_none_or(|acked| next.can_reach(acked));
            !reaches_next || output.is_none() && !self.is_of_use(state, input, &next)
        };
        (!self.looks_ahead || !is_dead_end()).then_some(next)
    }

    fn reads_only(&self, input: &Input, _output: Option<&Output>) -> bool {
        matches!(input, Input::Read)
    }
}

impl State {
    /// The state after an operation, without regard to what must still happen.
    pub(super) fn after(&self, input: &Input, output: Option<&Output>) -> Option<State> {
        match (input, output) {
            (Input::Read, Some(Output::Saw(record))) => {
                self.shows(record.as_ref()).then(|| self.clone())
            }
            (Input::Write { number, operation, .. }, Some(Output::Outcome(outcome))) => {
                self.answer(*number, operation, outcome)
            }
            (Input::Write { number, operation, .. }, Some(Output::Wrote(token))) => {
                self.change_unheard(*number, operation, Some(*token))
            }
            (Input::Write { number, operation, seen }, None) => {
                self.change_unheard(*number, operation, *seen)
            }
            (Input::Read, _) | (Input::Write { .. }, Some(Output::Saw(_))) => None,
        }
    }

    /// Whether changes that nobody heard of can lead from here to where `acked` happens.
    fn can_reach(&self, acked: &Acked) -> bool {
        // The fewest changes before it, and the sequence of the last of them.
        let last = match (self.live, acked.before) {
            (None, None) => self.passed,
            // A deletion.
            (Some(_), None) => self.passed + 1,
            (live, Some(before)) => {
                let (created, version) = (before.created.0, before.version.0);
                let in_this_life =
                    live.filter(|live| live.is_of(created) && live.version <= version);
                // Another life first needs the end of this one.
                let begins = self.passed + 1 + u64::from(live.is_some());
                match in_this_life {
                    Some(live) => self.passed + (version - live.version),
                    None if created >= begins => earliest(before),
                    None => return false,
                }
            }
        };
        last < acked.sequence
    }

    /// Whether a read of this state gives `record`.
    fn shows(&self, record: Option<&Record>) -> bool {
        match (self.live, record) {
            (None, None) => true,
            (Some(live), Some(record)) => {
                live.is(record.token) && history::writer(record) == Some(live.writer)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The state after a change that was answered.
    fn answer(&self, number: u64, operation: &Operation, outcome: &Outcome) -> Option<State> {
        if let Outcome::Refused(refusal) = outcome {
            return self.refuse(operation, refusal);
        }
        let before = self.met(operation)?;
        let (sequence, live) = match outcome {
            Outcome::Batch(_) | Outcome::Refused(_) => return None,
            Outcome::Written { token, sequence } => {
                let next = match before.live {
                    None => token.version == Version(1) && token.created == *sequence,
                    Some(live) => live.precedes(*token) && sequence.0 >= earliest(*token),
                };
                let live = Live {
                    created: Some(token.created.0),
                    since: token.created.0,
                    version: token.version.0,
                    writer: number,
                };
                (sequence.0, next.then_some(Some(live))?)
            }
            Outcome::Deleted { record, sequence } => {
                let deletes = matches!(operation, Operation::Delete { .. });
                let next = before.shows(Some(record)) && sequence.0 > earliest(record.token);
                (sequence.0, (deletes && next).then_some(None)?)
            }
            Outcome::Removed { token, sequence } => {
                let deletes = matches!(operation, Operation::Delete { .. });
                let next = before.live.is_some_and(|live| live.is(*token));
                (sequence.0, (deletes && next && sequence.0 > earliest(*token)).then_some(None)?)
            }
        };
        let next = State { passed: sequence, acked: self.acked + 1, live };
        (sequence > before.passed).then_some(next)
    }

    /// The state after a refusal: the same, or one that knows what the refusal found.
    fn refuse(&self, operation: &Operation, refusal: &Refusal) -> Option<State> {
        let found = match (self.live, refusal) {
            (None, Refusal::NotFound) => {
                let needs =
                    matches!(operation, Operation::Update { .. } | Operation::Delete { .. });
                return needs.then(|| self.clone());
            }
            (None, Refusal::Conflict { found: None, .. }) => {
                return (!self.allows(operation)).then(|| self.clone());
            }
            (Some(live), Refusal::AlreadyExists { found }) => {
                let creates = matches!(operation, Operation::Create { .. });
                (creates && live.is(*found)).then_some(*found)?
            }
            (Some(live), Refusal::Conflict { found: Some(found), .. }) => {
                live.is(*found).then_some(*found)?
            }
            (Some(_), _) | (None, _) => return None,
        };
        let mut next = self.clone();
        next.learn(found);
        (!next.allows(operation)).then_some(next)
    }

    /// The state after a change that nobody was told of, if its precondition holds. `seen`: what it
    /// wrote, if it happened at all.
    fn change_unheard(
        &self,
        number: u64,
        operation: &Operation,
        seen: Option<Token>,
    ) -> Option<State> {
        let before = self.met(operation)?;
        // The exact sequence is not known, but it is beyond all that have passed.
        let passed = before.passed + 1;
        if matches!(operation, Operation::Delete { .. }) {
            return Some(State { passed, live: None, ..before });
        }
        let live = match before.live {
            None => Live { created: None, since: passed, version: 1, writer: number },
            Some(live) => Live { version: live.version + 1, writer: number, ..live },
        };
        let mut next = State { passed, live: Some(live), ..before };
        if let Some(token) = seen {
            if !next.live.is_some_and(|live| live.is(token)) {
                return None;
            }
            next.learn(token);
        }
        Some(next)
    }

    /// The same state, if the precondition holds, knowing that it does.
    fn met(&self, operation: &Operation) -> Option<State> {
        let mut met = self.allows(operation).then(|| self.clone())?;
        if let Some(Expected::Token(token)) = expected(operation) {
            met.learn(token);
        }
        Some(met)
    }

    /// Whether the precondition holds. An unknown beginning may be any.
    fn allows(&self, operation: &Operation) -> bool {
        let holds = |expected: Option<Expected>, live: Live| match expected {
            None => true,
            Some(Expected::Token(token)) => live.is(token),
            Some(Expected::Version(version)) => version.0 == live.version,
        };
        match (operation, self.live) {
            (Operation::Put { .. }, _) | (Operation::Create { .. }, None) => true,
            (Operation::Create { .. }, Some(_)) => false,
            (Operation::Update { .. } | Operation::Delete { .. }, None) => false,
            (Operation::CompareAndSwap { expected, .. }, None) => {
                *expected == Expected::Version(Version(0))
            }
            (operation, Some(live)) => holds(expected(operation), live),
        }
    }

    fn learn(&mut self, token: Token) {
        if let Some(live) = &mut self.live {
            (live.created, live.since) = (Some(token.created.0), token.created.0);
            self.passed = self.passed.max(earliest(token));
        }
    }
}

impl Live {
    fn is(&self, token: Token) -> bool {
        self.is_of(token.created.0) && self.version == token.version.0
    }

    fn precedes(&self, token: Token) -> bool {
        self.is_of(token.created.0) && self.version + 1 == token.version.0
    }

    /// Whether this life can have begun at `created`.
    fn is_of(&self, created: u64) -> bool {
        self.created.map_or(created >= self.since, |known| known == created)
    }
}

/// The lowest sequence that a token can have been written at: each version takes one.
fn earliest(token: Token) -> u64 {
    token.created.0 + token.version.0.saturating_sub(1)
}

/// What the operation needs the actor to be.
pub(super) fn expected(operation: &Operation) -> Option<Expected> {
    match operation {
        Operation::Create { .. } | Operation::Put { .. } => None,
        Operation::Update { expected, .. } | Operation::Delete { expected } => *expected,
        Operation::CompareAndSwap { expected, .. } => Some(*expected),
    }
}
