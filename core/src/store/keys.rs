//! Where the core's rows stand in a [`crate::backend::Backend`].
//!
//! ```text
//! key of a row  = group       u32, big-endian
//!                 generation  u32, big-endian
//!                 kind        1 byte
//!                 rest
//!
//! kind  rest                           value
//! `a`   the actor's id                 codec(Record)
//! `c`   its sequence as u64 BE         codec(Change)
//! `e`   its end as u64 BE, its id      nothing: an actor with an end
//! `m`   none                           codec(Meta)
//! `o`   0x00, the name as u128 BE      codec(Remembered)
//! `o`   0x01, the name's bytes         codec(Remembered)
//! `o`   0x02, session as u128 BE,
//!       sequence as u64 BE             codec(Remembered)
//!
//! key of a root = group       u32, big-endian, and nothing else
//! its value     = codec(Root)
//! ```
//!
//! Everything before the last part of a key has a fixed length, so no two names meet, whatever bytes
//! they hold (B-08, X-46). The namespace is in the root: a group serves one. Order by key is order
//! by id, and by operation name.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::codec::{self, Corrupt};
use crate::query::Scan;
use crate::types::{ActorId, ClusterId, GroupId, Namespace, OpId, Sequence, Timestamp};

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The Raft group.
    pub group: GroupId,
    /// The namespace it serves.
    pub namespace: Namespace,
}

/// Which generation of a group's rows is the one that counts. Another is what is left of a state
/// that was replaced, or the beginning of one that was never finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Counted from 0, one up for each state that replaces the one before.
    pub generation: u32,
    /// Whose rows they are.
    pub origin: Origin,
}

/// The keys of one generation of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The group.
    pub group: GroupId,
    /// See [`Root`].
    pub generation: u32,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One actor.
    Actor,
    /// One change that is retained.
    Change,
    /// [`super::Meta`].
    Meta,
    /// The end of one actor that has one.
    End,
    /// One remembered operation.
    Outcome,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Actor => b'a',
            Kind::Change => b'c',
            Kind::End => b'e',
            Kind::Meta => b'm',
            Kind::Outcome => b'o',
        }
    }
}

/// Above every kind.
const LAST: u8 = 0xff;
/// Bytes of a key before its rest.
pub const PREFIX: usize = 9;

/// The key of a group's root.
pub fn root(group: GroupId) -> Vec<u8> {
    group.0.to_be_bytes().to_vec()
}

impl Place {
    /// The key of an actor's row.
    pub fn actor(self, id: &ActorId) -> Vec<u8> {
        self.key(Kind::Actor, &actor_rest(id))
    }

    /// The key of a change.
    pub fn change(self, sequence: Sequence) -> Vec<u8> {
        self.key(Kind::Change, &change_rest(sequence))
    }

    /// The key of a remembered operation.
    pub fn outcome(self, op: &OpId) -> Vec<u8> {
        self.key(Kind::Outcome, &outcome_rest(op))
    }

    /// The key of an actor's end.
    pub fn end(self, end: Timestamp, id: &ActorId) -> Vec<u8> {
        let rest = [&end.0.to_be_bytes(), id.as_str().as_bytes()].concat();
        self.key(Kind::End, &rest)
    }

    /// The key of the meta row.
    pub fn meta(self) -> Vec<u8> {
        self.key(Kind::Meta, &[])
    }

    /// The key of a row, by what follows its kind.
    pub fn key(self, kind: Kind, rest: &[u8]) -> Vec<u8> {
        let mut key = self.prefix(kind.byte());
        key.extend_from_slice(rest);
        key
    }

    /// All rows of a kind: from the first key on, before the second.
    pub fn range(self, kind: Kind) -> (Vec<u8>, Vec<u8>) {
        (self.prefix(kind.byte()), self.prefix(kind.byte() + 1))
    }

    /// The actors that may be on a page: from the first key on, before the second.
    pub fn scan(self, scan: &Scan) -> (Vec<u8>, Vec<u8>) {
        let mut from = self.key(Kind::Actor, scan.from().as_bytes());
        if scan.after.as_ref().is_some_and(|after| after.as_str() == scan.from()) {
            from.push(0);
        }
        // The text is UTF-8 and the kind a letter, so no byte of them is the last one.
        let mut until = self.key(Kind::Actor, scan.prefix.as_bytes());
        if let Some(last) = until.last_mut() {
            *last += 1;
        }
        (from, until)
    }

    /// All rows of the generation.
    pub fn all(self) -> (Vec<u8>, Vec<u8>) {
        (self.prefix(0), self.prefix(LAST))
    }

    /// The rows of every generation before this one, and of every one behind it.
    pub fn others(self) -> [(Vec<u8>, Vec<u8>); 2] {
        let first = Place { generation: 0, ..self };
        let last = Place { generation: u32::MAX, ..self };
        [(first.prefix(0), self.prefix(0)), (self.prefix(LAST), last.prefix(LAST))]
    }

    fn prefix(self, kind: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(PREFIX + 24);
        key.extend(self.group.0.to_be_bytes());
        key.extend(self.generation.to_be_bytes());
        key.push(kind);
        key
    }
}

/// What follows the kind in an actor's key.
pub fn actor_rest(id: &ActorId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

/// What follows the kind in a change's key.
pub fn change_rest(sequence: Sequence) -> Vec<u8> {
    sequence.0.to_be_bytes().to_vec()
}

/// What follows the kind in an operation's key.
pub fn outcome_rest(op: &OpId) -> Vec<u8> {
    match op {
        OpId::Timed(uuid) => [&[0][..], &uuid.to_be_bytes()].concat(),
        OpId::Named(name) => [&[1][..], name.as_bytes()].concat(),
        OpId::Session { session, sequence } => {
            [&[2][..], &session.to_be_bytes(), &sequence.to_be_bytes()].concat()
        }
    }
}

/// The actor whose key ends with `rest`.
///
/// # Errors
/// [`Corrupt`] when no actor's does.
pub fn actor_from(rest: &[u8]) -> Result<ActorId, Corrupt> {
    let id = std::str::from_utf8(rest).map_err(|_| Corrupt("an actor's id is no text".into()))?;
    ActorId::new(id).map_err(Corrupt)
}

/// The end and the actor whose key ends with `rest`.
///
/// # Errors
/// [`Corrupt`] when none does.
pub fn end_from(rest: &[u8]) -> Result<(Timestamp, ActorId), Corrupt> {
    let (end, id) =
        rest.split_first_chunk().ok_or_else(|| Corrupt("an actor's end is none".to_owned()))?;
    Ok((Timestamp(u64::from_be_bytes(*end)), actor_from(id)?))
}

/// The change in a row, whose key ends with `rest`.
///
/// # Errors
/// [`Corrupt`] when it is none, or another one.
pub fn change_from(rest: &[u8], value: &[u8]) -> Result<Change, Corrupt> {
    let change: Change = codec::decode(value)?;
    match change_rest(change.sequence) == rest {
        true => Ok(change),
        false => Err(Corrupt("a change has another one's place".to_owned())),
    }
}

/// The operation whose key ends with `rest`.
///
/// # Errors
/// [`Corrupt`] when no operation's does.
pub fn outcome_from(rest: &[u8]) -> Result<OpId, Corrupt> {
    let corrupt = || Corrupt("an operation's name is none".to_owned());
    match rest.split_first() {
        Some((0, uuid)) => {
            let uuid = uuid.try_into().map_err(|_| corrupt())?;
            Ok(OpId::Timed(u128::from_be_bytes(uuid)))
        }
        Some((1, name)) => {
            let name = std::str::from_utf8(name).map_err(|_| corrupt())?;
            Ok(OpId::Named(name.to_owned()))
        }
        Some((2, place)) => {
            let (session, sequence) = place.split_at_checked(16).ok_or_else(corrupt)?;
            let session = session.try_into().map_err(|_| corrupt())?;
            let sequence = sequence.try_into().map_err(|_| corrupt())?;
            let session = u128::from_be_bytes(session);
            Ok(OpId::Session { session, sequence: u64::from_be_bytes(sequence) })
        }
        _ => Err(corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn session((session, sequence): (u128, u64)) -> OpId {
        OpId::Session { session, sequence }
    }

    const PLACE: Place = Place { group: GroupId(0x0102), generation: 0x0a0b };

    /// Frozen: what stands in a backend under these keys is found by them for ever.
    #[test]
    fn the_bytes_of_keys() {
        let id = ActorId::new("a:\u{e9}").unwrap();
        let timed = OpId::timed(Timestamp(0x0123_4567_89ab), 5);
        let named = OpId::Named("n/1".to_owned());
        assert_eq!(hex(&root(PLACE.group)), "00000102");
        assert_eq!(hex(&PLACE.actor(&id)), "0000010200000a0b61613ac3a9");
        assert_eq!(hex(&PLACE.change(Sequence(0x0304))), "0000010200000a0b630000000000000304");
        assert_eq!(hex(&PLACE.meta()), "0000010200000a0b6d");
        assert_eq!(
            hex(&PLACE.end(Timestamp(0x0203), &id)),
            "0000010200000a0b650000000000000203613ac3a9"
        );
        assert_eq!(
            hex(&PLACE.outcome(&timed)),
            "0000010200000a0b6f000123456789ab70058000000000000000"
        );
        assert_eq!(hex(&PLACE.outcome(&named)), "0000010200000a0b6f016e2f31");
        assert_eq!(
            hex(&PLACE.outcome(&session((0x0123, 0x45)))),
            "0000010200000a0b6f02000000000000000000000000000001230000000000000045"
        );
    }

    #[test]
    fn keys_are_read_back_and_sort_as_what_they_name() {
        let mut ids: Vec<_> = ["a", "a:b", "a\0", "b", "aa", "\u{10ffff}", "\u{e000}"]
            .map(|id| ActorId::new(id).unwrap())
            .to_vec();
        ids.sort();
        let keys: Vec<_> = ids.iter().map(|id| PLACE.actor(id)).collect();
        assert!(keys.is_sorted());
        assert!(ids.iter().all(|id| actor_from(&actor_rest(id)).as_ref() == Ok(id)));
        let ends = [(1, 2), (2, 1), (256, 0)].map(|(end, n)| (Timestamp(end), ids[n].clone()));
        assert!(ends.iter().map(|(end, id)| PLACE.end(*end, id)).is_sorted());
        for (end, id) in ends {
            let key = PLACE.end(end, &id);
            assert_eq!(end_from(&key[PREFIX..]), Ok((end, id)));
        }
        assert!(end_from(&[0; 7]).is_err() && end_from(&[0; 8]).is_err());
        let mut ops = vec![OpId::Named("\0".to_owned()), OpId::Named("a".to_owned())];
        ops.extend((0..5).map(|time| OpId::timed(Timestamp(1 << (9 * time)), 3)));
        ops.extend([(0, 0), (0, 1), (1, 0), (u128::MAX, u64::MAX)].map(session));
        ops.sort();
        let keys: Vec<_> = ops.iter().map(|op| PLACE.outcome(op)).collect();
        assert!(keys.is_sorted());
        assert!(ops.iter().all(|op| outcome_from(&outcome_rest(op)).as_ref() == Ok(op)));
        for rest in [&[][..], &[0, 1], &[2, 2], &[3, 2], &[1, 0xff], &[2; 24], &[2; 26]] {
            assert!(outcome_from(rest).is_err());
        }
        assert!(actor_from(&[]).is_err() && actor_from(&[0xff]).is_err());
    }

    /// B-08, X-46: no two things share a key, and every key is in the ranges it should be in.
    #[test]
    fn nothing_collides() {
        let mut keys = Vec::new();
        for group in [0, 1, 0x6161_6161, u32::MAX] {
            keys.push(root(GroupId(group)));
            for generation in [0, 1, 0x6161_6161, u32::MAX] {
                let place = Place { group: GroupId(group), generation };
                let ids = ["a", "aa", "a:b", "m", "o", "\0", "\0a"];
                let ids = ids.map(|id| place.actor(&ActorId::new(id).unwrap()));
                let ops = [
                    OpId::Timed(0),
                    OpId::Timed(u128::MAX),
                    OpId::Named("a".to_owned()),
                    session((0, 0)),
                    session((u128::MAX, u64::MAX)),
                ];
                let ops = ops.map(|op| place.outcome(&op));
                let end = place.end(Timestamp(0x6161), &ActorId::new("a").unwrap());
                let changes = [0x6161, u64::MAX].map(|at| place.change(Sequence(at)));
                let mine = ids.into_iter().chain(ops).chain([place.meta(), end]).chain(changes);
                let mine: Vec<_> = mine.collect();
                let within =
                    |key: &Vec<u8>, (from, until): (Vec<u8>, Vec<u8>)| (from..until).contains(key);
                for key in &mine {
                    assert!(within(key, place.all()));
                    assert!(!place.others().into_iter().any(|range| within(key, range)));
                    let other = Place { generation: generation ^ 1, ..place };
                    assert!(other.others().into_iter().any(|range| within(key, range)));
                    assert!(!within(key, other.all()));
                    assert!(!within(&root(place.group), place.all()));
                    assert!(!place.others().into_iter().any(|r| within(&root(place.group), r)));
                }
                keys.extend(mine);
            }
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
