//! Network options as clients see them.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Network, Standing};

/// `network`, `allowInternetAccess` and `networkState` of a sandbox's details.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    /// As given; null when it was not.
    allow_internet_access: Option<bool>,
    #[serde(skip_serializing_if = "Options::is_empty")]
    network: Options<'a>,
    network_state: State<'a>,
}

/// What was given; never the proxy's password.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_public_traffic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_out: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_out: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_servers: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress_proxy: Option<Proxy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_in: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_in: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_request_host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    https_ports: Option<&'a [u16]>,
}

#[derive(Debug, Serialize)]
struct Proxy<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
}

/// What holds of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    /// Of the options shown.
    generation: u64,
    /// Of those in force; the same, or they are not in force.
    in_force: u64,
    /// Whether nothing leaves.
    air_gap: bool,
    /// Whether that cannot be changed here.
    air_gap_by_operator: bool,
    /// Whether a change failed, so that nothing leaves until the next.
    closed: bool,
    /// Entries that open nothing.
    not_effective: Vec<&'a str>,
}

impl Options<'_> {
    fn is_empty(&self) -> bool {
        self.allow_public_traffic.is_none()
            && self.allow_out.is_none()
            && self.deny_out.is_none()
            && self.dns_servers.is_none()
            && self.egress_proxy.is_none()
            && self.allow_in.is_none()
            && self.deny_in.is_none()
            && self.mask_request_host.is_none()
            && self.https_ports.is_none()
    }
}

impl<'a> Shown<'a> {
    /// Of a sandbox.
    pub(crate) fn new(network: &'a Network, standing: &Standing) -> Self {
        let (egress, ingress) = (&network.egress, &network.ingress);
        let mut not_effective = egress.not_effective();
        not_effective.extend(ingress.not_effective());
        Self {
            allow_internet_access: network.internet,
            network: Options {
                allow_public_traffic: network.fixed.public_traffic,
                allow_out: egress.allow.as_deref(),
                deny_out: egress.deny.as_deref(),
                dns_servers: egress.dns.as_deref(),
                egress_proxy: egress.proxy.as_ref().map(|proxy| Proxy {
                    address: &proxy.address,
                    username: proxy.username.as_deref(),
                }),
                allow_in: ingress.allow.as_deref(),
                deny_in: ingress.deny.as_deref(),
                mask_request_host: ingress.mask.as_deref(),
                https_ports: network.fixed.https.as_deref(),
            },
            network_state: State {
                generation: standing.generation,
                in_force: match standing.shut() {
                    true => 0,
                    false => standing.in_force,
                },
                air_gap: standing.airgap || standing.shut() || standing.by_operator,
                air_gap_by_operator: standing.by_operator,
                closed: standing.shut(),
                not_effective,
            },
        }
    }
}

/// Bytes of one list in an event at most; events are kept by their bytes.
const EVENT_LIST: usize = 500;

/// `network_egress` of an event: as E2B has it, long lists cut short and said to be.
pub(crate) fn egress_event(network: &Network) -> Value {
    let (allowed, denied, names) = network.egress.parts();
    let all = ["0.0.0.0/0"];
    let denied = match network.internet {
        Some(false) => &all[..],
        _ => &denied[..],
    };
    cut(&[
        ("allowed_cidrs", &allowed),
        ("denied_cidrs", denied),
        ("allowed_domains", &names),
    ])
}

/// `network_ingress` of an event, in the same way.
pub(crate) fn ingress_event(network: &Network) -> Value {
    let of = |list: &Option<Vec<String>>| -> Vec<String> { list.clone().unwrap_or_default() };
    let (allowed, denied) = (of(&network.ingress.allow), of(&network.ingress.deny));
    let [allowed, denied] =
        [&allowed, &denied].map(|list| -> Vec<&str> { list.iter().map(String::as_str).collect() });
    let mut event = cut(&[("allowed", &allowed), ("denied", &denied)]);
    event["mask_request_host"] = json!(network.ingress.mask);
    event
}

/// Lists by name, as much of each as there is room for.
fn cut(lists: &[(&str, &[&str])]) -> Value {
    let mut event = json!({});
    for (name, list) in lists {
        let mut room = EVENT_LIST;
        let fits = list.iter().take_while(|entry| {
            let left = room.checked_sub(entry.len() + 3);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let fits: Vec<&&str> = fits.collect();
        if fits.len() < list.len() {
            event[format!("{name}_omitted")] = json!(list.len() - fits.len());
        }
        event[*name] = json!(fits);
    }
    event
}
