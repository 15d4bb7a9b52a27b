//! What a run leaves when it is killed, found and removed: at once by a run that is told to end, else by the next one.
//!
//! A run has directories: the stack's, that of the internet beside the host, and those of what it plants on the host. Each is
//! locked while the run lives and has in it all that is needed to undo the rest: privd's configuration and programs, the
//! lines that undo the internet.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use warder_wire::InstanceTag;

use warder_harness::wait::until;
use warder_harness::{leftovers, processes};

const PREFIX: &str = "warder-conf-";
const LOCK: &str = "lock";
const CONFIG: &str = "privd.conf";
const UNDO: &str = "undo";

/// Those of this run.
static OWN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether this run was told to end.
static TOLD: AtomicBool = AtomicBool::new(false);

/// A directory of a run; whoever finds it knows whether the run lives.
#[derive(Debug)]
pub(crate) struct RunDir {
    dir: TempDir,
    _lock: File,
}

impl RunDir {
    pub(crate) fn new() -> Result<Self, String> {
        let io = |e: std::io::Error| format!("temporary directory: {e}");
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let dir = dir.map_err(io)?;
        // Locked under another name: nobody finds one that is not locked yet.
        let made = dir.path().join("lock.new");
        let lock = File::create(&made).map_err(io)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| io(e.into()))?;
        fs::rename(made, dir.path().join(LOCK)).map_err(io)?;
        own().push(dir.path().to_owned());
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves it where it is, for somebody to look at.
    pub(crate) fn keep(self) -> PathBuf {
        own().retain(|dir| dir != self.dir.path());
        let _ = fs::remove_file(self.dir.path().join(LOCK));
        self.dir.keep()
    }
}

fn own() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the commands that undo something, before that is done, behind a line that says of which boot it is.
pub(crate) fn note(dir: &Path, undo: &[Vec<String>]) -> Result<(), String> {
    let mut text = boot() + "\n";
    for words in undo {
        text += &(words.join(" ") + "\n");
    }
    fs::write(dir.join(UNDO), text).map_err(|e| format!("beside the log: {e}"))
}

/// The commands, if they are of this boot: after another one the names of interfaces and the routes are somebody else's.
fn undoing<'a>(text: &'a str, boot: &str) -> std::str::Lines<'a> {
    match text.split_once('\n') {
        Some((of, commands)) if of == boot => commands.lines(),
        _ => "".lines(),
    }
}

/// What is another after each start of the system.
fn boot() -> String {
    if let Ok(id) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        return id.trim().to_owned();
    }
    let said = Command::new("sysctl")
        .args(["-nb", "kern.boot_id"])
        .stderr(Stdio::null())
        .output();
    let bytes = said.map(|out| out.stdout).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From now on a run that is told to end (SIGINT, SIGTERM, SIGHUP) removes what it has made first. Under nohup(1) it
/// outlives its terminal, as it was asked to.
pub(crate) fn end_when_told() -> Result<(), String> {
    let hangups_ignored = processes::ignores_hangups(std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|e| format!("signals: {e}"))?;
    let listen = move || {
        let told = runtime.block_on(async {
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            let [mut a, mut b, mut c] = kinds.map(|kind| {
                let left = kind == SignalKind::hangup() && hangups_ignored;
                (!left).then(|| signal(kind).ok()).flatten()
            });
            let one = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            };
            tokio::select! {
                () = one(&mut a) => 2,
                () = one(&mut b) => 15,
                () = one(&mut c) => 1,
            }
        });
        TOLD.store(true, Ordering::SeqCst);
        eprintln!("warder-conformance: told to end; removing what was made");
        for dir in own().iter().filter(|dir| dir.exists()) {
            clear(dir);
        }
        std::process::exit(128 + told);
    };
    let started = std::thread::Builder::new().spawn(listen);
    started.map(drop).map_err(|e| format!("signals: {e}"))
}

/// Goes no further in a run that was told to end: what is seen from then on is its end, and whoever removes the rest ends
/// the process.
pub(crate) fn stop_if_told() {
    while TOLD.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Removes what earlier runs have left that were killed.
pub(crate) fn clear_all() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let dir = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !is_roots(&dir) {
            continue;
        }
        // One without a lock was kept on purpose, or is being made.
        let Ok(lock) = File::open(dir.join(LOCK)) else {
            continue;
        };
        let taken = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Or it was kept, or removed by another run, since it was opened.
        if taken && dir.join(LOCK).exists() {
            eprintln!(
                "warder-conformance: a run was killed; removing what it has left in {}",
                dir.display()
            );
            clear(&dir);
        }
    }
}

/// What lies there is run.
fn is_roots(dir: &Path) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

fn clear(dir: &Path) {
    let config = dir.join(CONFIG);
    end_those(|words| is_privd(words, dir), Signal::TERM);
    if config.exists() {
        let privd = Command::new(dir.join("libexec/privd"))
            .args(["-p", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        if !privd.is_ok_and(|status| status.success()) {
            eprintln!("warder-conformance: privd -p could not remove everything");
        }
        if let Ok(state) = dir.join("state").canonicalize() {
            let bytes = state.as_os_str().as_encoded_bytes();
            leftovers::destroy_datasets(&InstanceTag::of_state_dir(bytes));
        }
    }
    if let Ok(undo) = fs::read_to_string(dir.join(UNDO)) {
        end_those(|words| is_world(words, dir), Signal::KILL);
        for line in undoing(&undo, &boot()) {
            let mut words = line.split_whitespace();
            if let Some(program) = words.next() {
                // Some may be gone already.
                let _ = Command::new(program)
                    .args(words)
                    .stdin(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
    if let Some(mount) = mounted_below(dir) {
        eprintln!("warder-conformance: {mount} is still mounted; it and the directory are left");
    } else if let Err(error) = fs::remove_dir_all(dir) {
        eprintln!("warder-conformance: {}: {error}", dir.display());
    }
}

/// The stack's first process. An editor or a pager with one of its files is somebody's own.
fn is_privd(words: &[&str], dir: &Path) -> bool {
    let config = dir.join(CONFIG);
    words.first().map(Path::new) == Some(&dir.join("libexec/privd"))
        && words.iter().any(|word| Path::new(word) == config)
}

/// The servers beside the host: this program, with their log.
fn is_world(words: &[&str], dir: &Path) -> bool {
    let [program, "world", log, ..] = words else {
        return false;
    };
    Path::new(program).ends_with(env!("CARGO_PKG_NAME")) && Path::new(log).starts_with(dir)
}

/// Ends the processes with such command lines, and waits until they have.
fn end_those(such: impl Fn(&[&str]) -> bool, with: Signal) {
    let named = || -> Vec<i32> {
        let all = processes::all().unwrap_or_default().into_iter();
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        all.filter(|p| p.pid != own)
            .filter(|p| such(&p.command.split_whitespace().collect::<Vec<_>>()))
            .map(|p| p.pid)
            .collect()
    };
    let tell = |pid: &i32, with| {
        if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
            let _ = rustix::process::kill_process(pid, with);
        }
    };
    named().iter().for_each(|pid| tell(pid, with));
    let gone = until("their end", || named().is_empty().then_some(()));
    if gone.is_err() {
        named().iter().for_each(|pid| tell(pid, Signal::KILL));
    }
}

/// Something that is mounted below a directory (mount(8), whose lines name it as their third word).
fn mounted_below(dir: &Path) -> Option<String> {
    let out = Command::new("mount").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    below(&text, dir)
}

fn below(listing: &str, dir: &Path) -> Option<String> {
    let at = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    let mut all = listing.lines().filter_map(at);
    all.find(|at| Path::new(at).starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_are_seen() {
        let listing =
            "tank/x on /tmp/warder-conf-a/state/zfs/y (zfs, local)\n/dev/ada0 on / (ufs, local)\n";
        assert_eq!(
            below(listing, Path::new("/tmp/warder-conf-a")).as_deref(),
            Some("/tmp/warder-conf-a/state/zfs/y")
        );
        assert_eq!(below(listing, Path::new("/tmp/warder-conf")), None);
    }

    #[test]
    fn another_boot_is_left_alone() {
        assert!(!boot().is_empty(), "a boot has a number");
        let text = "one\nroute a\njail b\n";
        assert!(undoing(text, "one").eq(["route a", "jail b"]));
        assert_eq!(undoing(text, "two").count(), 0);
        assert_eq!(undoing("", "one").count(), 0);
    }

    #[test]
    fn only_a_runs_own_processes_are_ended() {
        let dir = Path::new("/tmp/warder-conf-a");
        let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
        let privd = "/tmp/warder-conf-a/libexec/privd -f /tmp/warder-conf-a/privd.conf";
        assert!(is_privd(&words(privd), dir));
        let world = "/x/bin/warder-conformance world /tmp/warder-conf-a/world.log 192.0.2.10";
        assert!(is_world(&words(world), dir));
        assert!(!is_world(&words(world), Path::new("/tmp/warder-conf-b")));
        for other in [
            "less /tmp/warder-conf-a/privd.conf",
            "tail -f /tmp/warder-conf-a/world.log",
            "/bin/sh -c world /tmp/warder-conf-a/world.log",
            "",
        ] {
            let words = words(other);
            assert!(!is_privd(&words, dir) && !is_world(&words, dir), "{other}");
        }
    }

    #[test]
    fn a_directory_that_is_kept_is_nobodys_remains() {
        let dir = RunDir::new().expect("a directory");
        let path = dir.path().to_owned();
        let lock = File::open(path.join(LOCK)).expect("there");
        let taken = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        assert!(taken.is_err(), "the run lives");
        note(&path, &[vec!["true".to_owned()]]).expect("written");
        let kept = dir.keep();
        assert!(kept.join(UNDO).exists() && !kept.join(LOCK).exists());
        fs::remove_dir_all(kept).expect("ours");
    }
}
