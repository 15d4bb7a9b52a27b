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
