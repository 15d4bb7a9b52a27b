//! Slots: a namespace, its pair, and everything that cannot be set from inside.

use std::os::fd::AsFd;

use warder_linux::netns;

use super::rtnl::{End, Rtnl};
use super::{Router, Space, sysctls};
use crate::LinksError;
use crate::plan::{FIRST_INDEX, INSIDE, Pair, SlotSpec, port_index, port_name};

/// The loopback device's number in every namespace.
const LO: u32 = 1;

/// Makes slots. Its work waits for the kernel's lock of all links, so it belongs in a worker.
#[derive(Debug)]
pub struct Maker {
    router: Rtnl,
    mtu: u32,
}

impl Maker {
    /// For slots of a router.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn new(router: &Router) -> Result<Self, LinksError> {
        Ok(Self {
            router: Rtnl::open_in(router.network())?,
            mtu: router.mtu(),
        })
    }

    /// Makes one, ready for a cell. Nothing is left of one that failed once its namespace is closed.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn make(&mut self, spec: &SlotSpec) -> Result<Space, LinksError> {
        let (first, last) = spec.ping_groups;
        let (ns, inner) = netns::make(|_| {
            sysctls(&[
                ("net/ipv6/conf/all/disable_ipv6", "1"),
                ("net/ipv6/conf/default/disable_ipv6", "1"),
                ("net/ipv4/ip_unprivileged_port_start", "0"),
                ("net/ipv4/ping_group_range", &format!("{first} {last}")),
                ("net/ipv4/conf/all/arp_ignore", "8"),
                ("net/ipv4/conf/all/accept_redirects", "0"),
            ])?;
            Rtnl::open()
        })
        .map_err(|e| LinksError::io("make a namespace", e))?;
        let mut inner = inner?;
        let name = port_name(spec.counter);
        let index = port_index(spec.counter)
            .ok_or_else(|| LinksError::io("interface numbers", rustix::io::Errno::OVERFLOW))?;
        let pair = spec.pair;
        self.router.add_pair(
            End {
                name: &name,
                mac: pair.gateway_mac(),
                index,
            },
            End {
                name: INSIDE,
                mac: pair.mac(),
                index: FIRST_INDEX,
            },
            ns.as_fd(),
            self.mtu,
        )?;
        inner.up(LO)?;
        inner.up(FIRST_INDEX)?;
        inner.add_address(FIRST_INDEX, pair.address, 32)?;
        inner.add_neighbour(FIRST_INDEX, pair.gateway, pair.gateway_mac())?;
        inner.add_host_route(FIRST_INDEX, pair.gateway, pair.address)?;
        inner.add_default(FIRST_INDEX, pair.gateway)?;
        open(&mut self.router, index, &pair)?;
        inner.wait_running(INSIDE)?;
        self.router.wait_running(&name)?;
        Ok(Space::from(ns))
    }

    /// Whether a port is (still) there.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn is_there(&mut self, port: &str) -> Result<bool, LinksError> {
        Ok(self.router.link(port)?.is_some())
    }

    /// Removes a port that belongs to nobody; waits for grace periods.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn remove(&mut self, port: &str) -> Result<(), LinksError> {
        self.router.remove(port)
    }
}

/// Brings the router's end of a pair up; its routes and neighbours went when it was down.
pub(super) fn open(router: &mut Rtnl, index: u32, pair: &Pair) -> Result<(), LinksError> {
    router.up(index)?;
    router.add_address(index, pair.gateway, 32)?;
    router.add_neighbour(index, pair.address, pair.mac())?;
    router.add_host_route(index, pair.address, pair.gateway)
}
