//! FreeBSD: the servers in a VNET jail of their own, an epair(4) between it and the host (jail(8), ifconfig(8), route(8)).
//!
//! Sandboxes leave a host by the interface of its default route and by no other, so for the time of the run that is the
//! pair. A host that has a default route already keeps it unless it is said that it may be taken: then the old one comes
//! back at the end, and whoever is logged in from afar keeps a route of his own meanwhile.

use std::net::Ipv4Addr;

use super::{HOST, Line, ROUTER, World, line, run};

/// A jail by its name, and what the host's default route was.
#[derive(Debug)]
pub(super) struct Jail {
    name: String,
    old: Option<Ipv4Addr>,
    /// Who must still be reached by it.
    client: Option<Ipv4Addr>,
}

impl Jail {
    pub(super) fn new(number: u32, may_take: bool) -> Result<Self, String> {
        let said = run(&line("route -n get default")).ok();
        let old = said.as_deref().map(gateway);
        let old = match old {
            None => None,
            Some(_) if !may_take => {
                return Err(
                    "this host has a default route, and sandboxes leave by that; --take-default-route has it replaced \
                     for the time of the run"
                        .to_owned(),
                );
            }
            Some(None) => return Err("the default route has no gateway to come back to".to_owned()),
            Some(Some(old)) => Some(old),
        };
        // sshd(8): "SSH_CONNECTION: client IP address, client port number, …".
        let from = std::env::var("SSH_CONNECTION").unwrap_or_default();
        Ok(Self {
            name: format!("warder_world_{number}"),
            client: from
                .split(' ')
                .next()
                .and_then(|a| a.parse().ok())
                .filter(|_| old.is_some()),
            old,
        })
    }
}

/// The gateway in what route(8) says of a route.
fn gateway(said: &str) -> Option<Ipv4Addr> {
    let mut lines = said.lines().map(str::trim);
    lines
        .find_map(|l| l.strip_prefix("gateway:"))?
        .trim()
        .parse()
        .ok()
}

impl World for Jail {
    /// Ranges that no network uses: the host's own private networks are nobody's to play.
    fn denied(&self) -> Vec<Ipv4Addr> {
        vec![
            Ipv4Addr::new(192, 0, 0, 9),
            Ipv4Addr::new(198, 18, 0, 9),
            Ipv4Addr::new(100, 127, 255, 9),
        ]
    }

    fn before(&self) -> Vec<Line> {
        vec![
            line(&format!(
                "jail -c name={} path=/ vnet=new persist",
                self.name
            )),
            line("ifconfig epair create"),
        ]
    }

    fn servers(&self) -> Line {
        line(&format!("jexec {}", self.name))
    }

    fn host(&self) -> Vec<Line> {
        let name = &self.name;
        let mut lines = vec![
            line(&format!("ifconfig @pairb vnet {name}")),
            line(&format!("ifconfig @paira inet {HOST}/24 up")),
            line(&format!("jexec {name} ifconfig @pairb inet {ROUTER}/24 up")),
        ];
        if let Some(old) = self.old {
            if let Some(client) = self.client {
                lines.push(line(&format!("route -q add -host {client} {old}")));
            }
            lines.push(line(&format!("route -q delete default {old}")));
        }
        lines.push(line(&format!("route -q add default {ROUTER}")));
        lines
    }

    fn beside(&self, addresses: &[Ipv4Addr]) -> Vec<Line> {
        let name = &self.name;
        let mut lines = vec![line(&format!(
            "jexec {name} ifconfig lo0 inet 127.0.0.1/8 up"
        ))];
        let alias = |a: &Ipv4Addr| line(&format!("jexec {name} ifconfig lo0 inet {a}/32 alias"));
        lines.extend(addresses.iter().map(alias));
        // A packet with an inner address would be answered, if one came.
        for inner in ["10.128.0.0/9", "198.19.0.0/16"] {
            lines.push(line(&format!(
                "jexec {name} route -q add -net {inner} {HOST}"
            )));
        }
        lines
    }

    fn undo(&self) -> Vec<Line> {
        // By its gateway: a default route that is not ours stays.
        let mut lines = vec![line(&format!("route -q delete default {ROUTER}"))];
        if let Some(old) = self.old {
            lines.push(line(&format!("route -q add default {old}")));
            if let Some(client) = self.client {
                lines.push(line(&format!("route -q delete -host {client} {old}")));
            }
        }
        // The pair goes before the jail: destroying an epair inside a dying vnet is slow.
        lines.push(line("ifconfig @paira destroy"));
        lines.push(line(&format!("jail -r {}", self.name)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALPHA;
    use super::*;

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|l| l.join(" ")).collect()
    }

    #[test]
    fn what_is_made_is_undone() {
        let old = Ipv4Addr::new(10, 0, 0, 1);
        let jail = Jail {
            name: "warder_world_7".to_owned(),
            old: Some(old),
            client: Some(Ipv4Addr::new(192, 168, 5, 5)),
        };
        assert_eq!(
            text(&jail.host()),
            [
                "ifconfig @pairb vnet warder_world_7",
                "ifconfig @paira inet 203.0.113.2/24 up",
                "jexec warder_world_7 ifconfig @pairb inet 203.0.113.1/24 up",
                "route -q add -host 192.168.5.5 10.0.0.1",
                "route -q delete default 10.0.0.1",
                "route -q add default 203.0.113.1",
            ]
        );
        assert_eq!(
            text(&jail.undo()),
            [
                "route -q delete default 203.0.113.1",
                "route -q add default 10.0.0.1",
                "route -q delete -host 192.168.5.5 10.0.0.1",
                "ifconfig @paira destroy",
                "jail -r warder_world_7",
            ]
        );
        let beside = text(&jail.beside(&[ALPHA]));
        assert!(
            beside
                .contains(&"jexec warder_world_7 ifconfig lo0 inet 192.0.2.10/32 alias".to_owned())
        );
    }

    #[test]
    fn a_gateway_is_read() {
        let said = "   route to: default\ndestination: default\n       mask: default\n    gateway: 10.0.2.2\n        fib: 0\n  interface: vtnet0\n";
        assert_eq!(gateway(said), Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(gateway("  interface: tun0\n"), None);
    }
}
