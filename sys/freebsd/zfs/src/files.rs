//! The store's own files. They lie in the state directory, which is root's alone, so paths are safe here; they are used and
//! not descriptors because the child that sets up a cell has closed those.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{At, Result};

/// Directories in `store/`.
const DIRS: [&str; 4] = ["sandboxes", "made", "trash", "kept"];

#[derive(Clone, Debug)]
pub(crate) struct Files {
    store: PathBuf,
}

impl Files {
    pub(crate) fn open(state_dir: &Path) -> Result<Self> {
        let store = state_dir.join("store");
        for dir in DIRS {
            fs::create_dir_all(store.join(dir)).at("make a directory of the store")?;
        }
        Ok(Self { store })
    }

    /// Writes a file at once and whole; not waiting for the disk.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        // A name for each process: workers write too.
        let fresh = self.store.join(format!("new.{}", std::process::id()));
        fs::write(&fresh, text).at("write a file of the store")?;
        fs::rename(fresh, self.store.join(name)).at("put a file of the store in place")
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.store.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("read a file of the store"),
        }
    }

    /// False if there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        match fs::remove_file(self.store.join(name)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("remove a file of the store"),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.store.join(name).exists()
    }

    /// Names in a directory, in order.
    pub(crate) fn names(&self, directory: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.store.join(directory)).at("list the store")? {
            names.extend(entry.at("list the store")?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Has names in a directory survive a loss of power.
    pub(crate) fn sync(&self, directory: &str) -> Result<()> {
        let directory = fs::File::open(self.store.join(directory)).at("open the store")?;
        directory.sync_all().at("write the store out")
    }

    /// Notes that something is to be destroyed: `templates/LEAF`, `volumes/ID`, `sandboxes/ID@STAMP`.
    pub(crate) fn discard(&self, what: &str) -> Result<()> {
        self.write(&intent(what), "")
    }

    /// It is destroyed.
    pub(crate) fn destroyed(&self, what: &str) -> Result<()> {
        self.remove(&intent(what)).map(drop)
    }

    /// What is to be destroyed.
    pub(crate) fn discarded(&self) -> Result<Vec<String>> {
        let names = self.names("trash")?;
        Ok(names
            .iter()
            .map(|name| name.replacen(':', "/", 1))
            .collect())
    }
}

fn intent(what: &str) -> String {
    format!("trash/{}", what.replacen('/', ":", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("opens");
        files.discard("templates/py.7").expect("notes");
        files.discard("sandboxes/i@9").expect("notes");
        assert_eq!(
            files.discarded().expect("lists"),
            ["sandboxes/i@9", "templates/py.7"]
        );
        files.destroyed("templates/py.7").expect("forgets");
        assert_eq!(files.discarded().expect("lists"), ["sandboxes/i@9"]);
        assert!(!files.remove("used").expect("none"));
    }
}
