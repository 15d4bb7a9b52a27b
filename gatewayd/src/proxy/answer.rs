//! What the gateway itself says instead of a sandbox: the bodies the SDKs look into.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::http_io::{Answer, Body, allow_origins, json};

/// The SDKs look for `was not found` in it.
const NOT_FOUND: &str = "The sandbox was not found";
/// The SDKs look for `port is not open` in it.
const CLOSED: &str = "The sandbox is running but port is not open";

#[derive(Debug, Serialize)]
struct Said<'a> {
    #[serde(rename = "sandboxId", skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    code: u16,
}

/// Whether the client is a browser that shows pages.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let first = |kind: &str| {
        accept
            .split(',')
            .position(|part| part.trim().starts_with(kind))
    };
    match (first("text/html"), first("application/json")) {
        (Some(html), Some(json)) => html < json,
        (Some(_), None) => true,
        _ => false,
    }
}

fn say(
    request: &HeaderMap,
    status: StatusCode,
    sandbox: Option<&str>,
    port: Option<u16>,
    message: &str,
) -> Answer {
    let mut answer = if wants_page(request) {
        // Nothing from the request but an id of [a-z0-9] and a number is shown.
        let which = sandbox
            .map(|id| format!("<p>Sandbox <code>{id}</code></p>"))
            .unwrap_or_default();
        let what = port
            .map(|port| format!("<p>Port {port}</p>"))
            .unwrap_or_default();
        let page = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>{status}</title><h1>{message}</h1>{which}{what}\n"
        );
        let mut answer = Answer::new(Body::own(Full::from(page)));
        *answer.status_mut() = status;
        answer.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        answer
    } else {
        json(
            status,
            &Said {
                sandbox,
                message,
                port,
                code: status.as_u16(),
            },
        )
    };
    allow_origins(&mut answer);
    answer
}

/// Unknown, killed or ended.
pub(crate) fn not_found(request: &HeaderMap, id: &str) -> Answer {
    say(request, StatusCode::BAD_GATEWAY, Some(id), None, NOT_FOUND)
}

/// Nothing listens there.
pub(crate) fn port_closed(request: &HeaderMap, id: &str, port: u16) -> Answer {
    say(
        request,
        StatusCode::BAD_GATEWAY,
        Some(id),
        Some(port),
        CLOSED,
    )
}

/// It runs and gave no proper answer.
pub(crate) fn broken(request: &HeaderMap, id: &str, port: u16, why: &str) -> Answer {
    say(request, StatusCode::BAD_GATEWAY, Some(id), Some(port), why)
}

/// The traffic token is missing or wrong.
pub(crate) fn forbidden(request: &HeaderMap, id: &str) -> Answer {
    let text = "This sandbox takes requests only with its e2b-traffic-access-token";
    say(request, StatusCode::FORBIDDEN, Some(id), None, text)
}

/// Too many requests at once for one sandbox.
pub(crate) fn too_many(request: &HeaderMap, id: &str) -> Answer {
    say(
        request,
        StatusCode::TOO_MANY_REQUESTS,
        Some(id),
        None,
        "Too many connections to this sandbox",
    )
}

/// A control route of the agent, asked from outside.
pub(crate) fn no_route(request: &HeaderMap, id: &str) -> Answer {
    say(
        request,
        StatusCode::NOT_FOUND,
        Some(id),
        None,
        "There is no such route",
    )
}

/// The request names no sandbox, or not properly.
pub(crate) fn malformed(request: &HeaderMap, why: &str) -> Answer {
    say(request, StatusCode::BAD_REQUEST, None, None, why)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn accept(text: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(text));
        headers
    }

    #[tokio::test]
    async fn the_exact_body_the_sdks_compare() {
        let answer = not_found(&HeaderMap::new(), "iabc");
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let body = answer.into_body().collect().await.expect("own").to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).expect("json");
        assert_eq!(
            value,
            serde_json::json!({"sandboxId": "iabc", "message": "The sandbox was not found", "code": 502})
        );
    }

    #[test]
    fn pages_are_for_browsers() {
        assert!(wants_page(&accept(
            "text/html,application/xhtml+xml,*/*;q=0.8"
        )));
        for tool in ["*/*", "application/json", "application/json, text/html"] {
            assert!(!wants_page(&accept(tool)), "{tool}");
        }
    }
}
