//! Desired state to rules. Every rule is `quick`: the first that matches decides, and nothing that the host's own
//! ruleset says later changes it (pf.conf(5), PARAMETERS: `quick`).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use warder_desired::{DNS, Egress, Judged, QUIC, Range, Ranges, Sandbox, WEB};
use warder_wire::Cidr;

use crate::plan::Load;
use crate::{BUCKET, PfError, Site, networks};

/// TCP learns it by a reset, everything else by "communication administratively prohibited" (icmp(4): unreachable,
/// code 13).
const REFUSALS: [(&str, &str); 2] = [("return-rst", " proto tcp"), ("return-icmp(13)", "")];

/// What the log says of a rule (pf.conf(5), `ridentifier`): why it refuses. A flow beyond the sandbox's number is told by
/// pf's own word for that.
const REFUSED_ADDRESS: u32 = 1;
const REFUSED_QUIC: u32 = 2;

/// Lines, each ended. Writing to a string does not fail.
macro_rules! line {
    ($text:expr, $($arg:tt)*) => {{ let _ = writeln!($text, $($arg)*); }};
}

impl Site {
    /// The instance's anchor: what holds for all sandboxes.
    #[must_use]
    pub fn instance(&self, closed: &Ranges) -> Load {
        let (group, uplink) = (self.group(), self.uplink.as_str());
        let (known, redirected) = (self.known(), self.redirected());
        let mut text = String::new();
        let block: Ranges = [Range::new(self.block, self.last().into())]
            .into_iter()
            .collect();
        table(&mut text, "closed", closed);
        // No table can be called `block`.
        table(&mut text, "slots", &block);
        let buckets = self.buckets();
        // IPv4 from a known MAC, tagged on the way; no ARP (both ends have permanent entries), no IPv6, nothing else.
        for (n, from) in &buckets {
            line!(
                text,
                "ether anchor \"{n}/*\" in on {group} proto 0x0800 l3 from {from}"
            );
        }
        line!(text, "ether block in quick on {group}");
        line!(
            text,
            "nat on {uplink} inet from <slots> to any tagged {known} -> ({uplink}:0)"
        );
        for (n, from) in &buckets {
            line!(
                text,
                "rdr-anchor \"{n}/*\" on {group} inet from {from} to any"
            );
        }
        line!(text, "block drop quick on {group} inet6 all");
        line!(text, "block drop in quick on {group} all fragment");
        // The host itself, by whatever address it has now; egressd is the one exception.
        line!(
            text,
            "block drop in quick on {group} inet from any to (self) ! tagged {redirected}"
        );
        for (n, from) in &buckets {
            line!(
                text,
                "anchor \"{n}/*\" in on {group} inet from {from} to any"
            );
        }
        // Sockets on behalf of sandboxes: those of a bucket by their users, one for each two addresses.
        for (n, network) in &buckets {
            let (first, last) = network.range();
            let user = |address: Ipv4Addr| {
                let slot = address.to_bits().saturating_sub(self.block.to_bits()) / 2;
                self.user(slot.saturating_add(1))
            };
            line!(
                text,
                "anchor \"{n}/*\" out inet from any to any user {} >< {}",
                user(first) - 1,
                user(last) + 1
            );
        }
        line!(
            text,
            "block drop out quick from any to any user {} >< {}",
            self.users - 1,
            self.users.saturating_add(crate::USERS_EACH)
        );
        // Forged sources, sandboxes without rules, and all that would go in to one: replies follow their state.
        line!(text, "block drop quick on {group} all");
        line!(
            text,
            "block drop in quick on ! {group} inet from any to <slots>"
        );
        // The second wall on the way out: no sandbox's own anchor can open these, nor another way than the uplink.
        line!(
            text,
            "block drop out quick inet from any to <closed> tagged {known}"
        );
        line!(
            text,
            "pass out quick on {uplink} inet all flags S/SA tagged {known} keep state (if-bound)"
        );
        line!(text, "block drop out quick all tagged {known}");
        Load {
            anchor: self.anchor(),
            text,
        }
    }

    /// A sandbox's anchor, in place of what is there.
    ///
    /// # Errors
    /// [`PfError`] when the sandbox has no place here.
    pub fn sandbox(&self, closed: &Ranges, sandbox: &Sandbox) -> Result<Load, PfError> {
        let anchor = self.anchor_of(&sandbox.port)?;
        let mut text = String::new();
        let judged = match &sandbox.egress {
            Egress::Closed => None,
            Egress::Judged(judged) => Some(judged),
        };
        if let Some(judged) = judged {
            let both = closed.as_slice().iter().chain(judged.denied.as_slice());
            table(&mut text, "denied", &both.copied().collect());
            // A table of a name is the anchor's own or the main ruleset's, never its parent's.
            table(&mut text, "closed", closed);
            let server = |a: &Ipv4Addr| Range::new(*a, *a);
            table(
                &mut text,
                "resolvers",
                &self.resolvers.iter().map(server).collect(),
            );
        }
        let [a, b, c, d, e, f] = sandbox.port.mac;
        line!(
            text,
            "ether pass in quick on {} proto 0x0800 from {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} tag {}",
            sandbox.port.name.as_str(),
            self.known()
        );
        if let Some(judged) = judged {
            self.redirect(&mut text, sandbox, judged);
            self.judge(&mut text, sandbox, judged)?;
            self.dialled(&mut text, sandbox, judged)?;
        }
        self.refuse(&mut text, sandbox, "any");
        Ok(Load { anchor, text })
    }

    /// No `rdr pass`: that would make states outside of any rule's bounds, pipes and label (pf.conf(5), TRANSLATION).
    /// The first that matches decides.
    fn redirect(&self, text: &mut String, sandbox: &Sandbox, judged: &Judged) {
        let (on, from) = (sandbox.port.name.as_str(), sandbox.port.address);
        let tags = format!("tag {} tagged {}", self.redirected(), self.known());
        let mut rule = |proto: &str, to: &str| {
            let at = if proto == "udp" { self.udp } else { self.tcp };
            line!(
                text,
                "rdr on {on} inet proto {proto} from {from} to {to} {tags} -> {} port {}",
                at.ip(),
                at.port()
            );
        };
        rule("udp", &format!("any port {DNS}"));
        rule("tcp", &format!("any port {DNS}"));
        for port in WEB {
            rule("tcp", &format!("<denied> port {port}"));
        }
        if judged.proxy {
            rule("tcp", "! <denied>");
        }
    }

    fn judge(&self, text: &mut String, sandbox: &Sandbox, judged: &Judged) -> Result<(), PfError> {
        let (on, from) = (sandbox.port.name.as_str(), sandbox.port.address);
        let flows = sandbox.bounds.flows;
        let pipes = self.pipes(&sandbox.port)?;
        let pipes = pipes.map_or(String::new(), |p| format!("dnpipe ({}, {}) ", p.up, p.down));
        let ends = format!("{pipes}label \"{}\"", self.label(&sandbox.port));
        // Flows through egressd and through the kernel count apart. Those of the kernel by the source alone
        // (`global`), so that the count survives a change of the rules.
        let keep = |track: &str| {
            format!("keep state (if-bound, source-track {track}, max-src-states {flows}) {ends}")
        };
        for (proto, at, flags) in [("tcp", self.tcp, " flags S/SA"), ("udp", self.udp, "")] {
            line!(
                text,
                "pass in quick on {on} inet proto {proto} from {from} to {} port {}{flags} tagged {} {}",
                at.ip(),
                at.port(),
                self.redirected(),
                keep("rule")
            );
        }
        let known = self.known();
        if judged.names {
            line!(
                text,
                "block return-icmp(13) in log (to pflog{}) quick on {on} inet proto udp from {from} to any port {QUIC} tagged {known} ridentifier {REFUSED_QUIC}",
                self.log
            );
        }
        self.refuse(text, sandbox, "<denied>");
        line!(
            text,
            "pass in quick on {on} inet from {from} to any flags S/SA tagged {known} {}",
            keep("global")
        );
        Ok(())
    }

    /// Sockets that netd made for egressd: the operator's servers may lie anywhere, and where names or a proxy decide, what
    /// egressd dials was not held against the sandbox's own list.
    fn dialled(
        &self,
        text: &mut String,
        sandbox: &Sandbox,
        judged: &Judged,
    ) -> Result<(), PfError> {
        let user = self.user(sandbox.port.mark);
        let mark = self.pipes(&sandbox.port)?;
        let mark = mark.map_or(String::new(), |p| format!("dnpipe ({0}, {0}) ", p.mark));
        let label = self.dialled_label(&sandbox.port);
        let keep = format!("user {user} keep state (if-bound) {mark}label \"{label}\"");
        let not = if judged.names || judged.proxy {
            "closed"
        } else {
            "denied"
        };
        for (proto, flags) in [("tcp", " flags S/SA"), ("udp", "")] {
            let mut pass = |to: &str| {
                line!(
                    text,
                    "pass out quick inet proto {proto} from any to {to}{flags} {keep}"
                );
            };
            pass(&format!("<resolvers> port {DNS}"));
            pass(&format!("! <{not}>"));
        }
        Ok(())
    }

    fn refuse(&self, text: &mut String, sandbox: &Sandbox, to: &str) {
        let (on, from) = (sandbox.port.name.as_str(), sandbox.port.address);
        for (how, proto) in REFUSALS {
            line!(
                text,
                "block {how} in log (to pflog{}) quick on {on} inet{proto} from {from} to {to} tagged {} ridentifier {REFUSED_ADDRESS}",
                self.log,
                self.known()
            );
        }
    }

    /// Numbers and networks of all buckets.
    fn buckets(&self) -> Vec<(u32, Cidr)> {
        let (first, last) = (self.block.to_bits() / BUCKET, self.last() / BUCKET);
        let bits = u8::try_from(32 - BUCKET.ilog2()).unwrap_or(32);
        let network = |n: u32| Cidr::new(Ipv4Addr::from(n * BUCKET), bits);
        (first..=last)
            .filter_map(|n| Some((n - first, network(n)?)))
            .collect()
    }
}

fn table(text: &mut String, name: &str, ranges: &Ranges) {
    // "A table initialized with the empty list, { }, will be cleared on load": none is left out for being empty.
    line!(text, "table <{name}> {{");
    for network in networks(ranges) {
        line!(text, "  {network}");
    }
    line!(text, "}}");
}
