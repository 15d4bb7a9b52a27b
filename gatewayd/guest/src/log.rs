//! What the agent did and which processes it ran: the last entries, for the gateway to fetch.
//!
//! Of a process its program, user, number and end are kept; never arguments, variables, input or output,
//! which may hold what their owner wants nobody to keep.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::WaitStatus;
use serde::Serialize;

/// Most entries kept.
const ENTRIES: usize = 1000;
/// And bytes of them.
const BYTES: usize = 256 * 1024;
/// Longest text in an entry, in bytes.
const TEXT: usize = 256;
/// What an entry takes besides its texts, about.
const HEAD: usize = 96;

/// One entry.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    /// Microseconds since 1970.
    at: u64,
    level: &'static str,
    logger: &'static str,
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
}

#[derive(Clone, Debug, Serialize)]
struct Process {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    cmd: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
}

impl Entry {
    fn size(&self) -> usize {
        let process = self.process.as_ref();
        HEAD + self.message.len() + process.map_or(0, |p| p.cmd.len() + p.user.len())
    }
}

/// The last entries.
#[derive(Debug, Default)]
pub(crate) struct Log(RefCell<Ring>);

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
}

/// All of it, as the gateway gets it.
#[derive(Debug, Serialize)]
pub(crate) struct Whole {
    /// Entries that had to make room.
    dropped: u64,
    entries: Vec<Entry>,
}

fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

impl Log {
    fn add(
        &self,
        (level, logger): (&'static str, &'static str),
        message: Cow<'static, str>,
        process: Option<Process>,
    ) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let entry = Entry {
            at: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            level,
            logger,
            message,
            process,
        };
        let mut ring = self.0.borrow_mut();
        ring.bytes += entry.size();
        ring.kept.push_back(entry);
        while ring.kept.len() > ENTRIES || ring.bytes > BYTES {
            let Some(gone) = ring.kept.pop_front() else {
                return;
            };
            ring.bytes -= gone.size();
            ring.dropped += 1;
        }
    }

    /// Something about the agent itself.
    pub(crate) fn agent(&self, message: &'static str) {
        self.add(("info", "envd"), Cow::Borrowed(message), None);
    }

    /// A process was started.
    pub(crate) fn started(&self, pid: u32, cmd: &str, user: &str) {
        let process = Process {
            pid: Some(pid),
            cmd: clip(cmd),
            user: clip(user),
            exit_code: None,
            signal: None,
        };
        let text = Cow::Borrowed("process started");
        self.add(("info", "process"), text, Some(process));
    }

    /// It could not be.
    pub(crate) fn not_started(&self, cmd: &str, user: &str, why: &str) {
        let process = Process {
            pid: None,
            cmd: clip(cmd),
            user: clip(user),
            exit_code: None,
            signal: None,
        };
        let text = format!("process not started: {why}");
        self.add(("warn", "process"), Cow::Owned(clip(&text)), Some(process));
    }

    /// A process ended.
    pub(crate) fn ended(&self, pid: u32, cmd: &str, user: &str, status: WaitStatus) {
        let process = Process {
            pid: Some(pid),
            cmd: clip(cmd),
            user: clip(user),
            exit_code: status.exit_status(),
            signal: status.terminating_signal(),
        };
        let text = Cow::Borrowed("process ended");
        self.add(("info", "process"), text, Some(process));
    }

    /// Everything kept.
    pub(crate) fn whole(&self) -> Whole {
        let ring = self.0.borrow();
        Whole {
            dropped: ring.dropped,
            entries: ring.kept.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_by_count_and_bytes_and_the_drop_is_counted() {
        let log = Log::default();
        for _ in 0..ENTRIES + 5 {
            log.agent("x");
        }
        assert_eq!(
            (log.whole().entries.len(), log.whole().dropped),
            (ENTRIES, 5)
        );
        let long = "é".repeat(TEXT);
        for n in 0..2000 {
            log.started(n, &long, &long);
        }
        assert!(log.0.borrow().bytes <= BYTES);
        let whole = log.whole();
        let last = whole.entries.last().expect("kept");
        let process = last.process.as_ref().expect("one");
        assert_eq!((process.pid, process.cmd.len()), (Some(1999), TEXT));
        assert!(whole.dropped > 1000);
    }
}
