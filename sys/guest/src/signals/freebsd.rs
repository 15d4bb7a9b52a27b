//! By a queue that wakes (kqueue(2), EVFILT_SIGNAL). That a child ended is known by the queue alone: a signal whose
//! default is to be ignored never stays pending (`kern.sig_discard_ign`, kern_sig.c). SIGTERM does, and says who sent it
//! (sigtimedwait(2)).

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

use super::{Event, Signals, io};

/// Those that wake.
const READ: [libc::c_int; 2] = [libc::SIGCHLD, libc::SIGTERM];
/// Those whose default would end or stop this process, and that say nothing about a fault in it (signal(3)).
const IGNORED: [libc::c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGUSR1,
    libc::SIGUSR2,
];
static AT_ONCE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The set of SIGTERM alone.
fn only_terminate() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes the whole set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has just initialised it.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: a valid set and a valid signal.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGTERM) };
    set
}

impl Signals {
    /// Blocks SIGTERM in this thread, ignores what would end or stop the process otherwise, and opens the
    /// descriptor. To be called before there are other threads, which inherit the mask.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        for signal in IGNORED {
            // SAFETY: no handler; what is started gets the defaults back.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let set = only_terminate();
        // SAFETY: a valid set; the old mask is not asked for.
        let masked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if masked != 0 {
            return Err(io::Error::from_raw_os_error(masked));
        }
        // SAFETY: no arguments. The queue is not inherited by what is started (kqueue(2)).
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: kqueue has just made it and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let wanted = READ.map(|signal| {
            // SAFETY: a kevent is plain integers and a pointer that is not read; all zeroes is a value.
            let mut event: libc::kevent = unsafe { std::mem::zeroed() };
            event.ident = number(signal);
            event.filter = libc::EVFILT_SIGNAL;
            event.flags = libc::EV_ADD;
            event
        });
        // SAFETY: a list of that length, and no room for answers asked for.
        let added = unsafe {
            libc::kevent(
                fd.as_raw_fd(),
                wanted.as_ptr(),
                2,
                ptr::null_mut(),
                0,
                ptr::null(),
            )
        };
        if added < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd })
    }

    /// The next event, or `None` when there is none now.
    ///
    /// # Errors
    /// The kernel's, other than "nothing there".
    pub fn read(&self) -> io::Result<Option<Event>> {
        // First the queue: what comes after this wakes anew.
        // SAFETY: a kevent is plain integers and a pointer that is not read; all zeroes is a value.
        let mut woken: [libc::kevent; 2] = unsafe { std::mem::zeroed() };
        // SAFETY: room for two, and a time not to wait longer than.
        let count = unsafe {
            libc::kevent(
                self.fd.as_raw_fd(),
                ptr::null(),
                0,
                woken.as_mut_ptr(),
                2,
                &raw const AT_ONCE,
            )
        };
        // SIGTERM waits until the next question.
        let child = |event: &libc::kevent| event.ident == number(libc::SIGCHLD);
        if woken[..usize::try_from(count).unwrap_or(0)]
            .iter()
            .any(child)
        {
            return Ok(Some(Event::Child));
        }
        let set = only_terminate();
        loop {
            let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: a valid set, room for what is told, and a time not to wait longer than.
            let signal = unsafe {
                libc::sigtimedwait(&raw const set, about.as_mut_ptr(), &raw const AT_ONCE)
            };
            if signal < 0 {
                let error = io::Error::last_os_error();
                match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(None),
                    Some(Errno::INTR) => continue,
                    _ => return Err(error),
                }
            }
            // SAFETY: all zeroes is a value, and the kernel may have written another.
            let about = unsafe { about.assume_init() };
            if !is_jailed() || !is_inside(about.si_pid) {
                return Ok(Some(Event::Terminate));
            }
        }
    }
}

/// As kevent(2) names a signal.
fn number(signal: libc::c_int) -> libc::uintptr_t {
    usize::try_from(signal).unwrap_or(0)
}

/// Whether this process is in a jail (sysctl `security.jail.jailed`, jail(8)).
fn is_jailed() -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>();
    // SAFETY: a name, room of that length, and nothing to set.
    let asked = unsafe {
        libc::sysctlbyname(
            c"security.jail.jailed".as_ptr(),
            (&raw mut value).cast(),
            &raw mut length,
            ptr::null(),
            0,
        )
    };
    asked == 0 && value != 0
}

/// Whether there is a process of that number in this jail: those outside it are not seen (jail(8)).
fn is_inside(pid: libc::pid_t) -> bool {
    // SAFETY: signal 0 only asks.
    pid > 0
        && (unsafe { libc::kill(pid, 0) } == 0
            || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH))
}

/// Asks every process of the sandbox to end: all that descend from this one, which must be their reaper
/// (procctl(2), PROC_REAP_KILL).
pub fn terminate_all() {
    /// `struct procctl_reaper_kill` of sys/procctl.h.
    #[repr(C)]
    struct ReaperKill {
        signal: libc::c_int,
        flags: libc::c_uint,
        subtree: libc::pid_t,
        killed: libc::c_uint,
        first_failed: libc::pid_t,
        pad: [libc::c_uint; 15],
    }
    let mut kill = ReaperKill {
        signal: libc::SIGTERM,
        flags: 0,
        subtree: 0,
        killed: 0,
        first_failed: 0,
        pad: [0; 15],
    };
    // It fails when there is nobody to tell.
    // SAFETY: the structure this command reads and writes.
    unsafe {
        libc::procctl(
            libc::P_PID,
            std::process::id().into(),
            libc::PROC_REAP_KILL,
            (&raw mut kill).cast(),
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: the signals are the whole process's.
    #[test]
    fn a_child_that_ends_and_a_wish_to_end_are_told() {
        let signals = Signals::new().expect("a queue");
        let until = |wanted: Event| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while signals.read().expect("reads") != Some(wanted) {
                assert!(std::time::Instant::now() < end, "not told: {wanted:?}");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        };
        let child = std::process::Command::new("/usr/bin/true").spawn();
        let mut child = child.expect("starts");
        until(Event::Child);
        assert!(child.wait().expect("ended").success());
        // SAFETY: no arguments.
        let own = unsafe { libc::pthread_self() };
        // SAFETY: sends a signal to this thread, which has it blocked.
        let sent = unsafe { libc::pthread_kill(own, libc::SIGTERM) };
        assert_eq!(sent, 0);
        if is_jailed() {
            // From inside: it does not count.
            for _ in 0..3 {
                assert_ne!(signals.read().expect("reads"), Some(Event::Terminate));
            }
        } else {
            until(Event::Terminate);
        }
    }
}
