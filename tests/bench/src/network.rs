//! Network policy: how soon the last packet is out that a change forbids, what a policy costs to load, what egressd
//! adds, and what an allowed flow carries.

use std::io;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::http::Connection;
use crate::inside::{self, HOST, now};
use crate::internet::{FLOWS, Internet, SINK, STREAM, WEB};
use crate::memory::daemon;
use crate::stats::Samples;
use crate::warder::{Sandbox, Server};

/// Changes of each kind, and of those that end flows, which first have to be there again.
const FLIPS: usize = 100;
/// So many that a hundredth of them is more than the worst.
const ENDS: usize = 200;
/// Flows that are alive when a change must end them.
const LIVE: usize = 200;
/// Entries of a policy that others have.
const RULES: usize = 100;
/// A daemon that lived shorter is started again with a delay, which is not what is measured.
const STABLE: Duration = Duration::from_secs(61);
/// After an answer, how long is looked for what must not come.
const QUIET: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
const SPELL: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
const CLIENTS: usize = 8;
/// This program inside the sandbox.
const PROGRAM: &str = "/tmp/bench";

/// A way to forbid everything: the series' name, what is put where, and what undoes it.
struct Change {
    name: &'static str,
    path: &'static str,
    forbid: fn() -> Value,
    allow: fn() -> Value,
}

const CHANGES: [Change; 2] = [
    Change {
        name: "deny all",
        path: "network",
        forbid: || json!({ "denyOut": ["0.0.0.0/0"] }),
        allow: || json!({}),
    },
    Change {
        name: "air gap",
        path: "airgap",
        forbid: || json!({ "enabled": true }),
        allow: || json!({ "enabled": false }),
    },
];

/// What is measured, with all it takes.
struct Bench<'a> {
    server: &'a Server,
    api: Connection,
    edge: Connection,
    sandbox: Sandbox,
    internet: Internet,
    /// When netd was started, or later.
    born: Instant,
}

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    if std::env::var_os("BENCH_SERVER").is_none() {
        return Err("needs a server of its own, in a namespace of its own".into());
    }
    let internet = Internet::new()?;
    let (mut api, edge) = (server.connect()?, server.connect_edge()?);
    let sandbox = server.create(&mut api)?;
    let mut bench = Bench {
        server,
        api,
        edge,
        sandbox,
        internet,
        born: Instant::now(),
    };
    let program = std::fs::read("/proc/self/exe")?;
    bench.sandbox.upload(&mut bench.edge, PROGRAM, &program)?;
    bench.shell(&format!("chmod 755 {PROGRAM}"))?;
    let mut others = Vec::new();
    let result = bench
        .bulk(samples)
        .and_then(|()| bench.egress(samples))
        .and_then(|()| bench.changes(samples, &mut others));
    for other in others.iter().chain([&bench.sandbox]) {
        server.kill(&mut bench.api, other)?;
    }
    result
}

impl Bench<'_> {
    /// Runs a script inside the sandbox, which must end well.
    fn shell(&mut self, script: &str) -> io::Result<()> {
        let script = format!("set -e; {script}; echo hello");
        let program = ("/bin/bash", &["-c", script.as_str()][..]);
        self.sandbox.run(&mut self.edge, program).map(drop)
    }

    /// Runs this program inside; what it printed.
    fn inside(&mut self, job: &str) -> io::Result<String> {
        let script = format!("{PROGRAM} inside {job} >/tmp/out 2>&1 || echo failed >>/tmp/out");
        self.shell(&script)?;
        let out = self.sandbox.download(&mut self.edge, "/tmp/out")?;
        if out.ends_with("failed\n") {
            return Err(io::Error::other(out));
        }
        Ok(out)
    }

    /// The same without waiting for its end, which [`Self::stop`] brings.
    fn begin(&mut self, job: &str) -> io::Result<()> {
        let name = job.split(' ').next().unwrap_or_default();
        self.shell(&format!(
            "setsid {PROGRAM} inside {job} >/dev/null 2>&1 </dev/null & echo $! >/tmp/{name}.pid"
        ))
    }

    fn stop(&mut self, name: &str) -> io::Result<()> {
        self.shell(&format!("kill $(cat /tmp/{name}.pid)"))
    }

    /// Puts options, and says how long the answer took.
    fn put(&mut self, sandbox: &str, path: &str, body: &Value) -> io::Result<Duration> {
        let path = format!("/sandboxes/{sandbox}/{path}");
        let start = Instant::now();
        self.server.ask(&mut self.api, "PUT", &path, body, 204)?;
        Ok(start.elapsed())
    }

    /// An allowed flow, routed by the kernel, and the same over a pair that nothing filters.
    fn bulk(&mut self, samples: &mut Samples) -> Outcome {
        for _ in 0..ROUNDS {
            let out = self.inside(&format!("bulk {SINK} {}", SPELL.as_secs()))?;
            let ours: f64 = out.trim().parse()?;
            samples.value("network bulk", ours / f64::from(1 << 20));
            let to = SINK.parse()?;
            let plain = self.internet.unfiltered(|| inside::bulk(to, SPELL))??;
            samples.value("network bulk unfiltered", plain / f64::from(1 << 20));
        }
        let both = (
            samples.figures("network bulk unfiltered"),
            samples.figures("network bulk"),
        );
        if let (Some(plain), Some(ours)) = both {
            samples.value("network bulk ratio", plain.p50 / ours.p50);
        }
        Ok(())
    }

    /// HTTP through egressd, which a name allows, and directly, which the address does.
    fn egress(&mut self, samples: &mut Samples) -> Outcome {
        let named = json!({ "allowOut": [HOST], "denyOut": ["0.0.0.0/0"] });
        let id = self.sandbox.id.clone();
        for _ in 0..ROUNDS {
            for (way, policy) in [("direct", &json!({})), ("egressd", &named)] {
                self.put(&id, "network", policy)?;
                for (kind, clients) in [("kept", CLIENTS), ("new", 1)] {
                    let seconds = SPELL.as_secs();
                    let out = self.inside(&format!("load {WEB} {kind} {clients} {seconds}"))?;
                    let series = format!("network {kind} {way}");
                    let mut count = 0.0;
                    for line in out.lines() {
                        samples.value(&series, line.parse()?);
                        count += 1.0;
                    }
                    let rate = count / SPELL.as_secs_f64();
                    samples.value(&format!("{series} rate"), rate);
                }
            }
        }
        self.put(&id, "network", &json!({}))?;
        for kind in ["kept", "new"] {
            let of = |samples: &Samples, way| samples.figures(&format!("network {kind} {way}"));
            if let (Some(direct), Some(through)) = (of(samples, "direct"), of(samples, "egressd")) {
                samples.value(
                    &format!("network {kind} added p50"),
                    through.p50 - direct.p50,
                );
                samples.value(
                    &format!("network {kind} added p99"),
                    through.p99 - direct.p99,
                );
            }
        }
        Ok(())
    }

    /// Changes among ever more sandboxes, all of which have rules of their own.
    fn changes(&mut self, samples: &mut Samples, others: &mut Vec<Sandbox>) -> Outcome {
        self.begin(&format!("stream {STREAM}"))?;
        let full = std::env::var("BENCH_FULL").is_ok_and(|full| full == "1");
        let counts: &[usize] = if full { &[1, 100, 1000] } else { &[1, 100] };
        for &count in counts {
            while others.len() + 1 < count {
                let other = self.server.create(&mut self.api)?;
                let time = self.put(&other.id, "network", &rules(others.len()))?;
                samples.time("network rules", time);
                others.push(other);
            }
            let id = self.sandbox.id.clone();
            for n in 0..FLIPS {
                let time = self.put(&id, "network", &rules(n))?;
                samples.time(&format!("network rules at {count}"), time);
            }
            for change in &CHANGES {
                self.flips(samples, change, &format!("at {count}"), 0)?;
            }
            self.begin(&format!("flows {FLOWS} {LIVE}"))?;
            for change in &CHANGES {
                self.flips(samples, change, &format!("at {count} with flows"), LIVE)?;
            }
            self.stop("flows")?;
            self.restart(samples, count)?;
        }
        Ok(())
    }

    /// netd killed, until a new one has taken over all rules and put a policy in force.
    fn restart(&mut self, samples: &mut Samples, count: usize) -> Outcome {
        thread::sleep(STABLE.saturating_sub(self.born.elapsed()));
        let id = self.sandbox.id.clone();
        let netd = daemon("netd").ok_or("netd does not run")?;
        let start = Instant::now();
        Command::new("kill")
            .args(["-9", &netd.to_string()])
            .status()?;
        while let Err(error) = self.put(&id, "network", &rules(count)) {
            if start.elapsed() > PATIENCE {
                return Err(error.into());
            }
            thread::sleep(Duration::from_millis(1));
            self.api = self.server.connect()?;
        }
        samples.time(&format!("network restart at {count}"), start.elapsed());
        self.born = Instant::now();
        Ok(())
    }

    fn flips(
        &mut self,
        samples: &mut Samples,
        change: &Change,
        when: &str,
        live: usize,
    ) -> Outcome {
        let (id, name) = (self.sandbox.id.clone(), change.name);
        let (mut late, flips) = (0_u64, if live == 0 { FLIPS } else { ENDS });
        self.put(&id, "network", &json!({}))?;
        for _ in 0..flips {
            self.await_traffic(live)?;
            let start = now();
            let answered = self.put(&id, change.path, &(change.forbid)())?;
            let answer = now();
            thread::sleep(QUIET);
            let seen = &self.internet.seen;
            let last = seen.received.load(Relaxed);
            // What was on its way at the answer is not late; what was sent afterwards is.
            late += u64::from(seen.sent.load(Relaxed) > answer);
            let after = Duration::from_nanos(last.saturating_sub(start));
            samples.time(&format!("network {name} {when}"), after);
            samples.time(&format!("network {name} answer {when}"), answered);
            self.put(&id, change.path, &(change.allow)())?;
        }
        if late > 0 {
            samples.note(format!(
                "network: {name} {when}: in {late} of {flips} changes a packet passed that was sent after the answer"
            ));
        }
        Ok(())
    }

    /// Until the stream arrives, and as many flows are alive.
    fn await_traffic(&self, live: usize) -> Outcome {
        let seen = &self.internet.seen;
        let enough = seen.packets.load(Relaxed) + 20;
        let deadline = Instant::now() + PATIENCE;
        while seen.packets.load(Relaxed) < enough || seen.flows.load(Relaxed) < live {
            if Instant::now() > deadline {
                let (packets, flows) = (seen.packets.load(Relaxed), seen.flows.load(Relaxed));
                return Err(
                    format!("{packets} packets of {enough}, {flows} flows of {live}").into(),
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// A policy of as many entries, no two of which are the same.
fn rules(seed: usize) -> Value {
    let half = RULES / 2;
    let network = |n: usize| format!("100.{}.{}.0/24", n % 64, (n * 7 + seed) % 256);
    let address = |n: usize| format!("100.{}.{}.{}", n % 64, (n * 7 + seed) % 256, n + 1);
    let list = |of: &dyn Fn(usize) -> String| (0..half).map(of).collect::<Vec<_>>();
    json!({ "denyOut": list(&network), "allowOut": list(&address) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_policy_has_as_many_entries_as_it_says() {
        for seed in [0, 3, 999] {
            let policy = rules(seed);
            let all = ["denyOut", "allowOut"].map(|list| policy[list].as_array().cloned());
            let all: BTreeSet<String> = all
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.to_string())
                .collect();
            assert_eq!(all.len(), RULES);
        }
    }
}
