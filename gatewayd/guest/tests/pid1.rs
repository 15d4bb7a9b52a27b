//! The duties of pid 1, in a pid namespace of its own.

mod common;

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Envd;

/// Needs root for the namespace.
fn can() -> bool {
    rustix::process::getuid().is_root()
}

fn children(pid: u32) -> Vec<u32> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
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
    let ran = envd.run("echo $PPID; for i in 1 2 3 4 5; do (sleep 0.2 &) ; done; kill -TERM 1; kill -INT 1; kill -HUP 1; kill -KILL 1; kill -CHLD 1; echo still");
    assert_eq!(ran.stdout, "1\nstill\n");
    std::thread::sleep(Duration::from_millis(500));
    let init = children(envd.pid())[0];
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
    let init = children(envd.pid())[0];
    let pid = rustix::process::Pid::from_raw(init.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(wait_end(envd.child()), Some(0));
    let ran = polite.ran();
    assert!(ran.stdout.contains("bye"), "{ran:?}");
}

#[test]
fn it_refuses_to_start_without_its_listener() {
    let run = |fd: Option<&std::net::TcpListener>| {
        let mut child = Command::new("bash");
        match fd {
            Some(fd) => {
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).expect("inheritable");
                child
                    .arg("-c")
                    .arg(format!("exec \"$0\" 3<&{}", fd.as_raw_fd()))
            }
            None => child.arg("-c").arg("exec \"$0\" 3<&-"),
        };
        let mut child = child
            .arg(env!("CARGO_BIN_EXE_envd"))
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        wait_end(&mut child)
    };
    assert_eq!(run(None), Some(1));
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    assert_eq!(run(Some(&tcp)), Some(1));
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
