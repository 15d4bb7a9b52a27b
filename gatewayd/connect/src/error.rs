//! Connect's error codes and error bodies (connectrpc.com/docs/protocol, "Error Codes").

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a call failed, in Connect's closed set.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The caller went away.
    Canceled,
    /// Anything without a better name.
    Unknown,
    /// The request can never succeed.
    InvalidArgument,
    /// The caller's time limit passed.
    DeadlineExceeded,
    /// No such file, process or watcher.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// The caller is known and may not.
    PermissionDenied,
    /// Out of memory, descriptors, processes or disk.
    ResourceExhausted,
    /// The state of the system does not allow it.
    FailedPrecondition,
    /// Stopped half-way by a conflict.
    Aborted,
    /// Past the end of something.
    OutOfRange,
    /// No such method, or not on this system.
    Unimplemented,
    /// A fault of the server.
    Internal,
    /// Gone for now.
    Unavailable,
    /// Data was lost.
    DataLoss,
    /// Who is asking?
    Unauthenticated,
}

impl Code {
    /// The HTTP status of a unary error.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Canceled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
        }
    }
}

/// A failed call: what a unary error body and the `error` of an end-stream message hold.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// What the caller may act on.
    pub code: Code,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl ConnectError {
    /// Makes an error.
    #[must_use]
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// Shorthand for [`Code::InvalidArgument`].
    #[must_use]
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Shorthand for [`Code::NotFound`].
    #[must_use]
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Shorthand for [`Code::Internal`].
    #[must_use]
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The body of a unary error.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| br#"{"code":"internal"}"#.to_vec())
    }
}

/// The message that ends a stream.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndStream {
    /// Absent when the call succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ConnectError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_connect_writes_them() {
        let error = ConnectError::not_found("process with pid 4 not found");
        assert_eq!(
            String::from_utf8(error.to_json()).expect("text"),
            r#"{"code":"not_found","message":"process with pid 4 not found"}"#
        );
        let end: EndStream =
            serde_json::from_str(r#"{"metadata":{},"error":{"code":"deadline_exceeded"}}"#)
                .expect("an end");
        assert_eq!(end.error.expect("error").code, Code::DeadlineExceeded);
        assert_eq!(
            serde_json::to_string(&EndStream::default()).expect("json"),
            "{}"
        );
    }
}
