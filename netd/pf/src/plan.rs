//! Argument lists, whole and in order. Pure: whoever runs them has one careful exec (`sys/`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use warder_desired::{Port, Sandbox};

use crate::states::State;
use crate::{PfError, Site};

/// A program of the base system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// pfctl(8).
    Pfctl,
    /// dnctl(8).
    Dnctl,
}

impl Tool {
    /// Where it is.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Pfctl => "/sbin/pfctl",
            Self::Dnctl => "/sbin/dnctl",
        }
    }
}

/// One run of a program. It has worked when it exits with zero.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// The program.
    pub tool: Tool,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads from its standard input.
    pub input: String,
}

impl Command {
    fn new(tool: Tool, args: &[&str]) -> Self {
        Self {
            tool,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            input: String::new(),
        }
    }
}

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
    pub fn command(self) -> Command {
        let args = ["-q", "-o", "none", "-a", &self.anchor, "-f", "-"];
        Command {
            input: self.text,
            ..Command::new(Tool::Pfctl, &args)
        }
    }
}

/// Lists every state with its number (pfctl(8): "its unique state ID (as shown by pfctl -s state -vv)"). Addresses are
/// numbers as long as there is no `-r`.
#[must_use]
pub fn list() -> Command {
    Command::new(Tool::Pfctl, &["-s", "states", "-vv"])
}

/// Ends one state and its counterpart on the other interface (`-M`).
#[must_use]
pub fn end(state: &State) -> Command {
    Command::new(Tool::Pfctl, &["-q", "-M", "-k", "id", "-k", &state.id])
}

/// Ends every state of a sandbox, of both families and directions: those on its interface, those that its rules made,
/// those from its address as it is on the wire, and as it was before NAT, each with its counterpart.
///
/// Not used: `-k 0.0.0.0/0 -k ADDRESS` for states *to* an address, since `pfctl_net_kill_states` of 15 puts the second
/// address in place of the first and ends nothing (states on the interface cover them, and [`list`] shows
/// what is left); `-k gateway`, which compares the address of `route-to`, and no rule here routes.
#[must_use]
pub fn end_all(site: &Site, port: &Port) -> Vec<Command> {
    let (name, address, label) = (
        port.name.as_str(),
        port.address.to_string(),
        site.label(port),
    );
    [
        &["-i", name, "-F", "states"],
        &["-k", "label", "-k", &label],
        &["-k", "nat", "-k", &address],
        &["-k", &address][..],
    ]
    .iter()
    .map(|how| Command::new(Tool::Pfctl, &[&["-q", "-M"][..], how].concat()))
    .collect()
}

/// Bits a second that dnctl can take, which reads them as a C int.
const FASTEST: u64 = i32::MAX as u64;

/// Makes or changes a sandbox's pipes. What is faster than dnctl can say gets the fastest it can.
///
/// # Errors
/// [`PfError::Pipe`].
pub fn pipes(site: &Site, sandbox: &Sandbox) -> Result<[Command; 2], PfError> {
    let (up, down) = site.pipes(&sandbox.port)?;
    let pipe = |number: u16, bytes: u64| {
        let bits = bytes.saturating_mul(8).clamp(1, FASTEST);
        let (number, speed) = (number.to_string(), format!("{bits}bit/s"));
        Command::new(Tool::Dnctl, &["pipe", &number, "config", "bw", &speed])
    };
    let bounds = sandbox.bounds;
    Ok([pipe(up, bounds.upload), pipe(down, bounds.download)])
}

/// Removes a sandbox's pipes. Only after its anchor: what a rule sends into a pipe that is not there is lost.
///
/// # Errors
/// [`PfError::Pipe`].
pub fn no_pipes(site: &Site, port: &Port) -> Result<[Command; 2], PfError> {
    let (up, down) = site.pipes(port)?;
    let gone = |n: u16| Command::new(Tool::Dnctl, &["pipe", "delete", &n.to_string()]);
    Ok([gone(up), gone(down)])
}

/// What `slots` sandboxes need of pf's limits, by name: each an anchor of either kind and a table of up to some
/// thousand networks.
fn needs(slots: u32) -> [(&'static str, u32); 4] {
    let anchors = slots.saturating_add(slots / 32).saturating_add(64);
    [
        ("anchors", anchors),
        ("eth-anchors", anchors),
        ("tables", slots.saturating_add(1000)),
        ("table-entries", slots.saturating_mul(200).max(200_000)),
    ]
}

/// Raises the host's limits that are too low for `slots` sandboxes; `None` when none is. `listing` is what
/// `pfctl -s memory` printed. A limit it does not name does not exist on that system. None is ever lowered.
#[must_use]
pub fn limits(listing: &str, slots: u32) -> Option<Command> {
    // `tables        hard limit     1000`, or `unlimited`.
    let limit = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, number) = (words.next()?.to_owned(), words.next_back()?);
        Some((name, number.parse::<u32>().unwrap_or(u32::MAX)))
    };
    let now: BTreeMap<String, u32> = listing.lines().filter_map(limit).collect();
    let mut input = String::new();
    for (name, need) in needs(slots) {
        if now.get(name).is_some_and(|now| *now < need) {
            let _ = writeln!(input, "set limit {name} {need}");
        }
    }
    // "Merge in explicitly given options without resetting those which are omitted" (pfctl(8), `-m`).
    let args = ["-q", "-m", "-O", "-f", "-"];
    (!input.is_empty()).then(|| Command {
        input,
        ..Command::new(Tool::Pfctl, &args)
    })
}
