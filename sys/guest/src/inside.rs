//! Opening below a directory as if it were the root.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::open;

// What a system without openat2(2) does. Safe code that runs, and is tested, everywhere.
#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(
    target_os = "linux",
    allow(unreachable_pub, reason = "in use elsewhere")
)]
mod walk;
#[cfg(not(target_os = "linux"))]
pub use walk::open;

#[cfg(test)]
mod tests;
