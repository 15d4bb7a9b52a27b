//! Calls that name a process by its number.

use crate::attempt::Said;
use crate::call::{Arg, call};

use Arg::{Bytes, Number};

/// The number of the process that a row is about.
const PID: Arg = Number(i64::MIN);
/// Where nothing may be read or written: a call that comes so far has found its process, and fails there.
const NOWHERE: Arg = Number(1);
/// A signal's information (sigaction(2)) with a code that programs may give it, SI_QUEUE.
static QUEUED: [u8; 128] = {
    let mut info = [0; 128];
    let mut at = 8;
    while at < 12 {
        info[at] = 0xff;
        at += 1;
    }
    info
};
/// One byte there (iovec(3type)).
static BYTE_NOWHERE: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
/// The policy SCHED_OTHER: sched_param, and sched_attr of sched_setattr(2), 48 bytes.
static ORDINARY: [u8; 48] = {
    let mut attributes = [0; 48];
    attributes[0] = 48;
    attributes
};
static EVERY_PROCESSOR: [u8; 1024] = [0xff; 1024];
/// Of perf_event_open(2), 64 bytes: a software event that counts nothing, of the process alone, switched off.
static NO_EVENT: [u8; 64] = {
    let mut event = [0; 64];
    event[0] = 1;
    event[4] = 64;
    event[8] = 9;
    event[40] = 0x61;
    event
};

/// Calls that are given a process's number, with no effect to speak of on one that they reach. Not here: those for children
/// only (setpgid(2), waitid(2)), ptrace(2), which is tried by itself, and those that want a descriptor of it, which pidfd_open(2) would
/// give.
static NAMING: &[(&str, i64, &[Arg])] = &[
    ("kill", libc::SYS_kill, &[PID, Number(0)]),
    ("tkill", libc::SYS_tkill, &[PID, Number(0)]),
    ("tgkill", libc::SYS_tgkill, &[PID, PID, Number(0)]),
    (
        "rt_sigqueueinfo",
        libc::SYS_rt_sigqueueinfo,
        &[PID, Number(0), Bytes(&QUEUED)],
    ),
    (
        "rt_tgsigqueueinfo",
        libc::SYS_rt_tgsigqueueinfo,
        &[PID, PID, Number(0), Bytes(&QUEUED)],
    ),
    ("pidfd_open", libc::SYS_pidfd_open, &[PID, Number(0)]),
    ("getpgid", libc::SYS_getpgid, &[PID]),
    ("getsid", libc::SYS_getsid, &[PID]),
    ("getpriority", libc::SYS_getpriority, &[Number(0), PID]),
    (
        "setpriority",
        libc::SYS_setpriority,
        &[Number(0), PID, Number(0)],
    ),
    ("ioprio_get", libc::SYS_ioprio_get, &[Number(1), PID]),
    (
        "ioprio_set",
        libc::SYS_ioprio_set,
        &[Number(1), PID, Number(0)],
    ),
    (
        "prlimit64",
        libc::SYS_prlimit64,
        &[PID, Number(7), Number(0), Number(0)],
    ),
    ("sched_getscheduler", libc::SYS_sched_getscheduler, &[PID]),
    (
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        &[PID, Number(0), Bytes(&[0; 4])],
    ),
    ("sched_getparam", libc::SYS_sched_getparam, &[PID, NOWHERE]),
    (
        "sched_setparam",
        libc::SYS_sched_setparam,
        &[PID, Bytes(&[0; 4])],
    ),
    (
        "sched_getattr",
        libc::SYS_sched_getattr,
        &[PID, NOWHERE, Number(48), Number(0)],
    ),
    (
        "sched_setattr",
        libc::SYS_sched_setattr,
        &[PID, Bytes(&ORDINARY), Number(0)],
    ),
    (
        "sched_getaffinity",
        libc::SYS_sched_getaffinity,
        &[PID, Number(1024), NOWHERE],
    ),
    (
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        &[PID, Number(1024), Bytes(&EVERY_PROCESSOR)],
    ),
    (
        "sched_rr_get_interval",
        libc::SYS_sched_rr_get_interval,
        &[PID, NOWHERE],
    ),
    (
        "get_robust_list",
        libc::SYS_get_robust_list,
        &[PID, NOWHERE, NOWHERE],
    ),
    // KCMP_VM, with itself.
    (
        "kcmp",
        libc::SYS_kcmp,
        &[PID, PID, Number(1), Number(0), Number(0)],
    ),
    (
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        &[
            PID,
            Bytes(&BYTE_NOWHERE),
            Number(1),
            Bytes(&BYTE_NOWHERE),
            Number(1),
            Number(0),
        ],
    ),
    (
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        &[
            PID,
            Bytes(&BYTE_NOWHERE),
            Number(1),
            Bytes(&BYTE_NOWHERE),
            Number(1),
            Number(0),
        ],
    ),
    // No pages, no nodes.
    (
        "move_pages",
        libc::SYS_move_pages,
        &[PID, Number(0), Number(0), Number(0), Number(0), Number(0)],
    ),
    (
        "migrate_pages",
        libc::SYS_migrate_pages,
        &[PID, Number(1), Number(0), Number(0)],
    ),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[Bytes(&NO_EVENT), PID, Number(-1), Number(-1), Number(0)],
    ),
];

/// Tries them. A process that is not in the caller's namespace has no number there (pid_namespaces(7)).
pub(crate) fn touch(pid: i32) -> Said {
    let refusals = [libc::ESRCH, libc::EPERM, libc::ENOSYS];
    let mut reached = Vec::new();
    for (what, number, args) in NAMING {
        let args: Vec<Arg> = args
            .iter()
            .map(|arg| match arg {
                Number(i64::MIN) => Number(i64::from(pid)),
                other => *other,
            })
            .collect();
        let tried = call(*number, &args).map(|n| format!("answered {n}"));
        let said = Said::of(tried, &refusals);
        if !said.holds {
            reached.push(format!("{what}: {}", said.seen));
        }
    }
    match reached.is_empty() {
        true => Said::held(format!("{} ways", NAMING.len())),
        false => Said::broke(reached.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that could reach nobody would say nothing of a sandbox.
    #[test]
    fn every_call_reaches_a_process_that_is_there() {
        let mut other = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("starts");
        let said = touch(i32::try_from(other.id()).expect("a number"));
        let ended = other.try_wait().expect("ours");
        other.kill().and_then(|()| other.wait()).expect("ends");
        assert!(ended.is_none(), "it was hurt: {}", said.seen);
        assert!(!said.holds);
        for (what, number, _) in NAMING {
            // Some kernels are built without it, or keep it from everybody but root.
            let refused = call(*number, &[])
                .is_err_and(|e| matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)));
            let reached = said.seen.split(", ").any(|one| one.starts_with(what));
            assert!(reached || refused, "{what}: {}", said.seen);
        }
    }
}
