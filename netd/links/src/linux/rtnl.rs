//! The few rtnetlink requests that are needed (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use warder_linux::netlink::{
    CREATE, EXCL, Message, NetlinkError, Protocol, REPLACE, REQUEST, Socket, attrs, attrs_after,
};

use crate::{LinksError, RouterLink};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const NEWRULE: u16 = 32;
const NEWNSID: u16 = 88;
const GETNSID: u16 = 90;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_LINK_NETNSID: u16 = 37;
/// `RTEXT_FILTER_SKIP_STATS`.
const SKIP_STATS: u32 = 8;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
/// Attributes of rules (linux/fib_rules.h).
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
/// Number of the routing table that has every address for one of the namespace's own.
const LOCAL_TABLE: u8 = 100;
/// Before the main table (32766), behind the addresses that are its own (0).
const LOCAL_PRIORITY: u32 = 100;
/// `struct rtmsg`, `struct ifinfomsg`, `struct ifaddrmsg`.
const RTMSG: usize = 12;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const INET: u8 = 2;

/// One end of a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
    /// Zero: the kernel chooses.
    pub(super) index: u32,
}

/// An address or route that the host has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Prefix {
    pub(super) address: Ipv4Addr,
    pub(super) length: u8,
    pub(super) link: u32,
    pub(super) table: u32,
    pub(super) metric: u32,
}

/// A link of the socket's namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) peer: Option<i32>,
    pub(super) up: bool,
    /// `IF_OPER_UP`: what is sent is sent, not dropped.
    pub(super) running: bool,
}

/// rtnetlink in one namespace.
#[derive(Debug)]
pub(super) struct Rtnl(Socket);

impl Rtnl {
    pub(super) fn open() -> Result<Self, LinksError> {
        Socket::open(Protocol::Route)
            .map(Self)
            .map_err(|e| failed("netlink", e))
    }

    pub(super) fn open_in(ns: BorrowedFd<'_>) -> Result<Self, LinksError> {
        Socket::open_in(ns, Protocol::Route)
            .map(Self)
            .map_err(|e| failed("netlink", e))
    }

    fn ack(&mut self, what: &str, message: Message) -> Result<(), LinksError> {
        self.0.ack(message).map_err(|e| failed(what, e))
    }

    /// A pair, its other end made where it belongs: moving it afterwards would wait for a grace period.
    pub(super) fn add_pair(
        &mut self,
        here: End<'_>,
        there: End<'_>,
        ns: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), LinksError> {
        let number = u32::try_from(ns.as_raw_fd()).unwrap_or(u32::MAX);
        let end = |m: Message, end: End<'_>| {
            m.text(IFLA_IFNAME, end.name)
                .bytes(IFLA_ADDRESS, &end.mac)
                .u32(IFLA_MTU, mtu)
                .u32(IFLA_NUM_TX_QUEUES, 1)
                .u32(IFLA_NUM_RX_QUEUES, 1)
        };
        let message = Message::new(NEWLINK, REQUEST | CREATE | EXCL, &ifinfo(here.index, false));
        // IFLA_LINKINFO { IFLA_INFO_KIND, IFLA_INFO_DATA { VETH_INFO_PEER { ifinfomsg, ... } } }.
        let message = end(message, here).nest(IFLA_LINKINFO, |m| {
            m.text(1, "veth").nest(2, |m| {
                m.nest(1, |m| {
                    end(m.raw(&ifinfo(there.index, false)), there).u32(IFLA_NET_NS_FD, number)
                })
            })
        });
        self.ack("make a pair", message)
    }

    pub(super) fn up(&mut self, index: u32) -> Result<(), LinksError> {
        self.ack(
            "bring a link up",
            Message::new(NEWLINK, REQUEST, &ifinfo(index, true)),
        )
    }

    /// Waits until a link that is up carries packets. The end that came up first is switched on by the kernel
    /// later, on a work queue, and drops what is sent before: a connection's first segment, say, which is
    /// repeated a whole second later. Newer kernels (6.8) do it when they are asked.
    pub(super) fn wait_running(&mut self, name: &str) -> Result<(), LinksError> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.link(name)? {
                Some(link) if link.running => return Ok(()),
                Some(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                _ => {
                    return Err(LinksError::io(
                        format!("{name} does not come up"),
                        Errno::NETDOWN,
                    ));
                }
            }
        }
    }

    /// Takes a link down by name; nothing if there is none.
    pub(super) fn down(&mut self, name: &str) -> Result<(), LinksError> {
        let mut fixed = ifinfo(0, false);
        // ifi_change without ifi_flags: IFF_UP off.
        fixed[12..16].copy_from_slice(&1_u32.to_ne_bytes());
        let message = Message::new(NEWLINK, REQUEST, &fixed).text(IFLA_IFNAME, name);
        match self.0.ack(message) {
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
            other => other.map_err(|e| failed("take a link down", e)),
        }
    }

    /// Removes a link by name; nothing if there is none. Waits for grace periods.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), LinksError> {
        let message = Message::new(DELLINK, REQUEST, &ifinfo(0, false)).text(IFLA_IFNAME, name);
        match self.0.ack(message) {
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
            other => other.map_err(|e| failed("remove a link", e)),
        }
    }

    pub(super) fn add_address(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), LinksError> {
        let mut fixed = [INET, prefix, 0, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        let message = Message::new(NEWADDR, REQUEST | CREATE | REPLACE, &fixed)
            .bytes(1, &address.octets())
            .bytes(2, &address.octets());
        self.ack("add an address", message)
    }

    /// A route to one address straight out of a link, from `source`.
    pub(super) fn add_host_route(
        &mut self,
        index: u32,
        to: Ipv4Addr,
        source: Ipv4Addr,
    ) -> Result<(), LinksError> {
        let message = Message::new(NEWROUTE, REQUEST | CREATE | REPLACE, &route(32, 253))
            .bytes(RTA_DST, &to.octets())
            .bytes(RTA_PREFSRC, &source.octets())
            .u32(RTA_OIF, index);
        self.ack("add a route", message)
    }

    /// The default route.
    pub(super) fn add_default(&mut self, index: u32, via: Ipv4Addr) -> Result<(), LinksError> {
        let message = Message::new(NEWROUTE, REQUEST | CREATE | REPLACE, &route(0, 0))
            .bytes(RTA_GATEWAY, &via.octets())
            .u32(RTA_OIF, index);
        self.ack("add the default route", message)
    }

    /// What bears the bit `mark` is for this namespace, whatever its destination.
    pub(super) fn add_local(&mut self, lo: u32, mark: u32) -> Result<(), LinksError> {
        const HOST: u8 = 254;
        const STATIC: u8 = 4;
        const LOCAL: u8 = 2;
        let fixed = [INET, 0, 0, 0, LOCAL_TABLE, STATIC, HOST, LOCAL, 0, 0, 0, 0];
        let message = Message::new(NEWROUTE, REQUEST | CREATE | REPLACE, &fixed).u32(RTA_OIF, lo);
        self.ack("add a local route", message)?;
        // struct fib_rule_hdr; FR_ACT_TO_TBL.
        let fixed = [INET, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let message = Message::new(NEWRULE, REQUEST | CREATE | EXCL, &fixed)
            .u32(FRA_PRIORITY, LOCAL_PRIORITY)
            .u32(FRA_FWMARK, mark)
            .u32(FRA_FWMASK, mark)
            .u32(FRA_TABLE, u32::from(LOCAL_TABLE));
        match self.0.ack(message) {
            // The very same rule.
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(()),
            other => other.map_err(|e| failed("add a routing rule", e)),
        }
    }

    /// A neighbour that is never asked for and never forgotten.
    pub(super) fn add_neighbour(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<(), LinksError> {
        // struct ndmsg: family, padding, interface, state NUD_PERMANENT, flags, type.
        let mut fixed = [INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        fixed[8..10].copy_from_slice(&0x80_u16.to_ne_bytes());
        let message = Message::new(NEWNEIGH, REQUEST | CREATE | REPLACE, &fixed)
            .bytes(1, &address.octets())
            .bytes(2, &mac);
        self.ack("add a neighbour", message)
    }

    /// The link called `name`.
    pub(super) fn link(&mut self, name: &str) -> Result<Option<Link>, LinksError> {
        let message = Message::new(GETLINK, REQUEST, &ifinfo(0, false))
            .text(IFLA_IFNAME, name)
            .u32(IFLA_EXT_MASK, SKIP_STATS);
        let mut found = None;
        match self
            .0
            .get(message, |_, payload| found = parse_link(payload))
        {
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            other => other
                .map(|()| found)
                .map_err(|e| failed("look up a link", e)),
        }
    }

    /// All links.
    pub(super) fn links(&mut self) -> Result<Vec<Link>, LinksError> {
        let message =
            Message::new(GETLINK, REQUEST, &ifinfo(0, false)).u32(IFLA_EXT_MASK, SKIP_STATS);
        let mut all = Vec::new();
        self.0
            .dump(&message, |_, payload| all.extend(parse_link(payload)))
            .map_err(|e| failed("list links", e))?;
        all.sort_by_key(|link| link.index);
        all.dedup_by_key(|link| link.index);
        Ok(all)
    }

    /// All IPv4 addresses.
    pub(super) fn addresses(&mut self) -> Result<Vec<Prefix>, LinksError> {
        let message = Message::new(GETADDR, REQUEST, &[INET, 0, 0, 0, 0, 0, 0, 0]);
        let mut all = Vec::new();
        self.0
            .dump(&message, |_, payload| all.extend(parse_address(payload)))
            .map_err(|e| failed("list addresses", e))?;
        Ok(all)
    }

    /// All unicast IPv4 routes.
    pub(super) fn routes(&mut self) -> Result<Vec<Prefix>, LinksError> {
        let mut fixed = [0; RTMSG];
        fixed[0] = INET;
        let message = Message::new(GETROUTE, REQUEST, &fixed);
        let mut all = Vec::new();
        self.0
            .dump(&message, |_, payload| all.extend(parse_route(payload)))
            .map_err(|e| failed("list routes", e))?;
        Ok(all)
    }

    /// The number that the socket's namespace has for `ns`, if any.
    pub(super) fn number_of(&mut self, ns: BorrowedFd<'_>) -> Result<Option<i32>, LinksError> {
        let fd = u32::try_from(ns.as_raw_fd()).unwrap_or(u32::MAX);
        // NETNSA_FD is 3, NETNSA_NSID is 1.
        let message = Message::new(GETNSID, REQUEST, &[0; 4]).u32(3, fd);
        let mut number = None;
        self.0
            .get(message, |kind, payload| {
                if kind == NEWNSID {
                    number = attrs_after(payload, 4)
                        .find(|(kind, _)| *kind == 1)
                        .and_then(|a| int(a.1));
                }
            })
            .map_err(|e| failed("look up a namespace", e))?;
        Ok(number.filter(|n| *n >= 0))
    }
}

impl From<Link> for RouterLink {
    fn from(link: Link) -> Self {
        Self {
            name: link.name,
            peer: link.peer,
            up: link.up,
        }
    }
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, up: bool) -> [u8; IFINFOMSG] {
    let mut fixed = [0; IFINFOMSG];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        fixed[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        fixed[12..16].copy_from_slice(&1_u32.to_ne_bytes());
    }
    fixed
}

/// `struct rtmsg` of a unicast route in the main table, from no routing protocol.
fn route(prefix: u8, scope: u8) -> [u8; RTMSG] {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    [INET, prefix, 0, 0, MAIN, STATIC, scope, UNICAST, 0, 0, 0, 0]
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let index = payload.get(4..8).and_then(number)?;
    let flags = payload.get(8..12).and_then(number)?;
    let mut link = Link {
        index,
        name: String::new(),
        mtu: 0,
        peer: None,
        // IFF_UP.
        up: flags & 1 != 0,
        running: false,
    };
    for (kind, value) in attrs_after(payload, IFINFOMSG) {
        match kind {
            IFLA_IFNAME => {
                let text = value.split(|b| *b == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(text).into_owned();
            }
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_LINK_NETNSID => link.peer = int(value),
            IFLA_OPERSTATE => link.running = value.first() == Some(&6),
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(payload: &[u8]) -> Option<Prefix> {
    let (&family, &length) = (payload.first()?, payload.get(1)?);
    let link = payload.get(4..8).and_then(number)?;
    // IFA_LOCAL, else IFA_ADDRESS.
    let find = |wanted| attrs_after(payload, IFADDRMSG).find(|(kind, _)| *kind == wanted);
    let address = find(2)
        .or_else(|| find(1))
        .and_then(|(_, value)| address(value))?;
    (family == INET).then_some(Prefix {
        address,
        length,
        link,
        table: 0,
        metric: 0,
    })
}

fn parse_route(payload: &[u8]) -> Option<Prefix> {
    let fixed = payload.first_chunk::<RTMSG>()?;
    let mut prefix = Prefix {
        address: Ipv4Addr::UNSPECIFIED,
        length: fixed[1],
        link: 0,
        table: u32::from(fixed[4]),
        metric: 0,
    };
    for (kind, value) in attrs(payload.get(RTMSG..).unwrap_or_default()) {
        match kind {
            RTA_DST => prefix.address = address(value)?,
            RTA_OIF => prefix.link = number(value)?,
            RTA_TABLE => prefix.table = number(value)?,
            RTA_PRIORITY => prefix.metric = number(value)?,
            _ => {}
        }
    }
    let unicast = fixed[7] == 1;
    (fixed[0] == INET && unicast).then_some(prefix)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.first_chunk().copied()?))
}

fn int(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.first_chunk().copied()?))
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(bytes.first_chunk::<4>().copied()?))
}

fn failed(what: &str, error: NetlinkError) -> LinksError {
    LinksError::System {
        what: what.to_owned(),
        source: Box::new(error),
    }
}
