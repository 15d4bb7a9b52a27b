//! Who may read or write a file: the token, or a signature made with it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::query::Query;
use crate::agent::Agent;
use crate::http::{ApiError, auth};
use crate::users::{self, User};

/// What a signature allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// Refuses a request with neither token nor signature.
///
/// # Errors
/// 401 in the vendor's words, which clients' tests compare.
pub(super) fn check(
    agent: &Agent,
    headers: &HeaderMap,
    query: &Query,
    operation: Operation,
) -> Result<(), ApiError> {
    if auth::has_token(agent, headers) {
        return Ok(());
    }
    let refused = |message| Err(ApiError::new(StatusCode::UNAUTHORIZED, message));
    let Some(given) = &query.signature else {
        return refused("missing signature query parameter");
    };
    let settings = agent.settings.borrow();
    let token = settings.token.as_deref().unwrap_or("");
    let expected = sign(query, operation, token);
    if !bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
        return refused("invalid signature");
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    if query.expiration.is_some_and(|expiration| expiration < now) {
        return refused("signature is already expired");
    }
    Ok(())
}

/// Version 1: a hash over path, operation, user, token and expiry, each as the query has it.
fn sign(query: &Query, operation: Operation, token: &str) -> String {
    let path = query.path.as_deref().unwrap_or("");
    let user = query.username.as_deref().unwrap_or("");
    let operation = match operation {
        Operation::Read => "read",
        Operation::Write => "write",
    };
    let mut text = format!("{path}:{operation}:{user}:{token}");
    if let Some(expiration) = query.expiration {
        text.push_str(&format!(":{expiration}"));
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(text)))
}

/// The user the request acts as.
///
/// # Errors
/// 401 for one that does not exist.
pub(super) fn user(agent: &Agent, name: Option<&str>) -> Result<User, ApiError> {
    let settings = agent.settings.borrow();
    let name = name
        .filter(|name| !name.is_empty())
        .unwrap_or(&settings.user);
    users::lookup(name).map_err(|error| {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            format_args!("error looking up user '{name}': {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector() {
        let query = Query {
            path: Some("hello.txt".into()),
            username: Some("user".into()),
            ..Query::default()
        };
        assert_eq!(
            sign(&query, Operation::Read, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"),
            "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"
        );
    }

    #[test]
    fn every_part_counts() {
        let base = Query {
            path: Some("a".into()),
            ..Query::default()
        };
        let signature = sign(&base, Operation::Read, "t");
        for other in [
            sign(&base, Operation::Write, "t"),
            sign(&base, Operation::Read, "u"),
            sign(
                &Query {
                    path: Some("b".into()),
                    ..base.clone()
                },
                Operation::Read,
                "t",
            ),
            sign(
                &Query {
                    username: Some("u".into()),
                    ..base.clone()
                },
                Operation::Read,
                "t",
            ),
            sign(
                &Query {
                    expiration: Some(1),
                    ..base.clone()
                },
                Operation::Read,
                "t",
            ),
        ] {
            assert_ne!(signature, other);
        }
    }
}
