//! Short words for hand-made histories, and the tests of the table. A history that must be rejected
//! stands beside the property it breaks, in the property's own file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use understudy_core::query::{Page, Scan};
use understudy_core::store::Expired;
use understudy_core::{
    ActorId, Content, OpId, Operation, Outcome, ReadLevel, Record, Refusal, Sequence, Timestamp,
    Token, Version,
};

use super::{Property, TABLE};
use crate::history::{self, Ask, Entry, Fate, content};

/// When it was called and when it returned.
type Times = (u64, u64);
/// A record: created at, version, written by.
type Shown = (u64, u64, u64);

pub fn token(created: u64, version: u64) -> Token {
    Token { created: Sequence(created), version: Version(version) }
}

pub fn record(created: u64, version: u64, writer: u64) -> Record {
    let Content { value, metadata, .. } = content(writer);
    Record::new(token(created, version), value, metadata, None)
}

/// The store removed the actor by itself, which was seen at `tick`.
pub fn expired(
    number: u64,
    actor: u64,
    tick: u64,
    (created, version, writer): Shown,
    at: u64,
) -> Entry {
    let (Content { value, metadata, .. }, end) = (content(writer), Timestamp(10));
    let record = Record::new(token(created, version), value, metadata, Some(end));
    let (id, sequence) = (history::actor(actor), Sequence(at));
    let expired = Expired { id, record, sequence, time: end };
    history::expiry(number, 0, tick, &expired).unwrap()
}

pub fn row(actor: u64, (created, version, writer): Shown) -> (ActorId, Record) {
    (history::actor(actor), record(created, version, writer))
}

pub fn written(created: u64, version: u64, sequence: u64) -> Fate {
    let (token, sequence) = (token(created, version), Sequence(sequence));
    Fate::Outcome(Outcome::Written { token, sequence })
}

pub fn exists(created: u64, version: u64) -> Fate {
    let found = token(created, version);
    Fate::Outcome(Outcome::Refused(Refusal::AlreadyExists { found }))
}

/// Each operation has a client of its own.
pub fn change(number: u64, actor: u64, times: Times, operation: Operation, fate: Fate) -> Entry {
    let ask = Ask::Write { op: OpId::Named(number.to_string()), operation };
    let (call, ret) = (times.0, Some(times.1));
    Entry { number, client: number, namespace: 0, actor, ask, call, ret, fate }
}

/// The verdict rejects, by this property and with these words.
#[track_caller]
pub fn rejected<T: std::fmt::Debug>(
    verdict: Result<T, super::Violation>,
    property: &str,
    words: &str,
) -> super::Violation {
    let violation = verdict.expect_err("it must be rejected");
    assert_eq!(violation.property, property);
    assert!(violation.explanation.contains(words), "{violation}");
    violation
}

pub fn put(number: u64, actor: u64, times: Times, fate: Fate) -> Entry {
    change(number, actor, times, Operation::Put { content: content(number) }, fate)
}

pub fn create(number: u64, actor: u64, times: Times, fate: Fate) -> Entry {
    change(number, actor, times, Operation::Create { content: content(number) }, fate)
}

/// A put that nobody heard of again.
pub fn unheard(number: u64, actor: u64, call: u64) -> Entry {
    Entry { ret: None, ..put(number, actor, (call, call), Fate::Unknown) }
}

pub fn deleted(number: u64, actor: u64, times: Times, was: Shown, sequence: u64) -> Entry {
    let (record, sequence) = (record(was.0, was.1, was.2), Sequence(sequence));
    let fate = Fate::Outcome(Outcome::Deleted { record, sequence });
    change(number, actor, times, Operation::Delete { expected: None }, fate)
}

/// A linearizable read.
pub fn saw(number: u64, actor: u64, times: Times, shown: Option<Shown>, applied: u64) -> Entry {
    let ask = Ask::Read { level: ReadLevel::Linearizable };
    let record = shown.map(|(created, version, writer)| record(created, version, writer));
    let (call, ret, fate) =
        (times.0, Some(times.1), Fate::Saw { record, applied, sequence: Sequence(applied) });
    Entry { number, client: number, namespace: 0, actor, ask, call, ret, fate }
}

/// An eventual read.
pub fn peeked(number: u64, actor: u64, times: Times, shown: Option<Shown>, applied: u64) -> Entry {
    let ask = Ask::Read { level: ReadLevel::Eventual };
    Entry { ask, ..saw(number, actor, times, shown, applied) }
}

/// The last page of an eventual scan, or one with more behind it.
pub fn listed(
    number: u64,
    times: Times,
    shown: &[(u64, Shown)],
    more: bool,
    applied: u64,
) -> Entry {
    let scan = Scan { prefix: String::new(), after: None, limit: 9 };
    let ask = Ask::Scan { walk: number, scan, level: ReadLevel::Eventual };
    let records = shown.iter().map(|&(actor, shown)| row(actor, shown)).collect();
    let page = Page { records, more };
    let fate = Fate::Listed { page, applied, sequence: Sequence(applied) };
    Entry { ask, fate, ..saw(number, 0, times, None, applied) }
}

#[test]
fn every_property_has_a_file_and_a_row_and_a_line_in_the_manual() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: BTreeSet<String> = TABLE.iter().map(|property| property.name.to_owned()).collect();
    assert_eq!(rows.len(), TABLE.len(), "a name stands for one property");

    let files = fs::read_dir(folder.join("src/checks")).expect("a readable folder");
    let files: BTreeSet<String> = files
        .map(|entry| entry.expect("a readable entry").file_name())
        .filter_map(|name| name.to_str()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "tests")
        .collect();
    assert_eq!(files, rows, "files in src/checks, rows in TABLE");

    let manual = fs::read_to_string(folder.join("../docs/SIM.md")).expect("docs/SIM.md");
    let section = manual.split("\n## ").find(|section| section.starts_with("Checks\n"));
    let lines = section.expect("a section `Checks`").lines();
    let lines: BTreeSet<String> = lines
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(lines, rows, "the table in docs/SIM.md, rows in TABLE");
}

#[test]
fn a_property_is_found_by_its_name() {
    for property in TABLE {
        let found = Property::find(property.name).map(|found| (found.name, found.judge));
        assert_eq!(found, Some((property.name, property.judge)));
        assert!(!property.source.is_empty());
    }
    assert!(Property::find("no_such_property").is_none());
}
