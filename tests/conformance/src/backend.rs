//! What differs between backends for whoever tries them; none of it is what they promise.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A backend.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// Linux namespaces.
    Namespace,
    /// FreeBSD jails.
    Jail,
    /// Virtual machines of bhyve(8).
    Bhyve,
}

/// Commands that change or show what is the host's. Each has to fail, as root and where sudo is in its way there too.
/// Their programs are of the base system, so that they are there to be tried.
const LINUX: &[&str] = &[
    "umount /proc",
    "mount -o remount,rw /usr",
    "mount -t tmpfs none /mnt",
    "unshare -r true",
    "unshare -n true",
    "nsenter -t 1 -a true",
    "ip link set lo down",
    "ip addr add 10.9.9.9/32 dev lo",
    "ip route add blackhole 10.9.9.0/24",
    "ip link add x type dummy",
    "ip neigh add 10.9.9.9 lladdr 02:00:00:00:00:01 dev eth0",
    "nft list ruleset",
    "nft add table ip x",
    "date -s 2001-01-01",
    "dmesg",
    "losetup -f /etc/passwd",
    "sysctl -w kernel.core_pattern=core",
    "sysctl -w net.ipv4.ip_forward=1",
    "modprobe dummy",
    "echo -1000 > /proc/self/oom_score_adj",
];

const FREEBSD: &[&str] = &[
    "mount -t tmpfs tmpfs /mnt",
    "mount -t nullfs /etc /mnt",
    "mount -t devfs devfs /mnt",
    "umount -f /dev",
    "mount -u -o rw /usr/bin",
    "jail -c name=x path=/ command=/usr/bin/true",
    "jexec 1 /usr/bin/true",
    "ifconfig lo0 down",
    "ifconfig lo0 inet 10.9.9.9/32 alias",
    "ifconfig epair create",
    "ifconfig bridge create",
    "route add -net 10.9.9.0/24 127.0.0.1",
    "route delete default",
    "pfctl -s rules",
    "pfctl -a warder_no_such_anchor -F rules",
    "zfs list",
    "zpool list",
    "kldload if_bridge",
    "sysctl net.inet.ip.forwarding=1",
    "sysctl kern.securelevel=-1",
    "sysctl kern.hostname=x",
    "kenv warder.probe=x",
    "date 200101010000",
    "dmesg | grep -q .",
    "mdconfig -a -t swap -s 1m",
    "rctl -a user:nobody:maxproc:deny=1000000",
    "devfs rule -s 4 show | grep -q .",
    "tcpdump -c 1 -i lo0",
    "dd if=/dev/mem of=/dev/null count=1",
    "mknod /tmp/mem c 0 15",
    "chflags schg /tmp",
];

impl Backend {
    /// Its name in privd's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Jail => "jail",
            Self::Bhyve => "bhyve",
        }
    }

    /// The system it is for.
    pub(crate) fn system(self) -> &'static str {
        match self {
            Self::Namespace => "Linux",
            Self::Jail | Self::Bhyve => "FreeBSD",
        }
    }

    /// Commands that have to fail in a sandbox.
    pub(crate) fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Namespace => LINUX,
            Self::Jail | Self::Bhyve => FREEBSD,
        }
    }

    /// Whether a sandbox shares the host's kernel, so that its probes say something of the host.
    pub(crate) fn shares_the_kernel(self) -> bool {
        self != Self::Bhyve
    }

    /// Why no sandbox of it can be made on this host, if that is so before any is tried: nothing fails by it.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        use std::path::Path;
        if self != Self::Bhyve {
            return None;
        }
        let loaded = std::process::Command::new("/sbin/sysctl")
            .args(["-n", "hw.vmm.maxcpu"])
            .output()
            .is_ok_and(|answer| answer.status.success());
        if !loaded {
            return Some("no vmm(4): vmm_load=\"YES\" in /boot/loader.conf");
        }
        if !Path::new("/dev/vmmctl").exists() {
            return Some(
                "vmm(4) is loaded and cannot use this processor: Intel VT-x with EPT, or AMD SVM with nested paging and \
                 NRIP save, switched on in the firmware; dmesg says what is missing",
            );
        }
        if !Path::new("/usr/local/share/uefi-firmware/BHYVE_UEFI.fd").exists() {
            return Some("no firmware for guests: `pkg install edk2-bhyve`");
        }
        Some("no guest's image with the agent in it comes with this program (docs/bhyve.md)")
    }

    /// Whether this can be the host for it.
    pub(crate) fn fits_here(self) -> bool {
        let linux = std::path::Path::new("/proc/self/ns").exists();
        linux == (self == Self::Namespace)
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
