//! Jails: `wTAG-COUNTER` is a slot's, with its own name as the host's name in it; below it the cell's, called as its sandbox;
//! `warder-TAG-unpack-…` is one that an archive is unpacked in.

use super::super::checks::Check;
use super::super::freebsd::Ask;
use super::{Found, OVER, tagged, unlisted};

const NAME: &str = "jails of Warder";

/// Looks; `runs` says whether there is a server.
pub(super) fn look(runs: bool, ask: Ask<'_>) -> Check {
    // The host's name is last: it may have spaces in it.
    let columns = ["-d", "jid", "name", "dying", "host.hostname"];
    let Some(listing) = ask("/usr/sbin/jls", &columns) else {
        return unlisted(NAME, "jls");
    };
    let jails: Vec<Jail<'_>> = listing.lines().filter_map(Jail::read).collect();
    let (dying, living): (Vec<_>, Vec<_>) = jails.into_iter().partition(|jail| jail.dying);
    let (own, foreign): (Vec<_>, Vec<_>) = living.into_iter().partition(Jail::is_ours);
    let mut found = Found::default();
    let foreign: Vec<&str> = names(&foreign);
    found.add(
        "of somebody else's, under names of Warder's",
        &foreign,
        format!(
            "give them other names (jail.conf(5)), or end them (jail -r {}): no slot is made by a name that is taken",
            foreign.first().copied().unwrap_or_default()
        ),
    );
    // A slot's cell goes with it.
    let slots: Vec<&str> = names(&own)
        .into_iter()
        .filter(|n| !n.contains('.'))
        .collect();
    if !runs {
        found.add("no server runs, and there are", &slots, OVER);
    }
    if let Some(first) = dying.first() {
        let busy = living_in(&dying, ask);
        found.add(
            "dying, with processes that do not end",
            &names(&busy),
            format!(
                "see what they wait for: procstat -kk -a, of those that ps -J {} lists",
                busy.first().map_or(first.jid, |jail| jail.jid)
            ),
        );
        found.note = format!(
            "{} dying, which a closed connection has them do for a minute: {}",
            dying.len(),
            super::some(&names(&dying))
        );
    }
    found.check(NAME)
}

fn names<'a>(jails: &[Jail<'a>]) -> Vec<&'a str> {
    jails.iter().map(|jail| jail.name).collect()
}

/// Those that have processes which have not ended.
fn living_in<'a>(jails: &[Jail<'a>], ask: Ask<'_>) -> Vec<Jail<'a>> {
    let listing = ask("/bin/ps", &["-ax", "-o", "jid=", "-o", "stat="]).unwrap_or_default();
    let live = |line: &str| {
        let (jid, state) = line.trim().split_once(char::is_whitespace)?;
        (!state.trim().starts_with('Z')).then(|| jid.to_owned())
    };
    let numbers: Vec<String> = listing.lines().filter_map(live).collect();
    let busy = |jail: &&Jail<'_>| numbers.iter().any(|number| number == jail.jid);
    jails.iter().filter(busy).copied().collect()
}

#[derive(Clone, Copy, Debug)]
struct Jail<'a> {
    jid: &'a str,
    name: &'a str,
    dying: bool,
    hostname: &'a str,
}

impl<'a> Jail<'a> {
    /// A line of jls(8), if its name is one that Warder gives.
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let jail = Self {
            jid: words.next()?,
            name: words.next()?,
            dying: words.next()? == "true",
            hostname: words.next()?,
        };
        jail.expected().map(|_| jail)
    }

    /// What the host is called in it if it is Warder's; none if its name is not.
    fn expected(&self) -> Option<&'a str> {
        let unpacks =
            |rest: &str| tagged(rest).is_some_and(|(_, rest)| rest.starts_with("-unpack-"));
        if self.name.strip_prefix("warder-").is_some_and(unpacks) {
            return Some("unpack");
        }
        let (slot, cell) = match self.name.split_once('.') {
            Some((slot, cell)) => (slot, Some(cell)),
            None => (self.name, None),
        };
        let (_, counter) = tagged(slot.strip_prefix('w')?)?;
        let counter = counter.strip_prefix('-')?;
        let number = !counter.is_empty() && counter.bytes().all(|b| b.is_ascii_digit());
        number.then_some(cell.unwrap_or(slot))
    }

    fn is_ours(&self) -> bool {
        self.expected() == Some(self.hostname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "8 we40c292c-7.iabcdefghij0123456789 false iabcdefghij0123456789\n";
    const SLOT: &str = "7 we40c292c-7 false we40c292c-7\n";
    const OTHERS: &str = "1 www false www.example.org\n2 we40c292c false we40c292c\n3 w-7 true \n";

    fn doctor(runs: bool, listing: &str, processes: &str) -> Check {
        look(runs, &|program, arguments| {
            let said = match (program, arguments.join(" ").as_str()) {
                ("/usr/sbin/jls", "-d jid name dying host.hostname") => listing,
                ("/bin/ps", "-ax -o jid= -o stat=") => processes,
                other => panic!("{other:?}"),
            };
            Some(said.to_owned())
        })
    }

    #[test]
    fn jails_of_a_server_are_left_only_without_it() {
        let listing = format!("{OTHERS}{SLOT}{CELL}");
        let check = doctor(true, &listing, "");
        assert!(check.present && check.finding.is_empty(), "{check:?}");
        let check = doctor(false, &listing, "");
        assert!(!check.present, "{check:?}");
        assert_eq!(check.finding, "no server runs, and there are: we40c292c-7");
        assert!(check.fix.contains("service warder purge"), "{check:?}");
    }

    #[test]
    fn a_foreign_jail_of_such_a_name_is_named() {
        for (line, name) in [
            ("9 we40c292c-12 false www.example.org", "we40c292c-12"),
            ("9 we40c292c-7.www false a host", "we40c292c-7.www"),
            (
                "9 warder-e40c292c-unpack-py-812 false mine",
                "warder-e40c292c-unpack-py-812",
            ),
        ] {
            let check = doctor(true, &format!("{OTHERS}{line}\n{SLOT}"), "");
            assert!(!check.present, "{check:?}");
            let said = format!("of somebody else's, under names of Warder's: {name}");
            assert_eq!(check.finding, said);
            assert!(check.fix.contains(&format!("jail -r {name}")), "{check:?}");
        }
    }

    #[test]
    fn dying_ones_are_told_and_wrong_only_with_processes() {
        let listing = format!("{SLOT}9 we40c292c-5 true we40c292c-5\n");
        for processes in ["    0 DLs\n    7 SsJ\n", "    9 ZJ\n"] {
            let check = doctor(true, &listing, processes);
            assert!(check.present, "{check:?}");
            assert!(check.finding.starts_with("1 dying, "), "{check:?}");
            assert!(check.finding.ends_with(": we40c292c-5"), "{check:?}");
        }
        let check = doctor(true, &listing, "    0 DLs\n    9 DEJ\n");
        assert!(!check.present, "{check:?}");
        let said = "dying, with processes that do not end: we40c292c-5";
        assert_eq!(check.finding, said);
        assert!(check.fix.contains("ps -J 9"), "{check:?}");
    }
}
