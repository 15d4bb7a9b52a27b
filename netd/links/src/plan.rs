//! Names and numbers, computed and never looked up. Pure.

use std::net::Ipv4Addr;

use warder_wire::InstanceTag;

use crate::LinksError;

/// Where uplinks live: the upper half of the range for benchmarks of network devices (RFC 2544), which no
/// network announces and no policy opens. Two addresses for each instance.
pub const UPLINKS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
/// Instances that fit.
pub const INSTANCES: u16 = 32_768;
/// Name of the uplink in the router's namespace.
pub const UPLINK: &str = "uplink";
/// Interface number of the uplink in the router's namespace, and of `eth0` in a slot's.
pub const FIRST_INDEX: u32 = 2;
/// Name of a slot's interface inside.
pub const INSIDE: &str = "eth0";
/// Bit of packets' marks that leads them to sockets of the router's namespace, whatever address they are for.
pub const TO_SOCKETS: u32 = 1 << 25;
/// Added to a slot's counter, its interface's number in the router's namespace.
const INDEX_BASE: u32 = 64;

/// The pair that joins the router to the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uplink {
    /// The instance.
    pub tag: InstanceTag,
    /// Name of the host's end.
    pub host_name: String,
    /// The host's address, the router's next hop.
    pub host: Ipv4Addr,
    /// The router's address, the only one of the instance that the host ever sees.
    pub router: Ipv4Addr,
}

impl Uplink {
    /// The uplink of instance number `instance`.
    ///
    /// # Errors
    /// [`LinksError::Instance`] from number [`INSTANCES`] on.
    pub fn new(tag: InstanceTag, instance: u16) -> Result<Self, LinksError> {
        if instance >= INSTANCES {
            return Err(LinksError::Instance(instance));
        }
        let first = u32::from(UPLINKS) + 2 * u32::from(instance);
        Ok(Self {
            tag,
            host_name: format!("wu{tag}"),
            host: Ipv4Addr::from(first),
            router: Ipv4Addr::from(first + 1),
        })
    }

    /// MAC of the host's end.
    #[must_use]
    pub fn host_mac(&self) -> [u8; 6] {
        mac(self.host, 0)
    }

    /// MAC of the router's end.
    #[must_use]
    pub fn router_mac(&self) -> [u8; 6] {
        mac(self.router, 0)
    }
}

/// The pair of one slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The router's address, the sandbox's next hop.
    pub gateway: Ipv4Addr,
    /// The sandbox's address.
    pub address: Ipv4Addr,
}

impl Pair {
    /// The pair of slot `index` in the block that begins at `block`; `None` past the last address.
    #[must_use]
    pub fn new(block: Ipv4Addr, index: u32) -> Option<Self> {
        let first = u32::from(block).checked_add(index.checked_mul(2)?)?;
        Some(Self {
            gateway: Ipv4Addr::from(first),
            address: Ipv4Addr::from(first.checked_add(1)?),
        })
    }

    /// MAC of the router's end.
    #[must_use]
    pub fn gateway_mac(&self) -> [u8; 6] {
        mac(self.gateway, 1)
    }

    /// MAC of the sandbox's end.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        mac(self.address, 1)
    }
}

/// Locally administered, unicast, the address in its last four bytes.
fn mac(address: Ipv4Addr, kind: u8) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, kind, a, b, c, d]
}

/// The interface of the slot made as the `counter`-th, in the router's namespace. Counters are never used
/// twice: the name of a pair that was removed stays taken for a while.
#[must_use]
pub fn port_name(counter: u32) -> String {
    format!("s{counter}")
}

/// The same where all instances share one network, so that names bear the instance's tag: it, and the counter to the
/// base of 36 in at most six digits, since a name has 15 bytes. `None` past the last of those, two thousand million.
#[must_use]
pub fn tagged_name(tag: InstanceTag, counter: u32) -> Option<String> {
    const BASE: u32 = 36;
    let mut digits = Vec::new();
    let mut left = counter;
    while left > 0 || digits.is_empty() {
        digits.push(char::from_digit(left % BASE, BASE)?);
        left /= BASE;
    }
    let counter: String = digits.iter().rev().collect();
    (counter.len() <= 6).then(|| format!("s{tag}{counter}"))
}

/// The interface group that holds the host's ends of all pairs of an instance where all share one network. The name of
/// a group cannot end in a digit (ifconfig(8), `group`); no port is called so, by its first letter.
#[must_use]
pub fn port_group(tag: InstanceTag) -> String {
    format!("w{tag}s")
}

/// The interface group of an instance's log of refused packets.
#[must_use]
pub fn log_group(tag: InstanceTag) -> String {
    format!("w{tag}l")
}

/// The description of every interface of an instance where all share one network (ifconfig(8), `description`).
#[must_use]
pub fn description(tag: InstanceTag) -> String {
    format!("warder {tag}")
}

/// What such a log may be called by: behind the host's own, and what a rule can name.
pub const LOGS: std::ops::RangeInclusive<u16> = 101..=250;

/// The interface group of all such ends, of whatever instance: the host's own rules block what no instance's rules speak of.
pub const PORTS: &str = "warder";

/// The counter in such a name, if it is of that instance.
#[must_use]
pub fn tagged_counter(tag: InstanceTag, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(&format!("s{tag}"))?;
    let counter = u32::from_str_radix(digits, 36).ok()?;
    // One name for each: no sign, no zeros in front, no capitals.
    (tagged_name(tag, counter).as_deref() == Some(name)).then_some(counter)
}

/// The counter in a port's name.
#[must_use]
pub fn port_counter(name: &str) -> Option<u32> {
    name.strip_prefix('s')?.parse().ok()
}

/// The interface's number; `None` past the kernel's last.
#[must_use]
pub fn port_index(counter: u32) -> Option<u32> {
    let index = counter.checked_add(INDEX_BASE)?;
    i32::try_from(index).is_ok().then_some(index)
}

/// What a slot is made from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotSpec {
    /// Its pair.
    pub pair: Pair,
    /// Its counter.
    pub counter: u32,
    /// First and last group that may send pings.
    pub ping_groups: (u32, u32),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uplinks_are_pairs_of_the_benchmark_range() {
        let tag = InstanceTag::of_state_dir(b"a");
        let last = Uplink::new(tag, INSTANCES - 1).expect("fits");
        assert_eq!(last.router, Ipv4Addr::new(198, 19, 255, 255));
        assert_eq!(last.host_name, "wue40c292c");
        assert!(last.host_name.len() <= 15);
        assert!(Uplink::new(tag, INSTANCES).is_err());
    }

    #[test]
    fn a_block_that_runs_over_has_no_pair() {
        let block = Ipv4Addr::new(255, 255, 255, 252);
        assert!(Pair::new(block, 1).is_some());
        assert!(Pair::new(block, 2).is_none());
        assert!(Pair::new(block, u32::MAX).is_none());
    }

    #[test]
    fn a_name_is_of_one_instance_and_one_counter() {
        let tag = InstanceTag::of_state_dir(b"a");
        assert_eq!(tagged_name(tag, 0).as_deref(), Some("se40c292c0"));
        assert_eq!(tagged_name(tag, 35).as_deref(), Some("se40c292cz"));
        assert_eq!(
            tagged_name(tag, 36_u32.pow(6) - 1).map(|n| n.len()),
            Some(15)
        );
        assert_eq!(tagged_name(tag, 36_u32.pow(6)), None);
        for other in [
            "se40c292c",
            "se40c292c00",
            "se40c292c+1",
            "se40c292cA",
            "epair0a",
            "we40c292cs",
        ] {
            assert_eq!(tagged_counter(tag, other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn slots_share_nothing(block in any::<u32>(), a in 0_u32..100_000, b in 0_u32..100_000) {
            prop_assume!(a != b);
            let block = Ipv4Addr::from(block);
            if let (Some(a), Some(b)) = (Pair::new(block, a), Pair::new(block, b)) {
                let all = [a.gateway, a.address, b.gateway, b.address];
                let mut unique = all.to_vec();
                unique.sort_unstable();
                unique.dedup();
                prop_assert_eq!(unique.len(), 4);
                prop_assert_ne!(a.mac(), b.mac());
            }
        }

        #[test]
        fn tagged_names_are_read_back(counter in 0..36_u32.pow(6)) {
            let (own, other) = (InstanceTag::of_state_dir(b"a"), InstanceTag::of_state_dir(b"b"));
            let name = tagged_name(own, counter).expect("has digits");
            prop_assert!(name.len() <= 15);
            prop_assert_eq!(tagged_counter(own, &name), Some(counter));
            prop_assert_eq!(tagged_counter(other, &name), None);
        }

        #[test]
        fn port_names_are_read_back(counter in any::<u32>()) {
            let name = port_name(counter);
            prop_assert!(name.len() <= 15);
            prop_assert_eq!(port_counter(&name), Some(counter));
        }
    }
}
