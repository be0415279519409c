use super::*;

fn wal_path(folder: &Path) -> PathBuf {
    folder.join("wal/0000000000000000.wal")
}

/// A member's configuration and folder, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, members: u64) -> (Place, NodeConfig) {
        let path = std::env::temp_dir()
            .join(format!("understudy-folder-{}-{name}-{members}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let mut text = "data_dir = \"data\"\nnode = 1\n[cluster]\nname = \"ours\"\n\
                        namespaces = [\"default\"]\n"
            .to_owned();
        for id in 1..=members {
            text.push_str(&format!(
                "[[cluster.nodes]]\nid = {id}\npeer = \"127.0.0.1:{id}\"\napi = \"127.0.0.1:9{id}\"\n"
            ));
        }
        let file = path.join("node.toml");
        fs::write(&file, text).unwrap();
        let config = NodeConfig::read(&file).unwrap();
        Folder::init(&config).unwrap();
        fs::write(wal_path(&config.data_dir), "the old log").unwrap();
        (Place(path), config)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The folder starts right: a new identity, its own new log, and the old one aside.
#[track_caller]
fn assert_replaced(config: &NodeConfig, lost: &Identity) {
    let folder = Folder::open(config).unwrap();
    assert_ne!(folder.identity.incarnation, lost.incarnation);
    let aside = config.data_dir.join(format!("damaged-{:016x}", lost.incarnation.0));
    assert_eq!(fs::read_to_string(wal_path(&aside)).unwrap(), "the old log");
    assert!(!folder.suspect().exists());
    let (seed, files) = (understudy_core::Seed(1), folder.files());
    let recovered =
        Replica::recover(&config.cluster, &folder.identity, seed, &files, None).map(|_| ());
    recovered.unwrap();
    let identity = folder.identity.clone();
    drop(folder);
    assert_eq!(Folder::open(config).unwrap().identity, identity, "and it stays so");
}

#[test]
fn a_damaged_folder_is_set_aside() {
    let (_place, config) = Place::new("aside", 3);
    let mut folder = Folder::open(&config).unwrap();
    let lost = folder.identity.clone();
    folder.set_aside(&config.cluster, "a test").unwrap();
    drop(folder);
    assert_replaced(&config, &lost);
}

#[test]
fn what_a_running_node_found_is_set_aside_at_the_next_start() {
    let (_place, config) = Place::new("suspect", 3);
    let folder = Folder::open(&config).unwrap();
    let lost = folder.identity.clone();
    fs::write(folder.suspect(), "a checksum differs").unwrap();
    drop(folder);
    assert_replaced(&config, &lost);
    let aside = config.data_dir.join(format!("damaged-{:016x}", lost.incarnation.0));
    assert_eq!(fs::read_to_string(aside.join("suspect")).unwrap(), "a checksum differs");
}

/// Cut off after each of its steps.
#[test]
fn a_set_aside_that_was_cut_off_is_finished_by_the_next_start() {
    for steps in 1..=4 {
        let (_place, config) = Place::new(&format!("cut-{steps}"), 3);
        let folder = Folder::open(&config).unwrap();
        let lost = folder.identity.clone();
        let (aside, data) = (folder.aside(), config.data_dir.clone());
        fs::create_dir(&aside).unwrap();
        if steps >= 2 {
            fs::rename(data.join("wal"), aside.join("wal")).unwrap();
        }
        if steps >= 3 {
            fs::create_dir(data.join("wal")).unwrap();
            fs::write(wal_path(&data), "half of a new lo").unwrap();
        }
        if steps >= 4 {
            fs::write(data.join("identity.new"), "format = 1").unwrap();
        }
        drop(folder);
        assert_replaced(&config, &lost);
    }
}

/// Nobody could repair it.
#[test]
fn the_only_copy_is_never_set_aside() {
    let (_place, config) = Place::new("only", 1);
    let mut folder = Folder::open(&config).unwrap();
    let error = folder.set_aside(&config.cluster, "a test").unwrap_err().to_string();
    assert!(error.contains("keep this folder"), "{error}");
    assert_eq!(fs::read_to_string(wal_path(&config.data_dir)).unwrap(), "the old log");
}
