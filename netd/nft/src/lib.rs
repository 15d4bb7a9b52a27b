//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: names it made, addresses it computed, what each sandbox may reach.
//! May: change nftables tables named after the instance, delete connection tracking entries by mark.
//! Unsafe: forbidden.
//!
//! Desired network state to one nftables transaction.
//!
//! [`render`] is pure: state in, [`model`] out, the same on every system. [`Session`] puts a transaction in
//! force in one piece through a netlink socket of the namespace it was opened in.
#![forbid(unsafe_code)]

pub mod filter;
pub mod flow;
pub mod model;
pub mod render;
#[cfg(any(test, feature = "text"))]
mod text;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::Session;

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::Session;

/// Why a transaction is not in force, or flows are not gone.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// This system has no nftables.
    #[error("{0} is not supported on this system")]
    Unsupported(&'static str),
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Flows were deleted and new ones of the same sandbox kept coming.
    #[error("{0} flows are left")]
    FlowsLeft(u32),
}
