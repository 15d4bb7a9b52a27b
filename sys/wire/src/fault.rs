//! What went wrong, as a code. Text beside it is for logs and people; no caller may match it.

use serde::{Deserialize, Serialize};

/// A refused or failed request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{code:?}: {detail}")]
pub struct Fault {
    /// What the caller may act on.
    pub code: FaultCode,
    /// For logs and people: printable ASCII, at most [`Fault::MAX_DETAIL`] bytes.
    pub detail: String,
}

/// The closed set of reasons. It only grows at the end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum FaultCode {
    /// No such sandbox, template or backend.
    NotFound,
    /// It exists already, or the state does not allow the operation now.
    Conflict,
    /// The request is well-formed and never acceptable (a limit out of bounds, say).
    Refused,
    /// A pool or range is used up: sandboxes, slots, ids. Worth another try later.
    Exhausted,
    /// The file system that holds the sandboxes has no room. Retrying alone cures nothing.
    NoSpace,
    /// This kernel or host cannot do it; the detail names the feature.
    Unsupported,
    /// The guest did not take a link in time (its queue is full).
    GuestUnresponsive,
    /// The process that had to do it is being restarted. Worth another try at once.
    Unavailable,
    /// The deadline passed first.
    TimedOut,
    /// A system call failed; the detail names it.
    System,
}

impl Fault {
    /// Longest detail kept, in bytes.
    pub const MAX_DETAIL: usize = 240;

    /// Makes a fault; the detail is cut and made printable.
    #[must_use]
    pub fn new(code: FaultCode, detail: impl std::fmt::Display) -> Self {
        let mut text: String = detail
            .to_string()
            .chars()
            .map(|c| {
                if c == ' ' || c.is_ascii_graphic() {
                    c
                } else {
                    '?'
                }
            })
            .collect();
        text.truncate(Self::MAX_DETAIL);
        Self { code, detail: text }
    }
}
