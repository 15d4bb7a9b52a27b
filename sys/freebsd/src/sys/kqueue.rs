//! Event queues (kqueue(2)). A queue polls readable while it holds an event, and can be watched by another one. It
//! is not inherited by a forked process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use super::checked;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    descriptor: OwnedFd,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// The name it is watched under.
    pub token: u64,
    /// What it happened to: a descriptor, a pid, a signal.
    pub ident: usize,
    /// `EVFILT_*`.
    pub filter: i16,
    /// What the filter says: bytes to read, an exit status, how often a signal came.
    pub data: i64,
}

impl Queue {
    /// An empty queue.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self> {
        // kqueuex(2) and its flag are newer than 14.3.
        // SAFETY: takes nothing.
        let number = checked(unsafe { libc::kqueue() })?;
        // SAFETY: the kernel just made this descriptor and nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self { descriptor })
    }

    /// Watches `fd` for being readable. Its events repeat for as long as it is.
    ///
    /// # Errors
    /// `EINVAL` for a kind of descriptor that cannot be watched so, a process's among them.
    pub fn read(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        self.change(fd.as_raw_fd(), libc::EVFILT_READ, libc::EV_ADD, 0, token)
    }

    /// Watches the process of a descriptor for its end, told once. One that has ended is told at once.
    ///
    /// # Errors
    /// `EINVAL` for another kind of descriptor.
    pub fn exit_of(&self, process: BorrowedFd<'_>, token: u64) -> Result<()> {
        let (filter, note) = (libc::EVFILT_PROCDESC, libc::NOTE_EXIT);
        self.change(process.as_raw_fd(), filter, libc::EV_ADD, note, token)
    }

    /// Watches the process of a number for its end, told once.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn exit_of_pid(&self, pid: u32, token: u64) -> Result<()> {
        let pid = i32::try_from(pid).map_err(|_| Errno::SRCH)?;
        self.change(pid, libc::EVFILT_PROC, libc::EV_ADD, libc::NOTE_EXIT, token)
    }

    /// Watches for a signal, whatever becomes of it otherwise: blocked ones are told too.
    ///
    /// # Errors
    /// `EINVAL` for a number that is none.
    pub fn signal(&self, signal: libc::c_int, token: u64) -> Result<()> {
        self.change(signal, libc::EVFILT_SIGNAL, libc::EV_ADD, 0, token)
    }

    /// Watches `fd` no more; of what kind it is need not be known.
    ///
    /// # Errors
    /// `ENOENT` when it was not watched.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let gone = |filter| self.change(fd.as_raw_fd(), filter, libc::EV_DELETE, 0, 0);
        gone(libc::EVFILT_READ).or_else(|_| gone(libc::EVFILT_PROCDESC))
    }

    /// Adds what has happened to `out`, at most `most` events. Never waits.
    ///
    /// # Errors
    /// None that kevent(2) names for an open queue.
    pub fn take(&self, out: &mut Vec<Event>, most: usize) -> Result<()> {
        let mut events = vec![kevent(0, 0, 0, 0, 0); most];
        let room = libc::c_int::try_from(most).map_err(|_| Errno::INVAL)?;
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: no changes; room for as many events as named; all of it outlives the call.
        let count = unsafe {
            libc::kevent(
                self.descriptor.as_raw_fd(),
                std::ptr::null(),
                0,
                events.as_mut_ptr(),
                room,
                &raw const now,
            )
        };
        let count = usize::try_from(checked(count)?).unwrap_or(0);
        out.extend(events[..count].iter().map(|event| Event {
            token: event.udata as u64,
            ident: event.ident,
            filter: event.filter,
            data: event.data,
        }));
        Ok(())
    }

    fn change(
        &self,
        ident: libc::c_int,
        filter: i16,
        flags: u16,
        notes: u32,
        token: u64,
    ) -> Result<()> {
        let ident = usize::try_from(ident).map_err(|_| Errno::BADF)?;
        let change = kevent(ident, filter, flags, notes, token);
        // SAFETY: one change, no room for events; it outlives the call.
        let answer = unsafe {
            libc::kevent(
                self.descriptor.as_raw_fd(),
                &raw const change,
                1,
                std::ptr::null_mut(),
                0,
                std::ptr::null(),
            )
        };
        checked(answer).map(drop)
    }
}

fn kevent(ident: usize, filter: i16, flags: u16, notes: u32, token: u64) -> libc::kevent {
    libc::kevent {
        ident,
        filter,
        flags,
        fflags: notes,
        data: 0,
        // Only carried through; pointers are as wide on every system this is built for.
        udata: token as *mut libc::c_void,
        ext: [0; 4],
    }
}

impl From<Queue> for OwnedFd {
    fn from(queue: Queue) -> Self {
        queue.descriptor
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
