//! The names of operations: what makes a repeat a repeat.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::types::Timestamp;

/// Names one client operation, so that a repeat returns the recorded outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OpId {
    /// A UUID of version 7: it carries its time, so one that is older than everything the op-log
    /// still remembers is refused and never run again by mistake.
    Timed(u128),
    /// Any other name of 1 to [`crate::limits::OP_NAME_BYTES_MAX`] bytes: deduplicated while the
    /// op-log remembers it.
    Named(String),
    /// A place in a client's session: the exact form, for as long as the session lives.
    Session {
        /// A UUID of version 7, minted by any node ([`crate::Request::Session`]).
        session: u128,
        /// Chosen by the client, rising. Sequence `s` promises that the client has the answers of
        /// everything at or below `s -` [`crate::limits::SESSION_WINDOW`].
        sequence: u64,
    },
}

impl OpId {
    /// The Unix milliseconds inside the UUID of a time-ordered name or a session.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            OpId::Timed(uuid) | OpId::Session { session: uuid, .. } => Some(uuid_time(*uuid)),
            OpId::Named(_) => None,
        }
    }

    /// A UUID of version 7 from a time and 74 random bits.
    pub fn timed(time: Timestamp, random: u128) -> OpId {
        OpId::Timed(uuid7(time, random))
    }

    /// The name of item `place` of several operations that were asked for under one name and run
    /// each for itself. The same name and place give the same name, on every node.
    ///
    /// A session's items take the sequences from its own on: the client goes on behind them. A
    /// [`OpId::Named`] one must not use `key#number` for anything else.
    pub fn item(&self, place: u64) -> OpId {
        match self {
            OpId::Timed(uuid) => {
                let seed = [uuid.to_le_bytes().as_slice(), &place.to_le_bytes()].concat();
                OpId::timed(uuid_time(*uuid), xxh3_128(&seed))
            }
            OpId::Named(name) => OpId::Named(format!("{name}#{place}")),
            OpId::Session { session, sequence } => {
                OpId::Session { session: *session, sequence: sequence.saturating_add(place) }
            }
        }
    }
}

/// A UUID of version 7 from a time and 74 random bits (RFC 9562 §5.7).
pub(crate) fn uuid7(time: Timestamp, random: u128) -> u128 {
    let time = (u128::from(time.0) & 0xffff_ffff_ffff) << 80;
    let random_a = (random & 0xfff) << 64;
    let random_b = (random >> 12) & 0x3fff_ffff_ffff_ffff;
    time | (7 << 76) | random_a | (0b10 << 62) | random_b
}

/// The Unix milliseconds inside a UUID of version 7: its top 48 bits.
pub(crate) fn uuid_time(uuid: u128) -> Timestamp {
    Timestamp(u64::try_from(uuid >> 80).unwrap_or(u64::MAX))
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpId::Named(name) => f.write_str(name),
            OpId::Timed(uuid) => hyphenated(f, *uuid),
            OpId::Session { session, sequence } => {
                hyphenated(f, *session)?;
                write!(f, "/{sequence}")
            }
        }
    }
}

pub(crate) fn hyphenated(f: &mut fmt::Formatter<'_>, uuid: u128) -> fmt::Result {
    // Without the formatting machinery: every acknowledgement says its name.
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    for (place, digit) in places.zip((0..32).rev()) {
        let digit = usize::try_from(uuid >> (4 * digit) & 0xf).unwrap_or(0);
        text[place] = b"0123456789abcdef"[digit];
    }
    f.write_str(str::from_utf8(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_names_of_their_own_that_never_change() {
        let timed = OpId::timed(Timestamp(0x0123_4567_89ab), 5);
        let names = [
            timed.clone(),
            OpId::Named("k".to_owned()),
            OpId::Session { session: 7, sequence: 40 },
        ];
        for name in &names {
            let items: std::collections::BTreeSet<_> = (0..1000).map(|n| name.item(n)).collect();
            assert_eq!(items.len(), 1000);
            assert!(items.iter().all(|item| item.time() == name.time()));
        }
        assert_eq!(timed.item(1).to_string(), "01234567-89ab-7174-8d17-686e23387fad");
        assert_eq!(names[1].item(1), OpId::Named("k#1".to_owned()));
        assert_eq!(names[2].item(2), OpId::Session { session: 7, sequence: 42 });
    }
}
