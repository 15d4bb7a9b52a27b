//! Root in a real sandbox asks Linux for what it must not get.

use std::fs;

use serde_json::json;
use warder_harness::{Instance, processes};
use warder_privsep::guests::MINUTE;
use warder_privsep::planted::{Planted, only_the_open_one_is_seen};

#[test]
fn what_others_may_not_read_of_usr_is_not_visible() {
    let mark = format!("planted-{}", std::process::id());
    let mut planted = Vec::new();
    // By the file's mode, or by the directory's.
    for (name, mode) in [("file", 0o600), ("group", 0o640), ("run", 0o711)] {
        let path = format!("/usr/local/share/{mark}-{name}");
        planted.push(Planted::file(&path, mode));
    }
    let closed = format!("/usr/local/share/{mark}-dir");
    planted.push(Planted::dir(&closed, 0o700));
    // And what they may: the search below must be able to find something.
    let open = format!("/usr/local/share/{mark}-open");
    planted.push(Planted::file(&open, 0o644));
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let paths = format!("/usr/local/share/{mark}-* /usr/local/share/{mark}-dir/*");
    only_the_open_one_is_seen(&instance, &sandbox, &mark, &open, &paths);
    drop(planted);
    instance.finish();
}

/// Each call as root, and its errno. Arguments are such that none would do harm where it went through.
const CALLS: &str = r#"
import ctypes, errno, os, socket, platform
c = ctypes.CDLL(None, use_errno=True)
assert platform.machine() == 'x86_64'
def call(name, number, *args):
    ctypes.set_errno(0)
    answer = c.syscall(number, *args)
    print(name, errno.errorcode.get(ctypes.get_errno(), 0) if answer == -1 else 'done')
call('mount', 165, b'none', b'/mnt', b'tmpfs', 0, 0)
call('bind', 165, b'/etc', b'/mnt', 0, 4096, 0)
call('remount', 165, 0, b'/', 0, 32, 0)
call('umount2', 166, b'/proc', 2)
call('pivot_root', 155, b'/', b'/')
call('open_tree', 428, -100, b'/', 1)
call('move_mount', 429, -1, b'', -1, b'', 0)
call('fsopen', 430, b'tmpfs', 0)
call('fsconfig', 431, -1, 0, 0, 0, 0)
call('fsmount', 432, -1, 0, 0)
call('fspick', 433, -100, b'/', 0)
call('mount_setattr', 442, -100, b'/', 0, 0, 0)
call('open_tree_attr', 467, -100, b'/', 1, 0, 0)
for name in sorted(os.listdir('/proc/1/ns')):
    try:
        fd = os.open('/proc/1/ns/' + name, os.O_RDONLY)
        call('setns', 308, fd, 0)
        os.close(fd)
    except OSError as error:
        print('setns', errno.errorcode[error.errno])
for name, flag in (('mnt', 0x20000), ('cgroup', 0x2000000), ('uts', 0x4000000), ('ipc', 0x8000000), ('user', 0x10000000), ('pid', 0x20000000), ('net', 0x40000000), ('time', 0x80)):
    call('unshare_' + name, 272, flag)
    if name != 'time': call('clone_' + name, 56, flag | 17, 0, 0, 0, 0)
call('clone3', 435, 0, 0)
call('add_key', 248, b'user', b'x', b'y', 1, -2)
call('keyctl', 250, 0, -3, 1)
call('request_key', 249, b'user', b'x', 0, 0)
call('bpf', 321, 0, 0, 0)
call('perf_event_open', 298, 0, 0, -1, -1, 0)
call('userfaultfd', 323, 0)
call('io_uring_setup', 425, 1, 0)
call('io_uring_enter', 426, -1, 0, 0, 0, 0, 0)
call('io_uring_register', 427, -1, 0, 0, 0)
call('fanotify_init', 300, 0, 0)
call('open_by_handle_at', 304, -100, 0, 0)
call('init_module', 175, 0, 0, b'')
call('finit_module', 313, -1, b'', 0)
call('delete_module', 176, b'none', 0)
call('kexec_load', 246, 0, 0, 0, 0)
call('reboot', 169, 0, 0, 0, 0)
call('swapon', 167, b'/x', 0)
call('acct', 163, 0)
call('quotactl', 179, 0, 0, 0, 0)
call('syslog', 103, 3, 0, 0)
call('settimeofday', 164, 0, 0)
call('clock_settime', 227, 0, 0)
call('iopl', 172, 3)
call('mknod_block', 133, b'/tmp/disk', 0o60666, 0xfe00)
call('mknod_char', 133, b'/tmp/mem', 0o20666, 0x101)
call('sethostname_of_init', 308, -1, 0x4000000)
call('x32', 0x40000000 | 165)
for family in (40, 38, 17, 16, 29, 31, 2):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        if family == 16 and kind == socket.SOCK_RAW or family == 2 and kind != socket.SOCK_RAW: continue
        try:
            socket.socket(family, kind, 1 if family == 2 else 0)
            print('socket', family, kind, 'done')
        except OSError as error:
            print('socket', family, kind, errno.errorcode[error.errno])
"#;

#[test]
fn the_kernel_refuses_roots_requests() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    for (user, python) in [("root", "python3"), ("user", "sudo -n python3")] {
        let ran = instance.run(
            &sandbox,
            user,
            &format!("{python} - <<'EOF'\n{CALLS}\nEOF"),
            MINUTE,
        );
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let answers: Vec<&str> = ran.stdout.lines().collect();
        assert!(answers.len() > 80, "all were tried: {ran:?}");
        for answer in &answers {
            let expected: &[&str] = match answer.split(' ').next().unwrap_or_default() {
                "clone3" | "x32" => &["ENOSYS"],
                // Netlink's sockets are the guest's own network; datagrams of it are allowed as well.
                "socket" if answer.starts_with("socket 16 ") => {
                    &["done", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT"]
                }
                "socket" if answer.starts_with("socket 2 ") => &["EPERM"],
                "socket" => &["EAFNOSUPPORT"],
                // procfs itself refuses the names of another user's process.
                _ => &["EPERM"],
            };
            assert!(
                expected.iter().any(|end| answer.ends_with(end)),
                "{answer} in {ran:?}"
            );
        }
    }
    let attempts = [
        "umount /proc",
        "mount -o remount,rw /usr",
        "unshare -r true",
        "nsenter -t 1 -a true",
        "chroot / mount -t tmpfs none /mnt",
        "ip link set lo down",
        "ip addr add 10.9.9.9/32 dev eth0",
        "ip addr add 10.9.9.9/32 dev lo",
        "ip route add default via 10.9.9.9",
        "ip route add blackhole 10.9.9.0/24",
        "ip link add x type dummy",
        "ip neigh add 10.9.9.9 lladdr 02:00:00:00:00:01 dev eth0",
        "ip netns add x",
        "nft list ruleset",
        "nft add table ip x",
        "nft flush ruleset",
        "date -s 2001-01-01",
        "renice -n -20 1",
        "kill -9 1; sleep 0.2; ! kill -0 1",
        "echo -1000 > /proc/self/oom_score_adj",
    ];
    for attempt in attempts {
        let ran = instance.run(&sandbox, "root", attempt, MINUTE);
        assert!(
            ran.exit.is_some_and(|code| code != 0 && code < 126),
            "{attempt} succeeded or was not tried: {ran:?}"
        );
    }
    assert_eq!(
        instance
            .run(&sandbox, "user", "sudo -n id -u", MINUTE)
            .stdout
            .trim(),
        "0",
        "passwordless sudo works"
    );
    instance.finish();
}

/// Opens for writing everything the kernel shows; says what could be opened. Nothing is written.
const WRITABLE: &str = r#"
import os, stat
null = os.stat('/dev/null').st_rdev
for top in ('/proc', '/sys'):
    for at, dirs, files in os.walk(top):
        if at == '/proc':
            dirs[:] = [d for d in dirs if not d.isdigit() and d not in ('self', 'thread-self')]
        for name in files:
            path = os.path.join(at, name)
            if os.path.islink(path): continue
            try:
                fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            if os.fstat(fd).st_rdev != null: print(path)
            os.close(fd)
allowed = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
for at, dirs, files in os.walk('/dev'):
    for name in files:
        path = os.path.join(at, name)
        one = os.lstat(path)
        if stat.S_ISBLK(one.st_mode) or stat.S_ISCHR(one.st_mode):
            number = (os.major(one.st_rdev), os.minor(one.st_rdev))
            if number not in allowed and number[0] != 136: print(path, number)
for path in ('/proc/kcore', '/proc/kmsg', '/proc/kallsyms', '/proc/keys', '/proc/key-users', '/proc/timer_list', '/proc/sched_debug', '/sys/kernel/debug', '/sys/firmware/efi', '/sys/kernel/security'):
    try:
        seen = os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
    except OSError:
        continue
    if seen: print('readable', path)
for fd in os.listdir('/proc/1/fd'):
    try:
        one = os.stat('/proc/1/fd/' + fd)
        if stat.S_ISDIR(one.st_mode) or stat.S_ISREG(one.st_mode): print('the agent holds', os.readlink('/proc/1/fd/' + fd))
    except OSError: pass
for path in ('/proc/1/exe',):
    for change in (lambda: os.open(path, os.O_WRONLY), lambda: os.truncate(path, 0), lambda: os.chmod(path, 0o777), lambda: os.chown(path, 0, 0), lambda: os.utime(path)):
        try:
            change()
            print('changed', path)
        except OSError: pass
print('over')
"#;

#[test]
fn nothing_of_the_kernel_can_be_written() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let ran = instance.run(
        &sandbox,
        "root",
        &format!("python3 - <<'EOF'\n{WRITABLE}\nEOF"),
        MINUTE,
    );
    assert_eq!((ran.exit, ran.stdout.trim()), (Some(0), "over"), "{ran:?}");
    instance.finish();
}

#[test]
fn what_runs_inside_has_no_rights_outside() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let mark = format!("sleep {}", 7_000_000 + std::process::id());
    let ran = instance.run(
        &sandbox,
        "root",
        &format!(
            "{mark} >/dev/null 2>&1 & until grep -qa ^sleep /proc/$!/cmdline; do sleep 0.01; done; echo started"
        ),
        MINUTE,
    );
    assert_eq!(ran.stdout.trim(), "started", "{ran:?}");
    let pid = processes::running(&mark).expect("it runs on this host").pid;
    let ids: Vec<u32> = status_field(pid, "Uid")
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect();
    assert!(
        ids.len() == 4 && ids.iter().all(|id| *id >= 0x2000_0000),
        "host ids {ids:?}"
    );
    assert_eq!(status_field(pid, "Seccomp"), "2");
    for namespace in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        let of = |who: &str| {
            fs::read_link(format!("/proc/{who}/ns/{namespace}")).expect("namespaces have names")
        };
        assert_ne!(
            of(&pid.to_string()),
            of("self"),
            "it shares our {namespace} namespace"
        );
    }
    instance.finish();
}

/// A field of `/proc/PID/status`.
fn status_field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default()
        .trim_start_matches(':')
        .trim()
        .to_owned()
}
