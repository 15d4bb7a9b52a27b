//! What a sandbox is told that may not, and what its owner is.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_network::{ALPHA, BETA, GOOGLE, Stage, on_a_host};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn refusals_are_in_the_words_of_who_is_refused() {
    on_a_host("refusals_are_in_the_words_of_who_is_refused", || {
        let stage = Stage::start();
        let names = json!({ "allowOut": ["alpha.test"], "denyOut": ["0.0.0.0/0"] });
        let sandbox = stage.sandbox(&json!({ "network": names }));
        let got = stage.probe(&sandbox, &format!("http('{BETA}', 'beta.test')"));
        assert_eq!(got[0], 403, "{got}");
        let body: Value = serde_json::from_str(got[1].as_str().expect("a body")).expect("JSON");
        assert_eq!(body["error"], "egress_denied", "{body}");
        assert_eq!(body["host"], "beta.test", "{body}");
        assert_eq!(body["address"], BETA.to_string(), "{body}");
        assert_eq!(body["rule"], "denyOut 0.0.0.0/0", "{body}");
        assert_eq!(body["sandboxId"], sandbox["sandboxID"], "{body}");
        for name in ["'beta.test'", "None"] {
            let got = stage.word(&sandbox, &format!("secure('{BETA}', {name})"));
            assert!(got.contains("ALERT_ACCESS_DENIED"), "{got}");
        }
        // Where nothing is said first, a reset or an error comes at once instead of silence.
        let got = stage.probe(&sandbox, &format!("T = 10\nb = time.monotonic()\n[tcp('{BETA}'), udp('{BETA}'), ping('{BETA}'), time.monotonic() - b < 8]"));
        for word in &got.as_array().expect("a list")[..3] {
            assert!(word != "ok" && word != "timeout", "{got}");
        }
        stage.finish();
    });
}

#[test]
fn refusals_are_logged_for_their_owner() {
    on_a_host("refusals_are_logged_for_their_owner", || {
        let stage = Stage::start();
        let names = json!({ "allowOut": ["alpha.test"], "denyOut": ["0.0.0.0/0"] });
        let (sandbox, other) = (
            stage.sandbox(&json!({ "network": names })),
            stage.sandbox(&json!({})),
        );
        let code = format!(
            "T = 0.5\n[http('{BETA}', 'beta.test'), secure('{BETA}', 'evil.test'), tcp('{BETA}', 5432), udp('{BETA}', 4000), \
             udp('{ALPHA}', 443), dns('8.8.8.8', 'tunnel.test'), dns('1.1.1.1', 'alpha.test'), ping('{GOOGLE}')]"
        );
        let _ = stage.probe(&sandbox, &code);
        let log = |sandbox: &Value| {
            let id = sandbox["sandboxID"].as_str().expect("an id");
            let answer = stage.api("GET", &format!("/sandboxes/{id}/network/log"), &Value::Null);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json().as_array().expect("a list").clone()
        };
        let wanted: [(&str, &str, Value, u16); 8] = [
            ("tcp", "beta.test", json!(BETA.to_string()), 80),
            ("tcp", "evil.test", json!(BETA.to_string()), 443),
            ("tcp", "", json!(BETA.to_string()), 5432),
            ("udp", "", json!(BETA.to_string()), 4000),
            ("udp", "", json!(ALPHA.to_string()), 443),
            ("udp", "tunnel.test", json!("8.8.8.8"), 53),
            ("udp", "", json!("1.1.1.1"), 53),
            ("icmp", "", json!(GOOGLE.to_string()), 0),
        ];
        let end = Instant::now() + PATIENCE;
        for (protocol, name, address, port) in wanted {
            loop {
                let entries = log(&sandbox);
                let found = entries.iter().find(|e| {
                    let named = name.is_empty() || e["name"] == name;
                    named
                        && e["protocol"] == protocol
                        && e["address"] == address
                        && e["port"] == port
                });
                if let Some(entry) = found {
                    assert!(entry["count"].as_u64() >= Some(1), "{entry}");
                    assert!(
                        entry["rule"].as_str().is_some_and(|rule| !rule.is_empty()),
                        "{entry}"
                    );
                    break;
                }
                assert!(
                    Instant::now() < end,
                    "no {protocol} {name} {address} {port} in {entries:#?}\n{}",
                    stage.log_text()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        assert_eq!(log(&other), Vec::<Value>::new());
        stage.finish();
    });
}
