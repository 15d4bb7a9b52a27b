//! The log of packets that pf(4) refused, as pflog(4) shows them to bpf(4): a descriptor that netd has bound to the
//! instance's interface, locked and limited.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::LogFormat;
use crate::pflog::DLT_PFLOG;

/// No buffer of the kernel's is larger (`net.bpf.maxbufsize`).
const LARGEST: usize = 1 << 20;

/// Pieces of the log, as the kernel has collected them.
#[derive(Debug)]
pub struct PacketLog {
    watched: AsyncFd<OwnedFd>,
    piece: usize,
    dropped: AtomicU32,
    /// There are more of them than were told of.
    untold: AtomicBool,
}

impl PacketLog {
    /// How the pieces are to be read.
    pub const FORMAT: LogFormat = LogFormat::Pflog;

    /// Takes over the descriptor; must be called on the runtime.
    ///
    /// # Errors
    /// When it is no bpf(4) descriptor of such an interface, or cannot be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let [kind] = ask(&fd, libc::BIOCGDLT)?;
        let [length] = ask(&fd, libc::BIOCGBLEN)?;
        let piece = usize::try_from(length).unwrap_or(usize::MAX);
        if kind != DLT_PFLOG || piece > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pflog"));
        }
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self {
            watched: watched.map_err(|error| error.into_parts().1)?,
            piece,
            dropped: AtomicU32::new(0),
            untold: AtomicBool::new(false),
        })
    }

    /// How many bytes the buffer must have: bpf(4) reads take no other.
    #[must_use]
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// The next piece.
    ///
    /// # Errors
    /// `ENOBUFS` when the kernel had to drop some, after which there are more; any other ends the log.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.untold.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let length = self
            .watched
            .async_io(Interest::READABLE, |fd| {
                // SAFETY: the descriptor is open while it is borrowed here.
                let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
                rustix::io::read(fd, &mut *buffer).map_err(io::Error::from)
            })
            .await?;
        // struct bpf_stat: received, dropped.
        let [_, dropped] = ask(self.watched.get_ref(), libc::BIOCGSTATS)?;
        if dropped != self.dropped.swap(dropped, Ordering::Relaxed) {
            self.untold.store(true, Ordering::Relaxed);
        }
        Ok(length)
    }
}

/// ioctl(2) that answers integers.
fn ask<const N: usize>(fd: &OwnedFd, request: libc::c_ulong) -> io::Result<[libc::c_uint; N]> {
    let mut answer = [0; N];
    // SAFETY: each request of this file writes as many integers as its caller has room for.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut answer) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}
