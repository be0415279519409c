//! A store in this process: the API, and what a process that dies leaves.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use understudy_client::blocking::Store;
use understudy_client::{
    Certainty, Change, ChangeKind, Content, Error, Expected, Level, Options, Scan, Start, Token,
    WatchItem, WatchOptions, Write,
};

/// A folder of its own; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("understudy-embedded-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Store {
        Store::open(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

fn cart(item: &str) -> Cart {
    Cart { items: vec![item.to_owned()] }
}

#[test]
fn every_operation_means_what_it_means_in_a_cluster() {
    let folder = Folder::new();
    let store = folder.open();
    let created = store.insert("default", "a", &cart("tea")).unwrap();
    assert_eq!((created.id.as_str(), created.version()), ("a", 1));
    let exists = store.insert("default", "a", &cart("milk")).unwrap_err();
    assert_eq!(exists, Error::AlreadyExists { found: Some(created.token) });
    assert_eq!(store.update("default", "b", &cart("x")).unwrap_err(), Error::NotFound);
    let updated = store.update("default", "a", &cart("milk")).unwrap();
    assert_eq!(updated.version(), 2);
    let stale = store.update_versioned("default", "a", &cart("x"), 1).unwrap_err();
    assert_eq!(stale, Error::Conflict { found: Some(updated.token) });
    assert_eq!(stale.certainty(), Certainty::Refused);
    assert_eq!(store.update_versioned("default", "a", &cart("rice"), 2).unwrap().version(), 3);
    let read = store.get::<Cart>("default", "a").unwrap().unwrap();
    assert_eq!((read.value, read.token.version), (cart("rice"), 3));
    assert!(store.get::<Cart>("default", "b").unwrap().is_none());
    assert!(matches!(store.get::<u64>("default", "a"), Err(Error::Decode { .. })));
    let absent = Expected::Version(0);
    store.compare_and_swap("default", "b", &cart("nuts"), absent).unwrap();
    let all = store.get_all::<Cart>("default").unwrap();
    assert_eq!(all.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let deleted = store.delete("default", "a").unwrap().record.unwrap().json::<Cart>().unwrap();
    assert_eq!(deleted.value, cart("rice"));
    assert_eq!(store.delete("default", "a").unwrap_err(), Error::NotFound);
    let old = store.compare_and_swap("default", "a", &cart("x"), updated.token).unwrap_err();
    assert_eq!(old, Error::Conflict { found: None });
}

#[test]
fn a_document_is_checked_and_kept_byte_for_byte_with_what_is_beside_it() {
    let folder = Folder::new();
    let store = folder.open();
    let text = r#" { "b" : 1.0e0 } "#;
    let content = Content::raw(text).metadata("colour", "red");
    store.put("default", "a", content).unwrap();
    let read =
        store.wait(|store| async move { store.get_raw("default", "a", Level::Session).await });
    let read = read.unwrap().unwrap();
    assert_eq!(read.value, text);
    assert_eq!(read.metadata["colour"], "red");
    let bad = store.put("default", "a", Content::raw("{")).unwrap_err();
    assert_eq!(bad.code(), "invalid_json");
    let unknown = store.put("nowhere", "a", &1).unwrap_err();
    assert_eq!(unknown.code(), "unknown_namespace");
}

#[test]
fn a_batch_is_all_or_nothing_or_each_for_itself() {
    let folder = Folder::new();
    let store = folder.open();
    let put = |value: u64| Write::Put(Content::json(&value).unwrap());
    let create = |value: u64| Write::Create(Content::json(&value).unwrap());
    let batch = vec![("a", put(1)), ("b", create(2))];
    let changes =
        store.wait(|store| async move { store.batch_write_atomic("default", batch).await });
    assert!(matches!(changes.unwrap()[..], [Change::Written(_), Change::Written(_)]));
    let batch = vec![("a", put(3)), ("b", create(4))];
    let refused =
        store.wait(|store| async move { store.batch_write_atomic("default", batch).await });
    assert!(matches!(refused, Err(Error::BatchRefused { .. })), "{refused:?}");
    assert_eq!(store.get::<u64>("default", "a").unwrap().unwrap().value, 1);
    let batch = vec![("a", put(5)), ("b", create(6)), ("c", create(7))];
    let each =
        store.wait(|store| async move { store.batch_write("default", batch).await }).unwrap();
    assert!(each[0].is_ok() && each[2].is_ok());
    assert!(matches!(each[1], Err(Error::AlreadyExists { .. })), "{each:?}");
    let ids = ["c", "nobody", "a"];
    let read = store.wait(|store| async move {
        store.batch_read::<u64>("default", ids, Level::Linearizable).await
    });
    let read: Vec<Option<u64>> =
        read.unwrap().into_iter().map(|record| record.map(|record| record.value)).collect();
    assert_eq!(read, [Some(7), None, Some(5)]);
    let scan = Scan { page: 2, ..Scan::all() };
    let page =
        store.wait(|store| async move { store.page::<u64>("default", &scan).await }).unwrap();
    assert_eq!((page.records.len(), page.next.as_deref()), (2, Some("b")));
}

#[test]
fn a_write_under_a_key_happens_once() {
    let folder = Folder::new();
    let store = folder.open();
    let once = |value: u64| {
        store.wait(|store| async move { store.under("order-7").put("default", "a", &value).await })
    };
    let first = once(1).unwrap();
    let again = once(1).unwrap();
    assert!(!first.receipt.replayed && again.receipt.replayed);
    assert_eq!(first.token, again.token);
    assert_eq!(once(2).unwrap_err().code(), "idempotency_key_reused");
}

#[test]
fn a_folder_is_one_stores_and_comes_back_with_new_namespaces() {
    let folder = Folder::new();
    let store = folder.open();
    let token: Token = store.put("default", "a", &1).unwrap().token;
    let taken = Store::open(&folder.0).unwrap_err();
    assert_eq!(taken.code(), "folder");
    assert!(taken.to_string().contains("another process"), "{taken}");
    drop(store);
    let store = Store::open_with(&folder.0, ["carts"], Options::new()).unwrap();
    assert_eq!(store.get::<u64>("default", "a").unwrap().unwrap().token, token);
    store.put("carts", "a", &2).unwrap();
    drop(store);
    let store = folder.open();
    assert_eq!(store.get::<u64>("carts", "a").unwrap().unwrap().value, 2);
}

/// The child of the test below: writes until it is killed, and says what is done.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_writes() {
    let Some(path) = std::env::var_os("UNDERSTUDY_TEST_FOLDER") else { return };
    let store = Store::open(PathBuf::from(path)).unwrap();
    for number in 0_u64.. {
        store.insert("default", number.to_string(), &number).unwrap();
        println!("done {number}");
    }
}

#[test]
fn a_write_that_returned_survives_kill_9() {
    let folder = Folder::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes", "--ignored", "--nocapture"])
        .env("UNDERSTUDY_TEST_FOLDER", &folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = 0;
    while done < 300 {
        let line = lines.next().expect("the child writes until it is killed").unwrap();
        done += u64::from(line.starts_with("done "));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    done += lines.map_while(Result::ok).filter(|line| line.starts_with("done ")).count() as u64;
    let store = folder.open();
    let all = store.get_all::<u64>("default").unwrap();
    // The one under way may be there too.
    let there = all.len() as u64;
    assert!(there == done || there == done + 1, "{done} returned, {there} are there");
    assert!(all.iter().all(|record| record.id == record.value.to_string()));
    assert!((0..done).all(|number| all.iter().any(|record| record.value == number)));
}

/// S1-008, S1-009, S1-034, B-11.
#[test]
fn changes_are_told_and_counted_and_a_token_outlives_the_process() {
    let folder = Folder::new();
    let store = folder.open();
    let mut events = store.watch::<u64>("default", WatchOptions::default()).unwrap();
    for n in 0..5_u64 {
        store.put("default", format!("a{}", n % 2), &n).unwrap();
    }
    store.delete("default", "a0").unwrap();
    let mut told = Vec::new();
    while told.len() < 6 {
        let event = events.next().unwrap().unwrap();
        if let WatchItem::Change(change) = event.item {
            told.push((change.sequence, change.kind, event.resume_token));
        }
    }
    assert!(told.iter().map(|(sequence, ..)| *sequence).eq(1..=6));
    assert_eq!((told[0].1, told[2].1), (ChangeKind::Create, ChangeKind::Update));
    assert_eq!(told[5].1, ChangeKind::Delete);
    let stats = store.change_stats("default").unwrap();
    assert_eq!((stats.changes, stats.sequence, stats.recent, stats.subscriptions), (6, 6, 6, 1));
    drop(events);
    assert_eq!(store.change_stats("default").unwrap().subscriptions, 0);
    drop(store);

    let store = folder.open();
    let options = WatchOptions::from(Start::Resume(told[3].2.clone())).kind(ChangeKind::Delete);
    let mut events = store.watch::<u64>("default", options).unwrap();
    let change = events.find_map(|event| match event.unwrap().item {
        WatchItem::Change(change) => Some(change),
        _ => None,
    });
    assert_eq!(change.unwrap().sequence, 6);
    let wrong = WatchOptions::from(Start::Resume("17".to_owned()));
    assert_eq!(store.watch::<u64>("default", wrong).unwrap_err().code(), "bad_subscription");
    let nowhere = store.watch::<u64>("nowhere", WatchOptions::default()).unwrap_err();
    assert_eq!(nowhere.code(), "unknown_namespace");
}
