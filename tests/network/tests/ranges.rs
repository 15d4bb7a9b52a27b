//! What no policy opens, and what leaves a sandbox at all.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use serde_json::json;
use warder_network::{ALPHA, DENIED, HOST, NEVER, Stage, on_a_host};

#[test]
fn always_denied_ranges_are_opened_by_nothing() {
    on_a_host("always_denied_ranges_are_opened_by_nothing", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let everything = json!({
            "allowOut": ["0.0.0.0/0", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
                         "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", NEVER.to_string()],
        });
        for policy in [json!({}), everything] {
            stage.put(&sandbox, &policy);
            let mark = stage.wire.mark();
            for address in DENIED {
                let tried = stage.probe(
                    &sandbox,
                    &format!(
                        "T = 0.5\na = '{address}'\n[tcp(a), tcp(a, 80), banner(a), half(a), udp(a), ping(a), secure(a), \
                         secure(a, port=8443), http(a, a), udp(a, 443)]"
                    ),
                );
                for word in tried.as_array().expect("a list") {
                    assert_ne!(word, "ok", "{address}: {tried}");
                    assert_ne!(word[0], 200, "{address}: {tried}");
                }
            }
            stage.barrier();
            let left = stage.wire.since(mark);
            let left: Vec<_> = left.iter().filter(|p| DENIED.contains(&p.to)).collect();
            assert!(left.is_empty(), "{left:?}");
            assert_eq!(stage.word(&sandbox, &format!("tcp('{ALPHA}')")), "ok");
        }
        stage.finish();
    });
}

#[test]
fn every_protocol_that_is_allowed_works() {
    on_a_host("every_protocol_that_is_allowed_works", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let all = format!(
            "a = '{ALPHA}'\n[tcp(a), banner(a), half(a), udp(a), ping(a), secure(a), secure(a, port=8443), \
             http(a, 'x.test')[0], udp(a, 443)]"
        );
        let good = json!(["ok", "ok", "ok", "ok", "ok", "ok", "ok", 200, "ok"]);
        let policies = [
            json!({}),
            json!({ "allowOut": [ALPHA.to_string()], "denyOut": ["0.0.0.0/0"] }),
            json!({ "denyOut": ["8.8.0.0/16"] }),
        ];
        for policy in policies {
            stage.put(&sandbox, &policy);
            let mark = stage.wire.mark();
            assert_eq!(stage.probe(&sandbox, &all), good, "{policy}");
            stage.barrier();
            let seen = stage.wire.since(mark);
            let inner =
                |address: Ipv4Addr| address.octets()[0] == 10 || address.octets()[..2] == [198, 19];
            assert!(seen.iter().any(|p| p.to == ALPHA && p.from == HOST));
            let bare: Vec<_> = seen.iter().filter(|p| inner(p.from)).collect();
            assert!(bare.is_empty(), "an inner address on the wire: {bare:?}");
        }
        stage.put(&sandbox, &json!({ "denyOut": ["192.0.2.0/24"] }));
        let none = stage.probe(&sandbox, &all.replace("[0]", "")).to_string();
        assert!(!none.contains("ok") && !none.contains("200"), "{none}");
        stage.finish();
    });
}
