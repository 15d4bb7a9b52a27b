//! What clients write to a process.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::{Mutex, Notify};
use warder_connect::process::{ProcessInput, Pty};
use warder_connect::{Code, ConnectError};
use warder_guest_sys::watched::Watched;

/// Where input goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// `/dev/null`: nowhere.
    Nothing,
    /// A pipe.
    Pipe,
    /// A terminal; the same descriptor gives the output.
    Terminal,
}

/// The input of one process.
#[derive(Debug)]
pub(super) struct Input {
    kind: Kind,
    fd: RefCell<Option<Rc<Watched<OwnedFd>>>>,
    /// Whole messages one after the other.
    order: Mutex<()>,
    closed: Notify,
}

impl Input {
    pub(super) fn new(kind: Kind, fd: Option<Rc<Watched<OwnedFd>>>) -> Self {
        Self {
            kind,
            fd: RefCell::new(fd),
            order: Mutex::new(()),
            closed: Notify::new(),
        }
    }

    /// Writes all of it, waiting while the process does not read.
    pub(super) async fn write(&self, input: Option<&ProcessInput>) -> Result<(), ConnectError> {
        let bytes = match (
            self.kind,
            input.map(|i| (i.stdin.as_deref(), i.pty.as_deref())),
        ) {
            (Kind::Pipe, Some((Some(bytes), None)))
            | (Kind::Terminal, Some((None, Some(bytes)))) => bytes,
            (Kind::Nothing | Kind::Terminal, Some((Some(_), None))) => {
                return Err(ConnectError::internal(
                    "stdin is not enabled for this process",
                ));
            }
            (Kind::Nothing | Kind::Pipe, Some((None, Some(_)))) => {
                return Err(ConnectError::internal("this process has no terminal"));
            }
            (_, Some((Some(_), Some(_)) | (None, None)) | None) => {
                return Err(ConnectError::new(
                    Code::Unimplemented,
                    "input must be either stdin or pty",
                ));
            }
        };
        let _turn = self.order.lock().await;
        let closed = self.closed.notified();
        let write = self.write_all(bytes);
        tokio::select! {
            written = write => written,
            () = closed => Err(is_closed()),
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> Result<(), ConnectError> {
        let fd = self.fd.borrow().clone().ok_or_else(is_closed)?;
        // Most writes fit: try before asking the runtime.
        if let Ok(n) = rustix::io::write(fd.get(), bytes) {
            bytes = &bytes[n..];
        }
        while !bytes.is_empty() {
            let mut ready = fd.writable().await.map_err(ConnectError::internal)?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(Ok(n)) => bytes = &bytes[n..],
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => {
                    return Err(ConnectError::internal(format_args!(
                        "error writing input: {error}"
                    )));
                }
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// The end of a pipe.
    pub(super) fn close_stdin(&self) -> Result<(), ConnectError> {
        match self.kind {
            Kind::Pipe => {
                self.close();
                Ok(())
            }
            Kind::Terminal => Err(ConnectError::new(
                Code::FailedPrecondition,
                "cannot close the input of a terminal; send Ctrl+D (0x04) instead",
            )),
            Kind::Nothing => Err(ConnectError::internal(
                "stdin is not enabled for this process",
            )),
        }
    }

    /// Lets go of the descriptor and of whoever waits to write.
    pub(super) fn close(&self) {
        *self.fd.borrow_mut() = None;
        self.closed.notify_waiters();
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&self, pty: Option<Pty>) -> Result<(), ConnectError> {
        let Some(size) = pty.and_then(|pty| pty.size) else {
            return Err(ConnectError::invalid("name the new size of the terminal"));
        };
        let fd = self.fd.borrow().clone();
        match (self.kind, fd) {
            (Kind::Terminal, Some(fd)) => {
                warder_guest_sys::terminal::resize(fd.get(), clamp(size.cols), clamp(size.rows))
                    .map_err(ConnectError::internal)
            }
            _ => Err(ConnectError::internal("this process has no terminal")),
        }
    }
}

/// A terminal's size has 16 bits.
pub(super) fn clamp(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

fn is_closed() -> ConnectError {
    ConnectError::internal("the input of this process is closed")
}
