//! What may lie in the tree that becomes the root of a machine's jail. Whoever made the template wrote it, and bhyve(8)
//! starts there as root before it is in capability mode: rtld(1) obeys /etc/libmap.conf and /var/run/ld-elf.so.hints,
//! the C library /etc/malloc.conf and more. So everything is foreign but what the machine and privd need by name.

use crate::mounts::Mount;

/// What is expected under a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// A file, which nothing but its user opens; or a socket.
    File,
    /// A directory, in which each name is asked for again.
    Directory,
}

/// What the store makes in every tree. /etc is covered by a mount.
const STORED: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// Empty directories that it makes, and that a machine has no use for.
const EMPTY: [&str; 2] = ["/proc", "/tmp"];

/// What may be at `path` of the tree (`/usr/lib`; the tree itself is the empty text), where these mounts will be made
/// and `files` are the machine's own. Nothing may lie where something is mounted. `None` is foreign.
#[must_use]
pub fn expected(mounts: &[Mount], files: &[String], path: &str) -> Option<Entry> {
    let places = mounts.iter().map(|mount| mount.place.as_str());
    let files = || files.iter().map(String::as_str).chain(STORED);
    if files().any(|file| file == path) {
        return Some(Entry::File);
    }
    let leads_to = |place: &str| {
        let rest = place.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = places.chain(EMPTY).chain(files()).any(leads_to);
    found.then_some(Entry::Directory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mounts::of_machine;

    fn at(path: &str) -> Option<Entry> {
        let files = ["/disk.raw", "/link/agent"].map(str::to_owned);
        expected(&of_machine(22_273, "/firmware", "/firmware"), &files, path)
    }

    const DIRECTORIES: [&str; 14] = [
        "",
        "/lib",
        "/libexec",
        "/usr",
        "/usr/lib",
        "/bin",
        "/usr/sbin",
        "/firmware",
        "/etc",
        "/var",
        "/dev",
        "/link",
        "/proc",
        "/tmp",
    ];
    const FILES: [&str; 4] = ["/disk.raw", "/link/agent", "/etc/hosts", "/etc/resolv.conf"];

    #[test]
    fn the_machines_own_is_expected() {
        for path in DIRECTORIES {
            assert_eq!(at(path), Some(Entry::Directory), "{path:?}");
        }
        for path in FILES {
            assert_eq!(at(path), Some(Entry::File), "{path}");
        }
    }

    #[test]
    fn what_the_linker_and_the_library_read_is_foreign() {
        for path in [
            "/etc/libmap.conf",
            "/etc/libmap.d",
            "/etc/malloc.conf",
            "/etc/nsswitch.conf",
            "/etc/localtime",
            "/var/run",
            "/var/run/ld-elf.so.hints",
            "/usr/share",
            "/usr/local",
            "/usr/lib32",
            "/usr/lib/libvmmapi.so.6",
            "/lib/libc.so.7",
            "/libexec/ld-elf.so.1",
            "/bin/sh",
            "/usr/sbin/iasl",
            "/sbin",
            "/proc/self",
            "/tmp/a",
            "/dev/null",
            "/link/other",
            "/disk.raw/a",
            "/disk.raw.old",
            "/DISK.RAW",
            "/li",
            "/us",
            "/",
            "disk.raw",
            "/\u{fffd}",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
    }

    proptest! {
        /// No name is taken but those, in whichever of the directories it lies.
        #[test]
        fn no_other_name_is_taken(
            of in 0..DIRECTORIES.len(),
            name in "[^/\0]{1,12}|[a-z.]{1,6}|lib|etc|usr|agent|disk[.]raw|hosts",
        ) {
            let path = format!("{}/{name}", DIRECTORIES[of]);
            let ours = DIRECTORIES.contains(&path.as_str()) || FILES.contains(&path.as_str());
            prop_assert_eq!(at(&path).is_some(), ours, "{}", path);
        }
    }
}
