//! What the host's own ruleset must say, and whether it does. Pure.

use warder_tool::{Call, Tool};

/// What the host's own ruleset must contain, each line among its kind. Never `quick` on the anchor: in FreeBSD 15.1
/// (pf.c, `pf_match_rule`) such a one ends evaluation with the first anchor below it, whether a rule there matches or not,
/// and the packet passes. All rules of an instance are `quick` themselves. The last line
/// meets sandboxes' packets only while no instance's rules are there, as after `pfctl -F all`: then none passes.
pub const ROOT: &str = "\
set reassemble yes
ether anchor \"warder/*\"
nat-anchor \"warder/*\"
rdr-anchor \"warder/*\"
anchor \"warder/*\"
block drop quick on warder all
";

/// Says whether pf judges packets.
#[must_use]
pub fn info() -> Call {
    Call::new(Tool::Pfctl, ["-s", "info"])
}

/// Whether what [`info`] printed says so: `Status: Enabled for 0 days 00:01:02`.
#[must_use]
pub fn enabled(info: &str) -> bool {
    info.lines().any(|line| line.starts_with("Status: Enabled"))
}

/// Lists the host's own Ethernet rules, translations and rules.
#[must_use]
pub fn rules() -> [Call; 3] {
    ["ether", "nat", "rules"].map(|what| Call::new(Tool::Pfctl, ["-s", what]))
}

/// The lines of [`ROOT`] that what [`rules`] printed has not: a call of the anchors with any condition is none.
#[must_use]
pub fn missing(listing: &str) -> Vec<&'static str> {
    // An option is not listed.
    let hooks = ROOT.lines().filter(|line| !line.starts_with("set "));
    let has = |hook: &&str| {
        let words = hook.split_whitespace().filter(|word| *word != "all");
        let words: Vec<&str> = words.collect();
        let is = |line: &str| {
            // What any packet is prints as: `all`, of a frame `l3 all`.
            let any = |word: &&str| *word == "all" || *word == "l3";
            line.split_whitespace()
                .filter(|w| !any(w))
                .eq(words.iter().copied())
        };
        !listing.lines().any(is)
    };
    hooks.filter(has).collect()
}

/// Lists what `set skip` is said of, among all interfaces and groups that pf knows (pfctl(8), `-v`).
#[must_use]
pub fn interfaces() -> Call {
    Call::new(Tool::Pfctl, ["-v", "-s", "Interfaces"])
}

/// Kinds of interfaces that sandboxes' packets pass, and are groups of them too.
const OURS: [&str; 2] = ["epair", "all"];

/// The first of what [`interfaces`] printed that pf judges no packet of and sandboxes' packets pass: one of `own`, or a
/// kind of interface that theirs are. No rule of ours holds there (pf.conf(5), `set skip on`).
#[must_use]
pub fn skipped<'l>(listing: &'l str, own: &[&str]) -> Option<&'l str> {
    let names = listing.lines().filter_map(|l| l.strip_suffix(" (skip)"));
    names
        .map(str::trim)
        .find(|name| OURS.contains(name) || own.contains(name))
}

/// The host's own rule in what [`rules`] printed that lets packets of any interface pass before the instance's rules see
/// them: `quick`, in front of the anchor, and on no interface.
#[must_use]
pub fn before(listing: &str) -> Option<&str> {
    let hook = |line: &&str| line.starts_with("anchor \"warder/*\" ");
    let passes = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&"pass") && words.contains(&"quick") && !words.contains(&"on")
    };
    listing.lines().take_while(|line| !hook(line)).find(passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As pfctl prints them (print_rule, print_eth_rule), among others of the host.
    const WHOLE: &str = "ether anchor \"warder/*\" l3 all\nnat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin\n\
        nat-anchor \"warder/*\" all\nrdr-anchor \"warder/*\" all\nanchor \"warder/*\" all\nblock drop quick on warder all\npass all flags S/SA keep state\n";

    #[test]
    fn a_whole_ruleset_lacks_nothing() {
        assert_eq!(missing(WHOLE), Vec::<&str>::new());
        assert_eq!(missing(ROOT), Vec::<&str>::new());
    }

    #[test]
    fn what_is_missing_is_named_as_it_should_be_written() {
        assert_eq!(missing("").len(), 5);
        for (wrong, lacks) in [
            ("\nanchor \"warder/*\" all", "anchor \"warder/*\""),
            ("nat-anchor \"warder/*\" all", "nat-anchor \"warder/*\""),
        ] {
            assert_eq!(missing(&WHOLE.replace(wrong, "")), [lacks]);
        }
        // Quick, or not for every packet.
        for almost in [
            "anchor \"warder/*\" quick all",
            "anchor \"warder/*\" in all",
            "anchor \"warder\" all",
        ] {
            let listing = WHOLE.replace("\nanchor \"warder/*\" all", &format!("\n{almost}"));
            assert_eq!(missing(&listing), ["anchor \"warder/*\""], "{almost}");
        }
    }

    #[test]
    fn nothing_passes_before_our_rules() {
        assert_eq!(before(WHOLE), None);
        let early =
            "block drop in quick from <bad> to any\npass quick on lo0 all flags S/SA keep state\n";
        assert_eq!(before(&format!("{early}{WHOLE}")), None);
        let ssh = "pass in quick proto tcp from any to any port = ssh flags S/SA keep state";
        assert_eq!(before(&format!("{early}{ssh}\n{WHOLE}")), Some(ssh));
        assert_eq!(before(&format!("{WHOLE}{ssh}\n")), None);
    }

    #[test]
    fn no_interface_of_sandboxes_is_skipped() {
        let own = ["em0", "we40c292cs"];
        let listing = "all\nem0\nepair\nlo\nlo0 (skip)\nwe40c292cs\n";
        assert_eq!(skipped(listing, &own), None);
        for name in ["epair", "em0", "we40c292cs", "all"] {
            let listing = format!("lo0 (skip)\n{name} (skip)\n");
            assert_eq!(skipped(&listing, &own), Some(name));
        }
    }

    #[test]
    fn pf_is_on_or_it_is_not() {
        assert!(enabled(
            "No ALTQ support in kernel\nStatus: Enabled for 0 days 00:00:05       Debug: Urgent\n"
        ));
        assert!(!enabled(
            "Status: Disabled                                Debug: Urgent\n"
        ));
        assert!(!enabled(""));
    }
}
