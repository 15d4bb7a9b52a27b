//! An end to waits inside the kernel that nobody asked for.
//!
//! The last close of a socket that lingers waits (socket(7), SO_LINGER). A peer that passes descriptors can hide
//! such a socket unread in the queue of another one, and before Linux 6.8 whoever closes any Unix socket collects
//! the garbage of strangers too. No call closes without waiting, but the wait ends with a signal. FreeBSD closes the
//! Unix sockets that lie in a queue on a thread of the kernel's own, but others on the closing one (unp_discard,
//! uipc_usrreq.c; soclose, uipc_socket.c).

use std::io;
use std::time::Duration;

/// Interrupts the thread that made it, again and again while it is armed. The kernel's timer lives as long as
/// the process.
#[derive(Debug)]
pub struct Watchdog {
    timer: libc::timer_t,
}

impl Watchdog {
    /// For the calling thread. Takes over SIGALRM, whose handler does nothing; calls that can go on afterwards do
    /// (SA_RESTART, signal(7)).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        extern "C" fn nothing(_signal: libc::c_int) {}
        // SAFETY: a sigaction is plain integers, for which all zeroes is a value: no flags, nothing masked.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int) = nothing;
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the action is valid, and its handler touches nothing.
        let installed =
            unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        // SAFETY: a sigevent is plain integers and a pointer that is not read; all zeroes is a value.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = own_number();
        let mut timer = std::ptr::null_mut();
        // SAFETY: both point to values of the right type that outlive the call.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if installed != 0 || made != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { timer })
    }

    /// No wait of this thread lasts longer than `limit` from now on.
    pub fn arm(&self, limit: Duration) {
        self.set(limit);
    }

    /// It may wait again.
    pub fn disarm(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, every: Duration) {
        let every = libc::timespec {
            tv_sec: every.as_secs().cast_signed(),
            tv_nsec: every.subsec_nanos().into(),
        };
        let times = libc::itimerspec {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: the timer exists as long as the process, and no old setting is asked for. It cannot fail then.
        unsafe { libc::timer_settime(self.timer, 0, &raw const times, std::ptr::null_mut()) };
    }
}

/// The calling thread's number, as timers name it.
#[cfg(target_os = "linux")]
fn own_number() -> libc::pid_t {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// The calling thread's number, as timers name it.
#[cfg(target_os = "freebsd")]
fn own_number() -> libc::lwpid_t {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::pthread_getthreadid_np() }
}
