//! Sandbox traffic: from a client to the agent or to any port inside, and back.

mod answer;
mod body;
pub(crate) mod client;
mod door;
mod forward;
pub(crate) mod headers;
pub(crate) mod host;
mod pool;
mod secure;
pub(crate) mod signed;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body::Body as _;
use http_body_util::Either;
use subtle::ConstantTimeEq;
use warder_wire::SandboxId;

pub(crate) use answer::malformed;
pub(crate) use body::GuestBody;
pub(crate) use door::{Door, Forbidden, Visit};
pub(crate) use forward::{converse, warm};
pub(crate) use pool::{Outgoing, Pools};
pub(crate) use secure::Https;

use crate::client_link::ClientLink;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request};
use crate::lifecycle::{awake, may_wake};
use crate::limits::AGENT_PORT;
use crate::link::LinkError;
use crate::refusals::{self, Cause};
use crate::sandbox::Sandbox;
use crate::text::percent_decode;
use door::while_let_in;
use forward::{ForwardError, Upgrade, forward};
use pool::Purpose;

/// The agent's routes that only the gateway itself may call. The agent refuses them too on streams it
/// was told are a client's.
const CONTROL_ROUTES: [&str; 8] = [
    "volume", "init", "freeze", "unfreeze", "collapse", "fsfreeze", "fsthaw", "upgrade",
];

/// What opens the ports of a sandbox that is not public.
const TRAFFIC_TOKEN: &str = "e2b-traffic-access-token";

/// What opens the agent.
const AGENT_TOKEN: &str = "x-access-token";

/// How often a path may be percent-encoded over and over; the agent's own need none.
const LAYERS: u32 = 4;

/// Who sends sandbox traffic.
#[derive(Clone, Debug)]
pub(crate) enum Sender {
    /// Anyone on the network, over TLS or not; the sandbox's own tokens and rules decide.
    Network {
        /// Who the connection is with; [`client::address`] tells who the client is.
        peer: IpAddr,
        /// Whether over TLS.
        tls: bool,
        /// The connection.
        link: ClientLink,
    },
    /// The operator, over the Unix listener: needs no token.
    Operator,
}

impl Sender {
    /// Whether it is the operator.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator)
    }
}

/// Passes a request to the agent as the gateway's own.
///
/// # Errors
/// [`ForwardError`]; the client has seen nothing then.
pub(crate) async fn control(
    sandbox: &Arc<Sandbox>,
    request: http::Request<Outgoing>,
) -> Result<Answer, ForwardError> {
    forward(sandbox, Purpose::Control, request, None, None).await
}

/// Passes a request to port `port` of sandbox `id`. Who may not get in wakes nobody.
pub(crate) async fn to_sandbox(
    gateway: &Arc<Gateway>,
    sender: Sender,
    id: &str,
    port: u16,
    request: Request,
) -> Answer {
    if request.method() == Method::CONNECT {
        return malformed(request.headers(), "CONNECT is not served here");
    }
    if port == AGENT_PORT && is_control_route(request.uri()) {
        return answer::no_route(request.headers());
    }
    let found = SandboxId::new(id)
        .ok()
        .and_then(|id| gateway.registry.get(&id));
    let Some(sandbox) = found else {
        return answer::not_found(request.headers(), id);
    };
    let visit = match &sender {
        Sender::Network { peer, link, .. } if port != AGENT_PORT => {
            let headers = request.headers();
            let client = client::address(headers, *peer, gateway.trusted_hops);
            let refused = |cause| refusals::client(gateway, &sandbox, (client, port), cause);
            if !has_traffic_token(&sandbox, headers) {
                refused(Cause::Token);
                let given = headers.contains_key(TRAFFIC_TOKEN);
                return answer::forbidden(headers, id, given);
            }
            match Visit::begin(&sandbox, client, link.clone(), port) {
                Ok(visit) => Some(visit),
                Err(denied) => {
                    refused(Cause::Filtered(denied));
                    return answer::denied(headers, id, client, port);
                }
            }
        }
        // Its agent refuses who has no token, but must not be woken for that.
        Sender::Network { peer, .. } if may_wake(&sandbox) && !opens_agent(&sandbox, &request) => {
            let headers = request.headers();
            let client = client::address(headers, *peer, gateway.trusted_hops);
            refusals::client(gateway, &sandbox, (client, port), Cause::NotWoken);
            return answer::not_woken(headers, id);
        }
        _ => None,
    };
    match while_let_in(visit.as_ref(), awake(gateway, &sandbox)).await {
        Ok(Ok(())) => pass(&sandbox, sender, port, request, visit).await,
        Ok(Err(asleep)) => answer::asleep(request.headers(), id, &asleep),
        Err(Forbidden) => {
            let client = visit.and_then(|visit| visit.client());
            answer::denied(request.headers(), id, client, port)
        }
    }
}

/// Passes a request on; who may send it was decided before, and for how long it may last `visit` says.
pub(crate) async fn pass(
    sandbox: &Arc<Sandbox>,
    sender: Sender,
    port: u16,
    mut request: Request,
    visit: Option<Visit>,
) -> Answer {
    let id = sandbox.id.as_str();
    let upgrade = headers::upgrade_of(request.headers()).map(|protocol| Upgrade {
        client: hyper::upgrade::on(&mut request),
        protocol,
    });
    let asked = answer::asked(request.headers());
    let (mut parts, body) = request.into_parts();
    let trailers = headers::takes_trailers(&parts.headers);
    headers::strip(&mut parts.headers);
    headers::withhold(&mut parts.headers);
    if trailers {
        let lines = &mut parts.headers;
        lines.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The server has answered it already, or will when the body is first read.
    parts.headers.remove(header::EXPECT);
    match sender {
        Sender::Network { peer, tls, .. } => headers::forwarded(&mut parts.headers, peer, tls),
        Sender::Operator => operator_lines(sandbox, port, &mut parts.headers),
    }
    if port != AGENT_PORT
        && let Some(mask) = sandbox.door.mask()
    {
        headers::mask(&mut parts.headers, &mask, port);
    }
    parts.uri = origin_form(&parts.uri);
    let purpose = if port == AGENT_PORT {
        Purpose::Agent
    } else {
        Purpose::Port(port)
    };
    let client = visit.as_ref().and_then(Visit::client);
    // A body may be on its way longer than the answer.
    let body = match &visit {
        Some(visit) if !body.is_end_stream() => body.under(visit.again()),
        _ => body,
    };
    let request = http::Request::from_parts(parts, Either::Left(body));
    match forward(sandbox, purpose, request, upgrade, visit).await {
        Ok(answer) => answer,
        Err(ForwardError::Forbidden(_)) => answer::denied(&asked, id, client, port),
        // Whatever failed, the reason is that it has ended or was paused meanwhile.
        Err(_) if !sandbox.runs() => answer::not_found(&asked, id),
        Err(ForwardError::TooMany) => answer::too_many(&asked, id),
        Err(ForwardError::Link(LinkError::Closed)) => answer::port_closed(&asked, id, port),
        Err(error) => answer::broken(&asked, id, port, &error.to_string()),
    }
}

/// The operator needs to know no token: the gateway adds the agent's.
fn operator_lines(sandbox: &Sandbox, port: u16, headers: &mut HeaderMap) {
    headers
        .entry(header::HOST)
        .or_insert(HeaderValue::from_static("localhost"));
    if port == AGENT_PORT
        && let Ok(token) = HeaderValue::from_str(&sandbox.envd_token)
    {
        headers.insert(AGENT_TOKEN, token);
    }
}

fn has_traffic_token(sandbox: &Sandbox, headers: &HeaderMap) -> bool {
    let Some(token) = sandbox.traffic_token.get() else {
        return true;
    };
    let given = headers
        .get(TRAFFIC_TOKEN)
        .map_or(&[][..], HeaderValue::as_bytes);
    given.ct_eq(token.as_bytes()).into()
}

/// Whether the agent would let a request in: it has the token, or a signature made with it.
fn opens_agent(sandbox: &Sandbox, request: &Request) -> bool {
    let token = sandbox.envd_token.as_bytes();
    let given = request.headers().get(AGENT_TOKEN);
    given.is_some_and(|given| given.as_bytes().ct_eq(token).into())
        || signed::opens(sandbox, request)
}

/// However it is spelt: escapes, doubled slashes, dots, capitals, parameters.
fn is_control_route(uri: &Uri) -> bool {
    let mut path = uri.path().to_owned();
    // Decoded until nothing changes. Each layer costs a walk over the path, and one in so many layers that it
    // would keep this thread busy is none of the agent's.
    let mut layers = 0;
    while let Some(decoded) = percent_decode(&path).filter(|decoded| *decoded != path) {
        layers += 1;
        if layers > LAYERS {
            return true;
        }
        path = decoded;
    }
    let mut plain: Vec<String> = Vec::new();
    for segment in path.split(['/', '\\']) {
        let name = segment
            .split(';')
            .next()
            .unwrap_or(segment)
            .trim()
            .to_ascii_lowercase();
        match name.as_str() {
            "" | "." => {}
            ".." => {
                plain.pop();
            }
            _ => plain.push(name),
        }
    }
    plain
        .first()
        .is_some_and(|first| CONTROL_ROUTES.contains(&first.as_str()))
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    Uri::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_routes_in_every_spelling() {
        for hidden in [
            "/init",
            "/init/",
            "//init",
            "/./init",
            "/x/../init",
            "/%69nit",
            "/%2569nit",
            "/INIT",
            "/init;a=b",
            "/init?x=1",
            "/upgrade",
            "/fsfreeze",
        ] {
            assert!(is_control_route(&hidden.parse().expect("uri")), "{hidden}");
        }
        for open in [
            "/health",
            "/files?path=/init",
            "/initial",
            "/process.Process/Start",
            "/",
            "/a/init",
        ] {
            assert!(!is_control_route(&open.parse().expect("uri")), "{open}");
        }
    }

    #[test]
    fn a_path_of_endless_layers_is_refused_at_once() {
        let four = format!("/a/%{}69nit", "25".repeat(3));
        assert!(!is_control_route(&four.parse().expect("uri")));
        // As long as a head may be. All layers would be 2 * 10^9 steps, on the thread that serves everybody.
        let endless = format!("/%{}", "25".repeat(30_000));
        assert!(is_control_route(&endless.parse().expect("uri")));
    }

    #[test]
    fn absolute_form_is_not_passed_on() {
        assert_eq!(origin_form(&"http://h:1/a?b".parse().expect("uri")), "/a?b");
        assert_eq!(origin_form(&Uri::from_static("*")).path(), "*");
    }
}
