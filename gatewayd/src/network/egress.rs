//! What a sandbox may reach: checked in E2B's order, with its words.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use warder_wire::Policy;
use warder_wire::policy::{ALWAYS_DENIED, Cidr, NamePattern};

use super::entry::{self, Network, quoted};
use super::socks::EgressProxy;
use crate::error::ApiError;

/// Egress options as given.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Egress {
    /// `allowOut`.
    pub(crate) allow: Option<Vec<String>>,
    /// `denyOut`.
    pub(crate) deny: Option<Vec<String>>,
    /// `dnsServers`.
    pub(crate) dns: Option<Vec<String>>,
    /// `egressProxy`.
    pub(crate) proxy: Option<EgressProxy>,
}

/// A list by its name in the API, what it holds, how many, and how many there may be.
fn bounded(list: &str, what: &str, count: usize, most: usize) -> Result<(), ApiError> {
    if count <= most {
        return Ok(());
    }
    let text = format!("{list} has {count} {what}; the limit is {most}");
    Err(ApiError::bad(text).retry(false))
}

fn bad(text: String) -> ApiError {
    ApiError::bad(text).retry(false)
}

fn list(of: &Option<Vec<String>>) -> &[String] {
    of.as_deref().unwrap_or_default()
}

impl Egress {
    /// Whether the lists mean something.
    ///
    /// # Errors
    /// 400 with what E2B says, in its order; its limits are ours, as it has none.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.check_sizes()?;
        let (allow, deny) = (list(&self.allow), list(&self.deny));
        for (list, which) in [(allow, "allow out"), (deny, "deny out")] {
            if let Some(entry) = list.iter().find(|entry| entry::has_port(entry)) {
                return Err(bad(format!(
                    "invalid {which} entry \"{}\": port-specific rules are not supported for egress",
                    quoted(entry)
                )));
            }
        }
        let usable = |entry: &String| {
            entry == entry::ALL || entry::network(entry).is_some_and(|(_, zeros)| !zeros)
        };
        if let Some(entry) = deny.iter().find(|entry| !usable(entry)) {
            return Err(bad(format!("invalid denied CIDR {}", quoted(entry))));
        }
        let (networks, names): (Vec<&String>, Vec<&String>) = allow
            .iter()
            .partition(|entry| entry::network(entry).is_some());
        if let Some(entry) = networks.into_iter().find(|entry| !usable(entry)) {
            return Err(bad(format!("invalid allowed address {}", quoted(entry))));
        }
        if !names.is_empty() && !deny.iter().any(|entry| entry == entry::ALL) {
            return Err(bad(
                "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block \
                 all other traffic."
                    .to_owned(),
            ));
        }
        // E2B takes anything here and it then matches nothing; better said at once.
        if let Some(entry) = names.into_iter().find(|e| NamePattern::new(e).is_err()) {
            return Err(bad(format!(
                "invalid allowed domain {}: a name in ASCII (xn-- for others), *. and a name, or *",
                quoted(entry)
            )));
        }
        for entry in list(&self.dns) {
            let server: Option<Ipv4Addr> = entry.parse().ok();
            if server.is_none_or(|server| server.is_unspecified()) {
                return Err(bad(format!(
                    "invalid DNS server {}: it must be an IPv4 address",
                    quoted(entry)
                )));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ApiError> {
        let (networks, names): (Vec<&String>, Vec<&String>) = list(&self.allow)
            .iter()
            .partition(|entry| entry::network(entry).is_some());
        let bytes = names.iter().map(|name| name.len()).sum();
        let networks = networks.len();
        bounded("allowOut", "addresses", networks, Policy::MAX_NETWORKS)?;
        bounded("allowOut", "domains", names.len(), Policy::MAX_NAMES)?;
        bounded(
            "allowOut",
            "bytes of domains",
            bytes,
            Policy::MAX_NAME_BYTES,
        )?;
        let denied = list(&self.deny).len();
        bounded("denyOut", "addresses", denied, Policy::MAX_NETWORKS)?;
        bounded(
            "dnsServers",
            "entries",
            list(&self.dns).len(),
            Policy::MAX_DNS,
        )
    }

    /// What the options mean; `closed` if everything else is denied. `None` if they are not understood.
    pub(super) fn policy(&self, closed: bool) -> Option<Policy> {
        let mut policy = Policy::OPEN;
        for text in list(&self.allow) {
            match entry::network(text) {
                Some((Network::V4(cidr), _)) => policy.allow.push(cidr),
                Some((Network::V6, _)) => {}
                None => policy.names.push(NamePattern::new(text).ok()?),
            }
        }
        for text in list(&self.deny) {
            match entry::network(text)?.0 {
                Network::V4(cidr) => policy.deny.push(cidr),
                Network::V6 => {}
            }
        }
        once(&mut policy.allow);
        once(&mut policy.deny);
        once(&mut policy.names);
        if closed {
            policy.deny = vec![Cidr::ALL];
        }
        if let Some(servers) = &self.dns {
            let all: Result<Vec<Ipv4Addr>, _> = servers.iter().map(|text| text.parse()).collect();
            policy.dns = Some(all.ok()?);
        }
        if let Some(proxy) = &self.proxy {
            policy.proxy = Some(proxy.wire()?);
        }
        policy.in_bounds().then_some(policy)
    }

    /// Entries that open nothing whatever the rest says: of IPv6, and inside ranges that no policy opens.
    pub(super) fn not_effective(&self) -> Vec<&str> {
        let within = |cidr: Cidr| {
            let (first, last) = cidr.range();
            let inside = |(from, to): &(Ipv4Addr, Ipv4Addr)| *from <= first && last <= *to;
            ALWAYS_DENIED.iter().any(inside)
        };
        let idle = |entry: &&String| match entry::network(entry) {
            Some((Network::V6, _)) => true,
            Some((Network::V4(cidr), _)) => within(cidr),
            None => false,
        };
        let allow = list(&self.allow).iter().filter(idle);
        let dns = list(&self.dns).iter().filter(idle);
        allow.chain(dns).map(String::as_str).collect()
    }

    /// Allowed networks, denied networks, allowed names, as given.
    pub(super) fn parts(&self) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let (networks, names) = list(&self.allow)
            .iter()
            .map(String::as_str)
            .partition(|entry| entry::network(entry).is_some());
        let deny = list(&self.deny).iter().map(String::as_str).collect();
        (networks, deny, names)
    }
}

/// Leaves each item where it is first.
fn once<T: Clone + Eq + Hash>(list: &mut Vec<T>) {
    let mut seen = HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}
