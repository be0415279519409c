use super::*;
use crate::backup::check::Check;
use understudy_core::backend::MemoryBackend;
use understudy_core::snapshot::Assembler;

const SNAPSHOT: &[u8] = include_bytes!("../../../../core/tests/frozen/v3/snapshot.bin");

fn config() -> ClusterConfig {
    ClusterConfig {
        cluster: core::ClusterId("globe".to_owned()),
        nodes: vec![core::NodeId(1)],
        namespaces: vec![Namespace::new("plays").unwrap()],
        storage: Default::default(),
        timing: core::Timing::production(),
        log: core::LogSizes::production(),
        retention: core::Retention::production(),
    }
}

/// The frozen state, in memory or in a backend.
fn state(storage: Storage) -> State {
    let mut assembler = Assembler::default();
    assembler.push(SNAPSHOT).unwrap();
    let (header, store) = assembler.finish().unwrap();
    let rows = if storage == Storage::Memory {
        Rows::Here(Box::new(store.view()))
    } else {
        let backend = MemoryBackend::default();
        let mut source = |from: u64, length: usize| {
            let from = usize::try_from(from).unwrap().min(SNAPSHOT.len());
            Ok(SNAPSHOT[from..(from + length).min(SNAPSHOT.len())].to_vec())
        };
        snapshot::import(&backend, header.origin.group, &mut source).unwrap();
        Rows::Outside(backend.snapshot().unwrap())
    };
    State { origin: header.origin, storage, meta: store.meta(), rows }
}

fn outlet(queue: usize) -> (Outlet, mpsc::Receiver<io::Result<Bytes>>) {
    let (feed, frames) = mpsc::channel(queue);
    (Outlet { feed, started: Instant::now(), bytes: 0 }, frames)
}

#[test]
fn a_section_is_the_group_s_snapshot_wherever_its_rows_are() {
    for storage in [Storage::Memory, Storage::Backend] {
        let states = vec![state(storage)];
        let header = header(&config(), 1, &states);
        let (outlet, mut frames) = outlet(100);
        outlet.send_all(&header, states);
        let mut check = Check::default();
        while let Ok(bytes) = frames.try_recv() {
            check.push(&bytes.unwrap()).unwrap();
        }
        let contents = check.finish().unwrap();
        assert_eq!(contents.header, header);
        assert_eq!(contents.section_bytes, [SNAPSHOT.len() as u64]);
        assert_eq!(header.sections[0].storage, StorageWord::from(storage));
    }
}

/// A state that is damaged where it lies breaks the connection: no end comes that looks like one.
#[test]
fn a_backup_that_fails_ends_in_an_error() {
    let mut broken = state(Storage::Backend);
    broken.rows = Rows::Outside(MemoryBackend::default().snapshot().unwrap());
    let states = vec![broken];
    let header = header(&config(), 1, &states);
    let (outlet, mut frames) = outlet(100);
    outlet.send_all(&header, states);
    let mut last = None;
    while let Ok(frame) = frames.try_recv() {
        last = Some(frame);
    }
    assert!(last.unwrap().is_err());
}

/// Whoever goes away frees the place at once.
#[test]
fn a_client_that_goes_away_ends_the_work() {
    let (mut outlet, frames) = outlet(1);
    outlet.send(vec![1]).unwrap();
    let waiting = std::thread::spawn(move || outlet.send(vec![2]));
    drop(frames);
    let error = waiting.join().unwrap().unwrap_err();
    assert!(error.reason.contains("gone away"), "{error}");
}
