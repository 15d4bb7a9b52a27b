//! Which processors a jail may use (cpuset(2)).

use rustix::io::{Errno, Result};

use super::checked;

/// `CPU_MAXSIZE`: the kernel takes no longer set and refuses one that is shorter than its own.
const BYTES: usize = 1024 / 8;

/// Lets the processes of a jail run on these processors only; nothing in it can lift that.
///
/// # Errors
/// `EINVAL` for a processor that there is not, `ESRCH` for no such jail.
pub fn confine_jail(jid: i32, processors: &[u32]) -> Result<()> {
    let mut mask = [0_u8; BYTES];
    for processor in processors {
        let at = usize::try_from(processor / 8).map_err(|_| Errno::INVAL)?;
        // The mask is an array of long; on little-endian machines, which both of ours are, of bytes too.
        *mask.get_mut(at).ok_or(Errno::INVAL)? |= 1 << (processor % 8);
    }
    // SAFETY: the mask has the length given and outlives the call.
    let answer = unsafe {
        libc::cpuset_setaffinity(
            libc::CPU_LEVEL_WHICH,
            libc::CPU_WHICH_JAIL,
            i64::from(jid),
            BYTES,
            mask.as_ptr().cast(),
        )
    };
    checked(answer).map(drop)
}
