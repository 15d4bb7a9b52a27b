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

/// What is wrong with the host's own ruleset, with what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// It does not call the instance's.
    #[error("/etc/pf.conf lacks {}; then `service pf reload`", .0.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", "))]
    Hooks(Vec<&'static str>),
    /// It lets packets pass before the instance's rules see them.
    #[error(
        "/etc/pf.conf has `{0}` in front of `anchor \"warder/*\"`: move it behind, or have it `on` an interface that is none of Warder's; then `service pf reload`"
    )]
    Before(String),
    /// It leaves sandboxes' interfaces out.
    #[error(
        "/etc/pf.conf has `set skip on {0}`, by which sandboxes would pass unfiltered: remove it; then `service pf reload`"
    )]
    Skipped(String),
}

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
const OURS: [&str; 5] = ["epair", "vmnet", "tap", "all", "any"];

/// The first of what [`interfaces`] printed that pf judges no packet of and sandboxes' packets pass: one of `own`, or a
/// kind of interface that theirs are. No rule of ours holds there (pf.conf(5), `set skip on`).
#[must_use]
pub fn skipped<'l>(listing: &'l str, own: &[&str]) -> Option<&'l str> {
    let names = listing.lines().filter_map(|l| l.strip_suffix(" (skip)"));
    names
        .map(str::trim)
        .find(|name| OURS.contains(name) || own.contains(name))
}

/// The host's own rule in what [`rules`] printed that lets packets of sandboxes pass before the instance's rules see
/// them: `quick`, in front of the anchor, and on no interface, on all but one, on one of the instance's `groups`, or on a
/// kind of interface that theirs are.
#[must_use]
pub fn before<'l>(listing: &'l str, groups: &[&str]) -> Option<&'l str> {
    let hook = |line: &&str| line.starts_with("anchor \"warder/*\" ");
    let passes = |line: &&str| {
        let words = line.split_whitespace();
        // What follows is in the words of whoever wrote the rule.
        let words: Vec<&str> = words.take_while(|word| *word != "label").collect();
        if words.first() != Some(&"pass") || !words.contains(&"quick") {
            return false;
        }
        let on = words.iter().position(|word| *word == "on");
        match on.and_then(|at| words.get(at + 1)) {
            // `on ! em0`, as pfctl prints it (pfctl_parser.c, `print_rule`).
            Some(name) => name.starts_with('!') || OURS.contains(name) || groups.contains(name),
            None => true,
        }
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

    // pfctl(8) of FreeBSD 15.1 prints, asked with `-s ether`, `-s nat` and `-s rules`:
    const PRINTED: &str = "ether anchor \"warder/*\" l3 all
nat-anchor \"warder/*\" all
rdr-anchor \"warder/*\" all
anchor \"warder/*\" all
block drop quick on warder all
pass quick on em0 all flags S/SA keep state
";

    #[test]
    fn what_freebsd_prints_is_read() {
        assert_eq!(missing(PRINTED), Vec::<&str>::new());
        let own = ["em0", "we40c292cs"];
        assert_eq!(before(PRINTED, &["we40c292cs", "warder"]), None);
        // Asked with `-v -s Interfaces`, and `-s info`:
        let interfaces =
            "all\nem0\nepair0a\nlo\nlo0\nlo1\npflog\npflog101\nse40c292c0\nwarder\nwe40c292cs\n";
        assert_eq!(skipped(interfaces, &own), None);
        let info = "\
Status: Enabled for 0 days 00:13:05           Debug: Urgent

State Table                          Total             Rate
  current entries                        0               \n";
        assert!(enabled(info));
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
        let groups = ["we40c292cs", "warder"];
        let before = |listing: &str| before(listing, &groups).map(str::to_owned);
        assert_eq!(before(WHOLE), None);
        let early =
            "block drop in quick from <bad> to any\npass quick on lo0 all flags S/SA keep state\n";
        assert_eq!(before(&format!("{early}{WHOLE}")), None);
        let ssh = "pass in quick proto tcp from any to any port = ssh flags S/SA keep state";
        let first = |rule: &str| before(&format!("{early}{rule}\n{WHOLE}"));
        assert_eq!(first(ssh).as_deref(), Some(ssh));
        assert_eq!(before(&format!("{WHOLE}{ssh}\n")), None);
        for (on, passes) in [
            ("epair", true),
            ("vmnet", true),
            ("tap", true),
            ("any", true),
            ("warder", true),
            ("we40c292cs", true),
            ("! em0", true),
            ("! warder", true),
            ("em0", false),
            ("bridge", false),
            // Somebody else's machine.
            ("tap0", false),
        ] {
            for way in ["pass quick", "pass in quick", "pass out log quick"] {
                let rule = format!("{way} on {on} inet all flags S/SA keep state");
                let named = passes.then(|| rule.clone());
                assert_eq!(first(&rule), named, "{rule}");
            }
            let rule = format!("pass in on {on} all flags S/SA keep state");
            assert_eq!(first(&rule), None, "the last that matches decides");
            let rule = format!("pass quick all flags S/SA keep state label \"what is on {on}\"");
            assert_eq!(first(&rule), Some(rule));
            let rule = format!("block drop quick on {on} all");
            assert_eq!(first(&rule), None);
        }
    }

    #[test]
    fn no_interface_of_sandboxes_is_skipped() {
        let own = ["em0", "we40c292cs"];
        let listing = "all\nem0\nepair\nlo\nlo0 (skip)\nwe40c292cs\n";
        assert_eq!(skipped(listing, &own), None);
        for name in ["epair", "vmnet", "tap", "em0", "we40c292cs", "all"] {
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
