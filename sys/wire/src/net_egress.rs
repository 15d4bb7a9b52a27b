//! Between egressd (zone 1) and netd (zone 3): sockets to judged addresses one way, policies the other.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use crate::{Policy, SandboxId};

/// What egressd may ask of netd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// A TCP connection on behalf of a sandbox. netd judges the address ([`Policy::reaches`]), begins to connect and
    /// answers at once. Answer: [`Answer::Socket`]; `Refused` for an address that is not allowed, `Conflict` for another
    /// generation than the one in force.
    Dial {
        /// The sandbox.
        sandbox: SandboxId,
        /// Generation of the policy that egressd judged by.
        generation: u64,
        /// Where to.
        to: SocketAddrV4,
    },
    /// A socket to port 53 of a DNS server ([`Policy::resolves`]), connected or connecting. Answers as [`Ask::Dial`].
    Query {
        /// The sandbox.
        sandbox: SandboxId,
        /// Generation of the policy that egressd judged by.
        generation: u64,
        /// The server.
        server: Ipv4Addr,
        /// TCP instead of UDP.
        stream: bool,
    },
    /// What event number `serial` forbids has ended in egressd. Not answered.
    Settled {
        /// The event's number.
        serial: u64,
    },
    /// A datagram to a sandbox, from the UDP socket of [`Event::Traffic`]: on systems that let a confined process
    /// address nothing (FreeBSD's capability mode). netd sends it to the sandbox's own address. Not answered; what cannot
    /// be sent is lost, as datagrams may be. On others egressd sends it itself, and this ends the channel.
    Reply {
        /// The sandbox.
        sandbox: SandboxId,
        /// The port that its question came from, as the socket saw it.
        port: u16,
        /// The datagram, of at most [`REPLY`] bytes.
        bytes: Vec<u8>,
    },
}

/// The longest datagram in [`Ask::Reply`].
pub const REPLY: usize = 4096;

/// What netd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// The socket rides along.
    Socket,
}

/// What netd tells egressd unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// Where the traffic of sandboxes arrives, sent once, after all policies. Descriptors on Linux: a TCP listener and a
    /// UDP socket, whose local addresses are those the guests meant (`IP_TRANSPARENT`), and a netfilter log of packets
    /// that the rules refused. On FreeBSD: a TCP listener and a UDP socket of one address each, to which pf redirects;
    /// a bpf(4) descriptor on the instance's pflog(4) interface; and pf(4), open for reading and limited to `DIOCNATLOOK`,
    /// which says what a redirected flow was for.
    Traffic,
    /// What holds for a sandbox from now on. Answered with [`Ask::Settled`] once every flow that it forbids has ended.
    Policy {
        /// Number of the event.
        serial: u64,
        /// The sandbox.
        sandbox: SandboxId,
        /// The address its traffic comes from.
        address: Ipv4Addr,
        /// Generation of the policy.
        generation: u64,
        /// The policy.
        policy: Policy,
        /// Flows it may have in egressd at once.
        flows: u32,
    },
    /// The sandbox has no address any more; all its flows end. Answered with [`Ask::Settled`].
    Gone {
        /// Number of the event.
        serial: u64,
        /// The sandbox.
        sandbox: SandboxId,
    },
}
