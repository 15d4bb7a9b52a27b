//! The kernel's states, and which of them a sandbox must not have. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use warder_desired::{Class, Payload, Port};
use warder_netlink::{attrs, attrs_after};

use crate::Site;

/// Which way the packet went that made a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// In by the interface.
    In,
    /// Out by it.
    Out,
}

/// One end of a flow, before and after pf rewrote it. Where a protocol has no ports, the port is zero or an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// As its sender wrote it.
    pub before: SocketAddr,
    /// As it went on.
    pub after: SocketAddr,
}

/// A state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Its number, and that of its maker.
    pub id: (u64, u32),
    /// The interface it is bound to, `all` if to none.
    pub interface: String,
    /// The interface it was made on.
    pub origin: String,
    /// The protocol's number.
    pub protocol: u8,
    /// Which way.
    pub way: Way,
    /// Who began.
    pub source: End,
    /// Whom with.
    pub destination: End,
    /// The dummynet pipe of what goes the way of the first packet, zero for none.
    pub pipe: u16,
}

/// `PF_ST_ID` (netpfil/pf/pf_nl.h).
pub const ID: u16 = 1;
/// `PF_ST_CREATORID`.
pub const CREATOR: u16 = 2;
/// `PF_ST_IFNAME`.
pub const INTERFACE: u16 = 3;
/// `PF_ST_ORIG_IFNAME`.
pub const ORIGIN: u16 = 4;
/// `PF_ST_KEY_WIRE`.
pub const WIRE: u16 = 5;
/// `PF_ST_KEY_STACK`.
pub const STACK: u16 = 6;
/// `PF_ST_PROTO`.
pub const PROTOCOL: u16 = 21;
/// `PF_ST_DIRECTION`.
pub const DIRECTION: u16 = 22;
/// `PF_ST_DNPIPE`.
pub const PIPE: u16 = 34;
/// `PF_STK_ADDR0`, `PF_STK_ADDR1`.
pub const ADDRESS: [u16; 2] = [1, 2];
/// `PF_STK_PORT0`, `PF_STK_PORT1`.
pub const PORT: [u16; 2] = [3, 4];
/// Length of a `struct genlmsghdr`.
const GENERIC: usize = 4;
/// `PF_IN` (netpfil/pf/pf.h).
pub const IN: u8 = 1;
/// `PF_OUT`.
pub const OUT: u8 = 2;

/// Reads one message of a listing of states (pf_nl.c, `dump_state`); `None` when it cannot be read. Whoever meets that
/// knows nothing of the states and must take the worst.
#[must_use]
pub fn read(payload: &[u8]) -> Option<State> {
    let find = |wanted| {
        let mut all = attrs_after(payload, GENERIC);
        all.find_map(|(kind, value)| (kind == wanted).then_some(value))
    };
    let text = |wanted| {
        let bytes = find(wanted)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8(bytes[..end].to_vec()).ok()
    };
    let number = |wanted| Some(u16::from_ne_bytes(*find(wanted)?.first_chunk()?));
    let (wire, stack) = (key(find(WIRE)?)?, key(find(STACK)?)?);
    // Which of the two came from the sender and which went on, and which of an address's two places is the sender's
    // (sbin/pfctl/pf_print_state.c, `print_state`).
    let (way, before, after, source) = match *find(DIRECTION)?.first()? {
        IN => (Way::In, wire, stack, 0),
        OUT => (Way::Out, stack, wire, 1),
        _ => return None,
    };
    let end = |at: usize| End {
        before: before[at],
        after: after[at],
    };
    Some(State {
        id: (
            u64::from_ne_bytes(*find(ID)?.first_chunk()?),
            // The one number that the kernel turns round.
            u32::from_be_bytes(*find(CREATOR)?.first_chunk()?),
        ),
        interface: text(INTERFACE)?,
        origin: text(ORIGIN)?,
        protocol: *find(PROTOCOL)?.first()?,
        way,
        source: end(source),
        destination: end(1 - source),
        pipe: number(PIPE)?,
    })
}

/// The two ends in a `PF_ST_KEY_WIRE` or `PF_ST_KEY_STACK`; ports are in network order.
fn key(nested: &[u8]) -> Option<[SocketAddr; 2]> {
    let find = |wanted| attrs(nested).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let end = |at: usize| {
        let address = find(ADDRESS[at])?;
        let address = match address.len() {
            4 => IpAddr::from(Ipv4Addr::from(*address.first_chunk::<4>()?)),
            16 => IpAddr::from(Ipv6Addr::from(*address.first_chunk::<16>()?)),
            _ => return None,
        };
        let port = u16::from_be_bytes(*find(PORT[at])?.first_chunk()?);
        Some(SocketAddr::new(address, port))
    };
    Some([end(0)?, end(1)?])
}

impl State {
    /// Whether it has to do with the sandbox at all: its interface, its address at either end, or a socket that egressd
    /// has for it.
    fn concerns(&self, site: &Site, port: &Port) -> bool {
        let name = port.name.as_str();
        let ends = [self.source, self.destination];
        let own = |end: &End| {
            [end.before, end.after]
                .iter()
                .any(|at| at.ip() == port.address)
        };
        self.interface == name
            || self.origin == name
            || ends.iter().any(own)
            || self.is_dialled(site, port)
    }

    fn is_dialled(&self, site: &Site, port: &Port) -> bool {
        let mark = site.pipes(port).ok().flatten().map(|pipes| pipes.mark);
        self.way == Way::Out && mark == Some(self.pipe)
    }

    /// Whether the sandbox may go on having it.
    fn stands(
        &self,
        site: &Site,
        port: &Port,
        keeps: &impl Fn(Class, Ipv4Addr, Payload) -> bool,
    ) -> bool {
        let (IpAddr::V4(source), IpAddr::V4(to)) =
            (self.source.before.ip(), self.destination.before.ip())
        else {
            return false;
        };
        let to_port = self.destination.before.port();
        let (payload, egressd) = match self.protocol {
            6 => (Payload::Tcp(to_port), Some(site.tcp)),
            17 => (Payload::Udp(to_port), Some(site.udp)),
            other => (Payload::Other(other), None),
        };
        if self.is_dialled(site, port) {
            return keeps(Class::Dialled, to, payload);
        }
        if source != port.address {
            return false;
        }
        let straight = self.destination.before == self.destination.after;
        match self.way {
            Way::In => {
                let own = self.interface == port.name.as_str();
                let same = self.source.before.ip() == self.source.after.ip();
                let there = egressd.map(SocketAddr::V4) == Some(self.destination.after);
                // What egressd has it judges itself, and an address that is allowed by now is no reason to end it.
                own && same
                    && (straight && keeps(Class::Forwarded, to, payload)
                        || there && keeps(Class::Intercepted, to, payload))
            }
            Way::Out => {
                let out = self.interface == site.uplink.as_str();
                out && straight && keeps(Class::Forwarded, to, payload)
            }
        }
    }
}

/// The states of a sandbox that `keeps` does not want. None: nothing it forbids is left.
#[must_use]
pub fn forbidden<'s>(
    site: &Site,
    port: &Port,
    states: &'s [State],
    keeps: impl Fn(Class, Ipv4Addr, Payload) -> bool,
) -> Vec<&'s State> {
    let wrong = |s: &&State| s.concerns(site, port) && !s.stands(site, port, &keeps);
    states.iter().filter(wrong).collect()
}

/// The states of any sandbox of an instance, by their addresses, and by their pipes those of sockets on behalf of one.
#[must_use]
pub fn of_instance<'s>(site: &Site, states: &'s [State]) -> Vec<&'s State> {
    let block = site.block.to_bits()..=site.last();
    let inside = |at: SocketAddr| match at.ip() {
        IpAddr::V4(address) => block.contains(&address.to_bits()),
        IpAddr::V6(_) => false,
    };
    let own = |s: &&State| {
        let ends = [s.source, s.destination];
        let pipe = site
            .all_pipes()
            .is_some_and(|pipes| pipes.contains(&s.pipe));
        pipe || ends.iter().any(|e| inside(e.before) || inside(e.after))
    };
    states.iter().filter(own).collect()
}
