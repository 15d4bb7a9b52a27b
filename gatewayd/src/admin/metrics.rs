//! `GET /admin/metrics`: Prometheus' text format, version 0.0.4. Only the operator's listener has it; a scraper reaches
//! that through whatever forwards a Unix socket, or reads a file that `warder metrics` wrote.

use std::fmt::{Display, Write};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use crate::gateway::Gateway;
use crate::http_io::{Answer, Body};
use crate::limits;
use crate::registry::record::EventKind;
use crate::stats::{BUCKETS, Class};

const MIB: u64 = 1024 * 1024;

/// The text as it grows.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// No label's value here can hold a quote, a backslash or a line's end.
    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(
                self.0,
                "{}{label}=\"{text}\"",
                if at == 0 { '{' } else { ',' }
            );
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// Everything.
pub(super) async fn scrape(gateway: &Gateway) -> Answer {
    let mut text = Text::default();
    daemons(&mut text, gateway);
    requests(&mut text, gateway);
    events(&mut text, gateway);
    host(&mut text, gateway).await;
    sandboxes(&mut text, gateway);
    pools(&mut text, gateway);
    let mut answer = Response::new(Body::own(Full::new(Bytes::from(text.0))));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    answer
}

#[expect(clippy::cast_precision_loss, reason = "microseconds below 2^53")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn daemons(text: &mut Text, gateway: &Gateway) {
    let name = "warder_build_info";
    text.family(name, "gauge", "Version and instance; always 1.");
    text.sample(
        name,
        &[
            ("version", &env!("CARGO_PKG_VERSION")),
            ("instance_tag", &gateway.tag),
            ("backend", &gateway.backend),
        ],
        1,
    );
    text.one(
        "process_start_time_seconds",
        "gauge",
        "When gatewayd began to serve, in seconds since 1970.",
        seconds(gateway.since.0),
    );
    if let Some(bytes) = gateway.stats.memory() {
        text.one(
            "process_resident_memory_bytes",
            "gauge",
            "Memory of gatewayd.",
            bytes,
        );
    }
    if let Some(count) = warder_confine::open_descriptors() {
        text.one(
            "process_open_fds",
            "gauge",
            "Descriptors of gatewayd.",
            count,
        );
    }
    let (net, plugin) = gateway.peers.present();
    let starts = gateway.peers.starts();
    let egress = gateway.stats.egress();
    let daemons = [
        ("netd", net, starts.0),
        ("pluginhost", plugin, starts.1),
        ("egressd", egress.0, egress.1),
    ];
    let name = "warder_daemon_up";
    text.family(
        name,
        "gauge",
        "Whether the daemon has a channel to gatewayd now.",
    );
    for (daemon, up, _) in &daemons {
        text.sample(name, &[("daemon", daemon)], u8::from(*up));
    }
    let name = "warder_daemon_starts_total";
    text.family(
        name,
        "counter",
        "How often the daemon came since gatewayd began.",
    );
    for (daemon, _, starts) in &daemons {
        text.sample(name, &[("daemon", daemon)], starts);
    }
}

fn pools(text: &mut Text, gateway: &Gateway) {
    let all = gateway.warm.list();
    let name = "warder_pool_sandboxes";
    text.family(name, "gauge", "Sandboxes of a warm pool.");
    for pool in &all {
        let states = [
            ("wanted", pool.size),
            ("ready", pool.ready),
            ("making", pool.making),
        ];
        for (state, count) in states {
            text.sample(
                name,
                &[("template", &pool.template), ("state", &state)],
                count,
            );
        }
    }
    let name = "warder_pool_creates_total";
    text.family(
        name,
        "counter",
        "Creates that took a sandbox out of a warm pool, or found it empty.",
    );
    for pool in &all {
        for (outcome, count) in [("taken", pool.taken.0), ("empty", pool.taken.1)] {
            text.sample(
                name,
                &[("template", &pool.template), ("outcome", &outcome)],
                count,
            );
        }
    }
}

fn requests(text: &mut Text, gateway: &Gateway) {
    let (network, operator) = gateway.stats.connections();
    let name = "warder_connections_open";
    text.family(name, "gauge", "Clients' connections.");
    text.sample(name, &[("listener", &"network")], network);
    text.sample(name, &[("listener", &"operator")], operator);
    let name = "warder_requests_total";
    text.family(
        name,
        "counter",
        "Requests answered; for agent and port the status's hundred.",
    );
    for ((class, status), count) in gateway.stats.requests() {
        text.sample(name, &[("class", &class.name()), ("code", &status)], count);
    }
    let name = "warder_request_duration_seconds";
    text.family(name, "histogram", "From a request's head to its answer's.");
    for class in Class::ALL {
        let (below, count, sum) = gateway.stats.durations(class).read();
        if count == 0 {
            continue;
        }
        let bucket = "warder_request_duration_seconds_bucket";
        for (bound, sum) in BUCKETS.iter().zip(below) {
            let le = seconds(*bound);
            text.sample(bucket, &[("class", &class.name()), ("le", &le)], sum);
        }
        text.sample(bucket, &[("class", &class.name()), ("le", &"+Inf")], count);
        let labels: &[(&str, &dyn Display)] = &[("class", &class.name())];
        text.sample("warder_request_duration_seconds_sum", labels, seconds(sum));
        text.sample("warder_request_duration_seconds_count", labels, count);
    }
    let name = "warder_operations_total";
    text.family(
        name,
        "counter",
        "Requests that change a sandbox's life, by outcome.",
    );
    for ((operation, outcome), count) in gateway.stats.operations() {
        text.sample(
            name,
            &[("operation", &operation), ("outcome", &outcome)],
            count,
        );
    }
}

fn events(text: &mut Text, gateway: &Gateway) {
    let (refused, untold) = gateway.refusals.counts();
    text.one(
        "warder_network_refused_total",
        "counter",
        "Connections, packets and questions that network policies refused, as far as egressd told.",
        refused,
    );
    text.one(
        "warder_network_untold_total",
        "counter",
        "Those that egressd had to leave out.",
        untold,
    );
    let events = &gateway.events;
    let name = "warder_events_total";
    text.family(name, "counter", "Lifecycle events since gatewayd began.");
    for kind in EventKind::ALL {
        text.sample(name, &[("type", &kind.name())], events.count(kind));
    }
    text.one(
        "warder_events_newest",
        "gauge",
        "Number of the newest event.",
        *events.newest().borrow(),
    );
    text.one(
        "warder_events_dropped",
        "gauge",
        "Events that had to make room, in all.",
        events.oldest() - 1,
    );
    text.one(
        "warder_events_not_written_total",
        "counter",
        "Events that could not be written down and end with this process.",
        events.unwritten(),
    );
}

async fn host(text: &mut Text, gateway: &Gateway) {
    let report = gateway.peers.host_report().await;
    let name = "warder_privd_up";
    text.one(
        name,
        "gauge",
        "Whether privd answers.",
        u8::from(report.is_ok()),
    );
    let Ok(report) = report else { return };
    let name = "warder_daemon_resident_memory_bytes";
    text.family(name, "gauge", "Memory of the daemon, as privd sees it.");
    for (daemon, memory, _) in &report.daemons {
        text.sample(name, &[("daemon", daemon)], memory);
    }
    let name = "warder_daemon_cpu_seconds_total";
    text.family(name, "counter", "Processor time that the daemon has used.");
    for (daemon, _, used) in &report.daemons {
        text.sample(name, &[("daemon", daemon)], seconds(*used));
    }
    text.one(
        "warder_sandboxes_max",
        "gauge",
        "Sandboxes there may be.",
        report.sandboxes.0,
    );
    text.one(
        "warder_storage_free_bytes",
        "gauge",
        "Free where sandboxes are stored.",
        report.storage.0,
    );
    text.one(
        "warder_storage_size_bytes",
        "gauge",
        "In all where sandboxes are stored.",
        report.storage.1,
    );
}

fn sandboxes(text: &mut Text, gateway: &Gateway) {
    let mut all = gateway.registry.all();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let name = "warder_sandboxes";
    text.family(name, "gauge", "Sandboxes by what they do.");
    let running = all.iter().filter(|sandbox| sandbox.runs()).count();
    let killing = all.iter().filter(|sandbox| sandbox.now().killing).count();
    let creating = limits::PENDING_CREATES - gateway.creates.available_permits();
    text.sample(name, &[("state", &"creating")], creating);
    text.sample(name, &[("state", &"running")], running);
    text.sample(name, &[("state", &"killing")], killing);
    let other = all.len().saturating_sub(running + killing);
    text.sample(name, &[("state", &"paused")], other);
    let sampled: Vec<_> = all
        .iter()
        .filter(|sandbox| sandbox.runs())
        .filter_map(|sandbox| {
            let sample = sandbox.series().newest()?;
            let now = sandbox.now();
            Some((
                &sandbox.id,
                now.record.template.clone(),
                now.record.limits,
                sample,
            ))
        })
        .collect();
    let mut family = |name: &str, help: &str, value: &dyn Fn(usize) -> f64| {
        text.family(name, "gauge", help);
        for (at, (id, template, ..)) in sampled.iter().enumerate() {
            text.sample(name, &[("sandbox", id), ("template", template)], value(at));
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "bytes below 2^53")]
    let number = |bytes: u64| bytes as f64;
    family(
        "warder_sandbox_cpu_percent",
        "Of the processor time it may have, in the last seconds.",
        &|at| sampled[at].3.cpu_percent(),
    );
    family(
        "warder_sandbox_memory_bytes",
        "Its memory without page cache.",
        &|at| number(sampled[at].3.memory()),
    );
    family(
        "warder_sandbox_memory_cache_bytes",
        "Its page cache.",
        &|at| number(sampled[at].3.cache()),
    );
    family(
        "warder_sandbox_memory_limit_bytes",
        "Memory it may have.",
        &|at| number(u64::from(sampled[at].2.memory_mib) * MIB),
    );
    family(
        "warder_sandbox_disk_bytes",
        "Its writable layer; 0 where the host does not count it.",
        &|at| number(sampled[at].3.disk()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_format_has_them() {
        let mut text = Text::default();
        text.one("a_total", "counter", "Help.", 3);
        text.family("b", "gauge", "More.");
        text.sample("b", &[("x", &"1"), ("le", &seconds(2_500))], 0.5);
        assert_eq!(
            text.0,
            "# HELP a_total Help.\n# TYPE a_total counter\na_total 3\n# HELP b More.\n# TYPE b gauge\nb{x=\"1\",le=\"0.0025\"} 0.5\n"
        );
    }
}
