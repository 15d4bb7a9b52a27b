//! A template from a tar stream that nobody has looked at.
//!
//! Unpacked by the host's own tar in a jail whose root is the template to be: it sees nothing else, has no network, no
//! device, no privilege that jail(8) names, and ends with its only process. The program is that of /rescue, which needs no
//! library (rescue(8)), entered by its descriptor. So a hostile archive can spoil the template it is for, and the kernel
//! refuses device nodes.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use warder_common::{At, HostError, Result, fds};
use warder_wire::InstanceTag;

use super::{Draft, Store};
use crate::cell::UserNamespace;
use crate::process::Process;
use crate::sys::{self, Params, jail};

const TAR: &str = "/rescue/tar";
/// Numbers for names, modes as they are; no file flags, access control lists and extended attributes, which a jail may not
/// set or another file system has otherwise (tar(1)). What /dev would hold is the cell's matter.
const ARGUMENTS: [&std::ffi::CStr; 12] = [
    c"tar",
    c"-x",
    c"-p",
    c"-f",
    c"-",
    c"--numeric-owner",
    c"--no-fflags",
    c"--no-acls",
    c"--no-xattrs",
    c"--exclude=dev/*",
    c"--exclude=./dev/*",
    c"--exclude=/dev/*",
];
/// Where names in an archive are UTF-8, tar says so or fails.
const ENVIRONMENT: [&std::ffi::CStr; 2] = [c"LC_CTYPE=C.UTF-8", c"PATH_LOCALE=/.warder-locale"];
/// Holds the host's description of that locale while the archive is unpacked.
const LOCALE: [&str; 3] = [".warder-locale", "C.UTF-8", "LC_CTYPE"];
/// Privileges that a jail has unless they are taken away, and those that it might be given by default (jail(8)).
const REFUSED: [&str; 10] = [
    "allow.nochflags",
    "allow.nomlock",
    "allow.nomount",
    "allow.noquotas",
    "allow.noraw_sockets",
    "allow.noread_msgbuf",
    "allow.noreserved_ports",
    "allow.noset_hostname",
    "allow.nosocket_af",
    "allow.nosysvipc",
];

impl Store {
    /// Starts unpacking a tar stream into a draft, without privilege; [`Self::import_end`] and [`Self::keep`] follow when
    /// the process has ended (code 0: whole). The caller must be single-threaded.
    ///
    /// # Errors
    /// `System`; `Missing` without tar.
    pub fn import_start(
        &self,
        draft: &Draft,
        _users: &UserNamespace,
        tar: BorrowedFd<'_>,
    ) -> Result<Process> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let program = match rustix::fs::openat(CWD, TAR, flags, Mode::empty()) {
            Ok(program) => program,
            Err(Errno::NOENT) => {
                return Err(HostError::Missing {
                    what: TAR,
                    remedy: "part of the base system (package FreeBSD-rescue of pkgbase)",
                });
            }
            Err(errno) => return Err(errno).at("open tar"),
        };
        // Not the state directory: no directory may be open when a jail is entered (jail_attach(2)).
        let keep = [program.as_fd(), tar];
        Process::worker(&keep, || {
            let unpacked = self.unpack(draft, program.as_fd(), tar);
            let Err(error) = unpacked.map(|never| match never {});
            eprintln!("unpack: {}", warder_zfs::sentence(&error));
            126
        })
    }

    fn unpack(
        &self,
        draft: &Draft,
        program: BorrowedFd<'_>,
        archive: BorrowedFd<'_>,
    ) -> Result<Infallible> {
        let tree = self.zfs.make_tree(draft)?;
        lend_locale(&tree)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty()).at("open /dev/null")?;
        // It is the host's: whoever takes tar over is root in its jail.
        sys::rights::limit(null.as_fd(), &sys::rights::DEVICE).at("cap_rights_limit")?;
        let limits = [
            (Resource::Core, 0),
            (Resource::Nofile, 256),
            // tar takes in whole what an archive calls a long name.
            (Resource::As, 1 << 30),
        ];
        for (resource, most) in limits {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            rustix::process::setrlimit(resource, limit).at("setrlimit")?;
        }
        rustix::process::setsid().at("setsid")?;
        enter(self.tag, draft, &tree)?;
        sys::procctl::no_new_privileges().at("procctl")?;
        fds::close_all_on_exec().at("close_range")?;
        fds::place(archive, 0).at("dup2")?;
        fds::place(null.as_fd(), 1).at("dup2")?;
        // Names in an archive are not for the daemon's log; what fails from here on says its code only.
        fds::place(null.as_fd(), 2).at("dup2")?;
        Err(sys::process::exec(program, &ARGUMENTS, &ENVIRONMENT)).at("exec")
    }
}

/// How the names of all such jails of an instance begin.
pub(super) fn of_instance(tag: InstanceTag) -> String {
    format!("warder-{tag}-unpack-")
}

/// How those of a draft do.
pub(super) fn of_draft(tag: InstanceTag, draft: &Draft) -> String {
    format!("{}{}-", of_instance(tag), draft.template())
}

/// Ends what runs in jails whose names begin so: an archive that took tar over may have left something behind it. Whether
/// nothing is left. Never waits.
pub(super) fn end(prefix: &str) -> Result<bool> {
    let mut jails = jail::list().at("list jails")?;
    jails.retain(|jail| jail.name.starts_with(prefix));
    for jail in jails.iter().filter(|jail| !jail.dying) {
        // It may be gone meanwhile, as its last process is.
        jail::remove_named(&jail.name, |_| true).at("remove a jail")?;
    }
    if jails.is_empty() {
        return Ok(true);
    }
    let all = sys::procs::all().at("list processes")?;
    let live = |p: &&sys::procs::Proc| p.state != sys::procs::State::Zombie;
    let within = |p: &sys::procs::Proc| jails.iter().any(|jail| jail.jid == p.jid);
    Ok(!all.iter().filter(live).any(within))
}

/// Makes a jail with this process in it; it goes with its last one.
fn enter(tag: InstanceTag, draft: &Draft, tree: &Path) -> Result<()> {
    // A dying jail may still have the name of the last one.
    let name = format!("{}{}", of_draft(tag, draft), std::process::id());
    let mut params = Params::new()
        .text("name", name)
        .text("path", tree)
        .text("host.hostname", "unpack")
        .int("securelevel", 3)
        .int("children.max", 0)
        .int("enforce_statfs", 2)
        // JAIL_SYS_DISABLE, of each.
        .int("ip4", 0)
        .int("ip6", 0)
        .int("sysvmsg", 0)
        .int("sysvsem", 0)
        .int("sysvshm", 0);
    for refused in REFUSED {
        params.push_flag(refused);
    }
    jail::create_and_attach(&params).map(drop).at("jail_set")
}

/// Puts the host's description of a locale into the tree, which is empty: setlocale(3) finds it from inside.
fn lend_locale(tree: &Path) -> Result<()> {
    let [directory, locale, file] = LOCALE;
    let from = Path::new("/usr/share/locale").join(locale).join(file);
    if !from.exists() {
        // Names beyond ASCII may fail then.
        return Ok(());
    }
    let to = tree.join(directory).join(locale);
    std::fs::create_dir_all(&to).at("lend a locale")?;
    std::fs::copy(from, to.join(file)).at("lend a locale")?;
    Ok(())
}

/// Removes it from the tree, which an archive filled: no link is followed, and what the archive made of it stays.
pub(super) fn forget_locale(tree: &Path) {
    let [directory, locale, file] = LOCALE;
    let forget = || -> rustix::io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let tree = rustix::fs::openat(CWD, tree, flags, Mode::empty())?;
        let outer = rustix::fs::openat(&tree, directory, flags, Mode::empty())?;
        let inner = rustix::fs::openat(&outer, locale, flags, Mode::empty())?;
        rustix::fs::unlinkat(&inner, file, AtFlags::empty())?;
        rustix::fs::unlinkat(&outer, locale, AtFlags::REMOVEDIR)?;
        rustix::fs::unlinkat(&tree, directory, AtFlags::REMOVEDIR)
    };
    let _ = forget();
}
