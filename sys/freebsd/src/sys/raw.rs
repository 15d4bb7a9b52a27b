//! Declarations that the libc crate lacks, or keeps private. Each is compared with the system's headers on a
//! FreeBSD host (`make freebsd-headers`).

use libc::{c_char, c_int, size_t};

/// sys/jail.h, 15.x: answer a descriptor of the jail in parameter `desc`.
pub const JAIL_GET_DESC: c_int = 0x40;

/// sys/mount.h: nothing can be written.
pub const MNT_RDONLY: u64 = 0x1;
/// No file can be executed.
pub const MNT_NOEXEC: u64 = 0x4;
/// Set-id bits of files do nothing.
pub const MNT_NOSUID: u64 = 0x8;
/// Changes the options of what is mounted.
pub const MNT_UPDATE: u64 = 0x1_0000;
/// Takes away what is in use too.
pub const MNT_FORCE: u64 = 0x8_0000;
/// The file system is named by its number.
pub const MNT_BYFSID: u64 = 0x0800_0000;
/// Refuses a directory that something is mounted on.
pub const MNT_NOCOVER: u64 = 0x10_0000_0000;
/// Refuses a directory that is not empty.
pub const MNT_EMPTYDIR: u64 = 0x20_0000_0000;
/// getfsstat(2): what is known, without asking a device.
pub const MNT_NOWAIT: c_int = 2;

/// `struct procctl_reaper_kill` of sys/procctl.h.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are those of the header")]
pub struct ReaperKill {
    pub rk_sig: c_int,
    pub rk_flags: u32,
    pub rk_subtree: i32,
    pub rk_killed: u32,
    pub rk_fpid: i32,
    pub rk_pad0: [u32; 15],
}

/// `struct statfs` of sys/mount.h, the layout of 12.0 and newer.
#[derive(Clone, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are those of the header")]
pub struct Statfs {
    pub f_version: u32,
    pub f_type: u32,
    pub f_flags: u64,
    pub f_bsize: u64,
    pub f_iosize: u64,
    pub f_blocks: u64,
    pub f_bfree: u64,
    pub f_bavail: i64,
    pub f_files: u64,
    pub f_ffree: i64,
    pub f_syncwrites: u64,
    pub f_asyncwrites: u64,
    pub f_syncreads: u64,
    pub f_asyncreads: u64,
    pub f_spare: [u64; 10],
    pub f_namemax: u32,
    pub f_owner: u32,
    pub f_fsid: [i32; 2],
    pub f_charspare: [c_char; 80],
    pub f_fstypename: [c_char; 16],
    pub f_mntfromname: [c_char; 1024],
    pub f_mntonname: [c_char; 1024],
}

impl Statfs {
    /// For the kernel to fill in.
    pub const EMPTY: Self = Self {
        f_version: 0,
        f_type: 0,
        f_flags: 0,
        f_bsize: 0,
        f_iosize: 0,
        f_blocks: 0,
        f_bfree: 0,
        f_bavail: 0,
        f_files: 0,
        f_ffree: 0,
        f_syncwrites: 0,
        f_asyncwrites: 0,
        f_syncreads: 0,
        f_asyncreads: 0,
        f_spare: [0; 10],
        f_namemax: 0,
        f_owner: 0,
        f_fsid: [0; 2],
        f_charspare: [0; 80],
        f_fstypename: [0; 16],
        f_mntfromname: [0; 1024],
        f_mntonname: [0; 1024],
    };
}

/// A call of rctl_add_rule(2)'s family (sys/rctl.h).
pub(super) type Rctl = unsafe extern "C" fn(*const c_char, size_t, *mut c_char, size_t) -> c_int;

unsafe extern "C" {
    pub(super) fn rctl_add_rule(
        rule: *const c_char,
        rule_bytes: size_t,
        out: *mut c_char,
        out_bytes: size_t,
    ) -> c_int;
    pub(super) fn rctl_remove_rule(
        filter: *const c_char,
        filter_bytes: size_t,
        out: *mut c_char,
        out_bytes: size_t,
    ) -> c_int;
    pub(super) fn rctl_get_rules(
        filter: *const c_char,
        filter_bytes: size_t,
        out: *mut c_char,
        out_bytes: size_t,
    ) -> c_int;
    pub(super) fn rctl_get_racct(
        subject: *const c_char,
        subject_bytes: size_t,
        out: *mut c_char,
        out_bytes: size_t,
    ) -> c_int;
    /// sys/module.h.
    pub(super) fn modfind(name: *const c_char) -> c_int;
}
