//! What the operator's configuration says, and no request loosens.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{ALPHA, BULK, ECHO, NEVER, Seen, Stage, on_a_host};

#[test]
fn the_operators_air_gap_cannot_be_lifted() {
    on_a_host("the_operators_air_gap_cannot_be_lifted", || {
        let stage = Stage::with(|builder| builder.line("template_network base airgap"));
        let sandbox = stage.sandbox(&json!({ "network": { "allowOut": ["0.0.0.0/0"] } }));
        let mark = stage.wire.mark();
        let closed = |sandbox: &Value| {
            let tried = stage.probe(
                sandbox,
                &format!("T = 0.4\na = '{ALPHA}'\n[tcp(a), udp(a), ping(a), secure(a, 'alpha.test'), dns('8.8.8.8', 'alpha.test')]"),
            );
            for word in tried.as_array().expect("a list") {
                assert!(word != "ok" && !word.is_array(), "{tried}");
            }
        };
        closed(&sandbox);
        assert_eq!(stage.airgap(&sandbox, false), 403);
        let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
        let open = stage.api("PUT", &format!("/sandboxes/{id}/network"), &json!({}));
        assert!(open.status == 204 || open.status == 403, "{}", open.text());
        let state = stage.detail(&sandbox)["networkState"].clone();
        assert_eq!(
            (&state["airGap"], &state["airGapByOperator"]),
            (&json!(true), &json!(true)),
            "{state}"
        );
        closed(&sandbox);
        // Nor by a pause, with memory or without.
        for memory in [true, false] {
            for (what, body) in [
                ("pause", json!({ "memory": memory })),
                ("resume", json!({ "timeout": 300 })),
            ] {
                let done = stage.api("POST", &format!("/sandboxes/{id}/{what}"), &body);
                assert!(done.status < 300, "{what}: {}", done.text());
            }
            closed(&sandbox);
            assert_eq!(stage.airgap(&sandbox, false), 403);
        }
        // Nor through a snapshot of it, or a fork.
        let made = stage.api(
            "POST",
            &format!("/sandboxes/{id}/snapshots"),
            &json!({ "name": "free" }),
        );
        assert_eq!(made.status, 201, "{}", made.text());
        let again = stage.create(
            &json!({ "templateID": made.json()["snapshotID"], "allow_internet_access": true }),
        );
        closed(&again);
        assert_eq!(stage.airgap(&again, false), 403);
        let forks = stage.api(
            "POST",
            &format!("/sandboxes/{id}/fork"),
            &json!({ "count": 1 }),
        );
        assert_eq!(forks.status, 201, "{}", forks.text());
        closed(&forks.json()[0]["sandbox"]);
        stage.barrier();
        assert_eq!(
            stage.wire.since(mark).iter().find(|p| p.ether == 0x0800),
            None
        );
        stage.finish();
    });
}

#[test]
fn a_range_of_the_operators_is_opened_by_nothing() {
    on_a_host("a_range_of_the_operators_is_opened_by_nothing", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let mark = stage.wire.mark();
        let policies = [
            json!({}),
            json!({ "allowOut": ["0.0.0.0/0"] }),
            json!({ "allowOut": ["198.51.100.0/24", NEVER.to_string()], "denyOut": ["0.0.0.0/0"] }),
            json!({ "allowOut": ["never.test", "*"], "denyOut": ["0.0.0.0/0"] }),
            json!({ "allowOut": ["*", NEVER.to_string()], "denyOut": ["0.0.0.0/0"], "dnsServers": [NEVER.to_string()] }),
        ];
        for policy in policies {
            stage.put(&sandbox, &policy);
            let tried = stage.probe(
                &sandbox,
                &format!("T = 0.4\na = '{NEVER}'\n[tcp(a), udp(a), ping(a), secure(a), secure(a, 'never.test'), http(a, 'never.test')]"),
            );
            for word in tried.as_array().expect("a list") {
                assert!(word != "ok" && word[0] != 200, "{policy}: {tried}");
            }
        }
        stage.barrier();
        let there = |p: &&Seen| p.to == NEVER;
        assert_eq!(stage.wire.since(mark).iter().find(there), None);
        stage.finish();
    });
}

#[test]
fn so_many_flows_and_no_more() {
    on_a_host("so_many_flows_and_no_more", || {
        let stage = Stage::with(|builder| builder.line("template_network base flows 20"));
        let (one, two) = (stage.sandbox(&json!({})), stage.sandbox(&json!({})));
        let hold = format!(
            "T = 0.5\nkept = []\ndef keep():\n    s = connect('{ALPHA}', {ECHO})\n    got = echoed(s)\n    kept.append(s)\n    return got\n\
             [[attempt(keep) for _ in range(60)].count('ok'), tcp('{ALPHA}')]"
        );
        let held = stage.probe(&one, &hold);
        let count = held[0].as_u64().expect("a number");
        assert!((10..=20).contains(&count), "{held}");
        assert_ne!(held[1], "ok", "{held}");
        // The neighbour has its own; and when the first ones have ended there is room again.
        assert_eq!(stage.word(&two, &format!("tcp('{ALPHA}')")), "ok");
        let by_name = json!({ "allowOut": ["alpha.test"], "denyOut": ["0.0.0.0/0"] });
        stage.put(&two, &by_name);
        let hold = format!(
            "T = 1.0\nkept = []\ndef keep():\n    s = connect('{ALPHA}', 80)\n    s.sendall(b'GET / HTTP/1.1\\r\\nHost: alpha.test\\r\\n\\r\\n')\n    \
             got = s.recv(4096)\n    kept.append(s)\n    return 'ok' if got.startswith(b'HTTP/1.1 200') else 'no'\n\
             [attempt(keep) for _ in range(60)].count('ok')"
        );
        let count = stage.probe(&two, &hold).as_u64().expect("a number");
        assert!((10..=20).contains(&count), "through egressd: {count}");
        stage.finish();
    });
}

#[test]
fn so_many_bytes_a_second_and_not_many_more() {
    on_a_host("so_many_bytes_a_second_and_not_many_more", || {
        let stage =
            Stage::with(|builder| builder.line("template_network base upload 300K download 300K"));
        let sandbox = stage.sandbox(&json!({}));
        // Rates, which a slow machine makes smaller only. What may come at once, at the beginning, is not counted.
        let code = format!(
            "def rate(step):\n    for _ in range(20): step()\n    begin, total = time.monotonic(), 0\n    \
             while time.monotonic() - begin < 2: total += step()\n    return int(total / (time.monotonic() - begin))\n\
             down = connect('{ALPHA}', {BULK})\ndown.settimeout(20)\nup = connect('{ALPHA}', 11371)\nup.settimeout(20)\n\
             block = b'x' * 65536\n[rate(lambda: len(down.recv(65536))), rate(lambda: up.send(block))]"
        );
        let rates = stage.probe(&sandbox, &code);
        println!("  bytes a second down and up: {rates}");
        for rate in rates.as_array().expect("a list") {
            let rate = rate.as_u64().expect("a number");
            assert!(rate > 0 && rate < 900_000, "{rates}");
        }
        stage.finish();
    });
}
