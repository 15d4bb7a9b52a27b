//! Any system call by its number, with arguments that cannot hurt.

use std::ffi::{CStr, c_long};
use std::io;

/// An argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// A number, or a null pointer.
    Number(i64),
    /// A text.
    Text(&'static CStr),
    /// Bytes that the kernel reads.
    Bytes(&'static [u8]),
}

impl Arg {
    fn word(self) -> c_long {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text.as_ptr() as c_long,
            Self::Bytes(bytes) => bytes.as_ptr() as c_long,
        }
    }
}

// syscall(2). FreeBSD's `syscall` would answer an int alone, `__syscall` is the same with a wide answer; libc does not
// declare either there.
#[cfg(target_os = "freebsd")]
unsafe extern "C" {
    #[link_name = "__syscall"]
    fn syscall(number: i64, ...) -> i64;
}
#[cfg(target_os = "linux")]
use libc::syscall;

/// Makes it. The rows that name calls pass constants, which live for ever and which the kernel only reads, numbers and
/// null; none passes memory that is written to.
pub(crate) fn call(number: i64, args: &[Arg]) -> io::Result<i64> {
    // sigaction(2): a call that the kernel does not have ends who makes it, unless SIGSYS is ignored; then it is ENOSYS.
    #[cfg(target_os = "freebsd")]
    // SAFETY: SIG_IGN is no function, and nothing of this program waits for the signal.
    unsafe {
        libc::signal(libc::SIGSYS, libc::SIG_IGN)
    };
    let word = |n: usize| args.get(n).map_or(0, |a| a.word());
    // SAFETY: every pointer is to a constant that outlives the call, and no row names a call that writes to what its
    // arguments point to or that changes this process's memory.
    let answer = unsafe { syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}
