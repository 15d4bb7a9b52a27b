//! A plugin's code.

use std::ffi::{CStr, c_void};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use crate::system;

/// A library that was loaded into this process, for as long as it lives.
#[derive(Debug)]
pub struct Library(NonNull<c_void>);

impl Library {
    /// Loads `file` of a plugin's directory, after [`Early::before_load`](crate::Early::before_load). Its
    /// initialisers run, with everything that this process may do: call this only where that is harmless. On Linux the
    /// file is found at [`PLUGIN_DIR`](crate::PLUGIN_DIR), on FreeBSD by the descriptor, which is closed either way.
    ///
    /// # Errors
    /// The loader's words (dlerror(3)).
    pub fn open(directory: OwnedFd, file: &str) -> Result<Self, String> {
        system::load::open(directory, file).map(Self)
    }

    /// Where the library has this symbol, if it has.
    #[must_use]
    pub fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is of a library that is never closed, and the name a C string.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}

/// What went wrong in the loader last, on this thread.
pub(crate) fn error() -> String {
    // SAFETY: always callable.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: the loader's text is a C string that lasts until its next call on this thread.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}
