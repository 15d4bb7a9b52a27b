//! What is compared, a table for each part of Warder.

use crate::program::{Item, What};

mod base;
mod cells;
mod guest;
mod netlink;
mod network;
mod pf;
mod sockets;

/// Every item.
#[must_use]
pub fn all() -> Vec<Item> {
    [
        base::ITEMS,
        cells::ITEMS,
        sockets::ITEMS,
        network::ITEMS,
        netlink::ITEMS,
        pf::ITEMS,
        guest::ITEMS,
    ]
    .concat()
}

/// An item's number is what this was compiled with.
macro_rules! meant {
    ($here:expr, $value:expr) => {
        #[cfg(target_os = "freebsd")]
        const _: () = assert!($here as i128 == $value);
    };
}

/// A constant of a crate, under the header's name; or what the header calls it, and what stands for it here: nothing
/// where the number is in the code itself.
macro_rules! constant {
    ($header:literal, $c:literal = $value:expr) => {
        $crate::items::constant!(@ $header, $c, $value, 0)
    };
    ($header:literal, $c:literal, $here:path = $value:expr) => {
        $crate::items::constant!($header, $c, $here = $value, 0)
    };
    ($header:literal, $c:literal, $here:path = $value:expr, $since:expr) => {{
        $crate::items::meant!($here, $value);
        $crate::items::constant!(@ $header, $c, $value, $since)
    }};
    ($header:literal, $c:literal, $here:path [$n:literal] = $value:expr) => {{
        $crate::items::meant!($here[$n], $value);
        $crate::items::constant!(@ $header, $c, $value, 0)
    }};
    (@ $header:literal, $c:literal, $value:expr, $since:expr) => {
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Constant($c),
            value: $value,
            since: $since,
        }
    };
    ($header:literal, $($path:ident)::+ = $value:expr) => {
        $crate::items::constant!($header, $($path)::+ = $value, 0)
    };
    ($header:literal, $($path:ident)::+ = $value:expr, $since:expr) => {{
        $crate::items::meant!($($path)::+, $value);
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Constant($crate::items::last(stringify!($($path)::+))),
            value: $value,
            since: $since,
        }
    }};
}

/// The size of a type, which C calls otherwise; of one that has no type in Rust, what stands for it, or nothing.
macro_rules! size {
    ($header:literal, $c:literal = $value:expr) => {
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Size($c),
            value: $value,
            since: 0,
        }
    };
    ($header:literal, $c:literal, const $here:path = $value:expr) => {{
        $crate::items::meant!($here, $value);
        $crate::items::size!($header, $c = $value)
    }};
    ($header:literal, $c:literal, $type:ty = $value:expr) => {{
        $crate::items::meant!(size_of::<$type>(), $value);
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Size($c),
            value: $value,
            since: 0,
        }
    }};
}

/// The offset of a field; of one that has no type in Rust, or another name, what stands for it, or nothing.
macro_rules! offset {
    ($header:literal, $c:literal, $field:literal = $value:expr) => {
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Offset($c, $field),
            value: $value,
            since: 0,
        }
    };
    ($header:literal, $c:literal, $field:literal, $type:ident.$here:ident = $value:expr) => {{
        $crate::items::meant!(std::mem::offset_of!($type, $here), $value);
        $crate::items::offset!($header, $c, $field = $value)
    }};
    ($header:literal, $c:literal, $field:literal, $here:path = $value:expr) => {{
        $crate::items::meant!($here, $value);
        $crate::items::offset!($header, $c, $field = $value)
    }};
    ($header:literal, $c:literal, $type:ty, $field:ident = $value:expr) => {{
        $crate::items::meant!(std::mem::offset_of!($type, $field), $value);
        $crate::program::Item {
            header: $header,
            what: $crate::program::What::Offset($c, stringify!($field)),
            value: $value,
            since: 0,
        }
    }};
}

use {constant, meant, offset, size};

/// A function with the type that Warder calls it by.
const fn function(header: &'static str, name: &'static str, pointer: &'static str) -> Item {
    Item {
        header,
        what: What::Function(name, pointer),
        value: 1,
        since: 0,
    }
}

/// A function that older systems lack.
const fn function_since(
    header: &'static str,
    name: &'static str,
    pointer: &'static str,
    since: u32,
) -> Item {
    Item {
        since,
        ..function(header, name, pointer)
    }
}

/// What follows the last colon of a path.
const fn last(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut at = bytes.len();
    while at > 0 && bytes[at - 1] != b':' && bytes[at - 1] != b' ' {
        at -= 1;
    }
    path.split_at(at).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_last_name() {
        assert_eq!(last("libc::JAIL_CREATE"), "JAIL_CREATE");
        assert_eq!(last("libc :: PD_DAEMON"), "PD_DAEMON");
        assert_eq!(last("X"), "X");
    }
}
