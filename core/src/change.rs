//! One change of one actor, as the change stream tells it, and where a reader of the stream is.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::content::Record;
use crate::message::LogPosition;
use crate::op_id::hyphenated;
use crate::types::{ActorId, OpId, Sequence, Timestamp};

/// One change: what every replica of the shard tells at this place of its order, word for word
/// (S0-074…S0-077). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct Change(Arc<Fields>);

/// What a [`Change`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// Its place in the shard's order: dense, from 1.
    pub sequence: Sequence,
    /// The actor.
    pub id: ActorId,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The same wherever and however often the change is told.
    pub event: EventId,
    /// The committed time of the change: never before that of an earlier one.
    pub time: Timestamp,
    /// The log entry that made it; one entry may make many.
    pub position: LogPosition,
    /// What the actor held before; `None` for [`ChangeKind::Create`] alone.
    pub before: Option<Record>,
    /// What it holds since; `None` once it is gone.
    pub after: Option<Record>,
}

impl From<Fields> for Change {
    fn from(fields: Fields) -> Change {
        Change(Arc::new(fields))
    }
}

impl From<Change> for Fields {
    fn from(change: Change) -> Fields {
        Arc::unwrap_or_clone(change.0)
    }
}

impl Deref for Change {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Change {
    /// Bytes it takes where it is retained, about: with both values, though in memory a value is shared
    /// with the row or with the change before.
    pub fn bytes(&self) -> usize {
        const BESIDE: usize = 256;
        BESIDE + self.values()
    }

    fn values(&self) -> usize {
        [&self.before, &self.after].into_iter().flatten().map(Record::bytes).sum()
    }

    /// Bytes it takes when it is sent, about: with both values.
    pub fn sent_bytes(&self) -> usize {
        128 + self.id.as_str().len() + self.values()
    }
}

/// What happened to an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It was not there before.
    Create,
    /// It holds something else.
    Update,
    /// Somebody removed it.
    Delete,
    /// Its time to live was over.
    Expire,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [ChangeKind; 4] =
        [ChangeKind::Create, ChangeKind::Update, ChangeKind::Delete, ChangeKind::Expire];

    /// The word for it, in every format.
    pub fn word(self) -> &'static str {
        match self {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
            ChangeKind::Expire => "expire",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for ChangeKind {
    type Err = String;

    fn from_str(word: &str) -> Result<ChangeKind, String> {
        let kind = ChangeKind::ALL.into_iter().find(|kind| kind.word() == word);
        kind.ok_or_else(|| format!("`{word}` is none of create, update, delete, expire"))
    }
}

/// Names a change (S0-092): made of the history, the change's place in it and the operation's name, so
/// a repeat of the operation, which changes nothing again, brings no other, and another change under a
/// name that was used before has its own. A UUID of version 8 (RFC 9562 §5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub u128);

impl EventId {
    /// Of the change that `op` made at `sequence` of a history; of the end of an actor's time when
    /// there is none.
    pub fn new(lineage: Lineage, op: Option<&OpId>, sequence: Sequence) -> EventId {
        let mut seed = Vec::with_capacity(56);
        seed.extend(lineage.0.to_le_bytes());
        seed.extend(sequence.0.to_le_bytes());
        match op {
            None => seed.push(0),
            Some(OpId::Timed(uuid)) => {
                seed.push(1);
                seed.extend(uuid.to_le_bytes());
            }
            Some(OpId::Named(name)) => {
                seed.push(2);
                seed.extend(name.as_bytes());
            }
            Some(OpId::Session { session, sequence }) => {
                seed.push(3);
                seed.extend(session.to_le_bytes());
                seed.extend(sequence.to_le_bytes());
            }
        }
        const FIXED: u128 = (0xf << 76) | (0b11 << 62);
        EventId(xxh3_128(&seed) & !FIXED | (8 << 76) | (0b10 << 62))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hyphenated(f, self.0)
    }
}

/// Which history of a shard a sequence counts in: drawn when the shard's first members are written,
/// and again when a backup begins another cluster. A place in one says nothing about another.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Lineage(pub u64);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which changes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesQuery {
    /// The first of them.
    pub since: Since,
    /// Changes at most; see [`ChangesQuery::limit`].
    pub limit: usize,
}

/// Where a page of changes begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// Behind this one.
    After(Sequence),
    /// With the first at or after this committed time.
    Time(Timestamp),
    /// Behind the last one: the page is empty and says where that is.
    Last,
}

impl ChangesQuery {
    /// How many changes a page has at most: what was asked for, up to
    /// [`crate::limits::CHANGES_MAX`].
    pub fn limit(&self) -> usize {
        self.limit.min(crate::limits::CHANGES_MAX)
    }
}

/// A page of changes, as a replica retains them. The last one there is stands beside it, in
/// [`crate::query::Seen::sequence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The history that the sequences count in.
    pub lineage: Lineage,
    /// The first change that is retained, or would be if there were one: those before it are gone.
    pub first: Sequence,
    /// The page begins behind this one. When that is before [`Changes::first`], it is empty: what
    /// was asked for is gone.
    pub after: Sequence,
    /// Dense, in order.
    pub changes: Vec<Change>,
}

impl Changes {
    /// What was asked for is not retained any more, or not all of it.
    pub fn is_compacted(&self) -> bool {
        self.after.0 < self.first.0.saturating_sub(1)
    }

    /// Bytes of it in an answer, about.
    pub fn bytes(&self) -> usize {
        128 + self.changes.iter().map(Change::sent_bytes).sum::<usize>()
    }
}

/// Where a reader of a shard's changes is: everything up to here was told, nothing behind it.
///
/// Text form `lineage-sequence`, and `lineage-sequence-id` within a snapshot, the id in hexadecimal
/// digits: what an answer carries beside each change, and what a reader goes on from on any replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResumeToken {
    /// The history that the sequence counts in.
    pub lineage: Lineage,
    /// Changes up to this one were told.
    pub sequence: Sequence,
    /// Within a snapshot: only those of actors up to this one were, and the snapshot's actors.
    pub scanned: Option<Scanned>,
}

/// How far a snapshot has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scanned {
    /// No actor was told yet.
    Nothing,
    /// All up to this one, in the order of their ids.
    UpTo(ActorId),
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lineage, self.sequence)?;
        match &self.scanned {
            None => Ok(()),
            Some(Scanned::Nothing) => f.write_str("-"),
            Some(Scanned::UpTo(id)) => {
                f.write_str("-")?;
                id.as_str().bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl std::str::FromStr for ResumeToken {
    type Err = String;

    fn from_str(text: &str) -> Result<ResumeToken, String> {
        parse(text).ok_or_else(|| {
            format!("`{text}` is no resume token; give one back exactly as a change carried it")
        })
    }
}

fn parse(text: &str) -> Option<ResumeToken> {
    let (lineage, rest) = text.split_once('-')?;
    let (sequence, scanned) = match rest.split_once('-') {
        None => (rest, None),
        Some((sequence, "")) => (sequence, Some(Scanned::Nothing)),
        Some((sequence, id)) => (sequence, Some(Scanned::UpTo(parse_id(id)?))),
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if lineage.len() != 16 || !plain(lineage) || !plain(sequence) {
        return None;
    }
    let lineage = Lineage(u64::from_str_radix(lineage, 16).ok()?);
    Some(ResumeToken { lineage, sequence: Sequence(sequence.parse().ok()?), scanned })
}

fn parse_id(hex: &str) -> Option<ActorId> {
    let digits = hex.as_bytes().chunks(2);
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes = digits.map(|pair| match pair {
        [high, low] => Some(16 * digit(*high)? + digit(*low)?),
        _ => None,
    });
    ActorId::new(String::from_utf8(bytes.collect::<Option<_>>()?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_nothing_else_is() {
        let token = |sequence, scanned| ResumeToken {
            lineage: Lineage(0x00ab_cdef),
            sequence: Sequence(sequence),
            scanned,
        };
        let up_to = |id: &str| Some(Scanned::UpTo(ActorId::new(id).unwrap()));
        let tokens = [
            (token(0, None), "0000000000abcdef-0"),
            (token(u64::MAX, None), "0000000000abcdef-18446744073709551615"),
            (token(17, Some(Scanned::Nothing)), "0000000000abcdef-17-"),
            (token(17, up_to("a-\u{e9}")), "0000000000abcdef-17-612dc3a9"),
        ];
        for (token, text) in tokens {
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
        let wrong = [
            "",
            "-",
            "1-2",
            "0000000000abcdef",
            "0000000000abcdef-",
            "0000000000abcdef-+1",
            "+000000000abcdef-1",
            "0000000000abcdef-1-6",
            "0000000000abcdef-1-ff",
            "0000000000abcdef-1-6161-",
            "0000000000abcdef-18446744073709551616",
            "\u{e9}",
        ];
        for text in wrong {
            assert!(text.parse::<ResumeToken>().is_err(), "{text}");
        }
    }

    /// S0-092: the same operation at the same place has one name, anything else another.
    #[test]
    fn event_ids_are_of_operation_and_place() {
        let ops = [
            None,
            Some(OpId::Timed(7)),
            Some(OpId::Named("\u{7}".to_owned())),
            Some(OpId::Session { session: 7, sequence: 0 }),
            Some(OpId::Session { session: 7, sequence: 1 }),
        ];
        let all: std::collections::BTreeSet<_> = ops
            .iter()
            .flat_map(|op| (1..100).map(|n| EventId::new(Lineage(5), op.as_ref(), Sequence(n))))
            .collect();
        assert_eq!(all.len(), 5 * 99);
        let one = EventId::new(Lineage(5), ops[1].as_ref(), Sequence(1)).to_string();
        assert_eq!(one, EventId::new(Lineage(5), Some(&OpId::Timed(7)), Sequence(1)).to_string());
        assert_ne!(one, EventId::new(Lineage(6), Some(&OpId::Timed(7)), Sequence(1)).to_string());
        assert_eq!(&one[14..15], "8");
        assert!("89ab".contains(&one[19..20]));
    }
}
