//! Where the built programs are.

use std::path::{Path, PathBuf};

/// A directory laid out as `scripts/build` does it.
#[derive(Clone, Debug)]
pub struct Stage(PathBuf);

impl Stage {
    /// `WARDER_STAGE`, or `target/stage` of the workspace.
    ///
    /// # Panics
    /// When nothing was built; says how to build it.
    #[must_use]
    pub fn find() -> Self {
        let dir = std::env::var_os("WARDER_STAGE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/stage"),
            PathBuf::from,
        );
        let dir = dir.canonicalize().unwrap_or(dir);
        assert!(
            dir.join("libexec/privd").exists() || dir.join("bin/privd").exists(),
            "nothing built in {}: run scripts/build",
            dir.display()
        );
        Self(dir)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// A program, wherever the stage keeps it.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        ["libexec", "bin", "sbin"]
            .iter()
            .map(|folder| self.0.join(folder).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| self.0.join("libexec").join(name))
    }

    /// Whether its backend is that of jails.
    #[must_use]
    pub fn jails(&self) -> bool {
        self.0.join("plugins/libjail.so").exists()
    }
}
