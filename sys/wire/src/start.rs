//! The first frame from privd to each process it starts, on descriptor 3: version, role, and
//! descriptors in the order each role lists. A process that finds anything else exits.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{BackendName, Cidr, InstanceTag};

/// The descriptor on which a started process finds its channel to privd.
pub const CHANNEL_FD: i32 = 3;

/// The first frame.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Start {
    /// [`crate::VERSION`] of the sender.
    pub version: u32,
    /// The instance.
    pub tag: InstanceTag,
    /// What to be.
    pub role: Role,
}

/// What a started process is to be, and the descriptors that ride along, in this order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Role {
    /// gatewayd. Descriptors: `tcp_listeners` bound TCP listeners, the administrator's Unix listener, the
    /// state directory. Channels to netd and plugin hosts follow as events.
    Gateway {
        /// Numeric user and group to become.
        ids: (u32, u32),
        /// How many TCP listeners ride along.
        tcp_listeners: u8,
        /// How many of them, the last ones, speak TLS; its certificates follow as events.
        tls_listeners: u8,
        /// Group whose members may administer beside root, if any.
        operator_group: Option<u32>,
        /// The domain sandbox host names end in.
        domain: String,
        /// Further domains of the same meaning.
        more_domains: Vec<String>,
        /// The backend that makes sandboxes.
        backend: BackendName,
        /// How many proxies in front are the operator's: so many addresses at the end of `X-Forwarded-For` are
        /// believed. Zero: the peer of the connection is the client.
        trusted_hops: u8,
        /// How long the making of a sandbox may take, in seconds.
        create_timeout_s: u16,
    },
    /// netd. Descriptors: its state directory.
    Net(NetStart),
    /// A plugin host. Descriptors: the directory of the plugin (read only), the channel to the gateway.
    Plugin {
        /// Numeric user and group to become.
        ids: (u32, u32),
        /// The backend; the file is `lib<name>.so` with `-` as `_`.
        backend: BackendName,
    },
    /// egressd. Descriptors: the channel to netd, the channel to the gateway, which is replaced by
    /// [`crate::priv_egress::Event::GatewayChannel`].
    Egress {
        /// Numeric user and group to become.
        ids: (u32, u32),
        /// Ranges that no policy opens, beside [`crate::policy::ALWAYS_DENIED`].
        never: Vec<Cidr>,
        /// DNS servers for names that egressd itself has to resolve, in the order to ask them in.
        resolvers: Vec<Ipv4Addr>,
    },
}

/// netd's configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetStart {
    /// Number of the instance on this host, from the host-wide claim; its uplink addresses follow from it.
    pub instance: u16,
    /// First address of the block for sandboxes, two for each slot.
    pub block: Ipv4Addr,
    /// Slots at most.
    pub slots: u32,
    /// Slots kept ready.
    pub ready: u32,
    /// First of the host's ids for sandboxes, for `ping_group_range`.
    pub first_id: u32,
    /// How many ids.
    pub ids: u32,
    /// Ranges that no policy opens, beside [`crate::policy::ALWAYS_DENIED`].
    pub never: Vec<Cidr>,
    /// The operator's DNS servers: egressd may ask them, wherever they are.
    pub resolvers: Vec<Ipv4Addr>,
}

/// What a started process answers first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ready {
    /// [`crate::VERSION`] of the process.
    pub version: u32,
    /// How it confined itself, in words for the log (`uid 2001, no capabilities, landlock 7, seccomp`).
    pub confinement: String,
}
