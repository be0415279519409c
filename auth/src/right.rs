//! What can be allowed, and what a request wants.

use std::fmt;
use std::str::FromStr;

/// A right. None includes another, but that `admin` includes `monitor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read and scan actors.
    Read,
    /// Create, replace and delete actors.
    Write,
    /// Follow the changes of a namespace.
    Subscribe,
    /// Backups and everything that changes the cluster.
    Admin,
    /// The status page and the metrics: names, addresses and counts, no documents.
    Monitor,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 5] =
        [Right::Read, Right::Write, Right::Subscribe, Right::Admin, Right::Monitor];

    /// As it stands in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
            Right::Subscribe => "subscribe",
            Right::Admin => "admin",
            Right::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Right {
    type Err = String;
    fn from_str(text: &str) -> Result<Right, String> {
        let found = Right::ALL.into_iter().find(|right| right.as_str() == text);
        found.ok_or_else(|| {
            let all = Right::ALL.map(Right::as_str).join(", ");
            format!("`{text}` is not a right; use one of {all}")
        })
    }
}

/// What a request touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// The node itself, or all of it.
    Node,
    /// One actor.
    Id {
        /// Its namespace.
        namespace: &'a str,
        /// Its id.
        id: &'a str,
    },
    /// Every actor whose id begins so; the empty prefix is the whole namespace.
    Under {
        /// Their namespace.
        namespace: &'a str,
        /// What their ids begin with.
        prefix: &'a str,
    },
}

impl<'a> Access<'a> {
    /// The namespace, if it is not the node.
    pub fn namespace(self) -> Option<&'a str> {
        match self {
            Access::Node => None,
            Access::Id { namespace, .. } | Access::Under { namespace, .. } => Some(namespace),
        }
    }

    /// What every touched id begins with.
    pub fn within(self) -> Option<&'a str> {
        match self {
            Access::Node => None,
            Access::Id { id, .. } => Some(id),
            Access::Under { prefix, .. } => Some(prefix),
        }
    }

    /// The one actor that is touched.
    pub fn id(self) -> Option<&'a str> {
        match self {
            Access::Id { id, .. } => Some(id),
            Access::Node | Access::Under { .. } => None,
        }
    }
}

/// A right, where it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// To do what.
    pub right: Right,
    /// In which namespace; `*` is every namespace and the node itself.
    pub namespace: String,
    /// To actors whose id begins so.
    pub prefix: String,
}

/// Every namespace, and the node.
pub(crate) const EVERYWHERE: &str = "*";

impl Grant {
    /// Whether it is for something in `namespace`.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace == EVERYWHERE || self.namespace == namespace
    }

    /// Whether it covers `right` to `access`.
    pub fn covers(&self, right: Right, access: Access<'_>) -> bool {
        let right = self.right == right || (self.right, right) == (Right::Admin, Right::Monitor);
        let everywhere = self.namespace == EVERYWHERE;
        right
            && match (access.namespace(), access.within()) {
                (Some(namespace), Some(within)) => {
                    (everywhere || self.namespace == namespace) && within.starts_with(&self.prefix)
                }
                _ => everywhere && self.prefix.is_empty(),
            }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.right, self.namespace)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, ":{}", self.prefix) }
    }
}
