//! What names the folders have, now and after a crash.
//!
//! A name that was made, taken away or given to another file is as before or as after until its
//! folder is synced. For one name a crash keeps the first few of its changes; different names go
//! different ways. A rename is one change of two names: both are as before it, or both as after.

use std::collections::{BTreeMap, BTreeSet};

use understudy_core::Rng;
use understudy_core::disk::{FileName, Folder};

/// One file, whatever its names.
pub(super) type FileId = u64;

/// See the module.
#[derive(Default)]
pub(super) struct Names {
    now: BTreeMap<FileName, FileId>,
    durable: BTreeMap<FileName, FileId>,
    /// From `durable` to `now`, in order.
    unsynced: Vec<Unsynced>,
}

struct Unsynced {
    change: Change,
    /// A sync of the folder failed: no later one makes this durable, whatever it reports.
    doomed: bool,
}

#[derive(Clone, Copy)]
enum Change {
    Create(FileName, FileId),
    Delete(FileName),
    Rename(FileName, FileName),
}

impl Change {
    fn names(self) -> [FileName; 2] {
        match self {
            Change::Create(name, _) | Change::Delete(name) => [name; 2],
            Change::Rename(from, to) => [from, to],
        }
    }

    fn apply(self, names: &mut BTreeMap<FileName, FileId>) {
        match self {
            Change::Create(name, id) => {
                names.insert(name, id);
            }
            Change::Delete(name) => {
                names.remove(&name);
            }
            Change::Rename(from, to) => {
                let id = names.remove(&from);
                names.insert(to, id.expect("kept_in_order: what is renamed was there before"));
            }
        }
    }
}

impl Names {
    /// Whose name it is.
    pub fn get(&self, name: FileName) -> Option<FileId> {
        self.now.get(&name).copied()
    }

    /// Every name, in order.
    pub fn iter(&self) -> impl Iterator<Item = (FileName, FileId)> {
        self.now.iter().map(|(&name, &id)| (name, id))
    }

    /// Files that have a name, or may have it again after a crash.
    pub fn reachable(&self) -> BTreeSet<FileId> {
        let unsynced = self.unsynced.iter().filter_map(|unsynced| match unsynced.change {
            Change::Create(_, id) => Some(id),
            Change::Delete(_) | Change::Rename(..) => None,
        });
        self.now.values().chain(self.durable.values()).copied().chain(unsynced).collect()
    }

    /// Whether a crash surely keeps the name as it is now.
    pub fn is_durable(&self, name: FileName) -> bool {
        let unsynced = |unsynced: &Unsynced| unsynced.change.names().contains(&name);
        !self.unsynced.iter().any(unsynced)
    }

    /// Whether a crash could undo something.
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    pub fn create(&mut self, name: FileName, id: FileId) {
        self.change(Change::Create(name, id));
    }

    pub fn delete(&mut self, name: FileName) {
        self.change(Change::Delete(name));
    }

    /// `from` must be there.
    pub fn rename(&mut self, from: FileName, to: FileName) {
        if from != to {
            self.change(Change::Rename(from, to));
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(Unsynced { change, doomed: false });
    }

    /// The folder is synced.
    pub fn sync(&mut self, folder: Folder) {
        let mut stuck = BTreeSet::new();
        for mut unsynced in std::mem::take(&mut self.unsynced) {
            let names = unsynced.change.names();
            let here = names[0].folder() == folder;
            if here && !unsynced.doomed && !names.iter().any(|name| stuck.contains(name)) {
                unsynced.change.apply(&mut self.durable);
                continue;
            }
            if here {
                // What follows on a change that is not durable cannot be durable either.
                unsynced.doomed = true;
                stuck.extend(names);
            }
            self.unsynced.push(unsynced);
        }
    }

    /// A sync of the folder has failed, and later ones will not make up for it.
    pub fn fail_sync(&mut self, folder: Folder) {
        for unsynced in &mut self.unsynced {
            unsynced.doomed |= unsynced.change.names()[0].folder() == folder;
        }
    }

    /// The process dies. Without `rng` every change is undone.
    pub fn crash(&mut self, mut rng: Option<&mut Rng>) {
        // A third of the crashes keep everything, as a journal mostly does.
        let rate = rng
            .as_deref_mut()
            .map_or(0, |rng| [250_000, 500_000, 1_000_000][rng.below(3) as usize]);
        let mut undone = BTreeSet::new();
        for Unsynced { change, .. } in std::mem::take(&mut self.unsynced) {
            let follows = !change.names().iter().any(|name| undone.contains(name));
            if follows && rng.as_deref_mut().is_some_and(|rng| rng.ppm(rate)) {
                change.apply(&mut self.durable);
            } else {
                undone.extend(change.names());
            }
        }
        self.now.clone_from(&self.durable);
    }
}
