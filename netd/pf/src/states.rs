//! The kernel's states as pfctl prints them, and which of them a sandbox must not have.

use std::net::{IpAddr, SocketAddr};

use warder_desired::{Fate, Packet, Payload, Port, Ranges, Sandbox};

use crate::Site;

/// Which way the packet went that made a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// In by the interface.
    In,
    /// Out by it.
    Out,
}

/// One end of a flow, before and after pf rewrote it. Where a protocol has no ports, the port is zero or an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// As its sender wrote it.
    pub before: SocketAddr,
    /// As it went on.
    pub after: SocketAddr,
}

/// A state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Its number and that of its maker, as `pfctl -k id` takes them.
    pub id: String,
    /// The interface it is bound to, `all` if to none.
    pub interface: String,
    /// The interface it was made on, where that is another.
    pub origin: Option<String>,
    /// The protocol's name, or its number.
    pub protocol: String,
    /// Which way.
    pub way: Way,
    /// Who began.
    pub source: End,
    /// Whom with.
    pub destination: End,
}

/// A line that is not what pfctl prints. Whoever meets it knows nothing of the states and must take the worst.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a listing of states: {0:?}")]
pub struct NotStates(pub String);

/// Reads what `pfctl -s states -vv` prints (pf_print_state.c, `print_state`): a line for each state, then indented
/// lines about it.
///
/// # Errors
/// [`NotStates`] with the first line that cannot be read.
pub fn read(listing: &str) -> Result<Vec<State>, NotStates> {
    let mut states: Vec<State> = Vec::new();
    for line in listing.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || NotStates(line.to_owned());
        if !line.starts_with([' ', '\t']) {
            if states.last().is_some_and(|s| s.id.is_empty()) {
                return Err(wrong());
            }
            states.push(head(line).ok_or_else(wrong)?);
            continue;
        }
        let state = states.last_mut().ok_or_else(wrong)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["id:", id, "creatorid:", maker, ..] => {
                let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
                if !hex(id) || !hex(maker) {
                    return Err(wrong());
                }
                state.id = format!("{id}/{maker}");
            }
            ["origif:", name] => state.origin = Some(name.to_owned()),
            _ => {}
        }
    }
    match states.last() {
        Some(last) if last.id.is_empty() => Err(NotStates(
            listing.lines().next_back().unwrap_or("").to_owned(),
        )),
        _ => Ok(states),
    }
}

/// `s7 tcp 127.0.0.1:9080 (192.0.2.1:80) <- 10.200.0.1:40000       ESTABLISHED:ESTABLISHED`. What stands in
/// parentheses is the end before it was rewritten; the arrow points away from who began.
fn head(line: &str) -> Option<State> {
    let mut words = line.split_whitespace().peekable();
    let (interface, protocol) = (words.next()?.to_owned(), words.next()?.to_owned());
    let end = |words: &mut std::iter::Peekable<std::str::SplitWhitespace<'_>>| {
        let after = host(words.next()?)?;
        let before = words.next_if(|word| word.starts_with('('));
        let inner = |word: &str| host(word.strip_prefix('(')?.strip_suffix(')')?);
        let before = before.map_or(Some(after), inner)?;
        Some(End { before, after })
    };
    let left = end(&mut words)?;
    let arrow = words.next()?;
    let right = end(&mut words)?;
    let (way, source, destination) = match arrow {
        "->" => (Way::Out, left, right),
        "<-" => (Way::In, right, left),
        _ => return None,
    };
    Some(State {
        id: String::new(),
        interface,
        origin: None,
        protocol,
        way,
        source,
        destination,
    })
}

/// `192.0.2.1:80`, `2001:db8::1[80]`, each also without a port.
fn host(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    let (address, port) = match text.strip_suffix(']') {
        Some(inner) => inner.split_once('[')?,
        None => text.rsplit_once(':')?,
    };
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

impl State {
    /// Whether it has to do with the sandbox at all: its interface, or its address at either end.
    fn concerns(&self, port: &Port) -> bool {
        let name = port.name.as_str();
        let ends = [self.source, self.destination];
        let own = |end: &End| {
            [end.before, end.after]
                .iter()
                .any(|at| at.ip() == port.address)
        };
        self.interface == name || self.origin.as_deref() == Some(name) || ends.iter().any(own)
    }

    /// Whether the sandbox may go on having it.
    fn stands(&self, site: &Site, closed: &Ranges, sandbox: &Sandbox) -> bool {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (self.source.before.ip(), self.destination.before.ip())
        else {
            return false;
        };
        let port = self.destination.before.port();
        let (payload, egressd) = match self.protocol.as_str() {
            "tcp" => (Payload::Tcp(port), Some(site.tcp)),
            "udp" => (Payload::Udp(port), Some(site.udp)),
            // Which other makes no difference.
            _ => (Payload::Other(u8::MAX), None),
        };
        let packet = Packet {
            mac: sandbox.port.mac,
            source,
            destination,
            payload,
        };
        let straight = self.destination.before == self.destination.after;
        let same_source = self.source.before.ip() == self.source.after.ip();
        let own = self.interface == sandbox.port.name.as_str();
        match (self.way, sandbox.fate(closed, &packet)) {
            (Way::In, Fate::Forward) if straight => own && same_source,
            // What egressd has it judges itself, and an address that is allowed by now is no reason to end it.
            (Way::In, Fate::Egressd | Fate::Forward) => {
                let there = egressd.map(SocketAddr::V4) == Some(self.destination.after);
                own && there && same_source
            }
            (Way::Out, Fate::Forward) => self.interface == site.uplink.as_str() && straight,
            _ => false,
        }
    }
}

/// The states that must end for `sandbox` to be as it should be. None: nothing it forbids is left.
#[must_use]
pub fn forbidden<'s>(
    site: &Site,
    closed: &Ranges,
    sandbox: &Sandbox,
    states: &'s [State],
) -> Vec<&'s State> {
    let wrong = |s: &&State| s.concerns(&sandbox.port) && !s.stands(site, closed, sandbox);
    states.iter().filter(wrong).collect()
}
