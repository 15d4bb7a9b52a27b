//! Of the agent in a sandbox: inotify(2).

#[cfg(target_os = "freebsd")]
use warder_guest_sys::inotify::freebsd::number;

use super::{constant, function_since, offset, size};
use crate::program::Item;

/// The first release with it.
const INOTIFY: u32 = 1_500_000;

pub(super) const ITEMS: &[Item] = &[
    function_since("sys/inotify.h", "inotify_init1", "int (*@)(int)", INOTIFY),
    function_since(
        "sys/inotify.h",
        "inotify_add_watch",
        "int (*@)(int, const char *, __uint32_t)",
        INOTIFY,
    ),
    function_since(
        "sys/inotify.h",
        "inotify_rm_watch",
        "int (*@)(int, int)",
        INOTIFY,
    ),
    constant!(
        "sys/inotify.h",
        "IN_NONBLOCK",
        number::NONBLOCK = 0x4,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_CLOEXEC",
        number::CLOEXEC = 0x0010_0000,
        INOTIFY
    ),
    constant!("sys/inotify.h", "IN_MODIFY", number::MODIFY = 0x2, INOTIFY),
    constant!("sys/inotify.h", "IN_ATTRIB", number::ATTRIB = 0x4, INOTIFY),
    constant!(
        "sys/inotify.h",
        "IN_MOVED_FROM",
        number::MOVED_FROM = 0x40,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_MOVED_TO",
        number::MOVED_TO = 0x80,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_CREATE",
        number::CREATE = 0x100,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_DELETE",
        number::DELETE = 0x200,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_DELETE_SELF",
        number::DELETE_SELF = 0x400,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_MOVE_SELF",
        number::MOVE_SELF = 0x800,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_UNMOUNT",
        number::UNMOUNT = 0x2000,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_Q_OVERFLOW",
        number::Q_OVERFLOW = 0x4000,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_IGNORED",
        number::IGNORED = 0x8000,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_ONLYDIR",
        number::ONLYDIR = 0x0100_0000,
        INOTIFY
    ),
    constant!(
        "sys/inotify.h",
        "IN_ISDIR",
        number::ISDIR = 0x4000_0000,
        INOTIFY
    ),
    Item {
        since: INOTIFY,
        ..size!("sys/inotify.h", "struct inotify_event" = 16)
    },
    Item {
        since: INOTIFY,
        ..offset!("sys/inotify.h", "struct inotify_event", "mask" = 4)
    },
    Item {
        since: INOTIFY,
        ..offset!("sys/inotify.h", "struct inotify_event", "len" = 12)
    },
];
