//! `/volumecontent/{id}/path|dir|file`: what is in a volume, for whoever has its token.
//!
//! The requests are an agent's to answer; here it is only seen who asks. Errors have a form of their own:
//! `{"code": str, "message": str}`.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Either;
use serde_json::json as value;
use subtle::ConstantTimeEq;
use warder_wire::VolumeId;

use super::segments;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, json};
use crate::proxy;
use crate::volumes::{content, no_volume};

/// What the agent may see of a request's head.
const PASSED: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::RANGE,
    header::IF_RANGE,
];

/// Whether the request is one of these.
pub(super) fn is_one(request: &Request) -> bool {
    request.uri().path().starts_with("/volumecontent/")
}

/// Answers it. `trusted` is the operator, who needs no token.
pub(super) async fn serve(gateway: &Arc<Gateway>, trusted: bool, request: Request) -> Answer {
    match answer(gateway, trusted, request).await {
        Ok(answer) => answer,
        Err(error) => {
            let code = match error.status.as_u16() {
                400 | 405 => "bad_request",
                401 => "unauthorized",
                403 => "forbidden",
                404 => "not_found",
                409 => "conflict",
                429 | 503 => "unavailable",
                507 => "no_space",
                _ => "internal",
            };
            let body = value!({ "code": code, "message": error.message });
            json(error.status, &body)
        }
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    trusted: bool,
    request: Request,
) -> Result<Answer, ApiError> {
    let segments = segments(request.uri().path())?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (id, what) = match path.as_slice() {
        ["volumecontent", id, what @ ("path" | "dir" | "file")] => (*id, *what),
        _ => {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "there is no such path",
            ));
        }
    };
    let known = VolumeId::new(id)
        .ok()
        .and_then(|id| gateway.volumes.get(&id));
    let record = known.ok_or_else(|| no_volume(id))?;
    if !trusted && !has_token(request.headers(), &record.token) {
        let text = "send this volume's token as Authorization: Bearer";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, text));
    }
    let query = request.uri().query().unwrap_or_default();
    let uri = format!("/volume/{what}?{query}").parse();
    let uri = uri.map_err(|_| ApiError::bad("the query cannot be read"))?;
    let (parts, body) = request.into_parts();
    let mut inside = http::Request::new(Either::Left(body));
    *inside.method_mut() = parts.method;
    *inside.uri_mut() = uri;
    let headers = inside.headers_mut();
    for name in PASSED {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert("x-volume-root", HeaderValue::from_static(content::ROOT));
    let sandbox = content::open(gateway, &record.id).await?;
    let passed = proxy::control(&sandbox, inside).await;
    passed.map_err(|error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let Some((scheme, given)) = value.to_str().ok().and_then(|v| v.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer")
        && bool::from(given.trim().as_bytes().ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_once() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("ascii"));
            }
            headers
        };
        assert!(has_token(&with(&["Bearer abc"]), "abc"));
        assert!(has_token(&with(&["bearer abc"]), "abc"));
        for wrong in [
            &[][..],
            &["Bearer abd"],
            &["Bearer "],
            &["Basic abc"],
            &["abc"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert!(!has_token(&with(wrong), "abc"), "{wrong:?}");
        }
    }
}
