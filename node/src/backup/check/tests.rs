use super::*;
use crate::backup::container::Writer;
use crate::config::StorageWord;
use understudy_core::snapshot::{self, Rehome};
use understudy_core::store::keys::Origin;
use understudy_core::{ClusterId, Incarnation, Namespace, NodeId, ReplicaId};

/// The core's frozen snapshot, and the same rows as another group's.
fn snapshots() -> [Vec<u8>; 2] {
    let first = include_bytes!("../../../../core/tests/frozen/v3/snapshot.bin").to_vec();
    let (cluster, namespace) = (ClusterId("globe".to_owned()), Namespace::new("more").unwrap());
    let founder = ReplicaId { node: NodeId(1), incarnation: Incarnation(2) };
    let mut rehome = Rehome::new(Origin { cluster, group: GroupId(5), namespace }, founder);
    let mut second = rehome.push(&first).unwrap();
    second.extend(rehome.finish().unwrap().0);
    [first, second]
}

fn section_of(snapshot: &[u8]) -> Section {
    let header = snapshot::verify(&mut |from, length| {
        let from = usize::try_from(from).unwrap().min(snapshot.len());
        Ok(snapshot[from..(from + length).min(snapshot.len())].to_vec())
    })
    .unwrap();
    Section {
        group: header.origin.group.0,
        namespace: header.origin.namespace.to_string(),
        storage: StorageWord::Memory,
        applied: header.meta.applied.unwrap().index + 1,
        actors: header.meta.actors,
        outcomes: header.meta.outcomes,
    }
}

fn header(snapshots: &[Vec<u8>]) -> Header {
    Header {
        cluster: "globe".to_owned(),
        node: 2,
        taken_at: "2026-01-02T03:04:05Z".to_owned(),
        program: "0.1.0".to_owned(),
        sections: snapshots.iter().map(|snapshot| section_of(snapshot)).collect(),
    }
}

/// The records of a backup; each section in records of `length` bytes.
fn records(header: &Header, sections: &[(u32, Vec<u8>)], length: usize) -> Vec<Vec<u8>> {
    let (mut writer, first) = Writer::begin(header);
    let mut records = vec![first];
    for (group, bytes) in sections {
        for piece in bytes.chunks(length) {
            records.push(writer.section(GroupId(*group), piece));
        }
    }
    records.push(writer.finish());
    records
}

fn sections() -> Vec<(u32, Vec<u8>)> {
    let [first, second] = snapshots();
    vec![(3, first), (5, second)]
}

fn good() -> Vec<Vec<u8>> {
    records(&header(&snapshots()), &sections(), 700)
}

fn check(bytes: &[u8], piece: usize) -> Result<Contents, NotIntact> {
    let mut check = Check::default();
    bytes.chunks(piece).try_for_each(|piece| check.push(piece))?;
    check.finish()
}

#[track_caller]
fn refused(records: &[Vec<u8>], words: &str) {
    let error = check(&records.concat(), 10_000).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_whole_backup_is_read_in_pieces_of_any_size() {
    let bytes = good().concat();
    assert_eq!(bytes.len() % 8, 0);
    for piece in [1, 13, 4_096, bytes.len()] {
        let contents = check(&bytes, piece).unwrap();
        assert_eq!(contents.header, header(&snapshots()));
        assert_eq!(contents.bytes, bytes.len() as u64);
        let lengths = snapshots().map(|snapshot| snapshot.len() as u64);
        assert_eq!(contents.section_bytes, lengths);
    }
}

#[test]
fn every_flipped_bit_every_cut_and_every_addition_is_found() {
    let bytes = good().concat();
    for at in 0..bytes.len() {
        // All bits of the header and of the first records; of the rest one in each byte.
        for bit in (0..8).filter(|bit| at < 2_000 || *bit == at % 8) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(check(&altered, 10_000).is_err(), "bit {bit} of byte {at}");
        }
        assert!(check(&bytes[..at], 10_000).is_err(), "cut to {at}");
    }
    for more in [&[0][..], &[0; 16], &bytes] {
        assert!(check(&[&bytes, more].concat(), 10_000).is_err());
    }
}

#[test]
fn a_moved_a_missing_a_repeated_and_a_foreign_record_are_found() {
    let good = good();
    assert!(good.len() > 10);
    for place in 1..good.len() - 1 {
        let mut missing = good.clone();
        missing.remove(place);
        refused(&missing, "does not belong there");
        let mut twice = good.clone();
        twice.insert(place, good[place].clone());
        refused(&twice, "does not belong there");
        let mut moved = good.clone();
        moved.swap(place, place + 1);
        refused(&moved, "does not belong there");
    }
    let mut other = header(&snapshots());
    other.taken_at = "2026-01-02T03:04:06Z".to_owned();
    let mut foreign = good.clone();
    foreign[4] = records(&other, &sections(), 700)[4].clone();
    refused(&foreign, "does not belong there");
    let mut headed = good.clone();
    headed[0] = records(&other, &sections(), 700)[0].clone();
    refused(&headed, "does not belong there");
}

/// What a program that writes the right checksums over the wrong sections would make.
#[test]
fn sections_that_are_not_those_of_the_header_are_found() {
    let header = header(&snapshots());
    let [first, second] = snapshots();
    let pair = |group: u32, bytes: &[u8]| (group, bytes.to_vec());
    let cut = &first[..first.len() - 8];
    let longer = [&first[..], &[0; 8]].concat();
    for (sections, words) in [
        (vec![pair(3, &first)], "namespace `more` is missing"),
        (vec![pair(5, &second), pair(3, &first)], "stands where none should"),
        (vec![pair(3, &first), pair(5, &second), pair(3, &first)], "stands where none should"),
        (vec![pair(3, &first), pair(5, &first)], "not the one its header speaks of"),
        (vec![pair(3, cut), pair(5, &second)], "the section of group 3 is damaged"),
        (vec![pair(3, &longer), pair(5, &second)], "the section of group 3 is damaged"),
        (vec![], "namespace `plays` is missing"),
    ] {
        refused(&records(&header, &sections, 700), words);
    }
    let mut fewer = header.clone();
    fewer.sections[1].actors -= 1;
    refused(&records(&fewer, &sections(), 700), "not the one its header speaks of");
}

/// Backup format 3, frozen. If this fails, the format has changed: give it a new version.
#[test]
fn format_3_is_frozen() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/backup-v3.bin");
    let now = good().concat();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let frozen = std::fs::read(&path).unwrap();
    assert_eq!(check(&frozen, 100).unwrap().header, header(&snapshots()));
    assert_eq!(now, frozen, "the bytes of backups have changed");
}
