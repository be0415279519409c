use std::fs;
use std::path::PathBuf;

use super::*;
use understudy_core::backend::{Backend, MemoryBackend};
use understudy_core::{Input, Now, Replica, Seed, snapshot};

/// The frozen backup: the namespaces `plays` and `more`, with the same rows.
fn backup() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/backup-v3.bin")
}

/// A configuration whose folder is not there yet, under a path of its own.
fn config(name: &str, more: &str) -> (PathBuf, NodeConfig) {
    let root = std::env::temp_dir().join(format!("understudy-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    let text = format!(
        "data_dir = \"data\"\nnode = 2\n[cluster]\nname = \"new\"\nnamespaces = [\"more\", \
         \"extra\", \"plays\"]\n{more}\n[[cluster.nodes]]\nid = 2\npeer = \"127.0.0.1:1\"\napi = \
         \"127.0.0.1:2\"\n"
    );
    let path = root.join("node.toml");
    fs::write(&path, text).unwrap();
    let config = NodeConfig::read(&path).unwrap();
    (root, config)
}

/// Each namespace finds its place by name, and its rows go where the configuration says.
#[test]
fn sections_go_by_name_and_to_any_storage() {
    for (name, more) in [
        ("memory", ""),
        ("mixed", "[cluster.storage]\nplays = \"rocksdb\""),
        (
            "outside",
            "[cluster.storage]\nplays = \"rocksdb\"\nmore = \"rocksdb\"\nextra = \"rocksdb\"",
        ),
    ] {
        let (root, config) = config(name, more);
        restore(&backup(), &config.path, true).unwrap();
        let contents = verify(&backup(), &indicatif::ProgressBar::hidden()).unwrap();
        let folder = Folder::open(&config).unwrap();
        let (identity, files) = (&folder.identity, folder.files());
        let backend = MemoryBackend::default();
        let cluster = &config.cluster;
        let recovered = Replica::recover(cluster, identity, Seed(1), &files, Some(&backend));
        let mut replica = recovered.unwrap();
        files.apply(&replica.take_repairs()).unwrap();
        replica.step(Now::default(), [Input::Wake], &mut Vec::new());
        for (group, namespace) in cluster.groups() {
            let outside = snapshot::meta_of(backend.snapshot().unwrap().as_ref(), group).unwrap();
            let meta = replica.view(group).map(|view| view.meta().clone()).or(outside);
            let sections = &contents.header.sections;
            let section = sections.iter().find(|it| it.namespace == namespace.as_str());
            let Some(section) = section else {
                assert_eq!(meta.unwrap_or_default().applied, None, "{namespace} is new");
                continue;
            };
            let meta = meta.unwrap();
            let (position, members) = meta.members.unwrap();
            assert_eq!(Some(position), meta.applied);
            assert_eq!(position.index + 1, section.applied);
            assert_eq!((meta.actors, meta.outcomes), (section.actors, section.outcomes));
            assert_eq!(members.configs, [[identity.replica()]]);
        }
        assert!(restore(&backup(), &config.path, true).is_err(), "it is not empty any more");
        drop(folder);
        fs::remove_dir_all(root).unwrap();
    }
}

/// A restore that fails in the middle leaves what was there before: nothing, or an empty folder.
#[test]
fn a_restore_that_fails_leaves_nothing() {
    let (root, config) = config("fails", "");
    for was_there in [false, true] {
        if was_there {
            fs::create_dir(&config.data_dir).unwrap();
        }
        let failed = Folder::restore(&config, |_, files| {
            fs::write(files.path(FileName::Part(GroupId(1), 1)), "half").unwrap();
            bail!("the disk is full")
        });
        assert!(failed.unwrap_err().to_string().contains("the disk is full"));
        assert_eq!(config.data_dir.exists(), was_there);
        Folder::ensure_empty(&config).unwrap();
    }
    fs::remove_dir_all(root).unwrap();
}

/// The process ended in the middle: without its identity a folder is none.
#[test]
fn a_restore_that_was_cut_off_is_not_served() {
    let (root, config) = config("cut", "");
    restore(&backup(), &config.path, true).unwrap();
    fs::remove_file(config.data_dir.join("identity.toml")).unwrap();
    let error = format!("{:#}", Folder::open(&config).unwrap_err());
    assert!(error.contains("`restore` was cut off"), "{error}");
    assert!(restore(&backup(), &config.path, true).is_err());
    fs::remove_dir_all(root).unwrap();
}
