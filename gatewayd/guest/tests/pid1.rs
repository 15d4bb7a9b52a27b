//! The duties of the first process, in a pid namespace of its own or in a jail.

mod common;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Envd, children};

/// Needs root for the namespace.
fn can() -> bool {
    rustix::process::getuid().is_root()
}

fn wait_end(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not end");
}

#[test]
fn orphans_are_reaped_and_signals_from_inside_do_nothing() {
    if !can() {
        return;
    }
    let envd = Envd::as_init();
    // In a jail it has an ordinary pid, and root inside may kill it.
    let deadly = if common::has_proc() {
        "kill -KILL $PPID"
    } else {
        ":"
    };
    let ran = envd.run(&format!("for i in 1 2 3 4 5; do (sleep 0.2 &) ; done; kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; kill -USR1 $PPID; {deadly}; kill -CHLD $PPID; kill -TSTP $PPID; echo $PPID"));
    if common::has_proc() {
        assert_eq!(ran.stdout, "1\n");
    }
    std::thread::sleep(Duration::from_millis(500));
    let init = envd.init_pid();
    assert_eq!(children(init), [0_u32; 0], "all orphans are gone");
    assert_eq!(envd.run("echo alive").stdout, "alive\n");
}

#[test]
fn the_host_can_end_it_gently() {
    if !can() {
        return;
    }
    let mut envd = Envd::as_init();
    let mut polite = envd.events(
        "process.Process/Start",
        &common::shell("trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.05; done"),
        &[],
    );
    polite.pid();
    assert!(polite.message()["event"]["data"].is_object());
    let init = envd.init_pid();
    let pid = rustix::process::Pid::from_raw(init.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(wait_end(envd.child()), Some(0));
    let ran = polite.ran();
    assert!(ran.stdout.contains("bye"), "{ran:?}");
}

#[test]
fn it_refuses_to_start_without_its_listener() {
    let run = |fd: Option<std::net::TcpListener>| {
        let mut command = common::with_third(fd.map(Into::into), &[]);
        wait_end(&mut command.stderr(Stdio::null()).spawn().expect("starts"))
    };
    assert_eq!(run(None), Some(1));
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    assert_eq!(run(Some(tcp)), Some(1));
}

#[test]
fn a_fork_bomb_costs_errors_and_not_the_agent() {
    if !can() {
        return;
    }
    let envd = Envd::as_init();
    // A limit on processes of one user, as a cell sets it; root is exempt, so another user is bombed.
    let authorization = common::basic("nobody");
    let bomb = common::shell("ulimit -u 60; b() { b | b & }; b; sleep 0.5; echo survived");
    let events = envd.events(
        "process.Process/Start",
        &bomb,
        &[
            ("authorization", &authorization),
            ("connect-timeout-ms", "1500"),
        ],
    );
    let ran = events.ran();
    assert!(ran.end.is_object() || ran.error.is_object(), "{ran:?}");
    assert_eq!(envd.get("/health").status, 204);
    assert_eq!(
        envd.run("pkill -KILL -u nobody; echo alive").stdout,
        "alive\n"
    );
}
