//! Questions over UDP.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use warder_egress_sys::{Datagrams, Received};
use warder_wire::egress_gateway::Why;

use super::answer::{self, answers};
use super::question::{HEADER, RESPONSE, TRUNCATED, Unfit, question, word};
use super::{Route, Way, judge, still, upstream, way};
use crate::accept::STRANGERS;
use crate::egress::Egress;
use crate::events::UDP;
use crate::flow::{Flow, Kind, NoFlow};
use crate::sandboxes::Sandbox;

/// Pause after a datagram could not be received.
const PAUSE: Duration = Duration::from_millis(20);
/// The largest message of a guest, and to one.
const MOST: usize = warder_wire::net_egress::REPLY;
/// How long a server has for the answer to a guest's own message; the guest asks again.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that are looked at for one question; more is an attempt to guess.
const FORGERIES: usize = 64;

/// Serves all datagrams that arrive.
pub(crate) async fn serve(egress: Arc<Egress>, socket: Datagrams) {
    let socket = Arc::new(socket);
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut buffer = [0; MOST];
    loop {
        let Ok(got) = socket.recv(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Nothing can be sent to port 0, and netd ends who asks for it.
        if got.from.port() == 0 {
            continue;
        }
        let message = &buffer[..got.length];
        match egress.sandboxes.at(*got.from.ip()) {
            Some(sandbox) => begin(&egress, &socket, &sandbox, got, message),
            None => {
                let Ok(permit) = Arc::clone(&strangers).try_acquire_owned() else {
                    continue;
                };
                let (egress, socket) = (Arc::clone(&egress), Arc::clone(&socket));
                let message = message.to_vec();
                tokio::spawn(async move {
                    let known = egress.sandboxes.soon_at(*got.from.ip()).await;
                    drop(permit);
                    if let Some(sandbox) = known {
                        begin(&egress, &socket, &sandbox, got, &message);
                    }
                });
            }
        }
    }
}

fn begin(
    egress: &Arc<Egress>,
    socket: &Arc<Datagrams>,
    sandbox: &Arc<Sandbox>,
    got: Received,
    message: &[u8],
) {
    let flow = match Flow::begin(sandbox, Kind::Question) {
        Ok(flow) => flow,
        Err(NoFlow::TooMany) => {
            let events = &egress.events;
            return events.refused(sandbox, UDP, got.to, None, Why::TooMany);
        }
        Err(NoFlow::Closed) => return,
    };
    let (egress, socket) = (Arc::clone(egress), Arc::clone(socket));
    let message = message.to_vec();
    tokio::spawn(async move {
        let route = Route {
            server: *got.to.ip(),
            protocol: UDP,
        };
        let work = answer(&egress, &flow, route, &message);
        // A guest that takes no answer has none.
        if let Some(Some(reply)) = flow.unless_ended(work).await {
            if Datagrams::ANSWERS {
                let _ = socket.send(&reply, route.server, got.from);
            } else {
                let sandbox = flow.sandbox();
                egress.netd.reply(sandbox, got.from.port(), reply).await;
            }
        }
    });
}

async fn answer(
    egress: &Arc<Egress>,
    flow: &Flow,
    route: Route,
    message: &[u8],
) -> Option<Vec<u8>> {
    let (_, policy) = flow.sandbox().flows.policy();
    match way(egress, &policy, route.server) {
        Way::Silence => {
            route.refused(egress, flow, None, Why::Resolver);
            None
        }
        Way::Judge => match judge(egress, flow, route, message).await {
            Ok((asked, reply)) => Some(answer::datagram(&asked, &reply)),
            Err(Unfit::Code(code)) => Some(answer::unfit(message, code)),
            Err(Unfit::Silence) => None,
        },
        Way::Relay => relay(egress, flow, route, message).await,
    }
}

/// The guest's own message, under another number, and the server's own answer to it.
async fn relay(egress: &Arc<Egress>, flow: &Flow, route: Route, message: &[u8]) -> Option<Vec<u8>> {
    let asks = word(message, 2)? & RESPONSE == 0 && word(message, 4)? == 1;
    if !asks || question(message).is_none() {
        return None;
    }
    let permitted = still(egress, route.server, Way::Relay);
    if !flow.judged(still(egress, route.server, Way::Relay)) {
        return None;
    }
    let mut sent = message.to_vec();
    sent[..2].copy_from_slice(&upstream::number()?.to_be_bytes());
    let sandbox = flow.sandbox();
    let server = upstream::datagrams(egress, sandbox, route.server, &permitted).await?;
    let answer = async {
        server.send(&sent).await.ok()?;
        let mut buffer = vec![0; MOST + 1];
        for _ in 0..FORGERIES {
            let length = server.recv(&mut buffer).await.ok()?;
            if answers(&sent, &buffer[..length]) {
                buffer.truncate(length);
                return Some(buffer);
            }
        }
        None
    };
    let mut answer = tokio::time::timeout(RELAY_TIMEOUT, answer).await.ok()??;
    if answer.len() > MOST {
        cut(&mut answer);
    }
    answer[..2].copy_from_slice(&message[..2]);
    Some(answer)
}

/// Leaves header and question, and says that there was more.
fn cut(answer: &mut Vec<u8>) {
    if let Some((_, end)) = question(answer) {
        answer.truncate(end);
        answer[6..HEADER].fill(0);
        answer[2] |= TRUNCATED.to_be_bytes()[0];
    }
}
