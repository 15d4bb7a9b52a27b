//! The exact list of descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use super::{failed, raw};
use crate::ConfineError;
use crate::gaps::gaps;

/// Checks that 0, 1, 2 and `keep` are open and closes every other descriptor.
pub(super) fn exactly(keep: &[BorrowedFd<'_>]) -> Result<(), ConfineError> {
    let mut list: Vec<RawFd> = vec![0, 1, 2];
    list.extend(keep.iter().map(AsRawFd::as_raw_fd));
    list.sort_unstable();
    list.dedup();
    for &fd in &list {
        match raw::is_open(fd) {
            Ok(()) => {}
            Err(error) if error == Errno::BADF => return Err(ConfineError::MissingDescriptor(fd)),
            Err(error) => return Err(failed("look at a descriptor")(error)),
        }
    }
    for (first, last) in gaps(&list) {
        raw::close_range(first, last).map_err(failed("close_range"))?;
    }
    Ok(())
}

/// How many are open. Under the last filter /proc cannot be read, so every number there may be is looked at, many at
/// a time.
pub(crate) fn open() -> Option<usize> {
    const AT_ONCE: i32 = 1024;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    let most = i32::try_from(most).ok()?;
    let mut count = 0;
    for first in (0..most).step_by(AT_ONCE as usize) {
        let mut all: Vec<libc::pollfd> = (first..most.min(first.saturating_add(AT_ONCE)))
            .map(|fd| libc::pollfd {
                fd,
                events: 0,
                revents: 0,
            })
            .collect();
        raw::look(&mut all).ok()?;
        count += all
            .iter()
            .filter(|one| one.revents & libc::POLLNVAL == 0)
            .count();
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn open_ones_are_counted() {
        let before = open().expect("counted");
        assert!(before >= 3);
        // Beyond what other tests open meanwhile.
        let more: Vec<_> = (0..200)
            .map(|_| std::io::stdin().as_fd().try_clone_to_owned())
            .collect();
        assert!(more.iter().all(Result::is_ok));
        assert!(open().expect("counted") >= 200);
    }
}
