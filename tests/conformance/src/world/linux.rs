//! Linux: a network namespace for the host, which `crate::run` has entered, and one for the servers.

use std::net::Ipv4Addr;

use super::{HOST, Line, ROUTER, World, line};

/// Everything goes with the last process of the namespaces.
#[derive(Debug)]
pub(super) struct Namespaces;

impl World for Namespaces {
    fn denied(&self) -> Vec<Ipv4Addr> {
        [
            [10, 9, 9, 9],
            [100, 100, 1, 1],
            [169, 254, 169, 254],
            [172, 20, 1, 1],
            [192, 0, 0, 9],
            [192, 168, 7, 7],
            [198, 18, 0, 9],
        ]
        .map(Ipv4Addr::from)
        .to_vec()
    }

    fn before(&self) -> Vec<Line> {
        vec![line("ip link set lo up")]
    }

    fn servers(&self) -> Line {
        line("unshare --net --")
    }

    fn host(&self) -> Vec<Line> {
        vec![
            line("ip link add eth0 type veth peer name w0 netns @pid"),
            line(&format!("ip addr add {HOST}/24 dev eth0")),
            line("ip link set eth0 up"),
            line(&format!(
                "nsenter --net=/proc/@pid/ns/net ip addr add {ROUTER}/24 dev w0"
            )),
            line("nsenter --net=/proc/@pid/ns/net ip link set w0 up"),
            line(&format!("ip route add default via {ROUTER}")),
        ]
    }

    fn beside(&self, addresses: &[Ipv4Addr]) -> Vec<Line> {
        let inside = "nsenter --net=/proc/@pid/ns/net ip";
        let mut lines = vec![line(&format!("{inside} link set lo up"))];
        lines.extend(
            addresses
                .iter()
                .map(|a| line(&format!("{inside} addr add {a}/32 dev lo"))),
        );
        // A packet with an inner address would be answered, if one came.
        for inner in ["10.128.0.0/9", "198.19.0.0/16"] {
            lines.push(line(&format!("{inside} route add {inner} via {HOST}")));
        }
        lines
    }

    fn undo(&self) -> Vec<Line> {
        Vec::new()
    }
}
