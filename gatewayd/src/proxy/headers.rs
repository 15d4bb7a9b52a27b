//! What is taken out and put in on the way through.

use std::fmt::Write;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::client::FORWARDED_FOR;
use crate::network::Mask;

/// Fields that concern one connection only (RFC 9110, 7.6.1), beside those `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The protocol a request wants to upgrade to.
pub(crate) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

/// Whether who asks can take fields behind the body. Of `TE`, which concerns one connection, this alone is true of
/// ours as well.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter();
    lines
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Takes out everything that concerns only the connection it came on. The message is framed anew, so no
/// disagreement about its length can pass through.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers)
            .filter_map(|token| token.parse().ok())
            .collect();
        for name in named {
            // A sender cannot take these from the next hop by naming them.
            if name != header::HOST && name != header::CONTENT_LENGTH {
                headers.remove(name);
            }
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What a sandbox must not learn: the key to the API, sent along by mistake, and the token that guards its ports. Nor
/// must it believe what the client says in the name of E2B's own proxies.
pub(crate) fn withhold(headers: &mut HeaderMap) {
    headers.remove("e2b-traffic-access-token");
    headers.remove("x-e2b-client-ip");
    if headers
        .get_all("x-api-key")
        .iter()
        .any(|key| key.as_bytes().starts_with(b"e2b_"))
    {
        headers.remove("x-api-key");
    }
}

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Tells the server inside who asked, by what name, and how. What a proxy in front says of itself is passed on,
/// but over TLS it is https. `peer` is who the connection is with: the last of the chain, whoever the client is.
pub(crate) fn forwarded(headers: &mut HeaderMap, peer: IpAddr, tls: bool) {
    const HOST: HeaderName = FORWARDED_HOST;
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let peer = peer.to_canonical();
    let mut chain = String::new();
    for before in headers.get_all(FORWARDED_FOR) {
        if let Ok(before) = before.to_str() {
            chain.push_str(before);
            chain.push_str(", ");
        }
    }
    // Writing to a string cannot fail.
    let _ = write!(chain, "{peer}");
    if let Ok(chain) = HeaderValue::from_maybe_shared(Bytes::from(chain)) {
        headers.insert(FORWARDED_FOR, chain);
    }
    if !headers.contains_key(HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(HOST, host);
    }
    if tls {
        headers.insert(PROTO, HeaderValue::from_static("https"));
    }
    headers
        .entry(PROTO)
        .or_insert(HeaderValue::from_static("http"));
}

/// Tells the server inside another name than it was asked by, and that one beside it.
pub(crate) fn mask(headers: &mut HeaderMap, mask: &Mask, port: u16) {
    let Some(masked) = mask.host(port) else {
        return;
    };
    if let Some(host) = headers.insert(header::HOST, masked) {
        headers.insert(FORWARDED_HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        let mut headers = map(&[
            ("connection", "close, X-Private, host, content-length"),
            ("x-private", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ]);
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-kept"]);
    }

    #[test]
    fn trailers_are_told_from_other_codings() {
        assert!(takes_trailers(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!takes_trailers(&map(&[("te", "gzip")])));
        assert!(!takes_trailers(&map(&[])));
    }

    #[test]
    fn upgrades_need_both_lines() {
        assert!(
            upgrade_of(&map(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket")
            ]))
            .is_some()
        );
        assert!(upgrade_of(&map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade_of(&map(&[("connection", "upgrade")])).is_none());
    }

    #[test]
    fn over_tls_it_is_https_whatever_the_client_says() {
        let client = IpAddr::from([192, 0, 2, 1]);
        for (said, tls, told) in [
            (None, false, "http"),
            (Some("https"), false, "https"),
            (None, true, "https"),
            (Some("http"), true, "https"),
        ] {
            let said: Vec<_> = said
                .map(|said| ("x-forwarded-proto", said))
                .into_iter()
                .collect();
            let mut headers = map(&said);
            forwarded(&mut headers, client, tls);
            assert_eq!(headers["x-forwarded-proto"], told, "{said:?} {tls}");
            assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        }
    }

    #[test]
    fn every_line_of_the_chain_is_kept() {
        let mut headers = map(&[
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-for", "203.0.113.2, 198.51.100.1"),
        ]);
        let peer = "::ffff:192.0.2.1".parse().expect("an address");
        forwarded(&mut headers, peer, false);
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(lines, ["203.0.113.1, 203.0.113.2, 198.51.100.1, 192.0.2.1"]);
    }

    #[test]
    fn a_masked_host_is_told_beside_the_mask() {
        let mask_of = |text| Mask::parse(text).expect("a mask");
        let mut headers = map(&[
            ("host", "8002-i.box.example"),
            ("x-forwarded-host", "forged"),
        ]);
        mask(&mut headers, &mask_of("masked-host:${PORT}"), 8002);
        assert_eq!(headers["host"], "masked-host:8002");
        assert_eq!(headers["x-forwarded-host"], "8002-i.box.example");
        let mut headers = map(&[]);
        mask(&mut headers, &mask_of("other-host:9999"), 8002);
        assert_eq!(headers["host"], "other-host:9999");
        assert!(!headers.contains_key("x-forwarded-host"));
    }

    #[test]
    fn the_api_key_does_not_reach_a_sandbox_and_an_apps_own_does() {
        let mut headers = map(&[
            ("x-api-key", "e2b_00"),
            ("e2b-traffic-access-token", "t"),
            ("x-e2b-client-ip", "203.0.113.1"),
        ]);
        withhold(&mut headers);
        assert!(headers.is_empty());
        let mut headers = map(&[("x-api-key", "the-apps-own"), ("x-api-key", "e2b_00")]);
        withhold(&mut headers);
        assert!(headers.is_empty(), "not behind another one either");
        let mut headers = map(&[("x-api-key", "the-apps-own")]);
        withhold(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
