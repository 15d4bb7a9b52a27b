//! What a sandbox may not do.

use warder_wire::gateway_priv::Usage;
use warder_wire::{LimitState, Limits};

use crate::support::{Instance, LIMITS};

/// Makes each call as root of the sandbox and prints its errno. Arguments are such that none would do harm.
const CALLS: &str = r#"
import ctypes, errno, os, socket, platform
c = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    ctypes.set_errno(0)
    answer = c.syscall(number, *args)
    print(name, errno.errorcode.get(ctypes.get_errno(), 0) if answer == -1 else 'done')
assert platform.machine() == 'x86_64'
call('mount', 165, b'none', b'/mnt', b'tmpfs', 0, 0)
call('umount2', 166, b'/proc', 2)
call('pivot_root', 155, b'/', b'/')
call('open_tree', 428, -100, b'/', 1)
call('move_mount', 429, -1, b'', -1, b'', 0)
call('fsopen', 430, b'tmpfs', 0)
call('mount_setattr', 442, -100, b'/', 0, 0, 0)
call('setns', 308, os.open('/proc/self/ns/uts', os.O_RDONLY), 0)
call('unshare_user', 272, 0x10000000)
call('unshare_mount', 272, 0x20000)
call('unshare_net', 272, 0x40000000)
call('clone_user', 56, 0x10000000 | 17, 0, 0, 0, 0)
call('clone3', 435, 0, 0)
call('add_key', 248, b'user', b'x', b'y', 1, -2)
call('keyctl', 250, 0, -3, 1)
call('request_key', 249, b'user', b'x', 0, 0)
call('bpf', 321, 0, 0, 0)
call('perf_event_open', 298, 0, 0, -1, -1, 0)
call('userfaultfd', 323, 0)
call('io_uring_setup', 425, 1, 0)
call('fanotify_init', 300, 0, 0)
call('open_by_handle_at', 304, -100, 0, 0)
call('init_module', 175, 0, 0, b'')
call('kexec_load', 246, 0, 0, 0, 0)
call('reboot', 169, 0, 0, 0, 0)
call('swapon', 167, b'/x', 0)
call('acct', 163, 0)
call('quotactl', 179, 0, 0, 0, 0)
call('syslog', 103, 3, 0, 0)
call('iopl', 172, 3)
call('x32', 0x40000000 | 39)
for family in ('AF_VSOCK', 'AF_ALG', 'AF_PACKET', 'AF_NETLINK', 'AF_INET', 'AF_UNIX'):
    try:
        socket.socket(getattr(socket, family), socket.SOCK_RAW if family == 'AF_NETLINK' else socket.SOCK_DGRAM if family != 'AF_ALG' else socket.SOCK_SEQPACKET)
        print(family, 'done')
    except OSError as error:
        print(family, errno.errorcode[error.errno])
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
    print('NETLINK_KOBJECT_UEVENT', 'done')
except OSError as error:
    print('NETLINK_KOBJECT_UEVENT', errno.errorcode[error.errno])
"#;

const ANSWERS: &str = "\
mount EPERM
umount2 EPERM
pivot_root EPERM
open_tree EPERM
move_mount EPERM
fsopen EPERM
mount_setattr EPERM
setns EPERM
unshare_user EPERM
unshare_mount EPERM
unshare_net EPERM
clone_user EPERM
clone3 ENOSYS
add_key EPERM
keyctl EPERM
request_key EPERM
bpf EPERM
perf_event_open EPERM
userfaultfd EPERM
io_uring_setup EPERM
fanotify_init EPERM
open_by_handle_at EPERM
init_module EPERM
kexec_load EPERM
reboot EPERM
swapon EPERM
acct EPERM
quotactl EPERM
syslog EPERM
iopl EPERM
x32 ENOSYS
AF_VSOCK EAFNOSUPPORT
AF_ALG EAFNOSUPPORT
AF_PACKET EAFNOSUPPORT
AF_NETLINK done
AF_INET done
AF_UNIX done
NETLINK_KOBJECT_UEVENT EPROTONOSUPPORT";

pub(crate) fn calls_are_refused() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    assert_eq!(
        running.ok(&format!("python3 - <<'EOF'\n{CALLS}\nEOF")),
        ANSWERS
    );
    assert_eq!(
        running
            .sh_user(&format!("sudo -n python3 - <<'EOF'\n{CALLS}\nEOF"))
            .1,
        ANSWERS
    );
    // Threads and processes still start where clone3 is not there.
    assert_eq!(running.ok("python3 -c 'import threading; t = threading.Thread(target=print, args=(5,)); t.start(); t.join()'"), "5");
    instance.end(running);
}

pub(crate) fn kernel_files_are_hidden() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    assert_eq!(running.ok("cd /proc; cat interrupts keys key-users kallsyms timer_list 2>/dev/null | wc -c; ls -A acpi | wc -l; ls -A driver | wc -l"), "0\n0\n0");
    for attempt in [
        "echo 1 > /proc/sys/kernel/hostname_x; echo x > /proc/sys/kernel/core_pattern",
        "echo h > /proc/sysrq-trigger && test -s /proc/sysrq-trigger",
        "echo 1 > /proc/irq/default_smp_affinity",
        "dd if=/proc/kcore of=/dev/null bs=1 count=1 && test -s /proc/kcore",
        "ls /sys/kernel || ls /sys/firmware || ls /sys/fs || ls /sys/block",
        "echo 1 > /sys/devices/system/cpu/cpu0/online",
        "mknod /tmp/device c 1 3",
        "mknod /tmp/disk b 254 0",
        "echo x > /proc/1/oom_score_adj && false || echo -1000 > /proc/self/oom_score_adj",
        "ls /proc/1/root/../../../work/x /old_root/x",
        "cat /proc/kmsg | grep .",
    ] {
        let (code, output) = running.sh(attempt);
        assert_ne!(code, 0, "{attempt}: {output}");
    }
    instance.end(running);
}

pub(crate) fn root_has_little() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    let status =
        running.ok("grep -E '^(CapBnd|CapEff|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/1/status");
    let kept = "00000000a08c85ff";
    assert_eq!(
        status.replace('\t', " "),
        format!(
            "CapInh: 0000000000000000\nCapEff: {kept}\nCapBnd: {kept}\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2"
        )
    );
    for attempt in [
        "ip link set lo down",
        "ip addr add 192.0.2.1/32 dev lo",
        "ip link add x type dummy",
        "nft list ruleset",
        "chroot / mount -t tmpfs none /mnt",
        "date -s 2020-01-01",
        "nice -n -20 true && renice -n -20 1 && false",
    ] {
        let (code, output) = running.sh(attempt);
        assert_ne!(code, 0, "{attempt}: {output}");
    }
    // Cleared by the kernel for other users, as everywhere.
    assert_eq!(
        running.sh_user("grep CapEff /proc/self/status | cut -f2"),
        (0, "0000000000000000".into())
    );
    instance.end(running);
}

pub(crate) fn memory_is_limited() {
    let mut instance = Instance::with_base();
    if instance.controllers.limits_in_force().memory != LimitState::Enforced {
        return println!("skipped: no memory controller");
    }
    let limits = Limits {
        memory_mib: 64,
        ..LIMITS
    };
    let running = instance.cell(&limits);
    let before = instance.controllers.usage(&running.sandbox).expect("usage");
    assert!(before.memory.is_some_and(|bytes| bytes < 64 << 20));
    assert_eq!(
        running.sh("python3 -c 'b = bytearray(32 << 20); print(1)'"),
        (0, "1".into())
    );
    let (code, output) = running.sh("python3 -c 'b = bytearray(200 << 20); print(1)'; exit $?");
    assert_eq!(code, 137, "killed: {output}");
    let cache = |usage: Usage| usage.memory_cache.expect("counted with memory");
    assert!(cache(before) <= before.memory.unwrap_or(0));
    // Shared memory counts too, and the agent lives on.
    let (code, _) = running.sh("head -c 100M /dev/zero > /dev/shm/big");
    assert_ne!(code, 0);
    assert_eq!(running.ok("rm -f /dev/shm/big; echo alive"), "alive");
    instance.end(running);
}

pub(crate) fn processes_are_limited() {
    let mut instance = Instance::with_base();
    let limits = Limits { pids: 20, ..LIMITS };
    let running = instance.cell(&limits);
    let made = running.sh_user("python3 -c '\nimport os, time\nn = 0\ntry:\n    while n < 100:\n        if os.fork() == 0: os.close(1); os.close(2); time.sleep(30); os._exit(0)\n        n += 1\nexcept OSError: pass\nprint(n)\n'; true").1;
    let made: u32 = made
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("a number");
    assert!((10..=20).contains(&made), "{made} processes");
    instance.end(running);
}

pub(crate) fn cpu_is_limited() {
    let mut instance = Instance::with_base();
    if instance.controllers.limits_in_force().cpu != LimitState::Enforced {
        return println!("skipped: no cpu controller");
    }
    let limits = Limits {
        cpu_percent: 20,
        ..LIMITS
    };
    let running = instance.cell(&limits);
    let before = instance
        .controllers
        .usage(&running.sandbox)
        .expect("usage")
        .cpu_us;
    let begun = std::time::Instant::now();
    running.sh("timeout 1 sh -c 'while :; do :; done'");
    let took = begun.elapsed().as_micros() as u64;
    let after = instance
        .controllers
        .usage(&running.sandbox)
        .expect("usage")
        .cpu_us;
    if let (Some(before), Some(after)) = (before, after) {
        // Of the time that went by: what ends the loop is held back as well. The kernel hands out 20 ms at a time.
        let used = after - before;
        assert!(
            (1_000..took * 2 / 5 + 100_000).contains(&used),
            "{used} us of {took} us at 20 percent"
        );
    }
    instance.end(running);
}
