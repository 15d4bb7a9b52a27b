//! The host's surroundings: an internet in a network namespace, with servers at public-looking addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use crate::dns::{self, Names, Question};
use crate::namespace::{inside, open, run};
use crate::socks::{self, Relayed};
use crate::{servers, tls};

pub use crate::capture::{ICMP, TCP, UDP};
pub use crate::servers::{BANNER, BULK, ECHO, HALF, HTTP, HTTPS, HTTPS_TOO};

/// The host's way out.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The DNS server that sandboxes find in resolv.conf(5).
pub const GOOGLE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// Another server, of DNS too.
pub const CLOUDFLARE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
/// Servers.
pub const ALPHA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// See [`ALPHA`]; in the same network as that.
pub const WWW: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// See [`ALPHA`].
pub const BETA: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// A DNS server.
pub const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// A SOCKS5 proxy.
pub const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 99), 1080);
/// A server in what the operator's configuration never opens.
pub const NEVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);
/// A DNS server of the operator, in a private range.
pub const OWN_DNS: Ipv4Addr = Ipv4Addr::new(10, 53, 53, 53);
/// Servers in ranges that no policy opens.
pub const DENIED: [Ipv4Addr; 8] = [
    Ipv4Addr::new(10, 9, 9, 9),
    Ipv4Addr::new(100, 100, 1, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(172, 20, 1, 1),
    Ipv4Addr::new(192, 0, 0, 9),
    Ipv4Addr::new(192, 168, 7, 7),
    Ipv4Addr::new(198, 18, 0, 9),
    NEVER,
];

const NAMES: Names = &[
    ("alpha.test", &[ALPHA]),
    ("www.alpha.test", &[WWW]),
    ("deep.www.alpha.test", &[WWW]),
    ("beta.test", &[BETA]),
    ("google.com", &[GOOGLE]),
    ("www.google.com", &[GOOGLE]),
    ("maps.google.com", &[GOOGLE]),
    ("cloudflare.com", &[CLOUDFLARE]),
    ("proxy.test", &[*PROXY.ip()]),
    // Rebinding: inside alone, and beside a good one.
    ("inner.test", &[DENIED[0]]),
    ("mixed.test", &[DENIED[2], ALPHA]),
    ("never.test", &[NEVER]),
];

/// A host's surroundings.
#[derive(Debug)]
pub struct World {
    /// The namespace that plays the internet.
    pub internet: OwnedFd,
    /// The namespace that plays the host.
    pub host: OwnedFd,
    /// What clients inside trust the servers by, in PEM.
    pub ca: String,
    questions: dns::Log,
    relayed: socks::Log,
}

impl World {
    /// Makes it, in a namespace of the test's own.
    pub(crate) fn build() -> Self {
        run("mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns");
        run("ip link set lo up && ip netns add world");
        // No link speaks of its own accord, so that every frame of IPv6 that is seen is a sandbox's.
        let quiet =
            "sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.all.disable_ipv6=0";
        run(&format!("{quiet} && ip netns exec world {quiet}"));
        run("ip link add eth0 type veth peer name w0 netns world");
        run(&format!(
            "ip addr add {HOST}/24 dev eth0 && ip link set eth0 up"
        ));
        run("ip -n world addr add 203.0.113.1/24 dev w0");
        run("ip -n world link set lo up && ip -n world link set w0 up");
        let mut addresses = vec![
            GOOGLE,
            CLOUDFLARE,
            ALPHA,
            WWW,
            BETA,
            DNS,
            OWN_DNS,
            *PROXY.ip(),
        ];
        addresses.extend(DENIED);
        for address in &addresses {
            run(&format!("ip -n world addr add {address}/32 dev lo"));
        }
        // The internet would answer a packet from an address inside, if one came, and can send to one.
        for inner in ["10.0.0.0/8", "198.19.0.0/16"] {
            run(&format!("ip -n world route add {inner} via {HOST}"));
        }
        run("ip route add default via 203.0.113.1");
        let internet = open("/run/netns/world");
        let mut names: Vec<String> = NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.extend(addresses.iter().map(Ipv4Addr::to_string));
        let (config, ca) = tls::make(&names);
        let (questions, relayed) = (dns::Log::default(), socks::Log::default());
        let (log, relays) = (questions.clone(), relayed.clone());
        inside(&internet, move || {
            servers::serve(&addresses, &config);
            for server in [GOOGLE, CLOUDFLARE, DNS, OWN_DNS, DENIED[0]] {
                dns::serve(server, NAMES, &log);
            }
            socks::serve(PROXY, NAMES, &relays);
        });
        Self {
            internet,
            host: open("/proc/self/ns/net"),
            ca,
            questions,
            relayed,
        }
    }

    /// What DNS servers were asked since this was called last.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let mut list = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *list)
    }

    /// Whom the proxy was asked for since this was called last.
    #[must_use]
    pub fn relayed(&self) -> Vec<Relayed> {
        let mut list = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *list)
    }
}
