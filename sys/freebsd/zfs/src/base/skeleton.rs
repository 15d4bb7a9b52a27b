//! The part of template `base` that is our own.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::error::{At, Result};

/// Path, mode, owner and group. [`super::BASE_DIRS`] are made beside these.
const DIRS: &[(&str, u32, u32)] = &[
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("etc/pam.d", 0o755, 0),
    ("etc/ssl", 0o755, 0),
    ("home", 0o755, 0),
    ("home/user", 0o755, 1000),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("proc", 0o555, 0),
    ("root", 0o700, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("usr/local", 0o755, 0),
    ("usr/local/bin", 0o755, 0),
    ("usr/local/etc", 0o755, 0),
    ("usr/local/lib", 0o755, 0),
    ("usr/local/sbin", 0o755, 0),
    ("usr/local/share", 0o755, 0),
    ("var", 0o755, 0),
    ("var/cache", 0o755, 0),
    ("var/db", 0o755, 0),
    ("var/empty", 0o555, 0),
    ("var/log", 0o755, 0),
    ("var/mail", 0o755, 0),
    ("var/run", 0o755, 0),
    ("var/spool", 0o755, 0),
    ("var/tmp", 0o1777, 0),
];

/// A file of `skeleton/`.
macro_rules! ours {
    ($name:literal) => {
        include_str!(concat!("../../skeleton/", $name))
    };
}

/// Path, mode, owner and group, content.
const FILES: &[(&str, u32, u32, &str)] = &[
    ("etc/fstab", 0o644, 0, ""),
    ("etc/group", 0o644, 0, ours!("group")),
    ("etc/login.conf", 0o644, 0, ours!("login.conf")),
    ("etc/master.passwd", 0o600, 0, ours!("master.passwd")),
    ("etc/netconfig", 0o644, 0, ours!("netconfig")),
    ("etc/nsswitch.conf", 0o644, 0, ours!("nsswitch.conf")),
    ("etc/pam.d/other", 0o644, 0, ours!("pam.other")),
    ("etc/pam.d/su", 0o644, 0, ours!("pam.su")),
    ("etc/profile", 0o644, 0, ours!("profile")),
    ("etc/protocols", 0o644, 0, ours!("protocols")),
    ("etc/rpc", 0o644, 0, ours!("rpc")),
    ("etc/services", 0o644, 0, ours!("services")),
    ("etc/shells", 0o644, 0, ours!("shells")),
    ("etc/ssl/openssl.cnf", 0o644, 0, ours!("openssl.cnf")),
    ("home/user/.profile", 0o644, 1000, ours!("user.profile")),
    ("home/user/.shrc", 0o644, 1000, ours!("shrc")),
    ("root/.profile", 0o644, 0, ours!("user.profile")),
    ("root/.shrc", 0o644, 0, ours!("shrc")),
];

/// Makes all of it in an empty directory, which nobody else can reach.
pub(super) fn make(tree: &Path) -> Result<()> {
    finish(tree, 0o755, 0)?;
    let shared = super::BASE_DIRS.iter().map(|path| (*path, 0o755, 0));
    // A directory of the host's may lie in one that comes later in the other list.
    let mut dirs: Vec<_> = DIRS.iter().copied().chain(shared).collect();
    dirs.sort_unstable();
    for (path, mode, owner) in dirs {
        let path = tree.join(path);
        fs::create_dir(&path).at("make the skeleton")?;
        finish(&path, mode, owner)?;
    }
    for (path, mode, owner, text) in FILES {
        let path = tree.join(path);
        let fresh = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let mut file = fresh.at("make the skeleton")?;
        std::io::Write::write_all(&mut file, text.as_bytes()).at("make the skeleton")?;
        finish(&path, *mode, *owner)?;
    }
    symlink("/usr/share/misc/termcap", tree.join("etc/termcap")).at("make the skeleton")
}

fn finish(path: &Path, mode: u32, owner: u32) -> Result<()> {
    chown(path, Some(owner), Some(owner)).at("make the skeleton")?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("make the skeleton")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_a_password_and_every_group_is_there() {
        let content = |name: &str| {
            let (.., text) = FILES
                .iter()
                .find(|(path, ..)| *path == name)
                .expect("listed");
            let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            lines.collect::<Vec<_>>()
        };
        let users = content("etc/master.passwd");
        let groups = content("etc/group");
        for user in &users {
            // passwd(5).
            assert_eq!(user.len(), 10, "{user:?}");
            assert_eq!(user[1], "*", "{user:?}");
            assert!(groups.iter().any(|group| group[2] == user[3]), "{user:?}");
        }
        assert!(
            users
                .iter()
                .any(|user| user[0] == "user" && user[2] == "1000")
        );
        assert!(
            groups
                .iter()
                .all(|group| group.len() == 4 && group[1] == "*")
        );
    }

    #[test]
    fn every_directory_has_its_parent() {
        let all: Vec<&str> = DIRS
            .iter()
            .map(|(path, ..)| *path)
            .chain(super::super::BASE_DIRS)
            .collect();
        let files = FILES.iter().map(|(path, ..)| *path);
        for path in all.iter().copied().chain(files) {
            if let Some((parent, _)) = path.rsplit_once('/') {
                assert!(all.contains(&parent), "{path}");
            }
        }
    }
}
