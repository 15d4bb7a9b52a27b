//! Shared memory of the host.

use rustix::shm;
use warder_probe::{Said, Segment};

/// Opens an object of POSIX shared memory of the host (shm_open(3)).
pub(super) fn posix(name: &str) -> Said {
    match shm::open(name, shm::OFlags::RDWR, rustix::fs::Mode::empty()) {
        Ok(_) => Said::broke("opened"),
        Err(rustix::io::Errno::NOENT) => Said::held("it is not there"),
        Err(errno) => Said::held(errno.to_string()),
    }
}

/// Makes System V shared memory and leaves it there. It goes with the sandbox.
pub(super) fn make(key: &str) -> Said {
    match key.parse().map(Segment::make) {
        Ok(Ok(segment)) => {
            segment.leave();
            Said::held("made")
        }
        Ok(Err(error)) => Said::broke(error.to_string()),
        Err(_) => Said::broke("not a number"),
    }
}
