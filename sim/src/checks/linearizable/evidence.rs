//! What the answers tell of an actor before any order is tried.

use std::collections::{BTreeMap, BTreeSet};

use understudy_core::{Expected, Outcome, Refusal, Token};

use super::model::expected;
use crate::history::{self, Ask, Entry, Fate};

/// Which lives and versions the answers name, and which of them have a known writer.
pub(super) struct Evidence {
    /// The highest version that is named of each life, which is known by its beginning.
    lives: BTreeMap<u64, u64>,
    /// The highest version that a precondition names without a life.
    version_asked: u64,
    /// The tokens whose writer was told, or is shown by an answer.
    written: BTreeSet<Token>,
}

impl Evidence {
    pub(super) fn of(entries: &[&Entry]) -> Evidence {
        let mut evidence =
            Evidence { lives: BTreeMap::new(), version_asked: 0, written: BTreeSet::new() };
        for entry in entries {
            let written = entry.token().into_iter().chain(entry.shows().map(|record| record.token));
            for token in written {
                evidence.written.insert(token);
                evidence.name(token);
            }
            evidence.name_found(&entry.fate);
            if let Ask::Write { operation, .. } = &entry.ask {
                match expected(operation) {
                    Some(Expected::Token(token)) => evidence.name(token),
                    Some(Expected::Version(version)) => {
                        evidence.version_asked = evidence.version_asked.max(version.0);
                    }
                    None => {}
                }
            }
        }
        evidence
    }

    fn name(&mut self, token: Token) {
        let highest = self.lives.entry(token.created.0).or_default();
        *highest = token.version.0.max(*highest);
    }

    fn name_found(&mut self, fate: &Fate) {
        match fate {
            Fate::Outcome(Outcome::Refused(Refusal::AlreadyExists { found })) => self.name(*found),
            Fate::Outcome(Outcome::Refused(Refusal::Conflict { found, .. })) => {
                found.iter().for_each(|found| self.name(*found));
            }
            Fate::Outcome(Outcome::Removed { token, .. }) => self.name(*token),
            Fate::Outcome(
                Outcome::Refused(
                    Refusal::NotFound
                    | Refusal::OpIdReused
                    | Refusal::SessionExpired
                    | Refusal::InBatch { .. },
                )
                | Outcome::Written { .. }
                | Outcome::Deleted { .. }
                | Outcome::Batch(_),
            )
            | Fate::Unknown
            | Fate::DidNotHappen
            | Fate::Saw { .. }
            | Fate::Listed { .. } => {}
        }
    }

    /// Whether a change that nobody heard of can have written this, and somebody may have noticed.
    pub(super) fn is_unclaimed(&self, created: u64, version: u64) -> bool {
        let named = self.lives.get(&created).copied().unwrap_or(0).max(self.version_asked);
        let token = Token {
            created: understudy_core::Sequence(created),
            version: understudy_core::Version(version),
        };
        version <= named && !self.written.contains(&token)
    }

    /// The lives that are named, began at `since` or later, and have no known beginner.
    pub(super) fn lives_begun_unheard(&self, since: u64) -> impl Iterator<Item = u64> {
        let lives = self.lives.range(since..).map(|(&created, _)| created);
        lives.filter(|&created| self.is_unclaimed(created, 1))
    }
}

/// What answers show of each writer: the token, and the first return of an answer that proves it
/// to be in the order. An eventual read names the token and proves nothing here.
pub(super) struct Shown(BTreeMap<u64, (Token, Option<u64>)>);

impl Shown {
    pub(super) fn by(entries: &[&Entry]) -> Shown {
        let mut shown: BTreeMap<u64, (Token, Option<u64>)> = BTreeMap::new();
        for entry in entries {
            let Some(record) = entry.shows() else { continue };
            let Some(writer) = history::writer(record) else { continue };
            let proof = entry.ret.filter(|_| !is_eventual(entry));
            let (_, proven) = shown.entry(writer).or_insert((record.token, proof));
            *proven = (*proven).into_iter().chain(proof).min();
        }
        Shown(shown)
    }

    /// The token that the operation wrote, and by when.
    pub(super) fn of(&self, number: u64) -> Option<(Token, Option<u64>)> {
        self.0.get(&number).copied()
    }
}

/// Whether the entry is a read that claims no place in the order.
pub(super) fn is_eventual(entry: &Entry) -> bool {
    entry.ask.level().is_some_and(|level| !history::is_strong(level))
}
