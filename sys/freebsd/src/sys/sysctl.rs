//! Kernel state by name (sysctl(3)).

use std::ffi::CString;

use rustix::io::{Errno, Result};

use super::checked;

/// The value of a name, as the kernel has it.
///
/// # Errors
/// `ENOENT` when there is no such name.
pub fn bytes(name: &str) -> Result<Vec<u8>> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    grown(|value, length| {
        // SAFETY: the name ends with a null; the kernel writes no more than `length` names, and the new length.
        unsafe { libc::sysctlbyname(name.as_ptr(), value, length, std::ptr::null(), 0) }
    })
}

/// The value of a number, which may take parameters (sysctl(3)'s `kern.proc` does).
///
/// # Errors
/// Those of sysctl(3).
pub fn by_number(number: &[libc::c_int]) -> Result<Vec<u8>> {
    let depth = libc::c_uint::try_from(number.len()).map_err(|_| Errno::INVAL)?;
    grown(|value, length| {
        // SAFETY: the number has so many elements; the kernel writes no more than `length` names, and the new length.
        unsafe { libc::sysctl(number.as_ptr(), depth, value, length, std::ptr::null(), 0) }
    })
}

/// Asks for the length, then for the value, until the value has not grown meanwhile.
fn grown(ask: impl Fn(*mut libc::c_void, *mut libc::size_t) -> libc::c_int) -> Result<Vec<u8>> {
    loop {
        let mut length = 0;
        checked(ask(std::ptr::null_mut(), &raw mut length))?;
        let mut value = vec![0_u8; length + length / 8];
        let mut length = value.len();
        match checked(ask(value.as_mut_ptr().cast(), &raw mut length)) {
            Ok(_) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(Errno::NOMEM) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether the kernel knows a name.
#[must_use]
pub fn exists(name: &str) -> bool {
    bytes(name).is_ok()
}

/// A text.
///
/// # Errors
/// As [`bytes`].
pub fn text(name: &str) -> Result<String> {
    let value = bytes(name)?;
    Ok(super::params::text(&value).to_string_lossy().into_owned())
}

/// An integer of four bytes, or a boolean of one, as `kern.racct.enable` is.
///
/// # Errors
/// As [`bytes`]; `EINVAL` when it is something else.
pub fn int(name: &str) -> Result<i32> {
    match bytes(name)?.as_slice() {
        [boolean] => Ok(i32::from(*boolean)),
        value => Ok(i32::from_ne_bytes(
            value.try_into().map_err(|_| Errno::INVAL)?,
        )),
    }
}

/// An unsigned integer of four or eight bytes.
///
/// # Errors
/// As [`bytes`]; `EINVAL` when it is something else.
pub fn u64(name: &str) -> Result<u64> {
    let value = bytes(name)?;
    match (value.as_slice().try_into(), value.as_slice().try_into()) {
        (Ok(eight), _) => Ok(u64::from_ne_bytes(eight)),
        (_, Ok(four)) => Ok(u32::from_ne_bytes(four).into()),
        _ => Err(Errno::INVAL),
    }
}

/// Sets an integer of four bytes.
///
/// # Errors
/// `EPERM` when it cannot be set, or not from here.
pub fn set_int(name: &str, value: i32) -> Result<()> {
    set(name, &value.to_ne_bytes())
}

/// Sets a text.
///
/// # Errors
/// As [`set_int`].
pub fn set_text(name: &str, value: &str) -> Result<()> {
    set(name, value.as_bytes())
}

/// Sets what is neither.
///
/// # Errors
/// As [`set_int`], and what the name's own are.
pub fn set(name: &str, value: &[u8]) -> Result<()> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let no_old = std::ptr::null_mut();
    // SAFETY: the name ends with a null, the old value is not asked for, the new one has the length given.
    let answer = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            no_old,
            std::ptr::null_mut(),
            value.as_ptr().cast(),
            value.len(),
        )
    };
    checked(answer).map(drop)
}
