//! The seccomp filter of a cell: a deny list of what no sandbox needs (seccomp(2)).
//!
//! The kernel checks rights behind all of these too; the filter keeps its code out of the guest's reach.
//! It inspects numbers and plain arguments only, never memory that the guest could change meanwhile.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter,
};

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64, linux/audit.h
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// Numbers from here up are the x32 ABI's of x86_64; other architectures have none so high.
const X32: u32 = 0x4000_0000;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument (little endian).
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

/// Refused with EPERM, as if a capability were missing.
const REFUSED: &[libc::c_long] = &[
    // mounts, old and new
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    467, // open_tree_attr, asm-generic/unistd.h
    // namespaces; unshare and clone are judged by their flags
    libc::SYS_setns,
    // keyrings are the whole host's
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // kernel code that guests have escaped through
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    // files by handle, past every mount
    libc::SYS_open_by_handle_at,
    // the host as a whole
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    469, // file_setattr, asm-generic/unistd.h: as ATTRIBUTES
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// The socket families a sandbox may use; all others answer EAFNOSUPPORT, AF_VSOCK and AF_ALG too.
const FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// The commands of ioctl(2) that set attributes of files (linux/fs.h): FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS and the same of
/// 32 bits. The kernel judges them by the file that is shown. Of an overlay's that is the lower one until it is written
/// to, so the upper one, made then, would leave the project whose quota holds the sandbox.
const ATTRIBUTES: [u32; 3] = [0x401c_5820, 0x4008_6602, 0x4004_6602];

/// Of the commands of one kind, those of btrfs, only what copies by sharing, on other file systems too (linux/fs.h): FICLONE,
/// FICLONERANGE, FIDEDUPERANGE. By others an owner makes subvolumes, which no quota of a volume counts, or what none can write to.
const BTRFS: u32 = 0x9400; // BTRFS_IOCTL_MAGIC, linux/btrfs.h
const SHARING: [u32; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// Where in a command its kind is (asm-generic/ioctl.h).
const KIND: u32 = 0xff00;

/// Flags of unshare and clone that make a namespace.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// Only in unshare: in clone these bits are the exit signal.
const TIME: libc::c_int = 0x80; // CLONE_NEWTIME

/// The filter of every cell.
pub(crate) fn program() -> Vec<sock_filter> {
    let refuse = errno(libc::EPERM);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    // What happens at each number that is not simply allowed.
    let mut calls: Vec<(u32, Vec<sock_filter>)> = REFUSED
        .iter()
        .map(|number| (*number as u32, vec![refuse]))
        .collect();
    // Its flags lie in memory, where they cannot be judged; libc falls back to clone.
    calls.push((libc::SYS_clone3 as u32, vec![errno(libc::ENOSYS)]));
    for (number, flags) in [
        (libc::SYS_clone, NAMESPACES),
        (libc::SYS_unshare, NAMESPACES | TIME),
    ] {
        let judge = test(BPF_JSET, flags.cast_unsigned(), 0, 1);
        let body = vec![load(FIRST_ARGUMENT), judge, refuse, allow];
        calls.push((number as u32, body));
    }
    let mut body = vec![load(SECOND_ARGUMENT)];
    for (commands, said) in [(SHARING, allow), (ATTRIBUTES, refuse)] {
        for command in commands {
            body.extend([test(BPF_JEQ, command, 0, 1), said]);
        }
    }
    let kind = instruction(BPF_ALU | BPF_AND | BPF_K, KIND, 0, 0);
    body.extend([kind, test(BPF_JEQ, BTRFS, 1, 0), allow, refuse]);
    calls.push((libc::SYS_ioctl as u32, body));
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        let mut body = vec![load(FIRST_ARGUMENT)];
        for (left, family) in (1..=FAMILIES.len()).rev().zip(FAMILIES) {
            body.push(test(BPF_JEQ, family.cast_unsigned(), left as u8, 0));
        }
        body.push(errno(libc::EAFNOSUPPORT));
        // A network namespace of the host's user namespace hears of every device of the host. Among the
        // protocols of the other families this number is none.
        let events = test(BPF_JEQ, libc::NETLINK_KOBJECT_UEVENT.cast_unsigned(), 0, 1);
        let refuse = errno(libc::EPROTONOSUPPORT);
        body.extend([load(THIRD_ARGUMENT), events, refuse, allow]);
        calls.push((number as u32, body));
    }
    calls.sort_unstable_by_key(|(number, _)| *number);

    let mut program = vec![
        load(ARCHITECTURE),
        test(BPF_JEQ, ARCH, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        test(BPF_JGE, X32, 0, 1),
        errno(libc::ENOSYS),
    ];
    program.extend(choose(&calls, allow));
    program
}

/// Looks the number up by halves: at installation the kernel runs the filter once for every call there is.
fn choose(calls: &[(u32, Vec<sock_filter>)], otherwise: sock_filter) -> Vec<sock_filter> {
    match calls {
        [] => vec![otherwise],
        [(number, body)] => {
            let mut code = vec![test(BPF_JEQ, *number, 0, body.len() as u8)];
            code.extend_from_slice(body);
            code.push(otherwise);
            code
        }
        _ => {
            let (low, high) = calls.split_at(calls.len() / 2);
            let left = choose(low, otherwise);
            let mut code = vec![test(BPF_JGE, high[0].0, left.len() as u8, 0)];
            code.extend(left);
            code.extend(choose(high, otherwise));
            code
        }
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

/// Skips `yes` or `no` instructions.
fn test(kind: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | kind | BPF_K, value, yes, no)
}

fn errno(number: libc::c_int) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | number.cast_unsigned())
}

fn answer(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, action, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn run(arch: u32, number: u32, argument: u32) -> u32 {
        run_with(arch, number, [argument, 0, 0])
    }

    fn run_with(arch: u32, number: u32, [first, second, third]: [u32; 3]) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let code = u32::from(step.code);
            let taken = match code {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => arch,
                        FIRST_ARGUMENT => first,
                        SECOND_ARGUMENT => second,
                        THIRD_ARGUMENT => third,
                        other => panic!("loads {other}"),
                    };
                    continue;
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => {
                    loaded &= step.k;
                    continue;
                }
                c if c == BPF_RET | BPF_K => return step.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => loaded == step.k,
                c if c == BPF_JMP | BPF_JGE | BPF_K => loaded >= step.k,
                c if c == BPF_JMP | BPF_JSET | BPF_K => loaded & step.k != 0,
                other => panic!("instruction {other}"),
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    fn refused(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
    }

    #[test]
    fn every_refused_call_is_refused_and_others_pass() {
        for number in 0..600_u32 {
            let judged = [
                libc::SYS_clone,
                libc::SYS_unshare,
                libc::SYS_socket,
                libc::SYS_socketpair,
            ];
            if judged.contains(&number.into()) {
                continue;
            }
            let expected = match libc::c_long::from(number) {
                libc::SYS_clone3 => refused(libc::ENOSYS),
                number if REFUSED.contains(&number) => refused(libc::EPERM),
                _ => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(run(ARCH, number, u32::MAX), expected, "call {number}");
        }
    }

    #[test]
    fn namespaces_are_refused_threads_and_forks_are_not() {
        let clone = libc::SYS_clone as u32;
        let unshare = libc::SYS_unshare as u32;
        for flag in (0..32).map(|bit| 1_u32 << bit) {
            let makes = NAMESPACES.cast_unsigned() & flag != 0;
            let expected = if makes {
                refused(libc::EPERM)
            } else {
                libc::SECCOMP_RET_ALLOW
            };
            assert_eq!(
                run(ARCH, clone, flag | libc::SIGCHLD.cast_unsigned()),
                expected
            );
        }
        assert_eq!(
            run(ARCH, clone, 0x003d_0f00),
            libc::SECCOMP_RET_ALLOW,
            "pthread_create"
        );
        assert_eq!(
            run(ARCH, unshare, libc::CLONE_FS.cast_unsigned()),
            libc::SECCOMP_RET_ALLOW
        );
        assert_eq!(
            run(ARCH, unshare, libc::CLONE_NEWUSER.cast_unsigned()),
            refused(libc::EPERM)
        );
        assert_eq!(
            run(ARCH, unshare, TIME.cast_unsigned()),
            refused(libc::EPERM)
        );
    }

    #[test]
    fn only_known_socket_families() {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            for family in 0..64 {
                let known = FAMILIES.contains(&family);
                let expected = if known {
                    libc::SECCOMP_RET_ALLOW
                } else {
                    refused(libc::EAFNOSUPPORT)
                };
                assert_eq!(
                    run(ARCH, call as u32, family.cast_unsigned()),
                    expected,
                    "family {family}"
                );
            }
        }
    }

    #[test]
    fn netlink_tells_of_the_sandbox_and_not_of_the_hosts_devices() {
        let netlink = libc::AF_NETLINK.cast_unsigned();
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            for protocol in 0..64 {
                let expected = if protocol == libc::NETLINK_KOBJECT_UEVENT.cast_unsigned() {
                    refused(libc::EPROTONOSUPPORT)
                } else {
                    libc::SECCOMP_RET_ALLOW
                };
                let said = run_with(ARCH, call as u32, [netlink, 0, protocol]);
                assert_eq!(said, expected);
            }
        }
    }

    #[test]
    fn attributes_of_files_are_read_and_not_set() {
        let ioctl = |command| run_with(ARCH, libc::SYS_ioctl as u32, [3, command, 0]);
        for command in ATTRIBUTES {
            assert_eq!(ioctl(command), refused(libc::EPERM), "{command:x}");
        }
        // FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS, TCGETS, TIOCSWINSZ, FIONREAD
        for command in [0x801c_581f, 0x8008_6601, 0x5401, 0x5414, 0x541b] {
            assert_eq!(ioctl(command), libc::SECCOMP_RET_ALLOW, "{command:x}");
        }
    }

    #[test]
    fn of_what_btrfs_can_only_sharing_is_left() {
        let ioctl = |command| run_with(ARCH, libc::SYS_ioctl as u32, [3, command, 0]);
        for command in SHARING {
            assert_eq!(ioctl(command), libc::SECCOMP_RET_ALLOW, "{command:x}");
        }
        // SUBVOL_CREATE, SNAP_CREATE_V2, SUBVOL_SETFLAGS, DEFRAG; sharing of another size
        for command in [0x5000_940e, 0x5000_9417, 0x4008_941a, 0x5000_9402, 0x9409] {
            assert_eq!(ioctl(command), refused(libc::EPERM), "{command:x}");
        }
    }

    #[test]
    fn other_abis_are_refused() {
        assert_eq!(
            run(0x4000_0003, 1, 0),
            libc::SECCOMP_RET_KILL_PROCESS,
            "i386"
        );
        assert_eq!(run(ARCH, X32 | 165, 0), refused(libc::ENOSYS), "x32 mount");
    }
}
