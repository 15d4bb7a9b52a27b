//! `egressProxy`: TCP that is allowed goes through the user's own SOCKS5 proxy, or nowhere.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{
    ALPHA, BETA, GOOGLE, HOST, LOGIN, PROXY, Relayed, Seen, Stage, TCP, on_a_host,
};

fn through(address: &str, login: (&str, &str), more: &Value) -> Value {
    let mut body =
        json!({ "egressProxy": { "address": address, "username": login.0, "password": login.1 } });
    let both = (body.as_object_mut(), more.as_object());
    if let (Some(body), Some(more)) = both {
        body.extend(more.clone());
    }
    body
}

fn direct(seen: &[Seen]) -> Option<&Seen> {
    seen.iter()
        .find(|p| p.from == HOST && p.protocol == TCP && p.to != *PROXY.ip() && p.ports.1 != 53)
}

#[test]
fn tcp_goes_through_the_proxy_and_never_past_it() {
    on_a_host("tcp_goes_through_the_proxy_and_never_past_it", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let proxy = PROXY.to_string();
        let relayed = |to: &str, port| Relayed(to.to_owned(), port);
        for address in [proxy.as_str(), "proxy.test:1080"] {
            stage.put(&sandbox, &through(address, LOGIN, &json!({})));
            let (_, mark) = (stage.world.relayed(), stage.wire.mark());
            let got = stage.probe(
                &sandbox,
                &format!(
                    "a = '{ALPHA}'\n[tcp(a), secure(a), http(a, 'x.test')[0], half(a), banner(a)]"
                ),
            );
            assert_eq!(got, json!(["ok", "ok", 200, "ok", "ok"]), "{address}");
            let alpha = ALPHA.to_string();
            let list = [7, 443, 80, 11371, 22].map(|port| relayed(&alpha, port));
            assert_eq!(stage.world.relayed(), list);
            stage.barrier();
            assert_eq!(direct(&stage.wire.since(mark)), None, "past the proxy");
        }
        // A name that decided is the proxy's to resolve; lists come first.
        let lists =
            json!({ "allowOut": ["alpha.test", BETA.to_string()], "denyOut": ["0.0.0.0/0"] });
        stage.put(&sandbox, &through(&proxy, LOGIN, &lists));
        let (_, mark) = (stage.world.relayed(), stage.wire.mark());
        let got = stage.probe(
            &sandbox,
            &format!("T = 1.5\n[secure('{GOOGLE}', 'alpha.test'), tcp('{BETA}'), tcp('{ALPHA}'), secure('{GOOGLE}', 'beta.test')]"),
        );
        assert_eq!((&got[0], &got[1]), (&json!("ok"), &json!("ok")), "{got}");
        assert!(got[2] != "ok" && got[3] != "ok", "{got}");
        assert_eq!(
            stage.world.relayed(),
            [relayed("alpha.test", 443), relayed(&BETA.to_string(), 7)]
        );
        stage.barrier();
        assert_eq!(direct(&stage.wire.since(mark)), None);
        let shown = stage.detail(&sandbox);
        assert_eq!(
            shown["network"]["egressProxy"]["username"], LOGIN.0,
            "{shown}"
        );
        assert!(!shown.to_string().contains(LOGIN.1), "{shown}");
        stage.finish();
    });
}

#[test]
fn without_its_proxy_nothing_goes() {
    on_a_host("without_its_proxy_nothing_goes", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let mark = stage.wire.mark();
        let away = format!("{}:9999", PROXY.ip());
        for (address, login) in [
            (away.as_str(), LOGIN),
            ("gone.test:1080", LOGIN),
            (&PROXY.to_string(), (LOGIN.0, "wrong")),
        ] {
            stage.put(&sandbox, &through(address, login, &json!({})));
            let got = stage.probe(
                &sandbox,
                &format!(
                    "T = 1.5\na = '{ALPHA}'\n[tcp(a), secure(a), banner(a), http(a, 'x.test')]"
                ),
            );
            for word in got.as_array().expect("a list") {
                assert!(word != "ok" && word[0] != 200, "{address}: {got}");
            }
        }
        stage.barrier();
        assert_eq!(direct(&stage.wire.since(mark)), None);
        // Nor is it a way inside.
        let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
        let inner = through("10.9.9.9:1080", LOGIN, &json!({}));
        let refused = stage.api("PUT", &format!("/sandboxes/{id}/network"), &inner);
        assert_eq!(refused.status, 400, "{}", refused.text());
        stage.put(&sandbox, &through("inner.test:1080", LOGIN, &json!({})));
        let got = stage.word(&sandbox, &format!("T = 1.5\ntcp('{ALPHA}')"));
        assert_ne!(got, "ok");
        stage.barrier();
        let inside = |p: &&Seen| p.to == warder_network::DENIED[0];
        assert_eq!(stage.wire.since(mark).iter().find(inside), None);
        stage.finish();
    });
}

#[test]
fn a_new_proxy_ends_what_went_another_way() {
    on_a_host("a_new_proxy_ends_what_went_another_way", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let flow = stage.flow(&sandbox, "direct", &format!("long_tcp('{ALPHA}')"));
        stage.put(&sandbox, &through(&PROXY.to_string(), LOGIN, &json!({})));
        let _ = stage.ends(&sandbox, &flow);
        let flow = stage.flow(&sandbox, "relayed", &format!("long_tcp('{ALPHA}')"));
        stage.put(
            &sandbox,
            &through(
                &PROXY.to_string(),
                LOGIN,
                &json!({ "denyOut": [BETA.to_string()] }),
            ),
        );
        stage.goes_on(&sandbox, &flow);
        stage.put(&sandbox, &json!({}));
        let _ = stage.ends(&sandbox, &flow);
        assert_eq!(stage.word(&sandbox, &format!("tcp('{ALPHA}')")), "ok");
        stage.finish();
    });
}
