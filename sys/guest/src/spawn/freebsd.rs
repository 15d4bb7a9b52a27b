//! With the parent's memory until it executes (rfork(2), RFSPAWN, as posix_spawn(3) does it): nothing is copied, so
//! the time does not depend on how large the agent is, and only the calling thread waits. Where the C library has no
//! rfork_thread(3), that is on 14.x for all but amd64, by fork(2), which says by a pipe what failed.
//!
//! Rules for the child, which may run on the parent's memory and thread-local storage: no allocation, no lock, no
//! library call that keeps state; only system calls and writes to its own stack and to `Failure`. The thread library
//! keeps a table of signal actions, so those are set by the bare system call.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;

use super::{DESCRIPTORS, Resource, Rlimit, Spawn, SpawnError, setrlimit};

/// _SIG_MAXSIG of sys/_sig.h.
const LAST_SIGNAL: c_int = 128;
/// Of sys/syscall.h; the same on every architecture.
const SYS_SIGACTION: c_int = 416;
const SYS_SIGPROCMASK: c_int = 340;
/// The first descriptor that is not standard input, output or error.
const FIRST_OTHER: libc::c_uint = 3;

unsafe extern "C" {
    /// unistd.h; not in the libc crate.
    fn setlogin(name: *const c_char) -> c_int;
}

#[derive(Clone, Copy)]
enum Step {
    Setup,
    Cwd,
    Exec,
}

/// Which step, and why.
type Failure = (Step, Errno);

struct Child<'a> {
    what: &'a Spawn<'a>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    groups: Vec<libc::gid_t>,
    descriptors: Option<&'static Rlimit>,
    failure: Option<Failure>,
}

/// Starts a process in a session and process group of its own and returns its pid.
///
/// Signal mask and dispositions are the defaults, no descriptor but the three is inherited. Nothing keeps it from
/// gaining privileges by what it executes. The caller must reap it. Blocks until the program executes.
///
/// # Errors
/// [`SpawnError`]; there is no process then.
pub fn spawn(what: &Spawn<'_>) -> Result<u32, SpawnError> {
    let pointers = |list: &[std::ffi::CString]| -> Vec<*const c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let mut child = Child {
        what,
        argv: pointers(&what.argv),
        env: pointers(&what.env),
        groups: groups(what),
        descriptors: DESCRIPTORS.get(),
        failure: None,
    };
    let old = block_all_signals().map_err(SpawnError::Fork)?;
    let started = start(&mut child);
    restore_signals(&old);
    let pid = started.map_err(SpawnError::Fork)?;
    let Some((step, errno)) = child.failure else {
        return Ok(pid);
    };
    // It has exited already; nobody else may learn of it.
    let _ = rustix::io::retry_on_intr(|| {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed());
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
    });
    let error = errno.into();
    Err(match step {
        Step::Setup => SpawnError::Setup(error),
        Step::Cwd => SpawnError::Cwd(error),
        Step::Exec => SpawnError::Exec(error),
    })
}

/// With the own group twice: the call that programs made for 14.x get takes the first one off (setgroups(2), HISTORY).
fn groups(what: &Spawn<'_>) -> Vec<libc::gid_t> {
    std::iter::once(what.gid)
        .chain(what.groups.iter().copied())
        .collect()
}

#[cfg(target_arch = "x86_64")]
fn start(child: &mut Child<'_>) -> io::Result<u32> {
    /// Of sys/unistd.h: the memory shared, a table of descriptors of its own, and the caller waits.
    const RFSPAWN: c_int = 1 << 31;
    /// Bytes of the child's own stack. execve and a handful of small frames need under 4 KiB.
    const STACK: usize = 32 * 1024;
    unsafe extern "C" {
        /// rfork_thread(3).
        fn rfork_thread(
            flags: c_int,
            stack: *mut c_void,
            run: extern "C" fn(*mut c_void) -> c_int,
            argument: *mut c_void,
        ) -> libc::pid_t;
    }
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    // SAFETY: `run` gets a pointer to a live `Child` on a stack of its own that is 16-aligned and large enough; the
    // flag keeps this thread here until the child has executed or exited, so both outlive its use, and the child
    // follows the rules at the top of this file.
    let pid = unsafe {
        rfork_thread(
            RFSPAWN,
            top.cast::<c_void>(),
            run,
            ptr::from_mut(child).cast::<c_void>(),
        )
    };
    let error = io::Error::last_os_error();
    drop(stack);
    u32::try_from(pid).map_err(|_| error)
}

#[cfg(target_arch = "x86_64")]
extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to its `Child` and waits, so this is the only reference in use.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    child.failure = Some(execute(child));
    // SAFETY: ends only the child, without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

#[cfg(not(target_arch = "x86_64"))]
fn start(child: &mut Child<'_>) -> io::Result<u32> {
    by_fork(child)
}

/// The end of the pipe closes when the program executes.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn by_fork(child: &mut Child<'_>) -> io::Result<u32> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls only (the rules at the top of this file), so that no lock which another
    // thread may hold is missed.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let (step, errno) = execute(child);
        let mut message = [step as u8; 5];
        message[1..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
        let _ = rustix::io::write(&write, &message);
        // SAFETY: ends only the child, without running anything of the parent's.
        unsafe { libc::_exit(127) }
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    drop(write);
    let mut message = [0; 5];
    if let Ok(5) = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut message)) {
        let step = [Step::Setup, Step::Cwd, Step::Exec][usize::from(message[0].min(2))];
        let mut errno = [0; 4];
        errno.copy_from_slice(&message[1..]);
        child.failure = Some((step, Errno::from_raw_os_error(i32::from_ne_bytes(errno))));
    }
    Ok(pid)
}

/// So that no handler runs in the child on shared memory.
fn block_all_signals() -> io::Result<libc::sigset_t> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes the whole set it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset has initialised `all`; `old` has room for a set.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // SAFETY: pthread_sigmask succeeded and wrote it.
    Ok(unsafe { old.assume_init() })
}

fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: a valid set; the replaced mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::from_ref(old), ptr::null_mut()) };
}

/// Only comes back when it fails.
fn execute(child: &Child<'_>) -> Failure {
    if let Err(failure) = set_up(child) {
        return failure;
    }
    // SAFETY: three null-terminated lists and strings that live in the waiting parent.
    unsafe {
        libc::execve(
            child.what.program.as_ptr(),
            child.argv.as_ptr(),
            child.env.as_ptr(),
        )
    };
    (Step::Exec, last_errno())
}

/// The thread-local errno is the waiting parent thread's, valid for the child as well.
fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn set_up(child: &Child<'_>) -> Result<(), Failure> {
    let setup = |errno| (Step::Setup, errno);
    let done = |result: c_int| {
        if result < 0 {
            Err((Step::Setup, last_errno()))
        } else {
            Ok(())
        }
    };
    let what = child.what;
    rustix::process::setsid().map_err(setup)?;
    // Only root may, so it comes before the change of user; the session is the child's own. Longer names than it takes
    // (MAXLOGNAME) are no reason not to start.
    // SAFETY: a string.
    match done(unsafe { setlogin(what.login.as_ptr()) }) {
        Err((_, Errno::INVAL)) => {}
        other => other?,
    }
    // None of the three is 0, 1 or 2 itself: those are open in the agent, so new ones are higher.
    rustix::stdio::dup2_stdin(what.stdio[0]).map_err(setup)?;
    rustix::stdio::dup2_stdout(what.stdio[1]).map_err(setup)?;
    rustix::stdio::dup2_stderr(what.stdio[2]).map_err(setup)?;
    if what.terminal {
        // SAFETY: a command without argument, of tty(4).
        done(unsafe { libc::ioctl(0, libc::TIOCSCTTY) })?;
    }
    // Everything is opened close-on-exec; this is the second lock, which older kernels lack. Marked, not closed: a
    // pipe may have to tell what failed.
    // SAFETY: marks descriptors of the child's own table, and closes none that it still uses.
    let _ = unsafe {
        libc::close_range(
            FIRST_OTHER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC.cast_signed(),
        )
    };
    if let Some(limit) = child.descriptors {
        setrlimit(Resource::Nofile, *limit).map_err(setup)?;
    }
    let count = c_int::try_from(child.groups.len()).unwrap_or(c_int::MAX);
    // SAFETY: a list of that length.
    done(unsafe { libc::setgroups(count, child.groups.as_ptr()) })?;
    // SAFETY: numbers alone.
    done(unsafe { libc::setresgid(what.gid, what.gid, what.gid) })?;
    // SAFETY: numbers alone.
    done(unsafe { libc::setresuid(what.uid, what.uid, what.uid) })?;
    rustix::process::chdir(what.cwd.as_c_str()).map_err(|errno| (Step::Cwd, errno))?;
    reset_signals();
    Ok(())
}

/// Every action is the default again, and none is blocked. For the kernel alone: the library's own tables are the
/// parent's.
fn reset_signals() {
    // SAFETY: a sigaction is plain integers, for which all zeroes is a value: the default, nothing masked, no flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let nothing: *mut libc::sigaction = ptr::null_mut();
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: a valid action; the old one is not asked for. SIGKILL and SIGSTOP refuse.
        unsafe { libc::syscall(SYS_SIGACTION, signal, &raw const default, nothing) };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes the whole set it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    let nothing: *mut libc::sigset_t = ptr::null_mut();
    // SAFETY: a valid set; the old mask is not asked for.
    unsafe { libc::syscall(SYS_SIGPROCMASK, libc::SIG_SETMASK, none.as_ptr(), nothing) };
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::{AsFd as _, OwnedFd};

    use super::*;

    fn child<'a>(what: &'a Spawn<'a>) -> Child<'a> {
        let pointers = |list: &'a [CString]| {
            let mut all: Vec<_> = list.iter().map(|text| text.as_ptr()).collect();
            all.push(ptr::null());
            all
        };
        Child {
            what,
            argv: pointers(&what.argv),
            env: pointers(&what.env),
            groups: groups(what),
            descriptors: None,
            failure: None,
        }
    }

    /// What other architectures do.
    #[test]
    fn a_copy_of_the_process_serves_as_well() {
        if !rustix::process::getuid().is_root() {
            return; // setlogin and setgroups need it
        }
        let null: OwnedFd = std::fs::File::open("/dev/null").expect("null").into();
        let text = |text: &str| CString::new(text).expect("no zero byte");
        let mut what = Spawn {
            program: text("/bin/sh"),
            argv: vec![text("sh"), text("-c"), text("exit 7")],
            env: Vec::new(),
            cwd: text("/"),
            stdio: [null.as_fd(); 3],
            terminal: false,
            uid: 0,
            gid: 0,
            groups: vec![0],
            login: text("root"),
        };
        let ended = |pid: u32| {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            let options = rustix::process::WaitOptions::empty();
            let (_, status) = rustix::process::waitpid(pid, options)
                .expect("a child")
                .expect("ended");
            status.exit_status()
        };
        let mut good = child(&what);
        let pid = by_fork(&mut good).expect("starts");
        assert!(good.failure.is_none());
        assert_eq!(ended(pid), Some(7));
        what.program = text("/no/such/program");
        let mut bad = child(&what);
        let pid = by_fork(&mut bad).expect("starts");
        assert!(matches!(bad.failure, Some((Step::Exec, Errno::NOENT))));
        assert_eq!(ended(pid), Some(127));
    }
}
