//! What a jail could do to processes that are not its own, and to what all processes share.

use std::io;

use crate::attempt::Said;
use crate::call::{Arg, call};

use super::sysctls::sysctl;
use Arg::{Bytes, Number};

/// Stands for the number of the process.
const PID: Arg = Number(i64::MIN);
const NOBODY: &[i32] = &[libc::ESRCH, libc::EPERM, libc::ENOSYS];
const MASK: Arg = Bytes(&[0xff; 128]);

/// Calls that name a process: what, its number in sys/syscall.h of 15.1, its arguments. Each leaves one that it reaches
/// as it is: values that are set are those of most processes.
const CALLS: [(&str, i64, &[Arg]); 14] = [
    ("kill", 37, &[PID, Number(0)]),
    ("sigqueue", 456, &[PID, Number(0), Number(0)]),
    // PT_ATTACH would stop it; PT_LWPINFO of a process that is not traced asks for the same right first.
    ("ptrace", 26, &[Number(13), PID, Number(0), Number(0)]),
    // KTROP_CLEAR of system calls.
    ("ktrace", 45, &[Number(0), Number(1), Number(2), PID]),
    ("getpgid", 207, &[PID]),
    ("getsid", 310, &[PID]),
    ("setpgid", 82, &[PID, PID]),
    ("getpriority", 100, &[Number(0), PID]),
    ("setpriority", 96, &[Number(0), PID, Number(0)]),
    ("sched_getscheduler", 330, &[PID]),
    // CPU_LEVEL_WHICH, CPU_WHICH_PID.
    (
        "cpuset_setaffinity",
        488,
        &[Number(3), Number(2), PID, Number(128), MASK],
    ),
    // CPU_WHICH_PID, into the default set.
    ("cpuset_setid", 485, &[Number(2), PID, Number(1)]),
    // P_PID; PROC_TRACE_CTL, PROC_TRACE_CTL_ENABLE.
    (
        "procctl",
        544,
        &[Number(0), PID, Number(7), Bytes(&1_i32.to_ne_bytes())],
    ),
    // P_PID, WNOHANG with WEXITED.
    (
        "wait6",
        532,
        &[Number(0), PID, Number(0), Number(17), Number(0), Number(0)],
    ),
];

/// What the kernel tells of a process by `kern.proc` (sys/sysctl.h, KERN_PROC_*).
const TOLD: [(&str, i32); 12] = [
    ("args", 7),
    ("pathname", 12),
    ("kstack", 15),
    ("vmmap", 32),
    ("filedesc", 33),
    ("groups", 34),
    ("env", 35),
    ("auxv", 36),
    ("rlimit", 37),
    ("umask", 39),
    ("cwd", 42),
    ("pid", 1),
];

/// Everything that can be asked for by the number of a process of the host.
pub(crate) fn touch(pid: i32) -> Said {
    for (what, number, args) in CALLS {
        let args: Vec<Arg> = args
            .iter()
            .map(|arg| match arg {
                Number(i64::MIN) => Number(i64::from(pid)),
                other => *other,
            })
            .collect();
        let mut refusals = NOBODY.to_vec();
        // wait(2): not a child of the caller.
        if what == "wait6" {
            refusals.push(libc::ECHILD);
        }
        let said = Said::of(
            call(number, &args).map(|n| format!("answered {n}")),
            &refusals,
        );
        if !said.holds {
            return Said::broke(format!("{what}: {}", said.seen));
        }
    }
    for (what, number) in TOLD {
        // CTL_KERN, KERN_PROC; for limits of which resource, too.
        let mut name = vec![1, 14, number, pid];
        if what == "rlimit" {
            name.push(0);
        }
        match sysctl(&name, None) {
            Ok(told) if told.is_empty() => {}
            Ok(told) => return Said::broke(format!("kern.proc.{what}: {} bytes", told.len())),
            Err(error) if error.raw_os_error().is_some_and(|n| NOBODY.contains(&n)) => {}
            Err(error) => return Said::broke(format!("kern.proc.{what}: {error}")),
        }
    }
    Said::held(format!("{} ways", CALLS.len() + TOLD.len()))
}

/// Processors of what is not the jail's: the host's default set, an interrupt, a jail, a memory domain (cpuset(2)).
pub(super) fn processors() -> Said {
    let mut seen = Vec::new();
    for (what, which, id) in [
        ("set 1", 3, 1),
        ("interrupt", 4, 1),
        ("jail 1", 5, 1),
        ("domain", 6, 0),
    ] {
        let args = [Number(3), Number(which), Number(id), Number(128), MASK];
        let set = call(488, &args).map(|_| "set");
        let said = Said::of(set, &[libc::EPERM, libc::ESRCH, libc::EINVAL]);
        if !said.holds {
            return Said::broke(format!("{what}: {}", said.seen));
        }
        seen.push(format!("{what} {}", said.seen));
    }
    Said::held(seen.join(", "))
}

/// ntp_adjtime(2) with a mode that changes nothing; the kernel asks for the right before it looks at which.
pub(super) fn clock_rate() -> Said {
    // SAFETY: zero is a value of every field of it, which are numbers.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    asked.modes = 0x4000_0000;
    // SAFETY: ntp_adjtime(2) reads and writes one `timex`, which this is.
    let answer = unsafe { libc::ntp_adjtime(&raw mut asked) };
    let tried = match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok("allowed"),
    };
    Said::of(tried, &[libc::EPERM])
}
