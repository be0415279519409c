//! What a request says besides its document: id, preconditions, idempotency key, time to wait.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, Request, Uri};
use http_body_util::BodyExt;
use tokio::time::timeout;
use understudy_core::{
    ActorId, Content, Expected, Json, Namespace, OpId, ReadLevel, Sequence, Token, Ttl, Version,
    limits,
};
use uuid::{Uuid, Variant};

use crate::api::problem::{Problem, codes};
use crate::api::{document, metadata};
use crate::limits as node_limits;

/// Which actor.
#[derive(Clone, Debug)]
pub struct Target {
    /// The collection.
    pub namespace: Namespace,
    /// The key in it.
    pub id: ActorId,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// `If-None-Match: *`: the actor must not exist.
    Absent,
    /// `If-Match: *`: the actor must exist.
    Present,
    /// `If-Match: "17-3"`, or `expected_version=3`.
    Equals(Expected),
}

/// The header of a retry-safe write.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The session of an operation.
pub const SESSION: HeaderName = HeaderName::from_static("understudy-session");
/// Its place there, from 1.
pub const SESSION_SEQUENCE: HeaderName = HeaderName::from_static("understudy-session-sequence");
/// How long an actor stays.
pub const TTL_MS: HeaderName = HeaderName::from_static("understudy-ttl-ms");
/// How long the client waits, in milliseconds.
pub const TIMEOUT_MS: HeaderName = HeaderName::from_static("understudy-timeout-ms");
/// The bare version a write expects.
pub const EXPECTED_VERSION: HeaderName = HeaderName::from_static("understudy-expected-version");

/// Decodes `%41`; `what` names the place in the message.
///
/// # Errors
/// A problem when what comes out is not UTF-8.
pub fn percent_decode(raw: &str, what: &str) -> Result<String, Problem> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    decoded.map(String::from).map_err(|_| {
        let detail = format!("{what} is not UTF-8; percent-encode the UTF-8 bytes of each part");
        Problem::new(&codes::BAD_UTF8, detail)
    })
}

/// Checks an id.
///
/// # Errors
/// A problem that names the rule.
pub fn actor_id(id: &str) -> Result<ActorId, Problem> {
    ActorId::new(id).map_err(|rule| {
        if id.len() > limits::ID_BYTES_MAX {
            Problem::new(&codes::ID_TOO_LONG, rule)
        } else {
            Problem::new(&codes::BAD_ID, rule)
        }
    })
}

/// The parameters after `?`, each known and given once.
///
/// # Errors
/// A problem that names the parameter.
pub fn query(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    query_lists(uri, known, &[])
}

/// The same, where those of `lists` may be given several times.
///
/// # Errors
/// A problem that names the parameter.
pub fn query_lists(
    uri: &Uri,
    known: &[&str],
    lists: &[&str],
) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = percent_decode(name, "the query")?;
        if !known.contains(&name.as_str()) {
            let detail =
                format!("`{name}` is not a parameter here; known are {}", known.join(", "));
            return Err(Problem::new(&codes::BAD_PARAMETER, detail));
        }
        let is_given = pairs.iter().any(|(given, _)| *given == name);
        if is_given && !lists.contains(&name.as_str()) {
            return Err(Problem::new(&codes::BAD_PARAMETER, format!("`{name}` is given twice")));
        }
        pairs.push((name, percent_decode(&value.replace('+', " "), "the query")?));
    }
    Ok(pairs)
}

/// The value of a parameter.
pub fn parameter<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

/// The header `name` as text; absent is `None`.
///
/// # Errors
/// A problem when it is given twice or is not visible ASCII.
pub fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Problem::new(&codes::BAD_HEADER, format!("`{name}` is given twice")));
    }
    let text = value.to_str().map_err(|_| {
        Problem::new(&codes::BAD_HEADER, format!("`{name}` may hold visible ASCII characters only"))
    })?;
    Ok(Some(text.trim()))
}

/// What the headers and `expected_version` demand.
///
/// # Errors
/// A problem for a condition that cannot be met or is not understood.
pub fn precondition(
    headers: &HeaderMap,
    pairs: &[(String, String)],
) -> Result<Precondition, Problem> {
    let bad = |detail: &str| Problem::new(&codes::BAD_PRECONDITION, detail);
    let mut found = Vec::new();
    if let Some(text) = header(headers, &IF_MATCH)? {
        found.push(match text {
            "*" => Precondition::Present,
            text => Precondition::Equals(Expected::Token(token(text)?)),
        });
    }
    if let Some(text) = header(headers, &IF_NONE_MATCH)? {
        if text != "*" {
            return Err(bad("a write knows `If-None-Match: *` only: the actor must not exist"));
        }
        found.push(Precondition::Absent);
    }
    let versions = [header(headers, &EXPECTED_VERSION)?, parameter(pairs, "expected_version")];
    for text in versions.into_iter().flatten() {
        let version = text.parse().map_err(|_| bad("the expected version is a whole number"))?;
        found.push(Precondition::Equals(Expected::Version(Version(version))));
    }
    match found[..] {
        [] => Ok(Precondition::Any),
        [one] => Ok(one),
        _ => Err(bad("give one of `If-Match`, `If-None-Match` and the expected version")),
    }
}

/// An entity tag as this API gives them out. Quotes may be missing: shells eat them.
///
/// # Errors
/// A problem when it is not one.
pub fn token(text: &str) -> Result<Token, Problem> {
    text.trim_matches('"').parse().map_err(|_| {
        let detail = format!(
            "`{text}` is not one version token; send the `ETag` of the read, such as `\"17-3\"`"
        );
        Problem::new(&codes::BAD_PRECONDITION, detail)
    })
}

/// Whether a reader already has `token` (`If-None-Match` of a read).
///
/// # Errors
/// A problem for a header that is not text.
pub fn has(headers: &HeaderMap, token: Token) -> Result<bool, Problem> {
    let Some(tags) = header(headers, &IF_NONE_MATCH)? else { return Ok(false) };
    let own = token.to_string();
    Ok(tags.split(',').any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == own
    }))
}

/// The name of the operation, if the client gave one.
///
/// # Errors
/// A problem that names the rule.
pub fn op_id(headers: &HeaderMap) -> Result<Option<OpId>, Problem> {
    let key = header(headers, &IDEMPOTENCY_KEY)?;
    let session = header(headers, &SESSION)?;
    let sequence = header(headers, &SESSION_SEQUENCE)?;
    match (key, session, sequence) {
        (None, None, None) => Ok(None),
        (Some(text), None, None) => {
            // The standard's draft puts the key into quotes, most clients do not.
            let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            idempotency_key(quoted.unwrap_or(text)).map(Some)
        }
        (None, Some(session), Some(sequence)) => {
            session_op(session, sequence.parse().unwrap_or(0)).map(Some)
        }
        _ => {
            let detail =
                format!("give `{IDEMPOTENCY_KEY}`, or `{SESSION}` and `{SESSION_SEQUENCE}`");
            Err(Problem::new(&codes::BAD_SESSION, detail))
        }
    }
}

/// A place in a session.
///
/// # Errors
/// A problem when it is not one.
pub fn session_op(session: &str, sequence: u64) -> Result<OpId, Problem> {
    let bad = |detail: &str| Problem::new(&codes::BAD_SESSION, detail);
    let session =
        uuid7(session).ok_or_else(|| bad("this is not a session as opening one returns it"))?;
    match sequence {
        0 => Err(bad("the operations of a session are counted from 1")),
        sequence => Ok(OpId::Session { session, sequence }),
    }
}

/// An idempotency key: a UUID of version 7 carries its time.
///
/// # Errors
/// A problem that names the rule.
pub fn idempotency_key(name: &str) -> Result<OpId, Problem> {
    let legal = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > limits::OP_NAME_BYTES_MAX || !legal {
        let detail = format!(
            "an idempotency key has 1 to {} visible ASCII characters; a UUID of version 7 is best",
            limits::OP_NAME_BYTES_MAX
        );
        return Err(Problem::new(&codes::BAD_IDEMPOTENCY_KEY, detail));
    }
    Ok(match uuid7(name) {
        Some(uuid) => OpId::Timed(uuid),
        None => OpId::Named(name.to_owned()),
    })
}

/// A UUID of version 7 in its usual form.
fn uuid7(text: &str) -> Option<u128> {
    const HYPHENATED: usize = 36;
    let uuid = Uuid::try_parse(text).ok()?;
    let timed = uuid.get_version_num() == 7 && uuid.get_variant() == Variant::RFC4122;
    (timed && text.len() == HYPHENATED).then(|| uuid.as_u128())
}

/// How long the client waits.
///
/// # Errors
/// A problem when it is not a number of milliseconds within the limit.
pub fn wait(headers: &HeaderMap, pairs: &[(String, String)]) -> Result<Duration, Problem> {
    // Both are checked; what the path says comes first.
    let by_header = header(headers, &TIMEOUT_MS)?.map(timeout_of).transpose()?;
    let by_query = parameter(pairs, "timeout_ms").map(timeout_of).transpose()?;
    Ok(by_query.or(by_header).unwrap_or(node_limits::API_TIMEOUT))
}

fn timeout_of(text: &str) -> Result<Duration, Problem> {
    let max = limits::REQUEST_TIMEOUT_MAX;
    let given = text.parse().ok().map(Duration::from_millis);
    given.filter(|wait| !wait.is_zero() && *wait <= max).ok_or_else(|| {
        let detail = format!("the timeout is 1 to {} milliseconds", max.as_millis());
        Problem::new(&codes::BAD_TIMEOUT, detail)
    })
}

/// A number of actors on a page: 100 unless it is given.
///
/// # Errors
/// A problem when it is out of range.
pub fn limit(given: Option<u64>) -> Result<usize, Problem> {
    let limit = given
        .map_or(node_limits::PAGE_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if (1..=limits::SCAN_RECORDS_MAX).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("a page has 1 to {} actors", limits::SCAN_RECORDS_MAX);
    Err(Problem::new(&codes::BAD_LIMIT, detail))
}

/// What the ids of a page begin with.
///
/// # Errors
/// A problem when no id can begin so.
pub fn prefix(prefix: String) -> Result<String, Problem> {
    match prefix.is_empty() {
        true => Ok(prefix),
        false => actor_id(&prefix).map(|_| prefix),
    }
}

/// Behind which id a page begins; `None` for the first page.
///
/// # Errors
/// A problem when it is no id.
pub fn after(after: &str) -> Result<Option<ActorId>, Problem> {
    match after.is_empty() {
        true => Ok(None),
        false => actor_id(after).map(Some),
    }
}

/// How fresh a read must be: `level`, and `min_sequence` for a session.
///
/// # Errors
/// A problem for another level, or a sequence that does not belong there or is missing.
pub fn level(pairs: &[(String, String)]) -> Result<ReadLevel, Problem> {
    let min = parameter(pairs, "min_sequence").map(|min| {
        let detail = format!("`min_sequence` is a whole number, not `{min}`");
        min.parse().map_err(|_| Problem::new(&codes::BAD_LEVEL, detail))
    });
    level_of(parameter(pairs, "level"), min.transpose()?)
}

/// The same from its parts.
///
/// # Errors
/// As above.
pub fn level_of(level: Option<&str>, min: Option<u64>) -> Result<ReadLevel, Problem> {
    match (level.unwrap_or("linearizable"), min) {
        ("linearizable", None) => Ok(ReadLevel::Linearizable),
        ("lease", None) => Ok(ReadLevel::Lease),
        ("eventual", None) => Ok(ReadLevel::Eventual),
        ("session", Some(min)) => Ok(ReadLevel::Session { min: Sequence(min) }),
        (level, _) => {
            let detail = format!(
                "`{level}` is not a level, or has `min_sequence` wrongly; use `linearizable`, \
                 `lease`, `session` with `min_sequence`, or `eventual`"
            );
            Err(Problem::new(&codes::BAD_LEVEL, detail))
        }
    }
}

/// A time to live.
///
/// # Errors
/// A problem when it is out of range.
pub fn ttl(milliseconds: u64) -> Result<Ttl, Problem> {
    Ttl::new(milliseconds).map_err(|rule| Problem::new(&codes::BAD_TTL, rule))
}

/// What a write puts there: the document in the body, and what the headers say.
///
/// # Errors
/// As for [`document`], and a problem that names the rule for metadata or a time to live.
pub async fn content(request: Request<Body>) -> Result<Content, Problem> {
    let headers = request.headers();
    let metadata = metadata::read(headers)?;
    let ttl = header(headers, &TTL_MS)?.map(|text| ttl(text.parse().unwrap_or(0))).transpose()?;
    Ok(Content { value: document(request).await?, metadata, ttl })
}

/// The document in the body.
///
/// # Errors
/// A problem when it is too large, late, cut off, encoded, or not JSON.
pub async fn document(request: Request<Body>) -> Result<Json, Problem> {
    let bytes = json_bytes(request, limits::VALUE_BYTES_MAX).await?;
    document::checked(&bytes)
}

/// A body that says it is JSON, of at most `max` bytes; not parsed.
///
/// # Errors
/// A problem when it is too large, late, cut off or encoded.
pub async fn json_bytes(request: Request<Body>, max: usize) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    json_only(&parts.headers)?;
    read_body(body, max).await
}

fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: String| Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE, detail);
    if let Some(text) = header(headers, &CONTENT_TYPE)? {
        let essence = text.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail =
                format!("`{essence}` is not understood; send `content-type: application/json`");
            return Err(unsupported(detail));
        }
    }
    match header(headers, &CONTENT_ENCODING)? {
        None | Some("identity") => Ok(()),
        Some(encoding) => Err(unsupported(format!("send the body without `{encoding}`"))),
    }
}

async fn read_body(mut body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut kept = Vec::with_capacity(announced.min(max));
    let read = async {
        let mut seen = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| "the body ended before its announced length")?;
            let Ok(data) = frame.into_data() else { continue };
            seen = seen.saturating_add(data.len());
            if seen <= max {
                kept.extend_from_slice(&data);
            } else if seen > node_limits::API_DRAIN_BYTES_MAX {
                break;
            }
        }
        Ok::<usize, &str>(seen)
    };
    let seen = match timeout(node_limits::API_BODY_TIMEOUT, read).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(detail)) => return Err(Problem::new(&codes::CUT_OFF, detail)),
        Err(_) => {
            let detail = "the body did not arrive in time; send it at once";
            return Err(Problem::new(&codes::REQUEST_TIMEOUT, detail));
        }
    };
    match seen > max {
        true => Err(too_large(seen, max)),
        false => Ok(kept),
    }
}

/// A document, or a body with several, beyond its limit.
pub fn too_large(bytes: usize, max: usize) -> Problem {
    let detail = format!("these are {bytes} bytes or more, and {max} are the most; split them");
    Problem::new(&codes::TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_timed_only_when_it_is_a_uuid_of_version_7() {
        let key = |text: &str| op_id(&headers(&[(IDEMPOTENCY_KEY, text)])).unwrap().unwrap();
        let v7 = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(key(v7).to_string(), v7);
        assert!(matches!(key(v7), OpId::Timed(_)));
        assert_eq!(key(&v7.to_uppercase()), key(v7));
        assert_eq!(key(&format!("\"{v7}\"")), key(v7));
        for name in [
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "order-7",
        ] {
            assert_eq!(key(name), OpId::Named(name.to_owned()));
        }
    }

    #[test]
    fn an_illegal_key_is_refused() {
        for name in ["", "\"\"", "two words", "x".repeat(256).as_str()] {
            assert!(op_id(&headers(&[(IDEMPOTENCY_KEY, name)])).is_err(), "{name:?}");
        }
    }

    #[test]
    fn at_most_one_precondition() {
        let none = &[][..];
        let of = |pairs: &[(HeaderName, &str)]| precondition(&headers(pairs), none);
        assert_eq!(of(&[]).unwrap(), Precondition::Any);
        assert_eq!(of(&[(IF_MATCH, "*")]).unwrap(), Precondition::Present);
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]).unwrap(), Precondition::Absent);
        let tag = of(&[(IF_MATCH, "\"17-3\"")]).unwrap();
        assert_eq!(tag, Precondition::Equals(Expected::Token("17-3".parse().unwrap())));
        assert!(of(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]).is_err());
        assert!(of(&[(IF_MATCH, "\"17-3\", \"18-1\"")]).is_err());
        assert!(of(&[(IF_MATCH, "W/\"17-3\"")]).is_err());
        assert!(of(&[(EXPECTED_VERSION, "-1")]).is_err());
    }

    #[test]
    fn a_query_knows_its_parameters() {
        let parse = |text: &str| query(&text.parse().unwrap(), &["id", "timeout_ms"]);
        assert_eq!(parse("/a?id=a%2Fb+c").unwrap(), [("id".to_owned(), "a/b c".to_owned())]);
        assert!(parse("/a?id=a&id=b").is_err());
        assert!(parse("/a?other=1").is_err());
        assert!(parse("/a?id=%ff").is_err());
    }
}
