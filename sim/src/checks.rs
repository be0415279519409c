//! The properties, one file each, and the table of them.
//!
//! Server checks look inside, at every event and at the end; the client oracle knows only what
//! clients asked and heard. A property's name is its file's name and its word on the failure card.

pub mod acked_present_once;
pub mod committed_is_final;
pub mod linearizable;
pub mod one_leader_per_term;
pub mod one_outcome_per_op;
pub mod refused_never_happens;
pub mod replicas_equal;

use std::fmt;

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

const fn row(name: &'static str, judge: Judge, source: &'static str) -> Property {
    Property { name, judge, source }
}

/// Each property, its judge and where it is from.
pub const TABLE: &[Property] = &[
    row(
        "one_leader_per_term",
        Judge::Server,
        "Raft §5.2 Election Safety; TLA+ `OnePrimaryPerTerm`",
    ),
    row(
        "committed_is_final",
        Judge::Server,
        "Raft §5.4 Leader Completeness; TLA+ `StateMachineSafety`",
    ),
    row("replicas_equal", Judge::Server, "Raft §5.4.3 State Machine Safety"),
    row("acked_present_once", Judge::Server, "docs/SEMANTICS.md, exactly once; S0-060, X-12"),
    row(
        "one_outcome_per_op",
        Judge::Client,
        "docs/SEMANTICS.md: a repeat returns the recorded outcome",
    ),
    row("linearizable", Judge::Client, "Herlihy and Wing 1990; docs/SEMANTICS.md"),
    row(
        "refused_never_happens",
        Judge::Client,
        "docs/SEMANTICS.md: every failure says Refused or Unknown",
    ),
    row("answers_fit_questions", Judge::Client, "docs/SEMANTICS.md"),
    row("synced_bytes_survive", Judge::Server, "docs/ARCHITECTURE.md, the driver's contract"),
    row("converges", Judge::Client, "docs/SIM.md: a healed cluster elects, commits and converges"),
    row("canary", Judge::Client, "docs/SIM.md: runs that must fail"),
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
    /// The place of the namespace, from 0.
    pub namespace: usize,
    /// The actor.
    pub actor: u64,
    /// The operations, by number.
    pub ops: Vec<u64>,
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

    /// Whether the client oracle found it, with what clients asked and heard alone.
    pub fn is_for_clients(&self) -> bool {
        Property::find(&self.property).is_some_and(|property| property.judge == Judge::Client)
    }

    /// A promise that was not kept in time.
    pub fn liveness(property: &str, explanation: impl Into<String>) -> Violation {
        Violation { class: Class::Liveness, ..Violation::safety(property, explanation) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.class.name(), self.property, self.explanation)
    }
}
