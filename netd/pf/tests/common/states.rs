//! Reads states as pfctl prints them (pf_print_state.c, `print_state`), which people can read: a line for each, then
//! indented lines about it.

use std::iter::Peekable;
use std::net::{IpAddr, SocketAddr};
use std::str::SplitWhitespace;

use warder_pf::states::{End, State, Way};

pub(crate) fn read(listing: &str) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    for line in listing.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with([' ', '\t']) {
            states.push(head(line).expect("a state"));
            continue;
        }
        let state = states.last_mut().expect("of a state");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["id:", id, "creatorid:", maker, ..] => {
                let hex = |text| u64::from_str_radix(text, 16).expect("hex");
                state.id = (hex(id), u32::try_from(hex(maker)).expect("fits"));
            }
            ["origif:", name] => name.clone_into(&mut state.origin),
            ["age", ..] => {
                let pipe = line.split("dummynet pipe (").nth(1);
                let pipe = pipe.and_then(|rest| rest.split(' ').next());
                state.pipe = pipe.map_or(0, |n| n.parse().expect("a number"));
            }
            _ => {}
        }
    }
    states
}

/// `s7 tcp 127.0.0.1:9080 (192.0.2.1:80) <- 10.200.0.1:40000       ESTABLISHED:ESTABLISHED`. What stands in
/// parentheses is the end before it was rewritten; the arrow points away from who began.
fn head(line: &str) -> Option<State> {
    let mut words = line.split_whitespace().peekable();
    let (interface, protocol) = (words.next()?.to_owned(), words.next()?);
    let end = |words: &mut Peekable<SplitWhitespace<'_>>| {
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
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "ipv6-icmp" => 58,
        "gre" => 47,
        number => number.parse().ok()?,
    };
    Some(State {
        id: (0, 0),
        origin: interface.clone(),
        interface,
        protocol,
        way,
        source,
        destination,
        pipe: 0,
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
