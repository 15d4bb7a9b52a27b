//! What an API request can be refused with, and its form on the wire.

use http::StatusCode;
use warder_ipc::aio::CallError;
use warder_wire::{Fault, FaultCode, SandboxId};

/// A refused or failed API request. The body is always `{"code", "message"}`, `code` being the status:
/// the JavaScript SDK decides by the body, the Python SDK by the status.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct ApiError {
    /// The status.
    pub(crate) status: StatusCode,
    /// For people: what to change.
    pub(crate) message: String,
    /// E2B's own code, where it has one.
    pub(crate) error_code: Option<&'static str>,
    /// Whether asking again can help; `None` leaves it to the status.
    pub(crate) retry: Option<bool>,
    /// With 405, the methods there are.
    pub(crate) allow: Option<&'static str>,
}

impl ApiError {
    /// An error without further hints.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            error_code: None,
            retry: None,
            allow: None,
        }
    }

    /// 405: the path has these methods only (RFC 9110, 15.5.6).
    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let text = format!("this path has no such method, only {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
        }
    }

    /// 400.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404 for a sandbox nobody knows.
    pub(crate) fn no_sandbox(id: &str) -> Self {
        let id: String = id.chars().filter(char::is_ascii_graphic).take(80).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("Sandbox \"{id}\" doesn't exist or you don't have access to it"),
        )
    }

    /// 404 for a template nobody knows.
    pub(crate) fn no_template(name: &str) -> Self {
        let name: String = name
            .chars()
            .filter(char::is_ascii_graphic)
            .take(160)
            .collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("template '{name}' not found"),
        )
    }

    /// 409: it is being ended.
    pub(crate) fn being_killed(id: &SandboxId) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            format!("Sandbox \"{id}\" is being killed"),
        )
    }

    /// 409: it is paused, and what was asked needs it awake or not paused yet.
    pub(crate) fn paused(id: &SandboxId) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            format!("Sandbox \"{id}\" is already paused"),
        )
    }

    /// 404 as E2B answers it for what only a running sandbox has.
    pub(crate) fn not_running(id: &SandboxId) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("Sandbox \"{id}\" is not running: it is paused"),
        )
    }

    /// 501: E2B has it and this server has not. Asking again cures nothing.
    pub(crate) fn unsupported(what: &str) -> Self {
        let mut error = Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} is not supported by this server"),
        );
        error.retry = Some(false);
        error
    }

    /// 500.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, message);
        error.error_code = Some("internal_server_error");
        error
    }

    /// With E2B's own code.
    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.error_code = Some(code);
        self
    }

    /// With a word on whether to ask again.
    pub(crate) fn retry(mut self, retry: bool) -> Self {
        self.retry = Some(retry);
        self
    }
}

/// A question to another daemon that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It refused or failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It keeps what was asked for until the host can do it; until then nothing leaves any sandbox.
    #[error("kept until the host's packet filter is whole, and closed until then: {0}")]
    Kept(#[source] Fault),
    /// It did not answer in time.
    #[error("{0} did not answer in time")]
    TimedOut(&'static str),
    /// It is being restarted and did not come back in time.
    #[error("{0} is being restarted")]
    Unavailable(&'static str),
    /// It answered what was not asked: a mistake in one of the two.
    #[error("{0} gave an answer of another kind")]
    Answer(&'static str),
}

impl AskError {
    /// From a failed call to `who`.
    pub(crate) fn from_call(who: &'static str, error: CallError) -> Self {
        match error {
            CallError::Fault(fault) => Self::Fault(fault),
            CallError::TimedOut => Self::TimedOut(who),
            CallError::Closed | CallError::Ipc(_) => Self::Unavailable(who),
        }
    }

    /// The fault's code, if it is one.
    pub(crate) fn fault(&self) -> Option<FaultCode> {
        match self {
            Self::Fault(fault) => Some(fault.code),
            _ => None,
        }
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        let message = error.to_string();
        let unavailable = |m: String| Self::new(StatusCode::SERVICE_UNAVAILABLE, m);
        match error {
            AskError::Fault(fault) => from_fault(fault),
            AskError::TimedOut(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, message),
            AskError::Unavailable(_) => unavailable(message).retry(true),
            AskError::Kept(_) => unavailable(message).retry(false),
            AskError::Answer(_) => Self::internal(message),
        }
    }
}

fn from_fault(fault: Fault) -> ApiError {
    let text = fault.detail;
    match fault.code {
        FaultCode::NotFound => ApiError::new(StatusCode::NOT_FOUND, text),
        FaultCode::Conflict => ApiError::new(StatusCode::CONFLICT, text),
        FaultCode::Refused => ApiError::bad(text)
            .code("sandbox_create_refused")
            .retry(false),
        FaultCode::Exhausted => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no capacity left: {text}"),
        )
        .code("sandbox_capacity_unavailable")
        .retry(true),
        FaultCode::NoSpace => ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("no room where sandboxes are stored: {text}"),
        )
        .retry(false),
        FaultCode::Unsupported => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("this host lacks a feature: {text}"),
        )
        .code("sandbox_no_compatible_node")
        .retry(false),
        FaultCode::GuestUnresponsive => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("the sandbox does not answer: {text}"),
        ),
        FaultCode::Unavailable => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry(true),
        FaultCode::TimedOut => ApiError::new(StatusCode::GATEWAY_TIMEOUT, text),
        FaultCode::System => ApiError::internal(text).code("sandbox_create_failed"),
    }
}
