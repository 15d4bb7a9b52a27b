//! Names in a policy: what they allow, and where what is allowed by name really goes.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{ALPHA, BETA, CLOUDFLARE, GOOGLE, Stage, WWW, on_a_host};

/// Names in a policy; names it allows, with where they lead; names it does not.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

fn only(names: &[&str]) -> Value {
    json!({ "allowOut": names, "denyOut": ["0.0.0.0/0"] })
}

#[test]
fn a_name_is_itself_a_wildcard_everything_below() {
    on_a_host("a_name_is_itself_a_wildcard_everything_below", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let (alpha, www) = (ALPHA.to_string(), WWW.to_string());
        let cases: [Case<'_>; 6] = [
            (
                &["alpha.test"],
                &[("alpha.test", &alpha), ("ALPHA.test", &alpha)],
                &["www.alpha.test", "beta.test"],
            ),
            (
                &["ALPHA.Test"],
                &[("alpha.test", &alpha)],
                &["www.alpha.test"],
            ),
            (
                &["*.alpha.test"],
                &[
                    ("www.alpha.test", &www),
                    ("deep.www.alpha.test", &www),
                    ("Www.Alpha.TEST", &www),
                ],
                &["alpha.test", "beta.test"],
            ),
            (
                &["*.google.com"],
                &[("maps.google.com", "8.8.8.8")],
                &["google.com", "cloudflare.com"],
            ),
            (
                &["*"],
                &[("alpha.test", &alpha), ("www.google.com", "8.8.8.8")],
                &[],
            ),
            (
                &["beta.test", "*.alpha.test"],
                &[("www.alpha.test", &www)],
                &["alpha.test"],
            ),
        ];
        for (names, good, bad) in cases {
            stage.put(&sandbox, &only(names));
            for (name, address) in good {
                assert_eq!(
                    &stage.word(&sandbox, &format!("visit('{name}')")),
                    address,
                    "{names:?}: {name}"
                );
                let host = format!("http(socket.gethostbyname('{name}'), '{name}')[0]");
                assert_eq!(stage.probe(&sandbox, &host), 200, "{names:?}: {name}");
            }
            for name in bad {
                let got = stage.word(&sandbox, &format!("visit('{name}')"));
                assert_eq!(got, "no name", "{names:?}: {name}");
                // Nor when the sandbox knows the address.
                for address in [ALPHA, WWW, GOOGLE, BETA] {
                    let got = stage.word(&sandbox, &format!("secure('{address}', '{name}')"));
                    assert_ne!(got, "ok", "{names:?}: {name}");
                    let got = stage.probe(&sandbox, &format!("http('{address}', '{name}')"));
                    assert_eq!(got[0], 403, "{names:?}: {name}: {got}");
                }
            }
        }
        stage.finish();
    });
}

#[test]
fn a_false_address_leads_to_the_named_host() {
    on_a_host("a_false_address_leads_to_the_named_host", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": only(&["alpha.test"]) }));
        let hosts = format!("echo '{BETA} alpha.test' >> /etc/hosts");
        let ran = stage.run(&sandbox, "root", &hosts, 60_000);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let mark = stage.wire.mark();
        let alpha = ALPHA.to_string();
        assert_eq!(stage.word(&sandbox, "visit('alpha.test')"), alpha);
        // Whatever address the name is shown to.
        for address in [BETA, CLOUDFLARE, "10.9.9.9".parse().expect("one")] {
            let got = stage.probe(&sandbox, &format!("https('{address}', 'alpha.test')"));
            assert_eq!(got, json!([200, format!("{ALPHA} alpha.test /")]));
            let got = stage.probe(&sandbox, &format!("http('{address}', 'alpha.test')"));
            assert_eq!(got, json!([200, format!("{ALPHA} alpha.test /")]));
        }
        stage.barrier();
        let elsewhere = |p: &&warder_network::Seen| p.to == BETA || p.to == CLOUDFLARE;
        assert_eq!(stage.wire.since(mark).iter().find(elsewhere), None);
        stage.finish();
    });
}

#[test]
fn a_name_never_leads_inside() {
    on_a_host("a_name_never_leads_inside", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": only(&["*"]) }));
        let mark = stage.wire.mark();
        for name in ["inner.test", "never.test"] {
            for address in [ALPHA, GOOGLE] {
                let got = stage.word(&sandbox, &format!("secure('{address}', '{name}')"));
                assert_ne!(got, "ok", "{name}");
                let got = stage.probe(&sandbox, &format!("http('{address}', '{name}')"));
                assert_ne!(got[0], 200, "{name}: {got}");
            }
            let got = stage.word(&sandbox, &format!("visit('{name}')"));
            assert!(got.parse::<std::net::Ipv4Addr>().is_err(), "{name}: {got}");
        }
        // One of two addresses is good.
        let got = stage.probe(&sandbox, &format!("https('{ALPHA}', 'mixed.test')"));
        assert_eq!(got, json!([200, format!("{ALPHA} mixed.test /")]));
        stage.barrier();
        let inside = |p: &&warder_network::Seen| warder_network::DENIED.contains(&p.to);
        assert_eq!(stage.wire.since(mark).iter().find(inside), None);
        stage.finish();
    });
}

#[test]
fn names_hold_where_they_can_be_seen_and_nowhere_else() {
    on_a_host("names_hold_where_they_can_be_seen_and_nowhere_else", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({ "network": only(&["alpha.test"]) }));
        let tried = stage.probe(
            &sandbox,
            &format!(
                "T = 1.0\na = '{ALPHA}'\n[secure(a), secure(a, 'alpha.test', 8443), tcp(a), banner(a), half(a), \
                 udp(a), udp(a, 443), ping(a), tcp(a, 443), http(a, a), http(a, '')]"
            ),
        );
        let tried = tried.as_array().expect("a list");
        for word in tried {
            assert!(word != "ok" && word[0] != 200, "{tried:?}");
        }
        // An address beside the name opens every port of that address.
        stage.put(&sandbox, &only(&["alpha.test", &BETA.to_string()]));
        let tried = stage.probe(
            &sandbox,
            &format!("b = '{BETA}'\n[secure(b), tcp(b), banner(b), half(b), udp(b), ping(b), http(b, 'any.test')[0]]"),
        );
        assert_eq!(tried, json!(["ok", "ok", "ok", "ok", "ok", "ok", 200]));
        stage.finish();
    });
}
