//! The daemons at work where a single refusal of capability mode ends who meets it (procctl(2), `PROC_TRAPCAP_CTL`): none
//! of them relies on an error of its confinement.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use warder_harness::Instance;
use warder_privsep::guests::{MINUTE, gone, id, serve, works};

const CONFINED: [&str; 3] = ["gatewayd", "pluginhost", "egressd"];

/// What proccontrol(1) says of a process.
fn traps(pid: u32) -> String {
    let mut ask = Command::new("proccontrol");
    ask.args(["-m", "trapcap", "-q", "-p", &pid.to_string()]);
    let said = ask.output().expect("the base system has it");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

fn done(instance: &Instance, (method, target): (&str, &str), body: &Value, status: u16) -> Value {
    let answer = instance.api(method, target, body);
    assert_eq!(
        answer.status,
        status,
        "{method} {target}: {}\n{}",
        answer.text(),
        instance.log_text()
    );
    match answer.text().is_empty() {
        true => Value::Null,
        false => answer.json(),
    }
}

#[test]
fn no_daemon_meets_a_refusal_of_its_own_confinement() {
    let dir = tempfile::tempdir().expect("a directory");
    // Inherited by all that it starts, sandboxes too.
    let program = dir.path().join("trapped");
    let text = "#!/bin/sh\nexec proccontrol -m trapcap -s enable \"$@\"\n";
    std::fs::write(&program, text).expect("room");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("own");
    let instance = Instance::builder().through(&program).start();
    let daemons = || CONFINED.map(|name| instance.daemon_pid(name).expect("it runs"));
    let at_start = daemons();
    for pid in at_start {
        assert_eq!(traps(pid), "enabled");
    }

    // Every kind of work that has a path of its own through them.
    done(
        &instance,
        ("POST", "/volumes"),
        &json!({ "name": "kept" }),
        201,
    );
    let made = instance.create(&json!({
        "metadata": { "a": "b" },
        "volumeMounts": [{ "name": "kept", "path": "/data" }],
        "network": { "allowOut": ["example.com"], "denyOut": ["0.0.0.0/0"] },
    }));
    let of = |verb: &str| format!("/sandboxes/{}{verb}", id(&made));
    works(&instance, &made);
    // egressd is asked for a name, and a connection is led to it; nothing answers here.
    let ask = "timeout 5 getent hosts example.com; timeout 5 nc -w 2 192.0.2.1 80 </dev/null; true";
    let ran = instance.run(&made, "user", ask, MINUTE);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    serve(
        &instance,
        &made,
        Path::new(env!("CARGO_BIN_EXE_hostile-guest")),
        ("127.0.0.1", 8000),
        ("served", "/tmp/seen"),
    );
    assert_eq!(instance.sandbox(&made, 8000, "GET", "/", b"").status, 200);
    assert_eq!(instance.sandbox(&made, 8001, "GET", "/", b"").status, 502);
    let snapshot = done(&instance, ("POST", &of("/snapshots")), &json!({}), 201);
    done(
        &instance,
        ("POST", &of("/fork")),
        &json!({ "count": 2 }),
        201,
    );
    for memory in [true, false] {
        done(
            &instance,
            ("POST", &of("/pause")),
            &json!({ "memory": memory }),
            204,
        );
        done(
            &instance,
            ("POST", &of("/connect")),
            &json!({ "timeout": 600 }),
            201,
        );
        works(&instance, &made);
    }
    let network = json!({ "denyOut": ["0.0.0.0/0"] });
    done(&instance, ("PUT", &of("/network")), &network, 204);
    let copy = instance.create(&json!({ "templateID": snapshot["snapshotID"] }));
    works(&instance, &copy);
    for read in ["", "/metrics", "/logs"] {
        done(&instance, ("GET", &of(read)), &Value::Null, 200);
    }
    for read in [
        "/admin/metrics",
        "/admin/host",
        "/admin/events",
        "/admin/certificates",
    ] {
        let answer = instance.admin("GET", read, &Value::Null);
        assert_eq!(answer.status, 200, "{read}: {}", answer.text());
    }
    let reloaded = instance.admin("POST", "/admin/reload", &Value::Null);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    for other in done(&instance, ("GET", "/v2/sandboxes"), &Value::Null, 200)
        .as_array()
        .expect("a list")
    {
        instance.remove(other);
        gone(&instance, other);
    }

    assert_eq!(
        daemons(),
        at_start,
        "one was ended:\n{}",
        instance.log_text()
    );
    instance.finish();
}
