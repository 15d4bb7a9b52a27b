//! Questions over TCP.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use warder_wire::Policy;
use warder_wire::egress_gateway::Why;

use super::answer;
use super::question::Unfit;
use super::upstream::{self, read_message, write_message};
use super::{PORT, Route, Way, judge, still, through_proxy, way};
use crate::connection::Connection;
use crate::egress::Egress;
use crate::events::TCP;
use crate::flow::Flow;
use crate::web;

/// The largest question; all of a sandbox's connections may hold one.
const LARGEST: usize = 4096;
/// What is held of one direction of a connection that is relayed.
const HELD: usize = 2048;
/// How long a guest may take for its next question.
const IDLE: Duration = Duration::from_secs(30);

/// Serves one connection that was meant for `server`.
pub(crate) async fn serve(egress: &Arc<Egress>, flow: &Flow, client: Connection, server: Ipv4Addr) {
    let route = Route {
        server,
        protocol: TCP,
    };
    let (_, policy) = flow.sandbox().flows.policy();
    let way = way(egress, &policy, server);
    if through_proxy(&policy, &egress.never, server) {
        return web::serve(egress, flow, client, SocketAddrV4::new(server, PORT)).await;
    }
    // The policy cannot have changed since: nothing was waited for.
    if way == Way::Silence || !flow.judged(goes_on(egress, server, way)) {
        route.refused(egress, flow, None, Why::Resolver);
        return;
    }
    match way {
        Way::Judge => questions(egress, flow, client, route).await,
        _ => relay(egress, flow, client, server).await,
    }
}

/// Whether a connection that is served in `wanted` way may go on under a policy.
fn goes_on(
    egress: &Arc<Egress>,
    server: Ipv4Addr,
    wanted: Way,
) -> impl Fn(&Policy) -> bool + Send + Sync + 'static {
    let (still, egress) = (still(egress, server, wanted), Arc::clone(egress));
    move |policy| still(policy) && !through_proxy(policy, &egress.never, server)
}

/// One after the other.
async fn questions(egress: &Arc<Egress>, flow: &Flow, mut client: Connection, route: Route) {
    loop {
        let next = tokio::time::timeout(IDLE, read_message(&mut client, LARGEST)).await;
        let message = match next {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => return,
            // It has ended, or says nothing more.
            Ok(Err(_)) | Err(_) => return client.finish(),
        };
        let reply = match judge(egress, flow, route, &message).await {
            Ok((asked, reply)) => answer::write(&asked, &reply),
            Err(Unfit::Code(code)) => answer::unfit(&message, code),
            Err(Unfit::Silence) => return,
        };
        // The name is answered; what is judged from now on is the connection.
        flow.judged(goes_on(egress, route.server, Way::Judge));
        let sent = tokio::time::timeout(IDLE, write_message(&mut client, &reply)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Everything to the server that the guest named, and back.
async fn relay(egress: &Arc<Egress>, flow: &Flow, mut client: Connection, server: Ipv4Addr) {
    let permitted = goes_on(egress, server, Way::Relay);
    let sandbox = flow.sandbox();
    let Some(mut server) = upstream::stream(egress, sandbox, server, &permitted).await else {
        return;
    };
    let copied = copy_bidirectional_with_sizes(&mut *client, &mut *server, HELD, HELD).await;
    if copied.is_ok() {
        client.finish();
        server.finish();
    }
}
