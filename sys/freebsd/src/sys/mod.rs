//! The kernel's calls, one concern a file: thin, and the only place with `unsafe`. `warder-links` and
//! `warder-pf` use it too.

pub mod cpuset;
pub mod devfs;
pub mod jail;
pub mod kld;
pub mod kqueue;
pub mod mount;
pub mod params;
pub mod peer;
pub mod procctl;
pub mod process;
pub mod procs;
pub mod raw;
pub mod rctl;
pub mod rights;
pub mod sysctl;
pub mod tcp;
mod weak;

use rustix::io::{Errno, Result};
pub use warder_common::Said;

pub use params::Params;

/// The error of the call just made.
fn last() -> Errno {
    let said = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(said.unwrap_or(libc::EIO))
}

/// The answer of a call as a result.
fn checked(answer: libc::c_int) -> Result<libc::c_int> {
    if answer >= 0 { Ok(answer) } else { Err(last()) }
}
