use super::*;

mod brute_force;

const BUDGET_STEPS: u64 = 1_000_000;

/// One number, at first 0. It makes no promises unless told to.
#[derive(Default)]
struct Register {
    promises: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Read,
    Write(u64),
    CompareAndSet(u64, u64),
}

/// What a read returned, or whether the comparison held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value(u64),
    Done,
    Conflict,
}

impl Model for Register {
    type State = u64;
    type Input = Ask;
    type Output = Answer;

    fn init(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &Ask, output: Option<&Answer>) -> Option<u64> {
        let (answer, after) = match *input {
            Ask::Read => (Answer::Value(*state), *state),
            Ask::Write(value) => (Answer::Done, value),
            Ask::CompareAndSet(expected, value) if *state == expected => (Answer::Done, value),
            Ask::CompareAndSet(..) => (Answer::Conflict, *state),
        };
        output.is_none_or(|output| *output == answer).then_some(after)
    }

    fn reads_only(&self, input: &Ask, output: Option<&Answer>) -> bool {
        self.promises && (*input == Ask::Read || output == Some(&Answer::Conflict))
    }

    fn interchangeable(&self, one: &Ask, other: &Ask) -> bool {
        self.promises && one == other
    }
}

fn known(client: u64, call: u64, ret: u64, input: Ask, output: Answer) -> Operation<Register> {
    Operation { client, call, ret: Some(ret), input, output: Some(output) }
}

fn read(client: u64, call: u64, ret: u64, value: u64) -> Operation<Register> {
    known(client, call, ret, Ask::Read, Answer::Value(value))
}

fn write(client: u64, call: u64, ret: u64, value: u64) -> Operation<Register> {
    known(client, call, ret, Ask::Write(value), Answer::Done)
}

fn unheard(client: u64, call: u64, input: Ask) -> Operation<Register> {
    Operation { client, call, ret: None, input, output: None }
}

/// The verdict, which the model's promises must not change.
#[track_caller]
fn judge(operations: &[Operation<Register>]) -> Verdict {
    let plain = check(&Register { promises: false }, operations, BUDGET_STEPS);
    let promising = check(&Register { promises: true }, operations, BUDGET_STEPS);
    assert_eq!(
        plain == Verdict::Linearizable,
        promising == Verdict::Linearizable,
        "the promises changed the verdict: {plain:?}, {promising:?}"
    );
    plain
}

#[track_caller]
fn expect_linearizable(operations: &[Operation<Register>]) {
    assert_eq!(judge(operations), Verdict::Linearizable);
}

#[track_caller]
fn expect_illegal(operations: &[Operation<Register>]) -> String {
    match judge(operations) {
        Verdict::Illegal { witness } => witness.text,
        other => panic!("expected an illegal history, found {other:?}"),
    }
}

#[test]
fn an_empty_history_is_linearizable() {
    expect_linearizable(&[]);
}

#[test]
fn a_stale_read_is_illegal() {
    expect_illegal(&[write(1, 0, 10, 1), write(1, 11, 20, 2), read(2, 21, 30, 1)]);
}

#[test]
fn a_read_concurrent_with_a_write_may_see_either_value() {
    expect_linearizable(&[write(1, 0, 10, 1), write(1, 11, 40, 2), read(2, 21, 30, 1)]);
    expect_linearizable(&[write(1, 0, 10, 1), write(1, 11, 40, 2), read(2, 21, 30, 2)]);
}

#[test]
fn a_value_seen_and_then_unseen_is_illegal() {
    expect_illegal(&[write(1, 0, 100, 1), read(2, 10, 20, 1), read(3, 30, 40, 0)]);
}

#[test]
fn a_lost_update_is_illegal() {
    let first = known(1, 0, 20, Ask::CompareAndSet(0, 1), Answer::Done);
    let second = known(2, 5, 25, Ask::CompareAndSet(0, 2), Answer::Done);
    expect_illegal(&[first, second]);
}

#[test]
fn a_conflict_needs_another_value_to_conflict_with() {
    let conflict = known(2, 5, 25, Ask::CompareAndSet(0, 2), Answer::Conflict);
    expect_linearizable(&[write(1, 0, 20, 1), conflict.clone()]);
    expect_illegal(&[conflict]);
}

#[test]
fn a_value_never_written_is_illegal_to_read() {
    expect_illegal(&[write(1, 0, 10, 1), read(2, 0, 10, 7)]);
}

#[test]
fn an_unknown_write_may_be_seen_long_after() {
    expect_linearizable(&[unheard(1, 0, Ask::Write(1)), read(2, 10, 20, 0), read(2, 900, 910, 1)]);
}

#[test]
fn an_unknown_write_may_never_happen() {
    expect_linearizable(&[unheard(1, 0, Ask::Write(1)), read(2, 10, 20, 0)]);
}

#[test]
fn an_unknown_write_seen_cannot_be_unseen() {
    let unknown = unheard(1, 0, Ask::Write(1));
    expect_illegal(&[unknown, read(2, 10, 20, 1), read(2, 30, 40, 0)]);
}

#[test]
fn an_unknown_write_happens_only_once() {
    let seen_twice = |unknown: &[Operation<Register>]| {
        let seen = [read(2, 10, 20, 1), write(3, 30, 40, 2), read(2, 50, 60, 1)];
        [unknown, &seen].concat()
    };
    expect_illegal(&seen_twice(&[unheard(1, 0, Ask::Write(1))]));
    expect_linearizable(&seen_twice(&[unheard(1, 0, Ask::Write(1)), unheard(4, 1, Ask::Write(1))]));
}

#[test]
fn an_unknown_write_is_not_seen_before_its_call() {
    expect_illegal(&[read(2, 10, 20, 1), unheard(1, 21, Ask::Write(1))]);
    expect_linearizable(&[read(2, 10, 20, 1), unheard(1, 20, Ask::Write(1))]);
}

#[test]
fn unknown_operations_may_need_each_other() {
    let chain = [Ask::CompareAndSet(2, 3), Ask::CompareAndSet(1, 2), Ask::Write(1)];
    let mut operations: Vec<_> = chain.into_iter().map(|ask| unheard(1, 0, ask)).collect();
    operations.push(read(2, 10, 20, 3));
    expect_linearizable(&operations);
    operations.remove(1);
    expect_illegal(&operations);
}

#[test]
fn an_operation_returning_as_another_is_called_is_concurrent_with_it() {
    expect_linearizable(&[write(1, 0, 10, 1), read(2, 10, 20, 0)]);
    expect_illegal(&[write(1, 0, 10, 1), read(2, 11, 20, 0)]);
}

#[test]
fn the_witness_names_what_cannot_be_ordered_and_what_came_before() {
    let witness = expect_illegal(&[
        write(1, 0, 10, 1),
        unheard(3, 12, Ask::Write(9)),
        write(1, 15, 20, 2),
        read(2, 21, 30, 1),
        write(1, 40, 50, 3),
    ]);
    let expected = "no order explains the history up to time 30, when this had returned:
  client 2 [21, 30] Read -> Value(1)
states possible before it: 2, 9
the longest order that works:
  client 1 [0, 10] Write(1) -> Done
  client 1 [15, 20] Write(2) -> Done
which leaves the state 2, and then:
  client 2 [21, 30] Read -> Value(1)  <- impossible in this state
operations of unknown outcome by then: 1; none helps, even if each could take effect again and again
";
    assert_eq!(witness, expected);
}

#[test]
fn a_spent_budget_is_neither_verdict() {
    let operations = [write(1, 0, 10, 1), write(1, 11, 20, 2), read(2, 21, 30, 1)];
    assert_eq!(check(&Register::default(), &operations, 2), Verdict::Exhausted);
    assert_eq!(check(&Register::default(), &[], 0), Verdict::Linearizable);
}

#[test]
fn two_hundred_writes_nobody_heard_of_again_do_not_explode() {
    // Each value is another, so no two are interchangeable; one in ten is seen after all.
    let mut operations = Vec::new();
    for round in 0..200 {
        let at = round * 100;
        operations.push(unheard(round, at, Ask::Write(1_000 + round)));
        operations.push(write(1_000, at + 1, at + 50, round));
        let seen = if round % 10 == 0 { 1_000 + round } else { round };
        operations.push(read(1_001, at + 60, at + 70, seen));
        operations.push(read(1_002, at + 65, at + 75, seen));
    }
    let model = Register { promises: true };
    assert_eq!(check(&model, &operations, BUDGET_STEPS), Verdict::Linearizable);

    operations.push(read(1_003, 30_000, 30_001, 5));
    let verdict = check(&model, &operations, BUDGET_STEPS);
    let Verdict::Illegal { witness } = verdict else { panic!("{verdict:?}") };
    let text = witness.text;
    assert!(text.contains("client 1003 [30000, 30001] Read -> Value(5)"), "{text}");
}

#[test]
fn a_hundred_unknown_operations_on_few_values_do_not_explode() {
    let mut operations = Vec::new();
    for round in 0..100 {
        let at = round * 100;
        operations.push(unheard(round, at, Ask::Write(round % 4)));
        operations.push(unheard(500 + round, at, Ask::CompareAndSet(round % 4, (round + 1) % 4)));
        operations.push(write(1_000, at + 1, at + 50, (round + 2) % 4));
        operations.push(read(1_001, at + 60, at + 70, round % 4));
    }
    let model = Register { promises: true };
    assert_eq!(check(&model, &operations, BUDGET_STEPS), Verdict::Linearizable);

    operations.push(read(1_003, 30_000, 30_001, 7));
    assert!(matches!(check(&model, &operations, BUDGET_STEPS), Verdict::Illegal { .. }));
}

#[test]
fn forty_concurrent_reads_do_not_explode() {
    let mut operations: Vec<_> = (0..40).map(|client| read(client, 0, 10, 0)).collect();
    operations.push(write(50, 0, 10, 1));
    operations.push(read(51, 20, 30, 0));
    let model = Register { promises: true };
    assert!(matches!(check(&model, &operations, BUDGET_STEPS), Verdict::Illegal { .. }));
}

/// Breaks what it promises, in one way or the other.
struct Liar {
    about_reads: bool,
}

impl Model for Liar {
    type State = u64;
    type Input = u64;
    type Output = ();

    fn init(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &u64, _output: Option<&()>) -> Option<u64> {
        Some(state + input)
    }

    fn reads_only(&self, _input: &u64, output: Option<&()>) -> bool {
        self.about_reads && output.is_some()
    }

    fn interchangeable(&self, _one: &u64, _other: &u64) -> bool {
        true
    }
}

#[test]
#[should_panic(expected = "promised only to read")]
fn a_read_that_changes_the_state_is_a_bug_of_the_model() {
    let read = Operation { client: 1, call: 0, ret: Some(1), input: 1, output: Some(()) };
    check(&Liar { about_reads: true }, &[read], BUDGET_STEPS);
}

#[test]
#[should_panic(expected = "promised to be interchangeable")]
fn interchangeable_operations_that_differ_are_a_bug_of_the_model() {
    let unheard = |input| Operation { client: 1, call: 0, ret: None, input, output: None };
    let known = Operation { client: 1, call: 0, ret: Some(1), input: 1, output: Some(()) };
    check(&Liar { about_reads: false }, &[unheard(1), unheard(2), known], BUDGET_STEPS);
}

#[test]
#[should_panic(expected = "returned before its call")]
fn time_running_backwards_is_a_bug_of_the_recorder() {
    check(&Register::default(), &[read(1, 5, 4, 0)], BUDGET_STEPS);
}
