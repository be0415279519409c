//! Metadata in HTTP: one header of pairs, as W3C baggage writes them: `key=value,other=value`, both
//! sides percent-encoded. A header for each key would lose the letters' case and every other script.

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use understudy_core::Metadata;

use crate::api::problem::{Problem, codes};
use crate::api::request;

/// The pairs beside a document.
pub const METADATA: HeaderName = HeaderName::from_static("understudy-metadata");

/// What may stand as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// The pairs of a request; the header may be given several times.
///
/// # Errors
/// A problem that names the rule.
pub fn read(headers: &HeaderMap) -> Result<Metadata, Problem> {
    let bad = |detail: &str| Problem::new(&codes::BAD_METADATA, detail);
    let mut pairs = Vec::new();
    for value in headers.get_all(METADATA) {
        let text = value.to_str().map_err(|_| {
            bad("`understudy-metadata` may hold visible ASCII characters only; percent-encode others")
        })?;
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                bad("`understudy-metadata` is `key=value,other=value`; percent-encode `,` and `=`")
            })?;
            let decode = |part: &str| request::percent_decode(part.trim(), "`understudy-metadata`");
            pairs.push((decode(key)?, decode(value)?));
        }
    }
    checked(pairs)
}

/// Puts pairs in order and checks them.
///
/// # Errors
/// A problem that names the rule.
pub fn checked(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Metadata, Problem> {
    Metadata::new(pairs).map_err(|rule| Problem::new(&codes::BAD_METADATA, rule))
}

/// Puts the pairs of a record into an answer.
pub fn write(headers: &mut HeaderMap, metadata: &Metadata) {
    if metadata.is_empty() {
        return;
    }
    let encode = |text| utf8_percent_encode(text, PLAIN);
    let pairs: Vec<String> =
        metadata.pairs().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    if let Ok(value) = HeaderValue::from_str(&pairs.join(",")) {
        headers.insert(METADATA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_pairs_survive_the_way_through_a_header() {
        let pairs =
            [("a", ""), ("Owner", "anna, b=c"), ("\u{e9}", "\u{1f381} %41"), ("x y", "1/2:3")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = Metadata::new(pairs).unwrap();
        let mut headers = HeaderMap::new();
        write(&mut headers, &metadata);
        assert_eq!(read(&headers).unwrap(), metadata);
        assert!(headers[METADATA].to_str().unwrap().contains("Owner=anna%2C%20b%3Dc"));
        assert_eq!(read(&HeaderMap::new()).unwrap(), Metadata::default());
    }

    #[test]
    fn a_header_may_be_repeated_and_malformed_ones_are_refused() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(METADATA, value.parse().unwrap());
            }
            read(&headers)
        };
        assert_eq!(of(&["a=1, b=2", "c=3"]).unwrap().pairs().len(), 3);
        for wrong in [["a"].as_slice(), &["=1"], &["a=1", "a=2"], &["a=%ff"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
