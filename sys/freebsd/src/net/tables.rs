//! pf's tables of addresses (pf(4), `DIOCRGETTSTATS`), counted.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

use super::request::{Plain, changes, request};

/// `MAXPATHLEN` (sys/param.h).
pub const PATH: usize = 1024;
/// `PF_TABLE_NAME_SIZE` with what follows it in a `struct pfr_table` (net/pfvar.h).
const REST: usize = 40;
/// Length of a `struct pfr_tstats`.
pub const ENTRY: usize = 1200;
/// Where in it the table's flags are.
pub const FLAGS: usize = 1056;
/// And the number of its addresses.
pub const COUNT: usize = 1184;
/// `PFR_TFLAG_ACTIVE`.
pub const ACTIVE: u32 = 4;
/// Tables of one anchor that are asked for.
const MOST: usize = 8;

/// `struct pfioc_table`.
#[repr(C)]
pub struct Tables {
    anchor: [u8; PATH],
    /// `pfrio_table.pfrt_name`.
    pub table: [u8; REST],
    /// `pfrio_buffer`.
    pub buffer: *mut u8,
    /// `pfrio_esize`.
    pub entry: i32,
    /// `pfrio_size`.
    pub size: i32,
    rest: [u32; 6],
}

// SAFETY: bytes and numbers, and a pointer that leads to `size` entries of `entry` bytes where it is used.
unsafe impl Plain for Tables {}

/// `DIOCRGETTSTATS`.
pub const GET: libc::c_ulong = changes(b'D', 64, size_of::<Tables>());

/// pf's device, to look at tables.
#[derive(Debug)]
pub struct PfTables(OwnedFd);

impl PfTables {
    /// Opens it.
    ///
    /// # Errors
    /// `ENOENT` where pf is not loaded.
    pub fn open() -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open("/dev/pf", flags, Mode::empty()).map(Self)
    }

    /// How many networks are in the tables in use of an anchor, all together.
    ///
    /// # Errors
    /// `EINVAL` without such an anchor; `ENODEV` where the kernel's structures are others; `E2BIG` for more tables than
    /// an anchor of ours has.
    pub fn networks(&self, anchor: &str) -> Result<u64> {
        let mut entries = vec![0_u8; MOST * ENTRY];
        let mut tables = Tables {
            anchor: [0; PATH],
            table: [0; REST],
            buffer: entries.as_mut_ptr(),
            entry: i32::try_from(ENTRY).unwrap_or(i32::MAX),
            size: i32::try_from(MOST).unwrap_or(i32::MAX),
            rest: [0; 6],
        };
        let room = &mut tables.anchor[..PATH - 1];
        let bytes = anchor.as_bytes();
        room.get_mut(..bytes.len())
            .ok_or(Errno::NAMETOOLONG)?
            .copy_from_slice(bytes);
        request(self.0.as_fd(), GET, &mut tables)?;
        let found = usize::try_from(tables.size).unwrap_or(usize::MAX);
        if found > MOST {
            return Err(Errno::TOOBIG);
        }
        let number = |entry: &[u8], at: usize| {
            let bytes = entry.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let all = entries.chunks(ENTRY).take(found);
        let used = all.filter(|entry| number(entry, FLAGS) & ACTIVE != 0);
        Ok(used.map(|entry| u64::from(number(entry, COUNT))).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_header() {
        assert_eq!(size_of::<Tables>(), 1104);
        assert_eq!(GET, 0xc450_4440);
    }
}
