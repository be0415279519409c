//! What counts as a document: UTF-8 JSON (RFC 8259), kept byte for byte as it came.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use understudy_core::{Json, limits};

use crate::api::problem::{Problem, codes};
use crate::api::request;

/// Checks `bytes` without building anything from them, and wraps them unchanged.
///
/// # Errors
/// A sentence that names what is wrong and where.
pub fn check(bytes: &[u8]) -> Result<Json, String> {
    if bytes.is_empty() {
        return Err("the document is empty; send JSON".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!("the document is not UTF-8 after byte {}; send JSON in UTF-8", error.valid_up_to())
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Anything.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|error| {
        let error = error.to_string();
        match error.strip_prefix("recursion limit exceeded") {
            Some(place) => format!(
                "the document is nested deeper than {} levels{place}; flatten it",
                limits::JSON_DEPTH_MAX
            ),
            None => format!("the document is not JSON: {error}"),
        }
    })?;
    Ok(Json::new(bytes))
}

/// Checks the size too.
///
/// # Errors
/// A problem.
pub fn checked(bytes: &[u8]) -> Result<Json, Problem> {
    if bytes.len() > limits::VALUE_BYTES_MAX {
        return Err(request::too_large(bytes.len(), limits::VALUE_BYTES_MAX));
    }
    check(bytes).map_err(|detail| Problem::new(&codes::INVALID_JSON, detail))
}

/// Visits every value with the parser's own depth limit on; `serde::de::IgnoredAny` would skip
/// both that limit and the check of strings.
struct Anything;

impl<'de> DeserializeSeed<'de> for Anything {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Anything)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(Anything)?.is_some() {
            entries.next_value_seed(Anything)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> String {
        check(text).unwrap_err()
    }

    #[test]
    fn a_document_is_kept_byte_for_byte() {
        let text = b" { \"b\" : 1.0e0 , \"a\" : [ null , \"\\u00e4\" ] }\n".as_slice();
        assert_eq!(check(text).unwrap().as_bytes(), text);
    }

    #[test]
    fn the_deepest_document_is_accepted_and_one_level_more_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(refused(nested(limits::JSON_DEPTH_MAX + 1).as_bytes()).contains("deeper than 127"));
        assert!(refused("[".repeat(100_000).as_bytes()).contains("deeper than 127"));
        assert!(refused("{\"a\":".repeat(100_000).as_bytes()).contains("deeper than 127"));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"{\"a\":}").contains("line 1 column 6"));
        assert!(refused(b"{} {}").contains("trailing"));
        assert!(refused(b"\"\xff\"").contains("not UTF-8 after byte 1"));
        assert!(refused(b"{1: 2}").contains("not JSON"));
        assert!(refused(b"\xef\xbb\xbf{}").contains("not JSON"));
    }
}
