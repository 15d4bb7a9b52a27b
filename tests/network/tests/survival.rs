//! A policy holds through everything that happens to a sandbox and to the daemons.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_network::{ALPHA, BETA, GOOGLE, HOST, Seen, Stage, WWW, on_a_host, run};

const PATIENCE: Duration = Duration::from_secs(30);

fn policy() -> Value {
    json!({ "allowOut": ["alpha.test", WWW.to_string()], "denyOut": ["0.0.0.0/0"] })
}

/// Whether the sandbox sees [`policy`], in words.
fn seen(stage: &Stage, sandbox: &Value) -> Value {
    stage.probe(
        sandbox,
        &format!(
            "T = 1.0\n[visit('alpha.test'), tcp('{WWW}'), udp('{WWW}'), tcp('{ALPHA}'), tcp('{BETA}'), udp('{BETA}'), \
             secure('{BETA}', 'beta.test'), visit('beta.test')]"
        ),
    )
}

/// Allowed is what [`policy`] allows, and denied the rest.
fn holds(stage: &Stage, sandbox: &Value, when: &str) {
    let got = seen(stage, sandbox);
    let list = got.as_array().expect("a list");
    assert_eq!(list[0], ALPHA.to_string(), "{when}: {got}");
    assert_eq!(
        (&list[1], &list[2]),
        (&json!("ok"), &json!("ok")),
        "{when}: {got}"
    );
    for denied in &list[3..] {
        assert!(
            denied != "ok" && *denied != BETA.to_string(),
            "{when}: {got}"
        );
    }
}

/// Waits until it is so; never is more allowed.
fn comes_to_hold(stage: &Stage, sandbox: &Value, when: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let got = seen(stage, sandbox);
        let list = got.as_array().expect("a list");
        for denied in &list[3..] {
            assert!(
                denied != "ok" && *denied != BETA.to_string(),
                "{when}: {got}"
            );
        }
        if list[0] == ALPHA.to_string() && list[1] == "ok" && list[2] == "ok" {
            return;
        }
        assert!(Instant::now() < end, "{when}: {got}\n{}", stage.log_text());
    }
}

fn post(stage: &Stage, sandbox: &Value, what: &str, body: &Value) -> Value {
    let id = sandbox["sandboxID"].as_str().expect("an id");
    let answer = stage.api("POST", &format!("/sandboxes/{id}/{what}"), body);
    assert!(
        answer.status < 300,
        "{what}: {} {}\n{}",
        answer.status,
        answer.text(),
        stage.log_text()
    );
    answer.json()
}

#[test]
fn through_pause_resume_snapshot_and_fork() {
    on_a_host("through_pause_resume_snapshot_and_fork", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": policy() }));
        holds(&stage, &sandbox, "made");
        let generation = stage.detail(&sandbox)["networkState"]["inForce"].clone();
        for memory in [true, false] {
            post(&stage, &sandbox, "pause", &json!({ "memory": memory }));
            let mark = stage.barrier();
            stage.barrier();
            let speaks = |p: &&Seen| p.from == HOST && [BETA, GOOGLE].contains(&p.to);
            assert_eq!(stage.wire.since(mark).iter().find(speaks), None);
            post(&stage, &sandbox, "resume", &json!({ "timeout": 300 }));
            stage.trust(&sandbox);
            holds(&stage, &sandbox, "resumed");
        }
        assert_eq!(
            stage.detail(&sandbox)["networkState"]["inForce"],
            generation
        );
        // The one that was copied keeps its rules; a fork takes them over.
        post(&stage, &sandbox, "snapshots", &json!({}));
        holds(&stage, &sandbox, "after a snapshot");
        let forks = post(&stage, &sandbox, "fork", &json!({ "count": 2 }));
        for fork in forks.as_array().expect("a list") {
            holds(&stage, &fork["sandbox"], "a fork");
        }
        holds(&stage, &sandbox, "after a fork");
        // With no internet, too, and with the air gap.
        stage.put(&sandbox, &json!({ "allow_internet_access": false }));
        let closed = |when: &str| {
            let got = stage.probe(
                &sandbox,
                &format!("T = 0.5\n[tcp('{ALPHA}'), udp('{ALPHA}'), dns('8.8.8.8', 'alpha.test')]"),
            );
            assert!(
                !got.to_string().contains("ok") && !got.to_string().contains("192.0.2"),
                "{when}: {got}"
            );
        };
        for gap in [false, true] {
            if gap {
                stage.put(&sandbox, &json!({}));
                assert_eq!(stage.airgap(&sandbox, true), 204);
            }
            post(&stage, &sandbox, "pause", &json!({}));
            post(&stage, &sandbox, "resume", &json!({ "timeout": 300 }));
            closed("closed and resumed");
            let forks = post(&stage, &sandbox, "fork", &json!({ "count": 1 }));
            assert_eq!(
                stage.detail(&forks[0]["sandbox"])["networkState"]["airGap"],
                gap,
                "{forks}"
            );
        }
        stage.finish();
    });
}

/// A daemon's death opens nothing, ends no flow that it does not carry itself, and is over soon.
#[test]
fn through_the_death_of_every_daemon() {
    on_a_host("through_the_death_of_every_daemon", || {
        let mut stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": policy() }));
        let direct = stage.flow(&sandbox, "direct", &format!("long_tcp('{WWW}')"));
        let other = stage.flow(&sandbox, "datagrams", &format!("long_udp('{WWW}')"));
        let mark = stage.wire.mark();
        for victim in ["netd", "egressd", "gatewayd", "pluginhost", "privd"] {
            let named = stage.flow(
                &sandbox,
                &format!("by-name-{victim}"),
                &format!("long_https('{BETA}', 'alpha.test')"),
            );
            if victim == "privd" {
                stage.instance().replace_privd();
            } else {
                let pid = stage.daemon_pid(victim).expect("it runs");
                run(&format!("kill -9 {pid}"));
                stage.await_log(&format!(
                    "{victim}{} ended: ",
                    if victim == "pluginhost" { "-0" } else { "" }
                ));
            }
            stage.await_http();
            comes_to_hold(&stage, &sandbox, victim);
            for flow in [&direct, &other] {
                stage.goes_on(&sandbox, flow);
            }
            // What egressd carries ends with egressd; that one ends with netd and privd.
            if victim == "gatewayd" || victim == "pluginhost" {
                stage.goes_on(&sandbox, &named);
            } else {
                let _ = stage.ends(&sandbox, &named);
            }
            // And the next change is taken.
            let end = Instant::now() + PATIENCE;
            let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
            while stage
                .api("PUT", &format!("/sandboxes/{id}/network"), &policy())
                .status
                != 204
            {
                assert!(Instant::now() < end, "{victim}: {}", stage.log_text());
            }
            holds(&stage, &sandbox, victim);
        }
        stage.barrier();
        // The connections by name to this address' name all went elsewhere.
        let denied = |p: &&Seen| p.from == HOST && p.to == BETA;
        assert_eq!(stage.wire.since(mark).iter().find(denied), None);
        stage.finish();
    });
}

/// Nothing is open while they are away, even together and at once.
#[test]
fn nothing_opens_while_daemons_are_away() {
    on_a_host("nothing_opens_while_daemons_are_away", || {
        let mut stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": policy() }));
        let closed = stage.sandbox(&json!({}));
        assert_eq!(stage.airgap(&closed, true), 204);
        let mut trying = Vec::new();
        // It goes on trying by itself: nobody could be asked meanwhile.
        for (one, tries) in [
            (
                &sandbox,
                format!("[tcp('{BETA}'), udp('{BETA}'), secure('{BETA}', 'beta.test')]"),
            ),
            (
                &closed,
                format!("[tcp('{ALPHA}'), udp('{ALPHA}'), dns('8.8.8.8', 'alpha.test')]"),
            ),
        ] {
            let flow = format!("(lambda: (globals().update(T=0.2), {tries}) and None)");
            trying.push(stage.flow(one, "tries", &flow));
        }
        let mark = stage.wire.mark();
        for _ in 0..3 {
            stage.instance().replace_privd();
            for victim in ["netd", "egressd", "gatewayd"] {
                if let Some(pid) = stage.daemon_pid(victim) {
                    run(&format!("kill -9 {pid} || true"));
                }
            }
            stage.await_http();
        }
        comes_to_hold(&stage, &sandbox, "after all");
        stage.barrier();
        let seen = stage.wire.since(mark);
        let denied =
            |p: &&Seen| p.from == HOST && (p.to == BETA || p.to == ALPHA && p.ports.1 == 7);
        assert_eq!(seen.iter().find(denied), None);
        for (one, tries) in [&sandbox, &closed].into_iter().zip(&trying) {
            stage.goes_on(one, tries);
        }
        stage.finish();
    });
}
