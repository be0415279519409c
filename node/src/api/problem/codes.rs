//! Every code that a refusal may have, with its status in both protocols and what to do: the one
//! table behind answers, their documentation pages and the tests.

use axum::http::StatusCode;
use tonic::Code as Grpc;

/// One kind of refusal.
#[derive(Debug)]
pub struct Code {
    /// A stable word for programs.
    pub word: &'static str,
    /// The HTTP status.
    pub http: StatusCode,
    /// The gRPC status.
    pub grpc: Grpc,
    /// A few words.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do next.
    pub advice: &'static str,
    /// Where it can come from.
    pub protocols: Protocols,
}

/// Where a code can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP and gRPC.
    Both,
    /// Only HTTP has what it is about: paths, methods, headers, pages for probes.
    Http,
    /// Only gRPC has it.
    Grpc,
}

macro_rules! codes {
    ($($name:ident $word:literal $http:ident $grpc:ident $protocols:ident $title:literal
        $meaning:literal $advice:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code {
                word: $word,
                http: StatusCode::$http,
                grpc: Grpc::$grpc,
                title: $title,
                meaning: $meaning,
                advice: $advice,
                protocols: Protocols::$protocols,
            };
        )*
        /// All of them.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    // Decided when the operation is applied.
    ALREADY_EXISTS "already_exists" CONFLICT AlreadyExists Both "The actor exists"
        "A create met an actor of that id. Nothing changed."
        "Read it, or use put or update. `found` is its version token.";
    NOT_FOUND "not_found" NOT_FOUND NotFound Both "There is no such actor"
        "A read, update or delete met no actor of that id. Nothing changed."
        "Create it first, or use put.";
    CONFLICT "conflict" PRECONDITION_FAILED Aborted Both "The actor is not as expected"
        "The expected token or version is not the one that is there. Nothing changed."
        "Read the actor again, decide anew, and send the write with the new token and a new name.";
    BATCH_REFUSED "batch_refused" CONFLICT FailedPrecondition Both "An operation of the batch was refused"
        "One operation of an atomic batch was refused, so none of them happened. `failed_place` is its \
         place, from 0, and `cause` the code of its refusal."
        "Correct that operation and send the batch under a new name.";
    IDEMPOTENCY_KEY_REUSED "idempotency_key_reused" UNPROCESSABLE_ENTITY InvalidArgument Both
        "The operation's name was used before"
        "The same idempotency key, or session and sequence, came before with another request."
        "Use a new name for a new request. A retry must be the same request, byte for byte.";
    SESSION_EXPIRED "session_expired" CONFLICT FailedPrecondition Both "The operation's name has expired"
        "The store has forgotten names of this age, so it cannot tell whether the operation has happened \
         already; it was not run now."
        "Read the actor to see whether it happened; if not, send it under a new name, and in a new session \
         if it had one.";
    IDEMPOTENCY_KEY_FROM_FUTURE "idempotency_key_from_future" UNPROCESSABLE_ENTITY InvalidArgument Both
        "The idempotency key is from the future"
        "A key that is a UUID of version 7 carries a time, and this one's is more than five minutes ahead \
         of the node's clock."
        "Set the client's clock, or the node's.";

    // How a change stream ends.
    COMPACTED "compacted" GONE OutOfRange Both "The changes are not retained any more"
        "The change stream was to go on at a place whose changes are gone. `first_sequence` is the first \
         that is there."
        "Begin at `beginning`, which tells what is there and then what changes; or skip what is gone: \
         `after:N` with N one less than `first_sequence`.";
    OTHER_LINEAGE "other_lineage" GONE FailedPrecondition Both "The resume token is of another history"
        "The token was given out before the cluster began again from a backup, or by another cluster: its \
         sequence says nothing here."
        "Begin at `beginning`.";
    LAGGED "lagged" CONFLICT Aborted Both "The subscriber was too slow"
        "More changes lay behind than the policy `disconnect` allows. Nothing is lost."
        "Go on from `resume_token`; take faster, or use the policy `pause` or `conflate`.";

    // Decided on the way there.
    UNKNOWN_NAMESPACE "unknown_namespace" NOT_FOUND NotFound Both "There is no such namespace"
        "Namespaces are listed in the cluster configuration, and this one is not."
        "Correct the name, or add the namespace to the configuration of every node.";
    BUSY "busy" TOO_MANY_REQUESTS ResourceExhausted Both "The node is busy"
        "A limit is reached: requests, bytes, connections, or room on the disk. Nothing was done."
        "Try again after `retry_after_ms`, then less often. `disk full` ends when there is room.";
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE Unavailable Both "Nobody could answer in time"
        "No leader with a quorum was found in time, or for a session read this node had not come so far. \
         Nothing was proposed or sent to a leader."
        "Try again, at another node as well. If it lasts, look at /readyz of every node.";
    UNKNOWN "unknown" GATEWAY_TIMEOUT DeadlineExceeded Both "No answer in time"
        "The operation may have happened, or may yet happen."
        "Send it again under the same name: the answer says what came of it. Without a name, read first.";
    STUCK "stuck" SERVICE_UNAVAILABLE Unavailable Both "The node is stuck"
        "The thread that owns the replica does not answer."
        "Ask another node. If it lasts, look at the node's disk, and whether somebody reads its log.";
    NOT_READY "not_ready" SERVICE_UNAVAILABLE Unavailable Http "Not ready"
        "This node should get no requests now: it starts, joins, knows no leader, or stops."
        "Ask another node. The detail says what it waits for.";

    // Who may do what.
    UNAUTHENTICATED "unauthenticated" UNAUTHORIZED Unauthenticated Both "A token is needed"
        "The request has no token, or one that cannot be believed: it is damaged, signed with another \
         key, or holds what this store does not take."
        "Send `Authorization: Bearer TOKEN`; `understudy token create` makes one.";
    TOKEN_EXPIRED "token_expired" UNAUTHORIZED Unauthenticated Both "The token has expired"
        "The token was good once, and its time is over."
        "Get a new one.";
    TOKEN_REVOKED "token_revoked" UNAUTHORIZED Unauthenticated Both "The token was revoked"
        "The token, or one that it was made from, is in the list of revoked ones."
        "Get a new one.";
    FORBIDDEN "forbidden" FORBIDDEN PermissionDenied Both "The token does not allow this"
        "The token is good, but not for this right, namespace or id."
        "Get one that grants what the detail names.";

    // What a request says.
    BAD_REQUEST "bad_request" BAD_REQUEST InvalidArgument Both "The request is malformed"
        "The bytes are not a request of this protocol, or a required part of it is missing."
        "Correct the request; the detail names the part.";
    BAD_NAMESPACE "bad_namespace" BAD_REQUEST InvalidArgument Both "The namespace's name is malformed"
        "A namespace has 1 to 128 letters, digits, `_`, `-` and `.`."
        "Correct the name.";
    BAD_ID "bad_id" BAD_REQUEST InvalidArgument Both "The id is malformed"
        "An id is any UTF-8 text that is not empty."
        "Give an id, or create without one and let the node make it.";
    ID_TOO_LONG "id_too_long" URI_TOO_LONG InvalidArgument Both "The id is too long"
        "An id has at most 1024 bytes of UTF-8."
        "Shorten it.";
    BAD_PRECONDITION "bad_precondition" BAD_REQUEST InvalidArgument Both "The precondition is malformed"
        "The expected token or version is not one, is missing where it is required, makes no sense for \
         this operation, or there are two."
        "Send one: the token of a read, or a version.";
    BAD_LEVEL "bad_level" BAD_REQUEST InvalidArgument Both "The read level is not known"
        "Levels are linearizable, lease, session and eventual; only session has a least sequence."
        "Correct the level.";
    BAD_LIMIT "bad_limit" BAD_REQUEST InvalidArgument Both "The limit of a page is out of range"
        "A page of a scan has 1 to 1000 actors."
        "Ask for fewer, and for the next page with `after`.";
    BAD_TIMEOUT "bad_timeout" BAD_REQUEST InvalidArgument Both "The timeout is out of range"
        "A request waits 1 to 60000 milliseconds."
        "Correct the timeout.";
    BAD_IDEMPOTENCY_KEY "bad_idempotency_key" BAD_REQUEST InvalidArgument Both
        "The idempotency key is malformed"
        "A key has 1 to 255 visible ASCII characters."
        "Use a UUID of version 7.";
    BAD_SESSION "bad_session" BAD_REQUEST InvalidArgument Both "The session is malformed"
        "A session is what opening one returned, and comes with a sequence from 1; not beside an \
         idempotency key."
        "Open a session, and count its operations from 1.";
    BAD_METADATA "bad_metadata" BAD_REQUEST InvalidArgument Both "The metadata is malformed"
        "Metadata has up to 64 pairs: keys of 1 to 128 bytes, values of up to 4096, 16384 together."
        "Correct the pairs. In HTTP they are `key=value`, percent-encoded, separated by commas.";
    BAD_TTL "bad_ttl" BAD_REQUEST InvalidArgument Both "The time to live is out of range"
        "A time to live is 1 millisecond to ten years."
        "Correct it, or leave it away: then the actor stays.";
    BAD_BATCH "bad_batch" BAD_REQUEST InvalidArgument Both "The batch is malformed"
        "A batch has 1 to 1000 operations, and a write batch says whether it is atomic."
        "Split it, or state `atomic`; the detail says which.";
    BAD_SUBSCRIPTION "bad_subscription" BAD_REQUEST InvalidArgument Both "The subscription is malformed"
        "A subscription has a start, a filter of up to 64 prefixes and a policy, and what was sent is \
         none of these, or is not possible now."
        "Correct the part that the detail names; give tokens back exactly as they came.";
    INVALID_JSON "invalid_json" BAD_REQUEST InvalidArgument Both "The document is not JSON"
        "A document is JSON in UTF-8, nested at most 127 deep."
        "Correct the place that the detail names.";
    TOO_LARGE "too_large" PAYLOAD_TOO_LARGE OutOfRange Both "The request is too large"
        "A document has at most 1 MiB, and a batch of them 4 MiB."
        "Split it into several.";
    REQUEST_TIMEOUT "request_timeout" REQUEST_TIMEOUT DeadlineExceeded Both
        "The request did not arrive in time"
        "The rest of the request did not come. Nothing was done."
        "Send requests at once.";
    UNKNOWN_ROUTE "unknown_route" NOT_FOUND Unimplemented Both "There is no such path or method"
        "The path, or the gRPC method, leads nowhere."
        "Compare with /openapi.json or with gRPC reflection. Write `/` inside an id as `%2F`.";

    // Things that only HTTP has.
    BAD_UTF8 "bad_utf8" BAD_REQUEST InvalidArgument Http "The path is not UTF-8"
        "What is percent-encoded in the path, the query or a header is not UTF-8."
        "Percent-encode the UTF-8 bytes of each part.";
    BAD_PARAMETER "bad_parameter" BAD_REQUEST InvalidArgument Http "The query is malformed"
        "A parameter is not known here, or is given twice."
        "Leave it away; the detail lists those that are known.";
    BAD_HEADER "bad_header" BAD_REQUEST InvalidArgument Http "A header is malformed"
        "A header is given twice, or holds other than visible ASCII characters."
        "Correct the header that the detail names.";
    CUT_OFF "cut_off" BAD_REQUEST InvalidArgument Http "The body is incomplete"
        "The body ended before its announced length. Nothing was done."
        "Send it again.";
    METHOD_NOT_ALLOWED "method_not_allowed" METHOD_NOT_ALLOWED Unimplemented Http
        "The method is not allowed"
        "The path knows other methods."
        "Use one of the `Allow` header.";
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE InvalidArgument Http
        "The body is not JSON"
        "Bodies are JSON without a content encoding."
        "Send `content-type: application/json`, and no `content-encoding`.";
    HEADER_TOO_LARGE "header_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE InvalidArgument Http
        "The header is too large"
        "A header, its path included, has at most 64 KiB."
        "Send fewer or shorter fields, and a shorter id.";
}

/// The code of a word.
pub fn find(word: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.word == word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_sentences_are_whole() {
        for (place, code) in ALL.iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.word != code.word), "{}", code.word);
            assert!(
                code.word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_8".contains(&byte))
            );
            assert!(code.meaning.ends_with('.') && code.advice.ends_with('.'), "{}", code.word);
            assert!(code.http.is_client_error() || code.http.is_server_error());
            assert_ne!(code.grpc, Grpc::Ok);
        }
    }

    /// `AlreadyExists` as the gRPC documents spell it.
    fn spelled(code: Grpc) -> String {
        let mut name = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn the_table_for_people_is_this_one() {
        let page = include_str!("../../../../docs/API.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let rows =
            rows.iter().filter(|row| row.split(" | ").nth(1).is_some_and(|cell| cell.len() == 3));
        let wanted = ALL.iter().map(|code| {
            let grpc = match code.protocols {
                Protocols::Http => "-".to_owned(),
                Protocols::Both | Protocols::Grpc => spelled(code.grpc),
            };
            format!("| `{}` | {} | {grpc} | {} |", code.word, code.http.as_u16(), code.title)
        });
        assert_eq!(rows.copied().collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}
