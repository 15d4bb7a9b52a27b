//! bubblewrap and runc, started as their users start them, by the same clock.
//!
//! Neither gets a network, limits or an API here: the comparison is in their favour.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::burst::at_once;
use crate::memory::Share;
use crate::stats::Samples;
use crate::warder::Server;

const ROUNDS: usize = 50;
const BURSTS: [(usize, usize); 2] = [(16, 3), (50, 2)];

pub(crate) fn bubblewrap(_: &Server, samples: &mut Samples) -> Outcome {
    let plain = |_| {
        let mut command = Command::new("/bin/echo");
        command.arg("hello");
        command
    };
    one_by_one(samples, "host", plain)?;
    let confined = |_| {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--ro-bind", "/usr", "/usr"]);
        for (target, link) in [
            ("usr/bin", "/bin"),
            ("usr/sbin", "/sbin"),
            ("usr/lib", "/lib"),
            ("usr/lib64", "/lib64"),
        ] {
            command.args(["--symlink", target, link]);
        }
        command.args([
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--tmpfs",
            "/tmp",
            "/bin/echo",
            "hello",
        ]);
        command
    };
    one_by_one(samples, "bubblewrap", confined)?;
    bursts(samples, "bubblewrap", confined)
}

pub(crate) fn runc(_: &Server, samples: &mut Samples) -> Outcome {
    let dir = std::env::temp_dir().join(format!("warder-bench-runc-{}", std::process::id()));
    let result = Bundle::make(&dir).and_then(|bundle| {
        one_by_one(samples, "runc", |n| bundle.run(&format!("one{n}")))?;
        bursts(samples, "runc", |n| bundle.run(&format!("many{n}")))?;
        live(samples, &bundle)
    });
    fs::remove_dir_all(&dir)?;
    result
}

fn one_by_one(samples: &mut Samples, peer: &str, command: impl Fn(usize) -> Command) -> Outcome {
    for n in 0..ROUNDS + 3 {
        let time = first_output(command(n))?;
        if n >= 3 {
            samples.time(&format!("{peer} first output at 1"), time);
        }
    }
    Ok(())
}

fn bursts(samples: &mut Samples, peer: &str, command: impl Fn(usize) -> Command + Sync) -> Outcome {
    let next = std::sync::atomic::AtomicUsize::new(0);
    for (width, rounds) in BURSTS {
        for _ in 0..rounds {
            let times = at_once(width, |gate| {
                let command = command(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                gate.wait();
                first_output(command)
            });
            for time in times {
                samples.time(&format!("{peer} first output at {width}"), time?);
            }
        }
    }
    Ok(())
}

/// Runs a command that prints `hello` and takes the time until that can be read; then waits for its end.
fn first_output(mut command: Command) -> Result<Duration, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let mut output = [0; 6];
    let read = child
        .stdout
        .take()
        .map(|mut out| out.read_exact(&mut output));
    let time = start.elapsed();
    let ended = child.wait_with_output().map_err(|e| e.to_string())?;
    if matches!(read, Some(Ok(()))) && &output == b"hello\n" && ended.status.success() {
        return Ok(time);
    }
    Err(format!(
        "{command:?}: {} {}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr).trim()
    ))
}

/// A container that stays: commands in it, its memory, its end.
fn live(samples: &mut Samples, bundle: &Bundle) -> Outcome {
    for n in 0..10 {
        let id = format!("live{n}");
        let pid_file = bundle.dir.join("pid");
        let mut start = bundle.command(&["run", "--detach", "--pid-file"]);
        start
            .arg(&pid_file)
            .arg("--bundle")
            .arg(bundle.dir.join("idle"))
            .arg(&id);
        checked(start)?;
        // Until the program of the container has replaced runc's own.
        thread::sleep(Duration::from_millis(50));
        if let Some(share) = Share::of(fs::read_to_string(&pid_file)?.trim().parse()?) {
            samples.value("runc memory", share.whole);
        }
        if n == 0 {
            for _ in 0..ROUNDS {
                let mut exec = bundle.command(&["exec", &id]);
                exec.args(["/bin/echo", "hello"]);
                samples.time("runc command", first_output(exec)?);
            }
        }
        let begin = Instant::now();
        checked(bundle.command(&["delete", "--force", &id]))?;
        samples.time("runc kill", begin.elapsed());
    }
    Ok(())
}

/// Without pipes: what stays behind would hold them open.
fn checked(mut command: Command) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// Two OCI bundles over the host's /usr: `echo` prints, `idle` stays.
#[derive(Debug)]
struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    fn make(dir: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let root = dir.join("rootfs");
        for folder in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        for (target, link) in [
            ("usr/bin", "bin"),
            ("usr/sbin", "sbin"),
            ("usr/lib", "lib"),
            ("usr/lib64", "lib64"),
        ] {
            symlink(target, root.join(link))?;
        }
        for (name, arguments) in [
            ("echo", ["/bin/echo", "hello"]),
            ("idle", ["/bin/sleep", "1000"]),
        ] {
            let bundle = dir.join(name);
            fs::create_dir_all(&bundle)?;
            let mut spec = Command::new("runc");
            spec.arg("spec").current_dir(&bundle);
            checked(spec)?;
            let file = bundle.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(arguments);
            config["root"] = json!({ "path": root, "readonly": true });
            let usr = json!({ "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] });
            config["mounts"]
                .as_array_mut()
                .ok_or("no mounts in runc's own spec")?
                .push(usr);
            fs::write(&file, config.to_string())?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(arguments);
        command
    }

    /// One container that prints and ends.
    fn run(&self, id: &str) -> Command {
        let mut command = self.command(&["run", "--bundle"]);
        command.arg(self.dir.join("echo")).arg(id);
        command
    }
}
