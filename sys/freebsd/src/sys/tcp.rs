//! The TCP connections of this process's network stack, as tcpdrop(8) lists and drops them.

use rustix::io::{Errno, Result};

use super::sysctl;

/// A head, connections, and a tail as the head: each with its length in front (struct xinpgen of netinet/in_pcb.h, struct
/// xtcpcb of netinet/tcp_var.h).
const LIST: &str = "net.inet.tcp.pcblist";
/// Takes two of struct sockaddr_storage, the foreign one first (sysctl_drop, tcp_subr.c).
const DROP: &str = "net.inet.tcp.drop";
/// offsetof(struct xtcpcb, xt_inp.inp_inc): a struct in_conninfo.
pub const CONNECTION: usize = 256;
/// Of its first byte: both addresses are of IPv6.
pub const INC_ISIPV6: u8 = 1;
/// Of one of the two.
const STORAGE: usize = size_of::<libc::sockaddr_storage>();

/// Drops all of them.
///
/// # Errors
/// `EPERM` where that is not allowed.
pub fn drop_all() -> Result<()> {
    for pair in pairs(&sysctl::bytes(LIST)?) {
        match sysctl::set(DROP, &pair) {
            // It has gone by itself.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What to drop each by.
fn pairs(mut list: &[u8]) -> Vec<[u8; 2 * STORAGE]> {
    let mut pairs = Vec::new();
    while let Some(length) = list.first_chunk() {
        let length = usize::try_from(u64::from_ne_bytes(*length)).unwrap_or(0);
        let Some((item, rest)) = list.split_at_checked(length).filter(|_| length > 0) else {
            break;
        };
        pairs.extend(item.get(CONNECTION..).and_then(pair));
        list = rest;
    }
    pairs
}

/// Of a struct in_conninfo; none for a socket that only listens.
fn pair(connection: &[u8]) -> Option<[u8; 2 * STORAGE]> {
    // Flags, length, table; the foreign port, the own one, the foreign address, the own one.
    let v6 = connection.first()? & INC_ISIPV6 != 0;
    let ports = [connection.get(4..6)?, connection.get(6..8)?];
    let addresses = [connection.get(8..24)?, connection.get(24..40)?];
    if ports[0] == [0, 0] {
        return None;
    }
    let mut pair = [0; 2 * STORAGE];
    for (side, storage) in pair.chunks_exact_mut(STORAGE).enumerate() {
        storage[2..4].copy_from_slice(ports[side]);
        if v6 {
            // struct sockaddr_in6: the flow between port and address.
            storage[..2].copy_from_slice(&[28, libc::AF_INET6 as u8]);
            storage[8..24].copy_from_slice(addresses[side]);
        } else {
            storage[..2].copy_from_slice(&[16, libc::AF_INET as u8]);
            storage[4..8].copy_from_slice(&addresses[side][12..]);
        }
    }
    Some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(connection: &[u8]) -> Vec<u8> {
        let mut item = vec![0; 744];
        item[..8].copy_from_slice(&744_u64.to_ne_bytes());
        item[CONNECTION..CONNECTION + connection.len()].copy_from_slice(connection);
        item
    }

    #[test]
    fn connections_are_told_from_heads_and_listeners() {
        let mut head = vec![0; 64];
        head[..8].copy_from_slice(&64_u64.to_ne_bytes());
        let mut four = vec![0, 0, 0, 0, 0x1f, 0x40, 0xc0, 1];
        four.extend([0; 12]);
        four.extend([127, 0, 0, 1]);
        four.extend([0; 12]);
        four.extend([127, 0, 0, 2]);
        let mut six = vec![INC_ISIPV6, 0, 0, 0, 0, 80, 0xc0, 2];
        six.extend((0..32).collect::<Vec<u8>>());
        let mut listening = four.clone();
        listening[4..6].fill(0);
        let list = [
            head.clone(),
            item(&four),
            item(&listening),
            item(&six),
            head,
        ]
        .concat();
        let found = pairs(&list);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0][..8], [16, 2, 0x1f, 0x40, 127, 0, 0, 1]);
        assert_eq!(
            found[0][STORAGE..STORAGE + 8],
            [16, 2, 0xc0, 1, 127, 0, 0, 2]
        );
        assert_eq!(found[1][..12], [28, 28, 0, 80, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(found[1][STORAGE + 8], 16);
        for cut in [0, 3, 64, 300, 900] {
            assert!(pairs(&list[..cut]).len() <= 1);
        }
        assert!(pairs(&[0; 16]).is_empty());
    }
}
