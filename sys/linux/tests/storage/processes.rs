//! Processes, and signals of them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_linux::HostError;
use warder_linux::dirs::{Access, detached};
use warder_linux::process::{Exit, Process, Program, Signal, Urgency};
use warder_linux::signals::{Caught, Signals};

use crate::support::ended;

pub(crate) fn programs_get_what_they_are_given() {
    let file = detached(Path::new("/bin/sh"), Access::ReadOnly).expect("shell");
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let (log_read, log_write) = rustix::pipe::pipe().expect("pipe");
    let start = |script: &str| {
        Process::spawn(&Program {
            file: file.as_fd(),
            name: "shell",
            args: &["-c", script, "x"],
            fds: &[(write.as_fd(), 3), (write.as_fd(), 9)],
            log: log_write.as_fd(),
            urgency: Urgency::Ordinary,
        })
        .expect("spawn")
    };
    let process =
        start("ls /proc/$$/fd >&3; readlink /proc/$$/fd/0 >&3; env >&3; echo log >&2; exit 7");
    ended(&process);
    assert_eq!(process.try_wait().expect("wait"), Some(Exit::Code(7)));
    let text = |fd: &OwnedFd| {
        let mut buffer = [0; 1024];
        let length = rustix::io::read(fd, &mut buffer).expect("read");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(text(&log_read), "log\n");
    let told = text(&read);
    let lines: Vec<_> = told.lines().collect();
    let numbers: Vec<_> = lines
        .iter()
        .take_while(|line| line.parse::<u32>().is_ok())
        .copied()
        .collect();
    // 10 is the shell's own copy while it redirects.
    assert_eq!(
        numbers
            .iter()
            .filter(|number| **number != "10")
            .copied()
            .collect::<Vec<_>>(),
        ["0", "1", "2", "3", "9"]
    );
    assert!(told.contains("/dev/null"), "{told}");
    assert!(!told.contains("PATH=/"), "environment: {told}");
    assert!(!told.contains("HOME="), "environment: {told}");

    let process = start("while :; do :; done");
    let (pid, started) = (process.pid(), process.start_time().expect("start time"));
    assert!(Process::reopen(pid, started).expect("reopen").is_some());
    assert!(Process::reopen(pid, started + 1).expect("reopen").is_none());
    assert_eq!(process.try_wait().expect("wait"), None);
    process.signal(Signal::Terminate).expect("signal");
    ended(&process);
    assert_eq!(process.try_wait().expect("wait"), Some(Exit::Signal(15)));
    assert!(Process::reopen(pid, started).expect("reopen").is_none());

    let text = tempfile::NamedTempFile::new().expect("file");
    let no_program = Process::spawn(&Program {
        file: text.as_file().as_fd(),
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

/// Class and priority of a process and of one that it starts (proc_pid_stat(5), fields 41 and 40).
pub(crate) fn programs_are_scheduled_as_asked() {
    let file = detached(Path::new("/bin/sh"), Access::ReadOnly).expect("shell");
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    for (urgency, expected) in [
        (Urgency::Realtime, "1 1, then 0 0\n"),
        (Urgency::Brief, "0 0, then 0 0\n"),
        (Urgency::Ordinary, "0 0, then 0 0\n"),
    ] {
        let script = "class() { read -r all; set -- ${all##*)}; shift 37; echo \"$2 $1\"; }
            own=$(class </proc/$$/stat)
            (sleep 1 & class </proc/$!/stat; kill $!) | { read -r other; echo \"$own, then $other\" >&3; }";
        let process = Process::spawn(&Program {
            file: file.as_fd(),
            name: "shell",
            args: &["-c", script],
            fds: &[(write.as_fd(), 3)],
            log: write.as_fd(),
            urgency,
        })
        .expect("spawn");
        ended(&process);
        let mut said = [0; 256];
        let length = rustix::io::read(&read, &mut said).expect("read");
        assert_eq!(String::from_utf8_lossy(&said[..length]), expected);
    }
}

pub(crate) fn workers_keep_little() {
    let dir = tempfile::tempdir().expect("directory");
    let kept = File::create(dir.path().join("kept")).expect("file");
    let _other = File::create(dir.path().join("other")).expect("file");
    let worker = Process::worker(&[kept.as_fd()], || {
        let open = std::fs::read_dir("/proc/self/fd").expect("fd").flatten();
        let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let names: Vec<_> = open.filter(|path| path.starts_with(dir.path())).collect();
        i32::from(names != [dir.path().join("kept")])
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}

pub(crate) fn workers_end_with_their_parent() {
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let parent = Process::worker(&[write.as_fd()], || {
        let endless = || poll(&mut [], None).map_or(1, |_| 0);
        i32::from(Process::worker(&[write.as_fd()], endless).is_err())
    })
    .expect("worker");
    drop(write);
    ended(&parent);
    assert_eq!(parent.try_wait().expect("wait"), Some(Exit::Code(0)));
    // Its end closes the pipe.
    let mut ends = [PollFd::new(&read, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut ends, Some(&patience)), Ok(1));
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0));
}

pub(crate) fn signals_are_read() {
    // In a process of its own: the mask would stay.
    let worker = Process::worker(&[], || {
        let signals = Signals::new().expect("signals");
        assert_eq!(signals.next().expect("next"), None);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .expect("kill");
        assert_eq!(signals.next().expect("next"), Some(Caught::Terminate));
        let child = Process::worker(&[], || 3).expect("child");
        ended(&child);
        assert_eq!(signals.next().expect("next"), Some(Caught::Child));
        assert_eq!(signals.next().expect("next"), None);
        0
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}
