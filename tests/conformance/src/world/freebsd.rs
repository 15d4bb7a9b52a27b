//! FreeBSD: the servers in a VNET jail of their own, an epair(4) between it and the host (jail(8), ifconfig(8), route(8)).
//! The host gets routes to what the jail serves, and to nothing else; they go with the jail.

use std::net::Ipv4Addr;

use super::{ALPHA, BETA, DNS, HOST, Line, ROUTER, World, line};

/// A jail by its name.
#[derive(Debug)]
pub(super) struct Jail(String);

impl Jail {
    pub(super) fn new(number: u32) -> Self {
        Self(format!("warder_world_{number}"))
    }

    fn routed(&self) -> Vec<Ipv4Addr> {
        let mut all = vec![ALPHA, BETA, DNS];
        all.extend(self.denied());
        all
    }
}

impl World for Jail {
    /// Ranges that no network uses. The host's own private networks, and the address where clouds keep their metadata, are
    /// left alone: a route would take them from the host for a while.
    fn denied(&self) -> Vec<Ipv4Addr> {
        vec![
            Ipv4Addr::new(192, 0, 0, 9),
            Ipv4Addr::new(198, 18, 0, 9),
            Ipv4Addr::new(100, 127, 255, 9),
        ]
    }

    fn before(&self) -> Vec<Line> {
        vec![
            line(&format!("jail -c name={} path=/ vnet=new persist", self.0)),
            line("ifconfig epair create"),
        ]
    }

    fn servers(&self) -> Line {
        line(&format!("jexec {}", self.0))
    }

    fn host(&self) -> Vec<Line> {
        let name = &self.0;
        let mut lines = vec![
            line(&format!("ifconfig @pairb vnet {name}")),
            line(&format!("ifconfig @paira inet {HOST}/24 up")),
            line(&format!("jexec {name} ifconfig @pairb inet {ROUTER}/24 up")),
        ];
        lines.extend(
            self.routed()
                .iter()
                .map(|a| line(&format!("route -q add -host {a} {ROUTER}"))),
        );
        lines
    }

    fn beside(&self, addresses: &[Ipv4Addr]) -> Vec<Line> {
        let name = &self.0;
        let mut lines = vec![line(&format!(
            "jexec {name} ifconfig lo0 inet 127.0.0.1/8 up"
        ))];
        lines.extend(
            addresses
                .iter()
                .map(|a| line(&format!("jexec {name} ifconfig lo0 inet {a}/32 alias"))),
        );
        for inner in ["10.128.0.0/9", "198.19.0.0/16"] {
            lines.push(line(&format!(
                "jexec {name} route -q add -net {inner} {HOST}"
            )));
        }
        lines
    }

    fn undo(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .routed()
            .iter()
            .map(|a| line(&format!("route -q delete -host {a} {ROUTER}")))
            .collect();
        // The pair goes before the jail: destroying an epair inside a dying vnet is slow.
        lines.push(line("ifconfig @paira destroy"));
        lines.push(line(&format!("jail -r {}", self.0)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_undone() {
        let jail = Jail::new(7);
        let text = |lines: Vec<Line>| lines.iter().map(|l| l.join(" ")).collect::<Vec<_>>();
        let (made, undone) = (text(jail.host()), text(jail.undo()));
        let routes =
            |lines: &[String], word: &str| lines.iter().filter(|l| l.contains(word)).count();
        assert_eq!(
            routes(&made, "route -q add"),
            routes(&undone, "route -q delete")
        );
        assert!(undone.contains(&"jail -r warder_world_7".to_owned()));
        assert!(made.contains(&"ifconfig @pairb vnet warder_world_7".to_owned()));
        assert!(
            text(jail.beside(&[ALPHA]))
                .contains(&"jexec warder_world_7 ifconfig lo0 inet 192.0.2.10/32 alias".to_owned())
        );
    }
}
