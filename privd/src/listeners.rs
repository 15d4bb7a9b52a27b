//! Sockets that privd binds for others: HTTP and administration for the gateway, one listener per
//! sandbox for its agent.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode, chmod, chown};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};
use warder_wire::{Fault, FaultCode, SandboxId};

/// How long a port may still be held by the gateway of a privd that was killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that may wait for the agent: more are refused, so a guest that accepts none holds few.
const LINK_BACKLOG: i32 = 8;

/// Binds and listens on a TCP address.
///
/// # Errors
/// From bind(2), `AddrInUse` only after some seconds.
pub(crate) fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fd = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match bind(&fd, &address) {
            Err(Errno::ADDRINUSE) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => break other?,
        }
    }
    listen(&fd, 1024)?;
    Ok(fd)
}

/// Binds the administrator's listener: root's, and `group`'s if there is one.
///
/// # Errors
/// From the calls it makes.
pub(crate) fn admin(path: &Path, group: Option<u32>) -> io::Result<OwnedFd> {
    let fd = unix(path, SocketType::STREAM)?;
    // Bound with umask 077: nobody else could have connected before this.
    if let Some(group) = group {
        chown(path, None, Some(Gid::from_raw(group)))?;
    }
    let mode = if group.is_some() {
        Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP
    } else {
        Mode::RUSR | Mode::WUSR
    };
    chmod(path, mode)?;
    listen(&fd, 128)?;
    Ok(fd)
}

fn unix(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

/// The directory of the sandboxes' listeners, which only root can enter.
#[derive(Debug)]
pub(crate) struct Links(PathBuf);

impl Links {
    /// The directory `path`, which exists.
    #[must_use]
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Binds the listener that a sandbox's agent gets.
    ///
    /// # Errors
    /// From the calls it makes.
    pub(crate) fn bind(&self, sandbox: &SandboxId) -> io::Result<OwnedFd> {
        let fd = unix(&self.path(sandbox), SocketType::SEQPACKET)?;
        listen(&fd, LINK_BACKLOG)?;
        Ok(fd)
    }

    /// Connects to a sandbox's agent without ever waiting (unix(7): EAGAIN when its queue is full;
    /// unix(4): ECONNREFUSED).
    ///
    /// # Errors
    /// `GuestUnresponsive`, or `System`.
    pub(crate) fn connect(&self, sandbox: &SandboxId) -> Result<OwnedFd, Fault> {
        let system = |call| {
            move |errno: Errno| Fault::new(FaultCode::System, format_args!("{call}: {errno}"))
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(system("socket"))?;
        let address = SocketAddrUnix::new(self.path(sandbox)).map_err(system("address"))?;
        match connect(fd.as_fd(), &address) {
            Ok(()) => Ok(fd),
            Err(Errno::AGAIN | Errno::CONNREFUSED) => Err(Fault::new(
                FaultCode::GuestUnresponsive,
                "the agent's queue of links is full or closed",
            )),
            Err(errno) => Err(system("connect")(errno)),
        }
    }

    /// Removes a sandbox's listener from the directory.
    pub(crate) fn remove(&self, sandbox: &SandboxId) {
        // Not there is what is wanted; nothing else can go wrong in a directory of our own.
        let _ = std::fs::remove_file(self.path(sandbox));
    }

    /// Removes every listener but those of sandboxes that `keep` accepts.
    ///
    /// # Errors
    /// From reading the directory.
    pub(crate) fn sweep(&self, keep: impl Fn(&SandboxId) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let kept = entry
                .file_name()
                .to_str()
                .and_then(|name| SandboxId::new(name).ok())
                .is_some_and(|id| keep(&id));
            if !kept {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.0.join(sandbox.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_never_accepts_is_unresponsive_at_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let links = Links::new(dir.path().to_owned());
        let id = SandboxId::from_random(&[7; 20]);
        let listener = links.bind(&id).expect("binds");
        let mut open = Vec::new();
        let fault = loop {
            match links.connect(&id) {
                Ok(fd) => open.push(fd),
                Err(fault) => break fault,
            }
            assert!(open.len() < 64, "the backlog must be small");
        };
        assert_eq!(fault.code, FaultCode::GuestUnresponsive);
        drop(listener);
        assert_eq!(
            links.connect(&id).expect_err("closed").code,
            FaultCode::GuestUnresponsive
        );
        links.sweep(|_| false).expect("own directory");
        assert_eq!(
            links.connect(&id).expect_err("gone").code,
            FaultCode::System
        );
    }

    #[test]
    fn the_administrators_listener_is_roots_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("admin.sock");
        let _fd = admin(&path, None).expect("binds");
        assert_eq!(
            std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        let _again = admin(&path, None).expect("binds over a stale one");
    }
}
