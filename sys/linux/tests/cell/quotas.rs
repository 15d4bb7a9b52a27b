//! Limits of disk, where the file system of TMPDIR has quotas: of projects, ext4 (made with `-O quota,project -E
//! quotatype=prjquota`) or XFS, mounted with `prjquota`; or btrfs after `btrfs quota enable`. Elsewhere each of these says
//! that it is skipped. `scripts/test quotas` makes all three.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use warder_linux::cell::{IdRange, UserNamespace};
use warder_linux::storage::Store;
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
    assert!(
        std::env::var_os("WARDER_QUOTAS").is_none(),
        "{} has quotas that are not found",
        dir.display()
    );
    println!(
        "skipped: the file system of {} has no quotas; set TMPDIR to a directory on ext4 or XFS mounted with prjquota, or on btrfs after `btrfs quota enable`",
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
    if !on_btrfs(&instance) {
        assert_eq!((size_of(&one, "/"), size_of(&two, "/")), (64, 1024));
    }
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
    let used = used(&instance, &one.sandbox);
    assert!((60 * MIB..=64 * MIB).contains(&used), "{used}");
    // The host's count of them does not fail where one is full.
    instance.store.measure().expect("measured");
    assert_eq!(fill(&two, "/root/file", 70), ("whole".to_owned(), 70));
    // What it removes it has again.
    one.ok("rm -f /usr/local/file /root/* /tmp/file");
    assert_eq!(fill(&one, "/srv/a/b/again", 30).0, "whole");
    // Empty files take room as well.
    let files = one.ok("mkdir /srv/f; python3 -c '\nn = 0\ntry:\n    while n < 150000: open(\"/srv/f/%d\" % n, \"x\").close(); n += 1\nexcept OSError as e: pass\nprint(n)'");
    let files: u32 = files.parse().expect("a number");
    let most = if on_btrfs(&instance) { 140_000 } else { 16_384 };
    assert!((1000..=most).contains(&files), "{files} files");
    let number = number(&instance, &one.sandbox);
    assert_ne!(limit(&instance, number), 0);
    instance.stop(&one);
    instance.stop(&two);
    instance.store.discard(&one.sandbox).expect("discard");
    instance.store.discard(&two.sandbox).expect("discard");
    assert_eq!(limit(&instance, number), 0, "released");
    instance.store.empty_trash().expect("trash");
    assert_eq!(subvolumes(&instance), 0, "left");
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
    assert!(used(&instance, &copy) < MIB);
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

/// One whose tree was made before the file system had quotas has a directory without a project, or is no subvolume.
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
    if on_btrfs(&instance) {
        let aside = cell.with_extension("aside");
        std::fs::rename(&cell, &aside).expect("put aside");
        let mut copy = std::process::Command::new("cp");
        let copied = copy.arg("-a").args([&aside, &cell]);
        assert!(copied.status().expect("cp").success());
        std::fs::remove_dir_all(&aside).expect("removed");
    } else {
        let cell = std::fs::File::open(cell).expect("its directory");
        let none = [0_u32; 7];
        // SAFETY: the kernel reads an fsxattr, which is seven of these long.
        let answer = unsafe { libc::ioctl(cell.as_raw_fd(), 0x401c_5820, &raw const none) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    }
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
def ioctl(fd, command, data): # fcntl.ioctl takes 1024 bytes
    if libc.ioctl(fd, ctypes.c_ulong(command), data) != 0: raise OSError(ctypes.get_errno(), 'refused')
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
# On btrfs an owner makes subvolumes, which are counted by themselves, and such as nobody can write to.
for where in PLACES:
    fd = os.open(where, os.O_RDONLY)
    named = struct.pack('<q4088s', fd, b'another')
    marked = struct.pack('<qQQ32x4040s', fd, 2, 0, b'marked')
    for what, command, data in [('SUBVOL_CREATE', 0x5000940e, named), ('SNAP_CREATE', 0x50009401, named), ('SNAP_CREATE_V2', 0x50009417, marked),
            ('SUBVOL_CREATE_V2', 0x50009418, struct.pack('<qQQ32x4040s', 0, 0, 0, b'other')), ('SUBVOL_SETFLAGS', 0x4008941a, struct.pack('<Q', 2)),
            ('SNAP_DESTROY', 0x5000940f, named), ('QUOTA_CTL', 0xc0109428, struct.pack('<QQ', 2, 0)), ('QGROUP_LIMIT', 0x8030942b, struct.pack('<6Q', 0, 1, 1 << 40, 0, 0, 0)),
            ('QGROUP_CREATE', 0x4010942a, struct.pack('<QQ', 1, 1 << 48 | 1)), ('QGROUP_ASSIGN', 0x40189429, struct.pack('<QQQ', 1, 256, 1 << 48 | 1))]:
        attack(where + ': ' + what, lambda: ioctl(fd, command, data))
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
    let before = number(&instance, &running.sandbox);
    let places = "['/srv', '/home/user', '/usr/local', '/srv/volume']";
    let said = running.ok(&ATTACK.replace("PLACES", places));
    let tried: u32 = said.parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(tried > 100, "{tried}");
    // Neither does what was made another way: without a name, elsewhere and moved, linked, by a map of memory.
    let told = running.ok(r"cd /srv; python3 - <<'E'
import ctypes, mmap, os
os.mkdir('/srv/from'); os.mkdir('/home/user/to')
try: fd = os.open('/srv/from', os.O_TMPFILE | os.O_RDWR, 0o600)
except OSError: fd = os.open('/srv/from/unnamed', os.O_RDWR | os.O_CREAT, 0o600) # overlayfs has them since 6.1
os.write(fd, b'x' * (20 << 20))
if not os.path.exists('/srv/from/unnamed'): # linkat(2) with AT_SYMLINK_FOLLOW
    if ctypes.CDLL(None).linkat(-100, b'/proc/self/fd/%d' % fd, -100, b'/srv/from/unnamed', 0x400) != 0: print('not linked')
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
    let used = used(&instance, &running.sandbox);
    assert!((60 * MIB..=64 * MIB).contains(&used), "{used}");
    assert_eq!(number(&instance, &running.sandbox), before);
    instance.end(running);
    instance.store.discard_volume(&volume).expect("discard");
    instance.store.empty_trash().expect("trash");
    assert_eq!(subvolumes(&instance), 0, "left");
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
    if !on_btrfs(&instance) {
        assert_eq!(size_of(&two, "/srv/small"), 16);
    }
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

/// No two files of a sandbox have one number, whatever file system each lies on: programs take such for the same file.
pub(crate) fn files_are_told_apart() {
    let Some(mut instance) = with_quotas() else {
        return;
    };
    let running = instance.cell(&SMALL);
    running.ok("mkdir /srv/d /usr/local/d; for n in $(seq 400); do echo $n > /srv/d/$n; echo $n > /usr/local/d/$n; done; echo x >> /etc/passwd");
    let find = "find / /usr -xdev -links 1 ! -type d -printf '%D:%i\\n' | sort | uniq";
    let all: u32 = running
        .ok(&format!("{find} | wc -l"))
        .parse()
        .expect("a number");
    assert!(all > 1000, "{all} files");
    assert_eq!(running.ok(&format!("{find} -d | head")), "");
    running.ok("for f in /etc/hosts /etc/group /usr/bin/env; do for n in /srv/d/* /usr/local/d/*; do ! [ $f -ef $n ] || exit 1; done; done");
    instance.end(running);
    instance.store.empty_trash().expect("trash");
}

/// A store in somebody else's project could not put its trees into one each.
pub(crate) fn in_a_project_of_somebody_there_are_none() {
    let Some(instance) = with_quotas() else {
        return;
    };
    if on_btrfs(&instance) {
        return;
    }
    let theirs = instance.dir.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a directory");
    let opened = std::fs::File::open(&theirs).expect("opens");
    let project = [0x200_u32, 0, 0, 4711, 0, 0, 0];
    // SAFETY: the kernel reads an fsxattr, which is seven of these long.
    let answer = unsafe { libc::ioctl(opened.as_raw_fd(), 0x401c_5820, &raw const project) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    let mut store = Store::open(&theirs, None).expect("a store");
    assert!(!store.bound_volumes(Some(MIB)), "and says so");
    let volume = VolumeId::from_random(&[11; 20]);
    assert!(store.create_volume(&volume).expect("create"));
    assert!(store.discard_volume(&volume).expect("discard"));
    store.empty_trash().expect("trash");
}

fn on_btrfs(instance: &Instance) -> bool {
    let found = rustix::fs::statfs(instance.dir.path()).expect("statfs");
    found.f_type == 0x9123_683e // linux/magic.h, BTRFS_SUPER_MAGIC
}

/// Bytes that a sandbox uses. Btrfs counts when it ends a transaction.
fn used(instance: &Instance, sandbox: &SandboxId) -> u64 {
    instance.store.sync().expect("sync");
    instance.store.used(sandbox).expect("counted")
}

/// What a sandbox's tree is counted by: a project (linux/fs.h, FS_IOC_FSGETXATTR), or a subvolume
/// (linux/btrfs.h, BTRFS_IOC_INO_LOOKUP).
fn number(instance: &Instance, sandbox: &SandboxId) -> u64 {
    let upper = instance.dir.path().join(format!("cells/{sandbox}/up"));
    let upper = std::fs::File::open(upper).expect("an upper directory");
    if on_btrfs(instance) {
        let mut found = [0_u64; 512];
        found[1] = 256;
        // SAFETY: the kernel reads and writes an ino_lookup_args, which is 4096 bytes.
        let answer = unsafe { libc::ioctl(upper.as_raw_fd(), 0xd000_9412, &raw mut found) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        return found[0];
    }
    let mut found = [0_u32; 7];
    // SAFETY: the kernel writes an fsxattr, which is seven of these long.
    let answer = unsafe { libc::ioctl(upper.as_raw_fd(), 0x801c_581f, &raw mut found) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    assert_ne!(found[3], 0, "no project");
    found[3].into()
}

/// What may be taken, 0: what is there. In KiB (quotactl_fd(2), Q_GETQUOTA of a project), or bytes.
fn limit(instance: &Instance, number: u64) -> u64 {
    let dir = std::fs::File::open(instance.dir.path()).expect("a directory");
    if on_btrfs(instance) {
        let read = |name: &str| {
            let file = group(&dir, number).join(name);
            std::fs::read_to_string(file).map(|text| text.trim().parse().expect("a number"))
        };
        return match read("limit_flags").expect("flags") {
            1 => read("max_referenced").expect("a limit"),
            _ => 0,
        };
    }
    let mut quota = [0_u64; 9];
    // SAFETY: the kernel writes an if_dqblk, which is nine of these long.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            dir.as_raw_fd(),
            0x8000_0702_u32,
            number,
            &raw mut quota,
        )
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    quota[0]
}

/// Where the kernel shows a subvolume's group: by the UUID that BTRFS_IOC_FS_INFO tells.
fn group(dir: &std::fs::File, number: u64) -> PathBuf {
    let mut info = [0_u8; 1024];
    // SAFETY: the kernel writes a fs_info_args, which is as long.
    let answer = unsafe { libc::ioctl(dir.as_raw_fd(), 0x8400_941f, &raw mut info) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    let hex: String = info[16..32]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    PathBuf::from(format!(
        "/sys/fs/btrfs/{}/qgroups/0_{number}",
        parts.join("-")
    ))
}

/// Subvolumes of sandboxes and volumes.
fn subvolumes(instance: &Instance) -> usize {
    let tops = ["cells", "volumes", "trash"].into_iter().flat_map(|name| {
        let walk = std::process::Command::new("find")
            .arg(instance.dir.path().join(name))
            .args(["-mindepth", "1", "-inum", "256"])
            .output();
        let said = String::from_utf8(walk.expect("find").stdout).expect("text");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    if on_btrfs(instance) { tops.count() } else { 0 }
}
