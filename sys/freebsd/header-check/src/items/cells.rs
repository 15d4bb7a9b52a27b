//! Of the devices and processors of cells.

#[cfg(target_os = "freebsd")]
use warder_freebsd::sys::devfs::{self, DevfsRule};

use super::{constant, function, offset, size};
use crate::program::Item;

pub(super) const ITEMS: &[Item] = &[
    constant!("sys/ioccom.h", devfs::IOC_IN = 0x8000_0000),
    constant!("sys/ioccom.h", devfs::IOC_INOUT = 0xc000_0000),
    constant!("fs/devfs/devfs.h", devfs::DEVFS_MAGIC = 0xdb0a_087a),
    constant!("fs/devfs/devfs.h", devfs::DRC_PATHPTRN = 0x2),
    constant!("fs/devfs/devfs.h", devfs::DRA_BACTS = 0x1),
    constant!("fs/devfs/devfs.h", devfs::DRB_HIDE = 0x1),
    constant!("fs/devfs/devfs.h", devfs::DRB_UNHIDE = 0x2),
    constant!("fs/devfs/devfs.h", devfs::DEVFSIO_RADD = 0xc0ec_4400),
    constant!("fs/devfs/devfs.h", devfs::DEVFSIO_RAPPLY = 0x80ec_4402),
    constant!("fs/devfs/devfs.h", devfs::DEVFSIO_RDEL = 0x8004_4401),
    constant!("fs/devfs/devfs.h", devfs::DEVFSIO_RGETNEXT = 0xc0ec_4404),
    constant!("fs/devfs/devfs.h", devfs::DEVFSIO_SGETNEXT = 0xc002_440c),
    size!("fs/devfs/devfs.h", "struct devfs_rule", DevfsRule = 236),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_id = 4
    ),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_icond = 8
    ),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_pathptrn = 16
    ),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_iacts = 216
    ),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_bacts = 220
    ),
    offset!(
        "fs/devfs/devfs.h",
        "struct devfs_rule",
        DevfsRule,
        dr_incset = 234
    ),
    constant!("sys/cpuset.h", libc::CPU_LEVEL_WHICH = 3),
    constant!("sys/cpuset.h", libc::CPU_WHICH_JAIL = 5),
    function(
        "sys/cpuset.h",
        "cpuset_setaffinity",
        "int (*@)(cpulevel_t, cpuwhich_t, id_t, size_t, const cpuset_t *)",
    ),
    function("unistd.h", "setlogin", "int (*@)(const char *)"),
];
