//! What is told of changes, as JSON: our own form, and CloudEvents 1.0.

use std::io::Write as _;

use axum::body::Bytes;
use serde::Serialize;
use understudy_core::{Change, ChangeKind, Delivery, Item, Namespace, Record, Timestamp};

use crate::api::batch::Listed;
use crate::api::problem::Problem;
use crate::api::watch::bad;
use crate::backup::utc;

/// How changes are written.
#[derive(Clone, Debug)]
pub enum Format {
    /// As docs/API.md has it.
    Plain,
    /// CloudEvents 1.0 in its JSON format, from this source.
    CloudEvents {
        /// `/clusters/CLUSTER/namespaces/NAMESPACE`.
        source: String,
    },
}

/// One item in our own form.
#[derive(Default, Serialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    sequence: u64,
    #[serde(flatten)]
    change: Option<ChangeFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Listed<'a>>,
    resume_token: String,
}

#[derive(Serialize)]
struct ChangeFields {
    event_id: String,
    time_ms: u64,
    term: u64,
    log_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    conflated: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One item as a CloudEvent.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// The extension `sequence`: text that sorts as the numbers do.
    sequence: String,
    /// Extension names are of small letters and digits.
    resumetoken: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflated: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Listed<'a>>,
}

impl Format {
    /// By its word.
    ///
    /// # Errors
    /// A problem when there is none of that name.
    pub fn new(
        word: Option<&str>,
        cluster: &str,
        namespace: &Namespace,
    ) -> Result<Format, Problem> {
        match word {
            None | Some("json") => Ok(Format::Plain),
            Some("cloudevents") => Ok(Format::CloudEvents {
                source: format!("/clusters/{cluster}/namespaces/{namespace}"),
            }),
            Some(word) => Err(bad(format!("`{word}` is no format; use `json` or `cloudevents`"))),
        }
    }

    /// Writes an item as one line.
    pub fn line(&self, delivery: &Delivery, out: &mut Vec<u8>) {
        let begin = out.len();
        let printed = match self {
            Format::Plain => serde_json::to_writer(&mut *out, &Line::new(delivery)),
            Format::CloudEvents { source } => {
                serde_json::to_writer(&mut *out, &CloudEvent::new(source, delivery))
            }
        };
        printed.expect("change_total: a change always prints");
        // A document is kept as it was written, over several lines perhaps. In JSON a line can end
        // only where a space may stand as well.
        for byte in out[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        out.push(b'\n');
    }

    /// Items as server-sent events.
    pub fn events(&self, deliveries: &[Delivery]) -> Bytes {
        let mut out = Vec::new();
        for delivery in deliveries {
            let (token, kind) = (&delivery.token, word(&delivery.item));
            let _ = write!(out, "id: {token}\nevent: {kind}\ndata: ");
            self.line(delivery, &mut out);
            out.push(b'\n');
        }
        out.into()
    }
}

/// The end of a stream of server-sent events, with why.
pub fn failed(problem: &Problem) -> Bytes {
    let mut out = b"event: error\ndata: ".to_vec();
    out.extend(problem.json());
    out.extend(b"\n\n");
    out.into()
}

fn word(item: &Item) -> &'static str {
    match item {
        Item::Change { change, .. } => change.kind.word(),
        Item::Snapshot { .. } => "snapshot",
        Item::SnapshotEnd { .. } => "snapshot_end",
        Item::Progress => "progress",
    }
}

fn listed(record: Option<&Record>) -> Option<Listed<'_>> {
    record.map(|record| Listed::new(None, record))
}

impl<'a> Line<'a> {
    fn new(delivery: &'a Delivery) -> Line<'a> {
        let mut line = Line {
            kind: word(&delivery.item),
            sequence: delivery.token.sequence.0,
            resume_token: delivery.token.to_string(),
            ..Line::default()
        };
        match &delivery.item {
            Item::Change { change, conflated } => {
                line.id = Some(change.id.as_str());
                line.sequence = change.sequence.0;
                line.change = Some(ChangeFields {
                    event_id: change.event.to_string(),
                    time_ms: change.time.0,
                    term: change.position.term,
                    log_index: change.position.index,
                    conflated: *conflated,
                });
                line.before = listed(change.before.as_ref());
                line.after = listed(change.after.as_ref());
            }
            Item::Snapshot { id, record } => {
                line.id = Some(id.as_str());
                line.after = listed(Some(record));
            }
            Item::SnapshotEnd { .. } | Item::Progress => {}
        }
        line
    }
}

impl<'a> CloudEvent<'a> {
    fn new(source: &'a str, delivery: &'a Delivery) -> CloudEvent<'a> {
        let token = &delivery.token;
        let mut event = CloudEvent {
            specversion: "1.0",
            id: token.to_string(),
            source,
            r#type: cloud_type(&delivery.item),
            subject: None,
            time: None,
            sequence: format!("{:020}", token.sequence.0),
            resumetoken: token.to_string(),
            conflated: None,
            datacontenttype: None,
            data: None,
        };
        let data = match &delivery.item {
            Item::Change { change, conflated } => {
                event.change(change, *conflated);
                Data {
                    before: listed(change.before.as_ref()),
                    after: listed(change.after.as_ref()),
                }
            }
            Item::Snapshot { id, record } => {
                event.subject = Some(id.as_str());
                Data { before: None, after: listed(Some(record)) }
            }
            Item::SnapshotEnd { .. } | Item::Progress => return event,
        };
        event.datacontenttype = Some("application/json");
        event.data = Some(data);
        event
    }

    fn change(&mut self, change: &'a Change, conflated: u64) {
        self.id = change.event.to_string();
        self.subject = Some(change.id.as_str());
        self.time = Some(moment(change.time));
        self.sequence = format!("{:020}", change.sequence.0);
        self.conflated = Some(conflated).filter(|count| *count > 0);
    }
}

fn cloud_type(item: &Item) -> &'static str {
    match item {
        Item::Change { change, .. } => match change.kind {
            ChangeKind::Create => "understudy.actor.created",
            ChangeKind::Update => "understudy.actor.updated",
            ChangeKind::Delete => "understudy.actor.deleted",
            ChangeKind::Expire => "understudy.actor.expired",
        },
        Item::Snapshot { .. } => "understudy.actor.snapshot",
        Item::SnapshotEnd { .. } => "understudy.snapshot.end",
        Item::Progress => "understudy.progress",
    }
}

/// A moment as RFC 3339 writes it, with its milliseconds.
fn moment(time: Timestamp) -> String {
    let seconds = utc(time);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), time.0 % 1000)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use understudy_core::change::Fields;
    use understudy_core::message::LogPosition;
    use understudy_core::{ActorId, EventId, Json, Lineage, ResumeToken, Sequence, Token, Version};

    use super::*;

    fn record(value: &str) -> Record {
        let token = Token { created: Sequence(16), version: Version(2) };
        Record::new(token, Json::new(value.as_bytes().to_vec()), Default::default(), None)
    }

    fn delivery(item: Item) -> Delivery {
        let token = ResumeToken { lineage: Lineage(1), sequence: Sequence(17), scanned: None };
        Delivery { token, item }
    }

    fn updated() -> Delivery {
        let change = Change::from(Fields {
            sequence: Sequence(17),
            id: ActorId::new("a\n\"\u{e9}").unwrap(),
            kind: ChangeKind::Update,
            event: EventId::new(Lineage(1), None, Sequence(17)),
            time: Timestamp(1_772_323_200_007),
            position: LogPosition { term: 3, index: 40 },
            before: Some(record("{\r\n \"n\": 1}")),
            after: Some(record("\"two\\nlines\"")),
        });
        delivery(Item::Change { change, conflated: 0 })
    }

    fn line(format: &Format, delivery: &Delivery) -> Value {
        let mut out = Vec::new();
        format.line(delivery, &mut out);
        let ends = out.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        assert_eq!((ends, out.last()), (1, Some(&b'\n')), "one line");
        serde_json::from_slice(&out).unwrap()
    }

    /// S0-077.
    #[test]
    fn a_change_is_one_line_with_everything_in_it() {
        let line = line(&Format::Plain, &updated());
        let event = EventId::new(Lineage(1), None, Sequence(17)).to_string();
        let wanted = json!({
            "kind": "update", "id": "a\n\"\u{e9}", "sequence": 17, "event_id": event,
            "time_ms": 1_772_323_200_007_u64, "term": 3, "log_index": 40,
            "before": { "token": "16-2", "version": 2, "value": { "n": 1 } },
            "after": { "token": "16-2", "version": 2, "value": "two\nlines" },
            "resume_token": "0000000000000001-17",
        });
        assert_eq!(line, wanted);
    }

    #[test]
    fn a_cloud_event_has_what_the_standard_wants() {
        let namespace = Namespace::new("carts").unwrap();
        let format = Format::new(Some("cloudevents"), "shop", &namespace).unwrap();
        let event = line(&format, &updated());
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], EventId::new(Lineage(1), None, Sequence(17)).to_string());
        assert_eq!(event["source"], "/clusters/shop/namespaces/carts");
        assert_eq!(event["type"], "understudy.actor.updated");
        assert_eq!(event["subject"], "a\n\"\u{e9}");
        assert_eq!(event["time"], "2026-03-01T00:00:00.007Z");
        assert_eq!(event["sequence"], "00000000000000000017");
        assert_eq!(event["data"]["before"]["value"]["n"], 1);
        let mark = line(&format, &delivery(Item::Progress));
        assert_eq!((&mark["type"], &mark["data"]), (&json!("understudy.progress"), &Value::Null));
        assert!(Format::new(Some("avro"), "shop", &namespace).is_err());
        // Names of attributes are of small letters and digits.
        for name in event.as_object().unwrap().keys() {
            let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(name.bytes().all(is_legal), "{name}");
        }
    }

    #[test]
    fn an_event_has_its_token_as_its_id() {
        let snapshot = Item::Snapshot { id: ActorId::new("a").unwrap(), record: record("1") };
        let text = Format::Plain.events(&[delivery(snapshot), delivery(Item::Progress)]);
        let text = String::from_utf8(text.to_vec()).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 2);
        assert!(
            events[0].starts_with("id: 0000000000000001-17\nevent: snapshot\ndata: {"),
            "{text}"
        );
        assert!(events[1].contains("event: progress\n"), "{text}");
    }
}
