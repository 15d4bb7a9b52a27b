//! Cells that stand still: by cgroups of version 2, of version 1, and by signals.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use warder_linux::cell;
use warder_linux::process::Signal;

use crate::support::{Instance, LIMITS, Running, ended};

/// Set where this program runs without some of the host's control groups.
const WITHOUT: &str = "WITHOUT_CONTROL_GROUPS";

/// Freezes a cell as privd does.
fn freeze(instance: &Instance, running: &Running) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let ids = instance.users.range();
    let still = || instance.controllers.freeze(&running.sandbox, ids);
    while !still().expect("freezes") {
        assert!(Instant::now() < deadline, "it never stands still");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        instance
            .controllers
            .is_frozen(&running.sandbox, &running.cell)
    );
}

fn thaw(instance: &Instance, running: &Running) {
    let ids = instance.users.range();
    instance
        .controllers
        .thaw(&running.sandbox, ids)
        .expect("thaws");
}

pub(crate) fn frozen_and_thawed() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    let all_hidden = std::env::var(WITHOUT).is_ok_and(|path| path == "/sys/fs/cgroup");
    assert!(!all_hidden || instance.controllers.reclaims().is_none());
    let frozen = || {
        instance
            .controllers
            .is_frozen(&running.sandbox, &running.cell)
    };
    assert!(!frozen());
    // One that only counts, one that forks all the time, and one that was stopped by its own side.
    running.sh_user("setsid -f bash -c 'while :; do echo >> /tmp/ticks; done' > /dev/null 2>&1");
    running.sh_user("setsid -f bash -c 'while :; do /bin/true; done' > /dev/null 2>&1");
    running.sh_user("setsid -f bash -c 'kill -STOP $$' > /dev/null 2>&1");
    let boot = running.ok("cat /proc/sys/kernel/random/boot_id");
    let ticks = instance
        .dir
        .path()
        .join(format!("cells/{}/up/tmp/ticks", running.sandbox));
    let ticked = || std::fs::metadata(&ticks).map_or(0, |data| data.len());
    let ticks_on = |before: u64| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while ticked() <= before {
            assert!(Instant::now() < deadline, "nothing goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for _ in 0..10 {
        ticks_on(ticked());
        freeze(&instance, &running);
        let before = ticked();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(ticked(), before, "something runs");
        thaw(&instance, &running);
        assert!(!frozen());
    }
    assert_eq!(running.ok("cat /proc/sys/kernel/random/boot_id"), boot);
    // Found again by the next privd, which ends it.
    freeze(&instance, &running);
    instance
        .controllers
        .reclaim(&running.sandbox)
        .or_else(|error| {
            let absent = instance.controllers.reclaims().is_none();
            if absent { Ok(()) } else { Err(error) }
        })
        .expect("pushes memory out");
    let adopted = cell::adopt(&running.cell.handle)
        .expect("adopts")
        .expect("is the same");
    assert!(instance.controllers.is_frozen(&running.sandbox, &adopted));
    let before = ticked();
    adopted.process.signal(Signal::Kill).expect("kill");
    let ids = instance.users.range();
    instance
        .controllers
        .kill_still(&running.sandbox, ids)
        .expect("kill");
    thaw(&instance, &running);
    ended(&running.cell.process);
    assert_eq!(ticked(), before, "something ran");
    instance.end(running);
}

/// Room for what processes hold, for as long as this lives: all of the host has it.
struct Swap(PathBuf);

impl Swap {
    /// In a file of its own; none where the host has some, or its file system or kernel has none in files.
    fn add(dir: &Path) -> Option<Self> {
        if has_swap() {
            return None;
        }
        let swap = Self(dir.join("swap"));
        let script =
            r#"head -c 192M /dev/zero > "$1" && chmod 600 "$1" && mkswap "$1" && swapon "$1""#;
        let mut sh = Command::new("sh");
        sh.args(["-c", script, "sh"]).arg(&swap.0);
        let done = sh.output().expect("a shell");
        let said = String::from_utf8_lossy(&done.stderr);
        println!("  swap in a file: {} {}", done.status, said.trim());
        Some(swap)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let off = Command::new("swapoff").arg(&self.0).output();
        if has_swap() {
            eprintln!("swap in {} stays: {off:?}", self.0.display());
        }
    }
}

fn has_swap() -> bool {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    swaps.lines().count() > 1
}

/// Memory of a paused cell is pushed out where the host can, and is there again when the cell goes on.
pub(crate) fn memory_is_pushed_out() {
    let mut instance = Instance::with_base();
    if instance.controllers.reclaims().is_none() {
        return println!("skipped: this host has no memory controller");
    }
    let own_swap = Swap::add(instance.dir.path());
    let running = instance.cell(&LIMITS);
    running.ok("setsid -f python3 -c '\nimport os, time\ndata = os.urandom(64 << 20)\nopen(\"/srv/file\", \"wb\").write(data); os.sync()\nopen(\"/srv/ready\", \"x\").close()\nwhile not os.path.exists(\"/srv/go\"): time.sleep(0.01)\nopen(\"/srv/same\", \"w\").write(str(open(\"/srv/file\", \"rb\").read() == data)); os.rename(\"/srv/same\", \"/srv/done\")\n' > /dev/null 2>&1; while [ ! -e /srv/ready ]; do sleep 0.1; done");
    let used = || {
        let usage = instance.controllers.usage(&running.sandbox).expect("usage");
        let memory = usage.memory.expect("the controller counts") >> 20;
        (
            memory,
            usage.memory_cache.expect("and tells it apart") >> 20,
        )
    };
    freeze(&instance, &running);
    let before = used();
    let swap = has_swap();
    // Pages that are still being written stay for that time.
    let deadline = Instant::now() + Duration::from_secs(60);
    let after = loop {
        instance
            .controllers
            .reclaim(&running.sandbox)
            .expect("reclaims");
        let after = used();
        if !swap || after.0 < 32 || Instant::now() > deadline {
            break after;
        }
    };
    println!(
        "  MiB in all and of page cache: {before:?}, after reclaiming {after:?}; swap: {swap}"
    );
    assert!(before.0 >= 64, "{before:?}");
    // The cache goes anywhere; what a process holds goes to swap alone.
    assert!(after.1 <= before.1 / 2 + 4, "{before:?} {after:?}");
    assert!(!swap || after.0 < 32, "{before:?} {after:?}");
    thaw(&instance, &running);
    let same =
        running.ok("touch /srv/go; while [ ! -e /srv/done ]; do sleep 0.1; done; cat /srv/done");
    assert_eq!(same, "True");
    drop(own_swap);
    instance.end(running);
}

pub(crate) fn by_every_means_there_is() {
    if std::env::var_os(WITHOUT).is_some() {
        return;
    }
    for hidden in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
        let script = format!(
            "mount --make-rprivate / && {{ umount -l {hidden} || true; }} && exec \"$0\" \"$@\""
        );
        let done = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .arg(std::env::current_exe().expect("own path"))
            .arg("pause::frozen_and_thawed")
            .env(WITHOUT, hidden)
            .status()
            .expect("util-linux is there");
        assert!(done.success(), "without {hidden}");
    }
}

pub(crate) fn a_boot_id_of_its_own() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    let read = "cat /proc/sys/kernel/random/boot_id";
    let own = running.ok(read);
    assert_eq!(running.ok(read), own);
    assert_eq!((own.len(), own.matches('-').count()), (36, 4));
    let host = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("proc");
    assert_ne!(own, host.trim());
    for attempt in [
        "echo x > /proc/sys/kernel/random/boot_id",
        "umount /proc/sys/kernel/random/boot_id",
        "mount -o remount,rw,bind /proc/sys/kernel/random/boot_id",
        "chmod 666 /proc/sys/kernel/random/boot_id",
    ] {
        assert_ne!(running.sh(attempt).0, 0, "{attempt}");
    }
    assert_eq!(running.ok(read), own);
    instance.end(running);
    let again = instance.cell(&LIMITS);
    assert_ne!(again.ok(read), own);
    instance.end(again);
}
