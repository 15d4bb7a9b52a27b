//! A hostile first process in a sandbox against the real gateway: every trick costs it its own request, nothing else.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::{Instance, http, processes};
use warder_privsep::guests::{promptly, until};

#[test]
fn every_trick_on_the_link_costs_only_the_guest() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let instance = Instance::builder().agent(agent).start();
    let gateway = instance.daemon_pid("gatewayd").expect("the gateway runs");
    let before = descriptors(gateway);
    let on_the_link = [
        1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1010, 1011, 1012, 1014,
    ];
    let on_a_connection = [1021, 1022, 1024];
    for port in on_the_link.into_iter().chain(on_a_connection) {
        // A sandbox each: the gateway may well give up a link that lied.
        let sandbox = instance.create(&json!({}));
        let answer = instance.sandbox(&sandbox, port, "GET", "/", b"");
        assert!(
            [502, 504].contains(&answer.status),
            "port {port}: {} {}",
            answer.status,
            answer.text()
        );
        instance.remove(&sandbox);
    }
    assert_eq!(
        instance.daemon_pid("gatewayd"),
        Some(gateway),
        "the gateway was restarted:\n{}",
        instance.log_text()
    );
    // None of the thousands it was sent stays open.
    await_descriptors(gateway, before);
    instance.finish();
}

/// Its descriptors may wait for an hour when they are closed: neither the gateway's loop nor the thread that closes
/// them waits as long, so that none pile up while the guest lives.
#[test]
fn sockets_hidden_in_the_queues_of_others_hold_up_nothing() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let instance = Instance::builder().agent(agent).start();
    let gateway = instance.daemon_pid("gatewayd").expect("the gateway runs");
    let (trap, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let before = descriptors(gateway);
    for _ in 0..6 {
        let answer = instance.sandbox(&trap, 1015, "GET", "/", b"");
        assert!([502, 504].contains(&answer.status), "{}", answer.status);
        let answer = instance.sandbox(&other, 49983, "GET", "/health", b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    await_descriptors(gateway, before);
    assert_eq!(instance.daemon_pid("gatewayd"), Some(gateway));
    for sandbox in [&trap, &other] {
        instance.remove(sandbox);
    }
    instance.finish();
}

#[test]
fn a_socket_made_to_block_stops_nobody_else() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let instance = Instance::builder().agent(agent).start();
    let trap = instance.create(&json!({}));
    let address = instance.address();
    let id = Arc::new(trap["sandboxID"].as_str().expect("an id").to_owned());
    // Bodies larger than any buffer, into a socket nobody reads; left to hang, then dropped in the middle.
    for _ in 0..4 {
        let id = Arc::clone(&id);
        thread::spawn(move || {
            let mut stream = http::tcp(address).expect("the gateway accepts");
            let headers = [
                ("E2b-Sandbox-Id", id.as_str()),
                ("E2b-Sandbox-Port", "1020"),
            ];
            let _ = http::request(&mut stream, "POST", "/", &headers, &vec![0; 32 << 20]);
        });
    }
    // Never answered; waits in the guest.
    let id = Arc::clone(&id);
    thread::spawn(move || {
        let mut stream = http::tcp(address).expect("the gateway accepts");
        let _ = http::request(
            &mut stream,
            "GET",
            "/",
            &[
                ("E2b-Sandbox-Id", id.as_str()),
                ("E2b-Sandbox-Port", "1008"),
            ],
            b"",
        );
    });
    let mut others = Vec::new();
    for _ in 0..5 {
        let other = instance.create(&json!({}));
        assert_eq!(
            instance
                .sandbox(&other, 49983, "GET", "/health", b"")
                .status,
            204
        );
        others.push(other);
    }
    for sandbox in others.iter().chain([&trap]) {
        instance.remove(sandbox);
    }
    instance.finish();
}

#[test]
fn an_agent_that_takes_no_more_links_costs_only_its_own_requests() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let instance = Instance::builder().agent(agent).start();
    let (deaf, other) = (instance.create(&json!({})), instance.create(&json!({})));
    // From now on it takes one link more and never reads it.
    assert_eq!(instance.sandbox(&deaf, 1013, "GET", "/", b"").status, 502);
    let prompt = prompt(&instance, &other, Duration::from_secs(3));
    let asked = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..40 {
            let asked = Arc::clone(&asked);
            let (instance, deaf) = (&instance, &deaf);
            scope.spawn(move || {
                let answer = instance.sandbox(deaf, 8000, "GET", "/", b"");
                asked.fetch_add(1, Ordering::Relaxed);
                assert!(
                    [502, 504, 429].contains(&answer.status),
                    "{}",
                    answer.status
                );
            });
        }
        // While those wait, privd and the gateway answer everybody else.
        let mut served = 0;
        while asked.load(Ordering::Relaxed) < 40 {
            let begun = Instant::now();
            let answer = instance.sandbox(&other, 49983, "GET", "/health", b"");
            assert_eq!(answer.status, 204, "{}", answer.text());
            assert!(begun.elapsed() < prompt, "it had to wait");
            served += 1;
        }
        assert!(served > 0);
        let third = instance.create(&json!({}));
        instance.remove(&third);
    });
    for sandbox in [&deaf, &other] {
        instance.remove(sandbox);
    }
    instance.finish();
}

#[test]
fn endless_answers_stop_nobody_else() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let instance = Instance::builder().agent(agent).start();
    let gateway = instance.daemon_pid("gatewayd").expect("the gateway runs");
    let (noisy, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let prompt = prompt(&instance, &other, Duration::from_secs(5));
    let address = instance.address();
    // One never comes to an answer, the other's answer is never read.
    for port in ["1023", "1025", "1023", "1025"] {
        let mut stream = http::tcp(address).expect("the gateway accepts");
        let id = noisy["sandboxID"].as_str().expect("an id");
        let head = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: {port}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sends");
        std::mem::forget(stream);
    }
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = instance.sandbox(&other, 49983, "GET", "/health", b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert!(begun.elapsed() < prompt, "it had to wait");
    }
    let resident = processes::of(gateway).expect("it runs").resident;
    assert!(resident < 200_000, "the gateway keeps {resident} KiB");
    for sandbox in [&noisy, &other] {
        instance.remove(sandbox);
    }
    instance.finish();
}

/// How long an answer of a sandbox may take while others attack, by one that comes alone.
fn prompt(instance: &Instance, sandbox: &Value, usual: Duration) -> Duration {
    let begun = Instant::now();
    let answer = instance.sandbox(sandbox, 49983, "GET", "/health", b"");
    assert_eq!(answer.status, 204, "{}", answer.text());
    promptly(usual, begun.elapsed())
}

/// Waits until a process has hardly more descriptors than `before`.
fn await_descriptors(pid: u32, before: usize) {
    until(&format!("hardly more than {before} descriptors"), || {
        descriptors(pid) <= before + 4
    });
}

fn descriptors(pid: u32) -> usize {
    processes::descriptors(pid).expect("it runs")
}
