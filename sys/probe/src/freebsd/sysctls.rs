//! Every sysctl there is, each set to what it says: a jail may set those of its own, and none of the host's.

use std::io;
use std::ptr;

use crate::attempt::Said;

// sys/sysctl.h: what sysctl(3) answers of names, and what of an answer says who may write.
const NAME: i32 = 1;
const NEXT: i32 = 2;
const FORMAT: i32 = 4;
const WRITABLE: u32 = 0x4000_0000;
const BY_ANYBODY: u32 = 0x1000_0000;
const KIND: u32 = 0xf;
/// `CTLTYPE_NODE`, `CTLTYPE_STRING`, `CTLTYPE_OPAQUE`; the rest are numbers.
const NO_NUMBERS: [u32; 3] = [1, 3, 5];
/// What a write does is not to set a number: each of these stops the kernel, whatever is written (kern/subr_kdb.c).
const NEVER: &str = "debug.kdb.";
/// A jail's own, marked `CTLFLAG_PRISON`: its level, which can be set to what it is and higher (security(7)), and whether
/// its root is one (jail(8), allow.suser).
const OWN: [&str; 2] = ["kern.securelevel", "security.bsd.suser_enabled"];

/// sysctl(3): the bytes read; with `set`, what it is set to.
pub(super) fn sysctl(name: &[i32], set: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let mut answer = vec![0_u8; 4096];
    let mut length = answer.len();
    let (new, new_length) = set.map_or((ptr::null(), 0), |s| (s.as_ptr().cast(), s.len()));
    let count = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: `name` has `count` numbers, `answer` has `length` bytes, `new` is null or has `new_length`; the call keeps none.
    let done = unsafe {
        libc::sysctl(
            name.as_ptr(),
            count,
            answer.as_mut_ptr().cast(),
            &raw mut length,
            new,
            new_length,
        )
    };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    answer.truncate(length);
    Ok(answer)
}

fn numbers(bytes: &[u8]) -> Vec<i32> {
    let words = bytes.chunks_exact(4);
    words
        .filter_map(|w| Some(i32::from_ne_bytes(w.try_into().ok()?)))
        .collect()
}

fn asked(what: i32, name: &[i32]) -> io::Result<Vec<u8>> {
    sysctl(&[&[0, what], name].concat(), None)
}

/// Goes through all of them.
pub(super) fn write_all() -> Said {
    let (mut at, mut tried, mut own) = (vec![1], 0, 0);
    while let Ok(next) = asked(NEXT, &at) {
        at = numbers(&next);
        let Ok(format) = asked(FORMAT, &at) else {
            continue;
        };
        let flags = numbers(&format)
            .first()
            .map_or(0, |word| word.cast_unsigned());
        let settable = flags & WRITABLE != 0 && flags & BY_ANYBODY == 0;
        if !settable || NO_NUMBERS.contains(&(flags & KIND)) {
            continue;
        }
        let name = asked(NAME, &at).unwrap_or_default();
        let name = String::from_utf8_lossy(&name)
            .trim_end_matches('\0')
            .to_owned();
        if name.starts_with(NEVER) {
            continue;
        }
        let Ok(value) = sysctl(&at, None) else {
            continue;
        };
        // A switch that is none while it says 0, and a number that something is to be done with, say so by an error of
        // their own; the kernel asks for the right to write before.
        match sysctl(&at, Some(&value)) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => tried += 1,
            Ok(_) if OWN.contains(&name.as_str()) => own += 1,
            Ok(_) => return Said::broke(format!("{name} can be set")),
            Err(error) => return Said::broke(format!("{name}: {error}")),
        }
    }
    if tried < 100 {
        return Said::broke(format!("only {tried} were found"));
    }
    Said::held(format!("{tried} refused, {own} of the jail's own"))
}
