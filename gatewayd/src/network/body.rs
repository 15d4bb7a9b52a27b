//! Network options as requests have them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::socks::EgressProxy;
use super::{Egress, Fixed, Ingress, Network, https_ports};
use crate::error::ApiError;

/// `network` of a create, and with [`Update`] the body of a `PUT`. What is not understood is kept as a value, so that
/// it can be refused by name: a rule that would be ignored is never accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    allow_out: Option<Vec<String>>,
    deny_out: Option<Vec<String>>,
    dns_servers: Option<Vec<String>>,
    egress_proxy: Option<ProxyOptions>,
    rules: Option<Value>,
    allow_public_traffic: Option<bool>,
    allow_in: Option<Vec<String>>,
    deny_in: Option<Vec<String>>,
    mask_request_host: Option<String>,
    https_ports: Option<Vec<i64>>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct ProxyOptions {
    address: Option<String>,
    username: Option<String>,
    password: Option<String>,
    tls: Option<Value>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// `PUT /sandboxes/{id}/network`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Update {
    allow_internet_access: Option<bool>,
    #[serde(flatten)]
    options: Options,
}

/// Whether a value differs from saying nothing: null, false, and what is empty. `{"enabled": false}` too.
pub(crate) fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => all.values().any(asks_for_something),
    }
}

/// What this server does not have yet.
fn refused(name: &str) -> ApiError {
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(60)
        .collect();
    let text = format!("{name} is not supported by this server yet; leave it out");
    ApiError::bad(text).retry(false)
}

/// Options of a create, checked.
///
/// # Errors
/// 400.
pub(crate) fn of_create(
    internet: Option<bool>,
    options: Option<Options>,
) -> Result<Network, ApiError> {
    let options = options.unwrap_or_default();
    let (network, rules) = options.read(internet, "network.")?;
    match rules {
        true => Err(refused("network.rules").code("sandbox_create_refused")),
        false => Ok(network),
    }
}

/// Options of an update, checked. `rules` are refused last, and not before the sandbox is known to be there: `known`
/// says so.
///
/// # Errors
/// 400, or what `known` says.
pub(crate) fn of_update(
    update: Update,
    known: impl FnOnce() -> Result<(), ApiError>,
) -> Result<Network, ApiError> {
    for (name, is_given) in [
        (
            "allowPublicTraffic",
            update.options.allow_public_traffic.is_some(),
        ),
        ("httpsPorts", update.options.https_ports.is_some()),
    ] {
        if is_given {
            let text = format!("{name} holds for the life of a sandbox; say it when creating one");
            return Err(ApiError::bad(text).retry(false));
        }
    }
    let internet = update.allow_internet_access;
    let (network, rules) = update.options.read(internet, "")?;
    if rules {
        known()?;
        return Err(refused("rules"));
    }
    Ok(network)
}

impl Options {
    /// The options, and whether there are rules. `of` stands before a name in an answer.
    fn read(self, internet: Option<bool>, of: &str) -> Result<(Network, bool), ApiError> {
        if let Some((name, _)) = self.more.iter().find(|(_, v)| asks_for_something(v)) {
            return Err(refused(&format!("{of}{name}")));
        }
        let mut network = Network {
            internet,
            egress: Egress {
                allow: self.allow_out,
                deny: self.deny_out,
                dns: self.dns_servers,
                proxy: None,
            },
            ingress: Ingress {
                allow: self.allow_in,
                deny: self.deny_in,
                mask: self.mask_request_host.filter(|mask| !mask.is_empty()),
            },
            fixed: Fixed {
                public_traffic: self.allow_public_traffic,
                https: None,
            },
        };
        network.egress.check()?;
        if let Some(proxy) = self.egress_proxy {
            network.egress.proxy = Some(proxy.read()?);
        }
        network.ingress.check()?;
        if let Some(ports) = self.https_ports {
            let ports = https_ports::parse(&ports);
            let ports = ports.map_err(|text| ApiError::bad(text).retry(false))?;
            network.fixed.https = Some(ports);
        }
        Ok((network, self.rules.as_ref().is_some_and(asks_for_something)))
    }
}

impl ProxyOptions {
    fn read(self) -> Result<EgressProxy, ApiError> {
        let invalid =
            |what: &str| ApiError::bad(format!("Invalid egress proxy config: {what}")).retry(false);
        let tls = self.tls.as_ref().is_some_and(asks_for_something);
        if tls {
            return Err(invalid("tls is not supported by this server"));
        }
        if let Some((name, _)) = self.more.iter().find(|(_, v)| asks_for_something(v)) {
            return Err(refused(&format!("egressProxy.{name}")));
        }
        let address = self.address.unwrap_or_default();
        let proxy = EgressProxy::new(&address, self.username, self.password);
        proxy.check()?;
        Ok(proxy)
    }
}
