//! What a cell that sets itself up says through a pipe: nothing until its agent is about to run.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::error::{At, HostError, Result};

/// Said just before exec: the end of the pipe after this means that exec succeeded.
const READY: u8 = b'+';
/// Longest report, bytes: [`READY`], the error's number, the step.
const LONGEST: usize = 1024;

/// News of a cell being set up; readable when there is some.
#[derive(Debug)]
pub struct Status {
    descriptor: OwnedFd,
    heard: Vec<u8>,
}

/// The cell's end.
#[derive(Debug)]
pub struct Reporter(OwnedFd);

/// What became of a cell being set up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The agent runs.
    Running,
    /// A step failed; the cell has ended or is about to.
    Failed {
        /// The step, and what the kernel said of it in words, if it did.
        stage: String,
        /// What the kernel said; 0 when it was not the kernel, or the process died without a word.
        errno: i32,
    },
}

/// Both ends. Neither outlasts exec.
///
/// # Errors
/// `System`.
pub fn channel() -> Result<(Status, Reporter)> {
    let (descriptor, reporter) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).at("pipe")?;
    let status = Status {
        descriptor,
        heard: Vec::new(),
    };
    Ok((status, Reporter(reporter)))
}

impl Status {
    /// What became of the cell, if that is known by now. Never blocks.
    ///
    /// # Errors
    /// `System`.
    pub fn read(&mut self) -> Result<Option<Outcome>> {
        let mut buffer = [0; LONGEST];
        loop {
            match rustix::io::read(&self.descriptor, &mut buffer) {
                Ok(0) => return Ok(Some(outcome(&self.heard))),
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno).at("read cell status"),
            }
        }
    }
}

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Reporter {
    /// The agent is about to run.
    ///
    /// # Errors
    /// `System` when nobody listens.
    pub fn ready(&self) -> Result<()> {
        rustix::io::write(&self.0, &[READY]).at("report")?;
        Ok(())
    }

    /// Itself under a number that is not below `number`.
    ///
    /// # Errors
    /// `System`.
    pub fn lifted(&self, number: RawFd) -> Result<Self> {
        let lifted = rustix::io::fcntl_dupfd_cloexec(&self.0, number).at("dup")?;
        Ok(Self(lifted))
    }

    /// A step failed. When privd has gone there is nobody to tell, and the next one removes this cell.
    pub fn failed(&self, error: &HostError) {
        let _ = rustix::io::write(&self.0, &failure(&error.step(), error.errno()));
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn failure(stage: &str, errno: i32) -> Vec<u8> {
    let mut report = errno.to_le_bytes().to_vec();
    report.extend_from_slice(stage.as_bytes());
    report.truncate(LONGEST - 1);
    report
}

/// What the whole of a report means.
fn outcome(heard: &[u8]) -> Outcome {
    let failure = match heard {
        [READY] => return Outcome::Running,
        [READY, failure @ ..] => failure,
        failure => failure,
    };
    match failure.split_first_chunk() {
        Some((errno, stage)) => Outcome::Failed {
            stage: String::from_utf8_lossy(stage).into_owned(),
            errno: i32::from_le_bytes(*errno),
        },
        None => Outcome::Failed {
            stage: "the process died while being set up".into(),
            errno: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_happened() {
        assert_eq!(outcome(b"+"), Outcome::Running);
        let failed = Outcome::Failed {
            stage: "nmount: no such device".into(),
            errno: 19,
        };
        let report = failure("nmount: no such device", 19);
        assert_eq!(outcome(&report), failed);
        assert_eq!(outcome(&[&[READY], report.as_slice()].concat()), failed);
        assert!(matches!(outcome(b""), Outcome::Failed { errno: 0, .. }));
        assert!(matches!(outcome(b"abc"), Outcome::Failed { errno: 0, .. }));
        assert!(failure(&"x".repeat(5000), 1).len() < LONGEST);
    }

    #[test]
    fn it_is_heard_when_the_pipe_ends_and_not_before() {
        let (mut status, reporter) = channel().expect("a pipe");
        assert_eq!(status.read().expect("reads"), None);
        reporter.ready().expect("writes");
        assert_eq!(status.read().expect("reads"), None);
        reporter.failed(&HostError::Invalid("no exec"));
        drop(reporter);
        let failed = Outcome::Failed {
            stage: "no exec".into(),
            errno: 0,
        };
        assert_eq!(status.read().expect("reads"), Some(failed));
    }
}
