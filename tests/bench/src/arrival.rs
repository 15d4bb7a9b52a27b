//! When a packet arrived: by the kernel's own clock, since the thread that reads it may get a processor much later.

#[cfg(target_os = "linux")]
pub(crate) use kernel::{receive, stamp};
#[cfg(not(target_os = "linux"))]
pub(crate) use reader::{receive, stamp};

/// SO_TIMESTAMPNS (socket(7)).
#[cfg(target_os = "linux")]
mod kernel {
    use std::io::{self, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd};

    use nix::sys::socket::sockopt::ReceiveTimestampns;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
    use nix::sys::time::TimeSpec;

    /// Asks for it.
    pub(crate) fn stamp(socket: &impl AsFd) -> io::Result<()> {
        Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
    }

    /// Receives something, and when the last of it arrived, in nanoseconds of the wall clock.
    pub(crate) fn receive(socket: &impl AsFd, room: &mut [u8]) -> io::Result<(usize, u64)> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut buffers = [IoSliceMut::new(room)];
        let socket = socket.as_fd().as_raw_fd();
        let message = recvmsg::<()>(socket, &mut buffers, Some(&mut control), MsgFlags::empty())?;
        if message.bytes == 0 {
            return Ok((0, 0));
        }
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        let arrived = stamp.and_then(|stamp| {
            let seconds = u64::try_from(stamp.tv_sec()).ok()?;
            Some(seconds * 1_000_000_000 + u64::try_from(stamp.tv_nsec()).ok()?)
        });
        let arrived = arrived.ok_or_else(|| io::Error::other("a packet without its time"))?;
        Ok((message.bytes, arrived))
    }
}

/// Where the kernel is not asked: when it was read.
#[cfg(not(target_os = "linux"))]
mod reader {
    use std::io;
    use std::os::fd::AsFd;

    use crate::inside::now;

    /// Nothing to ask for.
    pub(crate) fn stamp(_socket: &impl AsFd) -> io::Result<()> {
        Ok(())
    }

    /// Receives something, and when, in nanoseconds of the wall clock.
    pub(crate) fn receive(socket: &impl AsFd, room: &mut [u8]) -> io::Result<(usize, u64)> {
        let length = rustix::io::read(socket, room)?;
        Ok((length, now()))
    }
}
