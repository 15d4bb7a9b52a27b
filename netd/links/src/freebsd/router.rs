//! The host as router of the instance's sandboxes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use warder_freebsd::net::{self, Links, Stack};
use warder_freebsd::sys::{jail, kld};
use warder_wire::priv_net::slot_jail;
use warder_wire::{InstanceTag, SandboxId};

use super::maker::{Maker, find, open};
use super::refused::failed;
use super::{Space, needs, port_counter, port_name};
use crate::plan::{LOGS, Pair, Uplink, description, log_group};
use crate::site::Site;
use crate::{LinksError, Listeners, Numbers, RouterLink, forwarding, pipes};

/// Of Ethernet; the host's way out may have less, never more that matters.
const MTU: u32 = 1500;
const LEAST_MTU: u32 = 576;

/// The host's network, as far as the instance has something in it.
#[derive(Debug)]
pub struct Router {
    tag: InstanceTag,
    stack: Stack,
    /// The interface of the default route.
    way_out: String,
    mtu: u32,
    /// The instance's own address: where egressd takes what is redirected.
    address: Ipv4Addr,
}

impl Router {
    /// Takes over the instance's interface, or makes it: a loopback of its own, which has the instance's address. The
    /// flag says whether it was there.
    ///
    /// # Errors
    /// [`LinksError::Missing`] with what to do; [`LinksError::Collision`] when the host uses the address for something
    /// else; [`LinksError::System`].
    pub fn open(_site: &Site, uplink: &Uplink) -> Result<(Self, bool), LinksError> {
        needs::check()?;
        let stack = Stack::own().map_err(|e| LinksError::io("sockets of the host", e))?;
        let own = uplink.host_name.as_str();
        let mut links = Links::open().map_err(|e| LinksError::io("netlink socket", e))?;
        remove_half_made(uplink, &mut links, &stack)?;
        let interfaces = net::interfaces().map_err(|e| LinksError::io("list interfaces", e))?;
        let taken = |i: &net::Interface| i.name != own && i.addresses.contains(&uplink.router);
        if let Some(other) = interfaces.iter().find(|i| taken(i)) {
            return Err(LinksError::Collision {
                pair: uplink.router.to_string(),
                with: format!("address {} of {}", uplink.router, other.name),
            });
        }
        let adopted = interfaces.iter().any(|i| i.name == own);
        let at = |what: &'static str| move |e| LinksError::io(format!("{own}: {what}"), e);
        if !adopted {
            let made = links.create("lo", "lo", &description(uplink.tag));
            let made = made.map_err(at("make a loopback interface"))?;
            if let Err(e) = stack.rename(&made, own) {
                let _ = stack.destroy(&made);
                return Err(at("name it")(e));
            }
        }
        stack.without_inet6(own).map_err(at("switch IPv6 off"))?;
        stack
            .add_address(own, uplink.router, 32)
            .map_err(at("address"))?;
        stack.set_up(own, true).map_err(at("bring up"))?;
        let way_out = stack.default_interface();
        let way_out = way_out.map_err(|e| LinksError::io("default route", e))?;
        // A host without a way out has none for sandboxes either: nothing leaves by a loopback interface.
        let way_out = way_out.unwrap_or_else(|| own.to_owned());
        let mtu = stack.mtu(&way_out).unwrap_or(MTU).clamp(LEAST_MTU, MTU);
        let router = Self {
            tag: uplink.tag,
            stack,
            way_out,
            mtu,
            address: uplink.router,
        };
        Ok((router, adopted))
    }

    /// The network that the rules are for: a socket of the host's.
    #[must_use]
    pub fn network(&self) -> BorrowedFd<'_> {
        self.stack.as_fd()
    }

    /// The interface by which packets of sandboxes leave that network.
    #[must_use]
    pub fn way_out(&self) -> &str {
        &self.way_out
    }

    pub(super) fn tag(&self) -> InstanceTag {
        self.tag
    }

    /// What every link of the instance carries at most, in bytes.
    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// What the instance has to itself of what the host numbers: pipes, if dummynet is there, and a log, which is made if
    /// it is not there.
    ///
    /// # Errors
    /// [`LinksError::Exhausted`]; [`LinksError::System`].
    pub fn numbers(&self, site: &Site, slots: u32) -> Result<Numbers, LinksError> {
        let pipes = match kld::has("dummynet") {
            true => Some(pipes::claim(site, slots.saturating_mul(3))?),
            false => None,
        };
        let log = self.own_log()?;
        Ok(Numbers { pipes, log })
    }

    /// The number of the instance's log, known by its group: an interface of that kind may as well be somebody else's.
    fn own_log(&self) -> Result<u16, LinksError> {
        let group = log_group(self.tag);
        let mut members = self.logs()?.into_iter();
        if let Some(own) = members.next() {
            return Ok(own);
        }
        let mut links = Links::open().map_err(|e| LinksError::io("netlink socket", e))?;
        for number in LOGS {
            let name = format!("pflog{number}");
            match links.create("pflog", &name, &description(self.tag)) {
                Ok(_) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(LinksError::io(format!("make {name}"), e)),
            }
            let joined = self.stack.join(&name, &group);
            joined.map_err(|e| LinksError::io(format!("{name}: join a group"), e))?;
            return Ok(number);
        }
        Err(LinksError::Exhausted("number for a log"))
    }

    /// The instance's logs.
    fn logs(&self) -> Result<Vec<u16>, LinksError> {
        let all = self.stack.members(&log_group(self.tag));
        let all = all.map_err(|e| LinksError::io("list logs", e))?;
        let number = |name: String| name.strip_prefix("pflog")?.parse().ok();
        Ok(all.into_iter().filter_map(number).collect())
    }

    /// What must wait until rules are in force: nothing here.
    ///
    /// # Errors
    /// None.
    pub fn settle(&self) -> Result<(), LinksError> {
        Ok(())
    }

    /// Switches the host's forwarding on, recorded.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn claim_forwarding(&self, site: &Site) -> Result<(), LinksError> {
        forwarding::claim(site)
    }

    /// Every port of the instance, also those of which only the slot's jail is left.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn ports(&mut self) -> Result<Vec<RouterLink>, LinksError> {
        let interfaces = net::interfaces().map_err(|e| LinksError::io("list interfaces", e))?;
        let own = |i: &net::Interface| port_counter(self.tag, &i.name).is_some();
        let link = |i: net::Interface| RouterLink {
            name: i.name,
            peer: None,
            up: i.up,
        };
        let mut ports: Vec<_> = interfaces.into_iter().filter(own).map(link).collect();
        let jails = jail::list().map_err(|said| failed("list jails", said))?;
        let prefix = slot_jail(self.tag, 0);
        let prefix = prefix.trim_end_matches('0');
        for jail in jails.iter().filter(|jail| !jail.dying) {
            let counter = jail.name.strip_prefix(prefix).and_then(|n| n.parse().ok());
            // One name for each; a cell's has a dot in it.
            let Some(counter) = counter.filter(|n| slot_jail(self.tag, *n) == jail.name) else {
                continue;
            };
            let name = port_name(self.tag, counter);
            if !ports.iter().any(|port| port.name == name) {
                let (peer, up) = (None, false);
                ports.push(RouterLink { name, peer, up });
            }
        }
        Ok(ports)
    }

    /// Whether `sandbox` runs in the slot made as the `counter`-th, whose port must be there; if not, why.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn recognise(
        &mut self,
        found: &[RouterLink],
        (counter, _): (u32, u64),
        sandbox: &SandboxId,
        _space: &Space,
    ) -> Result<Result<(), &'static str>, LinksError> {
        let port = port_name(self.tag, counter);
        if !found.iter().any(|link| link.name == port) || self.stack.mtu(&port).is_err() {
            return Ok(Err("its port is gone"));
        }
        let slot = slot_jail(self.tag, counter);
        if find(&slot)?.is_none() {
            return Ok(Err("its slot's jail is gone"));
        }
        let cell = format!("{slot}.{}", sandbox.as_str());
        let inside = format!("{slot}.");
        let jails = jail::list().map_err(|said| failed("list jails", said))?;
        // A cell that is being made is not there yet. A slot has room for one, and was never another's.
        let other =
            |jail: &jail::Jail| !jail.dying && jail.name.starts_with(&inside) && jail.name != cell;
        let taken = jails.iter().any(other);
        Ok((!taken)
            .then_some(())
            .ok_or("another cell lives in its slot"))
    }

    /// Opens what egressd reads from: sockets at the instance's address, which the rules redirect to, the log of refused
    /// packets, and the kernel's table of redirections, of which nothing else can be asked. Whoever had the ports before must
    /// have closed them.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn listen(&self, tcp: u16, udp: u16, log: u16) -> Result<Listeners, LinksError> {
        let at = |port| SocketAddrV4::new(self.address, port);
        let log = format!("pflog{log}");
        let up = self.stack.set_up(&log, true);
        up.map_err(|e| LinksError::io(format!("bring {log} up"), e))?;
        Ok(Listeners {
            tcp: net::listener(at(tcp)).map_err(|e| LinksError::io("listen for TCP", e))?,
            udp: net::datagrams(at(udp)).map_err(|e| LinksError::io("listen for UDP", e))?,
            log: net::packet_log(&log).map_err(|e| LinksError::io(format!("log {log}"), e))?,
            origins: Some(net::state_table().map_err(|e| LinksError::io("open /dev/pf", e))?),
        })
    }

    /// A socket that the rules know by `owner`, the user it belongs to, connecting to `to`. Returns before it is connected.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn dial(&self, owner: u32, to: SocketAddrV4, stream: bool) -> Result<OwnedFd, LinksError> {
        net::owned(owner, to, stream).map_err(|e| LinksError::io("connect", e))
    }

    /// Takes a port down: the last resort when rules cannot be changed. One that is gone lets nothing pass either.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn seal(&mut self, port: &str) -> Result<(), LinksError> {
        match self.stack.set_up(port, false) {
            Ok(()) | Err(Errno::NXIO) => Ok(()),
            Err(e) => Err(LinksError::io(format!("take {port} down"), e)),
        }
    }

    /// Brings up the port of a slot that has an owner, with rules in force.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn begin(&mut self, counter: u32, pair: &Pair) -> Result<(), LinksError> {
        self.unseal(counter, pair)
    }

    /// Takes the seal off the port of the slot made as the `counter`-th.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn unseal(&mut self, counter: u32, pair: &Pair) -> Result<(), LinksError> {
        open(&self.stack, &port_name(self.tag, counter), pair)
    }

    /// Removes every slot, the instance's interface and log, the claim on forwarding and the instance's directory, with
    /// which the claim on pipes ends.
    ///
    /// # Errors
    /// The first [`LinksError`], after everything was tried.
    pub fn purge(mut self, site: Site, uplink: &Uplink) -> Result<(), LinksError> {
        let slots = self.remove_slots();
        let own = self.stack.destroy(&uplink.host_name);
        let own = own.map_err(|e| LinksError::io(format!("remove {}", uplink.host_name), e));
        let mut logs = Ok(());
        for number in self.logs()? {
            let gone = self.stack.destroy(&format!("pflog{number}"));
            logs = logs.and(gone.map_err(|e| LinksError::io(format!("remove pflog{number}"), e)));
        }
        let forwarding = forwarding::release(&site);
        site.remove();
        slots.and(own).and(logs).and(forwarding)
    }

    fn remove_slots(&mut self) -> Result<(), LinksError> {
        let mut maker = Maker::new(self)?;
        let mut all = Ok(());
        for port in self.ports()? {
            all = all.and(maker.remove(&port.name));
        }
        all
    }
}

/// Removes what a netd that was killed had begun to make: it bears the instance's description, and neither a name nor a group
/// of its.
fn remove_half_made(uplink: &Uplink, links: &mut Links, stack: &Stack) -> Result<(), LinksError> {
    let at = |what: &'static str| move |e| LinksError::io(what, e);
    let tag = uplink.tag;
    let all = links.described(&description(tag));
    let logs = stack.members(&log_group(tag)).map_err(at("list logs"))?;
    for name in all.map_err(at("list interfaces"))? {
        let known = name == uplink.host_name || port_counter(tag, &name).is_some();
        if !known && !logs.contains(&name) {
            stack
                .destroy(&name)
                .map_err(at("remove what is half made"))?;
        }
    }
    Ok(())
}
