//! What the gateway itself says instead of a sandbox: the bodies the SDKs look into.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::http_io::{Answer, Body, allow_origins, json};
use crate::lifecycle::Asleep;
use crate::limits::EXCHANGES_PER_SANDBOX;

/// The SDKs look for `was not found` in it.
const NOT_FOUND: &str = "The sandbox was not found";
/// The SDKs look for `port is not open` in it.
const CLOSED: &str = "The sandbox is running but port is not open";

/// Without the token that opens its ports.
const MISSING: &str = "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing";
/// With another one.
const INVALID: &str = "Sandbox is secured with traffic access token. Provided token in header 'e2b-traffic-access-token' is invalid";
/// The agent would not let it in, so nobody wakes the sandbox for it.
const NOT_WOKEN: &str = "This sandbox can't be resumed with the credentials provided. Check your access token and try again.";
/// A route of the agent that is the gateway's own.
const RESERVED: &str =
    "This endpoint is reserved for the control plane and is not reachable through the sandbox URL";

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Said<'a> {
    #[serde(rename = "sandboxId", skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(rename = "clientIp", skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(rename = "connectionLimit", skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    code: u16,
}

/// What of a request's head an answer of our own depends on.
const ASKED: [HeaderName; 6] = [
    header::ACCEPT,
    header::USER_AGENT,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("x-requested-with"),
];

/// Keeps that, for when the request itself has gone.
pub(crate) fn asked(headers: &HeaderMap) -> HeaderMap {
    let kept = ASKED.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    kept.collect()
}

/// Whether the client is a browser that opens a page, and not a script in one.
fn wants_page(headers: &HeaderMap) -> bool {
    const BROWSERS: [&str; 7] = [
        "mozilla", "chrome", "safari", "firefox", "edge", "opera", "msie",
    ];
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_ascii_lowercase()
    };
    let agent = text("user-agent");
    if !BROWSERS.iter().any(|name| agent.contains(name)) {
        return false;
    }
    let accept = text("accept");
    if accept.contains("application/json") && !accept.contains("text/html") {
        return false;
    }
    match text("sec-fetch-mode").as_str() {
        "navigate" => true,
        "cors" | "no-cors" | "same-origin" | "websocket" => false,
        _ => !headers.contains_key("x-requested-with"),
    }
}

/// A browser asks whether a script may send a request. There is nobody inside to ask, so the answer is ours, and
/// yes: only so can the script read what the request itself is answered.
fn preflight(request: &HeaderMap) -> Option<Answer> {
    request.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut answer = Answer::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    allow_origins(&mut answer);
    // A star does not stand for Authorization (Fetch standard, CORS protocol).
    if let Some(names) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    Some(answer)
}

fn say(request: &HeaderMap, status: StatusCode, said: Said<'_>) -> Answer {
    if status != StatusCode::BAD_REQUEST
        && let Some(answer) = preflight(request)
    {
        return answer;
    }
    let Said {
        sandbox,
        client,
        port,
        message,
        ..
    } = said;
    let mut answer = if wants_page(request) {
        // Nothing from the request but an id of [a-z0-9] and a number is shown.
        let which = sandbox
            .map(|id| format!("<p>Sandbox <code>{id}</code></p>"))
            .unwrap_or_default();
        let what = port
            .map(|port| format!("<p>Port {port}</p>"))
            .unwrap_or_default();
        let closed;
        let title = match (status, port) {
            (StatusCode::FORBIDDEN, _) if client.is_some() => "Access denied",
            (StatusCode::BAD_GATEWAY, None) => "Sandbox not found",
            (StatusCode::BAD_GATEWAY, Some(port)) if message == CLOSED => {
                closed = format!("No service is listening on port {port} of the sandbox");
                &closed
            }
            (StatusCode::FORBIDDEN, _) if message == NOT_WOKEN => "Unable to resume sandbox",
            (StatusCode::FORBIDDEN, _) if message == MISSING => "Missing traffic access token",
            (StatusCode::FORBIDDEN, _) => "Invalid traffic access token",
            (StatusCode::CONFLICT, _) => "Sandbox still transitioning",
            (StatusCode::NOT_FOUND, _) => "Endpoint not available",
            (status, _) => status.canonical_reason().unwrap_or("Error"),
        };
        let page = format!(
            "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>{title}</title></head>\
             <body><h1>{title}</h1><p>{message}</p>{which}{what}</body></html>"
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
                code: status.as_u16(),
                ..said
            },
        )
    };
    allow_origins(&mut answer);
    answer
}

/// Unknown, killed or ended.
pub(crate) fn not_found(request: &HeaderMap, id: &str) -> Answer {
    say(request, StatusCode::BAD_GATEWAY, of(id, NOT_FOUND))
}

fn of<'a>(id: &'a str, message: &'a str) -> Said<'a> {
    Said {
        sandbox: Some(id),
        message,
        ..Said::default()
    }
}

/// Nothing listens there.
pub(crate) fn port_closed(request: &HeaderMap, id: &str, port: u16) -> Answer {
    broken(request, id, port, CLOSED)
}

/// It runs and gave no proper answer.
pub(crate) fn broken(request: &HeaderMap, id: &str, port: u16, why: &str) -> Answer {
    let said = Said {
        port: Some(port),
        ..of(id, why)
    };
    say(request, StatusCode::BAD_GATEWAY, said)
}

/// The traffic token is missing or wrong.
pub(crate) fn forbidden(request: &HeaderMap, id: &str, given: bool) -> Answer {
    let text = if given { INVALID } else { MISSING };
    say(request, StatusCode::FORBIDDEN, of(id, text))
}

/// It is paused, and whoever asks for its agent has no token.
pub(crate) fn not_woken(request: &HeaderMap, id: &str) -> Answer {
    say(request, StatusCode::FORBIDDEN, of(id, NOT_WOKEN))
}

/// The sandbox's filters refuse the client.
pub(crate) fn denied(request: &HeaderMap, id: &str, client: Option<IpAddr>, port: u16) -> Answer {
    let client = client.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let text = format!(
        "Access denied: client {client} is not allowed to reach port {port} on this sandbox"
    );
    let said = Said {
        client: Some(&client),
        port: Some(port),
        ..of(id, &text)
    };
    say(request, StatusCode::FORBIDDEN, said)
}

/// Too many requests at once for one sandbox.
pub(crate) fn too_many(request: &HeaderMap, id: &str) -> Answer {
    let text = format!(
        "The sandbox has too many concurrent incoming connections (limit: {EXCHANGES_PER_SANDBOX})"
    );
    let said = Said {
        limit: Some(EXCHANGES_PER_SANDBOX),
        ..of(id, &text)
    };
    say(request, StatusCode::TOO_MANY_REQUESTS, said)
}

/// It does not run, and cannot be woken.
pub(crate) fn asleep(request: &HeaderMap, id: &str, why: &Asleep) -> Answer {
    match why {
        Asleep::Gone => not_found(request, id),
        Asleep::TooMany => too_many(request, id),
        Asleep::Changing => {
            let text = "The sandbox is still transitioning. Try again in a moment.";
            say(request, StatusCode::CONFLICT, of(id, text))
        }
        Asleep::Failed(error) => {
            // It may end up in a page.
            let why = error.message.replace(['<', '>', '&'], "?");
            let text = format!("The sandbox could not be resumed: {why}");
            say(request, error.status, of(id, &text))
        }
    }
}

/// A control route of the agent, asked from outside. Says nothing of the sandbox.
pub(crate) fn no_route(request: &HeaderMap) -> Answer {
    let said = Said {
        message: RESERVED,
        ..Said::default()
    };
    say(request, StatusCode::NOT_FOUND, said)
}

/// The request names no sandbox, or not properly.
pub(crate) fn malformed(request: &HeaderMap, why: &str) -> Answer {
    let said = Said {
        message: why,
        ..Said::default()
    };
    say(request, StatusCode::BAD_REQUEST, said)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

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

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    const FIREFOX: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux) Firefox/140.0");

    #[test]
    fn pages_are_for_browsers_that_open_them() {
        let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let script = ("x-requested-with", "XMLHttpRequest");
        for page in [
            &[FIREFOX, html][..],
            &[FIREFOX, ("accept", "*/*")],
            &[FIREFOX, ("accept", "application/json, text/html")],
            &[FIREFOX, html, ("sec-fetch-mode", "navigate"), script],
        ] {
            assert!(wants_page(&map(page)), "{page:?}");
        }
        for other in [
            &[html][..],
            &[("user-agent", "curl/8.0"), html],
            &[FIREFOX, ("accept", "application/json")],
            &[FIREFOX, html, ("sec-fetch-mode", "cors")],
            &[FIREFOX, html, script],
        ] {
            assert!(!wants_page(&map(other)), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_page_names_the_sandbox_and_the_port() {
        let answer = port_closed(&map(&[FIREFOX]), "iabc", 8000);
        assert_eq!(answer.status(), 502);
        let body = answer.into_body().collect().await.expect("own").to_bytes();
        let page = String::from_utf8_lossy(&body);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        for word in [
            "<code>iabc</code>",
            "<title>No service is listening on port 8000 of the sandbox</title>",
            "<h1>No service is listening on port 8000 of the sandbox</h1>",
        ] {
            assert!(page.contains(word), "{page}");
        }
    }

    #[tokio::test]
    async fn who_is_denied_is_told_who_they_are() {
        let body = async |client: Option<&str>, asked: &HeaderMap| {
            let client = client.map(|text| text.parse().expect("an address"));
            let answer = denied(asked, "iabc", client, 8000);
            assert_eq!(answer.status(), 403);
            assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            let body = answer.into_body().collect().await.expect("own").to_bytes();
            String::from_utf8(body.to_vec()).expect("text")
        };
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("json");
        let message =
            "Access denied: client 203.0.113.42 is not allowed to reach port 8000 on this sandbox";
        assert_eq!(
            json(&body(Some("203.0.113.42"), &HeaderMap::new()).await),
            serde_json::json!({"sandboxId": "iabc", "clientIp": "203.0.113.42", "port": 8000, "message": message, "code": 403})
        );
        assert_eq!(
            json(&body(None, &HeaderMap::new()).await)["clientIp"],
            "unknown"
        );
        let page = body(Some("203.0.113.42"), &map(&[FIREFOX])).await;
        assert!(
            page.starts_with("<!DOCTYPE html>") && page.contains("<title>Access denied</title>")
        );
        for word in ["iabc", "8000", message] {
            assert!(page.contains(word), "{page}");
        }
    }

    #[test]
    fn a_script_may_ask_what_cannot_be_reached() {
        let asked = map(&[
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, x-a"),
        ]);
        for answer in [
            not_found(&asked, "iabc"),
            port_closed(&asked, "iabc", 8000),
            forbidden(&asked, "iabc", false),
            denied(&asked, "iabc", None, 8000),
            too_many(&asked, "iabc"),
        ] {
            assert_eq!(answer.status(), 204);
            let headers = answer.headers();
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(
                headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
                "authorization, x-a"
            );
        }
        assert_eq!(malformed(&asked, "no id").status(), 400);
    }
}
