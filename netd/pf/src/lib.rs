//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: desired state, names and addresses it made; what pfctl prints of the kernel's states.
//! May: nothing; pure.
//! Unsafe: forbidden.
//!
//! Desired network state to rules of pf, and the plans around them, for FreeBSD 14.3 and later. Nothing here runs
//! anything: [`Site`] writes rules, [`plan`] writes argument lists, [`states`] reads the listing of states and says
//! which of them a sandbox must not have.
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
//! # What pf does otherwise than asked
//! An ICMP packet that is refused gets no answer (`pf_return` answers everything but ICMP). Packets to the host's
//! own addresses are dropped, not refused. Fragments are dropped unless the host reassembles them, as [`ROOT`] asks.
//! A flow beyond [`warder_wire::Bounds::flows`] gets what the host's `set fail-policy` says.
#![forbid(unsafe_code)]

mod networks;
pub mod plan;
mod render;
pub mod states;

use std::net::{Ipv4Addr, SocketAddrV4};

use warder_desired::{IfName, Port};
use warder_wire::InstanceTag;

pub use networks::networks;

/// What the host's own ruleset must contain, each line among its kind. `quick`: "ruleset evaluation will terminate
/// when the anchor is exited if the packet is matched by any rule within the anchor" (pf.conf(5), ANCHORS).
pub const ROOT: &str = "\
set reassemble yes
ether anchor \"warder/*\"
nat-anchor \"warder/*\"
rdr-anchor \"warder/*\"
anchor \"warder/*\" quick
";

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
    /// First of the dummynet pipes of this instance; two for each slot, and pipes end at 65,535.
    pub pipes: u16,
}

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

    /// A sandbox's pipes: what it sends, what it receives.
    fn pipes(&self, port: &Port) -> Result<(u16, u16), PfError> {
        let none = PfError::Pipe(port.mark);
        let above = port.mark.checked_sub(1).and_then(|n| n.checked_mul(2));
        let first = above.and_then(|n| n.checked_add(self.pipes.into()));
        let up = u16::try_from(first.ok_or(none)?).map_err(|_| none)?;
        Ok((up, up.checked_add(1).ok_or(none)?))
    }
}
