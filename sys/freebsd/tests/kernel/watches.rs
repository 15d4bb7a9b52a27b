//! Sets of descriptors, and signals.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_freebsd::process::{Exit, Process, Signal};
use warder_freebsd::signals::{Caught, Signals};
use warder_freebsd::watch::Set;

use crate::runner::ended;

fn tokens(set: &Set) -> Vec<u64> {
    let mut ready = Vec::new();
    set.ready(&mut ready).expect("kevent");
    ready
}

/// Waits until the set itself polls readable.
fn wait(set: &Set) {
    let mut one = [PollFd::new(set, PollFlags::IN)];
    let patience = Timespec::try_from(Duration::from_secs(20)).expect("fits");
    assert_eq!(poll(&mut one, Some(&patience)), Ok(1));
}

pub(crate) fn readable_descriptors_are_named_by_their_tokens() {
    let set = Set::new().expect("kqueue");
    let (a, end_a) = rustix::pipe::pipe().expect("pipe");
    let (b, _end_b) = rustix::pipe::pipe().expect("pipe");
    set.add(a.as_fd(), 7).expect("new");
    set.add(b.as_fd(), u64::MAX).expect("new");
    assert!(tokens(&set).is_empty());
    rustix::io::write(&end_a, b"x").expect("room");
    wait(&set);
    assert_eq!(tokens(&set), [7]);
    assert_eq!(tokens(&set), [7], "told for as long as it is so");
    set.remove(a.as_fd());
    set.remove(a.as_fd());
    assert!(tokens(&set).is_empty());
    drop(_end_b);
    wait(&set);
    assert_eq!(tokens(&set), [u64::MAX]);
}

/// Those of children, and of processes found again.
pub(crate) fn ends_of_processes_are_told() {
    let set = Set::new().expect("kqueue");
    let endless = || poll(&mut [], None).map_or(1, |_| 0);
    let child = Process::worker(&[], endless).expect("worker");
    let started = child.start_time().expect("start time");
    let again = Process::reopen(child.pid(), started).expect("asked");
    let again = again.expect("lives");
    set.add(child.as_fd(), 1).expect("new");
    set.add(again.as_fd(), 2).expect("new");
    assert!(tokens(&set).is_empty());
    child.signal(Signal::Kill).expect("signal");
    let mut told = Vec::new();
    while told.len() < 2 {
        wait(&set);
        told.extend(tokens(&set));
        told.sort_unstable();
        told.dedup();
    }
    assert_eq!(told, [1, 2]);
    assert_eq!(ended(&again), Exit::Unknown);
    assert_eq!(ended(&child), Exit::Signal(libc::SIGKILL));
    set.remove(child.as_fd());
    // One that has ended before it is watched.
    let child = Process::worker(&[], || 3).expect("worker");
    let mut ends = [PollFd::new(&child, PollFlags::IN)];
    assert_eq!(poll(&mut ends, None), Ok(1));
    set.remove(again.as_fd());
    set.add(child.as_fd(), 3).expect("new");
    assert_eq!(tokens(&set), [3]);
    assert_eq!(ended(&child), Exit::Code(3));
}

pub(crate) fn signals_are_read() {
    let signals = Signals::new().expect("signals");
    assert_eq!(signals.next().expect("next"), None);
    let kill = |signal| {
        rustix::process::kill_process(rustix::process::getpid(), signal).expect("kill");
    };
    kill(rustix::process::Signal::TERM);
    assert_eq!(signals.next().expect("next"), Some(Caught::Terminate));
    assert_eq!(signals.next().expect("next"), None);
    kill(rustix::process::Signal::HUP);
    kill(rustix::process::Signal::INT);
    let mut both = [signals.next(), signals.next()].map(|next| next.expect("next"));
    both.sort_by_key(|caught| format!("{caught:?}"));
    assert_eq!(both, [Some(Caught::Hangup), Some(Caught::Interrupt)]);
    // Nothing is blocked in what is started.
    let child = Process::worker(&[], || poll(&mut [], None).map_or(1, |_| 0)).expect("child");
    child.signal(Signal::Terminate).expect("signal");
    assert_eq!(ended(&child), Exit::Signal(libc::SIGTERM));
}
