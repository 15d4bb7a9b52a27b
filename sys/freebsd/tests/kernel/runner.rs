//! Runs each test in a process of its own, one after the other.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_freebsd::process::{Exit, Process};
use warder_freebsd::sys;

/// Runs those whose name has the argument in it. A panic is told on standard error.
pub(crate) fn run(tests: &[(&str, fn())]) -> ExitCode {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if !rustix::process::geteuid().is_root() {
        eprintln!("these tests need root: run them with su(1) or doas");
        return ExitCode::FAILURE;
    }
    let mut failed = Vec::new();
    let mut ran_any = false;
    for (name, test) in tests {
        if filter
            .as_ref()
            .is_some_and(|filter| !name.contains(filter.as_str()))
        {
            continue;
        }
        ran_any = true;
        let start = Instant::now();
        let ran = sys::process::fork(false, || {
            test();
            0
        });
        let (pid, descriptor) = ran.expect("pdfork");
        let mut ends = [PollFd::new(&descriptor, PollFlags::IN)];
        let patience = Timespec::try_from(Duration::from_secs(600)).expect("fits");
        let status = match poll(&mut ends, Some(&patience)) {
            Ok(1) => sys::process::wait(pid, true).expect("wait4"),
            // Killed with its descriptor.
            _ => None,
        };
        if status == Some(0) {
            println!("test {name} ... ok ({:?})", start.elapsed());
        } else {
            println!("test {name} ... FAILED (wait status {status:?})");
            failed.push(*name);
        }
    }
    if !ran_any {
        println!("no test has such a name");
        return ExitCode::FAILURE;
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} failed: {}", failed.len(), failed.join(", "));
    ExitCode::FAILURE
}

/// Waits, within reason, until a process has ended; how.
pub(crate) fn ended(process: &Process) -> Exit {
    let mut ends = [PollFd::new(process, PollFlags::IN)];
    let patience = Timespec::try_from(Duration::from_secs(30)).expect("fits");
    assert_eq!(poll(&mut ends, Some(&patience)), Ok(1), "it did not end");
    process
        .try_wait()
        .expect("wait")
        .expect("its descriptor said so")
}

/// A name for this test's own objects.
pub(crate) fn own_name() -> String {
    format!("warder-test-{}", std::process::id())
}
