//! `egressProxy`: the user's own SOCKS5 proxy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use warder_wire::policy::{HostName, Proxy, ProxyHost, always_denied};

use super::entry::quoted;
use crate::error::ApiError;

/// Longest user and password in bytes (RFC 1929, 2).
const LOGIN: usize = 255;

/// A proxy as given, its address in its plain form: trimmed, in lower case.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct EgressProxy {
    /// `host:port`.
    pub(crate) address: String,
    /// User.
    pub(crate) username: Option<String>,
    /// Password; never shown.
    pub(crate) password: Option<String>,
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy")
            .field("address", &self.address)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(kept)"))
            .finish()
    }
}

/// What is wrong with one.
fn invalid(what: impl fmt::Display) -> ApiError {
    ApiError::bad(format!("Invalid egress proxy config: {what}")).retry(false)
}

fn internal(host: &str, address: Ipv4Addr) -> ApiError {
    invalid(format!(
        "egress proxy endpoint resolves to an internal / denied IP range: {host} resolves to {address}"
    ))
}

impl EgressProxy {
    /// From a request.
    pub(super) fn new(address: &str, username: Option<String>, password: Option<String>) -> Self {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            address: address.trim().to_ascii_lowercase(),
            username: some(username),
            password: some(password),
        }
    }

    /// Whether it can be used. A name is resolved when it is dialled, and its addresses are judged then.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        self.endpoint()?;
        let user = self.username.as_deref().unwrap_or_default();
        let password = self.password.as_deref().unwrap_or_default();
        if user.is_empty() && !password.is_empty() {
            return Err(invalid("password without username"));
        }
        for (what, text) in [("username", user), ("password", password)] {
            if text.len() > LOGIN {
                let length = text.len();
                return Err(invalid(format!(
                    "{what} has {length} bytes; the limit is {LOGIN}"
                )));
            }
        }
        Ok(())
    }

    /// As it crosses to netd; `None` if it cannot be used.
    pub(super) fn wire(&self) -> Option<Proxy> {
        self.check().ok()?;
        let (host, port) = self.endpoint().ok()?;
        let login = self
            .username
            .clone()
            .map(|user| (user, self.password.clone().unwrap_or_default()));
        Some(Proxy { host, port, login })
    }

    fn endpoint(&self) -> Result<(ProxyHost, u16), ApiError> {
        if self.address.is_empty() {
            return Err(invalid("address is empty"));
        }
        let shown = quoted(&self.address);
        let (host, port) = self
            .address
            .rsplit_once(':')
            .ok_or_else(|| invalid(format!("address {shown} is not host:port")))?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(Some(host)) => host.trim(),
            Some(None) => return Err(invalid(format!("address {shown} is not host:port"))),
            None if host.contains(':') => {
                return Err(invalid(format!("address {shown} is not host:port")));
            }
            None => host.trim(),
        };
        if host.is_empty() {
            return Err(invalid("host is empty"));
        }
        let plain = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port != 0 && plain);
        let port = port.ok_or_else(|| invalid("port must be between 1 and 65535"))?;
        let host = match host.parse() {
            Ok(IpAddr::V4(address)) => ProxyHost::Address(address),
            Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => ProxyHost::Address(address),
                None => {
                    return Err(invalid(format!(
                        "host {address} is of IPv6, which sandboxes do not have"
                    )));
                }
            },
            Err(_) => {
                let name = HostName::new(host)
                    .map_err(|_| invalid(format!("host {} is not a host name", quoted(host))))?;
                // RFC 6761, 6.3: it never means anything else.
                if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") {
                    return Err(internal(host, Ipv4Addr::LOCALHOST));
                }
                ProxyHost::Name(name)
            }
        };
        match host {
            ProxyHost::Address(address) if always_denied(&[], address) => {
                Err(internal(&address.to_string(), address))
            }
            host => Ok((host, port)),
        }
    }
}
