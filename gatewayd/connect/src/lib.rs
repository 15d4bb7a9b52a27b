//! Trust: zone 0 (envd) and zone 1 (the gateway and its clients); no authority of its own.
//! Input: JSON and envelopes from clients of the E2B API, all of it foreign.
//! May: nothing; no I/O, no clock.
//! Unsafe: forbidden.
//!
//! E2B's `filesystem.Filesystem` and `process.Process` messages in the proto3 JSON mapping, and the
//! parts of the Connect protocol around them: error codes, error bodies, envelopes.
//!
//! Read: both camelCase and the original snake_case names, 64-bit integers as strings or numbers,
//! enums by name or number, bytes in either base64 alphabet, `null` for a default, unknown fields
//! ignored. Written: camelCase, 64-bit integers as strings, enums by name, defaults left out.
#![forbid(unsafe_code)]

pub mod envelope;
pub mod error;
pub mod filesystem;
pub mod json;
pub mod process;
pub mod timestamp;

pub use envelope::{Decoder, END_STREAM, EnvelopeError};
pub use error::{Code, ConnectError};
pub use timestamp::Timestamp;

/// Content type of a unary call, request and response.
pub const UNARY_JSON: &str = "application/json";
/// Content type of a streaming call, request and response.
pub const STREAM_JSON: &str = "application/connect+json";
