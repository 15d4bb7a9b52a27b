//! Templates made of what sandboxes have changed.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use warder_linux::HostError;
use warder_linux::cell::{IdRange, UserNamespace};
use warder_linux::process::{Exit, Process};
use warder_linux::storage::MOST_LAYERS;
use warder_wire::{SandboxId, TemplateName};

use crate::support::{Instance, LIMITS, ended, random_id, range};

impl Instance {
    fn template(&mut self, name: &str, of: &SandboxId, ids: IdRange) -> Result<(), HostError> {
        let name = TemplateName::new(name).expect("a name");
        let draft = self.store.draft(&name, Some(of))?;
        let done = self.store.copy_changes(&draft, of, ids, 0);
        let done = done.and_then(|()| self.store.keep(&draft));
        self.store.settle(draft, done.is_ok()).expect("settles");
        done
    }

    fn clone(&mut self, template: &str, ids: IdRange) -> SandboxId {
        let sandbox = random_id();
        let name = TemplateName::new(template).expect("a name");
        self.store
            .clone_template(&sandbox, &name, ids, &[])
            .expect("clone");
        sandbox
    }

    fn up(&self, sandbox: &SandboxId) -> std::path::PathBuf {
        self.dir.path().join(format!("cells/{sandbox}/up"))
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("layers"))
            .expect("layers")
            .count()
    }
}

/// Everything a program sees of the trees, a line each: hashes, since it is much.
const DESCRIBE: &str = r#"python3 - <<'E'
import ctypes, hashlib, os, stat
libc = ctypes.CDLL(None)
def value(path, name):
    # Not os.getxattr: kernels before 6.2 map the ids of access control lists only in a buffer that is one's length.
    buffer = ctypes.create_string_buffer(65532)
    length = libc.lgetxattr(path, name.encode(), buffer, 65532)
    assert length >= 0, (path, name)
    value = buffer.raw[:length]
    if not name.startswith('system.posix_acl_'): return value
    # For the same reason overlayfs may have copied one up with ids of nobody here: those are not kept.
    entries = [value[at:at + 8] for at in range(4, length, 8)]
    return [e for e in entries if e[:1] not in b'\2\10' or e[4:] != b'\xff' * 4]
first = {}
for root in [b'/etc', b'/home', b'/srv', b'/var', b'/opt', b'/root', b'/usr/local', b'/usr/share/debconf']:
    for where, dirs, files in os.walk(root):
        dirs.sort()
        for name in [b'.'] + sorted(dirs + files):
            path = os.path.join(where, name)
            if path in (b'/etc/hostname', b'/etc/hosts', b'/etc/resolv.conf'): continue
            s = os.lstat(path); d = stat.S_ISDIR(s.st_mode)
            line = [path, s.st_mode, s.st_uid, s.st_gid]
            if path not in (b'/etc/.',b'/etc'): line += [s.st_mtime_ns]
            if not d: line += [s.st_size, s.st_nlink, first.setdefault((s.st_dev, s.st_ino), path)]
            if stat.S_ISLNK(s.st_mode): line += [os.readlink(path)]
            if stat.S_ISREG(s.st_mode): line += [hashlib.file_digest(open(path,'rb'), 'md5').hexdigest()]
            line += [(x, value(path, x)) for x in sorted(os.listxattr(path, follow_symlinks=False))]
            print(hashlib.md5(repr(line).encode()).hexdigest()[:8], repr(path)[-40:])
E"#;

/// Changes a tree at random, in all ways root of a sandbox has.
const CHANGE: &str = r#"python3 - <<'E'
import os, random, shutil, socket, struct
r = random.Random(SEED)
def paths(d):
    return [os.path.join(w, n) for root in d for w, ds, fs in os.walk(root) for n in ds + fs]
def name():
    return r.choice([b'a b', b'\xff\xfe', b'line\nbreak', b'-rf', '\u00e9'.encode(), b'x' * 255, b'n%d' % r.randrange(999)])
os.makedirs(b'/srv/t', exist_ok=True)
for step in range(300):
    if step % 20 == 0:
        mine = paths([b'/srv', b'/opt', b'/home'])
        all = mine + paths([b'/etc/pam.d', b'/etc/skel', b'/etc/ld.so.conf.d', b'/etc/alternatives', b'/usr/share/debconf', b'/usr/local', b'/var'])
        dirs = [p for p in mine + [b'/srv', b'/opt', b'/usr/local'] if os.path.isdir(p) and not os.path.islink(p)]
    new = os.path.join(r.choice(dirs), name()); old = r.choice(all or [b'/srv/t'])
    try:
        kind = r.randrange(17)
        if kind < 3: open(new, 'xb').write(r.randbytes(r.choice([0, 1, 4096, 70000])))
        elif kind == 3:
            f = open(new, 'xb'); f.seek(r.randrange(1 << 26)); f.write(b'data'); f.truncate(f.tell() + r.randrange(1 << 20))
        elif kind < 6: os.mkdir(new, r.choice([0o755, 0o2775, 0o1777, 0]))
        elif kind == 6: os.symlink(r.choice([b'/etc/passwd', b'..', b'nowhere', b'y' * 3000]), new)
        elif kind == 7: os.link(old, new, follow_symlinks=False)
        elif kind == 8: os.mkfifo(new)
        elif kind == 9: os.chdir(os.path.dirname(new)); socket.socket(socket.AF_UNIX).bind(b's%d' % step)
        elif kind == 10: os.chmod(old, r.choice([0o4755, 0o600, 0o2711, 0]))
        elif kind == 11: os.lchown(old, r.randrange(65000), r.randrange(65000))
        elif kind == 12: os.setxattr(old, 'user.%d' % r.randrange(9), r.randbytes(r.randrange(300)))
        elif kind == 13:
            e = [(1, 7, 0xffffffff), (2, 6, r.randrange(65000)), (4, 5, 0xffffffff), (8, 4, r.randrange(65000)), (16, 7, 0xffffffff), (32, 1, 0xffffffff)]
            acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *x) for x in e)
            os.setxattr(old, r.choice(['system.posix_acl_access', 'system.posix_acl_default']), acl)
        elif kind == 14: os.setxattr(old, 'security.capability', struct.pack('<IIIII', 0x2000001, 1 << r.randrange(30), 0, 0, 0))
        elif kind == 15: os.rename(old, new)
        else:
            shutil.rmtree(old) if os.path.isdir(old) and not os.path.islink(old) else os.unlink(old)
            if r.randrange(2): os.mkdir(old)
    except OSError as e: pass
    if r.randrange(4) == 0:
        try: os.utime(new, ns=(r.randrange(1 << 60), r.randrange(1 << 60)), follow_symlinks=False)
        except OSError: pass
E"#;

pub(crate) fn a_clone_is_what_its_source_was() {
    let mut instance = Instance::with_base();
    let others = UserNamespace::new(IdRange {
        first: range().first + range().count,
        ..range()
    })
    .expect("user namespace");
    let mut template = "base".to_owned();
    for round in 0..3 {
        // One after the other, each with the ids the last one did not have.
        let (users, ids) = match round % 2 {
            0 => (None, range()),
            _ => (Some(&others), others.range()),
        };
        let seed = std::process::id() * 10 + round;
        let source = random_id();
        let running = instance
            .start(&source, &template, users, &LIMITS, &[])
            .expect("runs");
        running.ok("mv /etc/skel /etc/skelett; mv /etc/skelett /srv; rm -r /etc/pam.d; mkdir /etc/pam.d; mv /usr/share/debconf /usr/local/ || true; mkdir -p /usr/share/debconf; chmod 700 /usr /etc");
        let change = CHANGE.replace("SEED", &seed.to_string());
        running.ok(&change);
        let before = running.ok(DESCRIBE);
        assert!(before.lines().count() > 100);
        // The change may have been to these too.
        let modes = running.ok("stat -c %a /usr /etc");
        instance.stop(&running);
        let made = format!("snapshot{round}");
        instance.template(&made, &source, ids).expect("snapshot");
        let (users, ids) = match round % 2 {
            1 => (None, range()),
            _ => (Some(&others), others.range()),
        };
        let copy = random_id();
        let running = instance
            .start(&copy, &made, users, &LIMITS, &[])
            .expect("runs");
        let after = running.ok(DESCRIBE);
        let differ: Vec<_> = before
            .lines()
            .zip(after.lines())
            .filter(|(a, b)| a != b)
            .take(5)
            .collect();
        assert!(before == after, "seed {seed}: {differ:?}");
        assert_eq!(running.ok("stat -c %a /usr /etc"), modes);
        running.ok("chmod 755 /usr /etc");
        let _ = ids;
        instance.stop(&running);
        // What it was made of can go.
        instance.store.discard(&source).expect("discard");
        if template != "base" {
            let former = TemplateName::new(&template).expect("a name");
            assert!(instance.store.discard_template(&former).expect("discard"));
        }
        instance.store.empty_trash().expect("trash");
        instance.store.discard(&copy).expect("discard");
        template = made;
    }
    assert_eq!(instance.layers(), 2 + 3);
    let last = TemplateName::new(&template).expect("a name");
    instance.store.discard_template(&last).expect("discard");
    assert_eq!(instance.layers(), 2);
}

pub(crate) fn as_many_layers_as_there_is_room_for() {
    let mut instance = Instance::with_base();
    let ids = range();
    let mut template = "base".to_owned();
    for n in 1.. {
        let sandbox = instance.clone(&template, ids);
        let file = instance.up(&sandbox).join(format!("file{n}"));
        std::fs::write(&file, n.to_string()).expect("file");
        chown(&file, Some(ids.first), Some(ids.first)).expect("chown");
        let next = format!("deep{n}");
        match instance.template(&next, &sandbox, ids) {
            Ok(()) => {}
            Err(told) => {
                assert!(matches!(told, HostError::Invalid(_)), "{told}");
                assert_eq!(n, MOST_LAYERS);
                break;
            }
        }
        instance.store.discard(&sandbox).expect("discard");
        let former = TemplateName::new(&template).expect("a name");
        instance.store.discard_template(&former).expect("discard");
        template = next;
    }
    for sandbox in instance.store.list().expect("list") {
        instance.store.discard(&sandbox).expect("discard");
    }
    let sandbox = random_id();
    let running = instance
        .start(&sandbox, &template, None, &LIMITS, &[])
        .expect("runs");
    let last = MOST_LAYERS - 1;
    assert_eq!(
        running.ok("cat /file* | wc -w; ls / | grep -c file"),
        format!("1\n{last}")
    );
    assert_eq!(
        running.ok(&format!("cat /file1 /file{last}")),
        format!("1{last}")
    );
    instance.end(running);
    instance.store.empty_trash().expect("trash");
}

pub(crate) fn a_hostile_tree_stays_outside() {
    let mut instance = Instance::with_base();
    let ids = range();
    let sandbox = instance.clone("base", ids);
    let up = instance.up(&sandbox);
    let before = instance.layers();
    symlink("/etc", up.join("way-out")).expect("link");
    symlink("../../../..", up.join("up")).expect("link");
    let made = instance.template("links", &sandbox, ids);
    made.expect("links are copied, not followed");
    let layer = std::fs::read_dir(instance.dir.path().join("layers"))
        .expect("layers")
        .flatten();
    let layer = layer
        .map(|l| l.path())
        .find(|l| l.join("up/way-out").is_symlink())
        .expect("made");
    assert_eq!(
        std::fs::read_link(layer.join("up/way-out")).expect("link"),
        Path::new("/etc")
    );
    assert_eq!(
        std::fs::symlink_metadata(layer.join("up/way-out"))
            .expect("link")
            .uid(),
        65_534,
        "not one of its users"
    );
    // Deeper than any path, and as root of the host alone can make it: a device.
    let device = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        up.join("device"),
        kind,
        rustix::fs::Mode::RWXU,
        device,
    )
    .expect("device");
    let told = instance
        .template("device", &sandbox, ids)
        .expect_err("refused");
    assert!(matches!(told, HostError::Invalid(_)), "{told}");
    std::fs::remove_file(up.join("device")).expect("remove");
    let mut at: std::os::fd::OwnedFd = std::fs::File::open(&up).expect("upper").into();
    for _ in 0..4_100 {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkdirat(&at, "d", mode).expect("mkdir");
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, mode).expect("open");
        std::os::unix::fs::fchown(&at, Some(ids.first), Some(ids.first)).expect("chown");
    }
    drop(at);
    let told = instance
        .template("deep", &sandbox, ids)
        .expect_err("refused");
    assert!(matches!(told, HostError::Invalid(_)), "{told}");
    let full = instance
        .store
        .draft(&TemplateName::new("full").expect("a name"), Some(&sandbox))
        .expect("draft");
    let told = instance
        .store
        .copy_changes(&full, &sandbox, ids, u64::MAX)
        .expect_err("reserve");
    assert!(matches!(told, HostError::NoSpace { .. }), "{told}");
    instance.store.settle(full, false).expect("settle");
    assert_eq!(
        instance.layers(),
        before + 1,
        "nothing is left of what failed"
    );
    instance.store.discard(&sandbox).expect("discard");
    instance.store.empty_trash().expect("trash");
}

/// The next owner finds whole templates only, and discards the rest.
pub(crate) fn what_was_being_made_is_discarded() {
    let mut instance = Instance::with_base();
    let ids = range();
    let sandbox = instance.clone("base", ids);
    instance.template("whole", &sandbox, ids).expect("snapshot");
    let name = TemplateName::new("half").expect("a name");
    for stage in 0..3 {
        let draft = instance.store.draft(&name, Some(&sandbox)).expect("draft");
        if stage > 0 {
            instance
                .store
                .copy_changes(&draft, &sandbox, ids, 0)
                .expect("copy");
        }
        if stage > 1 {
            // Between its two renames.
            let layers = instance.dir.path().join("layers");
            let hidden = std::fs::read_dir(&layers)
                .expect("layers")
                .flatten()
                .map(|l| l.file_name());
            let hidden = hidden
                .filter_map(|n| n.into_string().ok())
                .find(|n| n.starts_with('.'))
                .expect("a draft");
            std::fs::rename(layers.join(&hidden), layers.join(&hidden[1..])).expect("rename");
        }
        instance.store =
            warder_linux::storage::Store::open(instance.dir.path(), None).expect("open");
        assert_eq!(instance.layers(), 3, "stage {stage}");
        assert!(!instance.store.has_template(&name) && !instance.store.is_drafted(&name));
    }
    // The layers of a sandbox are held across that.
    let whole = TemplateName::new("whole").expect("a name");
    let clone = instance.clone("whole", ids);
    instance.store.discard_template(&whole).expect("discard");
    instance.store = warder_linux::storage::Store::open(instance.dir.path(), None).expect("open");
    assert_eq!(instance.layers(), 3);
    let running = instance
        .start(&clone, "whole", None, &LIMITS, &[])
        .expect("runs");
    instance.stop(&running);
    instance.store.discard(&clone).expect("discard");
    assert_eq!(instance.layers(), 2);
    instance.store.discard(&sandbox).expect("discard");
    instance.store.empty_trash().expect("trash");
}

/// Not a test: `cargo test -p warder-linux --release --test storage latency` prints how long a snapshot of 10 MB in 200
/// files takes.
pub(crate) fn latency() {
    let mut instance = Instance::with_base();
    let ids = range();
    for synced in [false, true] {
        let mut times = Vec::new();
        for round in 0..20 {
            let sandbox = instance.clone("base", ids);
            let up = instance.up(&sandbox);
            for n in 0..200 {
                let file = up.join(format!("file{n}"));
                std::fs::write(&file, vec![b'x'; 50_000]).expect("file");
                chown(&file, Some(ids.first), Some(ids.first)).expect("chown");
            }
            if synced {
                rustix::fs::syncfs(&instance.store).expect("syncfs");
            }
            let name = TemplateName::new(format!("s{round}").as_str()).expect("a name");
            let begun = std::time::Instant::now();
            let draft = instance.store.draft(&name, Some(&sandbox)).expect("draft");
            let store = &instance.store;
            let worker = Process::worker(&[store.as_fd()], || {
                i32::from(store.copy_changes(&draft, &sandbox, ids, 0).is_err())
            });
            let worker = worker.expect("worker");
            ended(&worker);
            assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
            let copied = begun.elapsed();
            instance.store.keep(&draft).expect("keep");
            let kept = begun.elapsed();
            instance.store.settle(draft, true).expect("settle");
            instance.store.discard_template(&name).expect("discard");
            instance.store.discard(&sandbox).expect("discard");
            instance.store.empty_trash().expect("trash");
            times.push((copied, kept));
        }
        times.sort_unstable();
        let (copied, kept) = times[times.len() / 2];
        println!("synced before: {synced}; copied after {copied:?}, kept after {kept:?} (medians)");
    }
}
