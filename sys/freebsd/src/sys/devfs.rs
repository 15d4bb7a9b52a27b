//! Rules about what /dev shows (devfs(4), devfs(8)): the ioctls of fs/devfs/devfs.h, on an open devfs.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

use super::checked;
use super::params::c_text;

/// `struct devfs_rule`.
#[derive(Clone, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are those of the header")]
pub struct DevfsRule {
    pub dr_magic: u32,
    pub dr_id: u32,
    pub dr_icond: libc::c_int,
    pub dr_dswflags: libc::c_int,
    pub dr_pathptrn: [libc::c_char; 200],
    pub dr_iacts: libc::c_int,
    pub dr_bacts: libc::c_int,
    pub dr_uid: u32,
    pub dr_gid: u32,
    pub dr_mode: u16,
    pub dr_incset: u16,
}

/// What `dr_magic` is.
pub const DEVFS_MAGIC: u32 = 0xdb0a_087a;
/// In `dr_icond`: by a pattern of paths.
pub const DRC_PATHPTRN: libc::c_int = 0x2;
/// In `dr_iacts`: hides or shows.
pub const DRA_BACTS: libc::c_int = 0x1;
/// In `dr_bacts`.
pub const DRB_HIDE: libc::c_int = 0x1;
/// In `dr_bacts`.
pub const DRB_UNHIDE: libc::c_int = 0x2;

/// `_IOW` and `_IOWR` of sys/ioccom.h, in devfs's group.
const fn command(direction: u32, number: u32, length: usize) -> libc::c_ulong {
    // No struct here is longer than the 13 bits that the length has.
    (direction | ((length as u32) << 16) | ((b'D' as u32) << 8) | number) as libc::c_ulong
}
/// Of sys/ioccom.h: the argument is read.
pub const IOC_IN: u32 = 0x8000_0000;
/// It is read and written.
pub const IOC_INOUT: u32 = 0xc000_0000;
/// Adds a rule.
pub const DEVFSIO_RADD: libc::c_ulong = command(IOC_INOUT, 0, size_of::<DevfsRule>());
/// Deletes one by its number.
pub const DEVFSIO_RDEL: libc::c_ulong = command(IOC_IN, 1, size_of::<u32>());
/// Applies one without adding it.
pub const DEVFSIO_RAPPLY: libc::c_ulong = command(IOC_IN, 2, size_of::<DevfsRule>());
/// Answers the one after a number.
pub const DEVFSIO_RGETNEXT: libc::c_ulong = command(IOC_INOUT, 4, size_of::<DevfsRule>());
/// Answers the set after a number.
pub const DEVFSIO_SGETNEXT: libc::c_ulong = command(IOC_INOUT, 12, size_of::<u16>());

impl DevfsRule {
    fn empty(set: u16, number: u16) -> Self {
        Self {
            dr_magic: DEVFS_MAGIC,
            dr_id: (u32::from(set) << 16) | u32::from(number),
            dr_icond: 0,
            dr_dswflags: 0,
            dr_pathptrn: [0; 200],
            dr_iacts: 0,
            dr_bacts: 0,
            dr_uid: 0,
            dr_gid: 0,
            dr_mode: 0,
            dr_incset: 0,
        }
    }

    /// Its number in its set.
    #[must_use]
    pub fn number(&self) -> u16 {
        // The lower half.
        (self.dr_id & 0xffff) as u16
    }

    /// The paths that it is about, if not all.
    #[must_use]
    pub fn pattern(&self) -> Option<String> {
        let by_path = self.dr_icond & DRC_PATHPTRN != 0;
        by_path.then(|| String::from_utf8_lossy(&c_text(&self.dr_pathptrn)).into_owned())
    }
}

fn ioctl<T>(devfs: BorrowedFd<'_>, command: libc::c_ulong, argument: &mut T) -> Result<()> {
    // SAFETY: every caller passes the type whose length its command holds.
    let answer = unsafe { libc::ioctl(devfs.as_raw_fd(), command, std::ptr::from_mut(argument)) };
    checked(answer).map(drop)
}

/// The sets that have rules.
///
/// # Errors
/// Those of ioctl(2): `ENOTTY` when it is no devfs.
pub fn sets(devfs: BorrowedFd<'_>) -> Result<Vec<u16>> {
    let mut found = Vec::new();
    let mut number = 0_u16;
    loop {
        match ioctl(devfs, DEVFSIO_SGETNEXT, &mut number) {
            Ok(()) => found.push(number),
            Err(Errno::NOENT) => return Ok(found),
            Err(errno) => return Err(errno),
        }
    }
}

/// The rule of a set that follows number `after`, if there is one.
///
/// # Errors
/// Those of ioctl(2).
pub fn next_rule(devfs: BorrowedFd<'_>, set: u16, after: u16) -> Result<Option<DevfsRule>> {
    let mut rule = DevfsRule::empty(set, after);
    match ioctl(devfs, DEVFSIO_RGETNEXT, &mut rule) {
        Ok(()) => Ok(Some(rule)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Adds a rule: whether what matches `pattern`, or everything, is shown.
///
/// # Errors
/// `EEXIST` when the set has a rule of that number.
pub fn add_rule(
    devfs: BorrowedFd<'_>,
    set: u16,
    number: u16,
    pattern: Option<&str>,
    shown: bool,
) -> Result<()> {
    ioctl(devfs, DEVFSIO_RADD, &mut rule(set, number, pattern, shown)?)
}

/// Shows what has this name in one devfs, whatever its rules are.
///
/// # Errors
/// Those of ioctl(2).
pub fn show(devfs: BorrowedFd<'_>, name: &str) -> Result<()> {
    ioctl(devfs, DEVFSIO_RAPPLY, &mut rule(0, 0, Some(name), true)?)
}

fn rule(set: u16, number: u16, pattern: Option<&str>, shown: bool) -> Result<DevfsRule> {
    let mut rule = DevfsRule::empty(set, number);
    if let Some(pattern) = pattern {
        // The kernel refuses a pattern without its terminating zero.
        if pattern.len() >= rule.dr_pathptrn.len() || pattern.contains('\0') {
            return Err(Errno::INVAL);
        }
        rule.dr_icond = DRC_PATHPTRN;
        for (to, from) in rule.dr_pathptrn.iter_mut().zip(pattern.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
    }
    rule.dr_iacts = DRA_BACTS;
    rule.dr_bacts = if shown { DRB_UNHIDE } else { DRB_HIDE };
    Ok(rule)
}

/// Deletes a rule; a set without rules goes when no devfs uses it.
///
/// # Errors
/// `ENOENT` when there is none of that number.
pub fn delete_rule(devfs: BorrowedFd<'_>, set: u16, number: u16) -> Result<()> {
    let mut id = (u32::from(set) << 16) | u32::from(number);
    ioctl(devfs, DEVFSIO_RDEL, &mut id)
}
