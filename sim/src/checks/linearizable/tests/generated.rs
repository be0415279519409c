//! Histories of a made-up actor, whole and then with one answer spoilt: every shortcut of the search
//! held against the plain search, which knows of none.

use understudy_core::{Outcome, ReadLevel, Record, Refusal, Rng, Seed, Sequence, Timestamp, Token};

use super::*;

const HISTORIES: u64 = 6_000;
/// Enough for any history so small.
const PLENTY_STEPS: u64 = 2_000_000;

#[test]
fn no_shortcut_changes_a_verdict() {
    let mut illegal = 0;
    for seed in 0..HISTORIES {
        let mut rng = Seed(seed).rng();
        let mut entries = history_of(&mut rng);
        let spoilt = rng.ppm(700_000);
        if spoilt {
            spoil(&mut rng, &mut entries);
        }
        let expected = plain_verdict(&entries);
        assert!(
            spoilt || expected,
            "seed {seed}: a true history has an order\n{}",
            words(&entries)
        );
        let found = check(&entries);
        assert_ne!(found, Ok(1), "seed {seed}: so small a history is entangled");
        assert_eq!(found.is_ok(), expected, "seed {seed}: {found:?}\n{}", words(&entries));
        illegal += u64::from(!expected);
    }
    // Otherwise one of the two directions would go untested.
    assert!((HISTORIES / 5..HISTORIES * 4 / 5).contains(&illegal), "{illegal} are illegal");
}

fn words(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{} to {:?}, {entry}\n", entry.call, entry.ret);
    entries.iter().map(line).collect()
}

/// No shortcut: every unknown change may have happened or not, whoever saw it, and no two of them are
/// the same.
fn plain_verdict(entries: &[Entry]) -> bool {
    let entries: Vec<&Entry> = entries.iter().collect();
    let shown = Shown::by(&entries);
    let operation = |entry: &&Entry| {
        let (input, output) = match (&entry.ask, &entry.fate) {
            (Ask::Read { .. }, Fate::Saw { record, .. }) => {
                (Input::Read, Some(Output::Saw(record.clone())))
            }
            (Ask::Write { operation, .. }, Fate::Outcome(outcome)) => {
                let input = write(entry.number, operation.clone(), None);
                (input, Some(Output::Outcome(outcome.clone())))
            }
            (Ask::Write { operation, .. }, Fate::Unknown) => {
                let seen = shown.of(entry.number).map(|(token, _)| token);
                (write(entry.number, operation.clone(), seen), None)
            }
            (ask, fate) => panic!("not generated: {ask:?} {fate:?}"),
        };
        let (client, call, ret) = (entry.client, entry.call, entry.ret);
        Searched { client, call, ret, input, output }
    };
    let operations: Vec<Searched> = entries.iter().map(operation).collect();
    let plain = Actor::of(&entries).without_looking_ahead();
    match linearizability::check(&plain, &operations, PLENTY_STEPS) {
        Verdict::Linearizable => true,
        Verdict::Illegal { .. } => false,
        Verdict::Exhausted => panic!("so small a history exhausted the budget"),
    }
}

/// A few overlapping operations, each of which takes effect at an instant of its own.
fn history_of(rng: &mut Rng) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut effects = Vec::new();
    for number in 1..=rng.between(2, 8) {
        let call = rng.below(60);
        let effect = call + rng.below(15);
        let ret = effect + rng.below(15);
        entries.push(put(number, 0, (call, ret), Fate::Unknown));
        effects.push((effect, number));
    }
    effects.sort_unstable();
    let mut store = Store::default();
    for (_, number) in effects {
        let entry = &mut entries[usize::try_from(number - 1).expect("few entries")];
        store.sequence += u64::from(rng.ppm(100_000));
        entry.ask = store.draw(rng, number);
        let is_unknown = rng.ppm(300_000) && matches!(entry.ask, Ask::Write { .. });
        if !is_unknown || rng.ppm(600_000) {
            entry.fate = store.perform(&entry.ask);
        }
        if is_unknown {
            (entry.ret, entry.fate) = (None, Fate::Unknown);
        }
    }
    entries
}

/// The made-up actor, and the order it is part of.
#[derive(Default)]
struct Store {
    sequence: u64,
    row: Option<Record>,
    /// A token of some time ago, for preconditions.
    stale: Option<Token>,
}

impl Store {
    fn draw(&mut self, rng: &mut Rng, number: u64) -> Ask {
        let content = history::content(number);
        if rng.ppm(300_000) {
            self.stale = self.row.as_ref().map(|row| row.token);
        }
        let token = if rng.ppm(500_000) { self.stale } else { self.row.as_ref().map(|r| r.token) };
        let expected = token.map(|token| match rng.below(2) {
            0 => Expected::Token(token),
            _ => Expected::Version(token.version),
        });
        let absent = Expected::Version(Version(0));
        let operation = match rng.below(8) {
            0 | 1 => return Ask::Read { level: ReadLevel::Linearizable },
            2 => Operation::Put { content },
            3 => Operation::Create { content },
            4 => Operation::Update { content, expected },
            5 => Operation::CompareAndSwap { content, expected: expected.unwrap_or(absent) },
            6 => Operation::Delete { expected },
            _ => Operation::Delete { expected: None },
        };
        Ask::Write { op: understudy_core::OpId::Named(number.to_string()), operation }
    }

    fn perform(&mut self, ask: &Ask) -> Fate {
        match ask {
            Ask::Read { .. } | Ask::Scan { .. } => Fate::Saw {
                record: self.row.clone(),
                applied: self.sequence,
                sequence: Sequence(self.sequence),
            },
            Ask::Write { operation, .. } => Fate::Outcome(match self.refusal(operation) {
                Some(refusal) => Outcome::Refused(refusal),
                None => self.change(operation),
            }),
        }
    }

    fn refusal(&self, operation: &Operation) -> Option<Refusal> {
        let found = self.row.as_ref().map(|row| row.token);
        if let (Operation::Create { .. }, Some(found)) = (operation, found) {
            return Some(Refusal::AlreadyExists { found });
        }
        if let (Operation::Update { .. } | Operation::Delete { .. }, None) = (operation, found) {
            return Some(Refusal::NotFound);
        }
        let expected = model::expected(operation)?;
        let holds = match expected {
            Expected::Token(token) => Some(token) == found,
            Expected::Version(version) => version.0 == found.map_or(0, |found| found.version.0),
        };
        (!holds).then_some(Refusal::Conflict { expected, found })
    }

    fn change(&mut self, operation: &Operation) -> Outcome {
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        let Some(content) = operation.content() else {
            let record = self.row.take().expect("a deletion of nothing is refused");
            return Outcome::Deleted { record, sequence };
        };
        let token = match &self.row {
            None => Token { created: sequence, version: Version(1) },
            Some(Record { token, .. }) => Token { version: Version(token.version.0 + 1), ..*token },
        };
        self.row = Some(Record::written(token, content, Timestamp(0)));
        Outcome::Written { token, sequence }
    }
}

/// One answer becomes another: somebody else's, another version, another time.
fn spoil(rng: &mut Rng, entries: &mut [Entry]) {
    let count = entries.len() as u64;
    let pick = |rng: &mut Rng| usize::try_from(rng.below(count)).expect("few entries");
    let (victim, other) = (pick(rng), pick(rng));
    let record = entries[other].shows().cloned();
    let entry = &mut entries[victim];
    match &mut entry.fate {
        Fate::Saw { record: saw, .. } => match saw {
            Some(saw) if rng.ppm(500_000) => saw.token.version.0 += 1,
            _ => *saw = record,
        },
        Fate::Outcome(Outcome::Written { token, sequence }) => match rng.below(4) {
            0 => token.version.0 += 1,
            1 => token.created.0 += 1,
            2 => sequence.0 += 1,
            _ => entry.fate = Fate::Outcome(Outcome::Refused(Refusal::NotFound)),
        },
        Fate::Outcome(Outcome::Deleted { record, sequence }) => match rng.below(2) {
            0 => record.token.version.0 += 1,
            _ => sequence.0 = sequence.0.saturating_sub(1),
        },
        // Not drawn: these histories are of single operations.
        Fate::Outcome(Outcome::Removed { .. } | Outcome::Batch(_)) => {}
        Fate::Outcome(Outcome::Refused(refusal)) => match refusal {
            Refusal::AlreadyExists { found } | Refusal::Conflict { found: Some(found), .. } => {
                found.version.0 += 1;
            }
            Refusal::Conflict { found: None, .. }
            | Refusal::NotFound
            | Refusal::OpIdReused
            | Refusal::InBatch { .. }
            | Refusal::SessionExpired => *refusal = Refusal::AlreadyExists { found: token(1, 1) },
        },
        Fate::Unknown | Fate::DidNotHappen | Fate::Listed { .. } => {
            (entry.call, entry.ret) = (entry.call + 20, None);
        }
    }
}
