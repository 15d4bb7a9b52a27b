//! From the processes that show in the jail (sysctl(3), KERN_PROC_PROC): they are the sandbox. What the jail itself is
//! charged with (rctl(4)) can only be asked from outside it.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Memory, Processors};

/// KINFO_PROC_SIZE of sys/user.h, by which the kernel refuses other layouts.
const _: () = assert!(size_of::<libc::kinfo_proc>() == 1088 || size_of::<usize>() != 8);

/// When the sandbox began.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Now the sandbox begins.
pub(crate) fn begin() {
    BEGIN.get_or_init(Instant::now);
}

/// What all processes hold resident, which is what the limit `memoryuse` of rctl(8) counts as well: memory that they
/// share counts for each. The total is the machine's (`hw.physmem`): inside, no smaller limit can be asked for.
#[must_use]
pub fn memory() -> Memory {
    let mut total: libc::c_ulong = 0;
    let mut length = size_of::<libc::c_ulong>();
    // SAFETY: a name, room of that length, and nothing to set.
    let asked = unsafe {
        libc::sysctlbyname(
            c"hw.physmem".as_ptr(),
            (&raw mut total).cast(),
            &raw mut length,
            ptr::null(),
            0,
        )
    };
    let total = if asked == 0 { total } else { 0 };
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    let used = processes().iter().fold(0_u64, |sum, process| {
        let pages = u64::try_from(process.ki_rssize).unwrap_or(0);
        sum.saturating_add(pages.saturating_mul(page))
    });
    Memory {
        total,
        used: used.min(total),
        cache: 0,
    }
}

/// Of all processes and of their children that have ended; the processors are those that may be used here
/// (cpuset(2)). A child that ends is counted with whoever waits for it, so nothing is lost.
#[must_use]
pub fn processors() -> Processors {
    let since = BEGIN.get_or_init(Instant::now).elapsed();
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let busy = processes().iter().fold(Duration::ZERO, |sum, process| {
        let children = &process.ki_childtime;
        sum + Duration::from_micros(process.ki_runtime)
            + Duration::from_secs(u64::try_from(children.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(children.tv_usec).unwrap_or(0))
    });
    Processors {
        all: since * u32::try_from(count).unwrap_or(u32::MAX),
        busy,
    }
}

/// Those that this one may see; none when the kernel does not say.
fn processes() -> Vec<libc::kinfo_proc> {
    /// Started since they were counted.
    const MORE: usize = 32;
    const TRIES: usize = 4;
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PROC, 0];
    for _ in 0..TRIES {
        let mut length = 0;
        // SAFETY: a name of that length; no room, so that only the length is told.
        let asked = unsafe {
            libc::sysctl(
                name.as_ptr(),
                3,
                ptr::null_mut(),
                &raw mut length,
                ptr::null(),
                0,
            )
        };
        if asked < 0 {
            return Vec::new();
        }
        let room = length / size_of::<libc::kinfo_proc>() + MORE;
        let mut found: Vec<MaybeUninit<libc::kinfo_proc>> = Vec::with_capacity(room);
        let mut length = room * size_of::<libc::kinfo_proc>();
        // SAFETY: a name of that length, and room of the length told.
        let asked = unsafe {
            libc::sysctl(
                name.as_ptr(),
                3,
                found.as_mut_ptr().cast(),
                &raw mut length,
                ptr::null(),
                0,
            )
        };
        if asked < 0 {
            if io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) {
                continue;
            }
            return Vec::new();
        }
        let count = length / size_of::<libc::kinfo_proc>();
        // SAFETY: the kernel wrote so many whole records, in the room there is.
        unsafe { found.set_len(count) };
        return found
            .into_iter()
            // SAFETY: plain integers and pointers that are not followed, written by the kernel.
            .map(|process| unsafe { process.assume_init() })
            // Another layout would be another version's (`ki_structsize`, sys/user.h).
            .filter(|process| {
                usize::try_from(process.ki_structsize) == Ok(size_of::<libc::kinfo_proc>())
            })
            .collect();
    }
    Vec::new()
}
