//! Processes by their numbers.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::PATIENCE;

/// Kills a process, and waits until it is dead where /proc tells.
pub(crate) fn kill_pid(pid: u32) {
    let number = Pid::from_raw(pid.cast_signed()).expect("not zero");
    kill_process(number, Signal::KILL).expect("own");
    let end = Instant::now() + PATIENCE;
    while runs(pid) {
        assert!(Instant::now() < end, "{pid} does not die");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// There, and not only waiting to be reaped.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}
