//! A netlink socket of one network namespace: request and answer, dump, and nfnetlink batches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt,
};

use warder_netlink::messages;

use super::{ACK, DUMP, Message};
use crate::{netns, sys};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the table changed under the dump.
const DUMP_INTR: u16 = 0x10;
/// `NLM_F_ACK_TLVS`: attributes follow in an error message.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ATTR_MSG: u16 = 1;
/// `NETLINK_CAP_ACK` (linux/netlink.h).
const CAP_ACK: libc::c_int = 10;
/// `NETLINK_EXT_ACK`.
const EXT_ACK: libc::c_int = 11;
/// The kernel answers before `send` returns; this only ends a wait that a kernel bug would make endless.
const PATIENCE: Duration = Duration::from_secs(10);
/// Receive buffer of one `recv`; the kernel's dump chunks stay below 32 KiB.
const CHUNK: usize = 64 * 1024;

/// Which part of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`, rtnetlink(7).
    Route,
    /// `NETLINK_NETFILTER`, nfnetlink: nftables and connection tracking.
    Netfilter,
}

/// What a netlink request can end in.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it; its own words, if any, in `text`.
    #[error("refused by the kernel: {source}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        /// The error.
        source: io::Error,
        /// Extended acknowledgement.
        text: String,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// An answer that netlink(7) does not allow.
    #[error("unexpected answer: {0}")]
    Answer(&'static str),
}

impl NetlinkError {
    /// The kernel's error number, if it refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::System { .. } | Self::Answer(_) => None,
        }
    }

    fn system(call: &'static str, errno: rustix::io::Errno) -> Self {
        Self::System {
            call,
            source: errno.into(),
        }
    }
}

/// A socket that speaks for the network namespace it was opened in, wherever its process is later.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::System`].
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let number = match protocol {
            // NETLINK_ROUTE is zero, a socket's default protocol.
            Protocol::Route => None,
            Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            number,
        )
        .map_err(|e| NetlinkError::system("socket", e))?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(|e| NetlinkError::system("setsockopt", e))?;
        // One batch is one send and must fit the buffer; a thousand sandboxes are about 2 MB.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, 64 << 20);
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, 8 << 20);
        // Errors in words, and without an echo of the request. Older kernels know neither.
        for option in [CAP_ACK, EXT_ACK] {
            let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, option, 1);
        }
        Ok(Self {
            fd,
            seq: 0,
            buffer: vec![0; CHUNK],
        })
    }

    /// Opens a socket of the network namespace `ns`; the calling thread is back in its own afterwards.
    ///
    /// # Errors
    /// As [`Self::open`]; also when the namespace cannot be entered.
    pub fn open_in(ns: BorrowedFd<'_>, protocol: Protocol) -> Result<Self, NetlinkError> {
        netns::inside(ns, || Self::open(protocol)).map_err(|source| NetlinkError::System {
            call: "setns",
            source,
        })?
    }

    /// The socket itself, to be read without waiting.
    ///
    /// # Errors
    /// [`NetlinkError::System`].
    pub fn into_fd(self) -> Result<OwnedFd, NetlinkError> {
        rustix::io::ioctl_fionbio(&self.fd, true).map_err(|e| NetlinkError::system("ioctl", e))?;
        Ok(self.fd)
    }

    /// Sends a request and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn ack(&mut self, message: Message) -> Result<(), NetlinkError> {
        self.get(message, |_, _| ())
    }

    /// Sends a request that may be answered by messages before its acknowledgement; `each` sees type and
    /// payload of those.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn get(
        &mut self,
        message: Message,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let seq = self.send(vec![message], ACK)?;
        self.answers(seq, &mut each).map(|_| ())
    }

    /// Sends requests in one piece and waits for the acknowledgements of all; the refusal `harmless` counts as one.
    /// There must be no more of them than the socket's buffer holds answers for.
    ///
    /// # Errors
    /// [`NetlinkError`]; the first refusal, after all were heard.
    pub fn ack_all(&mut self, messages: Vec<Message>, harmless: i32) -> Result<(), NetlinkError> {
        let first = self.seq.wrapping_add(1);
        let count =
            u32::try_from(messages.len()).map_err(|_| NetlinkError::Answer("too many requests"))?;
        self.send(messages, ACK)?;
        let mut outcome = Ok(());
        for n in 0..count {
            match self.answers(first.wrapping_add(n), &mut |_, _| ()) {
                Err(e) if e.errno() == Some(harmless) => {}
                Err(e @ NetlinkError::Refused { .. }) => outcome = outcome.and(Err(e)),
                other => drop(other?),
            }
        }
        outcome
    }

    /// Asks for everything; `each` sees type and payload of every entry. A dump that the kernel says was
    /// disturbed is asked for again, so entries can be seen twice.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn dump(
        &mut self,
        message: &Message,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        for _ in 0..16 {
            let seq = self.send(vec![message.clone()], DUMP)?;
            if self.answers(seq, &mut each)? {
                return Ok(());
            }
        }
        Err(NetlinkError::Answer(
            "the table never held still for a dump",
        ))
    }

    /// Sends an nfnetlink batch (its begin and end messages included) in one piece and waits for the answer
    /// to its last but one message. All of it is in force or none.
    ///
    /// # Errors
    /// [`NetlinkError`]; the first refusal. The socket should be thrown away then.
    pub fn batch(&mut self, batch: Vec<Message>) -> Result<(), NetlinkError> {
        let count =
            u32::try_from(batch.len()).map_err(|_| NetlinkError::Answer("batch too long"))?;
        if count < 3 {
            return Ok(());
        }
        let first = self.seq.wrapping_add(1);
        let last = first.wrapping_add(count - 2);
        let mut bytes = Vec::with_capacity(batch.iter().map(Message::size).sum());
        for (message, n) in batch.into_iter().zip(0..) {
            let seq = first.wrapping_add(n);
            let flags = if seq == last { ACK } else { 0 };
            bytes.extend_from_slice(&message.finish(seq, flags));
        }
        self.seq = first.wrapping_add(count - 1);
        self.send_bytes(&bytes)?;
        loop {
            let n = self.recv()?;
            for (kind, flags, seq, payload) in messages(&self.buffer[..n]) {
                if kind != NLMSG_ERROR {
                    continue;
                }
                // Whatever its number: an error anywhere means nothing of the batch is in force.
                verdict(flags, payload)?;
                if seq == last {
                    return Ok(());
                }
            }
        }
    }

    fn send(&mut self, batch: Vec<Message>, flags: u16) -> Result<u32, NetlinkError> {
        let mut bytes = Vec::new();
        for message in batch {
            self.seq = self.seq.wrapping_add(1);
            bytes.extend_from_slice(&message.finish(self.seq, flags));
        }
        self.send_bytes(&bytes)?;
        Ok(self.seq)
    }

    fn send_bytes(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let sent = rustix::io::retry_on_intr(|| send(&self.fd, bytes, SendFlags::empty()))
            .map_err(|e| NetlinkError::system("send", e))?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(NetlinkError::Answer("request sent in part"))
        }
    }

    fn recv(&mut self) -> Result<usize, NetlinkError> {
        let (n, whole) =
            rustix::io::retry_on_intr(|| recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC))
                .map_err(|e| NetlinkError::system("recv", e))?;
        if whole > self.buffer.len() {
            return Err(NetlinkError::Answer("longer than any should be"));
        }
        Ok(n)
    }

    /// Reads until the answer to `seq` is complete. False: a dump that has to be repeated.
    fn answers(
        &mut self,
        wanted: u32,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        let mut steady = true;
        loop {
            let n = self.recv()?;
            for (kind, flags, seq, payload) in messages(&self.buffer[..n]) {
                if seq != wanted {
                    continue;
                }
                steady &= flags & DUMP_INTR == 0;
                match kind {
                    NLMSG_ERROR => return verdict(flags, payload).map(|()| steady),
                    NLMSG_DONE => return done(payload).map(|()| steady),
                    _ => each(kind, payload),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `struct nlmsgerr`: zero is an acknowledgement.
fn verdict(flags: u16, payload: &[u8]) -> Result<(), NetlinkError> {
    let code = payload
        .first_chunk::<4>()
        .map(|b| i32::from_ne_bytes(*b))
        .ok_or(NetlinkError::Answer("error without a number"))?;
    if code == 0 {
        return Ok(());
    }
    // With NETLINK_CAP_ACK the echo is the request's header alone.
    let text = if flags & ACK_TLVS == 0 {
        String::new()
    } else {
        super::attrs_after(payload, 4 + 16)
            .find(|(kind, _)| *kind == ATTR_MSG)
            .map(|(_, text)| {
                String::from_utf8_lossy(text)
                    .trim_end_matches('\0')
                    .to_owned()
            })
            .unwrap_or_default()
    };
    Err(NetlinkError::Refused {
        source: io::Error::from_raw_os_error(code.wrapping_neg()),
        text,
    })
}

/// A dump's end carries its error, zero for none.
fn done(payload: &[u8]) -> Result<(), NetlinkError> {
    match payload.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)) {
        Some(code) if code < 0 => Err(NetlinkError::Refused {
            source: io::Error::from_raw_os_error(code.wrapping_neg()),
            text: String::new(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::REQUEST;

    #[test]
    fn loopback_is_found_in_a_dump() {
        let mut socket = Socket::open(Protocol::Route).expect("any process may");
        let mut names = Vec::new();
        // RTM_GETLINK with struct ifinfomsg; IFLA_IFNAME is 3.
        let ask = Message::new(18, REQUEST, &[0; 16]);
        socket
            .dump(&ask, |_, payload| {
                names.extend(
                    super::super::attrs_after(payload, 16)
                        .filter(|(kind, _)| *kind == 3)
                        .map(|(_, name)| name.to_vec()),
                );
            })
            .expect("any process may");
        assert!(names.contains(&b"lo\0".to_vec()));
    }

    #[test]
    fn a_refusal_says_which() {
        let mut socket = Socket::open(Protocol::Route).expect("any process may");
        // RTM_GETLINK of an interface that cannot be there.
        let ask = Message::new(18, REQUEST, &[0; 16]).text(3, "no-such-link-0");
        let error = socket.ack(ask).expect_err("not there");
        assert_eq!(error.errno(), Some(libc::ENODEV), "{error}");
    }
}
