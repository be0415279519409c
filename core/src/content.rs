//! What an actor holds: its document, string pairs beside it, and when it ends.
//!
//! A write carries a [`Content`] and replaces all of it together: a write without metadata leaves
//! none, a write without a time to live makes an actor that stays.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::types::{Json, Timestamp, Token};

/// String pairs kept beside a document, in order of key, each key once. Cheap to clone; none takes
/// no memory in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata(Option<Arc<[Pair]>>);

/// A key and what it stands for.
type Pair = (Box<str>, Box<str>);

impl Metadata {
    /// Puts the pairs in order and checks them.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Metadata, String> {
        let mut pairs: Vec<Pair> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        pairs.sort();
        if pairs.len() > limits::METADATA_PAIRS_MAX {
            return Err(format!(
                "metadata has at most {} pairs, this has {}",
                limits::METADATA_PAIRS_MAX,
                pairs.len()
            ));
        }
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("the metadata key {:?} is there twice", twice[0].0));
        }
        for (key, value) in &pairs {
            if key.is_empty() || key.len() > limits::METADATA_KEY_BYTES_MAX {
                return Err(format!(
                    "a metadata key has 1 to {} bytes, one here has {}",
                    limits::METADATA_KEY_BYTES_MAX,
                    key.len()
                ));
            }
            if value.len() > limits::METADATA_VALUE_BYTES_MAX {
                return Err(format!(
                    "a metadata value has at most {} bytes, that of {key:?} has {}",
                    limits::METADATA_VALUE_BYTES_MAX,
                    value.len()
                ));
            }
        }
        let metadata = Metadata((!pairs.is_empty()).then(|| pairs.into()));
        if metadata.bytes() > limits::METADATA_BYTES_MAX {
            return Err(format!(
                "metadata has at most {} bytes, keys and values together, this has {}",
                limits::METADATA_BYTES_MAX,
                metadata.bytes()
            ));
        }
        Ok(metadata)
    }

    /// The pairs, in order of key.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.as_deref().unwrap_or_default().iter().map(|(key, value)| (&**key, &**value))
    }

    /// What a key stands for.
    pub fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.0.as_deref()?;
        let place = pairs.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&pairs[place].1)
    }

    /// No pair is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.pairs().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl Serialize for Metadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pairs())
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        // Two ways to write the same pairs would be two hashes of the same state.
        if !pairs.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(serde::de::Error::custom("metadata is not in order"));
        }
        Metadata::new(pairs).map_err(serde::de::Error::custom)
    }
}

/// How long an actor stays after a write, in milliseconds of committed time: 1 to
/// [`limits::TTL_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ttl(u64);

impl Ttl {
    /// Checks the range.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken.
    pub fn new(milliseconds: u64) -> Result<Ttl, String> {
        let most = u64::try_from(limits::TTL_MAX.as_millis()).unwrap_or(u64::MAX);
        if (1..=most).contains(&milliseconds) {
            return Ok(Ttl(milliseconds));
        }
        Err(format!("a time to live is 1 to {most} milliseconds, not {milliseconds}"))
    }

    /// Milliseconds.
    pub fn milliseconds(self) -> u64 {
        self.0
    }

    /// The committed time at which what is written at `now` ends.
    pub fn ends(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.0))
    }
}

/// What a write puts in place of all that an actor held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The document.
    pub value: Json,
    /// The pairs beside it.
    pub metadata: Metadata,
    /// How long it stays; `None`: until it is deleted.
    pub ttl: Option<Ttl>,
}

impl Content {
    /// Bytes it holds in queues.
    pub fn bytes(&self) -> usize {
        let pairs = 2 * self.metadata.pairs().len();
        self.value.as_bytes().len() + self.metadata.bytes() + pairs
    }
}

impl From<Json> for Content {
    /// A document alone, that stays.
    fn from(value: Json) -> Content {
        Content { value, metadata: Metadata::default(), ttl: None }
    }
}

/// One actor as stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Plain", into = "Plain")]
pub struct Record {
    /// The compare token.
    pub token: Token,
    held: Held,
}

/// There are millions of records, and most hold a document alone: those take no more for it.
#[derive(Clone, PartialEq, Eq)]
enum Held {
    Document(Json),
    /// Has metadata, or an end.
    More(Arc<More>),
}

#[derive(Debug, PartialEq, Eq)]
struct More {
    value: Json,
    metadata: Metadata,
    expires: Option<Timestamp>,
}

const _: () = assert!(size_of::<Record>() == size_of::<(Token, Json)>());

/// A record as bytes.
#[derive(Serialize, Deserialize)]
struct Plain {
    token: Token,
    value: Json,
    metadata: Metadata,
    expires: Option<Timestamp>,
}

impl Record {
    /// A record of these parts; `expires` in committed time.
    pub fn new(
        token: Token,
        value: Json,
        metadata: Metadata,
        expires: Option<Timestamp>,
    ) -> Record {
        let held = match metadata.is_empty() && expires.is_none() {
            true => Held::Document(value),
            false => Held::More(Arc::new(More { value, metadata, expires })),
        };
        Record { token, held }
    }

    /// What a write at committed time `now` leaves.
    pub fn written(token: Token, content: &Content, now: Timestamp) -> Record {
        let Content { value, metadata, ttl } = content.clone();
        Record::new(token, value, metadata, ttl.map(|ttl| ttl.ends(now)))
    }

    /// A document alone, that stays.
    pub fn plain(token: Token, value: Json) -> Record {
        Record { token, held: Held::Document(value) }
    }

    /// The document.
    pub fn value(&self) -> &Json {
        match &self.held {
            Held::Document(value) => value,
            Held::More(more) => &more.value,
        }
    }

    /// The pairs beside it.
    pub fn metadata(&self) -> &Metadata {
        const NONE: &Metadata = &Metadata(None);
        match &self.held {
            Held::Document(_) => NONE,
            Held::More(more) => &more.metadata,
        }
    }

    /// The committed time from which it may be removed; `None`: it stays.
    pub fn expires(&self) -> Option<Timestamp> {
        match &self.held {
            Held::Document(_) => None,
            Held::More(more) => more.expires,
        }
    }

    /// Bytes of what it holds.
    pub fn bytes(&self) -> usize {
        self.value().as_bytes().len() + self.metadata().bytes()
    }
}

impl From<Plain> for Record {
    fn from(Plain { token, value, metadata, expires }: Plain) -> Record {
        Record::new(token, value, metadata, expires)
    }
}

impl From<Record> for Plain {
    fn from(record: Record) -> Plain {
        let (value, metadata) = (record.value().clone(), record.metadata().clone());
        Plain { token: record.token, value, metadata, expires: record.expires() }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut record = f.debug_struct("Record");
        record.field("token", &self.token).field("value", self.value());
        if let Held::More(more) = &self.held {
            record.field("metadata", &more.metadata).field("expires", &more.expires);
        }
        record.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use crate::types::{Sequence, Version};

    fn pairs(pairs: &[(&str, &str)]) -> Result<Metadata, String> {
        Metadata::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn metadata_is_ordered_and_bounded() {
        let metadata = pairs(&[("b", "2"), ("a", ""), ("\u{e9}", "3")]).unwrap();
        let listed: Vec<_> = metadata.pairs().collect();
        assert_eq!(listed, [("a", ""), ("b", "2"), ("\u{e9}", "3")]);
        assert_eq!((metadata.get("b"), metadata.get("c")), (Some("2"), None));
        assert_eq!(pairs(&[]).unwrap(), Metadata::default());
        assert!(pairs(&[("", "x")]).unwrap_err().contains("1 to"));
        assert!(pairs(&[("a", "1"), ("a", "2")]).unwrap_err().contains("twice"));
        let long = "k".repeat(limits::METADATA_KEY_BYTES_MAX);
        assert!(pairs(&[(&long, "")]).is_ok());
        assert!(pairs(&[(&format!("{long}k"), "")]).is_err());
        let long = "v".repeat(limits::METADATA_VALUE_BYTES_MAX);
        assert!(pairs(&[("a", &long)]).is_ok());
        assert!(pairs(&[("a", &format!("{long}v"))]).is_err());
        let many = |count: usize, value: &str| {
            Metadata::new((0..count).map(|n| (n.to_string(), value.to_owned())))
        };
        assert!(many(limits::METADATA_PAIRS_MAX, "").is_ok());
        assert!(many(limits::METADATA_PAIRS_MAX + 1, "").unwrap_err().contains("pairs"));
        assert!(many(limits::METADATA_PAIRS_MAX, &long).unwrap_err().contains("together"));
    }

    #[test]
    fn times_to_live_are_bounded() {
        let most = u64::try_from(limits::TTL_MAX.as_millis()).unwrap();
        assert!(Ttl::new(1).is_ok() && Ttl::new(most).is_ok());
        assert!(Ttl::new(0).is_err() && Ttl::new(most + 1).is_err());
        assert_eq!(Ttl::new(5).unwrap().ends(Timestamp(10)), Timestamp(15));
    }

    #[test]
    fn records_are_read_back_and_other_ways_to_write_them_are_refused() {
        let token = Token { created: Sequence(3), version: Version(2) };
        let value = Json::new(*b"[1]");
        let metadata = pairs(&[("a", "1"), ("b", "2")]).unwrap();
        let records = [
            Record::plain(token, value.clone()),
            Record::new(token, value.clone(), metadata.clone(), None),
            Record::new(token, value.clone(), Metadata::default(), Some(Timestamp(9))),
            Record::new(token, value.clone(), metadata, Some(Timestamp(9))),
        ];
        for record in &records {
            assert_eq!(decode::<Record>(&encode(record)).as_ref(), Ok(record));
        }
        let disordered = encode(&(token, &value, [("b", "2"), ("a", "1")].as_slice(), None::<u64>));
        assert!(decode::<Record>(&disordered).unwrap_err().0.contains("order"));
        let plain = Record::new(token, value.clone(), Metadata::default(), None);
        assert_eq!(plain, Record::plain(token, value));
    }
}
