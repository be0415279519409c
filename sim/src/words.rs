//! Messages, requests and answers in a few words, for traces and cards.

use crate::history::{Ask, Fate};
use understudy_core::message::{
    AppendReply, AskVote, Body, ForwardFailed, LogPosition, SnapshotReply, Vote, VoteReply,
};
use understudy_core::query::{Page, Scan};
use understudy_core::{
    ActorId, Answer, ChangesQuery, Event, Expected, Failure, GroupId, Message, Operation, Outcome,
    ReadLevel, Record, Refusal, Request, Response, Since, Token, Work,
};

/// One message's body.
pub fn message(message: &Message) -> String {
    let group = message.group;
    let words = match &message.body {
        Body::Append(append) => {
            let after = position(append.previous);
            let commit = position(append.commit);
            let what = match (append.entries.first(), append.entries.last()) {
                (Some(first), Some(last)) => {
                    format!(
                        "append {}..{}",
                        position(Some(first.position)),
                        position(Some(last.position))
                    )
                }
                _ => "heartbeat".to_owned(),
            };
            format!("{what} after {after}, commit {commit}, {}", vote(append.vote))
        }
        Body::AppendReply(reply) => match reply {
            AppendReply::Success => "appended".to_owned(),
            AppendReply::Partial(upto) => format!("appended up to {}", position(*upto)),
            AppendReply::Conflict => "append conflicts".to_owned(),
            AppendReply::HigherVote(higher) => format!("append refused for {}", vote(*higher)),
            AppendReply::Failed => "append failed".to_owned(),
        },
        Body::AskVote(ask) => format!("asks for a vote: {}", asked(ask)),
        Body::AskPreVote(ask) => format!("asks for a pre-vote: {}", asked(ask)),
        Body::VoteReply(reply) => format!("vote {}", granted(reply)),
        Body::PreVoteReply(reply) => format!("pre-vote {}", granted(reply)),
        Body::ForwardWrite { commands } => {
            let ops: Vec<_> = commands.iter().map(|command| command.op.to_string()).collect();
            format!("forwards writes {}", ops.join(" "))
        }
        Body::ForwardRead { queries, lease } => {
            let lease = if *lease { ", a lease will do" } else { "" };
            format!("forwards {} reads{lease}", queries.len())
        }
        Body::ForwardWriteReply(Ok(results)) => {
            let each = results.iter().map(|result| outcome(&result.outcome));
            format!("forwarded writes: {}", each.collect::<Vec<_>>().join(", "))
        }
        Body::ForwardReadReply(Ok(seen)) => {
            let applied = seen.last().map_or(0, |seen| seen.applied);
            format!("{} forwarded reads, applied {applied}", seen.len())
        }
        Body::ForwardWriteReply(Err(failed)) | Body::ForwardReadReply(Err(failed)) => {
            format!("forwarding failed: {}", forward_failed(*failed))
        }
        Body::Transfer(ask) => format!("N{} should lead", ask.to.node),
        Body::TransferReply => "heard who should lead".to_owned(),
        Body::Snapshot(chunk) => {
            let at = position(Some(chunk.position));
            let (offset, length) = (chunk.offset, chunk.length);
            let bytes = chunk.bytes.0.len();
            format!("snapshot of {at}, {bytes} bytes at {offset} of {length}, {}", vote(chunk.vote))
        }
        Body::SnapshotReply(reply) => match reply {
            SnapshotReply::Have(have) => format!("has {have} bytes of the snapshot"),
            SnapshotReply::Installed(_) => "installed the snapshot".to_owned(),
            SnapshotReply::HigherVote(higher) => {
                format!("snapshot refused for {}", vote(*higher))
            }
        },
        Body::Hello => "hello".to_owned(),
        Body::HelloReply { held, promised } => {
            format!("has groups {}, promises {}", numbers(held), numbers(promised))
        }
    };
    format!("g{group} {words}")
}

/// The actor a request is about, as `namespace/id`.
pub fn actor(request: &Request) -> String {
    match request {
        Request::Scan { namespace, prefix, .. } => format!("{namespace}/{prefix}*"),
        Request::Read { namespace, id, .. } => format!("{namespace}/{id}"),
        Request::Changes { namespace, .. } | Request::Session { namespace } => {
            namespace.to_string()
        }
        Request::Write { namespace, work, .. } => {
            let ids: Vec<_> = work.writes().iter().map(|write| write.id.as_str()).collect();
            format!("{namespace}/{}", ids.join("+"))
        }
    }
}

/// A client's request, without its actor.
pub fn request(request: &Request) -> String {
    match request {
        Request::Read { level, .. } => read("read", *level),
        Request::Scan { after, limit, level, .. } => scan(after.as_ref(), *limit, *level),
        Request::Changes { query, level, .. } => changes(query, *level),
        Request::Session { .. } => "a session".to_owned(),
        Request::Write { work, .. } => self::work(work),
    }
}

/// A change of one actor, or of several together.
pub fn work(work: &Work) -> String {
    let all: Vec<_> = work.writes().iter().map(|write| operation(&write.operation)).collect();
    match work {
        Work::One(_) => all.join(""),
        Work::Batch(_) => format!("all of: {}", all.join(", ")),
    }
}

fn read(what: &str, level: ReadLevel) -> String {
    match level {
        ReadLevel::Linearizable => what.to_owned(),
        ReadLevel::Lease => format!("{what} (lease)"),
        ReadLevel::Session { min } => format!("{what} (session at {min})"),
        ReadLevel::Eventual => format!("{what} (eventual)"),
    }
}

fn scan(after: Option<&ActorId>, limit: usize, level: ReadLevel) -> String {
    let after = after.map_or(String::new(), |after| format!(" behind {after}"));
    format!("{} of {limit}{after}", read("scan", level))
}

fn changes(query: &ChangesQuery, level: ReadLevel) -> String {
    let since = match query.since {
        Since::After(after) => format!("behind {after}"),
        Since::Time(time) => format!("since {}", time.0),
        Since::Last => "behind the last".to_owned(),
    };
    format!("{} {since}, {} at most", read("changes", level), query.limit)
}

/// What a client asks.
pub fn ask(ask: &Ask) -> String {
    match ask {
        Ask::Write { operation: change, .. } => operation(change),
        Ask::Read { level } => read("read", *level),
        Ask::Scan { scan: Scan { after, limit, .. }, level, .. } => {
            scan(after.as_ref(), *limit, *level)
        }
    }
}

/// What a client knows in the end.
pub fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Unknown => "unknown".to_owned(),
        Fate::DidNotHappen => "did not happen".to_owned(),
        Fate::Outcome(outcome) => self::outcome(outcome),
        Fate::Listed { page, .. } => self::page(page),
        Fate::Saw { record, .. } => record
            .as_ref()
            .map_or("saw nothing".to_owned(), |record| format!("saw {}", self::record(record))),
    }
}

fn page(page: &Page) -> String {
    let each = page.records.iter().map(|(id, record)| format!("{id}: {}", self::record(record)));
    let each: Vec<_> = each.collect();
    let more = if page.more { ", and more" } else { "" };
    format!("saw [{}]{more}", each.join(", "))
}

/// A change.
pub fn operation(operation: &Operation) -> String {
    let expecting = |expected: &Option<Expected>| {
        expected.as_ref().map_or(String::new(), |expected| format!(" if at {}", expects(expected)))
    };
    match operation {
        Operation::Create { content } => format!("create {}", document(&content.value)),
        Operation::Put { content } => format!("put {}", document(&content.value)),
        Operation::Update { content, expected } => {
            format!("update to {}{}", document(&content.value), expecting(expected))
        }
        Operation::CompareAndSwap { content, expected } => {
            format!("swap to {} if at {}", document(&content.value), expects(expected))
        }
        Operation::Delete { expected } => format!("delete{}", expecting(expected)),
    }
}

fn document(value: &understudy_core::Json) -> String {
    let number = crate::history::written_by(value);
    number.map_or("an unknown document".to_owned(), |number| format!("document {number}"))
}

fn expects(expected: &Expected) -> String {
    match expected {
        Expected::Token(token) => self::token(*token),
        Expected::Version(version) if version.0 == 0 => "absent".to_owned(),
        Expected::Version(version) => format!("version {version}"),
    }
}

fn token(token: Token) -> String {
    format!("{}-{}", token.created, token.version)
}

/// A document and its token.
pub fn record(record: &Record) -> String {
    format!("{} at {}", document(record.value()), token(record.token))
}

/// A node's answer.
pub fn response(response: &Response) -> String {
    match response {
        Ok(Answer::Done { outcome, replayed, .. }) => {
            let again = if *replayed { ", from the op-log" } else { "" };
            format!("{}{again}", self::outcome(outcome))
        }
        Ok(Answer::Session(session)) => format!("session {session:032x}"),
        Ok(Answer::Read { record, applied, .. }) => {
            let seen = record.as_ref().map_or("absent".to_owned(), self::record);
            format!("{seen}, applied {applied}")
        }
        Ok(Answer::Scan { records, more, applied, .. }) => {
            let more = if *more { " and more" } else { "" };
            format!("{} actors{more}, applied {applied}", records.len())
        }
        Ok(Answer::Changes { changes, sequence, .. }) => {
            let (count, after) = (changes.changes.len(), changes.after);
            format!("{count} changes behind {after} of {sequence}, from {}", changes.first)
        }
        Err(Failure::Refused(refusal)) => self::refusal(refusal),
        Err(failure) => failure.code().to_owned(),
    }
}

/// What came of a change.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written { token, sequence } => {
            format!("written as {} at sequence {sequence}", self::token(*token))
        }
        Outcome::Deleted { record, sequence } => {
            format!("deleted {} at sequence {sequence}", self::record(record))
        }
        Outcome::Removed { token, sequence } => {
            format!("removed {} at sequence {sequence}", self::token(*token))
        }
        Outcome::Batch(outcomes) => {
            let all: Vec<_> = outcomes.iter().map(self::outcome).collect();
            format!("all of: {}", all.join(", "))
        }
        Outcome::Refused(refusal) => self::refusal(refusal),
    }
}

/// Why nothing changed.
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::AlreadyExists { found } => format!("refused: exists at {}", token(*found)),
        Refusal::NotFound => "refused: not found".to_owned(),
        Refusal::Conflict { expected, found } => {
            let found = found.map_or("absent".to_owned(), token);
            format!("refused: expected {}, found {found}", expects(expected))
        }
        Refusal::OpIdReused => "refused: the name was used for another request".to_owned(),
        Refusal::SessionExpired => "refused: the name is too old".to_owned(),
        Refusal::InBatch { place, refusal } => {
            format!("nothing of it: operation {place} {}", self::refusal(refusal))
        }
    }
}

/// Whether a token was refused because its actor had been deleted and made again.
pub fn of_former_life(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Conflict { expected: Expected::Token(expected), found: Some(found) } => {
            expected.created != found.created
        }
        Refusal::Conflict { .. }
        | Refusal::AlreadyExists { .. }
        | Refusal::NotFound
        | Refusal::OpIdReused
        | Refusal::SessionExpired
        | Refusal::InBatch { .. } => false,
    }
}

/// The group an event is about; 0 for none.
pub fn group(event: &Event) -> u64 {
    match event {
        Event::Role { group, .. }
        | Event::Applied { group, .. }
        | Event::LeaseReads { group, .. }
        | Event::Truncated { group, .. }
        | Event::Expired { group, .. }
        | Event::Formed { group }
        | Event::Checkpoint { group, .. }
        | Event::CheckpointFailed { group, .. }
        | Event::SnapshotInstalled { group, .. }
        | Event::SnapshotRefused { group, .. }
        | Event::Diverged { group, .. }
        | Event::HandsOver { group, .. }
        | Event::Repair { group, .. } => u64::from(group.0),
        Event::Dropped { .. } => 0,
    }
}

fn numbers(groups: &[GroupId]) -> String {
    let numbers: Vec<_> = groups.iter().map(GroupId::to_string).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") }
}

fn forward_failed(failed: ForwardFailed) -> String {
    match failed {
        ForwardFailed::NotLeader { hint } => {
            format!("I do not lead{}", hint.map_or(String::new(), |hint| format!(", ask N{hint}")))
        }
        ForwardFailed::Busy => "I am full".to_owned(),
        ForwardFailed::Unknown => "the outcome is unknown".to_owned(),
    }
}

fn position(position: Option<LogPosition>) -> String {
    position.map_or("-".to_owned(), |at| format!("{}.{}", at.term, at.index))
}

fn vote(vote: Vote) -> String {
    let whose = if vote.committed { "leader" } else { "candidate" };
    format!("term {} {whose} N{}", vote.term, vote.node)
}

fn asked(ask: &AskVote) -> String {
    format!("{}, last {}", vote(ask.vote), position(ask.last))
}

fn granted(reply: &VoteReply) -> String {
    let verdict = if reply.granted { "granted" } else { "refused" };
    format!("{verdict}, {}, last {}", vote(reply.vote), position(reply.last))
}
