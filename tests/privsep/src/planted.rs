//! What lies on the host where a sandbox could come across it, and the search for it from inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use warder_harness::Instance;

use crate::guests::MINUTE;

/// What every file that is planted says.
pub const SECRET: &str = "secret";

/// A file or directory of the host's; removed at the end.
#[derive(Debug)]
pub struct Planted(String);

impl Planted {
    /// A file with this mode.
    ///
    /// # Panics
    /// Where root may not write.
    #[must_use]
    pub fn file(path: &str, mode: u32) -> Self {
        fs::write(path, SECRET).expect("root may write");
        Self::with_mode(path, mode)
    }

    /// A directory with this mode, and a file `inside` that anybody who gets there may read.
    ///
    /// # Panics
    /// Where root may not write.
    #[must_use]
    pub fn dir(path: &str, mode: u32) -> Self {
        fs::create_dir(path).expect("root may write");
        let planted = Self::with_mode(path, mode);
        fs::write(format!("{path}/inside"), SECRET).expect("ours");
        planted
    }

    fn with_mode(path: &str, mode: u32) -> Self {
        let planted = Self(path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Of all that was planted with `mark` in its name, root and user of a sandbox find `open` and nothing else. `paths` are
/// words for a shell: reading them all gives what is in that one.
///
/// # Panics
/// When they find more, or less: the search must be able to find something.
pub fn only_the_open_one_is_seen(
    instance: &Instance,
    sandbox: &Value,
    mark: &str,
    open: &str,
    paths: &str,
) {
    for user in ["root", "user"] {
        let search = format!(
            "find / -path /proc -prune -o -path /sys -prune -o -name '*{mark}*' -print 2>/dev/null; true"
        );
        let ran = instance.run(sandbox, user, &search, MINUTE);
        assert_eq!((ran.exit, ran.stdout.trim()), (Some(0), open), "{ran:?}");
        // Names, and where those cannot be hidden, at least contents.
        let read = format!("cat {paths} 2>/dev/null; true");
        let ran = instance.run(sandbox, user, &read, MINUTE);
        assert_eq!(ran.stdout, SECRET, "only the open one: {ran:?}");
    }
}
