//! Packets that the rules in the kernel have refused.

use warder_wire::egress_gateway::Why;
use warder_wire::{Cidr, Policy, Rule};

use crate::world::{LOGGED, alone, id};

#[test]
fn what_the_kernel_refuses_is_told_of_with_the_rule() {
    alone(
        "refused::what_the_kernel_refuses_is_told_of_with_the_rule",
        |world| {
            let network: Cidr = "198.51.100.0/24".parse().expect("a network");
            let denied = Policy {
                deny: vec!["198.51.100.0/28".parse().expect("a network"), network],
                ..Policy::OPEN
            };
            world.put(2, denied);
            world.put(3, Policy::OPEN);
            world.datagram(3, LOGGED, 9);
            world.datagram(2, LOGGED, 4444);
            let refused = world.gateway.refused(|r| r.port == 4444);
            assert_eq!(refused.why, Why::Address(Rule::Deny(network)));
            assert_eq!((refused.sandbox, refused.protocol), (id(2), 17));
            assert_eq!(refused.address, LOGGED);
            world.connecting(2, LOGGED, 22);
            let refused = world.gateway.refused(|r| r.port == 22);
            assert_eq!((refused.protocol, refused.name), (6, None));
            // Sandbox 3 may send there by now, so nothing is said of it.
            let told = format!("{:?}", world.gateway.told());
            assert!(!told.contains(id(3).as_str()), "{told}");
        },
    );
}
