//! The search against the definition: every arrangement of every choice of operations, tried in turn.

use super::*;

const HISTORIES: u64 = 20_000;
const OPERATIONS_MAX: u64 = 6;

#[test]
fn every_small_history_gets_the_verdict_of_the_definition() {
    let mut legal = 0;
    for seed in 0..HISTORIES {
        let operations = random_history(&mut Draws(seed));
        let expected = has_order(&Register::default(), &operations);
        legal += u64::from(expected);
        for promises in [false, true] {
            let verdict = check(&Register { promises }, &operations, BUDGET_STEPS);
            agree(&verdict, expected, &operations, seed);
        }
    }
    // Otherwise one of the two directions would go untested.
    assert!((HISTORIES / 5..HISTORIES * 4 / 5).contains(&legal), "{legal} are legal");
}

#[test]
fn every_small_history_of_appends_gets_the_verdict_of_the_definition() {
    let mut legal = 0;
    for seed in 0..HISTORIES {
        let operations = random_appends(&mut Draws(seed));
        let expected = has_order(&Digits, &operations);
        legal += u64::from(expected);
        agree(&check(&Digits, &operations, BUDGET_STEPS), expected, &operations, seed);
    }
    assert!((HISTORIES / 5..HISTORIES * 4 / 5).contains(&legal), "{legal} are legal");
}

#[track_caller]
fn agree<M: Model>(verdict: &Verdict, expected: bool, operations: &[Operation<M>], seed: u64) {
    let found = match verdict {
        Verdict::Linearizable => true,
        Verdict::Illegal { .. } => false,
        Verdict::Exhausted => panic!("seed {seed}: so small a history exhausted the budget"),
    };
    assert_eq!(found, expected, "seed {seed}: {verdict:?}\n{operations:#?}");
}

/// The definition: some arrangement holds all known operations and any of the others, puts no
/// operation after one called when it had already returned, and is what the model does.
fn has_order<M: Model>(model: &M, operations: &[Operation<M>]) -> bool {
    let mut arrangement = Vec::new();
    extend(model, operations, &mut arrangement)
}

fn extend<M: Model>(model: &M, all: &[Operation<M>], arrangement: &mut Vec<usize>) -> bool {
    if is_order(model, all, arrangement) {
        return true;
    }
    for next in 0..all.len() {
        if !arrangement.contains(&next) {
            arrangement.push(next);
            if extend(model, all, arrangement) {
                return true;
            }
            arrangement.pop();
        }
    }
    false
}

fn is_order<M: Model>(model: &M, all: &[Operation<M>], arrangement: &[usize]) -> bool {
    let complete = (0..all.len()).all(|i| all[i].ret.is_none() || arrangement.contains(&i));
    let respects_time = arrangement.iter().enumerate().all(|(place, earlier)| {
        let later = &arrangement[place + 1..];
        later.iter().all(|later| all[*later].ret.is_none_or(|ret| ret >= all[*earlier].call))
    });
    let end = arrangement.iter().try_fold(model.init(), |state, i| {
        model.step(&state, &all[*i].input, all[*i].output.as_ref())
    });
    complete && respects_time && end.is_some()
}

fn random_history(draws: &mut Draws) -> Vec<Operation<Register>> {
    let count = 1 + draws.below(OPERATIONS_MAX);
    let random_operation = |client| {
        let (call, ret) = random_interval(draws);
        let value = draws.below(3);
        let (input, output) = match draws.below(5) {
            0 | 1 => (Ask::Read, Answer::Value(value)),
            2 => (Ask::Write(value), Answer::Done),
            3 => (Ask::CompareAndSet(value, draws.below(3)), Answer::Done),
            _ => (Ask::CompareAndSet(value, draws.below(3)), Answer::Conflict),
        };
        Operation { client, call, ret, input, output: ret.map(|_| output) }
    };
    (0..count).map(random_operation).collect()
}

/// A number that grows digit by digit: the order of appends can be read from it.
struct Digits;

#[derive(Clone, Debug)]
enum Digit {
    Append(u64),
    Read,
}

impl Model for Digits {
    type State = u64;
    type Input = Digit;
    type Output = u64;

    fn init(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &Digit, output: Option<&u64>) -> Option<u64> {
        match input {
            Digit::Append(digit) => Some(state * 10 + digit),
            Digit::Read => output.is_none_or(|output| output == state).then_some(*state),
        }
    }
}

fn random_appends(draws: &mut Draws) -> Vec<Operation<Digits>> {
    let answers = [0, 1, 2, 12, 21];
    let count = 1 + draws.below(OPERATIONS_MAX);
    let random_operation = |client| {
        let (call, ret) = random_interval(draws);
        let (input, output) = match draws.below(2) {
            0 => (Digit::Append(1 + draws.below(2)), 0),
            _ => (Digit::Read, answers[usize::try_from(draws.below(5)).unwrap()]),
        };
        Operation { client, call, ret, input, output: ret.map(|_| output) }
    };
    (0..count).map(random_operation).collect()
}

/// Short and crowded, so that ends meet; one in four is open.
fn random_interval(draws: &mut Draws) -> (u64, Option<u64>) {
    let call = draws.below(8);
    let ret = call + draws.below(5);
    (call, (draws.below(4) > 0).then_some(ret))
}

/// Numbers from a seed: splitmix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
