//! Jails (jail(2), jail(8)). A jail is known by its name, which this crate makes; its number is the kernel's and
//! is used again for another one, so it is looked up each time.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};
use warder_common::Said;

use super::params::{Params, text as text_in};
use super::{checked, weak};

/// `MAXHOSTNAMELEN` (sys/param.h): longest name of a jail, its terminating zero included.
const NAME_BYTES: usize = 256;
/// `MAXPATHLEN` (sys/syslimits.h): longest text of any parameter asked for here.
const TEXT_BYTES: usize = 1024;

/// A jail that is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jail {
    /// Its number.
    pub jid: i32,
    /// Its full name: those of the jails around it first, with dots between.
    pub name: String,
    /// The number of the jail around it, 0 for the caller's own.
    pub parent: i32,
    /// Removed, but something of the kernel's still holds it: a socket, a mount.
    pub dying: bool,
}

fn set(params: &Params, flags: libc::c_int) -> std::result::Result<i32, Said> {
    params.clone().call(|list, count| {
        // SAFETY: the list has so many elements, each of which names memory that lives during the call.
        unsafe { libc::jail_set(list, count, flags) }
    })
}

fn get(params: &mut Params, flags: libc::c_int) -> std::result::Result<i32, Said> {
    params.call(|list, count| {
        // SAFETY: as above; the kernel writes no more into a value than its length.
        unsafe { libc::jail_get(list, count, flags) }
    })
}

/// Makes a jail; its number. Without parameter `persist` it ends with its last process.
///
/// # Errors
/// What jail_set(2) says: `EEXIST` when a living jail has the name.
pub fn create(params: &Params) -> std::result::Result<i32, Said> {
    set(params, libc::JAIL_CREATE)
}

/// Makes a jail and moves the calling process into it.
///
/// # Errors
/// What jail_set(2) says.
pub fn create_and_attach(params: &Params) -> std::result::Result<i32, Said> {
    set(params, libc::JAIL_CREATE | libc::JAIL_ATTACH)
}

/// Changes the jail that parameter `jid` or `name` names; its number.
///
/// # Errors
/// What jail_set(2) says: `ENOENT` when there is none.
pub fn update(params: &Params) -> std::result::Result<i32, Said> {
    set(params, libc::JAIL_UPDATE)
}

/// The number of a living jail.
///
/// # Errors
/// What jail_get(2) says, other than that there is none.
pub fn find(name: &str) -> std::result::Result<Option<i32>, Said> {
    match get(&mut Params::new().text("name", name), 0) {
        Ok(jid) => Ok(Some(jid)),
        Err(said) if said.errno == Errno::NOENT => Ok(None),
        Err(said) => Err(said),
    }
}

/// Every jail below the caller's, dying ones too, in order of number.
///
/// # Errors
/// What jail_get(2) says.
pub fn list() -> std::result::Result<Vec<Jail>, Said> {
    let mut jails: Vec<Jail> = Vec::new();
    loop {
        let last = jails.last().map_or(0, |jail| jail.jid);
        let mut params = Params::new()
            .int("lastjid", last)
            .bytes("name", &[0; NAME_BYTES])
            .int("parent", 0)
            .int("dying", 0);
        match get(&mut params, libc::JAIL_DYING) {
            Ok(jid) => jails.push(Jail {
                jid,
                name: text_in(params.value("name").unwrap_or_default())
                    .to_string_lossy()
                    .into_owned(),
                parent: int_in(&params, "parent")?,
                dying: int_in(&params, "dying")? != 0,
            }),
            Err(said) if said.errno == Errno::NOENT => return Ok(jails),
            Err(said) => return Err(said),
        }
    }
}

/// A number that a jail has as parameter `name`, booleans and `JAIL_SYS_*` included.
///
/// # Errors
/// What jail_get(2) says: `ENOENT` when there is no such jail, or it is dying.
pub fn int(jid: i32, name: &str) -> std::result::Result<i32, Said> {
    let mut params = Params::new().int("jid", jid).int(name, 0);
    get(&mut params, 0)?;
    int_in(&params, name)
}

/// A text that a jail has as parameter `name`.
///
/// # Errors
/// As [`int`].
pub fn text(jid: i32, name: &str) -> std::result::Result<OsString, Said> {
    let mut params = Params::new().int("jid", jid).bytes(name, &[0; TEXT_BYTES]);
    get(&mut params, 0)?;
    Ok(text_in(params.value(name).unwrap_or_default()).to_owned())
}

fn int_in(params: &Params, name: &str) -> std::result::Result<i32, Said> {
    let bytes = params.value(name).and_then(|value| value.try_into().ok());
    bytes
        .map(i32::from_ne_bytes)
        .ok_or(Said::from(Errno::INVAL))
}

/// Moves the calling process into a jail, its root and working directory with it.
///
/// # Errors
/// `EINVAL` when there is no such jail, or it is dying.
pub fn attach(jid: i32) -> Result<()> {
    // SAFETY: takes an integer.
    checked(unsafe { libc::jail_attach(jid) }).map(drop)
}

/// Removes a jail: kills its processes and removes the jails below it.
///
/// # Errors
/// `EINVAL` when there is no such jail.
pub fn remove(jid: i32) -> Result<()> {
    // SAFETY: takes an integer.
    checked(unsafe { libc::jail_remove(jid) }).map(drop)
}

/// Removes the living jail of this name, if `own` says of its number that it is the one meant; whether it did. On 15.x by
/// a descriptor, so that no other is meant that has its number by then.
///
/// # Errors
/// What jail_get(2) and jail_remove(2) say, other than that there is none.
pub fn remove_named(name: &str, own: impl FnOnce(i32) -> bool) -> std::result::Result<bool, Said> {
    let Some(jid) = find(name)? else {
        return Ok(false);
    };
    let gone = |said: &Said| matches!(said.errno, Errno::NOENT | Errno::INVAL);
    let held = match descriptor(jid) {
        Err(said) if gone(&said) => return Ok(false),
        held => held?,
    };
    // What is held keeps its number, so this is asked of what will be removed.
    match text(jid, "name") {
        Ok(is) if is.as_os_str() == name && own(jid) => {}
        Ok(_) => return Ok(false),
        Err(said) if gone(&said) => return Ok(false),
        Err(said) => return Err(said),
    }
    let removed = match held {
        Some(held) => remove_descriptor(held.as_fd()),
        None => remove(jid),
    };
    match removed {
        Ok(()) => Ok(true),
        // Gone meanwhile: the number's answer, and the descriptor's.
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the C library, and with it the kernel it came with, has descriptors of jails (15.x).
#[must_use]
pub fn has_descriptors() -> bool {
    weak::symbol(c"jail_attach_jd").is_some()
}

/// A descriptor of a living jail, which stays that jail's (15.x); `None` where the kernel has none.
///
/// # Errors
/// What jail_get(2) says.
pub fn descriptor(jid: i32) -> std::result::Result<Option<OwnedFd>, Said> {
    // A kernel that does not know the flag says EINVAL to it, as it does to what is wrong otherwise.
    if !has_descriptors() {
        return Ok(None);
    }
    let mut params = Params::new().int("jid", jid).int("desc", -1);
    match get(&mut params, super::raw::JAIL_GET_DESC) {
        Ok(_) => {}
        Err(said) if said.errno == Errno::INVAL && said.text.is_empty() => return Ok(None),
        Err(said) => return Err(said),
    }
    let number: RawFd = int_in(&params, "desc")?;
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some(descriptor))
}

/// As [`remove`], of a jail by its descriptor.
///
/// # Errors
/// `ENOSYS` where the C library has no such call.
pub fn remove_descriptor(jail: BorrowedFd<'_>) -> Result<()> {
    let call = weak::of_descriptor(c"jail_remove_jd").ok_or(Errno::NOSYS)?;
    // SAFETY: takes an integer.
    checked(unsafe { call(jail.as_raw_fd()) }).map(drop)
}
