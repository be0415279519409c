use super::*;
use crate::change::{ChangeKind, EventId, Fields};
use crate::message::LogPosition;
use crate::types::{Json, Token, Version};

/// An update of an actor.
pub(crate) fn change(sequence: u64, id: &str) -> Change {
    sized(sequence, id, 2)
}

/// One of an actor that holds so many bytes since.
pub(crate) fn sized(sequence: u64, id: &str, bytes: usize) -> Change {
    let token = |version| Token { created: Sequence(1), version: Version(version) };
    let value = Json::new(vec![b'1'; bytes]);
    Change::from(Fields {
        sequence: Sequence(sequence),
        id: ActorId::new(id).unwrap(),
        kind: ChangeKind::Update,
        event: EventId::new(None, Sequence(sequence)),
        time: Timestamp(1000 + sequence),
        position: LogPosition { term: 1, index: sequence },
        before: Some(Record::plain(token(1), Json::new(*b"0"))),
        after: Some(Record::plain(token(2), value)),
    })
}
