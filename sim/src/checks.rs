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

/// Each property and where it is from.
pub const TABLE: [(&str, &str); 9] = [
    ("one_leader_per_term", "Raft §5.2 Election Safety; TLA+ `OnePrimaryPerTerm`"),
    ("committed_is_final", "Raft §5.4 Leader Completeness; TLA+ `StateMachineSafety`"),
    ("replicas_equal", "Raft §5.4.3 State Machine Safety"),
    ("acked_present_once", "docs/SEMANTICS.md, exactly once; S0-060, X-12"),
    ("one_outcome_per_op", "docs/SEMANTICS.md: a repeat returns the recorded outcome"),
    ("linearizable", "Herlihy and Wing 1990; docs/SEMANTICS.md"),
    ("refused_never_happens", "docs/SEMANTICS.md: every failure says Refused or Unknown"),
    (
        "synced_bytes_survive",
        "docs/ARCHITECTURE.md, the driver's contract: a crash keeps every completed write; checked at restart",
    ),
    ("converges", "docs/SIM.md: a healed cluster elects, commits and converges"),
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
}

impl Violation {
    /// A broken safety property.
    pub fn safety(property: &str, explanation: impl Into<String>) -> Violation {
        Violation {
            class: Class::Safety,
            property: property.to_owned(),
            explanation: explanation.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.class.name(), self.property, self.explanation)
    }
}
