//! Where a path lives.

use std::io;
use std::path::Path;

/// Whether files under `path` can change without this kernel knowing: network and user-space file systems.
/// Their magic numbers are in statfs(2).
///
/// # Errors
/// The path cannot be looked up, or `Unsupported`.
#[cfg(target_os = "linux")]
pub fn is_remote(path: &Path) -> io::Result<bool> {
    const REMOTE: [u32; 9] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x0102_1997, // 9p
        0x6573_5546, // FUSE
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x564c,      // NCP
    ];
    let kind = rustix::fs::statfs(path)?.f_type;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers have 32 bits; the field is wider and may be sign-extended"
    )]
    Ok(REMOTE.contains(&(kind as u32)))
}

/// Not written for this system yet.
///
/// # Errors
/// Always `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn is_remote(_path: &Path) -> io::Result<bool> {
    Err(crate::unsupported("looking up the kind of a file system"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn local_file_systems_are_not_remote() {
        assert!(!super::is_remote("/proc".as_ref()).expect("proc"));
        assert!(super::is_remote("/no/such/place".as_ref()).is_err());
    }
}
