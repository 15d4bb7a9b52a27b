//! Entries of connection tracking (linux/netfilter/nfnetlink_conntrack.h). Numbers are in network order.

use std::net::Ipv4Addr;

use warder_linux::netlink::{ACK, Message, REQUEST, attrs, attrs_after};

use crate::flow::Flow;

/// `enum ctattr_type`.
const TUPLE_ORIG: u16 = 1;
pub(super) const MARK: u16 = 8;
const ID: u16 = 12;
pub(super) const MARK_MASK: u16 = 21;
/// `struct nfgenmsg` of `AF_INET`.
const INET: [u8; 4] = [2, 0, 0, 0];

/// The flow that a message of a dump is about; `None` when it cannot be read.
pub(super) fn flow(payload: &[u8]) -> Option<Flow> {
    // CTA_TUPLE_IP { CTA_IP_V4_SRC, _DST }, CTA_TUPLE_PROTO { CTA_PROTO_NUM, _SRC_PORT, _DST_PORT }.
    let tuple = find(attrs_after(payload, 4), TUPLE_ORIG)?;
    let ip = find(attrs(tuple), 1)?;
    let protocol = find(attrs(tuple), 2)?;
    let address = |kind| Some(Ipv4Addr::from(*find(attrs(ip), kind)?.first_chunk::<4>()?));
    let port = |kind| {
        let bytes = find(attrs(protocol), kind).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    let mark = find(attrs_after(payload, 4), MARK)?.first_chunk()?;
    Some(Flow {
        mark: u32::from_be_bytes(*mark),
        protocol: *find(attrs(protocol), 1)?.first()?,
        source: address(1)?,
        destination: address(2)?,
        source_port: port(2),
        destination_port: port(3),
    })
}

/// A request to delete the flow that a message of a dump is about, and no later one like it.
pub(super) fn delete(kind: u16, payload: &[u8]) -> Option<Message> {
    let tuple = find(attrs_after(payload, 4), TUPLE_ORIG)?;
    let message = Message::new(kind, REQUEST | ACK, &INET).nest(TUPLE_ORIG, |m| m.raw(tuple));
    Some(match find(attrs_after(payload, 4), ID) {
        Some(id) => message.bytes(ID, id),
        None => message,
    })
}

fn find<'a>(mut attrs: impl Iterator<Item = (u16, &'a [u8])>, wanted: u16) -> Option<&'a [u8]> {
    attrs.find_map(|(kind, value)| (kind == wanted).then_some(value))
}
