//! What was refused, to the gateway: put together for a second, bounded, and counted where that loses some.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use warder_ipc::Channel;
use warder_ipc::IpcError;
use warder_ipc::aio::AsyncChannel;
use warder_wire::egress_gateway::{Event, Refused, Why};
use warder_wire::{HostName, SandboxId};

use crate::sandboxes::Sandbox;

/// Different refusals that wait, of all sandboxes and of one.
const MOST: usize = 4096;
const MOST_OF_ONE: usize = 128;
/// So many of each may wait, however many others are refused much.
const ALWAYS: usize = 8;
/// How long equal ones are put together.
const TOGETHER: Duration = Duration::from_secs(1);

/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
/// See [`TCP`].
pub(crate) const UDP: u8 = 17;

/// Refusals on their way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    of: HashMap<SandboxId, Vec<Refused>>,
    count: usize,
    dropped: u64,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection or question for `to` was refused.
    pub(crate) fn refused(
        &self,
        sandbox: &Sandbox,
        protocol: u8,
        to: SocketAddrV4,
        name: Option<&HostName>,
        why: Why,
    ) {
        let generation = sandbox.flows.policy().0;
        self.add(Refused {
            sandbox: sandbox.id.clone(),
            generation,
            protocol,
            address: *to.ip(),
            port: to.port(),
            name: name.cloned(),
            why,
            times: 1,
        });
    }

    /// A packet for `address` was refused by the kernel.
    pub(crate) fn packet(
        &self,
        sandbox: &Sandbox,
        protocol: u8,
        (address, port): (Ipv4Addr, u16),
        why: Why,
    ) {
        self.refused(
            sandbox,
            protocol,
            SocketAddrV4::new(address, port),
            None,
            why,
        );
    }

    /// Something was refused that nobody has seen.
    pub(crate) fn dropped(&self) {
        let mut waiting = self.lock();
        waiting.dropped = waiting.dropped.saturating_add(1);
        drop(waiting);
        self.0.some.notify_one();
    }

    fn add(&self, one: Refused) {
        let mut waiting = self.lock();
        let Waiting { of, count, dropped } = &mut *waiting;
        let list = of.entry(one.sandbox.clone()).or_default();
        if let Some(equal) = list.iter_mut().find(|other| alike(other, &one)) {
            equal.times = equal.times.saturating_add(one.times);
            equal.generation = one.generation;
        } else if list.len() < ALWAYS || (list.len() < MOST_OF_ONE && *count < MOST) {
            list.push(one);
            *count += 1;
        } else {
            *dropped = dropped.saturating_add(u64::from(one.times));
        }
        drop(waiting);
        self.0.some.notify_one();
    }

    fn take(&self) -> Taken<'_> {
        let Waiting { of, dropped, .. } = std::mem::take(&mut *self.lock());
        let mut list: Vec<Event> = of.into_values().flatten().map(Event::Refused).collect();
        if dropped > 0 {
            list.push(Event::Dropped(dropped));
        }
        Taken { events: self, list }
    }

    /// Sends what there is, at once and then every second, until the gateway's end of the channel is closed. While
    /// the gateway takes nothing, what does not fit is counted.
    pub(crate) async fn run(self, channel: Channel) -> IpcError {
        let channel = match AsyncChannel::new(channel) {
            Ok(channel) => channel,
            Err(error) => return error,
        };
        loop {
            self.0.some.notified().await;
            let mut taken = self.take();
            while let Some(event) = taken.list.last() {
                if let Err(error) = channel.send(event, Vec::new()).await {
                    return error;
                }
                taken.list.pop();
            }
            drop(taken);
            tokio::time::sleep(TOGETHER).await;
        }
    }
}

/// On its way to the gateway; what does not get there counts as dropped.
struct Taken<'a> {
    events: &'a Events,
    list: Vec<Event>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let lost = self.list.iter().map(|event| match event {
            Event::Refused(refused) => u64::from(refused.times),
            Event::Dropped(dropped) => *dropped,
        });
        let lost: u64 = lost.sum();
        if lost > 0 {
            let mut waiting = self.events.lock();
            waiting.dropped = waiting.dropped.saturating_add(lost);
        }
    }
}

fn alike(a: &Refused, b: &Refused) -> bool {
    let what = |r: &Refused| (r.protocol, r.address, r.port, r.why);
    what(a) == what(b) && a.name == b.name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sandbox: u16, port: u16) -> Refused {
        Refused {
            sandbox: SandboxId::new(&format!("i{sandbox:020}")).expect("an id"),
            generation: 1,
            protocol: TCP,
            address: Ipv4Addr::new(192, 0, 2, 1),
            port,
            name: None,
            why: Why::TooMany,
            times: 1,
        }
    }

    #[test]
    fn however_many_are_refused_much_others_are_heard() {
        let events = Events::default();
        for sandbox in 1..=200 {
            for port in 0..200 {
                events.add(refused(sandbox, port));
            }
        }
        {
            let waiting = events.lock();
            assert!(waiting.of[&refused(1, 0).sandbox].len() == MOST_OF_ONE);
            assert!(waiting.count < MOST + 200 * ALWAYS && waiting.dropped > 0);
        }
        events.add(refused(1000, 1));
        assert_eq!(events.lock().of[&refused(1000, 1).sandbox].len(), 1);
    }
}
