//! The router's namespace and its uplink to the host.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use warder_linux::{netns, sockets};
use warder_wire::SandboxId;

use super::rtnl::{End, Prefix, Rtnl};
use super::{Space, inside, maker, sysctls};
use crate::plan::{FIRST_INDEX, Pair, TO_SOCKETS, UPLINK, Uplink, port_index, port_name};
use crate::site::Site;
use crate::{LinksError, Listeners, Numbers, RouterLink, forwarding};

/// Name of the pin in the instance's directory.
const PIN: &str = "router";
/// Of Ethernet; the host's way out may have less, never more that matters.
const MTU: u32 = 1500;
const LEAST_MTU: u32 = 576;

/// The loopback device's number in every namespace.
const LO: u32 = 1;
/// Bytes of each refused packet that the log tells: the longest IPv4 header and the eight behind it.
const LOG_BYTES: u32 = 68;

/// Set before the first link appears.
const BEFORE_LINKS: [(&str, &str); 18] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
    // Every neighbour is known beforehand: nobody is answered, nobody is asked.
    ("net/ipv4/conf/all/arp_ignore", "8"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/secure_redirects", "0"),
    ("net/ipv4/conf/default/secure_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    // egressd answers from the port that was asked, and netd may not bind to small ones.
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    // Refusals must come at once, to every sandbox, however many it asks for.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
    ("net/ipv4/icmp_msgs_burst", "10000"),
];

/// Exist once a rule has brought connection tracking to life. A TCP flow that was deleted must not come back
/// with its next segment, and a segment outside the window must not pass for one of no flow.
const AFTER_RULES: [(&str, &str); 2] = [
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
];

/// The router's namespace, entered by sockets alone.
#[derive(Debug)]
pub struct Router {
    ns: OwnedFd,
    mtu: u32,
    here: Rtnl,
    host: Rtnl,
}

impl Router {
    /// Takes over the instance's router, or makes one. The flag says whether it was there.
    ///
    /// # Errors
    /// [`LinksError::Collision`] when the host uses the uplink's addresses; [`LinksError::System`].
    pub fn open(site: &Site, uplink: &Uplink) -> Result<(Self, bool), LinksError> {
        let found = netns::pinned(site.dir(), PIN).map_err(|e| LinksError::io("router", e))?;
        let adopted = found.is_some();
        let mut host = Rtnl::open()?;
        if !adopted {
            refuse_collision(&mut host, uplink)?;
        }
        let ns = match found {
            Some(ns) => {
                inside(ns.as_fd(), || sysctls(&BEFORE_LINKS))?;
                ns
            }
            None => make(site)?,
        };
        let mtu = mtu(&mut host)?;
        let here = Rtnl::open_in(ns.as_fd())?;
        let mut router = Self {
            ns,
            mtu,
            here,
            host,
        };
        router.join(uplink)?;
        Ok((router, adopted))
    }

    /// The network that the rules are for: the router's namespace.
    #[must_use]
    pub fn network(&self) -> BorrowedFd<'_> {
        self.ns.as_fd()
    }

    /// The interface by which packets of sandboxes leave that network.
    #[must_use]
    pub fn way_out(&self) -> &str {
        UPLINK
    }

    /// What every link of the instance carries at most, in bytes.
    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Makes sure of the pair to the host, its addresses, routes and neighbours.
    fn join(&mut self, uplink: &Uplink) -> Result<(), LinksError> {
        let whole = self.is_joined(uplink)?;
        if !whole {
            refuse_collision(&mut self.host, uplink)?;
            self.host.remove(&uplink.host_name)?;
            self.here.remove(UPLINK)?;
            self.host.add_pair(
                End {
                    name: &uplink.host_name,
                    mac: uplink.host_mac(),
                    index: 0,
                },
                End {
                    name: UPLINK,
                    mac: uplink.router_mac(),
                    index: FIRST_INDEX,
                },
                self.ns.as_fd(),
                self.mtu,
            )?;
        }
        let link = self.host.link(&uplink.host_name)?;
        let index = link
            .map(|link| link.index)
            .ok_or_else(|| gone(&uplink.host_name))?;
        sysctls(
            &on_host(&uplink.host_name)
                .each_ref()
                .map(|(p, v)| (p.as_str(), *v)),
        )?;
        self.host.up(index)?;
        self.host.add_address(index, uplink.host, 31)?;
        self.host
            .add_neighbour(index, uplink.router, uplink.router_mac())?;
        self.here.up(FIRST_INDEX)?;
        self.here.add_address(FIRST_INDEX, uplink.router, 31)?;
        self.here
            .add_neighbour(FIRST_INDEX, uplink.host, uplink.host_mac())?;
        self.here.add_default(FIRST_INDEX, uplink.host)?;
        // What is marked for sockets is local, and finds them on the loopback device.
        self.here.up(LO)?;
        self.here.add_local(LO, TO_SOCKETS)?;
        self.host.wait_running(&uplink.host_name)?;
        self.here.wait_running(UPLINK)
    }

    /// Whether both ends are there and belong together.
    fn is_joined(&mut self, uplink: &Uplink) -> Result<bool, LinksError> {
        let Some(host) = self.host.link(&uplink.host_name)? else {
            return Ok(false);
        };
        let inner = self
            .here
            .link(UPLINK)?
            .is_some_and(|link| link.index == FIRST_INDEX);
        let peer = self.host.number_of(self.ns.as_fd())?;
        Ok(inner && peer.is_some() && host.peer == peer)
    }

    /// What the instance has to itself of what the host numbers: nothing, in a namespace of its own.
    ///
    /// # Errors
    /// None.
    pub fn numbers(&self, _site: &Site, _slots: u32) -> Result<Numbers, LinksError> {
        let (pipes, log) = (None, 0);
        Ok(Numbers { pipes, log })
    }

    /// What must wait until rules are in force.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn settle(&self) -> Result<(), LinksError> {
        inside(self.ns.as_fd(), || sysctls(&AFTER_RULES))
    }

    /// Switches the host's forwarding on, recorded.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn claim_forwarding(&self, site: &Site) -> Result<(), LinksError> {
        forwarding::claim(site)
    }

    /// Every link but the uplink.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn ports(&mut self) -> Result<Vec<RouterLink>, LinksError> {
        let links = self.here.links()?;
        let ports = links
            .into_iter()
            .filter(|l| l.name != UPLINK && l.name != "lo");
        Ok(ports.map(RouterLink::from).collect())
    }

    /// Whether `space`, which is said to be the one `sandbox` runs in, is that of the slot made as the `counter`-th;
    /// if not, why. `found` are the ports there were at start.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn recognise(
        &mut self,
        found: &[RouterLink],
        (counter, identity): (u32, u64),
        _sandbox: &SandboxId,
        space: &Space,
    ) -> Result<Result<(), &'static str>, LinksError> {
        if space.identity()? != identity {
            return Ok(Err("another namespace"));
        }
        let number = self.here.number_of(space.as_fd())?;
        let name = port_name(counter);
        // An inode alone can be used again; the pair that leads there cannot.
        let leads =
            |link: &RouterLink| link.name == name && link.peer.is_some() && link.peer == number;
        let found = found.iter().any(leads);
        Ok(found.then_some(()).ok_or("no pair leads there"))
    }

    /// Opens what egressd reads from: the sockets that the rules divert to at these ports, and the log of that
    /// group. Whoever had them before must have closed them.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn listen(&self, tcp: u16, udp: u16, log: u16) -> Result<Listeners, LinksError> {
        inside(self.ns.as_fd(), || {
            Ok(Listeners {
                tcp: sockets::transparent_tcp(tcp)
                    .map_err(|e| LinksError::io("listen for TCP", e))?,
                udp: sockets::transparent_udp(udp)
                    .map_err(|e| LinksError::io("listen for UDP", e))?,
                log: sockets::packet_log(log, LOG_BYTES).map_err(|e| LinksError::System {
                    what: "log of refused packets".to_owned(),
                    source: Box::new(e),
                })?,
                origins: None,
            })
        })
    }

    /// A socket that the rules know by `owner`, the mark of its packets, connecting to `to`. Returns before it is
    /// connected.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn dial(&self, owner: u32, to: SocketAddrV4, stream: bool) -> Result<OwnedFd, LinksError> {
        inside(self.ns.as_fd(), || {
            sockets::connecting(owner, to, stream).map_err(|e| LinksError::io("connect", e))
        })
    }

    /// Takes a port down: the last resort when rules cannot be changed. One that is gone lets nothing pass either.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn seal(&mut self, port: &str) -> Result<(), LinksError> {
        self.here.down(port)
    }

    /// Brings up the port of a slot that has an owner. It is up: the namespace that it leads to has no way but by the
    /// instance's rules, which nobody else can take away.
    ///
    /// # Errors
    /// None.
    pub fn begin(&mut self, _counter: u32, _pair: &Pair) -> Result<(), LinksError> {
        Ok(())
    }

    /// Takes the seal off the port of the slot made as the `counter`-th.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn unseal(&mut self, counter: u32, pair: &Pair) -> Result<(), LinksError> {
        let index = port_index(counter)
            .ok_or_else(|| LinksError::io("interface numbers", rustix::io::Errno::OVERFLOW))?;
        maker::open(&mut self.here, index, pair)?;
        self.here.wait_running(&port_name(counter))
    }

    /// Removes the uplink, the pin, the claim on forwarding and the instance's directory. The namespace goes
    /// with the last descriptor and socket of it.
    ///
    /// # Errors
    /// The first [`LinksError`], after everything was tried.
    pub fn purge(mut self, site: Site, uplink: &Uplink) -> Result<(), LinksError> {
        let link = self.host.remove(&uplink.host_name);
        let pin = netns::unpin(site.dir(), PIN).map_err(|e| LinksError::io("unpin", e));
        let forwarding = forwarding::release(&site);
        site.remove();
        link.and(pin).and(forwarding)
    }
}

fn make(site: &Site) -> Result<OwnedFd, LinksError> {
    let (ns, set) = netns::make(|_| sysctls(&BEFORE_LINKS))
        .map_err(|e| LinksError::io("make the router's namespace", e))?;
    set?;
    netns::unpin(site.dir(), PIN).map_err(|e| LinksError::io("unpin", e))?;
    netns::pin(ns.as_fd(), site.dir(), PIN).map_err(|e| LinksError::io("pin", e))?;
    Ok(ns)
}

/// Sysctls of the host's end alone; they go with it.
fn on_host(name: &str) -> [(String, &'static str); 6] {
    [
        (format!("net/ipv6/conf/{name}/disable_ipv6"), "1"),
        (format!("net/ipv4/conf/{name}/forwarding"), "1"),
        (format!("net/ipv4/conf/{name}/rp_filter"), "1"),
        (format!("net/ipv4/conf/{name}/arp_ignore"), "8"),
        (format!("net/ipv4/conf/{name}/accept_redirects"), "0"),
        (format!("net/ipv4/conf/{name}/send_redirects"), "0"),
    ]
}

/// Whether the host has one of the uplink's addresses, or a route narrower than the default to it.
fn refuse_collision(host: &mut Rtnl, uplink: &Uplink) -> Result<(), LinksError> {
    let own = host.link(&uplink.host_name)?.map(|link| link.index);
    let meets = |p: &Prefix| {
        let mask = u32::MAX.checked_shl(32 - u32::from(p.length)).unwrap_or(0)
            & u32::MAX.checked_shl(1).unwrap_or(0);
        Some(p.link) != own
            && p.length > 0
            && (u32::from(p.address) ^ u32::from(uplink.host)) & mask == 0
    };
    let collision = |kind: &str, p: &Prefix| LinksError::Collision {
        pair: format!("{}/31", uplink.host),
        with: format!("{kind} {}/{}", p.address, p.length),
    };
    if let Some(p) = host.addresses()?.iter().find(|p| {
        meets(&Prefix {
            length: 32,
            ..(*p).clone()
        })
    }) {
        return Err(collision("address", p));
    }
    match host.routes()?.iter().find(|p| meets(p)) {
        Some(p) => Err(collision("route", p)),
        None => Ok(()),
    }
}

/// That of the host's way out, so that nobody depends on path MTU discovery for the first hop.
fn mtu(host: &mut Rtnl) -> Result<u32, LinksError> {
    const MAIN: u32 = 254;
    let routes = host.routes()?;
    let default = routes
        .iter()
        .filter(|r| r.length == 0 && r.table == MAIN)
        .min_by_key(|r| r.metric);
    let links = host.links()?;
    let found = default
        .and_then(|route| links.iter().find(|link| link.index == route.link))
        .map_or(MTU, |link| link.mtu);
    Ok(found.clamp(LEAST_MTU, MTU))
}

fn gone(name: &str) -> LinksError {
    LinksError::io(format!("{name} is gone"), rustix::io::Errno::NODEV)
}
