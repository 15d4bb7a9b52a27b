//! The device by which the gateway reaches the agent of a virtual machine: a port of a virtio console
//! (virtio_console(4): a terminal; on Linux, /dev/vport0p1, none), or any other line.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::termios::{
    Action, ControlModes, OptionalActions, SpecialCodeIndex, isatty, tcflow, tcgetattr, tcsetattr,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::watched::Watched;

/// What a terminal says it runs at. The kernel of FreeBSD makes its buffers after this (tty(4): a fifth of it in bytes
/// each, here 23 KiB), and what finds no room there is lost.
const SPEED: u32 = 115_200;

/// Nobody is at the host's end, or somebody is again: a port of Linux then has nothing to read and takes nothing, and yet is
/// ready for both (and for tokio whatever hung up once always is), so that who waits for it would spin. It is to be
/// opened again.
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
}

/// An open console, on which bytes go through as they are.
#[derive(Debug)]
pub struct Console(Watched<OwnedFd>);

impl Console {
    /// Opens the device at `path`. To be called in a runtime.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` when it is no character device.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::CharacterDevice {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a character device",
            ));
        }
        if isatty(&fd) {
            let mut settings = tcgetattr(&fd)?;
            settings.make_raw();
            // There is no modem whose carrier could be lost.
            settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
            settings.special_codes[SpecialCodeIndex::VMIN] = 1;
            settings.special_codes[SpecialCodeIndex::VTIME] = 0;
            settings.set_speed(SPEED)?;
            tcsetattr(&fd, OptionalActions::Now, &settings)?;
            // Bytes that came before may have told it to stop.
            tcflow(&fd, Action::OOn)?;
        }
        Watched::new(fd).map(Self)
    }
}

impl AsyncRead for Console {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_readable(cx))?;
            let hung_up = ready.ready().is_read_closed();
            let space = buf.initialize_unfilled();
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), space)?)) {
                Ok(Ok(read)) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) if hung_up => return gone(),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Console {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_writable(cx))?;
            let hung_up = ready.ready().is_write_closed();
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return Poll::Ready(done),
                Err(_would_block) if hung_up => return gone(),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use rustix::termios::LocalModes;

    use super::*;

    fn run<T>(done: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        runtime.expect("a runtime").block_on(done)
    }

    #[test]
    fn a_terminal_is_made_raw_and_anything_else_refused() {
        run(async {
            let owner = (rustix::process::getuid(), rustix::process::getgid());
            let terminal = crate::terminal::open(owner.0.as_raw(), owner.1.as_raw(), 80, 24);
            let terminal = terminal.expect("a terminal");
            let name = rustix::termios::ttyname(&terminal.user, Vec::new()).expect("a name");
            let name = name.into_string().expect("plain");
            let console = Console::open(Path::new(&name)).expect("opens");
            let settings = tcgetattr(console.0.get()).expect("a terminal");
            let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
            assert!(!settings.local_modes.intersects(cooked));
            assert_eq!(settings.input_speed(), SPEED);
            let file = tempfile::NamedTempFile::new().expect("tmp");
            let refused = Console::open(file.path()).expect_err("a file");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            assert!(Console::open(Path::new("/dev/nothing-of-this-name")).is_err());
        });
    }

    /// A FIFO whose writer went, and another came, is like a port whose host did: nothing to read, and hung up for tokio.
    #[cfg(target_os = "linux")]
    #[test]
    fn who_waits_for_what_hung_up_does_not_spin() {
        use std::future::poll_fn;
        use std::io::Write as _;

        use rustix::fs::{CWD, mknodat};
        run(async {
            let folder = tempfile::tempdir().expect("room");
            let path = folder.path().join("port");
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd = open(&path, flags, Mode::empty()).expect("opens");
            let mut console = Console(Watched::for_reading(fd).expect("watched"));
            let writer = || std::fs::OpenOptions::new().write(true).open(&path);
            let mut first = writer().expect("opens");
            first.write_all(b"a").expect("takes it");
            drop(first);
            let mut read = async || {
                let mut space = [0; 8];
                let mut buf = ReadBuf::new(&mut space);
                let read = poll_fn(|cx| Pin::new(&mut console).poll_read(cx, &mut buf)).await;
                read.map(|()| buf.filled().len()).map_err(|e| e.kind())
            };
            assert_eq!(read().await, Ok(1));
            assert_eq!(read().await, Ok(0), "nobody writes");
            let _second = writer().expect("opens");
            assert_eq!(read().await, Err(io::ErrorKind::BrokenPipe));
        });
    }
}
