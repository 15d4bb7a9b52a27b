//! Which sandbox and port a request means: by host name, or by header.

use http::{HeaderMap, Uri, header};
use warder_wire::SandboxId;

/// What a request is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// The control API.
    Api,
    /// A port of a sandbox. The id has the right alphabet; whether it exists is asked later.
    Sandbox {
        /// Its id as text.
        id: String,
        /// The port.
        port: u16,
    },
    /// A sandbox, but nothing says which (`sandbox.<domain>` without headers).
    Unnamed,
}

/// The request names a sandbox in a form that is none. The text says what to change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Decides by host and headers. `domains` are the configured ones; a port in one is ignored.
///
/// # Errors
/// [`Malformed`], which is 400.
pub(crate) fn target(
    uri: &Uri,
    headers: &HeaderMap,
    domains: &[String],
) -> Result<Target, Malformed> {
    let host = host_of(uri, headers)?;
    if let Some(host) = &host
        && let Some(target) = by_name(host, domains)?
    {
        return Ok(target);
    }
    match one(headers, "e2b-sandbox-id")? {
        Some(id) => by_headers(id, headers),
        None if host
            .and_then(|host| {
                host.strip_prefix("sandbox.")
                    .map(|rest| ours(rest, domains))
            })
            .unwrap_or_default() =>
        {
            Ok(Target::Unnamed)
        }
        None => Ok(Target::Api),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Malformed> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|v| Some(v.trim()))
            .map_err(|_| Malformed("a routing header is not ASCII")),
        _ => Err(Malformed("a routing header was sent twice")),
    }
}

/// The host in lower case without port; absolute-form wins over the header (RFC 9112, 3.2.2).
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    let header = one(headers, header::HOST.as_str())?;
    let host = uri.authority().map(http::uri::Authority::as_str).or(header);
    Ok(host
        .map(|host| {
            without_port(host)
                .trim_end_matches('.')
                .to_ascii_lowercase()
        })
        .filter(|host| !host.is_empty()))
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

fn ours(domain: &str, domains: &[String]) -> bool {
    domains
        .iter()
        .any(|one| without_port(one).eq_ignore_ascii_case(domain))
}

/// `<port>-<id>` or `<port>-<id>-<client>` in the first label. Under the configured domain it must be one;
/// under any other name it counts only if the id has our exact form, for there the label may be anything.
fn by_name(host: &str, domains: &[String]) -> Result<Option<Target>, Malformed> {
    let Some((label, rest)) = host.split_once('.') else {
        return Ok(None);
    };
    let ours = ours(rest, domains);
    let parsed = parse_label(label);
    match parsed {
        Some((id, port)) if ours || SandboxId::new(id).is_ok() => Ok(Some(Target::Sandbox {
            id: id.to_owned(),
            port,
        })),
        None if ours && !matches!(label, "api" | "sandbox") => Err(Malformed(
            "the host name is not <port>-<sandbox id>.<domain>",
        )),
        _ => Ok(None),
    }
}

fn parse_label(label: &str) -> Option<(&str, u16)> {
    let mut parts = label.split('-');
    let (port, id, client, more) = (parts.next()?, parts.next()?, parts.next(), parts.next());
    let port = parse_port(port)?;
    (more.is_none() && is_id(id) && client.is_none_or(is_id)).then_some((id, port))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Drops the client part of an old id; `None` when it is not an id.
pub(crate) fn bare_id(text: &str) -> Option<&str> {
    let mut parts = text.split('-');
    let (id, client, more) = (parts.next()?, parts.next(), parts.next());
    (more.is_none() && is_id(id) && client.is_none_or(is_id)).then_some(id)
}

fn by_headers(id: &str, headers: &HeaderMap) -> Result<Target, Malformed> {
    let id = bare_id(id).ok_or(Malformed("E2b-Sandbox-Id is not a sandbox id"))?;
    let port = one(headers, "e2b-sandbox-port")?.ok_or(Malformed("E2b-Sandbox-Port is missing"))?;
    let port = parse_port(port).ok_or(Malformed("E2b-Sandbox-Port is not a port"))?;
    Ok(Target::Sandbox {
        id: id.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "iabcdefghij0123456789";

    fn of(host: &str, more: &[(&'static str, &str)]) -> Result<Target, Malformed> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("ascii"));
        for (name, value) in more {
            headers.append(*name, value.parse().expect("ascii"));
        }
        let domains = ["other.example".into(), "Box.example:8443".into()];
        target(&Uri::from_static("/x"), &headers, &domains)
    }

    fn at(id: &str, port: u16) -> Result<Target, Malformed> {
        Ok(Target::Sandbox {
            id: id.into(),
            port,
        })
    }

    #[test]
    fn host_names() {
        for host in [
            "8000-ID.box.example",
            "8000-ID.BOX.example.:3000",
            "8000-ID-c1.box.example",
            "8000-ID.localhost:3000",
            "8000-ID.e2b.app",
        ] {
            assert_eq!(of(&host.replace("ID", ID), &[]), at(ID, 8000), "{host}");
        }
        assert_eq!(of("80-ixxx0.box.example", &[]), at("ixxx0", 80));
        for host in [
            "0-ID.box.example",
            "65536-ID.box.example",
            "8000-ID-a-b.box.example",
            "x.box.example",
            "ID.box.example",
            "80-.box.example",
            "+80-ID.box.example",
        ] {
            assert!(of(&host.replace("ID", ID), &[]).is_err(), "{host}");
        }
        for host in [
            "localhost:3000",
            "127.0.0.1",
            "[::1]:3000",
            "box.example",
            "api.box.example",
            "10-0-0.cluster.example",
            "10-0-0-1.cluster.example",
        ] {
            assert_eq!(of(host, &[]), Ok(Target::Api), "{host}");
        }
        for host in ["sandbox.box.example", "sandbox.other.example:1"] {
            assert_eq!(of(host, &[]), Ok(Target::Unnamed));
        }
        assert!(of("x.other.example", &[]).is_err());
    }

    #[test]
    fn headers_route_where_the_name_does_not() {
        let named = [("e2b-sandbox-id", ID), ("e2b-sandbox-port", "49983")];
        for host in [
            "localhost:3000",
            "127.0.0.1:3000",
            "[::1]",
            "sandbox.box.example",
            "gateway.internal",
        ] {
            assert_eq!(of(host, &named), at(ID, 49983), "{host}");
        }
        assert_eq!(
            of("8000-ID.box.example".replace("ID", ID).as_str(), &named),
            at(ID, 8000)
        );
        let old = [("e2b-sandbox-id", "iold-client"), ("e2b-sandbox-port", "1")];
        assert_eq!(of("localhost", &old), at("iold", 1));
        for bad in [
            &[("e2b-sandbox-id", ID)][..],
            &[("e2b-sandbox-id", "a-b-c"), ("e2b-sandbox-port", "1")],
            &[("e2b-sandbox-id", "../etc"), ("e2b-sandbox-port", "1")],
            &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "0")],
            &[
                ("e2b-sandbox-id", ID),
                ("e2b-sandbox-port", "1"),
                ("e2b-sandbox-port", "2"),
            ],
        ] {
            assert!(of("localhost", bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn names_made_by_the_sdk_route(port in 1_u16.., random in any::<[u8; 20]>()) {
            let id = SandboxId::from_random(&random);
            prop_assert_eq!(of(&format!("{port}-{id}.box.example"), &[]), at(id.as_str(), port));
        }

        #[test]
        fn any_host_gives_an_id_of_the_alphabet_or_nothing(host in "[!-~]{0,50}") {
            if let Ok(Target::Sandbox { id, port }) = of(&host, &[]) {
                prop_assert!(is_id(&id) && port != 0);
            }
        }
    }
}
