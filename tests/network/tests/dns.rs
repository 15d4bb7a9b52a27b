//! DNS: all of it comes to egressd, whatever server it is for, and is no tunnel.
#![cfg(target_os = "linux")]

use serde_json::json;
use warder_network::{ALPHA, CLOUDFLARE, DNS, GOOGLE, OWN_DNS, Question, Stage, on_a_host};

fn asked(list: &[Question]) -> Vec<(String, String)> {
    list.iter()
        .map(|q| (q.server.to_string(), q.name.to_ascii_lowercase()))
        .collect()
}

#[test]
fn the_server_that_the_guest_names_is_asked_if_it_may_be() {
    on_a_host(
        "the_server_that_the_guest_names_is_asked_if_it_may_be",
        || {
            let stage = Stage::start();
            let sandbox = stage.sandbox(&json!({}));
            let alpha = json!([ALPHA.to_string()]);
            let ask = |server: &dyn std::fmt::Display, stream: bool| {
                let stream = if stream { "True" } else { "False" };
                stage.probe(
                    &sandbox,
                    &format!("T = 1.5\ndns('{server}', 'alpha.test', {stream})"),
                )
            };
            for stream in [false, true] {
                for server in [GOOGLE, CLOUDFLARE, DNS] {
                    let _ = stage.world.questions();
                    assert_eq!(ask(&server, stream), alpha, "{server}");
                    let list = stage.world.questions();
                    assert_eq!(
                        asked(&list),
                        [(server.to_string(), "alpha.test".to_owned())]
                    );
                }
            }
            // By the rules for addresses, names aside.
            stage.put(
                &sandbox,
                &json!({ "allowOut": [DNS.to_string()], "denyOut": ["0.0.0.0/0"] }),
            );
            for stream in [false, true] {
                let _ = stage.world.questions();
                assert_eq!(ask(&DNS, stream), alpha);
                assert_ne!(ask(&GOOGLE, stream), alpha);
                assert_ne!(ask(&OWN_DNS, stream), alpha, "always denied");
                assert!(stage.world.questions().iter().all(|q| q.server == DNS));
            }
            // The sandbox's own choice.
            stage.put(&sandbox, &json!({ "denyOut": ["8.8.8.8"] }));
            assert_ne!(ask(&GOOGLE, false), alpha);
            assert_eq!(ask(&CLOUDFLARE, false), alpha);
            stage.finish();
        },
    );
}

#[test]
fn with_names_only_those_are_answered_and_nothing_else_is_asked() {
    on_a_host(
        "with_names_only_those_are_answered_and_nothing_else_is_asked",
        || {
            let stage = Stage::start();
            let policy =
                json!({ "allowOut": ["alpha.test", "*.google.com"], "denyOut": ["0.0.0.0/0"] });
            let sandbox = stage.sandbox(&json!({ "network": policy }));
            let _ = stage.world.questions();
            let mark = stage.wire.mark();
            let got = stage.probe(
            &sandbox,
            "T = 1.0\nnames = ['secret-data.evil.test', 'beta.test', 'google.com', 'xalpha.test', 'a.alpha.test']\n\
             servers = ['8.8.8.8', '1.1.1.1', '192.0.2.53', '192.0.2.10', '10.53.53.53']\n\
             [dns(s, n, t, k) for s in servers for n in names for t in (False, True) for k in (1, 16) \
             if s == '8.8.8.8' or (n == names[0] and k == 1)]",
        );
            let leaked: Vec<_> = got
                .as_array()
                .expect("a list")
                .iter()
                .filter(|g| g.is_array())
                .collect();
            assert!(leaked.is_empty(), "{got}");
            stage.barrier();
            assert_eq!(
                stage.world.questions(),
                [],
                "nobody outside has heard of it"
            );
            let evil = |p: &&warder_network::Seen| p.payload.windows(4).any(|w| w == b"evil");
            assert_eq!(stage.wire.since(mark).iter().find(evil), None);
            // Those that are allowed are answered, by the operator's server and no other.
            for (name, good) in [
                ("alpha.test", json!([ALPHA.to_string()])),
                ("Maps.Google.com", json!(["8.8.8.8"])),
            ] {
                for stream in ["False", "True"] {
                    assert_eq!(
                        stage.probe(&sandbox, &format!("dns('8.8.8.8', '{name}', {stream})")),
                        good
                    );
                    let got = stage.probe(
                        &sandbox,
                        &format!("T = 1.0\ndns('1.1.1.1', '{name}', {stream})"),
                    );
                    assert_ne!(got, good);
                }
            }
            assert!(stage.world.questions().iter().all(|q| q.server == GOOGLE));
            stage.finish();
        },
    );
}

#[test]
fn an_air_gap_is_silent_to_questions() {
    on_a_host("an_air_gap_is_silent_to_questions", || {
        let stage = Stage::start();
        let closed = stage.sandbox(&json!({}));
        assert_eq!(stage.airgap(&closed, true), 204);
        let denied = stage.sandbox(&json!({ "allow_internet_access": false }));
        let _ = stage.world.questions();
        let mark = stage.wire.mark();
        for sandbox in [&closed, &denied] {
            let got = stage.probe(
                sandbox,
                "T = 0.5\n[dns(s, n, t) for s in ('8.8.8.8', '1.1.1.1', '192.0.2.53') for n in ('alpha.test', 'x.evil.test') \
                 for t in (False, True)]",
            );
            let answered: Vec<_> = got
                .as_array()
                .expect("a list")
                .iter()
                .filter(|g| g.is_array())
                .collect();
            assert!(answered.is_empty(), "{got}");
        }
        stage.barrier();
        assert_eq!(
            stage.wire.since(mark).iter().find(|p| p.ether == 0x0800),
            None
        );
        assert_eq!(stage.world.questions(), []);
        stage.finish();
    });
}

#[test]
fn own_servers_are_asked_while_names_are_in_use() {
    on_a_host("own_servers_are_asked_while_names_are_in_use", || {
        // The operator's, in a private range.
        let stage = Stage::with(|builder| builder.line(&format!("dns_servers {OWN_DNS}")));
        let names = json!({ "allowOut": ["alpha.test"], "denyOut": ["0.0.0.0/0"] });
        let sandbox = stage.sandbox(&json!({ "network": names }));
        let _ = stage.world.questions();
        let alpha = json!([ALPHA.to_string()]);
        assert_eq!(
            stage.probe(&sandbox, &format!("dns('{OWN_DNS}', 'alpha.test')")),
            alpha
        );
        assert_eq!(stage.world.questions()[0].server, OWN_DNS);
        // It answers questions and nothing else.
        for port in [7, 80, 443] {
            let got = stage.word(&sandbox, &format!("T = 1.0\ntcp('{OWN_DNS}', {port})"));
            assert_ne!(got, "ok", "{port}");
        }
        // The sandbox's.
        let network = json!({
            "allowOut": ["alpha.test"], "denyOut": ["0.0.0.0/0"], "dnsServers": [DNS.to_string()],
        });
        let own = stage.sandbox(&json!({ "network": network }));
        assert_eq!(
            stage.probe(&own, &format!("dns('{DNS}', 'alpha.test')")),
            alpha
        );
        assert_ne!(
            stage.probe(&own, "T = 1.0\ndns('8.8.8.8', 'alpha.test')"),
            alpha
        );
        stage.finish();
    });
}
