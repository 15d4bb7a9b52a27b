//! Generic netlink (genetlink(4)): what pf has beside its device. And the kernel's own (rtnetlink(4)), to make interfaces.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt,
};
use warder_netlink::{Message, attrs_after, messages};

use super::request::last;

/// `AF_NETLINK` (sys/socket.h).
pub const FAMILY: u8 = 38;
/// `NETLINK_GENERIC` (netlink/netlink.h).
pub const GENERIC: u32 = 16;
/// `NLMSG_ERROR`.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x04;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `GENL_ID_CTRL` (netlink/netlink_generic.h).
pub const CONTROL: u16 = 16;
/// `CTRL_CMD_GETFAMILY`.
pub const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`.
pub const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
pub const FAMILY_NAME: u16 = 2;
/// Length of a `struct genlmsghdr`.
pub const HEADER: usize = 4;
/// The kernel answers within milliseconds; this only ends a wait that a bug of its would make endless.
const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 256 * 1024;

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GenericError {
    /// A call failed.
    #[error("{call}: {errno}")]
    System {
        /// Which.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// The kernel refused.
    #[error("refused by the kernel: {0}")]
    Refused(Errno),
    /// An answer that is none.
    #[error("unexpected answer of the kernel")]
    Answer,
}

/// `struct sockaddr_nl`.
#[repr(C)]
pub struct Address {
    length: u8,
    /// `nl_family`.
    pub family: u8,
    pad: u16,
    /// `nl_pid`.
    pub port: u32,
    /// `nl_groups`.
    pub groups: u32,
}

/// A socket of netlink(4).
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A family of generic netlink, by a socket of its own.
#[derive(Debug)]
pub struct Generic {
    netlink: Netlink,
    family: u16,
}

impl Generic {
    /// Opens a family by its name.
    ///
    /// # Errors
    /// [`GenericError`]; `Refused(ENOENT)` where the kernel has no such family.
    pub fn open(name: &str) -> Result<Self, GenericError> {
        let mut this = Self {
            netlink: Netlink::open(GENERIC)?,
            family: CONTROL,
        };
        let mut found = None;
        this.ask(
            GET_FAMILY,
            |m| m.text(FAMILY_NAME, name),
            |payload| {
                let id = attrs_after(payload, HEADER).find(|(kind, _)| *kind == FAMILY_ID);
                let id = id.and_then(|(_, value)| Some(u16::from_ne_bytes(*value.first_chunk()?)));
                found = id.or(found);
            },
        )?;
        this.family = found.ok_or(GenericError::Answer)?;
        Ok(this)
    }

    /// Asks for one thing; `each` sees what is answered.
    ///
    /// # Errors
    /// [`GenericError`].
    pub fn ask(
        &mut self,
        command: u8,
        with: impl FnOnce(Message) -> Message,
        each: impl FnMut(&[u8]),
    ) -> Result<(), GenericError> {
        let message = with(self.message(command, REQUEST | ACK));
        self.netlink.talk(message, each).map(drop)
    }

    /// Asks for all there is; `each` sees every one.
    ///
    /// # Errors
    /// [`GenericError`].
    pub fn dump(
        &mut self,
        command: u8,
        with: impl FnOnce(Message) -> Message,
        each: impl FnMut(&[u8]),
    ) -> Result<(), GenericError> {
        let message = with(self.message(command, REQUEST | DUMP));
        self.netlink.talk(message, each).map(drop)
    }

    /// struct genlmsghdr: command, version, reserved.
    fn message(&self, command: u8, flags: u16) -> Message {
        Message::new(self.family, flags, &[command, 0, 0, 0])
    }
}

impl Netlink {
    pub(super) fn open(protocol: u32) -> Result<Self, GenericError> {
        let system = |call| move |errno| GenericError::System { call, errno };
        let protocol = core::num::NonZeroU32::new(protocol).map(rustix::net::Protocol::from_raw);
        let family = AddressFamily::from_raw(FAMILY.into());
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::RAW, flags, protocol)
            .map_err(system("netlink socket"))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(system("setsockopt"))?;
        // A listing comes faster than it is read. Less would do, with more waits.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, 16 << 20);
        bind(&socket).map_err(system("bind"))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; CHUNK],
        })
    }

    /// Sends a message; `each` sees what is answered. What the acknowledgement says beside an error.
    pub(super) fn talk(
        &mut self,
        message: Message,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Vec<u8>, GenericError> {
        let system = |call| move |errno| GenericError::System { call, errno };
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence, 0);
        retry_on_intr(|| send(&self.socket, &bytes, SendFlags::empty())).map_err(system("send"))?;
        loop {
            let buffer = self.buffer.as_mut_slice();
            let received = retry_on_intr(|| recv(&self.socket, &mut *buffer, RecvFlags::empty()));
            let (length, _) = received.map_err(system("recv"))?;
            for (kind, _, sequence, payload) in messages(&self.buffer[..length]) {
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    ERROR | DONE => return outcome(payload).map(|()| payload.to_vec()),
                    _ => each(payload),
                }
            }
        }
    }
}

/// An error and the end of a listing begin with a number of errno(2), zero for none.
fn outcome(payload: &[u8]) -> Result<(), GenericError> {
    let number = payload.first_chunk().ok_or(GenericError::Answer)?;
    match i32::from_ne_bytes(*number).saturating_abs() {
        0 => Ok(()),
        number => Err(GenericError::Refused(Errno::from_raw_os_error(number))),
    }
}

/// To whatever address is free: a socket that has none is not answered.
fn bind(socket: &OwnedFd) -> rustix::io::Result<()> {
    let address = Address {
        length: 12,
        family: FAMILY,
        pad: 0,
        port: 0,
        groups: 0,
    };
    let length = libc::socklen_t::from(address.length);
    // SAFETY: the address is one of the socket's family, and as long as said.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if answer == -1 {
        return Err(last());
    }
    Ok(())
}
