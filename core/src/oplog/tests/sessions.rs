use std::collections::BTreeMap;

use super::super::sessions::Bounds;
use super::*;
use crate::op_id::{uuid_time, uuid7};

const GRAIN: u64 = 60_000;

fn session(time: u64, n: u128) -> u128 {
    uuid7(Timestamp(time), n << 12)
}

fn name(session: u128, sequence: u64) -> OpId {
    OpId::Session { session, sequence }
}

fn small(bounds: Bounds) -> OpLog {
    let mut oplog = OpLog::default();
    oplog.sessions.bounds = bounds;
    oplog
}

#[test]
fn inside_the_window_any_order_and_behind_it_never_again() {
    let mut oplog = OpLog::default();
    let session = session(5, 1);
    let window = limits::SESSION_WINDOW;
    for sequence in [3, 1, 7, 2] {
        assert_eq!(run(&mut oplog, &command(name(session, sequence), "1"), 5), Admission::New);
    }
    assert_eq!(run(&mut oplog, &command(name(session, 1), "1"), 6), done(5));
    let reused = Admission::Refused(Refusal::OpIdReused);
    assert_eq!(run(&mut oplog, &command(name(session, 1), "2"), 6), reused);
    let ahead = command(name(session, 3 + window), "1");
    assert_eq!(run(&mut oplog, &ahead, 7), Admission::New);
    let expired = Admission::Refused(Refusal::SessionExpired);
    for sequence in [0, 1, 2, 3] {
        assert_eq!(run(&mut oplog, &command(name(session, sequence), "1"), 8), expired);
    }
    assert_eq!(run(&mut oplog, &command(name(session, 7), "1"), 8), done(5));
    assert_eq!(run(&mut oplog, &command(name(session, 4), "1"), 8), Admission::New);
    assert_eq!(oplog.len(), 3, "4, 7 and the last one");
}

#[test]
fn a_session_that_was_forgotten_is_never_begun_again() {
    let bounds = Bounds { sessions: 2, ..Bounds::default() };
    let mut oplog = small(bounds);
    let sessions: Vec<_> = (1..=4).map(|n| session(n * 10, 1)).collect();
    run(&mut oplog, &command(name(sessions[1], 1), "1"), GRAIN);
    run(&mut oplog, &command(name(sessions[0], 1), "1"), 2 * GRAIN);
    run(&mut oplog, &command(name(sessions[2], 1), "1"), 3 * GRAIN);
    // The second was used longest ago: the floor rises to its time, and the first is still known.
    assert_eq!((oplog.sessions(), oplog.session_floor()), (2, Timestamp(20)));
    let expired = Admission::Refused(Refusal::SessionExpired);
    for sequence in [1, 2] {
        assert_eq!(run(&mut oplog, &command(name(sessions[1], sequence), "1"), 200_000), expired);
    }
    assert_eq!(run(&mut oplog, &command(name(session(19, 3), 1), "1"), 200_000), expired);
    assert_eq!(run(&mut oplog, &command(name(sessions[0], 2), "1"), 200_000), Admission::New);
    assert_eq!(run(&mut oplog, &command(name(sessions[3], 1), "1"), 200_000), Admission::New);
}

#[test]
fn a_session_goes_when_nothing_has_run_in_it_for_long_and_not_before() {
    let age = u64::try_from(limits::SESSION_AGE_MAX.as_millis()).unwrap();
    let mut oplog = OpLog::default();
    let (old, other) = (session(7, 1), session(8, 1));
    run(&mut oplog, &command(name(old, 1), "1"), 90_000);
    run(&mut oplog, &command(name(other, 1), "1"), 90_000 + age);
    assert_eq!(oplog.sessions(), 2);
    run(&mut oplog, &command(name(other, 2), "1"), 90_000 + age + GRAIN + 1);
    assert_eq!((oplog.sessions(), oplog.session_floor()), (1, uuid_time(old)));
}

/// The plain way: every entry in one map, and a look at all of them for each question.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(u128, u64), (u64, Timestamp)>,
    floor: Timestamp,
}

impl Model {
    fn known(&self) -> BTreeMap<u128, (u64, Timestamp)> {
        let mut known: BTreeMap<u128, (u64, Timestamp)> = BTreeMap::new();
        for (&(session, sequence), &(_, at)) in &self.entries {
            let (highest, used) = known.entry(session).or_default();
            (*highest, *used) = (sequence.max(*highest), at.max(*used));
        }
        known
    }

    fn run(&mut self, bounds: &Bounds, id: (u128, u64), payload: u64, now: u64) -> Admission {
        let expired = Admission::Refused(Refusal::SessionExpired);
        match (self.entries.get(&id), self.known().get(&id.0)) {
            (Some((known, at)), _) if *known == payload => return done(at.0),
            (Some(_), _) => return Admission::Refused(Refusal::OpIdReused),
            (None, Some((highest, _))) if id.1 + bounds.window <= *highest => return expired,
            (None, None) if uuid_time(id.0) <= self.floor => return expired,
            (None, _) => {}
        }
        self.entries.insert(id, (payload, Timestamp(now)));
        let (highest, _) = self.known()[&id.0];
        self.entries.retain(|(session, sequence), _| {
            *session != id.0 || sequence + bounds.window > highest
        });
        loop {
            let known = self.known();
            let first = known.iter().map(|(s, (_, used))| (used.0.div_ceil(GRAIN) * GRAIN, *s));
            let Some((used, session)) = first.min() else { return Admission::New };
            let fits = known.len() <= bounds.sessions && self.entries.len() <= bounds.entries;
            if fits && used >= now.saturating_sub(bounds.age) {
                return Admission::New;
            }
            self.entries.retain(|(other, _), _| *other != session);
            self.floor = self.floor.max(uuid_time(session));
        }
    }
}

#[test]
fn sessions_are_remembered_and_forgotten_as_the_model_does() {
    let bounds =
        Bounds { sessions: 5, entries: 24, age: 10 * GRAIN, window: 6, ..Bounds::default() };
    for seed in 0..20 {
        let mut rng = Seed(seed).child("sessions").rng();
        let (mut oplog, mut model) = (small(bounds), Model::default());
        oplog.track();
        let mut mirror = BTreeMap::new();
        let mut now = 1_000_000;
        for _ in 0..1_500 {
            now += rng.below(2) * rng.below(30_000);
            let time = now.saturating_sub(rng.below(400_000)) / 100_000 * 100_000;
            let session = session(time, u128::from(rng.below(2)));
            let sequence = (now - 1_000_000) / 50_000 + rng.below(9);
            let command =
                command(name(session, sequence), if rng.ppm(900_000) { "1" } else { "2" });
            let payload = payload_hash(&command);
            let expected = model.run(&bounds, (session, sequence), payload, now);
            assert_eq!(run(&mut oplog, &command, now), expected);
            for (op, row) in oplog.take_touched() {
                match row {
                    Some(row) => mirror.insert(op, row),
                    None => mirror.remove(&op),
                };
            }
            assert_eq!((oplog.len(), oplog.session_floor()), (model.entries.len(), model.floor));
        }
        assert!(model.floor > Timestamp(0), "no session was ever forgotten");
        let rows: Vec<_> = oplog.rows(None).collect();
        assert_eq!(rows, mirror.into_iter().collect::<Vec<_>>(), "what was touched is the rows");
        // Read back from its rows it is the same.
        let mut again = OpLog::with_floors(oplog.floor(), oplog.session_floor());
        rows.iter().for_each(|(op, row)| again.restore(op.clone(), row.clone()).unwrap());
        again.check();
        assert_eq!(again.sessions(), oplog.sessions());
        for (at, (op, _)) in rows.iter().enumerate() {
            assert!(oplog.rows(Some(op)).eq(rows[at + 1..].iter().cloned()));
        }
    }
}
