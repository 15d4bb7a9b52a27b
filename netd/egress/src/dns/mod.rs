//! DNS of sandboxes: whatever server a guest asks, it asks here.
//!
//! Without names in the policy, messages go to the server that the guest named, and its answers back. With names, no
//! message of the guest's leaves: egressd asks that server itself, for addresses of allowed names and for nothing
//! else, and writes the answer itself. So there is nothing in a question but a name that the policy allows, no key for
//! an encrypted ClientHello and no hint of QUIC in an answer (HTTPS records), and no address that is closed to all.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use warder_wire::egress_gateway::Why;
use warder_wire::{Cidr, HostName, Policy, policy};

use crate::egress::Egress;
use crate::flow::Flow;
use answer::Reply;
use question::{A, Asked, IN, Unfit};

pub(crate) mod answer;
pub(crate) mod name;
pub(crate) mod question;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod upstream;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;

/// How a guest's DNS is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Not at all.
    Silence,
    /// To the server and back.
    Relay,
    /// Question by question.
    Judge,
}

fn way(egress: &Egress, policy: &Policy, server: Ipv4Addr) -> Way {
    if !policy.asks(&egress.never, &egress.resolvers, server) {
        Way::Silence
    } else if policy.names.is_empty() {
        Way::Relay
    } else {
        Way::Judge
    }
}

/// Whether a flow that is served in `wanted` way may go on under a policy.
fn still(
    egress: &Arc<Egress>,
    server: Ipv4Addr,
    wanted: Way,
) -> impl Fn(&Policy) -> bool + Send + Sync + 'static {
    let egress = Arc::clone(egress);
    move |policy| way(&egress, policy, server) == wanted
}

/// Whether TCP to port 53 of `server` has to go through the policy's proxy, as all other TCP that the lists allow: what
/// is relayed need not be DNS. The operator's servers in ranges that no policy opens are out of a proxy's reach, and of
/// no use to get past it; names are asked for by egressd itself.
pub(crate) fn through_proxy(policy: &Policy, never: &[Cidr], server: Ipv4Addr) -> bool {
    policy.proxy.is_some() && policy.names.is_empty() && policy.judge(never, server).0
}

/// Where a question came to, and how.
#[derive(Clone, Copy, Debug)]
struct Route {
    /// The server the guest named.
    server: Ipv4Addr,
    /// IP protocol number.
    protocol: u8,
}

impl Route {
    fn refused(self, egress: &Egress, flow: &Flow, name: Option<&HostName>, why: Why) {
        let to = SocketAddrV4::new(self.server, PORT);
        let events = &egress.events;
        events.refused(flow.sandbox(), self.protocol, to, name, why);
    }
}

/// What a message is answered with, while names are in the policy; its question beside, for its size. Judges
/// `flow` by the name while a server is asked.
async fn judge(
    egress: &Arc<Egress>,
    flow: &Flow,
    route: Route,
    message: &[u8],
) -> Result<(Asked, Reply), Unfit> {
    let asked = Asked::read(message)?;
    let name = asked.question.name.host();
    let (_, policy) = flow.sandbox().flows.policy();
    let allowed = name.filter(|name| policy.allows_name(name).is_some());
    let Some(name) = allowed else {
        let name = asked.question.name.host();
        route.refused(egress, flow, name.as_ref(), Why::Name);
        return Ok((asked, Reply::Blocked));
    };
    // There is no IPv6 in a sandbox, and no other type is needed to reach a name that is dialled by egressd.
    if (asked.question.kind, asked.question.class) != (A, IN) {
        return Ok((asked, Reply::Nothing));
    }
    let known = Arc::clone(egress);
    let of = name.clone();
    let permitted = move |policy: &Policy| {
        way(&known, policy, route.server) == Way::Judge && policy.allows_name(&of).is_some()
    };
    if !flow.judged(permitted.clone()) {
        return Ok((asked, Reply::Failed));
    }
    let sandbox = flow.sandbox();
    let got = upstream::addresses(egress, sandbox, route.server, &name, &permitted).await;
    let reply = got.map_or(Reply::Failed, |mut answer| {
        let before = answer.addresses.len();
        let closed = |to| policy::always_denied(&egress.never, to);
        answer.addresses.retain(|(address, _)| !closed(*address));
        if before > 0 && answer.addresses.is_empty() {
            route.refused(egress, flow, Some(&name), Why::Unresolved);
        }
        Reply::Answer(answer)
    });
    Ok((asked, reply))
}
