//! Slots of virtual machines: a tap(4), of the kind vmnet, instead of a pair, under the same name and in the same groups, so that every rule
//! that held for the pair holds for it. The machine's process lives in a jail below the slot's and finds no network
//! there: what it reads and writes is the tap's device.

use std::fs;

use rustix::io::Errno;
use warder_freebsd::sys::{Params, jail};
use warder_wire::priv_net::slot_jail;

use super::super::refused::{Step, TAP};
use super::{Maker, find, port_name};
use crate::LinksError;
use crate::plan::{PORTS, SlotSpec, description, port_group};

impl Maker {
    /// Puts a tap in the place of the pair of a slot that is there; its number. It is down, until somebody has looked
    /// whether it may be up. One that is there already stays.
    ///
    /// # Errors
    /// [`LinksError::Missing`]; [`LinksError::Exhausted`]; [`LinksError::Dying`] when the slot is gone;
    /// [`LinksError::Taken`]; [`LinksError::System`]. Then the slot has no port, and nothing passes.
    pub fn tap(&mut self, spec: &SlotSpec) -> Result<u32, LinksError> {
        let port = port_name(self.tag, spec.counter);
        let port = port.as_str();
        if let Some(unit) = unit(port) {
            return Ok(unit);
        }
        let slot = slot_jail(self.tag, spec.counter);
        let jid = find(&slot)?.ok_or_else(|| LinksError::Dying(slot.clone()))?;
        // No jail has what the one around it lacks (jail(8), `allow.*`): the machine's is below this one.
        let allowed = Params::new().int("jid", jid).flag("allow.vmm");
        jail::update(&allowed).map_err(|said| Step::Machine(&slot).refused(said))?;
        let at = |what: &'static str| move |e| LinksError::io(format!("{port}: {what}"), e);
        self.host.destroy(port).map_err(at("remove the pair"))?;
        let made = self.links.create("vmnet", "vmnet", &description(self.tag));
        let made = made.map_err(|errno| TAP.refused(errno))?;
        let mut name = made.as_str();
        let joined = (|| {
            let host = &self.host;
            host.rename(name, port)
                .map_err(|errno| Step::Name(port).refused(errno))?;
            name = port;
            for group in [PORTS, &port_group(self.tag)] {
                host.join(name, group).map_err(at("join a group"))?;
            }
            host.set_mac(name, spec.pair.gateway_mac())
                .map_err(at("set its MAC"))?;
            host.set_mtu(name, self.mtu).map_err(at("set the MTU"))?;
            host.without_inet6(name).map_err(at("switch IPv6 off"))?;
            made.strip_prefix("vmnet")
                .and_then(|unit| unit.parse().ok())
                .ok_or_else(|| LinksError::io(format!("{made} is no tap"), Errno::PROTO))
        })();
        if joined.is_err() {
            let _ = self.host.destroy(name);
        }
        joined
    }
}

/// The device of a tap that nobody has open.
pub(super) fn device(port: &str) -> Option<fs::File> {
    unit(port).and_then(|unit| fs::File::open(format!("/dev/vmnet{unit}")).ok())
}

/// The number of a tap that was given this name: its device is a link to the one it was made with (if_tuntap.c,
/// `tunrename`). A pair has no device.
fn unit(port: &str) -> Option<u32> {
    let device = fs::read_link(format!("/dev/{port}")).ok()?;
    device.to_str()?.strip_prefix("vmnet")?.parse().ok()
}
