//! What pf says of itself at a glance, and what it means that it says something else than before. Pure.
//!
//! Every transaction that opens a list of rules gives it the next ticket (pf_ioctl.c, `pf_begin_rules`), so two looks
//! tell whether somebody loaded rules in between, and whether once, or so often that between two loads there can have
//! been rules that nobody looked at.

use warder_netlink::attrs_after;

/// `PF_PASS`, `PF_NAT` and `PF_RDR` (netpfil/pf/pf.h): by an action of its the kernel knows a list of rules.
pub const KINDS: [u8; 3] = [0, 4, 8];

/// `PF_GS_RUNNING` (netpfil/pf/pf_nl.h).
pub const RUNNING: u16 = 2;
/// `PF_GS_SINCE`.
pub const SINCE: u16 = 3;
/// `PF_GR_NR`.
pub const COUNT: u16 = 3;
/// `PF_GR_TICKET`.
pub const TICKET: u16 = 4;
/// Length of a `struct genlmsghdr`.
const GENERIC: usize = 4;
/// Seconds by which two readings of the same moment can differ: it is told by the wall clock.
const JITTER: u64 = 2;

/// A list of rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// How many.
    pub count: u32,
    /// Its ticket.
    pub ticket: u32,
}

/// pf at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pulse {
    /// Whether it judges packets.
    pub running: bool,
    /// Since when, in seconds of a clock that nobody sets.
    pub since: i64,
    /// The host's own rules, as [`KINDS`] has them.
    pub main: [Rules; 3],
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beat {
    /// Nothing.
    Same,
    /// Rules were loaded once, in place of those before: if both are good, there was no moment without.
    Loaded,
    /// It was off, or had rules that nobody looked at.
    Holed,
}

impl Pulse {
    /// What happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Beat {
        if !self.running || !before.running || self.since.abs_diff(before.since) > JITTER {
            return Beat::Holed;
        }
        let steps = |(now, then): (&Rules, &Rules)| now.ticket.wrapping_sub(then.ticket);
        match self.main.iter().zip(&before.main).map(steps).max() {
            Some(0) if self.main == before.main => Beat::Same,
            Some(0 | 1) => Beat::Loaded,
            _ => Beat::Holed,
        }
    }
}

/// Reads an answer to `PFNL_CMD_GET_STATUS`: whether pf runs, and since which second of the wall clock.
#[must_use]
pub fn status(payload: &[u8]) -> Option<(bool, u32)> {
    let running = *find(payload, RUNNING)?.first()? != 0;
    Some((
        running,
        u32::from_ne_bytes(*find(payload, SINCE)?.first_chunk()?),
    ))
}

/// Reads an answer to `PFNL_CMD_GETRULES`.
#[must_use]
pub fn rules(payload: &[u8]) -> Option<Rules> {
    let number = |kind| Some(u32::from_ne_bytes(*find(payload, kind)?.first_chunk()?));
    Some(Rules {
        count: number(COUNT)?,
        ticket: number(TICKET)?,
    })
}

fn find(payload: &[u8], wanted: u16) -> Option<&[u8]> {
    attrs_after(payload, GENERIC).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// An anchor as it was left: its rules, its redirections, and the networks in its tables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Print {
    /// Rules.
    pub rules: Rules,
    /// Redirections.
    pub redirections: Rules,
    /// Networks; none where the kernel does not say.
    pub networks: Option<u64>,
}

#[cfg(test)]
mod tests {
    use warder_netlink::Message;

    use super::*;

    fn at(since: i64, tickets: [u32; 3]) -> Pulse {
        Pulse {
            running: true,
            since,
            main: tickets.map(|ticket| Rules { count: 3, ticket }),
        }
    }

    #[test]
    fn what_happened_is_told_by_tickets_and_the_time() {
        let before = at(1000, [7, 7, u32::MAX]);
        let off = Pulse {
            running: false,
            ..before
        };
        for (now, beat) in [
            (before, Beat::Same),
            // Told by another clock than this one.
            (at(1001, [7, 7, u32::MAX]), Beat::Same),
            (at(998, [7, 7, u32::MAX]), Beat::Same),
            // pfctl -f
            (at(1000, [8, 8, 0]), Beat::Loaded),
            (at(1000, [7, 8, u32::MAX]), Beat::Loaded),
            // pfctl -F rules, pfctl -f
            (at(1000, [9, 8, 0]), Beat::Holed),
            (at(1000, [8, 8, 1]), Beat::Holed),
            // pfctl -d, pfctl -e
            (at(1009, [7, 7, u32::MAX]), Beat::Holed),
            (off, Beat::Holed),
            // Unloaded and loaded: all begins anew.
            (at(1000, [1, 1, 1]), Beat::Holed),
        ] {
            assert_eq!(now.since(&before), beat, "{now:?}");
        }
        assert_eq!(before.since(&off), Beat::Holed);
        let mut fewer = before;
        fewer.main[0].count = 2;
        assert_eq!(fewer.since(&before), Beat::Loaded, "looked at again");
    }

    #[test]
    fn answers_are_read() {
        let payload = |message: Message| message.finish(1, 0).split_off(16);
        let new = || Message::new(0, 0, &[11, 0, 0, 0]);
        let said = new()
            .text(1, "")
            .bytes(RUNNING, &[1])
            .u32(SINCE, 1_800_000_000);
        assert_eq!(status(&payload(said)), Some((true, 1_800_000_000)));
        assert_eq!(status(&payload(new())), None);
        let said = new().u32(COUNT, 3).u32(TICKET, 9);
        let told = Rules {
            count: 3,
            ticket: 9,
        };
        assert_eq!(rules(&payload(said)), Some(told));
        assert_eq!(rules(&payload(new().u32(COUNT, 3))), None);
    }
}
