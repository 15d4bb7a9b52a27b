//! The table: what was measured, the budget of the design, the peers.

use std::fmt::Write as _;

use crate::stats::{Figures, Samples};

/// How a series is shown.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// Taken in microseconds, shown in milliseconds.
    Milliseconds,
    /// Taken in KiB, shown in MiB.
    Mebibytes,
    /// Shown as taken.
    PerSecond,
    /// Shown as taken.
    Count,
    /// Of two figures.
    Ratio,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{:.2}", value / 1000.0),
            Self::Mebibytes => format!("{:.2}", value / 1024.0),
            Self::PerSecond | Self::Count => format!("{value:.0}"),
            Self::Ratio => format!("{value:.2}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::PerSecond => "/s",
            Self::Count => "",
            Self::Ratio => "x",
        }
    }
}

/// Which percentile a budget binds, and the most it may be, in the unit shown.
#[derive(Clone, Copy, Debug)]
enum Bound {
    P50(f64),
    P95(f64),
    P99(f64),
}

impl Bound {
    fn met(self, figures: &Figures, unit: Unit) -> bool {
        let (value, most) = match self {
            Self::P50(most) => (figures.p50, most),
            Self::P95(most) => (figures.p95, most),
            Self::P99(most) => (figures.p99, most),
        };
        let shown = match unit {
            Unit::Milliseconds => value / 1000.0,
            Unit::Mebibytes => value / 1024.0,
            Unit::PerSecond | Unit::Count | Unit::Ratio => value,
        };
        shown <= most
    }

    fn show(self) -> String {
        match self {
            Self::P50(most) => format!("p50<={most}"),
            Self::P95(most) => format!("p95<={most}"),
            Self::P99(most) => format!("p99<={most}"),
        }
    }
}

/// A line of the table.
struct Row<'a> {
    what: &'a str,
    series: &'a str,
    unit: Unit,
    bounds: &'static [Bound],
    peers: [&'static str; 2],
}

const fn row(
    what: &'static str,
    series: &'static str,
    unit: Unit,
    bounds: &'static [Bound],
) -> Row<'static> {
    Row {
        what,
        series,
        unit,
        bounds,
        peers: ["", ""],
    }
}

const fn beside(row: Row<'static>, bubblewrap: &'static str, runc: &'static str) -> Row<'static> {
    Row {
        peers: [bubblewrap, runc],
        ..row
    }
}

/// A size without a budget.
const fn size(what: &'static str, series: &'static str) -> Row<'static> {
    row(what, series, Unit::Mebibytes, &[])
}

const ROWS: [Row<'static>; 83] = [
    beside(
        row(
            "create to first output, 1 at a time",
            "warder first output echo at 1",
            Unit::Milliseconds,
            &[Bound::P50(4.0), Bound::P99(12.0)],
        ),
        "bubblewrap first output at 1",
        "runc first output at 1",
    ),
    row(
        "  the same by bash -l -c, as SDKs do",
        "warder first output shell at 1",
        Unit::Milliseconds,
        &[],
    ),
    row("  create alone", "warder create", Unit::Milliseconds, &[]),
    beside(
        row(
            "  16 at once",
            "warder first output echo at 16",
            Unit::Milliseconds,
            &[Bound::P95(55.0)],
        ),
        "bubblewrap first output at 16",
        "runc first output at 16",
    ),
    beside(
        row(
            "  50 at once",
            "warder first output echo at 50",
            Unit::Milliseconds,
            &[Bound::P95(150.0)],
        ),
        "bubblewrap first output at 50",
        "runc first output at 50",
    ),
    row(
        "create from warm pool to first output",
        "warder first output echo warm",
        Unit::Milliseconds,
        &[Bound::P50(1.5), Bound::P99(5.0)],
    ),
    row(
        "  the same by bash -l -c",
        "warder first output shell warm",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  create alone, from warm pool",
        "warder create warm",
        Unit::Milliseconds,
        &[],
    ),
    beside(
        row(
            "command in a live sandbox, start to end",
            "warder command echo",
            Unit::Milliseconds,
            &[Bound::P50(1.5)],
        ),
        "",
        "runc command",
    ),
    row(
        "  the same by bash -l -c",
        "warder command shell",
        Unit::Milliseconds,
        &[],
    ),
    beside(
        row(
            "kill",
            "warder kill",
            Unit::Milliseconds,
            &[Bound::P50(2.0)],
        ),
        "",
        "runc kill",
    ),
    beside(
        row(
            "idle sandbox: its agent, proportional",
            "warder memory agent",
            Unit::Mebibytes,
            &[Bound::P50(0.7)],
        ),
        "",
        "runc memory",
    ),
    size("  of the agent: anonymous", "warder memory agent own"),
    row(
        "  whole, by the host's available memory",
        "warder memory whole",
        Unit::Mebibytes,
        &[],
    ),
    size("  of it: kernel slab", "warder memory slab"),
    size("  of it: kernel stacks", "warder memory stacks"),
    size("  of it: page tables", "warder memory page tables"),
    size("  of it: per-cpu", "warder memory per-cpu"),
    size("  of it: growth of the daemons", "warder memory daemons"),
    row(
        "filling up: first output, all",
        "warder filling up",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  the first tenth",
        "warder first of many",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  the last tenth",
        "warder last of many",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  health of each when all live",
        "warder health among many",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  kill while all live",
        "warder kill among many",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "proxied HTTP request, 8 clients",
        "warder proxied request",
        Unit::Milliseconds,
        &[],
    ),
    row("  requests", "warder proxied rate", Unit::PerSecond, &[]),
    row(
        "  the same server without a proxy",
        "direct rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  the same behind nginx",
        "nginx rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  nginx's requests for each of ours",
        "nginx rate against ours",
        Unit::Ratio,
        &[Bound::P50(1.0)],
    ),
    row(
        "  request behind nginx",
        "nginx request",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  p99 beyond nginx's",
        "added to nginx p99",
        Unit::Milliseconds,
        &[Bound::P50(1.0)],
    ),
    row("line to cat and back", "echo idle", Unit::Milliseconds, &[]),
    row(
        "  while the sandbox moves bulk data",
        "echo under load",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  against idle, p50",
        "echo ratio",
        Unit::Ratio,
        &[Bound::P50(2.0)],
    ),
    row(
        "one large upload, MiB",
        "large upload",
        Unit::PerSecond,
        &[],
    ),
    row("  download, MiB", "large download", Unit::PerSecond, &[]),
    size("  growth of gatewayd's peak memory", "large memory"),
    row(
        "one allowed flow, MiB",
        "network bulk",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  over a pair without rules",
        "network bulk unfiltered",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  that against ours",
        "network bulk ratio",
        Unit::Ratio,
        &[],
    ),
    row(
        "HTTP out of a sandbox, kept connections, 8 clients",
        "network kept direct",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  requests",
        "network kept direct rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  through egressd, by name",
        "network kept egressd",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  requests",
        "network kept egressd rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  egressd adds, p50",
        "network kept added p50",
        Unit::Milliseconds,
        &[],
    ),
    row("  p99", "network kept added p99", Unit::Milliseconds, &[]),
    row(
        "HTTP out of a sandbox, a new connection each",
        "network new direct",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  requests",
        "network new direct rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  through egressd, by name",
        "network new egressd",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  requests",
        "network new egressd rate",
        Unit::PerSecond,
        &[],
    ),
    row(
        "  egressd adds, p50",
        "network new added p50",
        Unit::Milliseconds,
        &[],
    ),
    row("  p99", "network new added p99", Unit::Milliseconds, &[]),
    row(
        "pause, with processes",
        "warder pause memory",
        Unit::Milliseconds,
        &[],
    ),
    row("  resume", "warder resume memory", Unit::Milliseconds, &[]),
    row(
        "  resume to first output",
        "warder resume memory first output",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "pause, disk only",
        "warder pause disk",
        Unit::Milliseconds,
        &[],
    ),
    row("  resume", "warder resume disk", Unit::Milliseconds, &[]),
    row(
        "  resume to first output",
        "warder resume disk first output",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "snapshot, 10 MB in 200 files changed of 1 GB in 20,000",
        "warder snapshot",
        Unit::Milliseconds,
        &[Bound::P50(20.0)],
    ),
    row(
        "  the same, written out before",
        "warder snapshot synced",
        Unit::Milliseconds,
        &[Bound::P50(20.0)],
    ),
    row("  fork", "warder fork", Unit::Milliseconds, &[]),
    row("  100 forks", "warder 100 forks", Unit::Milliseconds, &[]),
    row(
        "Python SDK: create to first output",
        "sdk first output at 1",
        Unit::Milliseconds,
        &[],
    ),
    row("  create alone", "sdk create", Unit::Milliseconds, &[]),
    row(
        "  16 at once",
        "sdk first output at 16",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  50 at once",
        "sdk first output at 50",
        Unit::Milliseconds,
        &[],
    ),
    row(
        "  commands.run in a live sandbox",
        "sdk command",
        Unit::Milliseconds,
        &[],
    ),
    row("  kill", "sdk kill", Unit::Milliseconds, &[]),
    row(
        "own lines in root processes, Linux",
        "root lines on linux",
        Unit::Count,
        &[Bound::P50(6000.0)],
    ),
    row(
        "  FreeBSD",
        "root lines on freebsd",
        Unit::Count,
        &[Bound::P50(6000.0)],
    ),
    row(
        "crates in privd's tree",
        "privd crates",
        Unit::Count,
        &[Bound::P50(30.0)],
    ),
    row("  netd's", "netd crates", Unit::Count, &[]),
    size("privd: memory, proportional", "privd memory"),
    size("netd", "netd memory"),
    size("egressd", "egressd memory"),
    size("gatewayd", "gatewayd memory"),
    size("pluginhost", "pluginhost memory"),
    size("privd: executable", "privd file"),
    size("netd", "netd file"),
    size("egressd", "egressd file"),
    size("gatewayd", "gatewayd file"),
    size("pluginhost", "pluginhost file"),
    size("envd", "envd file"),
];

/// The whole table, with the notes under it.
pub(crate) fn table(samples: &Samples) -> String {
    let mut text = format!(
        "{:<40} {:>4} {:>6} {:>9} {:>9} {:>9} {:>9}  {:<18} {:<6} {:>15} {:>15}\n",
        "what", "unit", "n", "p50", "p95", "p99", "max", "budget", "", "bubblewrap", "runc"
    );
    let _ = writeln!(text, "{:>130}", "p50 / p95       p50 / p95");
    for row in &ROWS {
        let peers = row.peers.map(|series| samples.figures(series));
        let figures = samples.figures(row.series);
        if figures.is_some() || peers.iter().any(Option::is_some) {
            line(&mut text, row, figures, peers);
        }
    }
    changes(&mut text, samples);
    growth(&mut text, samples);
    let host = samples.figures("host first output at 1");
    if let Some(host) = host {
        let _ = writeln!(
            text,
            "\n/bin/echo without any sandbox, by the same clock: p50 {:.2} ms, p95 {:.2} ms",
            host.p50 / 1000.0,
            host.p95 / 1000.0
        );
    }
    for (at, what) in [(1, "1 at a time"), (16, "16 at once"), (50, "50 at once")] {
        against(&mut text, samples, at, what);
    }
    for note in samples.notes() {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// Policy changes: one line for each way, number of sandboxes and state of the network.
fn changes(text: &mut String, samples: &Samples) {
    const MOST: &[Bound] = &[Bound::P99(5.0)];
    let lines = [
        ("deny all", "to the last packet", MOST),
        ("air gap", "to the last packet", MOST),
        ("deny all answer", "to the answer", &[]),
        ("air gap answer", "to the answer", &[]),
        ("rules", "of 100 entries, to the answer", &[]),
        ("restart", "of netd, to a policy in force", &[]),
    ];
    for (name, what, bounds) in lines {
        for count in [1, 100, 1000] {
            for with in ["", " with flows"] {
                let row = Row {
                    what: &format!("{name} {what}, {count}{with}"),
                    series: &format!("network {name} at {count}{with}"),
                    unit: Unit::Milliseconds,
                    bounds,
                    peers: ["", ""],
                };
                let figures = samples.figures(row.series);
                if figures.is_some() {
                    line(text, &row, figures, [None, None]);
                }
            }
        }
    }
}

fn line(text: &mut String, row: &Row<'_>, figures: Option<Figures>, peers: [Option<Figures>; 2]) {
    let budget: Vec<String> = row.bounds.iter().map(|bound| bound.show()).collect();
    let verdict = match (row.bounds, figures) {
        ([], _) | (_, None) => "",
        (bounds, Some(f)) if bounds.iter().all(|bound| bound.met(&f, row.unit)) => "met",
        _ => "MISSED",
    };
    let shown = figures.map_or_else(
        || vec!["-".to_owned(); 4],
        |f| {
            [f.p50, f.p95, f.p99, f.max]
                .map(|value| row.unit.show(value))
                .to_vec()
        },
    );
    let peers = peers.map(|figures| {
        figures.map_or(String::new(), |f| {
            format!("{} / {}", row.unit.show(f.p50), row.unit.show(f.p95))
        })
    });
    let _ = writeln!(
        text,
        "{:<40} {:>4} {:>6} {:>9} {:>9} {:>9} {:>9}  {:<18} {:<6} {:>15} {:>15}",
        row.what,
        row.unit.name(),
        figures.map_or(0, |f| f.n),
        shown[0],
        shown[1],
        shown[2],
        shown[3],
        budget.join(" "),
        verdict,
        peers[0],
        peers[1],
    );
}

/// The whole of a sandbox against what bubblewrap takes to the same output in the same run.
fn against(text: &mut String, samples: &Samples, at: usize, what: &str) {
    let ours = samples.figures(&format!("warder first output echo at {at}"));
    let theirs = samples.figures(&format!("bubblewrap first output at {at}"));
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let _ = writeln!(
            text,
            "create to first output against bubblewrap, {what}: p50 {:.2} x, p95 {:.2} x",
            ours.p50 / theirs.p50,
            ours.p95 / theirs.p95
        );
    }
}

/// Create latency with all others alive, against that with hardly any.
fn growth(text: &mut String, samples: &Samples) {
    const MOST: f64 = 1.7;
    let (first, last) = (
        samples.figures("warder first of many"),
        samples.figures("warder last of many"),
    );
    if let (Some(first), Some(last)) = (first, last) {
        let ratio = last.p50 / first.p50;
        let verdict = if ratio <= MOST { "met" } else { "MISSED" };
        let _ = writeln!(
            text,
            "{:<40} {:>4} {:>6} {ratio:>9.2} {:>9} {:>9} {:>9}  {:<18} {verdict}",
            "  last tenth against the first, p50",
            "x",
            "",
            "",
            "",
            "",
            format!("<={MOST}")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_met_or_missed_by_its_own_percentile() {
        let mut samples = Samples::default();
        for value in [3000.0, 3000.0, 13_000.0] {
            samples.value("warder first output echo at 1", value);
            samples.value("warder kill", value / 2.0);
        }
        let text = table(&samples);
        let row = |what: &str| {
            text.lines()
                .find(|l| l.starts_with(what))
                .unwrap_or_default()
        };
        assert!(row("create to first output").contains("MISSED"), "{text}");
        assert!(row("kill").contains(" met"), "{text}");
        assert!(
            row("idle").is_empty(),
            "nothing is shown that was not measured"
        );
    }
}
