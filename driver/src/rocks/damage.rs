//! Damaged files: an error that says so, or the right rows; never wrong ones.

use std::fs::File;
use std::path::PathBuf;

use super::tests::{World, copy, put, remove};
use super::*;

const ROWS: u16 = 2000;

fn row(number: u16) -> Row {
    let value: Vec<u8> = (0..60u16).map(|byte| (number.wrapping_mul(31) ^ byte) as u8).collect();
    (number.to_be_bytes().to_vec(), value)
}

/// A closed database of several tables, with its files of this kind.
fn closed(name: &str, kind: &str) -> (World, Vec<PathBuf>) {
    let mut world = World::new(name);
    for part in 0..4 {
        for number in (part..ROWS).step_by(4) {
            let (key, value) = row(number);
            world.write(&[put(&key, &value)]);
        }
        world.store().flush().unwrap();
    }
    world.close();
    let files = fs::read_dir(&world.path).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = files.filter(|path| named(path).contains(kind)).collect();
    assert!(!files.is_empty(), "no {kind}");
    (world, files)
}

/// Reads everything there is; the rows, when nothing failed.
fn read_all(path: &Path) -> anyhow::Result<()> {
    let store = RocksStore::open(path, Options::tiny())?;
    let rows = store.scan(&[], &[0xff; 3], usize::MAX)?;
    assert!(rows.into_iter().eq((0..ROWS).map(row)), "wrong rows");
    for number in (0..ROWS).step_by(97) {
        let (key, value) = row(number);
        assert_eq!(store.get(&key)?, Some(value), "wrong row");
    }
    Ok(())
}

/// Whether the database says that it is damaged.
fn is_damaged(path: &Path) -> bool {
    match read_all(path) {
        Ok(()) => false,
        Err(error) => {
            let inner = error.downcast_ref::<BackendError>();
            assert!(inner.is_some_and(|inner| inner.damaged), "no word of damage: {error:#}");
            true
        }
    }
}

/// Runs `harm` on a copy's file, and says whether the damage was noticed.
fn harmed(world: &World, file: &Path, harm: impl FnOnce(&Path)) -> bool {
    let folder = PathBuf::from(format!("{}-harmed", world.path.display()));
    copy(&world.path, &folder);
    harm(&folder.join(file.file_name().unwrap()));
    let damaged = is_damaged(&folder);
    remove(&folder);
    damaged
}

fn flip(file: &Path, place: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[place] ^= 0x55;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_flipped_byte_of_a_table_is_noticed_or_does_no_harm() {
    let (world, files) = closed("flipped", ".sst");
    let mut noticed = 0;
    let mut tried = 0;
    for file in files {
        let length = fs::metadata(&file).unwrap().len() as usize;
        // The end byte by byte: footer and metadata are small.
        let ends = length.saturating_sub(64)..length;
        for place in (0..length).step_by(2503).chain(ends.step_by(5)) {
            tried += 1;
            noticed += usize::from(harmed(&world, &file, |file| flip(file, place)));
        }
    }
    assert!(noticed * 2 > tried, "{noticed} of {tried}: the rows are most of a table");
}

#[test]
fn a_flipped_byte_of_the_list_of_tables_is_noticed_or_does_no_harm() {
    let (world, files) = closed("manifest", "MANIFEST");
    let mut noticed = 0;
    for file in files {
        let length = fs::metadata(&file).unwrap().len() as usize;
        for place in (0..length).step_by(23) {
            noticed += usize::from(harmed(&world, &file, |file| flip(file, place)));
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_table_that_is_cut_or_gone_is_damage() {
    let (world, files) = closed("cut", ".sst");
    for file in files {
        let length = fs::metadata(&file).unwrap().len();
        for kept in [0, 1, length / 2, length - 1] {
            let cut = |file: &Path| File::options().write(true).open(file)?.set_len(kept);
            assert!(harmed(&world, &file, |file| cut(file).unwrap()), "{kept} of {length}");
        }
        assert!(harmed(&world, &file, |file| fs::remove_file(file).unwrap()));
    }
}

#[test]
fn a_lost_or_garbled_head_never_becomes_an_empty_store() {
    let (world, files) = closed("head", "CURRENT");
    assert!(harmed(&world, &files[0], |file| fs::remove_file(file).unwrap()));
    assert!(harmed(&world, &files[0], |file| fs::write(file, "").unwrap()));
    assert!(harmed(&world, &files[0], |file| fs::write(file, "MANIFEST-999999\n").unwrap()));
    // All of the folder: RocksDB makes a new one.
    assert!(harmed(&world, &files[0], |file| {
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }));
    let (world, files) = closed("list", "MANIFEST");
    let length = fs::metadata(&files[0]).unwrap().len();
    // Cut between two of its records it looks like one that ended there.
    for kept in (0..length).step_by(7) {
        let cut = |file: &Path| File::options().write(true).open(file)?.set_len(kept);
        harmed(&world, &files[0], |file| cut(file).unwrap());
    }
    assert!(harmed(&world, &files[0], |file| fs::remove_file(file).unwrap()));
}
