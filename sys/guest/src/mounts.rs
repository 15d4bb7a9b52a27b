//! Where a path lives.

use std::io;
use std::path::Path;

/// Whether files under `path` can change without this kernel knowing: network and user-space file systems.
/// Their magic numbers are in statfs(2).
///
/// # Errors
/// The path cannot be looked up.
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

/// Whether files under `path` can change without this kernel knowing: what is not stored locally (statfs(2),
/// `MNT_LOCAL`; nullfs says what is below it says), and the file systems of other machines that claim to be.
///
/// # Errors
/// The path cannot be looked up.
#[cfg(not(target_os = "linux"))]
pub fn is_remote(path: &Path) -> io::Result<bool> {
    const REMOTE: [&[u8]; 3] = [b"p9fs", b"fusefs", b"nfs"];
    // The kernel's own, which not every version says is local.
    const LOCAL: [&[u8]; 4] = [b"devfs", b"fdescfs", b"procfs", b"tmpfs"];
    let about = rustix::fs::statfs(path)?;
    let name: Vec<u8> = about
        .f_fstypename
        .iter()
        .map(|byte| byte.to_ne_bytes()[0])
        .take_while(|byte| *byte != 0)
        .collect();
    let any = |kinds: &[&[u8]]| kinds.iter().any(|kind| name.starts_with(kind));
    Ok(!any(&LOCAL) && (about.f_flags & libc::MNT_LOCAL == 0 || any(&REMOTE)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn local_file_systems_are_not_remote() {
        assert!(!super::is_remote("/dev".as_ref()).expect("dev"));
        assert!(super::is_remote("/no/such/place".as_ref()).is_err());
    }
}
