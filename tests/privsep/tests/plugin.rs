//! A captured plugin host against privd.

use std::path::Path;

use warder_harness::{Instance, Snapshot};

fn start(backends: &[&str], gateway_attack: &str) -> Instance {
    let gateway = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let host = Path::new(env!("CARGO_BIN_EXE_hostile-pluginhost"));
    let mut builder = Instance::builder()
        .replace("gatewayd", gateway)
        .replace("pluginhost", host)
        .without_http();
    builder = builder.line(&format!("domain {gateway_attack}.test"));
    for backend in backends {
        builder = builder.line(&format!("backend {backend}"));
    }
    builder.start()
}

#[test]
fn what_is_not_a_plugins_message_ends_the_host() {
    for attack in ["unknown-verb", "gateway-verb"] {
        let mut instance = start(&[attack], "none");
        instance.await_log("audit");
        let log = instance.log_text();
        assert!(
            !log.contains(&format!("hostile plugin {attack}: still open")),
            "{log}"
        );
        instance.stop();
        assert!(Snapshot::of(instance.tag()).is_empty());
    }
}

#[test]
fn another_backends_sandbox_is_out_of_reach() {
    let mut instance = start(&["namespace", "thief"], "lend-lease");
    assert!(instance.await_log("hostile lend-lease: ").ends_with("Done"));
    let line = instance.await_log("hostile plugin thief: ");
    let seen = line.split("thief: ").nth(1).unwrap_or_default();
    assert_eq!(seen, ["NotFound"; 5].join(" "), "{line}");
    instance.stop();
    assert!(Snapshot::of(instance.tag()).is_empty());
}

#[test]
fn no_directory_leads_out() {
    let mut instance = start(&["dotdot"], "none");
    let line = instance.await_log("hostile plugin dotdot: ");
    let seen = line.split("dotdot: ").nth(1).unwrap_or_default();
    assert!(
        !seen.is_empty() && seen.split(' ').all(|s| s == "stays"),
        "{line}"
    );
    instance.stop();
}
