//! Interfaces: every one of Warder's has the description `warder TAG` from the call that makes it, and soon one of its names:
//! `wuTAG`, `sTAG` with up to six digits to the base of 36, or that of a log in the group `wTAGl` (netd/links).

use super::super::checks::Check;
use super::super::freebsd::Ask;
use super::{Found, OVER, tagged, unlisted};

const NAME: &str = "interfaces of Warder";
/// Pairs that a host can have, by their numbers: `IF_MAXUNIT` of net/if.h and one. Each slot of a sandbox is one.
const MOST_PAIRS: usize = 0x8000;
/// With fewer left it is said.
const FEW: usize = 1024;

/// Looks; `runs` says whether there is a server.
pub(super) fn look(runs: bool, ask: Ask<'_>) -> Check {
    let Some(listing) = ask("/sbin/ifconfig", &["-a"]) else {
        return unlisted(NAME, "ifconfig");
    };
    let (mut foreign, mut half, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut pairs = 0;
    for interface in read(&listing) {
        pairs += usize::from(interface.groups.contains(&"epair"));
        match (interface.owner(), tag_in(interface.name)) {
            (None, Some(_)) => foreign.push(interface.name),
            (None, None) => {}
            (Some(owner), named) if named == Some(owner) || interface.is_log(owner) => {
                whole.push(interface.name);
            }
            (Some(_), _) => half.push(interface.name),
        }
    }
    let mut found = Found::default();
    if pairs + FEW > MOST_PAIRS {
        found.wrong.push((
            format!("{pairs} ends of pairs are there, of which a host can have {MOST_PAIRS}: no slot is made without one"),
            "ifconfig -g epair lists them: destroy those that nobody uses".to_owned(),
        ));
    }
    found.add(
        "of somebody else's, under names of Warder's",
        &foreign,
        format!(
            "give them other names (ifconfig {} name NEW): no slot is made by a name that is taken",
            foreign.first().copied().unwrap_or_default()
        ),
    );
    // One that a server is making looks the same.
    if !runs {
        found.add("half made by a server that was killed", &half, OVER);
        found.add("no server runs, and there are", &whole, OVER);
    }
    found.check(NAME)
}

#[derive(Debug)]
struct Interface<'a> {
    name: &'a str,
    description: Option<&'a str>,
    groups: Vec<&'a str>,
}

/// What ifconfig(8) prints: a line that begins with a name, and indented ones.
fn read(listing: &str) -> Vec<Interface<'_>> {
    let mut all: Vec<Interface<'_>> = Vec::new();
    for line in listing.lines() {
        if let Some(line) = line.strip_prefix('\t') {
            let Some(last) = all.last_mut() else {
                continue;
            };
            if let Some(text) = line.strip_prefix("description: ") {
                last.description = Some(text);
            } else if let Some(groups) = line.strip_prefix("groups:") {
                last.groups = groups.split_whitespace().collect();
            }
        } else if let Some((name, _)) = line.split_once(": flags=") {
            all.push(Interface {
                name,
                description: None,
                groups: Vec::new(),
            });
        }
    }
    all
}

impl<'a> Interface<'a> {
    /// The instance that its description names.
    fn owner(&self) -> Option<&'a str> {
        match tagged(self.description?.strip_prefix("warder ")?)? {
            (tag, "") => Some(tag),
            _ => None,
        }
    }

    fn is_log(&self, owner: &str) -> bool {
        let group = format!("w{owner}l");
        self.name.starts_with("pflog") && self.groups.contains(&group.as_str())
    }
}

/// The instance that such a name says.
fn tag_in(name: &str) -> Option<&str> {
    if let Some((tag, "")) = name.strip_prefix("wu").and_then(tagged) {
        return Some(tag);
    }
    let (tag, counter) = tagged(name.strip_prefix('s')?)?;
    let digit = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    ((1..=6).contains(&counter.len()) && counter.bytes().all(digit)).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n\
        \tdescription: warder of the house\n\
        \toptions=4e504bb<RXCSUM,TXCSUM>\n\
        \tinet 10.0.0.5 netmask 0xffffff00 broadcast 10.0.0.255\n\
        epair3a: flags=1008842<BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n\
        \tgroups: epair\n";
    const WHOLE: &str = "wue40c292c: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384\n\
        \tdescription: warder e40c292c\n\
        \tgroups: lo\n\
        pflog101: flags=1000141<UP,RUNNING,PROMISC,LOWER_UP> metric 0 mtu 33152\n\
        \tdescription: warder e40c292c\n\
        \toptions=0\n\
        \tgroups: pflog we40c292cl\n\
        se40c292c7: flags=1008842<BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n\
        \tdescription: warder e40c292c\n\
        \tgroups: epair warder we40c292cs\n";
    const HALF: &str = "epair4a: flags=1008842<BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
        \tdescription: warder e40c292c\n\
        \tgroups: epair\n";
    const FOREIGN: &str = "se40c292cz1: flags=1008842<BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
        \tgroups: bridge\n";

    fn doctor(runs: bool, listing: &str) -> Check {
        look(runs, &|program, arguments| {
            assert_eq!((program, arguments), ("/sbin/ifconfig", &["-a"][..]));
            Some(listing.to_owned())
        })
    }

    #[test]
    fn interfaces_of_a_server_are_left_only_without_it() {
        assert!(doctor(false, HOST).present);
        let listing = format!("{HOST}{WHOLE}{HALF}");
        assert!(doctor(true, &listing).present, "one may be being made");
        let check = doctor(false, &listing);
        assert!(!check.present, "{check:?}");
        assert_eq!(
            check.finding,
            "half made by a server that was killed: epair4a; no server runs, and there are: wue40c292c, pflog101, se40c292c7"
        );
        assert_eq!(check.fix, OVER, "once");
    }

    #[test]
    fn pairs_that_run_out_are_said() {
        let pair =
            |n: usize| format!("epair{n}a: flags=1008842<UP> metric 0 mtu 1500\n\tgroups: epair\n");
        let enough: String = (0..MOST_PAIRS - FEW).map(pair).collect();
        assert!(doctor(true, &enough).present);
        let check = doctor(true, &format!("{enough}{}", pair(MOST_PAIRS)));
        assert!(!check.present, "{check:?}");
        assert!(
            check.finding.starts_with("31745 ends of pairs"),
            "{check:?}"
        );
    }

    #[test]
    fn a_foreign_interface_of_such_a_name_is_named() {
        for runs in [true, false] {
            let check = doctor(runs, &format!("{HOST}{FOREIGN}"));
            assert!(!check.present, "{check:?}");
            assert!(check.finding.ends_with(": se40c292cz1"), "{check:?}");
            assert!(check.fix.contains("ifconfig se40c292cz1 name"), "{check:?}");
        }
    }

    #[test]
    fn names_are_those_that_netd_gives() {
        for name in ["wue40c292c", "se40c292c0", "se40c292czzzzzz"] {
            assert_eq!(tag_in(name), Some("e40c292c"), "{name}");
        }
        for name in [
            "em0",
            "se40c292c",
            "se40c292c0000000",
            "se40c292cA",
            "we40c292c",
            "wue40c292c1",
        ] {
            assert_eq!(tag_in(name), None, "{name}");
        }
    }
}
