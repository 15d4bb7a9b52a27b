//! POSIX and System V IPC of the host.

use rustix::shm;
use warder_probe::{Kind, Object, Said, object_is_seen};

/// Opens an object of POSIX shared memory of the host (shm_open(3)).
pub(super) fn posix(name: &str) -> Said {
    match shm::open(name, shm::OFlags::RDWR, rustix::fs::Mode::empty()) {
        Ok(_) => Said::broke("opened"),
        Err(rustix::io::Errno::NOENT) => Said::held("it is not there"),
        Err(errno) => Said::held(errno.to_string()),
    }
}

/// Looks for an object of System V IPC.
pub(super) fn sysv(kind: &str, key: &str) -> Said {
    match (kind.parse(), key.parse()) {
        (Ok(kind), Ok(key)) => object_is_seen(kind, key),
        _ => Said::broke("not a kind and a number"),
    }
}

/// Makes System V shared memory and leaves it there. It goes with the sandbox.
pub(super) fn make(key: &str) -> Said {
    match key.parse().map(|key| Object::make(Kind::Memory, key)) {
        Ok(Ok(object)) => {
            object.leave();
            Said::held("made")
        }
        Ok(Err(error)) => Said::broke(error.to_string()),
        Err(_) => Said::broke("not a number"),
    }
}
