//! Cells made ahead of need: everything that is the same for every sandbox of a template and a size is there, and the
//! first process waits for whose cell it becomes. No code of a guest has run in it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use warder_common::{At, HostError, Result};
use warder_wire::SandboxId;

use super::{Cell, CellHandle, Network, Status, Tenant, Walls, fork};
use crate::process::{Process, Signal};

/// A cell that is nobody's yet. Its first process dies with privd.
#[derive(Debug)]
pub struct Spare {
    process: Process,
    handle: CellHandle,
    status: Status,
    /// One message: the sandbox, with its network and its listener.
    orders: OwnedFd,
}

impl Spare {
    /// Whether this kernel's cells can be made ahead.
    pub const POSSIBLE: bool = true;

    /// Begins to make one, and returns at once. The caller must be single-threaded.
    ///
    /// # Errors
    /// As [`super::spawn`].
    pub fn begin(walls: &Walls<'_>) -> Result<Self> {
        let (orders, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .at("socketpair")?;
        let mut place = None;
        let (place, awaited) = (&mut place, theirs.as_fd());
        let (process, handle, status) = fork(walls, &[awaited], move || {
            Ok(told(place.insert(receive(awaited)?)))
        })?;
        Ok(Self {
            process,
            handle,
            status,
            orders,
        })
    }

    /// Whether nothing has gone wrong with it so far.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self.process.has_ended(), Ok(false))
    }

    /// Makes it the cell of `sandbox`, whose tree and groups have been passed on; it goes on as a cell from
    /// [`super::spawn`] does.
    ///
    /// # Errors
    /// `System`; then its process is gone.
    pub fn start(
        mut self,
        sandbox: &SandboxId,
        network: &Network,
        listener: BorrowedFd<'_>,
    ) -> Result<(Cell, Status)> {
        let told = network.inode().and_then(|inode| {
            self.handle.net_ns = inode;
            let fds = [network.as_fd(), listener];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let name = [IoSlice::new(sandbox.as_str().as_bytes())];
            sendmsg(&self.orders, &name, &mut ancillary, SendFlags::NOSIGNAL).at("sendmsg")
        });
        if let Err(error) = told {
            self.end()?.reap()?;
            return Err(error);
        }
        let (process, handle) = (self.process, self.handle);
        Ok((Cell { process, handle }, self.status))
    }

    /// Kills its process, which has had no child and is to be reaped. What else there is of it has its name.
    ///
    /// # Errors
    /// `System`.
    pub fn end(self) -> Result<Process> {
        self.process.signal(Signal::Kill)?;
        Ok(self.process)
    }
}

fn told((sandbox, [network, listener]): &(SandboxId, [OwnedFd; 2])) -> Tenant<'_> {
    Tenant {
        sandbox,
        network: network.as_fd(),
        listener: listener.as_fd(),
    }
}

/// In the cell: waits for whose it becomes.
fn receive(orders: BorrowedFd<'_>) -> Result<(SandboxId, [OwnedFd; 2])> {
    let mut name = [0; SandboxId::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(
        orders,
        &mut [IoSliceMut::new(&mut name)],
        &mut ancillary,
        flags,
    )
    .at("recvmsg")?;
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let sandbox = std::str::from_utf8(&name[..got.bytes])
        .ok()
        .and_then(|name| SandboxId::new(name).ok());
    match (sandbox, <[OwnedFd; 2]>::try_from(fds)) {
        (Some(sandbox), Ok(fds)) => Ok((sandbox, fds)),
        _ => Err(HostError::Invalid("nobody became its tenant")),
    }
}
