//! Limits of disk, where the file system of TMPDIR has quotas of projects: ext4 (made with `-O quota,project -E
//! quotatype=prjquota`) or XFS, mounted with `prjquota`. Elsewhere each of these says that it is skipped.

use std::os::fd::AsRawFd;
use std::path::Path;

use warder_linux::cell::{IdRange, UserNamespace};
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{GuestPath, LimitState, Limits, SandboxId, TemplateName, VolumeId};

use crate::support::{Instance, LIMITS, Running, random_id, range};

const MIB: u64 = 1 << 20;
const SMALL: Limits = Limits {
    disk_mib: 64,
    ..LIMITS
};
/// Writes so many MiB to a file, and says what came of it and how much arrived.
const FILL: &str = r#"fill() { python3 - "$1" "$2" <<'E'
import errno, os, sys
n = 0; said = 'whole'
try:
    f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    while n < int(sys.argv[2]) << 20: n += os.write(f, b'x' * 65536)
    os.fsync(f)
except OSError as e: said = errno.errorcode[e.errno]
print(said, n >> 20)
E
}; "#;

/// An instance with a template, where there are quotas to be tried; elsewhere it says so.
fn with_quotas() -> Option<Instance> {
    let mut instance = Instance::new();
    if instance.controllers.limits_in_force().disk == LimitState::Enforced {
        instance.make_base();
        return Some(instance);
    }
    let dir = std::env::temp_dir();
    println!(
        "skipped: the file system of {} has no quotas of projects; set TMPDIR to a directory on ext4 or XFS mounted with prjquota",
        dir.display()
    );
    assert!(!instance.store.bounds(&random_id()));
    assert!(
        !instance.store.bound_volumes(Some(MIB)),
        "nothing would hold it"
    );
    None
}

fn others() -> UserNamespace {
    UserNamespace::new(IdRange {
        first: range().first + range().count,
        ..range()
    })
    .expect("user namespace")
}

/// What came of writing so many MiB, and how many arrived.
fn fill(running: &Running, path: &str, mib: u32) -> (String, u64) {
    let said = running.ok(&format!("{FILL} fill {path} {mib}"));
    let (word, arrived) = said.split_once(' ').expect("two words");
    (word.to_owned(), arrived.parse().expect("a number"))
}

/// XFS says of a project that its disk is full, ext4 that its quota is.
fn is_full(word: &str) -> bool {
    matches!(word, "ENOSPC" | "EDQUOT")
}

fn size_of(running: &Running, path: &str) -> u64 {
    let said = running.ok(&format!("df -k --output=size {path} | tail -1"));
    said.trim().parse::<u64>().expect("a number") / 1024
}

pub(crate) fn who_is_full_leaves_its_neighbour_room() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    let others = others();
    let mut start = |users, limits: &Limits| {
        let made = instance.start(&random_id(), "base", users, limits, &[]);
        made.unwrap_or_else(|outcome| panic!("{outcome:?}"))
    };
    let one = start(None, &SMALL);
    let two = start(Some(&others), &LIMITS);
    assert_eq!((size_of(&one, "/"), size_of(&two, "/")), (64, 1024));
    // Everywhere it can write, the directories over the host's /usr and those it makes itself included.
    assert_eq!(
        fill(&one, "/usr/local/file", 40),
        ("whole".to_owned(), 40),
        "within its limit"
    );
    one.ok("mkdir -p /srv/a/b");
    let (word, arrived) = fill(&one, "/srv/a/b/file", 40);
    assert!(
        is_full(&word) && (10..=24).contains(&arrived),
        "{word}, {arrived} MiB"
    );
    for path in ["/home/user/file", "/tmp/file", "/root/file"] {
        let (word, arrived) = fill(&one, path, 8);
        assert!(
            is_full(&word) && arrived <= 1,
            "{path}: {word}, {arrived} MiB"
        );
    }
    assert_ne!(one.sh("fallocate -l 8M /root/more").0, 0);
    let used = instance.store.used(&one.sandbox).expect("counted");
    assert!((60 * MIB..=64 * MIB).contains(&used), "{used}");
    // The host's count of them does not fail where one is full.
    instance.store.measure().expect("measured");
    assert_eq!(fill(&two, "/root/file", 70), ("whole".to_owned(), 70));
    // What it removes it has again.
    one.ok("rm -f /usr/local/file /root/* /tmp/file");
    assert_eq!(fill(&one, "/srv/a/b/again", 30).0, "whole");
    // Empty files take room as well.
    let files = one.ok("mkdir /srv/f; python3 -c '\nn = 0\ntry:\n    while n < 30000: open(\"/srv/f/%d\" % n, \"x\").close(); n += 1\nexcept OSError as e: pass\nprint(n)'");
    let files: u32 = files.parse().expect("a number");
    assert!((1000..=16_384).contains(&files), "{files} files");
    let project = project(&instance, &one.sandbox);
    assert_ne!(limit(instance.dir.path(), project), 0);
    instance.stop(&one);
    instance.stop(&two);
    instance.store.discard(&one.sandbox).expect("discard");
    instance.store.discard(&two.sandbox).expect("discard");
    assert_eq!(limit(instance.dir.path(), project), 0, "released");
    instance.store.empty_trash().expect("trash");
}

pub(crate) fn the_full_wake_and_are_copied() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    let sandbox = random_id();
    let start = |instance: &mut Instance, limits: &Limits| {
        let made = instance.start(&sandbox, "base", None, limits, &[]);
        made.unwrap_or_else(|outcome| panic!("{outcome:?}"))
    };
    let running = start(&mut instance, &SMALL);
    assert!(is_full(&fill(&running, "/srv/file", 70).0));
    let _ = running.sh("for n in $(seq 200); do echo x > /srv/$n; done");
    instance.stop(&running);
    // To set it up takes a little of the disk that it has not.
    let running = start(&mut instance, &SMALL);
    assert!(is_full(&fill(&running, "/srv/more", 8).0), "still");
    instance.stop(&running);
    // A snapshot of it is nobody's, and what is made of that begins with nothing.
    let name = TemplateName::new("full").expect("a name");
    let draft = instance.store.draft(&name, Some(&sandbox)).expect("draft");
    let store = &instance.store;
    store
        .copy_changes(&draft, &sandbox, range(), 0)
        .expect("copied");
    store.keep(&draft).expect("kept");
    instance.store.settle(draft, true).expect("settled");
    let others = others();
    let copy = random_id();
    let made = instance.start(&copy, "full", Some(&others), &SMALL, &[]);
    let fork = made.unwrap_or_else(|outcome| panic!("{outcome:?}"));
    let copied: u64 = fork.ok("stat -c %s /srv/file").parse().expect("a number");
    assert!(copied > 50 * MIB, "{copied}");
    assert!(instance.store.used(&copy).expect("counted") < MIB);
    assert_eq!(fill(&fork, "/srv/new", 40).0, "whole");
    assert!(is_full(&fill(&fork, "/srv/newer", 40).0));
    instance.stop(&fork);
    // A larger limit holds from the next start on.
    let running = start(&mut instance, &LIMITS);
    assert_eq!(fill(&running, "/srv/more", 30), ("whole".to_owned(), 30));
    instance.stop(&running);
    for sandbox in [&sandbox, &copy] {
        instance.store.discard(sandbox).expect("discard");
    }
    instance.store.empty_trash().expect("trash");
}

/// One whose tree was made before the file system had quotas has a directory without a project.
pub(crate) fn what_was_made_before_wakes_without_a_limit() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    let sandbox = random_id();
    let template = TemplateName::new("base").expect("a name");
    let store = &mut instance.store;
    store
        .clone_template(&sandbox, &template, range(), &[])
        .expect("clone");
    assert!(store.bounds(&sandbox));
    let cell = instance.dir.path().join(format!("cells/{sandbox}"));
    let cell = std::fs::File::open(cell).expect("its directory");
    let none = [0_u32; 7];
    // SAFETY: the kernel reads an fsxattr, which is seven of these long.
    let answer = unsafe { libc::ioctl(cell.as_raw_fd(), 0x401c_5820, &raw const none) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    assert!(!instance.store.bounds(&sandbox), "and that can be told");
    let made = instance.start(&sandbox, "base", None, &SMALL, &[]);
    let running = made.unwrap_or_else(|outcome| panic!("{outcome:?}"));
    assert_eq!(fill(&running, "/srv/file", 70).0, "whole");
    // Counted by the worker, as on any other file system.
    instance.store.measure().expect("measured");
    assert!(instance.store.used(&sandbox).expect("counted") >= 70 * MIB);
    instance.end(running);
    instance.store.empty_trash().expect("trash");
}

/// As root of the sandbox: every way to another project, or out of all, and what came of those that worked.
const ATTACK: &str = r#"python3 - <<'E'
import ctypes, fcntl, os, struct
GET, SET, GETFLAGS, SETFLAGS = 0x801c581f, 0x401c5820, 0x80086601, 0x40086602
INHERIT, INHERIT_FL = 0x200, 0x20000000
tried = 0
def attack(what, call):
    global tried
    tried += 1
    try: call()
    except OSError as e: return
    print('succeeded:', what)
for where in PLACES:
    os.makedirs(where + '/d', exist_ok=True)
    open(where + '/d/file', 'w').write('x')
    for path in [where, where + '/d', where + '/d/file']:
        fd = os.open(path, os.O_RDONLY)
        def get():
            b = bytearray(28)
            fcntl.ioctl(fd, GET, b)
            return list(struct.unpack('<5I8x', b))
        now = get()
        for project in [0, 1, 0xfffffffe, now[3] + 1]:
            for flags in [0, INHERIT]:
                want = list(now); want[0] = want[0] & ~INHERIT | flags; want[3] = project
                attack('%s: project %d, flags %x' % (path, project, flags), lambda: fcntl.ioctl(fd, SET, struct.pack('<5I8x', *want)))
        if now[0] & INHERIT:
            want = list(now); want[0] &= ~INHERIT
            attack(path + ': not passed on', lambda: fcntl.ioctl(fd, SET, struct.pack('<5I8x', *want)))
            b = bytearray(8)
            fcntl.ioctl(fd, GETFLAGS, b)
            flags = struct.unpack('<I4x', b)[0] & ~INHERIT_FL
            attack(path + ': not passed on, by flags', lambda: fcntl.ioctl(fd, SETFLAGS, struct.pack('<I4x', flags)))
        if get() != now: print('changed:', path, now, get())
        os.close(fd)
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) != 0: raise OSError(ctypes.get_errno(), 'refused')
# What nobody has written to is judged by the lower layer, and would leave the project as it is copied up.
for path in ['/usr', '/usr/share', '/usr/bin', '/usr/bin/env', '/usr/bin/python3', '/opt', '/srv', '/etc/passwd', '/etc/hosts']:
    try: fd = os.open(path, os.O_RDONLY)
    except OSError: continue
    b = bytearray(28)
    try: fcntl.ioctl(fd, GET, b)
    except OSError: pass
    attack(path + ': attributes as they are', lambda: fcntl.ioctl(fd, SET, bytes(b)))
    attack(path + ': no flags', lambda: fcntl.ioctl(fd, SETFLAGS, bytes(8)))
    attack(path + ': file_setattr', lambda: call(469, fd, b'', bytes(24), 24, 0x1000))
    os.close(fd)
root = os.open('/', os.O_RDONLY)
data = ctypes.create_string_buffer(128)
for command in [0x800002, 0x800003, 0x800007, 0x800008, 0x5802, 0x5803, 0x5804]:
    attack('quotactl_fd %x' % command, lambda: call(443, root, command << 8 | 2, 0, data))
    attack('quotactl %x' % command, lambda: call(179, command << 8 | 2, b'/', 0, data))
print(tried)
E"#;

pub(crate) fn nobody_inside_leaves_its_project() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    assert!(instance.store.bound_volumes(Some(16 * MIB)));
    let volume = VolumeId::from_random(&[8; 20]);
    assert!(instance.store.create_volume(&volume).expect("create"));
    let mounts = [VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new("/srv/volume").expect("a path"),
    }];
    let made = instance.start(&random_id(), "base", None, &SMALL, &mounts);
    let running = made.unwrap_or_else(|outcome| panic!("{outcome:?}"));
    let before = project(&instance, &running.sandbox);
    let places = "['/srv', '/home/user', '/usr/local', '/srv/volume']";
    let said = running.ok(&ATTACK.replace("PLACES", places));
    let tried: u32 = said.parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(tried > 100, "{tried}");
    // Neither does what was made another way: without a name, elsewhere and moved, linked, by a map of memory.
    let told = running.ok(r"cd /srv; python3 - <<'E'
import mmap, os
os.mkdir('/srv/from'); os.mkdir('/home/user/to')
try: fd = os.open('/srv/from', os.O_TMPFILE | os.O_RDWR, 0o600)
except OSError: fd = os.open('/srv/from/unnamed', os.O_RDWR | os.O_CREAT, 0o600) # overlayfs has them since 6.1
os.write(fd, b'x' * (20 << 20))
if not os.path.exists('/srv/from/unnamed'): os.link('/proc/self/fd/%d' % fd, '/srv/from/unnamed', follow_symlinks=True)
os.rename('/srv/from', '/home/user/to/moved')
os.link('/home/user/to/moved/unnamed', '/root/again')
f = os.open('/home/user/to/moved/map', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 20 << 20)
m = mmap.mmap(f, 20 << 20)
for at in range(0, 20 << 20, 4096): m[at] = 1
m.flush()
print(os.stat('/root/again').st_nlink)
E");
    assert_eq!(told, "2");
    let (word, arrived) = fill(&running, "/srv/rest", 70);
    assert!(
        is_full(&word) && arrived <= 24,
        "{word}, {arrived} MiB beside 40"
    );
    let used = instance.store.used(&running.sandbox).expect("counted");
    assert!((60 * MIB..=64 * MIB).contains(&used), "{used}");
    assert_eq!(project(&instance, &running.sandbox), before);
    instance.end(running);
    instance.store.discard_volume(&volume).expect("discard");
    instance.store.empty_trash().expect("trash");
}

pub(crate) fn volumes_have_a_size() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    let volumes = [9, 10].map(|n| VolumeId::from_random(&[n; 20]));
    for (volume, size) in volumes.iter().zip([Some(16 * MIB), None]) {
        assert!(instance.store.bound_volumes(size));
        assert!(instance.store.create_volume(volume).expect("create"));
    }
    let places = volumes.iter().zip(["/srv/small", "/srv/large"]);
    let mounts = places.map(|(volume, at)| VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new(at).expect("a path"),
    });
    let mounts: Vec<_> = mounts.collect();
    let others = others();
    let mut start = |users| {
        let made = instance.start(&random_id(), "base", users, &SMALL, &mounts);
        made.unwrap_or_else(|outcome| panic!("{outcome:?}"))
    };
    let (one, two) = (start(None), start(Some(&others)));
    let (word, arrived) = fill(&one, "/srv/small/file", 24);
    assert!(
        is_full(&word) && (14..=16).contains(&arrived),
        "{word}, {arrived} MiB"
    );
    assert!(
        is_full(&fill(&two, "/srv/small/more", 8).0),
        "one size for all who mount it"
    );
    // Neither is the sandboxes' own, and one without a size is bounded by nothing.
    assert_eq!(fill(&one, "/root/file", 40).0, "whole");
    assert_eq!(fill(&two, "/srv/large/file", 70).0, "whole");
    assert_eq!(size_of(&two, "/srv/small"), 16);
    instance.stop(&one);
    instance.stop(&two);
    for running in [&one, &two] {
        instance.store.discard(&running.sandbox).expect("discard");
    }
    for volume in &volumes {
        instance.store.discard_volume(volume).expect("discard");
    }
    instance.store.empty_trash().expect("trash");
}

/// The project of a sandbox's tree (linux/fs.h, FS_IOC_FSGETXATTR).
fn project(instance: &Instance, sandbox: &SandboxId) -> u32 {
    let upper = instance.dir.path().join(format!("cells/{sandbox}/up"));
    let upper = std::fs::File::open(upper).expect("an upper directory");
    let mut found = [0_u32; 7];
    // SAFETY: the kernel writes an fsxattr, which is seven of these long.
    let answer = unsafe { libc::ioctl(upper.as_raw_fd(), 0x801c_581f, &raw mut found) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    assert_ne!(found[3], 0, "no project");
    found[3]
}

/// What a project may take, in KiB; 0: what is there (quotactl_fd(2), Q_GETQUOTA of a project).
fn limit(dir: &Path, project: u32) -> u64 {
    let dir = std::fs::File::open(dir).expect("a directory");
    let mut quota = [0_u64; 9];
    // SAFETY: the kernel writes an if_dqblk, which is nine of these long.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            dir.as_raw_fd(),
            0x8000_0702_u32,
            project,
            &raw mut quota,
        )
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    quota[0]
}
