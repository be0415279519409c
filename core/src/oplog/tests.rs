use super::*;
use crate::command::Operation;
use crate::seed::{Rng, Seed};
use crate::types::{ActorId, Json, Record, Version};

mod model;
mod sessions;

fn command(op: OpId, value: &str) -> Command {
    let operation = Operation::Put { content: Json::new(value.as_bytes()).into() };
    Command::one(op, ActorId::new("a").unwrap(), operation)
}

fn done(recorded: u64) -> Admission {
    let outcome = Outcome::Refused(Refusal::NotFound);
    Admission::Done { outcome, recorded: Timestamp(recorded) }
}

fn timed(ms: u64) -> OpId {
    OpId::timed(Timestamp(ms), 1)
}

fn run(oplog: &mut OpLog, command: &Command, now: u64) -> Admission {
    let payload = payload_hash(command);
    let admission = oplog.admit(command, payload);
    if admission == Admission::New {
        let outcome = Outcome::Refused(Refusal::NotFound);
        oplog.record(command, payload, outcome, Timestamp(now));
    }
    oplog.check();
    let bytes: usize = oplog.rows(None).map(|(op, row)| entry_bytes(&op, &row.outcome)).sum();
    assert_eq!(bytes, oplog.bytes + oplog.sessions.bytes());
    admission
}

#[test]
fn a_repeat_gets_the_recorded_outcome_and_another_payload_is_refused() {
    let mut oplog = OpLog::default();
    for op in [timed(5), OpId::Named("n".to_owned())] {
        assert_eq!(run(&mut oplog, &command(op.clone(), "1"), 5), Admission::New);
        assert_eq!(run(&mut oplog, &command(op.clone(), "1"), 6), done(5));
        let reused = Admission::Refused(Refusal::OpIdReused);
        assert_eq!(run(&mut oplog, &command(op, "2"), 7), reused);
    }
    assert_eq!(oplog.replays(), 2);
}

#[test]
fn a_forgotten_operation_is_refused_and_never_run_again() {
    let day = u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap();
    let mut oplog = OpLog::default();
    let old = command(timed(1_000), "1");
    assert_eq!(run(&mut oplog, &old, 1_000), Admission::New);
    let new = command(timed(day + 2_000), "1");
    assert_eq!(run(&mut oplog, &new, day + 2_000), Admission::New);
    assert_eq!(oplog.len(), 1, "the old one is over the age limit");
    let expired = Admission::Refused(Refusal::SessionExpired);
    assert_eq!(run(&mut oplog, &old, day + 2_000), expired);
    assert_eq!(run(&mut oplog, &command(timed(999), "1"), day + 2_000), expired);
    let young_here = command(timed(1_001), "1");
    assert_eq!(run(&mut oplog, &young_here, day + 2_000), Admission::New);
    assert_eq!(run(&mut oplog, &young_here, day + 3_000), done(day + 2_000));
}

/// A client whose clock is hours behind: what it wrote is remembered for as long as promised, and
/// holds back the names behind its own; none is forgotten before its time.
#[test]
fn an_early_name_recorded_late_is_forgotten_when_it_is_old() {
    let day = u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap();
    let mut oplog = OpLog::default();
    run(&mut oplog, &command(timed(50_000), "1"), 50_000);
    run(&mut oplog, &command(timed(1_000), "1"), 90_000);
    run(&mut oplog, &command(timed(60_001 + day), "1"), 60_001 + day);
    assert_eq!((oplog.len(), oplog.floor()), (3, Timestamp(0)), "the first waits for the second");
    let repeat = run(&mut oplog, &command(timed(1_000), "1"), 60_001 + day);
    assert_eq!(repeat, done(90_000));
    run(&mut oplog, &command(timed(90_001 + day), "1"), 90_001 + day);
    assert_eq!((oplog.len(), oplog.floor()), (2, Timestamp(50_000)));
}

/// The rules are those of the plain model with two sorted indexes, whatever is asked.
#[test]
fn remembers_and_forgets_as_the_model_does() {
    let bounds = Bounds { entries: 40, bytes: 12_000, age: 500 };
    for seed in 0..20 {
        let mut rng = Seed(seed).child("oplog").rng();
        let mut oplog = OpLog { bounds, ..OpLog::default() };
        let mut model = model::OpLog::new(bounds);
        oplog.track();
        let mut mirror = std::collections::BTreeMap::new();
        let mut now = 1_000;
        for _ in 0..1_500 {
            now += rng.below(4) * rng.below(15) * u64::from(rng.ppm(500_000));
            let command = random_command(&mut rng, now);
            let payload = payload_hash(&command);
            let admission = oplog.admit(&command, payload);
            assert_eq!(admission, model.admit(&command, payload));
            if admission == Admission::New {
                let outcome = random_outcome(&mut rng);
                oplog.record(&command, payload, outcome.clone(), Timestamp(now));
                model.record(&command, payload, outcome, Timestamp(now));
            }
            oplog.check();
            let below = |(op, _): (OpId, _)| op.time().is_some_and(|time| time < oplog.floor());
            assert!(!oplog.rows(None).any(below), "the floor is below every name");
            assert_eq!(
                (oplog.floor(), oplog.len(), oplog.bytes, oplog.replays()),
                (model.floor, model.entries.len(), model.bytes, model.replays)
            );
            for (op, row) in oplog.take_touched() {
                match row {
                    Some(row) => mirror.insert(op, row),
                    None => mirror.remove(&op),
                };
            }
        }
        assert!(model.floor > Timestamp(0), "nothing was ever forgotten");
        let rows: Vec<_> = oplog.rows(None).collect();
        assert_eq!(rows, model.rows());
        assert_eq!(rows, mirror.into_iter().collect::<Vec<_>>(), "what was touched is the rows");
        for (at, (op, row)) in rows.iter().enumerate() {
            assert_eq!(oplog.get(op).as_ref(), Some(row));
            assert!(oplog.rows(Some(op)).eq(rows[at + 1..].iter().cloned()));
        }
    }
}

/// Few names, so that they come again; times around now, before the floor and ahead.
fn random_command(rng: &mut Rng, now: u64) -> Command {
    let op = if rng.ppm(300_000) {
        OpId::Named(format!("n{}", rng.below(60)))
    } else {
        let time = (now + 40).saturating_sub(rng.below(120)) / 8 * 8;
        OpId::timed(Timestamp(time), u128::from(rng.below(3)))
    };
    command(op, if rng.ppm(900_000) { "1" } else { "2" })
}

fn random_outcome(rng: &mut Rng) -> Outcome {
    let token = Token { created: Sequence(rng.below(9)), version: Version(rng.below(9)) };
    let sequence = Sequence(rng.below(1_000));
    match rng.below(4) {
        0 | 1 => Outcome::Written { token, sequence },
        2 => {
            let value = Json::new(vec![b'1'; usize::try_from(rng.below(600)).unwrap()]);
            Outcome::Deleted { record: Record::plain(token, value), sequence }
        }
        _ => Outcome::Refused(Refusal::NotFound),
    }
}

#[test]
fn a_copy_stays_as_it_was() {
    let mut oplog = OpLog::default();
    run(&mut oplog, &command(timed(5), "1"), 5);
    let copy = oplog.clone();
    run(&mut oplog, &command(timed(6), "1"), 6);
    assert_eq!((copy.len(), oplog.len()), (1, 2));
}

#[test]
fn rows_that_no_op_log_holds_are_refused() {
    let row = Remembered {
        payload: 1,
        recorded: Timestamp(1),
        outcome: Outcome::Refused(Refusal::NotFound),
    };
    let mut oplog =
        OpLog { bounds: Bounds { entries: 2, ..Bounds::default() }, ..OpLog::default() };
    assert!(oplog.restore(timed(1), row.clone()).is_ok());
    assert!(oplog.restore(OpId::Named("n".to_owned()), row.clone()).is_ok());
    assert!(oplog.clone().restore(timed(1), row.clone()).is_err(), "twice");
    assert!(oplog.clone().restore(timed(2), row).is_err(), "too many");
}
