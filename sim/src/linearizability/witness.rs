//! Tells a person why no order exists.

use std::fmt::{Debug, Write};

use super::search::{Search, Unknown};
use super::{Model, Operation, Witness};

/// Describes the order that explains most of the history, and what stops it there. Only called once
/// nothing is left to try, so every configuration stopped at or before the deadline named.
pub(super) fn describe<M: Model>(
    model: &M,
    operations: &[Operation<M>],
    search: &Search<'_, M>,
) -> Witness {
    let furthest = &search.furthest;
    let pending = search.history.pending(&furthest.ordered);
    let place = |wanted: &Operation<M>| {
        operations.iter().position(|operation| std::ptr::eq(operation, wanted))
    };
    let order = prefix(search).into_iter().filter_map(place).collect();
    let overdue = pending.known.iter().map(|index| search.history.known[*index]);
    let overdue = overdue.filter(|operation| operation.ret == Some(furthest.deadline));
    Witness { order, stuck: overdue.filter_map(place).collect(), text: text(model, search) }
}

fn text<M: Model>(model: &M, search: &Search<'_, M>) -> String {
    let furthest = &search.furthest;
    let state = search.states.get(furthest.state);
    let pending = search.history.pending(&furthest.ordered);
    let mut text = format!(
        "no order explains the history up to time {}, when this had returned:\n",
        furthest.deadline
    );
    for index in &pending.known {
        let operation = search.history.known[*index];
        if operation.ret == Some(furthest.deadline) {
            line(&mut text, operation, "");
        }
    }
    let mut states: Vec<&M::State> =
        furthest.states.iter().map(|state| search.states.get(*state)).collect();
    states.sort();
    let states: Vec<String> = states.into_iter().map(shortened).collect();
    let shown = states.len().min(STATES_SHOWN_MAX);
    write!(text, "states possible before it: {}", states[..shown].join(", ")).unwrap();
    if shown < states.len() {
        write!(text, " and {} more", states.len() - shown).unwrap();
    }
    text.push_str("\nthe longest order that works:\n");
    let prefix = prefix(search);
    if prefix.len() > PREFIX_SHOWN_MAX {
        writeln!(text, "  ({} earlier ones)", prefix.len() - PREFIX_SHOWN_MAX).unwrap();
    }
    for operation in prefix.iter().skip(prefix.len().saturating_sub(PREFIX_SHOWN_MAX)) {
        line(&mut text, operation, "");
    }
    writeln!(text, "which leaves the state {}, and then:", shortened(state)).unwrap();
    let unordered = pending.known.iter().map(|index| search.history.known[*index]);
    for operation in unordered {
        let reason = match model.step(state, &operation.input, operation.output.as_ref()) {
            None => "  <- impossible in this state",
            Some(_) => "  <- possible, but leads no further",
        };
        line(&mut text, operation, reason);
    }
    let called = search.history.unknown.iter().flatten().filter(|o| o.call <= furthest.deadline);
    let unknown = called.count();
    if unknown > 0 {
        let again = match search.rule {
            Unknown::Repeatable => ", even if each could take effect again and again",
            Unknown::Once => "",
        };
        writeln!(text, "operations of unknown outcome by then: {unknown}; none helps{again}")
            .unwrap();
    }
    text
}

/// The operations that led to the furthest configuration, in order.
fn prefix<'a, M: Model>(search: &Search<'a, M>) -> Vec<&'a Operation<M>> {
    let mut reversed = Vec::new();
    let mut step = Some(search.furthest.step);
    while let Some(current) = step.map(|number| &search.steps[number]) {
        reversed.extend(current.operations.iter().rev().copied());
        step = current.parent;
    }
    reversed.reverse();
    reversed
}

fn line<M: Model>(text: &mut String, operation: &Operation<M>, reason: &str) {
    writeln!(text, "  {}{reason}", shortened(operation)).unwrap();
}

/// The debug text, without the middle of a long one: appended values differ at their ends.
fn shortened(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let length = text.chars().count();
    if length <= 2 * SHORTENED_HALF_CHARS {
        return text;
    }
    let head: String = text.chars().take(SHORTENED_HALF_CHARS).collect();
    let tail: String = text.chars().skip(length - SHORTENED_HALF_CHARS).collect();
    format!("{head}…{tail}")
}

const PREFIX_SHOWN_MAX: usize = 20;
const STATES_SHOWN_MAX: usize = 8;
const SHORTENED_HALF_CHARS: usize = 100;
