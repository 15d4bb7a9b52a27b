//! Loading a plugin. A path means nothing any more, so the file is opened beneath the plugin's directory and given to
//! fdlopen(3). What it needs is looked for among what is loaded already, by name (rtld(1)); that is why the base
//! system's libraries are loaded while paths still mean something. A library that is not among them is not found.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{Mode, OFlags, openat};

/// What a plugin may be linked to: what compilers name without being asked, and what Rust's standard library and its
/// `libc` crate name, in the versions of FreeBSD 14 and 15. What this system does not have is passed over.
const LIBRARIES: [&CStr; 16] = [
    c"libsys.so.7",
    c"libthr.so.3",
    c"libm.so.5",
    c"libgcc_s.so.1",
    c"libdl.so.1",
    c"librt.so.1",
    c"libutil.so.9",
    c"libutil.so.10",
    c"libexecinfo.so.1",
    c"libelf.so.2",
    c"libkvm.so.7",
    c"libmemstat.so.3",
    c"libprocstat.so.1",
    c"libdevstat.so.7",
    c"libcxxrt.so.1",
    c"libc++.so.1",
];

// In the C library; the `libc` crate does not have it.
unsafe extern "C" {
    fn fdlopen(fd: c_int, mode: c_int) -> *mut c_void;
}

/// Loads the libraries that plugins are linked to. They stay for as long as the process.
pub(super) fn base_libraries() {
    for name in LIBRARIES {
        // SAFETY: the name is a C string, and the initialisers are the base system's.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
    }
}

/// Maps `file` of the directory and runs its initialisers. The directory is closed before they run.
pub(crate) fn open(directory: OwnedFd, file: &str) -> Result<NonNull<c_void>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let code = openat(&directory, file, flags, Mode::empty())
        .map_err(|error| format!("{file}: {error}"))?;
    drop(directory);
    // SAFETY: the descriptor is open. What the initialisers do is the caller's care.
    let handle = unsafe { fdlopen(code.as_raw_fd(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    NonNull::new(handle).ok_or_else(crate::library::error)
}
