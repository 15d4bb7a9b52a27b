//! Of `warder_netlink` and `warder_freebsd::net::{generic, links}`: netlink(4), genetlink(4), rtnetlink(4).
//!
//! netlink/netlink_route.h has all of the last, and gives names of net/route.h other numbers: its parts are named here.

#[cfg(target_os = "freebsd")]
use warder_freebsd::net::generic::{self, Address};
#[cfg(target_os = "freebsd")]
use warder_freebsd::net::links;

use super::{constant, offset, size};
use crate::program::Item;

pub(super) const ITEMS: &[Item] = &[
    constant!("sys/socket.h", "AF_NETLINK", generic::FAMILY = 38),
    size!("netlink/netlink.h", "struct nlmsghdr", const warder_netlink::HEADER = 16),
    constant!(
        "netlink/netlink.h",
        "NLA_F_NESTED",
        warder_netlink::NESTED = 0x8000
    ),
    offset!("netlink/netlink.h", "struct nlmsghdr", "nlmsg_type" = 4),
    offset!("netlink/netlink.h", "struct nlmsghdr", "nlmsg_flags" = 6),
    offset!("netlink/netlink.h", "struct nlmsghdr", "nlmsg_seq" = 8),
    size!("netlink/netlink.h", "struct nlattr" = 4),
    offset!("netlink/netlink.h", "struct nlattr", "nla_type" = 2),
    size!("netlink/netlink.h", "struct sockaddr_nl", Address = 12),
    offset!(
        "netlink/netlink.h",
        "struct sockaddr_nl",
        "nl_family",
        Address.family = 1
    ),
    offset!(
        "netlink/netlink.h",
        "struct sockaddr_nl",
        "nl_pid",
        Address.port = 4
    ),
    offset!(
        "netlink/netlink.h",
        "struct sockaddr_nl",
        "nl_groups",
        Address.groups = 8
    ),
    constant!(
        "netlink/netlink.h",
        "NETLINK_GENERIC",
        generic::GENERIC = 16
    ),
    constant!("netlink/netlink.h", "NLMSG_ERROR", generic::ERROR = 2),
    constant!("netlink/netlink.h", "NLMSG_DONE", generic::DONE = 3),
    constant!("netlink/netlink.h", "NLM_F_REQUEST", generic::REQUEST = 0x1),
    constant!("netlink/netlink.h", "NLM_F_ACK", generic::ACK = 0x4),
    constant!("netlink/netlink.h", "NLM_F_DUMP", generic::DUMP = 0x300),
    constant!("netlink/netlink.h", "NETLINK_ROUTE", links::ROUTE = 0),
    constant!(
        "netlink/netlink.h",
        "NLM_F_CREATE | NLM_F_EXCL",
        links::CREATE = 0x600
    ),
    constant!(
        "netlink/netlink.h",
        "NLMSGERR_ATTR_COOKIE",
        links::COOKIE = 3
    ),
    size!("netlink/netlink.h", "struct nlmsgerr", const links::ACKNOWLEDGED = 20),
    size!("netlink/netlink_generic.h", "struct genlmsghdr", const generic::HEADER = 4),
    offset!("netlink/netlink_generic.h", "struct genlmsghdr", "cmd" = 0),
    constant!(
        "netlink/netlink_generic.h",
        "GENL_ID_CTRL",
        generic::CONTROL = 16
    ),
    constant!(
        "netlink/netlink_generic.h",
        "CTRL_CMD_GETFAMILY",
        generic::GET_FAMILY = 3
    ),
    constant!(
        "netlink/netlink_generic.h",
        "CTRL_ATTR_FAMILY_ID",
        generic::FAMILY_ID = 1
    ),
    constant!(
        "netlink/netlink_generic.h",
        "CTRL_ATTR_FAMILY_NAME",
        generic::FAMILY_NAME = 2
    ),
    constant!("netlink/route/common.h", "NL_RTM_NEWLINK", links::NEW = 16),
    constant!("netlink/route/common.h", "NL_RTM_GETLINK", links::GET = 18),
    constant!("netlink/route/interface.h", "IFLA_IFNAME", links::NAME = 3),
    constant!(
        "netlink/route/interface.h",
        "IFLA_LINKINFO",
        links::INFO = 18
    ),
    constant!(
        "netlink/route/interface.h",
        "IFLA_INFO_KIND",
        links::KIND = 1
    ),
    constant!(
        "netlink/route/interface.h",
        "IFLA_IFALIAS",
        links::DESCRIPTION = 20
    ),
    size!("netlink/route/interface.h", "struct ifinfomsg" = 16),
];
