//! The clients' history of each actor has an order that a single-threaded actor could have answered
//! (Herlihy and Wing 1990; docs/SEMANTICS.md, reads `linearizable`).
//!
//! Changes and linearizable reads count; eventual reads do not claim a place in the order. An unknown
//! change may have happened or not. Tokens and sequences are part of the answers: in the order found,
//! sequences rise, versions count up from 1 in each life, and a life is known by the sequence that
//! began it. Where a life began with an unknown change, its beginning is learned from the first answer
//! that names it. What makes the search short without changing what is legal:
//! - acknowledged changes can only stand in the order of their sequences, and from each state it must
//!   be possible to reach the next one;
//! - an unknown change whose document a linearizable read or a deletion shows has happened by then,
//!   as that token; if only an eventual read shows it, its token is known if it happened;
//! - unknown changes whose document nobody saw are told apart by nothing but their preconditions.

mod evidence;
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use understudy_core::{Expected, Operation, Version};

use super::{About, Violation};
use crate::history::{self, Ask, Entry, Fate};
use crate::linearizability::{self, Model, Verdict, Witness};
use evidence::{Shown, is_eventual};
use model::{Actor, Input, NOBODY, Output, State};

/// Steps of the model before a history is given up as too entangled.
const BUDGET_STEPS: u64 = 20_000;
/// Changes before the contradiction that are named.
const PLACED_SHOWN_MAX: usize = 3;

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
    for entries in actors.values() {
        let (entries, operations) = operations(entries);
        let actor = Actor::of(&entries);
        let witness = match linearizability::check(&actor, &operations, BUDGET_STEPS) {
            Verdict::Linearizable => continue,
            Verdict::Exhausted => {
                entangled += 1;
                continue;
            }
            Verdict::Illegal { witness } => witness,
        };
        let patient = actor.without_looking_ahead();
        let witness = match linearizability::check(&patient, &operations, BUDGET_STEPS) {
            Verdict::Illegal { witness } => witness,
            Verdict::Linearizable | Verdict::Exhausted => witness,
        };
        return Err(violation(&patient, &entries, &operations, &witness));
    }
    Ok(entangled)
}

type Searched = linearizability::Operation<Actor>;

/// The entries that take part, and each as the search takes it.
fn operations<'a>(entries: &[&'a Entry]) -> (Vec<&'a Entry>, Vec<Searched>) {
    let shown = Shown::by(entries);
    let both = entries.iter().filter_map(|entry| Some((*entry, operation(entry, &shown)?)));
    both.unzip()
}

fn operation(entry: &Entry, shown: &Shown) -> Option<Searched> {
    let (mut ret, mut input) = (entry.ret, Input::Read);
    let output = match (&entry.ask, &entry.fate) {
        (_, Fate::DidNotHappen | Fate::Listed { .. })
        | (Ask::Read { .. }, Fate::Unknown | Fate::Outcome(_))
        // Each was taken apart, or nobody heard of it.
        | (Ask::Scan { .. }, _) => None?,
        (Ask::Read { .. }, _) if is_eventual(entry) => None?,
        (Ask::Read { .. }, Fate::Saw { record, .. }) => Some(Output::Saw(record.clone())),
        (Ask::Write { operation, .. }, Fate::Outcome(outcome)) => {
            input = write(entry.number, operation.clone(), None);
            Some(Output::Outcome(outcome.clone()))
        }
        (Ask::Write { operation, .. }, Fate::Unknown | Fate::Saw { .. }) => {
            let (seen, proven) = shown.of(entry.number).unzip();
            ret = proven.flatten();
            input = match seen {
                Some(_) => write(entry.number, operation.clone(), seen),
                None => write(NOBODY, plain(operation), None),
            };
            ret.and(seen).map(Output::Wrote)
        }
    };
    // Shown before it was called: another property's find; no order either.
    let ret = ret.map(|ret| ret.max(entry.call));
    Some(linearizability::Operation { client: entry.client, call: entry.call, ret, input, output })
}

fn write(number: u64, operation: Operation, seen: Option<understudy_core::Token>) -> Input {
    Input::Write { number, operation, seen }
}

/// An operation whose document nobody saw: without it, and by what it needs rather than by name.
fn plain(operation: &Operation) -> Operation {
    let content = history::content(NOBODY);
    match operation {
        Operation::Create { .. }
        | Operation::CompareAndSwap { expected: Expected::Version(Version(0)), .. } => {
            Operation::Create { content }
        }
        Operation::Put { .. } => Operation::Put { content },
        Operation::Update { expected, .. } => Operation::Update { content, expected: *expected },
        Operation::CompareAndSwap { expected, .. } => {
            Operation::Update { content, expected: Some(*expected) }
        }
        Operation::Delete { expected } => Operation::Delete { expected: *expected },
    }
}

/// Why there is no order, in words.
fn violation(
    actor: &Actor,
    entries: &[&Entry],
    operations: &[Searched],
    witness: &Witness,
) -> Violation {
    let placed: Vec<&Entry> = witness.order.iter().map(|&index| entries[index]).collect();
    let changes = placed.iter().copied().filter(|entry| changes(entry));
    let mut last: Vec<&Entry> = changes.rev().take(PLACED_SHOWN_MAX).collect();
    last.reverse();
    let stuck: Vec<&Entry> = witness.stuck.iter().map(|&index| entries[index]).collect();
    let why = stale(&placed, &stuck).unwrap_or_else(|| {
        let state = witness.order.iter().try_fold(actor.init(), |state, &index| {
            let operation = &operations[index];
            state.after(&operation.input, operation.output.as_ref())
        });
        unplaced(&last, &stuck, state.as_ref())
    });
    let unknown = entries.iter().filter(|entry| entry.is_unknown_write()).count();
    let why = match unknown {
        0 => why,
        some => {
            format!("{why}; {some} changes of unknown outcome were tried and do not explain it")
        }
    };
    let about = About::of(stuck.iter().chain(&last).copied());
    Violation::safety("linearizable", why).about(about)
}

fn changes(entry: &Entry) -> bool {
    entry.sequence().is_some() || entry.is_unknown_write()
}

/// The commonest story: a read that was called after a change had been acknowledged shows what was
/// before.
fn stale(placed: &[&Entry], stuck: &[&Entry]) -> Option<String> {
    let read = stuck.iter().find(|entry| matches!(entry.fate, Fate::Saw { .. }))?;
    let acked = placed.iter().rev().find(|entry| entry.sequence().is_some())?;
    let shows_less = match (read.shows(), acked.token()) {
        (Some(record), Some(token)) => record.token < token,
        (None, Some(_)) => true,
        (Some(_) | None, None) => false,
    };
    let is_stale = acked.is_before(read) && shows_less;
    is_stale.then(|| format!("{acked}; but called after that was answered, {read}"))
}

fn unplaced(last: &[&Entry], stuck: &[&Entry], state: Option<&State>) -> String {
    let words =
        |entries: &[&Entry]| entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let live = state.map(|state| state.live);
    let state = match live {
        Some(Some(live)) => {
            let created = live.created.map_or("?".to_owned(), |created| created.to_string());
            let writer = match live.writer {
                NOBODY => "a document that nobody saw".to_owned(),
                number => format!("document {number}"),
            };
            format!("the actor is {writer} at {created}-{}", live.version)
        }
        Some(None) | None => "the actor is absent".to_owned(),
    };
    let before = match last {
        [] => "before any change".to_owned(),
        [..] => format!("after {}", words(last)),
    };
    format!(
        "no order has a place for: {}; as far as the others can be ordered, {before}, {state}",
        words(stuck)
    )
}
