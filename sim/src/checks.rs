//! The properties, one file each, and the table of them.
//!
//! Two judges. The **server** judge looks inside: at every step, at every start, and at the rows in
//! the end. The **client** judge knows only what clients asked and heard, including the last
//! linearizable reads that a healed cluster gave. Each must find what it can without the other.
//!
//! A property's name is its file's name and its word on the failure card. To add one: a file here
//! with its doc, a `check` (a pure function, or a struct where it must remember) and tests with a
//! history that must be rejected and a neighbour that must not; a `mod` line and a row in [`TABLE`];
//! a row in docs/SIM.md; and one call: in `Oracle::judge_client` or `Oracle::judge_server`, or from
//! the world for what must be seen as it happens. A test holds files, table and page together.

pub mod acked_once;
pub mod acked_present_once;
pub mod answers_fit_questions;
pub mod canary;
pub mod changes_are_final;
pub mod committed_is_final;
pub mod converges;
pub mod damage_is_noticed;
pub mod eventual_reads_are_past;
pub mod expired_when_due;
pub mod failed_sync_is_fatal;
pub mod fatal_has_a_cause;
pub mod linearizable;
pub mod one_leader_per_term;
pub mod one_outcome_per_op;
pub mod reads_name_their_state;
pub mod refused_never_happens;
pub mod replicas_equal;
pub mod replicas_never_diverge;
pub mod reply_at_most_once;
pub mod rows_have_writers;
pub mod subscribers_hear_all;
pub mod synced_bytes_survive;
pub mod walks_miss_nobody;

use std::fmt;

use crate::history::Entry;

#[cfg(test)]
mod tests;

/// Who judges a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// Looks inside the replicas, the network and the disks.
    Server,
    /// Knows only what clients asked and heard.
    Client,
}

impl Judge {
    /// The words on the card.
    pub fn name(self) -> &'static str {
        match self {
            Judge::Server => "server invariant",
            Judge::Client => "client oracle",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// The name of the property and of its file.
    pub name: &'static str,
    /// Who judges it.
    pub judge: Judge,
    /// Where it is from.
    pub source: &'static str,
}

impl Property {
    /// The property of that name.
    pub fn find(name: &str) -> Option<&'static Property> {
        TABLE.iter().find(|property| property.name == name)
    }
}

const fn server(name: &'static str, source: &'static str) -> Property {
    Property { name, judge: Judge::Server, source }
}

const fn client(name: &'static str, source: &'static str) -> Property {
    Property { name, judge: Judge::Client, source }
}

/// Each property, its judge and where it is from.
pub const TABLE: &[Property] = &[
    server("one_leader_per_term", "Raft §5.2, Election Safety; TLA+ `OnePrimaryPerTerm`"),
    server("committed_is_final", "Raft §5.4, Leader Completeness; TLA+ `StateMachineSafety`"),
    server("replicas_equal", "Raft §5.4.3, State Machine Safety"),
    server("replicas_never_diverge", "S0-036, PEERS etcd 13766: replicas compare their states"),
    server("acked_present_once", "docs/SEMANTICS.md, acknowledged means; S0-060, X-12"),
    server("rows_have_writers", "docs/SEMANTICS.md, failures: refused did not happen and will not"),
    server(
        "subscribers_hear_all",
        "docs/SEMANTICS.md, the change stream; S0-078…S0-092, X-14…X-18",
    ),
    server("synced_bytes_survive", "docs/ARCHITECTURE.md, the driver's contract: `WalWrite`"),
    server("damage_is_noticed", "docs/SEMANTICS.md, faults survived: damage is found and refused"),
    server("failed_sync_is_fatal", "docs/ARCHITECTURE.md, the driver's contract: a failed sync"),
    server("fatal_has_a_cause", "docs/ARCHITECTURE.md, the driver's contract: `Fatal`"),
    server("changes_are_final", "docs/SEMANTICS.md, the change stream; S0-076, X-16, X-19"),
    server("expired_when_due", "docs/SEMANTICS.md, expiry"),
    server("reply_at_most_once", "docs/ARCHITECTURE.md, the driver's contract: `Reply`"),
    client("acked_once", "docs/SEMANTICS.md, exactly once; S0-060, X-12"),
    client("one_outcome_per_op", "docs/SEMANTICS.md, exactly once: a repeat tells the same"),
    client("refused_never_happens", "docs/SEMANTICS.md, failures: refused or unknown"),
    client("answers_fit_questions", "docs/SEMANTICS.md, operations"),
    client("linearizable", "Herlihy and Wing 1990; docs/SEMANTICS.md, reads"),
    client("eventual_reads_are_past", "docs/SEMANTICS.md, reads: what the asked replica has"),
    client("reads_name_their_state", "S0-072, X-11; docs/SEMANTICS.md, sessions and scans"),
    client("walks_miss_nobody", "X-25; docs/SEMANTICS.md, scans"),
    client("converges", "docs/SIM.md: a healed cluster elects, commits and converges"),
    client("canary", "docs/SIM.md, who tests the tester: runs that must fail"),
];

/// Which kind of promise was broken; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something wrong happened.
    Safety,
    /// Something good did not happen.
    Liveness,
    /// The program's own check failed.
    Crash,
    /// The simulator is at fault.
    Harness,
}

impl Class {
    /// The process's exit code.
    pub fn exit_code(self) -> i32 {
        match self {
            Class::Safety => 10,
            Class::Liveness => 11,
            Class::Crash => 12,
            Class::Harness => 13,
        }
    }

    /// The word on the card.
    pub fn name(self) -> &'static str {
        match self {
            Class::Safety => "safety",
            Class::Liveness => "liveness",
            Class::Crash => "crash",
            Class::Harness => "harness",
        }
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which kind.
    pub class: Class,
    /// Which property.
    pub property: String,
    /// How we know, in one line.
    pub explanation: String,
    /// What it is about, where known: what a card shows first.
    pub about: Option<About>,
}

/// The operations behind a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The place of the namespace in the configuration, from 0.
    pub namespace: usize,
    /// The actor.
    pub actor: u64,
    /// The operations, by number.
    pub ops: Vec<u64>,
}

impl About {
    /// The actor of the first of `entries`, and all of their numbers; `None` if there is none.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<About> {
        let mut entries = entries.into_iter();
        let first = entries.next()?;
        let mut ops = vec![first.number];
        ops.extend(entries.map(|entry| entry.number));
        ops.sort_unstable();
        ops.dedup();
        Some(About { namespace: first.namespace, actor: first.actor, ops })
    }
}

impl Violation {
    /// A broken safety property.
    pub fn safety(property: &str, explanation: impl Into<String>) -> Violation {
        Violation {
            class: Class::Safety,
            property: property.to_owned(),
            explanation: explanation.into(),
            about: None,
        }
    }

    /// A promise that was not kept in time.
    pub fn liveness(property: &str, explanation: impl Into<String>) -> Violation {
        Violation { class: Class::Liveness, ..Violation::safety(property, explanation) }
    }

    /// The same, and which operations it is about.
    #[must_use]
    pub fn about(self, about: impl Into<Option<About>>) -> Violation {
        Violation { about: about.into(), ..self }
    }

    /// Whether the client judge found it, with what clients asked and heard alone.
    pub fn is_for_clients(&self) -> bool {
        Property::find(&self.property).is_some_and(|property| property.judge == Judge::Client)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.class.name(), self.property, self.explanation)
    }
}
