//! What sandboxes may use of the network, by the template they come from: the operator's `template_network` lines.

use std::str::SplitAsciiWhitespace;

use warder_wire::{Bounds, SandboxId, TemplateName, priv_net};

use crate::by_template::{self, ByTemplate};
use crate::config::{number, plain};
use crate::ledger::Part;
use crate::privd::Privd;

/// Least and most bytes a second, and most flows, that a line may say.
const BYTES: (u64, u64) = (1_000, 1_000_000_000_000);
const MOST_FLOWS: u32 = 1_000_000;

/// What one line says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Line {
    airgap: bool,
    upload: Option<u64>,
    download: Option<u64>,
    flows: Option<u32>,
}

/// All lines. That of `*` is for templates without a line of their own, and for what other lines leave out but the
/// air gap.
pub(crate) type TemplateBounds = ByTemplate<Line>;

impl TemplateBounds {
    /// What holds for a sandbox whose tree is made of `lineage`. The origin decides; a line for a snapshot can only take away.
    #[must_use]
    pub(crate) fn of(&self, lineage: &[TemplateName]) -> Bounds {
        let default = Bounds::DEFAULT;
        if lineage.is_empty() {
            // Nothing is known of it.
            return Bounds {
                airgapped: true,
                ..default
            };
        }
        let (own, others, snapshots) = self.lines(lineage);
        let others = others.unwrap_or_default();
        let own = own.unwrap_or(others);
        let first = Bounds {
            airgapped: own.airgap,
            upload: own.upload.or(others.upload).unwrap_or(default.upload),
            download: own.download.or(others.download).unwrap_or(default.download),
            flows: own.flows.or(others.flows).unwrap_or(default.flows),
        };
        snapshots.fold(first, |bounds, line| Bounds {
            airgapped: bounds.airgapped || line.airgap,
            upload: line.upload.map_or(bounds.upload, |n| n.min(bounds.upload)),
            download: line
                .download
                .map_or(bounds.download, |n| n.min(bounds.download)),
            flows: line.flows.map_or(bounds.flows, |n| n.min(bounds.flows)),
        })
    }
}

impl by_template::Line for Line {
    const WORDS: [&'static str; 4] = ["airgap", "upload", "download", "flows"];

    fn take(&mut self, at: usize, rest: &mut SplitAsciiWhitespace<'_>) -> Result<bool, String> {
        if at == 0 {
            return Ok(std::mem::replace(&mut self.airgap, true));
        }
        let value = rest.next().unwrap_or_default();
        Ok(match at {
            1 => self.upload.replace(bytes(value)?).is_some(),
            2 => self.download.replace(bytes(value)?).is_some(),
            _ => {
                let flows = number(value, 1, MOST_FLOWS)?;
                self.flows.replace(flows).is_some()
            }
        })
    }
}

/// Bytes a second, with `K`, `M` or `G` behind them for thousands, millions, thousands of millions.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    plain::<u64>(digits)
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| (BYTES.0..=BYTES.1).contains(n))
        .ok_or_else(|| format!("`{text}` is not a number of bytes a second from 1K to 1000G"))
}

impl Privd {
    /// What a sandbox may use of the network. Its tree says what it comes from, whatever became of the templates;
    /// before it has one, the template of its lease does.
    pub(crate) fn bounds(&self, sandbox: &SandboxId) -> Bounds {
        let Some(entry) = self.ledger.get(sandbox) else {
            return self.config.template_networks.of(&[]);
        };
        let mut lineage = self.store.lineage(Some(sandbox), &entry.lease.template);
        if lineage.is_empty() && entry.storage == Part::None {
            lineage.push(entry.lease.template.clone());
        }
        self.config.template_networks.of(&lineage)
    }

    /// Tells netd that a lease lives, and what it may use.
    pub(crate) fn post_live(&mut self, sandbox: &SandboxId) {
        let bounds = self.bounds(sandbox);
        self.live.entry(sandbox.clone()).or_default().told = Some(bounds);
        let live = priv_net::Ask::LeaseLive {
            sandbox: sandbox.clone(),
            bounds,
        };
        self.post_net(live, Vec::new());
    }

    /// Tells netd if a sandbox may use something else than it was told.
    pub(crate) fn post_change(&mut self, sandbox: &SandboxId) {
        let told = self.live.get(sandbox).and_then(|live| live.told);
        if told != Some(self.bounds(sandbox)) {
            self.post_live(sandbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_template::tests::{lines, names};

    #[test]
    fn a_line_is_read() {
        let bounds: TemplateBounds =
            lines(&["base upload 10M flows 7 download 1500", "closed airgap"]);
        let expected = Bounds {
            airgapped: false,
            upload: 10_000_000,
            download: 1500,
            flows: 7,
        };
        assert_eq!(bounds.of(&names(&["base"])), expected);
        assert!(bounds.of(&names(&["closed"])).airgapped);
        assert_eq!(bounds.of(&names(&["other"])), Bounds::DEFAULT);
    }

    #[test]
    fn a_wrong_line_is_refused() {
        let mut bounds: TemplateBounds = lines(&["base airgap"]);
        for bad in [
            "",
            "x",
            "X airgap",
            "base airgap",
            "x airgap airgap",
            "x upload",
            "x upload 0",
            "x upload 999",
            "x upload 1T",
            "x upload M",
            "x upload +5000",
            "x upload 1001G",
            "x upload 99999999999999999999",
            "x upload 18446744073709551615G",
            "x upload 1K upload 2K",
            "x flows 0",
            "x flows 1K",
            "x flows +5",
            "x closed",
        ] {
            assert!(bounds.add(bad).is_err(), "{bad}");
        }
        assert_eq!(bounds, lines(&["base airgap"]));
    }

    #[test]
    fn the_origin_decides_and_a_snapshot_only_takes_away() {
        let bounds: TemplateBounds = lines(&[
            "* airgap download 5K",
            "open upload 9K",
            "slow upload 1K flows 3",
        ]);
        assert!(bounds.of(&names(&["base"])).airgapped);
        // Under whatever name a snapshot of it goes.
        assert!(bounds.of(&names(&["open", "base"])).airgapped);
        assert!(bounds.of(&names(&["x", "open", "y", "base"])).airgapped);
        let open = Bounds {
            airgapped: false,
            upload: 9_000,
            download: 5_000,
            flows: Bounds::DEFAULT.flows,
        };
        assert_eq!(bounds.of(&names(&["open"])), open);
        assert_eq!(bounds.of(&names(&["snapshot", "open"])), open);
        let slow = Bounds {
            upload: 1_000,
            flows: 3,
            ..open
        };
        assert_eq!(bounds.of(&names(&["x", "slow", "open"])), slow);
        assert!(bounds.of(&[]).airgapped, "unknown is closed");
    }
}
