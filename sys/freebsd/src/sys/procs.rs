//! Processes as the kernel lists them (sysctl `kern.proc`, `struct kinfo_proc` of sys/user.h).

use rustix::io::{Errno, Result};

use super::params::c_text;
use super::{checked, sysctl};

/// A process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proc {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its jail's; 0 outside of all jails.
    pub jid: i32,
    /// When it started, in microseconds since the host did. Setting the clock does not move it.
    pub started: u64,
    /// What it does.
    pub state: State,
    /// Whether a signal has stopped it, or has told it to stop and will.
    pub told_to_stop: bool,
    /// Processor time that it has used, in microseconds.
    pub runtime_us: u64,
    /// Its resident memory, in pages.
    pub resident: u64,
    /// How many threads it has.
    pub threads: u32,
    /// Its effective user.
    pub uid: u32,
    /// The name of its program, cut.
    pub name: String,
}

/// What a process, or a thread, does (`S*` of sys/proc.h).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It runs, or could.
    Running,
    /// It waits.
    Sleeping,
    /// A signal stopped it.
    Stopped,
    /// It has ended and its parent has not noticed.
    Zombie,
    /// Anything else: being made, or waiting for a lock.
    Other,
}

// `ki_stat`, sys/proc.h.
/// Runs, or could.
pub const SRUN: libc::c_char = 2;
/// Sleeps.
pub const SSLEEP: libc::c_char = 3;
/// Stopped.
pub const SSTOP: libc::c_char = 4;
/// Has ended.
pub const SZOMB: libc::c_char = 5;
/// `ki_flag`, sys/proc.h: a signal stops it. Set as SIGSTOP is sent, before its threads have come to a stop.
pub const P_STOPPED_SIG: libc::c_long = 0x2_0000;

/// The process with this number.
///
/// # Errors
/// Those of sysctl(3), other than that there is none.
pub fn get(pid: u32) -> Result<Option<Proc>> {
    let Ok(pid) = i32::try_from(pid) else {
        return Ok(None);
    };
    match ask(libc::KERN_PROC_PID, pid) {
        Ok(list) => Ok(list.into_iter().next()),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// All processes.
///
/// # Errors
/// Those of sysctl(3).
pub fn all() -> Result<Vec<Proc>> {
    ask(libc::KERN_PROC_PROC, 0)
}

/// The threads of one process; none when there is no such process.
///
/// # Errors
/// Those of sysctl(3).
pub fn threads_of(pid: u32) -> Result<Vec<Proc>> {
    let Ok(pid) = i32::try_from(pid) else {
        return Ok(Vec::new());
    };
    match ask(libc::KERN_PROC_PID | libc::KERN_PROC_INC_THREAD, pid) {
        Err(Errno::SRCH) => Ok(Vec::new()),
        answer => answer,
    }
}

/// The threads of all processes, each with the number and name of its process.
///
/// # Errors
/// Those of sysctl(3).
pub fn threads() -> Result<Vec<Proc>> {
    ask(libc::KERN_PROC_PROC | libc::KERN_PROC_INC_THREAD, 0)
}

/// Sends a signal by number: only to a process whose start was compared, or of a jail that the caller removes.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn kill(pid: u32, signal: libc::c_int) -> Result<()> {
    // Zero and negative numbers would mean groups and everyone.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    // SAFETY: takes integers.
    checked(unsafe { libc::kill(pid.ok_or(Errno::SRCH)?, signal) }).map(drop)
}

fn ask(what: libc::c_int, which: libc::c_int) -> Result<Vec<Proc>> {
    const SIZE: usize = size_of::<libc::kinfo_proc>();
    loop {
        let boot = boot_time()?;
        let list = sysctl::by_number(&[libc::CTL_KERN, libc::KERN_PROC, what, which])?;
        // The kernel adds the time of boot to each start; while the clock is being set, ask again.
        if boot != boot_time()? {
            continue;
        }
        let mut processes = Vec::with_capacity(list.len() / SIZE);
        for record in list.chunks_exact(SIZE) {
            // SAFETY: the record is as long as the struct, which is plain numbers, and is read unaligned.
            let said = unsafe { record.as_ptr().cast::<libc::kinfo_proc>().read_unaligned() };
            // Another layout than ours would be another size (kinfo_proc(3)).
            if usize::try_from(said.ki_structsize) != Ok(SIZE) {
                return Err(Errno::PROTO);
            }
            processes.push(seen(&said, boot));
        }
        return Ok(processes);
    }
}

fn seen(said: &libc::kinfo_proc, boot: i64) -> Proc {
    Proc {
        pid: said.ki_pid.cast_unsigned(),
        parent: said.ki_ppid.cast_unsigned(),
        jid: said.ki_jid,
        started: (micros(said.ki_start) - boot).max(0).cast_unsigned(),
        state: match said.ki_stat {
            SRUN => State::Running,
            SSLEEP => State::Sleeping,
            SSTOP => State::Stopped,
            SZOMB => State::Zombie,
            _ => State::Other,
        },
        told_to_stop: said.ki_flag & P_STOPPED_SIG != 0,
        runtime_us: said.ki_runtime,
        resident: u64::try_from(said.ki_rssize).unwrap_or(0),
        threads: said.ki_numthreads.cast_unsigned(),
        uid: said.ki_uid,
        name: String::from_utf8_lossy(&c_text(&said.ki_comm)).into_owned(),
    }
}

/// `kern.boottime`: now less what has passed since the host started, so it moves when the clock is set.
fn boot_time() -> Result<i64> {
    let said = sysctl::bytes("kern.boottime")?;
    if said.len() != size_of::<libc::timeval>() {
        return Err(Errno::PROTO);
    }
    // SAFETY: as many bytes as a timeval has, which is plain integers, read unaligned.
    let time = unsafe { said.as_ptr().cast::<libc::timeval>().read_unaligned() };
    Ok(micros(time))
}

fn micros(time: libc::timeval) -> i64 {
    time.tv_sec * 1_000_000 + time.tv_usec
}
