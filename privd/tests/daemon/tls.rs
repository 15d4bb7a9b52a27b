//! Certificates: opened by the names in privd's configuration, at start, on SIGHUP, and when the gateway asks.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use warder_wire::gateway_priv::{Answer, Ask, Event};

use super::cast::gateway;
use super::stage::{Instance, Part};

pub(crate) fn certificates_are_those_of_the_configuration() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("room");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("own");
        path.display().to_string()
    };
    let (chain, key) = (write("chain", "chain 1"), write("key", "key 1"));
    let both = write("both", "both");
    let mut stage = Instance::start(&format!(
        "on_stop remove\ntls_listen 127.0.0.1:0\ntls_chain {chain}\ntls_key {key}\ntls_chain {both}\ntls_key {both}\n\
         domain a.example\ndomain b.example:8443"
    ));
    expect(&mut stage, 1, ["chain 1", "key 1", "both", "both"]);
    // Replaced as certbot does it: another file under the same name.
    write("new", "chain 2");
    std::fs::rename(dir.path().join("new"), &chain).expect("replaces");
    let answer = gateway(&mut stage, Ask::Reload).map(|(answer, _)| answer);
    let expected = Answer::Reloaded {
        round: 2,
        log: None,
        networks: None,
    };
    assert_eq!(answer, Ok(expected));
    expect(&mut stage, 2, ["chain 2", "key 1", "both", "both"]);
    stage.hang_up();
    expect(&mut stage, 3, ["chain 2", "key 1", "both", "both"]);
    // One that others may write is not opened; the other one is.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o602)).expect("own");
    stage.hang_up();
    stage.until("both are told", |stage| stage.certificates.len() == 2);
    let told = std::mem::take(&mut stage.certificates);
    let Event::Certificate {
        fault: Some(fault), ..
    } = &told[0].0
    else {
        panic!("opened: {:?}", told[0]);
    };
    assert!(fault.detail.contains("chmod"), "{fault}");
    assert_eq!(told[1].1.len(), 2);
    assert!(stage.log().contains(&key), "the log names the file");
    // The next gateway is told of its own accord.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("own");
    stage.kill(Part::Gateway);
    stage.take(Part::Gateway);
    expect(&mut stage, 5, ["chain 2", "key 1", "both", "both"]);
    stage.stop_clean();
}

/// A start that fails for its listeners, certificates or group claims nothing on the host.
pub(crate) fn what_cannot_start_claims_nothing() {
    for (wrong, said) in [
        (
            "tls_listen 127.0.0.1:0\ntls_chain /nowhere\ntls_key /nowhere\ndomain a.example",
            "tls_chain",
        ),
        ("operator_group nobody-has-such-a-group", "operator_group"),
        ("listen 192.0.2.1:80", "listen"),
    ] {
        let stage = Instance::prepare(&format!("on_stop remove\n{wrong}"), None);
        let conf = stage.state().with_file_name("conf");
        let mut privd = Command::new(env!("CARGO_BIN_EXE_privd"));
        let ended = privd.arg("-f").arg(conf).stdin(Stdio::null()).output();
        let ended = ended.expect("starts");
        let told = String::from_utf8_lossy(&ended.stderr).into_owned() + &stage.log();
        assert!(!ended.status.success() && told.contains(said), "{told}");
        let claims = std::fs::read_to_string(format!("{}/claims", warder_wire::RUN_DIR));
        let state = stage.state().display().to_string();
        assert!(!claims.unwrap_or_default().contains(&state), "{wrong}");
        assert!(!stage.run_dir().exists(), "{wrong}");
    }
}

fn expect(stage: &mut Instance, expected: u32, texts: [&str; 4]) {
    stage.until("both came", |stage| stage.certificates.len() == 2);
    let mut found = Vec::new();
    for (n, (event, fds)) in (0..).zip(std::mem::take(&mut stage.certificates)) {
        let is = matches!(event, Event::Certificate { round, index, of: 2, fault: None } if round == expected && index == n);
        assert!(is, "{event:?}");
        for fd in fds {
            let mut bytes = [0; 100];
            let length = rustix::io::pread(&fd, &mut bytes, 0).expect("readable");
            found.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            assert!(rustix::io::write(&fd, b"x").is_err(), "for reading only");
        }
    }
    assert_eq!(found, texts);
}
