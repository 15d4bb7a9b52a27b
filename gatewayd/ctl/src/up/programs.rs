//! Where the daemons are. privd runs only what root alone may change; a build in somebody's home is
//! copied below the state directory first.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What is started.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) privd: PathBuf,
    pub(crate) libexec: PathBuf,
    pub(crate) plugins: PathBuf,
}

impl Programs {
    /// Finds them beside this command: as built, then as installed.
    pub(crate) fn find(state_dir: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io("find this program", e);
        let own = std::env::current_exe()
            .and_then(|p| p.canonicalize())
            .map_err(failed)?;
        let base = own
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("/"));
        let places = [
            (base.join("libexec"), base.join("plugins")),
            (base.join("libexec/warder"), base.join("lib/warder/plugins")),
        ];
        let found = places
            .iter()
            .find(|(libexec, _)| libexec.join("privd").is_file());
        let Some((libexec, plugins)) = found else {
            let looked: Vec<String> = places
                .iter()
                .map(|(l, _)| l.join("privd").display().to_string())
                .collect();
            return Err(Error::Failed(format!(
                "no daemons found: looked for {}",
                looked.join(", ")
            )));
        };
        if roots_alone(libexec)? && roots_alone(plugins)? {
            return Ok(Self::of(libexec.clone(), plugins.clone()));
        }
        let copy = state_dir.join("programs");
        let (to_libexec, to_plugins) = (copy.join("libexec"), copy.join("plugins"));
        copy_files(libexec, &to_libexec)?;
        copy_files(plugins, &to_plugins)?;
        Ok(Self::of(to_libexec, to_plugins))
    }

    fn of(libexec: PathBuf, plugins: PathBuf) -> Self {
        Self {
            privd: libexec.join("privd"),
            libexec,
            plugins,
        }
    }
}

/// Whether nobody but root can change the directory, what is in it, or put another in its place.
fn roots_alone(dir: &Path) -> Result<bool, Error> {
    let failed = |e| Error::io(format!("look at {}", dir.display()), e);
    for ancestor in dir.ancestors() {
        let meta = fs::metadata(ancestor).map_err(failed)?;
        let sticky = meta.mode() & 0o1000 != 0 && ancestor != dir;
        if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && !sticky) {
            return Ok(false);
        }
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let meta = entry
            .and_then(|e| e.path().symlink_metadata())
            .map_err(failed)?;
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 || meta.is_symlink() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies the files of `from`. Each takes its place by rename, since running daemons map the old ones.
fn copy_files(from: &Path, to: &Path) -> Result<(), Error> {
    let failed =
        |e: io::Error| Error::io(format!("copy {} to {}", from.display(), to.display()), e);
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o755)
        .create(to)
        .map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_file() {
            continue;
        }
        let mut new = tempfile::NamedTempFile::new_in(to).map_err(failed)?;
        let mut source = fs::File::open(entry.path()).map_err(failed)?;
        io::copy(&mut source, &mut new).map_err(failed)?;
        let mode = fs::Permissions::from_mode(0o755);
        new.as_file().set_permissions(mode).map_err(failed)?;
        new.persist(to.join(entry.file_name()))
            .map_err(|e| failed(e.error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_is_copied() {
        let dir = tempfile::tempdir().expect("a directory");
        let from = dir.path().join("from");
        fs::create_dir(&from).expect("makes");
        fs::write(from.join("privd"), "x").expect("writes");
        fs::set_permissions(&from, fs::Permissions::from_mode(0o777)).expect("changes");
        assert!(!roots_alone(&from).expect("looks"));
        let to = dir.path().join("to");
        copy_files(&from, &to).expect("copies");
        copy_files(&from, &to).expect("copies again");
        let mode = fs::metadata(to.join("privd")).expect("is there").mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
