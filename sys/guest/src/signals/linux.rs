//! By a descriptor for signals (signalfd(2)). A sender outside the sandbox has no pid in it: `si_pid` is 0.

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::{Event, Signals, io};

/// Size of `struct signalfd_siginfo`.
const RECORD: usize = 128;

impl Signals {
    /// Blocks the two signals in this thread and opens the descriptor. To be called before there are
    /// other threads, which inherit the mask.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: it writes the whole set it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has just initialised it.
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGCHLD, libc::SIGTERM] {
            // SAFETY: a valid set and a valid signal.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: a valid set; the old mask is not asked for.
        let masked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if masked != 0 {
            return Err(io::Error::from_raw_os_error(masked));
        }
        // SAFETY: a valid set; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just made it and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next event, or `None` when there is none now.
    ///
    /// # Errors
    /// The kernel's, other than "nothing there".
    pub fn read(&self) -> io::Result<Option<Event>> {
        loop {
            let mut record = [0_u8; RECORD];
            match rustix::io::read(&self.fd, &mut record) {
                Ok(RECORD) => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            // ssi_signo is the first field, ssi_pid the fourth; all of 32 bits.
            let field = |n: usize| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&record[n * 4..n * 4 + 4]);
                u32::from_ne_bytes(bytes)
            };
            if field(0) == libc::SIGCHLD.cast_unsigned() {
                return Ok(Some(Event::Child));
            }
            let is_init = std::process::id() == 1;
            if field(3) == 0 || !is_init {
                return Ok(Some(Event::Terminate));
            }
        }
    }
}

/// Asks every process of the sandbox to end. Does nothing unless this process is the sandbox's pid 1: for
/// any other, "all" would be more than the sandbox.
pub fn terminate_all() {
    if std::process::id() == 1 {
        // SAFETY: sends a signal; -1 is every process but this one (kill(2)).
        unsafe { libc::kill(-1, libc::SIGTERM) };
    }
}
