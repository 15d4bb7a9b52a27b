//! With the parent's memory until it executes (`CLONE_VM | CLONE_VFORK`, clone(2)): nothing is copied, so
//! the time does not depend on how large the agent is, and only the calling thread waits.
//!
//! Rules for the child, which runs on the parent's memory and thread-local storage: no allocation, no lock,
//! no library call that keeps state; only system calls and writes to its own stack and to `Failure`.
//! Not clone3(2): its flags cannot be inspected by a seccomp filter, so sandboxes refuse it.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::{DESCRIPTORS, Resource, Rlimit, Spawn, SpawnError, setrlimit};

/// Bytes of the child's own stack. execve and a handful of small frames need under 4 KiB.
const STACK: usize = 32 * 1024;
/// All signals get their defaults back (but for the two that the C library keeps to itself and refuses).
const LAST_SIGNAL: c_int = 64;
/// The first descriptor that is not standard input, output or error.
const FIRST_OTHER: libc::c_uint = 3;

#[derive(Clone, Copy)]
enum Step {
    Setup,
    Cwd,
    Exec,
}

struct Child<'a> {
    what: &'a Spawn<'a>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    groups: Vec<Gid>,
    descriptors: Option<&'static Rlimit>,
    failure: Option<(Step, Errno)>,
}

/// Starts a process in a session and process group of its own and returns its pid.
///
/// Signal mask and dispositions are the defaults, no descriptor but the three is inherited. The caller
/// must reap it. Blocks until the program executes (some 0.1 to 0.5 ms).
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
        groups: what.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
        descriptors: DESCRIPTORS.get(),
        failure: None,
    };
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;

    let old = block_all_signals().map_err(SpawnError::Fork)?;
    // SAFETY: `run` gets a pointer to a live `Child` on a stack of its own that is 16-aligned and large
    // enough; CLONE_VFORK keeps this thread here until the child has executed or exited, so both outlive
    // its use, and the child follows the rules at the top of this file.
    let pid = unsafe {
        libc::clone(
            run,
            top.cast::<c_void>(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut child).cast::<c_void>(),
        )
    };
    let error = io::Error::last_os_error();
    restore_signals(&old);
    drop(stack);

    let Ok(pid) = u32::try_from(pid) else {
        return Err(SpawnError::Fork(error));
    };
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

extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a pointer to its `Child` and waits, so this is the only reference in use.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    if let Err(failure) = set_up(child) {
        child.failure = Some(failure);
    } else {
        // SAFETY: three null-terminated lists and strings that live in the waiting parent.
        unsafe {
            libc::execve(
                child.what.program.as_ptr(),
                child.argv.as_ptr(),
                child.env.as_ptr(),
            )
        };
        // The thread-local errno is the waiting parent thread's, valid for the child as well.
        let errno = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC);
        child.failure = Some((Step::Exec, errno));
    }
    // SAFETY: ends only the child, without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn set_up(child: &Child<'_>) -> Result<(), (Step, Errno)> {
    let setup = |errno| (Step::Setup, errno);
    let what = child.what;
    rustix::process::setsid().map_err(setup)?;
    // None of the three is 0, 1 or 2 itself: those are open in the agent, so new ones are higher.
    rustix::stdio::dup2_stdin(what.stdio[0]).map_err(setup)?;
    rustix::stdio::dup2_stdout(what.stdio[1]).map_err(setup)?;
    rustix::stdio::dup2_stderr(what.stdio[2]).map_err(setup)?;
    if what.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).map_err(setup)?;
    }
    // Everything is opened close-on-exec; this is the second lock. Kernels before 5.11 lack it.
    // SAFETY: marks descriptors of the child's own table, and closes none that it still uses.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_OTHER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if let Some(limit) = child.descriptors {
        setrlimit(Resource::Nofile, *limit).map_err(setup)?;
    }
    // System calls for this thread alone: the library's setuid would signal the parent's other threads.
    rustix::thread::set_thread_groups(&child.groups).map_err(setup)?;
    let gid = Gid::from_raw(what.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(setup)?;
    let uid = Uid::from_raw(what.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(setup)?;
    rustix::process::chdir(what.cwd.as_c_str()).map_err(|errno| (Step::Cwd, errno))?;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the default action; the child's table of actions is its own. SIGKILL and SIGSTOP refuse.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes the whole set it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: a valid set; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    Ok(())
}
