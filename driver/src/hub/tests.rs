//! The core thread's side, without a core.

use std::time::Duration;

use understudy_core::change::Fields;
use understudy_core::message::LogPosition;
use understudy_core::{ActorId, ChangeKind, EventId, Lineage, Timestamp};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn change(sequence: u64) -> Change {
    Change::from(Fields {
        sequence: Sequence(sequence),
        id: ActorId::new("a").unwrap(),
        kind: ChangeKind::Delete,
        event: EventId::new(Lineage(1), None, Sequence(sequence)),
        time: Timestamp(sequence),
        position: LogPosition { term: 1, index: sequence },
        before: None,
        after: None,
    })
}

fn hub() -> (Hub, Outlet, JoinHandle<()>, Namespace) {
    let namespace = Namespace::new("default").unwrap();
    let (hub, outlet, thread) = Hub::start([(GroupId(1), namespace.clone())]).unwrap();
    (hub, outlet, thread, namespace)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
}

#[test]
fn a_push_wakes_whoever_waits_and_the_end_wakes_all() {
    let (hub, outlet, thread, namespace) = hub();
    let mut grown = hub.0.feeds[&namespace].grown.subscribe();
    grown.borrow_and_update();
    outlet.push(GroupId(1), Sequence(0), vec![change(1), change(2)]);
    block_on(grown.changed()).unwrap();
    assert!(!*grown.borrow_and_update());
    drop(outlet);
    block_on(grown.changed()).unwrap();
    assert!(*grown.borrow_and_update(), "the core thread has ended");
    thread.join().unwrap();
}

/// S1-034, B-11: the sequence is that of the last change and not of the next, and a subscription that
/// has ended is not counted.
#[test]
fn the_numbers_are_what_they_are_called() {
    let (hub, outlet, _thread, namespace) = hub();
    assert_eq!(hub.status(&namespace), Some(ChangesStatus::default()));
    outlet.push(GroupId(1), Sequence(0), vec![change(1), change(2)]);
    outlet.push(GroupId(9), Sequence(0), vec![change(1)]);
    let status = hub.status(&namespace).unwrap();
    assert_eq!((status.changes, status.recent, status.sequence), (2, 2, Sequence(2)));
    // A snapshot was installed: what came between was not applied here, change by change.
    outlet.push(GroupId(1), Sequence(7), Vec::new());
    let status = hub.status(&namespace).unwrap();
    assert_eq!((status.changes, status.recent, status.sequence), (2, 0, Sequence(7)));

    let take = || hub.0.places.clone().try_acquire_owned().unwrap();
    let place = Place::taken(hub.0.feeds[&namespace].clone(), take());
    assert_eq!(hub.status(&namespace).unwrap().subscriptions, 1);
    drop(place);
    assert_eq!(hub.status(&namespace).unwrap().subscriptions, 0);
    assert_eq!(hub.0.places.available_permits(), limits::SUBSCRIPTIONS_MAX);
    assert_eq!(hub.status(&Namespace::new("other").unwrap()), None);
}
