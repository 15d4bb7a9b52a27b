//! What the kernel has, compiled in or loaded (modfind(2)).

use std::ffi::CString;

/// Whether the kernel has a module: `zfs`, `pf`, `if_epair`, `nullfs`, `tmpfs`, `vmm`.
#[must_use]
pub fn has(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: the name ends with a null and outlives the call.
    unsafe { super::raw::modfind(name.as_ptr()) >= 0 }
}
