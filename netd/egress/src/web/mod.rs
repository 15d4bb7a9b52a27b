//! TCP that is not DNS: judged by the name it begins with, or by its address; refused in its own words, or relayed.

mod beginning;
mod connect;
pub(crate) mod held;
mod http;
mod io;
mod refuse;
#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::Instant;
use warder_web::Odd;
use warder_web::answer::Refusal;
use warder_web::judge::{Verdict, judge, needs_beginning};
use warder_web::sniff::{Protocol, Seen};
use warder_wire::HostName;
use warder_wire::egress_gateway::Why;

use crate::connection::Connection;
use crate::dns;
use crate::egress::Egress;
use crate::events::{Events, TCP};
use crate::flow::Flow;
use beginning::Beginning;
use connect::{Attempt, Failure, World};
use http::{Astray, Strayed};

/// Pause before a connection is judged again: netd has another policy, and its event is on its way.
const AGAIN: Duration = Duration::from_millis(5);

/// Serves one connection that was meant for `meant`. Dropped where it is when a policy ends the flow, so it owns all
/// its sockets and starts no task.
pub(crate) async fn serve(egress: &Egress, flow: &Flow, client: Connection, meant: SocketAddrV4) {
    let work = Work {
        world: egress,
        events: &egress.events,
        flow,
        meant,
    };
    work.serve(client).await;
}

struct Work<'a, W> {
    world: &'a W,
    events: &'a Events,
    flow: &'a Flow,
    meant: SocketAddrV4,
}

/// Something refused.
struct Refused<'a> {
    why: Why,
    name: Option<&'a HostName>,
    odd: Option<Odd>,
    first: Option<&'a HostName>,
}

impl<W: World> Work<'_, W> {
    async fn serve(&self, client: Connection) {
        let to = *self.meant.ip();
        let share = &self.flow.sandbox().held;
        let mut beginning = Beginning::none(share);
        let mut read = false;
        let mut deadline = None;
        let (verdict, server) = loop {
            let (generation, policy) = self.flow.sandbox().flows.policy();
            let never = self.world.never();
            // It came from there, to be taken through a proxy that there is not any more.
            if self.meant.port() == dns::PORT && !dns::through_proxy(&policy, never, to) {
                return;
            }
            let protocol = Protocol::on(self.meant.port()).filter(|_| !read);
            if let Some(protocol) = protocol
                && needs_beginning(&policy, never, to, self.meant.port())
            {
                match Beginning::read(&client, share, protocol).await {
                    Some(found) => beginning = found,
                    None => return,
                }
                read = true;
                // Another policy may have come meanwhile.
                continue;
            }
            let verdict = judge(&policy, never, to, beginning.seen());
            let name = match &verdict {
                Verdict::Name(name) => Some(name),
                Verdict::Address => None,
                Verdict::Refuse(why) => {
                    let too_much = beginning.is_too_much();
                    let refused = Refused {
                        why: if too_much { Why::TooMany } else { *why },
                        name: beginning.name(),
                        odd: beginning.odd(),
                        first: None,
                    };
                    return self.refuse(client, &beginning.bytes, refused).await;
                }
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + connect::PATIENCE);
            let attempt = Attempt {
                world: self.world,
                flow: self.flow,
                generation,
                policy: &policy,
                meant: self.meant,
                deadline,
            };
            match attempt.connect(name).await {
                Ok(server) => break (verdict, server),
                Err(Failure::Changed) if Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(failure) => return self.failed(client, &beginning, failure).await,
            }
        };
        let (bytes, seen) = beginning.into_parts();
        let http = matches!(seen, Some(Ok(Seen::Http(..))));
        drop(seen);
        match verdict {
            Verdict::Name(name) if http => {
                let relayed = http::relay(client, server, share, &name, bytes).await;
                if let Some(strayed) = relayed {
                    self.strayed(strayed, &name).await;
                }
            }
            _ => io::relay(client, server, share, bytes).await,
        }
    }

    /// A further request of a connection is not for whom its first one was.
    async fn strayed(&self, (client, stray): Strayed, first: &HostName) {
        let (why, name, odd) = match &stray.why {
            Astray::Host(Some(name)) => (Why::Name, Some(name), None),
            Astray::Host(None) => (Why::NoName, None, None),
            Astray::Odd(odd) => (Why::NotUnderstood, None, Some(*odd)),
        };
        let refused = Refused {
            why,
            name,
            odd,
            first: Some(first),
        };
        match client {
            Some(client) => self.refuse(client, stray.begins, refused).await,
            None => self.tell(&refused),
        }
    }

    /// Tells the gateway.
    fn tell(&self, refused: &Refused<'_>) {
        let sandbox = self.flow.sandbox();
        self.events
            .refused(sandbox, TCP, self.meant, refused.name, refused.why);
    }

    /// Tells the gateway and the client, and closes.
    async fn refuse(&self, client: Connection, beginning: &[u8], refused: Refused<'_>) {
        self.tell(&refused);
        if let Some(words) = self.refusal(&refused).bytes(beginning) {
            refuse::say(client, &words).await;
        }
    }

    /// Whom it was for was allowed, and cannot be reached.
    async fn failed(&self, client: Connection, beginning: &Beginning<'_>, failure: Failure) {
        let why = match &failure {
            Failure::Unresolved => Why::Unresolved,
            Failure::Proxy | Failure::Unreachable(_) | Failure::Changed => Why::Proxy,
        };
        let refused = Refused {
            why,
            name: beginning.name(),
            odd: None,
            first: None,
        };
        match failure {
            Failure::Unresolved | Failure::Proxy => {
                self.refuse(client, &beginning.bytes, refused).await;
            }
            // No refusal: what a client without egressd would meet as well.
            Failure::Unreachable(what) if matches!(beginning.seen, Some(Ok(Seen::Http(..)))) => {
                let words = self.refusal(&refused).unreachable(&what, &beginning.bytes);
                refuse::say(client, &words).await;
            }
            Failure::Unreachable(_) | Failure::Changed => drop(client),
        }
    }

    fn refusal<'a>(&'a self, refused: &Refused<'a>) -> Refusal<'a> {
        let sandbox = self.flow.sandbox();
        let (_, policy) = sandbox.flows.policy();
        let (_, rule) = policy.judge(self.world.never(), *self.meant.ip());
        Refusal {
            sandbox: &sandbox.id,
            host: refused.name,
            address: *self.meant.ip(),
            port: self.meant.port(),
            why: refused.why,
            rule,
            odd: refused.odd,
            first: refused.first,
        }
    }
}
