//! TCP that is not DNS.

use std::net::SocketAddrV4;

use warder_wire::egress_gateway::Why;

use crate::connection::Connection;
use crate::egress::Egress;
use crate::events::TCP;
use crate::flow::Flow;

/// Serves one connection that was meant for `meant`. Dropped where it is when a policy ends the flow, so it owns all
/// its sockets and starts no task.
#[allow(clippy::unused_async, reason = "reads from the client")]
pub(crate) async fn serve(egress: &Egress, flow: &Flow, client: Connection, meant: SocketAddrV4) {
    let (_, policy) = flow.sandbox().flows.policy();
    let (_, rule) = policy.judge(&egress.never, *meant.ip());
    let events = &egress.events;
    events.refused(flow.sandbox(), TCP, meant, None, Why::Address(rule));
    drop(client);
}
