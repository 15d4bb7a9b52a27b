//! Sleeping. clock_nanosleep(2), which Rust's `thread::sleep` calls, is not among the calls of capability mode, though
//! nanosleep(2) is; the standard library panics over it. So every program that can be confined has its own.

use libc::{c_int, clockid_t, timespec};

/// As clock_nanosleep(2), by nanosleep(2).
///
/// # Safety
/// As of clock_nanosleep(2): `wanted` is readable, `left` null or writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    wanted: *const timespec,
    left: *mut timespec,
) -> c_int {
    let mut rest = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (wanted, left) = if flags & libc::TIMER_ABSTIME == 0 {
        (wanted, left)
    } else {
        // SAFETY: writes one timespec, which is live.
        if unsafe { libc::clock_gettime(clock, &raw mut rest) } != 0 {
            return errno();
        }
        // SAFETY: the caller's.
        let until = unsafe { *wanted };
        rest = match difference(until, rest) {
            Some(rest) => rest,
            None => return 0,
        };
        (&raw const rest, std::ptr::null_mut())
    };
    // SAFETY: the caller's, or one that is live and none.
    if unsafe { libc::nanosleep(wanted, left) } == 0 {
        return 0;
    }
    errno()
}

fn errno() -> c_int {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EINVAL)
}

/// From `now` until then, if that is later.
fn difference(until: timespec, now: timespec) -> Option<timespec> {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds = |at: timespec| {
        let whole = at.tv_sec.checked_mul(SECOND)?;
        whole.checked_add(at.tv_nsec)
    };
    let rest = nanoseconds(until)?.checked_sub(nanoseconds(now)?)?;
    (rest > 0).then_some(timespec {
        tv_sec: rest / SECOND,
        tv_nsec: rest % SECOND,
    })
}
