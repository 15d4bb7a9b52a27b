//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses some of it")]

use std::net::Ipv4Addr;

use warder_desired::{Egress, IfName, Judged, Port, Range, Ranges, Sandbox};
use warder_wire::{Bounds, InstanceTag};

pub(crate) fn tag() -> InstanceTag {
    InstanceTag::of_state_dir(b"a")
}

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).expect("short")
}

pub(crate) fn uplink() -> IfName {
    name("uplink")
}

pub(crate) fn port(n: u32) -> Port {
    let address = Ipv4Addr::from(0x0ac8_0001 + 2 * n);
    let [a, b, c, d] = address.octets();
    Port {
        name: name(&format!("s{n}")),
        address,
        mac: [2, 1, a, b, c, d],
        mark: n + 1,
    }
}

pub(crate) fn ranges(all: &[(&str, &str)]) -> Ranges {
    let address = |text: &str| -> Ipv4Addr { text.parse().expect("an address") };
    let range = |(a, b): &(&str, &str)| Range::new(address(a), address(b));
    all.iter().map(range).collect()
}

pub(crate) fn sandbox(n: u32, egress: Egress) -> Sandbox {
    Sandbox {
        port: port(n),
        egress,
        bounds: Bounds::DEFAULT,
    }
}

pub(crate) fn open(n: u32) -> Sandbox {
    sandbox(n, Egress::Judged(Judged::default()))
}

pub(crate) fn shut(n: u32) -> Sandbox {
    sandbox(n, Egress::Closed)
}

/// All denied but one address, names in use.
pub(crate) fn named(n: u32) -> Sandbox {
    let denied = ranges(&[
        ("0.0.0.0", "203.0.113.6"),
        ("203.0.113.8", "255.255.255.255"),
    ]);
    let judged = Judged {
        denied,
        names: true,
        proxy: false,
    };
    sandbox(n, Egress::Judged(judged))
}

/// Some denied, all TCP through a proxy.
pub(crate) fn proxied(n: u32) -> Sandbox {
    let judged = Judged {
        denied: ranges(&[("198.51.100.0", "198.51.100.255")]),
        names: false,
        proxy: true,
    };
    sandbox(n, Egress::Judged(judged))
}
