//! What Warder needs of the host's packet filter, each with the line of pf.conf(5) that gets it. It finds what netd finds, by
//! the same functions: netd gives no slot while one of them is not right.

use warder_pf::host::{self, Wrong};
use warder_wire::InstanceTag;

use super::checks::{Check, Need};
use super::freebsd::Ask;

/// Everything, for an instance.
pub(super) fn all(tag: InstanceTag, ask: Ask<'_>) -> Vec<Check> {
    let status = ask(PFCTL, &["-v", "-s", "info"]);
    let mut checks = vec![enabled(status.as_deref())];
    let rules = Rules::list(ask);
    checks.extend(HOOKS.map(|hook| hook.look(&rules)));
    checks.push(in_front(tag, &rules));
    checks.push(left_out(tag, ask));
    checks.push(reassembly(status.as_deref(), &rules));
    checks.extend(anchors(ask));
    checks
}

const PFCTL: &str = "/sbin/pfctl";
const UNLISTED: &str = "the rules cannot be listed (needs root)";

/// The host's own rules, each kind as pfctl(8) lists it.
struct Rules {
    kinds: Vec<(String, Option<String>)>,
}

impl Rules {
    fn list(ask: Ask<'_>) -> Self {
        let kinds = host::rules().into_iter().map(|call| {
            let arguments: Vec<&str> = call.args().iter().map(String::as_str).collect();
            let kind = arguments.last().copied().unwrap_or_default().to_owned();
            (kind, ask(PFCTL, &arguments))
        });
        Self {
            kinds: kinds.collect(),
        }
    }

    fn of(&self, wanted: &str) -> Option<&str> {
        let kind = self.kinds.iter().find(|(kind, _)| kind == wanted);
        kind.and_then(|(_, listing)| listing.as_deref())
    }
}

fn enabled(status: Option<&str>) -> Check {
    let present = status.is_some_and(host::enabled);
    Check {
        name: "packet filter enabled",
        need: Need::Required,
        present,
        finding: match (present, status) {
            (true, _) => String::new(),
            (false, Some(text)) => text.lines().next().unwrap_or_default().to_owned(),
            (false, None) => "cannot be asked (needs root, and the module)".to_owned(),
        },
        fix: "rc.conf: pf_enable=\"YES\"; now: service pf start".into(),
    }
}

/// A line of the host's own rules by which Warder's are reached.
#[derive(Clone, Copy)]
struct Hook {
    name: &'static str,
    /// Under which heading pfctl(8) lists it.
    listing: &'static str,
    /// As [`host::ROOT`] has it.
    line: &'static str,
    /// Where in pf.conf(5) it belongs.
    place: &'static str,
}

const PACKETS: &str = "anchor \"warder/*\"";
const HOOKS: [Hook; 5] = [
    Hook {
        name: "hook for frames",
        listing: "ether",
        line: "ether anchor \"warder/*\"",
        place: "before other ether rules",
    },
    Hook {
        name: "hook for translation",
        listing: "nat",
        line: "nat-anchor \"warder/*\"",
        place: "before other nat rules",
    },
    Hook {
        name: "hook for redirection",
        listing: "nat",
        line: "rdr-anchor \"warder/*\"",
        place: "before other rdr rules",
    },
    Hook {
        name: "hook for packets",
        listing: "rules",
        line: PACKETS,
        place: "before other pass and block rules, without quick",
    },
    Hook {
        name: "block behind the hook",
        listing: "rules",
        line: "block drop quick on warder",
        place: "right behind that",
    },
];

impl Hook {
    fn look(self, rules: &Rules) -> Check {
        let listing = rules.of(self.listing);
        let lacks = |text: &str| host::missing(text).iter().any(|line| is(line, self.line));
        let present = listing.is_some_and(|text| !lacks(text));
        Check {
            name: self.name,
            need: Need::Required,
            present,
            finding: match (present, listing) {
                (true, _) => String::new(),
                (false, Some(_)) => "not among the host's rules".to_owned(),
                (false, None) => UNLISTED.to_owned(),
            },
            fix: format!("pf.conf, {}: {}", self.place, self.line).into(),
        }
    }
}

/// `all` is what pfctl(8) prints of a rule for any packet; it may be written, or not.
fn is(line: &str, hook: &str) -> bool {
    line.strip_suffix(" all").unwrap_or(line) == hook
}

/// Rules of the host's own that let packets of sandboxes pass before Warder's see them.
fn in_front(tag: InstanceTag, rules: &Rules) -> Check {
    let group = group(tag);
    let listing = rules.of("rules");
    // Where there is no hook nothing is in front of it.
    let whole = listing.filter(|text| !host::missing(text).contains(&PACKETS));
    let rule = whole.and_then(|text| host::before(text, &[&group, "warder"]));
    Check {
        name: "nothing quick before the hook",
        need: Need::Required,
        present: listing.is_some() && rule.is_none(),
        finding: match (listing, rule) {
            (None, _) => UNLISTED.to_owned(),
            (_, None) => String::new(),
            (_, Some(_)) => "packets of sandboxes pass before Warder's rules see them".to_owned(),
        },
        fix: match rule {
            Some(rule) => Wrong::Before(rule.to_owned()).to_string(),
            None => "run it as root".to_owned(),
        }
        .into(),
    }
}

/// Interfaces that pf judges no packet of.
fn left_out(tag: InstanceTag, ask: Ask<'_>) -> Check {
    let call = host::interfaces();
    let arguments: Vec<&str> = call.args().iter().map(String::as_str).collect();
    let listing = ask(PFCTL, &arguments);
    let group = group(tag);
    let route = ask("/sbin/route", &["-n", "get", "-inet", "default"]);
    let way_out = route.as_deref().and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|line| line.trim().strip_prefix("interface: "))
    });
    let own: Vec<&str> = way_out.into_iter().chain([&*group, "warder"]).collect();
    let name = listing
        .as_deref()
        .and_then(|text| host::skipped(text, &own));
    Check {
        name: "no interface skipped",
        need: Need::Required,
        present: listing.is_some() && name.is_none(),
        finding: match (&listing, name) {
            (None, _) => "interfaces cannot be listed (needs root)".to_owned(),
            (_, None) => String::new(),
            (_, Some(name)) => format!("pf judges no packet on {name}"),
        },
        fix: match name {
            Some(name) => Wrong::Skipped(name.to_owned()).to_string(),
            None => "run it as root".to_owned(),
        }
        .into(),
    }
}

/// Whether fragments are put together, by the option or by a rule: those that are not match no rule of Warder's.
fn reassembly(status: Option<&str>, rules: &Rules) -> Check {
    let scrubs = |line: &str| line.starts_with("scrub ") && line.ends_with(" fragment reassemble");
    let by_rule = rules
        .of("rules")
        .is_some_and(|text| text.lines().any(scrubs));
    let mut lines = status.unwrap_or_default().lines();
    let said = lines.find_map(|line| line.strip_prefix("Reassemble")?.split_whitespace().next());
    Check {
        name: "fragments reassembled",
        need: Need::Useful,
        present: by_rule || said == Some("yes"),
        finding: match said {
            _ if by_rule => "",
            Some("yes") => "",
            Some(_) => "fragments that sandboxes send or are sent are dropped",
            None => "pf does not say (needs root)",
        }
        .to_owned(),
        fix: "pf.conf, at its top: set reassemble yes".into(),
    }
}

/// The group of the instance's interfaces (`Site::group` of netd's packet filter).
fn group(tag: InstanceTag) -> String {
    format!("w{tag}s")
}

/// Anchors that fit: each sandbox takes one of both kinds, each instance some more. 0 stands for no limit.
fn anchors(ask: Ask<'_>) -> [Check; 2] {
    let limits = ask("/sbin/pfctl", &["-s", "memory"]).unwrap_or_default();
    let fit = |name: &'static str, listed: &str, fix: &'static str| {
        let most = limits.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [kind, "hard", "limit", most] if kind == listed => most.parse::<u32>().ok(),
                _ => None,
            }
        });
        Check {
            name,
            need: Need::Useful,
            present: most.is_some_and(|most| most == 0 || most >= 1536),
            finding: match most {
                None => "how many fit is not known".to_owned(),
                Some(0) => String::new(),
                Some(most) => format!("at most {most}, each sandbox needs one"),
            },
            fix: fix.into(),
        }
    };
    [
        fit(
            "anchors",
            "anchors",
            "pf.conf, at its top: set limit anchors 4096",
        ),
        fit(
            "anchors for frames",
            "eth-anchors",
            "pf.conf, at its top: set limit eth-anchors 4096",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        "scrub in on em0 all\nanchor \"warder/*\" all\nblock drop quick on warder all\n";

    /// A host whose filter has everything, with what one question is answered replaced.
    fn lacking(changed: (&str, Option<&str>)) -> Vec<String> {
        let ask = |program: &str, arguments: &[&str]| -> Option<String> {
            let asked = format!("{program} {}", arguments.join(" "));
            if asked == changed.0 {
                return changed.1.map(str::to_owned);
            }
            let said = match asked.as_str() {
                "/sbin/pfctl -v -s info" => {
                    "Status: Enabled for 0 days 00:10:00           Debug: Urgent\n\nSyncookies\n  mode   never\n\
                     Reassemble                      yes \n"
                }
                "/sbin/pfctl -s ether" => "ether anchor \"warder/*\" l3 all\n",
                "/sbin/pfctl -s nat" => {
                    "nat-anchor \"warder/*\" all\nrdr-anchor \"warder/*\" all\n"
                }
                "/sbin/pfctl -s rules" => RULES,
                "/sbin/pfctl -v -s Interfaces" => "all\nem0\nlo\nlo0 (skip)\nwarder\n",
                "/sbin/route -n get -inet default" => {
                    "   route to: 0.0.0.0\ndestination: 0.0.0.0\n    gateway: 10.0.0.1\n  interface: em0\n"
                }
                "/sbin/pfctl -s memory" => {
                    "states        hard limit   100000\nanchors       hard limit     4096\neth-anchors   hard limit        0\n"
                }
                _ => return None,
            };
            Some(said.to_owned())
        };
        let checks = all(InstanceTag::of_state_dir(b"a"), &ask);
        checks.iter().filter_map(Check::advice).collect()
    }

    #[test]
    fn every_line_that_netd_wants_is_looked_for() {
        let wanted = host::missing("");
        assert_eq!(wanted.len(), HOOKS.len());
        for line in wanted {
            let named = HOOKS.iter().any(|hook| is(line, hook.line));
            assert!(named, "{line}");
        }
    }

    #[test]
    fn a_filter_with_everything_lacks_nothing() {
        assert_eq!(lacking(("", None)), [""; 0]);
    }

    #[test]
    fn what_freebsd_prints_is_read() {
        // pfctl(8) and route(8) of FreeBSD 15.1 print:
        let info = "Status: Enabled for 0 days 00:40:57           Debug: Urgent

Hostid:   0x8c85453f
Checksum: 0x3c5d0ecf9b5a9347e9fb65114ff7550b

State Table                          Total             Rate
  current entries                        0               \nSyncookies
  mode                      never
  active                    inactive
Reassemble                      yes \n";
        let rules = "anchor \"warder/*\" all
block drop quick on warder all
pass quick on em0 all flags S/SA keep state
";
        let interfaces = "all\nem0\nepair0a\nlo\nlo0\npflog\npflog0\nwarder\nwe40c292cs\n";
        let memory = "states        hard limit   100000
src-nodes     hard limit    10000
frags         hard limit     5000
table-entries hard limit   200000
anchors       hard limit        0
eth-anchors   hard limit        0
";
        let route = "   route to: 0.0.0.0
destination: 0.0.0.0
       mask: 0.0.0.0
    gateway: 192.0.2.1
        fib: 0
  interface: em0
      flags: <UP,GATEWAY,DONE,STATIC>
 recvpipe  sendpipe  ssthresh  rtt,msec    mtu        weight    expire
       0         0         0         0      1500         1         0 \n";
        let ask = |program: &str, arguments: &[&str]| {
            let said = match format!("{program} {}", arguments.join(" ")).as_str() {
                "/sbin/pfctl -v -s info" => info,
                "/sbin/pfctl -s ether" => "ether anchor \"warder/*\" l3 all\n",
                "/sbin/pfctl -s nat" => {
                    "nat-anchor \"warder/*\" all\nrdr-anchor \"warder/*\" all\n"
                }
                "/sbin/pfctl -s rules" => rules,
                "/sbin/pfctl -v -s Interfaces" => interfaces,
                "/sbin/route -n get -inet default" => route,
                "/sbin/pfctl -s memory" => memory,
                _ => return None,
            };
            Some(said.to_owned())
        };
        for check in all(InstanceTag::of_state_dir(b"a"), &ask) {
            assert!(check.present, "{check:?}");
        }
    }

    #[test]
    fn what_lacks_is_named_with_its_line() {
        let front = format!(
            "pass in quick proto tcp from any to any port = ssh flags S/SA keep state\n{RULES}"
        );
        for (asked, said, line) in [
            (
                "-v -s info",
                "Status: Disabled\nReassemble     yes \n",
                "rc.conf: pf_enable=\"YES\"",
            ),
            (
                "-v -s info",
                "Status: Enabled for 0 days\nReassemble      no \n",
                "set reassemble yes",
            ),
            (
                "-s rules",
                "pass all\nblock drop quick on warder all\n",
                "anchor \"warder/*\"",
            ),
            (
                "-s rules",
                "anchor \"warder/*\" all\n",
                "block drop quick on warder",
            ),
            // Not for every frame.
            (
                "-s ether",
                "ether anchor \"warder/*\" in on em0 l3 all\n",
                "ether anchor \"warder/*\"",
            ),
            ("-s ether", "", "ether anchor \"warder/*\""),
            (
                "-s rules",
                &front,
                "has `pass in quick proto tcp from any to any port = ssh flags S/SA keep state` in front of",
            ),
            ("-v -s Interfaces", "em0 (skip)\n", "`set skip on em0`"),
            (
                "-v -s Interfaces",
                "we40c292cs (skip)\n",
                "`set skip on we40c292cs`",
            ),
            (
                "-v -s Interfaces",
                "epair (skip)\nlo0 (skip)\n",
                "`set skip on epair`",
            ),
            (
                "-s memory",
                "anchors       hard limit      512\neth-anchors   hard limit     4096\n",
                "set limit anchors 4096",
            ),
        ] {
            let lacking = lacking((&format!("/sbin/pfctl {asked}"), Some(said)));
            assert_eq!(lacking.len(), 1, "{asked}: {lacking:?}");
            assert!(lacking[0].contains(line), "{asked}: {lacking:?}");
        }
        // Two of them are listed together.
        assert_eq!(lacking(("/sbin/pfctl -s nat", Some("\n"))).len(), 2);
    }

    #[test]
    fn fragments_may_be_put_together_by_a_rule() {
        let rules = format!("scrub all fragment reassemble\n{RULES}");
        let listing = |text: &str| Rules {
            kinds: vec![("rules".to_owned(), Some(text.to_owned()))],
        };
        assert!(reassembly(Some("Reassemble   no \n"), &listing(&rules)).present);
        assert!(!reassembly(Some("Reassemble   no \n"), &listing(RULES)).present);
    }

    #[test]
    fn who_may_not_ask_is_told_so() {
        for check in all(InstanceTag::of_state_dir(b"a"), &|_, _| None) {
            assert!(!check.present && check.advice().is_some(), "{check:?}");
        }
    }
}
