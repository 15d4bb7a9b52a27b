//! Kernels that lack something, and agents that are broken by way of /proc.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use warder_harness::{Instance, processes};
use warder_privsep::guests::{MINUTE, create, gone, refused, sleeper, until, works};

/// Starts what it is told to under a filter in which `sethostname`, which every cell calls and nothing else
/// does, is not there.
const LACKING: &str = r#"#!/usr/bin/env python3
import ctypes, os, struct, sys
number = {'x86_64': 170, 'aarch64': 161}[os.uname().machine]
steps = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000))
code = b''.join(struct.pack('HBBI', *step) for step in steps)
class Program(ctypes.Structure):
    _fields_ = [('steps', ctypes.c_ushort), ('code', ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), code))) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_kernel_that_lacks_a_feature_is_named_and_not_worth_a_retry() {
    let dir = tempfile::tempdir().expect("a directory");
    let lacking = dir.path().join("lacking");
    fs::write(&lacking, LACKING).expect("a fresh file");
    fs::set_permissions(&lacking, fs::Permissions::from_mode(0o755)).expect("ours");
    let instance = Instance::builder().through(&lacking).start();
    for _ in 0..2 {
        let answer = create(&instance);
        refused(&answer, 503, "false");
        assert!(answer.text().contains("sethostname"), "{}", answer.text());
    }
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed, json!([]));
    instance.finish();
}

/// Root of a sandbox may do to its agent what root may: then there is no agent, and so no sandbox.
#[test]
fn an_agent_that_is_broken_from_inside_ends_its_sandbox() {
    let instance = Instance::builder().start();
    let (sandbox, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let agent = processes::first_of_cell(&sleeper(&instance, &sandbox, 2)).pid;
    // Overwrites its code where it runs.
    let overwrite = "(sleep 0.3; python3 - <<'EOF'
with open('/proc/1/maps') as maps:
    ranges = [line.split()[0].split('-') for line in maps if ' r-xp ' in line]
with open('/proc/1/mem', 'r+b', buffering=0) as memory:
    for start, end in ranges:
        try:
            memory.seek(int(start, 16))
            memory.write(b'\\xf4' * (int(end, 16) - int(start, 16)))
        except OSError: pass
EOF
) >/dev/null 2>&1 & echo begun";
    let ran = instance.run(&sandbox, "root", overwrite, MINUTE);
    assert_eq!(ran.stdout.trim(), "begun", "{ran:?}");
    gone(&instance, &sandbox);
    until("it still runs", || {
        !fs::exists(format!("/proc/{agent}")).unwrap_or(true)
    });
    // The file is every sandbox's; what was overwritten is not.
    works(&instance, &other);
    works(&instance, &instance.create(&json!({})));
    instance.finish();
}
