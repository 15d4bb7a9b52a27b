//! Pseudo-terminals (pty(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The agent's end; non-blocking.
    pub controller: OwnedFd,
    /// The process's end.
    pub user: OwnedFd,
}

/// Opens a terminal that belongs to `uid`.
///
/// # Errors
/// No devpts, or no terminals or descriptors left.
pub fn open(uid: u32, gid: u32, columns: u16, rows: u16) -> io::Result<Terminal> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let user = peer(&controller)?;
    fchown(&user, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    resize(&controller, columns, rows)?;
    let flags = fcntl_getfl(&controller)?;
    fcntl_setfl(&controller, flags | OFlags::NONBLOCK)?;
    Ok(Terminal { controller, user })
}

/// Says how large the terminal is now; its foreground processes get SIGWINCH.
///
/// # Errors
/// The descriptor is no terminal.
pub fn resize<Fd: AsFd>(terminal: Fd, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

/// By descriptor, so that it works whatever is mounted on /dev/pts (`ioctl_tty(2)`, TIOCGPTPEER).
#[cfg(target_os = "linux")]
fn peer(controller: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    Ok(rustix::pty::ioctl_tiocgptpeer(controller, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn peer(controller: &OwnedFd) -> io::Result<OwnedFd> {
    let name = rustix::pty::ptsname(controller, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, rustix::fs::Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_one_end_is_read_at_the_other() {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let terminal = open(uid, gid, 80, 24).expect("a terminal");
        let size = rustix::termios::tcgetwinsize(&terminal.user).expect("size");
        assert_eq!((size.ws_col, size.ws_row), (80, 24));
        rustix::io::write(&terminal.user, b"hi\n").expect("writes");
        let mut buffer = [0; 16];
        let n = rustix::io::read(&terminal.controller, &mut buffer).expect("reads");
        assert_eq!(&buffer[..n], b"hi\r\n");
        let null = std::fs::File::open("/dev/null").expect("null");
        assert!(resize(&null, 1, 1).is_err());
    }
}
