//! Processes by descriptor.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warder_freebsd::HostError;
use warder_freebsd::dirs::{Access, detached};
use warder_freebsd::process::{self, Exit, Process, Program, Signal, Urgency};
use warder_freebsd::sys;

use crate::runner::ended;

fn shell(script: &str, fds: &[(BorrowedFd<'_>, i32)], log: BorrowedFd<'_>) -> Process {
    let file = detached(Path::new("/bin/sh"), Access::ReadOnly).expect("shell");
    Process::spawn(&Program {
        file: file.as_fd(),
        name: "sh",
        args: &["-c", script, "x"],
        fds,
        log,
        urgency: Urgency::Ordinary,
    })
    .expect("spawn")
}

fn text(fd: &OwnedFd) -> String {
    let mut buffer = [0; 4096];
    let length = rustix::io::read(fd, &mut buffer).expect("read");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

pub(crate) fn programs_get_what_they_are_given() {
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let (log_read, log_write) = rustix::pipe::pipe().expect("pipe");
    let _not_inherited = File::open("/").expect("root");
    let fds = [(write.as_fd(), 3), (write.as_fd(), 9)];
    // The environment as it came: the shell itself exports nothing new. 10 is the shell's own.
    let script = "for n in 3 4 5 6 7 8 9 11 12 13 14 15; do (eval \": >&$n\") 2>/dev/null && echo $n >&3; done
        export -p >&3; echo log >&2; exit 7";
    let process = shell(script, &fds, log_write.as_fd());
    assert_eq!(ended(&process), Exit::Code(7));
    assert_eq!(process.try_wait().expect("wait"), Some(Exit::Unknown));
    assert_eq!(text(&log_read), "log\n");
    let told = text(&read);
    let numbers: Vec<_> = told
        .lines()
        .filter(|line| line.parse::<u32>().is_ok())
        .collect();
    assert_eq!(numbers, ["3", "9"], "{told}");
    for variable in ["PATH=", "HOME=", "USER="] {
        assert!(!told.contains(variable), "environment: {told}");
    }

    let empty = tempfile::NamedTempFile::new().expect("file");
    let no_program = Process::spawn(&Program {
        file: empty.as_file().as_fd(),
        name: "x",
        args: &[],
        fds: &[],
        log: log_write.as_fd(),
        urgency: Urgency::Ordinary,
    });
    assert!(
        matches!(no_program, Err(HostError::System { .. })),
        "{no_program:?}"
    );
}

pub(crate) fn what_a_process_uses_grows() {
    let used = || process::uses(std::process::id()).expect("it runs");
    let (memory, time) = used();
    let held = vec![1_u8; 64 << 20];
    while used().1 < time + 50_000 {}
    assert!(used().0 > memory + (32 << 20));
    drop(std::hint::black_box(held));
    assert_eq!(process::uses(u32::MAX), None);
}

pub(crate) fn processes_are_found_again() {
    let null = File::open("/dev/null").expect("null");
    let process = shell("while :; do sleep 1; done", &[], null.as_fd());
    let (pid, started) = (process.pid(), process.start_time().expect("start time"));
    assert_eq!(sys::process::pid(process.as_fd()), Ok(pid));
    assert!(Process::reopen(pid, started + 1).expect("asked").is_none());
    assert!(Process::reopen(pid, started - 1).expect("asked").is_none());
    let again = Process::reopen(pid, started).expect("asked").expect("same");
    assert_eq!(again.start_time().expect("start time"), started);
    assert_eq!(sys::process::pid(again.as_fd()), Err(Errno::BADF));
    assert_eq!(process.try_wait().expect("wait"), None);
    assert_eq!(again.try_wait().expect("wait"), None);
    again.signal(Signal::Terminate).expect("signal");
    assert_eq!(ended(&again), Exit::Unknown);
    assert_eq!(ended(&process), Exit::Signal(libc::SIGTERM));
    // Signals to those that have ended are no error.
    again.signal(Signal::Kill).expect("signal");
    process.signal(Signal::Kill).expect("signal");
    assert!(Process::reopen(pid, started).expect("asked").is_none());
}

pub(crate) fn workers_keep_little() {
    let dir = tempfile::tempdir().expect("directory");
    let kept = File::create(dir.path().join("kept")).expect("file");
    let _other = File::create(dir.path().join("other")).expect("file");
    let worker = Process::worker(&[kept.as_fd()], || {
        // SAFETY: F_GETFD on any number does nothing else than say whether it is open.
        let open = |number: &i32| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0;
        let found = (3..256).filter(open).count();
        i32::from(found != 1 || rustix::io::fcntl_getfd(&kept).is_err())
    })
    .expect("worker");
    assert_eq!(ended(&worker), Exit::Code(0));
}

pub(crate) fn workers_end_with_their_parent() {
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let parent = Process::worker(&[write.as_fd()], || {
        let endless = || poll(&mut [], None).map_or(1, |_| 0);
        i32::from(Process::worker(&[write.as_fd()], endless).is_err())
    })
    .expect("worker");
    drop(write);
    assert_eq!(ended(&parent), Exit::Code(0));
    // Its end closes the pipe.
    let mut ends = [PollFd::new(&read, PollFlags::IN)];
    let patience = Timespec::try_from(Duration::from_secs(20)).expect("fits");
    assert_eq!(poll(&mut ends, Some(&patience)), Ok(1));
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0));
}

pub(crate) fn a_process_outlives_its_descriptor() {
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let process = shell(
        "sleep 1; echo alive >&3",
        &[(write.as_fd(), 3)],
        write.as_fd(),
    );
    drop((process, write));
    assert_eq!(text(&read), "alive\n");
}

pub(crate) fn scheduling_is_not_inherited() {
    rustix::process::setpriority_process(None, -20).expect("setpriority");
    let own = || rustix::process::getpriority_process(None).expect("getpriority");
    assert_eq!(own(), -20);
    let worker = Process::worker(&[], || i32::from(own() != 0)).expect("worker");
    assert_eq!(ended(&worker), Exit::Code(0));
}

/// As the agent of a sandbox does, which is no first process.
pub(crate) fn a_reaper_kills_its_descendants() {
    let reaper = Process::worker(&[], || {
        sys::procctl::become_reaper().expect("PROC_REAP_ACQUIRE");
        let (pid, _descriptor) = sys::process::fork(true, || {
            let sleeping = || poll(&mut [], None).map_or(1, |_| 0);
            // Its own parent ends at once.
            i32::from(sys::process::fork(true, sleeping).is_err())
        })
        .expect("fork");
        sys::process::wait(pid, true).expect("wait");
        assert_eq!(sys::procctl::kill_descendants(libc::SIGKILL), Ok(1));
        0
    })
    .expect("worker");
    assert_eq!(ended(&reaper), Exit::Code(0));
}
