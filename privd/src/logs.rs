//! The log: privd's own lines and those of the processes it started.
//!
//! What a child writes is foreign: lines are cut, made printable, prefixed with the name privd gave
//! the child, and dropped beyond a rate. Writing never waits, neither for a full pipe nor for a child.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::leases::Now;
use crate::rate::Bucket;

/// Longest line kept, in bytes.
const MAX_LINE: usize = 1000;
/// Lines a child may write at once, and a second on average.
const LINES: (u32, u32) = (1000, 200);

/// Audit lines at once, and a second on average: whoever misbehaves must not fill the disk.
const AUDITS: (u32, u32) = (100, 10);

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    lost: u64,
    audits: Bucket,
    unsaid: u64,
}

impl Log {
    /// A log to `path`, or to standard error.
    ///
    /// # Errors
    /// From open(2).
    pub(crate) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let audits = Bucket::new(AUDITS.0, AUDITS.1);
        let mut log = Self {
            path,
            file: None,
            lost: 0,
            audits,
            unsaid: 0,
        };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file again, after it was moved away. On error the old one stays in use.
    ///
    /// # Errors
    /// From open(2).
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = Some(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(path)?,
            );
        }
        Ok(())
    }

    /// Writes a line of privd's own.
    pub(crate) fn own(&mut self, text: impl Display) {
        self.line("privd", &text.to_string());
    }

    /// Writes a line that says what a less trusted process did wrong.
    pub(crate) fn audit(&mut self, text: impl Display) {
        if !self.audits.take(Now::read().mono) {
            self.unsaid += 1;
            return;
        }
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            n => format!(" (and {n} lines like it)"),
        };
        self.line("privd", &format!("audit: {text}{more}"));
    }

    fn line(&mut self, who: &str, text: &str) {
        let mut line = format!("{} {who}: ", stamp(Now::read().wall));
        line.extend(text.chars().take(MAX_LINE).map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        }));
        line.push('\n');
        if self.lost > 0
            && self.write(
                format!(
                    "{} privd: {} lines lost\n",
                    stamp(Now::read().wall),
                    self.lost
                )
                .as_bytes(),
            )
        {
            self.lost = 0;
        }
        if !self.write(line.as_bytes()) {
            self.lost += 1;
        }
    }

    fn write(&self, bytes: &[u8]) -> bool {
        match &self.file {
            Some(file) => io::Write::write_all(&mut &*file, bytes).is_ok(),
            // pipe(7): writable means PIPE_BUF bytes go in without waiting, and a line is shorter.
            None => {
                let stderr = rustix::stdio::stderr();
                let writable = poll(
                    &mut [PollFd::new(&stderr, PollFlags::OUT)],
                    Some(&Timespec::default()),
                );
                writable == Ok(1) && rustix::io::write(stderr, bytes).is_ok()
            }
        }
    }
}

/// The reading end of a child's standard error.
#[derive(Debug)]
pub(crate) struct LogPipe {
    fd: OwnedFd,
    who: String,
    line: Vec<u8>,
    bucket: Bucket,
    dropped: u64,
    ended: bool,
}

impl LogPipe {
    /// A pipe, and the end that the child `who` writes to.
    ///
    /// # Errors
    /// From pipe(2).
    pub(crate) fn new(who: &str) -> io::Result<(Self, OwnedFd)> {
        let (fd, end) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        let bucket = Bucket::new(LINES.0, LINES.1);
        Ok((
            Self {
                fd,
                who: who.to_owned(),
                line: Vec::new(),
                bucket,
                dropped: 0,
                ended: false,
            },
            end,
        ))
    }

    /// Passes on what has been written; false at the end.
    pub(crate) fn drain(&mut self, log: &mut Log, now: Now) -> bool {
        let mut buffer = [0_u8; 4096];
        // Bounded: a child that writes without end must not hold the loop.
        for _ in 0..16 {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) => {
                    self.end_line(log, now);
                    self.ended = true;
                    return false;
                }
                Ok(n) => self.take(&buffer[..n], log, now),
                Err(_) => return true,
            }
        }
        true
    }

    /// Whether the child and all it started have closed it.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, bytes: &[u8], log: &mut Log, now: Now) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line(log, now);
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
    }

    fn end_line(&mut self, log: &mut Log, now: Now) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        if !self.bucket.take(now.mono) {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            log.own(format_args!(
                "{} lines of {} dropped",
                self.dropped, self.who
            ));
            self.dropped = 0;
        }
        let text = String::from_utf8_lossy(&line);
        let own_prefix = text
            .strip_prefix(self.who.as_str())
            .and_then(|rest| rest.strip_prefix(": "));
        log.line(&self.who, own_prefix.unwrap_or(&text));
    }
}

impl AsFd for LogPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `YYYY-MM-DDThh:mm:ss.mmmZ` of milliseconds since 1970 (days to date: the proleptic Gregorian
/// calendar counted in 400-year cycles from 1 March of year 0).
fn stamp(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000 + 719_468, ms % 86_400_000);
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (month, day) = (
        if month < 10 { month + 3 } else { month - 9 },
        day_of_year - (153 * month + 2) / 5 + 1,
    );
    let year = year + cycle * 400 + u64::from(month <= 2);
    let (h, m, s, milli) = (
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000,
    );
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_dates() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_795_262_400_123), "2026-11-21T12:00:00.123Z");
    }

    #[test]
    fn a_child_cannot_forge_or_flood() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let mut log = Log::open(Some(path.clone())).expect("opens");
        let (mut pipe, end) = LogPipe::new("gatewayd").expect("pipe");
        let now = Now { mono: 5, wall: 5 };
        rustix::io::write(&end, b"gatewayd: fine\n\x1b[2Jprivd: forged\rprivd: x\n").expect("room");
        assert!(pipe.drain(&mut log, now));
        for _ in 0..20_000 {
            if rustix::io::write(&end, b"x\n").is_err() {
                break;
            }
            pipe.drain(&mut log, now);
        }
        rustix::io::write(&end, &[b'y'; 3000]).expect("room");
        drop(end);
        while pipe.drain(&mut log, now) {}
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(text.contains(" gatewayd: fine\n"));
        assert!(text.contains(" gatewayd: ?[2Jprivd: forged?privd: x\n"));
        assert!(text.lines().count() <= LINES.0 as usize + 1);
    }
}
