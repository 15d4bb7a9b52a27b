//! A set of descriptors watched as one (epoll(7)): a poll loop's own list stays short however many
//! cells there are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use warder_common::{At, Result};

/// Most tokens answered at once.
const AT_ONCE: usize = 64;

/// The set. It polls readable when one of its descriptors does.
#[derive(Debug)]
pub struct Set {
    descriptor: OwnedFd,
}

impl Set {
    /// An empty set.
    ///
    /// # Errors
    /// `System`.
    pub fn new() -> Result<Self> {
        Ok(Self {
            descriptor: epoll::create(CreateFlags::CLOEXEC).at("epoll_create1")?,
        })
    }

    /// Watches `fd` for being readable, under the name `token`.
    ///
    /// # Errors
    /// `System`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        epoll::add(
            &self.descriptor,
            fd,
            EventData::new_u64(token),
            EventFlags::IN,
        )
        .at("epoll_ctl add")
    }

    /// Watches `fd` no more. One that was not watched is no error.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // The only failures are that it was not there; the set itself is ours.
        let _ = epoll::delete(&self.descriptor, fd);
    }

    /// Adds the tokens of readable descriptors to `out`, a bounded number at once. Never waits.
    ///
    /// # Errors
    /// `System`.
    pub fn ready(&self, out: &mut Vec<u64>) -> Result<()> {
        let mut events = Vec::with_capacity(AT_ONCE);
        let no_wait = rustix::event::Timespec::default();
        epoll::wait(
            &self.descriptor,
            rustix::buffer::spare_capacity(&mut events),
            Some(&no_wait),
        )
        .at("epoll_wait")?;
        out.extend(events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_descriptors_are_named_by_their_tokens() {
        let set = Set::new().expect("epoll");
        let (a, end_a) = rustix::pipe::pipe().expect("pipe");
        let (b, _end_b) = rustix::pipe::pipe().expect("pipe");
        set.add(a.as_fd(), 7).expect("new");
        set.add(b.as_fd(), 8).expect("new");
        let mut ready = Vec::new();
        set.ready(&mut ready).expect("epoll");
        assert!(ready.is_empty());
        rustix::io::write(&end_a, b"x").expect("room");
        set.ready(&mut ready).expect("epoll");
        assert_eq!(ready, [7]);
        set.remove(a.as_fd());
        set.remove(a.as_fd());
        ready.clear();
        set.ready(&mut ready).expect("epoll");
        assert!(ready.is_empty());
    }
}
