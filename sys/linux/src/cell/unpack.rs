//! A process that unpacks an archive nobody has looked at, walled in like a cell, and tighter.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use warder_common::{At, Result, fds};

use super::child::{become_root_of, plain_process};
use super::{UserNamespace, filter, mounts, rights};
use crate::process::Process;
use crate::sys;

/// Starts `program` with `archive` as its standard input, no other descriptor and no network. It sees the host's
/// /usr and, as `/template`, the directory `tree` below `state_dir`.
pub(crate) fn unpack(
    state_dir: &Path,
    tree: &str,
    users: &UserNamespace,
    program: BorrowedFd<'_>,
    args: &[&CStr],
    archive: BorrowedFd<'_>,
) -> Result<Process> {
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    Process::fork(namespaces, None, || {
        let become_program = || -> Result<Infallible> {
            fds::close_all_but(&[users.as_fd(), program, archive]).at("close_range")?;
            plain_process()?;
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            let null = rustix::fs::open("/dev/null", flags, Mode::empty()).at("open /dev/null")?;
            mounts::enter_unpacking_root(state_dir, tree, users)?;
            become_root_of(users)?;
            rights::limit(16)?;
            // No group bounds its memory, and tar takes in whole what an archive calls a long name.
            rights::set(rustix::process::Resource::As, 1 << 30)?;
            fds::close_all_on_exec().at("close_range")?;
            fds::place(archive, 0).at("dup2")?;
            fds::place(null.as_fd(), 1).at("dup2")?;
            sys::seccomp(&filter::program()).at("seccomp")?;
            rights::bound()?;
            sys::no_new_privileges().at("no_new_privs")?;
            // Names in an archive are not for the daemon's log.
            fds::place(null.as_fd(), 2).at("dup2")?;
            Err(sys::exec(program, args)).at("exec")
        };
        match become_program() {
            Ok(never) => match never {},
            Err(error) => {
                eprintln!(
                    "unpack: {error}: {}",
                    std::io::Error::from_raw_os_error(error.errno())
                );
                126
            }
        }
    })
}
