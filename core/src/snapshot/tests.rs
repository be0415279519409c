use super::*;
use crate::backend::{Backend, Change, MemoryBackend, WriteBatch};
use crate::codec;
use crate::store::keys::{self, Place};
use crate::store::tests::random_store;
use crate::store::{Store, StoreView};
use crate::types::{
    ActorId, ClusterId, GroupId, Json, Namespace, Record, Sequence, Token, Version,
};

const GROUP: GroupId = GroupId(3);

fn origin() -> Origin {
    let namespace = Namespace::new("plays").unwrap();
    Origin { cluster: ClusterId("globe".to_owned()), group: GROUP, namespace }
}

fn bytes_of(view: StoreView) -> Vec<u8> {
    Encoder::new(origin(), view).flatten().collect()
}

/// A source that gives these bytes.
fn source(bytes: &[u8]) -> impl FnMut(u64, usize) -> Result<Vec<u8>, BackendError> {
    |from, length| {
        let from = usize::try_from(from).unwrap().min(bytes.len());
        Ok(bytes[from..(from + length).min(bytes.len())].to_vec())
    }
}

fn assemble(bytes: &[u8], piece: usize) -> Result<(SnapshotHeader, Store), SnapshotError> {
    let mut assembler = Assembler::default();
    for piece in bytes.chunks(piece) {
        assembler.push(piece)?;
    }
    assembler.finish()
}

/// What a backend's group is as a snapshot.
pub(crate) fn exported(backend: &dyn Backend, group: GroupId) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(backend, group, &mut |block| {
        bytes.extend_from_slice(block);
        Ok(())
    })
    .unwrap();
    bytes
}

/// The same bytes from the store, from the store they are read into, and from a backend.
#[test]
fn equal_states_give_equal_bytes_wherever_they_are_kept() {
    for (seed, entries, length) in [(1, 1, 10), (2, 3, 10), (3, 300, 60), (4, 150, 9_000)] {
        let store = random_store(seed, entries, length);
        let bytes = bytes_of(store.view());
        assert_eq!(bytes.len() % 8, 0);
        for piece in [1, 7, 4_096, bytes.len()] {
            let (header, again) = assemble(&bytes, piece).unwrap();
            assert_eq!(header, SnapshotHeader { origin: origin(), meta: store.meta() });
            assert_eq!(again.meta(), store.meta());
            assert!(again.view().rows(None).eq(store.view().rows(None)));
            assert_eq!(bytes_of(again.view()), bytes);
        }
        assert_eq!(verify(&mut source(&bytes)).unwrap().meta, store.meta());
        let backend = MemoryBackend::default();
        import(&backend, GROUP, &mut source(&bytes)).unwrap();
        assert_eq!(exported(&backend, GROUP), bytes);
    }
}

/// Rows beyond a block's size make their own, and nothing is ever held that is much larger.
#[test]
fn blocks_are_bounded_by_the_longest_row() {
    let store = random_store(5, 400, 30_000);
    let chunks: Vec<_> = Encoder::new(origin(), store.view()).collect();
    assert!(chunks.len() > 20);
    assert!(chunks.iter().all(|chunk| chunk.len() <= block::BLOCK_BYTES + 64));
    let mut rows = imbl::OrdMap::new();
    for name in ["a", "b", "c"] {
        let token = Token { created: Sequence(1), version: Version(1) };
        let value = Json::new(vec![b'1'; crate::limits::VALUE_BYTES_MAX]);
        let id = ActorId::new(name.repeat(crate::limits::ID_BYTES_MAX)).unwrap();
        rows.insert(id, Record::plain(token, value));
    }
    let hashes = rows.iter().map(|(id, record)| crate::store::row_hash(id, record));
    let rows_hash = hashes.fold(0, u64::wrapping_add);
    let meta = Meta { actors: 3, rows_hash, ..Meta::default() };
    let store = Store::whole(meta, rows, Default::default(), Default::default()).unwrap();
    let bytes = bytes_of(store.view());
    assert_eq!(bytes_of(assemble(&bytes, 1 << 20).unwrap().1.view()), bytes);
}

fn small() -> Vec<u8> {
    bytes_of(random_store(6, 12, 20).view())
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = small();
    assert!(bytes.len() < 8_000, "{} bytes: all bits would take long", bytes.len());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let error = verify(&mut source(&altered)).expect_err("a flipped bit was believed");
            let ReadError::NotIntact(error) = error else { panic!("{error}") };
            assert!(usize::try_from(error.offset).unwrap() <= bytes.len());
            assert!(assemble(&altered, 1_000).is_err());
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_found() {
    let bytes = small();
    for length in 0..bytes.len() {
        assert!(verify(&mut source(&bytes[..length])).is_err(), "cut to {length}");
    }
    for more in [&[0][..], &[0; 16], &bytes] {
        assert!(verify(&mut source(&[&bytes, more].concat())).is_err());
    }
}

/// Blocks that are intact, but not in their place or not of this file.
#[test]
fn a_moved_a_missing_and_a_foreign_block_are_found() {
    let chunks = |seed| -> Vec<Vec<u8>> {
        Encoder::new(origin(), random_store(seed, 150, 9_000).view()).collect()
    };
    let (mine, other) = (chunks(7), chunks(8));
    assert!(mine.len() > 6 && other.len() > 6);
    let refused = |chunks: &[Vec<u8>]| verify(&mut source(&chunks.concat())).unwrap_err();
    let mut swapped = mine.clone();
    swapped.swap(2, 3);
    let ReadError::NotIntact(error) = refused(&swapped) else { panic!() };
    assert_eq!(error.offset, u64::try_from(mine[..2].concat().len()).unwrap());
    let mut missing = mine.clone();
    missing.remove(3);
    refused(&missing);
    let mut twice = mine.clone();
    twice.insert(3, mine[3].clone());
    refused(&twice);
    let mut foreign = mine.clone();
    foreign[1] = other[1].clone();
    refused(&foreign);
}

/// What a program that writes the right checksums over the wrong rows would make.
#[test]
fn rows_that_do_not_add_up_are_found_before_they_count() {
    let store = random_store(9, 20, 20);
    let backend = MemoryBackend::default();
    import(&backend, GROUP, &mut source(&bytes_of(store.view()))).unwrap();
    let place = Place { group: GROUP, generation: 0 };
    let (id, record) = store.view().rows(None).next().map(|(i, r)| (i.clone(), r.clone())).unwrap();
    let value = Json::new(*b"\"altered\"");
    let altered = codec::encode(&Record::plain(record.token, value));
    let op = store.oplog().rows(None).next().unwrap().0;
    let last = store.sequence();
    let another = codec::encode(store.view().changes().back().unwrap());
    let changes = [
        Change::Put(place.outcome(&op), vec![1, 2]),
        Change::Delete(place.outcome(&op)),
        Change::Put(place.actor(&id), altered),
        Change::Put(place.actor(&id), vec![1, 2]),
        Change::Delete(place.actor(&id)),
        Change::Delete(place.change(last)),
        Change::Put(place.change(last), vec![1, 2]),
        Change::Put(place.change(Sequence(last.0 + 1)), another),
        Change::Put(place.actor(&ActorId::new("more").unwrap()), codec::encode(&record)),
    ];
    for change in changes {
        let altered = MemoryBackend::default();
        import(&altered, GROUP, &mut source(&bytes_of(store.view()))).unwrap();
        altered.write(&WriteBatch { changes: vec![change] }).unwrap();
        let error = export(&altered, GROUP, &mut |_| Ok(())).unwrap_err();
        assert!(error.damaged, "{error}");
    }
}

/// Snapshot format 3, frozen. If this fails, the format has changed: give it a new version.
#[test]
fn format_3_is_frozen() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v3/snapshot.bin");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, small()).unwrap();
    }
    let frozen = std::fs::read(&path).unwrap();
    let (header, store) = assemble(&frozen, 100).unwrap();
    assert_eq!(header.origin, origin());
    assert_eq!(bytes_of(store.view()), frozen, "the bytes of snapshots have changed");
    assert!(store.actors() > 3 && store.oplog().len() > 10 && store.members().is_some());
    assert!(store.meta().changes() > 3 && store.meta().compacted.0 > 0);
}

/// No release has written formats 1 and 2; they are refused by their version, never taken for damage.
#[test]
fn older_formats_are_refused_by_their_version() {
    let olds = [
        (1, include_bytes!("../../tests/frozen/v1/snapshot.bin").as_slice()),
        (2, include_bytes!("../../tests/frozen/v2/snapshot.bin")),
    ];
    for (version, old) in olds {
        let error = verify(&mut source(old)).unwrap_err().to_string();
        let end = format!("version {version}, not 3; read it with the version that wrote it");
        assert!(error.ends_with(&end), "{error}");
    }
}

mod crash;
