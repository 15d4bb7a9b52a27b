//! Where an instance keeps its state and its socket.

use std::path::{Path, PathBuf};

use warder_wire::InstanceTag;

/// An instance, known by its state directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    state_dir: PathBuf,
}

impl Place {
    pub(crate) fn new(state_dir: Option<PathBuf>) -> Self {
        let named = state_dir.unwrap_or_else(|| PathBuf::from(warder_wire::STATE_DIR));
        // The tag is of the canonical path; a directory that does not exist yet has no instance.
        let state_dir = named.canonicalize().unwrap_or(named);
        Self { state_dir }
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(crate) fn tag(&self) -> InstanceTag {
        InstanceTag::of_state_dir(self.state_dir.as_os_str().as_encoded_bytes())
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        Path::new(warder_wire::RUN_DIR).join(self.tag().to_string())
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run_dir().join("admin.sock")
    }
}
