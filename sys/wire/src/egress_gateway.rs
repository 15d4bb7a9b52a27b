//! From egressd to the gateway (both zone 1), one way: what was refused. Events that the gateway is too slow for are
//! dropped and counted.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{HostName, Rule, SandboxId};

/// What egressd tells the gateway.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// Something a sandbox tried was refused.
    Refused(Refused),
    /// So many events were dropped since the last one.
    Dropped(u64),
}

/// What was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refused {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Generation of the policy that refused it.
    pub generation: u64,
    /// IP protocol number (6 TCP, 17 UDP, 1 ICMP).
    pub protocol: u8,
    /// Where it was for.
    pub address: Ipv4Addr,
    /// The port, zero where the protocol has none.
    pub port: u16,
    /// The name, where one was seen.
    pub name: Option<HostName>,
    /// Why.
    pub why: Why,
    /// How often, at least, within a second.
    pub times: u32,
}

/// Why it was refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Why {
    /// The address, by this rule.
    Address(Rule),
    /// The name is not one of the allowed.
    Name,
    /// No name was given where one was needed (no SNI, no Host, a Host that is an address).
    NoName,
    /// The name was hidden (encrypted ClientHello).
    HiddenName,
    /// What came is no HTTP request or TLS ClientHello, or came too slowly.
    NotUnderstood,
    /// The name has no address, or none that may be reached.
    Unresolved,
    /// The DNS server may not be asked.
    Resolver,
    /// QUIC while names are in use.
    Quic,
    /// Too many flows at once.
    TooMany,
    /// The proxy refused or could not be reached.
    Proxy,
}
