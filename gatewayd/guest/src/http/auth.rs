//! Who may ask, and as which user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};
use subtle::ConstantTimeEq;
use warder_connect::{Code, ConnectError};
use warder_wire::link::Role;

use super::ApiError;
use crate::agent::Agent;
use crate::users::{self, User};

/// Header that carries the sandbox's token.
const TOKEN: &str = "x-access-token";
/// In the vendor's words, which clients' tests compare.
const NO_TOKEN: &str =
    "unauthorized access, please provide a valid access token or method signing if supported";

/// Refuses a request without the sandbox's token, once there is one. Left out: `/health`, `/files` (which
/// takes a signature instead and checks both itself) and the gateway's own `/init`.
pub(super) fn check_token(
    agent: &Agent,
    role: Role,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let open = matches!(
        (method, path),
        (&Method::GET, "/health") | (&Method::GET | &Method::POST, "/files")
    ) || (role == Role::Control && path == "/init");
    if open || has_token(agent, headers) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::UNAUTHORIZED, NO_TOKEN))
}

/// Whether the right token is there, or none is needed.
pub(crate) fn has_token(agent: &Agent, headers: &HeaderMap) -> bool {
    let settings = agent.settings.borrow();
    let Some(token) = &settings.token else {
        return true;
    };
    headers
        .get(TOKEN)
        .is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into())
}

/// The name in `Authorization: Basic`, if there is one.
pub(super) fn basic_user(headers: &HeaderMap) -> Result<Option<String>, ConnectError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let bad = || {
        ConnectError::new(
            Code::Unauthenticated,
            "the authorization header is not Basic with a user name",
        )
    };
    let text = value.to_str().map_err(|_| bad())?;
    let (scheme, encoded) = text.split_once(' ').ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        // A bearer token meant for something in front of us names no user.
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| bad())?;
    let pair = String::from_utf8(decoded).map_err(|_| bad())?;
    let (name, _password) = pair.split_once(':').ok_or_else(bad)?;
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

/// The user a call acts as.
pub(super) fn rpc_user(agent: &Agent, name: Option<&str>) -> Result<User, ConnectError> {
    let settings = agent.settings.borrow();
    let name = name.unwrap_or(&settings.user);
    users::lookup(name).map_err(|_| {
        ConnectError::new(
            Code::Unauthenticated,
            format_args!("invalid username: '{name}'"),
        )
    })
}
