//! File URLs that name no sandbox: `<one url>/files?path=…&signature=…`.
//!
//! The signature says which sandbox is meant: the one whose token it was made with (section 6.2 of
//! E2B's contract). Every live sandbox is tried, each comparison in constant time, no shortcut at a match.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{Method, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Sender, answer, client, pass};
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Request, allow_origins};
use crate::lifecycle::awake;
use crate::limits;
use crate::sandbox::Sandbox;
use crate::text::query_pairs;

/// What a signed URL says.
#[derive(Debug, Eq, PartialEq)]
struct Signed {
    path: String,
    user: String,
    signature: String,
    expiration: Option<String>,
}

/// Whether the request is one of these: the path is `/files`, whatever follows.
pub(crate) fn is_one(request: &Request) -> bool {
    request.uri().path() == "/files"
}

/// Finds the sandbox and passes the request on.
pub(crate) async fn serve(gateway: &Arc<Gateway>, sender: Sender, request: Request) -> Answer {
    if request.method() == Method::OPTIONS {
        // A page's preflight carries no signature and asks nothing of the sandbox.
        let mut answer = http_io::empty(StatusCode::NO_CONTENT);
        allow_origins(&mut answer);
        return answer;
    }
    match find(gateway, &sender, &request) {
        Ok(sandbox) => match awake(gateway, &sandbox).await {
            Ok(()) => pass(&sandbox, sender, limits::AGENT_PORT, request, None).await,
            Err(asleep) => answer::asleep(request.headers(), sandbox.id.as_str(), &asleep),
        },
        Err(error) => {
            let mut answer = http_io::error(&error);
            allow_origins(&mut answer);
            answer
        }
    }
}

fn operation(method: &Method) -> Option<&'static str> {
    match *method {
        Method::GET | Method::HEAD => Some("read"),
        Method::POST => Some("write"),
        _ => None,
    }
}

/// Whether a request is for a file of this sandbox, with a signature that its agent takes.
pub(super) fn opens(sandbox: &Sandbox, request: &Request) -> bool {
    let signed = parse(request.uri().query().unwrap_or_default());
    let operation = operation(request.method()).filter(|_| is_one(request));
    let (Some(signed), Some(operation)) = (signed, operation) else {
        return false;
    };
    let made = signature(&signed, operation, &sandbox.envd_token);
    let same: bool = made.as_bytes().ct_eq(signed.signature.as_bytes()).into();
    same && !signed.is_over(Micros::now())
}

fn find(gateway: &Gateway, sender: &Sender, request: &Request) -> Result<Arc<Sandbox>, ApiError> {
    let unauthorized = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, message);
    let operation = operation(request.method())
        .ok_or_else(|| ApiError::wrong_method("GET, HEAD, POST, OPTIONS"))?;
    let signed = parse(request.uri().query().unwrap_or_default())
        .ok_or_else(|| unauthorized("missing signature query parameter"))?;
    let client = match sender {
        // Where it is not known who they are, they share what one has.
        Sender::Network { peer, .. } => {
            let client = client::address(request.headers(), *peer, gateway.trusted_hops);
            Some(client.unwrap_or(*peer))
        }
        Sender::Operator => None,
    };
    if !gateway.signatures.admit(client) {
        return Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many signed requests without a sandbox id",
        ));
    }
    let mut found = None;
    let mut matches = 0_u32;
    for sandbox in gateway.registry.all() {
        let made = signature(&signed, operation, &sandbox.envd_token);
        if made.as_bytes().ct_eq(signed.signature.as_bytes()).into() {
            matches += 1;
            found = Some(sandbox);
        }
    }
    let found = found
        .filter(|_| matches == 1)
        .ok_or_else(|| unauthorized("invalid signature"))?;
    // The agent looks too, but must not be woken for that.
    if signed.is_over(Micros::now()) {
        return Err(unauthorized("signature is already expired"));
    }
    Ok(found)
}

impl Signed {
    /// Whether it has expired; what is no time never has, and is the agent's to refuse.
    fn is_over(&self, now: Micros) -> bool {
        let end = self
            .expiration
            .as_deref()
            .and_then(|text| text.parse().ok());
        end.is_some_and(|end: i64| i128::from(end) < i128::from(now.0 / 1_000_000))
    }
}

/// `None` when there is no signature, or a parameter twice: then it is not clear what was signed.
fn parse(query: &str) -> Option<Signed> {
    let pairs = query_pairs(query)?;
    let one = |name: &str| {
        let mut all = pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.clone());
        (all.next(), all.next().is_none())
    };
    let [(path, a), (user, b), (signature, c), (expiration, d)] =
        ["path", "username", "signature", "signature_expiration"].map(one);
    let signed = Signed {
        path: path.unwrap_or_default(),
        user: user.unwrap_or_default(),
        signature: signature?,
        expiration,
    };
    (a && b && c && d).then_some(signed)
}

fn signature(signed: &Signed, operation: &str, token: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{}:{operation}:{}:{token}",
        signed.path, signed.user
    ));
    if let Some(expiration) = &signed.expiration {
        hash.update(format!(":{expiration}"));
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector() {
        let signed = parse("path=hello.txt&username=user&signature=x").expect("signed");
        assert_eq!(
            signature(&signed, "read", "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"),
            "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"
        );
    }

    #[test]
    fn doubled_parameters_sign_nothing() {
        assert_eq!(parse("path=a&path=b&signature=x"), None);
        assert_eq!(parse("path=a"), None);
        let signed =
            parse("path=%2Fa%20b&signature=v1_a%2Fb%2B&signature_expiration=7").expect("signed");
        assert_eq!(
            (signed.path.as_str(), signed.signature.as_str()),
            ("/a b", "v1_a/b+")
        );
    }
}
