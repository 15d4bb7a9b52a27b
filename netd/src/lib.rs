//! Trust: zone 3 (netd runs as root with two capabilities).
//! Input: frames from privd and from the gateway; its own ledger; descriptors of network namespaces from privd.
//! May: links, addresses, routes, namespaces and packet rules of its instance; nothing else of the kernel.
//! Unsafe: forbidden.
//!
//! netd: addresses and firewall.
//!
//! One poll loop ([`serve`]) over channels to privd, the gateway and two workers of its own. What a message
//! may do stands in [`table`]; what the kernel should look like follows from [`policy`] and [`slots`]; what
//! must outlive the process stands in [`ledger`].
#![forbid(unsafe_code)]

pub mod daemon;
pub mod ledger;
pub mod log;
pub mod policy;
pub mod reconcile;
pub mod serve;
pub mod slots;
pub mod table;
pub mod watch;
pub mod worker;
