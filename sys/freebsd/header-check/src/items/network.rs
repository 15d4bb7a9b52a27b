//! Of `warder_freebsd::net`: interfaces (netintro(4)) and routes (route(4)), and what sockets are limited to.

#[cfg(target_os = "freebsd")]
use warder_freebsd::net::interfaces::{self, Alias, Group, Members, Neighbours};
#[cfg(target_os = "freebsd")]
use warder_freebsd::net::{request, routes};

use super::{constant, offset, size};
use crate::program::Item;

pub(super) const ITEMS: &[Item] = &[
    constant!("net/if.h", "IFNAMSIZ", request::NAME = 16),
    constant!("net/if.h", libc::IFF_UP = 0x1),
    constant!(
        "net/if.h",
        "IFCAP_TXCSUM | IFCAP_TXCSUM_IPV6",
        interfaces::LATE_CHECKSUMS = 0x40_0002
    ),
    size!("net/if.h", "struct ifreq" = 32),
    offset!("net/if.h", "struct ifreq", "ifr_flags" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_flagshigh" = 18),
    offset!("net/if.h", "struct ifreq", "ifr_reqcap" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_curcap" = 20),
    offset!("net/if.h", "struct ifreq", "ifr_index" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_mtu" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_jid" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_addr" = 16),
    offset!("net/if.h", "struct ifreq", "ifr_data" = 16),
    size!("net/if.h", "struct ifgroupreq", Group = 40),
    offset!(
        "net/if.h",
        "struct ifgroupreq",
        "ifgr_group",
        Group.group = 24
    ),
    offset!(
        "net/if.h",
        "struct ifgroupreq",
        "ifgr_len",
        Members.length = 16
    ),
    offset!(
        "net/if.h",
        "struct ifgroupreq",
        "ifgr_groups",
        Members.list = 24
    ),
    size!("net/if.h", "struct ifg_req" = 16),
    size!("netinet/in_var.h", "struct in_aliasreq", Alias = 68),
    offset!(
        "netinet/in_var.h",
        "struct in_aliasreq",
        "ifra_addr",
        Alias.address = 16
    ),
    offset!(
        "netinet/in_var.h",
        "struct in_aliasreq",
        "ifra_broadaddr",
        Alias.broadcast = 32
    ),
    offset!(
        "netinet/in_var.h",
        "struct in_aliasreq",
        "ifra_mask",
        Alias.mask = 48
    ),
    offset!(
        "netinet/in_var.h",
        "struct in_aliasreq",
        "ifra_vhid",
        Alias.vhid = 64
    ),
    size!("netinet6/in6_var.h", "struct in6_ndireq", Neighbours = 72),
    offset!(
        "netinet6/in6_var.h",
        "struct in6_ndireq",
        "ndi.flags",
        Neighbours.flags = 36
    ),
    constant!(
        "netinet6/nd6.h",
        "ND6_IFF_IFDISABLED",
        interfaces::NO_INET6 = 0x8
    ),
    constant!(
        "netinet6/nd6.h",
        "ND6_IFF_AUTO_LINKLOCAL",
        interfaces::LINK_LOCAL = 0x20
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFFLAGS",
        interfaces::SET_FLAGS = 0x8020_6910
    ),
    constant!(
        "sys/sockio.h",
        "SIOCGIFFLAGS",
        interfaces::GET_FLAGS = 0xc020_6911
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFNAME",
        interfaces::RENAME = 0x8020_6928
    ),
    constant!(
        "sys/sockio.h",
        "SIOCAIFADDR",
        interfaces::ADD_ADDRESS = 0x8044_692b
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFCAP",
        interfaces::SET_CAPABILITIES = 0x8020_691e
    ),
    constant!(
        "sys/sockio.h",
        "SIOCGIFCAP",
        interfaces::GET_CAPABILITIES = 0xc020_691f
    ),
    constant!(
        "sys/sockio.h",
        "SIOCGIFMTU",
        interfaces::GET_MTU = 0xc020_6933
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFMTU",
        interfaces::SET_MTU = 0x8020_6934
    ),
    constant!(
        "sys/sockio.h",
        "SIOCGIFINDEX",
        interfaces::GET_INDEX = 0xc020_6920
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFLLADDR",
        interfaces::SET_MAC = 0x8020_693c
    ),
    constant!(
        "sys/sockio.h",
        "SIOCSIFVNET",
        interfaces::MOVE = 0xc020_695a
    ),
    constant!(
        "sys/sockio.h",
        "SIOCIFCREATE2",
        interfaces::CREATE = 0xc020_697c
    ),
    constant!(
        "sys/sockio.h",
        "SIOCIFDESTROY",
        interfaces::DESTROY = 0x8020_6979
    ),
    constant!(
        "sys/sockio.h",
        "SIOCAIFGROUP",
        interfaces::ADD_GROUP = 0x8028_6987
    ),
    constant!(
        "sys/sockio.h",
        "SIOCGIFGMEMB",
        interfaces::GET_MEMBERS = 0xc028_698a
    ),
    constant!(
        "netinet6/in6_var.h",
        "SIOCGIFINFO_IN6",
        interfaces::GET_IN6 = 0xc048_696c
    ),
    constant!(
        "netinet6/in6_var.h",
        "SIOCSIFINFO_FLAGS",
        interfaces::SET_IN6 = 0xc048_6957
    ),
    size!("ifaddrs.h", "struct ifaddrs", libc::ifaddrs = 56),
    offset!("ifaddrs.h", "struct ifaddrs", libc::ifaddrs, ifa_next = 0),
    offset!("ifaddrs.h", "struct ifaddrs", libc::ifaddrs, ifa_name = 8),
    offset!("ifaddrs.h", "struct ifaddrs", libc::ifaddrs, ifa_flags = 16),
    offset!("ifaddrs.h", "struct ifaddrs", libc::ifaddrs, ifa_addr = 24),
    constant!("sys/socket.h", libc::AF_INET = 2),
    constant!("sys/socket.h", libc::AF_LINK = 18),
    constant!("sys/socket.h", libc::PF_ROUTE = 17),
    size!("netinet/in.h", "struct sockaddr_in", libc::sockaddr_in = 16),
    offset!(
        "netinet/in.h",
        "struct sockaddr_in",
        libc::sockaddr_in,
        sin_family = 1
    ),
    offset!(
        "netinet/in.h",
        "struct sockaddr_in",
        libc::sockaddr_in,
        sin_addr = 4
    ),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_family" = 1),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_index" = 2),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_type" = 4),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_nlen" = 5),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_alen" = 6),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_slen" = 7),
    offset!("net/if_dl.h", "struct sockaddr_dl", "sdl_data" = 8),
    size!("net/if_dl.h", "struct sockaddr_dl" = 54),
    constant!("net/if_types.h", "IFT_ETHER", routes::ETHERNET = 6),
    constant!("net/route.h", "RTM_VERSION", routes::VERSION = 5),
    constant!("net/route.h", "RTM_ADD", routes::ADD = 1),
    constant!("net/route.h", "RTM_GET", routes::GET = 4),
    constant!("net/route.h", "RTA_DST", routes::DESTINATION = 0x1),
    constant!("net/route.h", "RTA_GATEWAY", routes::GATEWAY = 0x2),
    constant!("net/route.h", "RTA_NETMASK", routes::NETMASK = 0x4),
    constant!("net/route.h", "RTF_UP", routes::UP = 0x1),
    constant!("net/route.h", "RTF_GATEWAY", routes::VIA = 0x2),
    constant!("net/route.h", "RTF_HOST", routes::HOST = 0x4),
    constant!("net/route.h", "RTF_LLDATA", routes::NEIGHBOUR = 0x400),
    constant!("net/route.h", "RTF_STATIC", routes::STATIC = 0x800),
    size!("net/route.h", "struct rt_msghdr", const routes::HEADER = 152),
    offset!("net/route.h", "struct rt_msghdr", "rtm_version" = 2),
    offset!("net/route.h", "struct rt_msghdr", "rtm_type" = 3),
    offset!("net/route.h", "struct rt_msghdr", "rtm_index" = 4),
    offset!("net/route.h", "struct rt_msghdr", "rtm_flags" = 8),
    offset!("net/route.h", "struct rt_msghdr", "rtm_addrs" = 12),
    offset!("net/route.h", "struct rt_msghdr", "rtm_pid" = 16),
    offset!("net/route.h", "struct rt_msghdr", "rtm_seq" = 20),
    constant!("sys/filio.h", libc::FIONBIO = 0x8004_667e),
    constant!("sys/filio.h", libc::FIONREAD = 0x4004_667f),
    constant!("sys/capsicum.h", libc::CAP_READ = 0x200_0000_0000_0001),
    constant!("sys/capsicum.h", libc::CAP_WRITE = 0x200_0000_0000_0002),
    constant!("sys/capsicum.h", libc::CAP_SHUTDOWN = 0x200_0040_0000_0000),
    constant!(
        "sys/capsicum.h",
        libc::CAP_GETSOCKNAME = 0x200_0002_0000_0000
    ),
    constant!(
        "sys/capsicum.h",
        libc::CAP_GETPEERNAME = 0x200_0001_0000_0000
    ),
    constant!(
        "sys/capsicum.h",
        libc::CAP_GETSOCKOPT = 0x200_0004_0000_0000
    ),
    constant!(
        "sys/capsicum.h",
        libc::CAP_SETSOCKOPT = 0x200_0020_0000_0000
    ),
    constant!("sys/capsicum.h", libc::CAP_IOCTL = 0x400_0000_0000_0080),
    constant!("sys/capsicum.h", libc::CAP_FCNTL_GETFL = 0x8),
    constant!("sys/capsicum.h", libc::CAP_FCNTL_SETFL = 0x10),
];
