//! Loading a plugin, by its path in the root that holds little else.

use std::ffi::{CString, c_void};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use crate::PLUGIN_DIR;

/// Maps `file` of the plugin's directory and runs its initialisers. They find no descriptor of the directory.
pub(crate) fn open(directory: OwnedFd, file: &str) -> Result<NonNull<c_void>, String> {
    drop(directory);
    let path = CString::new(format!("{PLUGIN_DIR}/{file}")).map_err(|error| error.to_string())?;
    // SAFETY: the path is a C string. What the initialisers do is the caller's care.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    NonNull::new(handle).ok_or_else(crate::library::error)
}
