//! Named values, as jail_set(2), jail_get(2) and nmount(2) take them: pairs of a name and a value in an array of
//! iovec, and `errmsg`, into which the kernel writes what it says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use warder_common::Said;

/// Bytes of `errmsg`; the kernel cuts what it says at that (`JAIL_ERRMSGLEN` of libjail, nmount(2)).
const SAID_BYTES: usize = 1024;

/// A list of named values.
#[derive(Clone, Debug, Default)]
pub struct Params {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    // A name or text with a zero byte in it: the kernel would take less than was meant.
    cut: bool,
}

impl Params {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a name that has no value: a boolean, or its `no` form.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.push_bytes(name, &[]);
        self
    }

    /// With an integer.
    #[must_use]
    pub fn int(mut self, name: &str, value: i32) -> Self {
        self.push_bytes(name, &value.to_ne_bytes());
        self
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.push_text(name, value);
        self
    }

    /// With any value.
    #[must_use]
    pub fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.push_bytes(name, value);
        self
    }

    /// As [`Self::flag`].
    pub fn push_flag(&mut self, name: &str) {
        self.push_bytes(name, &[]);
    }

    /// As [`Self::int`].
    pub fn push_int(&mut self, name: &str, value: i32) {
        self.push_bytes(name, &value.to_ne_bytes());
    }

    /// As [`Self::text`].
    pub fn push_text(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref().as_bytes();
        self.cut |= value.contains(&0);
        self.push_bytes(name, &[value, b"\0"].concat());
    }

    /// As [`Self::bytes`].
    pub fn push_bytes(&mut self, name: &str, value: &[u8]) {
        self.cut |= name.as_bytes().contains(&0);
        self.pairs
            .push(([name.as_bytes(), b"\0"].concat(), value.to_vec()));
    }

    /// Makes a call with the list as an array of iovec, its number of elements, and room for the kernel's words at
    /// its end; what the call writes into values can be read with [`Self::value`] afterwards.
    pub(super) fn call(
        &mut self,
        call: impl FnOnce(*mut libc::iovec, libc::c_uint) -> libc::c_int,
    ) -> Result<libc::c_int, Said> {
        if self.cut {
            return Err(Errno::INVAL.into());
        }
        let mut said = [0_u8; SAID_BYTES];
        let mut name = *b"errmsg\0";
        let mut list = Vec::with_capacity(2 * self.pairs.len() + 2);
        for (name, value) in &mut self.pairs {
            list.push(iovec(name));
            list.push(iovec(value));
        }
        list.push(iovec(&mut name));
        list.push(iovec(&mut said));
        let count = libc::c_uint::try_from(list.len()).map_err(|_| Errno::TOOBIG)?;
        let answer = call(list.as_mut_ptr(), count);
        super::checked(answer).map_err(|errno| Said {
            errno,
            text: text(&said).to_string_lossy().into_owned(),
        })
    }

    /// The value of a name.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let is = |(own, _): &&(Vec<u8>, Vec<u8>)| own.strip_suffix(b"\0") == Some(name.as_bytes());
        self.pairs.iter().find(is).map(|(_, value)| &value[..])
    }
}

/// Names and values are only read by the calls that set; those that get write no more than was there.
fn iovec(bytes: &mut [u8]) -> libc::iovec {
    let no_value = bytes.is_empty();
    libc::iovec {
        // A value of no length is none: vfs_buildopts() of the kernel takes a null for it.
        iov_base: if no_value {
            std::ptr::null_mut()
        } else {
            bytes.as_mut_ptr().cast()
        },
        iov_len: bytes.len(),
    }
}

/// The text in front of the first zero byte.
pub(super) fn text(bytes: &[u8]) -> &OsStr {
    let end = bytes.iter().position(|byte| *byte == 0);
    OsStr::from_bytes(&bytes[..end.unwrap_or(bytes.len())])
}

/// The same, of C's characters.
pub(super) fn c_text(chars: &[libc::c_char]) -> Vec<u8> {
    let ends = |c: &&libc::c_char| **c != 0;
    chars
        .iter()
        .take_while(ends)
        .map(|c| c.to_ne_bytes()[0])
        .collect()
}
