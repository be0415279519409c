//! Tokens that are not believed any more.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::REVOKED_MAX;

/// The name of a token, or of one that others were made from: the signature of a block, which is not
/// secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RevocationId(Box<[u8]>);

impl RevocationId {
    pub(crate) fn new(bytes: Vec<u8>) -> RevocationId {
        RevocationId(bytes.into())
    }

    /// Enough of it to tell tokens apart in a log.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text.get(..16).unwrap_or(&text).to_owned()
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for RevocationId {
    type Err = String;
    fn from_str(text: &str) -> Result<RevocationId, String> {
        let bad = || format!("`{text}` is not a revocation id: those are 128 hexadecimal digits");
        // Ed25519; the other curve's signatures are a few bytes longer.
        if !(128..=160).contains(&text.len()) || !text.len().is_multiple_of(2) {
            return Err(bad());
        }
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.ok_or_else(bad)?;
        Ok(RevocationId(digits.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect()))
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Revoked(HashSet<RevocationId>);

impl Revoked {
    /// One id a line; empty lines, and what follows `#`, are skipped.
    ///
    /// # Errors
    /// The line that is not one.
    pub fn parse(text: &str) -> Result<Revoked, String> {
        let mut all = HashSet::new();
        for (place, line) in text.lines().enumerate() {
            let id = line.split('#').next().unwrap_or_default().trim();
            if id.is_empty() {
                continue;
            }
            all.insert(id.parse().map_err(|why| format!("line {}: {why}", place + 1))?);
            if all.len() > REVOKED_MAX {
                return Err(format!(
                    "more than {REVOKED_MAX} ids; tokens that have expired need no line, and a new \
                     root key makes all old ones invalid"
                ));
            }
        }
        Ok(Revoked(all))
    }

    /// Whether one of `ids` is among them.
    pub fn any(&self, ids: &[RevocationId]) -> bool {
        !self.0.is_empty() && ids.iter().any(|id| self.0.contains(id))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_or_its_bad_line_is_named() {
        let id = "0f".repeat(64);
        let list = Revoked::parse(&format!("# stolen\n\n{id} # Ann's\n{}\n", "A0".repeat(64)));
        let list = list.unwrap();
        assert_eq!(list.len(), 2);
        assert!(list.any(&[id.parse().unwrap()]));
        assert!(!list.any(&["00".repeat(64).parse().unwrap()]));
        for bad in ["abc", "+f".repeat(64).as_str(), "zz".repeat(64).as_str(), &id[1..]] {
            let why = Revoked::parse(&format!("\n{bad}\n")).unwrap_err();
            assert!(why.starts_with("line 2: "), "{why}");
        }
    }
}
