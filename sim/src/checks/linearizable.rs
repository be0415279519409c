//! The clients' history of each actor has an order that a single-threaded actor could have answered
//! (Herlihy and Wing 1990; docs/SEMANTICS.md, reads `linearizable`).
//!
//! Changes and linearizable reads count; eventual reads do not claim a place in the order. An unknown
//! change may have happened or not. Tokens and sequences are part of the answers: in the order found,
//! sequences rise, versions count up from 1 in each life, and a life is known by the sequence that
//! began it. Where a life began with an unknown change, its beginning is learned from the first answer
//! that names it. If somebody saw the document of an unknown change, its token is known from there.

use std::collections::BTreeMap;

use understudy_core::{Expected, Operation, Outcome, ReadLevel, Record, Refusal, Token, Version};

use super::Violation;
use crate::history::{self, Ask, Entry, Fate};
use crate::linearizability::{self, Model, Verdict};

/// Steps of the model before a history is given up as too entangled.
const BUDGET_STEPS: u64 = 20_000;

/// Judges every actor's history. Returns how many were too entangled to judge.
///
/// # Errors
/// The first history without an order, and how far it can be explained.
pub fn check(entries: &[Entry]) -> Result<u64, Violation> {
    let mut actors: BTreeMap<(usize, u64), Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        actors.entry((entry.namespace, entry.actor)).or_default().push(entry);
    }
    let mut entangled = 0;
    for ((namespace, actor), entries) in actors {
        let operations = operations(&entries);
        match linearizability::check(&Actor, &operations, BUDGET_STEPS) {
            Verdict::Linearizable => {}
            Verdict::Exhausted => entangled += 1,
            Verdict::Illegal { witness } => {
                let why = format!("namespace {namespace}, a{actor}: {witness}");
                return Err(Violation::safety("linearizable", why));
            }
        }
    }
    Ok(entangled)
}

/// The model: one actor.
struct Actor;

/// What the actor is, as far as the answers so far have told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// No later change has a sequence up to this.
    passed: u64,
    live: Option<Live>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Live {
    /// The sequence that began this life; `None` until an answer tells.
    created: Option<u64>,
    version: u64,
    /// The operation that wrote the document.
    writer: u64,
}

#[derive(Clone, Debug)]
enum Input {
    Write {
        number: u64,
        operation: Operation,
        /// What somebody saw of an unknown change.
        seen: Option<Token>,
    },
    Read,
}

#[derive(Clone, Debug)]
enum Output {
    Outcome(Outcome),
    Saw(Option<Record>),
}

fn operations(entries: &[&Entry]) -> Vec<linearizability::Operation<Actor>> {
    let mut seen: BTreeMap<u64, Token> = BTreeMap::new();
    for entry in entries {
        if let Fate::Saw(Some(record)) | Fate::Outcome(Outcome::Deleted { record, .. }) =
            &entry.fate
        {
            seen.extend(history::written_by(&record.value).map(|number| (number, record.token)));
        }
    }
    let operation = |entry: &&Entry| {
        let output = match &entry.fate {
            Fate::DidNotHappen => return None,
            Fate::Unknown => None,
            Fate::Outcome(outcome) => Some(Output::Outcome(outcome.clone())),
            Fate::Saw(record) => Some(Output::Saw(record.clone())),
        };
        let input = match &entry.ask {
            Ask::Read { level: ReadLevel::Linearizable } if output.is_some() => Input::Read,
            Ask::Read { .. } => return None,
            Ask::Write { operation, .. } => Input::Write {
                number: entry.number,
                operation: operation.clone(),
                seen: seen.get(&entry.number).copied(),
            },
        };
        let ret = entry.ret.filter(|_| output.is_some());
        Some(linearizability::Operation {
            client: entry.client,
            call: entry.call,
            ret,
            input,
            output,
        })
    };
    entries.iter().filter_map(operation).collect()
}

impl Model for Actor {
    type State = State;
    type Input = Input;
    type Output = Output;

    fn init(&self) -> State {
        State { passed: 0, live: None }
    }

    fn step(&self, state: &State, input: &Input, output: Option<&Output>) -> Option<State> {
        match (input, output) {
            (Input::Read, Some(Output::Saw(record))) => {
                state.shows(record.as_ref()).then(|| state.clone())
            }
            (Input::Write { number, operation, .. }, Some(Output::Outcome(outcome))) => {
                state.answer(*number, operation, outcome)
            }
            (Input::Write { number, operation, seen }, None) => {
                Some(state.change_unheard(*number, operation, *seen))
            }
            (Input::Read, _) | (Input::Write { .. }, Some(Output::Saw(_))) => None,
        }
    }

    fn reads_only(&self, input: &Input, _output: Option<&Output>) -> bool {
        matches!(input, Input::Read)
    }
}

impl State {
    /// Whether a read of this state gives `record`.
    fn shows(&self, record: Option<&Record>) -> bool {
        match (self.live, record) {
            (None, None) => true,
            (Some(live), Some(record)) => {
                live.is(record.token) && history::written_by(&record.value) == Some(live.writer)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The state after a change that was answered.
    fn answer(&self, number: u64, operation: &Operation, outcome: &Outcome) -> Option<State> {
        match outcome {
            Outcome::Refused(refusal) => self.refuse(operation, refusal),
            Outcome::Written { token, sequence } => {
                let fits = self.allows(operation) && sequence.0 > self.passed;
                let next = match self.live {
                    None => token.version == Version(1) && token.created == *sequence,
                    Some(live) => {
                        let before = Token { version: Version(live.version), ..*token };
                        live.is(before) && token.version.0 == live.version + 1
                    }
                };
                let live = Live {
                    created: Some(token.created.0),
                    version: token.version.0,
                    writer: number,
                };
                (fits && next).then_some(State { passed: sequence.0, live: Some(live) })
            }
            Outcome::Deleted { record, sequence } => {
                let fits = self.allows(operation) && sequence.0 > self.passed;
                let deletes = matches!(operation, Operation::Delete { .. });
                (fits && deletes && self.shows(Some(record)))
                    .then_some(State { passed: sequence.0, live: None })
            }
        }
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

    /// The state after a change nobody heard of, if it took effect.
    fn change_unheard(&self, number: u64, operation: &Operation, seen: Option<Token>) -> State {
        if !self.allows(operation) {
            return self.clone();
        }
        if matches!(operation, Operation::Delete { .. }) {
            return State { passed: self.passed + 1, live: None };
        }
        let live = match self.live {
            None => Live { created: None, version: 1, writer: number },
            Some(live) => Live { version: live.version + 1, writer: number, ..live },
        };
        // The exact sequence is not known, but it is beyond all that have passed.
        let mut next = State { passed: self.passed + 1, live: Some(live) };
        let named = match expected(operation) {
            Some(Expected::Token(Token { created, .. })) => {
                Some(Token { created, version: Version(live.version) })
            }
            Some(Expected::Version(_)) | None => None,
        };
        for token in [seen, named].into_iter().flatten() {
            // Seen with another token: it did not take effect here, and no other answer will fit.
            if live.is(token) {
                next.learn(token);
            }
        }
        next
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
            live.created = Some(token.created.0);
            self.passed = self.passed.max(token.created.0);
        }
    }
}

impl Live {
    fn is(&self, token: Token) -> bool {
        let same_life = self.created.is_none_or(|created| created == token.created.0);
        same_life && self.version == token.version.0
    }
}

fn expected(operation: &Operation) -> Option<Expected> {
    match operation {
        Operation::Create { .. } | Operation::Put { .. } => None,
        Operation::Update { expected, .. } | Operation::Delete { expected } => *expected,
        Operation::CompareAndSwap { expected, .. } => Some(*expected),
    }
}
