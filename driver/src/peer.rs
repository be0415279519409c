//! What the core thread sees of other nodes: messages in, messages out. Who carries them is the
//! network's business; an embedded store has nobody to send to.

use std::fmt::Debug;

use tokio::sync::OwnedSemaphorePermit;
use understudy_core::Message;

/// Messages of one frame. The core thread frees the sender's share of memory by dropping it.
#[derive(Debug)]
pub struct Batch {
    /// In the order sent.
    pub messages: Vec<Message>,
    _charge: OwnedSemaphorePermit,
}

impl Batch {
    /// `charge` is given back when the messages have been stepped.
    pub fn new(messages: Vec<Message>, charge: OwnedSemaphorePermit) -> Batch {
        Batch { messages, _charge: charge }
    }
}

/// The sending side of one peer.
pub trait Peer: Debug + Send {
    /// Sends, or drops: it never waits.
    fn send(&self, messages: Vec<Message>);
}
