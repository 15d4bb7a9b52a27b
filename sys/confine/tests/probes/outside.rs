//! Starts each probe and looks at how it ended; looks at a confined process from outside.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cases::{End, all};
use crate::child::IDS;

pub(crate) fn run_all() {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "these probes start as root, as the daemons do");
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
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    look_at("gateway");
    look_at("plugin");
    println!("{} probes, each as it should be", cases.len());
}

/// A directory of its own for each probe, owned by the user it becomes, beside a secret.
fn scene() -> tempfile::TempDir {
    let scene = tempfile::tempdir().expect("a directory");
    let directory = scene.path().join("state");
    std::fs::create_dir(&directory).expect("make");
    std::fs::write(directory.join("inside"), "inside").expect("write");
    std::fs::write(scene.path().join("secret"), "secret").expect("write");
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
        .current_dir(directory.join("state"));
    command
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
        (Some(libc::SIGSYS), _) => End::Killed,
        (Some(libc::SIGABRT), _) => End::Aborted,
        (None, Some(code)) => End::Code(code),
        _ => return Err(status.to_string()),
    };
    if end == End::Aborted && name != "abort" {
        return Err(std::io::read_to_string(child.stderr.take().expect("piped")).expect("text"));
    }
    Ok(end)
}

/// A probe that never ends is the failure that EPERM for everything used to cause.
fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let until = Instant::now() + Duration::from_secs(20);
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

/// What root sees of a locked process: ids, capabilities, filters, descriptors, mounts, namespaces.
fn look_at(profile: &str) {
    let scene = scene();
    let mut child = start(scene.path(), profile, "locked", "wait");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line, "ready\n");
    let proc = Path::new("/proc").join(child.id().to_string());
    let status = std::fs::read_to_string(proc.join("status")).expect("status");
    let field = |name: &str| -> String {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .to_owned()
    };
    let four = |id: u32| vec![id.to_string(); 4].join("\t");
    assert_eq!(field("Uid:"), four(IDS.0));
    assert_eq!(field("Gid:"), four(IDS.1));
    assert_eq!(field("Groups:"), "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    for task in std::fs::read_dir(proc.join("task")).expect("tasks") {
        let status = task.expect("a task").path().join("status");
        let status = std::fs::read_to_string(status).expect("status");
        assert!(status.contains("Seccomp:\t2"), "every thread is filtered");
    }
    for space in ["mnt", "net", "ipc", "uts"] {
        let theirs = std::fs::metadata(proc.join("ns").join(space))
            .expect("namespace")
            .ino();
        let ours = std::fs::metadata(Path::new("/proc/self/ns").join(space))
            .expect("namespace")
            .ino();
        assert_ne!(theirs, ours, "{space}");
    }
    let mounts = std::fs::read_to_string(proc.join("mountinfo")).expect("mounts");
    for mount in mounts.lines() {
        let options = mount.split(' ').nth(5).expect("options");
        for option in ["ro", "nosuid", "nodev"] {
            assert!(options.split(',').any(|o| o == option), "{mount}");
        }
    }
    assert_eq!(
        mounts.lines().count() == 1,
        profile == "gateway",
        "{mounts}"
    );
    let limits = std::fs::read_to_string(proc.join("limits")).expect("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    drop(child.stdin.take());
    assert!(wait(&mut child).expect("it ends").success());
}
