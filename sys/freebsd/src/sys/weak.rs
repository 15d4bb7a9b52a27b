//! Functions that older C libraries lack, looked up when they are first wanted: the same program runs on
//! 14.3 and uses what 15.x brought (dlsym(3)).

use std::ffi::CStr;

/// The address of a function of the C library.
pub(super) fn symbol(name: &CStr) -> Option<std::ptr::NonNull<libc::c_void>> {
    // SAFETY: the name ends with a null; RTLD_DEFAULT searches what is loaded already and loads nothing.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    std::ptr::NonNull::new(address)
}

/// A function of one descriptor, as those of jail descriptors are.
pub(super) fn of_descriptor(
    name: &CStr,
) -> Option<unsafe extern "C" fn(libc::c_int) -> libc::c_int> {
    let address = symbol(name)?;
    // SAFETY: callers name functions of this type only (sys/jail.h); a pointer to one is as wide as any.
    Some(unsafe {
        std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(libc::c_int) -> libc::c_int>(
            address.as_ptr(),
        )
    })
}
