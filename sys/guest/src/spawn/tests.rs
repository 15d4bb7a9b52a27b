use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, WaitOptions, waitpid};

use super::*;

fn text(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

fn shell(script: &str, cwd: &str) -> (Result<u32, SpawnError>, String) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let null: OwnedFd = std::fs::File::open("/dev/null").expect("null").into();
    let spawned = spawn(&Spawn {
        program: text("/bin/sh"),
        argv: vec![text("sh"), text("-c"), text(script)],
        env: vec![text("A=b c")],
        cwd: text(cwd),
        stdio: [null.as_fd(), write.as_fd(), write.as_fd()],
        terminal: false,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        groups: vec![rustix::process::getgid().as_raw()],
        login: text("root"),
    });
    drop(write);
    let mut output = String::new();
    std::fs::File::from(read)
        .read_to_string(&mut output)
        .expect("reads");
    (spawned, output)
}

fn exit_of(pid: u32) -> Option<i32> {
    let pid = Pid::from_raw(pid.cast_signed());
    let (_, status) = waitpid(pid, WaitOptions::empty())
        .expect("a child")
        .expect("ended");
    status.exit_status()
}

#[test]
fn it_runs_with_its_own_session_environment_and_directory() {
    if !rustix::process::getuid().is_root() {
        return; // setgroups needs it
    }
    let (pid, output) = shell(
        "pwd; echo $A; for n in 3 4 5 6 7 8 9; do if (true <&$n) 2>/dev/null; then echo open $n; fi; done; \
         ps -o sid= -p $$ | tr -d ' '; exit 7",
        "/dev",
    );
    let pid = pid.expect("starts");
    assert_eq!(exit_of(pid), Some(7));
    assert_eq!(output, format!("/dev\nb c\n{pid}\n"));
}

#[test]
fn each_failure_names_its_step_and_leaves_no_child() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    assert!(matches!(
        shell("true", "/no/such/place").0,
        Err(SpawnError::Cwd(_))
    ));
    let null: OwnedFd = std::fs::File::open("/dev/null").expect("null").into();
    let missing = spawn(&Spawn {
        program: text("/no/such/program"),
        argv: vec![text("x")],
        env: Vec::new(),
        cwd: text("/"),
        stdio: [null.as_fd(); 3],
        terminal: false,
        uid: 65534,
        gid: 65534,
        groups: vec![65534],
        login: text("nobody"),
    });
    let Err(SpawnError::Exec(error)) = missing else {
        panic!("{missing:?}")
    };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn signals_have_their_defaults() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    // The test runner ignores SIGPIPE; a child must not.
    let (pid, output) = shell(
        "if [ -e /proc/$$/status ]; then grep -E '^Sig(Blk|Ign)' /proc/$$/status | cut -f2; \
         else ps -o sigmask= -o sigignore= -p $$ | tr -s ' ' '\\n' | grep .; fi",
        "/",
    );
    assert_eq!(exit_of(pid.expect("starts")), Some(0));
    // On Linux 32 and 33 belong to the C library. FreeBSD counts those whose default is to be ignored: SIGURG, SIGCHLD,
    // SIGIO, SIGWINCH and SIGINFO (signal(3)).
    let is_linux = std::path::Path::new("/proc/self/status").exists();
    let theirs = if is_linux { 0b11 << 31 } else { 0x1848_8000 };
    for mask in output.lines() {
        let mask = u64::from_str_radix(mask, 16).expect("a mask");
        assert_eq!(mask & !theirs, 0, "{output}");
    }
    assert_eq!(output.lines().count(), 2);
}
