//! What is run, whole and in order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use warder_desired::{Port, Sandbox};
use warder_tool::{Call, Tool};
use warder_wire::Bounds;

use crate::{PfError, Site};

/// An anchor's rules and tables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Load {
    /// The anchor.
    pub anchor: String,
    /// Its whole text.
    pub text: String,
}

impl Load {
    /// Without any rule, table or child of its own the anchor is gone.
    #[must_use]
    pub fn nothing(anchor: String) -> Self {
        let text = String::new();
        Self { anchor, text }
    }

    /// Puts it in force in one transaction, in place of what the anchor had; on an error that stays as it was. Without
    /// the optimizer, which would join and reorder rules (pfctl(8), `-o`).
    #[must_use]
    pub fn call(self) -> Call {
        let args = ["-q", "-o", "none", "-a", &self.anchor, "-f", "-"];
        Call::new(Tool::Pfctl, args).input(self.text.into_bytes())
    }
}

/// Lists the instance's anchors, those below and below them too, each by its whole path.
#[must_use]
pub fn anchors(site: &Site) -> Call {
    Call::new(Tool::Pfctl, ["-v", "-a", &site.anchor(), "-s", "Anchors"])
}

/// The sandboxes' anchors in what [`anchors`] printed: first those of rules, then those of Ethernet rules, so that one with
/// both is listed twice.
#[must_use]
pub fn sandbox_anchors(site: &Site, listing: &str) -> BTreeSet<String> {
    let own = format!("{}/", site.anchor());
    let anchor = |line: &str| {
        let path = line.trim();
        let below = path.strip_prefix(&own)?;
        (below.split('/').count() == 2).then(|| path.to_owned())
    };
    listing.lines().filter_map(anchor).collect()
}

/// Bits a second that dnctl can take, which reads them as a C int.
const FASTEST: u64 = i32::MAX as u64;

/// Runs several commands of dnctl(8) at once, which reads them from a file as ipfw(8) does. None for none.
fn dnctl(commands: &[String]) -> Option<Call> {
    let text = commands.join("\n") + "\n";
    (!commands.is_empty())
        .then(|| Call::new(Tool::Dnctl, ["-q", "/dev/stdin"]).input(text.into_bytes()))
}

/// Makes or changes a sandbox's pipes. What is faster than dnctl can say gets the fastest it can.
///
/// # Errors
/// [`PfError::Pipe`].
pub fn pipes(site: &Site, sandbox: &Sandbox) -> Result<Option<Call>, PfError> {
    let Some(pipes) = site.pipes(&sandbox.port)? else {
        return Ok(None);
    };
    let pipe = |number: u16, bytes: u64| {
        let bits = bytes.saturating_mul(8).clamp(1, FASTEST);
        format!("pipe {number} config bw {bits}bit/s")
    };
    let Bounds {
        upload, download, ..
    } = sandbox.bounds;
    Ok(dnctl(&[
        pipe(pipes.up, upload),
        pipe(pipes.down, download),
        // Not to slow anything down: states that egressd's sockets make are known by it.
        format!("pipe {} config", pipes.mark),
    ]))
}

/// Removes a sandbox's pipes. Only after its anchor: what a rule sends into a pipe that is not there is lost.
///
/// # Errors
/// [`PfError::Pipe`].
pub fn no_pipes(site: &Site, port: &Port) -> Result<Option<Call>, PfError> {
    let Some(pipes) = site.pipes(port)? else {
        return Ok(None);
    };
    let all = [pipes.up, pipes.down, pipes.mark];
    Ok(dnctl(&all.map(|n| format!("pipe delete {n}"))))
}

/// Lists all pipes.
#[must_use]
pub fn list_pipes() -> Call {
    Call::new(Tool::Dnctl, ["pipe", "list"])
}

/// Removes those of the instance that what [`list_pipes`] printed has; each pipe begins with a line of its number and
/// speed (dnctl(8), SHOW), `01000: unlimited    0 ms burst 0`.
#[must_use]
pub fn no_pipes_of(site: &Site, listing: &str) -> Option<Call> {
    let number = |line: &str| line.split_once(':')?.0.trim().parse::<u16>().ok();
    let own = |n: &u16| site.all_pipes().is_some_and(|all| all.contains(n));
    let own = listing.lines().filter_map(number).filter(own);
    dnctl(&own.map(|n| format!("pipe delete {n}")).collect::<Vec<_>>())
}

/// What `slots` sandboxes need of pf's limits, by name: each an anchor of either kind and two tables of up to some
/// thousand networks.
fn needs(slots: u32) -> [(&'static str, u32); 4] {
    let anchors = slots.saturating_add(slots / 32).saturating_add(64);
    [
        ("anchors", anchors),
        ("eth-anchors", anchors),
        ("tables", slots.saturating_mul(3).saturating_add(1000)),
        ("table-entries", slots.saturating_mul(200).max(200_000)),
    ]
}

/// Lists pf's limits.
#[must_use]
pub fn list_limits() -> Call {
    Call::new(Tool::Pfctl, ["-s", "memory"])
}

/// Raises the host's limits that are too low for `slots` sandboxes; `None` when none is. `listing` is what
/// [`list_limits`] printed. A limit it does not name does not exist on that system. None is ever lowered.
#[must_use]
pub fn limits(listing: &str, slots: u32) -> Option<Call> {
    // `tables        hard limit     1000`, or `unlimited`.
    let limit = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, number) = (words.next()?.to_owned(), words.next_back()?);
        // Zero is none either (uma_zone_set_max(9)): pfctl sets limits of anchors to it that a file does not name.
        let number = number.parse::<u32>().ok().filter(|n| *n > 0);
        Some((name, number.unwrap_or(u32::MAX)))
    };
    let now: BTreeMap<String, u32> = listing.lines().filter_map(limit).collect();
    let mut input = String::new();
    for (name, need) in needs(slots) {
        if now.get(name).is_some_and(|now| *now < need) {
            let _ = writeln!(input, "set limit {name} {need}");
        }
    }
    // "Merge in explicitly given options without resetting those which are omitted" (pfctl(8), `-m`).
    let call = || Call::new(Tool::Pfctl, ["-q", "-m", "-O", "-f", "-"]);
    (!input.is_empty()).then(|| call().input(input.into_bytes()))
}
