//! From a process's output to its listeners, until it ends.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use rustix::io::Errno;
use warder_guest_sys::watched::Watched;

use super::events::{self, Output};
use super::table::Process;
use crate::agent::Agent;

/// Most bytes in one message from a pipe.
const PIPE_CHUNK: usize = 32 * 1024;
/// Most bytes in one message from a terminal.
const PTY_CHUNK: usize = 16 * 1024;

/// One output of a process.
pub(super) struct Source {
    pub(super) output: Output,
    /// Non-blocking.
    pub(super) fd: Rc<Watched<OwnedFd>>,
}

enum Got {
    Data(Bytes),
    NothingYet,
    End,
}

impl Source {
    fn read(&self, agent: &Agent) -> Got {
        let chunk = match self.output {
            Output::Pty => PTY_CHUNK,
            Output::Stdout | Output::Stderr => PIPE_CHUNK,
        };
        let mut scratch = agent.processes.scratch.borrow_mut();
        scratch.resize(PIPE_CHUNK, 0);
        match rustix::io::retry_on_intr(|| rustix::io::read(self.fd.get(), &mut scratch[..chunk])) {
            Ok(0) => Got::End,
            Ok(n) => Got::Data(events::data(self.output, &scratch[..n])),
            Err(Errno::AGAIN) => Got::NothingYet,
            // EIO: the last process on the terminal closed it.
            Err(_) => Got::End,
        }
    }

    /// The next output, or `None` at its end.
    async fn next(&self, agent: &Agent) -> Option<Bytes> {
        loop {
            let mut ready = self.fd.readable().await.ok()?;
            match self.read(agent) {
                Got::Data(data) => return Some(data),
                Got::End => return None,
                Got::NothingYet => ready.clear_ready(),
            }
        }
    }
}

async fn next(source: Option<&Source>, agent: &Agent) -> Option<Bytes> {
    match source {
        Some(source) => source.next(agent).await,
        None => pending().await,
    }
}

/// Runs until the process has ended and, unless a client had it killed, all who inherited its output have
/// closed it. E2B waits in the same way.
pub(super) async fn run(
    agent: Agent,
    process: Rc<Process>,
    mut first: Option<Source>,
    mut second: Option<Source>,
) {
    loop {
        let ended = process.status.get().is_some();
        if (ended && process.cut_output.get()) || (first.is_none() && second.is_none()) {
            break;
        }
        // Dropping the losers of this race loses nothing: they have read nothing.
        tokio::select! {
            data = next(first.as_ref(), &agent) => match data {
                Some(data) => process.publish(data).await,
                None => first = None,
            },
            data = next(second.as_ref(), &agent) => match data {
                Some(data) => process.publish(data).await,
                None => second = None,
            },
            () = process.changed.notified() => {}
        }
    }
    let status = loop {
        match process.status.get() {
            Some(status) => break status,
            None => process.changed.notified().await,
        }
    };
    // What it wrote before it was killed.
    for source in [first, second].into_iter().flatten() {
        while let Got::Data(data) = source.read(&agent) {
            process.publish(data).await;
        }
    }
    process.input.close();
    process.finish(events::end(status)).await;
    agent.processes.retire(&process);
}
