//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: desired state, names and addresses it made; what pfctl prints; the kernel's states.
//! May: change pf's rules and dummynet's pipes of its instance, raise pf's limits, end states.
//! Unsafe: forbidden.
//!
//! Desired network state to rules of pf, for FreeBSD 14.3 and later. What decides is pure, and compiled on every system:
//! [`Site`] writes rules, [`plan`] writes argument lists, [`states`] reads the listing of states and says which of them
//! a sandbox must not have, [`host`] says whether the host's own rules call these. On FreeBSD `filter` runs it: rules by
//! pfctl(8), states by pf's generic netlink.
//!
//! # How the rules hang together
//! The host's own ruleset calls everything under `warder` ([`ROOT`]). `warder/TAG` is one instance: what is true of
//! all sandboxes, and a dispatch by source address to buckets of [`BUCKET`] addresses, so that a packet meets the
//! rules of few sandboxes however many there are. `warder/TAG/BUCKET/PORT` is one sandbox: its rules and its table of
//! denied networks, loaded whole in one transaction ("Table definitions can be placed directly in this file, and
//! loaded at the same time as other rules are loaded, atomically", pf.conf(5), TABLES).
//!
//! A frame counts as a sandbox's only by its interface and its source MAC: an `ether` rule then tags it (pf.conf(5),
//! ETHERNET FILTERING), and no later rule passes what lacks the tag, so that pf without its Ethernet half passes
//! nothing. Every later rule names interface and source address again.
//!
//! # States
//! pf judges the first packet of a flow and lets the rest follow its state, so a policy change is: load the anchor
//! (from then on no forbidden state can begin), end the states that the new policy forbids, and look until none is
//! left ([`states::forbidden`]). States are bound to their interface (`if-bound`): one that was made on the way in
//! lets nothing pass on another sandbox's interface or on the uplink.
//!
//! # Sockets for egressd
//! netd makes a socket on a sandbox's behalf as a user of the sandbox's own ([`Site::user`]), of whom there is nothing
//! else, and rules name that user (pf.conf(5), `user`): a packet of such a socket meets the policy of now, and what such
//! a state lets pass is known by a pipe that slows nothing down. So what egressd does not end when told, the kernel does.
//! The socket itself leads nowhere else: it is connected, and has lost the right to be connected again (rights(4)).
//!
//! # What pf does otherwise than asked
//! An ICMP packet that is refused gets no answer (`pf_return` answers everything but ICMP). Packets to the host's
//! own addresses are dropped, not refused. Fragments are dropped unless the host reassembles them, as [`ROOT`] asks.
//! A flow beyond [`warder_wire::Bounds::flows`] gets what the host's `set fail-policy` says.
#![forbid(unsafe_code)]

#[cfg(target_os = "freebsd")]
pub mod filter;
pub mod host;
mod networks;
pub mod plan;
pub mod pulse;
mod render;
pub mod states;

use std::net::{Ipv4Addr, SocketAddrV4};

use warder_desired::{Ground, IfName, Port};
use warder_wire::InstanceTag;

pub use networks::networks;

pub use host::ROOT;

/// Addresses in one bucket, a power of two.
pub const BUCKET: u32 = 64;

/// An instance on a FreeBSD host: what its rules are made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// The instance.
    pub tag: InstanceTag,
    /// The interface by which packets of sandboxes leave the host.
    pub uplink: IfName,
    /// First address of the block for sandboxes, two for each slot.
    pub block: Ipv4Addr,
    /// Slots at most.
    pub slots: u32,
    /// Where egressd takes TCP.
    pub tcp: SocketAddrV4,
    /// Where egressd takes UDP.
    pub udp: SocketAddrV4,
    /// First of the dummynet pipes of this instance, three for each slot; none without dummynet.
    pub pipes: Option<u32>,
    /// User of no sandbox's sockets; those after it are of slots.
    pub users: u32,
    /// The operator's DNS servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// Number of the interface that refused packets are logged to.
    pub log: u16,
}

/// A sandbox's dummynet pipes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pipes {
    /// What it sends.
    pub up: u16,
    /// What it receives.
    pub down: u16,
    /// What egressd's sockets for it send and receive, as fast as they may.
    pub mark: u16,
}

/// Port of egressd's TCP listener.
pub const LISTEN_TCP: u16 = 15_001;
/// Port of its UDP socket.
pub const LISTEN_UDP: u16 = 53;
/// Users of sockets begin here, far above those of any system, with 65,536 for each instance.
const USERS: u32 = 1 << 31;
const USERS_EACH: u32 = 1 << 16;

/// What cannot be written as rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PfError {
    /// The sandbox's address lies outside the block.
    #[error("{0} is not in the block of this instance")]
    Address(Ipv4Addr),
    /// No pipe is left for the sandbox.
    #[error("no dummynet pipe for mark {0}")]
    Pipe(u32),
}

impl Site {
    /// That of an instance.
    #[must_use]
    pub fn new(ground: &Ground) -> Self {
        let at = |port| SocketAddrV4::new(ground.address, port);
        let instance = u32::from(ground.instance);
        Self {
            tag: ground.tag,
            uplink: ground.uplink.clone(),
            block: ground.block,
            slots: ground.slots,
            tcp: at(LISTEN_TCP),
            udp: at(LISTEN_UDP),
            pipes: ground.pipes,
            users: USERS + (instance % (USERS / USERS_EACH)) * USERS_EACH,
            resolvers: ground.resolvers.clone(),
            log: ground.log,
        }
    }

    /// The interface group that holds the host's ends of all pairs, and nothing else. netd puts them there
    /// (ifconfig(8), `group`; such a name cannot end in a digit).
    #[must_use]
    pub fn group(&self) -> String {
        format!("w{}s", self.tag)
    }

    /// The instance's anchor.
    #[must_use]
    pub fn anchor(&self) -> String {
        format!("warder/{}", self.tag)
    }

    /// A sandbox's anchor.
    ///
    /// # Errors
    /// [`PfError::Address`].
    pub fn anchor_of(&self, port: &Port) -> Result<String, PfError> {
        let bucket = self.bucket(port.address)?;
        Ok(format!("{}/{bucket}/{}", self.anchor(), port.name.as_str()))
    }

    /// Label of the rules that make a sandbox's states.
    #[must_use]
    pub fn label(&self, port: &Port) -> String {
        format!("w{}-{}", self.tag, port.name.as_str())
    }

    /// Label of those that make states of sockets on its behalf.
    #[must_use]
    pub fn dialled_label(&self, port: &Port) -> String {
        self.dialled_label_of(port.name.as_str())
    }

    fn dialled_label_of(&self, port: &str) -> String {
        format!("w{}-{port}-out", self.tag)
    }

    /// Tag of frames that bear their sandbox's MAC.
    fn known(&self) -> String {
        format!("w{}m", self.tag)
    }

    /// Tag of packets that are on their way to egressd.
    fn redirected(&self) -> String {
        format!("w{}e", self.tag)
    }

    /// The last address of the block.
    fn last(&self) -> u32 {
        let addresses = self.slots.saturating_mul(2).max(1);
        self.block.to_bits().saturating_add(addresses - 1)
    }

    /// The bucket of an address.
    fn bucket(&self, address: Ipv4Addr) -> Result<u32, PfError> {
        let all = self.block.to_bits()..=self.last();
        if !all.contains(&address.to_bits()) {
            return Err(PfError::Address(address));
        }
        Ok(address.to_bits() / BUCKET - self.block.to_bits() / BUCKET)
    }

    /// A sandbox's pipes; none without dummynet. They end at 65,535.
    fn pipes(&self, port: &Port) -> Result<Option<Pipes>, PfError> {
        let Some(base) = self.pipes else {
            return Ok(None);
        };
        let none = PfError::Pipe(port.mark);
        let above = port.mark.checked_sub(1).and_then(|n| n.checked_mul(3));
        let first = above.and_then(|n| n.checked_add(base)).ok_or(none)?;
        let pipe = |n: u32| u16::try_from(first.checked_add(n).ok_or(none)?).map_err(|_| none);
        Ok(Some(Pipes {
            up: pipe(0)?,
            down: pipe(1)?,
            mark: pipe(2)?,
        }))
    }

    /// Every pipe that a sandbox of the instance can have.
    fn all_pipes(&self) -> Option<std::ops::RangeInclusive<u16>> {
        let base = self.pipes?;
        let last = base
            .saturating_add(self.slots.saturating_mul(3))
            .saturating_sub(1);
        let end = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        Some(end(base)..=end(last))
    }

    /// The user that sockets on behalf of the sandbox `mark` belong to.
    #[must_use]
    pub fn user(&self, mark: u32) -> u32 {
        self.users.saturating_add(mark.min(USERS_EACH - 1))
    }
}
