//! Slots: a jail with a network stack, its pair, and everything that cannot be set from inside.

mod tap;

use std::net::Ipv4Addr;

use rustix::io::Errno;
use warder_freebsd::net::{Links, Stack};
use warder_freebsd::sys::{Params, jail};
use warder_wire::InstanceTag;
use warder_wire::priv_net::slot_jail;

use super::refused::{PAIR, Step, failed};
use super::{Router, Space, port_counter, port_name};
use crate::LinksError;
use crate::plan::{INSIDE, PORTS, Pair, SlotSpec, description, port_group};

/// `JAIL_SYS_NEW` (sys/jail.h): a network stack of its own.
const NEW: i32 = 1;
const LOOPBACK: &str = "lo0";

/// Makes slots. Its work waits for the kernel's locks of all interfaces and jails, so it belongs in a worker.
#[derive(Debug)]
pub struct Maker {
    tag: InstanceTag,
    mtu: u32,
    host: Stack,
    links: Links,
}

impl Maker {
    /// For slots of a router.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn new(router: &Router) -> Result<Self, LinksError> {
        Ok(Self {
            tag: router.tag(),
            mtu: router.mtu(),
            host: Stack::own().map_err(|e| LinksError::io("sockets of the host", e))?,
            links: Links::open().map_err(|e| LinksError::io("netlink socket", e))?,
        })
    }

    /// Makes one, ready for a cell but for its port, which is down until it has an owner with rules. Nothing is left of
    /// one that failed.
    ///
    /// # Errors
    /// [`LinksError::Taken`] when somebody else has a jail or an interface of its name; [`LinksError::Exhausted`];
    /// [`LinksError::System`].
    pub fn make(&mut self, spec: &SlotSpec) -> Result<Space, LinksError> {
        let port = port_name(self.tag, spec.counter);
        if port.is_empty() {
            return Err(LinksError::Exhausted("number for slots"));
        }
        let jid = self.jail(spec.counter)?;
        let made = self.pair(&port, spec, jid);
        if made.is_err() {
            // What cannot be removed now is found by its name at the next start.
            let _ = jail::remove_named(&slot_jail(self.tag, spec.counter), |own| own == jid);
        }
        made.map(|()| Space::new())
    }

    /// A jail for a stack and for one jail below it, of no more rights than any has.
    fn jail(&self, counter: u32) -> Result<i32, LinksError> {
        let name = slot_jail(self.tag, counter);
        let params = Params::new()
            .text("name", &name)
            .text("host.hostname", &name)
            .text("path", "/var/empty")
            .flag("persist")
            .int("vnet", NEW)
            .int("children.max", 1)
            .int("securelevel", 3)
            .int("enforce_statfs", 2)
            // No jail has what the one around it lacks: the cell's has System V objects of its own.
            .int("sysvmsg", NEW)
            .int("sysvsem", NEW)
            .int("sysvshm", NEW);
        jail::create(&params).map_err(|said| Step::Jail(&name).refused(said))
    }

    /// The pair, its end `b` in the jail. Whatever fails, no end of it is left.
    fn pair(&mut self, port: &str, spec: &SlotSpec, jid: i32) -> Result<(), LinksError> {
        let made = self.links.create("epair", "epair", &description(self.tag));
        let made = made.map_err(|errno| PAIR.refused(errno))?;
        let inner = match made.strip_suffix('a') {
            Some(base) => format!("{base}b"),
            None => {
                return Err(LinksError::io(
                    format!("{made} is no end of a pair"),
                    Errno::PROTO,
                ));
            }
        };
        let mut name = made.as_str();
        let joined = (|| {
            let host = &self.host;
            host.rename(name, port)
                .map_err(|errno| Step::Name(port).refused(errno))?;
            name = port;
            let at = |what: &'static str| move |e| LinksError::io(format!("{port}: {what}"), e);
            // Long before it is up: the rules for the group hold from its first packet.
            for group in [PORTS, &port_group(self.tag)] {
                host.join(name, group).map_err(at("join a group"))?;
            }
            host.set_mac(name, spec.pair.gateway_mac())
                .map_err(at("set its MAC"))?;
            host.set_mac(&inner, spec.pair.mac())
                .map_err(at("set the other's MAC"))?;
            for end in [name, &inner] {
                host.set_mtu(end, self.mtu).map_err(at("set the MTU"))?;
            }
            // pf refuses no packet in words whose checksum is wrong (pf.c, `pf_return`), and takes one that a pair left
            // out for that.
            host.with_checksums(name)
                .map_err(at("have checksums computed"))?;
            host.without_inet6(name).map_err(at("switch IPv6 off"))?;
            host.move_to(&inner, jid)
                .map_err(at("move the other end into the jail"))?;
            inside(jid, &inner, &spec.pair)
        })();
        if joined.is_err() {
            let _ = self.host.destroy(name);
        }
        joined
    }

    /// Whether a port, or the jail of its slot, is (still) there.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn is_there(&mut self, port: &str) -> Result<bool, LinksError> {
        let jail = match port_counter(self.tag, port) {
            Some(counter) => find(&slot_jail(self.tag, counter))?.is_some(),
            None => false,
        };
        match self.host.mtu(port) {
            Ok(_) => Ok(true),
            Err(Errno::NXIO) => Ok(jail),
            Err(e) => Err(LinksError::io(format!("look for {port}"), e)),
        }
    }

    /// Removes a port that belongs to nobody, with its slot and whatever runs there: the pair first, from the host's
    /// side, so that no stack is taken down with an interface of ours in it.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn remove(&mut self, port: &str) -> Result<(), LinksError> {
        let Some(counter) = port_counter(self.tag, port) else {
            return Err(LinksError::Taken(format!("interface {port}")));
        };
        let gone = self.host.destroy(port);
        let gone = gone.map_err(|e| LinksError::io(format!("remove {port}"), e));
        let name = slot_jail(self.tag, counter);
        // As the maker leaves it. One that somebody else made by that name is left alone.
        let own = |jid| {
            jail::text(jid, "host.hostname").is_ok_and(|text| text.as_os_str() == name.as_str())
        };
        let removed = jail::remove_named(&name, own);
        let removed = removed.map_err(|said| failed(&format!("remove jail {name}"), said))?;
        if !removed && find(&name)?.is_some() {
            return Err(LinksError::Taken(format!("jail {name}")));
        }
        gone
    }
}

/// The jail's end, as a cell finds it.
fn inside(jid: i32, end: &str, pair: &Pair) -> Result<(), LinksError> {
    let at = |what: &'static str| move |e| LinksError::io(format!("in the slot's jail: {what}"), e);
    let stack = Stack::of_jail(jid).map_err(at("sockets"))?;
    stack
        .without_inet6(LOOPBACK)
        .map_err(at("switch IPv6 off on lo0"))?;
    stack
        .add_address(LOOPBACK, Ipv4Addr::LOCALHOST, 8)
        .map_err(at("address of lo0"))?;
    stack.set_up(LOOPBACK, true).map_err(at("bring lo0 up"))?;
    stack.rename(end, INSIDE).map_err(at("rename"))?;
    stack.without_inet6(INSIDE).map_err(at("switch IPv6 off"))?;
    stack
        .add_address(INSIDE, pair.address, 31)
        .map_err(at("address"))?;
    stack.set_up(INSIDE, true).map_err(at("bring up"))?;
    let neighbour = stack.add_neighbour(INSIDE, pair.gateway, pair.gateway_mac());
    neighbour.map_err(at("neighbour"))?;
    stack.add_default(pair.gateway).map_err(at("default route"))
}

/// Brings the host's end of a pair, or a tap, up.
pub(super) fn open(host: &Stack, port: &str, pair: &Pair) -> Result<(), LinksError> {
    let at = |what: &'static str| move |e| LinksError::io(format!("{port}: {what}"), e);
    // No neighbour is taken on an interface without a link, and a tap has one while its device is open, by a machine
    // perhaps. This kind keeps its addresses when that is closed (vmnet(4)).
    let _linked = tap::device(port);
    host.add_address(port, pair.gateway, 31)
        .map_err(at("address"))?;
    host.set_up(port, true).map_err(at("bring up"))?;
    let neighbour = host.add_neighbour(port, pair.address, pair.mac());
    neighbour.map_err(at("neighbour"))
}

/// A living jail by its name.
pub(super) fn find(name: &str) -> Result<Option<i32>, LinksError> {
    jail::find(name).map_err(|said| failed(&format!("look for jail {name}"), said))
}
