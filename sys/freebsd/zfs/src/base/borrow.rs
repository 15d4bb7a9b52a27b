//! The few files of the host's /etc that template `base` has, by an allow-list.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use crate::error::{At, Result};

/// Programs need them, and the base system or the host's administrator made them for everyone to read. Links lead into
/// /usr/share, which is the host's in a cell too. No `ssl/private`, nothing about the host's users.
const SHARED: [&str; 8] = [
    "localtime",
    "netconfig",
    "protocols",
    "rpc",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Copies what is listed and there.
pub(super) fn copy_etc(from: &Path, to: &Path) -> Result<()> {
    SHARED
        .iter()
        .try_for_each(|name| copy(&from.join(name), &to.join(name)))
}

/// Copies a file, link or directory that everyone may read; skips all else. The depth of the recursion is that of the listed
/// directories, which are root's, as all of /etc.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(from) else {
        return Ok(());
    };
    if found.is_symlink() {
        let target = fs::read_link(from).at("read a link in /etc")?;
        symlink(target, to).at("copy a link in /etc")
    } else if found.is_dir() && found.mode() & 0o005 == 0o005 {
        fs::create_dir(to).at("copy a directory in /etc")?;
        // privd's umask leaves nothing to others.
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))
            .at("copy a directory in /etc")?;
        for entry in fs::read_dir(from).at("read a directory in /etc")? {
            let name = entry.at("read a directory in /etc")?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    } else if found.is_file() && found.mode() & 0o004 != 0 {
        let mut source = fs::File::open(from).at("open a file in /etc")?;
        let fresh = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(to);
        let mut target = fresh.at("copy a file in /etc")?;
        std::io::copy(&mut source, &mut target).at("copy a file in /etc")?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o644)).at("copy a file in /etc")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_and_readable_is_copied() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("ssl/certs/deep")).expect("makes");
        fs::create_dir_all(to.join("ssl")).expect("makes");
        for (name, mode) in [
            ("services", 0o644),
            ("rpc", 0o600),
            ("master.passwd", 0o644),
            ("ssl/private", 0o644),
            ("ssl/certs/deep/a", 0o444),
        ] {
            fs::write(from.join(name), name).expect("writes");
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).expect("sets");
        }
        symlink("../../../usr/share/certs/b", from.join("ssl/certs/b")).expect("links");
        for directory in ["ssl/certs", "ssl/certs/deep"] {
            fs::set_permissions(from.join(directory), fs::Permissions::from_mode(0o755))
                .expect("sets");
        }
        copy_etc(&from, &to).expect("copies");
        assert_eq!(
            fs::read_to_string(to.join("services")).expect("there"),
            "services"
        );
        assert_eq!(
            fs::read_to_string(to.join("ssl/certs/deep/a")).expect("there"),
            "ssl/certs/deep/a"
        );
        assert!(to.join("ssl/certs/b").is_symlink());
        for name in ["rpc", "master.passwd", "ssl/private"] {
            assert!(!to.join(name).exists(), "{name}");
        }
    }
}
