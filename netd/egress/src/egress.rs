//! What every part of egressd knows.

use std::net::Ipv4Addr;

use warder_wire::Cidr;

use crate::events::Events;
use crate::netd::Netd;
use crate::sandboxes::Sandboxes;

/// The whole.
#[derive(Debug)]
pub(crate) struct Egress {
    /// The operator's ranges that no policy opens.
    pub(crate) never: Vec<Cidr>,
    /// The operator's DNS servers, in the order to ask them in.
    pub(crate) resolvers: Vec<Ipv4Addr>,
    /// Whose traffic there is.
    pub(crate) sandboxes: Sandboxes,
    /// Who makes sockets.
    pub(crate) netd: Netd,
    /// What is told the gateway.
    pub(crate) events: Events,
}
