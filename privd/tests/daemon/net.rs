//! A netd whose slots are the network namespaces of sleeping processes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use warder_ipc::Channel;
use warder_wire::{Bounds, Fault, FaultCode, Message, Request, SandboxId, priv_net};

use crate::stage::PATIENCE;

#[derive(Default)]
pub(crate) struct Slots {
    pub holders: BTreeMap<SandboxId, Child>,
    /// What was said last of each.
    pub leases: BTreeMap<SandboxId, Bounds>,
    /// Of those that have ended, too.
    pub told: BTreeMap<SandboxId, Vec<Bounds>>,
    /// Ends of egressd's channels, in the order they came in.
    pub egress: Vec<OwnedFd>,
    /// Whether the next one is told to be of no use.
    pub refuse_egress: bool,
    /// Slots are not taken back for as long as this says so.
    pub hold: bool,
    /// How many were to be.
    pub adopting: u32,
}

impl Drop for Slots {
    fn drop(&mut self) {
        for holder in self.holders.values_mut() {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// Serves until its channel ends.
pub(crate) fn net(mut channel: Channel, slots: &Mutex<Slots>) {
    // What is not told again after a start lives no more.
    slots.lock().expect("unpoisoned").leases.clear();
    let event: Message<priv_net::Answer, _> = Message::Event(priv_net::Event::Ready);
    if channel.send(&event, Vec::new()).is_err() {
        return;
    }
    loop {
        let Ok((request, fds)) =
            channel.recv_timeout::<Request<priv_net::Ask>>(Duration::from_secs(600))
        else {
            return;
        };
        let adopts = matches!(request.body, priv_net::Ask::SlotAdopt { .. });
        let mut slots = held(slots, adopts);
        let mut sent = Vec::new();
        let result = match request.body {
            priv_net::Ask::LeaseLive { sandbox, bounds } => {
                slots.leases.insert(sandbox.clone(), bounds);
                slots.told.entry(sandbox).or_default().push(bounds);
                continue;
            }
            priv_net::Ask::LeaseGone { sandbox } => {
                slots.leases.remove(&sandbox);
                if let Some(mut holder) = slots.holders.remove(&sandbox) {
                    let _ = holder.kill();
                    let _ = holder.wait();
                }
                continue;
            }
            priv_net::Ask::EgressChannel => {
                slots.egress.extend(fds);
                let lost: Message<priv_net::Answer, _> =
                    Message::Event(priv_net::Event::EgressLost);
                if std::mem::take(&mut slots.refuse_egress)
                    && channel.send(&lost, Vec::new()).is_err()
                {
                    return;
                }
                continue;
            }
            priv_net::Ask::GatewayChannel => continue,
            priv_net::Ask::SlotTake { sandbox } => {
                let pid = slots.holders.entry(sandbox).or_insert_with(holder).id();
                sent.push(namespace(pid));
                Ok(slot())
            }
            priv_net::Ask::SlotAdopt { sandbox } => {
                let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| s.st_ino).ok();
                match slots.holders.get(&sandbox) {
                    Some(holder)
                        if fds.len() == 1 && inode(&namespace(holder.id())) == inode(&fds[0]) =>
                    {
                        Ok(slot())
                    }
                    _ => Err(Fault::new(FaultCode::NotFound, "no such slot")),
                }
            }
            priv_net::Ask::ReconcileEnd | priv_net::Ask::Purge => Ok(priv_net::Answer::Done),
            priv_net::Ask::SlotTap { .. } => Err(Fault::new(FaultCode::Unsupported, "no tap here")),
            priv_net::Ask::SlotReport => Ok(priv_net::Answer::Slots {
                total: 1,
                ready: 1,
                taken: 0,
            }),
        };
        drop(slots);
        let reply: Message<_, priv_net::Event> = Message::Reply {
            seq: request.seq,
            result,
        };
        if channel.send(&reply, sent).is_err() {
            return;
        }
    }
}

/// The slots, when they may be used.
fn held(slots: &Mutex<Slots>, adopts: bool) -> MutexGuard<'_, Slots> {
    let mut now = slots.lock().expect("unpoisoned");
    now.adopting += u32::from(adopts);
    while adopts && now.hold {
        drop(now);
        std::thread::sleep(Duration::from_millis(1));
        now = slots.lock().expect("unpoisoned");
    }
    now
}

fn slot() -> priv_net::Answer {
    let address = std::net::Ipv4Addr::LOCALHOST;
    priv_net::Answer::Slot(priv_net::Slot {
        counter: 0,
        address,
        gateway: address,
    })
}

fn holder() -> Child {
    let child = Command::new("unshare")
        .args(["-n", "sleep", "600"])
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    let own = std::fs::read_link("/proc/self/ns/net").expect("mounted");
    let end = Instant::now() + PATIENCE;
    while std::fs::read_link(format!("/proc/{}/ns/net", child.id())).is_ok_and(|ns| ns == own) {
        assert!(Instant::now() < end, "no namespace");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn namespace(pid: u32) -> OwnedFd {
    std::fs::File::open(format!("/proc/{pid}/ns/net"))
        .expect("lives")
        .into()
}
