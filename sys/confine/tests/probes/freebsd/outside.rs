//! Starts each probe and looks at how it ended; looks at a confined process from outside.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::attempts::call;
use super::cases::{End, all};
use super::child::IDS;

pub(crate) fn run_all() {
    let scene = tempfile::tempdir().expect("a directory");
    // SAFETY: always succeeds.
    let is_root = unsafe { libc::geteuid() } == 0;
    assert!(is_root, "these probes start as root, as the daemons do");
    drop(scene);
    let cases = all();
    let mut wrong = Vec::new();
    for (profile, stage, name, may_end) in &cases {
        let end = probe(profile, stage, name);
        if !end.as_ref().is_ok_and(|end| may_end.contains(end)) {
            wrong.push(format!(
                "{profile} {stage} {name}: {end:?}, not {may_end:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    for profile in ["gateway", "egress", "plugin"] {
        look_at(profile);
    }
    println!("{} probes, each as it should be", cases.len());
}

/// A directory of its own for each probe, owned by the user it becomes, beside a secret.
fn scene() -> tempfile::TempDir {
    let scene = tempfile::tempdir().expect("a directory");
    let directory = scene.path().join("state");
    std::fs::create_dir(&directory).expect("make");
    std::fs::write(directory.join("inside"), "inside").expect("write");
    std::fs::write(scene.path().join("secret"), "secret").expect("write");
    std::os::unix::fs::symlink("../secret", directory.join("link")).expect("symlink");
    for path in [
        scene.path(),
        &directory,
        &directory.join("inside"),
        &scene.path().join("secret"),
    ] {
        std::os::unix::fs::chown(path, Some(IDS.0), Some(IDS.1)).expect("chown");
    }
    scene
}

fn start(directory: &Path, profile: &str, stage: &str, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this file"));
    command
        .args(["probe", profile, stage, name])
        .current_dir(directory.join("state"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    if name == "write-plain-file" {
        let file = std::fs::File::create(directory.join("log")).expect("make");
        command.stdout(file);
    }
    command.spawn().expect("start a probe")
}

fn probe(profile: &str, stage: &str, name: &str) -> Result<End, String> {
    let scene = scene();
    let mut child = start(scene.path(), profile, stage, name);
    let status = wait(&mut child);
    let secret = std::fs::read(scene.path().join("secret")).expect("still there");
    assert_eq!(secret, b"secret");
    let status = status?;
    let end = match (status.signal(), status.code()) {
        (Some(libc::SIGTRAP), _) => End::Trapped,
        (Some(libc::SIGABRT), _) => End::Aborted,
        (None, Some(code)) => End::Code(code),
        _ => return Err(status.to_string()),
    };
    let panicked = end == End::Code(101) || (end == End::Aborted && name != "abort");
    if panicked || (end == End::Trapped && name.starts_with("works")) {
        let said = std::io::read_to_string(child.stderr.take().expect("piped"));
        return Err(format!("{end:?}: {}", said.expect("text")));
    }
    Ok(end)
}

fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Ok(status);
        }
        if Instant::now() > until {
            child.kill().expect("kill");
            child.wait().expect("wait");
            return Err("it never ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// procctl(2) about another process: what `command` answers.
fn ask(process: usize, command: i32) -> i32 {
    let mut answer = 0_i32;
    let command = command.cast_unsigned() as usize;
    let done = call(544, [0, process, command, (&raw mut answer) as usize, 0, 0]);
    assert_eq!(done, Ok(0));
    answer
}

/// What root sees of a locked process: ids, groups, mode, tracing, privileges, root.
fn look_at(profile: &str) {
    let scene = scene();
    let mut child = start(scene.path(), profile, "locked", "wait");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line, "ready\n");
    let pid = i32::try_from(child.id()).expect("a pid");
    // SAFETY: integers, arrays and pointers that are not read, for which all zeroes is a value.
    let mut seen: libc::kinfo_proc = unsafe { std::mem::zeroed() };
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
    let mut room = size_of_val(&seen);
    let (at, length) = ((&raw mut seen) as usize, (&raw mut room) as usize);
    let got = call(202, [name.as_ptr() as usize, 4, at, length, 0, 0]);
    assert_eq!(got, Ok(0));
    assert_eq!([seen.ki_uid, seen.ki_ruid, seen.ki_svuid], [IDS.0; 3]);
    assert_eq!([seen.ki_rgid, seen.ki_svgid], [IDS.1; 2]);
    let count = usize::try_from(seen.ki_ngroups).expect("few");
    let groups = &seen.ki_groups[..count];
    assert!(groups.iter().all(|group| *group == IDS.1), "{groups:?}");
    // KI_CRF_CAPABILITY_MODE (sys/user.h).
    assert_eq!(
        seen.ki_cr_flags & 1,
        1,
        "{profile} is not in capability mode"
    );
    let pid = child.id() as usize;
    assert_eq!(
        ask(pid, libc::PROC_TRACE_STATUS),
        -1,
        "{profile} is traceable"
    );
    let privileges = ask(pid, libc::PROC_NO_NEW_PRIVS_STATUS);
    assert_eq!(privileges, libc::PROC_NO_NEW_PRIVS_ENABLE, "{profile}");
    child.kill().expect("ours");
    child.wait().expect("ours");
}
