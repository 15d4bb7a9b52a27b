//! Two copies of netd for what may wait on the kernel: one makes and removes links (the kernel's one lock for
//! all links), one ends flows (a walk over the host's whole flow table) and looks
//! when the ports of released slots are gone. They hold the router's sockets, obey
//! only netd, and end with it.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warder_desired::{Egress, Ground};
use warder_filter::Filter;
use warder_ipc::{Channel, IpcError};
use warder_links::plan::{Pair, SlotSpec};
use warder_links::{LinksError, Maker, Router, fork_worker, port_name};
use warder_wire::priv_net::Slot;
use warder_wire::{Fault, FaultCode, Policy};

use crate::ledger::SlotRecord;
use crate::log;
use crate::policy::{self, Class, Place, keeps};

/// A job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Job {
    /// Make a slot.
    Make {
        /// Its index.
        index: u32,
        /// Its counter.
        counter: u32,
        /// Its addresses: the router's, the sandbox's.
        pair: (Ipv4Addr, Ipv4Addr),
        /// Groups that may send pings.
        ping_groups: (u32, u32),
    },
    /// Remove a port that belongs to nobody.
    Remove {
        /// Its name.
        port: String,
    },
    /// End the flows of a slot.
    End {
        /// Number of the job.
        job: u64,
        /// The slot.
        slot: SlotRecord,
        /// Which of them.
        forbid: Forbid,
    },
    /// End all flows of all slots.
    EndAll {
        /// Number of the job.
        job: u64,
    },
    /// Look closely whether the packet filter is what it should be.
    Inspect,
    /// Which of these counters' ports are still there?
    Look {
        /// At most [`MAX_LOOK`].
        counters: Vec<u32>,
    },
    /// Put a tap in the place of a slot's pair.
    Tap {
        /// Of the request that is answered then.
        seq: u64,
        /// The slot.
        slot: Slot,
    },
}

/// Which flows of a sandbox have to end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Forbid {
    /// All of a sandbox whose rules are gone.
    All,
    /// Those that the policy that holds does not keep, until none is left.
    By {
        /// The policy.
        policy: Policy,
        /// Whether those that egressd dialled end in any case. What goes to it goes no further then.
        orphans: bool,
    },
}

/// Ports in one [`Job::Look`].
pub const MAX_LOOK: usize = 256;

/// What became of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Done {
    /// A slot; its network rides along if there is no fault.
    Made {
        /// Its index.
        index: u32,
        /// Its counter.
        counter: u32,
        /// What its network is known by ([`SlotRecord::identity`]).
        result: Result<u64, Fault>,
    },
    /// A port is gone.
    Removed {
        /// Its name.
        port: String,
        /// Whether.
        result: Result<(), Fault>,
    },
    /// Flows are gone, none is left.
    Ended {
        /// Number of the job.
        job: u64,
        /// Whether.
        result: Result<(), Fault>,
    },
    /// The packet filter was looked at.
    Inspected {
        /// Whether it is what it should be.
        result: Result<(), Fault>,
    },
    /// Ports that are gone, of those asked for.
    Gone {
        /// Their counters.
        counters: Vec<u32>,
    },
    /// A slot has a tap: its number.
    Tapped {
        /// Of the request.
        seq: u64,
        /// The slot.
        slot: Slot,
        /// Whether.
        result: Result<u32, Fault>,
    },
}

/// A worker as netd sees it.
#[derive(Debug)]
pub struct Worker {
    /// Jobs out, results in.
    pub channel: Channel,
    /// Its process.
    pub process: warder_links::Worker,
}

/// Starts the worker that makes slots.
///
/// # Errors
/// [`Fault`] of code `System`.
pub fn start_maker(router: &Router) -> Result<Worker, Fault> {
    start(router, || {
        let mut maker = Maker::new(router).map_err(|e| fault(&e))?;
        Ok(move |job| make(&mut maker, job))
    })
}

/// Starts the worker that ends flows.
///
/// # Errors
/// [`Fault`] of code `System`.
pub fn start_ender(router: &Router, ground: &Ground) -> Result<Worker, Fault> {
    start(router, || {
        let opened = Filter::open(ground.clone(), router.network());
        let mut filter = opened.map_err(|e| Fault::new(e.code(), e))?;
        let mut links = Maker::new(router).map_err(|e| fault(&e))?;
        Ok(move |job| match job {
            Job::End { job, slot, forbid } => {
                let result = end(&mut filter, ground, &slot, &forbid);
                Some((Done::Ended { job, result }, Vec::new()))
            }
            Job::EndAll { job } => {
                let result = filter.end_instance().map_err(|e| Fault::new(e.code(), e));
                Some((Done::Ended { job, result }, Vec::new()))
            }
            Job::Inspect => {
                let result = filter.inspect().map_err(|e| Fault::new(e.code(), e));
                Some((Done::Inspected { result }, Vec::new()))
            }
            Job::Look { mut counters } => {
                // A port that cannot be looked up is taken for one that is there.
                let tag = ground.tag;
                counters.retain(|n| matches!(links.is_there(&port_name(tag, *n)), Ok(false)));
                Some((Done::Gone { counters }, Vec::new()))
            }
            Job::Make { .. } | Job::Remove { .. } | Job::Tap { .. } => None,
        })
    })
}

fn start<F, W>(router: &Router, prepare: F) -> Result<Worker, Fault>
where
    F: FnOnce() -> Result<W, Fault>,
    W: FnMut(Job) -> Option<(Done, Vec<OwnedFd>)>,
{
    let (ours, theirs) = Channel::pair().map_err(system)?;
    let channel = theirs.as_fd();
    let process = fork_worker(&[channel, router.network()], || {
        let run = || {
            let channel = channel.try_clone_to_owned().map_err(system)?;
            let channel = Channel::from_fd(channel).map_err(system)?;
            obey(channel, prepare()?)
        };
        match run() {
            Ok(()) => 0,
            Err(fault) => {
                log::line(format_args!("worker: {fault}"));
                1
            }
        }
    })
    .map_err(|e| fault(&e))?;
    Ok(Worker {
        channel: ours,
        process,
    })
}

/// Does jobs one after the other until netd is gone.
fn obey(
    mut channel: Channel,
    mut work: impl FnMut(Job) -> Option<(Done, Vec<OwnedFd>)>,
) -> Result<(), Fault> {
    const FOREVER: Duration = Duration::from_secs(3600);
    loop {
        let job = match channel.recv_timeout::<Job>(FOREVER) {
            Ok((job, _)) => job,
            Err(IpcError::TimedOut) => continue,
            Err(IpcError::Closed) => return Ok(()),
            Err(e) => return Err(system(e)),
        };
        let Some((done, fds)) = work(job) else {
            return Err(Fault::new(FaultCode::System, "a job for the other worker"));
        };
        match channel.send_timeout(&done, fds, FOREVER) {
            Ok(()) => {}
            Err(IpcError::Closed) => return Ok(()),
            Err(e) => return Err(system(e)),
        }
    }
}

fn make(maker: &mut Maker, job: Job) -> Option<(Done, Vec<OwnedFd>)> {
    match job {
        Job::Make {
            index,
            counter,
            pair: (gateway, address),
            ping_groups,
        } => {
            let spec = SlotSpec {
                pair: Pair { gateway, address },
                counter,
                ping_groups,
            };
            let made = maker
                .make(&spec)
                .and_then(|space| Ok((space.identity()?, space)));
            let (result, fds) = match made {
                Ok((identity, space)) => (Ok(identity), space.into_fds()),
                Err(e) => (Err(fault(&e)), Vec::new()),
            };
            Some((
                Done::Made {
                    index,
                    counter,
                    result,
                },
                fds,
            ))
        }
        Job::Remove { port } => {
            let result = maker.remove(&port).map_err(|e| fault(&e));
            Some((Done::Removed { port, result }, Vec::new()))
        }
        Job::Tap { seq, slot } => {
            let spec = SlotSpec {
                pair: Pair {
                    gateway: slot.gateway,
                    address: slot.address,
                },
                counter: slot.counter,
                // Of what has sockets, which a machine has inside.
                ping_groups: (0, 0),
            };
            let result = maker.tap(&spec).map_err(|e| fault(&e));
            Some((Done::Tapped { seq, slot, result }, Vec::new()))
        }
        Job::End { .. } | Job::EndAll { .. } | Job::Inspect | Job::Look { .. } => None,
    }
}

fn end(
    filter: &mut Filter,
    ground: &Ground,
    slot: &SlotRecord,
    forbid: &Forbid,
) -> Result<(), Fault> {
    let Ground {
        tag,
        block,
        closed,
        resolvers,
        ..
    } = ground;
    let place = Place {
        tag: *tag,
        block: *block,
    };
    let port = policy::port(place, slot).ok_or_else(|| system("a slot outside the block"))?;
    let ended = match forbid {
        Forbid::All => filter.end_all(&port),
        Forbid::By { policy, orphans } => {
            let egress = Egress::new(policy);
            filter.end(&port, |class, to, payload| {
                (class != Class::Dialled || !orphans)
                    && keeps(closed, resolvers, &egress, class, to, payload)
            })
        }
    };
    ended.map_err(|e| Fault::new(e.code(), e))
}

/// A failure of links as a fault.
#[must_use]
pub fn fault(error: &LinksError) -> Fault {
    let code = match error {
        LinksError::Missing { .. } => FaultCode::Unsupported,
        LinksError::Exhausted(_) | LinksError::Dying(_) => FaultCode::Exhausted,
        LinksError::Instance(_) | LinksError::Collision { .. } | LinksError::Taken(_) => {
            FaultCode::Refused
        }
        LinksError::System { .. } => FaultCode::System,
    };
    Fault::new(code, error)
}

/// A failed call as a fault.
pub fn system(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::System, error)
}
