//! What is open when a policy changes: what it forbids has ended when the change is answered, what it allows goes on.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{ALPHA, BETA, Flow, GOOGLE, HOST, Seen, Stage, TCP, WWW, on_a_host};

fn deny_all_but(allowed: &[&str]) -> Value {
    json!({ "allowOut": allowed, "denyOut": ["0.0.0.0/0"] })
}

/// Nothing of the host's goes to `address` from now on, beside what ends connections.
fn silent(stage: &Stage, mark: usize, address: std::net::Ipv4Addr) {
    stage.barrier();
    let speaks = |p: &&Seen| p.to == address && p.from == HOST && !p.payload.is_empty();
    let seen = stage.wire.since(mark);
    assert_eq!(seen.iter().find(speaks), None, "{address}");
}

#[test]
fn a_tightening_ends_what_it_forbids_and_nothing_else() {
    on_a_host("a_tightening_ends_what_it_forbids_and_nothing_else", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let both: Vec<(Flow, Flow)> = ["tcp", "udp"]
            .iter()
            .map(|kind| {
                (
                    stage.flow(
                        &sandbox,
                        &format!("{kind}-a"),
                        &format!("long_{kind}('{ALPHA}')"),
                    ),
                    stage.flow(
                        &sandbox,
                        &format!("{kind}-b"),
                        &format!("long_{kind}('{BETA}')"),
                    ),
                )
            })
            .collect();
        let web = (
            stage.flow(
                &sandbox,
                "http-a",
                &format!("long_http('{ALPHA}', 'x.test')"),
            ),
            stage.flow(
                &sandbox,
                "http-b",
                &format!("long_http('{BETA}', 'x.test')"),
            ),
        );
        stage.put(&sandbox, &deny_all_but(&[&BETA.to_string()]));
        // The answer has come: from here on nothing.
        let mark = stage.barrier();
        for (forbidden, allowed) in both.iter().chain([&web]) {
            stage.goes_on(&sandbox, allowed);
            let end = stage.ends(&sandbox, forbidden);
            assert!(!end.is_empty());
        }
        silent(&stage, mark, ALPHA);
        // Both directions: the server finds no way back either.
        for (_, allowed) in both.iter().chain([&web]) {
            stage.goes_on(&sandbox, allowed);
        }
        // The next change ends the rest.
        stage.put(&sandbox, &deny_all_but(&[]));
        let mark = stage.barrier();
        for (_, allowed) in both.iter().chain([&web]) {
            let _ = stage.ends(&sandbox, allowed);
        }
        silent(&stage, mark, BETA);
        stage.finish();
    });
}

#[test]
fn flows_by_name_end_with_their_name() {
    on_a_host("flows_by_name_end_with_their_name", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(
            &json!({ "network": deny_all_but(&["alpha.test", "google.com", "beta.test"]) }),
        );
        let flows = |name: &str, address: &dyn std::fmt::Display| {
            let id = name.replace('.', "-");
            [
                stage.flow(
                    &sandbox,
                    &format!("https-{id}"),
                    &format!("long_https('{address}', '{name}')"),
                ),
                stage.flow(
                    &sandbox,
                    &format!("http-{id}"),
                    &format!("long_http('{address}', '{name}')"),
                ),
            ]
        };
        let (alpha, beta, google) = (
            flows("alpha.test", &ALPHA),
            flows("beta.test", &WWW),
            flows("google.com", &GOOGLE),
        );
        // By its name no more, and by its address still: that decides too (docs: what allowed it is judged anew).
        stage.put(&sandbox, &deny_all_but(&["alpha.test", "*.other.test"]));
        let mark = stage.barrier();
        for flow in beta.iter().chain(&google) {
            let _ = stage.ends(&sandbox, flow);
        }
        for flow in &alpha {
            stage.goes_on(&sandbox, flow);
        }
        silent(&stage, mark, BETA);
        let to_google = |p: &&Seen| p.to == GOOGLE && p.protocol == TCP && !p.payload.is_empty();
        assert_eq!(stage.wire.since(mark).iter().find(to_google), None);
        stage.put(&sandbox, &deny_all_but(&[]));
        for flow in &alpha {
            let _ = stage.ends(&sandbox, flow);
        }
        stage.finish();
    });
}

#[test]
fn a_loosening_ends_nothing() {
    on_a_host("a_loosening_ends_nothing", || {
        let stage = Stage::start();
        let sandbox =
            stage.sandbox(&json!({ "network": deny_all_but(&[&ALPHA.to_string(), "beta.test"]) }));
        let flows = [
            stage.flow(&sandbox, "tcp", &format!("long_tcp('{ALPHA}')")),
            stage.flow(&sandbox, "udp", &format!("long_udp('{ALPHA}')")),
            stage.flow(
                &sandbox,
                "https",
                &format!("long_https('{ALPHA}', 'beta.test')"),
            ),
        ];
        for policy in [
            deny_all_but(&["192.0.2.0/24", "beta.test", "google.com"]),
            deny_all_but(&["192.0.2.0/24", "*"]),
        ] {
            stage.put(&sandbox, &policy);
            for flow in &flows {
                stage.goes_on(&sandbox, flow);
            }
        }
        stage.finish();
    });
}
