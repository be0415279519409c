//! Messages in a few words, for traces and cards. Whoever needs every field finds them by the hash.

use understudy_core::Message;
use understudy_core::message::{AppendReply, AskVote, Body, LogPosition, Vote, VoteReply};

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
        Body::ForwardRead { ids } => format!("forwards {} reads", ids.len()),
        Body::ForwardWriteReply(reply) => format!("wrote {reply:?}"),
        Body::ForwardReadReply(reply) => format!("read {reply:?}"),
    };
    format!("g{group} {words}")
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
