//! Errors of the plain HTTP part: `{"code": int, "message": str}`.

use std::fmt;
use std::io;

use http::{HeaderValue, Response, StatusCode, header};
use rustix::io::Errno;
use serde::Serialize;

use super::Body;

/// A refused or failed request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    code: u16,
    message: &'a str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }

    pub(crate) fn bad_request(message: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A failed system call while doing `what`; a full disk has a status of its own.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let status = match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                return Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "not enough disk space available",
                );
            }
            Some(Errno::NOENT) => StatusCode::NOT_FOUND,
            Some(Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::ISDIR) => {
                StatusCode::BAD_REQUEST
            }
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format_args!("{what}: {error}"))
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let body = Wire {
            code: self.status.as_u16(),
            message: &self.message,
        };
        let mut response = super::json(&body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}
