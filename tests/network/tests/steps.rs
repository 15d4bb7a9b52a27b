//! The steps of E2B's own firewall test, on a live sandbox and in order, judged by HTTPS from inside.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{Stage, on_a_host};

const ALL: &str = "0.0.0.0/0";
const ONE: &str = "8.8.8.8";
const TWO: &str = "1.1.1.1";
const NAME: &str = "google.com";
const OTHER: &str = "cloudflare.com";

/// Whether HTTPS to an address or a name works; a name is resolved by the sandbox.
fn works(stage: &Stage, sandbox: &Value, target: &str) -> bool {
    let by_name = target.contains(|c: char| c.is_ascii_alphabetic());
    let got = if by_name {
        stage.word(sandbox, &format!("visit('{target}')"))
    } else {
        stage.word(sandbox, &format!("secure('{target}')"))
    };
    let expected = match target {
        NAME => ONE,
        OTHER => TWO,
        _ => "ok",
    };
    println!("  {target}: {got}");
    got == expected
}

fn expect(stage: &Stage, sandbox: &Value, step: &str, good: &[&str], bad: &[&str]) {
    println!("{step}");
    for target in good {
        assert!(
            works(stage, sandbox, target),
            "{step}: {target} has to work"
        );
    }
    for target in bad {
        assert!(
            !works(stage, sandbox, target),
            "{step}: {target} has to fail"
        );
    }
}

#[test]
fn each_step_is_what_the_sandbox_sees() {
    on_a_host("each_step_is_what_the_sandbox_sees", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        expect(&stage, &sandbox, "0 nothing said", &[ONE, TWO, NAME], &[]);
        let lists = |allow: &[&str], deny: &[&str]| json!({ "allowOut": allow, "denyOut": deny });
        let steps: [(&str, Value, &[&str], &[&str]); 16] = [
            ("1 deny all", lists(&[], &[ALL]), &[], &[ONE, TWO]),
            ("2 one address", lists(&[ONE], &[ALL]), &[ONE], &[TWO]),
            ("3 another one", lists(&[TWO], &[ALL]), &[TWO], &[ONE]),
            ("4 both", lists(&[ONE, TWO], &[ALL]), &[ONE, TWO], &[]),
            (
                "5 a network",
                lists(&["8.8.8.0/24"], &[ALL]),
                &[ONE],
                &[TWO],
            ),
            (
                "6 a name",
                lists(&[NAME], &[ALL]),
                &[NAME],
                &[OTHER, ONE, TWO],
            ),
            (
                "7 a name and an address",
                lists(&[NAME, TWO], &[ALL]),
                &[NAME, TWO],
                &[OTHER],
            ),
            (
                "8 nothing allowed",
                lists(&[], &[ALL]),
                &[],
                &[ONE, TWO, NAME],
            ),
            ("9 cleared", json!({}), &[ONE, TWO, NAME, OTHER], &[]),
            ("10 again", lists(&[TWO], &[ALL]), &[TWO], &[ONE]),
            (
                "11 allow alone restricts nothing",
                lists(&[ONE], &[]),
                &[ONE, TWO],
                &[],
            ),
            ("12 cleared", json!({}), &[ONE, TWO], &[]),
            (
                "13 no internet",
                json!({ "allow_internet_access": false }),
                &[],
                &[ONE, TWO],
            ),
            (
                "14 internet",
                json!({ "allow_internet_access": true }),
                &[ONE, TWO],
                &[],
            ),
            ("15 nothing said of it", lists(&[], &[]), &[ONE, TWO], &[]),
            ("16 cleared", json!({}), &[ONE, TWO], &[]),
        ];
        for (step, body, good, bad) in &steps {
            stage.put(&sandbox, body);
            expect(&stage, &sandbox, step, good, bad);
        }
        let detail = stage.detail(&sandbox);
        let state = &detail["networkState"];
        assert_eq!(state["generation"], state["inForce"], "{detail}");
        assert_eq!(state["generation"], 17, "one each: {detail}");
        stage.finish();
    });
}

#[test]
fn a_create_begins_with_its_rules() {
    on_a_host("a_create_begins_with_its_rules", || {
        let stage = Stage::start();
        let network = |allow: &[&str], deny: &[&str]| json!({ "network": { "allowOut": allow, "denyOut": deny } });
        let closed = json!({ "allow_internet_access": false });
        let closed_but =
            json!({ "allow_internet_access": false, "network": { "allowOut": [ONE] } });
        let cases: [(&str, Value, &[&str], &[&str]); 7] = [
            ("no internet", closed, &[], &[ONE, TWO]),
            ("no internet but one address", closed_but, &[ONE], &[TWO]),
            (
                "allow wins over the same deny",
                network(&[ONE], &[ONE, ONE]),
                &[ONE, TWO],
                &[],
            ),
            (
                "everything in both",
                network(&[ALL], &[ALL]),
                &[ONE, TWO],
                &[],
            ),
            ("an empty allow list", network(&[], &[TWO]), &[ONE], &[TWO]),
            ("a name", network(&[NAME], &[ALL]), &[NAME], &[OTHER, TWO]),
            (
                "overlapping networks",
                network(&["8.8.0.0/16"], &["8.0.0.0/8", "8.8.8.0/24"]),
                &[ONE, TWO],
                &[],
            ),
        ];
        for (case, body, good, bad) in &cases {
            let sandbox = stage.sandbox(body);
            expect(&stage, &sandbox, case, good, bad);
            stage.remove(&sandbox);
        }
        stage.finish();
    });
}
