//! Refusals in the words of who is refused.

use std::net::Ipv4Addr;

use serde::Serialize;
use warder_wire::egress_gateway::Why;
use warder_wire::{HostName, Rule, SandboxId};

use crate::Odd;
use crate::sniff::{MAX_HEAD, PATIENCE};

/// What was refused, and why.
#[derive(Clone, Debug)]
pub struct Refusal<'a> {
    /// Whose it was.
    pub sandbox: &'a SandboxId,
    /// The name, if one was seen.
    pub host: Option<&'a HostName>,
    /// The address that the client dialled.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Why.
    pub why: Why,
    /// What the policy says of the address.
    pub rule: Rule,
    /// What was odd, where that is why.
    pub odd: Option<Odd>,
    /// The name of the connection's first request, where a later one was for another.
    pub first: Option<&'a HostName>,
}

/// Body of an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    code: u16,
    error: &'a str,
    message: String,
    rule: Option<String>,
    host: Option<&'a str>,
    address: Ipv4Addr,
    port: u16,
    sandbox_id: &'a str,
}

impl Refusal<'_> {
    /// What the client's first byte says it would understand; `None` for nothing, so that a reset is all it gets.
    #[must_use]
    pub fn bytes(&self, beginning: &[u8]) -> Option<Vec<u8>> {
        if self.odd == Some(Odd::Http2) {
            return Some(self.go_away());
        }
        match beginning.first() {
            Some(22) => Some(self.alert().to_vec()),
            Some(first) if first.is_ascii_uppercase() => Some(self.http(beginning)),
            _ => None,
        }
    }

    /// A response to a request that begins so, after which nothing is read any more.
    #[must_use]
    pub fn http(&self, request: &[u8]) -> Vec<u8> {
        // What the policy would let through but for the world is no refusal.
        let (code, reason, error) = match self.why {
            Why::Unresolved => (502, "Bad Gateway", "egress_unresolved"),
            Why::Proxy => (502, "Bad Gateway", "egress_proxy"),
            _ => (403, "Forbidden", "egress_denied"),
        };
        self.response(request, (code, reason), error, self.message())
    }

    /// A response to a request that was allowed, and whose server could not be reached: `what` happened.
    #[must_use]
    pub fn unreachable(&self, what: &str, request: &[u8]) -> Vec<u8> {
        let message = format!("{} could not be reached: {what}", self.whom());
        self.response(request, (502, "Bad Gateway"), "egress_unreachable", message)
    }

    fn response(
        &self,
        request: &[u8],
        (code, reason): (u16, &str),
        error: &str,
        message: String,
    ) -> Vec<u8> {
        let body = Body {
            code,
            error,
            message,
            rule: rule_text(self.rule),
            host: self.host.map(HostName::as_str),
            address: self.address,
            port: self.port,
            sandbox_id: self.sandbox.as_str(),
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let length = body.len();
        // Only its head, with the length of what is left out (RFC 9110, section 9.3.2).
        let body = if request.starts_with(b"HEAD ") {
            ""
        } else {
            &body
        };
        format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// A fatal alert in a record of its own (RFC 8446, section 6).
    #[must_use]
    pub fn alert(&self) -> [u8; 7] {
        let description = match self.why {
            // access_denied, which clients put into words.
            Why::Address(_) | Why::Name | Why::NoName | Why::HiddenName => 49,
            Why::Resolver | Why::Quic => 49,
            // decode_error
            Why::NotUnderstood => 50,
            // unrecognized_name
            Why::Unresolved => 112,
            // internal_error
            Why::TooMany | Why::Proxy => 80,
        };
        [21, 3, 3, 0, 2, 2, description]
    }

    /// To a client of HTTP/2: the settings it waits for, and that it has to use HTTP/1.1 (RFC 9113, sections 3.4, 6.8, 7).
    fn go_away(&self) -> Vec<u8> {
        let debug = format!("egress_denied: {}", self.message());
        let debug = &debug.as_bytes()[..debug.len().min(200)];
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        let length = u8::try_from(debug.len() + 8).unwrap_or(8);
        bytes.extend([0, 0, length, 7, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0xd]);
        bytes.extend(debug);
        bytes
    }

    fn whom(&self) -> String {
        match self.host {
            Some(host) => format!("{host}:{}", self.port),
            None => format!("{}:{}", self.address, self.port),
        }
    }

    /// In words for people.
    fn message(&self) -> String {
        let whom = self.whom();
        let address = self.address;
        match self.why {
            Why::Address(rule) => denied(address, rule),
            Why::Name => match (self.first, self.host) {
                (Some(first), Some(host)) => format!(
                    "this connection is for {first}: a request for {host} needs one of its own"
                ),
                (Some(first), None) => format!(
                    "this connection is for {first}: a request for another host needs one of its own"
                ),
                _ => format!(
                    "{whom} is not among the names in allowOut, and {}",
                    denied(address, self.rule)
                ),
            },
            Why::NoName => format!("no host name was given, and {}", denied(address, self.rule)),
            Why::HiddenName => {
                "the host name may be hidden by an encrypted ClientHello (ECH), which has to be \
                                switched off where names decide"
                    .to_owned()
            }
            Why::NotUnderstood => match self.odd {
                Some(odd) => format!("this cannot be judged: {odd}"),
                None => format!(
                    "this cannot be judged: its beginning has to come within {} seconds and {MAX_HEAD} bytes",
                    PATIENCE.as_secs()
                ),
            },
            Why::Unresolved => format!("{whom} has no address that may be reached"),
            Why::Resolver => format!("the DNS server {address} may not be asked"),
            Why::Quic => "QUIC is not allowed while names decide".to_owned(),
            Why::TooMany => "this sandbox has as many connections as it may have".to_owned(),
            Why::Proxy => "the egress proxy refused or could not be reached".to_owned(),
        }
    }
}

fn denied(address: Ipv4Addr, rule: Rule) -> String {
    match rule {
        Rule::AirGap => "this sandbox has no network: its air gap is on".to_owned(),
        Rule::AlwaysDenied => format!("{address} is in a range that no sandbox may reach"),
        Rule::Deny(cidr) => format!("{address} is denied by {cidr} in denyOut"),
        Rule::Allow(_) | Rule::Default => format!("{address} is allowed"),
    }
}

/// What a user finds in their own policy.
fn rule_text(rule: Rule) -> Option<String> {
    match rule {
        Rule::AirGap => Some("airgap".to_owned()),
        Rule::AlwaysDenied => Some("always denied".to_owned()),
        Rule::Deny(cidr) => Some(format!("denyOut {cidr}")),
        Rule::Allow(cidr) => Some(format!("allowOut {cidr}")),
        Rule::Default => None,
    }
}

#[cfg(test)]
mod tests {
    use warder_wire::Cidr;

    use super::*;

    fn sandbox() -> SandboxId {
        SandboxId::new("i00000000000000000000").expect("an id")
    }

    fn refusal<'a>(sandbox: &'a SandboxId, host: Option<&'a HostName>, why: Why) -> Refusal<'a> {
        Refusal {
            sandbox,
            host,
            address: Ipv4Addr::new(203, 0, 113, 5),
            port: 80,
            why,
            rule: Rule::Deny(Cidr::ALL),
            odd: None,
            first: None,
        }
    }

    #[test]
    fn http_is_told_in_json_which_entry_it_was() {
        let (sandbox, host) = (sandbox(), HostName::new("evil.example").expect("a name"));
        let bytes = refusal(&sandbox, Some(&host), Why::Name).bytes(b"GET /");
        let text = String::from_utf8(bytes.expect("HTTP")).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line");
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.ends_with("\r\nConnection: close"));
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], 403);
        assert_eq!(body["error"], "egress_denied");
        assert_eq!(body["rule"], "denyOut 0.0.0.0/0");
        assert_eq!(body["host"], "evil.example");
        assert_eq!(body["address"], "203.0.113.5");
        assert_eq!(body["port"], 80);
        assert_eq!(body["sandboxId"], "i00000000000000000000");
        assert_eq!(
            body["message"],
            "evil.example:80 is not among the names in allowOut, and 203.0.113.5 is denied by 0.0.0.0/0 in denyOut"
        );
    }

    #[test]
    fn whoever_wants_a_head_only_gets_no_more() {
        let sandbox = sandbox();
        let refused = refusal(&sandbox, None, Why::NoName);
        for (get, head) in [
            (refused.http(b"GET /"), refused.http(b"HEAD /")),
            (
                refused.unreachable("no", b"GET /"),
                refused.unreachable("no", b"HEAD /"),
            ),
        ] {
            assert!(get.starts_with(&head) && head.ends_with(b"\r\n\r\n"));
            let length = get.len() - head.len();
            let line = format!("\r\nContent-Length: {length}\r\n");
            assert!(length > 0 && String::from_utf8_lossy(&head).contains(&line));
        }
        // A method of its own, whatever it begins with.
        assert_eq!(refused.http(b"HEADER /"), refused.http(b"GET /"));
    }

    #[test]
    fn each_is_answered_in_what_it_speaks() {
        let sandbox = sandbox();
        let mut refused = refusal(&sandbox, None, Why::NoName);
        let alert = refused.bytes(&[22, 3, 1]);
        assert_eq!(alert, Some(vec![21, 3, 3, 0, 2, 2, 49]));
        assert_eq!(refused.bytes(b"\x00SSH"), None);
        assert_eq!(refused.bytes(b""), None);
        refused.odd = Some(Odd::Http2);
        let frames = refused.bytes(b"PRI * HTTP/2.0").expect("frames");
        assert_eq!(frames[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let length = usize::from(frames[11]);
        assert_eq!(frames.len(), 9 + 9 + length);
        assert_eq!(frames[18..26], [0, 0, 0, 0, 0, 0, 0, 13]);
    }

    #[test]
    fn every_reason_has_an_alert_that_rustls_takes() {
        let sandbox = sandbox();
        let rule = Rule::Deny(Cidr::ALL);
        for why in [
            Why::Address(rule),
            Why::Name,
            Why::NoName,
            Why::HiddenName,
            Why::NotUnderstood,
            Why::Unresolved,
            Why::TooMany,
            Why::Proxy,
        ] {
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let name = "example.com".try_into().expect("a name");
            let mut client =
                rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
            client.write_tls(&mut Vec::new()).expect("memory");
            let alert = refusal(&sandbox, None, why).alert();
            client.read_tls(&mut &alert[..]).expect("memory");
            let error = client.process_new_packets().expect_err("fatal");
            assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
        }
    }
}
